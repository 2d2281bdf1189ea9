"""Read labels from a CSV file."""

from __future__ import annotations

import csv
from collections.abc import Collection, Iterator
from pathlib import Path

import numpy as np

from selfsort.errors import InputError
from selfsort.images.files import check_file
from selfsort.images.sets import class_order

MOST_DIGITS = 20


def read_labels(
    path: str | Path,
    names: tuple[str, ...] | None,
    n_images: int,
    class_names: tuple[str, ...] | None = None,
    skipped: Collection[str] = (),
) -> tuple[np.ndarray, tuple[str, ...]]:
    """Read a CSV file with the header ``file,class`` or ``index,class``.

    Images that it does not list, or lists without a class, are unlabelled.

    Parameters
    ----------
    path : str or Path
        The CSV file, in UTF-8.
    names : tuple of str or None
        File names of the images; needed for ``file,class``.
    n_images : int
        Number of images; an index goes from 0 to ``n_images - 1``.
    class_names : tuple of str, optional
        The classes that may occur, in order. By default those in the file, sorted.
    skipped : collection of str, default=()
        File names that may occur too, of images that were left out.

    Returns
    -------
    labels : ndarray of shape (n_images,), int64
        Index into `class_names`, -1 for an unlabelled image.
    class_names : tuple of str

    Raises
    ------
    InputError
        With the line number: an unknown file or class, an index out of range, an image with
        two classes, a row without its two values.
    """
    path = Path(path)
    check_file(path)
    codes: dict[str, int] = {}  # the classes in the order in which they occur
    # Arrays, for there may be many millions: each image's class, and the line that says so.
    given, lines = np.full(n_images, -1, np.int32), np.zeros(n_images, np.int32)
    for line, image, value in _rows(path, names, n_images, skipped):
        code = codes.setdefault(value, len(codes))
        if given[image] < 0:
            given[image], lines[image] = code, line
        elif given[image] != code:
            raise InputError(
                f"{path}, line {line}: the image has class '{value}' here, but "
                f"'{list(codes)[given[image]]}' in line {lines[image]}. Keep one of them."
            )
    if class_names is None:
        class_names = class_order(codes)
    index = {name: position for position, name in enumerate(class_names)}
    for value, code in codes.items():
        if value not in index:
            raise InputError(
                f"{path}, line {lines[given == code].min()}: there is no class '{value}'. "
                f"Known classes: {', '.join(class_names)}."
            )
    of_code = np.array([*(index[value] for value in codes), -1], np.int64)
    return of_code[given], class_names


def _rows(
    path: Path, names: tuple[str, ...] | None, n_images: int, skipped: Collection[str]
) -> Iterator[tuple[int, int, str]]:
    """Yield line number, image and class of every labelled row."""
    try:
        with open(path, newline="", encoding="utf-8-sig") as file:
            reader = csv.reader(file)
            kind = _header(next(reader, []), path, names)
            index = {name: position for position, name in enumerate(names or ())}
            for row in reader:
                if not any(cell.strip() for cell in row):
                    continue
                where = f"{path}, line {reader.line_num}"
                if len(row) != 2:
                    raise InputError(f"{where}: has {len(row)} values. Give {kind},class.")
                key, value = (cell.strip() for cell in row)
                if kind == "file" and not set(_spellings(row[0])).isdisjoint(skipped):
                    continue
                image = (
                    _image_of_index(key, n_images, where)
                    if kind == "index"
                    else _image_of_file(row[0], index, where)
                )
                if value:
                    yield reader.line_num, image, value
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        reason = getattr(error, "strerror", None) or " ".join(str(error).split())
        raise InputError(
            f"{path}: not a readable CSV file in UTF-8 ({reason}). "
            "Give a file with the header file,class or index,class."
        ) from error


def _header(row: list[str], path: Path, names: tuple[str, ...] | None) -> str:
    header = [cell.strip().lower() for cell in row]
    if header not in (["file", "class"], ["index", "class"]):
        raise InputError(
            f"{path}, line 1: the header is '{','.join(row)}'. Write file,class or index,class."
        )
    if header[0] == "file" and names is None:
        raise InputError(
            f"{path}, line 1: these images have no file names. Use the header index,class."
        )
    return header[0]


def _image_of_index(key: str, n_images: int, where: str) -> int:
    # More digits than Python turns into a number are no index either.
    digits = key.isascii() and key.isdecimal() and len(key) <= MOST_DIGITS
    if not digits or int(key) >= n_images:
        shown = key if len(key) <= MOST_DIGITS else f"{key[:MOST_DIGITS]}…"
        raise InputError(
            f"{where}: there is no image with index '{shown}'. Indices go from 0 to {n_images - 1}."
        )
    return int(key)


def _image_of_file(cell: str, index: dict[str, int], where: str) -> int:
    for name in _spellings(cell):
        if name in index:
            return index[name]
    raise InputError(
        f"{where}: there is no image file '{cell.strip()}'. "
        "Give names relative to the folder of the images."
    )


def _spellings(cell: str) -> tuple[str, ...]:
    r"""Return what a file may be called that a cell names: first exactly, then as people write it.

    Examples
    --------
    >>> [name.replace("\\", "BACKSLASH") for name in _spellings(" a\\b.png")]
    [' aBACKSLASHb.png', 'aBACKSLASHb.png', 'a/b.png']
    """
    name = cell.strip()
    return cell, name, name.replace("\\", "/").removeprefix("./")
