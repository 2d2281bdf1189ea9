"""What several tests share."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest

BESIDE_THE_REPOSITORY = Path(__file__).resolve().parents[2] / "shared" / "data"


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Begin with the longest tests: whoever came to them last would let the others wait."""
    items.sort(key=lambda item: item.path.name not in LONGEST)


LONGEST = ("test_readme.py", "test_fuzz.py")


@pytest.fixture(scope="session", autouse=True)
def ctrl_c_as_in_a_terminal() -> Iterator[None]:
    """Let SIGINT interrupt: a shell starts what it runs in the background with SIGINT ignored."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


@pytest.fixture(scope="session")
def mnist_folder() -> Path:
    """Return the folder with the MNIST idx files; skip where the data is missing."""
    data = Path(os.environ.get("SELFSORT_DATA") or BESIDE_THE_REPOSITORY)
    folder = data / "mnist"
    if not list(folder.glob("train-images*")):
        pytest.skip(f"MNIST is not in {folder}; set SELFSORT_DATA to the folder of data sets.")
    return folder
