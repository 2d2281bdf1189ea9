"""What `dvae` lacks of its paper's likelihood: `benchmarks/results/likelihood_causes.md`.

    python benchmarks/likelihood_causes.py
    python benchmarks/likelihood_causes.py --only latents --only network
    python benchmarks/likelihood_causes.py --minutes 60     # starts no run after that
    python benchmarks/likelihood_causes.py --table          # only write the page again

MNIST, binarised anew each time an image is seen, seed 0. Each run but `both` differs in one thing
from what `likelihood.py` measures, and all but `epochs` learn for as many epochs, whatever time
that takes. A run is a process of its own on one thread, with as many side by side as there are
cores.
"""

from __future__ import annotations

import argparse
import datetime
import functools
import math
import os
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from common import (
    RESULTS,
    Record,
    alone,
    append_line,
    as_line,
    bottleneck_version,
    circumstances,
    find_data,
    newest,
    programs,
    read_lines,
    run_script,
    setting,
    table,
)
from likelihood import N_CODES, binarised
from torch import nn

from selfsort import AutoencoderClusterer
from selfsort.datasets import load_dataset
from selfsort.networks.base import Network, Probability, Shape, Widths, linear, register
from selfsort.recipes import get_recipe

LINES = RESULTS / "likelihood_causes.jsonl"
EPOCHS = 93
"""As many as fitted into the 15 minutes of `dvae`, dynamic, seed 0, in `likelihood.jsonl`."""
N_TRAINING_IMAGES = 2000
N_MORE_CODES, N_MORE_IMAGES = 10_000, 500


@dataclass(frozen=True)
class Cause:
    """One thing that is not as in `likelihood.py`."""

    shown: str
    bottleneck: dict[str, Any] = field(default_factory=dict)
    network: str = "dense"
    times: int = 1
    """Times as many epochs."""


CAUSES = {
    "none": Cause("as in [likelihood](likelihood.md)"),
    "latents": Cause("four layers of 32 continuous latents, not one", {"continuous_layers": 4}),
    "network": Cause("encoder and decoder four times as wide", network="dense-wide"),
    "both": Cause("both of these", {"continuous_layers": 4}, "dense-wide"),
    "epochs": Cause("four times the epochs", times=4),
}


def dense_wide(shape: Shape, widths: Widths) -> Network:
    """Return the network `dense`, four times as wide.

    Written out: a width that `dense` could be given would be a new version of every other run.
    """
    size, hidden, n_features = math.prod(shape), 1024, 512

    def layer(n_inputs: int, n_outputs: int) -> nn.Sequential:
        return nn.Sequential(nn.Linear(n_inputs, n_outputs), nn.BatchNorm1d(n_outputs), nn.ReLU())

    encoder = nn.Sequential(nn.Flatten(), layer(size, hidden), layer(hidden, hidden))
    decoder = nn.Sequential(
        layer(widths.n_latent, hidden),
        layer(hidden, hidden),
        nn.Linear(hidden, size),
        Probability(),
        nn.Unflatten(1, shape),
    )
    head = linear(n_features, widths.n_logits)
    return Network(encoder, layer(hidden, n_features), head, None, decoder)


def learned(cause: Cause) -> Record:
    """Train once, and measure the likelihood of test images and of training images."""
    data = load_dataset("mnist")
    train, test = data.train.images[:, 0], binarised(data.test.images[:, 0])
    parameters = {**get_recipe("dvae").parameters, "network": cause.network, "random_state": 0}
    parameters["bottleneck_parameters"] = parameters["bottleneck_parameters"] | cause.bottleneck
    parameters["epochs"] = EPOCHS * cause.times
    clusterer = AutoencoderClusterer(10, **parameters).fit(train)

    def nats(images: Any, n_codes: int) -> Any:
        return clusterer.log_likelihood(images, n_codes, random_state=0)

    each = nats(test, N_CODES)
    return {
        "epochs": parameters["epochs"],
        "seconds": round(clusterer.fit_seconds_, 1),
        "weights": sum(p.numel() for p in clusterer.model_.parameters()),
        "log_likelihood": float(each.mean()),
        "training": float(nats(binarised(train[:N_TRAINING_IMAGES]), N_CODES).mean()),
        "more_codes": float(
            nats(test[:N_MORE_IMAGES], N_MORE_CODES).mean() - each[:N_MORE_IMAGES].mean()
        ),
    }


