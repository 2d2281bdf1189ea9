"""The scores, checked against brute force and formulas written out by hand."""

from __future__ import annotations

from itertools import permutations
from math import comb

import numpy as np
import pytest

from selfsort.errors import InputError
from selfsort.scores import confusion, match_classes, score


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
