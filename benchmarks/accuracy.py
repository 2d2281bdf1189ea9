"""How good selfsort is at every number of labels: the table in `benchmarks/results/accuracy.md`.

    python benchmarks/accuracy.py                 # all rows, seeds 0-9, each row's first seed first
    python benchmarks/accuracy.py --only none --seeds 0-29
    python benchmarks/accuracy.py --minutes 60    # starts no run after that
    python benchmarks/accuracy.py --ablation      # `none` with one part removed each, seeds 0-2
    python benchmarks/accuracy.py --table         # only write the page again, from what is there
    python benchmarks/accuracy.py --list          # rows, goals and what is done

All of it takes days, so it goes on where it was: a finished run is one line of
`accuracy.jsonl` or `ablation.jsonl`, and is not repeated while the method's code stays the same.
Each run is a process of its own, alone on all cores. Labels that a row does not give to the
estimator are looked at after the fit only, and choose nothing.

Where others edit the code meanwhile, measure a copy that stands still:

    git worktree add ../measured && cd ../measured
    PYTHONPATH=src ../main/.venv/bin/python benchmarks/accuracy.py
"""

from __future__ import annotations

import argparse
import base64
import datetime
import hashlib
import json
import os
import subprocess
import sys
import time
import zlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cache, partial
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from common import (
    RESULTS,
    ROOT,
    SOURCE,
    Bound,
    Record,
    alone,
    append_line,
    as_line,
    figure,
    figures,
    first_by_seed,
    mean,
    method_version,
    newest,
    origin,
    parse_seeds,
    patch,
    percent,
    plain,
    read_lines,
    spread,
    table,
)
from PIL import Image, ImageDraw, ImageFont
from sklearn.datasets import load_digits
from sklearn.metrics import roc_auc_score

from selfsort import AutoencoderClassifier, AutoencoderClusterer
from selfsort.datasets import load_dataset
from selfsort.pictures import save_comparison_strip
from selfsort.runs.training import machine, versions
from selfsort.scores import expected_calibration_error, match_classes, score

UNLABELLED = -1
SURE = 0.99
COLLAPSED_BELOW = 0.9
TEST, TRAIN = "test.accuracy", "train.accuracy"

# ---- data ---------------------------------------------------------------------------------


class Images(NamedTuple):
    """Images as the estimators take them, and their labels."""

    X: np.ndarray
    y: np.ndarray


@cache
def dataset(name: str) -> tuple[Images, Images]:
    """Return the images to train with, and to test with."""
    data = load_dataset(name)
    train, test = (Images(part.images[:, 0], part.labels) for part in (data.train, data.test))
    return train, test


def imbalanced(images: Images, seed: int) -> Images:
    """Return some of the images: 5,400 of one class, evenly fewer of each next, 540 of the last."""
    generator = np.random.default_rng(seed)
    sizes = generator.permutation(np.linspace(5400, 540, 10).round().astype(int))
    chosen = some_of_each(images.y, sizes, generator)
    return Images(images.X[chosen], images.y[chosen])


def some_of_each(
    y: np.ndarray, counts: Sequence[int], generator: np.random.Generator
) -> np.ndarray:
    """Return the rows, in order, of as many random images of each class."""
    rows = [
        generator.choice(np.flatnonzero(y == label), count, replace=False)
        for label, count in enumerate(counts)
    ]
    return np.sort(np.concatenate(rows))


def labels_at(y: np.ndarray, rows: np.ndarray) -> np.ndarray:
    """Return the labels of these rows only; all others are unlabelled."""
    given = np.full(len(y), UNLABELLED)
    given[rows] = y[rows]
    return given


