"""How near training comes to the machine's limit: `python benchmarks/limit.py [IMAGES]`.

It measures the peak (the largest matrix product that the machine makes a second, in float32 and in
bfloat16; and how many bytes it copies), then fits MNIST's first IMAGES (10,000) without labels and
with all, and writes `benchmarks/results/limit.md`: for each stage what a step takes, part by part,
and the share of the peak that its operations reach. Operations are those of matrix products and
convolutions, counted by PyTorch. Nothing else may run beside it.
"""

from __future__ import annotations

import argparse
import time
import warnings
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import torch
from common import RESULTS, alone, at_least, circumstances, origin, table
from torch.nn import functional
from torch.utils.flop_counter import FlopCounterMode

from selfsort import AutoencoderClassifier, AutoencoderClusterer, ClassCollapseWarning, grouping
from selfsort.datasets import load_dataset
from selfsort.training import Feed, Model, loop

SIDE = 2048
REPEATS = 10
PARTS = ("batches and transforms", "forward", "backward", "optimizer")


def quickest(function: Callable[[], object]) -> float:
    """Return the seconds of the quickest of some calls: others were disturbed."""
    function()
    found = []
    for _ in range(REPEATS):
        start = time.perf_counter()
        function()
        found.append(time.perf_counter() - start)
    return min(found)


def peak(dtype: torch.dtype) -> float:
    """Return the operations a second of a matrix product, by the quicker of two libraries.

    PyTorch multiplies by MKL, which is slow on some processors, and convolves by oneDNN, to which
    pixels in a row are a matrix as well.
    """
    left = torch.randn(SIDE, SIDE).to(dtype)
    pixels, kernel = left.T.reshape(1, SIDE, -1, 64), left[:, :, None, None]
    pixels, kernel = (a.contiguous(memory_format=torch.channels_last) for a in (pixels, kernel))
    ways = (lambda: left @ left), (lambda: functional.conv2d(pixels, kernel))
    with torch.inference_mode():
        return 2 * SIDE**3 / min(map(quickest, ways))


def bandwidth() -> float:
    """Return the bytes a second that are read and written by a copy."""
    source = torch.zeros(2**26)
    target = torch.empty_like(source)
    return 2 * source.nbytes / quickest(lambda: target.copy_(source))


class Clock:
    """Seconds and operations, by stage and part."""

    def __init__(self) -> None:
        self.stage = ""
        self.seconds: defaultdict[str, Counter[str]] = defaultdict(Counter)
        self.operations: dict[str, int] = {}
        self.steps: Counter[str] = Counter()

    def timed(self, part: str, function: Callable[..., Any]) -> Callable[..., Any]:
        """Return the function, which notes what it takes."""

        def wrapper(*given: Any, **named: Any) -> Any:
            start = time.perf_counter()
            try:
                return function(*given, **named)
            finally:
                self.seconds[self.stage][part] += time.perf_counter() - start

        return wrapper

    def counted(self, step: Callable[..., Any]) -> Callable[..., Any]:
        """Return the training step, whose operations are counted in the first of each stage."""

        def wrapper(fit: loop.Fit, *given: Any, **named: Any) -> Any:
            if fit.stage not in self.operations:
                self.stage = "counting"
                with FlopCounterMode(display=False) as counter:
                    found = step(fit, *given, **named)
                self.operations[fit.stage] = counter.get_total_flops()
                return found
            self.stage = fit.stage
            self.steps[fit.stage] += 1
            return self.timed("step", step)(fit, *given, **named)

        return wrapper


@contextmanager
def watched(clock: Clock) -> Iterator[None]:
    """Let a clock see the parts of all training steps."""
    optimizers = (torch.optim.AdamW, torch.optim.Adam, torch.optim.SGD)
    places: list[tuple[Any, str, str]] = [
        (Feed, "draw", PARTS[0]),
        (Feed, "view", PARTS[0]),
        (Model, "forward", PARTS[1]),
        (torch.Tensor, "backward", PARTS[2]),
        *((optimizer, "step", PARTS[3]) for optimizer in optimizers),
    ]
    before = [(owner, name, getattr(owner, name)) for owner, name, _ in places]
    before.append((loop, "train_step", loop.train_step))
    for owner, name, part in places:
        setattr(owner, name, clock.timed(part, getattr(owner, name)))
    loop.train_step = clock.counted(loop.train_step)
    try:
        yield
    finally:
        for owner, name, function in before:
            setattr(owner, name, function)


