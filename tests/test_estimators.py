"""The three estimators on scikit-learn's digits: inputs, outputs, randomness, labels, callbacks."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
from sklearn.base import clone
from sklearn.callback import ProgressBar, ScoringMonitor
from sklearn.datasets import load_digits
from sklearn.metrics import adjusted_rand_score
from sklearn.model_selection import GridSearchCV
from sklearn.pipeline import make_pipeline
from sklearn.svm import SVC
from sklearn.utils import estimator_html_repr

from selfsort import (
    Autoencoder,
    AutoencoderClassifier,
    AutoencoderClusterer,
    ClassCollapseWarning,
    InputError,
    NotFiniteError,
    SelfsortError,
)
from selfsort.estimators.base import BaseAutoencoder
from selfsort.estimators.outputs import second_look
from selfsort.networks import Network

DIGITS = load_digits()
IMAGES, LABELS = DIGITS.images, DIGITS.target
FEW = IMAGES[:200]
QUICK = {"epochs": 1, "device": "cpu", "n_threads": 1, "random_state": 0}
CLASSES = ["AutoencoderClusterer", "AutoencoderClassifier"]

ignore_collapse = pytest.mark.filterwarnings("ignore::selfsort.errors.ClassCollapseWarning")


def majority_accuracy(labels: np.ndarray, predicted: np.ndarray) -> float:
    """Return the share of images whose class is the majority label of that class."""
    hits = sum(np.bincount(labels[predicted == k]).max() for k in np.unique(predicted))
    return hits / len(labels)


def make(name: str, **parameters: Any) -> Any:
    """Return an unfitted estimator that is quick to fit."""
    if name == "Autoencoder":
        return Autoencoder(**{"style_dim": 4, **QUICK, **parameters})
    if name == "AutoencoderClusterer":
        small = {"n_classes": 3, "method": "direct", "style_dim": 2}
        return AutoencoderClusterer(**{**small, **QUICK, **parameters})
    return AutoencoderClassifier(**{"style_dim": 2, **QUICK, **parameters})


def fitted(name: str, X: Any = FEW, **parameters: Any) -> Any:
    """Return an estimator fitted for a moment; classes may be unused after so little."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ClassCollapseWarning)
        return make(name, **parameters).fit(X, LABELS[: len(X)] % 3)


def stages_of(
    monkeypatch: pytest.MonkeyPatch, name: str = "AutoencoderClusterer", **parameters: Any
) -> tuple[dict[str, Any], dict[str, int]]:
    """Return (estimator, feed) and batch size of each stage of training."""
    feeds, sizes = {}, {}
    train = BaseAutoencoder._train

    def watched(self, stage, weights, feed, settings):
        made = feed()
        feeds[stage], sizes[stage] = (self, made), settings.batch_size
        return train(self, stage, weights, lambda: made, settings)

    with monkeypatch.context() as patch:
        patch.setattr(BaseAutoencoder, "_train", watched)
        fitted(name, **parameters)
    return feeds, sizes


every_estimator = pytest.mark.parametrize("name", ["Autoencoder", *CLASSES])
every_class_estimator = pytest.mark.parametrize("name", CLASSES)


def error_of(call: Callable[[], Any]) -> str:
    """Return the message of an error that a person caused: one line."""
    with pytest.raises(SelfsortError) as caught:
        call()
    assert "\n" not in str(caught.value)
    return str(caught.value)


# ---- scikit-learn's tools -------------------------------------------------------------------


@pytest.mark.parametrize("shape", [None, (8, 8)])
def test_features_for_an_ordinary_classifier(shape):
    X = IMAGES[:600] if shape is None else IMAGES[:600].reshape(600, -1)
    autoencoder = make("Autoencoder", style_dim=32, image_shape=shape, epochs=20)
    pipeline = make_pipeline(autoencoder, SVC(C=10.0)).fit(X[:400], LABELS[:400])
    assert pipeline.score(X[400:], LABELS[400:600]) > 0.8


@pytest.mark.parametrize("n_jobs", [1, 2])
def test_grid_search(n_jobs):
    search = GridSearchCV(make("Autoencoder"), {"style_dim": [1, 8]}, cv=2, n_jobs=n_jobs)
    search.set_params(estimator__epochs=6).fit(FEW)
    # Eight numbers tell more of an image than one; the score is minus the squared error.
    assert search.best_params_ == {"style_dim": 8}
    assert (search.cv_results_["mean_test_score"] < 0).all()


@every_estimator
def test_clone_has_the_parameters_and_not_the_fit(name):
    estimator = fitted(name, learning_rate=0.01)
    copy = clone(estimator)
    assert copy.get_params() == estimator.get_params()
    assert not [attribute for attribute in vars(copy) if attribute.endswith("_")]


@every_estimator
def test_pandas_output_is_named_after_the_estimator(name):
    estimator = fitted(name).set_output(transform="pandas")
    frame = estimator.transform(FEW[:5])
    width = 4 if name == "Autoencoder" else 3 + 2
    assert list(frame.columns) == [f"{name.lower()}{i}" for i in range(width)]
    assert list(estimator.get_feature_names_out()) == list(frame.columns)
    plain = estimator.set_output(transform="default").transform(FEW[:5])
    np.testing.assert_array_equal(frame.to_numpy(), plain)
    assert plain.dtype == np.float32


