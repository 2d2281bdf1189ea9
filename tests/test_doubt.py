"""What estimators are not sure of: no class, unusual images, and images to label."""

from __future__ import annotations

import re
import warnings
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image, ImageDraw, ImageFont
from sklearn.covariance import LedoitWolf
from sklearn.datasets import load_digits
from sklearn.exceptions import NotFittedError
from sklearn.metrics import roc_auc_score

from selfsort import (
    AutoencoderClassifier,
    AutoencoderClusterer,
    ClassCollapseWarning,
    InputError,
    NotFiniteError,
    SelfsortError,
)
from selfsort.estimators.doubt import N_ALIKE, OutlierScale, suggested

DIGITS = load_digits()
IMAGES, LABELS = DIGITS.images, DIGITS.target
NAMES = np.array(["zero", "one", "two"])[LABELS % 3]
QUICK = {"style_dim": 2, "epochs": 1, "device": "cpu", "n_threads": 1, "random_state": 0}
CLASSES = [AutoencoderClusterer, AutoencoderClassifier]

every_class_estimator = pytest.mark.parametrize("cls", CLASSES)


def fitted(cls: type, X: Any = IMAGES[:200], y: Any = LABELS[:200] % 3, **parameters: Any) -> Any:
    """Return an estimator fitted for a moment; classes may be unused after so little."""
    if cls is AutoencoderClusterer:
        parameters = {"n_classes": 3, "method": "direct", **parameters}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ClassCollapseWarning)
        return cls(**{**QUICK, **parameters}).fit(X, y)


def error_of(call: Callable[[], Any]) -> str:
    """Return the message of an error that a person caused: one line."""
    with pytest.raises(SelfsortError) as caught:
        call()
    assert "\n" not in str(caught.value)
    return str(caught.value)


# ---- no class in doubt ----------------------------------------------------------------------


@every_class_estimator
@pytest.mark.parametrize("share", [0.2, 0.9])
def test_images_below_the_threshold_get_no_class(cls, share):
    estimator = fitted(cls)
    largest = estimator.predict_proba(IMAGES[:200]).max(1)
    threshold = np.sort(largest)[int(200 * share)]
    expected = estimator.predict(IMAGES[:200])
    expected[largest < threshold] = -1
    assert (expected == -1).sum() == 200 * share
    # The image that is exactly at the threshold keeps its class, whatever type that has.
    for abstain in (threshold, float(threshold), np.float64(threshold)):
        found = estimator.predict(IMAGES[:200], abstain=abstain)
        np.testing.assert_array_equal(found, expected)
        assert found.dtype == np.int64


@every_class_estimator
def test_a_threshold_that_every_image_reaches_changes_nothing(cls):
    estimator = fitted(cls)
    # The largest of three probabilities is at least a third.
    found = estimator.predict(IMAGES[:200], abstain=0.33)
    np.testing.assert_array_equal(found, estimator.predict(IMAGES[:200]))


@pytest.mark.parametrize(
    ("y", "unlabeled", "marker"),
    [
        (LABELS % 3, None, -1),
        (LABELS % 3, 99, 99),
        ((LABELS % 3).astype(np.uint8), None, -1),
        ((LABELS % 3).astype(float), None, -1.0),
        (LABELS > 4, None, -1),
        (NAMES, "?", "?"),
        (NAMES, "no class at all", "no class at all"),
        (NAMES.astype(object), "?", "?"),
    ],
)
def test_the_marker_of_a_classifier_stands_for_no_label(y, unlabeled, marker):
    classifier = fitted(AutoencoderClassifier, y=y[:200], unlabeled=unlabeled)
    doubtful = classifier.predict_proba(IMAGES[:200]).max(1) < 0.7
    assert 0 < doubtful.sum() < 200
    found = classifier.predict(IMAGES[:200], abstain=0.7)
    assert set(found[doubtful].tolist()) == {marker}
    np.testing.assert_array_equal(found[~doubtful], classifier.predict(IMAGES[:200])[~doubtful])


