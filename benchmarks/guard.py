"""How fast the current tree is beside a commit: `python benchmarks/guard.py COMMIT`.

Each measurement is made in a process of its own, in turn with the commit's code, with the current
code, and with the commit's again: ratios of seconds, current by commit, beside those of the commit
by itself, which show what is chance. Below 1 the current tree is faster. Run it, with nothing else
running, before a change to training is committed; it writes nothing.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np

ROOT = Path(__file__).resolve().parent.parent
HELP = [sys.executable, "-m", "selfsort", "--help"]


def images(n: int) -> tuple[np.ndarray, np.ndarray]:
    """Return scikit-learn's digits as ``(n, 28, 28)`` uint8, shifted about, and their labels."""
    from PIL import Image
    from sklearn.datasets import load_digits

    rng = np.random.default_rng(0)
    digits = load_digits()
    large = [
        np.asarray(Image.fromarray((one * 15).astype(np.uint8)).resize((20, 20)))
        for one in digits.images
    ]
    chosen = np.arange(n) % len(large)
    found = np.zeros((n, 28, 28), np.uint8)
    for row, which in enumerate(chosen):
        top, left = rng.integers(0, 9, 2)
        found[row, top : top + 20, left : left + 20] = large[which]
    return found, digits.target[chosen]


def seconds_of(function: Callable[[], object]) -> float:
    """Return how long a call takes."""
    start = time.perf_counter()
    function()
    return time.perf_counter() - start


def without_labels() -> float:
    """Sort 4,000 images, two epochs."""
    from selfsort import AutoencoderClusterer

    X, _ = images(4000)
    return seconds_of(lambda: AutoencoderClusterer(10, epochs=2, random_state=0).fit(X))


def with_labels() -> float:
    """Learn the labels of 4,000 images, three epochs."""
    from selfsort import AutoencoderClassifier

    X, y = images(4000)
    return seconds_of(lambda: AutoencoderClassifier(epochs=3, random_state=0).fit(X, y))


def prediction() -> float:
    """Predict 10,000 images, with a network that has learned from 1,000."""
    from selfsort import AutoencoderClassifier

    X, y = images(10_000)
    classifier = AutoencoderClassifier(epochs=8, random_state=0).fit(X[:1000], y[:1000])
    classifier.predict(X[:1000])
    return seconds_of(lambda: classifier.predict(X))


def importing() -> float:
    """Import the package, and what training needs of it."""
    return seconds_of(lambda: __import__("selfsort").AutoencoderClusterer)


def help_text() -> float:
    """Show the command's help."""
    return seconds_of(lambda: subprocess.run(HELP, stdout=subprocess.DEVNULL, check=True))


MEASUREMENTS: dict[str, Callable[[], float]] = {
    "without labels": without_labels,
    "with labels": with_labels,
    "prediction": prediction,
    "import": importing,
    "help": help_text,
}


def measured(name: str, tree: Path) -> float:
    """Return the seconds of a measurement with a tree's code, in a process of its own."""
    environment = {**os.environ, "PYTHONPATH": str(tree / "src")}
    command = [sys.executable, __file__, "--measure", name]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    if done.returncode:
        sys.exit(f"'{name}' failed with the code of {tree}:\n{done.stderr}")
    return float(done.stdout.splitlines()[-1])


def in_words(ratios: list[float]) -> str:
    """Return the median of some ratios, and the lowest and the highest.

    Examples
    --------
    >>> in_words([1.0, 0.9, 1.3])
    '1.00 (0.90 to 1.30)'
    """
    return f"{np.median(ratios):.2f} ({min(ratios):.2f} to {max(ratios):.2f})"


def compare(commit: str, names: list[str], n_rounds: int) -> None:
    """Print the ratios of all measurements."""
    with tempfile.TemporaryDirectory() as folder:
        old = Path(folder) / "tree"
        git = ["git", "-C", str(ROOT), "worktree"]
        subprocess.run([*git, "add", "--quiet", "--detach", str(old), commit], check=True)
        try:
            print(f"{'':16} current / {commit[:12]:12}  {commit[:12]:12} / itself")
            for name in names:
                rounds = []
                for number in range(n_rounds):
                    trees = [old, ROOT, old]
                    order = range(3) if number % 2 else (1, 0, 2)  # who is first has cold caches
                    found = dict(zip(order, (measured(name, trees[i]) for i in order), strict=True))
                    rounds.append(found)
                current = [found[1] / np.mean([found[0], found[2]]) for found in rounds]
                itself = [found[2] / found[0] for found in rounds]
                print(f"{name:16} {in_words(current):24}  {in_words(itself)}", flush=True)
        finally:
            subprocess.run([*git, "remove", "--force", str(old)], check=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("commit", nargs="?", default="HEAD", help="what to compare with")
    parser.add_argument("--rounds", type=int, default=5, help="repetitions (default: 5)")
    parser.add_argument("--only", choices=MEASUREMENTS, help="one measurement")
    parser.add_argument("--measure", choices=MEASUREMENTS, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.measure:
        print(MEASUREMENTS[options.measure]())
        return
    names = [options.only] if options.only else list(MEASUREMENTS)
    compare(options.commit, names, options.rounds)


if __name__ == "__main__":
    main()
