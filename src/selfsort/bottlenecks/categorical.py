"""Codes of one or several groups of categories: what those bottlenecks share."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from selfsort.bottlenecks.base import ClassReader, Variational, check_counts, gumbel_noise


class Categorical(Variational):
    """A code of `groups` one-hot vectors of `categories` each, with a uniform prior.

    Parameters
    ----------
    n_classes : int
    groups : int, default=1
    categories : int or None, default=None
        None: one for each class.
    width : int or None, default=None
        Numbers in the code of a group; None: one a category.

    Notes
    -----
    One group of as many categories as there are classes names the class. Otherwise classes are
    read from the expected codes (see `ClassReader`).
    """

    def __init__(
        self,
        n_classes: int,
        groups: int = 1,
        categories: int | None = None,
        width: int | None = None,
    ) -> None:
        categories = n_classes if categories is None else categories
        check_counts(type(self).__name__, groups=groups)
        check_counts(type(self).__name__, least=min(2, n_classes), categories=categories)
        super().__init__(n_classes, groups * (categories if width is None else width))
        self.groups = groups
        self.categories = categories
        if (groups, categories) != (1, n_classes):
            self.reader = ClassReader(n_classes, self.code_dim)

    def grouped(self, rows: Tensor) -> Tensor:
        """Return rows ``(n, groups * width)`` as ``(n, groups, width)``."""
        return rows.unflatten(-1, (self.groups, rows.shape[-1] // self.groups))

    def log_probabilities(self, logits: Tensor) -> Tensor:
        """Return the posterior's log-probabilities, ``(n, groups, categories)``."""
        return torch.log_softmax(self.grouped(logits), dim=-1)

    def one_hot(self, noisy: Tensor) -> Tensor:
        """Return the largest category of each group as one-hot codes ``(n, code_dim)``."""
        grouped = self.grouped(noisy)
        largest = grouped.argmax(-1, keepdim=True)
        return torch.zeros_like(grouped).scatter_(-1, largest, 1.0).flatten(-2)

    def divergence(
        self, logits: Tensor, code: Tensor, generator: torch.Generator | None = None
    ) -> Tensor:
        log_q = self.log_probabilities(logits)
        return (log_q.exp() * (log_q + math.log(self.categories))).sum((1, 2))

    def draw(self, logits: Tensor, generator: torch.Generator | None = None) -> Tensor:
        return self.one_hot(logits + gumbel_noise(logits, generator))

    def log_ratio(self, logits: Tensor, code: Tensor) -> Tensor:
        log_q = (self.grouped(code) * self.log_probabilities(logits)).sum((1, 2))
        return -self.groups * math.log(self.categories) - log_q

    def prior(self, n: int, generator: torch.Generator | None = None) -> Tensor:
        return self.draw(torch.zeros(n, self.code_dim), generator)

    def prior_of(self, classes: Tensor, generator: torch.Generator | None = None) -> Tensor:
        if self.reader is None:
            return torch.eye(self.code_dim)[classes]
        return super().prior_of(classes, generator)
