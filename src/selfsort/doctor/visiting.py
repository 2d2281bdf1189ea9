"""Examine a file's module in a process of its own, and write the page."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
from rich.console import Console

from selfsort import pictures
from selfsort.datasets import load_dataset
from selfsort.doctor.examination import MAX_IMAGES
from selfsort.errors import InputError
from selfsort.report import write_doctor
from selfsort.runs.data import as_given, tell_skipped


@dataclass(frozen=True)
class Visit:
    """What `selfsort doctor` was asked for.

    Attributes
    ----------
    where : str
        ``FILE.py:CLASS``.
    data : str
    out : Path
        Page to write.
    normalise : tuple of two floats, or None
        Mean and deviation.
    optimizer : {"adam", "sgd", None}
    lr : float or None
    size, threads : int or None
    seed : int
    seconds : float
        Time limit.
    on_error : {"stop", "skip"}
    command : str
        What was typed, for the page.
    """

    where: str
    data: str
    out: Path
    normalise: tuple[float, float] | None = None
    optimizer: str | None = None
    lr: float | None = None
    size: int | None = None
    threads: int | None = None
    seed: int = 0
    seconds: float = 600.0
    on_error: Literal["stop", "skip"] = "skip"
    command: str = ""


def visit(asked: Visit, console: Console | None = None) -> dict[str, Any]:
    """Examine a module of a file; write the page; return what was found.

    Returns
    -------
    found : dict
        ``name``, ``findings`` and ``figures`` as in an `Examination`.

    Raises
    ------
    InputError
        If the file, the class or the data cannot be used, or the process crashed or took longer
        than its time.
    """
    console = console or Console(stderr=True)
    path, _, name = asked.where.rpartition(":")
    if not path or not name.isidentifier():
        raise InputError(f"{asked.where}: give a file and a class in it, such as mine.py:Net.")
    if not Path(path).is_file():
        raise InputError(f"{path}: no such file. Give FILE.py:CLASS.")
    if asked.out.is_dir():
        raise InputError(f"{asked.out}: is a folder. Give --out FILE.html.")
    data = load_dataset(asked.data, size=asked.size, on_error=asked.on_error)
    tell_skipped(console, data.train, data.test)
    request = {
        "file": path,
        "class": name,
        "normalise": asked.normalise,
        "optimizer": asked.optimizer,
        "lr": asked.lr,
        "threads": asked.threads,
        "seed": asked.seed,
    }
    with tempfile.TemporaryDirectory(prefix="selfsort-doctor-") as temporary:
        folder = Path(temporary)
        (folder / "request.json").write_text(json.dumps(request), encoding="utf-8")
        _write_images(folder, data.train, asked.seed)
        with console.status(f"Examining {name}: some hundred training steps, several times"):
            _run(folder, asked)
        found = json.loads((folder / "answer.json").read_text(encoding="utf-8"))
        if "error" in found:
            raise InputError(found["error"])
        _draw(folder, found)
        asked.out.parent.mkdir(parents=True, exist_ok=True)
        write_doctor(asked.out, found, folder, asked.command)
    return dict(found)


def _write_images(folder: Path, images: Any, seed: int) -> None:
    array = as_given(images)
    if array.ndim < 3:
        raise InputError("The doctor is for images; this data is rows of numbers.")
    labels = images.labels
    rows = np.random.default_rng(seed).permutation(len(array))
    if labels is not None:
        rows = rows[labels[rows] >= 0] if (labels >= 0).any() else rows
    rows = rows[:MAX_IMAGES]
    more = {} if labels is None else {"labels": labels[rows]}
    np.savez(folder / "images.npz", images=array[rows], **more)


def _run(folder: Path, asked: Visit) -> None:
    """Run the child to its end; what it prints goes to standard error."""
    command = [sys.executable, "-m", "selfsort.doctor.child", str(folder)]
    try:
        done = subprocess.run(  # noqa: S603 - our own module; the user asked to run the file
            command, stdin=subprocess.DEVNULL, stdout=sys.stderr, timeout=asked.seconds, check=False
        )
    except subprocess.TimeoutExpired:
        raise InputError(
            f"{asked.where}: not done after {asked.seconds:g} s. Use smaller images (--size), or "
            "give more time with --seconds."
        ) from None
    if (folder / "answer.json").is_file():
        return
    if done.returncode < 0:
        name = signal.Signals(-done.returncode).name
        raise InputError(f"{asked.where}: its process was ended by {name}.")
    raise InputError(f"{asked.where}: its process ended without an answer ({done.returncode}).")


def _draw(folder: Path, found: dict[str, Any]) -> None:
    if found["figures"].get("losses"):
        pictures.save_diagnosis(folder / "diagnosis.png", found["figures"])
    with np.load(folder / "rebuilt.npz", allow_pickle=False) as arrays:
        images, rebuilt = arrays["images"], arrays["rebuilt"]
    if len(images) and np.isfinite(rebuilt).all():
        low, high = float(images.min()), float(images.max())
        scale = max(high - low, 1e-6)
        pictures.save_reconstructions(
            folder / "rebuilt.png", *(((a - low) / scale).clip(0, 1) for a in (images, rebuilt))
        )
