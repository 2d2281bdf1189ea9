"""Classes of new images, from a run."""

from __future__ import annotations

import csv
import os
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from rich.console import Console

from selfsort.checkpoints import write_atomically
from selfsort.datasets import is_named, load_dataset
from selfsort.errors import InputError
from selfsort.estimators import Autoencoder, load_estimator
from selfsort.images import ImageSet, read_images
from selfsort.images.folders import OnError
from selfsort.runs.data import as_given, keys_of, tell_skipped
from selfsort.sources.opening import is_read_in_parts, square_side
from selfsort.verified import naming


class Predicted(NamedTuple):
    """How many images got a line, and how many of these have no class, being in doubt."""

    n_images: int
    n_doubtful: int


def predict_to_csv(
    run: Path,
    data: str,
    out: Path,
    *,
    abstain: float | None = None,
    on_error: OnError = "stop",
    force: bool = False,
) -> Predicted:
    """Write file (or index), class, probability and outlier score of each image.

    Parameters
    ----------
    run : Path
        Folder of a run with classes.
    data : str
        A path, or a named data set, of which the test images are taken.
    out : Path
        The CSV file.
    abstain : float, optional
        Images whose largest probability is below it get an empty class.
    on_error : {"stop", "skip"}, default="stop"
        What a picture that cannot be read does: with "skip" it gets no line, and is told of.
    force : bool, default=False
        Replace an existing file.

    Returns
    -------
    predicted : Predicted

    Raises
    ------
    InputError
        If run or data cannot be used, the sizes differ, or `out` exists.
    """
    check_new_file(out, force=force)
    estimator = load_with_classes(run)
    images = _read(data, size_of(estimator), on_error)
    tell_skipped(Console(stderr=True), images)
    X = as_given(images)
    predicted, probability = estimator.predict(X), estimator.predict_proba(X)
    classes = getattr(estimator, "classes_", np.arange(probability.shape[1]))
    column = {name: k for k, name in enumerate(classes)}
    doubtful = probability.max(1) < (0.0 if abstain is None else abstain)
    header, keys = keys_of(images)
    rows = [
        (key, "" if in_doubt else name, f"{row[column[name]]:.6f}", f"{outlier:.6f}")
        for key, name, row, outlier, in_doubt in zip(
            keys, predicted, probability, estimator.outlier_score(X), doubtful, strict=True
        )
    ]
    write_csv(out, (header, "class", "probability", "outlier"), rows)
    return Predicted(len(rows), int(doubtful.sum()))


def check_new_file(path: Path, *, force: bool) -> None:
    """Raise unless a file may be written there."""
    if path.exists() and not force:
        raise InputError(f"{path}: exists already. Give another --out, or --force to replace it.")
    if path.is_dir() or not path.parent.is_dir():
        raise InputError(f"{path}: cannot be written there. Give a file in an existing folder.")


def load_with_classes(run: Path) -> Any:
    """Return the estimator of a run; raise if it has no classes."""
    estimator = load_estimator(run)
    if isinstance(estimator, Autoencoder):
        raise InputError(
            f"{run}: has no classes to predict. Name a run of 'sort', 'teach' or another recipe "
            "with classes."
        )
    return estimator


def _read(data: str, size: int | None, on_error: OnError) -> ImageSet:
    """Return the images of a path, or the test images of a named data set."""
    if not is_named(data):
        _check_no_parts(data)
        return read_images(data, size=size, on_error=on_error)
    named = load_dataset(data, size=size)
    return named.test or named.train


def _check_no_parts(data: str) -> None:
    """Raise for kinds of files that are only read in parts."""
    if os.path.isfile(data) and is_read_in_parts(Path(data)):
        raise InputError(
            f"{data}: is read in parts only: give a folder as --out, such as classes/, in place of "
            "a CSV file."
        )


def size_of(estimator: Any) -> int | None:
    """Return the side that new images are brought to; None where they must fit as they are."""
    return square_side(estimator.input_shape_)


def write_csv(path: Path, header: Sequence[str], rows: Iterable[Sequence[object]]) -> None:
    """Write a CSV file that is whole or not there."""

    def write(temporary: Path) -> None:
        with temporary.open("w", encoding="utf-8", newline="") as file:
            writer = csv.writer(file)
            writer.writerow(header)
            writer.writerows(rows)

    with naming(path):
        write_atomically(path, write)
