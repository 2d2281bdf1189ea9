"""Keep what was fetched, with its SHA-256 beside it."""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import tempfile
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from selfsort.datasets.sources import SOURCES, cache_folder
from selfsort.errors import InputError
from selfsort.images import ImageSet, read_splits


def is_cached(name: str) -> bool:
    """Return whether a fetched set is kept, with its record."""
    # Without its record, which is written last, a file is the rest of an interrupted fetch.
    return all((cache_folder() / f"{name}{suffix}").is_file() for suffix in (".npz", ".json"))


def read_cached(name: str) -> list[ImageSet]:
    """Read a kept set; refuse it where its SHA-256 is not the recorded one."""
    path = cache_folder() / f"{name}.npz"
    record = path.with_suffix(".json")
    try:
        expected = json.loads(record.read_text(encoding="utf-8"))["sha256"]
    except (ValueError, KeyError, TypeError):
        expected = "no SHA-256"
    found = _sha256(path)
    if found != expected:
        raise InputError(
            f"{path}: the SHA-256 is {found}, but {record.name} records {expected}. "
            "Delete both files to fetch the data set again."
        )
    train, test = read_splits(path)
    return [train] if test is None else [train, test]


def write_cache(name: str, images: np.ndarray, labels: np.ndarray) -> None:
    """Write the images, then the record with their SHA-256, each complete or not at all."""
    source = SOURCES[name]
    folder = cache_folder()
    n = source.n_train
    with _temporary_file(folder) as temporary:
        with open(temporary, "wb") as file:
            np.savez_compressed(
                file,
                x_train=images[:n, 0],
                y_train=labels[:n],
                x_test=images[n:, 0],
                y_test=labels[n:],
            )
        record = {"name": name, "openml_id": source.data_id, "sha256": _sha256(temporary)}
        os.replace(temporary, folder / f"{name}.npz")
    with _temporary_file(folder) as temporary:
        temporary.write_text(json.dumps(record, indent=2) + "\n", encoding="utf-8")
        os.replace(temporary, folder / f"{name}.json")


@contextlib.contextmanager
def _temporary_file(folder: Path) -> Iterator[Path]:
    handle, name = tempfile.mkstemp(dir=folder, suffix=".part")
    os.close(handle)
    try:
        yield Path(name)
    finally:
        Path(name).unlink(missing_ok=True)  # already gone where it was moved to its place


def _sha256(path: Path) -> str:
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
