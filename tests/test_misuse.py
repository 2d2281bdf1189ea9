"""Estimators and command lines with wrong parameters: scikit-learn's sentence, all of them."""

from __future__ import annotations

import inspect
from typing import Any

import numpy as np
import pytest
from running import call
from sklearn.datasets import load_digits
from sklearn.utils._param_validation import StrOptions

from selfsort import Autoencoder, AutoencoderClassifier, AutoencoderClusterer, training
from selfsort.errors import InputError

X, Y = load_digits(return_X_y=True)
X, Y = X[:40].reshape(-1, 8, 8), Y[:40]
OPTIMIZERS = StrOptions(set(training.OPTIMIZERS)).__str__().removeprefix("a str among ")
ESTIMATORS = (Autoencoder, AutoencoderClassifier, AutoencoderClusterer)


class Odd:
    """A value of a type that no parameter takes."""

    def __repr__(self) -> str:
        return "Odd()"


VALUES: dict[str, list[Any]] = {
    "n_classes": [1, 0, -3, 2.5, "ten"],
    "style_dim": [-1, 1.5, "16", None],
    "reconstruction_weight": [-0.1, "1", None],
    "classification_weight": [-1, "1", None],
    "information_weight": [-1, "1", None],
    "divergence_weight": [-1, "1", None],
    "transform_strength": [-0.1, 10.1, "strong", None],
    "epochs": [0, -1, 1.5, "many"],
    "batch_size": [1, 0, 2.5, "512", None],
    "learning_rate": [0, -0.1, float("nan"), "fast", None],
    "momentum": [-0.1, 1, "0.9", None],
    "weight_decay": [-1, "0", None],
    "mean": [float("inf"), float("nan"), "0", None],
    "std": [0, -1, float("inf"), "1", None],
    "n_threads": [0, -1, 1.5, "all"],
    "random_state": [-1, 1.5, "seed"],
    "binarize": ["yes", 2, None],
    "method": ["sorted", 1, None],
    "reconstruction": ["mae", 1, None],
    "optimizer": ["adam2", 1, None],
    "schedule": ["cosin", 1, None],
    "network": [1, None],
    "bottleneck": [1, None],
    "device": [1, None],
    "phases": [1, "all"],
    "image_shape": [8, "8x8"],
    "bottleneck_parameters": [1, "temperature"],
    "unlabeled": [[1], {}],
}
"""Wrong values of every parameter; `Odd` is tried besides."""

CASES = [
    (estimator, name, value)
    for estimator in ESTIMATORS
    for name in inspect.signature(estimator).parameters
    for value in [*VALUES[name], Odd()]
]


def fitted(estimator: type, **parameters: Any) -> None:
    estimator(**parameters).fit(X, Y)


@pytest.mark.parametrize(
    ("estimator", "name", "value"),
    CASES,
    ids=[f"{estimator.__name__}-{name}-{value!r}" for estimator, name, value in CASES],
)
def test_every_parameter(estimator: type, name: str, value: Any) -> None:
    sentence = f"^The {name!r} parameter of {estimator.__name__} must be "
    with pytest.raises(ValueError, match=sentence) as caught:
        fitted(estimator, **{name: value})
    message = str(caught.value)
    assert f" Got {value!r} instead." in message
    assert "\n" not in message


def test_all_mistakes_are_told_at_once() -> None:
    with pytest.raises(InputError) as caught:
        fitted(AutoencoderClusterer, n_classes=1, epochs=0, optimizer="adamm", style_dim=3)
    assert str(caught.value) == (
        "The 'epochs' parameter of AutoencoderClusterer must be an int in the range [1, inf) or "
        "None. Got 0 instead. The 'n_classes' parameter of AutoencoderClusterer must be an int in "
        "the range [2, inf) or None. Got 1 instead. The 'optimizer' parameter of "
        f"AutoencoderClusterer must be a str among {OPTIMIZERS}. Got 'adamm' instead. "
        "Did you mean 'adam'?"
    )


@pytest.mark.parametrize(
    ("name", "value", "nearest"),
    [
        ("network", "convolutoinal", "convolutional"),
        ("bottleneck", "gumble", "gumbel"),
        ("optimizer", "adam_w", "adamw"),
        ("schedule", "cosin", "cosine"),
        ("reconstruction", "msee", "mse"),
        ("method", "sorting", "sort"),
    ],
)
def test_the_nearest_name_is_offered(name: str, value: str, nearest: str) -> None:
    with pytest.raises(ValueError, match=f"Did you mean '{nearest}'"):
        fitted(AutoencoderClusterer, **{name: value})


def test_a_parameter_there_is_not() -> None:
    with pytest.raises(ValueError, match="Invalid parameter 'epoch' for estimator Autoencoder"):
        Autoencoder().set_params(epoch=3)


def test_several_mistakes_on_the_command_line() -> None:
    outcome = call("train", "digits", "--epochs", 0, "--seed", -1, "--classes", "one")
    assert (outcome.code, outcome.out) == (2, "")
    assert outcome.err.count("\n") == 1
    for name, fact in {
        "epochs": "Input should be greater than or equal to 1. Got '0' instead.",
        "seed": "Input should be greater than or equal to 0. Got '-1' instead.",
        "classes": "give a whole number from 2 on, or auto. Got 'one' instead.",
    }.items():
        assert f"Invalid value for '--{name}': {fact}" in outcome.err


@pytest.mark.parametrize(
    ("arguments", "nearest"),
    [
        (("trian", "digits"), "train"),
        (("train", "digits", "--epoch", 3), "--epochs"),
        (("train", "digitss"), "digits"),
        (("train", "digits", "--recipe", "sorted"), "sort"),
        (("train", "digits", "--on-error", "skipp"), "skip"),
    ],
)
def test_the_command_line_offers_the_nearest_name(arguments: tuple, nearest: str) -> None:
    outcome = call(*arguments)
    assert (outcome.code, outcome.out) == (2, "")
    assert nearest in outcome.err
    assert outcome.err.count("\n") == 1


def test_a_mistake_is_found_before_anything_is_learned() -> None:
    clusterer = AutoencoderClusterer(n_classes=1)
    with pytest.raises(InputError):
        clusterer.fit(np.zeros((10, 8, 8)))
    assert not hasattr(clusterer, "model_")
