"""What the benchmarks share: tables, records, goals, runs, and the version of the method."""

from __future__ import annotations

import argparse
import ast
import contextlib
import datetime
import fcntl
import hashlib
import json
import operator
import os
import pkgutil
import subprocess
import sys
from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch

import selfsort
from selfsort.estimators.resources import resolve_device
from selfsort.precision import has_fast_bfloat16
from selfsort.runs.environment import machine, versions

ROOT = Path(__file__).resolve().parent.parent
RESULTS = ROOT / "benchmarks" / "results"
SOURCE = Path(selfsort.__file__).resolve().parent
LONGEST_LINE = 20_000
JOBS = "SELFSORT_BENCHMARK_JOBS"
Record = dict[str, Any]

METHOD = (
    "precision",
    "sorting",
    "training",
    "networks",
    "objectives",
    "augment",
    "bottlenecks",
    "grouping",
    "estimators/base",
    "estimators/use",
    "estimators/inputs",
    "estimators/outputs",
    "estimators/classes",
)
"""The modules and packages, below the source folder, that decide what any fit learns."""
SORTING = ("sorting", "grouping")
"""Those of them that only the recipes `sort` and `teach` use."""

# ---- tables -------------------------------------------------------------------------------


def spread(values: Iterable[float | None], digits: int, factor: float = 1.0) -> str:
    """Return mean (lowest to highest) of some values."""
    known = [value * factor for value in values if value is not None]
    if not known:
        return "–"
    low, high = min(known), max(known)
    return f"{np.mean(known):.{digits}f} ({low:.{digits}f} to {high:.{digits}f})"


def table(titles: Iterable[str], rows: Iterable[Iterable[str]]) -> list[str]:
    """Return the lines of a table in Markdown."""
    titles = list(titles)
    body = [f"| {' | '.join(cells)} |" for cells in rows]
    return [f"| {' | '.join(titles)} |", "|---" * len(titles) + "|", *body]


def programs(record: Record) -> str:
    """Return the versions of the programs that a record was made with."""
    return ", ".join(f"{name} {version}" for name, version in record["versions"].items())


def origin(record: Record) -> str:
    """Return where a record comes from: the machine, and the versions on it."""
    return f"{record['machine']}; {programs(record)}"


def percent(value: float | None) -> str:
    """Return a share as a percentage."""
    return "–" if value is None else f"{100 * value:.2f}"


def plain(value: float | None) -> str:
    """Return a figure of any size."""
    return "–" if value is None else f"{value:.4g}"


def mean(values: Sequence[float | None]) -> float | None:
    """Return the mean of what was measured."""
    known = [value for value in values if value is not None]
    return float(np.mean(known)) if known else None


# ---- records, as lines of JSON ------------------------------------------------------------


def read_lines(path: Path) -> list[Record]:
    """Return the records of a file with one line of JSON each; none where there is no file."""
    if not path.is_file():
        return []
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]


def as_line(record: Record) -> str:
    """Return a record as one line that fits a repository."""
    line = json.dumps(record, ensure_ascii=False, allow_nan=False)
    if len(line) > LONGEST_LINE:
        raise ValueError(f"A line has {len(line):,} characters; {LONGEST_LINE:,} at most.")
    return line


def append_line(path: Path, record: Record) -> None:
    """Add a record, on the disk before anything else goes on."""
    with path.open("a", encoding="utf-8") as file:
        file.write(as_line(record) + "\n")
        file.flush()
        os.fsync(file.fileno())


def first_by_seed(records: Iterable[Record], version: str) -> dict[int, Record]:
    """Return a version's runs, by seed.

    Where a seed was run twice, the first one counts: nobody may draw again.
    """
    runs: dict[int, Record] = {}
    for record in records:
        if record["version"] == version:
            runs.setdefault(record["seed"], record)
    return runs