@pytest.mark.parametrize(
    ("y", "unlabeled", "sentence"),
    [
        (
            NAMES,
            None,
            "predict cannot give -1 to images in doubt, for the classes are text: set the "
            "unlabeled parameter to a text that is no class.",
        ),
        (
            NAMES,
            "two",
            "predict cannot give 'two' to images in doubt, for that is a class: set the unlabeled "
            "parameter to a text that is no class.",
        ),
        (
            LABELS % 3 - 1,
            None,
            "predict cannot give -1 to images in doubt, for that is a class: set the unlabeled "
            "parameter to a number that is no class.",
        ),
        (
            LABELS % 3,
            "?",
            "predict cannot give '?' to images in doubt, for the classes are numbers: set the "
            "unlabeled parameter to a number that is no class.",
        ),
    ],
)
def test_markers_that_cannot_stand_for_no_label(y, unlabeled, sentence):
    classifier = fitted(AutoencoderClassifier, y=y[:200]).set_params(unlabeled=unlabeled)
    assert error_of(lambda: classifier.predict(IMAGES, abstain=0.5)) == sentence
    assert classifier.predict(IMAGES[:3]).shape == (3,)


@every_class_estimator
@pytest.mark.parametrize(
    ("abstain", "got"), [(0, "0"), (1.5, "1.5"), (np.nan, "nan"), ("x", "'x'")]
)
def test_a_threshold_that_is_no_probability(cls, abstain, got):
    estimator = fitted(cls)
    assert error_of(lambda: estimator.predict(IMAGES, abstain=abstain)) == (
        "The 'abstain' parameter of predict must be a float in the range (0.0, 1.0] or None. "
        f"Got {got} instead."
    )


@every_class_estimator
@pytest.mark.parametrize("use", ["outlier_score", "suggest"])
def test_before_a_fit_there_is_nothing_to_say(cls, use):
    with pytest.raises(NotFittedError, match=f"This {cls.__name__} instance is not fitted yet"):
        getattr(cls(), use)(IMAGES)


# ---- unusual images -------------------------------------------------------------------------


def letters() -> np.ndarray:
    """Return 22 capital letters as 8×8 images with the pixel values of the digits, 0 to 16."""
    drawn = []
    for letter in "ABCDEFGHJKLMNPQRTUVWXY":
        picture = Image.new("L", (32, 32))
        font = ImageFont.load_default(size=30)
        ImageDraw.Draw(picture).text((16, 16), letter, fill=255, font=font, anchor="mm")
        drawn.append(np.asarray(picture.resize((8, 8), Image.Resampling.BOX)) * (16 / 255))
    return np.stack(drawn)


KNOWN = np.arange(len(IMAGES)) % 5 > 0


@pytest.fixture(scope="module")
def knowing() -> AutoencoderClassifier:
    """Return a classifier that knows the digits."""
    classifier = AutoencoderClassifier(**{**QUICK, "style_dim": 16, "epochs": 12})
    return classifier.fit(IMAGES[KNOWN], LABELS[KNOWN])


@pytest.mark.parametrize(
    "others",
    [
        letters(),
        np.zeros((1, 8, 8)),
        np.random.default_rng(0).uniform(0, 16, (50, 8, 8)),
        np.rot90(IMAGES[~KNOWN], axes=(1, 2)),
    ],
    ids=["letters", "blank", "noise", "rotated"],
)
def test_what_is_no_digit_is_more_unusual_than_new_digits(knowing, others):
    new, unusual = knowing.outlier_score(IMAGES[~KNOWN]), knowing.outlier_score(others)
    truth = np.repeat([0, 1], [len(new), len(unusual)])
    assert roc_auc_score(truth, np.r_[new, unusual]) > 0.97
    assert 0.4 < new.mean() < 0.7


