"""Malformed Parquet, Arrow and tar files, which `selfsort predict` reads range by range."""

from __future__ import annotations

import gzip
import io
import struct
import tarfile
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from PIL import Image

SIDE = 16
PIXELS = np.random.default_rng(0).integers(0, 256, (12, SIDE, SIDE), dtype=np.uint8)


class BulkCase(NamedTuple):
    """What follows `selfsort predict RUN`, and the file or folder that its error must name."""

    arguments: list[object]
    named: Path


Make = Callable[[Path], BulkCase]


def png(pixels: np.ndarray = PIXELS[0]) -> bytes:
    out = io.BytesIO()
    Image.fromarray(pixels).save(out, "PNG")
    return out.getvalue()


def png_head(width: int, height: int) -> bytes:
    """Return a PNG that says it is of some size, with hardly a pixel in it."""
    whole = png()
    head = b"IHDR" + struct.pack(">II", width, height) + whole[24:29]
    checksum = struct.pack(">I", zlib.crc32(head))
    return whole[:12] + head + checksum + whole[33:]


def flipped(content: bytes, place: int) -> bytes:
    place %= len(content)
    return content[:place] + bytes([content[place] ^ 255]) + content[place + 1 :]


# ---- tables -----------------------------------------------------------------------------------


def lists(pixels: np.ndarray = PIXELS) -> pa.Array:
    flat = pixels.reshape(len(pixels), -1)
    return pa.array(list(flat), pa.list_(pa.from_numpy_dtype(flat.dtype)))


def pictures(*contents: bytes | None) -> pa.Array:
    rows = [None if one is None else {"bytes": one, "path": None} for one in contents]
    return pa.array(rows, pa.struct([("bytes", pa.binary()), ("path", pa.string())]))


def parquet(columns: dict[str, Any], **options: Any) -> bytes:
    out = io.BytesIO()
    pq.write_table(pa.table(columns), out, **options)
    return out.getvalue()


def arrow(columns: dict[str, Any], *, footer: bool = False) -> bytes:
    out, table = io.BytesIO(), pa.table(columns)
    writer = pa.ipc.new_file if footer else pa.ipc.new_stream
    with writer(out, table.schema) as file:
        file.write_table(table)
    return out.getvalue()


def zeros_packed() -> bytes:
    """Return a Parquet file of 1 MB at most that unpacks to 320 MB of zeros."""
    values = pa.array(np.zeros(320 << 20, np.uint8))
    column = pa.FixedSizeListArray.from_arrays(values, 1 << 10)
    return parquet({"image": column}, compression="zstd", use_dictionary=False)


SOUND = parquet({"image": lists()})
STREAM, WITH_FOOTER = arrow({"image": lists()}), arrow({"image": lists()}, footer=True)
OFFSETS = STREAM.find(struct.pack("<III", 0, SIDE**2, 2 * SIDE**2))

