"""The images of a run: all of them in memory, a sample, or read while they are learned from."""

from __future__ import annotations

import math
import os
from dataclasses import replace
from pathlib import Path
from typing import NamedTuple, Protocol

import numpy as np

from selfsort.datasets import Dataset, is_named, load_dataset
from selfsort.errors import InputError
from selfsort.images import ImageSet, read_images
from selfsort.images.folders import OnError, common_size, list_pictures, none_readable
from selfsort.images.npy import NpyRows
from selfsort.images.pixels import picture_size
from selfsort.images.sets import Skipped, encode_values
from selfsort.sources import Source, WholeSource, evenly, open_source
from selfsort.sources.opening import (
    SHARDS,
    TABLES,
    files_of,
    holds_pictures,
    is_read_in_parts,
)
from selfsort.training import Rows

SHOWN = 10_000
"""Images that the figures and pictures of a run are of, where all are not in memory."""
PROBED = 64
"""Pictures of which size and colour are found out, where nobody says."""


class Asked(Protocol):
    """What a request says of the images."""

    @property
    def data(self) -> str: ...
    @property
    def size(self) -> int | None: ...
    @property
    def on_error(self) -> OnError: ...
    @property
    def sample(self) -> int | None: ...
    @property
    def stream(self) -> bool: ...
    @property
    def seed(self) -> int: ...


class Stream(NamedTuple):
    """Images that are read while they are learned from.

    `every` is what is known of all of them, without pixels; `shown` are the positions of those
    that figures and pictures are of.
    """

    rows: Rows
    every: Dataset
    shown: np.ndarray

    def skipped(self) -> list[Skipped]:
        """Return the pictures that could not be read, so far, and for which others stood in."""
        names = self.every.train.names
        return [
            Skipped(str(i) if names is None else names[i], reason)
            for i, reason in sorted(self.rows.skipped.items())
        ]


def load_images(asked: Asked) -> Dataset:
    """Return the images in memory: all, a sample, or those that a streamed run shows."""
    if asked.stream:
        return shown_of(open_stream(asked))
    if asked.sample is None:
        try:
            return load_dataset(asked.data, size=asked.size, on_error=asked.on_error)
        except InputError as error:
            if is_named(asked.data) or not is_read_in_parts(Path(asked.data)):
                raise
            raise InputError(
                f"{asked.data}: may hold more than memory does: give --sample N to learn from some "
                "of its images, or --stream to read them while learning; and --size."
            ) from error
    source, every = _opened(asked)
    n_images = min(asked.sample, len(source))
    chosen = np.random.default_rng(asked.seed).choice(len(source), n_images, replace=False)
    return _chosen(source, every, np.sort(chosen))


def open_stream(asked: Asked) -> Stream:
    """Return the images of a path, to be read while they are learned from."""
    source, every = _opened(asked)
    if isinstance(source, WholeSource):
        raise InputError(
            f"{asked.data}: is read as a whole, and cannot be streamed: leave out --stream, or "
            "give .npy, Parquet, Arrow or tar files, or a folder of pictures."
        )
    rows = Rows(source)
    return Stream(rows, every, evenly(len(source), SHOWN, math.prod(rows.shape[1:])))


def shown_of(stream: Stream) -> Dataset:
    """Return the images that figures and pictures are of."""
    return _chosen(stream.rows.source, stream.every, stream.shown)


def _opened(asked: Asked) -> tuple[Source, Dataset]:
    """Return a source, and what is known of its images: labels and names, but no pixels."""
    if is_named(asked.data):
        whole = load_dataset(asked.data, size=asked.size)
        source: Source = WholeSource(whole.train, asked.data)
    else:
        source = _source(asked)
        nothing = ImageSet(np.empty((0, 0), np.uint8))
        whole = Dataset(Path(asked.data).stem, nothing, None, asked.data)
    values, names = source.labels(), source.names()
    index, class_names = (None, None) if values is None else encode_values(values)
    pixels = np.empty((len(source), 0), np.uint8)
    known = ImageSet(pixels, index, class_names, None if names is None else tuple(names))
    return source, replace(whole, train=known)


def _source(asked: Asked) -> Source:
    path, size = Path(asked.data), asked.size
    if not os.path.exists(path):  # also where a name is too long, or a link leads in a circle
        raise InputError(f"{path}: there is no such file or folder. Check the path.")
    suffix, _ = files_of(path)
    if suffix == ".npy":
        return open_source(path, _npy_shape(path, size))
    if suffix in (*TABLES, SHARDS):
        if size is None:
            raise InputError(
                f"{path}: say with --size how many pixels wide and high the images should be."
            )
        return _in_colour_or_grey(path, (size, size), asked.on_error)
    if holds_pictures(path):
        sides = _picture_sides(path) if size is None else (size, size)
        return _in_colour_or_grey(path, sides, asked.on_error)
    return WholeSource(read_images(path, size, asked.on_error), asked.data)


def _npy_shape(path: Path, size: int | None) -> tuple[int, ...]:
    n, *sides = NpyRows(path).shape
    if not n or len(sides) not in (1, 2, 3):
        return (0,)  # which is an error when it is opened
    if len(sides) == 1:
        return (sides[0],)
    height, width = (size, size) if size is not None else sides[:2]
    return (sides[2] if len(sides) == 3 else 1, height, width)


def _picture_sides(folder: Path) -> tuple[int, int]:
    """Return height and width for a folder of pictures, by the first ones that can be read."""
    sizes, reasons = [], []
    for name in list_pictures(folder)[:PROBED]:
        try:
            sizes.append(picture_size(folder / name))
        except InputError as error:
            reasons.append(str(error))
    if not sizes:
        raise none_readable(folder, reasons)
    return common_size(sizes, None)


def _in_colour_or_grey(path: Path, sides: tuple[int, int], on_error: OnError) -> Source:
    """Return pictures with one channel, if the first ones are grey, else with three."""
    try:
        source = open_source(path, (3, *sides), on_error=on_error)
        images = source.read(0, min(PROBED, len(source))).images
    except InputError as error:
        try:  # lists of pixels have the channels that they have
            source = open_source(path, (1, *sides), on_error=on_error)
            source.read(0, 1)
        except InputError:
            raise error from None
        return source
    if (images == images[:, :1]).all():
        return open_source(path, (1, *sides), on_error=on_error)
    return source


def _chosen(source: Source, every: Dataset, index: np.ndarray) -> Dataset:
    """Return some images in memory, without those that cannot be read."""
    images, kept = [], []
    skipped: list[Skipped] = []
    for i in index.tolist():
        chunk = source.read(i, i + 1)
        if len(chunk.images):
            images.append(chunk.images[0])
            kept.append(i)
        skipped += chunk.skipped
    if not images:
        raise none_readable(Path(every.where), [one.reason for one in skipped])
    known = every.train
    train = ImageSet(
        np.stack(images),
        None if known.labels is None else known.labels[kept],
        known.class_names,
        None if known.names is None else tuple(known.names[i] for i in kept),
        tuple(skipped),
    )
    return replace(every, train=train)
