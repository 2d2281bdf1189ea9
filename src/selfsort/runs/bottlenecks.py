"""Bottlenecks on the same images, with the same encoder and decoder, side by side."""

from __future__ import annotations

import copy
import dataclasses
import datetime
import importlib.util
import shlex
import sys
import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from rich.console import Console
from sklearn.exceptions import ConvergenceWarning
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from selfsort import pictures, recipes
from selfsort.bottlenecks import Bottleneck, Variational
from selfsort.bottlenecks.checks import check_bottleneck
from selfsort.checkpoints import to_json, write_text
from selfsort.datasets import Dataset, load_dataset
from selfsort.errors import InputError
from selfsort.estimators import load_estimator
from selfsort.images import ImageSet
from selfsort.objectives import Objective
from selfsort.report import write_bottlenecks
from selfsort.runs.comparing import check_same, result_of
from selfsort.runs.data import as_given, tell_skipped
from selfsort.runs.environment import machine, versions
from selfsort.runs.evaluating import label_indices
from selfsort.runs.preparing import prepare
from selfsort.runs.request import Request
from selfsort.scores import match_classes
from selfsort.training import Feed, Fit
from selfsort.training.data import moved
from selfsort.training.loop import terms_of
from selfsort.verified import naming

COMPARED = (
    "categorical",
    "categorical-straight-through",
    "categorical-score",
    "dvae",
    "gumbolt",
    "vq",
    "vade",
    "m2",
    "gmvae",
)
N_SHOWN = 10
N_LABELS = 100
N_LIKELIHOOD = 1000
"""Test images whose likelihood is measured."""
N_CODES = 500
"""Codes drawn of each of them."""
N_JUDGED = 20
"""Samples of each class."""
JUDGE_EPOCHS, MANY = 6, 20_000
"""So few epochs do for a judge where there are so many images."""
N_GRADIENTS = 30
N_GRADIENT_IMAGES = 100


@dataclass(frozen=True)
class BottleneckComparison:
    """What `selfsort bottlenecks` was asked for; see `Request` for what the runs share.

    Attributes
    ----------
    names : sequence of str
        Recipes of one bottleneck each.
    own : sequence of str
        Bottlenecks of one's own, as ``file.py:Class``.
    """

    request: Request
    names: Sequence[str]
    own: Sequence[str]
    out: Path


def compare_bottlenecks(asked: BottleneckComparison, console: Console | None = None) -> Path:
    """Train every bottleneck, measure it, and write ``bottlenecks.html`` and ``.md``.

    Runs that are there already, complete, are not repeated.

    Raises
    ------
    InputError
        If a recipe or file cannot be used, or a bottleneck of one's own fails a check.
    """
    console = console or Console(stderr=True)
    if asked.out.is_file():
        raise InputError(f"{asked.out}: is a file, not a folder. Give another --out.")
    names = [*dict.fromkeys(asked.names), *(add_own(one) for one in asked.own)]
    for name in names:
        if recipes.get_recipe(name).name not in {*COMPARED, *_OWN}:
            raise InputError(
                f"The recipe '{name}' is not one of a bottleneck. Known: {', '.join(COMPARED)}."
            )
    shared = asked.request
    data = load_dataset(shared.data, size=shared.size, on_error=shared.on_error)
    tell_skipped(console, data.train, data.test)
    requests = [
        dataclasses.replace(asked.request, recipe=name, out=asked.out / name, force=True)
        for name in names
    ]
    for request in requests:  # what is wrong with the last is told before the first trains
        check_same(request)
        prepare(request, console, data)
    judge = _judge(asked, data, console)
    measured: list[dict[str, Any]] = []
    rows: dict[str, list[tuple[str, np.ndarray]]] = {}
    for request in requests:
        result = result_of(request, console, data)
        measured.append(_measured(request, result, data, judge, rows, console))
        with naming(asked.out):
            _write(asked, measured, rows)
    return asked.out


def add_own(where: str) -> str:
    """Register a bottleneck of a file, after it passed all checks; return its name.

    Parameters
    ----------
    where : str
        ``file.py:Class``. The file is run.
    """
    path, _, kind = where.rpartition(":")
    if not path or not kind.isidentifier():
        raise InputError(f"--with {where}: give a file and a class in it, such as mine.py:Mine.")
    found = getattr(_module(Path(path)), kind, None)
    if not (isinstance(found, type) and issubclass(found, Bottleneck)):
        raise InputError(f"{path}: has no class {kind} that is a selfsort Bottleneck.")
    if not found.name:
        raise InputError(f"{path}: {kind} has no name: add a line such as name = 'mine'.")
    if found.name in recipes.RECIPES and found.name not in _OWN:
        raise InputError(f"{path}: the name '{found.name}' is taken by a recipe: choose another.")
    _checked(found.name, f"{path}: {kind}")
    recipe = recipes.recipe_for_bottleneck(found.name, has_prior=issubclass(found, Variational))
    recipes.RECIPES[found.name] = recipe
    _OWN.add(found.name)
    return found.name


