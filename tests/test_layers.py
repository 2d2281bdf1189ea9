"""A module imports only from the layers below its own, and torch is imported late."""

from __future__ import annotations

import ast
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

SOURCE = Path(__file__).resolve().parents[1] / "src" / "selfsort"

# The lowest layer first. A name is a file or a folder of src/selfsort.
LAYERS = (
    {"errors", "verified", "version"},
    {"memory", "parallel", "precision"},
    {"images"},
    {"networks", "bottlenecks", "objectives", "augment", "grouping", "scores"}
    | {"datasets", "sources"},
    {"training", "checkpoints"},
    {"sorting", "recipes"},
    {"estimators"},
    {"pictures", "report"},
    {"exporting", "tracking"},
    {"runs"},
    {"doctor", "hub", "web"},
    {"cli"},
)
LAYER_OF = {name: number for number, names in enumerate(LAYERS) for name in names}
EXEMPT = {"__init__", "__main__"}


def absolute(node: ast.ImportFrom, package: tuple[str, ...]) -> str:
    """Return the full name that `from ... import` starts from, relative or not."""
    if not node.level:
        return node.module or ""
    start = package[: len(package) - node.level + 1]
    return ".".join([*start, *([node.module] if node.module else [])])


def imported(source: str, package: tuple[str, ...]) -> Iterator[str]:
    """Yield what a file of a package imports of selfsort, also inside functions.

    A module is given by its name (``scores``), a name of the top package as ``selfsort.name``.
    """
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            targets = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            start = absolute(node, package)
            names = [f"selfsort.{alias.name}" for alias in node.names]
            targets = names if start == "selfsort" else [start]
        else:
            continue
        for target in targets:
            first, _, rest = target.partition(".")
            if first == "selfsort":
                module = rest.partition(".")[0]
                yield module if module in LAYER_OF else target


def faults(own: str, source: str, package: tuple[str, ...] = ("selfsort",)) -> list[str]:
    """Return one sentence for each import that a file of the module `own` must not have."""
    return [
        f"{own} imports {target}"
        for target in imported(source, package)
        if target != own
        and not target.startswith("selfsort.__")
        and LAYER_OF.get(target, len(LAYERS)) >= LAYER_OF[own]
    ]


def files() -> Iterator[tuple[str, tuple[str, ...], Path]]:
    """Yield (module, package, path) of every file of the package that has a layer."""
    for path in sorted(SOURCE.rglob("*.py")):
        parts = path.relative_to(SOURCE).with_suffix("").parts
        if parts[0] not in EXEMPT:
            yield parts[0], ("selfsort", *parts[:-1]), path


def test_every_module_has_a_layer() -> None:
    assert {module for module, _, _ in files()} <= set(LAYER_OF)


def test_modules_import_only_from_lower_layers() -> None:
    found = [
        f"{path.name}: {fault}"
        for module, package, path in files()
        for fault in faults(module, path.read_text(), package)
    ]
    assert found == []


@pytest.mark.parametrize(
    ("own", "source", "package", "expected"),
    [
        ("scores", "import numpy\nfrom selfsort.errors import InputError", (), []),
        ("scores", "from selfsort.runs import Run", (), ["scores imports runs"]),
        ("scores", "import selfsort.runs", (), ["scores imports runs"]),
        ("scores", "from . import runs, errors", (), ["scores imports runs"]),
        ("scores", "from selfsort import __version__", (), []),
        ("scores", "from selfsort import Autoencoder", (), ["scores imports selfsort.Autoencoder"]),
        ("scores", "import selfsort", (), ["scores imports selfsort"]),
        ("scores", "def late():\n    from .cli import main", (), ["scores imports cli"]),
        ("scores", "from .datasets import Dataset", (), ["scores imports datasets"]),
        ("recipes", "from .teach import teach", ("recipes",), []),
        (
            "recipes",
            "from ..estimators import Autoencoder",
            ("recipes",),
            ["recipes imports estimators"],
        ),
        ("recipes", "from .. import scores, runs", ("recipes",), ["recipes imports runs"]),
    ],
)
def test_the_check_sees_each_form_of_import(
    own: str, source: str, package: tuple[str, ...], expected: list[str]
) -> None:
    assert faults(own, source, ("selfsort", *package)) == expected


@pytest.mark.parametrize("command", [["-c", "import selfsort"], ["-m", "selfsort", "--help"]])
def test_torch_is_not_imported(command: list[str]) -> None:
    python = [sys.executable, "-X", "importtime"]
    done = subprocess.run([*python, *command], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-800:]
    modules = {line.rpartition("|")[2].strip() for line in done.stderr.splitlines()}
    assert "selfsort" in modules
    assert "torch" not in modules
