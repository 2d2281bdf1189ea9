"""`selfsort predict`, `suggest`, `report`, and the lists of data sets and recipes."""

from __future__ import annotations

# ruff: noqa: D406, D407, D412 - docstrings here are the text of --help
import shlex
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.table import Table

from selfsort.cli.options import DataArgument, ForceOption, OnError, OnErrorOption, RunArgument

# torch, scikit-learn and the rest are imported inside the commands: help must not wait for them.


def predict(
    run: RunArgument,
    data: DataArgument,
    out: Annotated[Path, typer.Option("--out", metavar="FILE.csv", help="Where the classes go.")],
    abstain: Annotated[
        float | None,
        typer.Option(
            "--abstain",
            metavar="P",
            min=0,
            max=1,
            help="Leave the class empty where its probability is below P.",
        ),
    ] = None,
    on_error: OnErrorOption = OnError.SKIP,
    force: ForceOption = False,
) -> None:
    """Write file (or index), class, probability and outlier of each image to a CSV file.

    Of a named data set, the test images are taken. The column outlier is the share of the training
    images that are less unusual than the image: from 0 to 1.

    Examples:

        selfsort predict runs/mnist-sort photos/ --out classes.csv

        selfsort predict runs/mnist-sort photos/ --out classes.csv --abstain 0.9
    """
    from selfsort.runs import predict_to_csv

    predicted = predict_to_csv(
        run, data, out, abstain=abstain, on_error=on_error.value, force=force
    )
    doubtful = f", {predicted.n_doubtful:,} of them in doubt" if abstain is not None else ""
    print(f"{out}: {predicted.n_images:,} images{doubtful}")


def suggest(
    run: RunArgument,
    data: DataArgument,
    out: Annotated[
        Path, typer.Option("--out", metavar="FILE.csv", help="The file to fill in; see above.")
    ],
    n: Annotated[int, typer.Option("--n", metavar="N", min=1, help="How many images.")] = 10,
    labels: Annotated[
        Path | None,
        typer.Option(
            "--labels",
            metavar="OLD.csv",
            help="Labels there are: their images are not suggested, and the new file takes them "
            "over.",
        ),
    ] = None,
    on_error: OnErrorOption = OnError.SKIP,
    force: ForceOption = False,
) -> None:
    """Choose the images whose label would help most.

    FILE.csv lists them by file (or index), the best first, with an empty column class to be filled
    in; what is left empty stays without a label. FILE.png shows them, each with the class that the
    run guesses. Of a named data set, the training images are taken. In the examples somebody fills
    in todo.csv after the first line.

    Examples:

        selfsort suggest runs/photos-sort photos/ --n 20 --out todo.csv

        selfsort train photos/ --labels todo.csv

        selfsort suggest runs/photos-teach photos/ --labels todo.csv --out more.csv
    """
    from selfsort.runs import suggest_to_csv

    picture = suggest_to_csv(
        run, data, out, n_images=n, labels=labels, on_error=on_error.value, force=force
    )
    print(f"{out}: {n:,} images to look at in {picture}")
    command = shlex.join(["selfsort", "train", data, "--labels", str(out)])
    print(f"Fill in the column class, then: {command}")


def report(run: RunArgument) -> None:
    """Write a run's report.html again from its files.

    Example:

        selfsort report runs/mnist-sort
    """
    from selfsort.report import write_report

    print(f"Report: {write_report(run)}")


def datasets() -> None:
    """List the named data sets and where each was found.

    Example:

        selfsort datasets
    """
    from selfsort.datasets import known_datasets

    table = Table("name", "images", "size", "found", "what it is")
    for info in known_datasets():
        size = "x".join(str(side) for side in info.image_shape)
        count = f"{info.n_train:,} + {info.n_test:,}"
        table.add_row(info.name, count, size, info.found or "not yet", info.description)
    Console().print(table)


def recipes() -> None:
    """List the recipes.

    Example:

        selfsort recipes
    """
    from selfsort.recipes import RECIPES

    table = Table("name", "labels", "what it is")
    for recipe in RECIPES.values():
        table.add_row(recipe.name, recipe.labels, recipe.description)
    Console().print(table)
