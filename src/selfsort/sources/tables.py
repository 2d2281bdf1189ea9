"""Parquet and Arrow files with a column of images: encoded pictures, or lists of pixels.

They are read by pyarrow. The library `datasets` writes such files, and its column of images, a
structure of `bytes` and `path`, is understood; but its streams begin at the first row, so that
going on from row nine million would mean reading the rows before it.
"""

from __future__ import annotations

import bisect
import functools
import itertools
import math
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from selfsort.errors import InputError
from selfsort.images.files import check_file, check_unpacked
from selfsort.images.folders import OnError
from selfsort.sources.base import (
    Chunk,
    Pictures,
    Source,
    facts_of_files,
    fingerprint_of,
)
from selfsort.sources.columns import (
    bytes_of,
    column_of,
    from_pixels,
    holds_pictures,
    label_column,
    read_picture,
    stored,
    values_of,
)

PICTURES_AT_ONCE, PIXELS_AT_ONCE = 64, 2**17
"""How many encoded pictures, or pixels in lists, are unpacked at once."""
BUFFER = 2**20
AT_ONCE = 1024
"""Rows that are passed over at once."""
_UNREADABLE = (pa.ArrowException, OSError, ValueError, TypeError, KeyError, MemoryError)


class TableSource(Source):
    """The images in a column of Parquet or Arrow files.

    Parameters
    ----------
    where : Path
        The file or the folder of them, for errors.
    paths : sequence of Path
        The files, in order.
    shape : sequence of int
        ``(channels, height, width)``, or ``(p,)``.
    on_error : {"stop", "skip"}
    column : str or None
        The column's name; None: the one that can hold images.
    """

    def __init__(
        self,
        where: Path,
        paths: Sequence[Path],
        shape: Sequence[int],
        on_error: OnError,
        column: str | None,
    ) -> None:
        super().__init__(str(where))
        self.shape, self.on_error = tuple(shape), on_error
        self.paths = list(paths)
        self.column = column
        counts = []
        for path in self.paths:
            check_file(path)
            with _naming(path), _opened(path) as table:
                self.column = column_of(path, table.schema, self.column)
                counts.append(_checked_count(path, table.count(self.column)))
                kind = table.schema.field(self.column).type
        self.ends = list(itertools.accumulate(counts))
        if not len(self):
            raise InputError(f"{where}: has no rows. Give at least one image.")
        if holds_pictures(stored(kind)):
            self.pictures = Pictures(shape, on_error, self.where)
        self._cursor: Cursor | None = None

    def __getstate__(self) -> dict[str, Any]:
        return self.__dict__ | {"_cursor": None}

    def __len__(self) -> int:
        return self.ends[-1]

    def read(self, start: int, stop: int) -> Chunk:
        chunks = []
        while start < stop:
            k = bisect.bisect_right(self.ends, start)
            before = self.ends[k - 1] if k else 0
            last = min(stop, self.ends[k])
            chunks.append(self._read(k, start - before, last - before, before))
            start = last
        if len(chunks) == 1:
            return chunks[0]
        return Chunk(
            np.concatenate([chunk.images for chunk in chunks]),
            [key for chunk in chunks for key in chunk.keys],  # type: ignore[arg-type]
            tuple(one for chunk in chunks for one in chunk.skipped),
        )

    def _read(self, k: int, start: int, stop: int, before: int) -> Chunk:
        """Return some rows of one file; `before` is how many images the files before it hold."""
        path = self.paths[k]
        with _naming(path):
            arrays = self._arrays(k, start, stop)
            if sum(map(len, arrays)) != stop - start:
                raise pa.ArrowInvalid("it has fewer rows than it promises")
            rows = list(range(before + start, before + stop))
            arrays = [one.storage if isinstance(one, pa.ExtensionArray) else one for one in arrays]
            if not holds_pictures(arrays[0].type):
                return Chunk(from_pixels(path, arrays, self.shape, rows[0]), rows)
            contents = [content for array in arrays for content in bytes_of(array)]
        return self.pictures.chunk(
            (row, functools.partial(read_picture, f"{path}, row {start + i}", contents[i]))
            for i, row in enumerate(rows)
        )

    def _arrays(self, k: int, start: int, stop: int) -> list[pa.Array]:
        """Return rows of a file's column, going on from where the last call ended if it can."""
        cursor, self._cursor = self._cursor, None  # an error leaves none behind
        if cursor is None or cursor.file != k or cursor.position > start:
            assert self.column is not None  # noqa: S101 - it was found when the files were opened
            table = _table(self.paths[k])  # the arrays close it, when they are forgotten
            position, arrays = table.columns(self.column, start, math.prod(self.shape))
            cursor = Cursor(k, position, arrays)
        cursor.skip(start)
        found = cursor.take(stop - start)
        self._cursor = cursor
        return found

    def labels(self) -> np.ndarray | None:
        """Return the column of labels, which is called as `columns.LABELS` says."""
        found: list[np.ndarray] = []
        for path in self.paths:
            with _naming(path), _opened(path) as table:
                name = label_column(table.schema)
                if name is None:
                    return None
                _checked_count(path, table.count(name))
            with _naming(path), _opened(path) as table:  # a stream is read once
                found += [values_of(array) for array in table.columns(name, 0, 1)[1]]
        if len({values.dtype.kind for values in found}) > 1:
            raise InputError(f"{self.where}: labels are numbers in some files and text in others.")
        return np.concatenate(found)

    def fingerprint(self) -> str:
        return fingerprint_of([*facts_of_files(self.paths), self.column])


