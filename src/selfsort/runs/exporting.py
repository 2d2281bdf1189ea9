"""A run's model as one file for other programs."""

from __future__ import annotations

from pathlib import Path

from selfsort.errors import InputError
from selfsort.estimators import load_estimator
from selfsort.exporting import Exported, export
from selfsort.runs.request import read_record


def export_run(
    run: Path, to: Path, *, runtime: Path | None = None, force: bool = False
) -> Exported:
    """Write the model of a run, or of an estimator's `save`, into one file.

    See `selfsort.exporting.export` for what can be written.

    Parameters
    ----------
    run : Path
        Folder of a run.
    to : Path
        Its ending says what is written: ``.onnx``, ``.pt2`` or ``.html``.
    runtime : Path, optional
        For a page: the folder of the npm package onnxruntime-web.
    force : bool, default=False
        Replace an existing file.

    Raises
    ------
    InputError
        If the run cannot be used, or the file not be written.
    """
    return export(load_estimator(run), to, command=_command_of(run), runtime=runtime, force=force)


def _command_of(run: Path) -> str | None:
    """Return the command line of a run; None where a model was saved without one."""
    try:
        return read_record(run).command
    except InputError:
        return None
