"""The picture of accuracy against reconstruction error."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from itertools import pairwise
from pathlib import Path

import numpy as np
from matplotlib.axes import Axes
from matplotlib.ticker import PercentFormatter
from matplotlib.transforms import Bbox

from selfsort.errors import InputError
from selfsort.pictures._page import (
    BLUE,
    CHART_DPI,
    FAINT,
    INK,
    new_figure,
    spans_decades,
    style_axes,
    write_png,
)

POINT = CHART_DPI / 72  # pixels


def save_tradeoff(path: Path, points: Sequence[Mapping[str, float]]) -> None:
    """Draw accuracy against reconstruction error, one labelled point a multiplier.

    Parameters
    ----------
    path : Path
        PNG file to write.
    points : sequence of dict
        Each with ``multiplier``, ``accuracy`` in [0, 1] and ``reconstruction_mse``.

    Raises
    ------
    InputError
        If there is no point.

    Examples
    --------
    >>> import tempfile
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     point = {"multiplier": 0.5, "accuracy": 0.98, "reconstruction_mse": 0.06}
    ...     path = Path(folder, "tradeoff.png")
    ...     save_tradeoff(path, [point])
    ...     path.stat().st_size < 1_000_000
    True
    """
    if not points:
        raise InputError("points is empty, so there is no picture. Give one multiplier or more.")
    ordered = sorted(points, key=lambda point: point["multiplier"])
    x = np.array([point["reconstruction_mse"] for point in ordered])
    y = np.array([point["accuracy"] for point in ordered])
    figure = new_figure(6.6, 4.6)
    axes = figure.add_subplot()
    style_axes(axes)
    axes.plot(x, y, color=BLUE, linewidth=1, alpha=0.45)
    axes.plot(x, y, "o", color=BLUE, markersize=6)
    axes.margins(0.12)
    if spans_decades(x):
        axes.set_xscale("log")
    axes.set_xlabel("reconstruction error (MSE, pixels in [0, 1]): left is better", fontsize=9)
    axes.set_ylabel("accuracy: up is better", fontsize=9)
    axes.yaxis.set_major_formatter(PercentFormatter(1, symbol=" %"))
    axes.set_title("One point for each multiplier", fontsize=11, loc="left", color=INK)
    axes.set_ylim(top=min(axes.get_ylim()[1], 1.01))
    figure.draw_without_rendering()  # the layout decides where the points are
    _label_points(axes, x, y, [f"{point['multiplier']:g}" for point in ordered])
    write_png(path, figure)


def _label_points(axes: Axes, x: np.ndarray, y: np.ndarray, labels: Sequence[str]) -> None:
    """Put each label on the nearest free place around its point."""
    points = axes.transData.transform(np.column_stack([x, y]))
    taken, frame = _drawn(points), axes.get_window_extent()
    for label, point in zip(labels, points, strict=True):
        size = np.array([5.6 * len(label) + 2, 11]) * POINT
        box = _free_place(point, size, taken, frame)
        taken.append(box)
        offset = (np.array([box.x0 + box.x1, box.y0 + box.y1]) / 2 - point) / POINT
        _annotate(axes, label, axes.transData.inverted().transform(point), offset)


def _annotate(axes: Axes, label: str, point: np.ndarray, offset: np.ndarray) -> None:
    leader = {"arrowstyle": "-", "color": FAINT, "linewidth": 0.6}
    axes.annotate(
        label,
        (point[0], point[1]),
        (offset[0], offset[1]),
        textcoords="offset points",
        ha="center",
        va="center",
        fontsize=9,
        color=INK,
        arrowprops=leader if np.hypot(*offset) > 24 else None,
    )


def _drawn(points: np.ndarray) -> list[Bbox]:
    """Return boxes on the points, and smaller ones all along the line between them."""
    boxes = [_box(point, np.full(2, 8 * POINT)) for point in points]
    for start, end in pairwise(points):
        steps = np.linspace(0, 1, 2 + int(np.hypot(*(end - start)) / (4 * POINT)))
        boxes += [_box(start + step * (end - start), np.full(2, 2 * POINT)) for step in steps]
    return boxes


def _free_place(point: np.ndarray, size: np.ndarray, taken: Sequence[Bbox], frame: Bbox) -> Bbox:
    places = list(_places(point, size))
    for box in places:
        inside = frame.x0 < box.x0 and box.x1 < frame.x1 and frame.y0 < box.y0 and box.y1 < frame.y1
        if inside and not any(box.overlaps(other) for other in taken):
            return box
    return places[0]


def _places(point: np.ndarray, size: np.ndarray) -> Iterator[Bbox]:
    for distance in np.arange(0.8, 8, 0.4):
        for angle in np.radians([90, 0, 270, 180, 45, 315, 225, 135]):
            away = np.array([np.cos(angle), np.sin(angle)])
            yield _box(point + away * (size / 2 + 8 * POINT * distance), size)


def _box(middle: np.ndarray, size: np.ndarray) -> Bbox:
    return Bbox([middle - size / 2, middle + size / 2])
