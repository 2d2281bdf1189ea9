"""How fast a GPU makes it: `python benchmarks/gpu.py [FITS]`, nothing else running beside it.

It fits MNIST without labels FITS (3) times, with all labels for one to four epochs, and takes
training steps and predictions by themselves; `benchmarks/results/gpu.md` says how long, how good,
and which share of the GPU's own matrix product that is. Steps are taken twice: launched kernel by
kernel, and replayed as one graph.
"""

from __future__ import annotations

import sys
import time
import warnings
from typing import Any

import torch
from common import RESULTS, alone, circumstances, origin, percent, table
from torch.utils.flop_counter import FlopCounterMode

from selfsort import AutoencoderClassifier, AutoencoderClusterer, ClassCollapseWarning
from selfsort.bottlenecks.softmax import Softmax
from selfsort.datasets import load_dataset
from selfsort.estimators.resources import computing
from selfsort.scores import match_classes
from selfsort.training import Feed, Fit, loop

SIDE = 8192
N_STEPS = 200
WARM_UP = 20
BATCH = 256


def waited(function: Any) -> float:
    """Return the seconds of a call and of all that it asked of the GPU."""
    torch.cuda.synchronize()
    start = time.perf_counter()
    function()
    torch.cuda.synchronize()
    return time.perf_counter() - start


def peak() -> float:
    """Return the operations a second of a bfloat16 matrix product."""
    left = torch.randn(SIDE, SIDE, device="cuda").bfloat16()
    seconds = min(waited(lambda: left @ left) for _ in range(10))
    return 2 * SIDE**3 / seconds


def fits_without_labels(n_fits: int, data: Any) -> list[list[str]]:
    """Return a row of cells for each seed."""
    rows = []
    for seed in range(n_fits):
        clusterer = AutoencoderClusterer(10, random_state=seed)
        seconds = waited(lambda fit=clusterer.fit: fit(data.train.images[:, 0]))
        found = clusterer.predict(data.test.images[:, 0])
        matched = match_classes(data.test.labels, found, 10)[found]
        stages = ", ".join(f"{name} {took:.1f}" for name, took in clusterer.stage_seconds_.items())
        accuracy = float((matched == data.test.labels).mean())
        rows.append([f"{seed}", f"{seconds:.1f}", percent(accuracy), stages])
    return rows


def fits_with_labels(data: Any) -> list[list[str]]:
    """Return a row of cells for each number of epochs."""
    rows = []
    for epochs in (1, 2, 3, 4):
        classifier = AutoencoderClassifier(epochs=epochs, random_state=0)
        seconds = waited(lambda fit=classifier.fit: fit(data.train.images[:, 0], data.train.labels))
        found = classifier.predict(data.test.images[:, 0])
        stages = ", ".join(f"{name} {took:.1f}" for name, took in classifier.stage_seconds_.items())
        accuracy = float((found == data.test.labels).mean())
        rows.append([f"{epochs}", f"{seconds:.1f}", percent(accuracy), stages])
    return rows


def steps(classifier: Any, data: Any, limit: float) -> list[list[str]]:
    """Return a row of cells for each way of taking the same training steps."""
    inputs = classifier._prepared(data.train.images[:, 0])
    targets = torch.eye(10, device="cuda")[torch.from_numpy(data.train.labels).cuda()]
    feed = Feed(inputs, classifier._transform(inputs), targets=targets)
    rows = []
    for name, steady in {"kernel by kernel": False, "as a graph": True}.items():
        Softmax.steady = steady
        settings = classifier._settings(len(inputs), average=0.99, batch_size=BATCH)
        fit = Fit(
            classifier.model_.train(),
            loop.Objective({"classification": 1.0}),
            settings,
            torch.Generator().manual_seed(0),
        )
        order = feed.order(fit.generator).split(BATCH)

        def take(n_steps: int, fit: Fit = fit, order: Any = order) -> None:
            for index in order[:n_steps]:
                loop.train_step(fit, feed, index, 0.5)

        with computing(fit.device, None):
            with FlopCounterMode(display=False) as counter:
                batch = feed.draw(order[0], fit.generator, partners=False)
                loop.learn(fit, feed, loop.moved(batch, fit.device), 0.5)
            take(WARM_UP)
            seconds = min(waited(lambda take=take: take(N_STEPS)) for _ in range(3)) / N_STEPS
        operations = counter.get_total_flops()
        rows.append(
            [
                name,
                f"{1000 * seconds:.2f}",
                f"{BATCH / seconds:,.0f}",
                f"{100 * operations / seconds / limit:.2f}",
            ]
        )
    Softmax.steady = True
    return rows


def main() -> None:
    n_fits = int(sys.argv[1]) if len(sys.argv) > 1 else 3
    if not torch.cuda.is_available():
        raise SystemExit("There is no GPU here.")
    warnings.simplefilter("ignore", ClassCollapseWarning)
    with alone():
        record, data = circumstances(), load_dataset("mnist")
        some = data.train.images[:1000, 0], data.train.labels[:1000]
        begun = waited(lambda: AutoencoderClassifier(epochs=1).fit(*some))
        limit = peak()
        without = fits_without_labels(n_fits, data)
        with_labels = fits_with_labels(data)
        classifier = AutoencoderClassifier(epochs=1, random_state=0).fit(
            data.train.images[:, 0], data.train.labels
        )
        alike = steps(classifier, data, limit)
        images = data.train.images[:, 0]
        predicting = min(waited(lambda: classifier.predict(images)) for _ in range(2))
    lines = [
        "# On a GPU",
        "",
        f"{record['date'][:10]}; {origin(record)}; {record['threads']} threads, load before: "
        f"{record['load_before']}. `python benchmarks/gpu.py {n_fits}`.",
        "",
        f"A product of bfloat16 matrices of {SIDE} × {SIDE} makes {limit / 1e12:,.0f} · 10¹² "
        "operations a second: the peak. Seconds are those of `fit`, from arrays in memory to a "
        f"fitted estimator; the first fit of a process takes about {begun:.0f} s more, until the "
        "GPU is awake. Accuracy is that on the 10,000 test images.",
        "",
        "## MNIST's 60,000 without labels",
        "",
        *table(["seed", "fit s", "test accuracy %", "s of the stages"], without),
        "",
        "## MNIST's 60,000 with all labels",
        "",
        *table(["epochs", "fit s", "test accuracy %", "s of the stages"], with_labels),
        "",
        f"## A training step of {BATCH} images",
        "",
        "Classification with transforms and averaged weights, the network of `teach`.",
        "",
        *table(["launched", "ms", "images a second", "of the peak %"], alike),
        "",
        f"Prediction with its second look: {len(images) / predicting:,.0f} images a second.",
    ]
    page = RESULTS / "gpu.md"
    page.write_text("\n".join(lines) + "\n", encoding="utf-8")
    print(page.read_text(encoding="utf-8"))


if __name__ == "__main__":
    main()
