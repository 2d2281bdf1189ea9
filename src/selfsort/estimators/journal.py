"""What a fit has finished, so that another process can go on with it."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Iterator
from typing import Any, Protocol

import torch

from selfsort import parallel
from selfsort.training import Fit, Model, Row
from selfsort.training.snapshot import Arrays, Snapshot, keep_fit, keep_model, restore_model


class Keeper(Protocol):
    """Where snapshots of a fit are kept."""

    def newest(self, identity: dict[str, Any]) -> Snapshot | None:
        """Return the newest snapshot of the fit that `identity` describes; None: there is none."""

    def due(self) -> bool:
        """Return whether it is time for a snapshot."""

    def keep(self, snapshot: Snapshot) -> None:
        """Keep a snapshot, in place of older ones."""


def _of_first(found: Snapshot | None) -> Snapshot | None:
    """Return the first process's snapshot in all processes."""
    if parallel.n_processes() == 1:
        return found
    kept = (None, None) if found is None else (found.arrays, found.facts)
    arrays, facts = parallel.from_first(*kept)
    return None if facts is None else Snapshot(arrays, facts)


class Journal:
    """The stages of one fit that are finished, with their results, and the one it is in.

    A fit that goes on runs through its stages again: those that are finished give their results
    at once, and at the first other one the model, the generators and the training are set to what
    they were. What shapes the model in between is done again, for it costs nothing.

    Parameters
    ----------
    keeper : Keeper or None
        None: nothing is kept.
    identity : dict
        What the fit is of: JSON.
    generator : torch.Generator
    """

    def __init__(
        self, keeper: Keeper | None, identity: dict[str, Any], generator: torch.Generator
    ) -> None:
        self.keeper = keeper
        self.identity = identity
        self.generator = generator
        self.results: dict[str, Arrays] = {}
        self.history: list[Row] = []
        self.stage_seconds: dict[str, float] = {}
        self._stage = ""
        self._stage_started = 0.0
        self._pending = _of_first(None if keeper is None else keeper.newest(identity))
        self._started = time.perf_counter()
        if self._pending is not None:
            facts = self._pending.facts
            for name in facts["finished"]:
                self.results[name] = self._pending.below(f"result/{name}")
            self.history += facts["history"]
            self.stage_seconds |= facts["stage_seconds"]
            self._started -= facts["seconds"]

    @property
    def seconds(self) -> float:
        """Seconds of the fit so far, those of earlier processes too."""
        return time.perf_counter() - self._started

    def record(self, row: Row) -> None:
        """Add an epoch's row, with the time."""
        row["seconds"] = round(self.seconds, 3)
        self.history.append(row)

    def begin(self, name: str, model: Model, *, now: bool = False) -> Snapshot | None:
        """Come to a stage that is not finished; return its snapshot, if it was in the middle.

        `now` keeps a snapshot in any case.
        """
        found, self._pending = self._pending, None
        self._stage, self._stage_started = name, time.perf_counter()
        if found is None:
            self._keep_if_due(model, now=now)
            return None
        restore_model(found, model, self.generator)
        self._stage_started -= found.facts["stage_elapsed"]
        return found if "epoch" in found.facts else None

    @contextlib.contextmanager
    def kept_if_ended(self, model: Model) -> Iterator[None]:
        """Keep how a stage that does not train began, if the program is ended in the middle."""
        began = None if self.keeper is None else self._snapshot(model, None)
        try:
            yield
        except (KeyboardInterrupt, SystemExit):
            if self.keeper is not None and began is not None:
                self.keeper.keep(began)
            raise

    def end(self, name: str, result: Arrays | None = None) -> None:
        """Leave a stage that is finished, with its result."""
        self.results[name] = result or {}
        self.time(name)

    def time(self, name: str) -> None:
        """Note how long a stage took, also one that was stopped."""
        self.stage_seconds[name] = round(time.perf_counter() - self._stage_started, 3)

    def _keep_if_due(self, model: Model, fit: Fit | None = None, *, now: bool = False) -> None:
        if self.keeper is not None and (now or self.keeper.due()):
            self.keeper.keep(self._snapshot(model, fit))

    def watch(self, fit: Fit) -> None:
        """Let a fit's hooks keep snapshots too: now and then, and where the fit is stopped."""
        on_step, on_epoch = fit.on_step, fit.on_epoch

        def kept(stop: bool) -> bool:
            self._keep_if_due(fit.model, fit, now=stop)
            if stop:  # what comes after is there to end with, not to go on from
                self.keeper = None
            return stop

        fit.on_step = lambda step, n_steps: kept(on_step(step, n_steps))
        fit.on_epoch = lambda row: kept(on_epoch(row))

    def _snapshot(self, model: Model, fit: Fit | None) -> Snapshot:
        kept = Snapshot()
        kept.facts |= {
            "identity": self.identity,
            "finished": list(self.results),
            "stage": self._stage,
            "stage_elapsed": time.perf_counter() - self._stage_started,
            "stage_seconds": self.stage_seconds,
            "history": self.history,
            "seconds": self.seconds,
        }
        keep_model(kept, model, self.generator)
        for name, result in self.results.items():
            kept.add(f"result/{name}", result)
        if fit is not None:
            keep_fit(kept, fit)
        return kept