def test_columns_of_a_frame_are_remembered_and_compared():
    frame = pd.DataFrame(IMAGES[:50].reshape(50, -1), columns=DIGITS.feature_names)
    autoencoder = make("Autoencoder", image_shape=(8, 8)).fit(frame)
    assert list(autoencoder.feature_names_in_) == DIGITS.feature_names
    with pytest.raises(ValueError, match="The feature names should match those"):
        autoencoder.transform(frame[DIGITS.feature_names[::-1]])
    autoencoder.fit(IMAGES[:50])
    assert not hasattr(autoencoder, "feature_names_in_")


@every_estimator
def test_html_shows_the_parameters_that_were_set(name):
    page = estimator_html_repr(fitted(name))
    assert name in page
    assert "random_state" in page


def test_progress_bar(capsys):
    make("Autoencoder", epochs=2).set_callbacks(ProgressBar()).fit(FEW)
    assert "Autoencoder - fit" in capsys.readouterr().out


def test_scoring_monitor_scores_the_model_after_every_epoch():
    monitor = ScoringMonitor(scoring="accuracy")
    classifier = make("AutoencoderClassifier", epochs=5).set_callbacks(monitor)
    classifier.fit(IMAGES[:500], LABELS[:500])
    log = monitor.get_logs().data
    assert [row["task_name"] for row in log] == ["epoch"] * 5
    # The last row is of the very model that fit leaves behind.
    assert log[-1]["accuracy"] == np.mean(classifier.predict(IMAGES[:500]) == LABELS[:500])
    assert log[-1]["accuracy"] > log[0]["accuracy"]


@ignore_collapse
def test_scoring_monitor_leaves_out_epochs_without_classes():
    y = np.where(np.arange(200) < 60, LABELS[:200], -1)
    monitor = ScoringMonitor(scoring="accuracy")
    classifier = make("AutoencoderClassifier", unlabeled=-1, epochs=3).set_callbacks(monitor)
    classifier.fit(FEW, y)
    stages = [row["stage"] for row in classifier.history_]
    assert stages[0] == "fine clusters"
    n_scored = sum(stage != "fine clusters" for stage in stages)
    assert len(monitor.get_logs().data) == n_scored == len(stages) - stages.count("fine clusters")


class StopAt:
    """A callback that asks to stop at the end of a task of that name, the n-th time."""

    def __init__(self, task: str, n: int) -> None:
        self.task, self.left = task, n

    def setup(self, estimator: Any, context: Any) -> None: ...

    def teardown(self, estimator: Any, context: Any) -> None: ...

    def on_fit_task_begin(self, estimator: Any, context: Any) -> None: ...

    def on_fit_task_end(self, estimator: Any, context: Any) -> bool:
        self.left -= context.task_name == self.task
        return context.task_name == self.task and self.left == 0


@pytest.mark.parametrize(("task", "n", "n_epochs"), [("epoch", 3, 3), ("steps", 10, 2)])
def test_a_callback_ends_the_fit(task, n, n_epochs):
    # 200 images are 8 batches an epoch: the tenth step is in the second epoch.
    autoencoder = make("Autoencoder", epochs=9).set_callbacks(StopAt(task, n)).fit(FEW)
    assert (autoencoder.n_epochs_, autoencoder.stopped_) == (n_epochs, True)
    assert [row["epoch"] for row in autoencoder.history_] == list(range(1, n_epochs + 1))
    assert autoencoder.transform(FEW).shape == (200, 4)


@ignore_collapse
def test_stopping_the_first_stage_leaves_a_model_with_the_classes_asked_for():
    clusterer = make("AutoencoderClusterer", method="sort", epochs=6)
    clusterer.set_callbacks(StopAt("steps", 2)).fit(FEW)
    assert {row["stage"] for row in clusterer.history_} == {"fine clusters"}
    assert clusterer.predict_proba(FEW).shape == (200, 3)
    assert clusterer.prototypes_.shape == (3, 8, 8)


@every_estimator
def test_the_callbacks_leave_nothing_in_the_estimator(name):
    estimator = fitted(name)
    assert [attribute for attribute in vars(estimator) if attribute.startswith("_")] == []


# ---- inputs ---------------------------------------------------------------------------------


@every_class_estimator
def test_predict_on_one_image_is_as_on_many(name):
    estimator = fitted(name)
    many = estimator.predict(FEW)
    assert [int(estimator.predict(FEW[i : i + 1])[0]) for i in range(20)] == many[:20].tolist()
    repeated = np.tile(FEW, (12, 1, 1))  # more than one batch of 1000
    np.testing.assert_array_equal(estimator.predict(repeated), np.tile(many, 12))


@every_estimator
def test_flat_rows_are_the_same_images(name):
    shaped, flat = fitted(name), fitted(name, FEW.reshape(200, -1), image_shape=(8, 8))
    expected = shaped.transform(FEW)
    np.testing.assert_array_equal(shaped.transform(FEW.reshape(200, -1)), expected)
    np.testing.assert_array_equal(flat.transform(FEW.reshape(200, -1)), expected)
    np.testing.assert_array_equal(flat.transform(FEW), expected)
    assert flat.reconstruct(FEW[:2]).shape == (2, 64)
    assert shaped.reconstruct(FEW[:2]).shape == (2, 8, 8)


