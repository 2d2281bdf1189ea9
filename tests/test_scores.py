"""The scores, checked against brute force and formulas written out by hand."""

from __future__ import annotations

from itertools import permutations
from math import comb

import numpy as np
import pytest
from sklearn.calibration import calibration_curve

from selfsort.errors import InputError
from selfsort.scores import (
    confusion,
    coverage_curve,
    expected_calibration_error,
    match_classes,
    score,
)


@pytest.fixture
def noisy() -> tuple[np.ndarray, np.ndarray]:
    """400 labels of 4 classes, and predictions: 60 % permuted labels, the rest noise."""
    rng = np.random.default_rng(0)
    labels = rng.integers(0, 4, 400)
    kept = rng.random(400) < 0.6
    return labels, np.where(kept, np.array([2, 0, 3, 1])[labels], rng.integers(0, 4, 400))


def best_permutation(labels: np.ndarray, predicted: np.ndarray, n: int) -> tuple[float, tuple]:
    return max((np.mean(np.array(p)[predicted] == labels), p) for p in permutations(range(n)))


def test_matched_accuracy_is_the_best_of_all_permutations(noisy):
    accuracy, mapping = best_permutation(*noisy, 4)
    assert score(*noisy, matched=True)["accuracy"] == pytest.approx(accuracy)
    np.testing.assert_array_equal(match_classes(*noisy, 4), mapping)
    assert accuracy > score(*noisy, matched=False)["accuracy"]


def test_a_greedy_matching_would_lose():
    # the largest cell (0, 0) is not in the best matching: 5 + 5 beats 6 + 1
    labels = np.repeat([0, 0, 1, 1], [6, 5, 5, 1])
    predicted = np.repeat([0, 1, 0, 1], [6, 5, 5, 1])
    np.testing.assert_array_equal(match_classes(labels, predicted, 2), [1, 0])


def test_more_classes_than_labels_leaves_the_rest_unmatched():
    labels = np.array([0, 0, 0, 1, 1, 1, 1])
    predicted = np.array([3, 3, 0, 1, 1, 1, 2])
    np.testing.assert_array_equal(match_classes(labels, predicted, 4), [-1, 1, -1, 0])
    assert score(labels, predicted, matched=True)["accuracy"] == pytest.approx(5 / 7)


def test_fewer_classes_than_labels():
    labels = np.array([0, 1, 1, 2, 2, 2])
    predicted = np.array([0, 0, 0, 1, 1, 1])
    np.testing.assert_array_equal(match_classes(labels, predicted, 2), [1, 2])
    scores = score(labels, predicted, matched=True)
    assert (scores["accuracy"], scores["classes_in_use"]) == (pytest.approx(5 / 6), 2)


def test_nmi_and_ari_equal_their_formulas(noisy):
    table, _ = confusion(*noisy, 4, matched=False)
    joint = table / table.sum()
    rows, columns = joint.sum(1), joint.sum(0)
    information = (joint * np.log(joint / np.outer(rows, columns))).sum()
    entropy = [-(p * np.log(p)).sum() for p in (rows, columns)]
    pairs = sum(comb(int(n), 2) for n in table.ravel())
    a, b = (sum(comb(int(n), 2) for n in table.sum(axis)) for axis in (0, 1))
    expected = a * b / comb(int(table.sum()), 2)
    scores = score(*noisy, matched=True)
    assert scores["nmi"] == pytest.approx(information / np.mean(entropy))
    assert scores["ari"] == pytest.approx((pairs - expected) / ((a + b) / 2 - expected))


def test_unlabelled_rows_are_left_out_of_the_scores_but_count_as_use(noisy):
    labels, predicted = noisy
    padded = score(np.r_[labels, -1, -1], np.r_[predicted, 4, 5], matched=True)
    assert padded == {**score(labels, predicted, matched=True), "classes_in_use": 6}


@pytest.mark.parametrize("labels", [None, np.array([-1, -1, -1])])
def test_without_any_label_there_is_no_accuracy(labels):
    scores = score(labels, np.array([0, 2, 2]), matched=True)
    assert scores == {"accuracy": None, "nmi": None, "ari": None, "classes_in_use": 2}


def test_no_images_at_all():
    empty = np.array([], int)
    assert score(empty, empty, matched=False)["classes_in_use"] == 0
    np.testing.assert_array_equal(match_classes(empty, empty, 2), [-1, -1])


