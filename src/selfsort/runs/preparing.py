"""What a run is made of, checked before anything is written."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from rich.console import Console

from selfsort import parallel, recipes
from selfsort.datasets import Dataset
from selfsort.errors import InputError, unknown_name
from selfsort.estimators import ESTIMATORS
from selfsort.recipes import Recipe
from selfsort.runs.callbacks import Row, Watch
from selfsort.runs.data import Labels, choose_labels, tell_skipped, with_labels
from selfsort.runs.folder import Occupation, check_free, free_name
from selfsort.runs.loading import Stream, load_images, open_stream, shown_of
from selfsort.runs.request import Record, Request, read_record, record_of


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
    stream: Stream | None = None
    begun: bool = False
    interrupted: bool = False
    watch: Watch | None = None
    history: list[Row] = field(default_factory=list)
    train_seconds: float = 0.0
    stage_seconds: dict[str, float] = field(default_factory=dict)


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
        if not parallel.follows():  # the first process may have begun to write
            check_free(folder, force=request.force)
        record = record_of(request, recipe.name)
    stream = open_stream(request) if request.stream else None
    if data is None:
        data = load_images(request) if stream is None else shown_of(stream)
        if stream is None:  # else they are told of when all were read
            tell_skipped(console, data.train, data.test)
    labels = choose_labels(option, recipe, data if stream is None else stream.every, request.seed)
    shown = labels if stream is None else labels.of(stream.shown)
    if stream is not None:
        _check_streamed(recipe, stream)
        console.print(f"Read while it is learned from: {len(stream.rows):,} images.")
    run = Run(
        request,
        recipe,
        with_labels(data, shown),
        labels,
        folder,
        console,
        record,
        Occupation(folder),
        stream,
    )
    estimator = make_estimator(run, {})
    estimator._validate_params()
    _check_count(run, getattr(estimator, "n_classes", 2))
    return run


def _check_streamed(recipe: Recipe, stream: Stream) -> None:
    """Raise for a recipe that needs all images at once."""
    method = recipe.parameters.get("method", "sort")
    compares = recipe.estimator == "AutoencoderClusterer" and method == "sort"
    if compares or recipe.extra == "svm":
        raise InputError(
            f"{stream.every.where}: the recipe '{recipe.name}' needs all images at once, and "
            "--stream reads them one after another: give --sample 100000 in its place, and let "
            "'selfsort predict RUN DATA --out DIR/' do the rest; or use --labels."
        )


def _check_count(run: Run, n_classes: int | None) -> None:
    """Raise if there are fewer images than classes, naming the file."""
    n_images, least = len(run.data.train), n_classes or 10
    if n_images < least:
        raise InputError(
            f"{run.data.where}: holds {n_images} image{'s' * (n_images > 1)}, but {least} "
            f"{'classes are to be learned' if least > 2 else 'are needed to learn from'}: give "
            f"more images{', or a smaller --classes' * (least > 2)}."
        )


def make_estimator(run: Run, changes: dict[str, Any]) -> Any:
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
    kind = ESTIMATORS[run.recipe.estimator]
    for name in request.parameters:
        if name not in kind._get_param_names():
            raise unknown_name(f"parameter of {kind.__name__}", name, kind._get_param_names())
    return kind(**parameters)


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