def test_a_nested_list_is_an_array():
    autoencoder = make("Autoencoder").fit(FEW)
    np.testing.assert_array_equal(
        autoencoder.transform(FEW[:3].tolist()), autoencoder.transform(FEW[:3])
    )


def test_integers_in_flat_rows_are_pixels_as_they_are_in_images():
    whole = np.rint(FEW * 15).astype(np.int64)
    shaped = make("Autoencoder").fit(whole)
    flat = make("Autoencoder", image_shape=(8, 8)).fit(whole.reshape(200, -1))
    np.testing.assert_array_equal(shaped.transform(whole), flat.transform(whole.reshape(200, -1)))


@every_estimator
def test_bytes_and_shares_of_one_are_the_same_images(name):
    as_bytes = np.rint(FEW * 255 / 16).astype(np.uint8)
    shares = as_bytes.astype(np.float32) / np.float32(255)
    a, b = fitted(name, as_bytes), fitted(name, shares)
    np.testing.assert_allclose(a.transform(as_bytes), b.transform(shares), atol=1e-4)
    np.testing.assert_allclose(b.transform(as_bytes), b.transform(shares), atol=1e-5)
    np.testing.assert_allclose(a.reconstruct(as_bytes), 255 * b.reconstruct(shares), atol=0.05)


@pytest.mark.parametrize(
    ("shape", "kind"), [((30, 10, 9, 3), "bytes"), ((30, 9, 8, 2), "floats"), ((30, 7), "floats")]
)
@every_estimator
def test_colour_images_and_vectors_keep_their_layout(name, shape, kind):
    rng = np.random.default_rng(0)
    X = rng.integers(0, 256, shape, np.uint8) if kind == "bytes" else rng.normal(size=shape)
    estimator = fitted(name, X)
    assert estimator.n_features_in_ == np.prod(shape[1:])
    assert estimator.reconstruct(X[:4]).shape == (4, *shape[1:])
    if name in CLASSES:
        assert estimator.prototypes_.shape == (3, *shape[1:])


def test_channels_of_flat_rows_come_last():
    X = np.random.default_rng(0).integers(0, 256, (30, 8, 9, 3), np.uint8)
    shaped = make("Autoencoder").fit(X)
    flat = make("Autoencoder", image_shape=(8, 9, 3)).fit(X.reshape(30, -1))
    np.testing.assert_array_equal(shaped.transform(X), flat.transform(X.reshape(30, -1)))
    np.testing.assert_array_equal(
        shaped.reconstruct(X).reshape(30, -1), flat.reconstruct(X.reshape(30, -1))
    )


@pytest.mark.parametrize(
    ("scale", "offset", "dtype"),
    [(255 / 16, 0, np.uint8), (1 / 16, 0, np.float64), (1, 0, np.float32), (1, -8, np.float64)],
)
def test_reconstructions_have_the_units_of_the_images(scale, offset, dtype):
    X = (FEW * scale + offset).astype(dtype)
    autoencoder = make("Autoencoder", style_dim=16, epochs=25).fit(X)
    rebuilt = autoencoder.reconstruct(X)
    assert rebuilt.dtype == np.float32
    # Nearer to the images than their mean picture is, which no wrong unit could be.
    error = np.mean((rebuilt - X.astype(float)) ** 2)
    assert error < 0.5 * np.mean((X - X.mean(axis=0)) ** 2)
    # The error is stated in [0, 1] pixels whatever the units: the range is 16 units wide.
    in_pixels = ((rebuilt - X.astype(float)) / (16 * scale)) ** 2
    per_image = in_pixels.reshape(200, -1).mean(1)
    np.testing.assert_allclose(autoencoder.reconstruction_error(X), per_image, rtol=1e-3)
    assert autoencoder.score(X) == pytest.approx(-per_image.mean(), rel=1e-4)


def test_inputs_are_left_as_they_are():
    for X in (FEW.copy(), np.rint(FEW).astype(np.uint8), FEW.reshape(200, -1).copy()):
        before = X.copy()
        X.flags.writeable = False
        make("Autoencoder", transform_strength=1.0).fit(X).transform(X)
        np.testing.assert_array_equal(X, before)


def test_a_file_mapped_into_memory_is_not_copied(tmp_path):
    X = np.rint(FEW).astype(np.uint8)
    np.save(tmp_path / "x.npy", X)
    mapped = np.load(tmp_path / "x.npy", mmap_mode="r")
    found = make("Autoencoder", transform_strength=1.0).fit(mapped)
    assert np.shares_memory(found._prepared(mapped).inputs.numpy(), mapped)
    wanted = make("Autoencoder", transform_strength=1.0).fit(X)
    np.testing.assert_array_equal(found.transform(mapped), wanted.transform(X))


