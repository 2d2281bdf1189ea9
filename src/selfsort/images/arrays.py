"""Check arrays of images, and files that hold such arrays (npy, npz)."""

from __future__ import annotations

import contextlib
import tokenize
import warnings
import zipfile
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from selfsort.errors import InputError
from selfsort.images.files import check_unpacked
from selfsort.images.sets import ImageSet, Part, make_sets

MIN_SIDE = 8  # pixels: the networks halve an image at least twice
MAX_CHANNELS = 4
MAX_BYTES = 2**33  # no file may unpack to more than 8 GiB
MAPPED_BYTES = 2**28
"""An .npy file of that size is mapped into memory: what is not looked at need not fit."""

# What numpy and zipfile raise for damaged or encrypted files, found by changing bytes at random.
_UNREADABLE = (
    OSError,
    ValueError,
    EOFError,
    SyntaxError,
    TypeError,
    KeyError,
    MemoryError,
    OverflowError,  # a side that no C integer holds
    RuntimeError,
    tokenize.TokenError,
    zipfile.BadZipFile,
    zlib.error,
)
_LAYOUTS = "(n, height, width), (n, height, width, channels) or flat (n, values)"


def as_images(X: Any, image_shape: tuple[int, ...] | None = None, *, name: str = "X") -> np.ndarray:
    """Check an array of images or vectors and bring it to one layout.

    Parameters
    ----------
    X : array-like
        ``(n, h, w)``, ``(n, h, w, c)`` with 1 to 4 channels, or flat ``(n, p)``. Images have
        at least 8 by 8 pixels.
    image_shape : tuple of int, optional
        ``(h, w)`` or ``(h, w, c)``: the shape of each flat row. Without it flat rows are
        vectors that are no images.
    name : str, default="X"
        What the error messages call the array.

    Returns
    -------
    ndarray
        ``(n, c, h, w)`` for images, ``(n, p)`` for vectors. ``uint8`` stays ``uint8``. Floats
        become ``float32`` and are not scaled. Images of other integers from 0 to 255 become
        ``uint8``, images of booleans 0 and 255; vectors of either become ``float32``.

    Raises
    ------
    InputError
        If the shape, the type or a value cannot be used; the message says what to do.

    Examples
    --------
    >>> import numpy as np
    >>> as_images(np.zeros((5, 28, 28))).shape
    (5, 1, 28, 28)
    >>> as_images(np.zeros((5, 192), np.uint8), image_shape=(8, 8, 3)).shape
    (5, 3, 8, 8)
    >>> as_images(np.zeros((5, 64))).shape
    (5, 64)
    """
    array = _as_numbers(X, name)
    shape = None if image_shape is None else _check_image_shape(image_shape)
    if array.size == 0:
        raise InputError(f"{name} is empty: its shape is {array.shape}. Give at least one image.")
    if array.ndim == 2 and shape is None:
        return as_float32(array, name) if array.dtype != np.uint8 else array
    pixels = _as_pixels(_with_channels(array, shape, name), name)
    return np.ascontiguousarray(pixels.transpose(0, 3, 1, 2))


def images_to_uint8(images: np.ndarray, where: str) -> np.ndarray:
    """Bring checked images to ``uint8``: floats in [0, 1] are scaled, others rounded."""
    if images.dtype == np.uint8:
        return images
    return scaled_to_uint8(images, pixel_factor(float(images.min()), float(images.max()), where))


def pixel_factor(low: float, high: float, where: str) -> int:
    """Return what floats from `low` to `high` are multiplied by to be 0 to 255.

    Examples
    --------
    >>> pixel_factor(0, 0.9, "a.npy"), pixel_factor(0, 254.9, "a.npy")
    (255, 1)
    """
    if low < 0 or high > 255:
        raise InputError(
            f"{where}: the pixels go from {low:g} to {high:g}. Scale them to 0..1 or 0..255."
        )
    return 255 if high <= 1 else 1


