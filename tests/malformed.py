"""Malformed inputs of every kind, each with the command that reads it and the file to be named."""

from __future__ import annotations

import gzip
import io
import json
import os
import shutil
import struct
import zipfile
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from malformed_bulk import BULK, HEAVY, BulkCase
from PIL import Image, PngImagePlugin

RNG = np.random.default_rng(0)
PIXELS = RNG.integers(0, 256, (12, 10, 10), dtype=np.uint8)
LABELS = np.arange(12) % 3


class Case(NamedTuple):
    """A command, and the file or folder that its error must name."""

    arguments: list[object]
    named: Path


Make = Callable[[Path], Case]
make_pipe: Any = getattr(os, "mkfifo", None)  # which Windows has not
CASES: dict[str, Make] = {}


def case(name: str, make: Make) -> None:
    assert name not in CASES, name
    CASES[name] = make


def train(path: Path, *more: object, named: Path | None = None) -> Case:
    return Case(["train", path, *more], named or path)


def file_of(suffix: str, content: bytes, *more: object) -> Make:
    """Return a maker of one file that `selfsort train` is given."""

    def make(folder: Path) -> Case:
        path = folder / f"input{suffix}"
        path.write_bytes(content)
        return train(path, *more)

    return make


# ---- idx ------------------------------------------------------------------------------------


def idx(array: np.ndarray, sizes: tuple[int, ...] | None = None, kind: int = 8) -> bytes:
    shape = array.shape if sizes is None else sizes
    return struct.pack(f">HBB{len(shape)}I", 0, kind, len(shape), *shape) + array.tobytes()


SOUND = idx(PIXELS)

