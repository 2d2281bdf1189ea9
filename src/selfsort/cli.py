"""The command line: training, prediction, suggestions, comparisons, and two lists."""

from __future__ import annotations

# ruff: noqa: D406, D407, D412 - docstrings here are the text of --help
import os
import shlex
import sys
from pathlib import Path
from typing import Annotated, Any, Literal

import typer
from rich.console import Console
from rich.table import Table

from selfsort.errors import InputError, NotFiniteError, SelfsortError
from selfsort.version import __version__

# torch, scikit-learn and the rest are imported inside the commands: help must not wait for them.

USAGE_ERROR: Any = typer.BadParameter.__mro__[1]
"""Click's UsageError, which typer carries with it but does not export."""

app = typer.Typer(
    name="selfsort",
    add_completion=False,
    rich_markup_mode="markdown",
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)

DataArgument = Annotated[
    str,
    typer.Argument(
        metavar="DATA",
        help="A named data set (see `selfsort datasets`), a folder of PNG/JPEG, .npy, .npz or idx.",
    ),
]
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
    int | None, typer.Option("--threads", metavar="T", min=1, help="Threads on the CPU.")
]
SizeOption = Annotated[
    int | None,
    typer.Option("--size", metavar="S", min=8, help="Bring every image to S×S pixels."),
]
ForceOption = Annotated[bool, typer.Option("--force", help="Replace what is there.")]


def _print_version(wanted: bool) -> None:
    if wanted:
        print(f"selfsort {__version__}")
        raise typer.Exit


@app.callback(invoke_without_command=True)
def selfsort(
    context: typer.Context,
    version: Annotated[
        bool, typer.Option("--version", callback=_print_version, is_eager=True)
    ] = False,
) -> None:
    """Images that sort themselves: an autoencoder whose bottleneck is the class.

    Examples:

        selfsort train digits

        selfsort train photos/ --classes 5 --size 32

        selfsort predict runs/photos-sort new-photos/ --out classes.csv
    """
    if context.invoked_subcommand is None:
        print(context.get_help())


@app.command()
def train(
    data: DataArgument,
    classes: ClassesOption = None,
    labels: LabelsOption = None,
    recipe: Annotated[
        str | None,
        typer.Option("--recipe", metavar="R", help="How to train: see `selfsort recipes`."),
    ] = None,
    epochs: EpochsOption = None,
    seed: Annotated[
        int,
        typer.Option(
            "--seed", metavar="S", min=0, max=2**32 - 1, help="Start of all random numbers."
        ),
    ] = 0,
    out: Annotated[
        Path | None, typer.Option("--out", metavar="DIR", help="Default: runs/DATA-RECIPE.")
    ] = None,
    device: DeviceOption = "auto",
    threads: ThreadsOption = None,
    size: SizeOption = None,
    force: ForceOption = False,
) -> None:
    """Learn the classes of images, and write a run folder with a report.

    Without labels the default recipe is `sort`, with labels it is `teach`. Ctrl-C ends the
    training with what was learned so far.

    Examples:

        selfsort train mnist

        selfsort train mnist --labels 100 --seed 1

        selfsort train photos/ --labels all --size 32 --out runs/photos

        selfsort train photos/ --classes auto

        selfsort train mnist --recipe question
    """
    from selfsort.runs import Request
    from selfsort.runs import train as train_run

    request = Request(
        data=data,
        recipe=recipe,
        n_classes=_class_count(classes),
        labels=labels,
        epochs=epochs,
        seed=seed,
        out=out,
        device=device,
        threads=threads,
        size=size,
        force=force,
    )
    folder = train_run(request)
    print(f"Report: {folder / 'report.html'}")
    if _was_interrupted(folder):
        sys.exit(130)


def _class_count(classes: str | None) -> int | Literal["auto"] | None:
    if classes is None or classes == "auto":
        return None if classes is None else "auto"
    return int(classes)


def _was_interrupted(folder: Path) -> bool:
    import json

    result = json.loads((folder / "result.json").read_text(encoding="utf-8"))
    return bool(result["interrupted"])


@app.command()
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

    predicted = predict_to_csv(run, data, out, abstain=abstain, force=force)
    doubtful = f", {predicted.n_doubtful:,} of them in doubt" if abstain is not None else ""
    print(f"{out}: {predicted.n_images:,} images{doubtful}")


@app.command()
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

    picture = suggest_to_csv(run, data, out, n_images=n, labels=labels, force=force)
    print(f"{out}: {n:,} images to look at in {picture}")
    command = shlex.join(["selfsort", "train", data, "--labels", str(out)])
    print(f"Fill in the column class, then: {command}")


@app.command()
def report(run: RunArgument) -> None:
    """Write a run's report.html again from its files.

    Example:

        selfsort report runs/mnist-sort
    """
    from selfsort.report import write_report

    print(f"Report: {write_report(run)}")


