"""How large, and where, things are drawn in some images: for drawings that should be like them."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

INK = 0.25
"""What differs from the background by more, as a share of the range, is drawn."""


class Place(NamedTuple):
    """The background, 0 to 255; the middle of what is drawn, (y, x); and its larger side."""

    background: float
    middle: tuple[float, float]
    size: float


def place_in(images: np.ndarray) -> Place | None:
    """Return where things are in images ``(n, channels, height, width)`` of bytes.

    None where nothing is drawn.

    Examples
    --------
    >>> images = np.zeros((2, 1, 28, 28), np.uint8)
    >>> images[:, :, 4:24, 10:20] = 255
    >>> place_in(images)
    Place(background=0.0, middle=(14.0, 15.0), size=20.0)
    """
    some = images.mean(1)
    background = float(np.median(np.concatenate([some[:, 0], some[:, -1]], axis=1)))
    boxes = [box for box in (box_of(abs(one - background) > INK * 255) for one in some) if box]
    if not boxes:
        return None
    y, x = np.mean([((t + b) / 2, (left + right) / 2) for t, b, left, right in boxes], axis=0)
    size = np.mean([max(b - t, right - left) for t, b, left, right in boxes])
    return Place(background, (float(y), float(x)), float(size))


def box_of(mask: np.ndarray) -> tuple[int, int, int, int] | None:
    """Return top, bottom, left and right of what is true, the ends excluded."""
    rows, columns = np.flatnonzero(mask.any(1)), np.flatnonzero(mask.any(0))
    if not len(rows):
        return None
    return int(rows[0]), int(rows[-1]) + 1, int(columns[0]), int(columns[-1]) + 1