@pytest.mark.parametrize(
    ("X", "sentence"),
    [
        (
            np.zeros((2, 9, 9)),
            "X has inputs of shape (1, 9, 9), but Autoencoder was fitted on (1, 8, 8): resize them "
            "first.",
        ),
        (
            np.zeros((2, 8, 8, 3)),
            "X has inputs of shape (3, 8, 8), but Autoencoder was fitted on (1, 8, 8): resize them "
            "first.",
        ),
        (
            np.zeros((2, 63)),
            "X has 63 features, but Autoencoder is expecting 64 features as input.",
        ),
        (
            np.zeros((8, 8)),
            "X has 8 features, but Autoencoder is expecting 64 features as input. Give a single "
            "image as X[None].",
        ),
        (
            np.zeros(64),
            "X has shape (64): give (n, height, width), or flat rows. Reshape your data with "
            "X.reshape(1, -1) if it is a single row.",
        ),
        (
            np.zeros((1, 2, 8, 8, 1)),
            "X has shape (1, 2, 8, 8, 1). Give (n, height, width), (n, height, width, channels) or "
            "flat (n, values).",
        ),
        (
            np.full((2, 8, 8), np.nan),
            "X has NaN, infinity or a value too large for float32, first in row 0. Remove or "
            "replace it.",
        ),
        (
            np.r_[np.zeros((1, 64)), np.full((1, 64), np.nan)],
            "X has NaN, infinity or a value too large for float32, first in row 1. Remove or "
            "replace it.",
        ),
    ],
)
def test_wrong_inputs_give_one_sentence(X, sentence):
    autoencoder = fitted("Autoencoder")
    assert error_of(lambda: autoencoder.transform(X)) == sentence


def test_rows_of_different_lengths():
    message = error_of(lambda: make("Autoencoder").fit([[1.0, 2.0], [3.0]]))
    assert "inhomogeneous" in message


@pytest.mark.parametrize(
    ("X", "parameters", "sentence"),
    [
        (
            FEW[:1],
            {},
            "Autoencoder needs at least 2 images to learn from, got 1 sample.",
        ),
        (
            FEW.reshape(200, -1),
            {"image_shape": (7, 7)},
            "X has 64 values a row, but image_shape=(7, 7, 1) needs 49. Give the shape that the "
            "images had before they were flattened.",
        ),
        (
            FEW,
            {"network": "convolution"},
            "There is no network named 'convolution'. Did you mean 'convolutional'?",
        ),
        (
            FEW,
            {"phases": [("decodr", 1)]},
            "There is no part named 'decodr'. Did you mean 'decoder'? Known parts: all, decoder, "
            "encoder, head, style.",
        ),
        (
            FEW,
            {"reconstruction_weight": 0},
            "There is nothing to learn: every term has weight 0 (mse). Give at least one of them a "
            "weight above 0.",
        ),
        (
            FEW,
            {"device": "cuda:99"},
            "The device 'cuda:99' cannot be used here (",
        ),
        (
            FEW,
            {"style_dim": 0},
            "style_dim=0 leaves the decoder of Autoencoder nothing to rebuild an image from: give "
            "at least 1.",
        ),
    ],
)
def test_wrong_parameters_give_one_sentence_before_any_callback(X, parameters, sentence):
    class NoSetup(StopAt):
        def setup(self, estimator: Any, context: Any) -> None:
            raise AssertionError("A callback was set up, which may have begun to write.")

    estimator = make("Autoencoder", **parameters).set_callbacks(NoSetup("fit", 1))
    message = error_of(lambda: estimator.fit(X))
    assert message == sentence or message.startswith(sentence)


def test_limits_of_parameters_in_scikit_learns_words():
    message = (
        "The 'n_classes' parameter of AutoencoderClusterer must be an int in the range [2, inf) "
        "or None. Got 1 instead."
    )
    with pytest.raises(ValueError) as caught:  # noqa: PT011 - the whole sentence is compared
        AutoencoderClusterer(n_classes=1).fit(FEW)
    assert str(caught.value) == message


def test_more_classes_than_images():
    clusterer = make("AutoencoderClusterer", n_classes=40)
    assert error_of(lambda: clusterer.fit(FEW[:30])) == (
        "n_samples=30 should be at least n_classes=40: give more images, or ask for fewer classes."
    )


# ---- latents and prototypes -----------------------------------------------------------------


@every_class_estimator
def test_prototypes_are_the_decoded_one_hot_codes(name):
    estimator = fitted(name)
    np.testing.assert_array_equal(estimator.inverse_transform(np.eye(3)), estimator.prototypes_)
    # Written out: the code, then the mean style of the images of that class.
    latent = estimator.transform(FEW)
    index = latent[:, :3].argmax(1)
    k = int(np.bincount(index).argmax())
    style = latent[index == k, 3:].mean(0)
    picture = estimator.inverse_transform(np.r_[np.eye(3)[k], style][None])
    np.testing.assert_allclose(picture[0], estimator.prototypes_[k], atol=1e-3)


@every_estimator
def test_decoding_the_latents_is_the_reconstruction(name):
    estimator = fitted(name)
    decoded = estimator.inverse_transform(estimator.transform(FEW))
    np.testing.assert_allclose(decoded, estimator.reconstruct(FEW), atol=1e-4)


def test_without_style_the_code_is_all():
    clusterer = fitted("AutoencoderClusterer", style_dim=0)
    assert clusterer.transform(FEW).shape == (200, 3)
    np.testing.assert_allclose(clusterer.transform(FEW).sum(1), 1, atol=1e-5)
    assert clusterer.prototypes_.shape == (3, 8, 8)


