"""Neighbour graphs: which rows are most similar, and means over them."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch.nn import functional

from selfsort.errors import (
    ApproximateNeighboursWarning,
    InputError,
    SlowNeighboursWarning,
    recall_sentence,
    slow_sentence,
)
from selfsort.grouping import approximate
from selfsort.precision import has_fast_bfloat16

EXACT_UP_TO = 100_000  # rows; the time of an exact search grows with their square

# Candidates beyond the asked ones that are ranked again in float32. On MNIST's pixels 10 are
# enough for bfloat16 to lose no neighbour; tighter clusters need more.
_SPARE = 20
_CHECKED_ROWS = 256  # on which a quick search must show how many true neighbours it finds
_SMALLEST_RECALL = 0.999
_TOO_FEW = 4096  # rows among which bfloat16 gains nothing
_SAMPLE = 1024  # rows that tell how similar the nearest are
_ROWS = 512  # worked on at a time
_PAIRED = 64  # rows whose candidates stay in the processor's cache while they are ranked
_PRODUCTS = 2**25  # held at a time: 128 MiB in float32
_FEW_PRODUCTS = 2**23  # held where they are only needed to check others
_ROUNDING = 1e-6  # in the length of a row
_GROUP = 16  # products of which only the largest takes part in the first choice

Blocks = Sequence[torch.Tensor]  # row numbers that are worked on together
Search = Callable[[torch.Tensor], torch.Tensor]  # from row numbers to their candidates, ascending


def nearest_neighbours(
    X: torch.Tensor,
    n_neighbours: int,
    *,
    include_self: bool = False,
    rows: slice | None = None,
) -> torch.Tensor:
    """Return the rows with the largest cosine similarity to each row, most similar first.

    All products are taken, some rows at a time, and the best candidates are then ranked by their
    float32 similarity, equal ones by row number. With more than 4096 rows on a device that is
    quick at bfloat16 the products are in bfloat16, provided that on 256 rows spread over `X` they
    lead to at least 99.9 % of the true neighbours; in tight clusters they may not, and float32 is
    used.

    Beyond 100,000 rows (`EXACT_UP_TO`) and where faiss is installed (``selfsort[ann]``), the
    candidates come only from the cells of rows that are nearest, which takes a time that grows
    with ``n ** 1.75`` instead of ``n ** 2``. How many of the true neighbours are then found, the
    recall, is measured on 256 rows spread over `X` and told in a warning.

    Parameters
    ----------
    X : torch.Tensor of shape (n, p)
        Finite values. The similarity of an all-zero row to every row is 0.
    n_neighbours : int
        At least 1 and smaller than n (at most n with `include_self`).
    include_self : bool, default=False
        Whether each row is its own first neighbour.
    rows : slice or None, default=None
        Of which rows the neighbours are asked for; None: of all.

    Returns
    -------
    torch.Tensor of int64, shape (n, n_neighbours), on the device of `X`
        A row for each of `rows`. Besides it and `X` the memory needed is that of up to three
        copies of `X` in float32 (one fewer where its rows are float32 and of length 1), some
        200 MiB, and ``256 * (n_neighbours + 20) * p`` bytes.

    Raises
    ------
    InputError
        If `X` is not a finite matrix or the numbers are out of range.

    Warns
    -----
    ApproximateNeighboursWarning
        If the neighbours are approximate, with their recall.
    SlowNeighboursWarning
        If there are so many rows, but no faiss; the neighbours are exact.

    References
    ----------
    Johnson, Douze, Jégou (2017), arXiv:1702.08734.

    Examples
    --------
    >>> X = torch.tensor([[1.0, 0.0], [2.0, 0.1], [0.0, 1.0], [0.1, 3.0]])
    >>> nearest_neighbours(X, 1).flatten().tolist()
    [1, 0, 3, 2]
    """
    _check_rows(X, n_neighbours, include_self)
    unit = _unit_rows(X)
    own = torch.inf if include_self else -torch.inf
    asked = torch.arange(len(unit), device=unit.device)[rows or slice(None)].split(_ROWS)
    cells = _cells(unit)
    if cells is not None:
        return _approximate(cells, unit, n_neighbours, asked, own)
    search = _Exhaustive(_rough_rows(unit, n_neighbours, own), n_neighbours, own, _PRODUCTS)
    return _searched(unit, n_neighbours, asked, own, search)


def _searched(
    unit: torch.Tensor, n_neighbours: int, asked: Blocks, own: float, search: Search
) -> torch.Tensor:
    """Return the neighbours of some rows, block by block."""
    # One place for all: small results between large blocks leave memory in pieces.
    found = asked[0].new_empty((sum(map(len, asked)), n_neighbours))
    for result, rows in zip(found.split(len(asked[0])), asked, strict=True):
        result[:] = _ranked(unit, rows, search(rows), own)[:, :n_neighbours]
    return found


def _cells(unit: torch.Tensor) -> Any:
    """Return the index of an approximate search, or None where the search is exact."""
    if len(unit) <= EXACT_UP_TO:
        return None
    try:
        return approximate.cells(unit)
    except ImportError:
        warnings.warn(slow_sentence(len(unit)), SlowNeighboursWarning, stacklevel=3)
        return None


def _approximate(
    cells: Any, unit: torch.Tensor, n_neighbours: int, asked: Blocks, own: float
) -> torch.Tensor:
    """Return what the cells hold of the neighbours of some rows, and warn of what they miss."""
    exactly = _Exhaustive(unit, n_neighbours, own, _FEW_PRODUCTS)

    def nearby(rows: torch.Tensor) -> torch.Tensor:
        candidates = approximate.candidates(cells, unit, rows, exactly.n_best)
        too_few = candidates[:, 0] < 0
        if too_few.any():
            candidates[too_few] = exactly(rows[too_few])
        return candidates

    found = _searched(unit, n_neighbours, asked, own, nearby)
    rows = _spread_rows(unit)
    some = _ranked(unit, rows, nearby(rows), own)[:, :n_neighbours]
    true = _ranked(unit, rows, exactly(rows), own)[:, :n_neighbours]
    sentence = recall_sentence(len(unit), _recall(unit, rows, some, true), len(rows))
    warnings.warn(sentence, ApproximateNeighboursWarning, stacklevel=3)
    return found


def _spread_rows(unit: torch.Tensor) -> torch.Tensor:
    """Return the numbers of the rows on which a quick search is checked, evenly spread."""
    n = min(_CHECKED_ROWS, len(unit))
    return torch.arange(n, device=unit.device) * len(unit) // n


def _recall(
    unit: torch.Tensor, rows: torch.Tensor, found: torch.Tensor, true: torch.Tensor
) -> float:
    """Return the share of what was found that is as similar as the true neighbours.

    Rows that tie with the last neighbour are as good as it: many images may be equal.
    """
    least = _similarity(unit, rows, true)[:, -1:]
    return float((_similarity(unit, rows, found) >= least).double().mean())


def _check_rows(X: torch.Tensor, n_neighbours: int, include_self: bool) -> None:
    if X.ndim != 2:
        raise InputError(f"X must have 2 dimensions (rows, features). Got shape {tuple(X.shape)}.")
    most = len(X) if include_self else len(X) - 1
    if not 1 <= n_neighbours <= most:
        raise InputError(
            f"n_neighbours must be from 1 to {most} for {len(X)} rows. Got {n_neighbours}."
        )
    finite = torch.isfinite(X).all(dim=1)
    if not finite.all():
        first = int((~finite).nonzero()[0])
        raise InputError(
            f"X must be finite. Row {first} holds NaN or infinity; "
            "remove it or replace those values."
        )


def _unit_rows(X: torch.Tensor) -> torch.Tensor:
    largest = X.abs().amax(dim=1, keepdim=True)
    if X.dtype == torch.float32:
        length = torch.linalg.vector_norm(X, dim=1, keepdim=True)
        if bool((((length - 1).abs() < _ROUNDING) | (largest == 0)).all()):
            return X
    # Dividing by the largest value first keeps the squares from over- and underflowing.
    scaled = (X / torch.where(largest > 0, largest, 1)).to(torch.float32)
    return functional.normalize(scaled, out=scaled)


def _rough_rows(unit: torch.Tensor, n_neighbours: int, own: float) -> torch.Tensor:
    """Return the rows in the coarsest type that keeps the neighbours; bfloat16 with a 1 added."""
    if len(unit) <= _TOO_FEW or not has_fast_bfloat16(unit.device):
        return unit
    quick = functional.pad(unit, (0, 1), value=1.0).bfloat16()
    rows = _spread_rows(unit)
    exactly, quickly = (_Exhaustive(some, n_neighbours, own, _PRODUCTS) for some in (unit, quick))
    true = _ranked(unit, rows, exactly(rows), own)[:, :n_neighbours]
    kept = true[:, :, None] == quickly(rows)[:, None]
    return quick if kept.any(dim=2).double().mean() >= _SMALLEST_RECALL else unit


class _Exhaustive:
    """The candidates of some rows by their products with all rows.

    To look for the largest products takes longer than to multiply, so that it is done in two
    steps: the columns are dealt into groups of 16, and only the groups with the largest maxima
    are looked at. None of the largest products is lost: a group that holds one has a maximum
    that is at least as large, and there are no more such groups than products asked for.
    """

    def __init__(self, rough: torch.Tensor, n_neighbours: int, own: float, n_products: int) -> None:
        n = len(rough)
        self.rough, self.own = rough, own
        self.n_best = min(n_neighbours + _SPARE, n if own > 0 else n - 1)
        n_groups = -(-n // _GROUP)
        shape = min(n, _ROWS, max(1, n_products // n)), n_groups * _GROUP
        # One place for all; the last columns, which are no rows, are never among the best.
        self.products = rough.new_full(shape, -torch.inf)
        self.columns = torch.arange(shape[1], device=rough.device).view(_GROUP, n_groups)

    def __call__(self, rows: torch.Tensor) -> torch.Tensor:
        """Return the columns with the largest rounded products, (rows, n_best), ascending."""
        return torch.cat([self._best(some) for some in rows.split(len(self.products))])

    def _best(self, rows: torch.Tensor) -> torch.Tensor:
        queries = self.rough[rows]  # a copy, because rows is a tensor
        if queries.dtype == torch.bfloat16:
            queries[:, -1] = -_near_similarity(self.rough, rows)
        products = self.products[: len(rows)]
        torch.mm(queries, self.rough.T, out=products[:, : len(self.rough)])
        products[torch.arange(len(rows), device=rows.device), rows] = self.own
        maxima = products.view(len(rows), *self.columns.shape).amax(dim=1)
        groups = maxima.topk(min(self.n_best, maxima.shape[1]), sorted=False).indices
        columns = self.columns.T[groups].flatten(1)
        best = products.gather(1, columns).topk(self.n_best, sorted=False).indices
        return columns.gather(1, best).sort(dim=1).values


def _near_similarity(rough: torch.Tensor, rows: torch.Tensor) -> torch.Tensor:
    """Return about the similarity of the nearest neighbours of each row, from a sample, (rows,).

    Subtracted within the product (the last column of `rough` is 1), it brings the similarities
    that matter close to 0, where bfloat16 is fine. Near 1 it has steps of 0.004, which in tight
    clusters is coarser than the difference between the nearest and the thousandth neighbour.
    """
    sample = rough[:: max(1, len(rough) // _SAMPLE), :-1]
    similarity = rough[rows, :-1] @ sample.T
    # The second largest, because the largest may be the row itself.
    return similarity.topk(min(2, len(sample))).values[:, -1]


def _ranked(
    unit: torch.Tensor, rows: torch.Tensor, candidates: torch.Tensor, own: float
) -> torch.Tensor:
    similarity = _similarity(unit, rows, candidates)
    similarity[candidates == rows[:, None]] = own
    order = similarity.argsort(dim=1, descending=True, stable=True)
    return candidates.gather(1, order)


def _similarity(unit: torch.Tensor, rows: torch.Tensor, others: torch.Tensor) -> torch.Tensor:
    # A plain sum, not a matrix product: equal rows then have equal similarities to the last bit.
    pairs = zip(rows.split(_PAIRED), others.split(_PAIRED), strict=True)
    # An embedding is `unit[some]` in a third of the time.
    products = (functional.embedding(some, unit).mul_(unit[row, None]) for row, some in pairs)
    return torch.cat([product.sum(dim=2) for product in products])


def check_neighbours(
    values: torch.Tensor, neighbours: torch.Tensor, n_rows: int | None = None
) -> None:
    """Raise `InputError` unless `neighbours` has rows of row numbers: as many as values, or n."""
    n_rows = len(values) if n_rows is None else n_rows
    if neighbours.ndim != 2 or len(neighbours) != n_rows:
        raise InputError(
            f"neighbours must have one row for each of the {n_rows} images. "
            f"Got shape {tuple(neighbours.shape)}."
        )
    if neighbours.numel() and not 0 <= int(neighbours.min()) <= int(neighbours.max()) < len(values):
        raise InputError(
            f"neighbours must be row numbers from 0 to {len(values) - 1}. "
            f"Got {int(neighbours.min())} to {int(neighbours.max())}."
        )


def neighbour_mean(
    values: torch.Tensor, neighbours: torch.Tensor, dtype: torch.dtype | None = None
) -> torch.Tensor:
    """Return the mean of the values of each row's neighbours, ``(len(neighbours), m)``.

    It is added up in `dtype`, by default that of the values.
    """
    shape = len(neighbours), *values.shape[1:]
    total = values.new_zeros(shape, dtype=dtype)
    for column in neighbours.T:  # one neighbour at a time: (n, k, m) at once can fill the memory
        total += values[column]
    return total.div_(neighbours.shape[1])
