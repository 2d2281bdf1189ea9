"""Classes that fall out of use without provocation: `… collapses.py [SEEDS [KIND ...]]`.

scikit-learn's digits without labels (`none`), with 100 and with all, each with SEEDS seeds.
"""

from __future__ import annotations

import sys
import warnings

import numpy as np
from recording import record
from sklearn.datasets import load_digits

from selfsort import AutoencoderClassifier, AutoencoderClusterer, ClassCollapseWarning
from selfsort.scores import match_classes

KINDS = ("none", "100", "all")


def fitted(kind: str, seed: int) -> tuple[int, float]:
    """Return how many classes are in use, and the accuracy."""
    images, labels = load_digits().images, load_digits().target
    if kind == "none":
        found = AutoencoderClusterer(10, random_state=seed).fit(images).labels_
        matched = match_classes(labels, found, 10)[found]
        return len(np.unique(found)), float((matched == labels).mean())
    given = labels
    if kind == "100":
        order = np.random.default_rng(seed).permutation(len(labels))
        chosen = np.concatenate([order[labels[order] == k][:10] for k in range(10)])
        given = np.full(len(labels), -1)
        given[chosen] = labels[chosen]
    classifier = AutoencoderClassifier(unlabeled=-1, random_state=seed).fit(images, given)
    found = classifier.predict(images)
    return len(np.unique(found)), float((found == labels).mean())


def main() -> None:
    n_seeds = int(sys.argv[1]) if len(sys.argv) > 1 else 30
    figures = {}
    warnings.simplefilter("ignore", ClassCollapseWarning)
    for kind in sys.argv[2:] or KINDS:
        outcomes = [fitted(kind, seed) for seed in range(n_seeds)]
        accuracies = [accuracy for _, accuracy in outcomes]
        figures[kind] = {
            "collapsed": sum(in_use < 10 for in_use, _ in outcomes),
            "mean_accuracy": round(float(np.mean(accuracies)), 4),
            "worst_accuracy": round(min(accuracies), 4),
        }
        print(kind, figures[kind], flush=True)
    record("collapses", data="digits", seeds=n_seeds, **figures)
    sys.exit(any(one["collapsed"] for one in figures.values()))


if __name__ == "__main__":
    main()