@every_class_estimator
def test_probabilities_belong_to_the_predictions(name):
    estimator = fitted(name)
    probability = estimator.predict_proba(FEW)
    assert probability.shape == (200, 3)
    np.testing.assert_allclose(probability.sum(1), 1, atol=1e-6)  # float32
    np.testing.assert_array_equal(probability.argmax(1), estimator.predict(FEW))


@pytest.mark.parametrize(
    ("X", "sentence"),
    [
        (np.zeros((2, 4)), "X must be of shape (n, 3 or 5) to be decoded, got (2, 4)."),
        (np.zeros(3), "X must be of shape (n, 3 or 5) to be decoded, got (3)."),
        (
            np.full((1, 3), np.nan),
            "X has NaN or infinity: give finite latents, as transform does.",
        ),
    ],
)
def test_latents_that_cannot_be_decoded(X, sentence):
    clusterer = fitted("AutoencoderClusterer")
    assert error_of(lambda: clusterer.inverse_transform(X)) == sentence


# ---- randomness -----------------------------------------------------------------------------


def bits(estimator: Any) -> bytes:
    """Return all weights as bytes."""
    return b"".join(t.numpy().tobytes() for t in estimator.model_.state_dict().values())


@ignore_collapse
@pytest.mark.parametrize(
    "estimator",
    [
        Autoencoder(style_dim=4, transform_strength=1.0, **QUICK),
        AutoencoderClusterer(n_classes=3, **QUICK),
        AutoencoderClusterer(n_classes=3, method="direct", bottleneck="gumbel", **QUICK),
        AutoencoderClassifier(information_weight=0.5, **QUICK),
    ],
    ids=["features", "sort", "gumbel", "classifier"],
)
def test_a_seed_gives_the_same_bits(estimator):
    y = LABELS[:200] % 3
    first = bits(clone(estimator).fit(FEW, y))
    torch.rand(7)  # what was drawn before does not matter
    assert bits(clone(estimator).fit(FEW, y)) == first
    assert bits(clone(estimator).set_params(random_state=1).fit(FEW, y)) != first


@ignore_collapse
def test_a_random_state_moves_on():
    estimator = make("Autoencoder", random_state=np.random.RandomState(3))
    one, two = bits(estimator.fit(FEW)), bits(estimator.fit(FEW))
    assert one != two
    again = make("Autoencoder", random_state=np.random.RandomState(3))
    assert bits(again.fit(FEW)) == one


@pytest.fixture
def two_threads() -> Iterator[int]:
    """Let torch have two threads for a test, which the estimators' ``n_threads=1`` changes."""
    before = torch.get_num_threads()
    torch.set_num_threads(2)
    yield 2
    torch.set_num_threads(before)


@every_estimator
def test_torch_is_left_as_it_was(name, two_threads):
    torch.manual_seed(5)
    expected = torch.rand(3)
    torch.manual_seed(5)
    fitted(name, n_threads=1).transform(FEW)
    assert torch.get_num_threads() == two_threads
    assert not torch.is_inference_mode_enabled()
    assert torch.equal(torch.rand(3), expected)


def test_threads_are_restored_after_an_error(two_threads):
    with pytest.raises(NotFiniteError):
        make("Autoencoder", optimizer="sgd", learning_rate=1e30).fit(FEW)
    assert torch.get_num_threads() == two_threads


@every_estimator
def test_order_and_company_do_not_change_a_prediction(name):
    estimator = fitted(name)
    order = np.random.default_rng(0).permutation(200)
    np.testing.assert_allclose(
        estimator.transform(FEW[order]), estimator.transform(FEW)[order], atol=1e-5
    )


# ---- labels ---------------------------------------------------------------------------------


def test_all_labels():
    classifier = make("AutoencoderClassifier", epochs=12).fit(IMAGES[:800], LABELS[:800])
    assert classifier.score(IMAGES[800:1200], LABELS[800:1200]) > 0.85


def test_thirty_labels():
    images, labels, y = IMAGES[:900], LABELS[:900], np.full(900, -1)
    for k in range(10):
        y[np.flatnonzero(labels == k)[:3]] = k
    classifier = make("AutoencoderClassifier", unlabeled=-1, epochs=16).fit(images, y)
    assert np.mean(classifier.predict(images[y < 0]) == labels[y < 0]) > 0.8
    assert [row["stage"] for row in classifier.history_][-1] == "decoder"
    assert list(classifier.stage_seconds_) == [
        "neighbours",
        "fine clusters",
        "grouping",
        "first self-training",
        "second neighbours",
        "second self-training",
        "third neighbours",
        "third self-training",
        "decoder",
    ]


def test_the_decoder_learns_the_same_whether_logits_are_kept_or_worked_out_anew(monkeypatch):
    kept = fitted("AutoencoderClassifier", epochs=4)
    monkeypatch.setattr(Network, "decodes_apart", False)
    anew = fitted("AutoencoderClassifier", epochs=4)
    assert [row["stage"] for row in kept.history_][-1] == "decoder"
    np.testing.assert_allclose(kept.prototypes_, anew.prototypes_, atol=1e-3)
    np.testing.assert_allclose(kept.reconstruct(FEW), anew.reconstruct(FEW), atol=1e-2)


