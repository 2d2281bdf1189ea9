"""The picture of accuracy against coverage: what leaving out images in doubt buys."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from matplotlib.axes import Axes
from matplotlib.ticker import PercentFormatter

from selfsort.errors import InputError
from selfsort.pictures._page import (
    BLUE,
    GREEN,
    INK,
    ORANGE,
    check_count,
    new_figure,
    one_line,
    style_axes,
    write_png,
)

MARKERS = ((ORANGE, "s"), (GREEN, "D"))
FIRST_SEEN = 0.05
"""Below this share of images kept, the accuracy among them jumps with every mistake."""


def save_coverage(
    path: Path,
    coverage: np.ndarray,
    accuracy: np.ndarray,
    marks: Sequence[tuple[float, float, float]],
    title: str,
) -> None:
    """Draw the accuracy among the images kept against the share that is kept.

    Parameters
    ----------
    path : Path
        PNG file to write.
    coverage, accuracy : float array of shape (m,)
        Shares in [0, 1], as from `selfsort.scores.coverage_curve`; the last is of all images.
    marks : sequence of (probability, coverage, accuracy)
        Points to mark: what is kept where the probability must be at least that high.
    title : str

    Raises
    ------
    InputError
        If there is no point, or the arrays differ in length.

    Examples
    --------
    >>> import tempfile
    >>> import numpy as np
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     path = Path(folder, "coverage.png")
    ...     save_coverage(path, np.array([0.5, 1.0]), np.array([1.0, 0.9]), [], "Test")
    ...     path.stat().st_size < 1_000_000
    True
    """
    coverage, accuracy = np.asarray(coverage, float), np.asarray(accuracy, float)
    if not len(coverage):
        raise InputError("coverage has no point, so there is no curve. Give one image or more.")
    check_count("accuracy", len(accuracy), "shares of coverage", len(coverage))
    figure = new_figure(6.6, 4.4)
    axes = figure.add_subplot()
    style_axes(axes)
    axes.plot(coverage, accuracy, color=BLUE, linewidth=1.5)
    everything = f"all images: {100 * accuracy[-1]:.2f} % right"
    axes.plot(1, accuracy[-1], "o", color=BLUE, label=everything)
    for i, (probability, kept, right) in enumerate(marks):
        color, marker = MARKERS[i % len(MARKERS)]
        label = (
            f"probability of at least {probability:g}: {100 * kept:.1f} % of the images, "
            f"{100 * right:.2f} % of these right"
        )
        axes.plot(kept, right, marker, color=color, linestyle="none", label=label)
    axes.set_xlim(0, 1.02)
    _limit_accuracy(axes, [*accuracy[coverage >= FIRST_SEEN], *(right for _, _, right in marks)])
    axes.set_xlabel("share of images kept, the most certain first", fontsize=9, color=INK)
    axes.set_ylabel("accuracy among them", fontsize=9, color=INK)
    for axis in (axes.xaxis, axes.yaxis):
        axis.set_major_formatter(PercentFormatter(1, symbol=" %"))
    axes.set_title(one_line(title, 80), parse_math=False, loc="left", fontsize=11, color=INK)
    figure.legend(loc="outside lower left", frameon=False, fontsize=9, labelcolor=INK)
    write_png(path, figure)


def _limit_accuracy(axes: Axes, shown: Sequence[float]) -> None:
    """Let the axis reach from below what is shown to just above 100 %, where no tick is."""
    low = min(*shown, 0.995)
    margin = 0.06 * (1 - low)
    bottom = max(0.0, low - margin)
    axes.set_ylim(bottom, 1 + margin)
    axes.set_yticks([tick for tick in axes.get_yticks() if bottom <= tick <= 1])
