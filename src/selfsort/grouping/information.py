"""Fine clusters to classes: the grouping that keeps the most mutual information."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray
from scipy.special import xlogy

from selfsort.errors import InputError
from selfsort.grouping.neighbours import check_neighbours, neighbour_mean

FloatArray = NDArray[np.float64]
IntArray = NDArray[np.int64]

_SMALLEST_MASS = 1e-9  # fine clusters with less are of no image
_SMALLEST_GAIN = 1e-12  # nats; a smaller one is rounding, and could make moves go round in circles


@dataclass(frozen=True)
class Agglomeration:
    """The merges of fine clusters, from all of them down to one group.

    Attributes
    ----------
    merges : int array of shape (m - 1, 2)
        Each row: the group kept and the group joined to it, named by a fine cluster in each.
    information : float array of shape (m,)
        Mutual information in nats between neighbours' groups; entry K - 1 belongs to K groups.
    """

    merges: IntArray
    information: FloatArray

    def cut(self, n_groups: int) -> IntArray:
        """Return the group of each fine cluster, (m,), when merging stops at `n_groups`."""
        m = len(self.merges) + 1
        group_of = np.arange(m)
        for kept, joined in self.merges[: max(0, m - n_groups)]:
            group_of[group_of == joined] = kept
        return np.unique(group_of, return_inverse=True)[1].astype(np.int64)


@dataclass(frozen=True)
class Grouping:
    """A grouping of fine clusters.

    Attributes
    ----------
    classes : int array of shape (m,)
        The group of each fine cluster, 0 to n_classes - 1, the group with the most images first.
    information : float
        Mutual information in nats between the groups of neighbouring images.
    value : float
        What `group` maximises: that, less a part of the groups' entropy.
    n_filled : int
        How many groups are as large as they should be.
    """

    classes: IntArray
    information: float
    value: float
    n_filled: int


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
    exact = codes.detach().to("cpu", torch.float64)
    joint = (exact.T @ neighbour_mean(exact, neighbours.to("cpu"))).numpy()
    return _checked_joint(joint, "codes")


def _checked_joint(joint: ArrayLike, name: str = "joint") -> FloatArray:
    table = np.asarray(joint, dtype=np.float64)
    if table.ndim != 2 or table.shape[0] != table.shape[1]:
        raise InputError(f"{name} must be a square matrix. Got shape {table.shape}.")
    if not np.isfinite(table).all() or (table < 0).any() or table.sum() <= 0:
        raise InputError(f"{name} must be finite, not negative, and not all 0.")
    table = table + table.T
    return np.asarray(table / table.sum())


def mutual_information(joint: ArrayLike) -> float:
    """Return the mutual information, in nats, of a joint distribution of shape (m, m).

    The table is made symmetric and scaled to sum 1 first.

    Examples
    --------
    >>> round(mutual_information([[0.5, 0.0], [0.0, 0.5]]), 4)
    0.6931
    """
    return _information(_checked_joint(joint))


def _entropy_term(x: FloatArray) -> FloatArray:
    positive = np.maximum(x, 0)  # differences of masses can come out as -1e-17
    return np.asarray(xlogy(positive, positive))


def _information(table: FloatArray) -> float:
    # Rounding could make an information of 0 slightly negative.
    return max(0.0, _value(table, 0.0))


def _value(table: FloatArray, entropy_price: float) -> float:
    """Return the information of a table, less the price of its groups' entropy."""
    masses = _entropy_term(table.sum(axis=1)).sum()
    return float(_entropy_term(table).sum() - (2 - entropy_price) * masses)


