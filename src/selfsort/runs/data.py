"""Which labels a run learns from, and what estimators are given."""

from __future__ import annotations

import functools
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from rich.console import Console

from selfsort.datasets import Dataset
from selfsort.errors import InputError
from selfsort.images import ImageSet, read_labels
from selfsort.recipes import Recipe

MOST_TOLD = 20
"""Pictures that were left out: so many are named where somebody reads it."""


@dataclass(frozen=True)
class Labels:
    """The labels that a run learns from.

    Attributes
    ----------
    index : int array of shape (n,) or None
        Class of each training image, -1 where it has no label; None: no labels are used.
    class_names : tuple of str or None
    """

    index: np.ndarray | None
    class_names: tuple[str, ...] | None

    @property
    def n_labels(self) -> int:
        """How many images have a label."""
        return 0 if self.index is None else int((self.index >= 0).sum())

    def of(self, rows: np.ndarray) -> Labels:
        """Return the labels of some of the images."""
        return replace(self, index=None if self.index is None else self.index[rows])

    def y(self) -> tuple[np.ndarray, int | str]:
        """Return labels as an estimator gets them, and the marker of those without one.

        Names that are all whole numbers become integers.
        """
        assert self.index is not None and self.class_names is not None  # noqa: S101
        names = self.class_names
        if all(name.isdecimal() and str(int(name)) == name for name in names):
            numbers = np.array([int(name) for name in names])
            return np.where(self.index >= 0, numbers[self.index], -1), -1
        return np.where(self.index >= 0, np.array(names, dtype=object)[self.index], ""), ""


def choose_labels(option: str, recipe: Recipe, data: Dataset, seed: int) -> Labels:
    """Return the labels that ``--labels`` asks for.

    Parameters
    ----------
    option : str
        "none", "all", a number of labels to draw, or the path of a CSV file.
    recipe : Recipe
    data : Dataset
    seed : int
        Decides which labels are drawn, evenly over the classes.

    Raises
    ------
    InputError
        If the option is none of these, or does not go with the recipe or the data.
    """
    if option == "none":
        if recipe.labels != "none" and recipe.extra != "svm":
            raise InputError(
                f"The recipe '{recipe.name}' learns from labels: give --labels all, a number, or "
                "a CSV file; or use --recipe sort."
            )
        return Labels(None, data.train.class_names)
    if recipe.labels == "none":
        raise InputError(
            f"The recipe '{recipe.name}' learns without labels: give --labels none, or use "
            "--recipe teach."
        )
    if option == "all" or option.isdecimal():
        if data.train.labels is None:
            raise InputError(
                f"{data.where}: has no labels to learn from: give --labels none, or a CSV file "
                "with the columns file (or index) and class."
            )
        index = data.train.labels
        _check_two_classes(index, data.where)
        if option != "all":
            index = _drawn(index, int(option), seed, data.where)
        return Labels(index, data.train.class_names)
    path = Path(option)
    if path.suffix.lower() != ".csv":
        raise InputError(
            f"--labels must be 'none', 'all', a number or a CSV file. Got '{option}' instead."
        )
    index, class_names = read_labels(
        path,
        data.train.names,
        len(data.train),
        class_names=data.train.class_names,
        skipped=[one.name for one in data.train.skipped],
    )
    _check_two_classes(index, str(path))
    return Labels(index, class_names)


def _check_two_classes(labels: np.ndarray, name: str) -> None:
    n_classes = len(np.unique(labels[labels >= 0]))
    if n_classes < 2:
        raise InputError(
            f"{name}: has labels of {n_classes or 'no'} class{'' if n_classes else 'es'}, but "
            "there must be at least 2 classes to learn: label more images, or give --labels none."
        )


def with_labels(data: Dataset, labels: Labels) -> Dataset:
    """Return the data, scored by the labels of a CSV file where it has none of its own."""
    if data.train.labels is not None or labels.index is None:
        return data
    train = replace(data.train, labels=labels.index, class_names=labels.class_names)
    return replace(data, train=train)


def _drawn(labels: np.ndarray, n_labels: int, seed: int, name: str) -> np.ndarray:
    """Return `labels` with all but `n_labels` removed, evenly over the classes."""
    known = np.flatnonzero(labels >= 0)
    n_classes = len(np.unique(labels[known]))
    if not n_classes <= n_labels <= len(known):
        raise InputError(
            f"--labels must be from {n_classes} (one a class) to {len(known)} (all) for {name}. "
            f"Got {n_labels} instead."
        )
    rng = np.random.default_rng(seed)
    shuffled = rng.permutation(known)
    # Rank each image within its class; the lowest ranks are drawn first, class after class.
    order = np.argsort(labels[shuffled], kind="stable")
    rank = np.empty(len(shuffled), dtype=np.int64)
    counts = np.bincount(labels[known])
    rank[order] = np.concatenate([np.arange(count) for count in counts])
    drawn = shuffled[np.argsort(rank, kind="stable")[:n_labels]]
    chosen = np.full(len(labels), -1)
    chosen[drawn] = labels[drawn]
    return chosen


def tell_skipped(console: Console, *sets: ImageSet | None) -> None:
    """Say which pictures were left out, and why."""
    skipped = [one.reason for images in sets if images is not None for one in images.skipped]
    kept = sum(len(images) for images in sets if images is not None)
    tell_left_out(console, skipped[:MOST_TOLD], len(skipped), kept)


def tell_left_out(console: Console, reasons: Sequence[str], n_skipped: int, n_kept: int) -> None:
    """Say how many pictures were left out, and why the first ones were."""
    if n_skipped:
        say = functools.partial(console.print, highlight=False, soft_wrap=True, markup=False)
        say(f"Left out {n_skipped:,} of {n_kept + n_skipped:,} pictures:")
        for reason in reasons:
            say(f"  {reason}")
        if n_skipped > len(reasons):
            say(f"  and {n_skipped - len(reasons):,} more")


def keys_of(images: ImageSet) -> tuple[str, list[str]]:
    """Return what names images in a CSV file, "file" or "index", and that of each image.

    Examples
    --------
    >>> import numpy as np
    >>> keys_of(ImageSet(np.zeros((2, 1, 8, 8), dtype=np.uint8)))
    ('index', ['0', '1'])
    """
    if images.names is not None:
        return "file", list(images.names)
    return "index", [str(i) for i in range(len(images))]


def as_given(images: ImageSet) -> np.ndarray:
    """Return images as estimators take them: channels last, or vectors.

    Examples
    --------
    >>> import numpy as np
    >>> as_given(ImageSet(np.zeros((2, 3, 8, 9), dtype=np.uint8))).shape
    (2, 8, 9, 3)
    """
    if images.images.ndim == 2:
        return images.images
    last = images.images.transpose(0, 2, 3, 1)
    return last[..., 0] if last.shape[-1] == 1 else last
