"""The networks of the question and of its answers, as they stand there.

Two 5×5 convolutions without padding on 28×28 images; other sizes work as well, the flat layers
follow.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from selfsort.errors import InputError
from selfsort.networks.base import Network, Shape, Widths, check_image_shape, linear, register


def _maps_size(name: str, shape: Shape) -> tuple[int, int]:
    check_image_shape(name, shape)
    if min(shape[1:]) < 10:
        raise InputError(
            f"The network '{name}' needs images of at least 10x10 for its two 5x5 convolutions, "
            f"got {shape[1]}x{shape[2]}: use network='convolutional', or --size 16."
        )
    return shape[1] - 8, shape[2] - 8


class _RectifiedSigmoid(nn.Module):
    """ReLU, then sigmoid: the outputs of the question's decoder lie in [0.5, 1)."""

    def forward(self, x: Tensor) -> Tensor:
        return torch.sigmoid(torch.relu(x))


def _question_network(
    name: str,
    shape: Shape,
    widths: Widths,
    output: nn.Module,
    *,
    normalise: bool = False,
) -> Network:
    height, width = _maps_size(name, shape)
    channels, n_maps = shape[0], 8 * height * width
    encoder = nn.Sequential(
        nn.Conv2d(channels, 4, 5),
        nn.ReLU(),
        nn.Dropout2d(0.2),
        nn.Conv2d(4, 8, 5),
        nn.ReLU(),
        nn.Dropout2d(0.2),
        nn.Flatten(),
    )
    decoder = nn.Sequential(
        nn.Linear(widths.n_latent, height * width),
        nn.ReLU(),
        nn.Unflatten(1, (1, height, width)),
        nn.ConvTranspose2d(1, 10, 5),
        nn.ReLU(),
        nn.ConvTranspose2d(10, channels, 5),
        output,
    )
    head, style = linear(n_maps, widths.n_logits), linear(n_maps, widths.style_dim)
    neck = nn.BatchNorm1d(n_maps, affine=False) if normalise else nn.Identity()
    return Network(encoder, neck, head, style, decoder)


@register("question")
def question(shape: Shape, widths: Widths) -> Network:
    """The asker's network: ReLU then Sigmoid on the output."""
    return _question_network("question", shape, widths, _RectifiedSigmoid())


@register("question-sigmoid")
def question_sigmoid(shape: Shape, widths: Widths) -> Network:
    """The asker's network without the ReLU before the output's sigmoid."""
    return _question_network("question-sigmoid", shape, widths, nn.Sigmoid())


@register("question-linear")
def question_linear(shape: Shape, widths: Widths) -> Network:
    """The asker's network with a linear output, which reaches every pixel value."""
    return _question_network("question-linear", shape, widths, nn.Identity())


@register("question-linear-normalised")
def question_linear_normalised(shape: Shape, widths: Widths) -> Network:
    """The asker's network with normalised features and a linear output."""
    name = "question-linear-normalised"
    return _question_network(name, shape, widths, nn.Identity(), normalise=True)


@register("question-rectified")
def question_rectified(shape: Shape, widths: Widths) -> Network:
    """The asker's network with a ReLU only on the output."""
    return _question_network("question-rectified", shape, widths, nn.ReLU())


@register("plain")
def plain(shape: Shape, widths: Widths) -> Network:
    """The first answer's autoencoder, 1→2→4 and 4→10→1: its feature maps are the code.

    It has no classes, and its style is all of the maps: `style_dim` is not used.
    """
    height, width = _maps_size("plain", shape)
    if widths.n_logits:
        raise InputError(
            "The network 'plain' has no classes: use it with Autoencoder, or another network."
        )
    channels = shape[0]
    encoder = nn.Sequential(
        nn.Conv2d(channels, 2, 5), nn.ReLU(), nn.Conv2d(2, 4, 5), nn.ReLU(), nn.Flatten()
    )
    decoder = nn.Sequential(
        nn.Unflatten(1, (4, height, width)),
        nn.ConvTranspose2d(4, 10, 5),
        nn.ReLU(),
        nn.ConvTranspose2d(10, channels, 5),
        nn.Sigmoid(),
    )
    return Network(encoder, nn.Identity(), None, nn.Identity(), decoder)
