"""The picture of a search: what each trial reached, over each of its parameters."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from matplotlib.ticker import PercentFormatter

from selfsort.errors import InputError
from selfsort.pictures._page import (
    BLUE,
    FAINT,
    INK,
    ORANGE,
    new_figure,
    style_axes,
    write_png,
)

PANELS = (
    ("multiplier", "multiplier of the cross-entropy", "linear"),
    ("learning_rate", "learning rate", "log"),
)


def save_trials(path: Path, trials: Sequence[Mapping[str, Any]]) -> None:
    """Draw the accuracy of each trial over its multiplier and its learning rate.

    Parameters
    ----------
    path : Path
        PNG file to write.
    trials : sequence of dict
        Each with ``state`` ("complete" or another), ``multiplier``, ``learning_rate`` and
        ``accuracy`` in [0, 1] or None, where none was measured: that one is left out.

    Raises
    ------
    InputError
        If there is no trial.

    Examples
    --------
    >>> import tempfile
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     path = Path(folder, "trials.png")
    ...     trial = {"multiplier": 0.5, "learning_rate": 0.01, "accuracy": 0.9, "state": "complete"}
    ...     save_trials(path, [trial])
    ...     path.stat().st_size < 1_000_000
    True
    """
    if not trials:
        raise InputError("trials is empty, so there is no picture. Give one trial or more.")
    shown = [trial for trial in trials if trial["accuracy"] is not None]
    complete = [trial for trial in shown if trial["state"] == "complete"]
    given_up = [trial for trial in shown if trial["state"] != "complete"]
    best = max(complete, key=lambda trial: trial["accuracy"], default=None)
    figure = new_figure(9.6, 4.2)
    for axes, (name, label, scale) in zip(
        figure.subplots(1, len(PANELS), sharey=True), PANELS, strict=True
    ):
        style_axes(axes)
        for group, marker, colour, face, text in (
            (given_up, "o", FAINT, "none", "given up early: accuracy by then"),
            (complete, "o", BLUE, BLUE, "trained to the end"),
            ([best] if best else [], "D", ORANGE, ORANGE, _words(best)),
        ):
            if not group:
                continue
            x, y = [one[name] for one in group], [one["accuracy"] for one in group]
            axes.plot(
                x, y, marker, color=colour, markerfacecolor=face, linestyle="none", label=text
            )
        axes.set_xscale(scale)
        axes.set_xlabel(label, fontsize=9, color=INK)
        axes.yaxis.set_major_formatter(PercentFormatter(1, symbol=" %"))
    first = figure.axes[0]
    first.set_ylabel("accuracy on the held-out images", fontsize=9, color=INK)
    first.set_title(f"{len(trials)} trials", fontsize=11, loc="left", color=INK)
    handles, texts = first.get_legend_handles_labels()
    figure.legend(handles, texts, loc="outside lower left", frameon=False, fontsize=9, ncols=3)
    write_png(path, figure)


def _words(best: Mapping[str, Any] | None) -> str:
    return "" if best is None else f"the best: {100 * best['accuracy']:.2f} %"
