"""`selfsort export`: a run's model for other programs."""

from __future__ import annotations

# ruff: noqa: D406, D407, D412 - docstrings here are the text of --help
from pathlib import Path
from typing import Annotated

import typer

from selfsort.cli.options import ForceOption, RunArgument


def export(
    run: RunArgument,
    to: Annotated[
        Path,
        typer.Option("--to", metavar="FILE", help="Its ending decides: .onnx, .pt2 or .html."),
    ],
    runtime: Annotated[
        Path | None,
        typer.Option(
            "--runtime", metavar="DIR", help="For .html: the npm package onnxruntime-web."
        ),
    ] = None,
    force: ForceOption = False,
) -> None:
    """Write a run's model into one file that other programs run.

    .onnx is for ONNX runtimes in any language, .pt2 for torch.export.load, and .html is a page that
    classifies drawings and pictures in a browser, without a server. Resizing, padding and scaling
    are inside, so that every program gives the classes and probabilities of predict. The file is
    compared with the run before it gets its name.

    Examples:

        selfsort export runs/mnist-teach --to model.onnx

        selfsort export runs/mnist-teach --to model.pt2

        selfsort export runs/mnist-teach --to draw.html --runtime node_modules/onnxruntime-web
    """
    from selfsort.runs import export_run

    exported = export_run(run, to, runtime=runtime, force=force)
    size = exported.n_bytes / 1e6
    print(f"{to}: {size:.1f} MB, differs from the run by at most {exported.difference:.0e}")
