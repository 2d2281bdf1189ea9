"""One PNG or JPEG to 8-bit pixels of a given size."""

from __future__ import annotations

import io
import struct
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO

import numpy as np
from PIL import Image, ImageOps, UnidentifiedImageError

from selfsort.errors import InputError
from selfsort.images.files import check_file

FORMATS = ("PNG", "JPEG")
_ORIENTATION = 0x0112  # the EXIF tag; 5 to 8 exchange height and width
_UNREADABLE = (
    OSError,
    SyntaxError,
    ValueError,
    EOFError,
    MemoryError,
    struct.error,
    zlib.error,
)
_BOMB = (Image.DecompressionBombError, Image.DecompressionBombWarning)


def picture_size(path: Path) -> tuple[int, int]:
    """Return height and width as seen, reading only the start of the file."""
    with _opened(path) as image:
        # Only what precedes the pixels: asking Pillow for the rest would decode them all.
        early = "exif" in image.info and image.getexif().get(_ORIENTATION, 1) >= 5
        return (image.width, image.height) if early else (image.height, image.width)


def read_picture(path: Path, height: int, width: int) -> np.ndarray:
    """Return the pixels, ``uint8 (1 or 3, height, width)``, one channel for a grey picture."""
    with _opened(path) as image:
        return fit(_eight_bit(ImageOps.exif_transpose(image)), height, width)


def fit(image: Image.Image, height: int, width: int) -> np.ndarray:
    """Resize a grey or colour picture, keeping its proportions, and pad it to a size.

    The picture touches two opposite edges. The rest has the median colour of its border, so
    that a digit on black stays on black and a drawing on white stays on white.

    Returns
    -------
    ndarray of shape (channels, height, width), uint8
    """
    scale = min(height / image.height, width / image.width)
    inner = (
        min(width, max(1, round(image.width * scale))),
        min(height, max(1, round(image.height * scale))),
    )
    if inner != image.size:
        image = image.resize(inner, Image.Resampling.BILINEAR)  # Pillow averages when shrinking
    pixels = np.asarray(image, np.uint8).reshape(image.height, image.width, -1)
    canvas = np.empty((height, width, pixels.shape[2]), np.uint8)
    if inner != (width, height):
        canvas[:] = _border_colour(pixels)
    top, left = (height - image.height) // 2, (width - image.width) // 2
    canvas[top : top + image.height, left : left + image.width] = pixels
    return canvas.transpose(2, 0, 1)


def resize_images(images: np.ndarray, size: int) -> np.ndarray:
    """Fit every image of ``uint8 (n, channels, h, w)`` into a square, channel by channel."""
    n, channels, height, width = images.shape
    if (height, width) == (size, size):
        return images
    resized = np.empty((n * channels, size, size), np.uint8)
    for row, channel in enumerate(images.reshape(n * channels, height, width)):
        resized[row] = fit(Image.fromarray(channel), size, size)[0]
    return resized.reshape(n, channels, size, size)


def picture_of(content: bytes, name: str, height: int, width: int) -> np.ndarray:
    """Return the pixels of a PNG or JPEG in memory, as `read_picture` does of a file.

    `name` is what an error calls it.
    """
    with _decoded(io.BytesIO(content), name) as image:
        return fit(_eight_bit(ImageOps.exif_transpose(image)), height, width)


@contextmanager
def _opened(path: Path) -> Iterator[Image.Image]:
    """Open a file, if it is one that can be opened."""
    check_file(path)
    with _decoded(path, str(path)) as image:
        yield image


@contextmanager
def _decoded(source: Path | IO[bytes], name: str) -> Iterator[Image.Image]:
    """Open a picture; whatever Pillow cannot read becomes one sentence that names it."""
    try:
        with Image.open(source, formats=FORMATS) as image:
            yield image
    except _BOMB:
        raise InputError(
            f"{name}: has more pixels than the {Image.MAX_IMAGE_PIXELS} that are safe to unpack. "
            "Make it smaller. Nothing was written."
        ) from None
    except _UNREADABLE as error:
        raise InputError(
            f"{name}: not a readable PNG or JPEG ({_reason(error)}). Nothing was written."
        ) from error


def _reason(error: BaseException) -> str:
    if isinstance(error, UnidentifiedImageError):
        return "the content is neither"
    text = " ".join(str(error).split()).split(" (")[0].rstrip(".")
    return text or type(error).__name__


def _eight_bit(image: Image.Image) -> Image.Image:
    """Return the picture in mode L where all its pixels are grey, else in RGB."""
    if image.mode.startswith("I"):  # 16 bits a pixel
        wide = np.asarray(image).astype(np.float64)
        return Image.fromarray(np.rint(wide.clip(0, 65535) / 257).astype(np.uint8))
    if image.mode in ("L", "1") and "transparency" not in image.info:
        return image.convert("L")
    colour = _on_white(image)
    pixels = np.asarray(colour)
    grey = (pixels == pixels[..., :1]).all()
    return colour.getchannel(0) if grey else colour


def _on_white(image: Image.Image) -> Image.Image:
    if not image.has_transparency_data:
        return image.convert("RGB")
    layers = image.convert("RGBA")
    white = Image.new("RGBA", layers.size, "white")
    return Image.alpha_composite(white, layers).convert("RGB")


def _border_colour(pixels: np.ndarray) -> np.ndarray:
    sides = (pixels[0], pixels[-1], pixels[:, 0], pixels[:, -1])
    return np.rint(np.median(np.concatenate(sides), axis=0)).astype(np.uint8)
