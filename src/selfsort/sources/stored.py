"""Arrays in .npy files, of which only the rows that are asked for are read."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np

from selfsort.errors import InputError
from selfsort.images.arrays import (
    as_float32,
    as_images,
    pixel_factor,
    scaled_to_uint8,
)
from selfsort.images.npy import NpyRows
from selfsort.images.pixels import resize_images
from selfsort.sources.base import Chunk, Source, facts_of_files, fingerprint_of

AT_ONCE = 2**24
"""Bytes of an array that are looked through at once."""


class ArraySource(Source):
    """One array of images or vectors in an ``.npy`` file.

    Floats and large integers are looked through once, chunk by chunk: whether 1 or 255 is white
    depends on all of them, and nothing should be written before a NaN is found.

    Parameters
    ----------
    path : Path
    size : int or None
        Height and width that images are brought to; None: as they are.
    """

    def __init__(self, path: Path, size: int | None) -> None:
        super().__init__(str(path))
        self.path = path
        self.size = size
        self.array = array = NpyRows(path)
        first = as_images(array.rows(0, min(1, len(array))), name=self.where)
        if size is not None and first.ndim == 2:
            raise InputError(
                f"{path}: holds vectors of {first.shape[1]} values, but images of {size} x {size} "
                "pixels are needed. Give images."
            )
        self.n_images = len(array)
        self.factor = 1 if array.dtype == np.uint8 else self._looked_through(array)

    def _looked_through(self, array: NpyRows) -> int:
        """Return what pixels are multiplied by, all numbers having been seen to be in order."""
        step = max(1, AT_ONCE // (array.dtype.itemsize * math.prod(array.shape[1:])))
        low, high = np.inf, -np.inf
        for start in range(0, len(array), step):
            part = array.rows(start, min(start + step, len(array)))
            if part.dtype.kind == "f":
                part = as_float32(part, self.where, start)
            images = as_images(part, name=self.where)
            low, high = min(low, float(images.min())), max(high, float(images.max()))
        if len(array.shape) == 2 or array.dtype.kind != "f":
            return 1
        return pixel_factor(low, high, self.where)

    def __len__(self) -> int:
        return self.n_images

    def read(self, start: int, stop: int) -> Chunk:
        images = as_images(self.array.rows(start, stop), name=self.where)
        if images.ndim == 2:
            images = images.astype(np.float32)
        elif images.dtype != np.uint8:
            images = scaled_to_uint8(images, self.factor)
        if self.size is not None:
            images = resize_images(images, self.size)
        return Chunk(images, list(range(start, stop)))

    def fingerprint(self) -> str:
        return fingerprint_of(facts_of_files([self.path]))
