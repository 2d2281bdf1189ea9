"""`selfsort predict`, `suggest`, `report`, and the lists of data sets and recipes."""

from __future__ import annotations

# ruff: noqa: D406, D407, D412 - docstrings here are the text of --help
import shlex
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.table import Table

from selfsort.cli.mistakes import USAGE_ERROR, given
from selfsort.cli.options import (
    DataArgument,
    Engine,
    ForceOption,
    OnError,
    OnErrorOption,
    RunArgument,
)

# torch, scikit-learn and the rest are imported inside the commands: help must not wait for them.


def predict(
    context: typer.Context,
    run: RunArgument,
    data: DataArgument,
    out: Annotated[
        str,
        typer.Option(
            "--out",
            metavar="FILE.csv|DIR",
            help="Where the classes go: a name with an ending is a CSV file, any other a folder "
            "of Parquet parts, and so is one that ends with / or is a folder already.",
        ),
    ],
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
    engine: Annotated[
        Engine, typer.Option("--engine", help="Parts: made by this process, or by Ray's.")
    ] = Engine.LOCAL,
    part_size: Annotated[
        int, typer.Option("--part-size", metavar="N", min=1, help="Parts: images in each.")
    ] = 65_536,
    workers: Annotated[
        int | None,
        typer.Option(
            "--workers", metavar="N", min=1, help="Parts: Ray's processes. Default: what fits."
        ),
    ] = None,
    threads: Annotated[
        int | None,
        typer.Option("--threads", metavar="T", min=1, help="Parts: threads of each process."),
    ] = None,
    column: Annotated[
        str | None,
        typer.Option("--column", metavar="NAME", help="Parts: column of images in Parquet, Arrow."),
    ] = None,
) -> None:
    """Write file (or index), class, probability and outlier of each image.

    Into a CSV file, or, where there are more images than fit into memory, into a folder of Parquet
    parts. The parts need the extra data. DATA may then also be Parquet, Arrow, or WebDataset's tar
    shards, or a folder of them. The same command again goes on where it was ended or killed: parts
    that are there are kept.

    Of a named data set, the test images are taken. The column outlier is the share of the training
    images that are less unusual than the image: from 0 to 1.

    Examples:

        selfsort predict runs/mnist-sort photos/ --out classes.csv

        selfsort predict runs/mnist-sort photos/ --out classes.csv --abstain 0.9

        selfsort predict runs/mnist-sort picture.png --out class.csv

        selfsort predict runs/mnist-sort images.npy --out classes/

        selfsort predict runs/mnist-sort shards/ --out classes/ --engine ray --workers 4 --threads 2
    """
    if not _is_folder(out):
        _check_no_part_options(context)
        from selfsort.runs import predict_to_csv

        predicted = predict_to_csv(
            run, data, Path(out), abstain=abstain, on_error=on_error.value, force=force
        )
        images = _counted(predicted.n_images, "image")
        print(f"{out}: {images}{_doubtful(abstain, predicted.n_doubtful)}")
        return
    from selfsort.runs import predict_in_parts

    made = predict_in_parts(
        run,
        data,
        out,
        part_size=part_size,
        engine=engine.value,
        workers=workers,
        threads=threads,
        column=column,
        abstain=abstain,
        on_error=on_error.value,
        force=force,
    )
    images, parts = _counted(made.n_images, "image"), _counted(made.n_parts, "part")
    print(f"{out}: {images} in {parts}{_doubtful(abstain, made.n_doubtful)}")


def _counted(n: int, noun: str) -> str:
    return f"{n:,} {noun}{'' if n == 1 else 's'}"


def _is_folder(out: str) -> bool:
    """Return whether `--out` means a folder of parts, by the one rule that its help tells."""
    path = Path(out)
    return out.endswith("/") or path.is_dir() or not (path.suffix or path.exists())


def _check_no_part_options(context: typer.Context) -> None:
    for parameter in context.command.params:
        if parameter.name in PART_OPTIONS and given(context, str(parameter.name)):
            raise USAGE_ERROR(
                f"{parameter.opts[-1]} goes with a folder as --out, such as classes/.", ctx=context
            )


PART_OPTIONS = ("engine", "part_size", "workers", "threads", "column")


def _doubtful(abstain: float | None, n_doubtful: int) -> str:
    return f", {n_doubtful:,} of them in doubt" if abstain is not None else ""


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
    print(f"{out}: {_counted(n, 'image')} to look at in {picture}")
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
