"""A source that is in memory as a whole: the kinds of files that cannot be read in part."""

from __future__ import annotations

import hashlib

import numpy as np

from selfsort.images.sets import ImageSet
from selfsort.sources.base import Chunk, Source


class WholeSource(Source):
    """An image set in memory, as a source.

    Parameters
    ----------
    images : ImageSet
    where : str
        What errors call it.

    Examples
    --------
    >>> import numpy as np
    >>> source = WholeSource(ImageSet(np.zeros((5, 1, 8, 8), np.uint8)), "X")
    >>> source.read(3, 5).keys
    [3, 4]
    """

    def __init__(self, images: ImageSet, where: str) -> None:
        super().__init__(where)
        self.known = images
        self.images = images.images

    def __len__(self) -> int:
        return len(self.images)

    def read(self, start: int, stop: int) -> Chunk:
        return Chunk(self.images[start:stop], list(range(start, stop)))

    def names(self) -> list[str] | None:
        return None if self.known.names is None else list(self.known.names)

    def labels(self) -> np.ndarray | None:
        if self.known.labels is None or self.known.class_names is None:
            return None
        return np.array([*self.known.class_names, ""])[self.known.labels]

    def fingerprint(self) -> str:
        digest = hashlib.sha256(repr((self.images.shape, self.images.dtype.str)).encode())
        digest.update(np.ascontiguousarray(self.images).data)
        return digest.hexdigest()