def run_here(name: str) -> Record:
    """Run once in this process, which was started for that."""
    register("dense-wide")(dense_wide)
    what = {"row": name, "seed": 0, "version": bottleneck_version()}
    return {**what, **circumstances(), **learned(CAUSES[name])}


def run_if_missing(name: str, end: float) -> int:
    """Run once, unless it is there or time is over; return 1 if it failed."""
    wanted = {"row": name, "version": bottleneck_version()}
    done = any(wanted.items() <= one.items() for one in read_lines(LINES))
    if done or time.monotonic() >= end:
        return 0
    record = run_script(Path(__file__), ["--run", name], threads=1, jobs=os.cpu_count() or 1)
    if record is not None:
        append_line(LINES, record)
        write()
    found = "FAILED" if record is None else f"{-record['log_likelihood']:.2f} nats"
    print(f"{datetime.datetime.now():%H:%M:%S} {name}: {found}", flush=True)
    return int(record is None)


# ---- the page -------------------------------------------------------------------------------


def page(records: list[Record]) -> str:
    """Return the page."""
    machines = dict.fromkeys(one["machine"] for one in records)
    runs = [
        (name, group[-1])
        for name in CAUSES
        for machine in machines
        for group in newest([one for one in records if one["machine"] == machine], name)
    ]
    titles = [
        "`dvae`",
        "negative log-likelihood, nats",
        f"of {N_TRAINING_IMAGES:,} training images",
        f"less with {N_MORE_CODES:,} codes",
        "epochs",
        "s",
        "weights",
        "threads",
        "machine",
    ]
    rows = [
        [
            CAUSES[name].shown,
            f"{-run['log_likelihood']:.2f}",
            f"{-run['training']:.2f}",
            f"{run['more_codes']:.2f}",
            str(run["epochs"]),
            f"{run['seconds']:.0f}",
            f"{run['weights']:,}",
            setting(run),
            run["machine"],
        ]
        for name, run in runs
    ]
    date = max((run["date"][:10] for _, run in runs), default="no run yet")
    versions = " / ".join(dict.fromkeys(programs(run) for _, run in runs))
    parts = [
        "# What `dvae` lacks of its paper's likelihood",
        "",
        f"{date}; {versions}. `python benchmarks/likelihood_causes.py`.",
        "",
        "MNIST, binarised anew each time an image is seen, seed 0, one run each. Only runs on one "
        "machine are to be compared: another one rounds otherwise. The paper (Rolfe, "
        "arXiv:1609.02200) has 80.04 nats there, with 10,000 codes, a hierarchy of continuous "
        f"latents, and networks and a training of its own. Here {N_CODES:,} codes for each of the "
        f"10,000 test images; what {N_MORE_CODES:,} codes take off is of the first "
        f"{N_MORE_IMAGES} of them.",
        "",
        *table(titles, rows),
    ]
    return "\n".join(parts) + "\n"


def write() -> None:
    """Write the page."""
    text = page(read_lines(LINES))
    (RESULTS / "likelihood_causes.md").write_text(text, encoding="utf-8")


def main() -> int:
    """Run what is missing of what was asked for, and write the page."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--only", action="append", choices=CAUSES, help="may be repeated")
    parser.add_argument("--minutes", type=float, default=float("inf"), help="start none after")
    parser.add_argument("--table", action="store_true", help="only write the page")
    parser.add_argument("--run", choices=CAUSES)
    asked = parser.parse_args()
    find_data()
    if asked.run:
        print(as_line(run_here(asked.run)))
        return 0
    failed, end = 0, time.monotonic() + 60 * asked.minutes
    if not asked.table:
        run = functools.partial(run_if_missing, end=end)
        with alone(), ThreadPoolExecutor(os.cpu_count()) as pool:
            failed = sum(pool.map(run, asked.only or CAUSES))
    write()
    return min(failed, 1)


if __name__ == "__main__":
    sys.exit(main())
