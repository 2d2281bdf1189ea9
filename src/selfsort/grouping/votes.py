"""Votes of neighbours, and labels spread over their graph."""

from __future__ import annotations

import numpy as np
import scipy.sparse
import scipy.sparse.linalg
import torch
from numpy.typing import NDArray
from torch.nn import functional

from selfsort.errors import InputError, SelfsortError
from selfsort.grouping.neighbours import check_neighbours, neighbour_mean

FloatArray = NDArray[np.float64]
IntArray = NDArray[np.int64]


def vote(
    classes: torch.Tensor, neighbours: torch.Tensor, n_classes: int | None = None
) -> torch.Tensor:
    """Return the mean class distribution of each image's neighbours.

    Parameters
    ----------
    classes : torch.Tensor
        Either class numbers, int of shape (n,), where -1 has no vote, or class distributions of
        shape (n, n_classes).
    neighbours : torch.Tensor of int64, shape (n, k)
    n_classes : int, optional
        Needed for class numbers whose largest class is in no image.

    Returns
    -------
    torch.Tensor of float32, shape (n, n_classes), on the device of `neighbours`
        A row sums to the share of the neighbours that have a vote.

    Raises
    ------
    InputError
        If the shapes do not fit or a class number is out of range.

    Examples
    --------
    >>> vote(torch.tensor([0, 0, 1]), torch.tensor([[1, 2], [0, 2], [0, 1]])).tolist()
    [[0.5, 0.5], [0.5, 0.5], [1.0, 0.0]]
    """
    check_neighbours(classes, neighbours)
    shares = _one_hot(classes, n_classes) if classes.ndim == 1 else classes
    return neighbour_mean(shares.to(neighbours.device, torch.float32), neighbours)


def _one_hot(labels: torch.Tensor, n_classes: int | None) -> torch.Tensor:
    n_columns = int(labels.max()) + 1 if n_classes is None else n_classes
    if not -1 <= int(labels.min()) <= int(labels.max()) < n_columns or n_columns < 1:
        raise InputError(
            f"labels must be from -1 (unlabelled) to {n_columns - 1}. "
            f"Got {int(labels.min())} to {int(labels.max())}."
        )
    # The unlabelled go to a column of their own, which is then cut off.
    numbered = torch.where(labels < 0, n_columns, labels).to(torch.int64)
    return functional.one_hot(numbered, n_columns + 1)[:, :n_columns].to(torch.float32)


def spread(
    labels: torch.Tensor,
    neighbours: torch.Tensor,
    n_classes: int,
    *,
    alpha: float = 0.99,
    class_mass: bool = False,
) -> torch.Tensor:
    """Spread a few labels over the neighbour graph.

    Solves ``(I - alpha S) F = (1 - alpha) Y`` by conjugate gradients. ``Y`` holds a 1 for each
    known label, or the given weights; ``S = D^-1/2 W D^-1/2``, where ``W`` counts how many of two
    images have the other as a neighbour (0, 1 or 2).

    Parameters
    ----------
    labels : torch.Tensor of int, shape (n,), or of float, shape (n, n_classes)
        Classes from 0 to n_classes - 1, -1 = unlabelled; or how much each image counts for each
        class, finite and at least 0, a row of zeros = unlabelled. At least one must be known.
    neighbours : torch.Tensor of int64, shape (n, k)
    n_classes : int
    alpha : float, default=0.99
        Between 0 and 1, both excluded; the larger, the further labels reach.
    class_mass : bool, default=False
        Scale each class so that its share over all images is its share among the labels.

    Returns
    -------
    torch.Tensor of float32, shape (n, n_classes), on the device of `neighbours`
        Rows are distributions; a row that no label reaches is 0.

    Raises
    ------
    InputError
        If the shapes do not fit, no label is known, or a number is out of range.
    SelfsortError
        If the solution does not settle (`alpha` extremely close to 1).

    References
    ----------
    Zhou, Bousquet, Lal, Weston, Schölkopf (2004), Learning with local and global consistency,
    NIPS 16. Class mass: Zhu, Ghahramani, Lafferty (2003), ICML, section 4.

    Examples
    --------
    >>> chain = torch.tensor([[1], [0], [3], [2]])
    >>> spread(torch.tensor([0, -1, 1, -1]), chain, 2).tolist()
    [[1.0, 0.0], [1.0, 0.0], [0.0, 1.0], [0.0, 1.0]]
    """
    check_neighbours(labels, neighbours)
    if not 0 < alpha < 1:
        raise InputError(f"alpha must be between 0 and 1, both excluded. Got {alpha}.")
    known = _weights(labels, n_classes).to("cpu", torch.float64).numpy()
    shares = _solved(_normalised_graph(neighbours.to("cpu").numpy()), known, alpha)
    if class_mass:
        reached = shares.sum(axis=0)
        shares = shares * known.sum(axis=0) / np.where(reached > 0, reached, 1)
    total = shares.sum(axis=1, keepdims=True)
    shares = shares / np.where(total > 0, total, 1)
    return torch.from_numpy(shares).to(neighbours.device, torch.float32)


def _weights(labels: torch.Tensor, n_classes: int) -> torch.Tensor:
    """Return how much each image counts for each class, ``(n, n_classes)``."""
    if labels.ndim == 1:
        weights = _one_hot(labels, n_classes)
    elif labels.shape[1] == n_classes and bool((labels.isfinite() & (labels >= 0)).all()):
        weights = labels
    else:
        raise InputError(
            f"labels must be class numbers, or finite weights of at least 0 for {n_classes} "
            f"classes. Got shape {tuple(labels.shape)}, smallest {float(labels.min()):g}."
        )
    if not weights.any():
        unknown = "All are -1." if labels.ndim == 1 else "All weights are 0."
        raise InputError(f"labels must hold at least one known label. {unknown}")
    return weights


def _normalised_graph(neighbours: IntArray) -> scipy.sparse.csr_array:
    n, k = neighbours.shape
    ends = (neighbours.ravel(), np.arange(n + 1) * k)
    directed = scipy.sparse.csr_array((np.ones(n * k), *ends), shape=(n, n))
    directed.sum_duplicates()  # of several graphs one may repeat another
    graph = scipy.sparse.csr_array(directed + directed.T)
    scale = 1 / np.sqrt(graph.sum(axis=1))
    graph.data *= np.repeat(scale, np.diff(graph.indptr))
    graph.data *= scale[graph.indices]
    return graph


def _solved(graph: scipy.sparse.csr_array, known: FloatArray, alpha: float) -> FloatArray:
    system = scipy.sparse.linalg.LinearOperator(
        graph.shape, matvec=lambda column: column - alpha * (graph @ column), dtype=np.float64
    )
    columns = []
    for right in ((1 - alpha) * known).T:
        # The tolerance is far below what labels need: rows that they hardly reach have values of
        # 1e-6 and less, and are scaled up to distributions afterwards.
        column, unsettled = scipy.sparse.linalg.cg(system, right, rtol=1e-10, maxiter=1000)
        if unsettled:
            raise SelfsortError(
                f"The labels did not settle within 1000 steps at alpha={alpha}. "
                "Choose a smaller alpha, such as 0.99."
            )
        columns.append(column)
    return np.asarray(np.maximum(np.stack(columns, axis=1), 0))
