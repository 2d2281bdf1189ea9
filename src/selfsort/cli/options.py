"""Arguments and options that several commands share."""

from __future__ import annotations

import enum
import json
import math
from pathlib import Path
from typing import Annotated, Any, Literal

import typer

from selfsort.errors import InputError

_DATA: Any = typer.Argument(
    metavar="DATA",
    help="A named data set (see `selfsort datasets`), a PNG/JPEG file or a folder of them, .npy, "
    ".npz or idx; where images are read in parts, also .parquet, .arrow or .tar files.",
)
DataArgument = Annotated[str, _DATA]
OptionalDataArgument = Annotated[str | None, _DATA]
RunArgument = Annotated[Path, typer.Argument(metavar="RUN", help="Folder of a run.")]


def _check_classes(text: str | None) -> str | None:
    if text in (None, "auto") or (text.isascii() and text.isdecimal() and int(text) >= 2):
        return text
    raise typer.BadParameter(f"give a whole number from 2 on, or auto. Got '{text}' instead.")


ClassesOption = Annotated[
    str | None,
    typer.Option(
        "--classes",
        metavar="K|auto",
        callback=_check_classes,
        help="How many classes; auto: as many as are found in the images, without labels.",
    ),
]
LabelsOption = Annotated[
    str | None,
    typer.Option(
        "--labels",
        metavar="none|all|N|FILE.csv",
        help="Labels to learn from: none, all, N of them spread over the classes, or a CSV file "
        "with the columns file (or index) and class.",
    ),
]
EpochsOption = Annotated[
    int | None,
    typer.Option("--epochs", metavar="E", min=1, help="Default: what the recipe and data need."),
]
DeviceOption = Annotated[
    str, typer.Option("--device", metavar="D", help="auto, cpu, cuda, cuda:1, …")
]
ThreadsOption = Annotated[
    int | None,
    typer.Option(
        "--threads",
        metavar="T",
        min=1,
        help="Threads on the CPU: fewer than there are cores if other programs are busy.",
    ),
]
SizeOption = Annotated[
    int | None,
    typer.Option("--size", metavar="S", min=8, help="Bring every image to S×S pixels."),
]
SeedOption = Annotated[int, typer.Option("--seed", metavar="S", min=0, max=2**32 - 1)]
ForceOption = Annotated[bool, typer.Option("--force", help="Replace what is there.")]


class OnError(enum.StrEnum):
    """What a picture that cannot be read does."""

    STOP = "stop"
    SKIP = "skip"


OnErrorOption = Annotated[
    OnError,
    typer.Option(
        "--on-error",
        help="What to do about a picture that cannot be read: leave it out and list it, or stop.",
    ),
]


class Engine(enum.StrEnum):
    """Who makes the parts of a prediction."""

    LOCAL = "local"
    RAY = "ray"


def _check_seconds(seconds: float) -> float:
    if math.isfinite(seconds) and seconds >= 0:
        return seconds
    raise typer.BadParameter(f"give seconds, 0 or more. Got '{seconds:g}' instead.")


CheckpointEveryOption = Annotated[
    float,
    typer.Option(
        "--checkpoint-every",
        metavar="SECONDS",
        callback=_check_seconds,
        help="How often to keep the training on the disk; 0: after each step.",
    ),
]
ResumeOption = Annotated[
    Path | None,
    typer.Option(
        "--resume", metavar="RUN", help="Go on with a run that was ended, in place of DATA."
    ),
]
FinishOption = Annotated[
    bool,
    typer.Option("--finish", help="With --resume: only to a report of what was learned so far."),
]


SetOption = Annotated[
    list[str] | None,
    typer.Option(
        "--set",
        metavar="NAME=VALUE",
        help="A parameter of the recipe's estimator, such as learning_rate=0.02; may be repeated.",
    ),
]


def parameters_of(settings: list[str] | None) -> dict[str, Any]:
    """Return what `--set` says: numbers, true, false and null as JSON has them, else text.

    Examples
    --------
    >>> parameters_of(["learning_rate=0.02", "schedule=cosine"])
    {'learning_rate': 0.02, 'schedule': 'cosine'}
    """
    found = {}
    for setting in settings or ():
        name, sign, text = setting.partition("=")
        if not (name and sign):
            raise InputError(f"--set {setting}: give a name and a value, as learning_rate=0.02.")
        try:
            found[name] = json.loads(text)
        except ValueError:
            found[name] = text
    return found


def class_count(classes: str | None) -> int | Literal["auto"] | None:
    """Return what `--classes` says: a number, "auto", or None where it is not given."""
    if classes is None or classes == "auto":
        return None if classes is None else "auto"
    return int(classes)