def test_as_many_classes_as_images_warns_of_nothing():
    each = np.arange(40)
    assert score(each, each[::-1], matched=True)["accuracy"] == 1.0


def test_confusion_counts_every_image_once_and_puts_agreement_on_the_diagonal(noisy):
    labels, predicted = noisy
    matrix, order = confusion(labels, predicted, 4, matched=True)
    by_hand = [[int(((labels == i) & (predicted == j)).sum()) for j in order] for i in range(4)]
    assert matrix.tolist() == by_hand
    assert matrix.trace() == round(score(labels, predicted, matched=True)["accuracy"] * 400)


def test_confusion_puts_unmatched_classes_last():
    labels = np.array([0, 0, 0, 1, 1, 1, 1])
    predicted = np.array([3, 3, 0, 1, 1, 1, 2])
    matrix, order = confusion(labels, predicted, 4, matched=True)
    assert order.tolist() == [3, 1, 0, 2]
    assert matrix.tolist() == [[2, 0, 1, 0], [0, 3, 0, 1]]


def test_confusion_keeps_the_order_of_named_classes_and_rows_that_do_not_occur():
    matrix, order = confusion(np.array([0, 1]), np.array([1, 0]), 3, matched=False)
    assert (matrix.shape, order.tolist()) == ((3, 3), [0, 1, 2])
    wide, _ = confusion(np.array([0, 1]), np.array([1, 0]), 2, matched=True, n_labels=5)
    assert wide.shape == (5, 2)


@pytest.mark.parametrize(
    ("labels", "predicted", "sentence"),
    [
        (
            [0, 1],
            [0],
            "labels and predicted must have one entry an image each. "
            "Got 2 labels and 1 predictions.",
        ),
        (
            [0.0, 1.0],
            [0, 1],
            "labels must be integers of shape (n,). Got float64 of shape (2,) instead.",
        ),
        (
            [0, 1],
            [[0, 1]],
            "predicted must be integers of shape (n,). Got int64 of shape (1, 2) instead.",
        ),
        ([0, -2], [0, 1], "labels must be at least -1. Got values from -2 to 0 instead."),
        ([0, 1], [0, 7], "predicted must be from 0 to 2. Got values from 0 to 7 instead."),
    ],
)
def test_what_cannot_be_scored_is_named(labels, predicted, sentence):
    with pytest.raises(InputError) as error:
        match_classes(np.array(labels), np.array(predicted), 3)
    assert str(error.value) == sentence


def test_a_label_beyond_n_labels_is_named():
    with pytest.raises(InputError) as error:
        confusion(np.array([0, 4]), np.array([0, 1]), 2, matched=True, n_labels=3)
    assert str(error.value) == "labels: 4 is not below n_labels=3. Raise n_labels."


# ---- calibration and coverage ---------------------------------------------------------------


@pytest.fixture
def answers() -> tuple[np.ndarray, np.ndarray]:
    """Distributions over 4 classes of 500 images, and labels that they are too sure of."""
    rng = np.random.default_rng(1)
    probabilities = rng.dirichlet(np.full(4, 0.4), 500)
    labels = [rng.choice(4, p=(row + 0.25) / 2) for row in probabilities]
    return probabilities, np.array(labels)


@pytest.mark.parametrize("n_bins", [1, 7, 15])
def test_calibration_error_is_the_sum_over_the_bins(answers, n_bins):
    probabilities, labels = answers
    by_hand = 0.0
    for m in range(n_bins):
        confidence, right = probabilities.max(1), probabilities.argmax(1) == labels
        held = (confidence > m / n_bins) & (confidence <= (m + 1) / n_bins)
        if held.any():
            by_hand += held.mean() * abs(right[held].mean() - confidence[held].mean())
    assert by_hand > 0.1
    assert expected_calibration_error(probabilities, labels, n_bins) == pytest.approx(by_hand)


def test_calibration_error_is_that_of_scikit_learns_reliability_diagram(answers):
    probabilities, labels = answers
    confidence = probabilities.max(1)
    shares, means = calibration_curve(probabilities.argmax(1) == labels, confidence, n_bins=15)
    counts = np.histogram(confidence, np.linspace(0, 1, 16))[0]
    by_hand = np.average(np.abs(shares - means), weights=counts[counts > 0])
    assert expected_calibration_error(probabilities, labels) == pytest.approx(by_hand)


