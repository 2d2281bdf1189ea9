"""Every reader under a coverage-guided fuzzer: `python tests/long/fuzz.py [RUNS [READER ...]]`.

It needs atheris (`pip install atheris`). Each reader gets RUNS files, ten million unless told
otherwise, in processes of a million each: what is done is written down, and the next one goes on
with the files that led to new branches.
"""

from __future__ import annotations

import re
import subprocess
import sys
import tempfile
from pathlib import Path

ROUND = 1_000_000
ROOT = Path(__file__).resolve().parents[2]
CORPORA = ROOT / "runs" / "fuzz"
READ_BY = ["images", "checkpoints", "verified", "report.reading", "runs.request"]
"""The modules whose branches the fuzzer looks for."""


def fuzz(kind: str, runs: int) -> None:
    """Fuzz one reader in this process, which ends with it."""
    import atheris

    with atheris.instrument_imports(include=[f"selfsort.{name}" for name in READ_BY]):
        sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
        from fuzzing import Fuzzed
    memory = "/dev/shm" if Path("/dev/shm").is_dir() else None  # no disk is worn out
    corpus = CORPORA / kind
    corpus.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=memory) as name:
        fuzzed = Fuzzed(kind, Path(name))
        for i, seed in enumerate(fuzzed.reader.seeds):
            (corpus / str(i)).write_bytes(seed)
        options = [f"-runs={runs}", "-rss_limit_mb=0", "-timeout=60", "-verbosity=1", str(corpus)]
        atheris.Setup([sys.argv[0], *options], fuzzed.attempt)
        atheris.Fuzz()


def main() -> None:
    from recording import record

    from fuzzing import READERS  # isort: skip

    runs = int(sys.argv[1]) if len(sys.argv) > 1 else 10_000_000
    failed = False
    for kind in sys.argv[2:] or list(READERS):
        for left in range(runs, 0, -ROUND):
            command = [sys.executable, __file__, "--one", str(min(left, ROUND)), kind]
            process = subprocess.run(command, capture_output=True, text=True, check=False)
            found = re.findall(r"Done (\d+) runs", process.stderr)
            wrong = process.returncode or not found
            said = process.stderr[-2000:].replace(f"{ROOT}/", "")  # whose machine it was is no news
            error = {"error": said} if wrong else {}
            record("fuzz", reader=kind, runs=int(found[-1]) if found else 0, **error)
            failed = failed or bool(wrong)
    sys.exit(failed)


if __name__ == "__main__":
    if sys.argv[1:2] == ["--one"]:
        fuzz(sys.argv[3], int(sys.argv[2]))
    else:
        main()
