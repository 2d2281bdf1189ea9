"""Which images a person should label next, from a run."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from rich.console import Console

from selfsort import pictures
from selfsort.datasets import load_dataset
from selfsort.errors import InputError
from selfsort.images import ImageSet, read_labels
from selfsort.images.folders import OnError
from selfsort.runs.data import as_given, keys_of, tell_skipped
from selfsort.runs.evaluating import class_names
from selfsort.runs.predicting import check_new_file, load_with_classes, size_of, write_csv
from selfsort.verified import naming


def suggest_to_csv(
    run: Path,
    data: str,
    out: Path,
    *,
    n_images: int = 10,
    labels: Path | None = None,
    on_error: OnError = "stop",
    force: bool = False,
) -> Path:
    """Write which images to label next, in a CSV file to fill in, and a picture of them.

    The file has the columns file (or index) and class, as `selfsort train --labels` reads it. The
    class is empty: a guess written there would be learned as if a person had checked it. The
    guesses stand in the picture.

    Parameters
    ----------
    run : Path
        Folder of a run with classes.
    data : str
        What `selfsort train` is to learn from: of a named data set, the training images are taken.
        Labels that it has are not looked at.
    out : Path
        The CSV file; the picture gets the same name with ``.png``.
    n_images : int, default=10
        At least 1, and at most as many as have no label yet.
    labels : Path, optional
        CSV file of labels that are known. Their images are not suggested; their lines are written
        after the new ones, so that the new file replaces this one.
    on_error : {"stop", "skip"}, default="stop"
        What a picture that cannot be read does: with "skip" it is left out, and told of.
    force : bool, default=False
        Replace existing files.

    Returns
    -------
    picture : Path

    Raises
    ------
    InputError
        If run, data or labels cannot be used, there are not so many images, or a file exists.
    """
    picture = out.with_suffix(".png")
    _check_name(out)
    for path in (out, picture):
        check_new_file(path, force=force)
    estimator = load_with_classes(run)
    images = load_dataset(data, size=size_of(estimator), on_error=on_error).train
    tell_skipped(Console(stderr=True), images)
    header, keys = keys_of(images)
    known, names = _known(labels, images)
    _check_count(n_images, int((known < 0).sum()), data)
    chosen = estimator.suggest(as_given(images), n_images, labels=known)
    rows = [(keys[i], "") for i in chosen]
    rows += [(keys[i], names[known[i]]) for i in np.flatnonzero(known >= 0)]
    _save_picture(picture, estimator, images, chosen)
    write_csv(out, (header, "class"), rows)
    return picture


def _check_name(out: Path) -> None:
    if out.suffix.lower() != ".csv":
        raise InputError(
            f"{out}: the name must end in .csv, or 'selfsort train --labels' does not take it."
        )


def _known(labels: Path | None, images: ImageSet) -> tuple[np.ndarray, tuple[str, ...]]:
    """Return the index of each image's class in a file of labels, -1 for none, and the names."""
    if labels is None:
        return np.full(len(images), -1), ()
    skipped = [one.name for one in images.skipped]
    return read_labels(labels, images.names, len(images), skipped=skipped)


def _check_count(n_images: int, n_free: int, data: str) -> None:
    if n_images > n_free:
        raise InputError(
            f"--n {n_images} is more than the {n_free} images of {data} without a label: give a "
            "smaller number."
        )


def _save_picture(path: Path, estimator: Any, images: ImageSet, chosen: np.ndarray) -> None:
    """Draw the images, each under its name, the class that it seems to have and how likely."""
    probability = estimator.predict_proba(as_given(images)[chosen])
    names, keys = class_names(estimator), keys_of(images)[1]
    guesses = [f"{100 * row.max():.0f} % {names[row.argmax()]}" for row in probability]
    title = f"{len(chosen):,} images whose label would help most, the best first"
    with naming(path):
        pictures.save_named_sheet(
            path, images.images[chosen], [keys[i] for i in chosen], guesses, title
        )
