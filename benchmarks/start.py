"""How long the command takes to start: `benchmarks/results/start.md`.

    python benchmarks/start.py

Each line is a process of its own, in turn with the others, with all files in the system's cache:
what is there without selfsort, the import, the help, and the class of one image by a network of
`teach` on scikit-learn's digits. It takes about two minutes.
"""

from __future__ import annotations

import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
from common import RESULTS, alone, circumstances, origin, setting, table
from sklearn.datasets import load_digits

ROUNDS = 11
BASE = "python -c 'import typer, rich'"
GOAL = 3.0
"""How many times as long as the base the help may take."""


def commands(run: Path, image: Path) -> dict[str, list[str]]:
    """Return what is timed, by how it is called in the page."""
    return {
        "python -c pass": ["-c", "pass"],
        BASE: ["-c", "import typer, rich"],
        "python -c 'import selfsort'": ["-c", "import selfsort"],
        "selfsort --help": ["-m", "selfsort", "--help"],
        "python -c 'import torch'": ["-c", "import torch"],
        "selfsort predict RUN ONE_IMAGE --out classes.csv": [
            *("-m", "selfsort", "predict", str(run), str(image)),
            *("--out", str(run.parent / "classes.csv"), "--force"),
        ],
    }


def seconds_of(arguments: list[str]) -> float:
    """Return how long a process takes."""
    start = time.perf_counter()
    subprocess.run([sys.executable, *arguments], check=True, capture_output=True)
    return time.perf_counter() - start


def measured() -> dict[str, list[float]]:
    """Return the seconds of each command in each round, after one that is not counted."""
    with tempfile.TemporaryDirectory() as folder:
        run, image = Path(folder, "run"), Path(folder, "one.npy")
        np.save(image, load_digits().images[:1])
        train = ["train", "digits", "--labels", "all", "--epochs", "1", "--out", str(run)]
        seconds_of(["-m", "selfsort", *train])
        timed = commands(run, image)
        rounds = [
            {name: seconds_of(arguments) for name, arguments in timed.items()}
            for _ in range(ROUNDS + 1)
        ]
    return {name: [one[name] for one in rounds[1:]] for name in timed}


def page(found: dict[str, list[float]], head: str) -> str:
    """Return the page: medians, and how many times as long as the base, round by round."""
    rows = []
    for name, seconds in found.items():
        ratios = np.divide(seconds, found[BASE])
        rows.append(
            [
                f"`{name}`",
                f"{np.median(seconds):.2f} ({min(seconds):.2f} to {max(seconds):.2f})",
                f"{np.median(ratios):.2f} ({min(ratios):.2f} to {max(ratios):.2f})",
            ]
        )
    share = np.median(np.divide(found["selfsort --help"], found[BASE]))
    verdict = "met" if share <= GOAL else "missed"
    return "\n".join(
        [
            "# How long the command takes to start",
            "",
            head,
            "",
            f"Median (lowest to highest) of {len(found[BASE])} rounds in turn, each in a process "
            "of its own, with all files in the system's cache.",
            "",
            *table(["command", "s", f"times `{BASE}`"], rows),
            "",
            f"The help is to take at most {GOAL:.0f} times as long as the libraries that it is "
            f"shown with: {share:.2f}, {verdict}. What predicts one image imports PyTorch, reads "
            "and checks the run, predicts, and writes the file.",
            "",
        ]
    )


def main() -> int:
    """Measure, and write the page."""
    with alone():
        now = circumstances()
        head = f"{now['date'][:10]}; {origin(now)}; {setting(now)} threads. "
        text = page(measured(), head + "`python benchmarks/start.py`.")
    (RESULTS / "start.md").write_text(text, encoding="utf-8")
    print(text)
    return 0


if __name__ == "__main__":
    sys.exit(main())
