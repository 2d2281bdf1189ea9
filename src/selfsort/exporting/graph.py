"""What is exported: one module, from what an estimator takes to what it says of it."""

from __future__ import annotations

import copy
import itertools
from dataclasses import dataclass
from typing import Any, Self

import numpy as np
import torch
from PIL import Image
from torch import Tensor, nn
from torch.nn import functional as F

from selfsort.estimators.outputs import DOUBT
from selfsort.exporting.fitting import Fit
from selfsort.images.pixels import fit
from selfsort.networks import Shape
from selfsort.training import Model

BATCH = "batch"
INPUT = "input"


@dataclass(frozen=True)
class Inputs:
    """What an estimator takes, and which of it becomes 0 and 1.

    Parameters
    ----------
    shape : tuple of int
        ``(channels, height, width)`` or ``(p,)``.
    layout : {"nhw", "nhwc", "flat"}
    low, high : float
        The values that become 0 and 1.
    binarized : bool
        Whether what is past the middle becomes 1, and the rest 0.

    Examples
    --------
    >>> inputs = Inputs((1, 28, 28), "nhw", 0.0, 255.0)
    >>> inputs.are_bytes, inputs.any_size, inputs.sides
    (True, True, ('batch', 'height', 'width'))
    """

    shape: Shape
    layout: str
    low: float
    high: float
    binarized: bool = False

    @classmethod
    def of(cls, estimator: Any) -> Self:
        """Return what a fitted estimator takes."""
        low, high = estimator.input_range_
        binarized = bool(getattr(estimator, "binarize", False))
        return cls(estimator.input_shape_, estimator.input_layout_, low, high, binarized)

    @property
    def are_bytes(self) -> bool:
        """Whether they are images with whole numbers from 0 to 255."""
        return len(self.shape) == 3 and (self.low, self.high) == (0.0, 255.0)

    @property
    def any_size(self) -> bool:
        """Whether they are resized inside the graph, as `selfsort predict` resizes pictures."""
        return self.are_bytes and self.layout != "flat"

    @property
    def sides(self) -> tuple[str | int, ...]:
        """The sides of a batch: names of those that may be anything."""
        if self.layout == "flat":
            return (BATCH, int(np.prod(self.shape)))
        channels, height, width = self.shape
        inner: tuple[str | int, ...] = ("height", "width") if self.any_size else (height, width)
        return (BATCH, *inner, *([channels] if self.layout == "nhwc" else []))

    def example(self) -> Tensor:
        """Return a batch to trace the graph with, whose free sides are like no other number."""
        sides = [side if isinstance(side, int) else 3 for side in self.sides]
        if self.any_size:
            sides[1:3] = self.shape[1] + 3, self.shape[2] + 5
        return torch.zeros(sides, dtype=torch.uint8 if self.are_bytes else torch.float32)

    def dynamic_shapes(self) -> dict[int, torch.export.Dim]:
        """Return the free sides as `torch.export` takes them."""
        named = {i: side for i, side in enumerate(self.sides) if isinstance(side, str)}
        return {i: torch.export.Dim(name, min=1) for i, name in named.items()}


