"""How well classes agree with labels, and whether an estimator knows when it is wrong."""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np
from scipy.optimize import linear_sum_assignment
from sklearn.metrics import (
    accuracy_score,
    adjusted_rand_score,
    confusion_matrix,
    normalized_mutual_info_score,
)

from selfsort.errors import InputError

UNLABELLED = -1


def match_classes(labels: np.ndarray, predicted: np.ndarray, n_classes: int) -> np.ndarray:
    """Give every predicted class the label it matches best, one to one.

    The matching keeps the most images in agreement (linear sum assignment). Rows whose
    label is -1 are left out.

    Parameters
    ----------
    labels : int array of shape (n,)
        Labels from 0; -1 is unlabelled.
    predicted : int array of shape (n,)
        Predicted classes, ``0 <= predicted < n_classes``.
    n_classes : int
        Number of predicted classes, at least 1; some may be out of use.

    Returns
    -------
    mapping : int64 array of shape (n_classes,)
        The label of each predicted class; -1 where there are more classes than labels
        and none was left.

    Raises
    ------
    InputError
        If the arrays are not of one length, not integer, or out of range.

    References
    ----------
    Kuhn (1955), "The Hungarian method for the assignment problem".

    Examples
    --------
    >>> import numpy as np
    >>> match_classes(np.array([0, 0, 1, 1, -1]), np.array([2, 2, 0, 0, 1]), 3)
    array([ 1, -1,  0])
    """
    labels, predicted = _labelled(*_checked(labels, predicted, n_classes))
    return _match(_contingency(labels, predicted, _n_labels(labels), n_classes))


def score(
    labels: np.ndarray | None, predicted: np.ndarray, *, matched: bool
) -> dict[str, float | int | None]:
    """Measure how well predicted classes agree with labels.

    Parameters
    ----------
    labels : int array of shape (n,), or None
        Labels from 0; rows with -1 are left out. None: nothing is known.
    predicted : int array of shape (n,)
        Predicted classes from 0.
    matched : bool
        True where the classes have no names yet (no labels were used): the accuracy is then
        counted after `match_classes`. False where class k means label k.

    Returns
    -------
    scores : dict
        ``accuracy`` in [0, 1], ``nmi`` (normalised mutual information) in [0, 1], ``ari``
        (adjusted Rand index) in [-0.5, 1]: all None where no row has a label.
        ``classes_in_use``: how many classes were predicted at least once, over all rows.

    Raises
    ------
    InputError
        As `match_classes`.

    References
    ----------
    Hubert and Arabie (1985), "Comparing partitions", for the adjusted Rand index.

    Examples
    --------
    >>> import numpy as np
    >>> score(np.array([0, 0, 1, 1]), np.array([1, 1, 0, 0]), matched=True)
    {'accuracy': 1.0, 'nmi': 1.0, 'ari': 1.0, 'classes_in_use': 2}
    """
    predicted = np.asarray(predicted)
    known = np.full(len(predicted), UNLABELLED) if labels is None else labels
    n_classes = int(predicted.max(initial=0)) + 1
    known, predicted = _checked(known, predicted, n_classes)
    return {
        **_agreement(*_labelled(known, predicted), n_classes, matched),
        "classes_in_use": len(np.unique(predicted)),
    }


def confusion(
    labels: np.ndarray,
    predicted: np.ndarray,
    n_classes: int,
    *,
    matched: bool,
    n_labels: int | None = None,
) -> tuple[np.ndarray, np.ndarray]:
    """Count images per label (rows) and predicted class (columns).

    Parameters
    ----------
    labels, predicted, n_classes
        As in `match_classes`.
    matched : bool
        True puts the columns in the order of the labels they match, so that the agreement
        is on the diagonal; classes without a label of their own come last.
    n_labels : int, optional
        Number of rows; by default as many as the labels need, and at least ``n_classes``
        where ``matched`` is False.

    Returns
    -------
    matrix : int64 array of shape (n_labels, n_classes)
    order : int64 array of shape (n_classes,)
        The predicted class that each column counts.

    Raises
    ------
    InputError
        As `match_classes`, and if a label is not below ``n_labels``.

    Examples
    --------
    >>> import numpy as np
    >>> matrix, order = confusion(
    ...     np.array([0, 0, 1, 1]), np.array([1, 1, 0, 1]), 2, matched=True
    ... )
    >>> matrix
    array([[2, 0],
           [1, 1]])
    >>> order
    array([1, 0])
    """
    labels, predicted = _labelled(*_checked(labels, predicted, n_classes))
    if n_labels is None:
        n_labels = max(_n_labels(labels), 0 if matched else n_classes)
    elif _n_labels(labels) > n_labels:
        raise InputError(
            f"labels: {labels.max()} is not below n_labels={n_labels}. Raise n_labels."
        )
    matrix = _contingency(labels, predicted, n_labels, n_classes)
    order = _matched_order(_match(matrix)) if matched else np.arange(n_classes)
    return matrix[:, order], order


