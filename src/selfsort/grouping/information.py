"""The information between the clusters of neighbours."""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray
from scipy.special import xlogy

from selfsort.errors import InputError
from selfsort.grouping.neighbours import check_neighbours, neighbour_mean

FloatArray = NDArray[np.float64]
IntArray = NDArray[np.int64]

_ROWS = 4096  # added up at a time


def joint_distribution(codes: torch.Tensor, neighbours: torch.Tensor) -> FloatArray:
    """Return how often two fine clusters meet in an image and its neighbour.

    ``P[a, b]`` is the mean of ``codes[i, a] * codes[j, b]`` over images i and their neighbours j,
    made symmetric and scaled to sum 1.

    Parameters
    ----------
    codes : torch.Tensor of shape (n, m)
        Distribution over m fine clusters for every image, not negative.
    neighbours : torch.Tensor of int64, shape (n, k)

    Returns
    -------
    float64 array of shape (m, m)

    Raises
    ------
    InputError
        If the shapes do not fit, or codes are negative, not finite or all 0.

    Examples
    --------
    >>> codes = torch.tensor([[1.0, 0.0], [1.0, 0.0], [0.0, 1.0], [0.0, 1.0]])
    >>> joint_distribution(codes, torch.tensor([[1], [0], [3], [2]])).tolist()
    [[0.5, 0.0], [0.0, 0.5]]
    """
    check_neighbours(codes, neighbours)
    # Only some GPUs know float64.
    device = codes.device if codes.device.type == "cuda" else torch.device("cpu")
    codes, neighbours = codes.detach().to(device), neighbours.to(device)
    joint = codes.new_zeros((codes.shape[1],) * 2, dtype=torch.float64)
    # Some rows at a time: all codes in float64, three times over, can fill the memory.
    for some, near in zip(codes.split(_ROWS), neighbours.split(_ROWS), strict=True):
        joint += some.double().T @ neighbour_mean(codes, near, torch.float64)
    return checked_joint(joint.cpu().numpy(), "codes")


def mutual_information(joint: ArrayLike) -> float:
    """Return the mutual information, in nats, of a joint distribution of shape (m, m).

    The table is made symmetric and scaled to sum 1 first.

    Examples
    --------
    >>> round(mutual_information([[0.5, 0.0], [0.0, 0.5]]), 4)
    0.6931
    """
    return information_of(checked_joint(joint))


def checked_joint(joint: ArrayLike, name: str = "joint") -> FloatArray:
    """Return a joint distribution that sums to 1 and is the same both ways."""
    table = np.asarray(joint, dtype=np.float64)
    if table.ndim != 2 or table.shape[0] != table.shape[1]:
        raise InputError(f"{name} must be a square matrix. Got shape {table.shape}.")
    if not np.isfinite(table).all() or (table < 0).any() or table.sum() <= 0:
        raise InputError(f"{name} must be finite, not negative, and not all 0.")
    table = table + table.T
    return np.asarray(table / table.sum())


def entropy_term(x: FloatArray) -> FloatArray:
    """Return x log x of each mass, 0 for an empty one."""
    positive = np.maximum(x, 0)  # differences of masses can come out as -1e-17
    return np.asarray(xlogy(positive, positive))


def information_of(table: FloatArray) -> float:
    """Return the mutual information of a checked joint distribution, in nats."""
    # Rounding could make an information of 0 slightly negative.
    return max(0.0, value_of(table, 0.0))


def value_of(table: FloatArray, entropy_price: float) -> float:
    """Return the information of a table, less the price of its groups' entropy."""
    masses = entropy_term(table.sum(axis=1)).sum()
    return float(entropy_term(table).sum() - (2 - entropy_price) * masses)
