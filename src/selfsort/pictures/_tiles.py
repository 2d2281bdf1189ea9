"""Images as enlarged RGB pixels, and grids of them."""

from __future__ import annotations

import numpy as np
from PIL import Image

from selfsort.errors import InputError

MAX_BARS = 64
GAP = 4


def make_tiles(
    images: np.ndarray, side: int, limits: tuple[float, float] | None = None
) -> np.ndarray:
    """Return uint8 (n, height, width, 3), about `side` pixels in the longer direction."""
    images = np.asarray(images)
    if not len(images):
        raise InputError("There is no picture to draw. Give one or more.")
    if images.ndim == 2 and images.shape[1]:
        return _bars(images.astype(float), side, limits or value_range(images))
    if images.ndim != 4 or not 1 <= images.shape[1] <= 4 or 0 in images.shape[2:]:
        raise InputError(
            "Pictures must have shape (n, 1 to 4 channels, height, width) or (n, p). "
            f"Got {images.shape} instead."
        )
    if images.dtype != np.uint8 and images.dtype.kind not in "fb":
        raise InputError(f"Pictures must be uint8 or floats in [0, 1]. Got {images.dtype} instead.")
    return _resized(_as_rgb(images), side)


def _as_rgb(images: np.ndarray) -> np.ndarray:
    pixels = images.transpose(0, 2, 3, 1)
    if pixels.dtype != np.uint8:
        pixels = (np.nan_to_num(pixels.astype(float)).clip(0, 1) * 255).round().astype(np.uint8)
    channels = pixels.shape[-1]
    if channels == 1:
        return np.repeat(pixels, 3, axis=-1)
    if channels == 2:  # magenta and green: equal channels are grey
        return pixels[..., [0, 1, 0]]
    if channels == 3:
        return pixels
    opacity = pixels[..., 3:] / 255
    return (pixels[..., :3] * opacity + 255 * (1 - opacity)).round().astype(np.uint8)


def _resized(pixels: np.ndarray, side: int) -> np.ndarray:
    longest = max(pixels.shape[1:3])
    if longest <= 1.5 * side:
        factor = max(1, round(side / longest))
        return pixels.repeat(factor, axis=1).repeat(factor, axis=2)
    factor = -(-longest // side)
    reduced = [np.asarray(Image.fromarray(image).reduce(factor)) for image in pixels]
    height, width = (-(-length // factor) for length in pixels.shape[1:3])
    return np.array(reduced, np.uint8).reshape(-1, height, width, 3)


def value_range(values: np.ndarray) -> tuple[float, float]:
    """Return the range of all bars: it holds zero, where every bar starts."""
    finite = values[np.isfinite(values)]
    low, high = float(finite.min(initial=0)), float(finite.max(initial=0))
    return low, high if high > low else low + 1


def _bars(vectors: np.ndarray, side: int, limits: tuple[float, float]) -> np.ndarray:
    low, high = limits
    parts = np.array_split(np.nan_to_num(vectors), min(vectors.shape[1], MAX_BARS), axis=1)
    heights = np.stack([part.mean(axis=1) for part in parts], axis=1)
    levels = high - (np.arange(side) + 0.5) / side * (high - low)
    level, end = levels[:, None], heights[:, None, :]
    filled = (level <= end) & (level > 0) | (level >= end) & (level < 0)
    paper, ink = np.array([235, 235, 235]), np.array([0, 114, 178])
    pixels = np.where(filled[..., None], ink, paper).astype(np.uint8)
    return pixels.repeat(max(1, round(side / len(parts))), axis=2)


def put_in_grid(tiles: np.ndarray, n_columns: int, heading: int = 0) -> np.ndarray:
    """Put tiles side by side on white, with `heading` pixels of white above each."""
    n, height, width, _ = tiles.shape
    n_rows = -(-n // n_columns)
    cells = np.full((n_rows * n_columns, height + heading + GAP, width + GAP, 3), 255, np.uint8)
    cells[:n, heading : heading + height, :width] = tiles
    cells = cells.reshape(n_rows, n_columns, *cells.shape[1:]).swapaxes(1, 2)
    return cells.reshape(n_rows * (height + heading + GAP), -1, 3)[:-GAP, :-GAP]
