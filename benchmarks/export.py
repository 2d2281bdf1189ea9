"""An exported model beside its estimator: `benchmarks/results/export.md`.

    python benchmarks/export.py

Learns 10,000 labelled images of MNIST for two epochs, exports the model as ONNX, and compares what
onnxruntime says of the 10,000 test images with what the estimator says, in classes, probabilities
and speed. `--page` only writes the page again.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from common import RESULTS, alone, append_line, circumstances, origin, read_lines, table
from PIL import Image

from selfsort import AutoencoderClassifier, load_dataset
from selfsort.estimators.outputs import DOUBT
from selfsort.exporting import export
from selfsort.images.pixels import fit

N_LEARNED, EPOCHS = 10_000, 2
BATCHES = (1, 64, 1024)
ROUNDS, SECONDS = 5, 2.0
OTHER_SIZES = ((45, 37), (100, 140), (19, 60), (300, 90))
N_RESIZED = 250
LINES = RESULTS / "export.jsonl"
PAGE = RESULTS / "export.md"
Found = dict[str, Any]
Outputs = tuple[np.ndarray, ...]


def differences(classifier: Any, run: Callable[[np.ndarray], Outputs], X: np.ndarray) -> Found:
    """Return how classes, probabilities and reconstructions of both differ."""
    parts = [run(X[start : start + 1000]) for start in range(0, len(X), 1000)]
    probability, label, reconstruction = (
        np.concatenate(column) for column in zip(*parts, strict=True)
    )
    wanted = classifier.predict_proba(X)
    return {
        "images": len(X),
        "in_doubt": int((wanted.max(1) < DOUBT).sum()),
        "other_class": int((classifier.classes_[label] != classifier.predict(X)).sum()),
        "probability": float(np.abs(probability - wanted).max()),
        "reconstruction": float(np.abs(reconstruction - classifier.reconstruct(X)).max()),
    }


def resized(classifier: Any, run: Callable[[np.ndarray], Outputs], X: np.ndarray) -> Found:
    """Return how probabilities differ where the graph resizes, and Pillow for the estimator."""
    rows = []
    for i, (height, width) in enumerate(OTHER_SIZES):
        some = X[i * N_RESIZED : (i + 1) * N_RESIZED]
        large = np.stack([np.asarray(Image.fromarray(one).resize((width, height))) for one in some])
        fitted = np.stack([fit(Image.fromarray(one), *X.shape[1:])[0] for one in large])
        probability, label, _ = run(large)
        rows.append(
            {
                "images": len(large),
                "other_class": int(
                    (classifier.classes_[label] != classifier.predict(fitted)).sum()
                ),
                "probability": float(np.abs(probability - classifier.predict_proba(fitted)).max()),
            }
        )
    return {
        "images": sum(row["images"] for row in rows),
        "other_class": sum(row["other_class"] for row in rows),
        "probability": max(row["probability"] for row in rows),
    }


def rate_of(run: Callable[[np.ndarray], Any], X: np.ndarray, size: int) -> float:
    """Return the images a second over some seconds."""
    run(X[:size])
    start, n = time.perf_counter(), 0
    while time.perf_counter() - start < SECONDS:
        first = n % (len(X) - size)
        run(X[first : first + size])
        n += size
    return n / (time.perf_counter() - start)


def speeds(classifier: Any, session: Any, X: np.ndarray) -> Found:
    """Return the images a second of both in each round, taken in turn."""
    runs: dict[str, Callable[[np.ndarray], Any]] = {
        "estimator": classifier.predict_proba,
        "onnxruntime": lambda batch: session.run(["probability"], {"input": batch}),
    }
    found: Found = {}
    for size in BATCHES:
        rates: dict[str, list[float]] = {name: [] for name in runs}
        for _ in range(ROUNDS):
            for name, run in runs.items():
                rates[name].append(round(rate_of(run, X, size), 2))
        found[str(size)] = rates
    return found


def measured(model: Path) -> Found:
    """Return one record."""
    import onnxruntime

    data = load_dataset("mnist")
    assert data.test is not None
    assert data.train.labels is not None
    X, y = data.train.images[:N_LEARNED, 0], data.train.labels[:N_LEARNED]
    test = data.test.images[:, 0]
    record: Found = circumstances()
    classifier = AutoencoderClassifier(epochs=EPOCHS, random_state=0).fit(X, y)
    start = time.perf_counter()
    exported = export(classifier, model, force=True)
    record["export_seconds"] = round(time.perf_counter() - start, 1)
    record["megabytes"] = round(exported.n_bytes / 1e6, 2)
    record["onnxruntime"] = onnxruntime.__version__
    record["accuracy"] = float((classifier.predict(test) == data.test.labels).mean())
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = record["threads"]
    session = onnxruntime.InferenceSession(model, options, providers=["CPUExecutionProvider"])

    def run(batch: np.ndarray) -> Outputs:
        return tuple(session.run(None, {"input": batch}))

    record["same_size"] = differences(classifier, run, test)
    record["resized"] = resized(classifier, run, test)
    record["speeds"] = speeds(classifier, session, test)
    return record


def page(record: Found) -> str:
    """Return the page of a record."""
    same, other = record["same_size"], record["resized"]
    rows = []
    for size, rates in record["speeds"].items():
        ratios = np.divide(rates["onnxruntime"], rates["estimator"])
        rows.append(
            [
                size,
                f"{np.median(rates['estimator']):,.0f}",
                f"{np.median(rates['onnxruntime']):,.0f}",
                f"{np.median(ratios):.2f} ({ratios.min():.2f} to {ratios.max():.2f})",
            ]
        )
    sizes = ", ".join(f"{height}×{width}" for height, width in OTHER_SIZES)
    parts = [
        "# An exported model beside its estimator",
        "",
        f"{record['date'][:10]}; {origin(record)}, onnxruntime {record['onnxruntime']}. "
        "`python benchmarks/export.py`.",
        "",
        f"`AutoencoderClassifier(epochs={EPOCHS})` on {N_LEARNED:,} labelled images of MNIST "
        f"({100 * record['accuracy']:.2f} % of the test images right), exported in "
        f"{record['export_seconds']:.0f} s as one file of {record['megabytes']:.1f} MB. "
        f"{same['in_doubt']:,} of the {same['images']:,} test images are in doubt and get a second "
        "look.",
        "",
        *table(
            ["images", "how many", "of another class", "largest difference of a probability"],
            [
                [
                    "the test images, 28×28",
                    f"{same['images']:,}",
                    str(same["other_class"]),
                    f"{same['probability']:.1e}",
                ],
                [
                    f"resized in the graph, by Pillow for the estimator: {sizes}",
                    f"{other['images']:,}",
                    str(other["other_class"]),
                    f"{other['probability']:.1e}",
                ],
            ],
        ),
        "",
        f"Largest difference of a reconstructed pixel, of 255: {same['reconstruction']:.1e}.",
        "",
        f"Images a second on {record['threads']} thread{'s' * (record['threads'] > 1)}, medians of "
        f"{ROUNDS} rounds in turn, and their ratio in each round: median (lowest to highest). The "
        f"machine's load was {record['load_before']:g} before.",
        "",
        *table(["batch", "`predict_proba`", "onnxruntime", "onnxruntime by the estimator"], rows),
    ]
    return "\n".join(parts) + "\n"


def main() -> int:
    """Measure, and write the page; with `--page` only the page, of the last record."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--page", action="store_true", help="write the page again only")
    if not parser.parse_args().page:
        with alone(), tempfile.TemporaryDirectory() as folder:
            append_line(LINES, measured(Path(folder, "model.onnx")))
    text = page(read_lines(LINES)[-1])
    PAGE.write_text(text, encoding="utf-8")
    print(text)
    return 0


if __name__ == "__main__":
    sys.exit(main())