_OWN: set[str] = set()


def _checked(name: str, where: str) -> None:
    try:
        check_bottleneck(name)
    except InputError:
        raise
    except Exception as error:  # whatever a user's own code raises
        raise InputError(f"{where} cannot be used ({type(error).__name__}: {error}).") from error


def _module(path: Path) -> Any:
    if not path.is_file():
        raise InputError(f"{path}: no such file. Give --with FILE.py:CLASS.")
    spec = importlib.util.spec_from_file_location(path.stem, path)
    if spec is None or spec.loader is None:
        raise InputError(f"{path}: is no Python file. Give --with FILE.py:CLASS.")
    module = importlib.util.module_from_spec(spec)
    try:
        spec.loader.exec_module(module)
    except InputError:
        raise
    except Exception as error:  # whatever a user's own file raises
        raise InputError(f"{path}: cannot be run ({type(error).__name__}: {error}).") from error
    return module


# ---- one bottleneck, measured -------------------------------------------------------------


def _measured(
    request: Request,
    result: dict[str, Any],
    data: Dataset,
    judge: Any,
    rows: dict[str, list[tuple[str, np.ndarray]]],
    console: Console,
) -> dict[str, Any]:
    """Return a bottleneck's line of the table, and add its rows of pictures."""
    assert request.out is not None and request.recipe is not None  # noqa: S101
    estimator = load_estimator(request.out)
    shown = data.test or data.train
    X = as_given(shown)
    scores = result["test"] or result["train"]
    line: dict[str, Any] = {
        "recipe": request.recipe,
        "accuracy": scores["accuracy"],
        "accuracy_100_labels": _taught(estimator, data, request.seed),
        "classes_in_use": result["train"]["classes_in_use"],
        "reconstruction_mse": scores["reconstruction_mse"],
        **_likelihood(estimator, X, request.seed),
        "samples_recognised": _recognised(estimator, judge, shown, request.seed),
        "gradient_noise": gradient_noise(estimator, X, request.seed),
        "train_seconds": result["train_seconds"],
    }
    name = request.recipe
    _add(rows, "images", "images", X[:N_SHOWN], first=True)
    _add(rows, "images", name, estimator.reconstruct(X[:N_SHOWN]))
    _add(rows, "prototypes", name, estimator.prototypes_[:N_SHOWN])
    _add(rows, "samples", name, estimator.sample(N_SHOWN, random_state=request.seed))
    between = estimator.interpolate(X[:1], X[-1:], n_steps=N_SHOWN)[0]
    _add(rows, "interpolations", name, between)
    words = ", ".join(f"{key} {_written(value)}" for key, value in list(line.items())[1:])
    console.print(f"{name}: {words}", highlight=False, soft_wrap=True)
    return line


def _add(
    rows: dict[str, list[tuple[str, np.ndarray]]],
    strip: str,
    name: str,
    images: np.ndarray,
    *,
    first: bool = False,
) -> None:
    mine = rows.setdefault(strip, [])
    if first and mine:
        return
    values = np.clip(images, 0, 255).astype(np.uint8)
    values = values[:, None] if values.ndim == 3 else np.moveaxis(values, -1, 1)
    mine.append((name, values))


def _taught(estimator: Any, data: Dataset, seed: int) -> float | None:
    """Return the test accuracy of logistic regression on the codes of 100 labelled images."""
    test = data.test
    if data.train.labels is None or test is None or test.labels is None:
        return None
    labels = data.train.labels
    chosen = np.concatenate(
        [
            np.random.default_rng(seed).permutation(np.flatnonzero(labels == k))[
                : max(1, N_LABELS // len(np.unique(labels[labels >= 0])))
            ]
            for k in np.unique(labels[labels >= 0])
        ]
    )
    machine_ = make_pipeline(StandardScaler(), LogisticRegression(max_iter=1000))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)
        machine_.fit(estimator.transform(as_given(data.train)[chosen]), labels[chosen])
    known = test.labels >= 0
    codes = estimator.transform(as_given(test)[known])
    return float(machine_.score(codes, test.labels[known]))


def _judge(asked: BottleneckComparison, data: Dataset, console: Console) -> Any:
    """Return a classifier that learned from all labels; None where there are none."""
    if data.train.labels is None:
        return None
    request = dataclasses.replace(
        asked.request,
        recipe="teach",
        labels="all",
        n_classes=None,
        epochs=JUDGE_EPOCHS if len(data.train) >= MANY else None,
        out=asked.out / "judge",
        force=True,
    )
    result_of(request, console, data)
    return load_estimator(asked.out / "judge")


def _recognised(estimator: Any, judge: Any, shown: ImageSet, seed: int) -> float | None:
    """Return the share of each class's samples that the judge takes for the label it stands for.

    A class that the prior hardly ever gives has none that are recognised.
    """
    if judge is None or shown.labels is None or shown.class_names is None:
        return None
    n_classes = len(estimator.style_means_)
    labels = match_classes(shown.labels, estimator.predict(as_given(shown)), n_classes)
    positions = label_indices(judge, shown.class_names)
    shares = []
    for k, label in enumerate(labels):
        try:
            images = estimator.sample(N_JUDGED, label=k, random_state=seed)
        except InputError:
            shares.append(0.0)
            continue
        found = positions[np.searchsorted(judge.classes_, judge.predict(images))]
        shares.append(float((found == label).mean()))
    return float(np.mean(shares))


