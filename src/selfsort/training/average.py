"""Averages of the weights over the steps."""

from __future__ import annotations

import itertools

import torch
from torch import nn
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn


class WarmAverage(AveragedModel):
    """A moving average whose decay grows with the steps t: ``(1 + t) / (10 + t)``, `decay` at most.

    With the full decay from the start, a short training would keep mostly its first weights.
    Buffers are averaged too. The steps are counted on the CPU, so that no GPU is waited for.

    Parameters
    ----------
    model : Module
    decay : float
        In [0, 1).

    Examples
    --------
    >>> model = nn.Linear(1, 1, bias=False)
    >>> average = WarmAverage(model, decay=0.99)
    >>> for value in (0.0, 1.0):
    ...     _ = nn.init.constant_(model.weight, value)
    ...     average.update_parameters(model)
    >>> round(average.module.weight.item(), 4)  # 1 - 2 / 11
    0.8182
    """

    def __init__(self, model: nn.Module, decay: float) -> None:
        super().__init__(model, use_buffers=True)
        self.decay = decay

    @torch.no_grad()
    def update_parameters(self, model: nn.Module) -> None:
        """Take the model's weights and buffers in."""
        step = int(self.n_averaged)
        update = get_ema_multi_avg_fn(min(self.decay, (1 + step) / (10 + step)))
        pairs = list(zip(_tensors(self.module), _tensors(model), strict=True))
        for floating in (True, False):
            chosen = [pair for pair in pairs if pair[0].is_floating_point() == floating]
            if chosen:
                averaged, current = (list(tensors) for tensors in zip(*chosen, strict=True))
                if step:
                    update(averaged, current, self.n_averaged)
                else:
                    torch._foreach_copy_(averaged, current)
        self.n_averaged += 1


def _tensors(module: nn.Module) -> itertools.chain[torch.Tensor]:
    return itertools.chain(module.parameters(), module.buffers())
