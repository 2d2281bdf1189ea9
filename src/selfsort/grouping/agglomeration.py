"""Fine clusters merged step by step, and how many groups that suggests."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike

from selfsort.errors import InputError
from selfsort.grouping.information import (
    FloatArray,
    IntArray,
    checked_joint,
    entropy_term,
    information_of,
)


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
    table = checked_joint(joint)
    m = len(table)
    information = np.zeros(m)
    information[m - 1] = information_of(table)
    merges = np.zeros((m - 1, 2), dtype=np.int64)
    alive = np.ones(m, dtype=bool)
    sums = np.stack([entropy_term(row + table).sum(axis=1) for row in table])
    for step in range(m - 1):
        change = _merge_change(table, sums, entropy_price)
        change[~(np.triu(np.ones_like(table, dtype=bool), 1) & np.outer(alive, alive))] = -np.inf
        kept, joined = np.unravel_index(int(change.argmax()), change.shape)
        merges[step] = kept, joined
        alive[joined] = False
        table, sums = _merged(table, sums, int(kept), int(joined))
        information[m - 2 - step] = information_of(table)
    return Agglomeration(merges, information)


def _merge_change(table: FloatArray, sums: FloatArray, entropy_price: float) -> FloatArray:
    """Return the change of what `group` maximises for each pair merged, (m, m).

    `sums` holds, for rows a and b, the entropy terms of their sum added up over all columns.
    Columns a and b are merged as well, so the four cells where they cross are counted apart.
    """
    cells = entropy_term(table)
    own, rows, mass = np.diag(table), cells.sum(axis=1), table.sum(axis=1)
    beside = entropy_term(own[:, None] + table)  # the merged row in column a, before merging it
    outside = sums - beside - beside.T
    outside = outside - np.add.outer(rows, rows) + np.add.outer(np.diag(cells), np.diag(cells))
    outside += 2 * cells
    inside = entropy_term(np.add.outer(own, own) + 2 * table)
    inside = inside - np.add.outer(np.diag(cells), np.diag(cells)) - 2 * cells
    masses = entropy_term(mass)
    margins = entropy_term(np.add.outer(mass, mass)) - np.add.outer(masses, masses)
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
    sums[kept] = sums[:, kept] = entropy_term(new[kept] + new).sum(axis=1)
    return new, sums


def _pair_terms(column: FloatArray) -> FloatArray:
    return entropy_term(np.add.outer(column, column))


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
