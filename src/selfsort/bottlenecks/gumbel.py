"""The Gumbel-softmax: samples through which the gradient flows."""

from __future__ import annotations

import torch
from torch import Tensor

from selfsort.bottlenecks.base import check_positive, gumbel_noise
from selfsort.bottlenecks.categorical import Categorical
from selfsort.errors import InputError


class Gumbel(Categorical):
    """Sample nearly one-hot codes through which the gradient flows.

    The code is ``softmax((logits + g) / t)`` in each group, with ``g`` standard Gumbel noise;
    ``t`` falls geometrically from ``start`` to ``end`` while training progresses. In evaluation
    mode there is no noise and the temperature is 1: the code is the distribution that was sampled
    from.

    Parameters
    ----------
    n_classes : int
    groups, categories
        See `Categorical`.
    start, end : float, default=1.0, 0.5
        Temperature at progress 0 and 1, dimensionless, ``start >= end > 0``.
    straight_through : bool, default=False
        Whether the decoder gets one-hot codes, and the gradient that of the soft ones.

    References
    ----------
    Jang, Gu, Poole (2017), arXiv:1611.01144, equation 2 and section 2.2; Maddison, Mnih, Teh
    (2017), arXiv:1611.00712.

    Examples
    --------
    >>> import torch
    >>> bottleneck = Gumbel(n_classes=3)
    >>> code = bottleneck(torch.zeros(1, 3), progress=1.0, generator=torch.Generator())
    >>> round(float(code.sum()), 5)
    1.0
    """

    name = "gumbel"

    def __init__(
        self,
        n_classes: int,
        groups: int = 1,
        categories: int | None = None,
        start: float = 1.0,
        end: float = 0.5,
        straight_through: bool = False,
    ) -> None:
        super().__init__(n_classes, groups, categories)
        check_positive("Gumbel", start=start, end=end)
        if start < end:
            raise InputError(
                f"The 'start' parameter of Gumbel must be at least 'end' ({end!r}). "
                f"Got {start!r} instead."
            )
        self.start = start
        self.end = end
        self.straight_through = straight_through

    def temperature(self, progress: float) -> float:
        """Return the temperature at `progress` in [0, 1]."""
        return self.start * (self.end / self.start) ** progress

    def forward(
        self, logits: Tensor, progress: float = 1.0, generator: torch.Generator | None = None
    ) -> Tensor:
        if not self.training:
            return torch.softmax(self.grouped(logits), dim=-1).flatten(-2)
        noisy = logits + gumbel_noise(logits, generator)
        soft = torch.softmax(self.grouped(noisy) / self.temperature(progress), dim=-1).flatten(-2)
        if not self.straight_through:
            return soft
        return self.one_hot(noisy) + (soft - soft.detach())
