"""Read idx files, the format of MNIST.

Source: the description that comes with MNIST (LeCun, Cortes, Burges): two zero bytes, the
type, the number of dimensions, each dimension as a big-endian 32-bit integer, the values.
"""

from __future__ import annotations

import gzip
import hashlib
import math
import struct
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import BinaryIO

import numpy as np

from selfsort.errors import InputError
from selfsort.images.arrays import MAX_BYTES, as_images
from selfsort.images.files import check_file, check_unpacked
from selfsort.images.sets import ImageSet, Part, make_sets

UBYTE = 0x08
CHUNK = 2**24
GZIP_MAGIC = b"\x1f\x8b"
MNIST_FILES = (
    "train-images-idx3-ubyte",
    "train-labels-idx1-ubyte",
    "t10k-images-idx3-ubyte",
    "t10k-labels-idx1-ubyte",
)


def read_idx(path: Path) -> np.ndarray:
    """Read one idx or idx.gz file of unsigned bytes into an array.

    Never reads more than the header promises, and one byte to see that nothing follows.

    Raises
    ------
    InputError
        If the magic number, the sizes or the gzip data are wrong.
    """
    check_file(path)
    try:
        with open(path, "rb") as raw:
            packed = raw.read(2) == GZIP_MAGIC
            raw.seek(0)
            if not packed:
                return _read_stream(raw, path, path.stat().st_size)
            with gzip.open(raw) as unpacked:
                return _read_stream(unpacked, path)  # type: ignore[arg-type]
    except (OSError, EOFError, zlib.error) as error:
        raise InputError(
            f"{path}: not readable ({' '.join(str(error).split())}). Fetch or copy the file again."
        ) from error


def is_idx(path: Path) -> bool:
    """Return whether a file starts like an idx file, or is gzip data."""
    with open(path, "rb") as file:
        start = file.read(4)
    return start[:2] == GZIP_MAGIC or (start[:2] == b"\0\0" and start[2:3] == bytes([UBYTE]))


def idx_md5(array: np.ndarray) -> str:
    """Return the MD5 that an unpacked idx file of this array has, header included.

    Examples
    --------
    >>> import hashlib, numpy as np
    >>> written = bytes([0, 0, 8, 1, 0, 0, 0, 2, 7, 9])
    >>> idx_md5(np.array([7, 9], np.uint8)) == hashlib.md5(written).hexdigest()
    True
    """
    header = struct.pack(f">HBB{array.ndim}I", 0, UBYTE, array.ndim, *array.shape)
    digest = hashlib.md5(header, usedforsecurity=False)
    digest.update(np.ascontiguousarray(array, np.uint8).data)
    return digest.hexdigest()


def find_mnist_files(folder: Path) -> dict[str, Path]:
    """Return those of the four MNIST files that a folder holds, by their canonical name.

    ``train-images.idx3-ubyte`` counts as well, and so does each with ``.gz``; an unpacked
    file goes before a packed one.
    """
    found = {}
    for name in MNIST_FILES:
        dotted = name.replace("-idx", ".idx")
        for candidate in (name, dotted, f"{name}.gz", f"{dotted}.gz"):
            if (folder / candidate).is_file():
                found[name] = folder / candidate
                break
    return found


def read_mnist_folder(
    files: dict[str, Path],
    where: str,
    check: Callable[[str, Path, np.ndarray], None] | None = None,
) -> list[ImageSet]:
    """Read the files that `find_mnist_files` found, train first; `check` sees each array."""
    arrays = {}
    for name, path in files.items():
        arrays[name] = read_idx(path)
        if check is not None:
            check(name, path, arrays[name])
    parts = [
        Part(_as_image_array(arrays[images], files[images]), arrays.get(labels))
        for images, labels in (MNIST_FILES[:2], MNIST_FILES[2:])
        if images in arrays
    ]
    return make_sets(parts, where)


def read_idx_images(path: Path) -> list[ImageSet]:
    """Read an idx file of images, and its labels where their file lies beside it."""
    images = _as_image_array(read_idx(path), path)
    labels = _labels_beside(path)
    values = None if labels is None else read_idx(labels)
    return make_sets([Part(images, values)], str(path if labels is None else labels))


def _read_stream(stream: BinaryIO, path: Path, size: int | None = None) -> np.ndarray:
    """Read an array; `size` is that of the file where it is not packed."""
    shape = _read_header(stream, path)
    promised = math.prod(shape)
    if not promised:  # nor could an array have other sides that are too large
        raise InputError(f"{path} is empty: its shape is {shape}. Give at least one image.")
    if promised > MAX_BYTES:
        raise InputError(
            f"{path}: the header promises {promised} bytes; the limit is {MAX_BYTES}. "
            "Split it into smaller files."
        )
    if size is None:
        check_unpacked(path, promised)
    content = _read_up_to(stream, promised if size is None else min(promised, size))
    if len(content) < promised:
        raise InputError(
            f"{path}: the header promises {promised} values, but only {len(content)} follow. "
            "Fetch or copy the file again."
        )
    if stream.read(1):
        raise InputError(
            f"{path}: more follows than the {promised} values that the header promises. "
            "Fetch or copy the file again."
        )
    return np.frombuffer(content, np.uint8).reshape(shape)


def _read_up_to(stream: BinaryIO, n_bytes: int) -> bytearray:
    """Read so many bytes, or all there are: memory is taken for what comes, not for a promise."""
    content = bytearray()
    while piece := stream.read(min(CHUNK, n_bytes - len(content))):
        content += piece
    return content


def _read_header(stream: BinaryIO, path: Path) -> tuple[int, ...]:
    magic = stream.read(4)
    if len(magic) < 4 or magic[:2] != b"\0\0" or magic[2] != UBYTE or not 1 <= magic[3] <= 4:
        raise InputError(
            f"{path}: starts with {magic.hex() or 'nothing'}, not with the 000008 of an idx file "
            "of bytes. Give an idx file of images."
        )
    sizes = stream.read(4 * magic[3])
    if len(sizes) < 4 * magic[3]:
        raise InputError(f"{path}: ends within its header. Fetch or copy the file again.")
    return struct.unpack(f">{magic[3]}I", sizes)


def _as_image_array(array: np.ndarray, path: Path) -> np.ndarray:
    if array.ndim < 3:
        kind = "labels" if array.ndim == 1 else "rows"
        raise InputError(f"{path}: holds {kind}, not images. Give the file of the images.")
    return as_images(array, name=str(path))


def _labels_beside(path: Path) -> Path | None:
    """Return the labels of `train-images-idx3-ubyte.gz`, packed or not, if they exist."""
    if "images" not in path.name:
        return None
    name = path.name.replace("images", "labels").replace("idx3", "idx1")
    plain = name.removesuffix(".gz")
    candidates = (path.with_name(each) for each in (name, plain, f"{plain}.gz"))
    return next((each for each in candidates if each.is_file()), None)
