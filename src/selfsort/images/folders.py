"""Read a PNG or JPEG file, or a folder of them, with or without class subfolders."""

from __future__ import annotations

import os
import warnings
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Literal, TypeVar

import numpy as np
from PIL import Image

from selfsort.errors import InputError
from selfsort.images.arrays import MIN_SIDE
from selfsort.images.files import cannot_read, check_name, printable
from selfsort.images.pixels import picture_size, read_picture
from selfsort.images.sets import ImageSet, Part, Skipped, make_sets

OnError = Literal["stop", "skip"]
T = TypeVar("T")

SUFFIXES = (".png", ".jpg", ".jpeg")
MAX_DEFAULT_SIDE = 64  # pixels: the largest size that is chosen without being asked
MAX_KEPT_SIDE = 256  # pixels: pictures of one common size are kept up to this


def read_folder(folder: Path, size: int | None, on_error: OnError = "stop") -> list[ImageSet]:
    """Read all pictures of a folder; one set, or two where it holds ``train`` and ``test``.

    With `on_error` "skip" pictures that cannot be read are left out, and listed in the sets.
    """
    splits = _split_folders(folder)
    files = [_picture_files(folder / split) for split in splits]
    for split, names in zip(splits, files, strict=True):
        _check_any(folder / split, names)
    paths = [
        folder / split / name for split, names in zip(splits, files, strict=True) for name in names
    ]
    images, broken = _read_pictures(folder, paths, size, skip=on_error == "skip")
    parts, skipped, start, row = [], [], 0, 0
    for split, names in zip(splits, files, strict=True):
        kept = [i for i in range(len(names)) if start + i not in broken]
        shown = tuple((Path(split) / names[i]).as_posix() for i in kept)
        if not kept:
            raise none_readable(folder / split, [broken[start + i] for i in range(len(names))])
        part_of = images[row : row + len(kept)]
        parts.append(Part(part_of, _class_values([names[i] for i in kept]), shown))
        skipped.append(
            tuple(
                Skipped(printable((Path(split) / name).as_posix()), broken[start + i])
                for i, name in enumerate(names)
                if start + i in broken
            )
        )
        start, row = start + len(names), row + len(kept)
    sets = make_sets(parts, str(folder))
    return [replace(one, skipped=left) for one, left in zip(sets, skipped, strict=True)]


def read_single(path: Path, size: int | None) -> list[ImageSet]:
    """Read one picture, as one of a folder would be; its name is that of the file."""
    images, _ = _read_pictures(path.parent, [path], size, skip=False)
    return make_sets([Part(images, None, (path.name,))], str(path))


def list_pictures(folder: Path) -> list[str]:
    """Return the names of a folder's pictures, of the training part where there are two parts.

    Raises
    ------
    InputError
        If there is none.
    """
    split = _split_folders(folder)[0]
    names = _picture_files(folder / split)
    _check_any(folder / split, names)
    return [(Path(split) / name).as_posix() for name in names]


def class_values(folder: Path, names: list[str]) -> np.ndarray | None:
    """Return the classes of what `list_pictures` gave; "" for none, None if all have none."""
    split = _split_folders(folder)[0]
    inside = names if split == "." else [name.removeprefix(f"{split}/") for name in names]
    return _class_values(inside)


def common_size(sizes: list[tuple[int, int]], size: int | None) -> tuple[int, int]:
    """Choose the height and width of all pictures.

    `size` if given; else the size that all share, if its sides are 8 to 256; else a square of
    the median of the larger sides, at least 8 and at most 64.

    Examples
    --------
    >>> common_size([(20, 30), (20, 30)], None), common_size([(20, 30), (40, 8)], None)
    ((20, 30), (35, 35))
    """
    if size is not None:
        return size, size
    first = sizes[0]
    shared = all(each == first for each in sizes)
    if shared and min(first) >= MIN_SIDE and max(first) <= MAX_KEPT_SIDE:
        return first
    side = round(float(np.median([max(each) for each in sizes])))
    side = min(max(side, MIN_SIDE), MAX_DEFAULT_SIDE)
    return side, side


