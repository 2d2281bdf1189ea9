"""What is known about each named data set, and where it may lie."""

from __future__ import annotations

import os
from dataclasses import dataclass, field
from pathlib import Path


@dataclass(frozen=True)
class Source:
    """What is known about a data set of OpenML before it is fetched.

    Parameters
    ----------
    description : str
    data_id : int
        The number of the set at OpenML.
    n_train, n_test : int
        The first `n_train` images are for training, the rest for testing.
    image_shape : tuple of int
        Height and width.
    class_counts : tuple of int
        Number of images in each class, training and test together.
    train_counts : tuple of int or None
        The same for the training images; None where it is not known for OpenML's order.
    value_range : tuple of float
        What black and white are: (0, 255) or (-1, 1).
    first_label : int
        The label of class 0.
    md5 : dict
        MD5 of the unpacked canonical idx files, by name; empty if not known.
    licence : str
        What its makers say, as SPDX writes it; empty if they say nothing.
    """

    description: str
    data_id: int
    n_train: int
    n_test: int
    image_shape: tuple[int, int]
    class_counts: tuple[int, ...]
    train_counts: tuple[int, ...] | None = None
    value_range: tuple[float, float] = (0, 255)
    first_label: int = 0
    md5: dict[str, str] = field(default_factory=dict)
    licence: str = ""


def _like_mnist(description: str, data_id: int, licence: str) -> Source:
    """Return a set of MNIST's size whose ten classes have the same number of images each."""
    counts = (7000,) * 10, (6000,) * 10
    return Source(description, data_id, 60000, 10000, (28, 28), *counts, licence=licence)


SOURCES: dict[str, Source] = {
    "mnist": Source(
        description="handwritten digits",
        data_id=554,
        n_train=60000,
        n_test=10000,
        image_shape=(28, 28),
        class_counts=(6903, 7877, 6990, 7141, 6824, 6313, 6876, 7293, 6825, 6958),
        train_counts=(5923, 6742, 5958, 6131, 5842, 5421, 5918, 6265, 5851, 5949),
        md5={
            "train-images-idx3-ubyte": "6bbc9ace898e44ae57da46a324031adb",
            "train-labels-idx1-ubyte": "a25bea736e30d166cdddb491f175f624",
            "t10k-images-idx3-ubyte": "2646ac647ad5339dbf082846283269ea",
            "t10k-labels-idx1-ubyte": "27ae3e4e09519cfbb04c329615203637",
        },
        licence="CC-BY-SA-3.0",
    ),
    "fashion-mnist": _like_mnist("articles of clothing", 40996, "MIT"),
    "kmnist": _like_mnist("Japanese cursive characters", 41982, "CC-BY-SA-4.0"),
    "usps": Source(
        description="handwritten digits of postal codes",
        data_id=41082,
        n_train=7291,
        n_test=2007,
        image_shape=(16, 16),
        # The numbers of "The Elements of Statistical Learning", training and test added.
        class_counts=(1553, 1269, 929, 824, 852, 716, 834, 792, 708, 821),
        value_range=(-1, 1),
        first_label=1,
    ),
}


def cache_folder() -> Path:
    """Return the folder for what was fetched: ``$SELFSORT_CACHE`` or ``~/.cache/selfsort``."""
    return Path(os.environ.get("SELFSORT_CACHE") or "~/.cache/selfsort").expanduser()


def data_folder(name: str) -> Path | None:
    """Return ``$SELFSORT_DATA/<name>``, None if the variable is not set."""
    root = os.environ.get("SELFSORT_DATA")
    return Path(root).expanduser() / name if root else None