def agglomerate(joint: ArrayLike, entropy_price: float = 0.0) -> Agglomeration:
    """Merge the two groups that lose the least mutual information, until one is left.

    The curve of the mutual information over the number of groups tells which numbers are
    natural: merging beyond them loses much.

    Parameters
    ----------
    joint : array of shape (m, m)
        Joint distribution of neighbours' fine clusters; not negative, not all 0.
    entropy_price : float, default=0.0
        What a nat of the groups' entropy takes off the information: 0 to 1.

    Returns
    -------
    Agglomeration

    Raises
    ------
    InputError
        If `joint` is not such a matrix.

    References
    ----------
    Slonim, Tishby (1999), Agglomerative Information Bottleneck, NIPS 12. Here both sides of the
    joint distribution are merged at once.

    Examples
    --------
    >>> found = agglomerate([[0.2, 0.1, 0.0], [0.1, 0.2, 0.0], [0.0, 0.0, 0.4]])
    >>> found.cut(2).tolist(), found.information.round(3).tolist()
    ([0, 0, 1], [0.0, 0.673, 0.707])
    """
    table = _checked_joint(joint)
    m = len(table)
    information = np.zeros(m)
    information[m - 1] = _information(table)
    merges = np.zeros((m - 1, 2), dtype=np.int64)
    alive = np.ones(m, dtype=bool)
    sums = np.stack([_entropy_term(row + table).sum(axis=1) for row in table])
    for step in range(m - 1):
        change = _merge_change(table, sums, entropy_price)
        change[~(np.triu(np.ones_like(table, dtype=bool), 1) & np.outer(alive, alive))] = -np.inf
        kept, joined = np.unravel_index(int(change.argmax()), change.shape)
        merges[step] = kept, joined
        alive[joined] = False
        table, sums = _merged(table, sums, int(kept), int(joined))
        information[m - 2 - step] = _information(table)
    return Agglomeration(merges, information)


def _merge_change(table: FloatArray, sums: FloatArray, entropy_price: float) -> FloatArray:
    """Return the change of what `group` maximises for each pair merged, (m, m).

    `sums` holds, for rows a and b, the entropy terms of their sum added up over all columns.
    Columns a and b are merged as well, so the four cells where they cross are counted apart.
    """
    cells = _entropy_term(table)
    own, rows, mass = np.diag(table), cells.sum(axis=1), table.sum(axis=1)
    beside = _entropy_term(own[:, None] + table)  # the merged row in column a, before merging it
    outside = sums - beside - beside.T
    outside = outside - np.add.outer(rows, rows) + np.add.outer(np.diag(cells), np.diag(cells))
    outside += 2 * cells
    inside = _entropy_term(np.add.outer(own, own) + 2 * table)
    inside = inside - np.add.outer(np.diag(cells), np.diag(cells)) - 2 * cells
    masses = _entropy_term(mass)
    margins = _entropy_term(np.add.outer(mass, mass)) - np.add.outer(masses, masses)
    return np.asarray(2 * outside + inside - (2 - entropy_price) * margins)


def _merged(
    table: FloatArray, sums: FloatArray, kept: int, joined: int
) -> tuple[FloatArray, FloatArray]:
    """Return the table and the sums of `_merge_change` after one merge."""
    new = table.copy()
    new[:, kept] += new[:, joined]
    new[:, joined] = 0
    sums = sums + _pair_terms(new[:, kept])
    sums -= _pair_terms(table[:, kept]) + _pair_terms(table[:, joined])
    new[kept] += new[joined]
    new[joined] = 0
    sums[kept] = sums[:, kept] = _entropy_term(new[kept] + new).sum(axis=1)
    return new, sums


def _pair_terms(column: FloatArray) -> FloatArray:
    return _entropy_term(np.add.outer(column, column))


def choose_n_groups(information: ArrayLike, most: int) -> int:
    """Return how many groups there naturally are, read from the curve of `agglomerate`.

    The gain of group k + 1 is what it adds to the information, as a share of what it could add
    if all groups were of one size, ``log((k + 1) / k)``. While groups are real classes the gains
    are near 1; a group that splits a class gains much less. Chosen is the k from 2 to `most`
    after which the gain falls most.

    Parameters
    ----------
    information : float array of shape (m,)
        In nats; entry k - 1 belongs to k groups.
    most : int
        The largest number to consider, at least 2. Past half of the fine clusters in use,
        single fine clusters would be what is counted.

    Returns
    -------
    n_groups : int
        At least 2.

    Raises
    ------
    InputError
        If there are less than 2 entries, or `most` is below 2.

    Examples
    --------
    Three groups of one size, torn into six fine clusters:

    >>> choose_n_groups([0.0, 0.64, 1.1, 1.15, 1.19, 1.2], most=5)
    3
    """
    curve = np.asarray(information, dtype=np.float64)
    if curve.ndim != 1 or len(curve) < 2:
        raise InputError(f"information must hold at least 2 numbers. Got shape {curve.shape}.")
    if most < 2:
        raise InputError(f"most must be at least 2. Got {most}.")
    gains = np.diff(curve) / np.log1p(1 / np.arange(1, len(curve)))
    falls = gains[:-1] - gains[1:]  # entry k - 2 belongs to k groups
    return 2 + int(falls[: most - 1].argmax()) if len(falls) else 2


