"""Folders of files that are written whole or not at all, and known to be what was written."""

from __future__ import annotations

import contextlib
import fnmatch
import hashlib
import json
import os
import shutil
from collections.abc import Iterator, Mapping
from pathlib import Path

MANIFEST = "manifest.json"


class DamagedError(Exception):
    """Files are not what was written; the message says which, and how that was seen."""


@contextlib.contextmanager
def naming(path: Path) -> Iterator[None]:
    """Let an error of the system that names no file, such as a full disk, name `path`."""
    try:
        yield
    except OSError as error:
        if error.filename is None:
            error.filename = str(path)
        raise


def matching(folder: Path, pattern: str) -> list[Path]:
    """Return what is in a folder under names of a shell's pattern, sorted.

    Unlike `Path.glob` it does not take a folder that cannot be read for an empty one.
    """
    return [folder / name for name in sorted(fnmatch.filter(os.listdir(folder), pattern))]


def remove_folder(folder: Path) -> None:
    """Delete a folder and all that is in it."""
    try:
        shutil.rmtree(folder)
    except OSError as error:
        error.filename = str(folder)  # it names what is in there without the way to it
        raise


def write_folder(folder: Path, files: Mapping[str, bytes]) -> None:
    """Write a folder of files and a manifest of their checksums, all at once.

    It is written under a temporary name, flushed to the disk, then renamed: whoever reads
    `folder` sees all of it or nothing. If anything fails, nothing is left behind.

    Raises
    ------
    OSError
        Naming a path.
    """
    temporary = folder.with_name(f".{folder.name}.part")
    listed = {name: hashlib.sha256(content).hexdigest() for name, content in files.items()}
    try:
        with naming(temporary):
            if temporary.exists():  # of a process that was killed
                remove_folder(temporary)
            temporary.mkdir(parents=True)
        for name, content in [*files.items(), (MANIFEST, manifest(folder.name, listed))]:
            _write(temporary / name, content)
        flush_folder(temporary)
        with naming(folder):
            temporary.rename(folder)
        flush_folder(folder.parent)
    except BaseException:
        shutil.rmtree(temporary, ignore_errors=True)
        raise


def _write(path: Path, content: bytes) -> None:
    with naming(path), path.open("wb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())


def flush_folder(folder: Path) -> None:
    """Flush the names in a folder to the disk, where the system lets a folder be opened."""
    if os.name == "nt":
        return
    with naming(folder):
        number = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(number)
        finally:
            os.close(number)


def manifest(name: str, listed: Mapping[str, str]) -> bytes:
    """Return what a manifest holds: the folder's name, and the SHA-256 of each file."""
    return (json.dumps({"folder": name, "sha256": dict(listed)}, indent=2) + "\n").encode()


def read_folder(folder: Path) -> dict[str, bytes]:
    """Return the files that `write_folder` wrote, all of them unchanged.

    Raises
    ------
    DamagedError
        If a file is missing or unreadable, or one byte of any is not what was written.
    """
    path = folder / MANIFEST
    written = _read(path)
    try:
        listed = json.loads(written)["sha256"]
        # Byte for byte: what could be read in another way could hide a change.
        sound = manifest(folder.name, listed) == written
    except (ValueError, TypeError, KeyError, AttributeError, RecursionError):
        sound = False
    if not sound:
        raise DamagedError(f"{path} is not what was written")
    files = {name: _read(folder / name) for name in listed}
    for name, content in files.items():
        if hashlib.sha256(content).hexdigest() != listed[name]:
            raise DamagedError(f"{folder / name} has another checksum than when it was written")
    return files


def _read(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except (OSError, ValueError) as error:  # ValueError: a name with a zero in it
        reason = getattr(error, "strerror", None) or error
        raise DamagedError(f"{path} cannot be read ({reason})") from error
