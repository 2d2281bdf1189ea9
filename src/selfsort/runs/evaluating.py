"""How good a fitted estimator is on a set of images, in figures."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from selfsort import scores
from selfsort.estimators.outputs import class_part, error_part, probability_part
from selfsort.images import ImageSet
from selfsort.runs.data import as_given

DOUBTS = (0.9, 0.99)
"""Probabilities that `selfsort predict --abstain` could ask for."""


@dataclass(frozen=True)
class Scored:
    """A set of images, what an estimator said of it, and how good that is.

    Attributes
    ----------
    images : ImageSet
    figures : dict
        As in ``result.json``.
    errors : float array of shape (n,)
        Reconstruction error of each image.
    classes : int array of shape (n,) or None
        Index of each image's class; None where there are no classes.
    answers : int array of shape (n,) or None
        The label that each image's class stands for, among the set's class names; -1 or past
        them where it stands for none of these. None where there is nothing to compare.
    confidence : float array of shape (n,) or None
        Largest probability of each image.
    """

    images: ImageSet
    figures: dict[str, Any]
    errors: np.ndarray
    classes: np.ndarray | None = None
    answers: np.ndarray | None = None
    confidence: np.ndarray | None = None


def label_indices(estimator: Any, names: tuple[str, ...]) -> np.ndarray:
    """Return each class's position among the data's class names; past them if not there.

    A clusterer's classes are numbers without a name: they stay as they are.
    """
    classes = getattr(estimator, "classes_", None)
    if classes is None:
        return np.arange(len(estimator.style_means_))
    position = {name: i for i, name in enumerate(names)}
    return np.array([position.get(str(name), len(names) + i) for i, name in enumerate(classes)])


def class_names(estimator: Any) -> list[str]:
    """Return a name for every class: its label, or its number."""
    classes = getattr(estimator, "classes_", None)
    if classes is not None:
        return [str(name) for name in classes]
    return [f"class {k}" for k in range(len(estimator.style_means_))]


def scored(estimator: Any, images: ImageSet) -> Scored:
    """Return the figures of `result.json` for a set of images, and what they rest on."""
    has_classes = hasattr(estimator, "style_means_")
    parts = (error_part, class_part, probability_part) if has_classes else (error_part,)
    data = estimator._prepared(as_given(images))  # all in one pass
    errors, *of_classes = estimator._collected(data, *parts, reconstruct=True)
    names = ("accuracy", "nmi", "ari", "ece", "classes_in_use")
    figures = {"n_images": len(images), **dict.fromkeys(names)}
    figures["reconstruction_mse"] = float(errors.mean(dtype=np.float64))
    if not has_classes:
        return Scored(images, figures, errors)
    classes, probability = of_classes
    confidence = probability.max(1)
    positions = label_indices(estimator, images.class_names or ())
    matched = not hasattr(estimator, "classes_")
    figures |= scores.score(images.labels, positions[classes], matched=matched)
    if images.labels is None or figures["accuracy"] is None:
        return Scored(images, figures, errors, classes, None, confidence)
    if matched:
        positions = scores.match_classes(images.labels, classes, len(positions))
    figures["ece"] = _calibration_error(probability, positions, images.labels)
    return Scored(images, figures, errors, classes, positions[classes], confidence)


def kept_where_certain(scored: Scored) -> list[tuple[float, float, float]]:
    """Return (probability, share kept, share of these that is right) for each of `DOUBTS`.

    Of the images with a label; nothing for a probability that none of them has.
    """
    labels, answers, confidence = scored.images.labels, scored.answers, scored.confidence
    if labels is None or answers is None or confidence is None:
        return []
    known = labels >= 0
    confidence, correct = confidence[known], answers[known] == labels[known]
    return [
        (probability, float(kept.mean()), float(correct[kept].mean()))
        for probability in DOUBTS
        if (kept := confidence >= probability).any()
    ]


def _calibration_error(probability: np.ndarray, label_of: np.ndarray, labels: np.ndarray) -> float:
    """Return the expected calibration error, class k standing for the label ``label_of[k]``."""
    n_classes, n_labels = len(label_of), int(labels.max()) + 1
    class_of = np.full(n_labels, n_classes)  # past the classes: whatever is said is a mistake
    stands = (label_of >= 0) & (label_of < n_labels)
    class_of[label_of[stands]] = np.flatnonzero(stands)
    wanted = np.where(labels >= 0, class_of[labels], scores.UNLABELLED)
    return scores.expected_calibration_error(probability, wanted)
