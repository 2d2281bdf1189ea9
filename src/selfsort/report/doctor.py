"""The page of an examination."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from selfsort.report.page import environment, replace
from selfsort.report.reading import read_strips

STRIPS = (
    (
        "rebuilt",
        "What it rebuilds",
        "Top: images as the module gets them. Below: their reconstructions after the practice.",
        "Images in a row, and below them their reconstructions.",
    ),
    (
        "diagnosis",
        "What was measured",
        "A copy was trained for some hundred steps, and at learning rates up to a thousand times "
        "smaller and larger. A bar shows the gradient of a layer before the first step, a mark how "
        "far a step moves its weights.",
        "The loss by step, the loss by learning rate, and gradient and step of each layer.",
    ),
)


def write_doctor(path: Path, found: Mapping[str, Any], folder: Path, command: str) -> Path:
    """Write the page of an examination.

    Parameters
    ----------
    path : Path
        Page to write.
    found : dict
        ``name``, ``findings``, each with ``name``, ``title``, ``evidence``, ``reason`` and
        ``fix``, and ``figures``.
    folder : Path
        With the pictures of `STRIPS`, where there are any.
    command : str
        How to make it again; "" to leave that out.

    Returns
    -------
    path : Path

    Examples
    --------
    >>> import tempfile
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     found = {"name": "Net", "findings": [], "figures": {"n_checks": 20}}
    ...     write_doctor(Path(folder, "doctor.html"), found, Path(folder), "").name
    'doctor.html'
    """
    page = environment().get_template("doctor.html")
    html = page.render(
        name=found["name"],
        findings=found["findings"],
        figures=found["figures"],
        pictures=read_strips(folder, STRIPS),
        command=command,
    )
    return replace(path, html)
