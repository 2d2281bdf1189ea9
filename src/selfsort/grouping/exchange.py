"""Fine clusters to classes: the grouping that keeps the most information."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import ArrayLike

from selfsort.errors import InputError
from selfsort.grouping.agglomeration import agglomerate
from selfsort.grouping.information import (
    FloatArray,
    IntArray,
    checked_joint,
    entropy_term,
    information_of,
    value_of,
)

_SMALLEST_MASS = 1e-9  # fine clusters with less are of no image
_SMALLEST_GAIN = 1e-12  # nats; a smaller one is rounding, and could make moves go round in circles


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
    table = checked_joint(joint)
    found = _exchanged(table, agglomerate(table).cut(n_classes), n_classes)
    mass = np.eye(n_classes)[found.classes].T @ table.sum(axis=1)
    entropy = -float(entropy_term(mass).sum())
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
    table = checked_joint(joint)
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
            value = value_of(grouped, entropy_price)
            return Grouping(classes, information_of(grouped), value, n_filled)
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
    change = entropy_term(without + shared[:, None]) - entropy_term(without)
    inside = without[:, groups, groups]
    value = 2 * (change.sum(axis=2) - change[:, groups, groups])
    value += entropy_term(inside + 2 * shared + own[:, None]) - entropy_term(inside)
    margins = entropy_term(margin + mass[:, None]) - entropy_term(margin)
    value -= (2 - entropy_price) * margins
    return np.asarray(value - value[every, classes][:, None])


def _largest_first(table: FloatArray, classes: IntArray, n_classes: int) -> IntArray:
    mass = np.bincount(classes, weights=table.sum(axis=1), minlength=n_classes)
    order = np.argsort(-mass, kind="stable")
    return np.argsort(order)[classes].astype(np.int64)
