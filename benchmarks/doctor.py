"""What the doctor finds in sound and faulty autoencoders: `benchmarks/results/doctor.md`.

    python benchmarks/doctor.py

Every example of `doctor_cases.py`, on two data sets and from two starts. It takes some ten minutes.
"""

from __future__ import annotations

import argparse
import datetime
import sys
import warnings
from dataclasses import dataclass

import numpy as np
import torch
from common import RESULTS, table
from doctor_cases import FAULTY, SOUND, Example

from selfsort.datasets import load_dataset
from selfsort.doctor import examine
from selfsort.doctor.checks import CHECKS
from selfsort.images import ImageSet
from selfsort.runs.data import as_given
from selfsort.runs.environment import machine, versions

DATA = (("digits", 16), ("mnist", 28))
SEEDS = (0, 1)
KINDS = ("missed", "wrong", "effects")


@dataclass(frozen=True)
class Outcome:
    """What was found in one example, once."""

    missed: frozenset[str]
    wrong: frozenset[str]
    effects: frozenset[str]


def outcome(example: Example, images: ImageSet, side: int, seed: int) -> Outcome:
    """Examine an example once."""
    torch.manual_seed(seed)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        found = examine(
            example.make(side),
            as_given(images),
            images.labels if example.labels else None,
            prepare=example.prepare,
            loss=example.loss,
            optimizer=example.optimizer,
            random_state=seed,
        )
    names = frozenset(finding.name for finding in found.findings)
    return Outcome(
        example.faults - names, names - example.faults - example.effects, names & example.effects
    )


def all_outcomes(example: Example) -> list[Outcome]:
    """Examine an example on all data sets, from all starts."""
    found = []
    for name, side in DATA:
        images = load_dataset(name, size=side).train
        few = np.random.default_rng(0).permutation(len(images))[:2000]
        assert images.labels is not None
        part = ImageSet(images.images[few], images.labels[few], images.class_names)
        found += [outcome(example, part, side, seed) for seed in SEEDS]
    return found


def named(sets: list[frozenset[str]]) -> str:
    """Return names with how often each is there."""
    names = sorted(set().union(*sets))
    return ", ".join(f"{name} ({sum(name in one for one in sets)})" for name in names) or "–"


def line(name: str, example: Example, found: list[Outcome]) -> list[str]:
    """Return a line of the table."""
    right = sum(not one.missed and not one.wrong for one in found)
    return [
        name,
        ", ".join(sorted(example.faults)) or "–",
        f"{right} of {len(found)}",
        named([one.missed for one in found]),
        named([one.wrong for one in found]),
        named([one.effects for one in found]),
    ]


def page() -> str:
    """Examine all, and return the page."""
    sound = {name: all_outcomes(example) for name, example in SOUND.items()}
    faulty = {name: all_outcomes(example) for name, example in FAULTY.items()}
    silent = sum(not any(one.wrong for one in found) for found in sound.values())
    complete = sum(not any(one.missed for one in found) for found in faulty.values())
    right = sum(not any(one.wrong for one in found) for found in faulty.values())
    origin = ", ".join(f"{name} {version}" for name, version in versions().items())
    titles = [
        "autoencoder",
        "put in",
        "right",
        "missed (times)",
        "wrong (times)",
        "effects (times)",
    ]
    parts = [
        "# What the doctor finds",
        "",
        f"{datetime.date.today().isoformat()}; {machine()}; {origin}. "
        "`python benchmarks/doctor.py`.",
        "",
        f"{len(SOUND)} sound autoencoders and {len(FAULTY)} with faults that were put in "
        f"(`benchmarks/doctor_cases.py`), each on {' and '.join(name for name, _ in DATA)} and "
        f"from {len(SEEDS)} starts, through {len(CHECKS)} checks. Effects are findings that are "
        "right as well, since the fault leads there. The examples are the ones that the checks' "
        "thresholds were set with: they show what is told apart, and not how often a stranger's "
        "model would be judged rightly.",
        "",
        f"- **{silent} of {len(SOUND)}** sound ones: nothing reported, each time.",
        f"- **{complete} of {len(FAULTY)}** faulty ones: every fault found, each time.",
        f"- **{right} of {len(FAULTY)}** faulty ones: nothing wrong reported, each time.",
        "",
        "## Faulty",
        "",
        *table(titles, [line(name, FAULTY[name], found) for name, found in faulty.items()]),
        "",
        "## Sound",
        "",
        *table(titles, [line(name, SOUND[name], found) for name, found in sound.items()]),
    ]
    return "\n".join(parts) + "\n"


def main() -> int:
    """Examine all, and write the page."""
    argparse.ArgumentParser(description=__doc__.partition("\n")[0]).parse_args()
    (RESULTS / "doctor.md").write_text(page(), encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