def scaled_to_uint8(images: np.ndarray, factor: int) -> np.ndarray:
    """Return floats, multiplied and rounded, as ``uint8``."""
    return np.rint(images * factor).astype(np.uint8)


def read_npy(path: Path) -> list[ImageSet]:
    """Read one array of images or vectors, without labels."""
    array = _load(path)
    if not isinstance(array, np.ndarray):
        raise InputError(f"{path}: is a zip archive, not an array. Name it .npz.")
    return [ImageSet(_file_images(array, str(path)))]


def read_npz(path: Path) -> list[ImageSet]:
    """Read ``images``/``labels``, or ``x_train``/``y_train`` and ``x_test``/``y_test``."""
    arrays = _load(path)
    if isinstance(arrays, np.ndarray):
        raise InputError(f"{path}: is a single array, not a zip archive. Name it .npy.")
    if "images" in arrays:
        keys = [("images", "labels")]
    elif "x_train" in arrays:
        keys = [("x_train", "y_train"), ("x_test", "y_test")]
    else:
        raise InputError(
            f"{path}: holds {', '.join(sorted(arrays)) or 'nothing'}. "
            "Name the arrays images and labels, or x_train, y_train, x_test and y_test."
        )
    parts = [
        Part(_file_images(arrays[images], f"{path}, {images}"), arrays.get(labels))
        for images, labels in keys
        if images in arrays
    ]
    _check_same_shape(parts, path)
    return make_sets(parts, str(path))


def _as_numbers(X: Any, name: str) -> np.ndarray:
    if hasattr(X, "toarray"):
        raise InputError(f"{name} is a sparse matrix. Give a dense array: {name}.toarray().")
    try:
        array = np.asarray(X)
    except ValueError:  # NumPy's word for rows of different lengths
        raise InputError(
            f"{name} is not one array: its rows differ in length. "
            "Bring all images to one size first."
        ) from None
    if array.dtype.kind not in "buif":
        raise InputError(
            f"{name} has dtype {array.dtype}, which holds no pixels. "
            "Give numbers: uint8 from 0 to 255 or floats."
        )
    return array


def _check_image_shape(image_shape: tuple[int, ...]) -> tuple[int, int, int]:
    sides = tuple(image_shape) if isinstance(image_shape, (tuple, list)) else ()
    whole = all(isinstance(side, (int, np.integer)) and side > 0 for side in sides)
    if len(sides) not in (2, 3) or not whole:
        raise InputError(
            f"image_shape is {image_shape!r}. Give (height, width) or (height, width, channels)."
        )
    height, width, channels = (*sides, 1)[:3]
    return int(height), int(width), int(channels)


def _with_channels(array: np.ndarray, shape: tuple[int, int, int] | None, name: str) -> np.ndarray:
    """Return the array as (n, height, width, channels)."""
    if array.ndim == 2 and shape is not None:
        array = _unflatten(array, shape, name)
    elif array.ndim == 3:
        array = array[..., None]
    elif array.ndim != 4:
        raise InputError(f"{name} has shape {array.shape}. Give {_LAYOUTS}.")
    _check_sides(array, name)
    if shape is not None and array.shape[1:] != shape:
        raise InputError(
            f"{name} holds images of {array.shape[1:]}, but image_shape means {shape}. "
            "Leave image_shape out: it is for flat rows."
        )
    return array


def _unflatten(array: np.ndarray, shape: tuple[int, int, int], name: str) -> np.ndarray:
    height, width, channels = shape
    needed = height * width * channels
    if array.shape[1] != needed:
        raise InputError(
            f"{name} has {array.shape[1]} values a row, but image_shape={shape} needs {needed}. "
            "Give the shape that the images had before they were flattened."
        )
    return array.reshape(-1, *shape)


