"""Bottlenecks: from logits to a code, a distribution over the classes.

A bottleneck has no weights. While training it may draw noise; in evaluation mode it is a
deterministic function, so that `predict` always gives the same answer. A new bottleneck is one
class in this file: registered by its ``name``, it is covered by the tests as it stands.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import ClassVar

import torch
from torch import Tensor, nn

from selfsort.errors import InputError, unknown_name

BOTTLENECKS: dict[str, type[Bottleneck]] = {}


class Bottleneck(nn.Module, ABC):
    """Turn logits ``(n, n_classes)`` into codes of the same shape, rows summing to 1."""

    name: ClassVar[str] = ""

    def __init_subclass__(cls) -> None:
        super().__init_subclass__()
        if cls.name:
            BOTTLENECKS[cls.name] = cls

    @abstractmethod
    def forward(
        self, logits: Tensor, progress: float = 1.0, generator: torch.Generator | None = None
    ) -> Tensor:
        """Return the codes.

        Parameters
        ----------
        logits : Tensor of shape (n, n_classes)
            Any finite numbers.
        progress : float in [0, 1], default=1.0
            How much of the training is done; temperatures follow it.
        generator : torch.Generator, optional
            Source of the noise, where there is any.
        """


def _check_temperature(owner: str, **temperatures: float) -> None:
    for name, value in temperatures.items():
        if not value > 0:
            raise InputError(
                f"The '{name}' parameter of {owner} must be a number above 0. "
                f"Got {value!r} instead."
            )


def gumbel_noise(like: Tensor, generator: torch.Generator | None) -> Tensor:
    """Return standard Gumbel noise of the shape, type and device of `like`.

    Drawn on the CPU, so that one seed gives the same noise on every device.
    """
    exponential = torch.empty(like.shape).exponential_(generator=generator)
    return -exponential.clamp_min(torch.finfo(exponential.dtype).tiny).log().to(like)


class Softmax(Bottleneck):
    """The code is ``softmax(logits / temperature)``.

    Parameters
    ----------
    temperature : float, default=1.0
        Dimensionless, above 0; small values give nearly one-hot codes.

    Examples
    --------
    >>> import torch
    >>> Softmax()(torch.tensor([[0.0, 0.0]]))
    tensor([[0.5000, 0.5000]])
    """

    name = "softmax"

    def __init__(self, temperature: float = 1.0) -> None:
        super().__init__()
        _check_temperature("Softmax", temperature=temperature)
        self.temperature = temperature

    def forward(
        self, logits: Tensor, progress: float = 1.0, generator: torch.Generator | None = None
    ) -> Tensor:
        return torch.softmax(logits / self.temperature, dim=-1)


class RectifiedSoftmax(Bottleneck):
    """The code is ``softmax(relu(logits))``: the question's own bottleneck, kept to show why not.

    The ReLU throws every negative logit away: a class can never be ruled out by less than the
    zero that all unused classes share, and a class whose logit is negative gets no gradient.

    Examples
    --------
    >>> import torch
    >>> RectifiedSoftmax()(torch.tensor([[-9.0, -5.0]]))
    tensor([[0.5000, 0.5000]])
    """

    name = "rectified-softmax"

    def forward(
        self, logits: Tensor, progress: float = 1.0, generator: torch.Generator | None = None
    ) -> Tensor:
        return torch.softmax(torch.relu(logits), dim=-1)


class Gumbel(Bottleneck):
    """Sample a nearly one-hot code through which the gradient flows.

    The code is ``softmax((logits + g) / t)`` with ``g`` standard Gumbel noise; ``t`` falls
    geometrically from ``start`` to ``end`` while training progresses. In evaluation mode there
    is no noise and the temperature is 1: the code is the distribution that was sampled from.

    Parameters
    ----------
    start, end : float, default=1.0, 0.5
        Temperature at progress 0 and 1, dimensionless, ``start >= end > 0``.

    References
    ----------
    Jang, Gu, Poole (2017), arXiv:1611.01144, equation 2.

    Examples
    --------
    >>> import torch
    >>> code = Gumbel()(torch.zeros(1, 3), progress=1.0, generator=torch.Generator())
    >>> round(float(code.sum()), 5)
    1.0
    """

    name = "gumbel"

    def __init__(self, start: float = 1.0, end: float = 0.5) -> None:
        super().__init__()
        _check_temperature("Gumbel", start=start, end=end)
        if start < end:
            raise InputError(
                f"The 'start' parameter of Gumbel must be at least 'end' ({end!r}). "
                f"Got {start!r} instead."
            )
        self.start = start
        self.end = end

    def temperature(self, progress: float) -> float:
        """Return the temperature at `progress` in [0, 1]."""
        return self.start * (self.end / self.start) ** progress

    def forward(
        self, logits: Tensor, progress: float = 1.0, generator: torch.Generator | None = None
    ) -> Tensor:
        if not self.training:
            return torch.softmax(logits, dim=-1)
        noisy = logits + gumbel_noise(logits, generator)
        return torch.softmax(noisy / self.temperature(progress), dim=-1)


class StraightThrough(Bottleneck):
    """One-hot code forward, the softmax's gradient backward.

    In evaluation mode too the code is one-hot: the class is all that passes.

    Parameters
    ----------
    temperature : float, default=1.0
        Of the softmax whose gradient is used, dimensionless, above 0.

    References
    ----------
    Bengio, Léonard, Courville (2013), arXiv:1308.3432, section 4.

    Examples
    --------
    >>> import torch
    >>> StraightThrough()(torch.tensor([[0.1, 2.0, 0.3]]))
    tensor([[0., 1., 0.]])
    """

    name = "straight-through"

    def __init__(self, temperature: float = 1.0) -> None:
        super().__init__()
        _check_temperature("StraightThrough", temperature=temperature)
        self.temperature = temperature

    def forward(
        self, logits: Tensor, progress: float = 1.0, generator: torch.Generator | None = None
    ) -> Tensor:
        soft = torch.softmax(logits / self.temperature, dim=-1)
        hard = torch.zeros_like(soft).scatter_(-1, soft.argmax(-1, keepdim=True), 1.0)
        # (soft - soft.detach()) is exactly zero forward and carries the gradient backward.
        return hard + (soft - soft.detach())


def make_bottleneck(name: str) -> Bottleneck:
    """Return the bottleneck registered as `name`, with its default parameters.

    Examples
    --------
    >>> make_bottleneck("gumble")
    Traceback (most recent call last):
    selfsort.errors.InputError: There is no bottleneck named 'gumble'. Did you mean 'gumbel'? \
Known bottlenecks: gumbel, rectified-softmax, softmax, straight-through.
    """
    if name not in BOTTLENECKS:
        raise unknown_name("bottleneck", name, BOTTLENECKS)
    return BOTTLENECKS[name]()