class Graph(nn.Module):
    """The preprocessing, the network, the second look and the bottleneck of an estimator.

    Parameters
    ----------
    model : Model
        Copied to the CPU, in float32 and evaluation mode.
    inputs : Inputs
    second_look : bool
        Whether images in doubt are looked at again, as `selfsort.estimators.outputs` does it.
    tall_first : bool
        See `Fit`.
    """

    def __init__(
        self, model: Model, inputs: Inputs, *, second_look: bool, tall_first: bool
    ) -> None:
        super().__init__()
        # Channels last is for training on this machine: a graph only says what is multiplied.
        model = copy.deepcopy(model).to("cpu", memory_format=torch.contiguous_format)  # type: ignore[call-overload]
        self.model: Model = model.eval().requires_grad_(False)
        self.inputs = inputs
        self.shift = round(max(inputs.shape[1:]) / 28) if second_look else 0
        self.fit = Fit(*inputs.shape[1:], tall_first=tall_first) if inputs.any_size else None

    @property
    def outputs(self) -> tuple[str, ...]:
        """The names of what comes out."""
        if self.model.network.head is None:
            return ("features", "reconstruction")
        return ("probability", "label", "reconstruction")

    def forward(self, images: Tensor) -> tuple[Tensor, ...]:
        """Return what `outputs` names.

        Parameters
        ----------
        images : Tensor
            With the sides of `Inputs`, uint8 or float32.
        """
        network, bottleneck = self.model.network, self.model.bottleneck
        images = self._scaled(self._arranged(images))
        encoded = network.encode(images)
        logits, style = encoded.logits, encoded.style
        if logits is None:
            assert style is not None  # noqa: S101 - else nothing could be decoded
            return style, self._given_back(network.decode(style))
        if self.shift:
            logits = self._looked_again(images, logits)
        code = bottleneck(logits)
        class_logits = bottleneck.class_logits(logits, code)
        probability = torch.softmax(class_logits.double(), dim=1).float()
        latent = code if style is None else torch.cat([code, style], dim=1)
        return probability, class_logits.argmax(1), self._given_back(network.decode(latent))

    # ---- before the network -------------------------------------------------------------------

    def _arranged(self, images: Tensor) -> Tensor:
        """Return images ``(n, channels, height, width)`` of the network's size, or vectors."""
        if len(self.inputs.shape) == 1:
            return images
        channels, height, width = self.inputs.shape
        if self.inputs.layout == "flat":
            images = images.reshape(-1, height, width, channels)
        images = images[:, None] if self.inputs.layout == "nhw" else images.permute(0, 3, 1, 2)
        return images if self.fit is None else self.fit(images.double())

    def _scaled(self, images: Tensor) -> Tensor:
        """Return what the network reads: float32 in [0, 1], in the steps of `training.Data`."""
        low, high = self.inputs.low, self.inputs.high
        if self.inputs.binarized:
            return (images > (low + high) / 2).float()
        images = images.float()
        return (images - low if low else images) / (high - low)

    # ---- the second look ----------------------------------------------------------------------

    def _looked_again(self, images: Tensor, logits: Tensor) -> Tensor:
        """Return logits as `selfsort.estimators.outputs.second_look` does, in operations only."""
        doubtful = torch.softmax(logits, dim=1).amax(dim=1) < DOUBT
        # A branch: images of which none is in doubt are looked at once.
        return torch.cond(
            doubtful.any(), self._looked_at_shifted, self._kept, (images, logits, doubtful)
        )

    def _kept(self, images: Tensor, logits: Tensor, doubtful: Tensor) -> Tensor:
        return logits.clone()  # no branch may return what it was given

    def _looked_at_shifted(self, images: Tensor, logits: Tensor, doubtful: Tensor) -> Tensor:
        height, width = self.inputs.shape[1:]
        index = doubtful.nonzero()[:, 0]
        torch._check(index.shape[0] >= 1)  # or a convolution of nothing would have to be traced
        padded = F.pad(images[index], (self.shift,) * 4, mode="replicate")
        views = [
            padded[:, :, top : top + height, left : left + width]
            for top, left in itertools.product((0, 2 * self.shift), repeat=2)
        ]
        again = torch.softmax(self._logits_of(torch.cat(views)), dim=1)
        total = torch.softmax(logits[index], dim=1)
        for one in again.view(len(views), index.shape[0], -1):
            total = total + one
        mean = (total / (1 + len(views))).clamp_min(torch.finfo(total.dtype).tiny)
        return logits.index_copy(0, index, mean.log())

    def _logits_of(self, images: Tensor) -> Tensor:
        # Not by `encode`: what is worked out when first asked for cannot be traced in a branch.
        network = self.model.network
        assert network.head is not None  # noqa: S101 - it gave logits before
        return network.head(network.neck(network.encoder(network.normalised(images))))

    # ---- after it -----------------------------------------------------------------------------

    def _given_back(self, pixels: Tensor) -> Tensor:
        """Return reconstructions in the layout and units of what the estimator takes."""
        values = pixels * (self.inputs.high - self.inputs.low) + self.inputs.low
        if values.ndim == 4:
            values = values.permute(0, 2, 3, 1)
            if self.inputs.layout == "nhw":
                values = values[..., 0]
        return values.flatten(1) if self.inputs.layout == "flat" else values


def graph_of(estimator: Any) -> Graph:
    """Return the graph of a fitted estimator."""
    inputs = Inputs.of(estimator)
    again = bool(estimator.transform_strength) and len(inputs.shape) == 3
    again = again and estimator.model_.network.head is not None
    return Graph(
        estimator.model_,
        inputs,
        second_look=again and estimator.model_.bottleneck.names_classes,
        tall_first=_pillow_takes_tall_first(),
    )


def _pillow_takes_tall_first() -> bool:
    """Return whether this Pillow shrinks the height of tall pictures first, as since 13.0.

    What is rounded between its two passes differs with their order.
    """
    picture = (np.arange(60 * 9) ** 2 % 256).astype(np.uint8).reshape(60, 9)
    ours = Fit(9, 9, tall_first=True)(torch.from_numpy(picture).double()[None, None])
    return np.array_equal(ours[0].numpy(), fit(Image.fromarray(picture), 9, 9))
