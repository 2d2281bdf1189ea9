"""Learn from the corrections, in a process of its own, while the page stays usable."""

from __future__ import annotations

import contextlib
import csv
import json
import os
import shutil
import subprocess
import sys
import threading
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from rich.console import Console

from selfsort.checkpoints import write_atomically
from selfsort.datasets import Dataset
from selfsort.errors import InputError, SelfsortError
from selfsort.images import ImageSet
from selfsort.runs.data import keys_of
from selfsort.runs.loading import load_images
from selfsort.runs.request import Request, read_record
from selfsort.runs.training import train
from selfsort.sorting import LABELLED_EPOCH_SHARES
from selfsort.verified import matching
from selfsort.web.studio import REFINED, Studio

N_TYPICAL = 10
"""Images of each class, beside those that a person decided on, whose class counts as known."""


@dataclass
class Learning:
    """One training from corrections."""

    run: str
    process: subprocess.Popen[bytes] | None
    began: float
    state: str = "running"
    error: str | None = None
    seconds: float = 0.0
    before: dict[str, float | None] | None = None
    after: dict[str, float | None] | None = None
    n_changed: int | None = None
    cancelled: bool = False
    waiting: threading.Thread | None = None


class NotNowError(InputError):
    """What is asked for does not go with the training that there is."""


class Trainer:
    """At most one training at a time.

    Parameters
    ----------
    studio : Studio
    """

    def __init__(self, studio: Studio) -> None:
        self.studio = studio
        self.current: Learning | None = None
        self._lock = threading.Lock()
        self._find_undecided()

    def _find_undecided(self) -> None:
        """Offer again what was learned when the page was closed; remove what was not finished."""
        kept = self.studio.kept_runs()
        for number in self._numbers():
            folder = self.studio.folder / f"{REFINED}{number}"
            if folder.name in kept:
                continue
            if self.current is None and (folder / "result.json").is_file():
                self.current = Learning(folder.name, None, time.monotonic(), state="done")
                self._measure(self.current)
            else:
                shutil.rmtree(folder)

    def start(self) -> None:
        """Begin to learn from the corrections.

        Raises
        ------
        NotNowError
            If one is running, or nothing was corrected.
        """
        with self._lock:
            if self.current is not None and self.current.state == "running":
                raise NotNowError("A training is running already.")
            if self.current is not None and self.current.state == "done":
                raise NotNowError("Keep or throw away what was learned last, first.")
            folder = self._folder()
            _write_labels(self.studio, folder.with_suffix(".csv"))
            arguments = [sys.executable, "-m", "selfsort.web.learning"]
            process = subprocess.Popen(  # noqa: S603 - our own module
                [*arguments, str(self.studio.folder), folder.name],
                stdin=subprocess.PIPE,  # which ends with this process, and the training with it
                stdout=subprocess.DEVNULL,
                stderr=subprocess.PIPE,
            )
            self.current = Learning(folder.name, process, time.monotonic())
            waiting = threading.Thread(target=self._wait, args=(self.current,), daemon=True)
            self.current.waiting = waiting
            waiting.start()

    def _numbers(self) -> list[int]:
        """Return the numbers of the refined runs that there are."""
        names = [path.name for path in matching(self.studio.folder, f"{REFINED}*") if path.is_dir()]
        found = [name.removeprefix(REFINED) for name in names]
        return sorted(int(text) for text in found if text.isascii() and text.isdecimal())

    def _folder(self) -> Path:
        return self.studio.folder / f"{REFINED}{max(self._numbers(), default=0) + 1}"

    def _wait(self, learning: Learning) -> None:
        assert learning.process is not None  # noqa: S101
        assert learning.process.stderr is not None  # noqa: S101
        with learning.process:  # closes its pipes at the end
            said = learning.process.stderr.read()
        try:
            if learning.process.returncode == 0:
                self._measure(learning)
                learning.state = "done"
            else:
                lines = said.decode(errors="replace").strip().splitlines()
                learning.error = lines[-1] if lines else "The training ended without a word."
                learning.state = "failed"
        except Exception as error:  # whatever it is, the page has to say so
            learning.error, learning.state = f"{type(error).__name__}: {error}", "failed"
        finally:
            learning.seconds = time.monotonic() - learning.began
            (self.studio.folder / f"{learning.run}.csv").unlink(missing_ok=True)
            if learning.state != "done" or learning.cancelled:
                self._remove(learning)

    def _measure(self, learning: Learning) -> None:
        """Compare the network in use with the new one."""
        studio = self.studio
        known = studio.known_classes(learning.run)
        new = {number: frozenset([column]) for column, number in enumerate(known)}
        predicted = np.array(known)[studio.facts(learning.run).probabilities.argmax(1)]
        with studio.lock:
            old = {number: group.columns for number, group in studio.board.classes.items()}
            learning.before = studio.figures(studio.board.run, old)
            learning.after = studio.figures(learning.run, new)
            free = ~studio.board.corrected
            learning.n_changed = int((predicted[free] != studio.board.labels[free]).sum())

    def cancel(self) -> None:
        """End the training that runs."""
        with self._lock:
            learning = self._of_state("running")
            learning.cancelled = True
            assert learning.process is not None and learning.waiting is not None  # noqa: S101
            learning.process.kill()
            learning.waiting.join()  # it clears up what the next training must not find
            self.current = None

    def keep(self) -> dict[str, Any]:
        """Use what was learned."""
        with self._lock:
            state = self.studio.take_over(self._of_state("done").run)
            self.current = None
            return state

    def discard(self) -> None:
        """Throw away what was learned, or the error."""
        with self._lock:
            if self.current is not None and self.current.state == "failed":
                self.current = None
                return
            self._remove(self._of_state("done"))
            self.current = None

    def close(self) -> None:
        """End what runs."""
        with contextlib.suppress(InputError):
            self.cancel()

    def _of_state(self, state: str) -> Learning:
        if self.current is None or self.current.state != state:
            raise NotNowError("There is no training to decide on.")
        return self.current

    def _remove(self, learning: Learning) -> None:
        shutil.rmtree(self.studio.folder / learning.run, ignore_errors=True)
        self.studio.forget(learning.run)

    def told(self) -> dict[str, Any] | None:
        """Return how the training stands; None where there is none."""
        learning = self.current
        if learning is None:
            return None
        stage, progress = ("", 1.0)
        seconds = learning.seconds
        if learning.state == "running":
            stage, progress = progress_of(self.studio.folder / learning.run / "history.jsonl")
            seconds = time.monotonic() - learning.began
        return {
            "state": learning.state,
            "progress": progress,
            "stage": stage,
            "seconds": round(seconds, 1),
            "error": learning.error,
            "before": learning.before,
            "after": learning.after,
            "n_changed": learning.n_changed,
        }


