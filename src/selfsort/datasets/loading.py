"""Load a named data set, or the images of a path."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from selfsort.datasets.cache import is_cached, read_cached, write_cache
from selfsort.datasets.openml import fetch, reason_of
from selfsort.datasets.sources import SOURCES, Source, cache_folder, data_folder
from selfsort.errors import InputError, unknown_name
from selfsort.images import ImageSet, read_splits, resize_set
from selfsort.images.folders import OnError
from selfsort.images.idx import MNIST_FILES, find_mnist_files, idx_md5, read_mnist_folder
from selfsort.images.sets import Part, make_sets
from selfsort.verified import matching


@dataclass(frozen=True, eq=False)
class Dataset:
    """A named data set, or a path: images to train with and, where there are, to test with.

    `path` is what was read, as it was given; None for a named set.
    """

    name: str
    train: ImageSet
    test: ImageSet | None
    path: str | None = None

    @property
    def where(self) -> str:
        """What an error calls the data: its path, or the name of the set."""
        return self.path or self.name


@dataclass(frozen=True)
class DatasetInfo:
    """What `known_datasets` tells about a set.

    `found` is where it lies, None if nowhere; `licence` what its makers say, "" if nothing.
    """

    name: str
    description: str
    n_train: int
    n_test: int
    image_shape: tuple[int, int]
    found: str | None
    licence: str = ""


_DIGITS = DatasetInfo(
    name="digits",
    description="handwritten digits, part of scikit-learn",
    n_train=1442,
    n_test=355,
    image_shape=(8, 8),
    found="scikit-learn",
    licence="CC-BY-4.0",
)


def load_dataset(
    data: str | Path, *, size: int | None = None, on_error: OnError = "stop"
) -> Dataset:
    """Load a named data set, or the images of a path.

    A named set is looked for in the folder ``$SELFSORT_DATA/<name>`` (idx files, one npz file,
    or folders of images), then in the cache ``$SELFSORT_CACHE`` (``~/.cache/selfsort``), then
    at OpenML; what is fetched is verified and cached. A known name goes before a path of the
    same name: write ``./mnist`` for a folder.

    Parameters
    ----------
    data : str or Path
        A name that `known_datasets` lists, or what `read_splits` reads.
    size : int, optional
        Height and width to bring every image to, in pixels, at least 8.
    on_error : {"stop", "skip"}, default="stop"
        What a picture of a folder that cannot be read does; see `read_splits`.

    Returns
    -------
    Dataset
        Named after the set, or after the file or folder without its suffix.

    Raises
    ------
    DataNotFoundError
        If a named set is neither on this machine nor reachable.
    InputError
        If there is no such name or path, the images cannot be read, or do not verify.

    Notes
    -----
    ``digits``: every fifth image of each class, in scikit-learn's order, is held out for
    testing; pixels 0 to 16 are scaled to 0 to 255. ``usps``: the first 7291 images train, as is
    customary; the order at OpenML itself is not verified.

    Examples
    --------
    >>> digits = load_dataset("digits")
    >>> digits.train.images.shape, digits.test.images.shape
    ((1442, 1, 8, 8), (355, 1, 8, 8))
    """
    name = str(data)
    if name == _DIGITS.name:
        splits = _load_digits()
    elif name in SOURCES:
        splits = _load_source(name)
    elif os.path.lexists(data):
        train, test = read_splits(data, size, on_error)
        return Dataset(_stem(Path(data)), train, test, name)
    else:
        error = unknown_name("data set", name, [_DIGITS.name, *SOURCES])
        raise InputError(f"{error} There is no file or folder '{name}' either.")
    if size is not None:
        splits = [resize_set(split, size, name=name) for split in splits]
    return Dataset(name, splits[0], splits[1] if len(splits) > 1 else None)


def is_named(data: str) -> bool:
    """Return whether this is the name of a data set, and not a path.

    Examples
    --------
    >>> is_named("mnist"), is_named("./mnist")
    (True, False)
    """
    return data == _DIGITS.name or data in SOURCES


def known_datasets() -> list[DatasetInfo]:
    """Return what is known about each named data set, without loading any.

    Examples
    --------
    >>> [info.name for info in known_datasets()]
    ['digits', 'mnist', 'fashion-mnist', 'kmnist', 'usps']
    """
    infos = [
        DatasetInfo(
            name,
            source.description,
            source.n_train,
            source.n_test,
            source.image_shape,
            _where_found(name),
            source.licence,
        )
        for name, source in SOURCES.items()
    ]
    return [_DIGITS, *infos]


def _stem(path: Path) -> str:
    name = path.resolve().name
    return name if path.is_dir() else name.removesuffix(".gz").rsplit(".", 1)[0]


def _load_digits() -> list[ImageSet]:
    from sklearn.datasets import load_digits  # a second to import: only where it is needed

    digits = load_digits()
    images = np.rint(digits.images[:, None] * (255 / 16)).astype(np.uint8)
    labels = digits.target.astype(np.int64)
    held_out = np.zeros(len(labels), bool)
    for label in range(10):
        held_out[np.flatnonzero(labels == label)[4::5]] = True
    parts = [Part(images[rows], labels[rows]) for rows in (~held_out, held_out)]
    return make_sets(parts, "digits")


def _load_source(name: str) -> list[ImageSet]:
    folder = data_folder(name)
    if folder is not None and folder.is_dir():
        return _read_local(name, folder)
    if is_cached(name):
        return read_cached(name)
    images, labels = fetch(name)
    try:
        write_cache(name, images, labels)
    except OSError as error:
        raise InputError(
            f"{cache_folder()}: the data set '{name}' was fetched but cannot be kept there "
            f"({reason_of(error)}). Make room, or set SELFSORT_CACHE to another folder."
        ) from error
    return _split(SOURCES[name], images, labels)


def _where_found(name: str) -> str | None:
    folder = data_folder(name)
    if folder is not None and folder.is_dir():
        return str(folder)
    return str(cache_folder() / f"{name}.npz") if is_cached(name) else None


def _read_local(name: str, folder: Path) -> list[ImageSet]:
    files = find_mnist_files(folder)
    if MNIST_FILES[0] in files:
        expected = SOURCES[name].md5

        def check(canonical: str, path: Path, array: np.ndarray) -> None:
            _check_md5(idx_md5(array), expected.get(canonical), str(path), "Fetch the file again.")

        return read_mnist_folder(files, str(folder), check)
    archives = matching(folder, "*.npz")
    train, test = read_splits(archives[0] if len(archives) == 1 else folder)
    return [train] if test is None else [train, test]


def _check_md5(found: str, expected: str | None, what: str, remedy: str) -> None:
    if expected is not None and found != expected:
        raise InputError(
            f"{what}: the MD5 of the unpacked bytes is {found}, not {expected}. {remedy}"
        )


def _split(source: Source, images: np.ndarray, labels: np.ndarray) -> list[ImageSet]:
    n = source.n_train
    parts = [Part(images[:n], labels[:n]), Part(images[n:], labels[n:])]
    return make_sets(parts, source.description)
