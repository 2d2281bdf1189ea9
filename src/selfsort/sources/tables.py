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
import pyarrow.compute as pc
import pyarrow.parquet as pq

from selfsort.errors import InputError
from selfsort.images.arrays import as_float32, as_images
from selfsort.images.files import check_file, check_unpacked
from selfsort.images.folders import OnError
from selfsort.sources.base import (
    Chunk,
    Pictures,
    Source,
    facts_of_files,
    fingerprint_of,
    picture_in,
)

USUAL_NAMES = ("image", "images", "img", "picture", "pixels")
"""What a column of images is mostly called, where several could be that."""
ROWS_AT_ONCE = {True: 64, False: 1024}
"""Rows of encoded pictures, and of pixels, that are unpacked at once."""
BUFFER = 2**20
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
                self.column = _column_of(path, table.schema, self.column)
                counts.append(_checked_count(path, table.count(self.column)))
                kind = table.schema.field(self.column).type
        self.ends = list(itertools.accumulate(counts))
        if not len(self):
            raise InputError(f"{where}: has no rows. Give at least one image.")
        if _holds_pictures(_stored(kind)):
            self.pictures = Pictures(shape, on_error, self.where)
        self._cursor: tuple[int, int, Iterator[pa.Array]] | None = None

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
            if not _holds_pictures(arrays[0].type):
                return Chunk(_from_pixels(path, arrays, self.shape, rows[0]), rows)
            contents = [content for array in arrays for content in _bytes_of(array)]
        return self.pictures.chunk(
            (row, functools.partial(_picture, f"{path}, row {start + i}", contents[i]))
            for i, row in enumerate(rows)
        )

    def _arrays(self, k: int, start: int, stop: int) -> list[pa.Array]:
        """Return rows of a file's column, going on from where the last call ended if it can."""
        assert self.column is not None  # noqa: S101 - it was found when the files were opened
        position, arrays = start, None
        if self._cursor is not None and self._cursor[0] == k and self._cursor[1] <= start:
            _, position, arrays = self._cursor
        if arrays is None:
            position, arrays = _columns(self.paths[k], self.column, start)
        found = []
        self._cursor = None  # which an error would leave behind
        while position < stop:
            array = next(arrays, None)
            if array is None:
                break
            end = position + len(array)
            part = array[max(0, start - position) : max(0, stop - position)]
            if len(part):
                found.append(part)
            if end > stop:
                arrays = itertools.chain([array[stop - position :]], arrays)
            position = min(end, stop)
        self._cursor = k, position, arrays
        return found

    def fingerprint(self) -> str:
        return fingerprint_of([*facts_of_files(self.paths), self.column])


# ---- files ------------------------------------------------------------------------------------