def letters(generator: np.random.Generator, n_each: int = 40) -> np.ndarray:
    """Draw capitals about as large and thick as the digits, shifted by up to two pixels.

    All 26 of them: O, I, S and Z look like digits, so that no score tells them all apart.
    """
    font = ImageFont.load_default(size=22)
    drawn = []
    for letter in "ABCDEFGHIJKLMNOPQRSTUVWXYZ" * n_each:
        image = Image.new("L", (28, 28))
        place = tuple(14 + generator.integers(-2, 3, size=2))
        ImageDraw.Draw(image).text(place, letter, 255, font, anchor="mm", stroke_width=1)
        drawn.append(np.asarray(image))
    return np.array(drawn)


def no_digits() -> dict[str, np.ndarray]:
    """Return images that show no digit, the same in every run."""
    generator = np.random.default_rng(0)
    return {
        "letters": letters(generator),
        "blank": np.zeros((100, 28, 28), np.uint8),
        "noise": generator.integers(0, 256, (1000, 28, 28), dtype=np.uint8),
    }


# ---- one fit, and how good it is ----------------------------------------------------------


def by_label(estimator: Any, images: Images) -> np.ndarray:
    """Return the probabilities, the column of a label at its place, those without one last.

    A clusterer's classes have no names: here they get those that match these images best.
    """
    probabilities = estimator.predict_proba(images.X)
    names = getattr(estimator, "classes_", None)
    if names is None:
        names = match_classes(images.y, probabilities.argmax(1), probabilities.shape[1])
    n_labels = int(images.y.max()) + 1
    columns = np.where(names < 0, n_labels + np.cumsum(names < 0) - 1, names)
    named = np.zeros((len(probabilities), max(n_labels, columns.max() + 1)))
    named[:, columns] = probabilities
    return named


def quality(estimator: Any, images: Images) -> Record:
    """Return how well an estimator's classes agree with the labels, and how well it knows."""
    probabilities = by_label(estimator, images)
    predicted = probabilities.argmax(1)
    sure = probabilities.max(1) >= SURE
    right = predicted == images.y
    return {
        **score(images.y, predicted, matched=False),
        "calibration_error": expected_calibration_error(probabilities, images.y),
        "sure_accuracy": float(right[sure].mean()) if sure.any() else None,
        "sure_share": float(sure.mean()),
    }


def learned(
    estimator: Any, train: Images, test: Images | None = None, y: np.ndarray | None = None
) -> Record:
    """Fit, and return how long it took and how good it is on both sets."""
    start, start_cpu = time.perf_counter(), time.process_time()
    estimator.fit(train.X, y)
    record = {
        "seconds": round(time.perf_counter() - start, 2),
        "cpu_seconds": round(time.process_time() - start_cpu, 2),
        "stage_seconds": estimator.stage_seconds_,
        "n_classes": len(estimator.prototypes_),
        "train": quality(estimator, train),
        "test": None if test is None else quality(estimator, test),
        "extra": {},
    }
    record["collapsed"] = is_collapsed(record)
    return record


def is_collapsed(record: Record) -> bool:
    """Return whether a class is out of use, or two were taken for one."""
    accuracy = (record["test"] or record["train"])["accuracy"]
    out_of_use = record["train"]["classes_in_use"] < record["n_classes"]
    return out_of_use or accuracy < COLLAPSED_BELOW


def outlier_areas(estimator: Any, X: np.ndarray) -> Record:
    """Return the area under the ROC curve of the outlier scores of what is no digit."""
    scores = getattr(estimator, "outlier_score", None)
    areas = {}
    for name, images in no_digits().items():
        area = None
        if scores is not None:
            outside = np.repeat([0, 1], [len(X), len(images)])
            area = float(roc_auc_score(outside, np.concatenate([scores(X), scores(images)])))
        areas[f"outlier AUROC, {name}"] = area
    return areas


def packed_prototypes(estimator: Any, images: Images) -> Record:
    """Return the prototypes of classes without names, in the order of the labels they match."""
    predicted, pictures = estimator.predict(images.X), estimator.prototypes_
    order = match_classes(images.y, predicted, len(pictures)).argsort()
    pixels = pictures[order].clip(0, 255).round().astype(np.uint8)
    packed = base64.b64encode(zlib.compress(pixels.tobytes(), 9)).decode()
    return {"shape": list(pixels.shape), "zlib": packed}


