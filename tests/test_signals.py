"""SIGINT and SIGTERM at many moments: a checkpoint, the right exit code, and it goes on."""

from __future__ import annotations

import signal
from pathlib import Path

import pytest
from killing import Program, content_of, finish, stage_of, start, write_data

pytestmark = pytest.mark.slow
MOMENTS = 20
SECONDS = 10


@pytest.fixture(scope="module")
def whole(tmp_path_factory) -> tuple[Path, dict]:
    folder = tmp_path_factory.mktemp("whole")
    data = write_data(folder / "data.npz")
    finish(data, folder / "run" / "run", "none", every=30)
    return data, content_of(folder / "run" / "run")


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM], ids=["SIGINT", "SIGTERM"])
def test_at_many_moments(number: signal.Signals, whole, tmp_path: Path) -> None:
    """A run is stopped, goes on, is stopped again, …: ten moments for each of the signals."""
    data, content = whole
    run = tmp_path / "chain" / "run"
    stages = []
    for i in range(MOMENTS // 2):
        program = start(data, run, "none")
        while stage_of(run) == "" and program.runs():  # it has not begun to write
            program.wait(0.01)
        program.wait(0.15 + 0.13 * i)
        if not program.runs():
            break
        stages.append(stage_of(run))
        program.send(number)
        code = program.wait(SECONDS)
        assert code in (128 + number, 0), (code, program.err())  # 0: it had just ended
        assert "Traceback" not in program.err()
        if code:
            assert (
                program.err()
                .splitlines()[-2 if number == signal.SIGINT else -1]
                .startswith(("To go on: selfsort train --resume", "Report:"))
            )
            assert any((run / "checkpoints").iterdir())
    assert len(stages) >= 5
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
    program.send(signal.SIGINT)
    assert program.wait(SECONDS) == 130
    assert program.err().splitlines()[-1] == "selfsort: interrupted."
