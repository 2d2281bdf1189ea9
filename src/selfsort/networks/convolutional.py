"""Networks of convolutions, for images of any size from 8×8."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

from selfsort.networks.base import (
    N_FEATURES,
    Network,
    Probability,
    Shape,
    Widths,
    check_image_shape,
    linear,
    register,
)

N_HIDDEN = 256
OTHER_WIDTH = 16
"""Channels of the first convolution for style and decoder."""


def _halvings(side: int, smallest: int) -> int:
    """Return how often `side` can be halved while it is at least `smallest`."""
    count = 0
    while side >= smallest:
        side //= 2
        count += 1
    return count


def _block(n_inputs: int, n_outputs: int, pool: bool = False) -> nn.Sequential:
    # Pooling comes before the normalisation: a quarter of the work for the same maximum.
    layers: list[nn.Module] = [nn.Conv2d(n_inputs, n_outputs, 3, padding=1, bias=False)]
    if pool:
        layers.append(nn.MaxPool2d(2))
    return nn.Sequential(*layers, nn.BatchNorm2d(n_outputs), nn.ReLU())


def _stem(channels: int, n_outputs: int) -> nn.Sequential:
    # At full resolution memory is the limit: a stride is half the time of convolving and pooling.
    convolution = nn.Conv2d(channels, n_outputs, 5, stride=2, padding=2, bias=False)
    return nn.Sequential(convolution, nn.BatchNorm2d(n_outputs), nn.ReLU())


def convolutional_encoder(shape: Shape, width: int) -> tuple[nn.Sequential, int]:
    """Return an encoder to flat maps, and how many there are."""
    n_halvings = _halvings(min(shape[1:]), 6)
    n_blocks = max(4, n_halvings + 1)
    widths = [shape[0], *(width * min(2**i, 4) for i in range(n_blocks))]
    blocks: list[nn.Module] = []
    for i in range(n_blocks):
        if i == 0 and n_halvings > 1:
            blocks.append(_stem(widths[0], widths[1]))
        else:
            # The last block pools, and as many of the first ones as are left to halve; a single
            # halving comes early, where it saves the most.
            last = n_blocks - 1 if n_halvings > 1 else 1
            pool = i < n_halvings - 1 or i == last
            blocks.append(_block(widths[i], widths[i + 1], pool))
    encoder = nn.Sequential(*blocks, nn.Flatten())
    with torch.no_grad():
        n_maps = encoder.eval()(torch.zeros(1, *shape)).shape[1]
    return encoder.train(), n_maps


class ConvolutionalDecoder(nn.Module):
    """From latents ``(n, n_latent)`` to images ``(n, channels, height, width)`` in (0, 1)."""

    def __init__(self, n_latent: int, shape: Shape, width: int) -> None:
        super().__init__()
        channels, self.height, self.width = shape
        n_up = max(1, _halvings(min(self.height, self.width), 12))
        base = (math.ceil(self.height / 2**n_up), math.ceil(self.width / 2**n_up))
        widths = [width * min(2**i, 4) for i in range(n_up, 0, -1)]
        # Mixing code and style before anything is drawn takes a tenth off the error.
        self.start = nn.Sequential(
            nn.Linear(n_latent, N_HIDDEN, bias=False),
            nn.BatchNorm1d(N_HIDDEN),
            nn.ReLU(),
            nn.Linear(N_HIDDEN, widths[0] * base[0] * base[1], bias=False),
            nn.Unflatten(1, (widths[0], *base)),
            nn.BatchNorm2d(widths[0]),
            nn.ReLU(),
        )
        # At full resolution memory is the limit: the last doubling deals out four values for each
        # place (sub-pixel convolution, arXiv:1609.05158), in a seventh less time.
        self.grow = nn.Sequential(
            *(self._double(widths[i], widths[i + 1]) for i in range(n_up - 1)),
            _block(widths[-1], widths[-1]),
            nn.Conv2d(widths[-1], 4 * channels, 3, padding=1),
            nn.PixelShuffle(2),
        )
        self.output = Probability()

    @staticmethod
    def _double(n_inputs: int, n_outputs: int) -> nn.Sequential:
        return nn.Sequential(
            nn.ConvTranspose2d(n_inputs, n_outputs, 4, stride=2, padding=1, bias=False),
            nn.BatchNorm2d(n_outputs),
            nn.ReLU(),
        )

    def forward(self, latent: Tensor) -> Tensor:
        images = self.grow(self.start(latent))
        # Sides that are no multiple of the growth come out a few pixels too large.
        cropped: Tensor = self.output(images[:, :, : self.height, : self.width])
        return cropped


def _convolutional(name: str, shape: Shape, widths: Widths, width: int) -> Network:
    check_image_shape(name, shape)
    encoder, n_maps = convolutional_encoder(shape, width)
    neck = nn.Sequential(
        nn.Linear(n_maps, N_FEATURES, bias=False), nn.BatchNorm1d(N_FEATURES), nn.ReLU()
    )
    decoder = ConvolutionalDecoder(widths.n_latent, shape, OTHER_WIDTH)
    head: nn.Module | None = linear(N_FEATURES, widths.n_logits)
    own_style = widths.n_logits > 0 and widths.style_dim > 0
    style: nn.Module | None = linear(n_maps, widths.style_dim)
    if own_style:
        trunk, n_maps = convolutional_encoder(shape, OTHER_WIDTH)
        style = nn.Sequential(trunk, nn.Linear(n_maps, widths.style_dim))
    return Network(encoder, neck, head, style, decoder, own_style=own_style)


@register("convolutional")
def convolutional(shape: Shape, widths: Widths) -> Network:
    """Four or more convolutions, depth chosen from the size; 1.2 million weights for 28×28.

    Where there are classes the style has convolutions of its own.
    """
    return _convolutional("convolutional", shape, widths, width=24)


@register("convolutional-wide")
def convolutional_wide(shape: Shape, widths: Widths) -> Network:
    """A third more channels for the classes: where all labels are there, and time."""
    return _convolutional("convolutional-wide", shape, widths, width=32)
