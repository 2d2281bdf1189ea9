"""`selfsort train`, `compare` and `bottlenecks`."""

from __future__ import annotations

# ruff: noqa: D406, D407, D412 - docstrings here are the text of --help
import sys
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from selfsort.cli.mistakes import USAGE_ERROR, given
from selfsort.cli.options import (
    CheckpointEveryOption,
    ClassesOption,
    DataArgument,
    DeviceOption,
    EpochsOption,
    FinishOption,
    ForceOption,
    LabelsOption,
    OnError,
    OnErrorOption,
    OptionalDataArgument,
    ResumeOption,
    SeedOption,
    SetOption,
    SizeOption,
    ThreadsOption,
    class_count,
    parameters_of,
)
from selfsort.errors import InputError

if TYPE_CHECKING:
    from selfsort.runs import Request

# torch, scikit-learn and the rest are imported inside the commands: help must not wait for them.


def train(
    context: typer.Context,
    data: OptionalDataArgument = None,
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
    on_error: OnErrorOption = OnError.SKIP,
    sample: Annotated[
        int | None,
        typer.Option(
            "--sample", metavar="N", min=2, help="Learn from N images, drawn at random from DATA."
        ),
    ] = None,
    stream: Annotated[
        bool,
        typer.Option(
            "--stream",
            help="Read the images while learning: for more than memory holds. With labels, or with "
            "a recipe that needs no neighbours.",
        ),
    ] = False,
    settings: SetOption = None,
    force: ForceOption = False,
    checkpoint_every: CheckpointEveryOption = 30,
    resume: ResumeOption = None,
    finish: FinishOption = False,
) -> None:
    """Learn the classes of images, and write a run folder with a report.

    Without labels the default recipe is `sort`, with labels it is `teach`. Ctrl-C ends the
    training with a checkpoint, and where there are few images with a report of what was learned
    so far; --finish writes one of any. The training can go on from there, or from the last
    checkpoint if the program was killed, and ends as if nothing had happened.

    Examples:

        selfsort train mnist

        selfsort train mnist --labels 100 --seed 1

        selfsort train photos/ --labels all --size 32 --out runs/photos

        selfsort train photos/ --classes auto

        selfsort train mnist --recipe question

        selfsort train mnist --recipe joint --set learning_rate=0.02

        selfsort train shards/ --size 32 --sample 100000

        selfsort train huge.npy --stream --labels huge.csv

        selfsort train --resume runs/mnist-sort

        selfsort train --resume runs/mnist-sort --finish
    """
    from selfsort.runs import Request, read_record, resumed
    from selfsort.runs import train as train_run
    from selfsort.runs.folder import drop_checkpoints

    if resume is not None:
        _check_alone(context)
        record = read_record(resume)
        if record.complete:
            drop_checkpoints(resume)  # which a process that was ended just then may have left
            print(f"{resume}: the run is complete.")
            print(f"Report: {resume / 'report.html'}")
            return
        _train(train_run, resumed(resume, record, finish=finish))
        return
    if finish:
        raise USAGE_ERROR("--finish goes with --resume RUN.", ctx=context)
    if data is None:
        raise USAGE_ERROR("Missing argument 'DATA'.", ctx=context)
    request = Request(
        data=data,
        recipe=recipe,
        n_classes=class_count(classes),
        labels=labels,
        epochs=epochs,
        seed=seed,
        out=out,
        device=device,
        threads=threads,
        size=size,
        on_error=on_error.value,
        sample=sample,
        stream=stream,
        force=force,
        parameters=parameters_of(settings),
        checkpoint_every=checkpoint_every,
    )
    _train(train_run, request)


def _check_alone(context: typer.Context) -> None:
    """Raise if more is given than what `--resume` goes with."""
    others = [
        parameter
        for parameter in context.command.params
        if parameter.name not in ("resume", "finish", None) and given(context, str(parameter.name))
    ]
    if others:
        name = others[0].opts[-1]
        name = name if name.startswith("-") else name.upper()
        raise USAGE_ERROR(
            f"--resume goes on with what the run was asked for: leave out {name}.",
            ctx=context,
        )


