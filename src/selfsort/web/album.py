"""The images of a run, each under a name that tells nothing, and as a small picture."""

from __future__ import annotations

import hashlib
import hmac
import io
from functools import lru_cache

import numpy as np
from PIL import Image

from selfsort.errors import InputError
from selfsort.images import ImageSet
from selfsort.runs.data import keys_of

N_KEPT = 20_000
"""Thumbnails that are kept in memory."""


class Album:
    """Images that a browser asks for one by one.

    Parameters
    ----------
    images : ImageSet
    secret : bytes
        Makes the names, which are the same as long as it is.
    """

    def __init__(self, images: ImageSet, secret: bytes) -> None:
        self.images = images
        self.names = keys_of(images)[1]
        self._folded = [name.casefold() for name in self.names]
        self._ids = [
            hmac.digest(secret, str(i).encode(), hashlib.sha256).hex()[:20]
            for i in range(len(images))
        ]
        self._positions = {name: i for i, name in enumerate(self._ids)}
        self.thumbnail = lru_cache(maxsize=N_KEPT)(self._thumbnail)

    def __len__(self) -> int:
        return len(self.images)

    def id_of(self, position: int) -> str:
        """Return the name of an image for the browser."""
        return self._ids[position]

    def position_of(self, name: object) -> int:
        """Return the position of an image; raise if there is none of that name."""
        found = self._positions.get(name) if isinstance(name, str) else None
        if found is None:
            raise InputError("There is no such image.")
        return found

    def named_like(self, text: str) -> np.ndarray:
        """Return a bool for each image: whether its file name holds a text."""
        wanted = text.casefold()
        return np.fromiter((wanted in name for name in self._folded), bool, len(self))

    def _thumbnail(self, position: int) -> bytes:
        return png(self.images.images[position])


def png(pixels: np.ndarray) -> bytes:
    """Return ``uint8 (channels, height, width)`` as a PNG.

    Examples
    --------
    >>> import numpy as np
    >>> png(np.zeros((3, 8, 8), np.uint8))[1:4]
    b'PNG'
    """
    if pixels.shape[0] == 2:  # PNG has no two channels: the first is shown
        pixels = pixels[:1]
    last = pixels.transpose(1, 2, 0)
    image = Image.fromarray(last[..., 0] if last.shape[2] == 1 else np.ascontiguousarray(last))
    buffer = io.BytesIO()
    image.save(buffer, "PNG")
    return buffer.getvalue()


def to_bytes(images: np.ndarray) -> np.ndarray:
    """Return images in the units 0 to 255 as ``uint8``."""
    return np.rint(np.clip(images, 0, 255)).astype(np.uint8)
