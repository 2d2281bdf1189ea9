"""What a user would take instead, beside selfsort: `benchmarks/results/peers.md`.

    python benchmarks/peers.py               # about eight hours on 2 cores; goes on where it was
    python benchmarks/peers.py --only N2D    # one work; may be repeated
    python benchmarks/peers.py --table       # only write the page and the picture again

Both sides run in one environment of their own, `runs/peers/venv`, made by the first call from
`benchmarks/peers.txt`, each work in a process of its own on all cores and nothing beside it.
ClustPy needs torchvision, and so an environment with another PyTorch: `peers-clustpy.txt`.
All are done in turn, in three rounds, whose numbers are the seeds. ClustPy's four take half an hour
each, in every round.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import venv
from pathlib import Path

from clustpy_works import CLUSTERINGS
from common import (
    RESULTS,
    ROOT,
    SOURCE,
    Record,
    alone,
    append_line,
    circumstances,
    machine,
    method_version,
    read_lines,
)
from peers_page import BESIDE, COMPARED, ENGINES, FITS, OURS, draw, page

LINES = RESULTS / "peers.jsonl"
FOLDER = ROOT / "runs" / "peers"
ROUNDS = 3

# ---- runs -----------------------------------------------------------------------------------


def interpreter(work: str) -> Path:
    """Return the Python of a work's environment, made if it is not there."""
    suffix = "-clustpy" if work in CLUSTERINGS else ""
    python = FOLDER / f"venv{suffix}" / "bin" / "python"
    if not python.exists():
        venv.create(python.parents[1], with_pip=True)
        packages = ROOT / "benchmarks" / f"peers{suffix}.txt"
        command = [python, "-m", "pip", "install", "--quiet", "--requirement", packages]
        subprocess.run(command, check=True)
    return python


def run(work: str, number: int) -> Record:
    """Do a work in a process of its own, with a round's number as its seed; return its record."""
    threads = str(os.cpu_count() or 1)
    environment = {**os.environ, "PYTHONPATH": str(SOURCE.parent), "OMP_NUM_THREADS": threads}
    script = "clustpy_works.py" if work in CLUSTERINGS else "peer_works.py"
    command = [str(interpreter(work)), str(ROOT / "benchmarks" / script), work, str(number)]
    done = subprocess.run(command, env=environment, stdout=subprocess.PIPE, text=True, check=False)
    found = json.loads(done.stdout.splitlines()[-1]) if done.returncode == 0 else None
    identity = {"work": work, "round": number, "version": version_of(work)}
    return {**identity, **circumstances(), "found": found}


def version_of(work: str) -> str | None:
    """Return the version of ours that a work is measured beside; None where it may be any.

    What is compared in turn is of one version on both sides, so that both sides are done again.
    """
    in_turn = work in (*COMPARED, *BESIDE, ENGINES) or work.startswith(OURS)
    return method_version(["recipes"]) if in_turn else None


def run_missing(wanted: list[str]) -> int:
    """Do what is not there yet of this machine and version, the works of a round in turn.

    Return how many works ended with an error: they have no record, and are done again next time.
    """
    failed = 0
    done = {(one["work"], one["round"], *conditions(one)) for one in read_lines(LINES)}
    plan = [
        (work, number)
        for number in range(ROUNDS)
        for work in (*COMPARED, *FITS, ENGINES)
        if number == 0 or work != ENGINES  # which has rounds inside
    ]
    for work, number in plan:
        asked = not wanted or work in wanted
        if not asked or (work, number, machine(), version_of(work)) in done:
            continue
        record = run(work, number)
        print(work, number, record["found"] or "ended with an error", flush=True)
        if record["found"] is None:
            failed += 1
        else:
            append_line(LINES, record)
    return failed


# ---- the page -------------------------------------------------------------------------------


def conditions(record: Record) -> tuple[str, str | None]:
    """Return the machine and the version that a record is of."""
    return record["machine"], record.get("version")


def newest_of(records: list[Record]) -> list[Record]:
    """Return the records that count: those of the newest machine and version of each work."""
    last: dict[str, Record] = {}
    for one in sorted(records, key=lambda one: one["date"]):
        last[one["work"]] = one
    return [one for one in records if conditions(one) == conditions(last[one["work"]])]


def write() -> None:
    """Write the page and the picture."""
    records = newest_of(read_lines(LINES))
    if records:
        (RESULTS / "peers.md").write_text(page(records), encoding="utf-8")
        draw(records, RESULTS / "peers.png")


def main() -> int:
    """Do what is missing of what was asked for, and write the page."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    known = [*COMPARED, *FITS, ENGINES]
    parser.add_argument("--only", action="append", choices=known, default=[], help="one work")
    parser.add_argument("--table", action="store_true", help="only write the page again")
    arguments = parser.parse_args()
    failed = 0
    if not arguments.table:
        with alone():
            failed = run_missing(arguments.only)
    write()
    return min(failed, 1)


if __name__ == "__main__":
    sys.exit(main())
