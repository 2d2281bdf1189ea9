"""The folder of a run: where it may be, and which files are a run's own."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from pathlib import Path

from selfsort.errors import InputError

FILES = (
    "config.json",
    "model.safetensors",
    "history.jsonl",
    "result.json",
    "report.html",
    "reconstructions.png",
    "epochs.png",
    "prototypes.png",
    "samples.png",
    "confusion.png",
    "coverage.png",
    "choice.png",
    "outliers.png",
    "curves.png",
    "tradeoff.png",
)
PATTERNS = ("class-*.png", ".*.part")


def _run_files(folder: Path) -> list[Path]:
    """Return the files in `folder` that a run wrote there."""
    found = [folder / name for name in FILES if (folder / name).is_file()]
    return found + [path for pattern in PATTERNS for path in folder.glob(pattern)]


def check_free(folder: Path, *, force: bool) -> None:
    """Raise unless a run may be written into `folder`.

    With `force` an earlier run may be replaced, but nothing that no run wrote.
    """
    if not folder.exists():
        return
    if not folder.is_dir():
        raise InputError(f"{folder}: is a file, not a folder. Give another --out.")
    others = set(folder.iterdir()) - set(_run_files(folder))
    if others:
        raise InputError(
            f"{folder}: holds files that no run wrote, such as '{min(others).name}'. "
            "Nothing was written: give another --out."
        )
    if any(folder.iterdir()) and not force:
        raise InputError(
            f"{folder}: already holds a run. Nothing was written: give another --out, or --force "
            "to replace it."
        )


def make_empty(folder: Path) -> None:
    """Make the folder, without the files of an earlier run."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        for path in _run_files(folder):
            path.unlink()
    except OSError as error:
        raise InputError(
            f"{folder}: cannot be written ({error.strerror}). Give another --out."
        ) from error


@contextlib.contextmanager
def naming(path: Path) -> Iterator[None]:
    """Let an error of the system that names no file, such as a full disk, name `path`."""
    try:
        yield
    except OSError as error:
        if error.filename is None:
            error.filename = str(path)
        raise


def free_name(parent: Path, name: str) -> Path:
    """Return ``parent/name``, or the first of ``name-2``, ``name-3``, … that does not exist."""
    folder, number = parent / name, 2
    while folder.exists():
        folder, number = parent / f"{name}-{number}", number + 1
    return folder