def _likelihood(estimator: Any, X: np.ndarray, seed: int) -> dict[str, float | None]:
    """Return evidence lower bound and importance-weighted likelihood, in nats an image."""
    if not isinstance(estimator.model_.bottleneck, Variational):
        return {"bound": None, "log_likelihood": None}
    some = X[:N_LIKELIHOOD]
    draw = np.random.default_rng(seed).random(some.shape)
    low, high = estimator.input_range_
    binary = np.where(draw < (some - low) / (high - low), high, low).astype(some.dtype)
    bound, likelihood = (
        float(estimator.log_likelihood(binary, n, random_state=seed).mean()) for n in (1, N_CODES)
    )
    return {"bound": bound, "log_likelihood": likelihood}


def gradient_noise(estimator: Any, X: np.ndarray, seed: int) -> float:
    """Return how much the gradient of the class head varies by chance, as a share of its size.

    The square root of the summed variances over draws of the code, for the same images and
    weights, divided by the norm of the mean.
    """
    model = copy.deepcopy(estimator.model_).eval().requires_grad_(True)
    model.bottleneck.train()
    feed = Feed(estimator._prepared(X[:N_GRADIENT_IMAGES]))
    settings = dataclasses.replace(estimator._settings(len(feed)), autocast=False)
    generator = torch.Generator().manual_seed(seed)
    fit = Fit(model, Objective(estimator._weights()), settings, generator)
    head = model.network.head.weight
    before, draws = copy.deepcopy(model.bottleneck.state_dict()), []
    for _ in range(N_GRADIENTS):
        model.bottleneck.load_state_dict(before)  # a codebook, or chains, may have moved
        batch = feed.draw(torch.arange(len(feed)), generator, partners=False)
        terms = terms_of(fit, feed, moved(batch, fit.device), 1.0)
        loss = torch.stack([fit.objective.weights[name] * terms[name] for name in terms]).sum()
        draws.append(torch.autograd.grad(loss, head)[0].flatten())
    gradients = torch.stack(draws)
    return float(gradients.var(0).sum().sqrt() / gradients.mean(0).norm().clamp_min(1e-30))


# ---- the tables -----------------------------------------------------------------------------

COLUMNS = {
    "recipe": "recipe",
    "accuracy": "matched accuracy, no labels",
    "accuracy_100_labels": "accuracy, 100 labels",
    "classes_in_use": "classes in use",
    "log_likelihood": "log-likelihood, nats",
    "bound": "lower bound, nats",
    "reconstruction_mse": "MSE in [0, 1]",
    "samples_recognised": "samples recognised",
    "gradient_noise": "gradient noise",
    "train_seconds": "training s",
}


DIGITS = {"log_likelihood": 2, "bound": 2, "reconstruction_mse": 4, "gradient_noise": 2}
SHARES = {"accuracy", "accuracy_100_labels", "samples_recognised"}


def _written(value: Any) -> str:
    if value is None:
        return "–"
    return value if isinstance(value, str) else f"{value:,.4g}"


def _cell(column: str, value: Any) -> str:
    if value is None or isinstance(value, str):
        return _written(value)
    return f"{100 * value:.2f} %" if column in SHARES else f"{value:,.{DIGITS.get(column, 0)}f}"


def _write(
    asked: BottleneckComparison,
    lines: list[dict[str, Any]],
    rows: dict[str, list[tuple[str, np.ndarray]]],
) -> None:
    for name, strip in rows.items():
        pictures.save_comparison_strip(asked.out / f"{name}.png", strip)
    table = [[_cell(column, line[column]) for column in COLUMNS] for line in lines]
    made = (
        f"{datetime.date.today().isoformat()}, {machine()}; "
        + ", ".join(f"{name} {version}" for name, version in versions().items())
        + f". Seed {asked.request.seed}."
    )
    command = shlex.join(["selfsort", *sys.argv[1:]])
    write_text(asked.out / "bottlenecks.json", to_json({"made": made, "lines": lines}))
    title = f"{asked.request.data}: bottlenecks compared"
    write_text(asked.out / "bottlenecks.md", _markdown(title, made, command, table))
    write_bottlenecks(asked.out, title, made, command, list(COLUMNS.values()), table)


def _markdown(title: str, made: str, command: str, table: list[list[str]]) -> str:
    titles = list(COLUMNS.values())
    body = [f"| {' | '.join(cells)} |" for cells in table]
    parts = [f"# {title}", "", made, "", f"    {command}", ""]
    parts += [f"| {' | '.join(titles)} |", "|---" * len(titles) + "|", *body, ""]
    return "\n".join(parts)
