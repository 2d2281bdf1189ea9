"""Neighbour graphs: which rows are most similar, and means over them."""

from __future__ import annotations

import torch
from torch.nn import functional

from selfsort.errors import InputError

# Candidates beyond the asked ones that are ranked again in float32. On MNIST's pixels 10 are
# enough for bfloat16 to lose no neighbour; tighter clusters need more.
_SPARE = 20
_CHECKED_ROWS = 256  # on which bfloat16 must show that it finds the true neighbours
_SMALLEST_RECALL = 0.999
_COLUMNS = 4096  # a tile of the product that stays in the processor's cache


def nearest_neighbours(
    X: torch.Tensor, n_neighbours: int, *, block: int = 1024, include_self: bool = False
) -> torch.Tensor:
    """Return the rows with the largest cosine similarity to each row, most similar first.

    The product is taken tile by tile, and the best candidates are then ranked by their float32
    similarity, equal ones by row number. With more than 4096 rows on a device that is quick at
    bfloat16 the tiles are in bfloat16, provided that on 256 rows spread over `X` they lead to at
    least 99.9 % of the true neighbours; in tight clusters they may not, and float32 is used.

    Parameters
    ----------
    X : torch.Tensor of shape (n, p)
        Finite values. The similarity of an all-zero row to every row is 0.
    n_neighbours : int
        At least 1 and smaller than n (at most n with `include_self`).
    block : int, default=1024
        Rows worked on at a time; the memory needed grows with ``block * (4096 + 30 * p)``.
    include_self : bool, default=False
        Whether each row is its own first neighbour.

    Returns
    -------
    torch.Tensor of int64, shape (n, n_neighbours), on the device of `X`

    Raises
    ------
    InputError
        If `X` is not a finite matrix or the numbers are out of range.

    Examples
    --------
    >>> X = torch.tensor([[1.0, 0.0], [2.0, 0.1], [0.0, 1.0], [0.1, 3.0]])
    >>> nearest_neighbours(X, 1).flatten().tolist()
    [1, 0, 3, 2]
    """
    _check_rows(X, n_neighbours, block, include_self)
    unit = _unit_rows(X)
    own = torch.inf if include_self else -torch.inf
    rough = _rough_rows(unit, n_neighbours, own)
    found = [
        _ranked(unit, rows, _candidates(rough, rows, n_neighbours + _SPARE, own), own)
        for rows in torch.split(torch.arange(len(X), device=X.device), block)
    ]
    return torch.cat([ranked[:, :n_neighbours] for ranked in found])


def _check_rows(X: torch.Tensor, n_neighbours: int, block: int, include_self: bool) -> None:
    if X.ndim != 2:
        raise InputError(f"X must have 2 dimensions (rows, features). Got shape {tuple(X.shape)}.")
    most = len(X) if include_self else len(X) - 1
    if not 1 <= n_neighbours <= most:
        raise InputError(
            f"n_neighbours must be from 1 to {most} for {len(X)} rows. Got {n_neighbours}."
        )
    if block < 1:
        raise InputError(f"block must be at least 1. Got {block}.")
    finite = torch.isfinite(X).all(dim=1)
    if not finite.all():
        first = int((~finite).nonzero()[0])
        raise InputError(
            f"X must be finite. Row {first} holds NaN or infinity; "
            "remove it or replace those values."
        )


def _unit_rows(X: torch.Tensor) -> torch.Tensor:
    # Dividing by the largest value first keeps the squares from over- and underflowing.
    largest = X.abs().amax(dim=1, keepdim=True)
    scaled = (X / torch.where(largest > 0, largest, 1)).to(torch.float32)
    return functional.normalize(scaled)


def _product_dtype(device: torch.device) -> torch.dtype:
    if device.type == "cuda":
        quick = torch.cuda.is_bf16_supported(including_emulation=False)
    else:
        # Emulated bfloat16 is slower than float32, so ask for the instruction itself.
        supported = getattr(torch.cpu, "_is_avx512_bf16_supported", lambda: False)
        quick = device.type == "cpu" and bool(supported())
    return torch.bfloat16 if quick else torch.float32