def setting(record: Record) -> str:
    """Return on how many threads a run was, in which numbers it multiplied, and on which GPU.

    Times differ with all of them, and accuracies in their last digit: runs of two settings are
    not thrown together.
    """
    gpu = f"on {record['gpu']}" if record.get("gpu") else ""
    return f"{record['threads']} {record.get('precision', '')} {gpu}".strip()


def newest(records: Iterable[Record], row: str) -> list[list[Record]]:
    """Return a row's runs, a list each setting, of its newest version, in the order of seeds.

    A setting has a newest version of its own: a GPU is not there each time that something changed.
    The oldest runs, which do not say in which numbers they multiplied, are history.
    """
    mine = [one for one in records if one["row"] == row and "precision" in one]
    groups = []
    for name in sorted({setting(one) for one in mine}):
        alike = [one for one in mine if setting(one) == name]
        runs = first_by_seed(alike, max(alike, key=lambda one: one["date"])["version"])
        groups.append([run for _, run in sorted(runs.items())])
    return groups


def figure(record: Record, path: str) -> float | None:
    """Return one figure, such as "seconds" or "test.accuracy"; None where it was not measured."""
    section, _, key = path.rpartition(".")
    values = record.get(section) if section else record
    return None if values is None else values.get(key)


def figures(runs: list[Record], path: str) -> list[float | None]:
    """Return one figure of each run."""
    return [figure(run, path) for run in runs]


# ---- goals --------------------------------------------------------------------------------

STATISTICS: dict[str, Callable[[list[float]], float]] = {
    "mean": np.mean,
    "worst": min,
    "longest": max,
    "total": sum,
    "share of 10 among": lambda values: float(np.mean([value == 10 for value in values])),
}
SIGNS = {"≥": operator.ge, "≤": operator.le, ">": operator.gt}


@dataclass(frozen=True)
class Bound:
    """What a statistic of a figure over the seeds must reach."""

    statistic: str
    figure: str
    sign: str
    limit: float

    def __str__(self) -> str:
        name = self.figure.removeprefix("extra.").replace(".", " ")
        limit = f"{self.limit:g}"
        if name.endswith("accuracy"):
            limit = f"{100 * self.limit:.4g} %"
        return f"{self.statistic} {name} {self.sign} {limit}"

    def holds(self, records: list[Record]) -> bool:
        """Return whether the runs reach it; not so where nothing was measured."""
        known = [value for value in figures(records, self.figure) if value is not None]
        if not known:
            return False
        # Rounded, so that the mean of ten times 0.99 is 0.99.
        found = round(float(STATISTICS[self.statistic](known)), 9)
        return SIGNS[self.sign](found, self.limit)


# ---- runs ---------------------------------------------------------------------------------


def parse_seeds(text: str) -> list[int]:
    """Return the seeds of a text such as "0-9" or "0,3,7-9"."""
    seeds: list[int] = []
    for part in text.split(","):
        first, _, last = part.partition("-")
        last = last or first
        if not (first.isdecimal() and last.isdecimal() and int(first) <= int(last)):
            raise argparse.ArgumentTypeError(f"seeds are such as 0-9 or 0,3,7-9, not {text!r}")
        seeds += range(int(first), int(last) + 1)
    return seeds


def at_least(least: int) -> Callable[[str], int]:
    """Return what reads a whole number of at least that from the command line."""

    def parse(text: str) -> int:
        if not text.isdecimal() or int(text) < least:
            raise argparse.ArgumentTypeError(f"a number of at least {least:,}, not {text!r}")
        return int(text)

    return parse


def patch(patches: Sequence[tuple[str, Any]]) -> None:
    """Set attributes of modules and classes, which must be there: a typo would change nothing."""
    for path, value in patches:
        owner, _, name = path.rpartition(".")
        target = pkgutil.resolve_name(owner)
        if not hasattr(target, name):
            raise AttributeError(f"There is no {path} to patch.")
        setattr(target, name, value)


def precision() -> str:
    """Return in which numbers a network multiplies here."""
    return "bfloat16" if has_fast_bfloat16(resolve_device("auto")) else "float32"