def unpacked(prototypes: Record) -> np.ndarray:
    """Return packed prototypes as uint8 ``(n_classes, 1, height, width)``."""
    pixels = zlib.decompress(base64.b64decode(prototypes["zlib"]))
    return np.frombuffer(pixels, np.uint8).reshape(prototypes["shape"])[:, None]


# ---- the rows -----------------------------------------------------------------------------


def learn_none(seed: int) -> Record:
    """Learn MNIST without labels."""
    train, test = dataset("mnist")
    clusterer = AutoencoderClusterer(n_classes=10, random_state=seed)
    record = learned(clusterer, train, test)
    natural = int(clusterer.natural_n_classes_)
    record["extra"] = outlier_areas(clusterer, test.X) | {"classes the images suggest": natural}
    record["prototypes"] = packed_prototypes(clusterer, test)
    return record


def learn_digits(seed: int) -> Record:
    """Learn scikit-learn's digits without labels."""
    digits = load_digits()
    images = Images(digits.images, digits.target)
    return learned(AutoencoderClusterer(n_classes=10, random_state=seed), images)


def learn_small(seed: int) -> Record:
    """Learn the 10,000 test images without labels."""
    return learned(AutoencoderClusterer(n_classes=10, random_state=seed), dataset("mnist")[1])


def learn_imbalanced(seed: int) -> Record:
    """Learn classes of unequal size without labels."""
    train, test = dataset("mnist")
    clusterer = AutoencoderClusterer(n_classes=10, random_state=seed)
    return learned(clusterer, imbalanced(train, seed), test)


def learn_k_unknown(seed: int) -> Record:
    """Learn MNIST without labels, and without the number of classes."""
    clusterer = AutoencoderClusterer(n_classes=None, random_state=seed)
    record = learned(clusterer, *dataset("mnist"))
    n_found = int(clusterer.n_classes_)
    record["extra"] = {"classes found": n_found, "ten classes found": int(n_found == 10)}
    return record


def learn_labels(seed: int, per_class: int) -> Record:
    """Learn MNIST from as many random labels of each class."""
    train, test = dataset("mnist")
    chosen = some_of_each(train.y, [per_class] * 10, np.random.default_rng(seed))
    classifier = AutoencoderClassifier(unlabeled=UNLABELLED, random_state=seed)
    return learned(classifier, train, test, labels_at(train.y, chosen))


def learn_labels_all(seed: int) -> Record:
    """Learn MNIST from all labels."""
    train, test = dataset("mnist")
    classifier = AutoencoderClassifier(style_dim=16, random_state=seed)
    record = learned(classifier, train, test, train.y)
    error = classifier.reconstruction_error(test.X).mean(dtype=np.float64)
    record["extra"] = {"test MSE": float(error)}
    return record


def learn_suggested(seed: int) -> Record:
    """Learn from the ten labels that a clusterer suggests, and from ten random ones."""
    train, test = dataset("digits")
    clusterer = AutoencoderClusterer(n_classes=10, random_state=seed)
    first = learned(clusterer, train, test)
    chosen = np.asarray(clusterer.suggest(train.X, 10))
    drawn = np.random.default_rng(seed).choice(len(train.y), 10, replace=False)
    record, other = (
        learned(
            AutoencoderClassifier(unlabeled=UNLABELLED, random_state=seed),
            *(train, test, labels_at(train.y, rows)),
        )
        for rows in (chosen, drawn)
    )
    for name in ("seconds", "cpu_seconds"):  # what it takes: both fits
        record[name] = round(record[name] + first[name], 2)
    record["extra"] = {
        "gain over random labels": figure(record, TEST) - figure(other, TEST),
        "accuracy, random labels": figure(other, TEST),
        "accuracy, no labels": figure(first, TEST),
        "classes among the suggested": len(np.unique(train.y[chosen])),
        "classes among the random": len(np.unique(train.y[drawn])),
    }
    return record


