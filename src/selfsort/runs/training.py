"""One training in one folder."""

from __future__ import annotations

import datetime
import functools
import os
import platform
import shlex
import warnings
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import sklearn
import torch
from rich.console import Console

from selfsort import recipes
from selfsort.checkpoints import to_json, write_text
from selfsort.datasets import Dataset, load_dataset
from selfsort.errors import ClassCollapseWarning, InputError, SmallerBatchWarning
from selfsort.estimators import ESTIMATORS
from selfsort.estimators.resources import threads
from selfsort.recipes import Recipe
from selfsort.report import write_report
from selfsort.runs import evaluating, illustrating
from selfsort.runs.callbacks import (
    Bars,
    Row,
    RunCheckpoint,
    StopOnSignal,
    Watch,
    leaving_on_sigterm,
)
from selfsort.runs.data import Labels, as_given, choose_labels, tell_skipped, with_labels
from selfsort.runs.folder import (
    CHECKPOINTS,
    RECORD,
    Occupation,
    check_free,
    drop_checkpoints,
    free_name,
    make_empty,
    remove_pictures,
)
from selfsort.runs.request import (
    Record,
    Request,
    asked,
    read_record,
    record_of,
    write_record,
)
from selfsort.verified import naming
from selfsort.version import __version__

N_SAMPLES = 10
SMALL_SVM = 10_000
"""Most images that the recipe 'features-svm' trains a support vector machine on."""


@dataclass
class Run:
    """A run while it is made."""

    request: Request
    recipe: Recipe
    data: Dataset
    labels: Labels
    folder: Path
    console: Console
    record: Record
    occupation: Occupation
    begun: bool = False
    interrupted: bool = False
    watch: Watch | None = None
    history: list[Row] = field(default_factory=list)
    train_seconds: float = 0.0
    stage_seconds: dict[str, float] = field(default_factory=dict)


def train(request: Request, console: Console | None = None, data: Dataset | None = None) -> Path:
    """Train as asked, and write the run's folder.

    Parameters
    ----------
    request : Request
    console : rich Console or None
        Where the progress goes; None: standard error.
    data : Dataset or None
        The images, where they were loaded before; None: they are loaded.

    Returns
    -------
    folder : Path
        With ``model.safetensors``, ``config.json``, ``history.jsonl``, ``result.json``, pictures
        and ``report.html``.

    Raises
    ------
    InputError
        If something that was asked for cannot be used; nothing is written then.
    OSError
        If the folder cannot be written to the end, named in the error.
    """
    with leaving_on_sigterm():
        run = prepare(request, console or Console(stderr=True), data)
        _make(run)
    return run.folder


def _make(run: Run) -> None:
    request = run.request
    try:
        # As many as the run began with: sums of other numbers of threads differ in the last bits.
        with naming(run.folder), threads(run.record.threads_used if request.resume else None):
            _train(run)
    except (KeyboardInterrupt, SystemExit):
        _tell_how_to_go_on(run)
        raise
    finally:
        run.occupation.end()
    if run.interrupted:
        _tell_how_to_go_on(run)


def _train(run: Run) -> None:
    estimator = _estimator(run, {})
    if run.recipe.extra == "tradeoff":
        estimator, extra = _fit_tradeoff(run)
    else:
        _fit(run, estimator)
        _tell_class_count(run, estimator)
        extra = _svm_scores(run, estimator) if run.recipe.extra == "svm" else {}
    _tell_times(run)
    _write(run, estimator, extra)
    if not run.interrupted:
        write_record(run.folder, run.record.model_copy(update={"complete": True}))
        drop_checkpoints(run.folder)


def _begin(run: Run) -> None:
    """Start to write: every input was found good."""
    run.occupation.begin()
    if not (run.begun or run.request.resume):
        make_empty(run.folder)
        write_record(run.folder, run.record)
    run.begun = True


def _tell_how_to_go_on(run: Run) -> None:
    if (run.folder / RECORD).is_file():
        command = shlex.join(["selfsort", "train", "--resume", str(run.folder)])
        run.console.print(f"To go on: {command}", highlight=False, soft_wrap=True, markup=False)


def _tell_times(run: Run) -> None:
    times = ", ".join(f"{name} {seconds:.1f}" for name, seconds in run.stage_seconds.items())
    run.console.print(f"Seconds: {times}", highlight=False, soft_wrap=True)


def _tell_class_count(run: Run, estimator: Any) -> None:
    if run.request.n_classes == "auto":
        run.console.print(f"Found {len(estimator.style_means_)} classes.", highlight=False)


def prepare(request: Request, console: Console, data: Dataset | None = None) -> Run:
    """Load and check everything that can be wrong, before anything is written."""
    recipe = None if request.recipe is None else recipes.get_recipe(request.recipe)
    if recipe is None:
        recipe = recipes.default_recipe(request.labels not in (None, "none"))
    option = request.labels
    if option is None:
        option = "none" if recipe.labels == "none" else "all"
    name = Path(request.data).name or "images"
    folder = request.out or free_name(Path("runs"), f"{Path(name).stem}-{recipe.name}")
    if request.resume:
        record = read_record(folder)
    else:
        check_free(folder, force=request.force)
        record = record_of(request, recipe.name)
    if data is None:
        data = load_dataset(request.data, size=request.size, on_error=request.on_error)
        tell_skipped(console, data.train, data.test)
    labels = choose_labels(option, recipe, data, request.seed)
    run = Run(
        request,
        recipe,
        with_labels(data, labels),
        labels,
        folder,
        console,
        record,
        Occupation(folder),
    )
    estimator = _estimator(run, {})
    estimator._validate_params()
    _check_count(run, getattr(estimator, "n_classes", 2))
    return run