IDX = {
    "empty": b"",
    "one byte": b"\0",
    "only zeros": bytes(1000),
    "another magic": b"\xca\xfe\xba\xbe" + SOUND[4:],
    "floats": idx(PIXELS, kind=0x0D),
    "no dimension": b"\0\0\x08\0" + SOUND[4:],
    "five dimensions": idx(PIXELS, (12, 10, 10, 1, 1)),
    "255 dimensions": b"\0\0\x08\xff" + SOUND[4:],
    "one image more promised": idx(PIXELS, (13, 10, 10)),
    "one image less promised": idx(PIXELS, (11, 10, 10)),
    "4 billion images promised": idx(PIXELS, (2**32 - 1, 10, 10)),
    "7 billion pixels promised": idx(PIXELS, (7_000_000, 32, 32)),
    "3 GiB promised": idx(PIXELS, (3 << 10, 1 << 10, 1 << 10)),
    "huge sides": idx(PIXELS, (12, 2**31, 2**31)),
    "a product beyond 64 bits": idx(PIXELS, (2**32 - 1, 2**32 - 1, 2**32 - 1)),
    "one byte more": SOUND + b"\0",
    "one byte less": SOUND[:-1],
    "half": SOUND[: len(SOUND) // 2],
    "no images": idx(PIXELS[:0]),
    "no height": idx(PIXELS, (12, 0, 10)),
    "no width, but billions of images": idx(PIXELS[:0], (2**32 - 1, 2**32 - 1, 0)),
    "images of 4 x 4": idx(PIXELS[:, :4, :4].copy()),
    "images of 1 x 100": idx(PIXELS.reshape(12, 1, 100)),
    "labels": idx(LABELS.astype(np.uint8)),
    "rows": idx(PIXELS.reshape(12, 100)),
    "text": b"these are no images\n" * 10,
}
for _name, _content in IDX.items():
    case(f"idx, {_name}", file_of("-images.idx", _content))
for _length in (2, 3, 4, 5, 8, 11, 12, 15, 16):
    case(f"idx, cut to {_length} bytes", file_of(".idx", SOUND[:_length]))


def with_labels(content: bytes) -> Make:
    def make(folder: Path) -> Case:
        images, labels = folder / "x-images-idx3-ubyte", folder / "x-labels-idx1-ubyte"
        images.write_bytes(SOUND)
        labels.write_bytes(content)
        return train(images, named=labels)

    return make


for _name, _content in {
    "empty": b"",
    "text": b"0,1,2",
    "one too few": idx(LABELS[1:].astype(np.uint8)),
    "one too many": idx(np.zeros(13, np.uint8)),
    "images": SOUND,
    "cut": idx(LABELS.astype(np.uint8))[:-1],
}.items():
    case(f"idx labels, {_name}", with_labels(_content))


# ---- gzip ---------------------------------------------------------------------------------


def zeros_packed(header: bytes, n_bytes: int) -> bytes:
    """Return gzip data of a header and many zeros, a thousandth of their size."""
    out = io.BytesIO()
    with gzip.GzipFile(fileobj=out, mode="wb", mtime=0) as file:
        file.write(header)
        block = bytes(1 << 24)
        for _ in range(n_bytes >> 24):
            file.write(block)
    return out.getvalue()


PACKED = gzip.compress(SOUND, mtime=0)
GZ: dict[str, Callable[[], bytes]] = {
    "nothing packed": lambda: gzip.compress(b""),
    "text packed": lambda: gzip.compress(b"hello, these are no images"),
    "packed twice": lambda: gzip.compress(PACKED),
    "rubbish after the magic": lambda: b"\x1f\x8b" + bytes(range(200)),
    "only the magic": lambda: b"\x1f\x8b",
    "another method": lambda: PACKED[:2] + b"\7" + PACKED[3:],
    "checksum flipped": lambda: PACKED[:-5] + bytes([PACKED[-5] ^ 1]) + PACKED[-4:],
    "length flipped": lambda: PACKED[:-1] + bytes([PACKED[-1] ^ 1]),
    "content flipped": lambda: PACKED[:200] + bytes([PACKED[200] ^ 255]) + PACKED[201:],
    "rubbish after its end": lambda: PACKED + b"rubbish",
    "more images in a second member": lambda: PACKED + gzip.compress(b"more"),
    "a bomb of 1.5 GiB, promised": lambda: zeros_packed(
        struct.pack(">HBBIII", 0, 8, 3, 1536, 1024, 1024), 1536 << 20
    ),
    "a bomb, not promised": lambda: zeros_packed(SOUND, 256 << 20),
    "7 GiB promised": lambda: gzip.compress(idx(PIXELS, (7 << 10, 1 << 10, 1 << 10))),
}
for _name, _make in GZ.items():
    case(f"idx.gz, {_name}", lambda folder, make=_make: file_of(".idx.gz", make())(folder))
for _share in (0.05, 0.2, 0.5, 0.9, 0.99):
    case(f"idx.gz, cut to {_share:.0%}", file_of(".idx.gz", PACKED[: int(_share * len(PACKED))]))


# ---- npy ----------------------------------------------------------------------------------


def npy(array: Any, *, pickled: bool = False) -> bytes:
    out = io.BytesIO()
    np.save(out, array, allow_pickle=pickled)
    return out.getvalue()


def npy_of(header: str, content: bytes = PIXELS.tobytes()) -> bytes:
    """Return an npy file with this header, true or not."""
    text = header.encode("latin1").ljust(118) + b"\n"
    return b"\x93NUMPY\x01\x00" + struct.pack("<H", len(text)) + text + content


def shaped(shape: str, descr: str = "'|u1'") -> bytes:
    return npy_of(f"{{'descr': {descr}, 'fortran_order': False, 'shape': {shape}, }}")


NPY = {
    "empty": b"",
    "only the magic": b"\x93NUMPY",
    "version 9": b"\x93NUMPY\x09\x00" + npy(PIXELS)[8:],
    "half": npy(PIXELS)[:600],
    "half a header": npy(PIXELS)[:40],
    "text": b"0 1 2 3 4",
    "objects": npy(np.array([{}, []], dtype=object), pickled=True),
    "a pickle": b"\x80\x04\x95\x0b\x00\x00\x00\x00\x00\x00\x00\x8c\x07payload.",
    "records": npy(np.zeros(12, dtype=[("a", "u1"), ("b", "u1")])),
    "complex numbers": npy(PIXELS.astype(complex)),
    "text values": npy(np.array(["a", "b"])),
    "bytes values": npy(np.array([b"a", b"b"])),
    "dates": npy(np.zeros((12, 10, 10), "datetime64[s]")),
    "NaN": npy(np.where(PIXELS[3, 2, 1] == PIXELS, np.nan, PIXELS / 255)),
    "infinity": npy(np.where(PIXELS[3, 2, 1] == PIXELS, np.inf, PIXELS / 255)),
    "beyond float32": npy(PIXELS * 1e300),
    "a number": npy(np.float64(3)),
    "a row": npy(PIXELS[0, 0]),
    "five dimensions": npy(PIXELS[:, :, :, None, None]),
    "no images": npy(PIXELS[:0]),
    "no width": npy(PIXELS[:, :, :0]),
    "one image": npy(PIXELS[:1]),
    "negative pixels": npy(PIXELS.astype(int) - 1),
    "pixels beyond 255": npy(PIXELS.astype(int) + 1),
    "pixels from -1 to 1": npy(PIXELS / 127.5 - 1),
    "images of 7 x 10": npy(PIXELS[:, :7]),
    "channels first": npy(np.zeros((12, 3, 10, 10), np.uint8)),
    "nine channels": npy(np.zeros((12, 10, 10, 9), np.uint8)),
    "a zip archive": b"PK\x05\x06" + bytes(18),
    "10 TB promised": shaped("(10000000000, 10, 100)"),
    "2 GB promised": shaped("(2000000, 10, 100)"),
    "a negative shape": shaped("(-12, 10, 10)"),
    "a shape of floats": shaped("(12.0, 10, 10)"),
    "a shape of texts": shaped("('12', 10, 10)"),
    "a product beyond 64 bits": shaped("(2**62, 2**62, 10)".replace("2**62", str(2**62))),
    "a side beyond 64 bits": shaped(f"({10**40}, 10, 10)"),
    "a side beyond 64 bits and one of 0": shaped(f"({10**40}, 0, 10)"),
    "an unknown type": shaped("(12, 10, 10)", "'|q9'"),
    "objects by the header": shaped("(12, 10, 10)", "'|O'"),
    "a header that is code": npy_of("__import__('os').system('touch marker')"),
    "a header without end": npy_of("{'descr': '|u1', 'shape': " + "(" * 60),
    "a header of zeros": npy_of("\0" * 50),
    "a header of 60,000 brackets": b"\x93NUMPY\x01\x00" + struct.pack("<H", 60_000) + b"(" * 60_000,
    "a header of 4 GB promised": b"\x93NUMPY\x02\x00" + struct.pack("<I", 2**32 - 1) + b"{}",
}
for _name, _content in NPY.items():
    case(f"npy, {_name}", file_of(".npy", _content))


# ---- npz ----------------------------------------------------------------------------------


def npz(**arrays: Any) -> bytes:
    out = io.BytesIO()
    np.savez_compressed(out, **arrays)
    return out.getvalue()


def zipped(members: dict[str, bytes]) -> bytes:
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in members.items():
            archive.writestr(name, content)
    return out.getvalue()


def zip_bomb() -> bytes:
    """Return an archive of 1.5 MB that unpacks to 1.5 GiB."""
    out = io.BytesIO()
    with (
        zipfile.ZipFile(out, "w", zipfile.ZIP_DEFLATED) as archive,
        archive.open("images.npy", "w", force_zip64=True) as file,
    ):
        file.write(shaped(f"({3 << 18}, 32, 64)")[:128])
        block = bytes(1 << 24)
        for _ in range(96):
            file.write(block)
    return out.getvalue()


def encrypted() -> bytes:
    """Return an archive whose members are marked as encrypted."""
    content = bytearray(npz(images=PIXELS))
    for magic, place in ((b"PK\x03\x04", 6), (b"PK\x01\x02", 8)):
        content[content.find(magic) + place] |= 1
    return bytes(content)


ARCHIVE = npz(images=PIXELS, labels=LABELS)
NPZ: dict[str, Callable[[], bytes]] = {
    "empty": lambda: b"",
    "text": lambda: b"images",
    "an npy file": lambda: npy(PIXELS),
    "nothing in it": lambda: zipped({}),
    "other names": lambda: npz(pictures=PIXELS),
    "no npy in it": lambda: zipped({"images": b"hello"}),
    "text for images": lambda: zipped({"images.npy": b"hello"}),
    "a pickle for images": lambda: zipped({"images.npy": NPY["a pickle"]}),
    "objects for images": lambda: zipped({"images.npy": NPY["objects"]}),
    "labels that are no array": lambda: zipped({"images.npy": npy(PIXELS), "labels.npy": b"hello"}),
    "objects for labels": lambda: zipped({"images.npy": npy(PIXELS), "labels.npy": NPY["objects"]}),
    "cut in the middle": lambda: ARCHIVE[: len(ARCHIVE) // 2],
    "cut at its end": lambda: ARCHIVE[:-10],
    "content flipped": lambda: ARCHIVE[:300] + bytes([ARCHIVE[300] ^ 255]) + ARCHIVE[301:],
    "encrypted": encrypted,
    "a bomb": zip_bomb,
    "no images": lambda: npz(images=PIXELS[:0]),
    "NaN": lambda: npz(images=np.full((12, 10, 10), np.nan)),
    "labels of floats": lambda: npz(images=PIXELS, labels=LABELS / 2),
    "labels in two columns": lambda: npz(images=PIXELS, labels=np.c_[LABELS, LABELS]),
    "one label too few": lambda: npz(images=PIXELS, labels=LABELS[1:]),
    "more labels than images": lambda: npz(images=PIXELS, labels=np.r_[LABELS, LABELS]),
    "a label of -2": lambda: npz(images=PIXELS, labels=LABELS - 2),
    "labels beyond 64 bits": lambda: npz(images=PIXELS, labels=LABELS * 1e30),
    "test images of another size": lambda: npz(x_train=PIXELS, x_test=PIXELS[:, :9]),
    "numbers and text as labels": lambda: npz(
        x_train=PIXELS, y_train=LABELS, x_test=PIXELS, y_test=LABELS.astype(str)
    ),
}
for _name, _make in NPZ.items():
    case(f"npz, {_name}", lambda folder, make=_make: file_of(".npz", make())(folder))
case("npz, one class", file_of(".npz", npz(images=PIXELS, labels=LABELS * 0), "--labels", "all"))


# ---- pictures ---------------------------------------------------------------------------


def picture(kind: str = "PNG", pixels: np.ndarray = PIXELS[0], **options: Any) -> bytes:
    out = io.BytesIO()
    Image.fromarray(pixels).save(out, kind, **options)
    return out.getvalue()


def chunk(kind: bytes, content: bytes, checksum: int | None = None) -> bytes:
    found = zlib.crc32(kind + content) if checksum is None else checksum
    return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", found)


def png(width: int, height: int, rows: bytes, *, depth: int = 8, colour: int = 0) -> bytes:
    head = struct.pack(">IIBBBBB", width, height, depth, colour, 0, 0, 0)
    packed = chunk(b"IDAT", zlib.compress(rows, 9))
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", head) + packed + chunk(b"IEND", b"")


def text_bomb() -> bytes:
    """Return a PNG whose comment unpacks to 200 MB."""
    info = PngImagePlugin.PngInfo()
    info.add_text("Comment", "a" * 200_000_000, zip=True)
    return picture(pnginfo=info)


PNG, JPEG = picture(), picture("JPEG")
PICTURES: dict[str, tuple[str, Callable[[], bytes]]] = {
    "empty PNG": ("png", lambda: b""),
    "empty JPEG": ("jpg", lambda: b""),
    "text named .png": ("png", lambda: b"no picture"),
    "text named .jpg": ("jpg", lambda: b"no picture"),
    "HTML named .png": ("png", lambda: b"<!DOCTYPE html><html></html>"),
    "SVG named .png": ("png", lambda: b"<svg xmlns='http://www.w3.org/2000/svg'/>"),
    "zip named .png": ("png", lambda: ARCHIVE),
    "zeros named .png": ("png", lambda: bytes(10_000)),
    "noise named .jpeg": ("jpeg", lambda: RNG.bytes(10_000)),
    "TIFF named .png": ("png", lambda: picture("TIFF")),
    "GIF named .png": ("png", lambda: picture("GIF")),
    "BMP named .jpg": ("jpg", lambda: picture("BMP")),
    "WebP named .png": ("png", lambda: picture("WEBP")),
    "ICO named .png": ("png", lambda: picture("ICO", np.zeros((32, 32), np.uint8))),
    "PPM named .jpg": ("jpg", lambda: picture("PPM")),
    "EPS named .png": ("png", lambda: picture("EPS")),
    "PDF named .png": ("png", lambda: picture("PDF")),
    "PCX named .png": ("png", lambda: picture("PCX")),
    "TGA named .png": ("png", lambda: picture("TGA")),
    "only the PNG signature": ("png", lambda: PNG[:8]),
    "PNG cut in IHDR": ("png", lambda: PNG[:20]),
    "PNG cut after IHDR": ("png", lambda: PNG[:33]),
    "PNG cut in IDAT": ("png", lambda: PNG[:60]),
    "PNG checksum of IHDR flipped": ("png", lambda: PNG[:29] + bytes([PNG[29] ^ 1]) + PNG[30:]),
    "PNG pixels flipped": ("png", lambda: PNG[:50] + bytes([PNG[50] ^ 255]) + PNG[51:]),
    "PNG without pixels": ("png", lambda: PNG[:33] + chunk(b"IEND", b"")),
    "PNG without width": ("png", lambda: png(0, 10, bytes(110))),
    "PNG of 2 billion x 2 billion": ("png", lambda: png(2**31 - 1, 2**31 - 1, bytes(110))),
    "PNG of 100 megapixels": ("png", lambda: png(10_000, 10_000, bytes(10_001 * 10_000))),
    "PNG of 400 megapixels": ("png", lambda: png(20_000, 20_000, bytes(110))),
    "PNG of a colour type there is not": ("png", lambda: png(10, 10, bytes(110), colour=5)),
    "PNG of a depth there is not": ("png", lambda: png(10, 10, bytes(110), depth=7)),
    "PNG with a chunk longer than the file": (
        "png",
        lambda: PNG[:33] + struct.pack(">I", 2**31 - 1) + b"IDAT" + PNG[41:],
    ),
    "PNG with a comment of 200 MB": ("png", text_bomb),
    "JPEG cut in its head": ("jpg", lambda: JPEG[:100]),
    "JPEG cut in its pixels": ("jpg", lambda: JPEG[:-40]),
    "only the JPEG signature": ("jpg", lambda: JPEG[:4]),
    "JPEG of 65,500 x 65,500": (
        "jpg",
        lambda: JPEG.replace(struct.pack(">HH", 10, 10), struct.pack(">HH", 65_500, 65_500), 1),
    ),
}


def among_sound_pictures(name: str, content: Callable[[], bytes]) -> Make:
    def make(folder: Path) -> Case:
        pictures = folder / "pictures"
        pictures.mkdir()
        for i in range(4):
            (pictures / f"{i}.png").write_bytes(picture(pixels=PIXELS[i]))
        path = pictures / name
        path.write_bytes(content())
        return train(pictures, "--on-error", "stop", named=path)

    return make


for _name, (_suffix, _make) in PICTURES.items():
    case(f"picture, {_name}", among_sound_pictures(f"broken.{_suffix}", _make))


# ---- folders and special files ------------------------------------------------------------


def in_folder(build: Callable[[Path], Path | None], *more: object) -> Make:
    """Return a maker of a folder; `build` returns the file to be named, None: the folder."""

    def make(folder: Path) -> Case:
        pictures = folder / "pictures"
        pictures.mkdir()
        named = build(pictures)
        return train(pictures, "--on-error", "stop", *more, named=named or pictures)

    return make


def sound(folder: Path, *names: str) -> None:
    for i, name in enumerate(names):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(picture(pixels=PIXELS[i]))


def beside(folder: Path, name: str, make: Callable[[Path], object]) -> Path:
    sound(folder, "a.png", "b.png", "c.png")
    make(folder / name)
    return folder / name


def not_utf8(folder: Path) -> Path:
    sound(folder, "a.png")
    with open(os.fsencode(folder) + b"/caf\xe9.png", "wb") as file:
        file.write(PNG)
    return Path("caf")


def class_not_utf8(folder: Path) -> Path:
    sound(folder, "a/a.png")
    os.mkdir(os.fsencode(folder) + b"/caf\xe9")
    with open(os.fsencode(folder) + b"/caf\xe9/b.png", "wb") as file:
        file.write(PNG)
    return Path("caf")


def unreadable(folder: Path) -> Path:
    return beside(folder, "d.png", lambda path: (path.write_bytes(PNG), path.chmod(0)))


FOLDERS: dict[str, Callable[[Path], Path | None]] = {
    "empty": lambda folder: None,
    "no picture": lambda folder: (folder / "notes.txt").write_text("x") and None,
    "only hidden pictures": lambda folder: sound(folder, ".a.png", ".b/c.png"),
    "pictures of other kinds": lambda folder: (
        (folder / "a.gif").write_bytes(picture("GIF")) and None
    ),
    "one picture": lambda folder: sound(folder, "a.png"),
    "train without pictures": lambda folder: (
        sound(folder, "test/a.png"),
        (folder / "train").mkdir(),
        folder / "train",
    )[-1],
    "a picture beside train and test": lambda folder: sound(
        folder, "train/a.png", "test/b.png", "c.png"
    ),
    "a class beside train and test": lambda folder: sound(
        folder, "train/a.png", "test/b.png", "x/c.png"
    ),
    "a link to itself": lambda folder: beside(
        folder, "d.png", lambda path: path.symlink_to(path.name)
    ),
    "a link to nowhere": lambda folder: beside(
        folder, "d.png", lambda path: path.symlink_to("nowhere.png")
    ),
    "a link to a device": lambda folder: beside(
        folder, "d.png", lambda path: path.symlink_to("/dev/zero")
    ),
    "a pipe": lambda folder: beside(folder, "d.png", make_pipe),
    "a name that is not UTF-8": not_utf8,
    "a class that is not UTF-8": class_not_utf8,
    "idx files, one of them cut": lambda folder: (
        (folder / "train-images-idx3-ubyte").write_bytes(SOUND[:-1]),
        folder / "train-images-idx3-ubyte",
    )[-1],
    "idx files, labels of another count": lambda folder: (
        (folder / "train-images-idx3-ubyte").write_bytes(SOUND),
        (folder / "train-labels-idx1-ubyte").write_bytes(idx(np.zeros(9, np.uint8))),
        None,
    )[-1],
}
for _name, _build in FOLDERS.items():
    case(f"folder, {_name}", in_folder(_build))
case("folder, one class", in_folder(lambda f: sound(f, "x/a.png", "x/b.png"), "--labels", "all"))


def link_to_itself(folder: Path) -> Case:
    (folder / "loop").symlink_to("loop")
    return train(folder / "loop")


def pipe(folder: Path) -> Case:
    make_pipe(folder / "pipe.npy")
    return train(folder / "pipe.npy")


case("a link to itself", link_to_itself)
case("nothing there", lambda folder: train(folder / "nothing.npy"))
case("a pipe", pipe)
case("a device without end", lambda folder: train(Path("/dev/zero")))
case("a terminal's device", lambda folder: train(Path("/dev/full")))
case("an unknown suffix", file_of(".csv", b"1,2,3\n"))
case("a very long name", lambda folder: train(folder / ("x" * 300), named=folder))
case("a file as a folder", lambda folder: (
    (folder / "a.npy").write_bytes(npy(PIXELS)),
    train(folder / "a.npy" / "b.npy"),
)[-1])  # fmt: skip


# ---- labels ---------------------------------------------------------------------------------


def labelled(content: bytes | Callable[[Path], object]) -> Make:
    """Return a maker of pictures a.png … e.png with a CSV file of labels."""

    def make(folder: Path) -> Case:
        pictures, labels = folder / "pictures", folder / "labels.csv"
        sound(pictures, *(f"{name}.png" for name in "abcde"))
        if callable(content):
            content(labels)
        else:
            labels.write_bytes(content)
        return train(pictures, "--labels", labels, named=labels)

    return make


CSV: dict[str, bytes | Callable[[Path], object]] = {
    "not there": lambda path: None,
    "a folder": lambda path: path.mkdir(),
    "a pipe": make_pipe,
    "a device without end": lambda path: path.symlink_to("/dev/zero"),
    "a link to itself": lambda path: path.symlink_to(path.name),
    "empty": b"",
    "only a header": b"file,class\n",
    "another header": b"name,label\na.png,x\n",
    "no header": b"a.png,x\nb.png,y\n",
    "a header of three": b"file,class,more\na.png,x,1\n",
    "UTF-16": "file,class\na.png,x\nb.png,y\n".encode("utf-16"),
    "Latin-1": "file,class\na.png,caf\u00e9\nb.png,y\n".encode("latin-1"),
    "binary": bytes(range(256)),
    "a picture": PNG,
    "NUL in it": b"file,class\na.png,\0x\nb.png,\0y\0\0\nc.png\0,x\n",
    "a file there is not": b"file,class\nz.png,x\nb.png,y\n",
    "a file outside": b"file,class\n../labels.csv,x\nb.png,y\n",
    "one value in a row": b"file,class\na.png\nb.png,y\n",
    "three values in a row": b"file,class\na.png,x,y\nb.png,y\n",
    "two classes for one image": b"file,class\na.png,x\na.png,y\n",
    "one class": b"file,class\na.png,x\nb.png,x\n",
    "no class at all": b"file,class\na.png,\nb.png,\n",
    "an open quote": b'file,class\n"a.png,x\nb.png,y\n',
    "a field of 200,000 letters": b"file,class\na.png," + b"x" * 200_000 + b"\nb.png,y\n",
    "an index beyond the images": b"index,class\n0,x\n5,y\n",
    "a negative index": b"index,class\n0,x\n-1,y\n",
    "an index of 0.5": b"index,class\n0,x\n0.5,y\n",
    "an index of 5,000 digits": b"index,class\n0,x\n" + b"9" * 5000 + b",y\n",
    "more labels than images": b"index,class\n"
    + b"".join(b"%d,%d\n" % (i, i % 2) for i in range(9)),
}
for _name, _given in CSV.items():
    case(f"labels, {_name}", labelled(_given))


# ---- runs -----------------------------------------------------------------------------------


def of_run(damage: Callable[[Path], str | None]) -> Callable[[Path, Path], Case]:
    """Return a maker of a damaged copy of a run, from which `predict` reads."""

    def make(folder: Path, run: Path) -> Case:
        copy = folder / "run"
        shutil.copytree(run, copy)
        named = damage(copy)
        data = folder / "new.npy"
        data.write_bytes(npy(np.zeros((3, 16, 16), np.uint8)))
        where = copy / named if named else copy
        return Case(["predict", copy, data, "--out", folder / "out.csv"], where)

    return make


def config(**changes: Any) -> Callable[[Path], str]:
    """Return a damage: fields of config.json changed, or removed where the value is ..."""

    def damage(run: Path) -> str:
        path = run / "config.json"
        content = json.loads(path.read_text())
        content |= changes
        path.write_text(json.dumps({k: v for k, v in content.items() if v is not ...}))
        return "config.json"

    return damage


def parameters(**changes: Any) -> Callable[[Path], str]:
    def damage(run: Path) -> str:
        path = run / "config.json"
        content = json.loads(path.read_text())
        content["parameters"] |= changes
        path.write_text(json.dumps(content))
        return "config.json"

    return damage


def replaced(name: str, content: bytes | None) -> Callable[[Path], str]:
    def damage(run: Path) -> str:
        (run / name).unlink()
        if content is not None:
            (run / name).write_bytes(content)
        return name

    return damage


def weights(change: Callable[[bytes], bytes]) -> Callable[[Path], str]:
    def damage(run: Path) -> str:
        path = run / "model.safetensors"
        path.write_bytes(change(path.read_bytes()))
        return path.name

    return damage


def tensors(change: Callable[[dict[str, np.ndarray]], object]) -> Callable[[Path], str]:
    def damage(run: Path) -> str:
        import safetensors.numpy

        path = run / "model.safetensors"
        arrays = safetensors.numpy.load(path.read_bytes())
        change(arrays)
        path.write_bytes(safetensors.numpy.save(arrays))
        return path.name

    return damage


def first(arrays: dict[str, np.ndarray]) -> str:
    return next(name for name in sorted(arrays) if "weight" in name)


def head_of(length: int) -> Callable[[bytes], bytes]:
    return lambda content: struct.pack("<Q", length) + content[8:]


RUN_DAMAGES: dict[str, Callable[[Path], str | None]] = {
    "config.json missing": replaced("config.json", None),
    "config.json empty": replaced("config.json", b""),
    "config.json text": replaced("config.json", b"hello"),
    "config.json a list": replaced("config.json", b"[]"),
    "config.json null": replaced("config.json", b"null"),
    "config.json UTF-16": replaced("config.json", '{"format": 1}'.encode("utf-16")),
    "config.json of 100,000 brackets": replaced("config.json", b"[" * 100_000),
    "config.json with NaN": config(n_classes=float("nan")),
    "config.json without estimator": config(estimator=...),
    "config.json without parameters": config(parameters=...),
    "config.json of another format": config(format=2),
    "config.json with another field": config(more=1),
    "config.json with a field of lines": config(**{"a\nb": 1}),
    "config.json of an unknown estimator": config(estimator="os.system"),
    "config.json of another estimator": config(estimator="Autoencoder"),
    "config.json of an unknown network": config(network="transformer"),
    "config.json with no classes": config(n_classes=0),
    "config.json with 10 billion classes": config(n_classes=10**10),
    "config.json with more classes": config(n_classes=11),
    "config.json with fewer classes": config(n_classes=9),
    "config.json with a style of 10 billion": config(style_dim=10**10),
    "config.json with another style": config(style_dim=3),
    "config.json with classes in words": config(n_classes="ten"),
    "config.json with no shape": config(input_shape=[]),
    "config.json with a negative shape": config(input_shape=[1, -16, 16]),
    "config.json with a huge shape": config(input_shape=[1, 10**9, 10**9]),
    "config.json with a shape of text": config(input_shape="1x16x16"),
    "config.json with another shape": config(input_shape=[1, 24, 24]),
    "config.json with an unknown layout": config(input_layout="sideways"),
    "config.json with a falling range": config(input_range=[255, 0]),
    "config.json with an infinite range": config(input_range=[0, float("inf")]),
    "config.json with no features": config(n_features_in=0),
    "config.json with an unknown parameter": parameters(pickle=True),
    "config.json with a parameter of another type": parameters(epochs="many"),
    "config.json with an unknown bottleneck": parameters(bottleneck="eval"),
    "weights missing": replaced("model.safetensors", None),
    "weights empty": replaced("model.safetensors", b""),
    "weights text": replaced("model.safetensors", b"these are no weights"),
    "weights a pickle": replaced("model.safetensors", NPY["a pickle"] * 10),
    "weights a zip": replaced("model.safetensors", ARCHIVE),
    "weights cut in the head": weights(lambda content: content[:50]),
    "weights cut in the middle": weights(lambda content: content[: len(content) // 2]),
    "weights one byte short": weights(lambda content: content[:-1]),
    "weights one byte more": weights(lambda content: content + b"\0"),
    "weights with a head of 0": weights(head_of(0)),
    "weights with a head beyond the file": weights(head_of(2**62)),
    "weights with a head of 1 GB": weights(head_of(10**9)),
    "weights of NaN": tensors(lambda arrays: arrays[first(arrays)].fill(np.nan)),
    "weights of infinity": tensors(lambda arrays: arrays[first(arrays)].fill(np.inf)),
    "weights without one": tensors(lambda arrays: arrays.pop(first(arrays))),
    "weights with one more": tensors(lambda arrays: arrays.update(more=np.zeros(3, np.float32))),
    "weights of another shape": tensors(
        lambda arrays: arrays.update({first(arrays): np.zeros((2, 2), np.float32)})
    ),
    "weights of another type": tensors(
        lambda arrays: arrays.update({first(arrays): arrays[first(arrays)].astype(np.int8)})
    ),
    "no weights in it": tensors(lambda arrays: arrays.clear()),
}


def _reports(damage: Callable[[Path], str]) -> Callable[[Path, Path], Case]:
    def make(folder: Path, run: Path) -> Case:
        copy = folder / "run"
        shutil.copytree(run, copy)
        return Case(["report", copy], copy / damage(copy))

    return make


def _resumes(content: bytes) -> Callable[[Path, Path], Case]:
    def make(folder: Path, run: Path) -> Case:
        copy = folder / "run"
        shutil.copytree(run, copy)
        (copy / "run.json").write_bytes(content)
        return Case(["train", "--resume", copy], copy / "run.json")

    return make


RUNS: dict[str, Callable[[Path, Path], Case]] = {
    f"run, {name}": of_run(damage) for name, damage in RUN_DAMAGES.items()
}
for _name, _content in {"empty": b"", "text": b"hello", "a list": b"[]"}.items():
    RUNS[f"report, result.json {_name}"] = _reports(replaced("result.json", _content))
    RUNS[f"resume, run.json {_name}"] = _resumes(_content)
RUNS["resume, run.json of brackets"] = _resumes(b"[" * 100_000)


def in_parts(make: Callable[[Path], BulkCase]) -> Callable[[Path, Path], Case]:
    def case_of(folder: Path, run: Path) -> Case:
        arguments, named = make(folder)
        command = ["predict", run, "--on-error", "stop", *arguments]
        return Case(command if "--out" in command else [*command, "--out", folder / "out"], named)

    return case_of


for _name in HEAVY:
    RUNS[f"predict, {_name}"] = in_parts(BULK[_name])


def all_cases(run: Path) -> Iterator[tuple[str, Make]]:
    """Yield the name and the maker of every malformed input; `run` is a sound run."""
    yield from CASES.items()
    for name, make in RUNS.items():
        yield name, lambda folder, make=make: make(folder, run)
