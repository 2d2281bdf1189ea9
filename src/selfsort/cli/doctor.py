"""`selfsort doctor`: why an autoencoder does not learn what it should."""

from __future__ import annotations

# ruff: noqa: D406, D407, D412 - docstrings here are the text of --help
import enum
import math
import shlex
import sys
import textwrap
from pathlib import Path
from typing import Annotated

import typer

from selfsort.cli.options import (
    DataArgument,
    OnError,
    OnErrorOption,
    SeedOption,
    SizeOption,
    ThreadsOption,
)


class Optimizer(enum.StrEnum):
    """Optimizers that can be named on the command line."""

    ADAM = "adam"
    SGD = "sgd"


def _numbers(text: str | None) -> str | None:
    if text is not None:
        try:
            mean, deviation = (float(part) for part in text.split(","))
        except ValueError:
            mean, deviation = math.nan, math.nan
        if not (math.isfinite(mean) and math.isfinite(deviation) and deviation > 0):
            raise typer.BadParameter(
                f"give mean and deviation, such as 0.1307,0.3081. Got '{text}' instead."
            )
    return text


def _rate(value: float | None) -> float | None:
    if value is None or (math.isfinite(value) and value > 0):
        return value
    raise typer.BadParameter(f"give a number above 0. Got '{value:g}' instead.")


def doctor(
    where: Annotated[
        str,
        typer.Argument(
            metavar="FILE.py:CLASS",
            help="A torch.nn.Module that needs no arguments, or a function that returns one. The "
            "file is run.",
        ),
    ],
    data: DataArgument,
    normalise: Annotated[
        str | None,
        typer.Option(
            "--normalise",
            metavar="MEAN,STD",
            callback=_numbers,
            help="Give the module (images - MEAN) / STD, images in [0, 1].",
        ),
    ] = None,
    optimizer: Annotated[
        Optimizer | None, typer.Option("--optimizer", help="Default: adam, or the file's own.")
    ] = None,
    lr: Annotated[
        float | None,
        typer.Option("--lr", metavar="R", callback=_rate, help="Learning rate. Default: 0.001."),
    ] = None,
    out: Annotated[
        Path | None,
        typer.Option(
            "--out", metavar="FILE.html", help="The page. Default: runs/doctor-CLASS.html."
        ),
    ] = None,
    seed: SeedOption = 0,
    seconds: Annotated[
        float, typer.Option("--seconds", metavar="T", min=1, help="Time limit.")
    ] = 600,
    size: SizeOption = None,
    threads: ThreadsOption = None,
    on_error: OnErrorOption = OnError.SKIP,
) -> None:
    """Find out why an autoencoder does not learn what it should.

    A copy of your PyTorch module is trained for some hundred steps, in a process of its own.
    Whatever is wrong is told with a figure, the reason, and what to write instead: outputs that
    cannot reach the images, ReLU before softmax, dead or saturated units, gradients that get
    lost, a code that says nothing, a wrong learning rate, a term of the loss that is drowned.

    The file may have functions named `prepare(images)`, `loss(output, images)` or
    `loss(output, images, labels)`, and `optimizer(parameters)`; without them the images are in
    [0, 1], the loss is the mean squared error, and the optimizer is Adam.

    Exit code: 0 if nothing was found, 1 if something was.

    Examples:

        selfsort doctor mine.py:Net mnist

        selfsort doctor mine.py:Net photos/ --size 32 --normalise 0.5,0.5 --optimizer sgd --lr 0.01
    """
    from selfsort.doctor.visiting import Visit, visit

    name = where.rpartition(":")[2]
    page = out or Path("runs") / f"doctor-{name}.html"
    mean_and_deviation = None
    if normalise is not None:
        mean, deviation = (float(part) for part in normalise.split(","))
        mean_and_deviation = (mean, deviation)
    found = visit(
        Visit(
            where,
            data,
            page,
            normalise=mean_and_deviation,
            optimizer=None if optimizer is None else optimizer.value,
            lr=lr,
            size=size,
            threads=threads,
            seed=seed,
            seconds=seconds,
            on_error=on_error.value,
            command=shlex.join(["selfsort", *sys.argv[1:]]),
        )
    )
    findings, n_checks = found["findings"], found["figures"]["n_checks"]
    if not findings:
        print(f"{found['name']}: {n_checks} checks found nothing.")
    for number, finding in enumerate(findings, 1):
        print(f"{number}. {finding['title']}")
        for text in (finding["evidence"], finding["reason"]):
            print(textwrap.fill(text, 96, initial_indent="   ", subsequent_indent="   "))
        print(textwrap.indent(finding["fix"], "     | "), end="\n\n")
    print(f"Page: {page}")
    raise typer.Exit(1 if findings else 0)
