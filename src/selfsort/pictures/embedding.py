"""The picture of a map: images that the network finds alike lie close together."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import matplotlib
import numpy as np
from matplotlib.offsetbox import AnnotationBbox, OffsetImage
from matplotlib.patheffects import withStroke

from selfsort.pictures._page import INK, check_count, new_figure, one_line, write_png
from selfsort.pictures._tiles import make_tiles

SIDE = 7.0
"""Inches."""
THUMBNAIL = 0.042
"""Of a thumbnail, as a share of the map's side."""
TILE = 40
"""Pixels of a thumbnail, about."""
MOST_NAMES = 40


def save_map(
    path: Path,
    positions: np.ndarray,
    images: np.ndarray,
    classes: np.ndarray,
    names: Sequence[str],
) -> None:
    """Draw images where they lie on a map: a dot each in the colour of its class, some as pictures.

    Parameters
    ----------
    path : Path
        PNG file to write.
    positions : float array of shape (n, 2)
    images : array of shape (n, channels, height, width) or (n, p)
        ``uint8`` or floats in [0, 1].
    classes : int array of shape (n,)
        From 0 to ``len(names) - 1``.
    names : sequence of str

    Raises
    ------
    InputError
        If there are not as many images and classes as positions.

    Examples
    --------
    >>> import tempfile
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     path = Path(folder, "map.png")
    ...     where = np.array([[0.0, 0.0], [1.0, 2.0]])
    ...     save_map(path, where, np.zeros((2, 1, 8, 8)), np.array([0, 1]), ["a", "b"])
    ...     path.stat().st_size < 1_000_000
    True
    """
    n = len(positions)
    check_count("images", len(images), "positions", n)
    check_count("classes", len(classes), "positions", n)
    low, high = positions.min(0), positions.max(0)
    places = (positions - low) / np.maximum(high - low, 1e-12)
    figure = new_figure(SIDE, SIDE)
    axes = figure.add_subplot()
    axes.set_axis_off()
    axes.set_xlim(-0.03, 1.03)
    axes.set_ylim(-0.03, 1.03)
    table, n_colors = ("tab20", 20) if len(names) > 10 else ("tab10", 10)
    colors = matplotlib.colormaps[table](classes % n_colors)
    axes.scatter(places[:, 0], places[:, 1], s=22, c=colors, linewidths=0)
    shown = _apart(places)
    tiles = make_tiles(images[shown], TILE)
    for place, color, tile in zip(places[shown], colors[shown], tiles, strict=True):
        zoom = THUMBNAIL * SIDE * 72 / max(tile.shape[:2])
        picture = OffsetImage(tile, zoom=zoom, interpolation="nearest")
        frame = {"edgecolor": color, "linewidth": 1.6, "boxstyle": "square,pad=0"}
        axes.add_artist(AnnotationBbox(picture, place, pad=0, bboxprops=frame))
    for k in range(min(len(names), MOST_NAMES)):
        if (classes == k).any():
            middle = np.median(places[classes == k], axis=0)
            axes.annotate(
                one_line(names[k], 24),
                middle,
                ha="center",
                va="center",
                fontsize=11,
                color=INK,
                zorder=10,
                parse_math=False,
                path_effects=[withStroke(linewidth=3.5, foreground="white")],
            )
    write_png(path, figure)


def _apart(places: np.ndarray) -> np.ndarray:
    """Return the images that are drawn as pictures: none covers another."""
    chosen: list[int] = []
    for i, place in enumerate(places):
        if all(np.abs(places[j] - place).max() > 1.6 * THUMBNAIL for j in chosen):
            chosen.append(i)
    return np.array(chosen, dtype=np.int64)
