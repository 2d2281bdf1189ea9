"""Runs killed by SIGKILL at random moments: `python tests/long/kills.py [KILLS]`.

Each run is killed again and again until it is complete, and is then compared with one that was
not disturbed: weights, history, result and pictures must be the same, bit for bit.
"""

from __future__ import annotations

import collections
import random
import shutil
import sys
import tempfile
import time
from pathlib import Path

from recording import record

from killing import KINDS, Program, content_of, finish, kill_at_random, write_data  # isort: skip


def main() -> None:
    wanted = int(sys.argv[1]) if len(sys.argv) > 1 else 200
    rng = random.Random(0)
    stages: dict[str, collections.Counter[str]] = {kind: collections.Counter() for kind in KINDS}
    completed, kills, broken = 0, 0, []
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        data = write_data(folder / "data.npz")
        whole, seconds = {}, {}
        Program("recipes", said=folder / "said.txt").wait()  # imports everything, once
        for kind in KINDS:
            start = time.monotonic()
            finish(data, folder / kind / "run", kind)
            seconds[kind] = time.monotonic() - start
            whole[kind] = content_of(folder / kind / "run")
        while kills < wanted:
            kind = list(KINDS)[completed % len(KINDS)]
            run = folder / "killed" / "run"
            shutil.rmtree(run.parent, ignore_errors=True)
            while True:
                stage = kill_at_random(data, run, kind, seconds[kind], rng)
                if stage == "done":
                    break
                stages[kind][stage] += 1
                kills += 1
            completed += 1
            found = content_of(run)
            if found != whole[kind]:
                different = [k for k in whole[kind] if whole[kind][k] != found.get(k)]
                broken.append({"kind": kind, "different": different})
            print(f"{kills} kills, {completed} runs, {len(broken)} of them different", flush=True)
    record(
        "kills",
        kills=kills,
        runs=completed,
        runs_that_differ=broken,
        kills_by_stage={kind: dict(counter) for kind, counter in stages.items()},
    )
    sys.exit(bool(broken))


if __name__ == "__main__":
    main()
