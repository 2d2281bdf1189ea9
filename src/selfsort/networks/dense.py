"""The network for vectors that are no images."""

from __future__ import annotations

import math

from torch import nn

from selfsort.networks.base import N_FEATURES, Network, Probability, Shape, Widths, linear, register


@register("dense")
def dense(shape: Shape, widths: Widths) -> Network:
    """Fully connected, for vectors that are no images; images are flattened."""
    size = math.prod(shape)
    hidden = 256

    def layer(n_inputs: int, n_outputs: int) -> nn.Sequential:
        return nn.Sequential(nn.Linear(n_inputs, n_outputs), nn.BatchNorm1d(n_outputs), nn.ReLU())

    encoder = nn.Sequential(nn.Flatten(), layer(size, hidden), layer(hidden, hidden))
    decoder = nn.Sequential(
        layer(widths.n_latent, hidden),
        layer(hidden, hidden),
        nn.Linear(hidden, size),
        Probability(),
        nn.Unflatten(1, shape),
    )
    head, style = linear(N_FEATURES, widths.n_logits), linear(hidden, widths.style_dim)
    return Network(encoder, layer(hidden, N_FEATURES), head, style, decoder)


# The networks of the question and of its answers, as they stand there: two 5×5 convolutions
# without padding on 28×28 images (other sizes work as well, the flat layers follow).
