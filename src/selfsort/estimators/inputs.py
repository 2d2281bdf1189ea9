"""What `X` is: its shape, layout and range, checked and remembered."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from sklearn.utils.validation import check_array, validate_data

from selfsort.errors import InputError
from selfsort.images import as_images
from selfsort.sources import Source
from selfsort.training import Rows


def shape_of(X: Any) -> tuple[int, ...]:
    """Return the shape that `X` has as an array; rows of different lengths count as of length 0."""
    shape = getattr(X, "shape", None)
    if shape is not None:
        return tuple(shape)
    try:
        return np.asarray(X).shape
    except ValueError:  # rows of different lengths: the check of flat rows says so
        return (len(X), 0)


def at_least_rows(X: Any) -> Any:
    """Return `X`, which must have at least two dimensions."""
    shape = shape_of(X)
    if len(shape) < 2:
        raise InputError(
            f"X has shape {written(shape)}: give (n, height, width), or flat rows. Reshape your "
            "data with X.reshape(1, -1) if it is a single row."
        )
    return X


def layout_of(X: Any) -> str:
    """Return "nhw", "nhwc" or "flat"; that in which arrays of a source's images would be."""
    if isinstance(X, Rows):
        return {2: "flat", 4: "nhw" if X.shape[1] == 1 else "nhwc"}[X.ndim]
    return {3: "nhw", 4: "nhwc"}.get(len(shape_of(X)), "flat")


def range_of(inputs: np.ndarray | Rows) -> tuple[float, float]:
    """Return the values that become 0 and 1: fixed for uint8 and for floats within [0, 1]."""
    if inputs.dtype == np.uint8:
        return 0.0, 255.0
    if isinstance(inputs, Rows):
        low, high = inputs.limits()
    else:
        low, high = float(inputs.min()), float(inputs.max())
    if low >= 0.0 and high <= 1.0:
        return 0.0, 1.0
    return (low, high) if high > low else (low, low + 1.0)


def written(shape: Sequence[int]) -> str:
    """Return a shape as a message shows it.

    Examples
    --------
    >>> written((28, 28))
    '(28, 28)'
    """
    return "(" + ", ".join(str(side) for side in shape) + ")"


class InputMixin:
    """Check `X`, remember its shape, layout and range, and bring pixels back to them.

    Attributes
    ----------
    input_shape_ : tuple of int
        ``(channels, height, width)`` or ``(p,)``.
    input_layout_ : {"nhw", "nhwc", "flat"}
    input_range_ : tuple of float
        The values that become 0 and 1.
    """

    image_shape: Sequence[int] | None

    def _check_inputs(self, X: Any, *, reset: bool) -> np.ndarray | Rows:
        """Return inputs ``(n, channels, height, width)`` or ``(n, p)``, remembering the shape."""
        inputs: np.ndarray | Rows
        if isinstance(X, Source | Rows):
            X = inputs = Rows(X) if isinstance(X, Source) else X
            if reset:
                self.n_features_in_ = int(np.prod(inputs.shape[1:]))
                self._drop("feature_names_in_")
        elif len(shape_of(X)) == 2:
            shape = self.image_shape if reset else self._flat_image_shape()
            flat = self._check_flat(X, reset=reset)
            inputs = as_images(flat, image_shape=None if shape is None else tuple(shape))
        else:
            inputs = as_images(at_least_rows(X))
            if reset:
                self.n_features_in_ = int(np.prod(inputs.shape[1:]))
                self._drop("feature_names_in_")
        if reset:
            self.input_shape_ = tuple(int(side) for side in inputs.shape[1:])
            self.input_layout_ = layout_of(X)
            self.input_range_ = range_of(inputs)
        elif inputs.shape[1:] != self.input_shape_:
            raise InputError(
                f"X has inputs of shape {written(inputs.shape[1:])}, but {type(self).__name__} "
                f"was fitted on {written(self.input_shape_)}: resize them first."
            )
        return inputs

    def _check_flat(self, X: Any, *, reset: bool) -> np.ndarray:
        """Return rows as scikit-learn checks them; `as_images` then checks their numbers."""
        try:
            return validate_data(self, X, reset=reset, dtype="numeric", ensure_all_finite=False)
        except ValueError as error:
            hint = ""
            if not reset and shape_of(X) == self.input_shape_[-2:]:
                hint = " Give a single image as X[None]."
            raise InputError(f"{error}{hint}") from error

    def _check_latent(self, X: Any) -> np.ndarray:
        shape = shape_of(X)
        if len(shape) != 2 or shape[1] not in self._latent_widths():
            widths = " or ".join(str(width) for width in self._latent_widths())
            raise InputError(
                f"X must be of shape (n, {widths}) to be decoded, got {written(shape)}."
            )
        try:
            latent = check_array(X, dtype=np.float32, ensure_all_finite=False)
        except ValueError as error:
            raise InputError(str(error)) from error
        if not np.isfinite(latent).all():
            raise InputError("X has NaN or infinity: give finite latents, as transform does.")
        return latent

    def _latent_widths(self) -> tuple[int, ...]:
        """Return the widths that latents may have."""
        raise NotImplementedError

    def _flat_image_shape(self) -> tuple[int, ...] | None:
        """Return the shape that flat rows have as images, channels last; None for vectors."""
        if len(self.input_shape_) == 1:
            return None
        channels, height, width = self.input_shape_
        return (height, width, channels) if channels > 1 else (height, width)

    def _drop(self, *names: str) -> None:
        for name in names:
            self.__dict__.pop(name, None)

    def _to_layout(self, pixels: np.ndarray) -> np.ndarray:
        """Return pixels ``(n, *input_shape_)`` in [0, 1] in the fit's layout and units."""
        low, high = self.input_range_
        values = pixels * (high - low) + low
        if values.ndim == 4:
            values = values.transpose(0, 2, 3, 1)
            if self.input_layout_ == "nhw":
                values = values[..., 0]
        return values.reshape(len(values), -1) if self.input_layout_ == "flat" else values
