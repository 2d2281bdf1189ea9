"""Every reader under a coverage-guided fuzzer: `python tests/long/fuzz.py [RUNS [READER ...]]`.

It needs atheris (`pip install atheris`). Each reader gets RUNS files, in a process of its own.
"""

from __future__ import annotations

import re
import subprocess
import sys
import tempfile
from pathlib import Path

from recording import record

from fuzzing import READERS, Fuzzed  # isort: skip


def fuzz(kind: str, runs: int) -> None:
    """Fuzz one reader in this process, which ends with it."""
    import atheris

    atheris.instrument_all()
    memory = "/dev/shm" if Path("/dev/shm").is_dir() else None  # no disk is worn out
    with tempfile.TemporaryDirectory() as corpus, tempfile.TemporaryDirectory(dir=memory) as name:
        fuzzed = Fuzzed(kind, Path(name))
        for i, seed in enumerate(fuzzed.reader.seeds):
            (Path(corpus) / str(i)).write_bytes(seed)
        atheris.Setup([sys.argv[0], f"-runs={runs}", "-rss_limit_mb=0", corpus], fuzzed.attempt)
        atheris.Fuzz()


def main() -> None:
    runs = int(sys.argv[1]) if len(sys.argv) > 1 else 10_000_000
    kinds = sys.argv[2:] or list(READERS)
    done, failed = {}, {}
    for kind in kinds:
        command = [sys.executable, __file__, "--one", str(runs), kind]
        process = subprocess.run(command, capture_output=True, text=True, check=False)
        found = re.findall(r"Done (\d+) runs", process.stderr)
        done[kind] = int(found[-1]) if found else 0
        if process.returncode:
            failed[kind] = process.stderr[-2000:]
        print(f"{kind}: {done[kind]:,} runs{', FAILED' if kind in failed else ''}", flush=True)
    record("fuzz", runs=done, failed=failed)
    sys.exit(bool(failed))


if __name__ == "__main__":
    if sys.argv[1:2] == ["--one"]:
        fuzz(sys.argv[3], int(sys.argv[2]))
    else:
        main()
