"""Every system of the question on MNIST: the table in `benchmarks/results/systems.md`.

    python benchmarks/systems.py             # about 90 minutes on 2 cores; goes on where it was
    python benchmarks/systems.py --only joint --only plain
    python benchmarks/systems.py --table     # only write the tables again, from what is there

Each line of the table is `selfsort train mnist …` with three seeds, a process of its own. The
default recipe, whose time is the one to know, runs alone on all cores. The others run on one
thread each, as many processes side by side as there are cores: tiny networks at small batches
gain nothing from a second thread.
"""

from __future__ import annotations

import argparse
import csv
import datetime
import json
import os
import shutil
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
from common import RESULTS, ROOT, origin, spread, table
from sklearn.cluster import KMeans

from selfsort import AutoencoderClusterer
from selfsort.datasets import load_dataset
from selfsort.images import ImageSet
from selfsort.pictures import save_tradeoff
from selfsort.scores import score

RUNS = ROOT / "runs" / "systems"
SEEDS = (0, 1, 2)
NORMALISED = 1 / 0.3081**2


@dataclass(frozen=True)
class System:
    """One line of the table."""

    recipe: str
    must_show: str
    labels: str | None = None
    alone: bool = False

    @property
    def name(self) -> str:
        """The name of its runs."""
        return self.recipe if self.labels is None else f"{self.recipe}-{self.labels}"


SYSTEMS = (
    System("sort", "≥ 97 % for each seed", alone=True),
    System("teach", "≥ 99.3 %", labels="all"),
    System("teach", "≥ 97.5 %", labels="100"),
    System("question", "its failure"),
    System("question-sigmoid-output", "ablation"),
    System("question-linear-output", "ablation"),
    System("question-plain-softmax", "ablation"),
    System("question-normalised-logits", "ablation"),
    System("question-all-fixed", "ablation"),
    System("plain", "MSE falls with every epoch"),
    System("features-svm", "test accuracy, next to raw pixels"),
    System("gumbel", "matched accuracy, classes in use"),
    System("joint", "98.13 ± 0.25 %, normalised MSE 0.667 ± 0.03"),
    System("joint-fast", "better than joint on both, in less time"),
    System("tradeoff", "accuracy against reconstruction"),
)


def folder_of(system: System, seed: int) -> Path:
    """Return the folder of one run."""
    return RUNS / f"{system.name}-{seed}"


def run(system: System, seed: int) -> None:
    """Train once, unless that was done before."""
    folder = folder_of(system, seed)
    if (folder / "report.html").is_file():
        return
    threads = os.cpu_count() if system.alone else 1
    command = [sys.executable, "-m", "selfsort", "train", "mnist", "--recipe", system.recipe]
    command += ["--seed", str(seed), "--threads", str(threads), "--out", str(folder), "--force"]
    command += [] if system.labels is None else ["--labels", system.labels]
    environment = {**os.environ, "OMP_NUM_THREADS": str(threads)}
    RUNS.mkdir(parents=True, exist_ok=True)
    log = RUNS / f"{system.name}-{seed}.log"
    with log.open("w") as file:
        subprocess.run(command, check=True, cwd=ROOT, env=environment, stdout=file, stderr=file)
    print(f"{datetime.datetime.now():%H:%M:%S} {system.name}, seed {seed}: done", flush=True)


def run_all(systems: list[System]) -> None:
    """Train what is missing: some alone, the others side by side, the first seed of all first."""
    for seed in SEEDS:
        for system in systems:
            if system.alone:
                run(system, seed)
    others = [(system, seed) for seed in SEEDS for system in systems if not system.alone]
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        list(pool.map(lambda pair: run(*pair), others))


def results(system: System) -> list[dict[str, Any]]:
    """Return the results of a system's complete runs."""
    paths = [folder_of(system, seed) / "result.json" for seed in SEEDS]
    return [json.loads(path.read_text()) for path in paths if path.is_file()]


def history(system: System, seed: int) -> list[dict[str, Any]]:
    """Return a run's history."""
    lines = (folder_of(system, seed) / "history.jsonl").read_text().splitlines()
    return [json.loads(line) for line in lines]


@cache
def mnist() -> tuple[ImageSet, ImageSet]:
    """Return the images to train with, and to test with."""
    data = load_dataset("mnist")
    assert data.test is not None
    return data.train, data.test


