"""The picture of how much information each number of groups keeps."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from matplotlib.axes import Axes
from matplotlib.ticker import MaxNLocator

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


def save_choice(path: Path, curve: np.ndarray, n_classes: int) -> None:
    """Draw the information that k groups keep, and what each group more adds.

    Parameters
    ----------
    path : Path
        PNG file to write.
    curve : float array of shape (m,)
        Entry k - 1 is the mutual information, in nats, that k groups keep.
    n_classes : int
        The number of classes of the run, which is marked; past m, only named.

    Raises
    ------
    InputError
        If the curve has fewer than two entries.

    Examples
    --------
    >>> import tempfile
    >>> import numpy as np
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     path = Path(folder, "choice.png")
    ...     save_choice(path, np.array([0.0, 0.6, 1.0, 1.1]), n_classes=3)
    ...     path.stat().st_size < 1_000_000
    True
    """
    curve = np.asarray(curve, float)
    if curve.ndim != 1 or len(curve) < 2:
        raise InputError(
            "curve must have an entry for each number of groups, at least two. "
            f"Got shape {curve.shape} instead."
        )
    figure = new_figure(6.6, 4.6)
    above, below = figure.subplots(2, 1, sharex=True, height_ratios=[3, 2])
    _draw_kept(above, curve, n_classes)
    _draw_added(below, curve, n_classes)
    below.set_xlabel("number of groups", fontsize=9, color=INK)
    below.xaxis.set_major_locator(MaxNLocator(nbins=16, integer=True, min_n_ticks=1))
    below.set_xlim(0.4, len(curve) + 0.6)
    write_png(path, figure)


def _draw_kept(axes: Axes, curve: np.ndarray, n_classes: int) -> None:
    style_axes(axes)
    axes.plot(range(1, len(curve) + 1), curve, "o-", color=BLUE, markersize=3.5)
    if n_classes <= len(curve):
        axes.axvline(n_classes, color=ORANGE, linewidth=1)
        axes.plot(n_classes, curve[n_classes - 1], "o", color=ORANGE, markersize=9)
    title = f"Information kept, in nats; this run: {n_classes} classes"
    axes.set_title(title, loc="left", fontsize=10, color=INK)


def _draw_added(axes: Axes, curve: np.ndarray, n_classes: int) -> None:
    style_axes(axes)
    groups = np.arange(2, len(curve) + 1)
    colors = np.where(groups < n_classes, BLUE, np.where(groups == n_classes, ORANGE, FAINT))
    axes.bar(groups, np.diff(curve), color=colors.tolist(), width=0.7)
    axes.set_title("What the last group adds, in nats", loc="left", fontsize=10, color=INK)
