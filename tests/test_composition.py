"""`AutoencoderClassifier` inside scikit-learn's tools, and frames of pandas and polars."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from typing import Any

import numpy as np
import pandas as pd
import polars as pl
import pytest
from sklearn.calibration import CalibratedClassifierCV
from sklearn.datasets import load_digits
from sklearn.ensemble import VotingClassifier
from sklearn.frozen import FrozenEstimator
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import GridSearchCV, cross_val_predict
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import MinMaxScaler
from sklearn.semi_supervised import SelfTrainingClassifier

from selfsort import Autoencoder, AutoencoderClassifier, AutoencoderClusterer, ClassCollapseWarning
from selfsort.errors import InputError

DIGITS = load_digits(n_class=4)
IMAGES, ROWS, LABELS = DIGITS.images[:300], DIGITS.data[:300], DIGITS.target[:300]
TRAIN, TEST = slice(0, 200), slice(200, 300)
WORDS = np.array(["zero", "one", "two", "three"])[LABELS]
QUICK = {"epochs": 6, "n_threads": 1, "random_state": 0}
NAMES = list(DIGITS.feature_names)


def classifier(**parameters: Any) -> AutoencoderClassifier:
    return AutoencoderClassifier(**{"image_shape": (8, 8), **QUICK, **parameters})


# ---- scikit-learn's tools -----------------------------------------------------------------


def test_grid_search_in_two_processes() -> None:
    X = IMAGES
    grid = {"learning_rate": [1e-7, 0.003]}
    search = GridSearchCV(classifier(epochs=3), grid, cv=2, n_jobs=2).fit(X[TRAIN], WORDS[TRAIN])
    assert search.best_params_ == {"learning_rate": 0.003}
    alone = classifier(epochs=3, learning_rate=0.003).fit(X[TRAIN], WORDS[TRAIN])
    np.testing.assert_array_equal(search.predict_proba(X[TEST]), alone.predict_proba(X[TEST]))
    assert search.score(X[TEST], WORDS[TEST]) == (alone.predict(X[TEST]) == WORDS[TEST]).mean()


def test_in_a_pipeline_that_is_searched() -> None:
    pipeline = make_pipeline(MinMaxScaler(), classifier())
    grid = {"autoencoderclassifier__learning_rate": [1e-7, 0.003]}
    search = GridSearchCV(pipeline, grid, cv=2).fit(ROWS[TRAIN], LABELS[TRAIN])
    assert search.best_params_ == {"autoencoderclassifier__learning_rate": 0.003}
    assert search.score(ROWS[TEST], LABELS[TEST]) > 0.8


@pytest.mark.parametrize("method", ["sigmoid", "isotonic"])
def test_calibrated(method) -> None:
    calibrated = CalibratedClassifierCV(classifier(), method=method, cv=2)
    calibrated.fit(ROWS[TRAIN], WORDS[TRAIN])
    probability = calibrated.predict_proba(ROWS[TEST])
    np.testing.assert_allclose(probability.sum(1), 1)
    assert calibrated.classes_.tolist() == ["one", "three", "two", "zero"]
    assert calibrated.score(ROWS[TEST], WORDS[TEST]) > 0.8


def test_one_that_is_fitted_is_calibrated_on_images() -> None:
    fitted = classifier().fit(IMAGES[:120], LABELS[:120])
    calibrated = CalibratedClassifierCV(FrozenEstimator(fitted), method="temperature")
    calibrated.fit(IMAGES[120:200], LABELS[120:200])
    # One temperature for all classes changes no decision.
    np.testing.assert_array_equal(calibrated.predict(IMAGES[TEST]), fitted.predict(IMAGES[TEST]))


def test_self_training() -> None:
    y = np.where(np.arange(300) < 60, LABELS, -1)[TRAIN]
    trained = SelfTrainingClassifier(classifier(), threshold=0.9, max_iter=2).fit(ROWS[TRAIN], y)
    assert trained.classes_.tolist() == [0, 1, 2, 3]
    assert (trained.labeled_iter_ > 0).sum() > 20  # images that it labelled by itself
    added = trained.labeled_iter_ > 0
    assert (trained.transduction_[added] == LABELS[TRAIN][added]).mean() > 0.9
    assert trained.score(ROWS[TEST], LABELS[TEST]) > 0.8


@pytest.mark.parametrize("voting", ["hard", "soft"])
def test_voting(voting) -> None:
    members = [("network", classifier()), ("linear", LogisticRegression(max_iter=2000))]
    voted = VotingClassifier(members, voting=voting).fit(ROWS[TRAIN], WORDS[TRAIN])
    assert voted.score(ROWS[TEST], WORDS[TEST]) > 0.9
    if voting == "soft":
        mean = np.mean([one.predict_proba(ROWS[TEST]) for one in voted.estimators_], axis=0)
        np.testing.assert_allclose(voted.predict_proba(ROWS[TEST]), mean, rtol=1e-6)


def test_cross_validated_probabilities() -> None:
    probability = cross_val_predict(
        classifier(), IMAGES[TRAIN], LABELS[TRAIN], cv=2, method="predict_proba"
    )
    assert (probability.argmax(1) == LABELS[TRAIN]).mean() > 0.8


# ---- frames -------------------------------------------------------------------------------

FRAMES: dict[str, Callable[[np.ndarray], Any]] = {
    "pandas": lambda X: pd.DataFrame(X, columns=NAMES),
    "polars": lambda X: pl.DataFrame(X, schema=NAMES),
}
every_frame = pytest.mark.parametrize("kind", FRAMES)


@pytest.fixture(scope="module")
def by_arrays() -> AutoencoderClassifier:
    return classifier(epochs=2).fit(ROWS[TRAIN], WORDS[TRAIN])


@pytest.mark.parametrize(
    "series",
    [
        pd.Series,
        lambda y: pd.Series(y, dtype="category"),
        lambda y: pd.Series(y, dtype="string"),
        lambda y: pd.Series(y, index=np.arange(len(y))[::-1]),
        pl.Series,
        lambda y: pl.Series(y, dtype=pl.Categorical),
        lambda y: pl.DataFrame({"y": y})["y"],
    ],
    ids=["pandas", "category", "string", "index", "polars", "categorical", "column"],
)
def test_labels_in_a_series(by_arrays, series) -> None:
    by_series = classifier(epochs=2).fit(ROWS[TRAIN], series(WORDS[TRAIN]))
    assert by_series.classes_.tolist() == ["one", "three", "two", "zero"]
    np.testing.assert_array_equal(
        by_series.predict_proba(ROWS[TEST]), by_arrays.predict_proba(ROWS[TEST])
    )
    assert by_series.score(ROWS[TEST], series(WORDS[TEST])) == (
        by_arrays.score(ROWS[TEST], WORDS[TEST])
    )


@pytest.mark.parametrize(
    "series",
    [pd.Series, lambda y: pd.Series(y, dtype="Int64"), pl.Series],
    ids=["pandas", "nullable", "polars"],
)
def test_whole_numbers_in_a_series_with_a_marker(series) -> None:
    y = np.where(np.arange(200) % 4, LABELS[TRAIN], -1)
    by_array = classifier(epochs=2, unlabeled=-1).fit(ROWS[TRAIN], y)
    by_series = classifier(epochs=2, unlabeled=-1).fit(ROWS[TRAIN], series(y))
    assert by_series.classes_.tolist() == [0, 1, 2, 3]
    np.testing.assert_array_equal(
        by_series.predict_proba(ROWS[TEST]), by_array.predict_proba(ROWS[TEST])
    )


@pytest.mark.parametrize(
    "series",
    [pd.Series, lambda y: pd.Series(y, dtype="string"), pl.Series],
    ids=["pandas", "string", "polars"],
)
def test_a_series_with_nothing_for_some_labels_says_what_to_do(series) -> None:
    words = [None if i < 5 else word for i, word in enumerate(WORDS[TRAIN])]
    with pytest.raises(InputError) as caught:
        classifier().fit(ROWS[TRAIN], series(words))
    assert str(caught.value) == (
        "y has missing values (5 of 200): mark images without a label by a text or number of "
        "their own, such as '' or -1, and give it as unlabeled=''."
    )


@every_frame
def test_a_frame_of_pixels(by_arrays, kind) -> None:
    frame = FRAMES[kind]
    by_frame = classifier(epochs=2).fit(frame(ROWS[TRAIN]), WORDS[TRAIN])
    assert by_frame.feature_names_in_.tolist() == NAMES
    np.testing.assert_array_equal(
        by_frame.predict_proba(frame(ROWS[TEST])), by_arrays.predict_proba(ROWS[TEST])
    )
    with pytest.raises(InputError, match="feature names should match"):
        by_frame.predict(frame(ROWS[TEST])[NAMES[::-1]])


@every_frame
@pytest.mark.parametrize("cls", [Autoencoder, AutoencoderClassifier, AutoencoderClusterer])
def test_features_come_out_as_a_frame(kind, cls) -> None:
    parameters = {"style_dim": 2, "image_shape": (8, 8), **QUICK, "epochs": 1}
    if cls is AutoencoderClusterer:
        parameters |= {"n_classes": 3, "method": "direct"}
    frame = FRAMES[kind](ROWS[TRAIN])
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ClassCollapseWarning)
        estimator = cls(**parameters).set_output(transform=kind).fit(frame, LABELS[TRAIN])
    found = estimator.transform(frame)
    assert isinstance(found, type(frame))
    width = {Autoencoder: 2, AutoencoderClassifier: 4 + 2, AutoencoderClusterer: 3 + 2}[cls]
    assert list(found.columns) == [f"{cls.__name__.lower()}{i}" for i in range(width)]
    plain = estimator.set_output(transform="default").transform(frame)
    np.testing.assert_array_equal(found.to_numpy(), plain)


@every_frame
def test_frames_in_scikit_learns_tools(kind) -> None:
    frame = FRAMES[kind]
    members = [("network", classifier()), ("linear", LogisticRegression(max_iter=2000))]
    series = pd.Series if kind == "pandas" else pl.Series
    voted = VotingClassifier(members, voting="soft").fit(frame(ROWS[TRAIN]), series(WORDS[TRAIN]))
    assert voted.score(frame(ROWS[TEST]), series(WORDS[TEST])) > 0.9
