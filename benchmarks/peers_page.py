"""What `peers.py` compares, in words, and its page and picture."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from clustpy_works import CLUSTERINGS
from common import Record, origin, table
from matplotlib.figure import Figure
from matplotlib.ticker import PercentFormatter

PAIRS = {
    "joint, an epoch": (
        "answer, an epoch",
        8,
        "the question's second answer, same network",
        "both are bound by the same small convolutions, and the answer loads images beside them",
    ),
    "teach, an epoch": (
        "plain loop",
        2,
        "a plain PyTorch loop, same network, no transforms",
        "a step is near what the machine can do (`limit.md`), and also transforms and averages",
    ),
}
"""Ours, theirs, how many times faster ours is to be, theirs in words, and why it is no faster."""
COMPARED = [work for ours, (theirs, *_) in PAIRS.items() for work in (theirs, ours)]
"""One epoch each, whose speed is what counts."""
BESIDE = ("answer", "N2D")
"""Whole fits whose times have a goal: they are done again with every version of ours, in turn."""
FITS = {
    "sort": "selfsort without labels",
    "N2D": "N2D: autoencoder of 30 epochs, UMAP, Gaussian mixture; no labels",
    **{name: f"ClustPy's {name}, half an hour; no labels" for name in CLUSTERINGS},
    "KMeans": "scikit-learn's KMeans, ten starts; no labels",
    "MiniBatchKMeans": "scikit-learn's MiniBatchKMeans; no labels",
    "SpectralClustering": "scikit-learn's SpectralClustering, 5,000 images; no labels",
    "teach, 100 labels": "selfsort with 100 labels",
    "LabelSpreading": "scikit-learn's LabelSpreading over seven neighbours, 100 labels",
    "teach, quick": "selfsort with 15,000 labels, one epoch",
    "teach, an epoch of 60,000": "selfsort with all labels, one epoch",
    "joint": "selfsort's `joint`, ten epochs",
    "answer": "the question's second answer, ten epochs",
    "MLPClassifier": "scikit-learn's MLPClassifier, all labels",
    "SVC": "scikit-learn's SVC, all labels",
}
OURS = ("sort", "teach", "joint")
NAMES = {
    "sort": "selfsort, no labels",
    "N2D": "N2D, no labels",
    **{name: f"{name}, no labels" for name in CLUSTERINGS},
    "KMeans": "KMeans, no labels",
    "MiniBatchKMeans": "MiniBatchKMeans, no labels",
    "SpectralClustering": "SpectralClustering, 5,000 images",
    "LabelSpreading": "LabelSpreading, 100 labels",
    "teach, 100 labels": "selfsort, 100 labels",
    "teach, quick": "selfsort, 15,000 labels, one epoch",
    "teach, an epoch of 60,000": "selfsort, all labels, one epoch",
    "joint": "selfsort's joint, all labels",
    "answer": "the question's answer",
}
PLACES = {
    "sort": (4, -15),
    "teach, quick": (-32, 7),
    "MLPClassifier": (-22, -13),
    "SVC": (17, 0),
    "answer": (-26, -14),
    "N2D": (14, -14),
    "DEC": (-40, -3),
    "DCN": (37, -3),
    "IDEC": (0, -14),
    "MiniBatchKMeans": (0, -13),
}
"""Where names stand beside their points in the picture, where not above them, in points."""
ENGINES = "engines"
ANSWER_ACCURACY = 0.9813
"""What the question's second answer tells of its ten epochs."""


def found_of(records: list[Record], work: str) -> list[dict[str, float]]:
    """Return what each round of a work gave."""
    return [one["found"] for one in records if one["work"] == work]


def figures_of(records: list[Record], work: str, figure: str) -> list[float]:
    """Return a figure of each round of a work."""
    return [found[figure] for found in found_of(records, work)]


