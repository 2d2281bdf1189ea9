"""Whether an exported graph says what the estimator says."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
from PIL import Image

from selfsort.errors import InputError
from selfsort.exporting.formats import Runner
from selfsort.exporting.graph import Inputs
from selfsort.images.pixels import fit

TOLERANCE = {"probability": 1e-5, "features": 1e-4, "reconstruction": 1e-4}
"""Features in units of the largest, pixels in units of their range."""
BY_DISTANCE = 1e-4
"""That of probabilities where classes are read from codes: by distances between them, which PyTorch
works out in another way from 26 images on, so that the estimator's own answers differ as much."""
N_NOISY = 8


def largest_difference(estimator: Any, run: Runner) -> float:
    """Return by how much a graph's probabilities, or features, differ from an estimator's.

    Both look at what the decoder draws, at noise, at mixtures of both, which are in doubt, at a
    single image, and where the graph takes any size at images that it has to resize.

    Raises
    ------
    InputError
        If they differ by more than rounding.
    """
    largest, tolerance = 0.0, TOLERANCE
    if not estimator.model_.bottleneck.names_classes:
        tolerance = TOLERANCE | {"probability": BY_DISTANCE}
    for given, fitted in _batches(estimator):
        wanted = expected(estimator, fitted)
        for (name, right), found in zip(wanted.items(), run(given), strict=True):
            if name == "label":
                # Where two classes are as probable as each other, either is right.
                mine = np.take_along_axis(wanted["probability"], found[:, None], axis=1)[:, 0]
                nearly = float((wanted["probability"].max(1) - mine).max())
                _check(name, nearly, 2 * tolerance["probability"])
                continue
            difference = float(np.abs(found - right).max()) / _unit(estimator, name, right)
            _check(name, difference, tolerance[name])
            if name != "reconstruction":
                largest = max(largest, difference)
    return largest


def expected(estimator: Any, X: np.ndarray) -> dict[str, np.ndarray]:
    """Return what an estimator says of images, by the names of the graph's outputs."""
    if not hasattr(estimator, "predict_proba"):
        return {"features": estimator.transform(X), "reconstruction": estimator.reconstruct(X)}
    probability = estimator.predict_proba(X)
    return {
        "probability": probability,
        "label": probability.argmax(1),
        "reconstruction": estimator.reconstruct(X),
    }


def _unit(estimator: Any, name: str, right: np.ndarray) -> float:
    if name == "reconstruction":
        low, high = estimator.input_range_
        return float(high - low)
    return max(1.0, float(np.abs(right).max())) if name == "features" else 1.0


def _check(name: str, difference: float, most: float) -> None:
    if not difference <= most:  # also where it is NaN
        raise InputError(
            f"The exported graph does not say what the model says: {name} differs by "
            f"{difference:.2g}. Nothing was written: use 'selfsort predict' in its place."
        )


def _batches(estimator: Any) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Yield batches as the graph gets them, and as the estimator does."""
    inputs = Inputs.of(estimator)
    images = _like_the_fits(estimator, inputs)
    yield images, images
    yield images[:1], images[:1]
    if inputs.any_size:
        _, height, width = inputs.shape
        for h, w in ((2 * height + 1, width + 3), (height // 2, 3 * width)):
            rows, columns = np.arange(h) * height // h, np.arange(w) * width // w
            large = np.ascontiguousarray(images[:, rows][:, :, columns])
            yield large, _fitted(large, height, width)


def _like_the_fits(estimator: Any, inputs: Inputs) -> np.ndarray:
    """Return images like those that the estimator learned from."""
    rng = np.random.default_rng(0)
    sides = [side if isinstance(side, int) else 0 for side in inputs.sides]
    if inputs.any_size:
        sides[1:3] = inputs.shape[1:]
    noise = rng.uniform(inputs.low, inputs.high, (N_NOISY, *sides[1:])).astype(np.float32)
    noise = noise.round() if inputs.are_bytes else noise
    drawn = getattr(estimator, "prototypes_", None)
    drawn = estimator.reconstruct(noise) if drawn is None else drawn
    some = drawn[np.arange(N_NOISY) % len(drawn)]
    images = np.concatenate([drawn, noise, (some + noise) / 2]).clip(inputs.low, inputs.high)
    return np.rint(images).astype(np.uint8) if inputs.are_bytes else images.astype(np.float32)


def _fitted(images: np.ndarray, height: int, width: int) -> np.ndarray:
    """Return images of any size as `selfsort predict` reads them."""
    with_channels = images[..., None] if images.ndim == 3 else images
    fitted = np.stack(
        [
            np.stack(
                [
                    fit(Image.fromarray(np.ascontiguousarray(channel)), height, width)[0]
                    for channel in one.transpose(2, 0, 1)
                ],
                axis=-1,
            )
            for one in with_channels
        ]
    )
    return fitted[..., 0] if images.ndim == 3 else fitted