class Cursor:
    """Where the reading of a file's column is: what comes next, and what is left of an array."""

    def __init__(self, file: int, position: int, arrays: Iterator[pa.Array]) -> None:
        self.file = file
        self.position = position
        self.arrays = arrays
        self.rest: pa.Array | None = None

    def take(self, n_rows: int) -> list[pa.Array]:
        """Return so many rows, fewer only at the end of the file."""
        found: list[pa.Array] = []
        while n_rows:
            array = self.rest if self.rest is not None else next(self.arrays, None)
            if array is None:
                break
            part = array[:n_rows]
            self.rest = array[n_rows:] if n_rows < len(array) else None
            self.position += len(part)
            n_rows -= len(part)
            found.append(part)
        return found

    def skip(self, start: int) -> None:
        """Go on to a position, array by array."""
        while self.position < start and self.take(min(AT_ONCE, start - self.position)):
            pass


# ---- files ------------------------------------------------------------------------------------


class _Parquet:
    """A Parquet file; what its footer says."""

    def __init__(self, path: Path) -> None:
        self.path = path
        # Read as it is unpacked: with pre_buffer a column of many rows would be there at once.
        self.file = pq.ParquetFile(path, buffer_size=BUFFER, pre_buffer=False)
        self.schema: pa.Schema = self.file.schema_arrow

    def count(self, column: str) -> int:
        """Return the number of rows; raise if the column would unpack to far too much."""
        metadata = self.file.metadata
        n_bytes = 0
        for i in range(metadata.num_row_groups):
            group = metadata.row_group(i)
            parts = (group.column(j) for j in range(group.num_columns))
            mine = [one for one in parts if one.path_in_schema.split(".")[0] == column]
            n_bytes += sum(one.total_uncompressed_size for one in mine)
        check_unpacked(self.path, n_bytes)
        return int(metadata.num_rows)

    def _rows_at_once(self, column: str, n_values: int) -> int:
        if holds_pictures(stored(self.schema.field(column).type)):
            return PICTURES_AT_ONCE
        return max(1, PIXELS_AT_ONCE // n_values)

    def columns(self, column: str, start: int, n_values: int) -> tuple[int, Iterator[pa.Array]]:
        """Return a position not after `start`, and the column's arrays from there on.

        Where these are lists, so many values are in each.
        """
        metadata = self.file.metadata
        n_groups = metadata.num_row_groups
        sizes = [metadata.row_group(i).num_rows for i in range(n_groups)]
        ends = list(itertools.accumulate(sizes))
        first = bisect.bisect_right(ends, start)
        batches = self.file.iter_batches(
            self._rows_at_once(column, n_values),
            row_groups=list(range(first, n_groups)),
            columns=[column],
            use_threads=False,
        )
        position = ends[first - 1] if first else 0
        return position, (batch.column(column) for batch in batches)

    def close(self) -> None:
        self.file.close()


class _Arrow:
    """An Arrow file, mapped into memory: a stream of batches, or one with a footer."""

    def __init__(self, path: Path) -> None:
        self.mapped = pa.memory_map(str(path))
        try:
            self.reader = pa.ipc.open_file(self.mapped)
        except pa.ArrowInvalid:
            self.mapped.seek(0)
            self.reader = pa.ipc.open_stream(self.mapped)
        self.schema: pa.Schema = self.reader.schema

    def batches(self) -> Iterator[pa.RecordBatch]:
        if isinstance(self.reader, pa.ipc.RecordBatchFileReader):
            return map(self.reader.get_batch, range(self.reader.num_record_batches))
        return iter(self.reader)

    def count(self, column: str) -> int:
        """Return the number of rows."""
        return sum(batch.num_rows for batch in self.batches())

    def columns(self, column: str, start: int, n_values: int) -> tuple[int, Iterator[pa.Array]]:
        """Return a position not after `start`, and the column's arrays from there on."""
        position, batches = 0, self.batches()
        for batch in batches:
            if position + batch.num_rows > start:
                batches = itertools.chain([batch], batches)
                break
            position += batch.num_rows
        return position, map(functools.partial(_sound_column, column=column), batches)

    def close(self) -> None:
        self.mapped.close()


def _sound_column(batch: pa.RecordBatch, column: str) -> pa.Array:
    """Return a column, whose lengths and offsets were checked: Arrow believes what a file says."""
    array = batch.column(column)
    array.validate(full=True)
    return array


def _table(path: Path) -> _Parquet | _Arrow:
    return _Parquet(path) if path.suffix.lower() == ".parquet" else _Arrow(path)


@contextmanager
def _opened(path: Path) -> Iterator[_Parquet | _Arrow]:
    table = _table(path)
    try:
        yield table
    finally:
        table.close()


@contextmanager
def _naming(path: Path) -> Iterator[None]:
    """Turn whatever pyarrow says of a damaged file into one sentence."""
    try:
        yield
    except InputError:
        raise
    except _UNREADABLE as error:
        lines = str(error).strip().splitlines() or [type(error).__name__]
        reason = lines[0].strip("'\" ").rstrip(".")[:200]
        raise InputError(
            f"{path}: not a readable {path.suffix} file ({reason}). Write it again."
        ) from error


def _checked_count(path: Path, n_rows: int) -> int:
    if not 0 <= n_rows <= path.stat().st_size:
        raise InputError(f"{path}: promises {n_rows} rows, more than it has bytes. Write it again.")
    return n_rows
