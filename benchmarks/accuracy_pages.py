"""The pages that `benchmarks/accuracy.py` writes from its runs."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
from accuracy_rows import ABLATION, ROWS, SURE, TEST, TRAIN, Row, unpacked
from common import (
    RESULTS,
    Record,
    figure,
    figures,
    first_by_seed,
    mean,
    newest,
    origin,
    percent,
    plain,
    read_lines,
    setting,
    spread,
    table,
)

from selfsort.pictures import save_comparison_strip

# ---- pages --------------------------------------------------------------------------------


def verdict(row: Row, runs: list[Record]) -> str:
    """Return whether the goal is met, or what is missed; so far, until all seeds are there."""
    if not row.goal:
        return "–"
    missed = ", ".join(str(bound) for bound in row.goal if not bound.holds(runs))
    so_far = "" if len(runs) >= row.n_seeds else " so far"
    return f"missed{so_far}: {missed}" if missed else f"met{so_far}"


def seconds(runs: list[Record]) -> str:
    """Return the mean and the longest time."""
    values = figures(runs, "seconds")
    return f"{np.mean(values):.0f} ({max(values):.0f})"


def main_cells(row: Row, runs: list[Record]) -> list[str]:
    """Return a row of the main table."""
    tested = "train" if runs[0]["test"] is None else "test"
    return [
        f"`{row.name}`",
        row.what,
        f"{', '.join(map(str, row.goal))} ({row.n_seeds} seeds)",
        f"{len(runs)}",
        spread(figures(runs, TEST), 2, 100),
        spread(figures(runs, TRAIN), 2, 100),
        spread(figures(runs, f"{tested}.calibration_error"), 4),
        f"{sum(run['collapsed'] for run in runs)}",
        seconds(runs),
        setting(runs[0]),
        f"`{runs[0]['version']}`",
        verdict(row, runs),
    ]


MAIN_TITLES = (
    "row",
    "estimator and images",
    "goal",
    "seeds",
    "test accuracy %",
    "train accuracy %",
    "calibration error",
    "collapsed runs",
    "fit s, mean (longest)",
    "threads",
    "version",
    "goal met?",
)


SEED_COLUMNS: dict[str, tuple[str, Callable[[float | None], str]]] = {
    "test accuracy %": (TEST, percent),
    "train accuracy %": (TRAIN, percent),
    "calibration error": ("{}.calibration_error", plain),
    f"accuracy % at p ≥ {SURE}": ("{}.sure_accuracy", percent),
    "share of these %": ("{}.sure_share", percent),
    "classes in use": ("train.classes_in_use", plain),
    "fit s": ("seconds", "{:.0f}".format),
    "CPU s": ("cpu_seconds", "{:.0f}".format),
}


def seed_section(row: Row, runs: list[Record]) -> list[str]:
    """Return all figures of a row, a line each seed, and the mean."""
    tested = "train" if runs[0]["test"] is None else "test"
    columns = SEED_COLUMNS | {name: (f"extra.{name}", plain) for name in runs[0]["extra"]}
    filled = [(figures(runs, path.format(tested)), write) for path, write in columns.values()]
    rows = [
        [str(run["seed"]), *(write(values[i]) for values, write in filled)]
        for i, run in enumerate(runs)
    ]
    rows.append(["mean", *(write(mean(values)) for values, write in filled)])
    stages = ", ".join(
        f"{name} {mean([run['stage_seconds'].get(name) for run in runs]):.0f}"
        for name in runs[0]["stage_seconds"]
    )
    picture = ["![prototypes of each seed](prototypes.png)", ""] if row.name == "none" else []
    return [
        *(f"## `{row.name}`, threads: {setting(runs[0])}", ""),
        *(*table(["seed", *columns], rows), ""),
        *(f"Mean seconds of the stages: {stages}.", "", *picture),
    ]


def header(title: str, command: str, shown: Sequence[list[Record]]) -> list[str]:
    """Return the title, and where the figures come from."""
    runs = [run for group in shown for run in group]
    origins = " / ".join(dict.fromkeys(origin(run) for run in runs))
    date = max((run["date"][:10] for run in runs), default="no run yet")
    return [f"# {title}", "", f"{date}; {origins}. `python benchmarks/accuracy.py{command}`.", ""]


ACCURACY_NOTE = (
    "Mean (lowest to highest) over the seeds. Without labels, classes are matched to labels "
    "(Hungarian) on the images they are scored on, after the fit; `digits` and `small` are scored "
    "on the images they were fitted on, as clustering papers do. The calibration error (15 bins) "
    "is that of the test images where there are some. A run is collapsed if a class is out of use "
    "or the accuracy is below 90 %. Seconds are those of the fit, for `suggested` of both fits; "
    "CPU seconds are those of all threads together. Where a processor has no AMX, a fit takes "
    "longer: with AVX-512 half as long again, with AVX2 three times as long; runs on one thread of "
    "a CPU had another one beside them, those on a GPU 13, each a process of its own (`--run ROW "
    "SEED`), and say little of time: [gpu.md](gpu.md) has that of one fit alone. "
    "With `n_classes=None`, K is the number of classes that the images suggest, and where that is "
    "10 the fit is the same as if it had been told (`tests/test_estimators.py`). "
    "Each row shows its newest version of the method, the hash of its code, and no older one."
)


def accuracy_page(records: Sequence[Record]) -> str:
    """Return the page of all rows."""
    shown = [(row, runs) for row in ROWS for runs in newest(records, row.name)]
    parts = [
        *header("Accuracy at every number of labels", "", [runs for _, runs in shown]),
        *(ACCURACY_NOTE, ""),
        *table(MAIN_TITLES, [main_cells(row, runs) for row, runs in shown]),
        "",
        *(line for row, runs in shown for line in seed_section(row, runs)),
    ]
    return "\n".join(parts).rstrip() + "\n"


def change(runs: list[Record], whole: Sequence[Record]) -> str:
    """Return by how much the mean changes against the whole method, the same seeds and code."""
    alike = [run for run in whole if setting(run) == setting(runs[0])]
    found = first_by_seed(alike, runs[0]["version"].partition("+")[0])
    pairs = [(run, found[run["seed"]]) for run in runs if run["seed"] in found]
    if not pairs:
        return "–"
    gains = [figure(run, TEST) - figure(full, TEST) for run, full in pairs]
    return f"{100 * np.mean(gains):+.2f} ({len(pairs)} of {len(runs)} seeds)"


def ablation_page(records: Sequence[Record], whole: Sequence[Record]) -> str:
    """Return the page of what each part of the method does; `whole` are the runs of `none`."""
    shown = [(row, runs) for row in ABLATION for runs in newest(records, row.name)]
    rows = [
        [
            row.name,
            "; ".join(f"`{change}`" for change in runs[0]["patches"]),
            f"{len(runs)}",
            spread(figures(runs, TEST), 2, 100),
            change(runs, whole),
            f"{sum(run['collapsed'] for run in runs)}",
            seconds(runs),
            setting(runs[0]),
            f"`{runs[0]['version']}`",
        ]
        for row, runs in shown
    ]
    titles = ["without, or with only", "how", "seeds", "test accuracy %", "change of the mean"]
    titles += ["collapsed runs", "fit s, mean (longest)", "threads", "version"]
    parts = [
        *header("`none` with one part removed each", " --ablation", [runs for _, runs in shown]),
        "The change is against the runs of `none` in [accuracy.md](accuracy.md) with the same "
        "seeds and the same code.",
        "",
        *table(titles, rows),
    ]
    return "\n".join(parts) + "\n"


def write_accuracy() -> None:
    """Write the page of all rows."""
    page = accuracy_page(read_lines(RESULTS / "accuracy.jsonl"))
    (RESULTS / "accuracy.md").write_text(page, encoding="utf-8")


def write_ablation() -> None:
    """Write the page of the parts."""
    whole = [one for one in read_lines(RESULTS / "accuracy.jsonl") if one["row"] == "none"]
    page = ablation_page(read_lines(RESULTS / "ablation.jsonl"), whole)
    (RESULTS / "ablation.md").write_text(page, encoding="utf-8")


def write_prototypes() -> None:
    """Draw the ten prototypes of each seed of `none`, in the order of their labels."""
    runs = max(newest(read_lines(RESULTS / "accuracy.jsonl"), "none"), key=len, default=[])
    if runs:
        lines = [(f"seed {run['seed']}", unpacked(run["prototypes"])) for run in runs]
        save_comparison_strip(RESULTS / "prototypes.png", lines)
