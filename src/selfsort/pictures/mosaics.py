"""Pictures made of pictures: reconstructions, epochs, prototypes, contact sheets."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from selfsort.errors import InputError
from selfsort.pictures._page import FAINT, INK, check_count, new_figure, one_line, write_png
from selfsort.pictures._tiles import GAP, make_tiles, put_in_grid, value_range

N_SHOWN = 10  # inputs in a row
MAX_EPOCHS = 20  # rows of epochs
MAX_ON_SHEET = 384  # images on a contact sheet
MAX_NAMED = 200  # images on a sheet with names
SHEET_DPI = 100
TILE = 96  # pixels of an image with a name


def save_reconstructions(path: Path, inputs: np.ndarray, outputs: np.ndarray) -> None:
    """Draw the first ten inputs over their reconstructions.

    Parameters
    ----------
    path : Path
        PNG file to write.
    inputs, outputs : array of shape (n, channels, height, width) or (n, p)
        Pictures and their reconstructions, ``uint8`` or floats in [0, 1]; vectors have any range.

    Raises
    ------
    InputError
        If the shapes are no pictures or differ.

    Examples
    --------
    >>> import tempfile
    >>> import numpy as np
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     path = Path(folder, "reconstructions.png")
    ...     save_reconstructions(path, np.zeros((3, 1, 8, 8)), np.ones((3, 1, 8, 8)))
    ...     path.read_bytes()[1:4]
    b'PNG'
    """
    _save_rows(path, [("input", inputs), ("reconstruction", outputs)], side=84)


def save_epochs(
    path: Path, inputs: np.ndarray, per_epoch: Sequence[np.ndarray], labels: Sequence[str]
) -> None:
    """Draw the first ten inputs, and below them their reconstructions after each epoch.

    Of more than 20 epochs, 20 are drawn: the first, the last and an even choice between.

    Parameters
    ----------
    path : Path
        PNG file to write.
    inputs : array of shape (n, channels, height, width) or (n, p)
    per_epoch : sequence of arrays of the shape of `inputs`
    labels : sequence of str
        One name an epoch.

    Raises
    ------
    InputError
        If the shapes are no pictures or differ, or names are missing.

    Examples
    --------
    >>> import tempfile
    >>> import numpy as np
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     images = np.zeros((3, 1, 8, 8))
    ...     path = Path(folder, "epochs.png")
    ...     save_epochs(path, images, [images, images], ["epoch 1", "epoch 2"])
    ...     path.stat().st_size < 1_000_000
    True
    """
    check_count("labels", len(labels), "epochs", len(per_epoch))
    chosen = np.linspace(0, len(labels) - 1, min(len(labels), MAX_EPOCHS)).round().astype(int)
    rows = [(labels[i], per_epoch[i]) for i in chosen]
    _save_rows(path, [("input", inputs), *rows], side=56)


def save_comparison_strip(path: Path, rows: Sequence[tuple[str, np.ndarray]]) -> None:
    """Draw one row of pictures per recipe, at most ten wide.

    Parameters
    ----------
    path : Path
        PNG file to write.
    rows : sequence of (name, images)
        Images of one size, ``(n, channels, height, width)`` or ``(n, p)``.

    Raises
    ------
    InputError
        If there is no row, or the images are no pictures or differ in shape.

    Examples
    --------
    >>> import tempfile
    >>> import numpy as np
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     images = np.zeros((3, 1, 8, 8))
    ...     path = Path(folder, "comparison.png")
    ...     save_comparison_strip(path, [("gumbel", images), ("joint", images)])
    ...     path.stat().st_size < 1_000_000
    True
    """
    _save_rows(path, rows, side=64)


def save_prototypes(
    path: Path,
    prototypes: np.ndarray,
    names: Sequence[str],
    counts: Sequence[int] | None = None,
) -> None:
    """Draw what each class looks like, under its name and number of images.

    Parameters
    ----------
    path : Path
        PNG file to write.
    prototypes : array of shape (n_classes, channels, height, width) or (n_classes, p)
    names : sequence of n_classes str
    counts : sequence of n_classes int, optional

    Raises
    ------
    InputError
        If the shape is no picture, or names or counts are missing.

    Examples
    --------
    >>> import tempfile
    >>> import numpy as np
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     images = np.zeros((3, 1, 8, 8))
    ...     path = Path(folder, "prototypes.png")
    ...     save_prototypes(path, images, ["cat", "dog", "hen"], counts=[5, 7, 2])
    ...     path.stat().st_size < 1_000_000
    True
    """
    check_count("names", len(names), "prototypes", len(prototypes))
    if counts is not None:
        check_count("counts", len(counts), "prototypes", len(prototypes))
    notes = None if counts is None else [f"{count:,}" for count in counts]
    write_png(path, _named_sheet(prototypes, [one_line(n, 12) for n in names], notes).figure)


def save_named_sheet(
    path: Path, images: np.ndarray, names: Sequence[str], notes: Sequence[str] | None, title: str
) -> None:
    """Draw images in their order, each under its name and a note; of more than 200, the first.

    Of a long name, such as a path, the end is kept; of a long note, the beginning.

    Parameters
    ----------
    path : Path
        PNG file to write.
    images : array of shape (n, channels, height, width) or (n, p)
        At least one.
    names : sequence of n str
    notes : sequence of n str, or None
    title : str

    Raises
    ------
    InputError
        If the shape is no picture, or names or notes are missing.

    Examples
    --------
    >>> import tempfile
    >>> import numpy as np
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     images = np.zeros((2, 1, 8, 8))
    ...     path = Path(folder, "outliers.png")
    ...     save_named_sheet(path, images, ["a.png", "b.png"], ["cat", "dog"], "Unusual")
    ...     path.stat().st_size < 1_000_000
    True
    """
    check_count("names", len(names), "images", len(images))
    if notes is not None:
        check_count("notes", len(notes), "images", len(images))
        notes = [one_line(note, _letters(images)) for note in notes[:MAX_NAMED]]
    n = min(len(images), MAX_NAMED)
    shown = [_ending(name, _letters(images)) for name in names[:n]]
    sheet = _named_sheet(images[:n], shown, notes, size=8)
    note = f" (the first {n:,} of {len(images):,})" if n < len(images) else ""
    sheet.text(0, -8, one_line(title, 80) + note, size=11)
    write_png(path, sheet.figure)


def _letters(images: np.ndarray) -> int:
    """Return how many letters of size 8 fit above an image."""
    return int(_wide_tiles(images[:1]).shape[2] / 7.2)


def _wide_tiles(images: np.ndarray) -> np.ndarray:
    """Return tiles with white beside narrow ones: their names need the room."""
    tiles = make_tiles(images, TILE)
    missing = max(0, TILE - tiles.shape[2])
    left = missing // 2
    margins = ((0, 0), (0, 0), (left, missing - left), (0, 0))
    return np.pad(tiles, margins, constant_values=255)


def _ending(name: str, limit: int) -> str:
    line = one_line(name, len(name) + 1)
    return line if len(line) <= limit else "…" + line[1 - limit :]


def save_contact_sheet(path: Path, images: np.ndarray, title: str, n_columns: int = 16) -> None:
    """Draw many images in a grid; of more than 384, an even choice of 384.

    Parameters
    ----------
    path : Path
        PNG file to write.
    images : array of shape (n, channels, height, width) or (n, p)
        May be empty: the picture then says so.
    title : str
    n_columns : int, default=16
        At least 1.

    Raises
    ------
    InputError
        If the shape is no picture or `n_columns` is below 1.

    Examples
    --------
    >>> import tempfile
    >>> import numpy as np
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     images = np.zeros((3, 1, 8, 8))
    ...     path = Path(folder, "class-0.png")
    ...     save_contact_sheet(path, images, "Class 0: 3 images")
    ...     path.stat().st_size < 1_000_000
    True
    """
    if n_columns < 1:
        raise InputError(f"n_columns must be at least 1. Got {n_columns} instead.")
    chosen = np.linspace(0, len(images) - 1, min(len(images), MAX_ON_SHEET)).round().astype(int)
    if len(chosen):
        sheet = _Sheet(put_in_grid(make_tiles(np.asarray(images)[chosen], 56), n_columns))
    else:
        sheet = _Sheet(np.full((56, 480, 3), 255, np.uint8))
        sheet.text(0, 34, "no images", size=10, color=FAINT)
    left_out = len(images) - len(chosen)
    note = f" ({len(chosen):,} of {len(images):,} images)" if left_out else ""
    sheet.text(0, -8, one_line(title, 80) + note, size=11)
    write_png(path, sheet.figure)


def _named_sheet(
    images: np.ndarray, names: Sequence[str], notes: Sequence[str] | None, size: float = 9.5
) -> _Sheet:
    """Return images in rows of ten, each under its name, and its note in a fainter colour."""
    tiles = _wide_tiles(images)
    columns = min(len(tiles), 10)
    heading = 20 if notes is None else 36
    sheet = _Sheet(put_in_grid(tiles, columns, heading))
    height, width = tiles.shape[1] + heading, tiles.shape[2]
    for i, name in enumerate(names):
        x = (i % columns) * (width + GAP) + width / 2
        y = (i // columns) * (height + GAP) + heading
        sheet.text(x, y - 2 - 16 * (notes is not None), name, size=size, ha="center")
        if notes is not None:
            sheet.text(x, y - 2, notes[i], size=min(size, 8.5), ha="center", color=FAINT)
    return sheet


def _save_rows(path: Path, rows: Sequence[tuple[str, np.ndarray]], side: int) -> None:
    if not rows:
        raise InputError("There is no row of pictures to draw. Give one or more.")
    arrays = [np.asarray(images)[:N_SHOWN] for _, images in rows]
    _check_same_shape([name for name, _ in rows], arrays)
    columns = max(len(images) for images in arrays)
    limits = value_range(np.concatenate(arrays))
    strips = [put_in_grid(make_tiles(images, side, limits), columns) for images in arrays]
    gap = np.full((GAP, strips[0].shape[1], 3), 255, np.uint8)
    sheet = _Sheet(np.concatenate([part for strip in strips for part in (strip, gap)][:-1]))
    height = strips[0].shape[0]
    for i, (name, _) in enumerate(rows):
        y = i * (height + GAP) + height / 2
        sheet.text(-8, y, one_line(name, 30), size=9.5, ha="right", va="center")
    write_png(path, sheet.figure)


def _check_same_shape(names: Sequence[str], arrays: Sequence[np.ndarray]) -> None:
    for name, array in zip(names, arrays, strict=True):
        if array.shape[1:] != arrays[0].shape[1:]:
            raise InputError(
                f"The pictures of '{one_line(name, 24)}' must have the shape of those of "
                f"'{one_line(names[0], 24)}', {arrays[0].shape[1:]}. Got {array.shape[1:]} instead."
            )


class _Sheet:
    """A mosaic drawn pixel for pixel, with text at pixel positions in and around it."""

    def __init__(self, mosaic: np.ndarray) -> None:
        height, width = mosaic.shape[:2]
        self.figure = new_figure(width / SHEET_DPI, height / SHEET_DPI, SHEET_DPI)
        self.figure.set_layout_engine("none")
        self.axes = self.figure.add_axes((0, 0, 1, 1))
        self.axes.imshow(mosaic, extent=(0, width, height, 0), interpolation="none")
        self.axes.set_axis_off()

    def text(self, x: float, y: float, text: str, *, size: float, **style: Any) -> None:
        style = {"color": INK, "va": "bottom", "parse_math": False, **style}
        self.axes.text(x, y, text, fontsize=size, **style)