def _split_folders(folder: Path) -> list[str]:
    entries = [entry for entry in os.scandir(folder) if not entry.name.startswith(".")]
    subfolders = {entry.name for entry in entries if os.path.isdir(entry.path)}
    if not {"train", "test"} <= subfolders:
        return ["."]
    others = sorted(subfolders - {"train", "test"})
    others += sorted(
        entry.name for entry in entries if is_picture(entry.name) and entry.name not in subfolders
    )
    if others:
        raise InputError(
            f"{folder}: holds {others[0]} beside train and test, so it is unclear whether these "
            "are splits or classes. Leave only train and test in it, or rename them."
        )
    return ["train", "test"]


def _check_any(folder: Path, names: list[str]) -> None:
    if not names:
        raise InputError(
            f"{folder}: there is no PNG or JPEG file in it. "
            "Give a folder of pictures, or of idx files with the names of MNIST."
        )


def is_picture(name: str) -> bool:
    """Return whether a file is taken for a PNG or JPEG, by its name."""
    return name.lower().endswith(SUFFIXES) and not name.startswith(".")


def _picture_files(folder: Path) -> list[str]:
    """Return all pictures below a folder, relative to it, in a fixed order."""
    found = []
    for parent, subfolders, files in os.walk(folder, onerror=cannot_read):
        subfolders[:] = [name for name in subfolders if not name.startswith(".")]
        inside = Path(parent).relative_to(folder)
        found += [(inside / name).as_posix() for name in files if is_picture(name)]
    return sorted(found, key=lambda name: name.split("/"))


def _class_values(names: list[str]) -> np.ndarray | None:
    """Return the first subfolder of each file, "" for a file outside, None if all are."""
    classes = [name.split("/")[0] if "/" in name else "" for name in names]
    return np.array(classes) if any(classes) else None


def without_promise(error: InputError) -> str:
    """Return why a picture cannot be read, where something may have been written."""
    return str(error).removesuffix(" Nothing was written.")


def none_readable(folder: Path, reasons: list[str]) -> InputError:
    """Return the error for pictures of which none can be read."""
    first = reasons[0] if len(reasons) == 1 else f"{reasons[0]} The others cannot be read either."
    return InputError(f"{folder}: none of its {len(reasons)} pictures can be read. {first}")


def _read_pictures(
    folder: Path, paths: list[Path], size: int | None, *, skip: bool
) -> tuple[np.ndarray, dict[int, str]]:
    """Return the pixels of all pictures that can be read, and why each other one cannot."""
    broken: dict[int, str] = {}

    def tried(i: int, read: Callable[[Path], T]) -> T | None:
        try:
            check_name(folder, paths[i].relative_to(folder).as_posix())
            return read(paths[i])
        except InputError as error:
            if not skip:
                raise
            broken[i] = without_promise(error)
            return None

    with warnings.catch_warnings():
        # A picture beyond half of Pillow's limit only warns; here it is refused as well.
        warnings.simplefilter("error", Image.DecompressionBombWarning)
        sizes = [found for i in range(len(paths)) if (found := tried(i, picture_size)) is not None]
        if not sizes:
            raise none_readable(folder, list(broken.values()))
        height, width = common_size(sizes, size)
        whole = [i for i in range(len(paths)) if i not in broken]
        read = [tried(i, lambda path: read_picture(path, height, width)) for i in whole]
    pictures = [picture for picture in read if picture is not None]
    # One in colour: all in colour.
    channels = max((len(picture) for picture in pictures), default=1)
    images = np.empty((len(pictures), channels, height, width), np.uint8)
    for row, picture in enumerate(pictures):
        images[row] = picture
    return images, broken