@pytest.mark.parametrize(
    "parameters", [{}, {"style_dim": 0}, {"network": "dense", "style_dim": 0}], ids=str
)
def test_the_decoder_gets_the_logits_it_would_work_out_in_each_epoch(monkeypatch, parameters):
    feeds, _ = stages_of(monkeypatch, method="sort", n_classes=3, **parameters)
    estimator, feed = feeds["decoder"]
    batch = estimator._data(estimator._check_inputs(FEW, reset=False)).batch(slice(None))
    with torch.no_grad():
        expected = estimator.model_.network.encode(batch).logits
    np.testing.assert_allclose(feed.logits, expected, rtol=0.03, atol=0.2)  # kept in bfloat16


def test_a_style_that_reads_the_maps_needs_the_encoder_in_each_epoch(monkeypatch):
    feeds, _ = stages_of(monkeypatch, method="sort", n_classes=3, network="dense")
    assert feeds["decoder"][1].logits is None


@pytest.mark.parametrize("weight", [0.0, 0.3])
def test_only_stages_without_information_take_small_batches(monkeypatch, weight):
    monkeypatch.setattr("selfsort.training.settings.LARGEST_SMALL_BATCH", 10)
    _, sizes = stages_of(monkeypatch, "AutoencoderClassifier", information_weight=weight)
    assert sizes == {"classes": 25 if weight else 10, "decoder": 10}
    _, sizes = stages_of(monkeypatch, method="sort", n_classes=3)
    assert sizes["fine clusters"] == 25
    assert set(sizes.values()) == {10, 25}
    assert [name for name, size in sizes.items() if size == 25] == ["fine clusters"]


@pytest.mark.parametrize("dtype", [None, object])
def test_names_as_labels_with_a_marker(dtype):
    names = np.array(["zero", "one", "two"], dtype=dtype)[LABELS[:200] % 3]
    names[::4] = "?"
    classifier = make("AutoencoderClassifier", unlabeled="?", epochs=10).fit(FEW, names)
    assert classifier.classes_.tolist() == ["one", "two", "zero"]
    assert set(classifier.predict(FEW)) <= {"one", "two", "zero"}
    known = names != "?"
    assert classifier.score(FEW[known], names[known]) > 0.6


def test_without_a_marker_minus_one_is_a_class():
    y = np.where(LABELS[:200] % 2, 1, -1)
    assert make("AutoencoderClassifier", epochs=4).fit(FEW, y).classes_.tolist() == [-1, 1]


@pytest.mark.parametrize(
    ("y", "sentence"),
    [
        (
            None,
            "AutoencoderClassifier requires y to be passed, but the target y is None: for images "
            "without labels use AutoencoderClusterer.",
        ),
        (
            np.zeros(200, int),
            "y has one class only (0): a classifier needs at least 2 classes.",
        ),
        (
            np.full(200, -1),
            "y has no label, only the marker -1: label some images, or use AutoencoderClusterer.",
        ),
        (
            LABELS[:30],
            "X has 200 images but y has 30 labels: they must go together.",
        ),
        (
            np.where(LABELS[:200] == 0, np.nan, LABELS[:200]),
            "y has NaN or infinity: mark images without a label by a finite number such as -1, and "
            "give it as unlabeled=-1.",
        ),
    ],
)
def test_labels_that_cannot_be_used(y, sentence):
    classifier = make("AutoencoderClassifier", unlabeled=-1)
    assert error_of(lambda: classifier.fit(FEW, y)) == sentence


def test_predicting_before_a_fit():
    with pytest.raises(ValueError, match=r"This AutoencoderClassifier instance is not fitted yet"):
        AutoencoderClassifier().predict(FEW)


# ---- clustering -----------------------------------------------------------------------------


def test_classes_without_labels():
    images, truth = IMAGES[:900], LABELS[:900]
    clusterer = make("AutoencoderClusterer", n_classes=10, method="sort", style_dim=16, epochs=40)
    labels = clusterer.fit_predict(images)
    np.testing.assert_array_equal(labels, clusterer.predict(images))
    assert majority_accuracy(truth, labels) > 0.7
    # Of all prototypes, the one of a class looks most like the mean picture of its images.
    means = np.stack([images[labels == k].mean(0) for k in range(10)])
    pictures = np.concatenate([clusterer.prototypes_, means]).reshape(20, -1)
    alike = np.corrcoef(pictures)[:10, 10:]
    assert (alike.argmax(0) == np.arange(10)).sum() >= 8


@pytest.mark.parametrize("bottleneck", ["gumbel", "straight-through"])
@ignore_collapse
def test_one_fit_of_a_bottleneck(bottleneck):
    parameters = {"n_classes": 10, "style_dim": 0, "transform_strength": 0.0, "epochs": 20}
    clusterer = make("AutoencoderClusterer", bottleneck=bottleneck, **parameters).fit(FEW)
    assert {row["stage"] for row in clusterer.history_} == {"fit"}
    assert set(clusterer.history_[0]) >= {"mse"}
    assert "information" not in clusterer.history_[0]
    # With the class as all that passes, the error falls below that of one mean picture.
    assert clusterer.reconstruction_error(FEW).mean() < np.var(FEW / 16, axis=0).mean()