def test_the_score_is_the_share_of_training_images_that_are_less_unusual(knowing):
    score, n = knowing.outlier_score(IMAGES[KNOWN]), KNOWN.sum()
    assert (score.dtype, score.min()) == (np.float64, 0.0)
    # Images that are equally unusual but for rounding noise share a rank.
    np.testing.assert_allclose(np.sort(score), np.arange(n) / n, atol=3.01 / n)
    assert score.max() == (n - 1) / n
    assert knowing.outlier_score(16 - IMAGES[:5]).tolist() == [1.0] * 5


@pytest.mark.parametrize("n_images", [200, 20_000])
def test_the_scale_is_written_out_by_hand(n_images):
    rng = np.random.default_rng(0)
    classes = rng.integers(0, 3, n_images) * 2  # class 1 is out of use
    mixing = np.eye(6) + 0.2 * rng.normal(size=(6, 6))
    centres = 4 * rng.normal(size=(5, 6))
    features = (rng.normal(size=(n_images, 6)) @ mixing + centres[classes]).astype(np.float32)
    errors = rng.gamma(2, 0.01, n_images).astype(np.float32)
    new = features[:100] + np.linspace(0, 1, 100, dtype=np.float32)[:, None]
    new_errors = errors[:100][::-1]

    means = {k: features[classes == k].mean(0, dtype=float) for k in (0, 2, 4)}
    within = np.array([f - means[k] for f, k in zip(features, classes, strict=True)])
    covariance = LedoitWolf(assume_centered=True).fit(within)

    def distances(rows: np.ndarray) -> np.ndarray:
        return np.min([covariance.mahalanobis(rows - mean) for mean in means.values()], axis=0)

    known, error = distances(features), errors.mean(dtype=float)
    unusual = np.sqrt((known / known.mean()) ** 2 + (errors / error) ** 2)
    found = np.sqrt((distances(new) / known.mean()) ** 2 + (new_errors / error) ** 2)
    by_hand = (unusual < found[:, None]).mean(1)

    scale = OutlierScale.measured(features, errors, classes)
    assert scale.centres.shape == (3, 6)
    assert scale.quantiles.shape == (min(n_images, 10_001),)
    tolerance = 1 / 200 if n_images == 200 else 1e-3
    np.testing.assert_allclose(scale.score(new, new_errors), by_hand, atol=tolerance)
    assert by_hand.min() < 0.1
    assert by_hand.max() > 0.95


VECTORS = np.random.default_rng(0).normal(size=(60, 6))


@pytest.mark.parametrize(
    ("X", "parameters"),
    [
        (IMAGES[:20], {}),
        (IMAGES[:20], {"style_dim": 0}),
        (VECTORS, {}),
        (VECTORS[:3], {}),
        (np.kron(IMAGES[:60], np.ones((2, 2))), {"network": "question"}),
        (np.kron(IMAGES[:60], np.ones((4, 4))), {"network": "question"}),
    ],
)
@every_class_estimator
def test_small_data_vectors_and_wide_features(cls, X, parameters):
    estimator = fitted(cls, X, np.arange(len(X)) % 3, **parameters)
    score = estimator.outlier_score(X)
    # Images that are equally unusual but for rounding noise share a rank.
    np.testing.assert_allclose(np.sort(score), np.arange(len(X)) / len(X), atol=1.01 / len(X))
    alone = [estimator.outlier_score(X[i : i + 1])[0] for i in range(len(X))]
    np.testing.assert_array_equal(alone, score)
    assert len(estimator.outlier_scale_.whitening) <= 256


@every_class_estimator
@pytest.mark.parametrize("n_images", [20, 1300])
def test_equal_images_are_not_unusual_and_another_one_is(cls, n_images):
    blank = np.zeros((n_images, 8, 8), np.uint8)
    estimator = fitted(cls, blank, np.arange(n_images) % 3)
    np.testing.assert_array_equal(estimator.outlier_score(blank), np.zeros(n_images))
    assert estimator.outlier_score(blank[:1]) == 0.0
    assert estimator.outlier_score(np.full((1, 8, 8), 255, np.uint8)) == 1.0


