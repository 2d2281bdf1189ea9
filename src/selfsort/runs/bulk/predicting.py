"""Classes of images that need not fit into memory: in parts, by one process or many."""

from __future__ import annotations

import importlib.util
from pathlib import Path
from typing import Any, Literal, NamedTuple

import torch
from rich.console import Console

from selfsort.datasets import is_named, load_dataset
from selfsort.errors import InputError
from selfsort.images import ImageSet
from selfsort.images.folders import OnError, none_readable
from selfsort.runs.data import as_given
from selfsort.runs.predicting import load_with_classes
from selfsort.sources import Source, WholeSource, open_source
from selfsort.sources.opening import square_side
from selfsort.version import __version__

# pyarrow is imported inside: it comes with an extra.

PART_SIZE = 65_536
PROBED = 64
"""Pictures that are looked at together until one is found that can be used."""
Engine = Literal["local", "ray"]


class PredictedParts(NamedTuple):
    """How many images have a row, how many of these no class, and in how many parts.

    `n_kept` parts had been there before.
    """

    n_images: int
    n_doubtful: int
    n_parts: int
    n_kept: int


def predict_in_parts(
    run: str | Path,
    data: str | Path,
    out: str | Path,
    *,
    part_size: int = PART_SIZE,
    engine: Engine = "local",
    workers: int | None = None,
    threads: int | None = None,
    column: str | None = None,
    abstain: float | None = None,
    on_error: OnError = "stop",
    force: bool = False,
    console: Console | None = None,
) -> PredictedParts:
    """Write name, class, probability and outlier score of each image into Parquet files.

    Only some thousand images are in memory at once. Each file, ``part-000000.parquet`` and so on,
    is about `part_size` images that follow one another, and is whole or not there. The same call
    again goes on: parts that are there are kept.

    Parameters
    ----------
    run : str or Path
        Folder of a run with classes.
    data : str or Path
        What `selfsort.sources.open_source` takes, or a named data set, of which the test images
        are taken.
    out : str or Path
        The folder, made if it is missing.
    part_size : int, default=65536
        Images a part, those included that cannot be read.
    engine : {"local", "ray"}, default="local"
        This process, or processes that Ray starts (extra ``ray``); both write the same.
    workers : int, optional
        Processes with Ray; by default as many as it has cores for.
    threads : int, optional
        Threads of each process; by default as many as parts that are there were made with, or
        as PyTorch takes. The last bits depend on it, and on nothing else.
    column : str, optional
        The column of images in Parquet or Arrow files; needed where several could be that.
    abstain : float, optional
        Images whose largest probability is below it get no class.
    on_error : {"stop", "skip"}, default="stop"
        What a picture that cannot be read does: with "skip" it gets no row, and is told of.
    force : bool, default=False
        Begin anew, and replace parts of another prediction.
    console : rich Console, optional
        Where progress is told; by default standard error.

    Returns
    -------
    predicted : PredictedParts

    Raises
    ------
    InputError
        If run or data cannot be used, or `out` holds anything but parts of this prediction.

    Notes
    -----
    The columns are ``file`` (text) or ``index`` (int64), ``class`` (a dictionary of names, or
    numbers; null for images in doubt), ``probability`` (float32) and ``outlier`` (float64).

    Examples
    --------
    >>> import tempfile
    >>> import numpy as np
    >>> from rich.console import Console
    >>> from sklearn.datasets import load_digits
    >>> from selfsort import AutoencoderClassifier
    >>> images, labels = load_digits().images, load_digits().target
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     classifier = AutoencoderClassifier(epochs=1, random_state=0)
    ...     classifier.fit((images * 15).astype(np.uint8)[:100], labels[:100]).save(f"{folder}/run")
    ...     np.save(f"{folder}/new.npy", (images * 15).astype(np.uint8))
    ...     predict_in_parts(f"{folder}/run", f"{folder}/new.npy", f"{folder}/classes",
    ...                      part_size=1000, console=Console(quiet=True))
    PredictedParts(n_images=1797, n_doubtful=0, n_parts=2, n_kept=0)
    """
    _check_packages(engine)
    from selfsort.runs.bulk.making import Work
    from selfsort.runs.bulk.parts import (
        Manifest,
        check_parts_folder,
        model_digest,
        planned,
        threads_before,
    )
    from selfsort.runs.bulk.working import make_missing

    if engine == "ray":  # whose processes are in other folders
        run, out = Path(run).absolute(), Path(out).absolute()
        data = data if is_named(str(data)) else Path(data).absolute()
    run, out = Path(run), Path(out)
    if engine == "local" and workers is not None:
        raise InputError("--workers goes with --engine ray: give --threads, or leave it out.")
    _check_numbers(part_size=part_size, workers=workers, threads=threads)
    if abstain is not None and not 0 <= abstain <= 1:
        raise InputError(f"abstain must be from 0 to 1. Got {abstain:g} instead.")
    estimator = load_with_classes(run)
    source = source_for(estimator, str(data), on_error, column)
    check_usable(estimator, source)
    before = None if force else threads_before(out)
    n_threads = threads or before or estimator.n_threads or torch.get_num_threads()
    manifest = Manifest(
        selfsort=__version__,
        run=str(run),
        model=model_digest(run),
        data=str(data),
        fingerprint=source.fingerprint(),
        n_images=len(source),
        part_size=part_size,
        threads=n_threads,
        abstain=abstain,
        on_error=on_error,
    )
    parts = planned(len(source), part_size)
    check_parts_folder(out, manifest, force=force)
    work = Work(run, source, out, abstain, n_threads, estimator.device_.type == "cuda")
    told = make_missing(work, manifest, parts, engine, workers, force, console)
    return PredictedParts(told.n_rows, told.n_doubtful, len(parts), told.n_kept)


def _check_packages(engine: str) -> None:
    if engine not in ("local", "ray"):
        raise InputError(f"engine must be 'local' or 'ray'. Got {engine!r} instead.")
    if engine == "ray" and importlib.util.find_spec("ray") is None:
        raise InputError("The engine ray needs more packages: pip install 'selfsort[ray]'")
    if importlib.util.find_spec("pyarrow") is None:
        raise InputError("Parts in Parquet need another package: pip install 'selfsort[data]'")


def _check_numbers(**numbers: int | None) -> None:
    for name, number in numbers.items():
        if number is not None and number < 1:
            raise InputError(f"{name} must be at least 1. Got {number} instead.")


# ---- data -------------------------------------------------------------------------------------


def source_for(estimator: Any, data: str, on_error: OnError, column: str | None) -> Source:
    """Return the images of a path, or the test images of a named data set, for an estimator."""
    shape = estimator.input_shape_
    if not is_named(data):
        return open_source(data, shape, on_error=on_error, column=column)
    named = load_dataset(data, size=square_side(shape))
    return WholeSource(named.test or named.train, data)


def check_usable(estimator: Any, source: Source) -> None:
    """Raise unless an estimator can look at a source's first image that can be read."""
    reasons: list[str] = []
    for start in range(0, len(source), PROBED):
        chunk = source.read(start, min(start + PROBED, len(source)))
        if len(chunk.images):
            estimator._prepared(as_given(ImageSet(chunk.images[:1])))
            return
        reasons += [one.reason for one in chunk.skipped]
    raise none_readable(Path(source.where), reasons)