def main_table() -> list[str]:
    """Return the table of all systems."""
    titles = ("system", "labels", "test accuracy %", "NMI", "classes in use", "test MSE in [0, 1]")
    titles += ("normalised MSE", "training s", "threads", "must show")
    rows = []
    for system in SYSTEMS:
        found = results(system)
        if not found:
            continue
        tests = [one["test"] for one in found]
        errors = [test["reconstruction_mse"] for test in tests]
        cells = [
            f"`{system.recipe}`",
            f"{found[0]['n_labels']:,}",
            spread([test["accuracy"] for test in tests], 2, 100),
            spread([test["nmi"] for test in tests], 3),
            spread([test["classes_in_use"] for test in tests], 1),
            spread(errors, 4),
            spread(errors, 3, NORMALISED),
            spread([one["train_seconds"] for one in found], 0),
            str(found[0]["threads"]),
            system.must_show,
        ]
        rows.append(cells)
    return table(titles, rows)


def epochs_table(recipe: str, columns: dict[str, tuple[str, float, int]]) -> list[str]:
    """Return a table with a line an epoch, means over the seeds.

    `columns` gives the key in the history, a factor and the decimals for each title.
    """
    system = next(system for system in SYSTEMS if system.recipe == recipe)
    if len(results(system)) < len(SEEDS):
        return []
    runs = [history(system, seed) for seed in SEEDS]
    epochs = []
    for rows in zip(*runs, strict=True):
        cells = [
            f"{np.mean([row[key] * factor for row in rows]):.{digits}f}"
            for key, factor, digits in columns.values()
        ]
        epochs.append([str(rows[0]["epoch"]), *cells])
    lines = table(["epoch", *columns], epochs)
    return [f"## `{recipe}` by epoch (mean of {len(SEEDS)} seeds)", "", *lines, ""]


def svm_lines() -> list[str]:
    """Return what the support vector machines reached."""
    found = [one["extra"] for one in results(System("features-svm", ""))]
    if not found:
        return []
    count = found[0]["svm_images"]
    return [
        "## `features-svm`",
        "",
        f"scikit-learn's SVC (C=10, RBF) trained on {count:,} labelled images: test accuracy "
        f"{spread([one['svm_features_test_accuracy'] for one in found], 2, 100)} % on the "
        "autoencoder's features, "
        f"{spread([one['svm_pixels_test_accuracy'] for one in found], 2, 100)} % on raw pixels.",
        "",
    ]


def ablation_table() -> list[str]:
    """Return how sure the codes of the question's models are: the mean of their largest entry."""
    images = mnist()[1].images[:, 0]
    titles = ("system", "largest entry of a code, mean over the test images", "classes in use")
    titles += ("test accuracy %", "normalised MSE")
    rows = []
    for system in SYSTEMS:
        if not system.name.startswith(("question", "gumbel", "sort")):
            continue
        found = results(system)
        largest = [
            AutoencoderClusterer.load(folder_of(system, seed)).predict_proba(images).max(1).mean()
            for seed in SEEDS[: len(found)]
        ]
        tests = [one["test"] for one in found]
        cells = [
            f"`{system.recipe}`",
            spread(largest, 2),
            spread([test["classes_in_use"] for test in tests], 1),
            spread([test["accuracy"] for test in tests], 2, 100),
            spread([test["reconstruction_mse"] for test in tests], 3, NORMALISED),
        ]
        rows.append(cells)
    return ["## How much of a class the code is", "", *table(titles, rows), ""]


def kmeans_lines() -> list[str]:
    """Return what scikit-learn's k-means on raw pixels reaches."""
    train, test = (part.images.reshape(-1, 784) / 255 for part in mnist())
    labels = mnist()[1].labels
    accuracies, errors = [], []
    for seed in SEEDS:
        kmeans = KMeans(10, n_init=1, random_state=seed).fit(train)
        found = score(labels, kmeans.predict(test), matched=True)
        accuracies.append(found["accuracy"])
        errors.append(-kmeans.score(test) / test.size)
    return [
        "## k-means",
        "",
        "scikit-learn's KMeans (10 clusters, one start) on raw pixels: test accuracy "
        f"{spread(accuracies, 2, 100)} %, test MSE in [0, 1] {spread(errors, 4)}.",
        "",
    ]


