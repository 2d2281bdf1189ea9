"""The distribution itself as the code: deterministic, and every class a little in it."""

from __future__ import annotations

import torch
from torch import Tensor

from selfsort.bottlenecks.base import Bottleneck, check_positive


class Softmax(Bottleneck):
    """The code is ``softmax(logits / temperature)``.

    Parameters
    ----------
    n_classes : int
    temperature : float, default=1.0
        Dimensionless, above 0; small values give nearly one-hot codes.

    Examples
    --------
    >>> import torch
    >>> Softmax(n_classes=2)(torch.tensor([[0.0, 0.0]]))
    tensor([[0.5000, 0.5000]])
    """

    name = "softmax"
    steady = True

    def __init__(self, n_classes: int, temperature: float = 1.0) -> None:
        super().__init__(n_classes)
        check_positive("Softmax", temperature=temperature)
        self.temperature = temperature

    def forward(
        self, logits: Tensor, progress: float = 1.0, generator: torch.Generator | None = None
    ) -> Tensor:
        return torch.softmax(logits / self.temperature, dim=-1)


class RectifiedSoftmax(Bottleneck):
    """The code is ``softmax(relu(logits))``: the question's own bottleneck, kept to show why not.

    The ReLU throws every negative logit away: a class can never be ruled out by less than the
    zero that all unused classes share, and a class whose logit is negative gets no gradient.

    Parameters
    ----------
    n_classes : int

    Examples
    --------
    >>> import torch
    >>> RectifiedSoftmax(n_classes=2)(torch.tensor([[-9.0, -5.0]]))
    tensor([[0.5000, 0.5000]])
    """

    name = "rectified-softmax"
    steady = True

    def forward(
        self, logits: Tensor, progress: float = 1.0, generator: torch.Generator | None = None
    ) -> Tensor:
        return torch.softmax(torch.relu(logits), dim=-1)

    def class_logits(self, logits: Tensor, code: Tensor) -> Tensor:
        return torch.relu(logits)
