"""A set of images with its labels, and how labels become class indices."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from selfsort.errors import InputError


class Skipped(NamedTuple):
    """A picture that could not be read, and why."""

    name: str
    reason: str


@dataclass(frozen=True, eq=False)
class ImageSet:
    """Images, and what is known about each of them.

    Parameters
    ----------
    images : ndarray
        ``uint8`` of shape ``(n, channels, height, width)`` with values 0 to 255, or
        ``float32`` of shape ``(n, p)`` for vectors that are no images.
    labels : ndarray of shape (n,), int64, or None
        Index into `class_names`; -1 marks an unlabelled image. None: no label at all.
    class_names : tuple of str or None
        Name of each class, in order; ``"0"`` to ``"9"`` for the digits.
    names : tuple of str or None
        File names relative to the folder that was read, with ``/`` between the parts.
    skipped : tuple of Skipped
        Pictures that could not be read, where these are to be left out.

    Examples
    --------
    >>> import numpy as np
    >>> len(ImageSet(np.zeros((3, 1, 8, 8), np.uint8)))
    3
    """

    images: np.ndarray
    labels: np.ndarray | None = None
    class_names: tuple[str, ...] | None = None
    names: tuple[str, ...] | None = None
    skipped: tuple[Skipped, ...] = ()

    def __len__(self) -> int:
        return len(self.images)


@dataclass(frozen=True, eq=False)
class Part:
    """One split as read: images, raw labels (integers, or texts with "" for none), names."""

    images: np.ndarray
    values: np.ndarray | None = None
    names: tuple[str, ...] | None = None


def class_order(names: Iterable[str]) -> tuple[str, ...]:
    """Sort class names: by number where all are numbers, so that "10" follows "9".

    Examples
    --------
    >>> class_order({"10", "9"}), class_order({"10", "9", "a"})
    (('9', '10'), ('10', '9', 'a'))
    """
    unique = set(names)
    if all(name.isascii() and name.isdecimal() for name in unique):
        return tuple(sorted(unique, key=lambda name: (int(name), name)))
    return tuple(sorted(unique))


def make_sets(parts: list[Part], where: str) -> list[ImageSet]:
    """Return the parts as image sets that share one list of class names."""
    labelled = [
        _check_values(part.values, len(part.images), where)
        for part in parts
        if part.values is not None
    ]
    if len({values.dtype.kind for values in labelled}) > 1:
        raise InputError(
            f"{where}: the training labels and the test labels must both be integers "
            "or both be text."
        )
    everything = np.concatenate(labelled) if labelled else np.empty(0, np.int64)
    codes, class_names = encode_values(everything)
    sets, start = [], 0
    for part in parts:
        if part.values is None:
            sets.append(ImageSet(part.images, names=part.names))
            continue
        stop = start + len(part.images)
        sets.append(_labelled_set(part, codes[start:stop], class_names))
        start = stop
    return sets


def encode_values(values: np.ndarray) -> tuple[np.ndarray, tuple[str, ...]]:
    """Return an index per value, -1 for a negative number or an empty text, and the names.

    Examples
    --------
    >>> import numpy as np
    >>> encode_values(np.array(["cat", "", "ant"]))
    (array([ 1, -1,  0]), ('ant', 'cat'))
    """
    if values.dtype.kind == "U":
        names = class_order(set(values.tolist()) - {""})
        index = {name: position for position, name in enumerate(names)} | {"": -1}
        return np.array([index[value] for value in values.tolist()], np.int64), names
    known = np.unique(values[values >= 0])
    codes = np.where(values < 0, -1, np.searchsorted(known, values)).astype(np.int64)
    return codes, tuple(str(value) for value in known)


def _labelled_set(part: Part, labels: np.ndarray, class_names: tuple[str, ...]) -> ImageSet:
    if (labels == -1).all():
        return ImageSet(part.images, names=part.names)
    return ImageSet(part.images, labels, class_names, part.names)


def _check_values(values: np.ndarray, n_images: int, where: str) -> np.ndarray:
    if values.ndim == 2 and values.shape[1] == 1:  # Keras keeps the labels of CIFAR as a column
        values = values[:, 0]
    if values.shape != (n_images,):
        raise InputError(
            f"{where}: the labels have shape {values.shape}, but there are {n_images} images. "
            "Give one label per image."
        )
    if values.dtype.kind == "U":
        return values
    if values.dtype.kind not in "iub":
        raise InputError(
            f"{where}: the labels have dtype {values.dtype}. "
            "Give integers (-1 for unlabelled) or text."
        )
    values = values.astype(np.int64)
    if (values < -1).any():
        raise InputError(
            f"{where}: a label is {values.min()}. Labels start at 0; -1 marks an unlabelled image."
        )
    return values