def expected_calibration_error(
    probabilities: np.ndarray, labels: np.ndarray, n_bins: int = 15
) -> float:
    """Measure how far the largest probabilities are from how often they are right.

    Images are put into bins of equal width by their largest probability, ``((m - 1) / M, m / M]``.
    The error is the sum over the bins of ``|accuracy - mean probability|``, weighted by the
    share of images in the bin: 0 where 90 % of the images with a probability of 0.9 are right.

    Parameters
    ----------
    probabilities : float array of shape (n, n_classes)
        Rows sum to 1. Column k stands for label k: classes without labels are put in the order
        of the labels first, by `match_classes`.
    labels : int array of shape (n,)
        Labels from 0; rows with -1 are left out. A label that no column stands for is a mistake.
    n_bins : int, default=15
        M, at least 1.

    Returns
    -------
    error : float in [0, 1]

    Raises
    ------
    InputError
        If the arrays are not of one length, not distributions or not integers, out of range, or
        without a single label.

    References
    ----------
    Guo, Pleiss, Sun, Weinberger (2017), arXiv:1706.04599, equation 3.

    Examples
    --------
    Both images have a probability of 0.75, and one of them is right: ``|0.5 - 0.75|``.

    >>> import numpy as np
    >>> expected_calibration_error(np.array([[0.75, 0.25], [0.25, 0.75]]), np.array([0, 0]))
    0.25
    """
    probabilities, labels = np.asarray(probabilities, np.float64), np.asarray(labels)
    _check_distributions(probabilities)
    _, predicted = _checked(labels, probabilities.argmax(1), probabilities.shape[1])
    if n_bins < 1:
        raise InputError(f"n_bins must be at least 1. Got {n_bins} instead.")
    known = labels != UNLABELLED
    if not known.any():
        raise InputError(
            "labels has no label, only -1: there is nothing to compare probabilities with."
        )
    confidence = probabilities.max(1)[known]
    excess = (predicted == labels)[known] - confidence
    bins = np.digitize(confidence, np.linspace(0, 1, n_bins + 1)[1:-1], right=True)
    return float(np.abs(np.bincount(bins, weights=excess)).sum() / len(confidence))


