"""What a run hangs on scikit-learn's callbacks: progress, history, pictures, Ctrl-C."""

from __future__ import annotations

import contextlib
import json
import signal
import sys
import threading
import types
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import IO, Any

import numpy as np
import torch
from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    TaskID,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)
from sklearn.callback import CallbackContext

from selfsort.checkpoints import write_text
from selfsort.estimators import Checkpoint
from selfsort.objectives import RECONSTRUCTION_TERMS
from selfsort.recipes import MEAN, STD
from selfsort.training.snapshot import Snapshot

Row = dict[str, Any]


class Callback:
    """A scikit-learn callback that does nothing yet."""

    def setup(self, estimator: Any, context: CallbackContext) -> None:
        """Begin a fit."""

    def teardown(self, estimator: Any, context: CallbackContext) -> None:
        """End a fit, whether it succeeded or not."""

    def on_fit_task_begin(
        self, estimator: Any, context: CallbackContext, *, metadata: Row | None = None
    ) -> None:
        """Begin a stage, an epoch or some steps."""

    def on_fit_task_end(
        self, estimator: Any, context: CallbackContext, *, metadata: Row | None = None
    ) -> bool:
        """End a stage, an epoch or some steps; return whether to stop."""
        return False


def row_in_words(row: Row, *, normalised: bool = False) -> str:
    """Return one line that tells of an epoch.

    Examples
    --------
    >>> row_in_words({"stage": "fit", "epoch": 2, "n_epochs": 9, "mse": 0.0633, "seconds": 4.2,
    ...     "loss": 0.0633, "images_per_second": 1234.5}, normalised=True)
    'fit 2/9: mse 0.06330 (normalised 0.6668), 1,234 images/s, 4 s'
    """
    known = ("stage", "epoch", "n_epochs", "seconds", "loss", "images_per_second")
    terms = []
    for name, value in row.items():
        if name in known:
            continue
        if name == "test_accuracy":
            terms.append(f"test accuracy {100 * value:.2f} %")
        elif name == "mse" and normalised:
            terms.append(f"mse {value:.5f} (normalised {value / STD**2:.4f})")
        else:
            terms.append(f"{name} {value:.5f}")
    return (
        f"{row['stage']} {row['epoch']}/{row['n_epochs']}: {', '.join(terms)}, "
        f"{row['images_per_second']:,.0f} images/s, {row['seconds']:.0f} s"
    )


class Watch(Callback):
    """After every epoch: write the history, keep ten reconstructions, score, say so.

    Reconstructions are kept of the epochs that learn to rebuild images: before those, the
    decoder has learned nothing, and may not even fit the codes.

    Parameters
    ----------
    folder : Path
        Each epoch's row is appended to its ``history.jsonl`` at once.
    samples : ndarray
        The images that are rebuilt after every epoch.
    test_accuracy : callable or None
        From the estimator to its accuracy on the test images; only for fits with labels, and
        only to be shown: nothing is chosen by it.
    say : callable
        Shows one line.
    begin : callable
        Makes the folder ready once the fit begins, when all input was found good.
    stage : str, default=""
        Where the run fits several times: the name of this fit, in place of the stage's.
    earlier : sequence of dict, default=()
        Rows of the run's fits before this one.
    """

    def __init__(
        self,
        folder: Path,
        samples: np.ndarray,
        test_accuracy: Callable[[Any], float] | None,
        say: Callable[[str], None],
        begin: Callable[[], None],
        stage: str = "",
        earlier: Sequence[Row] = (),
    ) -> None:
        self.stage = stage
        self.begin = begin
        self.earlier = list(earlier)
        self.folder = folder
        self.samples = samples
        self.test_accuracy = test_accuracy
        self.say = say
        self.rows: list[Row] = []
        self.pictures: list[np.ndarray] = []
        self.labels: list[str] = []

    def setup(self, estimator: Any, context: CallbackContext) -> None:
        self.begin()

    def keep(self, kept: Snapshot) -> None:
        """Add what was seen so far to a snapshot of the fit."""
        kept.facts["watched"] = {"rows": self.rows, "labels": self.labels}
        if self.pictures:
            kept.arrays["watched/pictures"] = torch.from_numpy(np.stack(self.pictures))

    def go_on_from(self, kept: Snapshot | None) -> None:
        """Take over what an earlier process had seen; the history says no more than that."""
        if kept is not None:
            watched = kept.facts["watched"]
            self.rows, self.labels = watched["rows"], watched["labels"]
            self.pictures = list(kept.arrays.get("watched/pictures", torch.empty(0)).numpy())
            self.say(f"Going on in '{kept.facts['stage']}', after {kept.facts['seconds']:.0f} s.")
        path = self.folder / "history.jsonl"
        if path.exists() or self.rows:
            rows = [*self.earlier, *self.rows]
            write_text(path, "".join(json.dumps(row) + "\n" for row in rows))

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
        row = dict(estimator.history_[-1])
        row["stage"] = self.stage or row["stage"]
        rebuilds = any(name in row for name in RECONSTRUCTION_TERMS)
        # While fine clusters are learned, the network's outputs are not the classes yet.
        if self.test_accuracy is not None and (rebuilds or "classification" in row):
            row["test_accuracy"] = self.test_accuracy(fitted_estimator)
        self.rows.append(row)
        with (self.folder / "history.jsonl").open("a", encoding="utf-8") as file:
            file.write(json.dumps(row) + "\n")
        if rebuilds:
            self.pictures.append(np.clip(fitted_estimator._pixels(self.samples), 0, 1))
            self.labels.append(f"{row['stage']} {row['epoch']}")
        self.say(row_in_words(row, normalised=(estimator.mean, estimator.std) == (MEAN, STD)))
        return False


