"""Learning from more images than memory holds: `benchmarks/results/streaming.md`.

    python benchmarks/streaming.py             # 20 GB of images in 2 GB of memory
    python benchmarks/streaming.py 1           # 1 GB
    python benchmarks/streaming.py --table     # only write the page again

The images are MNIST's training images, enlarged to 84×84 and put anywhere on 100×100 pixels, in an
.npy file that is made chunk by chunk in `runs/streaming`, or the folder that --folder names, and
removed afterwards. `selfsort train --stream` learns from them with labels, in a process that may
address no more than 2 GB: what is mapped, and every library, count too. Its network is dense, and
without transforms, so that an epoch of two million such images takes minutes.

Before that, 40,000 of them are learned from in turn, in memory and while reading, three times.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import shlex
import shutil
import statistics
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
from common import (
    RESULTS,
    ROOT,
    SOURCE,
    Record,
    append_line,
    circumstances,
    method_version,
    origin,
    read_lines,
    setting,
    table,
)

from selfsort.datasets import load_dataset

LINES = RESULTS / "streaming.jsonl"
FOLDER = ROOT / "runs" / "streaming"
SIDE, ENLARGED, CHUNK = 100, 3, 5000
GB = 10**9
LIMIT = 2 * GB
COMPARED, ROUNDS = 40_000, 3
SETTINGS = ["--labels", "all", "--epochs", "1", "--set", "network=dense"]
SETTINGS += ["--set", "transform_strength=0"]


def make(path: Path, n: int) -> Path:
    """Write so many images, and their labels beside them; return the path of the labels."""
    source = load_dataset("mnist").train
    out = np.lib.format.open_memmap(path, mode="w+", dtype=np.uint8, shape=(n, SIDE, SIDE))
    large = 28 * ENLARGED
    with path.with_suffix(".csv").open("w", encoding="utf-8") as file:
        file.write("index,class\n")
        for start in range(0, n, CHUNK):
            rows = np.arange(start, min(start + CHUNK, n)) % len(source.images)
            rng = np.random.default_rng(start)
            images = source.images[rows, 0].repeat(ENLARGED, 1).repeat(ENLARGED, 2)
            part = np.zeros((len(rows), SIDE, SIDE), np.uint8)
            for image, corner, place in zip(
                images, rng.integers(0, SIDE - large + 1, (len(rows), 2)), part, strict=True
            ):
                place[corner[0] : corner[0] + large, corner[1] : corner[1] + large] = image
            out[start : start + len(rows)] = part
            labels = source.labels[rows].tolist()
            file.write("".join(f"{start + i},{label}\n" for i, label in enumerate(labels)))
    out.flush()
    return path.with_suffix(".csv")


def learned(data: Path, labels: Path, *more: str, limit: int | None = None) -> Record:
    """Train in a process of its own; return what it took, and its result."""
    out = data.parent / "run"
    command = ["selfsort", "train", str(data), *SETTINGS, *more, "--out", str(out), "--force"]
    command[command.index("all")] = str(labels)
    environment = os.environ | {"PYTHONPATH": str(SOURCE.parent)}

    def limited() -> None:
        if limit is not None:
            resource.setrlimit(resource.RLIMIT_AS, (limit, limit))

    start = time.perf_counter()
    process = subprocess.Popen(
        [sys.executable, "-m", *command], cwd=ROOT, env=environment, preexec_fn=limited
    )
    _, status, used = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode:
        raise SystemExit(f"{shlex.join(command)} ended with {process.returncode}.")
    result = json.loads((out / "result.json").read_text())
    return {
        "seconds": round(time.perf_counter() - start, 1),
        "peak": used.ru_maxrss * 1024,
        "stage_seconds": result["stage_seconds"],
        "images_per_second": result["images_per_second"],
        "accuracy": result["train"]["accuracy"],
    }


def measured(gigabytes: float, folder: Path) -> Record:
    """Compare both ways with few images, then learn from many; return what it took."""
    folder.mkdir(parents=True, exist_ok=True)
    here = circumstances()
    few = folder / "few.npy"
    labels = make(few, COMPARED)
    pairs = [
        [learned(few, labels)["images_per_second"], learned(few, labels, "--stream")]
        for _ in range(ROUNDS)
    ]
    ratios = [streamed["images_per_second"] / whole for whole, streamed in pairs]
    n = round(gigabytes * GB / SIDE**2)
    many = folder / "many.npy"
    labels = make(many, n)
    print(f"{n:,} images, {many.stat().st_size / GB:.1f} GB", flush=True)
    found = learned(many, labels, "--stream", limit=LIMIT)
    shutil.rmtree(folder)
    return {
        "version": method_version(["training", "sources", "runs"]),
        **here,
        "threads": os.cpu_count(),
        "command": shlex.join(["python", "benchmarks/streaming.py", f"{gigabytes:g}"]),
        "n": n,
        "bytes": n * SIDE**2,
        "limit": LIMIT,
        "ratios": [round(ratio, 3) for ratio in ratios],
        **found,
    }


def page(records: list[Record]) -> str:
    """Return the page: each measurement, the newest last."""
    last = records[-1]
    titles = ["images", "GB", "may address, GB", "peak in memory, GB", "s in all"]
    titles += ["images/s of an epoch", "accuracy, %", "streamed against in memory", "measured"]
    rows = [
        [
            f"{one['n']:,}",
            f"{one['bytes'] / GB:.1f}",
            f"{one['limit'] / GB:.1f}",
            f"{one['peak'] / GB:.2f}",
            f"{one['seconds']:,.0f}",
            f"{one['images_per_second']:,.0f}",
            f"{100 * one['accuracy']:.2f}",
            f"{statistics.median(one['ratios']):.2f} ({min(one['ratios']):.2f} to "
            f"{max(one['ratios']):.2f})",
            f"{one['date'][:10]}, load before {one['load_before']:g}, `{one['command']}`",
        ]
        for one in records
    ]
    return "\n".join(
        [
            "# Learning from more images than memory holds",
            "",
            f"{last['date'][:10]}; {origin(last)}; {setting(last)} threads. `python "
            "benchmarks/streaming.py GB`. Images of 100×100 with labels in an .npy file, one "
            "epoch, dense network, no transforms, in a process that cannot address more than "
            "is said. The accuracy is that on some of the images that were learned from. "
            f"Streamed against in memory: images a second with {COMPARED:,} of them, median "
            f"(lowest to highest) of {ROUNDS} runs in turn.",
            "",
            *table(titles, rows),
            "",
        ]
    )


def main() -> int:
    """Measure, and write the page."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("gigabytes", nargs="?", type=float, default=20, metavar="GB")
    parser.add_argument("--folder", type=Path, default=FOLDER, help="where the images lie")
    parser.add_argument("--table", action="store_true", help="only write the page again")
    arguments = parser.parse_args()
    if not arguments.table:
        append_line(LINES, measured(arguments.gigabytes, arguments.folder.absolute()))
    (RESULTS / "streaming.md").write_text(page(read_lines(LINES)), encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
