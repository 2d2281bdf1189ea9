"""How good selfsort is at every number of labels: the table in `benchmarks/results/accuracy.md`.

    python benchmarks/accuracy.py                 # all rows, seeds 0-9, each row's first seed first
    python benchmarks/accuracy.py --only none --seeds 0-29
    python benchmarks/accuracy.py --minutes 60    # starts no run after that
    python benchmarks/accuracy.py --jobs 2        # two runs at once: more runs, no times to quote
    python benchmarks/accuracy.py --ablation      # `none` with one part removed each, seeds 0-2
    python benchmarks/accuracy.py --table         # only write the page again, from what is there
    python benchmarks/accuracy.py --list          # rows, goals and what is done

All of it takes days, so it goes on where it was: a finished run is one line of
`accuracy.jsonl` or `ablation.jsonl`, and is not repeated while the method's code stays the same.
Each run is a process of its own, alone on all cores unless `--jobs` says otherwise. Labels that a
row does not give to the estimator are looked at after the fit only, and choose nothing.

Where others edit the code meanwhile, measure a copy that stands still:

    git worktree add ../measured && cd ../measured
    PYTHONPATH=src ../main/.venv/bin/python benchmarks/accuracy.py
"""

from __future__ import annotations

import argparse
import datetime
import os
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from accuracy_pages import write_ablation, write_accuracy, write_prototypes
from accuracy_rows import ABLATION, ROWS, Row
from common import (
    RESULTS,
    Record,
    alone,
    append_line,
    as_line,
    at_least,
    circumstances,
    find_data,
    parse_seeds,
    patch,
    read_lines,
    run_script,
    setting,
)

# ---- runs ---------------------------------------------------------------------------------


def run_here(row: Row, seed: int, expected: str | None) -> Record:
    """Run once in this process, which was started for that."""
    version = row.version()
    if expected not in {None, version}:
        raise SystemExit("The method's code changed while this process started.")
    patch(row.patches)
    head = {"row": row.name, "seed": seed, "version": version, **circumstances()}
    return head | {"patches": row.written_patches(), **row.learn(seed)}


def run_apart(row: Row, seed: int, version: str, threads: int, jobs: int = 1) -> Record | None:
    """Run once in a process of its own; None where that failed."""
    arguments = ["--run", row.name, str(seed), "--expect", version]
    arguments += ["--ablation"] if row in ABLATION else []
    return run_script(Path(__file__), arguments, threads, jobs)


def run_missing(
    rows: Sequence[Row],
    seeds: Sequence[int],
    lines: Path,
    write: Callable[[], None],
    minutes: float = float("inf"),
    jobs: int = 1,
) -> int:
    """Run what is not there yet, the first seed of all rows first; return how many failed."""
    threads = max(1, (os.cpu_count() or 1) // jobs)
    here = setting({**circumstances(), "threads": threads})
    done = {(one["row"], one["seed"], one["version"], setting(one)) for one in read_lines(lines)}
    end = time.monotonic() + 60 * minutes
    one_at_a_time = threading.Lock()

    def run_if_missing(row: Row, seed: int) -> bool:
        version = row.version()  # each time: the code may have changed since the last run
        if (row.name, seed, version, here) in done or time.monotonic() >= end:
            return True
        record = run_apart(row, seed, version, threads, jobs)
        with one_at_a_time:
            if record is not None:
                append_line(lines, record)
                write()
            print(f"{datetime.datetime.now():%H:%M:%S} {said(row, seed, record)}", flush=True)
        return record is not None

    wanted = [(row, seed) for seed in seeds for row in rows]
    with ThreadPoolExecutor(jobs) as pool:
        return sum(not went for went in pool.map(run_if_missing, *zip(*wanted, strict=True)))


def said(row: Row, seed: int, record: Record | None) -> str:
    """Return a line about a run."""
    if record is None:
        return f"{row.name}, seed {seed}: FAILED, not recorded"
    accuracy = (record["test"] or record["train"])["accuracy"]
    return f"{row.name}, seed {seed}: {accuracy:.2%} in {record['seconds']:.0f} s"


# ---- the command line ---------------------------------------------------------------------


def print_list(rows: Sequence[Row], lines: Path) -> None:
    """Print each row, its goal, and how many seeds are done with the code as it is."""
    records = read_lines(lines)
    for row in rows:
        version = row.version()
        mine = [one for one in records if (one["row"], one["version"]) == (row.name, version)]
        seeds = Counter(name for name, _ in {(setting(one), one["seed"]) for one in mine})
        done = ", ".join(f"{count} on {name}" for name, count in sorted(seeds.items())) or "none"
        print(f"{row.name:12} {done} of {row.n_seeds} seeds at {version}: {row.what}")
        for bound in row.goal:
            print(f"{'':12} {bound}")


def parsed() -> argparse.Namespace:
    """Return what was asked for."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--only", action="append", help="a row's name; may be repeated")
    parser.add_argument("--seeds", type=parse_seeds, help="such as 0-29 or 0,3,7")
    parser.add_argument("--minutes", type=float, default=float("inf"), help="start none after")
    parser.add_argument(
        "--jobs", type=at_least(1), default=1, help="runs at once, on a part of the cores"
    )
    parser.add_argument("--ablation", action="store_true", help="`none` without one part each")
    parser.add_argument("--table", action="store_true", help="only write the page and picture")
    parser.add_argument("--list", action="store_true", help="list the rows and what is done")
    parser.add_argument("--run", nargs=2, metavar=("ROW", "SEED"), help="one run, here: its line")
    parser.add_argument("--expect", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    known = [row.name for row in (ABLATION if arguments.ablation else ROWS)]
    asked = [*(arguments.only or []), *(arguments.run or [])[:1]]
    unknown = [name for name in asked if name not in known]
    if unknown:
        parser.error(f"There is no row {unknown[0]!r}. Rows: {', '.join(known)}.")
    return arguments


def main() -> int:
    """Run what is missing of what was asked for, and write the page."""
    arguments = parsed()
    find_data()
    rows = ABLATION if arguments.ablation else ROWS
    lines = RESULTS / ("ablation.jsonl" if arguments.ablation else "accuracy.jsonl")
    write = write_ablation if arguments.ablation else write_accuracy
    if arguments.run:
        name, seed = arguments.run
        row = next(row for row in rows if row.name == name)
        print(as_line(run_here(row, int(seed), arguments.expect)))
        return 0
    chosen = [row for row in rows if not arguments.only or row.name in arguments.only]
    if arguments.list:
        print_list(chosen, lines)
        return 0
    failed = 0
    if not arguments.table:
        seeds = arguments.seeds or parse_seeds("0-2" if arguments.ablation else "0-9")
        with alone():
            failed = run_missing(chosen, seeds, lines, write, arguments.minutes, arguments.jobs)
    write()
    write_prototypes()
    return min(failed, 1)


if __name__ == "__main__":
    sys.exit(main())
