"""Batch normalisation over the batch of all processes."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from selfsort import parallel


class CommonBatchNorm(_BatchNorm):
    """PyTorch's own layer, with the statistics of all processes while training.

    PyTorch's `SyncBatchNorm` knows GPUs only. Weights, statistics and their names stay as they
    are: a model that was trained with others is saved, loaded and used like any other.
    """

    def __init__(self, layer: _BatchNorm) -> None:
        super().__init__(
            layer.num_features, layer.eps, layer.momentum, layer.affine, layer.track_running_stats
        )
        self._parameters, self._buffers = layer._parameters, layer._buffers
        self.training = layer.training

    def _check_input_dim(self, input: Any) -> None:
        """Take any: the layer that was replaced has checked the network's first input."""

    def forward(self, input: Tensor) -> Tensor:
        """Return rows ``(n, d)`` or maps ``(n, d, h, w)``, normalised."""
        if not self.training or parallel.n_processes() == 1:
            return super().forward(input)
        count, mean, variance = _common_moments(input)
        with torch.no_grad():
            self._remember(count, mean, variance)
        scale = torch.rsqrt(variance + self.eps)
        if self.affine:
            scale = scale * self.weight
        shift = -mean * scale
        if self.affine:
            shift = shift + self.bias
        places = (1, -1, *(1 for _ in input.shape[2:]))
        return (input.float() * scale.view(places) + shift.view(places)).to(input.dtype)

    def _remember(self, count: Tensor, mean: Tensor, variance: Tensor) -> None:
        if self.num_batches_tracked is None or self.running_mean is None:
            return
        self.num_batches_tracked.add_(1)
        share = self.momentum
        if share is None:  # a plain mean over the batches
            share = 1 / int(self.num_batches_tracked)
        assert self.running_var is not None  # noqa: S101 - both are tracked, or none
        self.running_mean.lerp_(mean, share)
        self.running_var.lerp_(variance * (count / (count - 1).clamp_min(1)), share)


def _common_moments(values: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Return how many values each unit has in all processes, their mean and their variance.

    A process without a row takes part too: the others wait for it, also on the way back.
    """
    values = values.float()
    others = [0, *range(2, values.ndim)]
    n = values.numel() // values.shape[1]
    # Squares of sums in float64, for what is left of their difference is small.
    sums = values.sum(others).double()
    if n:
        variance, mean = torch.var_mean(values, others, correction=0)
        squares = n * (variance.double() + mean.double().square())
    else:
        squares = sums
    common = parallel.summed(torch.stack([torch.full_like(sums, n), sums, squares]))
    count, mean = common[0].detach(), common[1] / common[0]
    variance = (common[2] / common[0] - mean.square()).clamp_min(0)
    return count.float(), mean.float(), variance.float()


def normalise_together(model: nn.Module) -> None:
    """Let every batch normalisation in a model use the statistics of all processes."""
    for module in list(model.modules()):
        for name, child in module.named_children():
            if isinstance(child, _BatchNorm) and not isinstance(child, CommonBatchNorm):
                setattr(module, name, CommonBatchNorm(child))