def information_per_nat(joint: ArrayLike, n_classes: int) -> float:
    """Return I / H of the groups that keep the most information I, H being their entropy.

    It says how far apart the groups are, whatever their sizes: 1 where neighbours are always of
    one group, 0 where groups tell nothing of each other (or there is one only).

    Parameters
    ----------
    joint : array of shape (m, m)
        Joint distribution of neighbours' fine clusters; not negative, not all 0.
    n_classes : int
        At least 1.

    Raises
    ------
    InputError
        If `joint` is not such a matrix.

    Examples
    --------
    >>> information_per_nat([[0.5, 0.0], [0.0, 0.5]], 2)
    1.0
    """
    table = _checked_joint(joint)
    found = _exchanged(table, agglomerate(table).cut(n_classes), n_classes)
    mass = np.eye(n_classes)[found.classes].T @ table.sum(axis=1)
    entropy = -float(_entropy_term(mass).sum())
    return found.information / entropy if entropy > _SMALLEST_GAIN else 0.0


def group(
    joint: ArrayLike,
    n_classes: int,
    *,
    entropy_price: float = 0.0,
    least_mass: float = 0.0,
    n_restarts: int = 20,
    random_state: int | np.random.Generator | None = None,
) -> Grouping:
    """Group fine clusters so that neighbouring images' groups share the most information.

    What is maximised is ``I - entropy_price * H``: the mutual information I between the groups
    of neighbours, less a part of the groups' entropy H. The information is at most log K, which
    only groups of equal size reach: alone, it would rather cut a large class in two and join two
    small ones. A price near `information_per_nat` lets sizes be what they are; above it, one
    group of everything is best.

    The merges of `agglomerate` give the first grouping. While it raises that value, the fine
    cluster whose move raises it most is moved to another group. The same is done from
    `n_restarts` perturbed copies of the first grouping, of which the last is wholly random, and
    the best of all is returned.

    Parameters
    ----------
    joint : array of shape (m, m)
        Joint distribution of neighbours' fine clusters; not negative, not all 0.
    n_classes : int
        At least 1. With more groups than fine clusters in use, groups stay empty.
    entropy_price : float, default=0.0
        What a nat of the groups' entropy takes off the information, from 0 to 1.
    least_mass : float, default=0.0
        Share of the images that a group should hold, from 0 to 1 / n_classes: a price alone would
        make a class of a few odd images that are far from all others, and join two classes for
        it. A grouping with smaller groups is returned only if none was found without.
    n_restarts : int, default=20
        At least 0.
    random_state : int, numpy Generator or None
        Decides the perturbations.

    Returns
    -------
    Grouping
        A fine cluster that no image uses is in an arbitrary group.

    Raises
    ------
    InputError
        If `joint` is not such a matrix or a number is out of range.

    References
    ----------
    Slonim, Tishby (1999), Agglomerative Information Bottleneck, NIPS 12; Slonim, Friedman,
    Tishby (2002), Unsupervised document classification using sequential information
    maximization, SIGIR; Strouse, Schwab (2017), The deterministic information bottleneck,
    arXiv:1604.00268, for the groups' entropy.

    Examples
    --------
    >>> joint = [[0.2, 0.1, 0.0], [0.1, 0.2, 0.0], [0.0, 0.0, 0.4]]
    >>> group(joint, 2, random_state=0).classes.tolist()
    [0, 0, 1]
    """
    table = _checked_joint(joint)
    if n_classes < 1:
        raise InputError(f"n_classes must be at least 1. Got {n_classes}.")
    if n_restarts < 0:
        raise InputError(f"n_restarts must be at least 0. Got {n_restarts}.")
    if not 0 <= entropy_price <= 1:
        raise InputError(f"entropy_price must be from 0 to 1. Got {entropy_price}.")
    if not 0 <= least_mass <= 1 / n_classes:
        raise InputError(
            f"least_mass must be from 0 to 1 / n_classes, {1 / n_classes:.3g}. Got {least_mass}."
        )
    least_mass = max(least_mass, _SMALLEST_MASS)
    rng = np.random.default_rng(random_state)
    first = agglomerate(table, entropy_price).cut(n_classes)
    starts = [first, agglomerate(table).cut(n_classes)]
    for share in np.linspace(0, 1, n_restarts + 1)[1:]:
        drawn = rng.integers(n_classes, size=len(first))
        starts.append(np.where(rng.random(len(first)) < share, drawn, first))
    found = [_exchanged(table, start, n_classes, entropy_price, least_mass) for start in starts]
    # A price can make fewer groups worth more, but as many as were asked for are wanted.
    best = max(found, key=lambda one: (one.n_filled, one.value))
    return replace(best, classes=_largest_first(table, best.classes, n_classes))


