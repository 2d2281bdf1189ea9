"""An ``.npy`` file of which only the rows that are asked for are read."""

from __future__ import annotations

import math
import warnings
import zipfile
from pathlib import Path
from typing import BinaryIO

import numpy as np
from numpy.lib import format as npy_format

from selfsort.errors import InputError
from selfsort.images.arrays import readable

_HEADERS = {
    (1, 0): npy_format.read_array_header_1_0,
    (2, 0): npy_format.read_array_header_2_0,
}


class NpyRows:
    """The array of an ``.npy`` file, whose numbers are not looked at before they are read.

    The file is not mapped into memory: a process may have less address space than the file has
    bytes, and pages that were looked at would count as its memory.

    Parameters
    ----------
    path : Path

    Attributes
    ----------
    shape : tuple of int
    dtype : dtype

    Raises
    ------
    InputError
        If it is no file of one array.

    Examples
    --------
    >>> import tempfile
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     np.save(f"{folder}/x.npy", np.arange(12).reshape(6, 2))
    ...     NpyRows(Path(folder, "x.npy")).rows(4, 6)
    array([[ 8,  9],
           [10, 11]])
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        with readable(path):
            if zipfile.is_zipfile(path):
                raise InputError(f"{path}: is a zip archive, not an array. Name it .npz.")
            with open(path, "rb") as file:
                version = npy_format.read_magic(file)
                if version not in _HEADERS:
                    raise ValueError(f"version {version[0]}.{version[1]} of the format")
                with warnings.catch_warnings(action="ignore"):  # of a header that Python 2 wrote
                    self.shape, self.by_column, self.dtype = _HEADERS[version](file)
                self._start = file.tell()
            self._check()

    def _check(self) -> None:
        """Raise where the file is not an array of rows, or is cut off."""
        if self.dtype.hasobject:
            raise ValueError("Object arrays cannot be loaded")
        if not self.shape:
            raise InputError(f"{self.path}: holds one number. Give an array of images.")
        if 0 in self.shape:
            raise InputError(
                f"{self.path} is empty: its shape is {self.shape}. Give at least one image."
            )
        if any(side < 0 for side in self.shape):
            raise ValueError("a negative shape")
        wanted = self._start + math.prod(self.shape) * self.dtype.itemsize
        if self.path.stat().st_size < wanted:
            raise ValueError("the array is longer than the file")

    def __len__(self) -> int:
        return self.shape[0]

    def rows(self, start: int, stop: int) -> np.ndarray:
        """Return the rows from `start` to before `stop`, all of which must be there."""
        with readable(self.path):
            if self.by_column:  # a row is spread over the file
                mapped = np.memmap(self.path, self.dtype, "r", self._start, self.shape, "F")
                return np.array(mapped[start:stop])
            width = math.prod(self.shape[1:])
            with open(self.path, "rb", buffering=0) as file:
                file.seek(self._start + start * width * self.dtype.itemsize)
                values = _values(file, (stop - start) * width, self.dtype)
        return values.reshape(stop - start, *self.shape[1:])


def _values(file: BinaryIO, count: int, dtype: np.dtype) -> np.ndarray:
    values = np.fromfile(file, dtype, count)
    if len(values) < count:
        raise ValueError("it became shorter while it was read")
    return values
