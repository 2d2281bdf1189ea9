"""The commands put together, and every error a person can cause in one line."""

from __future__ import annotations

# ruff: noqa: D406, D407, D412 - docstrings here are the text of --help
import os
import sys
import warnings
from typing import Annotated, Any

import typer

from selfsort.cli.doctor import doctor
from selfsort.cli.export import export
from selfsort.cli.mistakes import USAGE_ERROR, Command, usage_message
from selfsort.cli.page import page
from selfsort.cli.sharing import card, push
from selfsort.cli.training import bottlenecks, compare, sweep, train
from selfsort.cli.using import datasets, predict, recipes, report, suggest
from selfsort.errors import (
    NotEnoughMemoryError,
    NotFiniteError,
    ProcessLostError,
    SelfsortError,
    one_line,
    ran_out_of_memory,
)
from selfsort.version import __version__

app = typer.Typer(
    name="selfsort",
    add_completion=False,
    rich_markup_mode="markdown",
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)


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


_COMMANDS = (
    *(train, predict, suggest, report, page, export, card, push),
    *(compare, sweep, bottlenecks, doctor, datasets, recipes),
)
for _command in _COMMANDS:
    app.command(cls=Command)(_command)  # in the order of --help


def _show(message: Warning | str, category: type[Warning], *rest: Any, **more: Any) -> None:
    """Print a warning in one line, without the place in the program it comes from."""
    print(f"selfsort: {one_line(str(message))}", file=sys.stderr)


def _fail(message: str, code: int) -> None:
    """Print one line to standard error and exit."""
    line = " ".join(str(message).split())
    which = os.environ.get("RANK", "0")  # of several processes that torchrun started
    who = "selfsort" if which == "0" else f"selfsort, process {which}"
    print(f"{who}: {line}", file=sys.stderr)
    sys.exit(code)


def main() -> None:
    """Run the command line; every error a person can cause is one line."""
    try:
        with warnings.catch_warnings():
            warnings.showwarning = _show
            code = app(prog_name="selfsort", standalone_mode=False)
    except USAGE_ERROR as error:
        path = error.ctx.command_path if error.ctx else "selfsort"
        _fail(f"{usage_message(error)} See '{path} --help'.", 2)
    except (NotFiniteError, NotEnoughMemoryError, ProcessLostError) as error:
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
    except (MemoryError, RuntimeError) as error:
        if not ran_out_of_memory(error):
            raise
        _fail("There is not enough memory: use fewer images, or a smaller --size.", 1)
    else:
        if code == 130:  # what typer makes of a KeyboardInterrupt
            _fail("interrupted.", 130)
        sys.exit(code if isinstance(code, int) else 0)