def tradeoff_table() -> list[str]:
    """Return accuracy and reconstruction at every multiplier."""
    found = [one["extra"]["points"] for one in results(System("tradeoff", ""))]
    if not found:
        return []
    rows = []
    for points in zip(*found, strict=True):
        accuracy = spread([point["accuracy"] for point in points], 2, 100)
        error = spread([point["reconstruction_mse"] for point in points], 4)
        rows.append([str(points[0]["multiplier"]), accuracy, error])
    titles = ("multiplier of the cross-entropy", "test accuracy %", "test MSE in [0, 1]")
    return ["## `tradeoff`", "", "![tradeoff](tradeoff.png)", "", *table(titles, rows), ""]


def all_tables() -> str:
    """Return the whole page."""
    first = next(found[0] for system in SYSTEMS if (found := results(system)))
    header = [
        "# Every system of the question, on MNIST",
        "",
        f"{datetime.date.today().isoformat()}; {origin(first)}. "
        "`python benchmarks/systems.py`; mean (lowest to highest) of 3 seeds.",
        "",
        "Accuracy without labels is matched (Hungarian) on the test images, which no run saw. MSE "
        "is of reconstructions clipped to [0, 1]; the normalised one is the same divided by "
        "0.3081². Runs with one thread ran two at a time. Training seconds include the "
        "reconstructions and the test accuracy that are shown after each epoch.",
        "",
    ]
    normalised = {"MSE in [0, 1]": ("mse", 1.0, 5), "normalised MSE": ("mse", NORMALISED, 4)}
    parts = [
        *header,
        *main_table(),
        "",
        *epochs_table("question", normalised),
        *epochs_table("plain", {"MSE in [0, 1]": ("mse", 1.0, 6)}),
        *epochs_table(
            "joint",
            {
                **normalised,
                "cross-entropy, nats": ("classification", 1.0, 4),
                "test accuracy %": ("test_accuracy", 100.0, 2),
            },
        ),
        *ablation_table(),
        *kmeans_lines(),
        *svm_lines(),
        *tradeoff_table(),
    ]
    return "\n".join(parts).rstrip() + "\n"


def write_csv() -> None:
    """Write one line a run."""
    columns = ("accuracy", "nmi", "ari", "classes_in_use", "reconstruction_mse")
    with (RESULTS / "systems.csv").open("w", newline="") as file:
        writer = csv.writer(file, lineterminator="\n")
        splits = [f"{split}_{name}" for split in ("train", "test") for name in columns]
        writer.writerow(["recipe", "n_labels", "seed", "epochs", "train_seconds", *splits])
        for system in SYSTEMS:
            for one in results(system):
                figures = [one[split][name] for split in ("train", "test") for name in columns]
                head = [one[key] for key in ("recipe", "n_labels", "seed", "epochs")]
                writer.writerow([*head, one["train_seconds"], *figures])


def write_pictures() -> None:
    """Draw the tradeoff (means over the seeds), and show the prototypes of `sort`, first seed."""
    found = [one["extra"]["points"] for one in results(System("tradeoff", ""))]
    if found:
        means = [
            {name: float(np.mean([point[name] for point in points])) for name in points[0]}
            for points in zip(*found, strict=True)
        ]
        save_tradeoff(RESULTS / "tradeoff.png", means)
    prototypes = folder_of(System("sort", ""), SEEDS[0]) / "prototypes.png"
    if prototypes.is_file():
        shutil.copy(prototypes, ROOT / "docs" / "prototypes.png")


def main() -> None:
    """Run what was asked for, then write the tables."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--only", action="append", help="a system's name; may be repeated")
    parser.add_argument("--table", action="store_true", help="only write the tables")
    arguments = parser.parse_args()
    chosen = [s for s in SYSTEMS if not arguments.only or s.name in arguments.only]
    if not arguments.table:
        run_all(chosen)
    RESULTS.mkdir(parents=True, exist_ok=True)
    (RESULTS / "systems.md").write_text(all_tables())
    write_csv()
    write_pictures()
    print(f"Written: {RESULTS / 'systems.md'}")


if __name__ == "__main__":
    main()
