"""The picture of a confusion matrix."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib import colormaps
from matplotlib.axes import Axes
from matplotlib.colors import PowerNorm
from matplotlib.ticker import PercentFormatter

from selfsort.pictures._page import FAINT, INK, check_count, new_figure, one_line, write_png

MAX_COUNTED = 30  # classes up to which a confusion matrix shows counts


def save_confusion(
    path: Path,
    matrix: np.ndarray,
    row_names: Sequence[str],
    column_names: Sequence[str],
    title: str,
) -> None:
    """Draw a confusion matrix, coloured by the share of each row, with counts.

    Past 30 rows or columns the counts are left out. The colour grows with the square root
    of the share, so that a mix-up of 1 % can be seen.

    Parameters
    ----------
    path : Path
        PNG file to write.
    matrix : int array of shape (n_labels, n_classes)
        Counts, as from `selfsort.scores.confusion`.
    row_names, column_names : sequence of str
        Names of the labels and of the classes.
    title : str

    Raises
    ------
    InputError
        If the names do not fit the matrix.

    Examples
    --------
    >>> import tempfile
    >>> import numpy as np
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     path = Path(folder, "confusion.png")
    ...     save_confusion(path, np.eye(2, dtype=int), ["a", "b"], ["0", "1"], "Test")
    ...     path.stat().st_size < 1_000_000
    True
    """
    matrix = np.asarray(matrix)
    check_count("row_names", len(row_names), "rows", matrix.shape[0])
    check_count("column_names", len(column_names), "columns", matrix.shape[1])
    cell = np.interp(max(matrix.shape), [10, MAX_COUNTED, 60, 100], [0.56, 0.36, 0.15, 0.1])
    figure = new_figure(matrix.shape[1] * cell + 1.8, matrix.shape[0] * cell + 1.3)
    axes = figure.add_subplot()
    shares = matrix / np.maximum(matrix.sum(axis=1, keepdims=True), 1)
    image = axes.imshow(shares, cmap="Blues", norm=PowerNorm(0.5, 0, 1))
    if max(matrix.shape) <= MAX_COUNTED:
        _write_counts(axes, matrix, shares)
    _name_cells(axes, row_names, column_names, cell)
    axes.set_title(one_line(title, 80), parse_math=False, loc="left", fontsize=11, color=INK)
    bar = figure.colorbar(image, ax=axes, shrink=0.7, ticks=[0, 0.01, 0.1, 0.5, 1], aspect=30)
    bar.ax.yaxis.set_major_formatter(PercentFormatter(1, decimals=0, symbol=" %"))
    bar.ax.tick_params(labelsize=8, colors=INK)
    bar.set_label("share of the row", fontsize=9, color=INK)
    write_png(path, figure)


def _write_counts(axes: Axes, matrix: np.ndarray, shares: np.ndarray) -> None:
    size = float(np.interp(max(matrix.shape), [10, MAX_COUNTED], [8.5, 5.5]))
    shade = colormaps["Blues"](np.sqrt(shares))[..., :3] @ [0.299, 0.587, 0.114]
    for i, j in product(*map(range, matrix.shape)):
        color = "white" if shade[i, j] < 0.55 else INK if matrix[i, j] else FAINT
        axes.text(j, i, str(matrix[i, j]), ha="center", va="center", fontsize=size, color=color)


def _name_cells(
    axes: Axes, row_names: Sequence[str], column_names: Sequence[str], cell: float
) -> None:
    size = float(np.clip(cell * 60, 5.5, 9))
    step = max(1, round(0.11 / cell))  # the smallest readable name is 0.11 inch high
    rows, columns = ([one_line(name, 18) for name in names] for names in (row_names, column_names))
    turned = max(map(len, columns), default=0) * size / 72 * 0.6 > cell - 0.03
    style: dict[str, Any] = {"fontsize": size, "parse_math": False, "color": INK}
    axes.set_yticks(range(0, len(rows), step), rows[::step], **style)
    axes.set_xticks(range(0, len(columns), step), columns[::step], **style)
    if turned:
        axes.tick_params(axis="x", labelrotation=90)
    axes.tick_params(length=0)
    axes.set_ylabel("label", fontsize=9, color=INK)
    axes.set_xlabel("class found", fontsize=9, color=INK)
    axes.spines[:].set_visible(False)
