"""How good a fitted estimator is on a set of images, in figures and pictures."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from selfsort import pictures, scores
from selfsort.images import ImageSet
from selfsort.runs.callbacks import Watch
from selfsort.runs.data import as_given

N_SHEET = 96
"""Images on the contact sheet of each class."""


@dataclass(frozen=True)
class Scored:
    """A set of images, what an estimator said of it, and how good that is."""

    images: ImageSet
    figures: dict[str, Any]
    predicted: np.ndarray | None
    probability: np.ndarray | None


def label_indices(estimator: Any, names: tuple[str, ...]) -> np.ndarray:
    """Return each class's position among the data's class names; past them if not there.

    A clusterer's classes are numbers without a name: they stay as they are.
    """
    classes = getattr(estimator, "classes_", None)
    if classes is None:
        return np.arange(len(estimator.style_means_))
    position = {name: i for i, name in enumerate(names)}
    return np.array([position.get(str(name), len(names) + i) for i, name in enumerate(classes)])


def _described(estimator: Any, X: np.ndarray) -> tuple[np.ndarray, np.ndarray | None]:
    """Return each image's reconstruction error, and its code, in one pass."""
    errors, codes = [], []
    for outputs, _ in estimator._outputs(estimator._prepared(X), reconstruct=True):
        difference = outputs.reconstruction.clamp(0, 1) - outputs.images
        errors.append(difference.square().flatten(1).mean(1).cpu().numpy())
        if outputs.code is not None:
            codes.append(outputs.code.cpu().numpy())
    return np.concatenate(errors), np.concatenate(codes) if codes else None


def scored(estimator: Any, images: ImageSet) -> Scored:
    """Return the figures of `result.json` for a set of images."""
    errors, code = _described(estimator, as_given(images))
    figures: dict[str, Any] = dict.fromkeys(("accuracy", "nmi", "ari", "classes_in_use"))
    predicted = probability = None
    if code is not None:
        matched = not hasattr(estimator, "classes_")
        predicted = label_indices(estimator, images.class_names or ())[code.argmax(1)]
        probability = code.max(1)
        figures = scores.score(images.labels, predicted, matched=matched)
    figures = {"n_images": len(images), **figures}
    figures["reconstruction_mse"] = float(errors.mean(dtype=np.float64))
    return Scored(images, figures, predicted, probability)


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
    if train.predicted is not None:
        _save_class_pictures(folder, estimator, train)
        _save_confusion(folder / "confusion.png", estimator, train, test)
    if extra.get("points"):
        pictures.save_tradeoff(folder / "tradeoff.png", extra["points"])


def _unit_pixels(estimator: Any, inputs: np.ndarray) -> np.ndarray:
    low, high = estimator.input_range_
    return np.clip((inputs.astype(np.float32) - low) / (high - low), 0, 1)


def _save_class_pictures(folder: Path, estimator: Any, train: Scored) -> None:
    assert train.predicted is not None  # noqa: S101
    unsupervised = not hasattr(estimator, "classes_")
    n_classes = len(estimator.style_means_)
    names = class_names(estimator)
    positions = label_indices(estimator, train.images.class_names or ())
    counts = [int((train.predicted == position).sum()) for position in positions]
    eye = np.eye(n_classes, dtype=np.float32)
    decoded = _unit_pixels(
        estimator, estimator._check_inputs(estimator.inverse_transform(eye), reset=False)
    )
    pictures.save_prototypes(folder / "prototypes.png", decoded, names, counts)
    if unsupervised:
        assert train.probability is not None  # noqa: S101
        for k in range(n_classes):
            members = np.flatnonzero(train.predicted == k)
            surest = members[np.argsort(-train.probability[members], kind="stable")]
            chosen = surest[np.linspace(0, len(surest) - 1, min(N_SHEET, len(surest))).astype(int)]
            title = f"{names[k]}: {len(members):,} images, surest first"
            pictures.save_contact_sheet(
                folder / f"class-{k}.png", train.images.images[chosen], title
            )


def _save_confusion(path: Path, estimator: Any, train: Scored, test: Scored | None) -> None:
    """Draw labels against classes: of the test images where they have labels, else of the others.

    Without any label there is no picture.
    """
    kind, best = "training", train
    if test is not None and test.figures["accuracy"] is not None:
        kind, best = "test", test
    labels, label_names = best.images.labels, best.images.class_names
    if labels is None or label_names is None or best.figures["accuracy"] is None:
        return
    assert best.predicted is not None  # noqa: S101 - it was scored
    unsupervised = not hasattr(estimator, "classes_")
    names = class_names(estimator) if unsupervised else list(label_names)
    n = max(len(names), len(label_names), int(best.predicted.max()) + 1)
    matrix, order = scores.confusion(
        labels, best.predicted, n, matched=unsupervised, n_labels=len(label_names)
    )
    columns = [names[k] if k < len(names) else f"other {k}" for k in order]
    what = "classes matched to labels" if unsupervised else "labels against predictions"
    title = f"{int((labels >= 0).sum()):,} {kind} images, {what}"
    pictures.save_confusion(path, matrix, list(label_names), columns, title)


def class_names(estimator: Any) -> list[str]:
    """Return a name for every class: its label, or its number."""
    classes = getattr(estimator, "classes_", None)
    if classes is not None:
        return [str(name) for name in classes]
    return [f"class {k}" for k in range(len(estimator.style_means_))]
