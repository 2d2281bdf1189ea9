"""A search for the multipliers and the learning rate of 'joint', kept so that it can be killed."""

from __future__ import annotations

import importlib.util
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from rich.console import Console
from sklearn.callback import CallbackContext
from sklearn.model_selection import train_test_split

from selfsort import recipes
from selfsort.datasets import load_dataset
from selfsort.errors import ClassCollapseWarning, InputError, NotFiniteError
from selfsort.estimators import ESTIMATORS
from selfsort.images import ImageSet
from selfsort.runs.callbacks import Callback, Row, leaving_on_sigterm
from selfsort.runs.data import Labels, as_given, choose_labels, tell_skipped
from selfsort.runs.folder import LOCK, Occupation
from selfsort.runs.request import Request, asked
from selfsort.runs.trials import FILES, RECIPE, done, parameters_of, write
from selfsort.verified import naming

STUDY = "study.db"
HELD_OUT = 0.2
"""Share of the labelled training images that a trial is judged by."""
MULTIPLIER = (0.01, 0.99)
"""Of the cross-entropy; the reconstruction gets the rest, for more of both is a learning rate."""
LEARNING_RATE = (1e-3, 0.3)
FEW_TRIALS = 3
"""So many trials are let run to their end before others are compared with them."""


@dataclass(frozen=True)
class Sweep:
    """What `selfsort sweep` was asked for; see `Request` for data, labels and so on."""

    request: Request
    n_trials: int
    out: Path


@dataclass(frozen=True)
class Parts:
    """The training images, a part of those with labels held out. No test image is among them."""

    learned: ImageSet
    y: np.ndarray
    judged: ImageSet
    truth: np.ndarray
    unlabeled: int | str


def sweep(asked_for: Sweep, console: Console | None = None) -> Path:
    """Search until there are so many trials; write the table and the picture of them.

    A trial trains 'joint' with a multiplier and a learning rate that Optuna proposes, and is
    judged by the accuracy on a fifth of the labelled training images, held out for that; one that
    is below the median of the others after an epoch is given up. The study is in ``study.db``
    (SQLite): a search that was killed goes on with the trials that are missing, and does the one
    that it was in again.

    Returns
    -------
    folder : Path
        With ``study.db``, ``trials.csv``, ``sweep.md`` and ``trials.png``.

    Raises
    ------
    InputError
        If there are no labels, too few of them, the folder holds another search, or the extra
        `sweep` is missing.
    """
    check_extra()
    console = console or Console(stderr=True)
    request, out = asked_for.request, asked_for.out
    _check_folder(out)
    parts = _parts(request, console)
    _estimator(request, parts, {})._validate_params()
    occupation = Occupation(out)
    occupation.begin()
    try:
        with leaving_on_sigterm(), naming(out):
            study = _study(asked_for)
            _search(asked_for, study, parts, console)
            write(out, request, done(study))
    except (KeyboardInterrupt, SystemExit):
        say(console, "To go on: the same command again.")
        raise
    finally:
        occupation.end()
    return out


def say(console: Console, text: str) -> None:
    """Print one line as it is."""
    console.print(text, highlight=False, soft_wrap=True, markup=False)


def check_extra() -> None:
    """Raise where Optuna is missing."""
    if importlib.util.find_spec("optuna") is None:
        raise InputError("A sweep needs more packages: pip install 'selfsort[sweep]'")


def _check_folder(out: Path) -> None:
    if out.exists() and not out.is_dir():
        raise InputError(f"{out}: is a file, not a folder. Give another --out.")
    own = {STUDY, f"{STUDY}-journal", LOCK, *FILES}
    others = {path.name for path in out.iterdir()} - own if out.is_dir() else set()
    if others:
        raise InputError(
            f"{out}: holds files that no sweep wrote, such as '{min(others)}'. Nothing was "
            "written: give another --out."
        )


# ---- images -------------------------------------------------------------------------------


def _parts(request: Request, console: Console) -> Parts:
    data = load_dataset(request.data, size=request.size, on_error=request.on_error)
    tell_skipped(console, data.train)
    option = request.labels or "all"
    if option == "none" or (data.train.labels is None and not option.lower().endswith(".csv")):
        raise InputError(
            f"{data.where}: a sweep needs labels, for without them the objective alone could "
            "choose its own multipliers: give class folders, or --labels with a CSV file."
        )
    labels = choose_labels(option, recipes.get_recipe(RECIPE), data, request.seed)
    return _split(data.train, labels, request.seed, data.where)


def _split(images: ImageSet, labels: Labels, seed: int, where: str) -> Parts:
    assert labels.index is not None  # noqa: S101 - the recipe learns from labels
    known = np.flatnonzero(labels.index >= 0)
    counts = np.bincount(labels.index[known])
    n_classes = int((counts > 0).sum())
    if counts[counts > 0].min() < 2 or HELD_OUT * len(known) < n_classes:
        raise InputError(
            f"{where}: {len(known)} labels of {n_classes} classes are too few to hold some out: "
            f"a sweep needs {round(n_classes / HELD_OUT)}, and two of each class."
        )
    _, judged = train_test_split(
        known, test_size=HELD_OUT, random_state=seed, stratify=labels.index[known]
    )
    learned = np.setdiff1d(np.arange(len(images)), judged)
    y, unlabeled = labels.y()
    return Parts(
        ImageSet(images.images[learned]), y[learned], ImageSet(images.images[judged]), y[judged],
        unlabeled,
    )  # fmt: skip


