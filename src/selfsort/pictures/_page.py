"""What every picture needs: a figure, text that can be drawn, a file that is whole."""

from __future__ import annotations

import io
import os
import warnings
from pathlib import Path

import numpy as np
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from PIL import Image

from selfsort.errors import InputError

MAX_BYTES = 1_000_000
CHART_DPI = 150
INK, FAINT = "#1a1a1a", "#595959"
# Okabe and Ito (2008): colours that stay apart for the colour-blind
BLUE, ORANGE, GREEN = "#0072b2", "#d55e00", "#007a5a"


def new_figure(width: float, height: float, dpi: int = CHART_DPI) -> Figure:
    figure = Figure((width, height), dpi=dpi, facecolor="white", layout="constrained")
    FigureCanvasAgg(figure)
    return figure


def style_axes(axes: Axes) -> None:
    axes.set_facecolor("white")
    axes.grid(True, color="#dddddd", linewidth=0.6)
    axes.set_axisbelow(True)
    axes.spines[["top", "right"]].set_visible(False)
    axes.tick_params(labelsize=8, colors=INK, which="both")


def spans_decades(values: np.ndarray) -> bool:
    finite = values[np.isfinite(values)]
    return bool(finite.size) and finite.min() > 0 and finite.max() > 20 * finite.min()


def one_line(text: str, limit: int) -> str:
    """Return one short line that can be drawn: no control characters."""
    line = " ".join("".join(c if c.isprintable() else " " for c in str(text)).split())
    return line if len(line) <= limit else line[: limit - 1] + "…"


def check_count(name: str, n: int, of: str, expected: int) -> None:
    if n != expected:
        raise InputError(f"{name} must have one entry for each of the {expected} {of}. Got {n}.")


def write_png(path: Path, figure: Figure) -> None:
    buffer = io.BytesIO()
    with warnings.catch_warnings():
        # a class name in a script that the font lacks is drawn as boxes, not refused
        warnings.filterwarnings("ignore", "Glyph .* missing from")
        figure.savefig(
            buffer,
            format="png",
            dpi=figure.dpi,
            bbox_inches="tight",
            pad_inches=0.12,
            facecolor="white",
            metadata={"Software": None},
        )
    _replace(Path(path), _small(buffer.getvalue()))


def _small(png: bytes) -> bytes:
    """Return a PNG below the limit: fewer colours, then fewer pixels."""
    shrink = 1
    while len(png) > MAX_BYTES:
        with Image.open(io.BytesIO(png)) as image:
            reduced = image.convert("RGB").reduce(shrink)
        buffer = io.BytesIO()
        reduced.quantize(128).save(buffer, "PNG", optimize=True)
        png, shrink = buffer.getvalue(), 2
    return png


def _replace(path: Path, content: bytes) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(f".{path.name}.{os.getpid()}.part")
    try:
        partial.write_bytes(content)
        partial.replace(path)
    finally:
        partial.unlink(missing_ok=True)
