"""System calls that fail, by strace: real runs in which the N-th call of a kind gives an error."""

from __future__ import annotations

import re
import shutil
import signal
import subprocess
import time
from pathlib import Path
from typing import NamedTuple

from killing import Program, stop_until_continued

CALLS = {"open": "openat", "write": "write", "fsync": "fsync", "rename": "rename"}
ERRORS = {"ENOSPC": "No space left on device", "EIO": "Input/output error"}
ERRORS["EACCES"] = "Permission denied"
OPTIONS = ("--recipe", "plain", "--epochs", 1, "--threads", 1, "--checkpoint-every", 0)


class Traced(NamedTuple):
    """How a traced run ended, and the paths in its folder that its system calls named."""

    code: int
    err: str
    paths: list[str]


def traced(data: Path, run: Path, paths: list[str], injection: str = "") -> Traced:
    """Start a run under strace; with an injection only calls on `paths` count."""
    log = run.with_name("strace.log")
    said = run.with_name("said.txt")
    for path in (log, said):
        path.unlink(missing_ok=True)
    program = Program("train", data, "--out", run, *OPTIONS, said=said, before=stop_until_continued)
    pid = str(program.process.pid)
    while _state(pid) != "T":
        time.sleep(0.002)
    names = ",".join([*CALLS.values(), "mkdir", "unlink", "rmdir"])
    options = ["-f", "-y", "-o", str(log), "-p", pid, "-e", f"trace={names}"]
    if injection:
        options += ["-e", f"inject={injection}"]
        options += [word for path in paths for word in ("-P", path.replace(".PID.", f".{pid}."))]
    strace = subprocess.Popen(["strace", *options], stderr=subprocess.PIPE, text=True)
    assert strace.stderr is not None
    line = strace.stderr.readline()
    assert "attached" in line, line
    program.send(signal.SIGCONT)
    code = program.wait()
    strace.communicate()
    assert code is not None
    text = log.read_text(encoding="utf-8", errors="replace")
    found = re.findall(rf'"({re.escape(str(run))}[^"]*)"', text)
    paths = [path.replace(f".{pid}.", ".PID.") for path in dict.fromkeys(found)]
    return Traced(code, program.err(), paths)


def _state(pid: str) -> str:
    return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]


def problems(run: Path, traced: Traced, error: str) -> list[str]:
    """Return what is not as it should be after a call that failed."""
    found = []
    last = (traced.err.splitlines() or [""])[-1]
    if traced.code == 0:
        found.append("exit code 0")
    if not re.fullmatch(rf"selfsort: {re.escape(str(run))}[^:]*: .*{ERRORS[error]}.*", last):
        found.append(f"the last line is '{last}'")
    if "Traceback" in traced.err:
        found.append("a traceback")
    left = [path.name for path in run.rglob(".*.part")] if run.exists() else []
    if left:
        found.append(f"left behind: {left}")
    return found


def cleared(run: Path) -> None:
    if run.exists():
        shutil.rmtree(run)
