"""Classes of images that need not fit into memory: in parts, by one process or many."""

from __future__ import annotations

import contextlib
import importlib.util
import time
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, NamedTuple

import numpy as np
import threadpoolctl
import torch
from rich.console import Console

from selfsort.datasets import known_datasets, load_dataset
from selfsort.errors import InputError
from selfsort.estimators.outputs import class_part, error_part, features_part, probability_part
from selfsort.images import ImageSet
from selfsort.images.folders import OnError, none_readable
from selfsort.runs.callbacks import leaving_on_sigterm, progress_bar
from selfsort.runs.data import MOST_TOLD, as_given, tell_left_out
from selfsort.runs.folder import Occupation
from selfsort.runs.predicting import load_with_classes
from selfsort.sources import Chunk, Source, WholeSource, open_source
from selfsort.sources.opening import square_side
from selfsort.training import evaluation_batch
from selfsort.version import __version__

if TYPE_CHECKING:
    import pyarrow as pa

    from selfsort.runs.parts import Manifest, Part, PartFacts

PART_SIZE = 65_536
BATCHES_AT_ONCE = 8
"""Batches of images that are in memory at once: they are read, looked at, and forgotten."""
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
        Threads of each process; by default as many as PyTorch takes, for both engines.
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
    from selfsort.runs.parts import Manifest, check_parts_folder, model_digest, planned

    run, out = Path(run).absolute(), Path(out).absolute()
    _check_numbers(part_size=part_size, workers=workers, threads=threads)
    estimator = load_with_classes(run)
    source = source_for(estimator, str(data), on_error, column)
    check_usable(estimator, source)
    manifest = Manifest(
        selfsort=__version__,
        run=str(run),
        model=model_digest(run),
        data=str(data),
        fingerprint=source.fingerprint(),
        n_images=len(source),
        part_size=part_size,
        abstain=abstain,
        on_error=on_error,
    )
    parts = planned(len(source), part_size)
    check_parts_folder(out, manifest, force=force)
    n_threads = threads or estimator.n_threads or torch.get_num_threads()
    work = Work(run, source, out, abstain, n_threads, estimator.device_.type == "cuda")
    with occupied(out), leaving_on_sigterm():
        return _made(work, manifest, parts, engine, workers, force, console)


def _made(
    work: Work,
    manifest: Manifest,
    parts: list[Part],
    engine: Engine,
    workers: int | None,
    force: bool,
    console: Console | None,
) -> PredictedParts:
    """Make the parts that are missing."""
    from selfsort.runs.parts import begin_parts, sound_part

    begin_parts(work.out, manifest, force=force)
    told = Told(console or Console(stderr=True), len(work.source))
    missing = []
    for part in parts:
        facts = sound_part(work.out, part)
        if facts is None:
            missing.append(part)
        else:
            told.add(facts)
    told.begin(len(parts) - len(missing), len(parts))
    with told.shown():
        for part, facts in _makers(engine)(work, missing, workers):
            told.add(facts, part)
    told.end()
    return PredictedParts(told.n_rows, told.n_doubtful, len(parts), len(parts) - len(missing))


def _makers(engine: Engine) -> Any:
    """Return the function that makes parts, and yields each with its facts."""
    if engine == "local":
        return made_here
    from selfsort.runs.on_ray import made_on_ray

    return made_on_ray


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


@contextlib.contextmanager
def occupied(folder: Path) -> Iterator[None]:
    """Let no other process write into a folder."""
    occupation = Occupation(folder, "predicting")
    occupation.begin()
    try:
        yield
    finally:
        occupation.end()


# ---- data -------------------------------------------------------------------------------------


def source_for(estimator: Any, data: str, on_error: OnError, column: str | None) -> Source:
    """Return the images of a path, or the test images of a named data set, for an estimator."""
    shape = estimator.input_shape_
    if data not in {info.name for info in known_datasets()}:
        return open_source(Path(data).absolute(), shape, on_error=on_error, column=column)
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


# ---- work -------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Work:
    """What a process needs to know to make a part; small, and can be sent to it."""

    run: Path
    source: Source
    out: Path
    abstain: float | None
    n_threads: int
    on_gpu: bool


