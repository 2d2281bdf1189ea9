"""Read images from any path: the kind is found from the suffix and the content."""

from __future__ import annotations

import os
from dataclasses import replace
from pathlib import Path

from selfsort.errors import InputError
from selfsort.images.arrays import MIN_SIDE, read_npy, read_npz
from selfsort.images.files import check_file, check_folder
from selfsort.images.folders import OnError, is_picture, read_folder, read_single
from selfsort.images.idx import (
    MNIST_FILES,
    find_mnist_files,
    is_idx,
    read_idx_images,
    read_mnist_folder,
)
from selfsort.images.pixels import resize_images
from selfsort.images.sets import ImageSet


def read_images(path: str | Path, size: int | None = None, on_error: OnError = "stop") -> ImageSet:
    """Read the images of a path; the training part where it holds a test part too.

    See `read_splits` for what can be read.
    """
    return read_splits(path, size, on_error)[0]


def read_splits(
    path: str | Path, size: int | None = None, on_error: OnError = "stop"
) -> tuple[ImageSet, ImageSet | None]:
    """Read the training and the test images of a path.

    Parameters
    ----------
    path : str or Path
        One of:

        - ``.npy``: one array of images (see `as_images`);
        - ``.npz``: arrays ``images`` and ``labels``, or ``x_train``, ``y_train``, ``x_test``
          and ``y_test``; labels are never needed;
        - an idx file of images, packed by gzip or not, with its labels where the file of the
          same name with ``labels`` for ``images`` lies beside it;
        - a folder with the four files of MNIST;
        - a PNG or JPEG file, or a folder of them. There the first subfolder of a file is its
          class; files outside are unlabelled. Subfolders ``train`` and ``test`` are the two
          splits. Hidden files are ignored, and the order is that of the names.
    size : int, optional
        Height and width to bring every image to, at least 8 pixels. Proportions are kept, and
        the rest is padded with the median colour of the image's border. By default a size
        that all pictures share is kept if its sides are 8 to 256; other pictures get a square
        of the median of their larger sides, at least 8 and at most 64. Arrays keep theirs.
    on_error : {"stop", "skip"}, default="stop"
        What a picture that cannot be read does: it stops the reading, or is left out and listed
        in the set's `skipped`.

    Returns
    -------
    train : ImageSet
    test : ImageSet or None

    Raises
    ------
    InputError
        If there is nothing at the path or it cannot be read; broken files are named.

    Notes
    -----
    Float pixels in a file are taken as 0 to 1 where none exceeds 1, else as 0 to 255. Pictures
    are turned as their EXIF orientation says, put on white where transparent, and have one
    channel if all of them are grey.
    """
    path = Path(path)
    if size is not None and size < MIN_SIDE:
        raise InputError(f"size is {size}. Give at least {MIN_SIDE} pixels.")
    if on_error not in ("stop", "skip"):
        raise InputError(f"on_error must be 'stop' or 'skip'. Got {on_error!r} instead.")
    if not os.path.exists(path):  # also where a name is too long, or a link leads in a circle
        raise InputError(f"{path}: there is no such file or folder. Check the path.")
    sets = _read_sets(path, size, on_error)
    if size is not None:
        sets = [resize_set(each, size, name=str(path)) for each in sets]
    return sets[0], sets[1] if len(sets) > 1 else None


def resize_set(images: ImageSet, size: int, *, name: str = "X") -> ImageSet:
    """Return the set with every image fitted into a square of `size` pixels.

    Examples
    --------
    >>> import numpy as np
    >>> resize_set(ImageSet(np.zeros((2, 3, 8, 10), np.uint8)), 16).images.shape
    (2, 3, 16, 16)
    """
    if images.images.ndim != 4:
        raise InputError(f"{name}: holds vectors, which have no size. Leave size out.")
    return replace(images, images=resize_images(images.images, size))


def _read_sets(path: Path, size: int | None, on_error: OnError) -> list[ImageSet]:
    if path.is_dir():
        check_folder(path)
        files = find_mnist_files(path)
        if MNIST_FILES[0] in files:
            return read_mnist_folder(files, str(path))
        return read_folder(path, size, on_error)
    check_file(path)
    suffix = path.suffix.lower()
    if suffix == ".npy":
        return read_npy(path)
    if suffix == ".npz":
        return read_npz(path)
    if is_picture(path.name):
        return read_single(path, size)
    if is_idx(path):
        return read_idx_images(path)
    raise InputError(
        f"{path}: not a kind of file that can be read. "
        "Give .npy, .npz, an idx file, a PNG or JPEG file, or a folder of them."
    )