def coverage_curve(confidence: np.ndarray, correct: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return the accuracy among the images that are kept when those in doubt are left out.

    The k most confident images are kept, for every k that a threshold can separate: images of
    equal confidence come in together.

    Parameters
    ----------
    confidence : float array of shape (n,)
        How sure each answer is, such as its largest probability; only the order matters.
    correct : bool array of shape (n,)
        Whether each answer is right.

    Returns
    -------
    coverage : float64 array of shape (m,)
        Share of images kept, rising to 1; m is the number of different confidences.
    accuracy : float64 array of shape (m,)
        Share of the images kept whose answer is right.

    Raises
    ------
    InputError
        If there are no images, the arrays are not of one length, a confidence is NaN, or
        `correct` is not boolean.

    References
    ----------
    El-Yaniv, Wiener (2010), "On the foundations of noise-free selective classification".

    Examples
    --------
    >>> import numpy as np
    >>> coverage, accuracy = coverage_curve(
    ...     np.array([0.5, 0.9, 0.7, 0.9]), np.array([False, True, False, True])
    ... )
    >>> coverage, accuracy.round(2)
    (array([0.5 , 0.75, 1.  ]), array([1.  , 0.67, 0.5 ]))
    """
    confidence, correct = np.asarray(confidence), np.asarray(correct)
    _check_answers(confidence, correct)
    order = np.argsort(confidence)[::-1]
    falls = confidence[order][1:] != confidence[order][:-1]
    n_kept = np.append(np.flatnonzero(falls), len(order) - 1) + 1
    return n_kept / len(order), correct[order].cumsum()[n_kept - 1] / n_kept


def _check_distributions(probabilities: np.ndarray) -> None:
    if probabilities.ndim != 2 or not probabilities.shape[1]:
        raise InputError(
            "probabilities must be of shape (n, n_classes). "
            f"Got shape {probabilities.shape} instead."
        )
    wrong = (probabilities < 0).any(1) | ~np.isclose(probabilities.sum(1), 1, atol=1e-3)
    if wrong.any():
        first = int(wrong.argmax())
        raise InputError(
            "probabilities must have rows of numbers from 0 to 1 that sum to 1. "
            f"Row {first} sums to {probabilities[first].sum():g} and has a smallest value of "
            f"{probabilities[first].min():g}."
        )


def _check_answers(confidence: np.ndarray, correct: np.ndarray) -> None:
    if confidence.ndim != 1 or not len(confidence) or confidence.dtype.kind not in "fiu":
        raise InputError(
            "confidence must be numbers of shape (n,), n at least 1. "
            f"Got {confidence.dtype} of shape {confidence.shape} instead."
        )
    if np.isnan(confidence).any():
        first = int(np.isnan(confidence).argmax())
        raise InputError(f"confidence has NaN, first in row {first}: leave such rows out.")
    if correct.shape != confidence.shape or correct.dtype != bool:
        raise InputError(
            f"correct must be booleans of shape {confidence.shape}, as confidence. "
            f"Got {correct.dtype} of shape {correct.shape} instead."
        )


def _checked(
    labels: np.ndarray, predicted: np.ndarray, n_classes: int
) -> tuple[np.ndarray, np.ndarray]:
    labels, predicted = np.asarray(labels), np.asarray(predicted)
    _check_integers("labels", labels)
    _check_integers("predicted", predicted)
    if len(labels) != len(predicted):
        raise InputError(
            f"labels and predicted must have one entry an image each. "
            f"Got {len(labels)} labels and {len(predicted)} predictions."
        )
    _check_range("labels", labels, UNLABELLED, None)
    _check_range("predicted", predicted, 0, n_classes - 1)
    return labels.astype(np.int64), predicted.astype(np.int64)


def _check_integers(name: str, values: np.ndarray) -> None:
    if values.ndim != 1 or (values.size and values.dtype.kind not in "iu"):
        raise InputError(
            f"{name} must be integers of shape (n,). "
            f"Got {values.dtype} of shape {values.shape} instead."
        )


def _check_range(name: str, values: np.ndarray, low: int, high: int | None) -> None:
    if not values.size:
        return
    if values.min() < low or (high is not None and values.max() > high):
        limits = f"at least {low}" if high is None else f"from {low} to {high}"
        raise InputError(
            f"{name} must be {limits}. Got values from {values.min()} to {values.max()} instead."
        )


def _labelled(labels: np.ndarray, predicted: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    known = labels != UNLABELLED
    return labels[known], predicted[known]


def _n_labels(labels: np.ndarray) -> int:
    return int(labels.max(initial=-1)) + 1


def _contingency(
    labels: np.ndarray, predicted: np.ndarray, n_labels: int, n_classes: int
) -> np.ndarray:
    if not labels.size:
        return np.zeros((n_labels, n_classes), np.int64)
    values = np.arange(max(n_labels, n_classes))
    with _many_classes_are_fine():
        counts = confusion_matrix(labels, predicted, labels=values)
    return np.asarray(counts[:n_labels, :n_classes], np.int64)


def _match(counts: np.ndarray) -> np.ndarray:
    mapping = np.full(counts.shape[1], -1, np.int64)
    rows, columns = linear_sum_assignment(counts, maximize=True)
    mapping[columns] = rows
    return mapping


def _matched_order(mapping: np.ndarray) -> np.ndarray:
    last = len(mapping) + int(mapping.max(initial=0)) + 1
    return np.argsort(np.where(mapping < 0, last, mapping), kind="stable")


def _agreement(
    labels: np.ndarray, predicted: np.ndarray, n_classes: int, matched: bool
) -> dict[str, float | int | None]:
    if not labels.size:
        return dict.fromkeys(("accuracy", "nmi", "ari"))
    named = match_classes(labels, predicted, n_classes)[predicted] if matched else predicted
    with _many_classes_are_fine():
        return {
            "accuracy": float(accuracy_score(labels, named)),
            "nmi": float(normalized_mutual_info_score(labels, predicted)),
            "ari": float(adjusted_rand_score(labels, predicted)),
        }


@contextmanager
def _many_classes_are_fine() -> Iterator[None]:
    # scikit-learn suspects a regression when most images have a class of their own
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "The number of unique classes is greater")
        yield