def find_data() -> None:
    """Let data sets be found in `shared/data` beside the repository, unless told where they are."""
    beside = ROOT.parent / "shared" / "data"
    if beside.is_dir():
        os.environ.setdefault("SELFSORT_DATA", str(beside))


def circumstances() -> Record:
    """Return when and where a run is made, and with what.

    `jobs` is how many runs there are at once: with more than one, times say little.
    """
    device = resolve_device("auto").type
    return {
        "date": datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
        "machine": machine(),
        "versions": versions(),
        "device": device,
        "gpu": torch.cuda.get_device_name() if device == "cuda" else None,
        "jobs": int(os.environ.get(JOBS, 1)),
        "precision": precision(),
        "threads": torch.get_num_threads(),
        "load_before": round(os.getloadavg()[0], 2),
    }


def run_script(
    script: Path, arguments: Sequence[str], threads: int, jobs: int = 1
) -> Record | None:
    """Return the record that a script prints as its last line; None where it failed.

    `jobs` is how many of them run at once.
    """
    environment = {
        **os.environ,
        JOBS: str(jobs),
        "OMP_NUM_THREADS": str(threads),
        "PYTHONPATH": str(SOURCE.parent),
    }
    command = [sys.executable, str(script), *arguments]
    done = subprocess.run(
        command, cwd=ROOT, env=environment, stdout=subprocess.PIPE, text=True, check=False
    )
    return json.loads(done.stdout.splitlines()[-1]) if done.returncode == 0 else None


@contextlib.contextmanager
def alone() -> Iterator[None]:
    """Let no second benchmark run beside this one, for the sake of its times."""
    folder = os.open(RESULTS, os.O_RDONLY)
    try:
        try:
            fcntl.flock(folder, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise SystemExit("Another benchmark is running: wait for it.") from None
        yield
    finally:
        os.close(folder)


# ---- the version of the method ------------------------------------------------------------


class _WithoutTexts(ast.NodeTransformer):
    """Drop what is only to be read: the docstrings of anything, also those below a constant."""

    def visit_Expr(self, node: ast.Expr) -> ast.Expr | None:
        constant = isinstance(node.value, ast.Constant) and isinstance(node.value.value, str)
        return None if constant else node


def _source_files(source: Path, names: Iterable[str]) -> Iterator[Path]:
    for name in names:
        module = source / f"{name}.py"
        files = [module] if module.is_file() else sorted((source / name).rglob("*.py"))
        if not files:
            raise FileNotFoundError(f"{source / name}: neither a module nor a package.")
        yield from files


def method_version(
    also: Iterable[str] = (), *, without: Collection[str] = (), source: Path = SOURCE
) -> str:
    """Return eight digits that change with the code of the method, not with its comments.

    Nor with which file holds it: what counts is each definition, not where it stands.

    `also` names modules, below the source folder, that a row depends on beside the method;
    `without` those of `METHOD` that it does not use.

    They belong to one minor version of Python: others write the same code as other trees.
    """
    dumped = []
    names = [name for name in METHOD if name not in without]
    for path in _source_files(source, [*names, *also]):
        tree = _WithoutTexts().visit(ast.parse(path.read_text(encoding="utf-8")))
        dumped += [ast.dump(node) for node in tree.body if not _is_import(node)]
    return hashlib.sha256("\n".join(sorted(dumped)).encode()).hexdigest()[:8]


def bottleneck_version(also: Iterable[str] = ()) -> str:
    """Return the same of what a clusterer with a bottleneck depends on: not of sorting."""
    of_clusterers = ("recipes", "estimators/clusterer", "estimators/generative")
    return method_version([*of_clusterers, *also], without=SORTING)


def _is_import(node: ast.stmt) -> bool:
    """Whether a statement only says where names come from, or which a package offers."""
    if isinstance(node, ast.Assign):
        return ast.unparse(node.targets[0]) == "__all__"
    return isinstance(node, (ast.Import, ast.ImportFrom))
