"""The picture of what a doctor measured: the loss, other learning rates, each layer."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.ticker import MaxNLocator

from selfsort.errors import InputError
from selfsort.pictures._page import (
    BLUE,
    FAINT,
    GREEN,
    INK,
    ORANGE,
    new_figure,
    one_line,
    spans_decades,
    style_axes,
    write_png,
)


def save_diagnosis(path: Path, figures: Mapping[str, Any]) -> None:
    """Draw the loss by step, the loss by learning rate, and gradient and step of each layer.

    Parameters
    ----------
    path : Path
        PNG file to write.
    figures : dict
        ``losses``, one a step, and ``terms``, a list of the same for each name; ``rates``, each
        with ``rate`` and ``loss``; ``learning_rate``; ``layers``, each with ``name``, ``part``
        ("encoder" or "decoder"), ``gradient`` and ``update`` as shares of the weights' size. None
        stands for what was not finite.

    Raises
    ------
    InputError
        If there is no loss.

    Examples
    --------
    >>> import tempfile
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     path = Path(folder, "diagnosis.png")
    ...     rates = [{"rate": 0.1, "loss": 0.3}, {"rate": 1.0, "loss": None}]
    ...     layer = {"name": "a", "part": "encoder", "gradient": 1e-3, "update": 1e-2}
    ...     save_diagnosis(
    ...         path,
    ...         {"losses": [0.5, 0.2], "terms": {}, "rates": rates, "learning_rate": 1e-3,
    ...          "layers": [layer]},
    ...     )
    ...     path.stat().st_size < 1_000_000
    True
    """
    if not figures["losses"]:
        raise InputError("losses is empty, so there is no picture. Train for a step or more.")
    n_layers = len(figures["layers"])
    layer_height = 0.9 + 0.3 * n_layers
    figure = new_figure(7.2, 2.6 + layer_height)
    grid = figure.add_gridspec(2, 2, height_ratios=[2.4, layer_height])
    _draw_losses(figure.add_subplot(grid[0, 0]), figures)
    _draw_rates(figure.add_subplot(grid[0, 1]), figures)
    if n_layers:
        _draw_layers(figure.add_subplot(grid[1, :]), figures["layers"])
    write_png(path, figure)


def _title(axes: Axes, text: str) -> None:
    axes.set_title(text, loc="left", fontsize=10, color=INK)


def _numbers(values: Any) -> np.ndarray:
    return np.array([np.nan if value is None else value for value in values], float)


def _draw_losses(axes: Axes, figures: Mapping[str, Any]) -> None:
    style_axes(axes)
    losses = _numbers(figures["losses"])
    steps = np.arange(1, len(losses) + 1)
    axes.plot(steps, losses, color=ORANGE, linewidth=1, label="loss")
    terms = figures["terms"]
    for i, (name, values) in enumerate(terms.items() if len(terms) > 1 else ()):
        style = ("--", ":", "-.")[i % 3]
        label = one_line(name, 24)
        axes.plot(steps, _numbers(values), style, color=BLUE, linewidth=1, label=label)
    if len(terms) > 1:
        axes.legend(fontsize=7, frameon=False)
    if spans_decades(losses):
        axes.set_yscale("log")
    axes.xaxis.set_major_locator(MaxNLocator(nbins=6, integer=True))
    axes.set_xlabel("step", fontsize=8, color=INK)
    _title(axes, "Loss, as it is trained")


def _draw_rates(axes: Axes, figures: Mapping[str, Any]) -> None:
    style_axes(axes)
    rates = _numbers([row["rate"] for row in figures["rates"]]) * figures["learning_rate"]
    losses = _numbers([row["loss"] for row in figures["rates"]])
    axes.plot(rates, losses, "o-", color=GREEN, markersize=4)
    axes.axvline(figures["learning_rate"], color=ORANGE, linewidth=1)
    axes.annotate(
        "as given",
        (figures["learning_rate"], 1),
        (3, -3),
        xycoords=("data", "axes fraction"),
        textcoords="offset points",
        fontsize=8,
        color=INK,
        va="top",
    )
    axes.set_xscale("log")
    finite = losses[np.isfinite(losses)]
    if finite.size and finite.min() > 0 and finite.max() > 5 * finite.min():
        axes.set_yscale("log")
    broken = np.flatnonzero(~np.isfinite(losses))
    if broken.size:
        axes.plot(
            rates[broken],
            np.ones(broken.size),
            "x",
            color=FAINT,
            transform=axes.get_xaxis_transform(),
            clip_on=False,
        )
    axes.set_xlabel("learning rate (x: not finite)", fontsize=8, color=INK)
    _title(axes, "Loss at other learning rates")


def _draw_layers(axes: Axes, layers: Any) -> None:
    """Draw a bar for the gradient of each layer, and a mark for its step."""
    style_axes(axes)
    rows = np.arange(len(layers))[::-1]
    gradients = _numbers([layer["gradient"] for layer in layers])
    updates = _numbers([layer["update"] for layer in layers])
    seen = np.concatenate([gradients, updates])
    seen = seen[np.isfinite(seen) & (seen > 0)]
    floor = seen.min() / 3 if seen.size else 1e-9
    colors = [BLUE if layer["part"] == "encoder" else GREEN for layer in layers]
    axes.barh(rows, np.maximum(gradients, floor) - floor, left=floor, color=colors, height=0.55)
    axes.plot(np.maximum(updates, floor), rows, "D", color=ORANGE, markersize=5)
    axes.set_xscale("log")
    axes.set_yticks(rows, [one_line(layer["name"], 30) for layer in layers], parse_math=False)
    axes.set_ylim(-0.6, len(layers) - 0.4)
    axes.set_xlabel("share of the weights' own size", fontsize=8, color=INK)
    _title(axes, "Gradient (bars; blue: encoder, green: decoder) and step (marks) of each layer")
