"""SIGINT and SIGTERM at many moments: a checkpoint, the right exit code, and it goes on."""

from __future__ import annotations

import signal
from pathlib import Path

import pytest
from killing import Program, content_of, finish, stopped_again_and_again, write_data
from platforms import needs_signals

pytestmark = [pytest.mark.slow, needs_signals]
SECONDS = 10


@pytest.fixture(scope="module")
def whole(tmp_path_factory) -> tuple[Path, dict]:
    folder = tmp_path_factory.mktemp("whole")
    data = write_data(folder / "data.npz")
    finish(data, folder / "run" / "run", "none", every=30)
    return data, content_of(folder / "run" / "run")


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM], ids=["SIGINT", "SIGTERM"])
def test_at_some_moments(number: signal.Signals, whole, tmp_path: Path) -> None:
    """Three here; `tests/long/signals.py` takes 20 of each."""
    data, content = whole
    run = tmp_path / "chain" / "run"
    slowest, moments = stopped_again_and_again(data, run, number, [0.1, 0.7, 0.4])
    assert len(moments) >= 2
    assert slowest < SECONDS
    finish(data, run, "none")
    assert content_of(run) == content


def test_a_second_sigint_ends_at_once(whole, tmp_path: Path) -> None:
    data, _ = whole
    run = tmp_path / "run"
    program = Program(
        "train", data, "--out", run, "--recipe", "plain", "--epochs", 100_000,
        said=tmp_path / "said.txt",
    )  # fmt: skip
    while "fit 2/" not in program.err():
        assert program.wait(0.05) is None
    program.send(signal.SIGINT)
    while "Interrupted: " not in program.err() and program.runs():
        program.wait(0.001)
    program.send(signal.SIGINT)
    assert program.wait(SECONDS) == 130
    assert program.err().splitlines()[-1] == "selfsort: interrupted."
