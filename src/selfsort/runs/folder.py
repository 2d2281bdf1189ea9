"""The folder of a run: where it may be, which files are a run's own, and who is at work in it."""

from __future__ import annotations

import os
from pathlib import Path

import filelock

from selfsort.errors import InputError
from selfsort.verified import matching, remove_folder

RECORD = "run.json"
CHECKPOINTS = "checkpoints"
LOCK = ".lock"
FILES = (
    RECORD,  # the first that goes: what is left is no run then
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
    "map.png",
    "curves.png",
    "tradeoff.png",
    # What the page keeps beside it can be made again; what a person corrected is no run's file.
    "page-cache.safetensors",
    ".page.lock",
)
PATTERNS = ("class-*.png", ".*.part")


def _run_files(folder: Path) -> list[Path]:
    """Return the files in `folder` that a run wrote there, without its checkpoints."""
    found = [folder / name for name in FILES if (folder / name).is_file()]
    return found + [path for pattern in PATTERNS for path in matching(folder, pattern)]


def check_free(folder: Path, *, force: bool) -> None:
    """Raise unless a run may be written into `folder`.

    With `force` an earlier run may be replaced, but nothing that no run wrote.
    """
    if not folder.exists():
        return
    if not folder.is_dir():
        raise InputError(f"{folder}: is a file, not a folder. Give another --out.")
    left = set(folder.iterdir()) - {folder / LOCK}  # which a killed process leaves behind
    others = left - {*_run_files(folder), folder / CHECKPOINTS}
    if others:
        raise InputError(
            f"{folder}: holds files that no run wrote, such as '{min(others).name}'. "
            "Nothing was written: give another --out."
        )
    if left and not force:
        ended = (folder / RECORD).is_file() and not (folder / "result.json").is_file()
        more = ""
        if ended or (folder / CHECKPOINTS).is_dir():
            more = f" To go on with it: selfsort train --resume {folder}"
        raise InputError(
            f"{folder}: already holds a run. Nothing was written: give another --out, or --force "
            f"to replace it.{more}"
        )


def make_empty(folder: Path) -> None:
    """Remove the files of an earlier run."""
    try:
        for path in _run_files(folder):
            path.unlink()
        drop_checkpoints(folder)
    except OSError as error:
        raise _not_writable(folder, error) from error


def remove_pictures(folder: Path) -> None:
    """Remove the pictures of a run."""
    for path in _run_files(folder):
        if path.suffix == ".png":
            path.unlink()


def drop_checkpoints(folder: Path) -> None:
    """Remove the checkpoints of a run."""
    if (folder / CHECKPOINTS).is_dir():
        remove_folder(folder / CHECKPOINTS)


class Occupation:
    """One process in one run folder: a second one is refused for as long as the first runs.

    The operating system ends it with the process, however that ends.

    Parameters
    ----------
    folder : Path
    doing : str, default="training"
        What a second process is told that the first one does there.
    """

    def __init__(self, folder: Path, doing: str = "training") -> None:
        self.folder = folder
        self.doing = doing
        self._lock = filelock.FileLock(folder / LOCK, timeout=0)

    def begin(self) -> None:
        """Make the folder if it is missing, and occupy it; do nothing where that was done."""
        if self._lock.is_locked:
            return
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            self._lock.acquire()
        except filelock.Timeout:
            raise InputError(
                f"{self.folder}: another process is {self.doing} in this folder. Wait until it "
                "is done, or give another --out."
            ) from None
        except OSError as error:
            raise _not_writable(self.folder, error) from error

    def end(self) -> None:
        """Leave the folder."""
        if self._lock.is_locked:
            if os.name != "nt":  # where no file can be deleted that is open: filelock does it then
                (self.folder / LOCK).unlink(missing_ok=True)
            self._lock.release()


def _not_writable(folder: Path, error: OSError) -> InputError:
    return InputError(f"{folder}: cannot be written ({error.strerror}). Give another --out.")


def free_name(parent: Path, name: str) -> Path:
    """Return ``parent/name``, or the first of ``name-2``, ``name-3``, … that does not exist."""
    folder, number = parent / name, 2
    while folder.exists():
        folder, number = parent / f"{name}-{number}", number + 1
    return folder
