"""How likely MNIST's test images are under each bottleneck: `benchmarks/results/likelihood.md`.

    python benchmarks/likelihood.py                    # all rows, seeds 0-2, 15 minutes each
    python benchmarks/likelihood.py --only dvae --seeds 0
    python benchmarks/likelihood.py --minutes 120      # starts no run after that
    python benchmarks/likelihood.py --table            # only write the page again

Each run is a process of its own on one thread, with as many side by side as there are cores. It
times a second epoch, then trains as many as fit into the budget, on images that are binarised once
(static: one draw, from seed 0, of each training and test image) or anew each time they are seen
(dynamic). The test images are those of the static draw.
"""

from __future__ import annotations

import argparse
import copy
import datetime
import functools
import itertools
import os
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import torch
from common import (
    RESULTS,
    Record,
    alone,
    append_line,
    as_line,
    at_least,
    bottleneck_version,
    circumstances,
    figures,
    find_data,
    first_by_seed,
    origin,
    parse_seeds,
    read_lines,
    run_script,
    setting,
    spread,
    table,
)
from matplotlib.figure import Figure

from selfsort import AutoencoderClusterer
from selfsort.datasets import load_dataset
from selfsort.recipes import get_recipe
from selfsort.runs.bottlenecks import COMPARED
from selfsort.runs.callbacks import Callback
from selfsort.scores import score

LINES = RESULTS / "likelihood.jsonl"
BINARISATIONS = ("static", "dynamic")
BUDGET = 15 * 60
"""Seconds on one thread."""
N_POINTS = 8
"""Points of the curve, evenly over the epochs."""
N_CURVE_IMAGES, N_CURVE_CODES = 1000, 100
N_CODES = 1000
HERE: dict[str, dict[str, float]] = {"categorical": {"end": 0.1}}
"""What is not as in the recipe: over so many epochs a decoder that never sees codes near one-hot
ones becomes worse at those. Chosen with training images that were held out (`docs/log.md`)."""
PAPERS = {
    "categorical": "bound 101.5 (20 groups of 10, arXiv:1611.01144, table 1)",
    "categorical-straight-through": "bound 107.8 (the same table)",
    "dvae": "80.04 dynamic, 81.01 static (arXiv:1609.02200, tables 1 and 2)",
    "gumbolt": "78.49 (DVAE++, arXiv:1802.04920, which it succeeds)",
}


def changes_of(recipe: str) -> dict[str, float]:
    """Return the parameters of the bottleneck that are not the recipe's."""
    return HERE.get(recipe, {})


def binarised(images: np.ndarray) -> np.ndarray:
    """Return one draw of each pixel, 0 or 255, with its brightness as the probability of 255."""
    draw = np.random.default_rng(0).random(images.shape)
    return np.where(draw < images / 255.0, 255, 0).astype(np.uint8)


class Curve(Callback):
    """Measure the test likelihood a few times; the time that takes is not the training's."""

    def __init__(self, X: np.ndarray, n_epochs: int) -> None:
        self.X = X[:N_CURVE_IMAGES]
        self.at = {round(n_epochs * (i + 1) / N_POINTS) for i in range(N_POINTS)}
        self.points: list[tuple[float, float]] = []
        self.aside = 0.0

    def on_fit_task_end(
        self, estimator: Any, context: Any, *, metadata: Any = None, fitted_estimator: Any = None
    ) -> bool:
        """Add a point where one is due."""
        row = estimator.history_[-1] if estimator.history_ else None
        if context.task_name != "epoch" or row is None or row["epoch"] not in self.at:
            return False
        start = time.perf_counter()
        # A copy: measuring log Z must not change the training.
        measured = copy.deepcopy(fitted_estimator)
        measured.model_.bottleneck.settle(torch.Generator().manual_seed(0))
        found = measured.log_likelihood(self.X, N_CURVE_CODES, random_state=0).mean()
        self.points.append((round(row["seconds"] - self.aside, 1), round(float(found), 3)))
        self.aside += time.perf_counter() - start
        return False


