"""System calls that fail in a real run: one line, no rubbish left, and it goes on afterwards.

All calls of a run with three errors: `python tests/long/system_calls.py`.
"""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import NamedTuple

import pytest
from injecting import CALLS, OPTIONS, cleared, problems, traced
from killing import content_of
from running import call, write_npz

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(shutil.which("strace") is None, reason="strace is not installed"),
]


class Undisturbed(NamedTuple):
    """A run in which nothing failed, and the paths that it used."""

    data: Path
    run: Path
    content: dict
    paths: list[str]


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory) -> Undisturbed:
    folder = tmp_path_factory.mktemp("traced")
    data = write_npz(folder / "data.npz", n=40, n_test=10)
    run = folder / "run"
    found = traced(data, run, [])
    assert found.code == 0, found.err
    return Undisturbed(data, run, content_of(run), found.paths)


@pytest.mark.parametrize(
    ("what", "number", "error"),
    [
        ("open", 4, "EACCES"),  # run.json
        ("open", 14, "ENOSPC"),
        ("write", 5, "ENOSPC"),  # the arrays of the second checkpoint
        ("fsync", 10, "EIO"),
        ("rename", 3, "EIO"),  # the second checkpoint
        ("rename", 12, "ENOSPC"),
    ],
)
def test_a_call_that_fails(undisturbed, what: str, number: int, error: str) -> None:
    data, run, content, paths = undisturbed
    cleared(run)
    failed = traced(data, run, paths, f"{CALLS[what]}:error={error}:when={number}")
    assert problems(run, failed, error) == []
    begun = (run / "run.json").exists()
    again = ("--resume", run) if begun else (data, "--out", run, *OPTIONS)
    outcome = call("train", *again)
    assert outcome.code == 0, outcome.err
    if number > 4:
        assert "Going on in '" in outcome.err
    assert content_of(run) == content
