"""Candidates for nearest neighbours among a part of the rows only, by faiss (selfsort[ann]).

The rows are divided into cells around k-means centres, and the candidates of a row are sought in
the cells nearest to it. Against a graph of neighbours (HNSW) this takes less time over building
and searching together at the same recall, keeps working where many rows are equal, and its
answer does not depend on the order in which threads finish.
"""

from __future__ import annotations

import contextlib
import math
import os
import sys
from collections.abc import Iterator
from typing import Any

import numpy as np
import torch

_CELLS = 4  # times the square root of the number of rows
# Times its fourth root. It grows because a fixed number finds less and less among more rows: of
# 64 cells the recall in clusters of 30 independent features is 0.990, 0.981 and 0.958 for 100,000,
# 200,000 and 600,000 rows. On MNIST's pixels it is 0.999 (180,000 rows).
_VISITED = 4
_ROUNDS = 10  # of k-means; the cells need not be the best ones
_ROWS_A_CELL = 64  # from which k-means learns: its time then grows no faster than the rows
_SEED = 0


def n_cells(n_rows: int) -> int:
    """Return into how many cells that many rows are divided.

    Examples
    --------
    >>> n_cells(250_000)
    2000
    """
    return int(_CELLS * math.sqrt(n_rows))


def n_visited(n_rows: int) -> int:
    """Return in how many cells the neighbours of a row are sought.

    The time of a search of all rows grows with ``n_rows ** 1.75``, that of making the cells with
    ``n_rows ** 1.5``.

    Examples
    --------
    >>> n_visited(250_000)
    89
    """
    return int(_VISITED * n_rows**0.25)


def cells(unit: torch.Tensor) -> Any:
    """Return a faiss index of rows of length 1 (or 0), which holds a copy of them.

    Parameters
    ----------
    unit : torch.Tensor of float32, shape (n, p), n >= 16

    Raises
    ------
    ImportError
        If faiss is not installed.

    References
    ----------
    Johnson, Douze, Jégou (2017), arXiv:1702.08734, section 2 (IVF); for the graph that was not
    taken, Malkov, Yashunin (2016), arXiv:1603.09320.
    """
    rows = unit.detach().cpu().numpy()
    with _faiss() as faiss:
        n, p = rows.shape
        centres = faiss.IndexFlatIP(p)
        index = faiss.IndexIVFFlat(centres, p, n_cells(n), faiss.METRIC_INNER_PRODUCT)
        means = index.cp
        means.spherical, means.niter, means.seed = True, _ROUNDS, _SEED
        # The lower limit only decides on a warning that is printed.
        means.min_points_per_centroid, means.max_points_per_centroid = 1, _ROWS_A_CELL
        index.train(rows)
        _reserve(index, rows)
        index.add(rows)
        index.nprobe = n_visited(n)
    return index


def _reserve(index: Any, rows: np.ndarray) -> None:
    """Give each cell the memory for its rows at once: cells that grow end up to twice as large."""
    _, cell = index.quantizer.search(rows, 1)
    for number, size in enumerate(np.bincount(cell[:, 0], minlength=index.nlist).tolist()):
        index.invlists.resize(number, size)
        index.invlists.resize(number, 0)


def candidates(index: Any, unit: torch.Tensor, rows: torch.Tensor, n_best: int) -> torch.Tensor:
    """Return the rows of largest similarity in the nearest cells, ascending, (rows, n_best).

    A row is always one of its own candidates. Where the cells visited hold fewer rows than asked
    for, the first candidates are -1.
    """
    with _faiss():
        _, nearest = index.search(unit[rows].detach().cpu().numpy(), n_best)
    found = torch.from_numpy(nearest).to(rows.device)
    # Equal rows may have kept it out. The last candidate is the least similar.
    without = (found != rows[:, None]).all(dim=1)
    found[without, -1] = rows[without]
    return found.sort(dim=1).values


@contextlib.contextmanager
def _faiss() -> Iterator[Any]:
    """Import faiss and let it use as many threads as torch does."""
    is_mac = sys.platform == "darwin"
    if is_mac:
        # faiss and torch each bring LLVM's OpenMP, which stops the process when it meets its
        # double, and crashes in parallel code if it is told not to (faiss-wheels issue 73).
        os.environ.setdefault("KMP_DUPLICATE_LIB_OK", "TRUE")
    import faiss  # not at the top: it is optional, and slow to import

    before = faiss.omp_get_max_threads()
    faiss.omp_set_num_threads(1 if is_mac else torch.get_num_threads())
    try:
        yield faiss
    finally:
        faiss.omp_set_num_threads(before)
