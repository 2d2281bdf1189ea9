"""One-hot codes without noise."""

from __future__ import annotations

import torch
from torch import Tensor

from selfsort.bottlenecks.base import Bottleneck, check_positive


class StraightThrough(Bottleneck):
    """One-hot code forward, the softmax's gradient backward.

    In evaluation mode too the code is one-hot: the class is all that passes.

    Parameters
    ----------
    n_classes : int
    temperature : float, default=1.0
        Of the softmax whose gradient is used, dimensionless, above 0.

    References
    ----------
    Bengio, Léonard, Courville (2013), arXiv:1308.3432, section 4.

    Examples
    --------
    >>> import torch
    >>> StraightThrough(n_classes=3)(torch.tensor([[0.1, 2.0, 0.3]]))
    tensor([[0., 1., 0.]])
    """

    name = "straight-through"

    def __init__(self, n_classes: int, temperature: float = 1.0) -> None:
        super().__init__(n_classes)
        check_positive("StraightThrough", temperature=temperature)
        self.temperature = temperature

    def forward(
        self, logits: Tensor, progress: float = 1.0, generator: torch.Generator | None = None
    ) -> Tensor:
        soft = torch.softmax(logits / self.temperature, dim=-1)
        hard = torch.zeros_like(soft).scatter_(-1, soft.argmax(-1, keepdim=True), 1.0)
        # (soft - soft.detach()) is exactly zero forward and carries the gradient backward.
        return hard + (soft - soft.detach())
