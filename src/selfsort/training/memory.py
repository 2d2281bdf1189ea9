"""Batches that fit into memory."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterator
from typing import Protocol, Self, TypeVar

import torch

from selfsort import parallel
from selfsort.errors import NotEnoughMemoryError, SmallerBatchWarning, ran_out_of_memory


class Items(Protocol):
    """What can be cut: a tensor of indices, a range."""

    def __len__(self) -> int: ...

    def __getitem__(self, part: slice, /) -> Self: ...


Some = TypeVar("Some", bound=Items)
T = TypeVar("T")


class Portion:
    """How many items go through memory at once: fewer, once it ran out.

    Parameters
    ----------
    size : int
        The most items that go at once to begin with.
    least : int, default=1
        The fewest items that make sense.

    Attributes
    ----------
    halved : bool
        Whether memory ran out.

    Examples
    --------
    >>> portion = Portion(4)
    >>> list(portion.each(range(10), lambda part: sum(part)))
    [(range(0, 4), 6), (range(4, 8), 22), (range(8, 10), 17)]
    """

    def __init__(self, size: int, least: int = 1) -> None:
        self.size = size
        self.least = least
        self.halved = False

    def each(self, items: Some, function: Callable[[Some], T]) -> Iterator[tuple[Some, T]]:
        """Yield part after part, and what a function gives for it.

        A part for which memory runs out is cut in half, and so are those after it. A rest of fewer
        than the least items joins the part before it.

        Raises
        ------
        NotEnoughMemoryError
            If there is not even room for the least items.
        """
        start = refused = 0
        while start < len(items):
            end = min(start + self.size, len(items))
            if len(items) - end < self.least:
                end = len(items)
            part = items[start:end]
            results = self._attempt(part, function)
            if not results:
                refused = refused or len(part)
                self._halve(len(part))
                continue
            if refused:
                warnings.warn(
                    f"{refused} images at once did not fit into memory: {self.size} from here on.",
                    SmallerBatchWarning,
                    stacklevel=2,
                )
                refused = 0
            yield part, results[0]
            start = end

    def _attempt(self, part: Some, function: Callable[[Some], T]) -> list[T]:
        """Return the result in a list; an empty one where memory ran out."""
        try:
            return [function(part)]
        except (MemoryError, RuntimeError) as error:
            # Halving is not for one of several processes: the others would go on with the whole.
            if not ran_out_of_memory(error) or parallel.n_processes() > 1:
                raise
        return []  # only here is what the attempt had allocated free: its error held all of it

    def _halve(self, n: int) -> None:
        if n // 2 < self.least:
            raise NotEnoughMemoryError(
                f"There is not enough memory for {'one image' if n == 1 else f'{n} images'} at "
                "once: use smaller images (--size), or a smaller network."
            )
        self.size, self.halved = n // 2, True
        if torch.cuda.is_initialized():
            torch.cuda.empty_cache()  # halves need other blocks than the whole did