@ignore_collapse
def test_information_is_a_term_of_the_direct_method():
    clusterer = make("AutoencoderClusterer", n_classes=10, information_weight=1.0, epochs=20)
    clusterer.fit(IMAGES[:600])
    information = [row["information"] for row in clusterer.history_]
    # Minus the mutual information in nats: from about 0 to no less than -log(10).
    assert -np.log(10) < information[-1] < information[0] - 0.4
    row = clusterer.history_[-1]
    assert row["loss"] == pytest.approx(row["mse"] + row["information"], rel=1e-6)
    assert adjusted_rand_score(LABELS[:600], clusterer.labels_) > 0.1


@ignore_collapse
def test_phases_train_only_their_parts():
    frozen = {"learning_rate": 1e-30, "weight_decay": 0.0}
    start = dict(fitted("AutoencoderClusterer", **frozen).model_.network.named_parameters())

    def changed(estimator: Any) -> set[str]:
        weights = estimator.model_.network.named_parameters()
        moved = {name for name, w in weights if not torch.allclose(w, start[name], atol=1e-9)}
        return {name.split(".")[0] for name in moved}

    trained = fitted("AutoencoderClusterer", phases=[("decoder", 2)])
    assert changed(trained) == {"decoder"}
    mixed = fitted("AutoencoderClusterer", phases=[("decoder", 1), ("encoder+head", 2)])
    assert mixed.n_epochs_ == 3
    assert changed(mixed) == {"encoder", "neck", "head", "decoder"}


@pytest.mark.parametrize("method", ["sort", "direct"])
def test_equal_images_collapse_with_a_warning(method):
    sentence = (
        "Only 1 of 3 classes are in use. Try fewer classes, more images, more epochs or a lower "
        "learning_rate."
    )
    with pytest.warns(ClassCollapseWarning) as caught:
        clusterer = make("AutoencoderClusterer", method=method).fit(np.ones((60, 8, 8)))
    assert [str(warning.message) for warning in caught] == [sentence]
    assert caught[0].filename == __file__
    assert len(set(clusterer.labels_)) == 1
    assert np.isfinite(clusterer.prototypes_).all()


@pytest.mark.parametrize("method", ["sort", "direct"])
def test_more_classes_than_the_images_bear(method):
    with pytest.warns(ClassCollapseWarning, match=r"Only \d+ of 60 classes are in use\. Try"):
        clusterer = make("AutoencoderClusterer", n_classes=60, method=method).fit(FEW[:61])
    assert clusterer.prototypes_.shape == (60, 8, 8)


# ---- numbers that are not finite ------------------------------------------------------------


@pytest.mark.parametrize("reconstruction", ["mse", "bce"])
def test_a_diverging_fit_stops_and_says_where(reconstruction):
    autoencoder = make(
        "Autoencoder",
        optimizer="sgd",
        learning_rate=1e30,
        schedule="constant",
        reconstruction=reconstruction,
    )
    message = error_of(lambda: autoencoder.fit(FEW))
    assert message == (
        f"The term '{reconstruction}' became nan in epoch 1, step 2 of stage 'fit': training "
        "stopped. Try a lower learning rate (now 1e+30)."
    )


def test_not_finite_error_is_both_a_selfsort_and_a_floating_point_error():
    diverging = make("AutoencoderClusterer", method="sort", optimizer="sgd", learning_rate=1e30)
    with pytest.raises(FloatingPointError, match="of stage 'fine clusters': training stopped"):
        diverging.fit(FEW)
    with pytest.raises(InputError, match="first in row 0"):
        diverging.fit(np.full((60, 8, 8), np.inf))


# ---- data that bears few classes, or none -----------------------------------------------------

NOISE = np.random.default_rng(0).random((80, 12, 12))
HARD = {
    "200 images": (FEW, 10),
    "one colour": (np.full((60, 8, 8), 7.0), 3),
    "two colours": (np.repeat(np.stack([np.zeros((8, 8)), np.ones((8, 8))]), 30, axis=0), 4),
    "more classes than kinds": (IMAGES[:60], 50),
    "noise": (NOISE, 5),
    "two images": (IMAGES[:2], 2),
}


@ignore_collapse
@pytest.mark.parametrize("name", HARD)
def test_one_fit_sorts_whatever_it_gets(name):
    images, n_classes = HARD[name]
    clusterer = AutoencoderClusterer(n_classes=n_classes, **QUICK).fit(images)
    assert clusterer.labels_.tolist() == clusterer.predict(images).tolist()
    assert 0 <= clusterer.labels_.min() <= clusterer.labels_.max() < n_classes
    assert clusterer.prototypes_.shape == (n_classes, *images.shape[1:])
    assert np.isfinite(clusterer.prototypes_).all()


def test_classes_that_the_data_does_not_bear_are_warned_of():
    images = HARD["two colours"][0]
    with pytest.warns(ClassCollapseWarning, match="^Only 2 of 4 classes are in use. Try fewer"):
        clusterer = AutoencoderClusterer(n_classes=4, **{**QUICK, "epochs": 4}).fit(images)
    assert sorted(np.bincount(clusterer.labels_, minlength=4)) == [0, 0, 30, 30]


