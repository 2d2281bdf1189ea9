"""Every bottleneck on MNIST, side by side: `benchmarks/results/bottlenecks.md`.

    python benchmarks/bottlenecks.py                 # goes on where it was
    python benchmarks/bottlenecks.py --minutes 120   # starts no run after that
    python benchmarks/bottlenecks.py --table         # only write the page again

Each seed is one `selfsort bottlenecks mnist`, and two runs of the recipe `m2-labels`, on one
thread each; as many of them run side by side as there are cores.
"""

from __future__ import annotations

import argparse
import datetime
import functools
import json
import os
import shutil
import sys
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
from common import (
    RESULTS,
    ROOT,
    Record,
    alone,
    append_line,
    as_line,
    bottleneck_version,
    circumstances,
    find_data,
    first_by_seed,
    origin,
    parse_seeds,
    read_lines,
    run_script,
    spread,
    table,
)

from selfsort import AutoencoderClassifier
from selfsort.datasets import load_dataset
from selfsort.recipes import get_recipe
from selfsort.report.bottlenecks import MEANINGS, STRIPS
from selfsort.runs import BottleneckComparison, Request, compare_bottlenecks
from selfsort.runs.bottlenecks import COLUMNS, COMPARED, DIGITS, SHARES
from selfsort.runs.data import as_given

LINES = RESULTS / "bottlenecks.jsonl"
PICTURES = RESULTS / "bottlenecks"
RUNS = ROOT / "runs"
ALSO = ("runs/bottlenecks",)
EPOCHS = 20
LABELS_A_CLASS = 10
LABELLED = {"m2-labels, marginal": "marginal", "m2-labels, sampled": "gumbel"}
ROWS = ("compared", *LABELLED)


def compared(seed: int) -> Record:
    """Run `selfsort bottlenecks mnist`, and return its lines; seed 0 leaves its pictures."""
    # Runs of another version are not reused.
    folder = RUNS / f"bottlenecks-{bottleneck_version(ALSO)}-{seed}"
    request = Request(data="mnist", epochs=EPOCHS, seed=seed, threads=1)
    compare_bottlenecks(BottleneckComparison(request, COMPARED, (), folder))
    if seed == 0:
        PICTURES.mkdir(exist_ok=True)
        for name, *_ in STRIPS:
            shutil.copyfile(folder / f"{name}.png", PICTURES / f"{name}.png")
    return {"lines": json.loads((folder / "bottlenecks.json").read_text())["lines"]}


def labelled(classes: str, seed: int) -> Record:
    """Learn from a few random labels of each class, with M2, and score on the test images."""
    data = load_dataset("mnist")
    labels = data.train.labels
    assert labels is not None
    assert data.test is not None
    draw = np.random.default_rng(seed)
    chosen = np.concatenate(
        [draw.permutation(np.flatnonzero(labels == k))[:LABELS_A_CLASS] for k in np.unique(labels)]
    )
    given = np.full(len(labels), -1)
    given[chosen] = labels[chosen]
    parameters = {**get_recipe("m2-labels").parameters, "epochs": EPOCHS, "random_state": seed}
    classifier = AutoencoderClassifier(**parameters)
    classifier.set_params(bottleneck_parameters={"classes": classes}, unlabeled=-1, n_threads=1)
    start = time.perf_counter()
    classifier.fit(as_given(data.train), given)
    seconds = time.perf_counter() - start
    accuracy = classifier.score(as_given(data.test), data.test.labels)
    return {"accuracy": accuracy, "train_seconds": round(seconds, 1)}


def run_here(row: str, seed: int) -> Record:
    """Run once in this process, which was started for that."""
    made = {"row": row, "seed": seed, "version": bottleneck_version(ALSO), **circumstances()}
    return {**made, **(compared(seed) if row == "compared" else labelled(LABELLED[row], seed))}


def run_apart(row: str, seed: int, end: float) -> int:
    """Run once in a process of its own, unless time is over; return 1 if it failed."""
    if time.monotonic() >= end:
        return 0
    record = run_script(Path(__file__), ["--run", row, str(seed)], threads=1)
    if record is not None:
        append_line(LINES, record)
        write()
    told = "done" if record is not None else "FAILED"
    print(f"{datetime.datetime.now():%H:%M:%S} {row}, seed {seed}: {told}", flush=True)
    return int(record is None)


