"""Files as they may be found: pipes, devices, archives that unpack to far more than they are."""

from __future__ import annotations

import os
import stat
from pathlib import Path
from typing import NoReturn

from selfsort.errors import InputError

LARGE = 2**28
MOST_TIMES = 200
"""Images unpack to about 10 times their size; zeros, the worst there is, to 1,000 times."""


def check_file(path: Path) -> None:
    """Raise unless a path is a file that can be opened and has an end.

    Raises
    ------
    InputError
        If it is a pipe, a device, a link in a circle or the like, or cannot be looked at.
    """
    try:
        mode = path.stat().st_mode
        path.open("rb").close() if stat.S_ISREG(mode) else None
    except OSError as error:
        cannot_read(error)
    if not stat.S_ISREG(mode):
        raise InputError(f"{path}: is not a file, but a folder, a pipe or a device. Give a file.")


def check_folder(path: Path) -> None:
    """Raise unless what is in a folder can be listed and looked at."""
    try:
        os.listdir(path)
        os.stat(path / os.curdir)
    except OSError as error:
        cannot_read(error)


def cannot_read(error: OSError) -> NoReturn:
    """Raise that a file or a folder cannot be read."""
    raise InputError(
        f"{error.filename}: cannot be read ({error.strerror}). Check the path and its permissions."
    ) from error


def check_unpacked(path: Path, n_bytes: int) -> None:
    """Raise if a packed file would unpack to far more than images do.

    Raises
    ------
    InputError
        If `n_bytes` are more than 256 MiB, and more than 200 times the file's size.
    """
    size = os.path.getsize(path)
    if n_bytes > max(LARGE, MOST_TIMES * size):
        raise InputError(
            f"{path}: its {size} bytes would unpack to {n_bytes}, far more than images do: the "
            "file is damaged or a trap. Unpack it yourself if you trust it."
        )


def printable(name: str) -> str:
    r"""Return a file name that UTF-8 can hold, other bytes written as ``\xe9``.

    Examples
    --------
    >>> printable("caf\udce9.png")
    'caf\\xe9.png'
    """
    return os.fsencode(name).decode("utf-8", "backslashreplace")


def check_name(folder: Path, name: str) -> None:
    """Raise if a file name is not UTF-8: no CSV or JSON file could hold it."""
    if printable(name) != name:
        raise InputError(
            f"{folder / printable(name)}: its name is not UTF-8. Rename the file, for instance "
            "with convmv."
        )