def _check_count(run: Run, n_classes: int | None) -> None:
    """Raise if there are fewer images than classes, naming the file."""
    n_images, least = len(run.data.train), n_classes or 10
    if n_images < least:
        raise InputError(
            f"{run.data.where}: holds {n_images} image{'s' * (n_images > 1)}, but {least} "
            f"{'classes are to be learned' if least > 2 else 'are needed to learn from'}: give "
            f"more images{', or a smaller --classes' * (least > 2)}."
        )


def _estimator(run: Run, changes: dict[str, Any]) -> Any:
    """Return the recipe's estimator with what the request says instead."""
    request = run.request
    parameters = {**run.recipe.parameters, **request.parameters, **changes}
    parameters |= {
        "device": request.device,
        "n_threads": request.threads,
        "random_state": request.seed,
    }
    if request.epochs is not None:
        parameters["epochs"] = request.epochs
    if run.recipe.estimator == "AutoencoderClusterer":
        parameters["n_classes"] = _n_classes(run, parameters)
    elif run.recipe.estimator == "AutoencoderClassifier":
        _check_class_count(run)
        parameters["unlabeled"] = run.labels.y()[1]
    elif request.n_classes is not None:
        raise InputError(
            f"--classes does not go with the recipe '{run.recipe.name}', which learns no classes."
        )
    return ESTIMATORS[run.recipe.estimator](**parameters)


def _n_classes(run: Run, parameters: dict[str, Any]) -> int | None:
    """Return the estimator's number of classes; None: it is to find them."""
    if run.request.n_classes == "auto":
        if parameters.get("method") == "direct":
            raise InputError(
                f"--classes auto does not go with the recipe '{run.recipe.name}', which cannot "
                "find how many there are: give a number, or use --recipe sort."
            )
        return None
    if run.request.n_classes is not None:
        return run.request.n_classes
    return len(run.labels.class_names) if run.labels.class_names else 10


def _check_class_count(run: Run) -> None:
    wanted, names = run.request.n_classes, run.labels.class_names or ()
    if wanted is not None and wanted != len(names):
        raise InputError(
            f"--classes {wanted} does not go with labels of {len(names)} classes: leave it out."
        )


def _fit(run: Run, estimator: Any, stage: str = "") -> None:
    """Fit, showing and writing down the progress; Ctrl-C ends it with what was learned."""
    X = as_given(run.data.train)
    classifies = run.recipe.estimator == "AutoencoderClassifier"
    samples = as_given(run.data.test or run.data.train)[:N_SAMPLES]
    say = functools.partial(run.console.print, highlight=False, soft_wrap=True, markup=False)
    watch = Watch(
        run.folder,
        samples,
        _test_accuracy(run) if classifies else None,
        say,
        lambda: _begin(run),
        stage=stage,
        earlier=run.history,
    )
    stop = StopOnSignal(run.console.file)
    checkpoint = RunCheckpoint(
        run.folder / CHECKPOINTS / stage.replace(" ", "-"),
        run.request.checkpoint_every,
        watch,
        stop,
    )
    bars = [Bars(run.console)] if run.console.is_terminal else []
    callbacks = [watch, stop, checkpoint, *bars]
    estimator.set_callbacks(*callbacks)
    with warnings.catch_warnings():
        for category in (ClassCollapseWarning, SmallerBatchWarning):
            warnings.simplefilter("always", category)
        warnings.showwarning = lambda message, category, *rest, **more: say(
            f"{category.__name__}: {message}"
        )
        estimator.fit(X, run.labels.y()[0] if classifies else None)
    estimator.set_callbacks()
    run.interrupted |= stop.interrupted
    run.watch = watch
    run.history += watch.rows
    run.train_seconds += estimator.fit_seconds_
    run.stage_seconds |= (
        {stage: round(estimator.fit_seconds_, 3)} if stage else estimator.stage_seconds_
    )


def _test_accuracy(run: Run) -> Callable[[Any], float] | None:
    """Return a function from the estimator to its accuracy on the test images."""
    test = run.data.test
    if test is None or test.labels is None:
        return None
    X, names = as_given(test), test.class_names or ()
    labels, known = test.labels, test.labels >= 0

    def accuracy(estimator: Any) -> float:
        predicted = evaluating.label_indices(estimator, names)[estimator._indices(X, None)]
        return float(np.mean(predicted[known] == labels[known]))

    return accuracy