def test_absurd_pixels_are_unusual_without_a_warning():
    classifier = fitted(AutoencoderClassifier)
    absurd = np.full((2, 8, 8), 3e38)
    absurd[1] *= -1
    assert classifier.outlier_score(absurd).tolist() == [1.0, 1.0]


def test_weights_that_the_last_step_broke():
    one_step = {"optimizer": "sgd", "learning_rate": 1e30, "schedule": "constant"}
    one_step["network"] = "dense"  # it learns everything at once
    message = error_of(lambda: fitted(AutoencoderClassifier, IMAGES[:2], [0, 1], **one_step))
    assert re.fullmatch(
        r"The last step of the training made 'network\.[\w.]+' NaN or infinite\. "
        r"Try a lower learning rate \(now 1e\+30\)\.",
        message,
    )
    assert issubclass(NotFiniteError, SelfsortError)


# ---- images to label ------------------------------------------------------------------------


def by_the_rule(
    features: np.ndarray, probabilities: np.ndarray, labelled: set[int], n_images: int
) -> list[int]:
    """Return what `suggested` should, image by image, of 3 classes of 60 images: 5 neighbours."""
    unit = features / np.linalg.norm(features, axis=1, keepdims=True)
    similarity = unit @ unit.T
    nearest = [[j for j in np.argsort(-row) if j != i][:5] for i, row in enumerate(similarity)]
    classes = probabilities.argmax(1)
    members = [np.flatnonzero(classes == k) for k in range(3)]
    members.sort(key=len, reverse=True)
    chosen: list[int] = []
    for images in members:
        if not labelled & set(images):
            middle = np.median(probabilities[images].max(1))
            surer = [i for i in images if probabilities[i].max() >= middle]
            chosen.append(max(surer, key=lambda i: similarity[i, nearest[i]].mean()))
    chosen = chosen[:n_images]
    margin = [row[-1] - row[-2] for row in np.sort(probabilities, axis=1)]
    while len(chosen) < n_images:
        before = len(chosen)
        for images in members:
            taken = labelled | set(chosen)
            near = taken | {j for i in taken for j in nearest[i]}
            left = [i for i in images if i not in near]
            if left and len(chosen) < n_images:
                chosen.append(min(left, key=lambda i: margin[i]))
        if len(chosen) == before:
            break
    return chosen


@pytest.mark.parametrize("n_labelled", [0, 1, 6])
@pytest.mark.parametrize("seed", range(5))
def test_suggestions_follow_the_rule(seed, n_labelled):
    rng = np.random.default_rng(seed)
    features = rng.normal(size=(60, 6)).astype(np.float32)
    probabilities = rng.dirichlet([2, 1, 1], 60)
    labelled = np.isin(np.arange(60), rng.choice(60, n_labelled, replace=False))
    expected = by_the_rule(features, probabilities, set(np.flatnonzero(labelled)), 12)
    assert len(expected) > 5
    found = suggested(torch.from_numpy(features), probabilities, labelled, len(expected))
    assert (found.tolist(), found.dtype) == (expected, np.int64)
    # Near-duplicates come when there is nothing else, and every image comes once.
    everything = suggested(torch.from_numpy(features), probabilities, labelled, 60 - n_labelled)
    assert everything[: len(expected)].tolist() == expected
    assert sorted(everything) == np.flatnonzero(~labelled).tolist()


