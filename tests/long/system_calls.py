"""Every system call that can fail, failing: `python tests/long/system_calls.py`.

A run is repeated with the N-th open, write, fsync or rename in its folder giving an error, for
N = 1, 2, … until none is left to fail. Each time the program must say in one line which path it
was, with an exit code that is not 0, and leave no temporary file; and the run must go on to the
same end as if nothing had failed. It needs strace (Debian's package is installed where it may be).
"""

from __future__ import annotations

import collections
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

from recording import record

from injecting import CALLS, ERRORS, OPTIONS, cleared, problems, traced  # isort: skip
from killing import Program, content_of  # isort: skip
from running import write_npz  # isort: skip


def main() -> None:
    if shutil.which("strace") is None:
        subprocess.run(["apt-get", "install", "-y", "-q", "strace"], check=True)
    counts: collections.Counter[str] = collections.Counter()
    wrong = []
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        data, run = write_npz(folder / "data.npz", n=40, n_test=10), folder / "run"
        whole = traced(data, run, [])
        content = content_of(run)
        for call, error in ((call, error) for call in CALLS for error in ERRORS):
            number = 0
            while True:
                number += 1
                cleared(run)
                failed = traced(
                    data, run, whole.paths, f"{CALLS[call]}:error={error}:when={number}"
                )
                if failed.code == 0 and content_of(run) == content and "INJECTED" not in _log(run):
                    break
                counts[f"{call} {error}"] += 1
                found = problems(run, failed, error)
                found += _does_not_go_on(data, run, content)
                if found:
                    wrong.append({"call": call, "error": error, "number": number, "wrong": found})
                print(f"{call} {number} {error}: {found or 'fine'}", flush=True)
    record("system calls", failed=sum(counts.values()), by_call=dict(counts), wrong=wrong)
    sys.exit(bool(wrong))


def _log(run: Path) -> str:
    return run.with_name("strace.log").read_text(encoding="utf-8", errors="replace")


def _does_not_go_on(data: Path, run: Path, content: dict) -> list[str]:
    said = run.with_name("again.txt")
    said.unlink(missing_ok=True)
    begun = (run / "run.json").exists()
    again = ("--resume", run) if begun else (data, "--out", run, *OPTIONS)
    program = Program("train", *again, said=said)
    if program.wait() != 0:
        return [f"it does not go on: {program.err()[-300:]}"]
    if content_of(run) != content:
        return ["it ends in another way"]
    return []


if __name__ == "__main__":
    main()
