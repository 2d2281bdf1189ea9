"""How a prediction in parts is told of while it is made."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Iterator
from dataclasses import dataclass, field

from rich.console import Console

from selfsort.runs.bulk.parts import Part, PartFacts
from selfsort.runs.callbacks import progress_bar
from selfsort.runs.data import MOST_TOLD, tell_left_out


@dataclass
class Told:
    """What has been done so far, and how it is told: a bar on a terminal, else a line a part."""

    console: Console
    n_images: int
    n_seen: int = 0
    n_rows: int = 0
    n_doubtful: int = 0
    n_skipped: int = 0
    reasons: list[str] = field(default_factory=list)
    n_kept: int = 0

    def keep(self, facts: PartFacts) -> None:
        """Count a part that was there."""
        self.n_kept += 1
        self._count(facts)

    def add(self, part: Part, facts: PartFacts) -> None:
        """Count a part that was made now, and tell of it."""
        self._count(facts)
        self._bar.update(self._task, completed=self.n_seen)
        if not self.console.is_terminal:
            rate = (self.n_seen - self._before) / max(time.monotonic() - self._started, 1e-9)
            self._say(
                f"{part.name}: {self.n_seen:,} of {self.n_images:,} images, {rate:,.0f} images/s"
            )

    def _count(self, facts: PartFacts) -> None:
        self.n_seen += facts.stop - facts.first
        self.n_rows += facts.n_rows
        self.n_doubtful += facts.n_doubtful
        self.n_skipped += len(facts.skipped)
        room = MOST_TOLD - len(self.reasons)
        self.reasons += [reason for _, reason in facts.skipped[:room]]

    @contextlib.contextmanager
    def shown(self, n_parts: int) -> Iterator[None]:
        """Show a bar on a terminal; in the end say which pictures were left out."""
        self._before, self._started = self.n_seen, time.monotonic()
        if self.n_kept:
            self._say(f"Going on: {self.n_kept:,} of {n_parts:,} parts are there.")
        self._bar = progress_bar(self.console)
        self._task = self._bar.add_task("predict", total=self.n_images, completed=self.n_seen)
        with self._bar if self.console.is_terminal else contextlib.nullcontext():
            yield
        tell_left_out(self.console, self.reasons, self.n_skipped, self.n_rows)

    def _say(self, line: str) -> None:
        self.console.print(line, highlight=False, soft_wrap=True, markup=False)