def _train(train_run: Callable[[Request], Path], request: Request) -> None:
    from selfsort import parallel

    folder = train_run(request)
    if parallel.follows():
        return
    print(f"Report: {folder / 'report.html'}")
    if _was_interrupted(folder) and not request.finish:
        sys.exit(130)


def _was_interrupted(folder: Path) -> bool:
    import json

    result = json.loads((folder / "result.json").read_text(encoding="utf-8"))
    return bool(result["interrupted"])


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
    on_error: OnErrorOption = OnError.SKIP,
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
        data=data,
        labels=labels,
        epochs=epochs,
        device=device,
        threads=threads,
        size=size,
        on_error=on_error.value,
    )
    names = [name.strip() for name in recipes.split(",") if name.strip()]
    if not names:
        raise InputError("--recipes names no recipe: give names separated by commas, such as sort.")
    compare_runs(Comparison(request, names, seeds, folder))
    print((folder / "comparison.md").read_text(encoding="utf-8"))
    print(f"Tables: {folder / 'comparison.csv'}, {folder / 'comparison.md'}")


def sweep(
    data: DataArgument,
    trials: Annotated[int, typer.Option("--trials", metavar="N", min=1, help="How many.")] = 20,
    labels: LabelsOption = None,
    epochs: EpochsOption = None,
    seed: SeedOption = 0,
    out: Annotated[
        Path | None, typer.Option("--out", metavar="DIR", help="Default: runs/sweep-DATA.")
    ] = None,
    device: DeviceOption = "auto",
    threads: ThreadsOption = None,
    size: SizeOption = None,
    on_error: OnErrorOption = OnError.SKIP,
) -> None:
    """Search for the multipliers and the learning rate of the recipe `joint`.

    Trials are judged by a fifth of the labelled training images, held out for that; the test
    images are not looked at. Those that are below the median after an epoch are given up. The
    search is kept in DIR/study.db: after a kill or Ctrl-C the same command goes on, up to N trials
    in all. Writes the trials as CSV, Markdown and a picture, and the command for the best.

    Examples:

        selfsort sweep mnist --trials 30

        selfsort sweep digits --size 16 --trials 10 --epochs 3 --out runs/sweep
    """
    from selfsort.runs import Request, Sweep
    from selfsort.runs import sweep as search
    from selfsort.runs.trials import PICTURE, TABLE, TRIALS

    request = Request(
        data=data,
        labels=labels,
        epochs=epochs,
        seed=seed,
        device=device,
        threads=threads,
        size=size,
        on_error=on_error.value,
    )
    folder = search(Sweep(request, trials, out or Path("runs") / f"sweep-{Path(data).stem}"))
    print((folder / TABLE).read_text(encoding="utf-8"))
    print(f"Trials: {folder / TRIALS}, {folder / PICTURE}")


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
    seed: SeedOption = 0,
    out: Annotated[
        Path | None, typer.Option("--out", metavar="DIR", help="Default: runs/bottlenecks-DATA.")
    ] = None,
    device: DeviceOption = "auto",
    threads: ThreadsOption = None,
    size: SizeOption = None,
    classes: ClassesOption = None,
    on_error: OnErrorOption = OnError.SKIP,
) -> None:
    """Compare bottlenecks with the same encoder and decoder, on black and white images.

    Writes a page with accuracy without labels and with 100, likelihood, reconstructions,
    prototypes and samples, which a classifier that learns from all labels judges. Runs that are
    complete in the folder are not repeated.

    Examples:

        selfsort bottlenecks digits

        selfsort bottlenecks mnist --recipes dvae,gumbolt,vq --epochs 50

        selfsort bottlenecks digits --with mine.py:MyBottleneck
    """
    from selfsort.runs import BottleneckComparison, Request, compare_bottlenecks
    from selfsort.runs.bottlenecks import COMPARED

    folder = out or Path("runs") / f"bottlenecks-{Path(data).stem}"
    count = class_count(classes)
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
        on_error=on_error.value,
    )
    names = [name.strip() for name in (recipes or "").split(",") if name.strip()]
    compare_bottlenecks(BottleneckComparison(request, names or COMPARED, own or [], folder))
    print((folder / "bottlenecks.md").read_text(encoding="utf-8"))
    print(f"Page: {folder / 'bottlenecks.html'}")