class _Parquet:
    """A Parquet file; what its footer says."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.file = pq.ParquetFile(path, buffer_size=BUFFER)
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

    def columns(self, column: str, start: int) -> tuple[int, Iterator[pa.Array]]:
        """Return a position not after `start`, and the column's arrays from there on."""
        metadata = self.file.metadata
        n_groups = metadata.num_row_groups
        sizes = [metadata.row_group(i).num_rows for i in range(n_groups)]
        ends = list(itertools.accumulate(sizes))
        first = bisect.bisect_right(ends, start)
        batches = self.file.iter_batches(
            ROWS_AT_ONCE[_holds_pictures(_stored(self.schema.field(column).type))],
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

    def columns(self, column: str, start: int) -> tuple[int, Iterator[pa.Array]]:
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


@contextmanager
def _opened(path: Path) -> Iterator[_Parquet | _Arrow]:
    table = _Parquet(path) if path.suffix.lower() == ".parquet" else _Arrow(path)
    try:
        yield table
    finally:
        table.close()


def _columns(path: Path, column: str, start: int) -> tuple[int, Iterator[pa.Array]]:
    """Return a position not after `start`, and arrays from there on; the file closes at the end."""
    table = _Parquet(path) if path.suffix.lower() == ".parquet" else _Arrow(path)
    return table.columns(column, start)


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


# ---- columns ----------------------------------------------------------------------------------


def _column_of(path: Path, schema: pa.Schema, wanted: str | None) -> str:
    """Return the name of the column that holds the images."""
    possible = [field.name for field in schema if _can_hold_images(field.type)]
    shown = ", ".join(schema.names[:20])
    if wanted is not None:
        if schema.names.count(wanted) != 1:
            raise InputError(f"{path}: has no column '{wanted}', but {shown}. Give --column.")
        if wanted not in possible:
            raise InputError(
                f"{path}: the column '{wanted}' holds {schema.field(wanted).type}, not images. "
                "Give --column, or a column of encoded pictures or of lists of pixels."
            )
        return wanted
    usual = [name for name in USUAL_NAMES if name in possible]
    if not possible:
        raise InputError(
            f"{path}: has no column of images, but {shown or 'none at all'}. Give a column of "
            "encoded pictures, or of lists of pixels."
        )
    if len(possible) > 1 and not usual:
        raise InputError(
            f"{path}: several columns could hold images: {', '.join(possible[:20])}. "
            "Say which with --column."
        )
    found = usual[0] if usual else possible[0]
    if schema.names.count(found) != 1:
        raise InputError(f"{path}: has several columns named '{found}'. Rename them.")
    return found


def _stored(kind: pa.DataType) -> pa.DataType:
    """Return how a type is stored, where a library such as `datasets` gave it a name."""
    return kind.storage_type if isinstance(kind, pa.BaseExtensionType) else kind


def _can_hold_images(kind: pa.DataType) -> bool:
    kind = _stored(kind)
    return _holds_pictures(kind) or _leaf(kind) is not None


def _holds_pictures(kind: pa.DataType) -> bool:
    """Return whether values are encoded pictures: bytes, or a structure with `bytes` in it."""
    if pa.types.is_struct(kind):
        fields = {field.name: field.type for field in kind}
        return "bytes" in fields and _is_binary(fields["bytes"])
    return _is_binary(kind)


def _is_binary(kind: pa.DataType) -> bool:
    return pa.types.is_binary(kind) or pa.types.is_large_binary(kind)


def _leaf(kind: pa.DataType) -> pa.DataType | None:
    """Return the type of the numbers in lists, or in lists of lists; None where there are none."""
    depth = 0
    while (
        pa.types.is_list(kind) or pa.types.is_large_list(kind) or pa.types.is_fixed_size_list(kind)
    ):
        kind, depth = kind.value_type, depth + 1
    number = pa.types.is_integer(kind) or pa.types.is_floating(kind)
    return kind if 1 <= depth <= 3 and number else None


def _bytes_of(array: pa.Array) -> list[bytes | None]:
    if pa.types.is_struct(array.type):
        array = array.flatten()[array.type.get_field_index("bytes")]
    return array.to_pylist()


def _picture(name: str, content: bytes | None, height: int, width: int) -> tuple[str, np.ndarray]:
    if content is None:
        raise InputError(f"{name}: holds no picture. Fill it in, or leave the row out.")
    return picture_in(content, name, height, width)


def _from_pixels(
    path: Path, arrays: list[pa.Array], shape: tuple[int, ...], first: int
) -> np.ndarray:
    """Return lists of pixels as images ``(n, channels, height, width)``, or as vectors."""
    values = np.concatenate([_flat(path, array, shape) for array in arrays])
    if len(shape) == 1:
        return as_float32(as_images(values, name=str(path)), str(path), first)
    if values.dtype.kind == "f":
        raise InputError(
            f"{path}: holds pixels as floats, whose white may be 1 or 255. Write them as uint8."
        )
    channels, height, width = shape
    return as_images(values, (height, width, channels), name=str(path))


def _flat(path: Path, array: pa.Array, shape: tuple[int, ...]) -> np.ndarray:
    """Return the numbers of each list, ``(n, values)``."""
    n_rows, sides = len(array), []
    while pa.types.is_nested(array.type):
        whole = array.null_count == 0
        lengths = pc.min_max(pc.list_value_length(array)).as_py() if whole else {}
        sides.append(lengths.get("min") if len(set(lengths.values())) == 1 else None)
        array = array.flatten()
    if None in sides or array.null_count:
        raise InputError(
            f"{path}: some rows or pixels are missing, or rows differ in length. Bring all images "
            "to one size."
        )
    if sides not in _possible_sides(shape):
        wanted = " or ".join(" x ".join(map(str, one)) for one in _possible_sides(shape))
        raise InputError(
            f"{path}: a row has {' x '.join(map(str, sides))} pixels, but {wanted} are needed. "
            "Bring all images to that size."
        )
    return array.to_numpy(zero_copy_only=False).reshape(n_rows, math.prod(shape))


def _possible_sides(shape: tuple[int, ...]) -> list[list[int]]:
    """Return how lists of pixels may be nested, the channels last.

    Examples
    --------
    >>> _possible_sides((1, 8, 9)), _possible_sides((3, 8, 9)), _possible_sides((64,))
    ([[72], [8, 9], [8, 9, 1]], [[216], [8, 9, 3]], [[64]])
    """
    if len(shape) == 1:
        return [list(shape)]
    channels, height, width = shape
    grey = [[height, width]] if channels == 1 else []
    return [[math.prod(shape)], *grey, [height, width, channels]]
