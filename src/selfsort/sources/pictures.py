"""Folders of PNG and JPEG files: the names are listed, the pictures read when they are needed."""

from __future__ import annotations

import functools
from collections.abc import Sequence
from pathlib import Path
from typing import ClassVar, Literal

import numpy as np

from selfsort.images.files import check_name
from selfsort.images.folders import OnError, class_values, list_pictures
from selfsort.images.pixels import read_picture
from selfsort.sources.base import Chunk, Pictures, Source, fingerprint_of


class FolderSource(Source):
    """The pictures of a folder, of its training part where there are two parts.

    Parameters
    ----------
    folder : Path
    shape : sequence of int
        ``(channels, height, width)``.
    on_error : {"stop", "skip"}
    """

    key: ClassVar[Literal["file", "index"]] = "file"

    def __init__(self, folder: Path, shape: Sequence[int], on_error: OnError) -> None:
        super().__init__(str(folder))
        self.folder = folder
        self.pictures = Pictures(shape, on_error, self.where)
        self.files = list_pictures(folder)

    def __len__(self) -> int:
        return len(self.files)

    def read(self, start: int, stop: int) -> Chunk:
        names = self.files[start:stop]
        return self.pictures.chunk((name, functools.partial(self._read, name)) for name in names)

    def _read(self, name: str, height: int, width: int) -> tuple[str, np.ndarray]:
        check_name(self.folder, name)
        path = self.folder / name
        return str(path), read_picture(path, height, width)

    def names(self) -> list[str]:
        return self.files

    def labels(self) -> np.ndarray | None:
        return class_values(self.folder, self.files)

    def fingerprint(self) -> str:
        return fingerprint_of(self.files)
