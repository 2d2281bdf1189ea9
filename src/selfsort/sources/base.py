"""What every source of images can do, and how one picture becomes one row."""

from __future__ import annotations

import hashlib
import os
import warnings
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import ClassVar, Literal, NamedTuple

import numpy as np
from PIL import Image

from selfsort.errors import InputError
from selfsort.images.files import printable
from selfsort.images.folders import OnError, without_promise
from selfsort.images.pixels import picture_of
from selfsort.images.sets import Skipped

MOST_BYTES = 2**28
"""No picture within a file of many may have more."""

MOST_VALUES = 2**24
"""Images of a source that are in memory at once, as floats, have that many pixel values."""

Read = Callable[[int, int], tuple[str, np.ndarray]]
"""From height and width to a picture's name, as errors call it, and its pixels."""


class Chunk(NamedTuple):
    """Some images of a source that follow one another.

    Parameters
    ----------
    images : ndarray
        ``uint8 (n, channels, height, width)``, or ``float32 (n, p)`` for vectors.
    keys : list of str or of int
        The name of each image, or its position in the source.
    skipped : tuple of Skipped
        Pictures of the range that could not be read, and are not among the images.
    """

    images: np.ndarray
    keys: list[str] | list[int]
    skipped: tuple[Skipped, ...] = ()


class Source(ABC):
    """Images, of which any range can be read at any time, in any order and by any process.

    What `read` returns depends on the range alone. So work can go on from a position, and be
    divided: worker k of n takes the ranges k, k + n, …, and whoever trains shuffles within as
    many ranges as fit into its memory. A source holds no open file and no images; it can be sent
    to another process.

    Parameters
    ----------
    where : str
        What errors call it.

    Attributes
    ----------
    key : {"file", "index"}
        What names an image: a file, or its position.
    """

    key: ClassVar[Literal["file", "index"]] = "index"

    def __init__(self, where: str) -> None:
        self.where = where

    @abstractmethod
    def __len__(self) -> int:
        """Return how many images there are, with those that cannot be read."""

    @abstractmethod
    def read(self, start: int, stop: int) -> Chunk:
        """Return the images from `start` to before `stop`, in their order.

        Raises
        ------
        InputError
            If an image cannot be read, and those are not to be left out.
        """

    def names(self) -> list[str] | None:
        """Return the name of each image, as `read` gives it; None where that is its position."""
        return None

    def labels(self) -> np.ndarray | None:
        """Return the label of each image, None where there is none at all.

        Integers, -1 for an image without one; or text, "" for an image without one.
        """
        return None

    @abstractmethod
    def fingerprint(self) -> str:
        """Return what changes with the data: whoever goes on later must find the same."""


class Pictures:
    """Make rows of one shape of PNG and JPEG files, and note those that cannot be read.

    Parameters
    ----------
    shape : sequence of int
        ``(channels, height, width)`` of every row. Grey pictures become as many channels as
        there should be; pictures in colour cannot become grey.
    on_error : {"stop", "skip"}
        Whether a picture that cannot be read is an error, or is left out.
    where : str
        What errors call the data.
    """

    def __init__(self, shape: Sequence[int], on_error: OnError, where: str) -> None:
        if len(shape) != 3:
            raise InputError(
                f"{where}: holds pictures, but vectors of {shape[0]} values are needed. Give an "
                ".npy file with a row for each vector."
            )
        self.shape = tuple(shape)
        self.on_error = on_error

    def chunk(self, pictures: Iterable[tuple[str | int, Read]]) -> Chunk:
        """Return the rows of some pictures, each given by its key and how it is read."""
        rows: list[np.ndarray] = []
        keys: list[str | int] = []
        skipped = []
        with warnings.catch_warnings():
            # A picture beyond half of Pillow's limit only warns; here it is refused as well.
            warnings.simplefilter("error", Image.DecompressionBombWarning)
            for key, read in pictures:
                try:
                    rows.append(self._row(read))
                    keys.append(key)
                except InputError as error:
                    reason = without_promise(error)  # something may have been written before
                    if self.on_error == "stop":
                        raise InputError(reason) from error
                    skipped.append(Skipped(printable(str(key)), reason))
        images = np.stack(rows) if rows else np.empty((0, *self.shape), np.uint8)
        return Chunk(images, keys, tuple(skipped))  # type: ignore[arg-type]

    def _row(self, read: Read) -> np.ndarray:
        channels, height, width = self.shape
        name, picture = read(height, width)
        if len(picture) not in (1, channels):
            raise InputError(
                f"{name}: is in colour, but images of {channels} channel"
                f"{'' if channels == 1 else 's'} are needed. Make it grey."
            )
        return np.broadcast_to(picture, self.shape)


def picture_in(content: bytes, name: str, height: int, width: int) -> tuple[str, np.ndarray]:
    """Return the name and the pixels of a picture in memory, which `Pictures` makes a row of."""
    if len(content) > MOST_BYTES:
        raise InputError(
            f"{name}: has {len(content)} bytes, far more than a picture that is safe to unpack. "
            "Make it smaller."
        )
    return name, picture_of(content, name, height, width)


def evenly(n_images: int, most: int, n_values: int) -> np.ndarray:
    """Return positions evenly spread over all images, as many as memory should hold.

    Parameters
    ----------
    n_images : int
    most : int
        No more than that.
    n_values : int
        Pixel values of an image: all together have `MOST_VALUES` at most.

    Examples
    --------
    >>> evenly(11, 3, 64).tolist(), len(evenly(10**6, 10**4, 2**14))
    ([0, 5, 10], 1024)
    """
    n = max(1, min(n_images, most, MOST_VALUES // n_values))
    return np.linspace(0, n_images - 1, n).round().astype(int)


def fingerprint_of(facts: Iterable[object]) -> str:
    """Return a SHA-256 of some facts.

    Examples
    --------
    >>> fingerprint_of(["a", 1]) == fingerprint_of(["a", 2])
    False
    """
    digest = hashlib.sha256()
    for fact in facts:
        digest.update(repr(fact).encode("utf-8", "backslashreplace") + b"\n")
    return digest.hexdigest()


def facts_of_files(paths: Iterable[Path]) -> list[tuple[str, int, int]]:
    """Return name, size and time of change of some files: enough to see that one was changed."""
    found = [(path.name, os.stat(path)) for path in paths]
    return [(name, status.st_size, status.st_mtime_ns) for name, status in found]