def progress_of(history: Path) -> tuple[str, float]:
    """Return the stage that a training is in, and how much of it is done, from 0 to 1."""
    try:
        lines = history.read_text(encoding="utf-8").splitlines()
        row = json.loads(lines[-1])
    except (OSError, IndexError, ValueError):
        return "", 0.0
    shares = LABELLED_EPOCH_SHARES
    stage = str(row["stage"])
    part = row["epoch"] / row["n_epochs"]
    if stage not in shares:
        return stage, 0.5 * part
    before = list(shares)[: list(shares).index(stage)]
    done = sum(shares[name] for name in before) + part * shares[stage]
    return stage, done / sum(shares.values())


def _write_labels(studio: Studio, path: Path) -> None:
    """Write what counts as known: what a person decided on, and typical images of each class.

    Classes are written by number: names may change, and may be the same.
    """
    with studio.lock:
        board, p = studio.board, studio.probability()
        known = board.corrected & (board.labels >= 0)
        if not board.corrected.any() and len(studio.log) == 0:
            raise NotNowError("Nothing was corrected yet: there is nothing to learn from.")
        chosen = known.copy()
        for number, group in board.classes.items():
            rows = np.flatnonzero((board.labels == number) & ~board.corrected)
            if group.columns:
                chosen[rows[np.argsort(-p[rows], kind="stable")[:N_TYPICAL]]] = True
        header, keys = keys_of(studio.images)
        rows_out = [(keys[i], str(int(board.labels[i]))) for i in np.flatnonzero(chosen)]

    def write(temporary: Path) -> None:
        with temporary.open("w", encoding="utf-8", newline="") as file:
            writer = csv.writer(file)
            writer.writerow((header, "class"))
            writer.writerows(rows_out)

    write_atomically(path, write)


def learn(folder: Path, name: str) -> None:
    """Train on the images of a run and the labels in ``NAME.csv``, into its folder ``NAME``."""
    record = read_record(folder)
    data = load_images(record)
    # Whatever labels the data has, nothing may be learned from them, or be chosen by them.
    images = ImageSet(data.train.images, names=data.train.names, skipped=data.train.skipped)
    request = Request(
        data=record.data,
        recipe="teach",
        labels=str(folder / f"{name}.csv"),
        seed=record.seed,
        device=record.device,
        threads=record.threads,
        size=record.size,
        on_error=record.on_error,
        sample=record.sample,
        out=folder / name,
    )
    train(request, Console(stderr=True, quiet=True), Dataset(data.name, images, None, data.path))


def _end_with_the_page() -> None:
    while os.read(0, 1024):  # not sys.stdin, whose lock the interpreter takes when it ends
        pass
    os._exit(1)


if __name__ == "__main__":
    threading.Thread(target=_end_with_the_page, daemon=True).start()
    try:
        learn(Path(sys.argv[1]), sys.argv[2])
    except SelfsortError as problem:
        sys.exit(str(problem))
