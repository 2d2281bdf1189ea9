"""The public names: all that `selfsort` exports, and nothing else."""

from __future__ import annotations

import inspect
import subprocess
import sys
from pathlib import Path

import pytest

import selfsort

NAMES = {
    "Autoencoder",
    "AutoencoderClassifier",
    "AutoencoderClusterer",
    "BOTTLENECKS",
    "Checkpoint",
    "DamagedCheckpointWarning",
    "ClassCollapseWarning",
    "DataNotFoundError",
    "InputError",
    "MLflow",
    "NETWORKS",
    "NotEnoughMemoryError",
    "NotFiniteError",
    "RECIPES",
    "SelfsortError",
    "SmallerBatchWarning",
    "TensorBoard",
    "__version__",
    "from_hub",
    "load",
    "load_dataset",
    "model_card",
    "open_source",
    "push_to_hub",
    "read_images",
}


def in_a_new_process(code: str) -> str:
    source = str(Path(selfsort.__file__).parents[1])
    done = subprocess.run(
        [sys.executable, "-c", f"import sys; sys.path.insert(0, {source!r})\n{code}"],
        capture_output=True,
        text=True,
        check=True,
    )
    return done.stdout.strip()


def test_the_list_is_what_is_exported():
    assert set(selfsort.__all__) == NAMES
    assert len(selfsort.__all__) == len(NAMES)
    assert dir(selfsort) == sorted(NAMES)


@pytest.mark.parametrize("name", sorted(NAMES))
def test_every_name_is_there_and_documented(name):
    value = getattr(selfsort, name)
    assert value is not None
    if inspect.isclass(value) or inspect.isfunction(value):
        assert inspect.getdoc(value)
        assert value.__module__.startswith("selfsort.")


def test_a_star_import_gives_every_name():
    found: dict[str, object] = {}
    exec("from selfsort import *", found)
    assert set(found) - {"__builtins__"} == NAMES


def test_another_name_is_an_attribute_error():
    with pytest.raises(AttributeError, match=r"^module 'selfsort' has no attribute 'lode'$"):
        _ = selfsort.lode


def test_importing_selfsort_does_not_import_torch():
    heavy = ("torch", "sklearn", "numpy", "matplotlib")
    code = f"import selfsort; print([name for name in {heavy} if name in sys.modules])"
    assert in_a_new_process(code) == "[]"
