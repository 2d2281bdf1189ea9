"""Small data, and the command line called in this process, for the tests of runs."""

from __future__ import annotations

import contextlib
import io
import os
import subprocess
import sys
from pathlib import Path
from typing import NamedTuple
from unittest import mock

import numpy as np
from PIL import Image
from sklearn.datasets import load_digits

from selfsort import cli

WORDS = ("zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine")


class Outcome(NamedTuple):
    """What a call of the command line said and returned."""

    code: int
    out: str
    err: str


def call(*arguments: object) -> Outcome:
    """Call `selfsort` with these arguments in this process."""
    out, err = io.StringIO(), io.StringIO()
    argv = ["selfsort", *map(str, arguments)]
    with (
        mock.patch.object(sys, "argv", argv),
        contextlib.redirect_stdout(out),
        contextlib.redirect_stderr(err),
    ):
        try:
            cli.main()
        except SystemExit as end:
            code = end.code
    return Outcome(code, out.getvalue(), err.getvalue())


def program(*arguments: object, **options: object) -> subprocess.Popen[str]:
    """Start `selfsort` with these arguments in a process of its own."""
    source = Path(cli.__file__).parents[2]
    environment = {**os.environ, "PYTHONPATH": str(source), "OMP_NUM_THREADS": "1"}
    command = [sys.executable, "-m", "selfsort", *map(str, arguments)]
    options = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True, **options}
    return subprocess.Popen(command, env=environment, **options)


def digits(n: int, side: int = 16, start: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Return some of scikit-learn's digits as uint8 ``(n, side, side)``, and their labels."""
    data = load_digits()
    rows = slice(start, start + n)
    small = (data.images[rows] * 15).astype(np.uint8)
    images = [np.asarray(Image.fromarray(image).resize((side, side))) for image in small]
    return np.array(images), data.target[rows]


def write_npz(path: Path, *, n: int = 160, n_test: int = 60, side: int = 16) -> Path:
    """Write training and test images with labels; without test images where n_test is 0."""
    images, labels = digits(n, side)
    arrays = {"x_train": images, "y_train": labels}
    if n_test:
        arrays["x_test"], arrays["y_test"] = digits(n_test, side, start=n)
    np.savez(path, **arrays)
    return path


def write_folder(path: Path, *, n: int = 60, names: tuple[str, ...] = (), side: int = 16) -> Path:
    """Write PNG files, in a subfolder for each class where there are names."""
    for i, (image, label) in enumerate(zip(*digits(n, side), strict=True)):
        folder = path / names[label] if names else path
        folder.mkdir(parents=True, exist_ok=True)
        Image.fromarray(image).save(folder / f"{i:03}.png")
    return path


def tree(folder: Path) -> dict[str, bytes | None]:
    """Return every file and folder below a folder, with what the files hold."""
    return {
        str(path.relative_to(folder)): path.read_bytes() if path.is_file() else None
        for path in sorted(folder.rglob("*"))
    }
