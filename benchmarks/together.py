"""What it costs several processes to learn together: `benchmarks/results/together.md`.

    python benchmarks/together.py [IMAGES ...]     # 2,000 and 5,000 of MNIST

Each stage's training steps by one process and by two, one thread each, started by torchrun: the
time of a step, how much of it passes in exchanges, and how many bytes a process gives to them;
and the most memory that a process held, by the number of images. Both are runs of this command,
one after the other. On one machine exchanges are copies in its memory, and what they mostly take
is the time to wait for the slower process.
"""

from __future__ import annotations

import json
import os
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import torch
import torch.distributed as dist
from common import RESULTS, ROOT, alone, circumstances, origin, table

from selfsort import AutoencoderClassifier, AutoencoderClusterer, parallel
from selfsort.datasets import load_dataset
from selfsort.training import loop

IMAGES = (2000, 5000)
PROCESSES = (1, 2)
EXCHANGES = ("all_reduce", "all_gather", "broadcast")
MEBIBYTE = 2**20


class Meter:
    """Counts steps, exchanges and their bytes, by stage."""

    def __init__(self) -> None:
        self.stages: dict[str, dict[str, float]] = {}
        self.now = {"seconds": 0.0, "bytes": 0, "exchanges": 0}
        for name in EXCHANGES:
            setattr(dist, name, self.metered(getattr(dist, name)))
        step = loop.train_step

        def train_step(fit: Any, *rest: Any, **more: Any) -> Any:
            self.now = {"seconds": 0.0, "bytes": 0, "exchanges": 0}
            start = time.perf_counter()
            means = step(fit, *rest, **more)
            seconds = time.perf_counter() - start
            stage = self.stages.setdefault(fit.stage, {"steps": 0, "step_seconds": 0.0})
            stage["steps"] += 1
            if stage["steps"] > 3:  # the first ones choose kernels
                stage["step_seconds"] += seconds
                for what, amount in self.now.items():
                    stage[what] = stage.get(what, 0) + amount
            return means

        loop.train_step = train_step

    def metered(self, exchange: Any) -> Any:
        def counted(tensors: Any, *rest: Any, **more: Any) -> Any:
            start = time.perf_counter()
            result = exchange(tensors, *rest, **more)
            own = rest[0] if isinstance(tensors, list) else tensors
            self.now["seconds"] += time.perf_counter() - start
            self.now["bytes"] += own.numel() * own.element_size()
            self.now["exchanges"] += 1
            return result

        return counted


def learn(n: int, out: Path) -> None:
    """Learn without labels and with all, in this process, which was started for that."""
    data = load_dataset("mnist").train
    X, y = data.images[:n, 0], data.labels[:n]
    meter = Meter()
    with parallel.joined():
        for estimator in (
            AutoencoderClusterer(10, epochs=4, random_state=0, n_threads=1),
            AutoencoderClassifier(epochs=2, random_state=0, n_threads=1),
        ):
            estimator.fit(X, y)
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
        record = {"stages": meter.stages, "peak": peak, **circumstances()}
        out.with_name(f"{out.name}-{parallel.rank()}.json").write_text(json.dumps(record))


def measured(n: int, count: int) -> list[dict[str, Any]]:
    """Return what each of some processes saw."""
    with tempfile.TemporaryDirectory() as folder:
        out = Path(folder) / "seen"
        launcher = [sys.executable]
        if count > 1:
            run = ["-m", "torch.distributed.run", "--standalone"]
            launcher += [*run, f"--nproc-per-node={count}"]
        environment = {**os.environ, "OMP_NUM_THREADS": "1"}
        subprocess.run(
            [*launcher, __file__, "--learn", str(n), str(out)], check=True, env=environment
        )
        return [json.loads(path.read_text()) for path in sorted(Path(folder).glob("seen-*"))]


def rows_of(n: int, seen: dict[int, list[dict[str, Any]]]) -> list[list[str]]:
    """Return a row for each stage: a step by one and by two processes, and what is exchanged."""
    rows = []
    for stage in seen[1][0]["stages"]:
        one, *two = (records[0]["stages"][stage] for records in seen.values())
        steps = [part["step_seconds"] / (part["steps"] - 3) for part in (one, *two)]
        counted = two[0]["steps"] - 3
        rows.append(
            [
                f"{n:,}",
                stage,
                f"{1000 * steps[0]:.1f}",
                f"{1000 * steps[1]:.1f}",
                f"{steps[0] / steps[1]:.2f}",
                f"{100 * two[0]['seconds'] / two[0]['step_seconds']:.0f}",
                f"{two[0]['exchanges'] / counted:.0f}",
                f"{two[0]['bytes'] / counted / MEBIBYTE:.2f}",
            ]
        )
    return rows


def main() -> None:
    sizes = [int(n) for n in sys.argv[1:]] or list(IMAGES)
    steps, memory, last = [], [], {}
    with alone():
        for n in sizes:
            seen = {count: measured(n, count) for count in PROCESSES}
            steps += rows_of(n, seen)
            peaks = [max(one["peak"] for one in records) / MEBIBYTE for records in seen.values()]
            memory.append([f"{n:,}", *(f"{peak:,.0f}" for peak in peaks)])
            last = seen[1][0]
            print("\n".join(" ".join(row) for row in [*steps, *memory]), flush=True)
    lines = [
        "# What it costs to learn together",
        "",
        f"`python benchmarks/together.py`, {last['date']}, on {origin(last)}. MNIST's first "
        "images, without labels (four epochs) and with all (two); one thread a process. A step is "
        "of the whole batch, of which each of two processes takes half. Times are of the first "
        "process, its waits for the other included; bytes are what it gives to the exchanges.",
        "",
        *table(
            ["images", "stage", "ms a step, alone", "ms, two processes", "times as fast",
             "% of it in exchanges", "exchanges a step", "MiB a step"],
            steps,
        ),
        "",
        "The most memory that a process held, in MiB, PyTorch's 400 or so included:",
        "",
        *table(["images", "alone", "the larger of two"], memory),
        "",
    ]  # fmt: skip
    (RESULTS / "together.md").write_text("\n".join(lines))
    print(f"{(RESULTS / 'together.md').relative_to(ROOT)}")


if __name__ == "__main__":
    torch.set_num_threads(1)
    if sys.argv[1:2] == ["--learn"]:
        learn(int(sys.argv[2]), Path(sys.argv[3]))
    else:
        main()
