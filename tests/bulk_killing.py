"""Predictions in parts that are killed."""

from __future__ import annotations

import random
import signal
import time
from pathlib import Path

from killing import Program

from selfsort.verified import matching


def kill_at_random(
    command: tuple[object, ...], out: Path, said: Path, rng: random.Random, seconds: float
) -> bool:
    """Start a prediction or go on with it, and kill it; return whether it was, or was faster.

    It is killed within some seconds after it has written a part: before that it imports.
    """
    before = n_parts(out)
    program = Program(*command, said=said)
    while program.runs() and n_parts(out) == before:
        time.sleep(0.002)
    code = program.wait(rng.uniform(0, seconds))
    if code is None:
        program.send(signal.SIGKILL)
        code = program.wait()
    assert code in (0, -signal.SIGKILL), program.err()
    return code != 0


def n_parts(out: Path) -> int:
    return len(matching(out, "part-*")) if out.is_dir() else 0