def _exchanged(
    table: FloatArray,
    classes: IntArray,
    n_classes: int,
    entropy_price: float = 0.0,
    least_mass: float = _SMALLEST_MASS,
) -> Grouping:
    classes = classes.copy()
    member = np.eye(n_classes)[classes]
    mass = table.sum(axis=1)
    while True:
        gain = _move_gain(table, member, classes, entropy_price)
        left = (member.T @ mass)[classes] - mass
        gain[(left < least_mass) & (mass > _SMALLEST_MASS)] = -np.inf  # no group becomes too small
        cluster, target = np.unravel_index(int(gain.argmax()), gain.shape)
        if gain[cluster, target] <= _SMALLEST_GAIN:
            grouped = member.T @ table @ member
            n_filled = int((grouped.sum(axis=1) >= least_mass).sum())
            value = _value(grouped, entropy_price)
            return Grouping(classes, _information(grouped), value, n_filled)
        member[cluster] = 0
        member[cluster, target] = 1
        classes[cluster] = target


def _move_gain(
    table: FloatArray, member: FloatArray, classes: IntArray, entropy_price: float
) -> FloatArray:
    """Return the gain of moving each fine cluster to each group, (m, n_classes), in nats."""
    m, n_classes = member.shape
    every, groups = np.arange(m), np.arange(n_classes)
    own, mass = np.diag(table), table.sum(axis=1)
    shared = table @ member
    grouped = member.T @ shared
    shared[every, classes] -= own  # with the other members only
    without = np.repeat(grouped[None], m, axis=0)
    without[every, classes] -= shared
    without[every, :, classes] -= shared
    without[every, classes, classes] -= own
    margin = np.tile(grouped.sum(axis=1), (m, 1))
    margin[every, classes] -= mass

    # Joining group t changes its row and, alike, its column; the cell (t, t) is in both.
    change = _entropy_term(without + shared[:, None]) - _entropy_term(without)
    inside = without[:, groups, groups]
    value = 2 * (change.sum(axis=2) - change[:, groups, groups])
    value += _entropy_term(inside + 2 * shared + own[:, None]) - _entropy_term(inside)
    margins = _entropy_term(margin + mass[:, None]) - _entropy_term(margin)
    value -= (2 - entropy_price) * margins
    return np.asarray(value - value[every, classes][:, None])


def _largest_first(table: FloatArray, classes: IntArray, n_classes: int) -> IntArray:
    mass = np.bincount(classes, weights=table.sum(axis=1), minlength=n_classes)
    order = np.argsort(-mass, kind="stable")
    return np.argsort(order)[classes].astype(np.int64)