@app.command()
def compare(
    data: DataArgument,
    recipes: Annotated[
        str, typer.Option("--recipes", metavar="R,R,…", help="Names, separated by commas.")
    ],
    seeds: Annotated[
        int, typer.Option("--seeds", metavar="N", min=1, help="Runs a recipe: seeds 0 to N - 1.")
    ] = 3,
    labels: LabelsOption = None,
    epochs: EpochsOption = None,
    out: Annotated[
        Path | None, typer.Option("--out", metavar="DIR", help="Default: runs/compare-DATA.")
    ] = None,
    device: DeviceOption = "auto",
    threads: ThreadsOption = None,
    size: SizeOption = None,
) -> None:
    """Run several recipes with several seeds; write the table as CSV and Markdown.

    Runs that are complete in the folder are not repeated.

    Example:

        selfsort compare mnist --recipes question,joint,sort --seeds 3
    """
    from selfsort.runs import Comparison, Request
    from selfsort.runs import compare as compare_runs

    folder = out or Path("runs") / f"compare-{Path(data).stem}"
    request = Request(
        data=data, labels=labels, epochs=epochs, device=device, threads=threads, size=size
    )
    names = [name.strip() for name in recipes.split(",") if name.strip()]
    if not names:
        raise InputError("--recipes names no recipe: give names separated by commas, such as sort.")
    compare_runs(Comparison(request, names, seeds, folder))
    print((folder / "comparison.md").read_text(encoding="utf-8"))
    print(f"Tables: {folder / 'comparison.csv'}, {folder / 'comparison.md'}")


@app.command()
def bottlenecks(
    data: DataArgument,
    recipes: Annotated[
        str | None,
        typer.Option("--recipes", metavar="R,R,…", help="Default: one for each bottleneck."),
    ] = None,
    own: Annotated[
        list[str] | None,
        typer.Option(
            "--with",
            metavar="FILE.py:CLASS",
            help="A bottleneck of your own, checked first; may be repeated. The file is run.",
        ),
    ] = None,
    epochs: EpochsOption = None,
    seed: Annotated[int, typer.Option("--seed", metavar="S", min=0, max=2**32 - 1)] = 0,
    out: Annotated[
        Path | None, typer.Option("--out", metavar="DIR", help="Default: runs/bottlenecks-DATA.")
    ] = None,
    device: DeviceOption = "auto",
    threads: ThreadsOption = None,
    size: SizeOption = None,
    classes: ClassesOption = None,
) -> None:
    """Compare bottlenecks with the same encoder and decoder, on black and white images.

    Writes a page with accuracy without labels and with 100, likelihood, reconstructions,
    prototypes and samples. Runs that are complete in the folder are not repeated.

    Examples:

        selfsort bottlenecks digits

        selfsort bottlenecks mnist --recipes dvae,gumbolt,vq --epochs 50

        selfsort bottlenecks digits --with mine.py:MyBottleneck
    """
    from selfsort.runs import BottleneckComparison, Request, compare_bottlenecks
    from selfsort.runs.bottlenecks import COMPARED

    folder = out or Path("runs") / f"bottlenecks-{Path(data).stem}"
    count = _class_count(classes)
    if count == "auto":
        raise InputError("--classes auto does not go with these recipes: give a number.")
    request = Request(
        data=data,
        n_classes=count,
        epochs=epochs,
        seed=seed,
        device=device,
        threads=threads,
        size=size,
    )
    names = [name.strip() for name in (recipes or "").split(",") if name.strip()]
    compare_bottlenecks(BottleneckComparison(request, names or COMPARED, own or [], folder))
    print((folder / "bottlenecks.md").read_text(encoding="utf-8"))
    print(f"Page: {folder / 'bottlenecks.html'}")


@app.command()
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


@app.command()
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


def _fail(message: str, code: int) -> None:
    """Print one line to standard error and exit."""
    line = " ".join(str(message).split())
    print(f"selfsort: {line}", file=sys.stderr)
    sys.exit(code)


def _usage_message(error: Any) -> str:
    """Return what was wrong with the command line, and the value that was given, if it was one."""
    message = error.format_message()
    full_stop = "" if message.endswith((".", "?", "!")) else "."
    details = getattr(error.__cause__, "errors", None)  # pydantic's, where it read the value
    given = f" Got '{details()[0]['input']}' instead." if details else ""
    return f"{message}{full_stop}{given}"


def main() -> None:
    """Run the command line; every error a person can cause is one line."""
    try:
        code = app(prog_name="selfsort", standalone_mode=False)
    except USAGE_ERROR as error:
        path = error.ctx.command_path if error.ctx else "selfsort"
        _fail(f"{_usage_message(error)} See '{path} --help'.", 2)
    except NotFiniteError as error:
        _fail(str(error), 1)
    except SelfsortError as error:
        _fail(str(error), 2)
    except (KeyboardInterrupt, typer.Abort):
        _fail("interrupted.", 130)
    except BrokenPipeError:  # whoever read the output, such as `head`, has seen enough
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(1)
    except OSError as error:
        where = f"{error.filename}: " if error.filename else ""
        _fail(f"{where}{error.strerror or error}. Check the path and the free space.", 1)
    except MemoryError:
        _fail("There is not enough memory: use fewer images, or a smaller --size.", 1)
    else:
        if code == 130:  # what typer makes of a KeyboardInterrupt
            _fail("interrupted.", 130)
        sys.exit(code if isinstance(code, int) else 0)
