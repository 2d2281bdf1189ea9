"""Corrections while the page's server is killed: `python tests/long/corrections.py [KILLS]`.

A hundred corrections for each kill; 100 kills take about twenty minutes.
"""

from __future__ import annotations

import sys
import tempfile
from pathlib import Path

from recording import record
from sklearn.datasets import load_digits

from correcting import correct_and_kill  # isort: skip
from selfsort.runs import Request, train  # isort: skip


def main() -> None:
    n_kills = int(sys.argv[1]) if len(sys.argv) > 1 else 100
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        import numpy as np

        np.savez(folder / "digits.npz", images=load_digits(n_class=3).images * 15.9)
        train(Request(data=str(folder / "digits.npz"), n_classes=3, epochs=6, out=folder / "run"))
        outcome = correct_and_kill(folder / "run", 100 * n_kills, n_kills, seed=0)
    print(outcome)
    assert outcome.n_kills == n_kills
    assert (outcome.n_lost, outcome.n_doubled, outcome.same) == (0, 0, True)
    record(
        "corrections",
        corrections=outcome.n_logged,
        kills=outcome.n_kills,
        lost=outcome.n_lost,
        doubled=outcome.n_doubled,
    )


if __name__ == "__main__":
    main()
