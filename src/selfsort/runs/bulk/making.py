"""One part: read, looked at, written; the same in whatever process."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa
import threadpoolctl

from selfsort.estimators.outputs import class_part, error_part, features_part, probability_part
from selfsort.images import ImageSet
from selfsort.images.sets import Skipped
from selfsort.runs.bulk.parts import Part, PartFacts, write_part
from selfsort.runs.data import as_given
from selfsort.runs.predicting import load_with_classes
from selfsort.sources import Chunk, Source
from selfsort.training import evaluation_batch

BATCHES_AT_ONCE = 8
"""Batches of images that are in memory at once: they are read, looked at, and forgotten."""


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
        source = self.work.source
        step = BATCHES_AT_ONCE * evaluation_batch(self.estimator.input_shape_)
        rows: list[Judged] = []
        skipped: list[Skipped] = []
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
        keys: list[Any] = [key for one in rows for key in one.keys]
        index, doubtful, probability, outlier = (
            np.concatenate([getattr(one, name) for one in [Judged(), *rows]])
            for name in ("classes", "doubtful", "probability", "outlier")
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
        names = getattr(self.estimator, "classes_", None)
        if names is None:
            return pa.array(index, pa.int64(), mask=doubtful)
        if names.dtype.kind in "UO":
            codes = pa.array(index, pa.int32(), mask=doubtful)
            return pa.DictionaryArray.from_arrays(codes, pa.array(names.tolist(), pa.string()))
        return pa.array(names[index], mask=doubtful)


class Judged(NamedTuple):
    """What is said of some images; nothing of none by default."""

    keys: Sequence[str | int] = ()
    classes: np.ndarray = np.empty(0, np.int64)
    doubtful: np.ndarray = np.empty(0, bool)
    probability: np.ndarray = np.empty(0, np.float32)
    outlier: np.ndarray = np.empty(0, np.float64)
