"""`selfsort card` and `selfsort push`: what others need to know of a model, and the model."""

from __future__ import annotations

# ruff: noqa: D406, D407, D412 - docstrings here are the text of --help
from pathlib import Path
from typing import Annotated

import typer

from selfsort.cli.options import ForceOption, RunArgument

# torch, scikit-learn and the rest are imported inside the commands: help must not wait for them.


def card(
    run: RunArgument,
    out: Annotated[
        Path | None,
        typer.Option("--out", metavar="FILE.md", help="Write it there instead of printing it."),
    ] = None,
    licence: Annotated[
        str | None,
        typer.Option(
            "--licence", metavar="L", help="Of the weights, as the hub writes it: mit, cc-by-4.0, …"
        ),
    ] = None,
    force: ForceOption = False,
) -> None:
    """Print a run's model card: data, classes, figures, limits, licence, how it was chosen.

    The card is Markdown with the header that the Hugging Face Hub reads. As README.md in the run's
    folder it goes along with `selfsort push`, after you have read and completed it.

    Examples:

        selfsort card runs/mnist-sort

        selfsort card runs/mnist-sort --licence cc-by-4.0 --out runs/mnist-sort/README.md
    """
    from selfsort.checkpoints import write_text
    from selfsort.hub import model_card
    from selfsort.runs.predicting import check_new_file

    if out is not None:
        check_new_file(out, force=force)
    text = model_card(run, licence=licence)
    if out is None:
        print(text, end="" if text.endswith("\n") else "\n")
        return
    write_text(out, text)
    print(f"Card: {out}")


def push(
    run: RunArgument,
    repository: Annotated[
        str, typer.Argument(metavar="USER/NAME", help="On the Hugging Face Hub; made if missing.")
    ],
    private: Annotated[
        bool | None,
        typer.Option("--private/--public", help="Of a new repository; default: as is usual there."),
    ] = None,
) -> None:
    """Upload a run's model and card to the Hugging Face Hub.

    Only config.json, model.safetensors, their checksums, README.md (made where the run has none)
    and prototypes.png are uploaded, in one commit; no image and no path of yours. Log in first,
    with `hf auth login` or the variable HF_TOKEN.

    Examples:

        selfsort push runs/mnist-sort user/mnist-sort --private
    """
    from selfsort.hub import push_to_hub

    print(f"Uploaded: {push_to_hub(run, repository, private=private)}")
