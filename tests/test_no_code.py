"""No code runs from data: an audit hook sees none, and payloads leave no marker."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]


@pytest.fixture(scope="module")
def seen(tmp_path_factory) -> dict:
    folder = tmp_path_factory.mktemp("audited")
    process = subprocess.run(
        [sys.executable, str(ROOT / "tests" / "auditing.py"), str(folder)],
        cwd=folder,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert process.returncode == 0, process.stderr
    return json.loads(process.stdout)


def test_payloads_leave_no_marker(seen) -> None:
    assert len(seen["payloads"]) >= 20
    assert seen["marker"] is False
    for name, (code, said) in seen["payloads"].items():
        if name != "template":  # a report of any words is sound: they are shown, not run
            assert code == 2, (name, said)
            assert said.count("\n") == 1, (name, said)


def test_sound_data_is_read(seen) -> None:
    assert set(seen["sound"]) == {0}


def test_nothing_is_run_while_data_is_read(seen) -> None:
    strange = [event for event in seen["events"] if not is_known(event)]
    assert strange == []


def is_known(event: list[str]) -> bool:
    """Return whether an event comes of our own files, and not of the data.

    NumPy reads an array's header as a literal, which is parsed ("<unknown>") and not run; and
    jinja2 makes programs of the templates that come with selfsort.
    """
    kind, *what = event
    if kind == "compile":
        return what[1] == "<unknown>" or "selfsort/templates/" in what[1]
    return kind == "exec" and "selfsort/templates/" in what[0]


@pytest.mark.parametrize(
    "word", [" torch.load", "pickle", "allow_pickle=True", "eval(", "yaml", "shell=True"]
)
def test_the_source_does_without(word: str) -> None:
    found = [
        f"{path.name}:{i}"
        for path in sorted((ROOT / "src").rglob("*.py"))
        for i, line in enumerate(path.read_text(encoding="utf-8").splitlines(), 1)
        if word in re.sub(r"#.*|\"\"\".*|no pickle|[Nn]o pickle|without pickle", "", line)
        and not re.search(r"\.eval\(|allow_pickle=False", line)
    ]
    assert found == []