@dataclass(frozen=True)
class Row:
    """One line of the table.

    `patches` are attributes to set before the fit, and their values; `also` are modules that the
    row depends on beside the method.
    """

    name: str
    what: str
    learn: Callable[[int], Record]
    goal: Sequence[Bound] = ()
    n_seeds: int = 10
    patches: Sequence[tuple[str, Any]] = ()
    also: Sequence[str] = ()

    def version(self) -> str:
        """Return the version of the method, and of what is patched in it."""
        if not self.patches:
            return method_version(self.also)
        patches = hashlib.sha256(repr(self.written_patches()).encode()).hexdigest()[:4]
        return f"{method_version(self.also)}+{patches}"

    def written_patches(self) -> list[str]:
        """Return the patches in words, a function by its name."""
        return [
            f"{path} = {getattr(value, '__qualname__', repr(value))}"
            for path, value in self.patches
        ]


def mean_of(path: str, limit: float) -> Bound:
    """Return the commonest goal."""
    return Bound("mean", path, "≥", limit)


CLASSIFIER = "classifier, MNIST's 60,000 with {} random label{} of each class"
ROWS = (
    Row(
        "none",
        "clusterer, MNIST's 60,000",
        learn_none,
        (
            mean_of(TEST, 0.992),
            Bound("worst", TEST, "≥", 0.99),
            Bound("longest", "seconds", "≤", 300),
            Bound("total", "collapsed", "≤", 0),
        ),
        n_seeds=30,
    ),
    Row(
        "digits",
        "clusterer, scikit-learn's 1,797 digits",
        learn_digits,
        (mean_of(TRAIN, 0.95), Bound("longest", "seconds", "≤", 30)),
    ),
    Row("small", "clusterer, MNIST's 10,000 test images", learn_small, (mean_of(TRAIN, 0.98),)),
    Row(
        "imbalanced",
        "clusterer, 29,700 of MNIST's 60,000: 5,400 of one class to 540 of another",
        learn_imbalanced,
        (mean_of(TRAIN, 0.97),),
    ),
    Row(
        "k-unknown",
        "clusterer with n_classes=None, MNIST's 60,000",
        learn_k_unknown,
        (mean_of("extra.ten classes found", 0.9),),
    ),
    *(
        Row(
            f"labels-{10 * each}",
            CLASSIFIER.format(each, "" if each == 1 else "s"),
            partial(learn_labels, per_class=each),
            (mean_of(TEST, least),),
        )
        for each, least in ((1, 0.99), (10, 0.993), (100, 0.995))
    ),
    Row(
        "labels-all",
        "classifier, MNIST's 60,000 with all labels",
        learn_labels_all,
        (
            mean_of(TEST, 0.997),
            Bound("longest", "seconds", "≤", 900),
            Bound("mean", "extra.test MSE", "≤", 0.006),
        ),
    ),
    Row(
        "suggested",
        "classifier, 1,442 digits with the 10 labels that a clusterer suggests",
        learn_suggested,
        (Bound("mean", "extra.gain over random labels", ">", 0),),
        also=("estimators/doubt",),
    ),
)


def as_they_come(images: torch.Tensor, candidates: torch.Tensor) -> torch.Tensor:
    """Return the candidates in the order of the pixels' cosine: no tangent distance."""
    return candidates


def nothing(*_: object) -> None:
    """Do nothing."""


PARTS: dict[str, list[tuple[str, Any]]] = {
    "one head": [("selfsort.sorting.N_HEADS", 1)],
    "no tangent distance": [("selfsort.grouping.rank_by_tangents", as_they_come)],
    "first targets not strict": [("selfsort.sorting.FIRST_VOTE", 0.0)],
    "nothing spreads": [("selfsort.sorting.ALPHA", 0.01)],
    "no erasing": [("selfsort.estimators.classes.ERASE", 0.0)],
    "no averaged weights": [("selfsort.sorting.AVERAGE", 0.0)],
    "statistics of transformed images": [("selfsort.training.calibrate", nothing)],
    "no second look": [("selfsort.estimators.base.DOUBT", 0.0)],
}
"""What is removed from `none`: attributes to set before the fit, and their values."""

