"""A clock that is moved by a day, while a run goes on and between two processes of it."""

from __future__ import annotations

import itertools
import os
import time
from pathlib import Path

import pytest
from killing import Program, content_of, finish, kill, start, wait_for_stage, write_data
from platforms import needs_signals

pytestmark = [pytest.mark.slow, needs_signals]
DAY = 24 * 60 * 60


def moved_again_and_again() -> None:
    """Let the clock be a day ahead, then a day behind, and so on, each time it is looked at."""
    right, days = time.time, itertools.cycle([DAY, -DAY])
    time.time = lambda: right() + next(days)
    time.time_ns = lambda: int(time.time() * 1e9)


def test_a_clock_that_is_moved(tmp_path: Path) -> None:
    data = write_data(tmp_path / "data.npz")
    finish(data, tmp_path / "whole" / "run", "all")
    run = tmp_path / "moved" / "run"
    program = start(data, run, "all", before=moved_again_and_again)
    assert wait_for_stage(program, run, "decoder"), program.err()
    kill(program)
    # The newest checkpoint seems to be the oldest one.
    for days, checkpoint in enumerate(sorted((run / "checkpoints").iterdir())):
        for path in (checkpoint, *checkpoint.iterdir()):
            then = time.time() - days * DAY
            os.utime(path, (then, then))
    said = run.with_name("said.txt")
    program = Program("train", "--resume", run, said=said, before=moved_again_and_again)
    assert program.wait() == 0, program.err()
    assert "Going on in 'decoder'" in program.err()
    assert content_of(run) == content_of(tmp_path / "whole" / "run")
