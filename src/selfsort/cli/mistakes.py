"""What is wrong with a command line, all of it in one line."""

from __future__ import annotations

from typing import Any

import typer
from typer.core import TyperCommand

USAGE_ERROR: Any = typer.BadParameter.__mro__[1]
"""Click's UsageError, which typer carries with it but does not export."""


def usage_message(error: Any) -> str:
    """Return what was wrong, and the value that was given, if it was one."""
    message = error.format_message()
    full_stop = "" if message.endswith((".", "?", "!")) else "."
    details = getattr(error.__cause__, "errors", None)  # pydantic's, where it read the value
    given = f" Got '{details()[0]['input']}' instead." if details else ""
    return f"{message}{full_stop}{given}"


def given(context: Any, name: str) -> bool:
    """Return whether a parameter is on the command line, and not by default."""
    source = context.get_parameter_source(name)
    return source is not None and source.name == "COMMANDLINE"


class Command(TyperCommand):
    """A command that tells of every option that is wrong, and not of the first only."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        """Read the command line."""
        given = list(args)
        try:
            return super().parse_args(ctx, args)
        except USAGE_ERROR as first:
            opts, rest, _ = self.make_parser(ctx).parse_args(args=given)
            found = []
            for parameter in self.get_params(ctx):
                try:
                    parameter.handle_parse_result(ctx, opts, rest)
                except USAGE_ERROR as error:
                    found.append(usage_message(error))
            if len(found) < 2:
                raise
            raise USAGE_ERROR(" ".join(found), ctx=ctx) from first