TABLES: dict[str, tuple[str, Callable[[], bytes]]] = {
    "parquet, empty": ("parquet", lambda: b""),
    "parquet, text": ("parquet", lambda: b"these are no images\n" * 10),
    "parquet, only the magic": ("parquet", lambda: b"PAR1PAR1"),
    "parquet, half": ("parquet", lambda: SOUND[: len(SOUND) // 2]),
    "parquet, one byte short": ("parquet", lambda: SOUND[:-1]),
    "parquet, a footer of 2 GB": ("parquet", lambda: SOUND[:-8] + b"\xff\xff\xff\x7fPAR1"),
    "parquet, footer flipped": ("parquet", lambda: flipped(SOUND, -200)),
    "parquet, pages zeroed": ("parquet", lambda: SOUND[:4] + bytes(2000) + SOUND[2004:]),
    "parquet, no rows": ("parquet", lambda: parquet({"image": lists()[:0]})),
    "parquet, no column": ("parquet", lambda: parquet({})),
    "parquet, text for images": ("parquet", lambda: parquet({"image": ["a", "b"]})),
    "parquet, numbers for images": ("parquet", lambda: parquet({"image": [1, 2]})),
    "parquet, paths without bytes": (
        "parquet",
        lambda: parquet({"image": [{"path": "a.png"}, {"path": "b.png"}]}),
    ),
    "parquet, two columns of images": (
        "parquet",
        lambda: parquet({"left": lists(), "right": lists()}),
    ),
    "parquet, no picture in the first row": (
        "parquet",
        lambda: parquet({"image": pictures(None, png())}),
    ),
    "parquet, a picture cut": ("parquet", lambda: parquet({"image": pictures(png()[:60])})),
    "parquet, a picture of 4 billion pixels": (
        "parquet",
        lambda: parquet({"image": pictures(png_head(60_000, 60_000))}),
    ),
    "parquet, rows of another length": (
        "parquet",
        lambda: parquet({"image": lists(PIXELS[:, :9])}),
    ),
    "parquet, rows of several lengths": (
        "parquet",
        lambda: parquet({"image": [[1] * 200, [1] * 312]}),
    ),
    "parquet, missing pixels": ("parquet", lambda: parquet({"image": [[None] * SIDE**2]})),
    "parquet, missing rows": (
        "parquet",
        lambda: parquet({"image": pa.array([None, [1] * SIDE**2], pa.list_(pa.uint8()))}),
    ),
    "parquet, floats": ("parquet", lambda: parquet({"image": lists(PIXELS / 255)})),
    "parquet, pixels of -1": ("parquet", lambda: parquet({"image": lists(PIXELS.astype(int) - 1)})),
    "parquet, a bomb of 320 MB": ("parquet", zeros_packed),
    "arrow, empty": ("arrow", lambda: b""),
    "arrow, text": ("arrow", lambda: b"these are no images\n" * 10),
    "arrow, half": ("arrow", lambda: STREAM[: len(STREAM) // 2]),
    "arrow, a head of 2 GB": ("arrow", lambda: b"\xff\xff\xff\xff\xff\xff\xff\x7f" + STREAM[8:]),
    "arrow, no rows": ("arrow", lambda: arrow({"image": lists()[:0]})),
    "arrow, only a schema": ("arrow", lambda: STREAM[: 8 + struct.unpack("<I", STREAM[4:8])[0]]),
    "arrow, offsets beyond its end": (
        "arrow",
        lambda: STREAM[: OFFSETS + 4] + b"\xff\xff\xff\x7f" + STREAM[OFFSETS + 8 :],
    ),
    "arrow, text for images": ("arrow", lambda: arrow({"image": ["a", "b"]})),
    "arrow with footer, half": ("arrow", lambda: WITH_FOOTER[: len(WITH_FOOTER) // 2]),
    "arrow with footer, a footer of 2 GB": (
        "arrow",
        lambda: WITH_FOOTER[:-10] + b"\xff\xff\xff\x7fARROW1",
    ),
}


# ---- shards -----------------------------------------------------------------------------------


def member(name: str, content: bytes = b"", **changes: Any) -> bytes:
    info = tarfile.TarInfo(name)
    info.size = len(content)
    for key, value in changes.items():
        setattr(info, key, value)
    padded = content + bytes(-len(content) % tarfile.BLOCKSIZE)
    return info.tobuf(tarfile.GNU_FORMAT) + padded


def tar(*members: bytes, end: bytes = bytes(1024)) -> bytes:
    return b"".join(members) + end


def sealed(header: bytes) -> bytes:
    """Return a header whose checksum is right."""
    blank = header[:148] + b" " * 8 + header[156:]
    return header[:148] + b"%06o\0 " % sum(blank[:512]) + header[156:]


def with_size(content: bytes, size: bytes) -> bytes:
    return sealed(content[:124] + size + content[136:])


def sparse() -> bytes:
    """Return a member of 512 bytes that says it is a file of 8 GiB with a hole."""
    head = bytearray(member("0.png", bytes(512), type=tarfile.GNUTYPE_SPARSE))
    head[386:410] = b"%011o\0%011o\0" % (0, 512)
    head[483:495] = b"%011o\0" % (2**33 - 1)
    return sealed(bytes(head))


ONE, TWO = member("0.png", png()), member("1.png", png(PIXELS[1]))
SHARDS: dict[str, Callable[[], bytes]] = {
    "tar, empty": lambda: b"",
    "tar, text": lambda: b"these are no images\n" * 100,
    "tar, only zeros": lambda: bytes(10_240),
    "tar, packed": lambda: gzip.compress(tar(ONE)),
    "tar, cut in a header": lambda: tar(ONE, TWO)[: len(ONE) + 100],
    "tar, cut in a picture": lambda: tar(ONE, TWO)[: len(ONE) + 700],
    "tar, cut between two pictures": lambda: ONE,
    "tar, a header flipped": lambda: tar(ONE, flipped(TWO, 100), ONE),
    "tar, a name that climbs": lambda: tar(ONE, member("../../evil.png", png())),
    "tar, a name that climbs within": lambda: tar(ONE, member("a/../../evil.png", png())),
    "tar, an absolute name": lambda: tar(ONE, member("/evil.png", png())),
    "tar, no picture": lambda: tar(member("0.cls", b"3"), member("0.json", b"{}")),
    "tar, only links": lambda: tar(member("0.png", type=tarfile.SYMTYPE, linkname="/etc/passwd")),
    "tar, only devices": lambda: tar(member("0.png", type=tarfile.CHRTYPE)),
    "tar, a sparse bomb": lambda: tar(sparse()),
    "tar, 8 GiB promised": lambda: tar(with_size(ONE, b"77777777777\0")),
    "tar, a negative size": lambda: tar(with_size(ONE, b"\xff" * 10 + b"\xfe\x00")),
    "tar, a size beyond 64 bits": lambda: tar(with_size(ONE, b"\x80" + b"\xff" * 11)),
    "tar, a long name of 8 GiB": lambda: tar(
        with_size(member("x", b"a" * 600, type=tarfile.GNUTYPE_LONGNAME), b"77777777777\0"), ONE
    ),
    "tar, a negative size in an extended header": lambda: tar(
        member("x", b"13 size=-512\n", type=tarfile.XHDTYPE), ONE, ONE
    ),
    "tar, a picture of 4 billion pixels": lambda: tar(member("0.png", png_head(60_000, 60_000))),
    "tar, a picture cut": lambda: tar(member("0.png", png()[:60])),
    "tar, a script named .png": lambda: tar(member("0.png", b"import os\nos.remove('x')\n")),
}


def file_of(suffix: str, content: Callable[[], bytes]) -> Make:
    def make(folder: Path) -> BulkCase:
        path = folder / f"input.{suffix}"
        path.write_bytes(content())
        return BulkCase([path], path)

    return make


def two_kinds(folder: Path) -> BulkCase:
    (folder / "data").mkdir()
    (folder / "data" / "a.parquet").write_bytes(SOUND)
    (folder / "data" / "b.tar").write_bytes(tar(ONE))
    return BulkCase([folder / "data"], folder / "data")


def second_file(folder: Path) -> BulkCase:
    (folder / "data").mkdir()
    (folder / "data" / "a.parquet").write_bytes(SOUND)
    (folder / "data" / "b.parquet").write_bytes(SOUND[:-1])
    return BulkCase([folder / "data"], folder / "data" / "b.parquet")


def another_column(folder: Path) -> BulkCase:
    case = file_of("parquet", lambda: SOUND)(folder)
    return BulkCase([*case.arguments, "--column", "pixels"], case.named)


def a_table_to_csv(folder: Path) -> BulkCase:
    case = file_of("parquet", lambda: SOUND)(folder)
    return BulkCase([*case.arguments, "--out", folder / "out.csv"], case.named)


BULK: dict[str, Make] = {
    **{name: file_of(suffix, content) for name, (suffix, content) in TABLES.items()},
    **{name: file_of("tar", content) for name, content in SHARDS.items()},
    "folder, of Parquet files and shards": two_kinds,
    "folder, of Parquet files, the second one cut": second_file,
    "parquet, a column that is not there": another_column,
    "parquet, to a CSV file": a_table_to_csv,
}

HEAVY = (
    "parquet, half",
    "parquet, a footer of 2 GB",
    "parquet, a picture of 4 billion pixels",
    "parquet, a bomb of 320 MB",
    "arrow, a head of 2 GB",
    "arrow, offsets beyond its end",
    "arrow with footer, a footer of 2 GB",
    "tar, a name that climbs",
    "tar, a sparse bomb",
    "tar, 8 GiB promised",
    "tar, a negative size",
    "tar, a long name of 8 GiB",
    "tar, a picture of 4 billion pixels",
)
"""Those that could take memory and time: they are read in processes with limits."""
