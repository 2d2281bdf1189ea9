"""Normal distributions with independent coordinates, as (mean, logarithm of the variance)."""

from __future__ import annotations

import math

import torch
from torch import Tensor

LEAST_LOG_VARIANCE = -8.0
"""And minus the largest one."""
Normal = tuple[Tensor, Tensor]


def normal_of(parameters: Tensor) -> Normal:
    """Return mean and log-variance ``(n, d)`` each, from numbers ``(n, 2 d)`` of any size."""
    mean, log_variance = parameters.chunk(2, dim=1)
    return mean, log_variance.clamp(LEAST_LOG_VARIANCE, -LEAST_LOG_VARIANCE)


def draw_normal(normal: Normal, generator: torch.Generator | None) -> Tensor:
    """Return one draw of each, through which the gradient flows; noise comes from the CPU."""
    mean, log_variance = normal
    noise = torch.randn(mean.shape, generator=generator).to(mean)
    return mean + (log_variance / 2).exp() * noise


def log_normal(x: Tensor, normal: Normal) -> Tensor:
    """Return the log-density at ``x``, summed over the last dimension.

    Examples
    --------
    >>> import torch
    >>> standard = torch.zeros(1, 2), torch.zeros(1, 2)
    >>> log_normal(torch.zeros(1, 2), standard)  # - log 2 pi
    tensor([-1.8379])
    """
    mean, log_variance = normal
    square = (x - mean).square() / log_variance.exp()
    return -0.5 * (square + log_variance + math.log(2 * math.pi)).sum(-1)


def normal_divergence(posterior: Normal, prior: Normal) -> Tensor:
    """Return ``KL(posterior || prior)`` in nats, summed over the last dimension.

    Examples
    --------
    >>> import torch
    >>> moved = torch.ones(1, 2), torch.zeros(1, 2)
    >>> standard = torch.zeros(1, 2), torch.zeros(1, 2)
    >>> normal_divergence(moved, standard)
    tensor([1.])
    """
    (mean, log_variance), (prior_mean, prior_log) = posterior, prior
    square = (mean - prior_mean).square() / prior_log.exp()
    ratio = log_variance - prior_log
    return 0.5 * (ratio.exp() + square - 1 - ratio).sum(-1)