ABLATION = tuple(
    Row(name, ROWS[0].what, learn_none, n_seeds=3, patches=tuple(patches))
    for name, patches in PARTS.items()
)

# ---- runs ---------------------------------------------------------------------------------


def run_here(row: Row, seed: int, expected: str | None) -> Record:
    """Run once in this process, which was started for that."""
    version = row.version()
    if expected not in {None, version}:
        raise SystemExit("The method's code changed while this process started.")
    patch(row.patches)
    head = {
        "row": row.name,
        "seed": seed,
        "version": version,
        "date": datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
        "machine": machine(),
        "versions": versions(),
        "device": "cuda" if torch.cuda.is_available() else "cpu",
        "threads": torch.get_num_threads(),
        "load_before": round(os.getloadavg()[0], 2),
        "patches": row.written_patches(),
    }
    return head | row.learn(seed)


def run_apart(row: Row, seed: int, version: str) -> Record | None:
    """Run once in a process of its own, on all cores; None where that failed."""
    command = [sys.executable, __file__, "--run", row.name, str(seed), "--expect", version]
    command += ["--ablation"] if row in ABLATION else []
    environment = {
        **os.environ,
        "OMP_NUM_THREADS": str(os.cpu_count()),
        "PYTHONPATH": str(SOURCE.parent),
    }
    done = subprocess.run(
        command, cwd=ROOT, env=environment, stdout=subprocess.PIPE, text=True, check=False
    )
    return json.loads(done.stdout.splitlines()[-1]) if done.returncode == 0 else None


def run_missing(
    rows: Sequence[Row],
    seeds: Sequence[int],
    lines: Path,
    write: Callable[[], None],
    minutes: float = float("inf"),
) -> int:
    """Run what is not there yet, the first seed of all rows first; return how many failed."""
    done = {(one["row"], one["seed"], one["version"]) for one in read_lines(lines)}
    end = time.monotonic() + 60 * minutes
    failed = 0
    for row, seed in [(row, seed) for seed in seeds for row in rows]:
        version = row.version()  # each time: the code may have changed since the last run
        if (row.name, seed, version) in done:
            continue
        if time.monotonic() >= end:
            break
        record = run_apart(row, seed, version)
        if record is None:
            failed += 1
        else:
            append_line(lines, record)
            write()
        print(f"{datetime.datetime.now():%H:%M:%S} {said(row, seed, record)}", flush=True)
    return failed


def said(row: Row, seed: int, record: Record | None) -> str:
    """Return a line about a run."""
    if record is None:
        return f"{row.name}, seed {seed}: FAILED, not recorded"
    accuracy = (record["test"] or record["train"])["accuracy"]
    return f"{row.name}, seed {seed}: {accuracy:.2%} in {record['seconds']:.0f} s"


# ---- pages --------------------------------------------------------------------------------


def verdict(row: Row, runs: list[Record]) -> str:
    """Return whether the goal is met; before all seeds are there, so far."""
    if not row.goal:
        return "–"
    word = "met" if all(bound.holds(runs) for bound in row.goal) else "missed"
    return word if len(runs) >= row.n_seeds else f"{word} so far"


def seconds(runs: list[Record]) -> str:
    """Return the mean and the longest time."""
    values = figures(runs, "seconds")
    return f"{np.mean(values):.0f} ({max(values):.0f})"


def threads(runs: list[Record]) -> str:
    """Return how many threads the runs had."""
    return ", ".join(sorted({str(run["threads"]) for run in runs}))


