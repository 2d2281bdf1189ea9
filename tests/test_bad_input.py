"""Malformed inputs: one line that names the file and the reason, exit code 2, nothing written.

Each in a process of its own, which may use 2 s of processor time and 1 GB more than it has.
"""

from __future__ import annotations

import signal
from pathlib import Path

import malformed
import pytest
from killing import Program
from platforms import needs_proc
from running import call, write_npz

pytestmark = needs_proc
GIGABYTE = 10**9
SECONDS = 2


@pytest.fixture(scope="module")
def sound_run(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("sound")
    data = write_npz(folder / "data.npz", n=60, n_test=0)
    options = ("--labels", "all", "--epochs", 1, "--threads", 1)
    assert call("train", data, "--out", folder / "run", *options).code == 0
    return folder / "run"


def limit() -> None:
    """Limit the memory and the processor time of this process."""
    resource = pytest.importorskip("resource")
    status = Path("/proc/self/status").read_text()
    used = int(status.partition("VmSize:")[2].split()[0]) * 1024
    resource.setrlimit(resource.RLIMIT_AS, (used + GIGABYTE, used + GIGABYTE))
    resource.setrlimit(resource.RLIMIT_CPU, (SECONDS, SECONDS))


NAMES = [*malformed.CASES, *malformed.RUNS]


def test_there_are_many() -> None:
    assert len(NAMES) >= 150


@pytest.mark.parametrize("name", NAMES)
def test_malformed_input(name: str, tmp_path: Path, sound_run: Path) -> None:
    folder = tmp_path / "work"
    folder.mkdir()
    arguments, named = dict(malformed.all_cases(sound_run))[name](folder)
    before = snapshot(folder)
    if arguments[0] == "train" and "--resume" not in arguments:
        arguments += ["--out", folder / "out"]
    program = Program(*arguments, said=tmp_path / "said.txt", before=limit)
    code, said = program.wait(30), program.err()
    if code is None:  # it waits for something that does not come
        program.send(signal.SIGKILL)
    assert said.count("\n") == 1, said
    assert said.startswith("selfsort: "), said
    # Weights and configuration that do not fit together: either may be wrong.
    both = f"{named.parent}: weights and configuration do not fit together"
    assert str(named) in said or named.name in said or both in said, said
    assert code == 2, (code, said)
    assert snapshot(folder) == before


def snapshot(folder: Path) -> dict[str, tuple[int, int]]:
    """Return everything below a folder, with sizes and times of change."""
    return {
        str(path.relative_to(folder)): (path.lstat().st_size, path.lstat().st_mtime_ns)
        for path in folder.rglob("*")
    }
