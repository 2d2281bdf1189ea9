"""WebDataset's shards: tar files, of which the PNG and JPEG members are the images.

They are read by the standard library and selfsort's own reader of pictures. The library
`webdataset` is not used: it chooses a decoder by a member's ending, and some of its decoders run
what is in the file; and it reads from the first member on, where here any range is needed.
"""

from __future__ import annotations

import bisect
import functools
import itertools
import tarfile
from collections.abc import Iterator, Sequence
from pathlib import Path, PurePosixPath
from typing import ClassVar, Literal, NamedTuple

import numpy as np

from selfsort.errors import InputError
from selfsort.images.files import check_file, check_name, printable
from selfsort.images.folders import OnError, is_picture
from selfsort.sources.base import (
    MOST_BYTES,
    Chunk,
    Pictures,
    Source,
    facts_of_files,
    fingerprint_of,
    picture_in,
)

_UNREADABLE = (tarfile.TarError, OSError, ValueError, EOFError, MemoryError, OverflowError)
BLOCK = tarfile.BLOCKSIZE
CLASS = ".cls"
"""What WebDataset calls the file with the class of a sample."""
MOST_LETTERS = 1000


class Member(NamedTuple):
    """A picture in a shard: its name, and where its bytes are."""

    name: str
    start: int
    n_bytes: int


class ShardSource(Source):
    """The pictures in tar files, in their order.

    Opening reads the headers of all members once, to count them; those of a shard are kept in
    memory while it is read from. Members are never unpacked to the disk.

    Parameters
    ----------
    where : Path
        The tar file or the folder of them, for errors.
    paths : sequence of Path
        The shards, in order.
    shape : sequence of int
        ``(channels, height, width)``.
    on_error : {"stop", "skip"}
    """

    key: ClassVar[Literal["file", "index"]] = "file"

    def __init__(
        self, where: Path, paths: Sequence[Path], shape: Sequence[int], on_error: OnError
    ) -> None:
        super().__init__(str(where))
        self.paths = list(paths)
        self.pictures = Pictures(shape, on_error, self.where)
        counts = (sum(1 for _ in members(path)) for path in self.paths)
        self.ends = list(itertools.accumulate(counts))
        if not len(self):
            raise InputError(
                f"{where}: there is no PNG or JPEG file in it. Give shards with pictures."
            )
        self._listed: tuple[int, list[Member]] = (-1, [])

    def __len__(self) -> int:
        return self.ends[-1]

    def read(self, start: int, stop: int) -> Chunk:
        return self.pictures.chunk(
            (f"{shard.name}/{member.name}", functools.partial(_read, shard, member))
            for shard, member in self._between(start, stop)
        )

    def _between(self, start: int, stop: int) -> Iterator[tuple[Path, Member]]:
        """Yield the members of a range, each with its shard."""
        while start < stop:
            k = bisect.bisect_right(self.ends, start)
            first = self.ends[k - 1] if k else 0
            last = min(stop, self.ends[k])
            for member in self._members(k)[start - first : last - first]:
                yield self.paths[k], member
            start = last

    def _members(self, k: int) -> list[Member]:
        if self._listed[0] != k:
            self._listed = (k, list(members(self.paths[k])))
        return self._listed[1]

    def names(self) -> list[str]:
        return [f"{path.name}/{member.name}" for path in self.paths for member in members(path)]

    def labels(self) -> np.ndarray | None:
        """Return what the `.cls` member beside each picture says, as WebDataset has it."""
        found = [label for path in self.paths for label in _labels_in(path)]
        return np.array(found) if any(found) else None

    def fingerprint(self) -> str:
        return fingerprint_of(facts_of_files(self.paths))


class _Info(tarfile.TarInfo):
    """A header whose size is not negative: before Python 3.11.14 that led into an endless loop."""

    def _block(self, count: int) -> int:
        if count < 0:
            raise tarfile.HeaderError("a negative size")
        return int(super()._block(count))  # type: ignore[misc]


def members(path: Path) -> Iterator[Member]:
    """Yield the pictures of a tar file, hidden ones left out.

    Raises
    ------
    InputError
        If it is damaged, is packed, or a name in it leads out of it.
    """
    return filter(_is_picture, _entries(path))


def _is_picture(member: Member) -> bool:
    return is_picture(PurePosixPath(member.name).name)


def _labels_in(path: Path) -> list[str]:
    """Return the label of each picture of a tar file, "" where it has none."""
    keys, classes = [], {}
    for member in _entries(path):
        folder, _, name = member.name.rpartition("/")
        key = (folder, name.partition(".")[0])
        if _is_picture(member):
            keys.append(key)
        elif name.endswith(CLASS):
            classes[key] = _text(path, member)
    return [classes.get(key, "") for key in keys]


def _text(shard: Path, member: Member) -> str:
    content = _content(shard, member, MOST_LETTERS + 1)
    try:
        text = content.decode().strip()
    except UnicodeDecodeError:
        text = "\0"
    if len(content) > MOST_LETTERS or not text.isprintable():
        raise InputError(
            f"{shard}, {printable(member.name)}: is no class. Write its number or its name into it."
        )
    return text


def _entries(path: Path) -> Iterator[Member]:
    """Yield the files in a tar file."""
    check_file(path)
    n_bytes = path.stat().st_size
    try:
        with open(path, "rb") as file, tarfile.open(fileobj=file, mode="r:", tarinfo=_Info) as tar:
            while (info := tar.next()) is not None:
                tar.members.clear()  # type: ignore[attr-defined]  # it would keep all of them
                _check(path, info, n_bytes)
                if info.isreg():
                    yield Member(info.name, info.offset_data, info.size)
            file.seek(tar.offset)
            if file.read(BLOCK).strip(b"\0") or tar.offset + BLOCK > n_bytes:
                raise tarfile.ReadError("it ends without the mark of its end, or is damaged")
    except _UNREADABLE as error:
        if isinstance(error, InputError):
            raise
        reason = str(error).rstrip(".") or type(error).__name__
        raise InputError(
            f"{path}: not a readable tar file ({reason}). Copy it again; unpack it first if it is "
            "packed, as .tar.gz is."
        ) from error


def _check(path: Path, info: tarfile.TarInfo, n_bytes: int) -> None:
    """Raise for a member that no writer of shards makes."""
    shown = f"{path}, {printable(info.name)}"
    name = PurePosixPath(info.name)
    if name.is_absolute() or ".." in name.parts:
        raise InputError(f"{shown}: the name leads out of the archive. Do not trust this file.")
    if info.issparse():
        raise InputError(f"{shown}: is a sparse file, which no picture is. Pack it again.")
    if info.offset_data + info.size > n_bytes:
        raise InputError(
            f"{shown}: {info.size} bytes are promised, more than there are. Copy the file again."
        )


def _content(shard: Path, member: Member, most: int) -> bytes:
    with open(shard, "rb") as file:
        file.seek(member.start)
        return file.read(min(member.n_bytes, most))


def _read(shard: Path, member: Member, height: int, width: int) -> tuple[str, np.ndarray]:
    check_name(shard, member.name)
    content = _content(shard, member, MOST_BYTES + 1)
    return picture_in(content, f"{shard}, {member.name}", height, width)