def main_cells(row: Row, runs: list[Record]) -> list[str]:
    """Return a row of the main table."""
    tested = "train" if runs[0]["test"] is None else "test"
    return [
        f"`{row.name}`",
        row.what,
        f"{', '.join(map(str, row.goal))} ({row.n_seeds} seeds)",
        f"{len(runs)}",
        spread(figures(runs, TEST), 2, 100),
        spread(figures(runs, TRAIN), 2, 100),
        spread(figures(runs, f"{tested}.calibration_error"), 4),
        f"{sum(run['collapsed'] for run in runs)}",
        seconds(runs),
        threads(runs),
        f"`{runs[0]['version']}`",
        verdict(row, runs),
    ]


MAIN_TITLES = (
    "row",
    "estimator and images",
    "goal",
    "seeds",
    "test accuracy %",
    "train accuracy %",
    "calibration error",
    "collapsed runs",
    "fit s, mean (longest)",
    "threads",
    "version",
    "goal met?",
)


SEED_COLUMNS: dict[str, tuple[str, Callable[[float | None], str]]] = {
    "test accuracy %": (TEST, percent),
    "train accuracy %": (TRAIN, percent),
    "calibration error": ("{}.calibration_error", plain),
    f"accuracy % at p ≥ {SURE}": ("{}.sure_accuracy", percent),
    "share of these %": ("{}.sure_share", percent),
    "classes in use": ("train.classes_in_use", plain),
    "fit s": ("seconds", "{:.0f}".format),
    "CPU s": ("cpu_seconds", "{:.0f}".format),
}


def seed_section(row: Row, runs: list[Record]) -> list[str]:
    """Return all figures of a row, a line each seed, and the mean."""
    tested = "train" if runs[0]["test"] is None else "test"
    columns = SEED_COLUMNS | {name: (f"extra.{name}", plain) for name in runs[0]["extra"]}
    filled = [(figures(runs, path.format(tested)), write) for path, write in columns.values()]
    rows = [
        [str(run["seed"]), *(write(values[i]) for values, write in filled)]
        for i, run in enumerate(runs)
    ]
    rows.append(["mean", *(write(mean(values)) for values, write in filled)])
    stages = ", ".join(
        f"{name} {mean([run['stage_seconds'].get(name) for run in runs]):.0f}"
        for name in runs[0]["stage_seconds"]
    )
    picture = ["![prototypes of each seed](prototypes.png)", ""] if row.name == "none" else []
    return [
        *(f"## `{row.name}`", "", *table(["seed", *columns], rows), ""),
        *(f"Mean seconds of the stages: {stages}.", "", *picture),
    ]


def header(title: str, command: str, shown: Sequence[list[Record]]) -> list[str]:
    """Return the title, and where the figures come from."""
    runs = [run for group in shown for run in group]
    origins = " / ".join(dict.fromkeys(origin(run) for run in runs))
    date = max((run["date"][:10] for run in runs), default="no run yet")
    return [f"# {title}", "", f"{date}; {origins}. `python benchmarks/accuracy.py{command}`.", ""]


ACCURACY_NOTE = (
    "Mean (lowest to highest) over the seeds. Without labels, classes are matched to labels "
    "(Hungarian) on the images they are scored on, after the fit; `digits` and `small` are scored "
    "on the images they were fitted on, as clustering papers do. The calibration error (15 bins) "
    "is that of the test images where there are some. A run is collapsed if a class is out of use "
    "or the accuracy is below 90 %. Seconds are those of the fit, for `suggested` of both fits; "
    "CPU seconds are those of all threads together. "
    "Each row shows its newest version of the method, the hash of its code, and no older one."
)


def accuracy_page(records: Sequence[Record]) -> str:
    """Return the page of all rows."""
    shown = [(row, runs) for row in ROWS if (runs := newest(records, row.name))]
    parts = [
        *header("Accuracy at every number of labels", "", [runs for _, runs in shown]),
        *(ACCURACY_NOTE, ""),
        *table(MAIN_TITLES, [main_cells(row, runs) for row, runs in shown]),
        "",
        *(line for row, runs in shown for line in seed_section(row, runs)),
    ]
    return "\n".join(parts).rstrip() + "\n"