def ratios_of(records: list[Record], ours: str, theirs: str, figure: str) -> list[float]:
    """Return ours divided by theirs in each round that both have.

    Figures of two machines have no ratio, nor have those that were not measured in turn.
    """
    return [
        one["found"][figure] / other["found"][figure]
        for one in records
        for other in records
        if (one["work"], other["work"]) == (ours, theirs)
        and all(one.get(key) == other.get(key) for key in ("machine", "round", "version"))
    ]


def in_words(values: list[float], digits: int, factor: float = 1.0) -> str:
    """Return the median, and the lowest and the highest where there are several."""
    texts = [
        f"{factor * value:,.{digits}f}" for value in (np.median(values), min(values), max(values))
    ]
    return texts[0] if len(values) == 1 else f"{texts[0]} ({texts[1]} to {texts[2]})"


def pair_rows(records: list[Record]) -> list[list[str]]:
    """Return a row of cells for each pair: speeds, and the ratio of each round."""
    rows = []
    for ours, (theirs, goal, words, reason) in PAIRS.items():
        ratios = ratios_of(records, ours, theirs, "images_per_second")
        if ratios:
            rates = [figures_of(records, work, "images_per_second") for work in (ours, theirs)]
            met = np.median(ratios) >= goal
            rows.append(
                [
                    f"`{ours.partition(',')[0]}`",
                    words,
                    *(f"{np.median(values):,.0f}" for values in rates),
                    in_words(ratios, 2),
                    f"≥ {goal}: met" if met else f"≥ {goal}: missed; {reason}",
                ]
            )
    return rows


def fit_rows(records: list[Record]) -> list[list[str]]:
    """Return a row of cells for each work that is a whole fit."""
    rows = []
    for work, words in FITS.items():
        mine = [one for one in records if one["work"] == work]
        if mine:
            rows.append(
                [
                    words + epochs_of(mine),
                    str(len(mine)),
                    in_words(figures_of(mine, work, "seconds"), 0),
                    in_words(figures_of(mine, work, "accuracy"), 2, 100),
                    max(one["date"] for one in mine)[:10],
                    mine[0]["machine"],
                ]
            )
    return rows


def goal_rows(records: list[Record]) -> list[list[str]]:
    """Return a row of cells for each goal of whole fits: ratio, whether met, why not."""
    rows = []

    def add(goal: str, figure: str, met: bool, reason: str) -> None:
        rows.append([goal, figure, "met" if met else "missed", reason])

    sooner = [1 / one for one in ratios_of(records, "teach, quick", "answer", "seconds")]
    if sooner:
        enough = np.median(figures_of(records, "teach, quick", "accuracy")) >= ANSWER_ACCURACY
        goal = "`teach` has 98.13 % at least 25 times sooner than the answer ends"
        reason = "half of the time goes into the decoder"
        add(goal, in_words(sooner, 1), bool(enough and np.median(sooner) >= 25), reason)
    shares = ratios_of(records, "sort", "N2D", "seconds")
    if shares:
        better = min(ratios_of(records, "sort", "N2D", "accuracy")) > 1
        goal = "without labels: more accurate than N2D in at most a third of its time"
        reason = "N2D's autoencoder is cut from 1,000 epochs to 30"
        add(goal, in_words(shares, 2), bool(better and np.median(shares) <= 1 / 3), reason)
    (speeds,) = found_of(records, ENGINES)[:1] or [{}]
    for size in ("64", "1024"):
        if f"eager at {size}" in speeds:
            share = speeds[f"eager at {size}"] / speeds[f"onnxruntime at {size}"]
            reason = "what `predict` says would depend on an extra that is installed"
            goal = f"prediction at least as fast as onnxruntime's in batches of {size}"
            add(goal, f"{share:.2f}", share >= 1, reason)
    return rows


def epochs_of(mine: list[Record]) -> str:
    """Return how many epochs of how many there was time for, where time was limited."""
    found = [one["found"] for one in mine]
    if "planned_epochs" not in found[0]:
        return ""
    done = dict.fromkeys((min(one["epochs"] for one in found), max(one["epochs"] for one in found)))
    return f" ({' to '.join(map(str, done))} of {found[0]['planned_epochs']} epochs)"


