"""Write the page of a run."""

from __future__ import annotations

import os
from pathlib import Path

from jinja2 import Environment, PackageLoader

from selfsort.report.numbers import any_value, count, decimal, duration, percent
from selfsort.report.reading import read_history, read_pictures, read_result
from selfsort.report.sections import FIGURES
from selfsort.report.words import assumptions, origin, points, scalars, stages, summary


def write_report(folder: Path) -> Path:
    """Write ``report.html`` from what lies in a run folder.

    The page holds everything: pictures as base64, style in the page, no script. It takes at
    most 5 MB; where the pictures are more, the largest are reduced.

    Parameters
    ----------
    folder : Path
        Run folder with ``result.json``, and where they exist ``history.jsonl`` and the
        pictures.

    Returns
    -------
    path : Path
        The page.

    Raises
    ------
    InputError
        If ``result.json`` is missing or not readable, or a picture is no PNG.

    Examples
    --------
    >>> import tempfile
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     _ = Path(folder, "result.json").write_text('{"recipe": "plain", "data": "digits"}')
    ...     write_report(Path(folder)).name
    'report.html'
    """
    folder = Path(folder)
    result = read_result(folder)
    history = read_history(folder)
    pictures, sheets = read_pictures(folder)
    page = environment().get_template("report.html")
    html = page.render(
        result=result,
        summary=summary(result, history),
        assumptions=assumptions(result),
        sets=[(name, result[name]) for name in ("train", "test") if result.get(name)],
        figures=FIGURES,
        stages=stages(result, history),
        extra=scalars(result.get("extra") or {}),
        points=points(result),
        origin=origin(result),
        pictures=pictures,
        sheets=sheets,
    )
    return replace(folder / "report.html", html)


def environment() -> Environment:
    """Return what fills the templates in, escaping everything."""
    environment = Environment(
        loader=PackageLoader("selfsort"), autoescape=True, trim_blocks=True, lstrip_blocks=True
    )
    formats = {"percent": percent, "decimal": decimal, "count": count, "duration": duration}
    environment.filters.update(formats, value=any_value)
    environment.globals.update(formats=formats)
    return environment


def replace(path: Path, text: str) -> Path:
    """Write a file so that it is the old one or the new one, never half of one."""
    partial = path.with_name(f".{path.name}.{os.getpid()}.part")
    try:
        partial.write_text(text, encoding="utf-8")
        partial.replace(path)
    finally:
        partial.unlink(missing_ok=True)
    return path
