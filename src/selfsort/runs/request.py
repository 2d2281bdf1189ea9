"""What a run was asked for, and `run.json`, from which it can go on."""

from __future__ import annotations

import dataclasses
import os
import shlex
import sys
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import pydantic
import torch

from selfsort.checkpoints import to_json, write_text
from selfsort.errors import InputError
from selfsort.estimators.checkpoint import EVERY
from selfsort.images.folders import OnError
from selfsort.runs.folder import RECORD
from selfsort.version import __version__


@dataclass(frozen=True)
class Request:
    """What `selfsort train` was asked for.

    Attributes
    ----------
    data : str
        A named data set or a path.
    recipe : str or None
        None: the default for the labels.
    n_classes : int, "auto" or None
        "auto": as many as the recipe 'sort' finds in the images; None: as many as the data has
        labels for, else 10.
    labels : str or None
        "none", "all", a number, or a CSV file; None: what the recipe learns from.
    epochs, device, threads, size : optional
        As the command line has them.
    seed : int
    out : Path or None
        None: ``runs/<data>-<recipe>``, numbered where that exists.
    on_error : {"stop", "skip"}
        What a picture that cannot be read does.
    sample : int or None
        Learn from so many images, drawn at random; None: from all.
    stream : bool
        Read the images while they are learned from.
    force : bool
        Replace an earlier run.
    parameters : dict
        Further parameters of the estimator.
    checkpoint_every : float
        Seconds between two checkpoints.
    resume : bool
        Go on with the unfinished run in `out`.
    finish : bool
        Go on only to a report of what was learned so far.
    """

    data: str
    recipe: str | None = None
    n_classes: int | Literal["auto"] | None = None
    labels: str | None = None
    epochs: int | None = None
    seed: int = 0
    out: Path | None = None
    device: str = "auto"
    threads: int | None = None
    size: int | None = None
    on_error: OnError = "skip"
    sample: int | None = None
    stream: bool = False
    force: bool = False
    parameters: dict[str, Any] = field(default_factory=dict)
    checkpoint_every: float = EVERY
    resume: bool = False
    finish: bool = False


class Record(pydantic.BaseModel):
    """What ``run.json`` holds: the request as it can be repeated from anywhere."""

    model_config = pydantic.ConfigDict(extra="forbid")

    format: Literal[1] = 1
    selfsort: str
    command: str
    complete: bool = False
    data: str
    recipe: str
    n_classes: pydantic.PositiveInt | Literal["auto"] | None
    labels: str | None
    epochs: pydantic.PositiveInt | None
    seed: pydantic.NonNegativeInt
    device: str
    threads: pydantic.PositiveInt | None
    threads_used: pydantic.PositiveInt
    size: pydantic.PositiveInt | None
    on_error: OnError
    sample: pydantic.PositiveInt | None = None
    stream: bool = False
    parameters: dict[str, Any]
    checkpoint_every: pydantic.NonNegativeFloat


def absolute(text: str | None) -> str | None:
    """Return a path that exists as seen from everywhere; anything else as it is."""
    return os.path.abspath(text) if text is not None and os.path.exists(text) else text


def asked(request: Request) -> dict[str, Any]:
    """Return what decides, beside recipe and seed, what a run learns."""
    names = ("data", "n_classes", "labels", "epochs", "size", "on_error", "sample", "stream")
    wanted = {name: getattr(request, name) for name in names}
    return wanted | {"data": absolute(request.data), "labels": absolute(request.labels)}


def record_of(request: Request, recipe: str) -> Record:
    """Return the record of a run that begins now."""
    names = ("seed", "device", "threads", "parameters", "checkpoint_every")
    values = asked(request) | {name: getattr(request, name) for name in names}
    try:
        return Record(
            selfsort=__version__,
            command=shlex.join(["selfsort", *sys.argv[1:]]),
            recipe=recipe,
            threads_used=request.threads or torch.get_num_threads(),
            **values,
        )
    except pydantic.ValidationError as error:
        first = error.errors()[0]
        name = str(first["loc"][0])
        raise InputError(f"{name}: {first['msg']}. Got {values.get(name)!r} instead.") from error


def write_record(folder: Path, record: Record) -> None:
    """Write ``run.json``."""
    write_text(folder / RECORD, to_json(record.model_dump()))


def read_record(folder: Path) -> Record:
    """Return what ``run.json`` holds.

    Raises
    ------
    InputError
        If there is none, or it cannot be used.
    """
    path = folder / RECORD
    again = "Start the training again, with another --out."
    try:
        return Record.model_validate_json(path.read_bytes())
    except FileNotFoundError:
        raise InputError(
            f"{folder}: no run to go on with (there is no {RECORD}). Give a folder that "
            "'selfsort train DATA --out DIR' has written."
        ) from None
    except OSError as error:
        raise InputError(f"{path}: cannot be read ({error.strerror}). {again}") from error
    except pydantic.ValidationError as error:
        first = error.errors()[0]
        where = " ".join(".".join(map(str, first["loc"])).split()) or "file"
        raise InputError(f"{path}: is damaged ({where}: {first['msg']}). {again}") from error


def resumed(folder: Path, record: Record, *, finish: bool = False) -> Request:
    """Return the request that goes on with a run."""
    shared = {each.name for each in dataclasses.fields(Request)} & set(Record.model_fields)
    known = {name: getattr(record, name) for name in shared}
    return Request(**known, out=folder, resume=True, finish=finish)


def is_unfinished(request: Request, recipe: str) -> bool:
    """Return whether the folder holds a run of the same request that can be gone on with."""
    assert request.out is not None  # noqa: S101
    try:
        found = read_record(request.out)
    except InputError:
        return False
    apart = {"command", "complete", "threads_used", "checkpoint_every"}
    wanted = record_of(request, recipe).model_dump(exclude=apart)
    return not found.complete and found.model_dump(exclude=apart) == wanted