def step_rows(clock: Clock, limit: float) -> list[list[str]]:
    """Return a row of cells for each stage that trained."""
    rows = []
    for stage, operations in clock.operations.items():
        seconds, n_steps = clock.seconds[stage], clock.steps[stage]
        whole = seconds["step"]
        parts = [seconds[part] for part in PARTS]
        rows.append(
            [
                stage,
                f"{operations / 1e9:.1f}",
                f"{1000 * whole / n_steps:.0f}",
                *(f"{100 * part / whole:.1f}" for part in [*parts, whole - sum(parts)]),
                f"{100 * operations * n_steps / whole / limit:.1f}",
            ]
        )
    return rows


def other_rows(
    everything: torch.Tensor, n_images: int, estimator: Any, peaks: dict[str, float], trained: str
) -> list[list[str]]:
    """Return a row of cells for each work that trains nothing."""
    features = grouping.pixel_features(everything)
    some = everything[:n_images, 0].numpy()
    works: dict[str, tuple[str, int, Callable[[], object]]] = {
        "exact neighbours by the cosine": (
            trained,
            len(features),
            lambda: grouping.nearest_neighbours(features, 50),
        ),
        "prediction": ("float32", n_images, lambda: estimator.predict(some)),
    }
    rows = []
    for name, (dtype, n, work) in works.items():
        with FlopCounterMode(display=False) as counter:
            work()
        start = time.perf_counter()
        work()
        seconds = time.perf_counter() - start
        operations = counter.get_total_flops()
        rate, share = f"{n / seconds:,.0f}", f"{100 * operations / seconds / peaks[dtype]:.1f}"
        rows.append([name, dtype, f"{n:,}", f"{operations / 1e9:.1f}", rate, share])
    return rows


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("images", type=at_least(1000), nargs="?", default=10_000)
    n_images = parser.parse_args().images
    warnings.simplefilter("ignore", ClassCollapseWarning)  # few epochs are enough for times
    with alone():
        record = circumstances()
        data = load_dataset("mnist").train
        X, y = data.images[:n_images, 0], data.labels[:n_images]
        peaks = {"float32": peak(torch.float32), "bfloat16": peak(torch.bfloat16)}
        trained = record["precision"]
        clock = Clock()
        with watched(clock):
            AutoencoderClusterer(10, epochs=2, random_state=0).fit(X)
            classifier = AutoencoderClassifier(epochs=2, random_state=0).fit(X, y)
        others = other_rows(torch.from_numpy(data.images), n_images, classifier, peaks, trained)
        copied = bandwidth()
    titles = ["stage", "10⁹ operations a step", "ms a step", *(f"{p} %" for p in PARTS)]
    titles += ["else %", "of the peak %"]
    works = ["work", "in", "images", "10⁹ operations", "images a second", "of the peak %"]
    lines = [
        "# How near training comes to the machine's limit",
        f"{record['date']}; {origin(record)}; {record['threads']} threads, load before: "
        f"{record['load_before']}. `python benchmarks/limit.py {n_images}`.",
        "",
        f"The peak, by a product of matrices of {SIDE} × {SIDE}, or a convolution that is one: "
        f"{peaks['float32'] / 1e9:,.0f} · 10⁹ operations a second in float32, "
        f"{peaks['bfloat16'] / 1e9:,.0f} in bfloat16"
        f"; copying reads and writes {copied / 1e9:.1f} GB a second. Networks learn in {trained} "
        f"here, so that its peak counts. Steps take {n_images:,} of MNIST's images. Convolutions "
        "are counted with the zeros around images, which libraries leave out: that is how a share "
        "can be above 100.",
        "",
        *table(titles, step_rows(clock, peaks[trained])),
        "",
        *table(works, others),
    ]
    page = RESULTS / "limit.md"
    page.write_text("\n".join(lines) + "\n", encoding="utf-8")
    print(page.read_text(encoding="utf-8"))


if __name__ == "__main__":
    main()