def _fit_tradeoff(run: Run) -> tuple[Any, dict[str, Any]]:
    """Fit once a multiplier; return the one at 0.5 and the points of all that were finished."""
    test = run.data.test
    images = run.data.train if test is None or test.labels is None else test
    points, kept = [], None
    for multiplier in recipes.MULTIPLIERS:
        estimator = _estimator(run, recipes.multiplier_parameters(multiplier))
        _fit(run, estimator, stage=f"multiplier {multiplier}")
        if kept is None or (multiplier <= 0.5 and not run.interrupted):
            kept = estimator, run.watch
        if run.interrupted:
            break
        figures = evaluating.scored(estimator, images).figures
        names = ("accuracy", "reconstruction_mse")
        points.append({"multiplier": multiplier, **{name: figures[name] for name in names}})
    assert kept is not None  # noqa: S101 - there are multipliers
    estimator, run.watch = kept
    return estimator, {"points": points}


def _svm_scores(run: Run, estimator: Any) -> dict[str, Any]:
    """Return test accuracies of a support vector machine on features and on raw pixels."""
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler
    from sklearn.svm import SVC

    index = run.labels.index
    test = run.data.test
    if index is None or test is None or test.labels is None or run.interrupted:
        return {}
    chosen, known = np.flatnonzero(index >= 0)[:SMALL_SVM], test.labels >= 0
    train_X, test_X = as_given(run.data.train)[chosen], as_given(test)[known]
    kinds = {
        "features": estimator.transform,
        "pixels": lambda X: X.reshape(len(X), -1) / np.float32(255.0),
    }
    scores: dict[str, Any] = {"svm_images": len(chosen)}
    for name, describe in kinds.items():
        scaler = [StandardScaler()] if name == "features" else []
        machine = make_pipeline(*scaler, SVC(C=10.0))
        try:
            machine.fit(describe(train_X), index[chosen])
            accuracy = float(machine.score(describe(test_X), test.labels[known]))
        except KeyboardInterrupt:  # the autoencoder is there: keep it
            run.interrupted = True
            return {}
        scores[f"svm_{name}_test_accuracy"] = accuracy
        run.console.print(f"SVC on {name}: test accuracy {100 * accuracy:.2f} %")
    return scores


def _write(run: Run, estimator: Any, extra: dict[str, Any]) -> None:
    """Write model, result, pictures and report."""
    estimator.save(run.folder)
    train_set = evaluating.scored(estimator, run.data.train)
    test_set = None if run.data.test is None else evaluating.scored(estimator, run.data.test)
    result = _result(run, estimator, extra)
    result["train"] = train_set.figures
    result["test"] = None if test_set is None else test_set.figures
    write_text(run.folder / "result.json", to_json(result))
    remove_pictures(run.folder)  # of a training that was interrupted, and has gone on
    assert run.watch is not None  # noqa: S101 - every run has been fitted
    illustrating.save_pictures(run.folder, estimator, train_set, test_set, run.watch, extra)
    write_report(run.folder)


def _result(run: Run, estimator: Any, extra: dict[str, Any]) -> dict[str, Any]:
    assert run.watch is not None  # noqa: S101
    rates = [row["images_per_second"] for row in run.watch.rows]
    means = getattr(estimator, "style_means_", None)
    curve = illustrating.information_curve(estimator)
    parts = [part for part in (run.data.train, run.data.test) if part is not None]
    return {
        "recipe": run.recipe.name,
        "data": run.data.name,
        "seed": run.request.seed,
        "n_classes": None if means is None else len(means),
        "natural_n_classes": getattr(estimator, "natural_n_classes_", None),
        "information_curve": None if curve is None else [round(float(v), 6) for v in curve],
        "n_labels": run.labels.n_labels,
        "epochs": len(run.watch.rows),
        "train_seconds": round(run.train_seconds, 2),
        "images_per_second": round(len(rates) / sum(1 / r for r in rates), 1) if rates else None,
        "interrupted": run.interrupted,
        "matched": run.recipe.estimator == "AutoencoderClusterer",
        "command": run.record.command,
        "date": datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
        "machine": machine(),
        "device": str(estimator.device_),
        "threads": run.record.threads_used,
        "versions": versions(),
        "stage_seconds": run.stage_seconds,
        "asked": asked(run.request),
        "parameters": {
            name: value for name, value in run.recipe.parameters.items() if value is not None
        },
        "skipped": [one._asdict() for part in parts for one in part.skipped],
        "extra": extra,
    }


def versions() -> dict[str, str]:
    """Return the versions that a result depends on."""
    return {
        "selfsort": __version__,
        "python": platform.python_version(),
        "torch": torch.__version__,
        "numpy": np.__version__,
        "scikit-learn": sklearn.__version__,
    }


def machine() -> str:
    """Return the machine in words: system, processor, cores, and its vector instructions."""
    processor = platform.processor() or platform.machine()
    cpuinfo = Path("/proc/cpuinfo")
    if cpuinfo.is_file():
        for line in cpuinfo.read_text(encoding="utf-8", errors="replace").splitlines():
            if line.startswith("model name"):
                processor = line.partition(":")[2].strip()
                break
    instructions = torch.backends.cpu.get_cpu_capability()
    return f"{platform.system()}, {processor}, {os.cpu_count()} cores with {instructions}"