# ---- the study ----------------------------------------------------------------------------


def _study(asked_for: Sweep) -> Any:
    """Return the study in the folder, a new one where there is none."""
    import optuna
    from sqlalchemy.exc import SQLAlchemyError  # what Optuna keeps studies with
    from sqlalchemy.pool import NullPool

    optuna.logging.set_verbosity(optuna.logging.WARNING)
    path = (asked_for.out / STUDY).resolve()
    request = asked_for.request
    try:
        study = optuna.create_study(
            # Without a pool each connection is closed after its use, also where Optuna raises.
            storage=optuna.storages.RDBStorage(
                f"sqlite:///{path.as_posix()}", engine_kwargs={"poolclass": NullPool}
            ),
            study_name="selfsort",
            direction="maximize",
            load_if_exists=True,
            pruner=optuna.pruners.MedianPruner(n_startup_trials=FEW_TRIALS),
        )
    except (optuna.exceptions.StorageInternalError, SQLAlchemyError) as error:
        raise InputError(
            f"{path}: is no study that can be read. Give another --out, or delete it."
        ) from error
    wanted = asked(request) | {"seed": request.seed}
    before = study.user_attrs.get("asked")
    if before is None:
        study.set_user_attr("asked", wanted)
    elif before != wanted:
        different = [name for name in wanted if before.get(name) != wanted[name]]
        raise InputError(
            f"{asked_for.out}: holds a sweep with other {', '.join(different)}. Give another --out."
        )
    _retry(study)
    # A sampler that began anew with the same seed would propose the same trials again.
    study.sampler = optuna.samplers.TPESampler(seed=request.seed + len(study.trials))
    return study


def _retry(study: Any) -> None:
    """Let trials that a killed process was in fail, and propose them again.

    Nobody else is at work in the folder, so whatever runs has been left.
    """
    from optuna.trial import TrialState

    for left in study.get_trials(deepcopy=False, states=[TrialState.RUNNING]):
        study.tell(left.number, state=TrialState.FAIL)
        if left.params:
            study.enqueue_trial(left.params, user_attrs={"again": left.number})


# ---- trials -------------------------------------------------------------------------------


def _search(asked_for: Sweep, study: Any, parts: Parts, console: Console) -> None:
    n_before = len(done(study))
    if n_before:
        say(console, f"Going on after {n_before} trials.")
    while (n_done := len(done(study))) < asked_for.n_trials:
        trial = study.ask()
        multiplier = trial.suggest_float("multiplier", *MULTIPLIER)
        rate = trial.suggest_float("learning_rate", *LEARNING_RATE, log=True)
        said = f"trial {n_done + 1}/{asked_for.n_trials}: multiplier {multiplier:.3f}, "
        said += f"learning rate {rate:.4g}"
        outcome = _try(asked_for.request, study, trial, parts)
        say(console, f"{said}: {outcome}")


def _try(request: Request, study: Any, trial: Any, parts: Parts) -> str:
    """Train once, and tell the study; return what came of it."""
    from optuna.trial import TrialState

    estimator = _estimator(request, parts, parameters_of(trial.params))
    pruning = Pruning(trial, as_given(parts.judged), parts.truth)
    estimator.set_callbacks(pruning)
    try:
        with _without_warnings():
            estimator.fit(as_given(parts.learned), parts.y)
    except NotFiniteError:
        study.tell(trial, state=TrialState.PRUNED)
        return "given up: the loss became NaN or infinite"
    trial.set_user_attr("epochs", estimator.n_epochs_)
    if pruning.pruned:
        study.tell(trial, state=TrialState.PRUNED)
        return f"given up at epoch {estimator.n_epochs_} with {100 * pruning.accuracy:.2f} %"
    X = as_given(parts.judged)
    error = float(estimator.reconstruction_error(X).mean(dtype=np.float64))
    trial.set_user_attr("reconstruction_mse", error)
    accuracy = float(np.mean(estimator.predict(X) == parts.truth))
    study.tell(trial, accuracy)
    return f"{100 * accuracy:.2f} %, reconstruction error {error:.4f}"


@contextmanager
def _without_warnings() -> Iterator[None]:
    """A trial that loses classes is a bad one: its accuracy says so."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ClassCollapseWarning)
        yield


def _estimator(request: Request, parts: Parts, changes: dict[str, float]) -> Any:
    recipe = recipes.get_recipe(RECIPE)
    parameters = {**recipe.parameters, **changes, "unlabeled": parts.unlabeled}
    parameters |= {
        "device": request.device,
        "n_threads": request.threads,
        "random_state": request.seed,
    }
    if request.epochs is not None:
        parameters["epochs"] = request.epochs
    return ESTIMATORS[recipe.estimator](**parameters)


class Pruning(Callback):
    """After every epoch: tell the trial its accuracy, and stop where Optuna gives it up."""

    def __init__(self, trial: Any, X: np.ndarray, truth: np.ndarray) -> None:
        self.trial = trial
        self.X = X
        self.truth = truth
        self.accuracy = 0.0
        self.pruned = False

    def on_fit_task_end(
        self,
        estimator: Any,
        context: CallbackContext,
        *,
        metadata: Row | None = None,
        fitted_estimator: Any = None,
    ) -> bool:
        if context.task_name != "epoch":
            return False
        self.accuracy = float(np.mean(fitted_estimator.predict(self.X) == self.truth))
        self.trial.report(self.accuracy, len(estimator.history_))
        self.pruned = bool(self.trial.should_prune())
        return self.pruned
