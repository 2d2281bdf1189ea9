"""What several tests share."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from sklearn.datasets import load_digits

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


LARGE = np.kron((load_digits().images * 15).astype(np.uint8), np.ones((2, 2), np.uint8))
"""The digits as bytes, 16×16: of that size they are shifted by a pixel where they are in doubt."""
NAMES = np.array(["nil", "one", "zwei", "três", "四", "five", "six", "seven", "eight", "9"])


@pytest.fixture(scope="session")
def large_digits() -> np.ndarray:
    """Return scikit-learn's digits as bytes, ``(1797, 16, 16)``; the first 600 were learned."""
    return LARGE


@pytest.fixture(scope="session")
def taught_run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a folder as a run has it, of a classifier with names for the digits."""
    from selfsort import AutoencoderClassifier
    from selfsort.runs import Request
    from selfsort.runs.request import record_of, write_record

    folder = tmp_path_factory.mktemp("taught") / "run"
    learner = AutoencoderClassifier(network="convolutional", epochs=5, random_state=0)
    learner.fit(LARGE[:600], NAMES[load_digits().target[:600]]).save(folder)
    write_record(folder, record_of(Request(data="digits"), "teach"))
    return folder


@pytest.fixture(scope="session")
def exported(taught_run: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return that run's model as ONNX, alone in its folder."""
    from selfsort.runs import export_run

    return export_run(taught_run, tmp_path_factory.mktemp("exported") / "model.onnx").path


@pytest.fixture(scope="session")
def mnist_folder() -> Path:
    """Return the folder with the MNIST idx files; skip where the data is missing."""
    data = Path(os.environ.get("SELFSORT_DATA") or BESIDE_THE_REPOSITORY)
    folder = data / "mnist"
    if not list(folder.glob("train-images*")):
        pytest.skip(f"MNIST is not in {folder}; set SELFSORT_DATA to the folder of data sets.")
    return folder
