"""What is taken from a network that looked at a batch."""

from __future__ import annotations

import itertools
from collections.abc import Callable

import torch
from torch import Tensor
from torch.nn import functional as F

from selfsort import training
from selfsort.estimators.doubt import compact
from selfsort.networks import Encoded, Network
from selfsort.objectives import Outputs

DOUBT = 0.9
"""Images whose largest probability is below that are looked at again."""


def second_look(network: Network, images: Tensor, logits: Tensor) -> Tensor:
    """Return logits in which images in doubt were looked at again, shifted to four corners.

    The probabilities of an image and its shifted copies are averaged. A network that has learned
    not to mind shifts still minds them near the border of two classes.

    Parameters
    ----------
    network : Network
    images : Tensor of shape (n, channels, h, w) or (n, p)
        Vectors, and images too small for a shift of a 28th of their side, stay as they are.
    logits : Tensor of shape (n, n_classes)
        What the network said of the images.

    References
    ----------
    Krizhevsky, Sutskever, Hinton (2012), section 4.1: predictions averaged over shifted crops.
    """
    shift = round(max(images.shape[2:]) / 28) if images.ndim == 4 else 0
    probabilities = torch.softmax(logits, dim=1)
    doubtful = (probabilities.max(dim=1).values < DOUBT).nonzero()[:, 0]
    if not shift or not len(doubtful):
        return logits
    height, width = images.shape[2:]
    padded = F.pad(images[doubtful], (shift, shift, shift, shift), mode="replicate")
    views = [
        padded[:, :, top : top + height, left : left + width]
        for top, left in itertools.product((0, 2 * shift), repeat=2)
    ]
    total = probabilities[doubtful]
    for view in views:
        again = network.encode(view).logits
        assert again is not None  # noqa: S101 - it gave logits before
        total = total + torch.softmax(again, dim=1)
    mean = (total / 5).clamp_min(torch.finfo(total.dtype).tiny)
    return logits.index_copy(0, doubtful, mean.log())


Part = Callable[[Outputs, Encoded], Tensor]
"""One row an image, of what the network says of a batch."""


def latent_part(outputs: Outputs, encoded: Encoded) -> Tensor:
    """Return what the decoder reads: the code, then the style."""
    return training.latent_of(outputs.code, encoded.style)


def reconstruction_part(outputs: Outputs, encoded: Encoded) -> Tensor:
    """Return the decoder's images."""
    assert outputs.reconstruction is not None  # noqa: S101 - it was asked for
    return outputs.reconstruction


def style_part(outputs: Outputs, encoded: Encoded) -> Tensor:
    """Return the style, of width 0 where there is none."""
    return encoded.features[:, :0] if encoded.style is None else encoded.style


def error_part(outputs: Outputs, encoded: Encoded) -> Tensor:
    """Return each image's mean squared error per pixel, pixels in [0, 1]."""
    difference = reconstruction_part(outputs, encoded).clamp(0, 1) - outputs.images
    return difference.square().flatten(1).mean(1)


def code_part(outputs: Outputs, encoded: Encoded) -> Tensor:
    """Return what passes the bottleneck."""
    assert outputs.code is not None  # noqa: S101 - these estimators have classes
    return outputs.code


def class_part(outputs: Outputs, encoded: Encoded) -> Tensor:
    """Return the class index."""
    assert outputs.class_logits is not None  # noqa: S101
    return outputs.class_logits.argmax(1)


def probability_part(outputs: Outputs, encoded: Encoded) -> Tensor:
    """Return softmax of the classes' logits."""
    assert outputs.class_logits is not None  # noqa: S101
    # No more digits than the logits have: those differ in the last ones with the batch size.
    return torch.softmax(outputs.class_logits.double(), dim=1).float()


def features_part(outputs: Outputs, encoded: Encoded) -> Tensor:
    """Return what the class head reads, compacted."""
    return compact(encoded.features)
