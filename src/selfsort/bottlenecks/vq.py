"""Vector quantisation: the nearest of some learned vectors."""

from __future__ import annotations

import math

import torch
from torch import Tensor
from torch.nn import functional as F

from selfsort.bottlenecks.base import (
    check_counts,
    check_positive,
    check_shares,
    gumbel_noise,
)
from selfsort.bottlenecks.categorical import Categorical

LEAST_USE = 0.05
"""Of a vector's fair share: vectors used less are moved to where images are."""


class VectorQuantised(Categorical):
    """The code of each group is the nearest of `categories` vectors; it is a k-means of the logits.

    The vectors are means of the logits they are nearest to, averaged over the steps. Vectors that
    fall out of use start again from the logits of an image. The gradient of the code is handed to
    the logits as it is, and the logits are pulled to their vectors by the commitment,
    ``commitment * |logits - vector|^2``.

    While training the posterior is a point, which costs ``log(categories)`` nats a group, and the
    commitment is added to that. For likelihoods and probabilities it is that of a mixture of
    normal distributions around the vectors, with one variance.

    Parameters
    ----------
    n_classes : int
    groups, categories
        See `Categorical`.
    width : int, default=16
        Numbers in a vector.
    decay : float, default=0.99
        Of the average over steps, in [0, 1).
    commitment : float, default=0.25
        Above 0.

    References
    ----------
    van den Oord, Vinyals, Kavukcuoglu (2017), arXiv:1711.00937, equation 3 and appendix A.1.

    Examples
    --------
    >>> import torch
    >>> bottleneck = VectorQuantised(n_classes=3, width=2)
    >>> bottleneck(torch.randn(5, 2)).shape
    torch.Size([5, 2])
    """

    name = "vq"
    vectors: Tensor
    use: Tensor
    sums: Tensor
    variance: Tensor
    started: Tensor

    def __init__(
        self,
        n_classes: int,
        groups: int = 1,
        categories: int | None = None,
        width: int = 16,
        decay: float = 0.99,
        commitment: float = 0.25,
    ) -> None:
        super().__init__(n_classes, groups, categories, width)
        check_counts("VectorQuantised", width=width)
        check_positive("VectorQuantised", commitment=commitment)
        check_shares("VectorQuantised", decay=decay)
        self.width, self.decay, self.commitment = width, decay, commitment
        shape = (groups, self.categories, width)
        self.register_buffer("vectors", torch.randn(shape))
        self.register_buffer("use", torch.ones(shape[:2]))
        self.register_buffer("sums", torch.zeros(shape))
        self.register_buffer("variance", torch.ones(1))
        self.register_buffer("started", torch.zeros(1))

    @property
    def names_classes(self) -> bool:
        """Never: the logits are places among the vectors."""
        return False

    def distances(self, logits: Tensor) -> Tensor:
        """Return squared distances to all vectors, ``(n, groups, categories)``."""
        rows = self.grouped(logits).transpose(0, 1)
        return torch.cdist(rows, self.vectors).square().transpose(0, 1)

    def log_probabilities(self, logits: Tensor) -> Tensor:
        return torch.log_softmax(-self.distances(logits) / (2 * self.variance), dim=-1)

    def looked_up(self, index: Tensor) -> Tensor:
        """Return the vectors of categories ``(n, groups)`` as codes ``(n, code_dim)``."""
        groups = torch.arange(self.groups, device=index.device)
        return self.vectors[groups, index].flatten(1)

    def forward(
        self, logits: Tensor, progress: float = 1.0, generator: torch.Generator | None = None
    ) -> Tensor:
        learning = self.training and not self.frozen
        if learning:
            self._start(logits.detach(), generator)
        index = self.distances(logits.detach()).argmin(-1)
        code = self.looked_up(index)
        if learning:
            self._follow(logits.detach(), index, generator)
        return code + (logits - logits.detach())

    @torch.no_grad()
    def _start(self, logits: Tensor, generator: torch.Generator | None) -> None:
        """Take the first vectors from the first images."""
        if not self.started:
            chosen = torch.randint(len(logits), (self.categories,), generator=generator)
            self.vectors.copy_(self.grouped(logits[chosen.to(logits.device)]).transpose(0, 1))
            self.sums.copy_(self.vectors)
            self.started.fill_(1)

    @torch.no_grad()
    def _follow(self, logits: Tensor, index: Tensor, generator: torch.Generator | None) -> None:
        """Move each vector towards the mean of the logits it was nearest to."""
        rows = self.grouped(logits)
        chosen = F.one_hot(index, self.categories).to(rows)
        # Counted in images a batch, as if each vector had its share: no batch is like another.
        share = self.categories / len(rows)
        self.use.lerp_(share * chosen.sum(0), 1 - self.decay)
        self.sums.lerp_(share * torch.einsum("ngk,ngd->gkd", chosen, rows), 1 - self.decay)
        self.vectors.copy_(self.sums / self.use[..., None].clamp_min(LEAST_USE / 10))
        error = (logits - self.looked_up(index)).square().mean()
        self.variance.lerp_(error.clamp_min(1e-6), 1 - self.decay)
        for group, category in (self.use < LEAST_USE).nonzero().tolist():
            place = int(torch.randint(len(rows), (), generator=generator))
            self.vectors[group, category] = self.sums[group, category] = rows[place, group]
            self.use[group, category] = 1.0

    def divergence(
        self, logits: Tensor, code: Tensor, generator: torch.Generator | None = None
    ) -> Tensor:
        if not self.training:
            return super().divergence(logits, code, generator)
        distance = (logits - code.detach()).square().sum(1)
        return self.groups * math.log(self.categories) + self.commitment * distance

    def draw(self, logits: Tensor, generator: torch.Generator | None = None) -> Tensor:
        log_q = self.log_probabilities(logits)
        return self.looked_up((log_q + gumbel_noise(log_q, generator)).argmax(-1))

    def log_ratio(self, logits: Tensor, code: Tensor) -> Tensor:
        index = self.distances(code).argmin(-1, keepdim=True)
        log_q = self.log_probabilities(logits).gather(-1, index).sum((1, 2))
        return -self.groups * math.log(self.categories) - log_q

    def prior(self, n: int, generator: torch.Generator | None = None) -> Tensor:
        size = (n, self.groups)
        index = torch.randint(self.categories, size, generator=generator)
        return self.looked_up(index)

    def prior_of(self, classes: Tensor, generator: torch.Generator | None = None) -> Tensor:
        if self.reader is None:
            return self.looked_up(classes[:, None])
        return super().prior_of(classes, generator)

    def class_logits(self, logits: Tensor, code: Tensor) -> Tensor:
        if self.reader is None:
            return self.log_probabilities(logits)[:, 0]
        return super().class_logits(logits, code)

    def prototype_codes(self) -> Tensor:
        return self.vectors[0] if self.reader is None else self.reader.centres
