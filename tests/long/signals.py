"""SIGINT and SIGTERM at many moments: `python tests/long/signals.py [MOMENTS]`.

Runs are stopped by each of the signals, go on and are stopped again. Each must end with the exit
code of the signal, with a checkpoint; and in the end, with the same bits as one left alone.
"""

from __future__ import annotations

import random
import shutil
import signal
import sys
import tempfile
from collections import Counter
from pathlib import Path

from recording import record

from killing import content_of, finish, stopped_again_and_again, write_data  # isort: skip


def main() -> None:
    wanted = int(sys.argv[1]) if len(sys.argv) > 1 else 20
    rng = random.Random(0)
    figures = {}
    same = True
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        data = write_data(folder / "data.npz")
        finish(data, folder / "whole" / "run", "none", every=30)
        content = content_of(folder / "whole" / "run")
        for number in (signal.SIGINT, signal.SIGTERM):
            stages: Counter[str] = Counter()
            slowest = 0.0
            while stages.total() < wanted:
                run = folder / "stopped" / "run"
                shutil.rmtree(run.parent, ignore_errors=True)
                moments = [rng.uniform(0, 1.5) for _ in range(5)]
                took, seen = stopped_again_and_again(data, run, number, moments)
                slowest = max(slowest, took)
                stages.update(seen)
                finish(data, run, "none")
                same &= content_of(run) == content
            figures[number.name] = {"slowest_s": round(slowest, 1), "stages": dict(stages)}
    record("signals", same_bits=same, **figures)
    sys.exit(not same)


if __name__ == "__main__":
    main()
