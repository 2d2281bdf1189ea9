"""Images that need not fit into memory, as training sees them: like a tensor, but read in part."""

from __future__ import annotations

import math
from collections import OrderedDict

import numpy as np
import torch
from torch import Tensor

from selfsort.errors import InputError
from selfsort.sources import Source

BUFFER = 2**27
"""Bytes of images that are kept: of those that are shuffled now, and as many before them."""
CHUNKS = 64
"""Chunks of images that are shuffled with each other."""


class Rows:
    """The images of a source, like a tensor ``(n, ...)`` on a device.

    They are read chunk by chunk, and the chunks that were used last are kept. An epoch goes through
    `CHUNKS` of them at a time (`order`), so that each is read once an epoch.

    Parameters
    ----------
    source : Source
    buffer : int, default=BUFFER
        Bytes of images to keep.

    Attributes
    ----------
    shape : tuple of int
    dtype : dtype
        uint8, or float32 for vectors.
    device : torch device
        Where the rows that are asked for go to.
    skipped : dict of int to str
        Why the images at these positions could not be read, of those that were asked for so far.
        Others of their chunk stand in for them, see `readable`.

    Examples
    --------
    >>> from selfsort.images import ImageSet
    >>> from selfsort.sources import WholeSource
    >>> images = np.arange(40, dtype=np.float32).reshape(20, 2)
    >>> rows = Rows(WholeSource(ImageSet(images), "X"))
    >>> rows.shape, rows[torch.tensor([7, 3])].tolist()
    ((20, 2), [[14.0, 15.0], [6.0, 7.0]])
    """

    def __init__(self, source: Source, buffer: int = BUFFER) -> None:
        self.source = source
        first = source.read(0, 1).images
        self.shape = (len(source), *first.shape[1:])
        self.dtype = first.dtype
        self.device = torch.device("cpu")
        n_bytes = first.itemsize * math.prod(first.shape[1:])
        self.chunk_rows = max(1, buffer // (2 * CHUNKS * n_bytes))
        self.skipped: dict[int, str] = {}
        self._stand_in: dict[int, int] = {}
        self._kept: OrderedDict[int, Tensor] = OrderedDict()

    def __len__(self) -> int:
        return self.shape[0]

    @property
    def ndim(self) -> int:
        """How many dimensions there are, with that of the images."""
        return len(self.shape)

    def to(self, device: torch.device) -> Rows:
        """Let the rows that are asked for go to a device; return this object."""
        self.device = device
        return self

    def __getitem__(self, index: Tensor | slice) -> Tensor:
        """Return some images on the device: those in a row, or any of few chunks."""
        if isinstance(index, slice):
            start, stop, _ = index.indices(len(self))
            if start < stop:
                return self._read(start, stop).to(self.device)
            index = torch.arange(0)
        index = index.cpu()
        rows = torch.empty(len(index), *self.shape[1:], dtype=_torch_type(self.dtype))
        chunk = index // self.chunk_rows
        for k in chunk.unique().tolist():
            chosen = chunk == k
            rows[chosen] = self._chunk(k)[index[chosen] - k * self.chunk_rows]
        return rows.to(self.device)

    def scattered(self, index: np.ndarray) -> Tensor:
        """Return images from all over the source, in the order of the source, on the device."""
        parts = []
        for i in np.sort(index).tolist():
            one = self.source.read(i, i + 1).images
            parts.append(torch.from_numpy(one) if len(one) else self[torch.tensor([i])].cpu())
        return torch.cat(parts).to(self.device)

    def readable(self, index: Tensor) -> Tensor:
        """Return positions with those of stand-ins where an image cannot be read.

        What belongs to an image, such as its label, is then that of its stand-in as well.
        """
        for k in (index // self.chunk_rows).unique().tolist():
            self._chunk(k)
        if self._stand_in.keys().isdisjoint(found := index.tolist()):
            return index
        return torch.tensor([self._stand_in.get(i, i) for i in found], device=index.device)

    def order(self, index: Tensor | None, batch_size: int, generator: torch.Generator) -> Tensor:
        """Return an epoch's images in random order, such that few chunks are needed at a time.

        The chunks come in random order, `CHUNKS` at a time, and the images of these are shuffled
        with each other. Within a batch they are ordered by their chunks: of several processes, each
        takes a share of every batch, and need not read the chunks of the others.

        Parameters
        ----------
        index : LongTensor or None
            The images of the epoch, any of them more than once; None: all, once.
        batch_size : int
        generator : torch.Generator

        Returns
        -------
        order : LongTensor
        """
        chunks = torch.randperm(-(-len(self) // self.chunk_rows), generator=generator)
        place = torch.empty_like(chunks)
        place[chunks] = torch.arange(len(chunks))
        wanted = None if index is None else index.sort().values
        parts = []
        for group in chunks.split(CHUNKS):
            images = torch.cat([self._of_chunk(k, wanted) for k in group.tolist()])
            parts.append(images[torch.randperm(len(images), generator=generator)])
        order = torch.cat(parts)
        for batch in order.split(batch_size):
            batch.copy_(batch[place[batch // self.chunk_rows].argsort(stable=True)])
        return order

    def _of_chunk(self, k: int, wanted: Tensor | None) -> Tensor:
        """Return the positions of a chunk's images, those that are wanted, in ascending order."""
        start, stop = k * self.chunk_rows, min((k + 1) * self.chunk_rows, len(self))
        if wanted is None:
            return torch.arange(start, stop)
        first, last = torch.searchsorted(wanted, torch.tensor([start, stop])).tolist()
        return wanted[first:last]

    def limits(self) -> tuple[float, float]:
        """Return the lowest and the highest value of all."""
        low, high = math.inf, -math.inf
        for start in range(0, len(self), self.chunk_rows):
            part = self._read(start, min(start + self.chunk_rows, len(self)))
            low, high = min(low, float(part.min())), max(high, float(part.max()))
        return low, high

    def _chunk(self, k: int) -> Tensor:
        if k not in self._kept:
            while len(self._kept) >= 2 * CHUNKS:
                self._kept.popitem(last=False)
            start = k * self.chunk_rows
            self._kept[k] = self._read(start, min(start + self.chunk_rows, len(self)))
        self._kept.move_to_end(k)
        return self._kept[k]

    def _read(self, start: int, stop: int) -> Tensor:
        images = self.source.read(start, stop).images
        if len(images) < stop - start:
            images = images[self._places(start, stop)]
        return torch.from_numpy(np.ascontiguousarray(images))

    def _places(self, start: int, stop: int) -> np.ndarray:
        """Return which of the images that were read stands at each position of a range."""
        chunks = [self.source.read(i, i + 1) for i in range(start, stop)]
        good = [start + i for i, chunk in enumerate(chunks) if len(chunk.images)]
        reasons = {start + i: one.reason for i, chunk in enumerate(chunks) for one in chunk.skipped}
        if not good:
            raise InputError(
                f"{next(iter(reasons.values()), self.source.where)} Nor can the "
                f"{stop - start - 1} pictures after it. Leave them out of the data."
            )
        self.skipped |= reasons
        nearest = np.searchsorted(good, np.arange(start, stop)).clip(max=len(good) - 1)
        self._stand_in |= {i: good[nearest[i - start]] for i in reasons}
        return nearest


def _torch_type(dtype: np.dtype) -> torch.dtype:
    return torch.uint8 if dtype == np.uint8 else torch.float32
