"""The pictures of a run."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from selfsort import pictures, scores
from selfsort.errors import InputError
from selfsort.estimators.outputs import features_part
from selfsort.estimators.resources import threads
from selfsort.images import ImageSet
from selfsort.runs.callbacks import Watch
from selfsort.runs.data import as_given, keys_of
from selfsort.runs.evaluating import Scored, class_names, kept_where_certain

N_SHEET = 96
"""Images on the contact sheet of each class."""

N_SAMPLED, MOST_SAMPLED = 10, 30
"""New images of a class, and the most classes that are shown so."""

N_UNUSUAL = 40
"""Most of the most unusual images that are shown, where there are four times as many in all."""

N_MAPPED, FEWEST_MAPPED = 600, 20
"""Most images on the map, evenly spread; and the fewest, of which one sees nothing."""


def save_pictures(
    folder: Path,
    estimator: Any,
    train: Scored,
    test: Scored | None,
    watch: Watch,
    extra: dict[str, Any],
) -> None:
    """Write every picture that suits the run."""
    samples = estimator._check_inputs(watch.samples, reset=False)
    pixels = _unit_pixels(estimator, samples)
    rebuilt = np.clip(estimator._pixels(watch.samples), 0, 1)
    pictures.save_reconstructions(folder / "reconstructions.png", pixels, rebuilt)
    if watch.pictures:
        pictures.save_epochs(folder / "epochs.png", pixels, watch.pictures, watch.labels)
    if watch.rows:
        pictures.save_curves(folder / "curves.png", watch.rows)
    if train.classes is not None:
        _save_class_pictures(folder, estimator, train)
        _save_agreement(folder, estimator, train, test)
        _save_outliers(folder / "outliers.png", estimator, train)
        _save_map(folder / "map.png", estimator, train)
    curve = information_curve(estimator)
    if curve is not None:
        pictures.save_choice(folder / "choice.png", curve, len(estimator.style_means_))
    if extra.get("points"):
        pictures.save_tradeoff(folder / "tradeoff.png", extra["points"])


def information_curve(estimator: Any) -> np.ndarray | None:
    """Return the information that 1, 2, … groups keep, where the estimator measured it."""
    curve = getattr(estimator, "information_curve_", None)
    return None if curve is None or len(curve) < 2 else np.asarray(curve)


def _unit_pixels(estimator: Any, inputs: np.ndarray) -> np.ndarray:
    low, high = estimator.input_range_
    return np.clip((inputs.astype(np.float32) - low) / (high - low), 0, 1)


def _decoded_pixels(estimator: Any, images: np.ndarray) -> np.ndarray:
    """Return images in the fit's layout and units as pixels in [0, 1]."""
    return _unit_pixels(estimator, estimator._check_inputs(images, reset=False))


def _save_samples(path: Path, estimator: Any, names: list[str]) -> None:
    """Draw new images, a row each class; none of a class that its prior hardly ever gives."""
    labels = getattr(estimator, "classes_", np.arange(len(names)))
    rows = []
    for name, label in list(zip(names, labels, strict=True))[:MOST_SAMPLED]:
        try:
            images = estimator.sample(N_SAMPLED, label=label, random_state=0)
        except InputError:
            continue
        rows.append((name, _decoded_pixels(estimator, images)))
    if rows:
        pictures.save_comparison_strip(path, rows)


def _save_class_pictures(folder: Path, estimator: Any, train: Scored) -> None:
    assert train.classes is not None and train.confidence is not None  # noqa: S101
    n_classes = len(estimator.style_means_)
    names = class_names(estimator)
    counts = np.bincount(train.classes, minlength=n_classes).tolist()
    pictures.save_prototypes(
        folder / "prototypes.png", _decoded_pixels(estimator, estimator.prototypes_), names, counts
    )
    _save_samples(folder / "samples.png", estimator, names)
    if hasattr(estimator, "classes_"):
        return
    for k in range(n_classes):
        members = np.flatnonzero(train.classes == k)
        surest = members[np.argsort(-train.confidence[members], kind="stable")]
        chosen = surest[np.linspace(0, len(surest) - 1, min(N_SHEET, len(surest))).astype(int)]
        title = f"{names[k]}: {len(members):,} images, surest first"
        pictures.save_contact_sheet(folder / f"class-{k}.png", train.images.images[chosen], title)


