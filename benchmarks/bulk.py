"""How fast, and in how much memory, many images are predicted: `benchmarks/results/bulk.md`.

    python benchmarks/bulk.py                  # 200,000 images, alone on all cores
    python benchmarks/bulk.py 10000000         # ten million: 7.8 GB on the disk, and hours
    python benchmarks/bulk.py --table          # only write the page again

The images are MNIST's test images, each time shifted, turned and bent anew, in an .npy file that
is made chunk by chunk. The network of `teach` learns from all training images first. Everything
lies in `runs/bulk`, or the folder that --folder names, and goes on where it was ended: the same
command again keeps the images and the parts that are there, and counts the time of every attempt.
When a size is measured, its images and its parts are removed.

Each attempt is a process of its own, `selfsort predict`, whose peak is what Linux says of it while
it runs: PyTorch and all that was imported are in it.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import shlex
import shutil
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import torch
from common import (
    RESULTS,
    ROOT,
    SOURCE,
    Record,
    alone,
    append_line,
    at_least,
    circumstances,
    method_version,
    origin,
    read_lines,
    setting,
    table,
)

from selfsort import AutoencoderClassifier
from selfsort.augment import ImageTransform
from selfsort.datasets import load_dataset
from selfsort.estimators.outputs import DOUBT
from selfsort.verified import matching

LINES = RESULTS / "bulk.jsonl"
FOLDER = ROOT / "runs" / "bulk"
N_IMAGES = 200_000
EPOCHS = 2
CHUNK = 5000
GIBIBYTE = 2**30


def trained(folder: Path) -> Path:
    """Return the folder of a model of MNIST, trained if it is not there."""
    run = folder / "model"
    if not (run / "config.json").exists():
        source = load_dataset("mnist").train
        classifier = AutoencoderClassifier(epochs=EPOCHS, random_state=0)
        classifier.fit(source.images[:, 0], source.labels).save(run)
    return run


def made(n: int, folder: Path) -> Path:
    """Return a file with so many images, made from where that was ended."""
    path, part, done = (folder / f"{n}{end}" for end in (".npy", ".npy.part", ".done"))
    if path.exists():
        return path
    source = load_dataset("mnist").test
    transform = ImageTransform((1, 28, 28))
    mode = "r+" if part.exists() and done.exists() else "w+"
    first = int(done.read_text()) if mode == "r+" else 0
    out = np.lib.format.open_memmap(part, mode=mode, dtype=np.uint8, shape=(n, 28, 28))
    for start in range(first, n, CHUNK):
        rows = np.arange(start, min(start + CHUNK, n)) % len(source.images)
        generator = torch.Generator().manual_seed(start)  # the same, wherever it goes on
        moved = transform(torch.from_numpy(source.images[rows]).float() / 255, generator)[:, 0]
        out[start : start + len(rows)] = (255 * moved).round().byte().numpy()
        if start // CHUNK % 100 == 99:
            out.flush()
            done.write_text(str(start + len(rows)))
    out.flush()
    part.rename(path)
    done.unlink(missing_ok=True)
    return path


def measured(n: int, folder: Path) -> Record:
    """Predict so many images, going on where that was ended; return what it took."""
    run, data, out = trained(folder), made(n, folder), folder / f"{n}-classes"
    attempts, threads = folder / f"{n}-attempts.jsonl", os.cpu_count() or 1
    command = ["selfsort", "predict", str(run), str(data), "--out", f"{out}/"]
    print(f"{n:,} images: {shlex.join(command)}", flush=True)
    environment = os.environ | {
        "PYTHONPATH": str(SOURCE.parent),
        "OMP_NUM_THREADS": str(threads),
    }
    before, here = n_parts(out), circumstances()
    start = time.perf_counter()
    process = subprocess.Popen([sys.executable, "-m", *command], cwd=ROOT, env=environment)
    code, peak = ended(process)
    seconds = time.perf_counter() - start
    append_line(attempts, {"parts": n_parts(out) - before, "seconds": seconds, "peak": peak})
    if code:
        raise SystemExit(f"selfsort ended with {code}: give the same command again.")
    tries = read_lines(attempts)
    paths = matching(out, "part-*")
    part_size = json.loads((out / "_manifest.json").read_text())["part_size"]
    return {
        "n": n,
        "version": method_version(["runs/bulk", "sources"]),
        **here,
        "threads": threads,
        "command": shlex.join(["python", "benchmarks/bulk.py", str(n)]),
        "attempts": len(tries),
        # Parts of an attempt that was killed together with this program have no time.
        "timed": min(n, part_size * sum(one["parts"] for one in tries)),
        "seconds": round(sum(one["seconds"] for one in tries), 1),
        "peak": max(one["peak"] for one in tries),
        "parts": len(paths),
        "part_size": part_size,
        "part_bytes": sum(path.stat().st_size for path in paths),
        "doubtful": checked(paths, n),
        "data_bytes": data.stat().st_size,
    }


def n_parts(out: Path) -> int:
    """Return how many parts there are."""
    return len(matching(out, "part-*")) if out.exists() else 0


def ended(process: subprocess.Popen[bytes]) -> tuple[int, int]:
    """Wait for a process; return its exit code, and the most memory that it had, in bytes.

    What `wait4` says would be wrong: a child's peak begins at its parent's, and this program has
    mapped all the images that it made.
    """
    peak, status = 0, Path(f"/proc/{process.pid}/status")
    while True:
        try:
            found = re.search(r"VmHWM:\s+(\d+) kB", status.read_text())
            peak = max(peak, 1024 * int(found[1]) if found else 0)  # none once it has ended
            return process.wait(timeout=1), peak
        except subprocess.TimeoutExpired:
            continue
        except KeyboardInterrupt:  # which it was sent as well
            continue


def checked(paths: list[Path], n: int) -> float:
    """Return the share of images in doubt; raise unless every image has one row, in order."""
    rows, doubtful = 0, 0
    for path in paths:
        found = pq.read_table(path, columns=["index", "probability"])
        index = found["index"].to_numpy()
        if not np.array_equal(index, np.arange(rows, rows + len(index))):
            raise SystemExit(f"{path}: rows are missing or doubled.")
        rows += len(index)
        doubtful += int((found["probability"].to_numpy() < DOUBT).sum())
    if rows != n:
        raise SystemExit(f"{rows} rows of {n} images.")
    return doubtful / n


def clean(n: int, folder: Path) -> None:
    """Remove the images and the parts of a size that was measured."""
    (folder / f"{n}.npy").unlink()
    (folder / f"{n}-attempts.jsonl").unlink()
    shutil.rmtree(folder / f"{n}-classes")


def cells(record: Record) -> list[str]:
    """Return a line of the table."""
    return [
        f"{record['n']:,}",
        f"{record['seconds']:,.0f}",
        f"{record['timed'] / record['seconds']:,.0f}",
        "–" if record["peak"] is None else f"{record['peak'] / GIBIBYTE:.2f}",
        f"{record['data_bytes'] / GIBIBYTE:.2f}",
        f"{record['parts']:,}",
        f"{record['part_bytes'] / record['n']:.1f}",
        f"{100 * record['doubtful']:.1f}",
        f"{record['attempts']}",
        f"{record['load_before']:g}",
        f"{record['date'][:10]}, `{record['command']}`",
    ]


def page(records: list[Record]) -> str:
    """Return the page: the last measurement of each size, on the machine of the newest."""
    last = max(records, key=lambda one: one["date"])
    same = [
        one for one in records if (one["machine"], setting(one)) == (last["machine"], setting(last))
    ]
    shown = {one["n"]: one for one in sorted(same, key=lambda one: one["date"])}
    titles = ["images", "s", "images/s", "peak GiB", "images on the disk, GiB", "parts"]
    titles += ["bytes a row", "in doubt, %", "attempts", "load before", "measured"]
    return "\n".join(
        [
            "# Predicting many images in parts",
            "",
            f"{last['date'][:10]}; {origin(last)}; {setting(last)} threads. "
            "`python benchmarks/bulk.py N`. Greyscale images of 28 × 28 in an .npy file; start, "
            "loading and writing included. A load above 0 before it means that other programs "
            "ran at the same time, and the images a second are too low. Images in doubt, those "
            f"with a probability below {DOUBT}, are looked at five times, which takes longer.",
            "",
            *table(titles, (cells(one) for _, one in sorted(shown.items()))),
            "",
        ]
    )


def main() -> int:
    """Measure, and write the page."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("sizes", nargs="*", type=at_least(1), default=[N_IMAGES], metavar="N")
    parser.add_argument("--folder", type=Path, default=FOLDER, help="where everything lies")
    parser.add_argument("--table", action="store_true", help="only write the page again")
    arguments = parser.parse_args()
    if not arguments.table:
        arguments.folder.mkdir(parents=True, exist_ok=True)
        with alone():
            for n in arguments.sizes:
                record = measured(n, arguments.folder.absolute())
                append_line(LINES, record)
                clean(n, arguments.folder.absolute())
    (RESULTS / "bulk.md").write_text(page(read_lines(LINES)), encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
