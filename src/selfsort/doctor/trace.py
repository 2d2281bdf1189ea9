"""What happens to images on their way through a module: every operation, and what feeds it."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode


@dataclass(eq=False)
class Step:
    """One operation.

    Attributes
    ----------
    name : str
        PyTorch's name of it, such as ``"relu"`` or ``"__add__"``.
    where : str
        The innermost submodule that it ran in, such as ``"encoder.2"``; "" for the module itself.
    inputs : list of Step
        What it read, so far as that was made on the way.
    output : Tensor
        What came out, without its gradient.
    arguments : dict
        All other arguments, by their name where that is known, else by position.
    operands : list of Tensor
        The tensors it read, weights included.
    result : Tensor
        What came out, with its gradient.
    """

    name: str
    where: str
    inputs: list[Step]
    output: Tensor
    result: Tensor
    arguments: dict[str | int, Any] = field(default_factory=dict)
    operands: list[Tensor] = field(default_factory=list)

    def width(self, n_images: int) -> float:
        """Return how many numbers stand for one image."""
        return self.output.numel() / n_images


class Trace(TorchFunctionMode):
    """Records the operations that run inside ``with`` and what feeds each of them.

    Examples
    --------
    >>> import torch
    >>> trace = Trace(torch.zeros(1, 2))
    >>> with trace:
    ...     y = torch.relu(trace.source.result + 1)
    >>> [step.name for step in trace.steps]
    ['source', 'add', 'relu']
    """

    def __init__(self, source: Tensor) -> None:
        super().__init__()
        self.source = Step("source", "", [], source.detach(), source)
        self.steps = [self.source]
        self._made_by = {id(source): self.source}
        self._inside: list[str] = []

    def __torch_function__(
        self,
        func: Callable[..., Any],
        types: Sequence[type],
        args: Sequence[Any] = (),
        kwargs: dict[str, Any] | None = None,
    ) -> Any:
        kwargs = kwargs or {}
        try:
            out = func(*args, **kwargs)
        except Exception:  # what it was given says why
            self._record(func, args, kwargs, torch.tensor(torch.nan))
            raise
        if isinstance(out, Tensor | tuple | list):
            self._record(func, args, kwargs, out)
        return out

    def _record(self, func: Any, args: Sequence[Any], kwargs: dict[str, Any], out: Any) -> None:
        operands = list(_tensors([*args, *kwargs.values()]))
        name = getattr(func, "__name__", str(func)).strip("_")
        if name.endswith("_like"):  # of the operand, only the shape is used
            operands = []
        elif name.endswith("_as"):
            operands = operands[:1]
        found = {id(step): step for step in map(self.maker, operands) if step}
        arguments: dict[str | int, Any] = {
            name: value
            for name, value in _named(func, args, kwargs).items()
            if not isinstance(value, Tensor)
        }
        where = self._inside[-1] if self._inside else ""
        for tensor in _tensors([out]):
            step = Step(
                name,
                where,
                list(found.values()),
                tensor.detach(),
                tensor,
                arguments,
                operands,
            )
            self.steps.append(step)
            self._made_by[id(tensor)] = step

    def maker(self, tensor: Tensor) -> Step | None:
        """Return the step that made a tensor, or None: a weight, or a constant."""
        return self._made_by.get(id(tensor))

    @contextmanager
    def naming(self, module: nn.Module) -> Iterator[None]:
        """Note in which submodule each operation runs."""

        def enter(name: str) -> Callable[..., None]:
            return lambda *_: self._inside.append(name)

        def leave(*_: Any) -> None:
            self._inside.pop()

        handles: list[Any] = []
        for name, part in module.named_modules():
            handles.append(part.register_forward_pre_hook(enter(name)))
            handles.append(part.register_forward_hook(leave, always_call=True))
        try:
            yield
        finally:
            for handle in handles:
                handle.remove()

    def before(self, step: Step) -> set[Step]:
        """Return every step that leads to a step, itself included."""
        found: set[Step] = set()
        waiting = [step]
        while waiting:
            each = waiting.pop()
            if each not in found:
                found.add(each)
                waiting += each.inputs
        return found

    def between(self, start: Step, end: Step, without: Step | None = None) -> list[Step]:
        """Return the steps on the ways from one step to another, in order, both included.

        Empty if no way leads there. With `without`, ways through that step do not count.
        """
        reached = {start} - {without}
        for step in self.steps:
            if step is not without and any(each in reached for each in step.inputs):
                reached.add(step)
        if end not in reached:
            return []
        leads: set[Step] = set()
        waiting = [end]
        while waiting:
            each = waiting.pop()
            if each in reached and each not in leads:
                leads.add(each)
                waiting += each.inputs
        return [step for step in self.steps if step in leads]

    def gates(self, start: Step, end: Step) -> list[Step]:
        """Return the steps that every way from one step to another passes, in order.

        Examples
        --------
        >>> import torch
        >>> trace = Trace(torch.zeros(1, 2))
        >>> with trace:
        ...     a = trace.source.result.exp()
        ...     b = torch.relu(a) + torch.sin(a)
        >>> [step.name for step in trace.gates(trace.source, trace.steps[-1])]
        ['source', 'exp', 'add']
        """
        path = self.between(start, end)
        return [
            step
            for step in path
            if step in (start, end) or not self.between(start, end, without=step)
        ]


def _tensors(values: Iterable[Any]) -> Iterator[Tensor]:
    for value in values:
        if isinstance(value, Tensor):
            yield value
        elif isinstance(value, tuple | list):
            yield from _tensors(value)
        elif isinstance(value, dict):
            yield from _tensors(value.values())


def _named(func: Any, args: Sequence[Any], kwargs: dict[str, Any]) -> dict[str | int, Any]:
    """Return arguments by name; those of built-in functions, which tell no names, by position."""
    named: dict[str | int, Any] = {}
    try:
        bound = inspect.signature(func).bind(*args, **kwargs)
    except (TypeError, ValueError):
        named.update(enumerate(args))
        named.update(kwargs)
        return named
    bound.apply_defaults()
    named.update(bound.arguments)
    return named
