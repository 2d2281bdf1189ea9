"""How time and memory grow with the images: `benchmarks/results/scale.md`.

    python benchmarks/scale.py                      # 1,000 to 100,000 images, alone on all cores
    python benchmarks/scale.py 300000 1000000       # these
    python benchmarks/scale.py --table              # only write the page again

The images are MNIST's, each time shifted, turned and bent anew, in a file that is made on the fly
and mapped into memory. Each measurement is a process of its own: without labels (four epochs, one
a stage), with all labels (two epochs), and prediction. Its peak is that of the whole process,
PyTorch and the mapped file included.
"""

from __future__ import annotations

import argparse
import os
import resource
import sys
import time
import warnings
from pathlib import Path

import numpy as np
import torch
from common import (
    RESULTS,
    ROOT,
    SORTING,
    Record,
    alone,
    append_line,
    as_line,
    at_least,
    circumstances,
    method_version,
    origin,
    read_lines,
    run_script,
    setting,
    table,
)

from selfsort import AutoencoderClassifier, AutoencoderClusterer
from selfsort.augment import ImageTransform
from selfsort.datasets import load_dataset

LINES = RESULTS / "scale.jsonl"
FOLDER = ROOT / "runs" / "scale"
SIZES = (1000, 3000, 10_000, 30_000, 100_000)
WORKS = {
    "none": "without labels, four epochs",
    "all": "with all labels, two epochs",
    "predict": "prediction",
}
CHUNK = 5000
GIBIBYTE = 2**30


def made(n: int) -> tuple[Path, Path]:
    """Return files with so many images and their labels, made if they are not there."""
    FOLDER.mkdir(parents=True, exist_ok=True)
    images, labels = FOLDER / f"{n}.npy", FOLDER / f"{n}-labels.npy"
    if images.exists():
        return images, labels
    source = load_dataset("mnist").train
    rows = np.arange(n) % len(source.images)
    np.save(labels, source.labels[rows])
    part = images.with_suffix(".part")
    out = np.lib.format.open_memmap(part, mode="w+", dtype=np.uint8, shape=(n, 28, 28))
    transform, generator = ImageTransform((1, 28, 28)), torch.Generator().manual_seed(0)
    for start in range(0, n, CHUNK):
        chosen = torch.from_numpy(source.images[rows[start : start + CHUNK]])
        moved = transform(chosen.float() / 255, generator)[:, 0]
        out[start : start + CHUNK] = (255 * moved).round().byte().numpy()
    out.flush()
    part.rename(images)
    return images, labels


def version_of(work: str) -> str:
    """Return the version of the code that a work uses: of them only one sorts."""
    return method_version(without=() if work == "none" else SORTING)


def run_here(work: str, n: int) -> Record:
    """Measure in this process, which was started for that."""
    images, labels = made(n)
    X, y = np.load(images, mmap_mode="r"), np.load(labels)
    with warnings.catch_warnings(record=True) as told:
        warnings.simplefilter("always")
        if work == "predict":
            classifier = AutoencoderClassifier(epochs=1, random_state=0).fit(X[:1000], y[:1000])
            start = time.perf_counter()
            classifier.predict(X)
            seconds, stages = time.perf_counter() - start, {}
        else:
            start = time.perf_counter()
            if work == "none":
                fitted = AutoencoderClusterer(10, epochs=4, random_state=0).fit(X)
            else:
                fitted = AutoencoderClassifier(epochs=2, random_state=0).fit(X, y)
            seconds, stages = time.perf_counter() - start, fitted.stage_seconds_
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
    return {
        "work": work,
        "n": n,
        "version": version_of(work),
        **circumstances(),
        "seconds": round(seconds, 3),
        "stage_seconds": stages,
        "peak": peak,
        "told": sorted({str(one.message) for one in told}),
    }


def run_missing(sizes: list[int]) -> int:
    """Measure what is not there yet, in the order given; return how many failed."""
    failed = 0
    done = {(one["work"], one["n"], one["version"]) for one in read_lines(LINES)}
    for n in sizes:
        made(n)
        for work in WORKS:
            if (work, n, version_of(work)) in done:
                continue
            arguments = ["--run", work, str(n)]
            record = run_script(Path(__file__), arguments, os.cpu_count() or 1)
            if record is None:
                print(f"{work}, {n:,} images: FAILED, not recorded", flush=True)
                failed += 1
                continue
            append_line(LINES, record)
            print(f"{work}, {n:,} images: {record['seconds']:.1f} s", flush=True)
    return failed


def cells(record: Record) -> list[str]:
    """Return a line of the table."""
    n = record["n"]
    allowed = 1.5 * n * 784 + GIBIBYTE
    neighbours = record["stage_seconds"].get("neighbours")
    return [
        WORKS[record["work"]],
        f"{n:,}",
        f"{record['seconds']:.1f}",
        f"{1000 * record['seconds'] / n:.3f}",
        "–" if neighbours is None else f"{1000 * neighbours / n:.3f}",
        f"{record['peak'] / GIBIBYTE:.2f}",
        f"{record['peak'] / allowed:.2f}",
        " ".join(one for one in record["told"] if "recall" in one) or "–",
    ]


def _conditions(record: Record) -> tuple[str, str]:
    return setting(record), record["machine"]


def page(records: list[Record]) -> str:
    """Return the page: of each work its newest version, on the machine of the newest of all."""
    records = sorted(records, key=lambda one: str(one["date"]))
    last = records[-1]
    alike = [one for one in records if _conditions(one) == _conditions(last)]
    newest = {one["work"]: one["version"] for one in alike}
    shown = [one for one in alike if one["version"] == newest[one["work"]]]
    shown.sort(key=lambda one: (list(WORKS).index(one["work"]), one["n"]))
    titles = ["work", "images", "s", "ms an image", "of it the first neighbours"]
    titles += ["peak GiB", "of 1.5 times the images + 1 GiB", "told"]
    return "\n".join(
        [
            "# How time and memory grow with the images",
            "",
            f"{last['date'][:10]}; {origin(last)}; {setting(last)} threads. "
            "`python benchmarks/scale.py`. Greyscale images of 28 × 28, mapped from a file. What "
            "grows faster than the images, and why: [log](../../docs/log.md).",
            "",
            *table(titles, map(cells, shown)),
            "",
        ]
    )


def main() -> int:
    """Measure what is missing, and write the page."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("sizes", nargs="*", type=at_least(1000), default=list(SIZES))
    parser.add_argument("--table", action="store_true", help="only write the page again")
    parser.add_argument("--run", nargs=2, metavar=("WORK", "N"), help="one run, here: its line")
    arguments = parser.parse_args()
    if arguments.run:
        work, n = arguments.run
        print(as_line(run_here(work, int(n))))
        return 0
    failed = 0
    if not arguments.table:
        with alone():
            failed = run_missing(arguments.sizes)
    (RESULTS / "scale.md").write_text(page(read_lines(LINES)), encoding="utf-8")
    return min(failed, 1)


if __name__ == "__main__":
    sys.exit(main())
