"""Classes of new images, from a run."""

from __future__ import annotations

import csv
from pathlib import Path

import numpy as np

from selfsort.checkpoints import write_atomically
from selfsort.datasets import known_datasets, load_dataset
from selfsort.errors import InputError
from selfsort.estimators import Autoencoder, load_estimator
from selfsort.images import read_images
from selfsort.runs.data import as_given
from selfsort.runs.folder import naming


def predict_to_csv(run: Path, data: str, out: Path, *, force: bool = False) -> int:
    """Write file (or index), class and probability of each image; return how many.

    Parameters
    ----------
    run : Path
        Folder of a run with classes.
    data : str
        A path, or a named data set, of which the test images are taken.
    out : Path
        The CSV file.
    force : bool, default=False
        Replace an existing file.

    Raises
    ------
    InputError
        If run or data cannot be used, the sizes differ, or `out` exists.
    """
    if out.exists() and not force:
        raise InputError(f"{out}: exists already. Give another --out, or --force to replace it.")
    if out.is_dir() or not out.parent.is_dir():
        raise InputError(f"{out}: cannot be written there. Give a file in an existing folder.")
    estimator = load_estimator(run)
    if isinstance(estimator, Autoencoder):
        raise InputError(
            f"{run}: has no classes to predict. Name a run of 'sort', 'teach' or another recipe "
            "with classes."
        )
    size = _size_of(estimator.input_shape_)
    if data in {info.name for info in known_datasets()}:
        named = load_dataset(data, size=size)
        images = named.test or named.train
    else:
        images = read_images(data, size=size)
    X = as_given(images)
    predicted, probability = estimator.predict(X), estimator.predict_proba(X)
    classes = getattr(estimator, "classes_", np.arange(probability.shape[1]))
    column = {name: k for k, name in enumerate(classes)}
    keys = images.names if images.names is not None else range(len(images))
    header = "file" if images.names is not None else "index"
    rows = [
        (key, name, f"{row[column[name]]:.6f}")
        for key, name, row in zip(keys, predicted, probability, strict=True)
    ]

    def write(path: Path) -> None:
        with path.open("w", encoding="utf-8", newline="") as file:
            writer = csv.writer(file)
            writer.writerow((header, "class", "probability"))
            writer.writerows(rows)

    with naming(out):
        write_atomically(out, write)
    return len(rows)


def _size_of(shape: tuple[int, ...]) -> int | None:
    """Return the side that new images are brought to; None where they must fit as they are."""
    return shape[1] if len(shape) == 3 and shape[1] == shape[2] else None
