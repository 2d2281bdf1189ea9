"""`selfsort page`: look at the classes in a browser, name and correct them."""

from __future__ import annotations

# ruff: noqa: D406, D407, D412 - docstrings here are the text of --help
import importlib.util
from typing import Annotated

import typer

from selfsort.cli.options import RunArgument
from selfsort.errors import InputError


def page(
    run: RunArgument,
    port: Annotated[
        int, typer.Option("--port", metavar="N", min=0, max=65535, help="0: a free one.")
    ] = 0,
    host: Annotated[
        str,
        typer.Option("--host", metavar="ADDRESS", help="Another than this one needs --token."),
    ] = "127.0.0.1",
    token: Annotated[
        str | None,
        typer.Option("--token", metavar="SECRET", help="In place of one that is drawn."),
    ] = None,
    browser: Annotated[
        bool, typer.Option("--browser/--no-browser", help="Open a browser on the page.")
    ] = True,
) -> None:
    """Open a page to look at a run's classes, name them and correct them.

    Name classes, merge and split them, move images, label the suggested ones, let the network
    learn from your corrections, draw an image, and export class folders. Every correction is on the
    disk before it is shown as done. The page is for this machine only.

    Examples:

        selfsort page runs/photos-sort

        selfsort page runs/photos-sort --port 8000 --no-browser
    """
    if not all(importlib.util.find_spec(name) for name in ("fastapi", "uvicorn")):
        raise InputError("The page needs more packages: pip install 'selfsort[web]'")
    from selfsort.web.serving import serve

    serve(run, host=host, port=port, token=token, open_browser=browser)