def test_a_probability_on_an_edge_belongs_to_the_bin_below_it():
    # In (0, 0.5]: one right of one at 0.5. In (0.5, 1]: one of two right, at 0.75 and 1.
    probabilities = np.array([[0.5, 0.5], [0.75, 0.25], [0.0, 1.0]])
    error = expected_calibration_error(probabilities, np.array([0, 1, 1]), n_bins=2)
    assert error == pytest.approx(1 / 3 * (1 - 0.5) + 2 / 3 * (0.875 - 0.5))


def test_unlabelled_images_do_not_count_and_labels_without_a_column_are_mistakes():
    sure = np.array([[1.0, 0.0], [0.0, 1.0], [1.0, 0.0]])
    assert expected_calibration_error(sure, np.array([0, 1, -1])) == 0.0
    assert expected_calibration_error(sure, np.array([0, 2, -1])) == 0.5


@pytest.mark.parametrize(
    ("probabilities", "labels", "n_bins", "sentence"),
    [
        (
            [0.5, 0.5],
            [0, 1],
            15,
            "probabilities must be of shape (n, n_classes). Got shape (2,) instead.",
        ),
        (
            [[0.5, 0.5], [0.5, 0.25]],
            [0, 1],
            15,
            "probabilities must have rows of numbers from 0 to 1 that sum to 1. "
            "Row 1 sums to 0.75 and has a smallest value of 0.25.",
        ),
        (
            [[1.5, -0.5]],
            [0],
            15,
            "probabilities must have rows of numbers from 0 to 1 that sum to 1. "
            "Row 0 sums to 1 and has a smallest value of -0.5.",
        ),
        (
            [[1.0, 0.0]],
            [0, 1],
            15,
            "labels and predicted must have one entry an image each. "
            "Got 2 labels and 1 predictions.",
        ),
        ([[1.0, 0.0]], [0], 0, "n_bins must be at least 1. Got 0 instead."),
        (
            [[1.0, 0.0]],
            [-1],
            15,
            "labels has no label, only -1: there is nothing to compare probabilities with.",
        ),
    ],
)
def test_what_has_no_calibration_error_is_named(probabilities, labels, n_bins, sentence):
    with pytest.raises(InputError) as error:
        expected_calibration_error(np.array(probabilities), np.array(labels), n_bins)
    assert str(error.value) == sentence


def test_coverage_and_accuracy_of_every_threshold():
    rng = np.random.default_rng(2)
    confidence, correct = rng.integers(0, 30, 200) / 30, rng.random(200) < 0.7
    by_hand = []
    for threshold in sorted(set(confidence), reverse=True):
        kept = confidence >= threshold
        by_hand.append((kept.mean(), correct[kept].mean()))
    coverage, accuracy = coverage_curve(confidence, correct)
    np.testing.assert_allclose(np.column_stack([coverage, accuracy]), by_hand)
    assert coverage[-1] == 1.0
    order = rng.permutation(200)
    np.testing.assert_array_equal(coverage_curve(confidence[order], correct[order])[1], accuracy)


def test_equal_confidence_is_one_point_and_different_confidence_one_an_image():
    right = np.array([True, False, False, True])
    coverage, accuracy = coverage_curve(np.full(4, np.inf), right)
    assert (coverage.tolist(), accuracy.tolist()) == ([1.0], [0.5])
    coverage, accuracy = coverage_curve(np.array([4, 3, 2, 1], np.uint8), right)
    assert (coverage.tolist(), accuracy.tolist()) == (
        [0.25, 0.5, 0.75, 1.0],
        [1, 1 / 2, 1 / 3, 0.5],
    )


@pytest.mark.parametrize(
    ("confidence", "correct", "sentence"),
    [
        (
            [],
            [],
            "confidence must be numbers of shape (n,), n at least 1. "
            "Got float64 of shape (0,) instead.",
        ),
        (
            [0.5, np.nan],
            [True, True],
            "confidence has NaN, first in row 1: leave such rows out.",
        ),
        (
            [0.5, 0.5],
            [True],
            "correct must be booleans of shape (2,), as confidence. "
            "Got bool of shape (1,) instead.",
        ),
        (
            [0.5],
            [1],
            "correct must be booleans of shape (1,), as confidence. "
            "Got int64 of shape (1,) instead.",
        ),
    ],
)
def test_what_has_no_coverage_curve_is_named(confidence, correct, sentence):
    with pytest.raises(InputError) as error:
        coverage_curve(np.array(confidence), np.array(correct))
    assert str(error.value) == sentence
