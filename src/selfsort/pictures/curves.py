"""The picture of the learning curves."""

from __future__ import annotations

import textwrap
from collections.abc import Mapping, Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator, PercentFormatter

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

NOT_TERMS = {"stage", "epoch", "n_epochs", "seconds", "images_per_second", "loss"}


def save_curves(path: Path, history: Sequence[Mapping[str, Any]]) -> None:
    """Draw learning curves: a panel for each term, and one for the accuracy.

    Epochs are counted through all stages; the stages are shaded in turn and named. A panel
    whose values are positive and span more than a factor of 20 has a logarithmic axis.

    Parameters
    ----------
    path : Path
        PNG file to write.
    history : sequence of dict
        One row an epoch with ``stage``, ``epoch``, ``loss`` and one number per term;
        ``test_accuracy`` in [0, 1] where it is known.

    Raises
    ------
    InputError
        If there is no epoch.

    Examples
    --------
    >>> import tempfile
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     path = Path(folder, "curves.png")
    ...     save_curves(path, [{"stage": "all", "epoch": 1, "loss": 0.5}])
    ...     path.stat().st_size < 1_000_000
    True
    """
    if not history:
        raise InputError("history has no epoch, so there is no curve. Train one epoch or more.")
    panels = _panels(history)
    figure = new_figure(6.6, 0.7 + 1.55 * len(panels))
    all_axes = figure.subplots(len(panels), 1, sharex=True, squeeze=False)[:, 0]
    stages = _stages(history)
    for axes, name in zip(all_axes, panels, strict=True):
        _draw_panel(axes, name, _series(history, name), stages)
    all_axes[-1].set_xlabel("epoch", fontsize=9, color=INK)
    all_axes[-1].xaxis.set_major_locator(MaxNLocator(nbins=12, integer=True, min_n_ticks=1))
    all_axes[-1].set_xlim(0.5, len(history) + 0.5)
    _name_stages(figure, all_axes[0], stages)
    write_png(path, figure)


def _panels(history: Sequence[Mapping[str, Any]]) -> list[str]:
    names = list(dict.fromkeys(name for row in history for name in row if name not in NOT_TERMS))
    accuracies = [name for name in names if "accuracy" in name]
    terms = [name for name in names if name not in accuracies]
    # with one term a row, the sum of the terms would repeat it
    sums = any(sum(name in row for name in terms) != 1 for row in history)
    return ["loss"] * sums + terms + accuracies


def _series(history: Sequence[Mapping[str, Any]], name: str) -> np.ndarray:
    values = [row.get(name) for row in history]
    return np.array([np.nan if value is None else value for value in values], float)


def _stages(history: Sequence[Mapping[str, Any]]) -> list[tuple[str, int, int]]:
    """Return (name, first epoch, last epoch), the epochs counted through all stages."""
    names = [str(row.get("stage", "")) for row in history]
    starts = [0] + [
        i + 1
        for i, (a, b) in enumerate(pairwise(history))
        if names[i] != names[i + 1] or b.get("epoch", 0) <= a.get("epoch", -1)
    ]
    return [
        (names[start], start + 1, end)
        for start, end in zip(starts, [*starts[1:], len(names)], strict=True)
    ]


def _draw_panel(
    axes: Axes, name: str, values: np.ndarray, stages: Sequence[tuple[str, int, int]]
) -> None:
    style_axes(axes)
    color = GREEN if "accuracy" in name else ORANGE if name == "loss" else BLUE
    for i, (_, first, last) in enumerate(stages):
        if i % 2 and len(stages) > 1:
            axes.axvspan(first - 0.5, last + 0.5, color="#f0f0f0", linewidth=0)
        # a line across stages would join values that are not comparable
        part = slice(first - 1, last)
        style = "-" if last - first > 50 else "o-"
        axes.plot(range(first, last + 1), values[part], style, color=color, markersize=3)
    if spans_decades(values):
        axes.set_yscale("log")
    if "accuracy" in name:
        axes.yaxis.set_major_formatter(PercentFormatter(1, symbol=" %"))
    axes.set_title(
        one_line(name.replace("_", " "), 40), parse_math=False, loc="left", fontsize=10, color=INK
    )


def _name_stages(figure: Figure, axes: Axes, stages: Sequence[tuple[str, int, int]]) -> None:
    """Name the stages above their shades, or with their epochs in one line where too narrow."""
    if len(stages) == 1:
        return
    names = [one_line(name, 20) for name, _, _ in stages]
    if _names_fit(names, stages):
        middles = [(first + last) / 2 for _, first, last in stages]
        top = axes.secondary_xaxis("top")
        top.set_xticks(middles, names, fontsize=8, color=FAINT, parse_math=False)
        top.tick_params(length=0)
        top.spines["top"].set_visible(False)
        return
    spans = [f"{a}" if a == b else f"{a}-{b}" for _, a, b in stages]
    parts = [f"{name} {span}" for name, span in zip(names, spans, strict=True)]
    text = textwrap.fill("Epochs: " + " · ".join(parts), 92)
    style: dict[str, Any] = {"fontsize": 8.5, "color": INK, "parse_math": False}
    figure.suptitle(text, x=0.01, ha="left", **style)


def _names_fit(names: Sequence[str], stages: Sequence[tuple[str, int, int]]) -> bool:
    epoch_width = 5.8 / stages[-1][2]  # inches
    widths = [(last - first + 1) * epoch_width for _, first, last in stages]
    return all(width > 0.075 * len(name) for width, name in zip(widths, names, strict=True))
