"""Damaged checkpoints: `python tests/long/mutations.py [COUNT]`.

Checkpoints of a real run are damaged in every way that `mutating.py` knows, one at a time; each
must be seen, and the previous checkpoint used, with one warning.
"""

from __future__ import annotations

import json
import random
import shutil
import sys
import tempfile
import warnings
from pathlib import Path

from recording import record

from killing import kill, start, wait_for_stage, write_data  # isort: skip
from mutating import damage, restore  # isort: skip

from selfsort import Checkpoint, DamagedCheckpointWarning


def main() -> None:
    wanted = int(sys.argv[1]) if len(sys.argv) > 1 else 10_000
    rng = random.Random(0)
    missed = []
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        run = folder / "killed" / "run"
        data = write_data(folder / "data.npz")
        program = start(data, run, "none")
        wait_for_stage(program, run, "second self-training")
        kill(program)
        checkpoints = Checkpoint(run / "checkpoints")
        older, newest = sorted((run / "checkpoints").glob("[0-9]*"))[-2:]
        sound = folder / "sound"
        shutil.copytree(newest, sound)
        identity = json.loads((newest / "facts.json").read_bytes())["identity"]
        for i in range(wanted):
            done = damage(newest, older, rng, i)
            with warnings.catch_warnings(record=True) as caught:
                warnings.simplefilter("always")
                try:
                    found = checkpoints.newest(identity)
                except Exception as error:  # whatever it is, it is a failure
                    missed.append(f"{done}: {type(error).__name__}: {error}")
                    found = None
            said = [str(one.message) for one in caught]
            fine = (
                found is not None
                and len(said) == 1
                and issubclass(caught[0].category, DamagedCheckpointWarning)
                and said[0].endswith(f"goes on from {older}.")
            )
            if not fine:
                missed.append(done)
            restore(newest, sound)
    record("mutations", mutations=wanted, missed=missed)
    sys.exit(bool(missed))


if __name__ == "__main__":
    main()
