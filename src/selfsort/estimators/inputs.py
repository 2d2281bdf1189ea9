"""What `X` is: its shape, layout and range."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from selfsort.errors import InputError


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
    """Return "nhw", "nhwc" or "flat"."""
    return {3: "nhw", 4: "nhwc"}.get(len(shape_of(X)), "flat")


def range_of(inputs: np.ndarray) -> tuple[float, float]:
    """Return the values that become 0 and 1: fixed for uint8 and for floats within [0, 1]."""
    if inputs.dtype == np.uint8:
        return 0.0, 255.0
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
