"""What a fit learns from: inputs, and the batches drawn from them."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass, replace

import numpy as np
import torch
from torch import Tensor

from selfsort import parallel
from selfsort.augment import Transform
from selfsort.errors import InputError
from selfsort.sources import evenly
from selfsort.training.rows import Rows


@dataclass
class Data:
    """Inputs on the device they are used on, as they were given.

    Parameters
    ----------
    inputs : Tensor or Rows of shape (n, ...), uint8 or float32
    low, high : float
        The range that becomes [0, 1], ``low < high``.
    black_and_white : bool
        Whether what is past the middle of the range becomes 1 and the rest 0.
    """

    inputs: Tensor | Rows
    low: float = 0.0
    high: float = 255.0
    black_and_white: bool = False

    def __len__(self) -> int:
        return len(self.inputs)

    @property
    def in_memory(self) -> Tensor:
        """All inputs, for what needs them at once.

        Raises
        ------
        InputError
            If they are read from files while they are used.
        """
        if isinstance(self.inputs, Rows):
            raise InputError(
                f"{self.inputs.source.where}: all images are needed at once, to compare each with "
                "its neighbours. Learn from an array of some of them, on the command line with "
                "--sample 100000 in place of --stream, and let `predict` do the rest."
            )
        return self.inputs

    @property
    def is_resident(self) -> bool:
        """Whether all inputs are in memory."""
        return isinstance(self.inputs, Tensor)

    def evenly(self, most: int) -> np.ndarray:
        """Return positions evenly spread over all, no more than memory should hold at once."""
        n_values = 1 if self.is_resident else math.prod(self.inputs.shape[1:])
        return evenly(len(self), most, n_values)

    def chosen(self, index: np.ndarray) -> Data:
        """Return some of the data, in memory, in the order of the data."""
        if isinstance(self.inputs, Rows):
            return replace(self, inputs=self.inputs.scattered(index))
        return replace(self, inputs=self.inputs[np.sort(index)])

    def batch(self, index: Tensor | slice) -> Tensor:
        """Return some inputs as float32, `low` and `high` becoming 0 and 1."""
        values = self.inputs[index].float()
        if self.black_and_white:
            return (values > (self.low + self.high) / 2).float()
        if self.low:
            values = values - self.low
        return values / (self.high - self.low)


@dataclass
class OneHot:
    """Label distributions of classes that are known, ``(n, n_classes)``, made as they are needed.

    Parameters
    ----------
    index : Tensor of shape (n,), int64
        -1 where there is no label: a row of zeros.
    n_classes : int

    Examples
    --------
    >>> OneHot(torch.tensor([1, -1]), 2)[torch.tensor([1, 0])]
    tensor([[0., 0.],
            [0., 1.]])
    """

    index: Tensor
    n_classes: int

    def __getitem__(self, rows: Tensor) -> Tensor:
        classes = torch.arange(self.n_classes, device=self.index.device)
        return (self.index[rows, None] == classes).float()


Batch = dict[str, Tensor]
"""Which images a step learns from, and every random number it needs for that."""


@dataclass
class Feed:
    """What a fit draws its batches from.

    Parameters
    ----------
    data : Data
    transform : Transform or None
        Applied to every image and partner.
    neighbours : LongTensor of shape (n, k) or None
        Partners are drawn from an image's row; None: the partner is the image itself.
    targets : Tensor of shape (n, n_classes), OneHot, or None
        Label distributions; a row of zeros where there is no label.
    logits : Tensor of shape (n, n_classes) or None
        What the class head says of each image, where it does not learn; None: worked out anew.
    index : LongTensor or None
        The images to draw from; None: all.
    binarize : bool
        Whether each pixel is drawn anew, 1 with its brightness as the probability, else 0.
    """

    data: Data
    transform: Transform | None = None
    neighbours: Tensor | None = None
    targets: Tensor | OneHot | None = None
    logits: Tensor | None = None
    index: Tensor | None = None
    binarize: bool = False

    def __len__(self) -> int:
        return len(self.data) if self.index is None else len(self.index)

    def order(self, generator: torch.Generator, batch_size: int) -> Tensor:
        """Return the images of one epoch in random order."""
        if isinstance(self.data.inputs, Rows):
            return self.data.inputs.order(self.index, batch_size, generator)
        order = torch.randperm(len(self), generator=generator)
        return order if self.index is None else self.index[order]

    def draw(self, index: Tensor, generator: torch.Generator, *, partners: bool) -> Batch:
        """Draw all that is random about a batch, on the CPU: one seed gives one training.

        `view` makes the images of it, on their device; with `partners`, also those of "partner ".
        """
        batch = self._drawn(index, generator)
        if partners:
            drawn = self._drawn(self.partner_of(index, generator), generator)
            batch |= {f"partner {name}": numbers for name, numbers in drawn.items()}
        return batch

    def _drawn(self, index: Tensor, generator: torch.Generator) -> Batch:
        batch, shape = {"index": index}, (len(index), *self.data.inputs.shape[1:])
        if self.transform is not None:
            batch["transform"] = self.transform.draw(shape, generator)
        if self.binarize:
            batch["uniform"] = torch.rand(shape, generator=generator)
        return batch

    def shared(self, batch: Batch) -> Batch:
        """Return this process's share of a batch, and the images of all of it as "all".

        Where images are read from files, others stand in for those that cannot be read.
        """
        if parallel.n_processes() > 1:
            own = parallel.share(len(batch["index"]))
            batch = {"all": batch["index"]} | {name: rows[own] for name, rows in batch.items()}
        if isinstance(self.data.inputs, Rows):
            which = [name for name in ("index", "partner index") if name in batch]
            batch |= {name: self.data.inputs.readable(batch[name]) for name in which}
        return batch

    def view(self, batch: Batch, whose: str = "") -> Tensor:
        """Return (transformed) images of a batch on the device, or those of its partners."""
        images = self.data.batch(batch[f"{whose}index"])
        if self.transform is not None:
            images = self.transform.apply(images, batch[f"{whose}transform"])
        if self.binarize:
            images = (batch[f"{whose}uniform"] < images).to(images)
        return images

    def partner_of(self, index: Tensor, generator: torch.Generator) -> Tensor:
        """Return one partner's index per image."""
        if self.neighbours is None:
            return index
        column = torch.randint(self.neighbours.shape[1], (len(index),), generator=generator)
        return self.neighbours[index, column]


def batches(order: Tensor, batch_size: int) -> Iterator[Tensor]:
    """Yield index batches; a last one of a single image joins the one before.

    Batch normalisation cannot learn from one image.
    """
    n = len(order)
    starts = list(range(0, n, batch_size))
    if len(starts) > 1 and n - starts[-1] == 1:
        starts.pop()
    for start, end in zip(starts, [*starts[1:], n], strict=True):
        yield order[start:end]


def moved(batch: Batch, device: torch.device) -> Batch:
    """Return a batch on the device; a GPU's host does not wait for it."""
    if device.type != "cuda":
        return {name: numbers.to(device) for name, numbers in batch.items()}
    return {
        name: numbers.pin_memory().to(device, non_blocking=True) for name, numbers in batch.items()
    }
