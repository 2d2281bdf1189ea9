"""Which source a path is read through."""

from __future__ import annotations

import importlib.util
import os
from collections.abc import Sequence
from pathlib import Path

from selfsort.errors import InputError
from selfsort.images import read_images
from selfsort.images.files import check_file, check_folder
from selfsort.images.folders import OnError
from selfsort.images.idx import MNIST_FILES, find_mnist_files
from selfsort.sources.base import Source
from selfsort.sources.pictures import FolderSource
from selfsort.sources.shards import ShardSource
from selfsort.sources.stored import ArraySource
from selfsort.sources.whole import WholeSource

TABLES = (".parquet", ".arrow")
SHARDS = ".tar"


def open_source(
    path: str | Path,
    shape: Sequence[int],
    *,
    on_error: OnError = "stop",
    column: str | None = None,
) -> Source:
    """Return the images of a path, to be read range by range.

    Parameters
    ----------
    path : str or Path
        One of:

        - ``.npy``: one array, of which the rows that are asked for are read;
        - a folder of PNG and JPEG files;
        - a ``.parquet`` or ``.arrow`` file with a column of images, or a folder of them in the
          order of their names (extra ``data``);
        - a ``.tar`` file whose PNG and JPEG members are the images, as WebDataset's shards are, or
          a folder of them;
        - anything else that `selfsort.read_images` takes, which is then read as a whole.
    shape : sequence of int
        ``(channels, height, width)`` that the images should have, or ``(p,)`` for vectors.
        Pictures are brought to it. Arrays are where it is a square, but keep their channels.
    on_error : {"stop", "skip"}, default="stop"
        Whether a picture that cannot be read is an error, or is left out.
    column : str, optional
        The column of the images; needed where several could be that.

    Returns
    -------
    source : Source

    Raises
    ------
    InputError
        If there is nothing at the path, or it cannot be used.

    Examples
    --------
    >>> import tempfile
    >>> import numpy as np
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     np.save(f"{folder}/x.npy", np.zeros((1000, 8, 8), np.uint8))
    ...     source = open_source(f"{folder}/x.npy", (1, 8, 8))
    ...     len(source), source.read(990, 1000).images.shape
    (1000, (10, 1, 8, 8))
    """
    path = Path(path)
    if on_error not in ("stop", "skip"):
        raise InputError(f"on_error must be 'stop' or 'skip'. Got {on_error!r} instead.")
    if not os.path.exists(path):  # also where a name is too long, or a link leads in a circle
        raise InputError(f"{path}: there is no such file or folder. Check the path.")
    suffix, files = files_of(path)
    if suffix not in TABLES and column is not None:
        raise InputError(f"{path}: has no columns. Leave --column out.")
    if suffix in TABLES:
        _check_pyarrow(path)
        from selfsort.sources.tables import TableSource

        return TableSource(path, files, shape, on_error, column)
    if suffix == SHARDS:
        return ShardSource(path, files, shape, on_error)
    if suffix == ".npy":
        return ArraySource(path, square_side(shape))
    if holds_pictures(path):
        return FolderSource(path, shape, on_error)
    return WholeSource(read_images(path, square_side(shape), on_error), str(path))


def square_side(shape: Sequence[int]) -> int | None:
    """Return the side that arrays are brought to; None where they must fit as they are.

    Examples
    --------
    >>> square_side((3, 28, 28)), square_side((1, 20, 30)), square_side((64,))
    (28, None, None)
    """
    return shape[1] if len(shape) == 3 and shape[1] == shape[2] else None


def is_read_in_parts(path: Path) -> bool:
    """Return whether a path is of a kind that is never read as a whole."""
    return os.path.exists(path) and files_of(path)[0] in (*TABLES, SHARDS)


def holds_pictures(path: Path) -> bool:
    """Return whether a path is a folder that is read picture by picture."""
    return path.is_dir() and MNIST_FILES[0] not in find_mnist_files(path)


def files_of(path: Path) -> tuple[str, list[Path]]:
    """Return the ending that says the kind, "" for other folders, and the files of that kind."""
    if not path.is_dir():
        check_file(path)
        return path.suffix.lower(), [path]
    check_folder(path)
    found: dict[str, list[Path]] = {}
    for name in sorted(os.listdir(path)):
        suffix = Path(name).suffix.lower()
        if suffix in (*TABLES, SHARDS) and not name.startswith((".", "_")):
            found.setdefault(suffix, []).append(path / name)
    if len(found) > 1:
        raise InputError(
            f"{path}: holds {' and '.join(sorted(found))} files. Give a folder of one kind."
        )
    return found.popitem() if found else ("", [])


def _check_pyarrow(path: Path) -> None:
    if importlib.util.find_spec("pyarrow") is None:
        raise InputError(f"{path}: to read it takes another package: pip install 'selfsort[data]'")