class PartMaker:
    """Make parts, with a model that is loaded once.

    What a part holds depends on the work and the part alone, not on the process or the order.
    """

    def __init__(self, work: Work) -> None:
        self.work = work
        self.estimator = load_with_classes(work.run)
        self.estimator.n_threads = work.n_threads

    def __call__(self, part: Part) -> PartFacts:
        from selfsort.runs.parts import PartFacts, write_part

        source = self.work.source
        step = BATCHES_AT_ONCE * evaluation_batch(self.estimator.input_shape_)
        rows, skipped = [], []
        for start in range(part.first, part.stop, step):
            chunk = source.read(start, min(start + step, part.stop))
            skipped += chunk.skipped
            if len(chunk.images):
                rows.append(self._judged(chunk))
        table, n_doubtful = self._table(rows)
        facts = PartFacts(
            first=part.first,
            stop=part.stop,
            n_doubtful=n_doubtful,
            skipped=[(one.name, one.reason) for one in skipped],
        )
        write_part(self.work.out / part.name, table, facts)
        return facts

    def _judged(self, chunk: Chunk) -> Judged:
        """Return what the network says of some images, in one look."""
        estimator = self.estimator
        parts = (class_part, probability_part, features_part, error_part)
        data = estimator._prepared(as_given(ImageSet(chunk.images)))
        with threadpoolctl.threadpool_limits(self.work.n_threads, user_api="blas"):
            index, probability, features, errors = estimator._collected(
                data, *parts, reconstruct=True
            )
            outlier = estimator.outlier_scale_.score(features, errors)
        doubtful = probability.max(1) < (self.work.abstain or 0.0)
        rows = np.arange(len(index))
        return Judged(chunk.keys, index, doubtful, probability[rows, index], outlier)

    def _table(self, rows: list[Judged]) -> tuple[pa.Table, int]:
        """Return the rows of a part, and how many of them are in doubt."""
        import pyarrow as pa

        keys: list[Any] = [key for one in rows for key in one.keys]
        index, doubtful, probability, outlier = (
            np.concatenate([getattr(one, name) for one in [Judged(), *rows]])
            for name in ("index", "doubtful", "probability", "outlier")
        )
        key = self.work.source.key
        columns = {
            key: pa.array(keys, pa.string() if key == "file" else pa.int64()),
            "class": self._classes(index, doubtful),
            "probability": pa.array(probability),
            "outlier": pa.array(outlier),
        }
        return pa.table(columns), int(doubtful.sum())

    def _classes(self, index: np.ndarray, doubtful: np.ndarray) -> pa.Array:
        """Return the class of each image, null where it is in doubt."""
        import pyarrow as pa

        names = getattr(self.estimator, "classes_", None)
        if names is None:
            return pa.array(index, pa.int64(), mask=doubtful)
        if names.dtype.kind in "UO":
            codes = pa.array(index, pa.int32(), mask=doubtful)
            return pa.DictionaryArray.from_arrays(codes, pa.array(names.tolist(), pa.string()))
        return pa.array(names[index], mask=doubtful)


class Judged(NamedTuple):
    """What is said of some images; nothing of none by default."""

    keys: list[str] | list[int] = []
    index: np.ndarray = np.empty(0, np.int64)
    doubtful: np.ndarray = np.empty(0, bool)
    probability: np.ndarray = np.empty(0, np.float32)
    outlier: np.ndarray = np.empty(0, np.float64)


def made_here(
    work: Work, parts: Iterable[Part], workers: int | None = None
) -> Iterator[tuple[Part, PartFacts]]:
    """Make parts in this process, one after the other, and yield each with its facts."""
    if workers not in (None, 1):
        raise InputError("--workers goes with --engine ray: give --threads, or leave it out.")
    maker = None
    for part in parts:
        maker = maker or PartMaker(work)
        yield part, maker(part)


# ---- what is told -----------------------------------------------------------------------------


@dataclass
class Told:
    """What has been done so far, and how it is told: a bar on a terminal, else a line a part."""

    console: Console
    n_images: int
    n_seen: int = 0
    n_rows: int = 0
    n_doubtful: int = 0
    n_skipped: int = 0
    reasons: list[str] = field(default_factory=list)

    def add(self, facts: PartFacts, part: Part | None = None) -> None:
        """Count a part, and tell of it if it was made now."""
        self.n_seen += facts.stop - facts.first
        self.n_rows += facts.n_rows
        self.n_doubtful += facts.n_doubtful
        self.n_skipped += len(facts.skipped)
        room = MOST_TOLD - len(self.reasons)
        self.reasons += [reason for _, reason in facts.skipped[:room]]
        if part is not None:
            self._tell(part)

    def begin(self, n_kept: int, n_parts: int) -> None:
        """Say where it goes on, if something is there."""
        self._before, self._started = self.n_seen, time.monotonic()
        if n_kept:
            self._say(f"Going on: {n_kept:,} of {n_parts:,} parts are there.")

    @contextlib.contextmanager
    def shown(self) -> Iterator[None]:
        """Show a bar, where this is a terminal."""
        self._bar = progress_bar(self.console)
        self._task = self._bar.add_task("predict", total=self.n_images, completed=self.n_seen)
        if not self.console.is_terminal:
            yield
            return
        with self._bar:
            yield

    def _tell(self, part: Part) -> None:
        self._bar.update(self._task, completed=self.n_seen)
        if not self.console.is_terminal:
            rate = (self.n_seen - self._before) / max(time.monotonic() - self._started, 1e-9)
            self._say(
                f"{part.name}: {self.n_seen:,} of {self.n_images:,} images, {rate:,.0f} images/s"
            )

    def end(self) -> None:
        """Say which pictures were left out."""
        tell_left_out(self.console, self.reasons, self.n_skipped, self.n_rows)

    def _say(self, line: str) -> None:
        self.console.print(line, highlight=False, soft_wrap=True, markup=False)