# ---- the number of classes, chosen from the images --------------------------------------------


@ignore_collapse
def test_ten_classes_chosen_give_the_fit_of_ten_classes_told(monkeypatch):
    monkeypatch.setattr("selfsort.grouping.choose_n_groups", lambda information, most: 10)
    chosen, told = (
        AutoencoderClusterer(n_classes=n, **{**QUICK, "epochs": 2}).fit(IMAGES[:600])
        for n in (None, 10)
    )
    assert chosen.n_classes_ == 10
    assert np.array_equal(chosen.predict_proba(IMAGES), told.predict_proba(IMAGES))
    assert np.array_equal(chosen.prototypes_, told.prototypes_)


def test_the_number_of_classes_is_chosen_from_the_images(tmp_path):
    rng = np.random.default_rng(0)
    # Four kinds: a bar at one of four places, a little noise on it.
    kinds = np.arange(400) % 4
    images = 0.1 * rng.random((400, 8, 8))
    images[np.arange(400), :, 2 * kinds] += 0.8
    quiet = {**QUICK, "epochs": 24, "transform_strength": 0.2}
    clusterer = AutoencoderClusterer(n_classes=None, **quiet).fit(images)
    assert clusterer.n_classes_ == clusterer.natural_n_classes_ == 4
    assert adjusted_rand_score(kinds, clusterer.labels_) == 1.0
    assert clusterer.prototypes_.shape == (4, 8, 8)
    curve = clusterer.information_curve_
    assert len(curve) <= 30
    # Four kinds of one size that never meet keep log 4; more groups only cut kinds in pieces.
    assert curve[3] == pytest.approx(np.log(4), abs=0.02)
    clusterer.save(tmp_path)
    loaded = AutoencoderClusterer.load(tmp_path)
    assert loaded.n_classes_ == 4
    assert loaded.predict(images).tolist() == clusterer.labels_.tolist()


def test_only_sorting_can_choose_the_number_of_classes():
    with pytest.raises(InputError) as raised:
        AutoencoderClusterer(n_classes=None, method="direct").fit(FEW)
    assert str(raised.value) == (
        "n_classes=None, the number of classes chosen from the images, needs method='sort'. "
        "Got method='direct': say how many classes."
    )


# ---- images in doubt are looked at again ------------------------------------------------------


def leaning(scale: float) -> Network:
    """Return a network whose logits are, times `scale`, the brightness of each half of an image."""

    class Halves(torch.nn.Module):
        def forward(self, images: torch.Tensor) -> torch.Tensor:
            width = images.shape[3] // 2
            halves = [images[..., :width], images[..., width:]]
            return scale * torch.stack([half.sum((1, 2, 3)) for half in halves], dim=1)

    same = torch.nn.Identity()
    return Network(Halves(), same, same, None, same)


def test_images_in_doubt_get_the_mean_of_five_looks():
    images = torch.zeros(3, 1, 28, 28)
    images[0, 0, :, 3] = 1.0  # clearly left
    images[1, 0, 10:13, 13] = 1.0  # left of the middle; on the other side when moved to the right
    images[2, 0, 10:13, 14] = 1.0
    network = leaning(0.5)
    logits = network.encode(images).logits
    found = second_look(network, images, logits)
    assert found[0].tolist() == logits[0].tolist()
    left, right = torch.softmax(torch.tensor([1.5, 0.0]), dim=0)
    # In its own place and moved to the left, twice: left. Moved to the right, twice: right.
    expected = torch.stack([(3 * left + 2 * right) / 5, (3 * right + 2 * left) / 5])
    np.testing.assert_allclose(torch.softmax(found[1], 0), expected, rtol=1e-5)
    np.testing.assert_allclose(torch.softmax(found[2], 0), expected.flip(0), rtol=1e-5)


def test_what_lies_beyond_the_border_is_like_the_border():
    images = torch.ones(1, 1, 28, 28)
    network = leaning(1.0)
    logits = network.encode(images).logits
    assert second_look(network, images, logits).softmax(1).tolist() == [[0.5, 0.5]]


@pytest.mark.parametrize("shape", [(1, 8, 8), (16,)])
def test_small_images_and_vectors_are_looked_at_once(shape):
    logits = torch.zeros(2, 3)
    assert second_look(None, torch.zeros(2, *shape), logits) is logits


def test_estimators_without_transforms_look_once(monkeypatch):
    monkeypatch.setattr("selfsort.estimators.outputs.DOUBT", 1.1)
    images = np.kron(IMAGES[:60], np.ones((2, 2)))  # 16x16: shifts by one pixel
    twice = fitted("AutoencoderClusterer", images)
    once = fitted("AutoencoderClusterer", images, transform_strength=0.0)
    for estimator, differs in ((twice, True), (once, False)):
        plain = estimator.model_.network.encode(estimator._prepared(images).batch(slice(None)))
        expected = torch.softmax(plain.logits, dim=1).detach().numpy()
        assert (np.abs(estimator.predict_proba(images) - expected).max() > 1e-4) == differs