def learned(recipe: str, binarisation: str, seed: int, budget: int) -> Record:
    """Train one bottleneck for the budget of seconds, and measure it."""
    data = load_dataset("mnist")
    train, test = data.train.images[:, 0], binarised(data.test.images[:, 0])
    if binarisation == "static":
        train = binarised(train)
    dynamic = binarisation == "dynamic"
    parameters = {**get_recipe(recipe).parameters, "binarize": dynamic, "random_state": seed}
    parameters["bottleneck_parameters"] = parameters["bottleneck_parameters"] | changes_of(recipe)
    timed = AutoencoderClusterer(10, **{**parameters, "epochs": 2}).fit(train)
    first, second = (row["seconds"] for row in timed.history_)  # the first wakes the machine up
    n_epochs = max(1, int(budget / (second - first)))
    clusterer = AutoencoderClusterer(10, **{**parameters, "epochs": n_epochs})
    curve = Curve(test, n_epochs)
    clusterer.set_callbacks(curve)
    clusterer.fit(train)
    clusterer.set_callbacks()
    bound, likelihood = (
        float(clusterer.log_likelihood(test, n, random_state=seed).mean()) for n in (1, N_CODES)
    )
    found = score(data.test.labels, clusterer.predict(test), matched=True)
    weights = sum(p.numel() for p in clusterer.model_.parameters())
    return {
        "epochs": n_epochs,
        "seconds": round(clusterer.fit_seconds_ - curve.aside, 1),
        "weights": weights,
        "curve": curve.points,
        "bound": bound,
        "log_likelihood": likelihood,
        "log_z_deviation": log_z_deviation(clusterer.model_.bottleneck),
        "accuracy": found["accuracy"],
        "classes_in_use": found["classes_in_use"],
        "mse": float(clusterer.reconstruction_error(test).mean(dtype=np.float64)),
    }


def log_z_deviation(bottleneck: Any) -> float | None:
    """Return the standard deviation of log Z over five measures; None where there is no machine.

    An error of log Z is one of every image's likelihood.
    """
    machine_ = getattr(bottleneck, "machine", None)
    if machine_ is None:
        return None
    found = []
    for seed in range(5):
        machine_.measure(torch.Generator().manual_seed(seed))
        found.append(machine_.log_z.item())
    return float(np.std(found))


def run_here(recipe: str, binarisation: str, seed: int, budget: int) -> Record:
    """Run once in this process, which was started for that."""
    return {
        "row": f"{recipe}, {binarisation}",
        "seed": seed,
        "budget": budget,
        "changes": changes_of(recipe),
        "version": bottleneck_version(),
        **circumstances(),
        **learned(recipe, binarisation, seed, budget),
    }


def run_apart(recipe: str, binarisation: str, seed: int, budget: int) -> Record | None:
    """Run once in a process of its own, on one thread; None where that failed."""
    arguments = ["--run", recipe, binarisation, str(seed), "--budget", str(budget)]
    return run_script(Path(__file__), arguments, threads=1, jobs=os.cpu_count() or 1)


# ---- the page -------------------------------------------------------------------------------


def groups_of(records: list[Record]) -> list[tuple[str, list[Record]]]:
    """Return the runs of each row, of the newest version, in one setting and with one budget."""
    groups = []
    for binarisation in BINARISATIONS:
        for recipe in COMPARED:
            mine = [one for one in records if one["row"] == f"{recipe}, {binarisation}"]
            if mine:
                last = max(mine, key=lambda one: one["date"])
                alike = [one for one in mine if _conditions(one) == _conditions(last)]
                runs = first_by_seed(alike, last["version"])
                groups.append((recipe, [run for _, run in sorted(runs.items())]))
    return groups


def _conditions(record: Record) -> tuple[str, float, dict[str, float]]:
    return setting(record), record["budget"], record.get("changes", {})


def named(recipe: str, runs: list[Record]) -> str:
    """Return the recipe's name, and what is not as in the recipe."""
    changes = runs[0].get("changes", {})
    return ", ".join([recipe, *(f"{name} {value:g}" for name, value in changes.items())])


def cells(recipe: str, runs: list[Record]) -> list[str]:
    """Return a line of the table."""
    return [
        named(f"`{recipe}`", runs),
        runs[0]["row"].partition(", ")[2],
        ", ".join(str(run["seed"]) for run in runs),
        spread(figures(runs, "log_likelihood"), 2, -1),
        spread(figures(runs, "bound"), 2, -1),
        spread(figures(runs, "accuracy"), 2, 100),
        spread(figures(runs, "mse"), 4),
        spread(figures(runs, "log_z_deviation"), 3),
        f"{np.mean([run['epochs'] for run in runs]):.0f}",
        f"{np.mean([run['seconds'] for run in runs]):.0f}",
        f"{runs[0]['weights']:,}",
        setting(runs[0]),
        PAPERS.get(recipe, "–"),
    ]