def test_copies_of_an_image_are_not_suggested():
    # Three classes in three directions; the images in doubt of each are five copies of one.
    rng = np.random.default_rng(0)
    features = np.repeat(np.eye(3), 20, axis=0) + 0.1 * rng.random((60, 3))
    probabilities = np.repeat(np.eye(3), 20, axis=0) * 0.7 + 0.1
    for k in range(3):
        copies = slice(20 * k, 20 * k + N_ALIKE)
        features[copies] = np.eye(3)[k] + 0.3
        probabilities[copies] = np.eye(3)[k] * 0.1 + 0.3
    chosen = suggested(torch.from_numpy(features), probabilities, np.zeros(60, dtype=bool), 9)
    in_doubt = [image for image in chosen if image % 20 < N_ALIKE]
    assert sorted(in_doubt) == [0, 20, 40]
    assert in_doubt == chosen[3:6].tolist()


@pytest.mark.parametrize("as_given", [list, np.float64, None])
def test_labelled_images_and_their_classes_are_passed_over(as_given):
    clusterer = fitted(AutoencoderClusterer, n_classes=5, epochs=8, information_weight=1.0)
    images, classes = IMAGES[:200], clusterer.predict(IMAGES[:200])
    n_in_use = len(np.unique(classes))
    typical = clusterer.suggest(images, n_in_use)
    assert len(set(classes[typical])) == n_in_use > 2
    labels = np.full(200, -1)
    labels[typical[1:]] = 7
    given = {list: labels.tolist(), np.float64: labels.astype(float), None: labels}[as_given]
    again = clusterer.suggest(images, 150, labels=given)
    assert again[0] == typical[0]
    assert len(set(again)) == 150
    assert not set(again) & set(typical[1:])
    np.testing.assert_array_equal(clusterer.suggest(images, 150, labels=labels), again)


@pytest.mark.parametrize(
    ("y", "unlabeled", "markers"),
    [
        (LABELS % 3, None, [-1]),
        (LABELS % 3, 99, [-1, 99]),
        (LABELS % 3 - 1, 99, [99]),
        (NAMES, "?", ["?"]),
        (NAMES.astype(object), None, [-1]),
    ],
)
def test_what_stands_for_no_label(y, unlabeled, markers):
    classifier = fitted(AutoencoderClassifier, y=y[:200]).set_params(unlabeled=unlabeled)
    labels = y[:200].copy()
    for i, marker in enumerate(markers):
        labels[i] = marker
    chosen = classifier.suggest(IMAGES[:200], len(markers), labels=labels)
    assert set(chosen) == set(range(len(markers)))


def test_a_single_image():
    assert fitted(AutoencoderClusterer).suggest(IMAGES[:1], 1).tolist() == [0]


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (
            {"n_images": 0},
            "The 'n_images' parameter of suggest must be an int in the range [1, inf). "
            "Got 0 instead.",
        ),
        (
            {"n_images": 2.5},
            "The 'n_images' parameter of suggest must be an int in the range [1, inf). "
            "Got 2.5 instead.",
        ),
        (
            {"n_images": 31},
            "suggest cannot give 31 images: only 30 of 30 have no label. Ask for fewer, or give "
            "more images.",
        ),
        (
            {"labels": np.where(np.arange(30) < 4, -1, 0)},
            "suggest cannot give 10 images: only 4 of 30 have no label. Ask for fewer, or give "
            "more images.",
        ),
        (
            {"labels": np.full(29, -1)},
            "labels must be of shape (30,), one for each image of X. Got shape (29,) instead.",
        ),
        (
            {"labels": np.full((30, 1), -1)},
            "labels must be of shape (30,), one for each image of X. Got shape (30, 1) instead.",
        ),
        (
            {"labels": np.full(30, np.nan)},
            "labels has NaN: mark images without a label by -1.",
        ),
    ],
)
def test_what_cannot_be_suggested(arguments, sentence):
    clusterer = fitted(AutoencoderClusterer)
    assert error_of(lambda: clusterer.suggest(IMAGES[:30], **arguments)) == sentence
    with pytest.raises(InputError, match="was fitted on"):
        clusterer.suggest(np.zeros((30, 9, 9)))