def change(runs: list[Record], whole: Sequence[Record]) -> str:
    """Return by how much the mean changes against the whole method, the same seeds and code."""
    found = first_by_seed(whole, runs[0]["version"].partition("+")[0])
    pairs = [(run, found[run["seed"]]) for run in runs if run["seed"] in found]
    if not pairs:
        return "–"
    gains = [figure(run, TEST) - figure(full, TEST) for run, full in pairs]
    return f"{100 * np.mean(gains):+.2f} ({len(pairs)} of {len(runs)} seeds)"


def ablation_page(records: Sequence[Record], whole: Sequence[Record]) -> str:
    """Return the page of what each part of the method does; `whole` are the runs of `none`."""
    shown = [(row, runs) for row in ABLATION if (runs := newest(records, row.name))]
    rows = [
        [
            row.name,
            "; ".join(f"`{change}`" for change in runs[0]["patches"]),
            f"{len(runs)}",
            spread(figures(runs, TEST), 2, 100),
            change(runs, whole),
            f"{sum(run['collapsed'] for run in runs)}",
            seconds(runs),
            threads(runs),
            f"`{runs[0]['version']}`",
        ]
        for row, runs in shown
    ]
    titles = ["without, or with only", "how", "seeds", "test accuracy %", "change of the mean"]
    titles += ["collapsed runs", "fit s, mean (longest)", "threads", "version"]
    parts = [
        *header("`none` with one part removed each", " --ablation", [runs for _, runs in shown]),
        "The change is against the runs of `none` in [accuracy.md](accuracy.md) with the same "
        "seeds and the same code.",
        "",
        *table(titles, rows),
    ]
    return "\n".join(parts) + "\n"


def write_accuracy() -> None:
    """Write the page of all rows."""
    page = accuracy_page(read_lines(RESULTS / "accuracy.jsonl"))
    (RESULTS / "accuracy.md").write_text(page, encoding="utf-8")


def write_ablation() -> None:
    """Write the page of the parts."""
    whole = [one for one in read_lines(RESULTS / "accuracy.jsonl") if one["row"] == "none"]
    page = ablation_page(read_lines(RESULTS / "ablation.jsonl"), whole)
    (RESULTS / "ablation.md").write_text(page, encoding="utf-8")


def write_prototypes() -> None:
    """Draw the ten prototypes of each seed of `none`, in the order of their labels."""
    runs = newest(read_lines(RESULTS / "accuracy.jsonl"), "none")
    if runs:
        lines = [(f"seed {run['seed']}", unpacked(run["prototypes"])) for run in runs]
        save_comparison_strip(RESULTS / "prototypes.png", lines)


# ---- the command line ---------------------------------------------------------------------


def print_list(rows: Sequence[Row], lines: Path) -> None:
    """Print each row, its goal, and how many seeds are done with the code as it is."""
    records = read_lines(lines)
    for row in rows:
        version = row.version()
        done = first_by_seed((one for one in records if one["row"] == row.name), version)
        print(f"{row.name:12} {len(done):2} of {row.n_seeds} seeds at {version}: {row.what}")
        for bound in row.goal:
            print(f"{'':12} {bound}")


def parsed() -> argparse.Namespace:
    """Return what was asked for."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--only", action="append", help="a row's name; may be repeated")
    parser.add_argument("--seeds", type=parse_seeds, help="such as 0-29 or 0,3,7")
    parser.add_argument("--minutes", type=float, default=float("inf"), help="start none after")
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
    beside = ROOT.parent / "shared" / "data"
    if beside.is_dir():
        os.environ.setdefault("SELFSORT_DATA", str(beside))
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
            failed = run_missing(chosen, seeds, lines, write, arguments.minutes)
    write()
    write_prototypes()
    return min(failed, 1)


if __name__ == "__main__":
    sys.exit(main())