def progress_bar(console: Console) -> Progress:
    """Return a live bar that says how much is done, and when the rest will be."""
    return Progress(
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
        TimeRemainingColumn(),
        console=console,
        transient=True,
    )


class Bars(Callback):
    """A live bar for the epoch in progress, and one for the stage."""

    def __init__(self, console: Console) -> None:
        self.progress = progress_bar(console)
        self.task: TaskID | None = None

    def setup(self, estimator: Any, context: CallbackContext) -> None:
        self.progress.start()

    def teardown(self, estimator: Any, context: CallbackContext) -> None:
        self.progress.stop()

    def _start(self, description: str, total: float | None) -> None:
        if self.task is not None:
            self.progress.remove_task(self.task)
        self.task = self.progress.add_task(description, total=total)

    def on_fit_task_begin(
        self, estimator: Any, context: CallbackContext, *, metadata: Row | None = None
    ) -> None:
        if context.task_name == "epoch":
            self._start(f"{(metadata or {})['stage']}, epoch {context.task_id + 1}", None)
        elif context.task_name != "steps" and context.parent is not None:
            self._start(context.task_name, None)

    def on_fit_task_end(
        self, estimator: Any, context: CallbackContext, *, metadata: Row | None = None
    ) -> bool:
        if context.task_name == "steps" and self.task is not None and metadata is not None:
            self.progress.update(self.task, completed=metadata["step"], total=metadata["n_steps"])
        return False


class RunCheckpoint(Checkpoint):
    """The checkpoints of a run, with what was watched so far; the run deletes them."""

    def __init__(self, folder: Path, every: float, watch: Watch, stop: StopOnSignal) -> None:
        super().__init__(folder, every)
        self.watch = watch
        self.stop = stop

    def newest(self, identity: dict[str, Any]) -> Snapshot | None:
        found = super().newest(identity)
        self.watch.go_on_from(found)
        return found

    def keep(self, snapshot: Snapshot) -> None:
        self.watch.keep(snapshot)
        super().keep(snapshot)
        self.stop.leave_if_asked()

    def on_fit_task_end(
        self, estimator: Any, context: CallbackContext, *, metadata: Row | None = None
    ) -> bool:
        return False


TERMINATED = 128 + signal.SIGTERM
"""The exit code of a program that SIGTERM ended."""


@contextlib.contextmanager
def leaving_on_sigterm() -> Iterator[None]:
    """Let SIGTERM end the program as an exception does, so that what is open is closed."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = signal.signal(signal.SIGTERM, lambda number, frame: sys.exit(TERMINATED))
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


class StopOnSignal(Callback):
    """The first Ctrl-C ends the training at the next step; a second one ends the program.

    SIGTERM ends the program as soon as there is a checkpoint. So does the first Ctrl-C without
    `report`; in a stage that does not train it ends the program at once, for nothing is learned
    there.

    Parameters
    ----------
    messages : file
    report : bool
        Whether the program goes on to a report when the training was interrupted.
    interrupted : bool, default=False
        Whether to end the training at the first step.
    """

    def __init__(self, messages: IO[str], *, report: bool, interrupted: bool = False) -> None:
        self.messages = messages
        self.report = report
        self.interrupted = interrupted
        self.leaving: BaseException | None = None
        self._trains = False
        self._before: dict[signal.Signals, Any] = {}

    def setup(self, estimator: Any, context: CallbackContext) -> None:
        if threading.current_thread() is threading.main_thread():
            for number, act in (
                (signal.SIGINT, self._interrupt),
                (signal.SIGTERM, self._terminate),
            ):
                self._before[number] = signal.signal(number, act)

    def teardown(self, estimator: Any, context: CallbackContext) -> None:
        for number, before in self._before.items():
            signal.signal(number, before)
        self._before = {}

    def _interrupt(self, number: int, frame: types.FrameType | None) -> None:
        if self.interrupted or self.leaving or not self._trains:
            raise KeyboardInterrupt
        if self.report:
            self.interrupted = True
            what = "ending with what was learned so far"
        else:
            self.leaving = KeyboardInterrupt()
            what = "ending with a checkpoint"
        print(f"Interrupted: {what} (Ctrl-C again: at once).", file=self.messages)

    def _terminate(self, number: int, frame: types.FrameType | None) -> None:
        self.leaving = SystemExit(TERMINATED)
        if not self._trains:
            raise self.leaving

    def leave_if_asked(self) -> None:
        """End the program if a signal asked for it: now there is a checkpoint."""
        if self.leaving is not None:
            raise self.leaving

    def on_fit_task_begin(
        self, estimator: Any, context: CallbackContext, *, metadata: Row | None = None
    ) -> None:
        # The context of a stage opens before its data is made ready, that of an epoch after it.
        self._trains = context.task_name in ("epoch", "steps")

    def on_fit_task_end(
        self, estimator: Any, context: CallbackContext, *, metadata: Row | None = None
    ) -> bool:
        if context.task_name not in ("epoch", "steps"):
            self._trains = False
        return self.interrupted or self.leaving is not None
