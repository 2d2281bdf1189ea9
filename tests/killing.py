"""Real runs that are killed, and what is compared of two runs."""

from __future__ import annotations

import json
import multiprocessing
import os
import random
import signal
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from running import write_npz

from selfsort import cli

TIMES = {"seconds", "images_per_second", "train_seconds", "stage_seconds", "date"}
ASKED = {"command", "checkpoint_every"}
KINDS = {
    "none": ("--labels", "none", "--epochs", 8),
    "few": ("--labels", 40, "--epochs", 12),
    "all": ("--labels", "all", "--epochs", 4),
}
"""Options of a run without labels, with a few and with all."""


def write_data(path: Path) -> Path:
    return write_npz(path, n=160, n_test=40)


FORKS = "forkserver" in multiprocessing.get_all_start_methods()
PROCESSES = multiprocessing.get_context("forkserver" if FORKS else "spawn")
if FORKS:
    PROCESSES.set_forkserver_preload(
        ["selfsort.runs", "selfsort.runs.bulk.working", "selfsort.sources.tables", "torch._dynamo"]
    )
"""A fork of a process that has imported everything (torch's optimizers take the second) starts 8 s
faster, and is as real."""


Before = Callable[[], object] | None
"""What the new process does first: a function of a module, for it goes there by its name."""


class Program:
    """`selfsort` with some arguments, in a process of its own."""

    def __init__(self, *arguments: object, said: Path, before: Before = None) -> None:
        self.said = said
        said.parent.mkdir(parents=True, exist_ok=True)
        argv = ["selfsort", *map(str, arguments)]
        self.process = PROCESSES.Process(target=_program, args=(argv, str(said), before))
        self.process.start()

    def runs(self) -> bool:
        return self.process.is_alive()

    def wait(self, seconds: float | None = None) -> int | None:
        """Return the exit code, minus the number of a signal that ended it; None: it runs."""
        self.process.join(seconds)
        return self.process.exitcode

    def send(self, number: signal.Signals) -> None:
        assert self.process.pid is not None
        os.kill(self.process.pid, number)

    def err(self) -> str:
        return self.said.read_text(encoding="utf-8") if self.said.exists() else ""


def _program(argv: list[str], said: str, before: Before) -> None:
    with open(said, "a", encoding="utf-8") as file:
        for stream in (1, 2):
            os.dup2(file.fileno(), stream)
    if before is not None:
        before()
    sys.argv = argv
    cli.main()


def stop_until_continued() -> None:
    """Wait until somebody has attached a tracer, and sends SIGCONT."""
    os.kill(os.getpid(), signal.SIGSTOP)


def start(data: Path, out: Path, kind: str, every: float = 0, before: Before = None) -> Program:
    """Start a run with a checkpoint after each step, or go on with it."""
    said = out.with_name("said.txt")
    if (out / "run.json").is_file():
        return Program("train", "--resume", out, said=said)
    fixed = ("--checkpoint-every", every, "--threads", 1, "--seed", 5)
    return Program("train", data, "--out", out, *fixed, *KINDS[kind], said=said, before=before)


def stage_of(run: Path) -> str:
    """Return the stage of the newest checkpoint; "" where there is none, or it is going."""
    try:
        newest = max((run / "checkpoints").glob("[0-9]*"))
        return json.loads((newest / "facts.json").read_bytes())["stage"]
    except (OSError, ValueError):
        return ""


def wait_for_stage(program: Program, run: Path, stage: str) -> bool:
    """Wait until a run is in a stage; return False where it ended before that was seen."""
    while program.runs():
        if stage_of(run) == stage:
            return True
        time.sleep(0.005)
    return False


def kill(program: Program) -> None:
    """End a process by SIGKILL, which it cannot see."""
    program.send(signal.SIGKILL)
    assert program.wait() == -signal.SIGKILL, program.err()


def finish(data: Path, out: Path, kind: str, every: float = 0) -> str:
    """Let a run end by itself; return what it said."""
    program = start(data, out, kind, every)
    assert program.wait() == 0, program.err()
    return program.err()


def kill_at_random(data: Path, out: Path, kind: str, seconds: float, rng: random.Random) -> str:
    """Start or go on with a run and kill it within some seconds; return its stage then."""
    program = start(data, out, kind)
    code = program.wait(rng.uniform(0, seconds))
    if code is not None:  # it was faster
        assert code == 0, program.err()
        return "done"
    stage = stage_of(out) or "start"
    program.send(signal.SIGKILL)
    if program.wait() == 0:  # it had just ended
        return "done"
    return stage


def stopped_again_and_again(
    data: Path, run: Path, number: signal.Signals, moments: list[float]
) -> tuple[float, list[str]]:
    """Send a signal to a run, go on with it, send it again, ….

    Returns the longest time in seconds that a run took to end, and the stages it was in.
    """
    slowest, stages = 0.0, []
    for i, moment in enumerate(moments):
        said = run.with_name("said.txt")
        said.unlink(missing_ok=True)
        program = start(data, run, "none")
        # Before it has begun, while it imports, the system ends it as it would any program.
        while program.runs() and "Going on" not in program.err() and (i or not stage_of(run)):
            program.wait(0.01)
        program.wait(moment)
        if not program.runs():
            break
        stages.append(stage_of(run))
        begun = time.monotonic()
        program.send(number)
        code = program.wait(60)
        slowest = max(slowest, time.monotonic() - begun)
        assert code in (128 + number, 0), (code, program.err())  # 0: it had just ended
        assert "Traceback" not in program.err()
        if code:
            assert f"To go on: selfsort train --resume {run}" in program.err()
            assert any((run / "checkpoints").iterdir())
    return slowest, stages


def content_of(run: Path) -> dict[str, Any]:
    """Return everything that a run left, without times: files by name."""
    found: dict[str, Any] = {}
    for path in sorted(run.iterdir()):
        if path.suffix in (".json", ".jsonl"):
            lines = [path.read_text()] if path.suffix == ".json" else path.read_text().splitlines()
            rows = [json.loads(line) for line in lines]
            found[path.name] = [
                {name: value for name, value in row.items() if name not in TIMES | ASKED}
                for row in rows
            ]
        elif path.is_dir():
            found[path.name] = "a folder"
        elif path.name in ("report.html", "curves.png"):  # they show times
            found[path.name] = path.stat().st_size > 0
        else:
            found[path.name] = path.read_bytes()
    return found
