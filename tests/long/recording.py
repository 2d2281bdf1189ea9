"""Where the long forms write their figures, and where they find the short forms' helpers."""

from __future__ import annotations

import datetime
import json
import shlex
import sys
import time
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / "tests"))

from selfsort.runs.environment import machine, versions  # noqa: E402 - after the path

RESULTS = ROOT / "benchmarks" / "results" / "reliability.jsonl"
_STARTED = time.monotonic()


def record(name: str, **figures: Any) -> None:
    """Append the figures of a long form, with date, machine and command, and print them."""
    line = {
        "name": name,
        "date": datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
        "machine": machine(),
        "versions": versions(),
        "command": shlex.join(["python", *sys.argv]),
        "minutes": round((time.monotonic() - _STARTED) / 60, 1),
        **figures,
    }
    with RESULTS.open("a", encoding="utf-8") as file:
        file.write(json.dumps(line) + "\n")
    print(json.dumps(line, indent=2))
