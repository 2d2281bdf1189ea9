"""The rows of `benchmarks/accuracy.py`: which images and labels, what is learned, the goals."""

from __future__ import annotations

import base64
import hashlib
import time
import zlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cache, partial
from typing import Any, NamedTuple

import numpy as np
import torch
from common import Bound, Record, figure, method_version
from PIL import Image, ImageDraw, ImageFont
from sklearn.datasets import load_digits
from sklearn.metrics import roc_auc_score

from selfsort import AutoencoderClassifier, AutoencoderClusterer
from selfsort.datasets import load_dataset
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


CLUSTERER = ("estimators/clusterer",)
CLASSIFIER = ("estimators/classifier",)


@dataclass(frozen=True)
class Row:
    """One line of the table.

    `patches` are attributes to set before the fit, and their values; `also` are modules that the
    row depends on beside the method that all share.
    """

    name: str
    what: str
    learn: Callable[[int], Record]
    goal: Sequence[Bound] = ()
    n_seeds: int = 10
    patches: Sequence[tuple[str, Any]] = ()
    also: Sequence[str] = CLUSTERER

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


LABELS = "classifier, MNIST's 60,000 with {} random label{} of each class"
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
            Bound("share of 10 among", "extra.classes the images suggest", "≥", 0.9),
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
    *(
        Row(
            f"labels-{10 * each}",
            LABELS.format(each, "" if each == 1 else "s"),
            partial(learn_labels, per_class=each),
            (mean_of(TEST, least),),
            also=CLASSIFIER,
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
        also=CLASSIFIER,
    ),
    Row(
        "suggested",
        "classifier, 1,442 digits with the 10 labels that a clusterer suggests",
        learn_suggested,
        (Bound("mean", "extra.gain over random labels", ">", 0),),
        also=(*CLUSTERER, *CLASSIFIER, "estimators/doubt"),
    ),
)


def as_they_come(
    images: torch.Tensor, candidates: torch.Tensor, n_neighbours: int, **_: object
) -> torch.Tensor:
    """Return the candidates in the order of the pixels' cosine: no tangent distance."""
    return candidates[:, :n_neighbours]


def nothing(*_: object) -> None:
    """Do nothing."""


PARTS: dict[str, list[tuple[str, Any]]] = {
    "one head": [("selfsort.sorting.N_HEADS", 1)],
    "no tangent distance": [("selfsort.grouping.rank_by_tangents", as_they_come)],
    "first votes need not agree": [("selfsort.sorting.FIRST_VOTE", 0.0)],
    "nothing spreads": [("selfsort.sorting.ALPHA", 0.01)],
    "no erasing": [("selfsort.estimators.classes.ERASE", 0.0)],
    "no averaged weights": [("selfsort.sorting.AVERAGE", 0.0)],
    "statistics of transformed images": [("selfsort.training.loop.calibrate", nothing)],
    "no second look": [("selfsort.estimators.outputs.DOUBT", 0.0)],
}
"""What is removed from `none`: attributes to set before the fit, and their values."""

ABLATION = tuple(
    Row(name, ROWS[0].what, learn_none, n_seeds=3, patches=tuple(patches))
    for name, patches in PARTS.items()
)
