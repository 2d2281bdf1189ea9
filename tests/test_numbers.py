"""Numbers that break, and classes that fall out of use: both are told, and nothing is lost."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import safetensors.torch
import torch
from sklearn.datasets import load_digits

from selfsort import (
    Autoencoder,
    AutoencoderClassifier,
    AutoencoderClusterer,
    Checkpoint,
    ClassCollapseWarning,
    NotFiniteError,
)
from selfsort.runs.callbacks import Callback

DIGITS = load_digits()
X, Y = DIGITS.images[:100], DIGITS.target[:100]
STEPS = 8
"""Of each of the three epochs."""


class AtStep(Callback):
    """A callback that does something to the model after a step."""

    def __init__(self, step: int, act: Callable[[Any], object]) -> None:
        self.step, self.act = step, act
        self.n_steps = 0

    def on_fit_task_end(self, estimator: Any, context: Any, *, metadata: Any = None) -> bool:
        if context.task_name == "steps":
            self.n_steps += 1
            if self.n_steps == self.step:
                self.act(estimator.model_)
        return False


def autoencoder() -> Autoencoder:
    return Autoencoder(epochs=3, batch_size=25, style_dim=4, random_state=0, n_threads=1)


def break_weights(value: float) -> Callable[[Any], object]:
    def act(model: Any) -> None:
        with torch.no_grad():
            next(model.network.decoder.parameters()).view(-1)[0] = value

    return act


def break_gradients(value: float) -> Callable[[Any], object]:
    """Let every gradient of one weight from now on be NaN or infinite; losses stay finite."""

    def act(model: Any) -> None:
        weight = next(model.network.decoder.parameters())
        weight.register_hook(lambda gradient: gradient * value)

    return act


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize(("broken", "steps"), [(break_weights, 1), (break_gradients, 2)])
def test_training_stops_within_a_step_and_goes_on_from_before(
    broken: Callable[[float], Any], steps: int, value: float, tmp_path: Path
) -> None:
    """A broken weight is seen in the next loss, a broken gradient in the loss after its step."""
    at = AtStep(5, broken(value))
    fit = autoencoder().set_callbacks(Checkpoint(tmp_path, 0), at)
    with pytest.raises(NotFiniteError) as caught:
        fit.fit(X)
    assert at.n_steps - 5 < steps
    assert "Try a lower learning rate" in str(caught.value)
    checkpoints = sorted(tmp_path.iterdir())
    assert len(checkpoints) == 2
    for checkpoint in checkpoints:
        arrays = safetensors.torch.load((checkpoint / "arrays.safetensors").read_bytes())
        assert all(a.isfinite().all() for a in arrays.values() if a.is_floating_point())
    wanted = autoencoder().fit(X).transform(X)
    found = autoencoder().set_callbacks(Checkpoint(tmp_path, 0)).fit(X).transform(X)
    np.testing.assert_array_equal(found, wanted)


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_what_the_last_step_breaks_is_seen(value: float) -> None:
    at = AtStep(3 * STEPS, break_weights(value))
    with pytest.raises(NotFiniteError, match=r"The last step of the training made 'network\.deco"):
        autoencoder().set_callbacks(at).fit(X)
    assert at.n_steps == 3 * STEPS


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_images_that_are_not_finite(value: float) -> None:
    images = X.copy()
    images[7, 3, 3] = value
    sentence = "X has NaN, infinity or a value too large for float32, first in row 7"
    for make in (autoencoder, lambda: AutoencoderClusterer(10, epochs=1)):
        with pytest.raises(ValueError, match=sentence):
            make().fit(images)
    fitted = autoencoder().fit(X)
    with pytest.raises(ValueError, match=sentence):
        fitted.transform(images)


# ---- classes that fall out of use ---------------------------------------------------------------


def near(n_kinds: int) -> np.ndarray:
    """Return 120 images of a few kinds, nearly equal within each."""
    kinds = np.repeat(X[:n_kinds], 120 // n_kinds, axis=0)
    return kinds + np.random.default_rng(0).normal(0, 0.01, kinds.shape)


PROVOKED: dict[str, tuple[Callable[[], Any], np.ndarray, Any]] = {
    "one kind of image": (
        lambda: AutoencoderClusterer(5, epochs=4),
        np.repeat(X[:1], 60, axis=0),
        None,
    ),
    "fewer kinds than classes": (
        lambda: AutoencoderClusterer(10, method="direct", epochs=3),
        near(3),
        None,
    ),
    "codes that cost too much": (
        lambda: AutoencoderClusterer(
            10, method="direct", bottleneck="vade", network="dense", style_dim=0,
            reconstruction="nll", divergence_weight=100.0, binarize=True, transform_strength=0.0,
            epochs=5,
        ),
        X,
        None,
    ),
    "labels that count for nothing": (
        lambda: AutoencoderClassifier(classification_weight=1e-6, phases=[("all", 5)]),
        X,
        Y,
    ),
    "weights that decay to nothing": (
        lambda: AutoencoderClusterer(
            10, method="direct", weight_decay=100.0, style_dim=0, epochs=5
        ),
        X,
        None,
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", PROVOKED)
def test_a_collapse_is_told_with_a_remedy(name: str) -> None:
    make, images, labels = PROVOKED[name]
    estimator = make().set_params(random_state=0, n_threads=1)
    with pytest.warns(ClassCollapseWarning) as caught:
        estimator.fit(images, labels)
    n_classes = len(estimator.prototypes_)
    predicted = estimator.predict(images)
    in_use = len(np.unique(predicted))
    assert in_use < n_classes
    (message,) = (str(one.message) for one in caught)
    assert re.match(rf"Only {in_use} of {n_classes} classes are in use\. Try ", message)