def _check_sides(array: np.ndarray, name: str) -> None:
    _, height, width, channels = array.shape
    if channels > MAX_CHANNELS:
        hint = (
            f"Put the channels last: {name}.transpose(0, 2, 3, 1)."
            if height <= MAX_CHANNELS
            else f"Give {_LAYOUTS}."
        )
        raise InputError(
            f"{name} has shape {array.shape}, so {channels} channels; 1 to 4 are possible. {hint}"
        )
    if min(height, width) < MIN_SIDE:
        raise InputError(
            f"{name} holds images of {height} x {width} pixels; at least 8 x 8 are needed. "
            "Enlarge them, or give flat rows to use them as vectors."
        )


def _as_pixels(array: np.ndarray, name: str) -> np.ndarray:
    if array.dtype == np.uint8:
        return array
    if array.dtype.kind == "b":  # a mask: true is white
        return array.astype(np.uint8) * np.uint8(255)
    if array.dtype.kind == "f":
        return as_float32(array, name)
    low, high = int(array.min()), int(array.max())
    if low < 0 or high > 255:
        raise InputError(
            f"{name} holds integers from {low} to {high}; pixels go from 0 to 255. "
            "Scale them, or give floats."
        )
    return array.astype(np.uint8)


def as_float32(array: np.ndarray, name: str, first_row: int = 0) -> np.ndarray:
    """Return numbers as ``float32``, all of them finite; `first_row` is that of the array."""
    with np.errstate(over="ignore"):
        floats = array.astype(np.float32, copy=False)
    finite = np.isfinite(floats)
    if not finite.all():
        bad = int((~finite).reshape(len(floats), -1).any(axis=1).argmax())
        raise InputError(
            f"{name} has NaN, infinity or a value too large for float32, first in row "
            f"{first_row + bad}. "
            "Remove or replace it."
        )
    return floats


def _file_images(array: np.ndarray, where: str) -> np.ndarray:
    images = as_images(array, name=where)
    return images_to_uint8(images, where) if images.ndim == 4 else images.astype(np.float32)


def _check_same_shape(parts: list[Part], path: Path) -> None:
    shapes = [part.images.shape[1:] for part in parts]
    if len(set(shapes)) > 1:
        raise InputError(
            f"{path}: the training images are {shapes[0]}, the test images {shapes[1]} "
            "(channels, height, width). Bring them to one shape."
        )


def _load(path: Path) -> np.ndarray | dict[str, np.ndarray]:
    """Load without pickle; an archive that would unpack to too much is refused.

    A large array is mapped into memory. What NumPy warns of, such as a header that Python 2 wrote,
    hinders nobody here.
    """
    with readable(path), warnings.catch_warnings(action="ignore"):
        if zipfile.is_zipfile(path):
            _check_archive(path)
        elif path.stat().st_size >= MAPPED_BYTES:
            return np.asarray(np.load(path, mmap_mode="r", allow_pickle=False))
        with open(path, "rb") as file:
            loaded = np.load(file, allow_pickle=False)
            if isinstance(loaded, np.ndarray):
                return loaded
            arrays = dict(loaded)
        for name, array in arrays.items():
            if not isinstance(array, np.ndarray):  # NumPy gives what is none as it is
                raise ValueError(f"'{name}' in it is no array")
        return arrays


@contextlib.contextmanager
def readable(path: Path) -> Iterator[None]:
    """Say in one line that a file of arrays cannot be read, whatever is raised within."""
    try:
        yield
    except InputError:
        raise
    except _UNREADABLE as error:
        # Only the first sentence: NumPy's next one may tell how to load what is unsafe.
        reason = " ".join(str(error).split()).split(". ")[0].rstrip(".") or type(error).__name__
        raise InputError(
            f"{path}: not a readable {path.suffix} file ({reason}). Write it again with numpy, "
            "without object arrays."
        ) from error


def _check_archive(path: Path) -> None:
    with zipfile.ZipFile(path) as archive:
        total = sum(member.file_size for member in archive.infolist())
    if total > MAX_BYTES:
        raise InputError(
            f"{path}: would unpack to {total} bytes; the limit is {MAX_BYTES}. "
            "Split it into smaller files."
        )
    check_unpacked(path, total)