def page(records: list[Record]) -> str:
    """Return the page."""
    groups = groups_of(records)
    runs = [run for _, group in groups for run in group]
    rows = [cells(recipe, group) for recipe, group in groups]
    titles = ["recipe", "binarised", "seeds", "negative log-likelihood, nats", "minus the bound"]
    titles += [
        "matched accuracy %",
        "MSE",
        "deviation of log Z",
        "epochs",
        "s",
        "weights",
        "threads",
        "in its paper",
    ]
    date = max((run["date"][:10] for run in runs), default="no run yet")
    origins = " / ".join(dict.fromkeys(origin(run) for run in runs))
    parts = [
        "# Likelihood of MNIST under each bottleneck",
        "",
        f"{date}; {origins}. `python benchmarks/likelihood.py`.",
        "",
        "Mean (lowest to highest) over the seeds, of the 10,000 test images, each pixel drawn once "
        "with its brightness as the probability (seed 0): not the fixed binarisation of the "
        f"papers, which is a draw of its own. Importance-weighted with {N_CODES:,} codes each, an "
        "upper bound of the negative log-likelihood in expectation, but for the log Z of a "
        "Boltzmann machine, which annealing tends to find too small: its deviation over five "
        "measures is given. The bound is the same with one code. All have the same encoder and "
        "decoder; how long each trained is in the table. A parameter beside a recipe's name is "
        "not the recipe's own ([log](../../docs/log.md)). What `dvae` lacks of its paper's figure: "
        "[causes](likelihood_causes.md).",
        "",
        *table(titles, rows),
        "",
        "![likelihood against time](likelihood.png)",
    ]
    return "\n".join(parts) + "\n"


def draw(records: list[Record]) -> Figure:
    """Draw the test likelihood against the seconds of training, a line a recipe.

    A recipe has the same colour in both panels.
    """
    figure = Figure(figsize=(9, 4.5), layout="constrained")
    panels = figure.subplots(1, len(BINARISATIONS), sharey=True)
    for panel, binarisation in zip(panels, BINARISATIONS, strict=True):
        for recipe, group in groups_of(records):
            if group[0]["row"].endswith(binarisation):
                curves = np.array([run["curve"] for run in group]).mean(0)
                gpu = group[0].get("gpu")
                panel.plot(
                    curves[:, 0],
                    -curves[:, 1],
                    marker="o",
                    markersize=3,
                    color=f"C{COMPARED.index(recipe)}",
                    label=", ".join([named(recipe, group), *([gpu] if gpu else [])]),
                )
        panel.set_title(f"{binarisation}ally binarised", loc="left", fontsize=10)
        panel.set_xlabel("seconds of training")
        panel.grid(alpha=0.3)
        if panel.lines:
            panel.legend(fontsize=8)
    panels[0].set_ylabel("negative log-likelihood, nats")
    return figure


def write() -> None:
    """Write page and picture."""
    records = read_lines(LINES)
    (RESULTS / "likelihood.md").write_text(page(records), encoding="utf-8")
    if records:
        draw(records).savefig(RESULTS / "likelihood.png", dpi=110)


def main() -> int:
    """Run what is missing of what was asked for, and write the page."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--only", action="append", choices=COMPARED, help="may be repeated")
    parser.add_argument("--binarised", action="append", choices=BINARISATIONS)
    parser.add_argument("--seeds", type=parse_seeds, default=parse_seeds("0-2"))
    seconds = "seconds of training"
    parser.add_argument("--budget", type=at_least(1), default=BUDGET, help=seconds)
    parser.add_argument("--minutes", type=float, default=float("inf"), help="start none after")
    parser.add_argument("--table", action="store_true", help="only write the page")
    parser.add_argument("--run", nargs=3, metavar=("RECIPE", "BINARISED", "SEED"))
    asked = parser.parse_args()
    find_data()
    if asked.run:
        recipe, binarisation, seed = asked.run
        print(as_line(run_here(recipe, binarisation, int(seed), asked.budget)))
        return 0
    failed, end = 0, time.monotonic() + 60 * asked.minutes
    if not asked.table:
        each = itertools.product(
            asked.seeds, asked.binarised or BINARISATIONS, asked.only or COMPARED
        )
        run = functools.partial(run_if_missing, budget=asked.budget, end=end)
        with alone(), ThreadPoolExecutor(os.cpu_count()) as pool:
            failed = sum(pool.map(lambda one: run(*one), each))
    write()
    return min(failed, 1)


def run_if_missing(seed: int, binarisation: str, recipe: str, budget: int, end: float) -> int:
    """Run once, unless it is there or time is over; return 1 if it failed."""
    row, version = f"{recipe}, {binarisation}", bottleneck_version()
    wanted = {"row": row, "seed": seed, "version": version, "budget": budget}
    wanted["changes"] = changes_of(recipe)
    done = any(wanted.items() <= {"changes": {}, **one}.items() for one in read_lines(LINES))
    if done or time.monotonic() >= end:
        return 0
    record = run_apart(recipe, binarisation, seed, budget)
    if record is not None:
        append_line(LINES, record)
        write()
    found = "FAILED" if record is None else f"{-record['log_likelihood']:.2f} nats"
    print(f"{datetime.datetime.now():%H:%M:%S} {row}, seed {seed}: {found}", flush=True)
    return int(record is None)


if __name__ == "__main__":
    sys.exit(main())
