"""Fifty steps of several trainings, by one process or by several: `torchrun … together.py OUT`.

Each process writes what it saw to OUT-RANK.json.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

import torch
from sklearn.datasets import load_digits

from selfsort import AutoencoderClusterer, parallel
from selfsort.augment import make_transform
from selfsort.bottlenecks import make_bottleneck
from selfsort.images import ImageSet
from selfsort.networks import Heads, make_network
from selfsort.objectives import Objective
from selfsort.sources import WholeSource
from selfsort.training import Data, Feed, Fit, Model, Rows, Settings, fit, rows

N_STEPS, N_IMAGES, BATCH = 50, 391, 48  # the last batch of an epoch has seven images
N_CLASSES = 10
CASES: dict[str, tuple[str, str, dict[str, float]]] = {
    "information": ("convolutional", "softmax", {"information": 1.0}),
    "classes": ("convolutional", "softmax", {"classification": 1.0, "mse": 1.0}),
    "streamed": ("dense", "softmax", {"classification": 1.0, "mse": 1.0}),
    "vectors": ("dense", "softmax", {"classification": 0.5, "mse": 1.0}),
    "gumbel": ("convolutional", "gumbel", {"mse": 1.0}),
    "leave-one-out": ("dense", "leave-one-out", {"nll": 1.0, "divergence": 1.0}),
    "vq": ("dense", "vq", {"nll": 1.0, "divergence": 1.0}),
    "dvae": ("dense", "dvae", {"nll": 1.0, "divergence": 1.0}),
    "vade": ("dense", "vade", {"nll": 1.0, "divergence": 1.0}),
    "m2": ("dense", "m2", {"nll": 1.0, "divergence": 1.0, "classification": 1.0}),
}


def losses(name: str) -> tuple[list[list[float]], list[float]]:
    """Return each step's terms, and sums of the weights and buffers at the end."""
    network, kind, weights = CASES[name]
    images, labels = load_digits(return_X_y=True)
    inputs = torch.from_numpy(images[:N_IMAGES] * 15.9).to(torch.uint8).view(-1, 1, 8, 8)
    if name == "vectors":
        inputs = inputs.flatten(1)
    torch.manual_seed(3)
    bottleneck = make_bottleneck(kind, N_CLASSES)
    made = make_network(
        network, tuple(inputs.shape[1:]), N_CLASSES, 4,
        n_logits=bottleneck.n_logits, code_dim=bottleneck.code_dim,
    )  # fmt: skip
    model = Model(made, bottleneck)
    generator = torch.Generator().manual_seed(5)
    if name == "information":
        made.head = Heads(128, 3, 20)
        made.sharpen_head(generator)
    data = Data(inputs)
    if name == "streamed":  # read while they are learned from, eight at a time
        source = WholeSource(ImageSet(inputs.numpy()), name)
        data = Data(Rows(source, buffer=2 * rows.CHUNKS * 8 * 64))
    targets = torch.eye(N_CLASSES)[torch.from_numpy(labels[:N_IMAGES])]
    targets[torch.arange(N_IMAGES) % 3 > 0] = 0  # two thirds have no label
    feed = Feed(
        data,
        make_transform(tuple(inputs.shape[1:]), images=data.batch(slice(0, 100))),
        targets=targets if "classification" in weights else None,
        binarize="nll" in weights,
    )
    # Not Adam, which makes steps of one size of gradients that are nothing but rounding.
    settings = Settings(6, BATCH, 1e-5, "sgd", momentum=0.9, average=0.9)
    seen: list[list[float]] = []
    kept = torch.zeros(len(weights), dtype=torch.float64)

    def on_step(step: int, n_steps: int) -> bool:
        nonlocal kept
        before = kept if step > 1 else torch.zeros_like(kept)
        size = BATCH if step < n_steps else N_IMAGES - BATCH * (n_steps - 1)
        seen.append(((training.epoch.sums - before) / size).tolist())
        kept = training.epoch.sums.clone()
        return len(seen) == N_STEPS

    training = Fit(model, Objective(weights), settings, generator, on_step=on_step)
    fit(training, feed)
    state = model.state_dict()
    ends = [float(value.double().sum()) for value in state.values()]
    # Nothing is the same for all processes unless every bit of the weights is.
    bits = [int(v.contiguous().view(-1).view(torch.uint8).long().sum()) for v in state.values()]
    return seen, [*ends, *map(float, bits)]


def looked() -> tuple[int, list[float]]:
    """Return how many of a fit's labels are what `predict` says, and what it measured at its end.

    At the end of a fit each process looks at its share of the images, in `predict` at all.
    """
    images = load_digits().images[:61]
    clusterer = AutoencoderClusterer(3, method="direct", epochs=2, random_state=0).fit(images)
    agreed = int((clusterer.labels_ == clusterer.predict(images)).sum())
    return agreed, [*clusterer.style_means_.ravel().tolist(), *clusterer.labels_.tolist()]


def main() -> None:
    out = Path(sys.argv[1])
    with parallel.joined():
        found = {name: losses(name) for name in (sys.argv[2:] or CASES)}
        found["looked"] = looked()
        out.with_name(f"{out.name}-{parallel.rank()}.json").write_text(json.dumps(found))


if __name__ == "__main__":
    torch.set_num_threads(1)
    main()