def engine_rows(records: list[Record]) -> list[list[str]]:
    """Return a row of cells for each batch size."""
    (found,) = found_of(records, ENGINES)[:1] or [{}]
    sizes = dict.fromkeys(name.partition(" at ")[2] for name in found)
    names = dict.fromkeys(name.partition(" at ")[0] for name in found)
    return [[size, *(f"{found[f'{name} at {size}']:,.0f}" for name in names)] for size in sizes]


def page(records: list[Record]) -> str:
    """Return the page."""
    ours = [one for one in records if one["work"].startswith(OURS)] or records
    last = max(ours, key=lambda one: one["date"])
    origins = " / ".join(dict.fromkeys(origin(one) for one in records))
    return "\n".join(
        [
            "# selfsort beside what one would take instead",
            "",
            f"{last['date'][:10]}; {origins}; {last['threads']} threads. selfsort's networks learn "
            f"in {last['precision']}, all others in float32, as they come. "
            "`python benchmarks/peers.py`; packages: `benchmarks/peers.txt`, for ClustPy "
            "`benchmarks/peers-clustpy.txt`. MNIST.",
            "",
            "## Speed of training, images a second",
            "",
            "The median of the rounds, and that of their ratios (lowest to highest).",
            "",
            *table(["selfsort", "beside", "its rate", "other's rate", "ratio", "goal"],
                   pair_rows(records)),
            "",
            "## Time and accuracy",
            "",
            "In turn, in rounds whose numbers are the seeds, with the date of the last one: the "
            "median (lowest to highest), on "
            "the 10,000 test images; `N2D`, ClustPy's and `SpectralClustering` are scored on the "
            "images they were fitted on. ClustPy's have all their defaults, and what they learned "
            "in half an hour: epochs done, of those that are the default, stand beside them. In "
            "`LabelSpreading` and `SVC` nothing is random.",
            "",
            *table(["what", "rounds", "s", "accuracy %", "date", "machine"],
                   fit_rows(records)),
            "",
            *table(["goal", "ratio", "", "why no more"], goal_rows(records)),
            "",
            "![time against accuracy](peers.png)",
            "",
            "## Prediction, images a second, by the size of the batch",
            "",
            "One look at the classes' network, float32, the best of three rounds in turn.",
            "",
            *table(["batch", "eager", "`torch.compile`", "onnxruntime"], engine_rows(records)),
            "",
        ]
    )  # fmt: skip


def draw(records: list[Record], path: Path) -> None:
    """Draw the error against the time, a point each: the medians."""
    figure = Figure(figsize=(7.6, 4.4), layout="constrained")
    axes = figure.add_subplot()
    for work in FITS:
        if not found_of(records, work):
            continue
        seconds, accuracy = (
            float(np.median(figures_of(records, work, one))) for one in ("seconds", "accuracy")
        )
        colour = "#1f5fbf" if work.startswith(OURS) else "#666666"
        place = (seconds, max(1 - accuracy, 1e-4))
        axes.plot(*place, "o", color=colour, markersize=7)
        axes.annotate(
            NAMES.get(work, work),
            place,
            PLACES.get(work, (0, 7)),
            textcoords="offset points",
            horizontalalignment="center",
            fontsize=8,
            color=colour,
        )
    axes.set_xscale("log")
    axes.set_yscale("log")
    axes.invert_yaxis()
    axes.margins(x=0.2, y=0.15)
    axes.set_xlabel("seconds on 2 cores: left is better", fontsize=9)
    axes.set_ylabel("errors: up is better", fontsize=9)
    axes.yaxis.set_major_formatter(PercentFormatter(1, symbol=" %"))
    axes.spines[["top", "right"]].set_visible(False)
    axes.grid(alpha=0.2)
    figure.savefig(path, dpi=130)