def missing(seeds: list[int]) -> Iterator[tuple[str, int]]:
    """Yield what was not run with this version of the method."""
    version = bottleneck_version(ALSO)
    done = {(one["row"], one["seed"]) for one in read_lines(LINES) if one["version"] == version}
    for seed in seeds:
        for row in ROWS:
            if (row, seed) not in done:
                yield row, seed


# ---- the page -------------------------------------------------------------------------------


def newest(records: list[Record], row: str) -> list[Record]:
    """Return a row's runs of its newest version, by seed."""
    mine = [one for one in records if one["row"] == row]
    if not mine:
        return []
    last = max(mine, key=lambda one: one["date"])
    return [run for _, run in sorted(first_by_seed(mine, last["version"]).items())]


def cell(column: str, values: list[Any]) -> str:
    """Return a cell of the table, mean (lowest to highest)."""
    if column == "recipe":
        return f"`{values[0]}`"
    return spread(values, 2 if column in SHARES else DIGITS.get(column, 0), _factor(column))


def few_labels(row: str, runs: list[Record]) -> list[str]:
    """Return a line of the table of `m2-labels`."""
    recipe, _, classes = row.partition(", ")
    accuracy = spread([run["accuracy"] for run in runs], 2, 100)
    seconds = spread([run["train_seconds"] for run in runs], 0)
    return [f"`{recipe}`, {classes}", str(len(runs)), accuracy, seconds]


def _factor(column: str) -> float:
    return 100.0 if column in SHARES else 1.0


def page(records: list[Record]) -> str:
    """Return the page."""
    runs = newest(records, "compared")
    titles = [f"{title} %" if key in SHARES else title for key, title in COLUMNS.items()]
    rows = [
        [cell(column, [line[column] for line in lines]) for column in COLUMNS]
        for lines in zip(*(run["lines"] for run in runs), strict=True)
    ]
    few = [few_labels(row, mine) for row in LABELLED if (mine := newest(records, row))]
    shown = [*runs, *(run for row in LABELLED for run in newest(records, row))]
    date = max((run["date"][:10] for run in shown), default="no run yet")
    origins = " / ".join(dict.fromkeys(origin(run) for run in shown))
    parts = [
        "# Bottlenecks on MNIST",
        "",
        f"{date}; {origins}. `python benchmarks/bottlenecks.py`.",
        "",
        f"Mean (lowest to highest) of {len(runs)} seeds of `selfsort bottlenecks mnist --epochs "
        f"{EPOCHS}`: the same dense encoder and decoder, black and white images drawn anew from "
        "the pixels' brightness each time, one thread, another run beside it. How likely the "
        "test images become in 15 minutes: [likelihood](likelihood.md). Bias and variance of "
        "the gradients: [gradients](gradients.md). What each one is: "
        "[bottlenecks](../../docs/bottlenecks.md).",
        "",
        *table(titles, rows),
        "",
        *(f"- {title}: {meaning}." for title, meaning in MEANINGS),
        "",
        f"## {LABELS_A_CLASS} random labels of each class",
        "",
        "The semi-supervised model, whose steps sum over the classes or draw one of them.",
        "",
        *table(["recipe", "seeds", "test accuracy %", "training s"], few),
    ]
    for name, title, caption, alt in STRIPS:
        parts += ["", f"## {title}", "", caption, "", f"![{alt}](bottlenecks/{name}.png)"]
    return "\n".join(parts) + "\n"


def write() -> None:
    """Write the page."""
    (RESULTS / "bottlenecks.md").write_text(page(read_lines(LINES)), encoding="utf-8")


def main() -> int:
    """Run what is missing, and write the page."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--seeds", type=parse_seeds, default=parse_seeds("0-2"))
    parser.add_argument("--minutes", type=float, default=float("inf"), help="start none after")
    parser.add_argument("--table", action="store_true", help="only write the page")
    parser.add_argument("--run", nargs=2, metavar=("ROW", "SEED"))
    asked = parser.parse_args()
    find_data()
    if asked.run:
        print(as_line(run_here(asked.run[0], int(asked.run[1]))))
        return 0
    failed, end = 0, time.monotonic() + 60 * asked.minutes
    if not asked.table:
        with alone(), ThreadPoolExecutor(os.cpu_count()) as pool:
            run = functools.partial(run_apart, end=end)
            failed = sum(pool.map(lambda pair: run(*pair), list(missing(asked.seeds))))
    write()
    return min(failed, 1)


if __name__ == "__main__":
    sys.exit(main())