def _rough_rows(unit: torch.Tensor, n_neighbours: int, own: float) -> torch.Tensor:
    """Return the rows, with a 1 added, in the coarsest type that keeps the neighbours."""
    exact = functional.pad(unit, (0, 1), value=1.0)
    quick = exact.to(_product_dtype(unit.device))
    if len(unit) <= _COLUMNS or quick.dtype == exact.dtype:
        return exact
    rows = torch.arange(0, len(unit), max(1, len(unit) // _CHECKED_ROWS), device=unit.device)
    n_best = n_neighbours + _SPARE
    true = _ranked(unit, rows, _candidates(exact, rows, n_best, own), own)[:, :n_neighbours]
    kept = true[:, :, None] == _candidates(quick, rows, n_best, own)[:, None]
    return quick if kept.any(dim=2).double().mean() >= _SMALLEST_RECALL else exact


def _candidates(rough: torch.Tensor, rows: torch.Tensor, n_best: int, own: float) -> torch.Tensor:
    """Return the columns with the largest rounded products, (rows, up to n_best), ascending."""
    queries = rough[rows]  # a copy, because rows is a tensor
    queries[:, -1] = -_near_similarity(rough, rows)
    values, columns = [], []
    for start in range(0, len(rough), _COLUMNS):
        tile = queries @ rough[start : start + _COLUMNS].T
        _fill_own(tile, rows - start, own)
        best = tile.topk(min(n_best, tile.shape[1]))
        values.append(best.values)
        columns.append(best.indices + start)
    merged = torch.cat(values, dim=1)
    kept = merged.topk(min(n_best, merged.shape[1])).indices
    return torch.cat(columns, dim=1).gather(1, kept).sort(dim=1).values


def _near_similarity(rough: torch.Tensor, rows: torch.Tensor) -> torch.Tensor:
    """Return about the similarity of the nearest neighbours of each row, from a sample, (rows,).

    Subtracted within the product (the last column of `rough` is 1), it brings the similarities
    that matter close to 0, where bfloat16 is fine. Near 1 it has steps of 0.004, which in tight
    clusters is coarser than the difference between the nearest and the thousandth neighbour.
    """
    sample = rough[:: max(1, len(rough) // _COLUMNS), :-1]
    similarity = rough[rows, :-1] @ sample.T
    # The second largest, because the largest may be the row itself.
    return similarity.topk(min(2, len(sample))).values[:, -1]


def _fill_own(tile: torch.Tensor, columns: torch.Tensor, value: float) -> None:
    """Set the similarity of each row to itself, where the tile holds that column."""
    held = (columns >= 0) & (columns < tile.shape[1])
    tile[held.nonzero()[:, 0], columns[held]] = value


def _ranked(
    unit: torch.Tensor, rows: torch.Tensor, candidates: torch.Tensor, own: float
) -> torch.Tensor:
    # A plain sum, not a matrix product: equal rows then have equal similarities to the last bit.
    similarity = (unit[candidates] * unit[rows, None]).sum(dim=2)
    similarity[candidates == rows[:, None]] = own
    order = similarity.argsort(dim=1, descending=True, stable=True)
    return candidates.gather(1, order)


def check_neighbours(values: torch.Tensor, neighbours: torch.Tensor) -> None:
    """Raise `InputError` unless `neighbours` has a row of row numbers for each of the values."""
    if neighbours.ndim != 2 or len(neighbours) != len(values):
        raise InputError(
            f"neighbours must have one row for each of the {len(values)} images. "
            f"Got shape {tuple(neighbours.shape)}."
        )
    if neighbours.numel() and not 0 <= int(neighbours.min()) <= int(neighbours.max()) < len(values):
        raise InputError(
            f"neighbours must be row numbers from 0 to {len(values) - 1}. "
            f"Got {int(neighbours.min())} to {int(neighbours.max())}."
        )


def neighbour_mean(values: torch.Tensor, neighbours: torch.Tensor) -> torch.Tensor:
    """Return the mean of the values of each row's neighbours, of the shape of `values`."""
    total = torch.zeros_like(values)
    for column in neighbours.T:  # one neighbour at a time: (n, k, m) at once can fill the memory
        total += values[column]
    return total / neighbours.shape[1]
