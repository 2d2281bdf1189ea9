"""Neighbour graphs, and the grouping of fine clusters into classes.

Many fine clusters are easier to learn than a few classes. What joins them is a graph of
neighbouring images: the grouping that keeps the most mutual information between the groups of
neighbours is the best one. The same graph serves votes and label spreading.
"""

from selfsort.grouping.agglomeration import Agglomeration, agglomerate, choose_n_groups
from selfsort.grouping.exchange import Grouping, group, information_per_nat
from selfsort.grouping.information import joint_distribution, mutual_information
from selfsort.grouping.neighbours import nearest_neighbours
from selfsort.grouping.pixels import pixel_features
from selfsort.grouping.tangents import rank_by_tangents
from selfsort.grouping.votes import spread, vote

__all__ = [
    "Agglomeration",
    "Grouping",
    "agglomerate",
    "choose_n_groups",
    "group",
    "information_per_nat",
    "joint_distribution",
    "mutual_information",
    "nearest_neighbours",
    "pixel_features",
    "rank_by_tangents",
    "spread",
    "vote",
]
