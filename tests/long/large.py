"""SIGINT and SIGTERM while MNIST is sorted: `python tests/long/large.py [MOMENTS]`.

How long a run of 60,000 images takes to end, at moments of all its stages. A run is stopped, goes
on and is stopped again, by one signal and the other in turn. It needs SELFSORT_DATA.
"""

from __future__ import annotations

import random
import signal
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path

from recording import record

from killing import Program, stage_of  # isort: skip

SIGNALS = (signal.SIGINT, signal.SIGTERM)
LONGEST = 60.0
"""Seconds to the next signal, at most."""
OFTEN = 2
"""A stage is stopped that often, then left to end: one that does not train begins again."""


def stopped(
    run: Path, number: signal.Signals, moment: float, stages: Counter[str]
) -> tuple[str, float | None]:
    """Start a run or go on, and end it; return its stage, and the seconds to the end."""
    said = run.with_name("said.txt")
    said.unlink(missing_ok=True)
    begun = (run / "run.json").is_file()
    arguments = ("--resume", run) if begun else ("mnist", "--labels", "none", "--out", run)
    program = Program("train", *arguments, said=said)
    while program.runs() and not ("Going on" in program.err() if begun else run.exists()):
        program.wait(0.1)
    program.wait(moment)
    while program.runs() and stages[stage_of(run) or "neighbours"] >= OFTEN:
        program.wait(1)
    if not program.runs():
        return "end", None
    stage = stage_of(run) or "neighbours"
    start = time.monotonic()
    program.send(number)
    code = program.wait()
    seconds = time.monotonic() - start
    assert code == 128 + number, (code, program.err())
    assert "Traceback" not in program.err()
    assert f"To go on: selfsort train --resume {run}" in program.err()
    return stage, seconds


def main() -> None:
    wanted = int(sys.argv[1]) if len(sys.argv) > 1 else 20
    rng = random.Random(0)
    slowest = dict.fromkeys(SIGNALS, 0.0)
    stages: Counter[str] = Counter()
    with tempfile.TemporaryDirectory() as name:
        run = Path(name) / "run"
        for i in range(wanted):
            number = SIGNALS[i % 2]
            stage, seconds = stopped(run, number, rng.uniform(0, LONGEST), stages)
            if seconds is None:
                break
            stages[stage] += 1
            slowest[number] = max(slowest[number], seconds)
            print(f"{number.name} in '{stage}': {seconds:.1f} s", flush=True)
    figures = {number.name: round(seconds, 1) for number, seconds in slowest.items()}
    record("signals on MNIST", slowest_s=figures, stages=dict(stages))
    sys.exit(any(seconds > 10 for seconds in slowest.values()))


if __name__ == "__main__":
    main()
