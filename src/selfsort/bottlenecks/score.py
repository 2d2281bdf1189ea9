"""One-hot draws whose gradient is unbiased."""

from __future__ import annotations

import torch
from torch import Tensor

from selfsort.bottlenecks.base import check_counts
from selfsort.bottlenecks.categorical import Categorical


class LeaveOneOut(Categorical):
    """Several one-hot draws, each rewarded by how much better it does than the others.

    The gradient of ``E_q f(code)`` is the mean over draws of ``(f(code) - b) grad log q(code)``,
    with b the mean of f over the other draws. It is unbiased, since those do not depend on the
    draw, and nothing is relaxed: the decoder sees one-hot codes only. A step decodes each image
    `draws` times.

    Parameters
    ----------
    n_classes : int
    groups, categories
        See `Categorical`.
    draws : int, default=4
        At least 2.

    References
    ----------
    Kool, van Hoof, Welling (2019), "Buy 4 REINFORCE samples, get a baseline for free!".

    Examples
    --------
    >>> import torch
    >>> LeaveOneOut(n_classes=3, draws=2)(torch.zeros(5, 3)).shape  # in training mode
    torch.Size([10, 3])
    """

    name = "leave-one-out"

    def __init__(
        self, n_classes: int, groups: int = 1, categories: int | None = None, draws: int = 4
    ) -> None:
        super().__init__(n_classes, groups, categories)
        check_counts("LeaveOneOut", least=2, draws=draws)
        self.copies = draws

    def forward(
        self, logits: Tensor, progress: float = 1.0, generator: torch.Generator | None = None
    ) -> Tensor:
        if not self.training:
            return torch.softmax(self.grouped(logits), dim=-1).flatten(-2)
        return self.draw(logits.repeat_interleave(self.copies, dim=0), generator)

    def combine(self, logits: Tensor, code: Tensor, values: Tensor) -> Tensor:
        n, copies = values.shape
        drawn = self.grouped(code).view(n, copies, self.groups, -1)
        log_q = (drawn * self.log_probabilities(logits)[:, None]).sum((2, 3))
        others = (values.sum(1, keepdim=True) - values) / (copies - 1)
        score = ((values - others).detach() * log_q).mean(1)
        return values.mean(1) + score - score.detach()
