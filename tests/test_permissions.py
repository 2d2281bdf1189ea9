"""Files that may not be read and folders that may not be written, as a user who is not root."""

from __future__ import annotations

import os
import shutil
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from killing import Program
from running import WORDS, digits, write_folder


def _may_pass(path: Path) -> bool:
    return all(folder.stat().st_mode & 0o001 for folder in (path, *path.parents))


pytestmark = [
    pytest.mark.skipif(
        not hasattr(os, "geteuid") or os.geteuid() != 0, reason="only root can become another user"
    ),
    pytest.mark.skipif(
        not (_may_pass(Path(sys.prefix)) and _may_pass(Path(__file__).resolve().parent)),
        reason="another user may not read this environment",
    ),
]
NOBODY = 65534


def become_nobody() -> None:
    os.setgroups([])
    os.setgid(NOBODY)
    os.setuid(NOBODY)


def write_npy(path: Path) -> Path:
    """Write images; an .npz file needs parts of Python that a stranger may not be let read."""
    np.save(path, digits(60)[0])
    return path


@pytest.fixture
def open_folder() -> Iterator[Path]:
    """Return a folder that everybody can look into; pytest's own are private."""
    folder = Path(tempfile.mkdtemp())
    folder.chmod(0o755)
    yield folder
    shutil.rmtree(folder)


def told(folder: Path, *arguments: object) -> tuple[int | None, str]:
    program = Program(*arguments, said=folder / "said.txt", before=become_nobody)
    return program.wait(60), program.err()


def test_a_folder_that_may_not_be_written(open_folder: Path) -> None:
    data = write_npy(open_folder / "data.npy")
    run = open_folder / "run"
    code, said = told(open_folder, "train", data, "--recipe", "plain", "--out", run)
    sentence = f"selfsort: {run}: cannot be written (Permission denied). Give another --out.\n"
    assert (code, said) == (2, sentence)
    assert not run.exists()


def test_a_run_that_may_not_be_replaced(open_folder: Path) -> None:
    data = write_npy(open_folder / "data.npy")
    run = open_folder / "run"
    run.mkdir()
    (run / "run.json").write_text("{}")
    code, said = told(open_folder, "train", data, "--recipe", "plain", "--out", run, "--force")
    assert (code, said.count("\n")) == (2, 1)
    assert said.startswith(f"selfsort: {run}: cannot be written (Permission denied)")
    assert (run / "run.json").read_text() == "{}"


def test_files_that_may_not_be_read(open_folder: Path) -> None:
    data = write_npy(open_folder / "data.npy")
    photos = write_folder(open_folder / "photos", n=12)
    for path in (data, photos / "003.png"):
        path.chmod(0)
        source = data if path == data else photos
        (open_folder / "said.txt").unlink(missing_ok=True)
        command = ("train", source, "--on-error", "stop", "--out", open_folder / "run")
        code, said = told(open_folder, *command)
        assert said == (
            f"selfsort: {path}: cannot be read (Permission denied). Check the path and its "
            "permissions.\n"
        )
        assert code == 2


@pytest.mark.parametrize("inside", ["", "zero"], ids=["all", "a class"])
def test_folders_that_may_not_be_read(open_folder: Path, inside: str) -> None:
    photos = write_folder(open_folder / "photos", n=20, names=WORDS)
    (photos / inside).chmod(0)
    code, said = told(open_folder, "train", photos, "--out", open_folder / "run")
    assert said == (
        f"selfsort: {photos / inside}: cannot be read (Permission denied). Check the path and its "
        "permissions.\n"
    )
    assert code == 2
