"""An autoencoder under examination: how it is run, what it is trained for, and with what."""

from __future__ import annotations

import copy
import dataclasses
import inspect
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, TypeAlias

import torch
from torch import Tensor, nn

from selfsort.doctor.trace import Step, Trace
from selfsort.errors import InputError

Loss: TypeAlias = Callable[..., Tensor | Mapping[str, Tensor]]
MakeOptimizer: TypeAlias = Callable[[Iterable[nn.Parameter]], torch.optim.Optimizer]


@dataclass
class Patient:
    """A module with its images, loss and optimizer.

    Attributes
    ----------
    module : nn.Module
        As it was given; trials work on copies.
    images : Tensor of shape (n, channels, height, width)
        As the module gets them, prepared.
    labels : Tensor of shape (n,) or None
    loss : callable
        ``loss(output, images)`` or ``loss(output, images, labels)``: a number, or a number for
        each name of a term.
    make_optimizer : callable
        ``optimizer(parameters)``.
    batch_size : int
    flat : bool
        Whether the module takes rows of pixels in place of images.
    """

    module: nn.Module
    images: Tensor
    labels: Tensor | None
    loss: Loss
    make_optimizer: MakeOptimizer
    batch_size: int
    flat: bool = False

    @property
    def name(self) -> str:
        """Return the name of the module's class."""
        return type(self.module).__name__

    def copy(self) -> nn.Module:
        """Return a copy of the module, with the weights it came with."""
        try:
            return copy.deepcopy(self.module)
        except Exception as error:  # whatever a stranger's module raises
            raise InputError(
                f"{self.name} cannot be copied ({type(error).__name__}: {error}). "
                "Keep no tensors in it that are results of other tensors."
            ) from error

    def batches(self, n_batches: int, generator: torch.Generator) -> Iterator[Tensor]:
        """Yield the positions of the images of each batch, all images before any again."""
        left = torch.empty(0, dtype=torch.int64)
        size = min(self.batch_size, len(self.images))
        for _ in range(n_batches):
            if len(left) < size:
                left = torch.randperm(len(self.images), generator=generator)
            yield left[:size]
            left = left[size:]

    def run(self, module: nn.Module, images: Tensor) -> Any:
        """Return what a module makes of prepared images."""
        return module(images.flatten(1) if self.flat else images)

    def reconstruction(self, output: Any, images: Tensor) -> Tensor:
        """Return the part of an output that has as many numbers as the images.

        Raises
        ------
        InputError
            If there is none.
        """
        for tensor in tensors(output):
            if tensor.numel() == images.numel() and tensor.is_floating_point():
                return tensor
        shapes = ", ".join(str(tuple(tensor.shape)) for tensor in tensors(output)) or "nothing"
        raise InputError(
            f"{self.name} gives {shapes} for images of shape {tuple(images.shape)}: none of it is "
            "a reconstruction. The doctor is for autoencoders: return the rebuilt images."
        )

    def terms(self, output: Any, images: Tensor, labels: Tensor | None) -> dict[str, Tensor]:
        """Return each term of the loss, with its multiplier; they add up to it."""
        more = () if labels is None or _n_arguments(self.loss) < 3 else (labels,)
        with Trace(images) as trace:
            loss = self.loss(output, images, *more)
        terms = dict(loss) if isinstance(loss, Mapping) else addends(trace, loss)
        for name, term in terms.items():
            if not isinstance(term, Tensor) or term.numel() != 1:
                raise InputError(
                    f"The loss of {self.name} must be one number, or a dict with one for each "
                    f"term. Got {_kind(term)} for '{name}' instead."
                )
        return {name: term.reshape(()) for name, term in terms.items()}

    def with_optimizer(self, make_optimizer: MakeOptimizer) -> Patient:
        """Return the same patient with another optimizer."""
        return dataclasses.replace(self, make_optimizer=make_optimizer)

    def labels_of(self, rows: Tensor) -> Tensor | None:
        """Return the labels of some images, where there are labels."""
        return None if self.labels is None else self.labels[rows]


def tensors(output: Any) -> Iterator[Tensor]:
    """Yield every tensor in an output, however it is packed.

    Examples
    --------
    >>> import torch
    >>> [len(t) for t in tensors({"image": torch.zeros(3), "code": (torch.zeros(2), None)})]
    [3, 2]
    """
    if isinstance(output, Tensor):
        yield output
    elif isinstance(output, Mapping):
        yield from tensors(list(output.values()))
    elif isinstance(output, list | tuple):
        for part in output:
            yield from tensors(part)


def addends(trace: Trace, loss: Any) -> dict[str, Tensor]:
    """Return the parts that a loss is the sum of, each named by the function it comes from.

    Examples
    --------
    >>> import torch
    >>> with Trace(torch.ones(2)) as trace:
    ...     loss = trace.source.result.abs().sum() + 3 * trace.source.result.exp().mean()
    >>> {name: round(float(part), 2) for name, part in addends(trace, loss).items()}
    {'abs': 2.0, 'exp': 8.15}
    """
    parts: list[tuple[str, Tensor]] = []
    waiting = [(loss, 1)]
    while waiting:
        tensor, sign = waiting.pop()
        step = trace.maker(tensor) if isinstance(tensor, Tensor) else None
        if step is not None and step.name in _SUMS and len(step.operands) == 2:
            first, second = _SUMS[step.name]
            waiting += [
                (step.operands[1], second * sign),
                (step.operands[0], first * sign),
            ]
        else:
            parts.append((_origin(step), tensor if sign > 0 else -tensor))
    names = [name for name, _ in parts]
    return {
        name if names.count(name) == 1 else f"{name} {i + 1}": part
        for i, (name, part) in enumerate(parts)
    }


_SUMS = {
    "add": (1, 1),
    "radd": (1, 1),
    "iadd": (1, 1),
    "sub": (1, -1),
    "isub": (1, -1),
    "rsub": (-1, 1),
}
"""Operations that add up, with the sign of each operand."""
_SCALING = {"mul", "rmul", "imul", "div", "truediv", "mean", "sum", "neg", "rsub", "sub"}


def _origin(step: Step | None) -> str:
    while step is not None and step.name in _SCALING and step.inputs:
        step = step.inputs[0]
    return "loss" if step is None or step.name == "source" else step.name


def squared_error(output: Any, images: Tensor) -> Tensor:
    """Return the mean squared error of the reconstruction: the loss where none is given."""
    for tensor in tensors(output):
        if tensor.numel() == images.numel():
            return nn.functional.mse_loss(tensor.reshape(images.shape), images)
    raise InputError(f"There is no reconstruction of shape {tuple(images.shape)} in the output.")


def adam(parameters: Iterable[nn.Parameter]) -> torch.optim.Optimizer:
    """Return Adam as PyTorch sets it up: the optimizer where none is given."""
    return torch.optim.Adam(parameters)


def _n_arguments(function: Callable[..., Any]) -> int:
    try:
        return len(inspect.signature(function).parameters)
    except ValueError:  # a built-in function does not tell
        return 2


def _kind(value: Any) -> str:
    return f"shape {tuple(value.shape)}" if isinstance(value, Tensor) else type(value).__name__
