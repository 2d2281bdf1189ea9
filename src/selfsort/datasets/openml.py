"""Fetch a data set through scikit-learn from OpenML, and verify it."""

from __future__ import annotations

import contextlib
import http.client
import socket
import tempfile
import warnings
from collections.abc import Iterator

import numpy as np

from selfsort.datasets.sources import SOURCES, Source, cache_folder, data_folder
from selfsort.errors import DataNotFoundError, InputError
from selfsort.images.idx import MNIST_FILES, idx_md5

TIMEOUT = 60.0  # seconds without an answer from the server


def fetch(name: str) -> tuple[np.ndarray, np.ndarray]:
    """Fetch and verify; return ``uint8 (n, 1, h, w)`` and the labels, nothing kept on disk."""
    folder = cache_folder()
    try:
        folder.mkdir(parents=True, exist_ok=True)
        # A temporary home: scikit-learn would keep a damaged download and read it again.
        with tempfile.TemporaryDirectory(dir=folder, prefix="fetch-") as home:
            values, target = _download(name, home)
    except OSError as error:
        raise _not_found(name, reason_of(error)) from error
    return verify(name, values, target)


def _download(name: str, home: str) -> tuple[np.ndarray, np.ndarray]:
    from sklearn.datasets import fetch_openml

    try:
        with _socket_timeout(TIMEOUT), warnings.catch_warnings():
            warnings.simplefilter("ignore")  # every retry warns; the error at the end says it
            bunch = fetch_openml(
                data_id=SOURCES[name].data_id, as_frame=False, parser="liac-arff", data_home=home
            )
    except http.client.HTTPException as error:
        raise _not_found(name, reason_of(error)) from error
    except (ValueError, KeyError, TypeError) as error:
        if type(error).__name__ == "OpenMLError":  # not public: the server knows no such set
            raise _not_found(name, reason_of(error)) from error
        reason = "its MD5 is not the one that OpenML gives"
        if "md5 checksum" not in str(error):
            reason = f"it cannot be read: {reason_of(error)}"
        raise _refused(name, reason) from error
    return bunch.data, bunch.target


@contextlib.contextmanager
def _socket_timeout(seconds: float) -> Iterator[None]:
    """Let new connections give up: scikit-learn's own wait without end."""
    before = socket.getdefaulttimeout()
    socket.setdefaulttimeout(seconds)
    try:
        yield
    finally:
        socket.setdefaulttimeout(before)


def reason_of(error: BaseException) -> str:
    """Return what an error of the network or the disk says, in one line."""
    text = getattr(error, "reason", None) or getattr(error, "strerror", None) or error
    return " ".join(str(text).split()).rstrip(".") or type(error).__name__


def _not_found(name: str, reason: str) -> DataNotFoundError:
    folder = data_folder(name)
    looked = "in $SELFSORT_DATA, which is not set" if folder is None else f"in {folder}"
    return DataNotFoundError(
        f"The data set '{name}' was not found: looked {looked}, in {cache_folder()}, and at "
        f"OpenML, number {SOURCES[name].data_id} ({reason}). Put its idx files, an npz file or "
        f"folders of images into $SELFSORT_DATA/{name}, or try again with a network."
    )


def _refused(name: str, fact: str) -> InputError:
    return InputError(
        f"The download of '{name}' from OpenML, number {SOURCES[name].data_id}, is refused: "
        f"{fact}. Nothing was kept; try again later."
    )


def verify(name: str, values: np.ndarray, target: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return images and labels if they are what the registry says, else refuse them."""
    source = SOURCES[name]
    n = source.n_train + source.n_test
    height, width = source.image_shape
    if values.shape != (n, height * width):
        raise _refused(name, f"its shape is {values.shape}, not {(n, height * width)}")
    images = _to_uint8(name, values).reshape(n, 1, height, width)
    labels = _to_labels(name, target)
    _check_counts(name, labels, source.class_counts, "classes")
    if source.train_counts is not None:
        _check_counts(name, labels[: source.n_train], source.train_counts, "training classes")
    for canonical, array in _canonical_arrays(source, images, labels).items():
        found, expected = idx_md5(array), source.md5.get(canonical)
        if expected is not None and found != expected:
            raise _refused(name, f"the MD5 of its {canonical} is {found}, not {expected}")
    return images, labels


def _to_uint8(name: str, values: np.ndarray) -> np.ndarray:
    low, high = SOURCES[name].value_range
    if not (values.min() >= low and values.max() <= high):  # NaN fails this too
        raise _refused(
            name,
            f"its pixels go from {values.min():g} to {values.max():g}, not {low:g} to {high:g}",
        )
    scaled = (values - low) * (255 / (high - low))
    pixels = np.rint(scaled)
    if (low, high) == (0, 255) and (pixels != scaled).any():
        raise _refused(name, "not all of its pixels are whole numbers")
    return pixels.astype(np.uint8)


def _to_labels(name: str, target: np.ndarray) -> np.ndarray:
    try:
        labels = np.array([int(float(value)) for value in target], np.int64)
    except (TypeError, ValueError, OverflowError) as error:
        raise _refused(name, f"its labels are not all numbers: {reason_of(error)}") from error
    return labels - SOURCES[name].first_label


def _check_counts(name: str, labels: np.ndarray, expected: tuple[int, ...], what: str) -> None:
    last = len(expected) - 1
    if labels.min() != 0 or labels.max() != last:
        raise _refused(
            name, f"its labels go from {labels.min()} to {labels.max()}, not 0 to {last}"
        )
    found = tuple(np.bincount(labels).tolist())
    if found != expected:
        raise _refused(name, f"its {what} have {found} images, not {expected}")


def _canonical_arrays(
    source: Source, images: np.ndarray, labels: np.ndarray
) -> dict[str, np.ndarray]:
    n = source.n_train
    arrays = (images[:n, 0], labels[:n], images[n:, 0], labels[n:])
    return dict(zip(MNIST_FILES, arrays, strict=True))
