"""The examples of the README run as they stand there."""

from __future__ import annotations

import re
import shlex
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

ROOT = Path(__file__).resolve().parents[1]
README = (ROOT / "README.md").read_text(encoding="utf-8")


def blocks(language: str) -> list[str]:
    """Return the README's code blocks in a language."""
    return re.findall(rf"```{language}\n(.*?)```", README, flags=re.DOTALL)


@pytest.mark.slow
def test_python_examples_run() -> None:
    names: dict = {}
    for block in blocks("python"):
        exec(compile(block, "README.md", "exec"), names)
    clusterer, classifier, images = names["clusterer"], names["classifier"], names["images"]
    assert clusterer.labels_.shape == (1797,)
    assert clusterer.prototypes_.shape == (10, 8, 8)
    assert np.array_equal(clusterer.predict(images[:50]), clusterer.labels_[:50])
    truth = names["load_digits"]().target
    assert np.mean(classifier.predict(images) == truth) > 0.9


@pytest.mark.slow
def test_command_line_examples_run(tmp_path: Path) -> None:
    commands = [
        shlex.split(line)
        for block in blocks("bash")
        for line in block.splitlines()
        if line.startswith("selfsort ")
    ]
    assert len(commands) == 3
    for command in commands:
        subprocess.run(
            [sys.executable, "-m", *command], cwd=tmp_path, check=True, capture_output=True
        )
    assert (tmp_path / "runs" / "digits" / "report.html").is_file()
    assert len((tmp_path / "classes.csv").read_text().splitlines()) == 1 + 355


def test_the_two_commands_are_there() -> None:
    for name in ("demo", "test"):
        assert f"bash scripts/{name}" in README
        assert (ROOT / "scripts" / name).is_file()


def test_every_link_leads_somewhere() -> None:
    targets = re.findall(r"\]\(([^)]+)\)", README)
    assert targets
    assert [target for target in targets if not (ROOT / target).exists()] == []


def test_figures_are_those_of_the_benchmark() -> None:
    pages = [ROOT / "benchmarks" / "results" / f"{name}.md" for name in ("systems", "accuracy")]
    results = "".join(page.read_text(encoding="utf-8") for page in pages)
    rows = [line for line in README.splitlines() if line.startswith("| ")]
    figures = [cell for row in rows for cell in re.findall(r"\d+\.\d+ \([^)]*\)", row)]
    assert figures
    assert [figure for figure in figures if figure not in results] == []
