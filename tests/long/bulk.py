"""Predictions in parts killed by SIGKILL at random moments: `python tests/long/bulk.py [KILLS]`.

Each prediction is killed again and again until it is complete, and is then compared with one that
was not disturbed: the parts must have the same bytes, and every image one row.
"""

from __future__ import annotations

import random
import shutil
import sys
import tempfile
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
from recording import record

from bulk_killing import kill_at_random  # isort: skip
from killing import Program  # isort: skip
from running import digits, write_npz  # isort: skip
from selfsort.verified import matching  # isort: skip

N_IMAGES, PART_SIZE = 6000, 50
SECONDS = 2.0
"""A part takes a fraction of that: so a prediction is killed in any of its doings."""


def content_of(out: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in matching(out, "part-*")}


def main() -> None:
    wanted = int(sys.argv[1]) if len(sys.argv) > 1 else 200
    rng = random.Random(0)
    kills, completed, left_temporary, broken = 0, 0, 0, []
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        said, run, data = folder / "said.txt", folder / "run", folder / "new.npy"
        write_npz(folder / "data.npz", n=300, n_test=0)
        training = ("--labels", "all", "--epochs", 3, "--threads", 1)
        program = Program("train", folder / "data.npz", "--out", run, *training, said=said)
        assert program.wait() == 0, program.err()
        images = np.tile(digits(1500)[0], (N_IMAGES // 1500, 1, 1))
        np.save(data, images)
        command = ("predict", run, data, "--part-size", PART_SIZE, "--threads", 1, "--out")
        whole, out = folder / "whole", folder / "killed"
        program = Program(*command, whole, said=said)
        assert program.wait() == 0, program.err()
        undisturbed = content_of(whole)
        while kills < wanted:
            shutil.rmtree(out, ignore_errors=True)
            while kill_at_random((*command, out), out, said, rng, SECONDS):
                kills += 1
                left_temporary += bool(matching(out, ".part-*"))
            completed += 1
            rows = np.concatenate(
                [pq.read_table(path)["index"] for path in matching(out, "part-*")]
            )
            found = content_of(out)
            if found != undisturbed or rows.tolist() != list(range(N_IMAGES)):
                different = [k for k in undisturbed if undisturbed[k] != found.get(k)]
                broken.append({"different": different, "rows": len(rows)})
            print(f"{kills} kills, {completed} runs, {len(broken)} different", flush=True)
    record(
        "bulk",
        kills=kills,
        kills_within_a_write=left_temporary,
        predictions=completed,
        images=N_IMAGES,
        predictions_that_differ=broken,
    )
    sys.exit(bool(broken))


if __name__ == "__main__":
    main()
