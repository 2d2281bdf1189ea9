"""Several recipes and seeds on the same images, in one table."""

from __future__ import annotations

import csv
import dataclasses
import datetime
import io
import json
import shlex
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from rich.console import Console

from selfsort import recipes
from selfsort.checkpoints import write_text
from selfsort.datasets import Dataset, load_dataset
from selfsort.errors import InputError
from selfsort.runs.data import tell_skipped
from selfsort.runs.environment import machine, versions
from selfsort.runs.preparing import prepare
from selfsort.runs.request import Request, asked, is_unfinished
from selfsort.runs.training import train
from selfsort.verified import naming

COLUMNS = (
    "recipe",
    "seed",
    "n_labels",
    "epochs",
    "train_seconds",
    "train_accuracy",
    "test_accuracy",
    "test_nmi",
    "test_ari",
    "test_classes_in_use",
    "test_reconstruction_mse",
    "extra",
)


@dataclass(frozen=True)
class Comparison:
    """What `selfsort compare` was asked for; see `Request` for what the runs share."""

    request: Request
    recipes: Sequence[str]
    n_seeds: int
    out: Path


def compare(comparison: Comparison, console: Console | None = None) -> Path:
    """Run every recipe with every seed; return the folder of the tables.

    Runs that are there already, complete, are read and not repeated: an interrupted comparison
    goes on where it was. The folder holds ``comparison.csv``, ``comparison.md`` and a folder a
    run.
    """
    console = console or Console(stderr=True)
    if comparison.out.is_file():
        raise InputError(f"{comparison.out}: is a file, not a folder. Give another --out.")
    for name in comparison.recipes:
        recipes.get_recipe(name)
    shared = comparison.request
    data = load_dataset(shared.data, size=shared.size, on_error=shared.on_error)
    tell_skipped(console, data.train, data.test)
    requests = [
        _request(comparison, name, seed)
        for name in dict.fromkeys(comparison.recipes)
        for seed in range(comparison.n_seeds)
    ]
    for request in requests:  # what is wrong with the last is told before the first trains
        check_same(request)
        prepare(request, console, data)
    results = []
    for request in requests:
        results.append(result_of(request, console, data))
        with naming(comparison.out):
            _write_tables(comparison, results)
    return comparison.out


def _request(comparison: Comparison, name: str, seed: int) -> Request:
    return dataclasses.replace(
        comparison.request,
        recipe=name,
        seed=seed,
        out=comparison.out / f"{name}-{seed}",
        force=True,
        labels=_labels_for(name, comparison.request.labels),
    )


def check_same(request: Request) -> None:
    """Raise if an earlier run in this place was asked for something else."""
    earlier = _complete_result(request)
    if earlier is None:
        return
    for name, value in asked(request).items():
        before = earlier.get("asked", {}).get(name, value)
        if before != value:
            raise InputError(
                f"{request.out}: holds a run with other {name} ({before}, now {value}). "
                "Nothing was written: give another --out."
            )


def _complete_result(request: Request) -> dict[str, Any] | None:
    """Return the result of a run that ended by itself, made before; None where there is none."""
    assert request.out is not None  # noqa: S101
    path = request.out / "result.json"
    try:
        result = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):  # none, or a damaged one: it is made again
        return None
    return None if not isinstance(result, dict) or result.get("interrupted") else result


def result_of(request: Request, console: Console, data: Dataset) -> dict[str, Any]:
    """Return the result of one run, made now or before."""
    result = _complete_result(request)
    if result is None:
        assert request.recipe is not None  # noqa: S101
        console.rule(f"{request.recipe}, seed {request.seed}")
        goes_on = is_unfinished(request, request.recipe)
        train(dataclasses.replace(request, resume=goes_on), console, data)
        result = _complete_result(request)
    if result is None:
        raise KeyboardInterrupt
    return result


def _labels_for(name: str, asked: str | None) -> str | None:
    """Return the labels for a recipe: those asked for, where it learns from labels."""
    return None if recipes.get_recipe(name).labels == "none" else asked


def row_of(result: dict[str, Any]) -> dict[str, Any]:
    """Return a run's line of the table."""
    test = result["test"] or {}
    scalars = {k: v for k, v in result["extra"].items() if isinstance(v, int | float)}
    return {
        **{name: result[name] for name in COLUMNS[:5]},
        "train_accuracy": result["train"]["accuracy"],
        **{name: test.get(name.removeprefix("test_")) for name in COLUMNS[6:11]},
        "extra": json.dumps(scalars) if scalars else "",
    }


def _write_tables(comparison: Comparison, results: list[dict[str, Any]]) -> None:
    rows = [row_of(result) for result in results]
    text = io.StringIO()
    writer = csv.DictWriter(text, COLUMNS, lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    write_text(comparison.out / "comparison.csv", text.getvalue())
    write_text(comparison.out / "comparison.md", markdown(comparison, rows))


def markdown(comparison: Comparison, rows: list[dict[str, Any]]) -> str:
    """Return the table for people: one line a recipe, mean (worst to best) over the seeds."""
    parts = [
        f"# {comparison.request.data}: recipes compared",
        "",
        f"{datetime.date.today().isoformat()}, {machine()}; "
        + ", ".join(f"{name} {version}" for name, version in versions().items())
        + f". Mean (lowest to highest) of {comparison.n_seeds} seeds. "
        "Accuracy without labels is matched (Hungarian).",
        "",
        f"    {shlex.join(['selfsort', *sys.argv[1:]])}",
        "",
        "| recipe | labels | test accuracy | NMI | classes in use | test MSE in [0, 1] | "
        "training seconds | further |",
        "|---|---|---|---|---|---|---|---|",
    ]
    for name in dict.fromkeys(row["recipe"] for row in rows):
        mine = [row for row in rows if row["recipe"] == name]
        further = [json.loads(row["extra"]) for row in mine if row["extra"]]
        extras = {key: [one[key] for one in further] for key in (further[0] if further else {})}
        cells = [
            name,
            f"{mine[0]['n_labels']:,}",
            _spread(mine, "test_accuracy", 100, " %", 2),
            _spread(mine, "test_nmi", 1, "", 3),
            _spread(mine, "test_classes_in_use", 1, "", 0),
            _spread(mine, "test_reconstruction_mse", 1, "", 4),
            _spread(mine, "train_seconds", 1, "", 0),
            "; ".join(f"{key} {np.mean(values):.4g}" for key, values in extras.items()),
        ]
        parts.append("| " + " | ".join(cells) + " |")
    return "\n".join(parts) + "\n"


def _spread(rows: list[dict[str, Any]], column: str, factor: float, unit: str, digits: int) -> str:
    values = [row[column] * factor for row in rows if row[column] is not None]
    if not values:
        return "–"
    mean = f"{np.mean(values):.{digits}f}{unit}"
    if len(values) == 1:
        return mean
    return f"{mean} ({min(values):.{digits}f} to {max(values):.{digits}f})"
