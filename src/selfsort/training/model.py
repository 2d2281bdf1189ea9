"""What a fit trains: a network with its bottleneck."""

from __future__ import annotations

import math
from collections.abc import Callable, Collection, Sequence

import torch
from torch import Tensor, nn

from selfsort import parallel
from selfsort.bottlenecks import Bottleneck, Variational
from selfsort.networks import Encoded, Network
from selfsort.objectives import Outputs
from selfsort.training.data import Data
from selfsort.training.memory import Portion
from selfsort.training.settings import autocast

EVALUATION_BATCH = 1000
CACHED_BATCH = 250
"""On a CPU, whose caches hold what so few images need: 1,000 at once take a third longer."""
EVALUATION_VALUES = 2**22
"""Images that are looked at together have that many pixel values at most."""


class Model(nn.Module):
    """A network and the bottleneck between its head and its decoder."""

    def __init__(self, network: Network, bottleneck: Bottleneck) -> None:
        super().__init__()
        self.network = network
        self.bottleneck = bottleneck

    def forward(
        self,
        images: Tensor,
        partners: Tensor | None = None,
        logits: Tensor | None = None,
        targets: Tensor | None = None,
        *,
        reconstruct: bool = True,
        diverge: bool = False,
        progress: float = 1.0,
        generator: torch.Generator | None = None,
        n_all: int | None = None,
    ) -> Outputs:
        """Encode images (and their partners in the same pass), and decode the images' codes.

        Parameters
        ----------
        images, partners : Tensor of shape (n, *shape), in [0, 1]
        logits : Tensor of shape (n, n_logits) or None
            What the class head says of the images, where that is known: it is not worked out again.
        targets : Tensor of shape (n, n_classes) or None
            Label distributions; a row of zeros where there is no label.
        reconstruct : bool
            Whether to decode.
        diverge : bool
            Whether to measure the divergence from the prior.
        progress : float
            Share of the training that is done, for the bottleneck's schedule.
        generator : torch.Generator or None
            For bottlenecks that draw.
        n_all : int or None
            Where several processes share a batch: how many images are in all of it. A bottleneck
            that is not steady then needs `logits` and `targets` of all of them, and the outputs
            are of this process's images.
        """
        n = len(images)
        encoded = self.network.encode(images if partners is None else torch.cat([images, partners]))
        outputs = Outputs(images, targets=targets, n_all=n_all)
        alone = self.bottleneck.steady or parallel.n_processes() == 1
        if logits is None and encoded.logits is not None:
            logits = encoded.logits
            if not alone:
                halves = [parallel.whole(half, outputs.n_images) for half in logits.split(n)]
                logits = torch.cat(halves)
        if logits is not None:
            with torch.autocast(images.device.type, enabled=False):  # nats need float32
                passed = n if alone else outputs.n_images
                self._pass(outputs, logits, passed, diverge, progress, generator)
        if reconstruct:
            style = None if encoded.style is None else encoded.style[:n]
            outputs.reconstruction = self.network.decode(latent_of(outputs.code, style))
        return outputs

    def _pass(
        self,
        outputs: Outputs,
        logits: Tensor,
        n: int,
        diverge: bool,
        progress: float,
        generator: torch.Generator | None,
    ) -> None:
        """Add the codes of n images, and what the bottleneck knows beside them."""
        bottleneck = self.bottleneck
        copies = bottleneck.copies if bottleneck.training else 1
        outputs.logits = logits[:n]
        if outputs.targets is not None and len(logits) == n:
            logits = bottleneck.told(logits, outputs.targets)
        codes = bottleneck(logits, progress, generator)
        outputs.partner_code = codes[n * copies :] if len(logits) > n else None
        outputs.code = code = codes[: n * copies]
        logits = logits[:n]
        if bottleneck.reader is None:
            # What the head says by itself, not what it was told.
            outputs.class_logits = bottleneck.class_logits(outputs.logits, code)
        if diverge:
            assert isinstance(bottleneck, Variational)  # noqa: S101 - the estimator sees to it
            outputs.divergence = bottleneck.divergence(logits, code, generator)
        if n != len(outputs.images):
            logits = _own_rows(outputs, logits)
        if copies > 1:
            own = outputs.code
            outputs.combine = lambda values: bottleneck.combine(logits, own, values)

    def train_only(self, parts: Collection[str]) -> None:
        """Let only some of `PARTS` train; what the bottleneck learns goes with the head.

        The bottleneck draws as while training in any case.
        """
        self.network.train_only(parts)
        self.bottleneck.train().requires_grad_("head" in parts)
        self.bottleneck.frozen = "head" not in parts


def _own_rows(outputs: Outputs, logits: Tensor) -> Tensor:
    """Leave only this process's rows in what a bottleneck made of all; return its logits."""
    n = outputs.n_images
    own = parallel.share(n)

    def of(rows: Tensor) -> Tensor:
        copies = len(rows) // n  # those of an image one after another
        return rows[own.start * copies : own.stop * copies]

    for name in ("code", "logits", "class_logits", "partner_code", "targets", "divergence"):
        rows = getattr(outputs, name)
        if rows is not None:
            setattr(outputs, name, of(rows))
    return of(logits)


def latent_of(code: Tensor | None, style: Tensor | None) -> Tensor:
    """Return what the decoder reads: the code, then the style, whichever there are.

    Where there are several codes of each image, each goes with its image's style.
    """
    if code is not None and style is not None and len(code) != len(style):
        style = style.repeat_interleave(len(code) // len(style), dim=0)
    return torch.cat([part for part in (code, style) if part is not None], dim=1)


def look_at(
    model: Model,
    data: Data,
    read: Callable[[Tensor, Encoded], Sequence[Tensor]],
    *,
    part: slice = slice(None),
    enabled: bool = False,
) -> list[Tensor]:
    """Return what a function reads, batch by batch, of all images and what the network says.

    It gives some tensors with a row for each image of a batch; the rows of all are returned. The
    network is in evaluation mode, and nothing has a gradient. `part` says which images, if not all;
    `enabled` is that of `autocast`.
    """
    model.eval()
    chosen = range(len(data))[part]
    whole: list[Tensor] = []

    def look(rows: range) -> Sequence[Tensor]:
        images = data.batch(slice(rows.start, rows.stop))
        return read(images, model.network.encode(images))

    with torch.inference_mode(), autocast(data.inputs.device, enabled):
        most = CACHED_BATCH if data.inputs.device.type == "cpu" else EVALUATION_BATCH
        portion = Portion(evaluation_batch(data.inputs.shape[1:], most))
        for rows, found in portion.each(chosen, look):
            # What is kept of each batch would lie between its large tensors, and leave memory in
            # pieces that the next batch does not fit into: so there is one place for all.
            if not whole:
                with torch.inference_mode(False):  # so that it may enter a later training step
                    whole = [one.new_empty((len(chosen), *one.shape[1:])) for one in found]
            for kept, one in zip(whole, found, strict=True):
                kept[rows.start - chosen.start : rows.stop - chosen.start] = one
    return whole


def evaluation_batch(shape: Sequence[int], most: int = EVALUATION_BATCH) -> int:
    """Return how many images of a shape are looked at together.

    Examples
    --------
    >>> evaluation_batch((1, 28, 28)), evaluation_batch((3, 224, 224))
    (1000, 27)
    """
    return max(1, min(most, EVALUATION_VALUES // math.prod(shape)))