def _save_agreement(folder: Path, estimator: Any, train: Scored, test: Scored | None) -> None:
    """Draw labels against classes: of the test images where they have labels, else of the others.

    Without any label there is no picture.
    """
    kind, best = "training", train
    if test is not None and test.answers is not None:
        kind, best = "test", test
    if best.answers is None or best.images.labels is None:
        return
    n = int((best.images.labels >= 0).sum())
    matched = not hasattr(estimator, "classes_")
    what = "classes matched to labels" if matched else "labels against predictions"
    title = f"{n:,} {kind} images, {what}"
    _save_confusion(folder / "confusion.png", estimator, best, title)
    _save_coverage(folder / "coverage.png", best, title)


def _save_confusion(path: Path, estimator: Any, best: Scored, title: str) -> None:
    labels, label_names = best.images.labels, best.images.class_names or ()
    matched = not hasattr(estimator, "classes_")
    predicted = best.classes if matched else best.answers
    assert labels is not None and predicted is not None  # noqa: S101 - it was scored
    names = class_names(estimator) if matched else list(label_names)
    n = max(len(names), len(label_names), int(predicted.max()) + 1)
    matrix, order = scores.confusion(
        labels, predicted, n, matched=matched, n_labels=len(label_names)
    )
    columns = [names[k] if k < len(names) else f"other {k}" for k in order]
    pictures.save_confusion(path, matrix, list(label_names), columns, title)


def _save_coverage(path: Path, best: Scored, title: str) -> None:
    labels, answers, confidence = best.images.labels, best.answers, best.confidence
    assert labels is not None and answers is not None and confidence is not None  # noqa: S101
    known = labels >= 0
    confidence, correct = confidence[known], answers[known] == labels[known]
    coverage, accuracy = scores.coverage_curve(confidence, correct)
    pictures.save_coverage(path, coverage, accuracy, kept_where_certain(best), title)


def _save_outliers(path: Path, estimator: Any, train: Scored) -> None:
    """Draw the training images that are least like the others, under their names.

    Of equal scores, which come in steps of a ten-thousandth at least, the worse rebuilt are the
    more unusual.
    """
    n_images = len(train.images)
    n = min(N_UNUSUAL, -(-n_images // 4))
    unusual = estimator.outlier_score(as_given(train.images))
    chosen = np.lexsort((-train.errors, -unusual))[:n]
    title = f"The {n} most unusual of {n_images:,} training images, the most unusual first"
    assert train.classes is not None  # noqa: S101 - there are classes
    names, keys = class_names(estimator), keys_of(train.images)[1]
    pictures.save_named_sheet(
        path,
        train.images.images[chosen],
        [keys[i] for i in chosen],
        [names[k] for k in train.classes[chosen]],
        title,
    )


def _save_map(path: Path, estimator: Any, train: Scored) -> None:
    """Draw where training images lie by what the network learned (van der Maaten, Hinton, 2008)."""
    from sklearn.manifold import TSNE  # takes memory that runs without classes need not have

    n_images = len(train.images)
    some = np.linspace(0, n_images - 1, min(n_images, N_MAPPED)).astype(int)
    part = ImageSet(train.images.images[some])
    (features,) = estimator._collected(estimator._prepared(as_given(part)), features_part)
    if len(some) < FEWEST_MAPPED or not features.std() > 0:
        return
    with threads(estimator.n_threads):
        embedding = TSNE(init="pca", perplexity=min(30, len(some) / 4), random_state=0)
        positions = embedding.fit_transform(features)
    assert train.classes is not None  # noqa: S101 - there are classes
    names = class_names(estimator)
    pictures.save_map(path, positions, part.images, train.classes[some], names)
