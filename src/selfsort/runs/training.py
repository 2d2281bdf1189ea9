"""One training in one folder."""

from __future__ import annotations

import contextlib
import datetime
import functools
import os
import shlex
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from rich.console import Console

from selfsort import parallel, recipes
from selfsort.checkpoints import to_json, write_text
from selfsort.datasets import Dataset
from selfsort.errors import ClassCollapseWarning, SmallerBatchWarning
from selfsort.estimators.resources import threads
from selfsort.report import write_report
from selfsort.runs import evaluating, illustrating
from selfsort.runs.callbacks import (
    Bars,
    RunCheckpoint,
    StopOnSignal,
    Watch,
    leaving_on_sigterm,
)
from selfsort.runs.data import MOST_TOLD, as_given, tell_left_out
from selfsort.runs.environment import machine, versions
from selfsort.runs.folder import (
    CHECKPOINTS,
    RECORD,
    drop_checkpoints,
    make_empty,
    remove_pictures,
)
from selfsort.runs.preparing import Run, make_estimator, prepare
from selfsort.runs.request import (
    Request,
    asked,
    write_record,
)
from selfsort.verified import naming

N_SAMPLES = 10
FEW_IMAGES = 2000
"""An interrupted training of more images ends without a report, which would take too long."""
SMALL_SVM = 10_000
"""Most images that the recipe 'features-svm' trains a support vector machine on."""


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
    with leaving_on_sigterm(), parallel.joined(), contextlib.ExitStack() as stack:
        if parallel.follows():
            console = Console(
                file=stack.enter_context(Path(os.devnull).open("w", encoding="utf-8"))
            )
        run = prepare(request, console or Console(stderr=True), data)
        if parallel.n_processes() > 1:
            run.console.print(f"{parallel.n_processes()} processes learn together.")
        _make(run)
    return run.folder


def _make(run: Run) -> None:
    request = run.request
    try:
        # As many as the run began with: sums of other numbers of threads differ in the last bits.
        with naming(run.folder), threads(run.record.threads_used if request.resume else None):
            _train(run)
    except (KeyboardInterrupt, SystemExit):
        _tell_how_to_go_on(run, " (with --finish: to a report of what was learned so far)")
        raise
    finally:
        run.occupation.end()
    if run.interrupted:
        _tell_how_to_go_on(run)


def _train(run: Run) -> None:
    estimator = make_estimator(run, {})
    if run.recipe.extra == "tradeoff":
        estimator, extra = _fit_tradeoff(run)
    else:
        _fit(run, estimator)
        _tell_class_count(run, estimator)
        extra = _svm_scores(run, estimator) if run.recipe.extra == "svm" else {}
    _tell_times(run)
    if parallel.follows():
        return
    _write(run, estimator, extra)
    if not run.interrupted:
        write_record(run.folder, run.record.model_copy(update={"complete": True}))
        drop_checkpoints(run.folder)


def _begin(run: Run) -> None:
    """Start to write: every input was found good. Only the first of several processes does."""
    run.occupation.begin()
    if not (run.begun or run.request.resume):
        make_empty(run.folder)
        write_record(run.folder, run.record)
    run.begun = True


def _tell_how_to_go_on(run: Run, more: str = "") -> None:
    if (run.folder / RECORD).is_file():
        command = shlex.join(["selfsort", "train", "--resume", str(run.folder)])
        run.console.print(
            f"To go on: {command}{more}", highlight=False, soft_wrap=True, markup=False
        )


def _tell_times(run: Run) -> None:
    times = ", ".join(f"{name} {seconds:.1f}" for name, seconds in run.stage_seconds.items())
    run.console.print(f"Seconds: {times}", highlight=False, soft_wrap=True)


def _tell_class_count(run: Run, estimator: Any) -> None:
    if run.request.n_classes == "auto":
        run.console.print(f"Found {len(estimator.style_means_)} classes.", highlight=False)


def _fit(run: Run, estimator: Any, stage: str = "") -> None:
    """Fit, showing and writing down the progress; Ctrl-C ends it with what was learned."""
    X = as_given(run.data.train) if run.stream is None else run.stream.rows
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
    n_images = len(X) + (len(run.data.test) if run.data.test else 0)
    stop = StopOnSignal(
        run.console.file, report=n_images <= FEW_IMAGES, interrupted=run.request.finish
    )
    checkpoint = RunCheckpoint(
        run.folder / CHECKPOINTS / stage.replace(" ", "-"),
        run.request.checkpoint_every,
        watch,
        stop,
    )
    bars = [Bars(run.console)] if run.console.is_terminal else []
    # Stopping is asked after the epoch was told of: Ctrl-C may come while it is.
    callbacks = [stop] if parallel.follows() else [watch, stop, checkpoint, *bars]
    estimator.set_callbacks(*callbacks)
    with warnings.catch_warnings():
        for category in (ClassCollapseWarning, SmallerBatchWarning):
            warnings.simplefilter("always", category)
        warnings.showwarning = lambda message, category, *rest, **more: say(
            f"{category.__name__}: {message}"
        )
        estimator.fit(X, run.labels.y()[0] if classifies else None)
    estimator.set_callbacks()
    if run.stream is not None:
        reasons = [one.reason for one in run.stream.skipped()]
        tell_left_out(run.console, reasons[:MOST_TOLD], len(reasons), len(X) - len(reasons))
    run.interrupted |= estimator.stopped_
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
        estimator = make_estimator(run, recipes.multiplier_parameters(multiplier))
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
    if parallel.follows():
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
    result["doubt"] = _doubt(test_set or train_set)
    write_text(run.folder / "result.json", to_json(result))
    remove_pictures(run.folder)  # of a training that was interrupted, and has gone on
    assert run.watch is not None  # noqa: S101 - every run has been fitted
    illustrating.save_pictures(run.folder, estimator, train_set, test_set, run.watch, extra)
    write_report(run.folder)


def _doubt(scored: evaluating.Scored) -> list[dict[str, float]]:
    """Return what leaving out images in doubt buys, as ``result.json`` has it."""
    names = ("probability", "kept", "accuracy")
    return [dict(zip(names, row, strict=True)) for row in evaluating.kept_where_certain(scored)]


def _result(run: Run, estimator: Any, extra: dict[str, Any]) -> dict[str, Any]:
    assert run.watch is not None  # noqa: S101
    rates = [row["images_per_second"] for row in run.watch.rows]
    means = getattr(estimator, "style_means_", None)
    curve = illustrating.information_curve(estimator)
    parts = [part for part in (run.data.train, run.data.test) if part is not None]
    skipped = [one for part in parts for one in part.skipped]
    if run.stream is not None:
        skipped = run.stream.skipped()
    return {
        "recipe": run.recipe.name,
        "data": run.data.name,
        "seed": run.request.seed,
        "n_images": len(run.data.train if run.stream is None else run.stream.rows),
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
            name: value
            for name, value in {**run.recipe.parameters, **run.request.parameters}.items()
            if value is not None
        },
        "set": run.request.parameters,
        "skipped": [one._asdict() for one in skipped],
        "extra": extra,
    }
