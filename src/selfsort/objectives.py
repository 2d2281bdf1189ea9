"""Objectives: terms with one value per image, and a multiplier each.

Only the training step averages over images. A new term is one function in this file with
`@register`: it takes what the network said of a batch and returns a tensor ``(n,)``.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import torch
from torch import Tensor

from selfsort import parallel
from selfsort.errors import InputError, unknown_name


@dataclass
class Outputs:
    """A batch and what the network said of it.

    Attributes
    ----------
    images : Tensor of shape (n, ...)
        What the encoder saw, in [0, 1].
    code : Tensor of shape (n, code_dim) or None
        What the decoder reads of the bottleneck: where that names classes, rows sum to 1.
    logits : Tensor of shape (n, n_logits) or None
        What the code was made from.
    class_logits : Tensor of shape (n, n_classes) or None
        Logits of the classes, where they can be told.
    partner_code : Tensor of shape (n, n_classes) or None
        Code of each image's partner: its transformed copy, or one of its neighbours.
    reconstruction : Tensor of shape (n, ...) or None
        The decoder's images, in the units of `images`.
    targets : Tensor of shape (n, n_classes) or None
        Label distribution of each image; a row of zeros where there is no label.
    divergence : Tensor of shape (n,) or None
        Divergence of the code's posterior from its prior, in nats.
    combine : callable or None
        Where several codes of each image were decoded: from one value each, ``(n, copies)``, to
        one an image. `reconstruction` then has ``n * copies`` rows.
    n_all : int or None
        Where several processes share a batch: how many images are in all of it. What is here is
        one process's share.
    """

    images: Tensor
    code: Tensor | None = None
    logits: Tensor | None = None
    class_logits: Tensor | None = None
    partner_code: Tensor | None = None
    reconstruction: Tensor | None = None
    targets: Tensor | None = None
    divergence: Tensor | None = None
    combine: Callable[[Tensor], Tensor] | None = None
    n_all: int | None = None

    @property
    def n_images(self) -> int:
        """How many images are in the batch of all processes."""
        return len(self.images) if self.n_all is None else self.n_all

    def compared(self) -> tuple[Tensor, Tensor]:
        """Return images and reconstructions, a row each decoded code."""
        assert self.reconstruction is not None  # noqa: S101 - `Objective` sees to it
        copies = len(self.reconstruction) // len(self.images)
        images = self.images if copies == 1 else self.images.repeat_interleave(copies, dim=0)
        return images, self.reconstruction

    def combined(self, values: Tensor) -> Tensor:
        """Return one value an image from one each decoded code."""
        return values if self.combine is None else self.combine(values.view(len(self.images), -1))


Term = Callable[[Outputs], Tensor]
TERMS: dict[str, Term] = {}
RECONSTRUCTION_TERMS = ("mse", "bce", "nll")


def register(name: str) -> Callable[[Term], Term]:
    """Register a term under `name`."""

    def add(term: Term) -> Term:
        TERMS[name] = term
        return term

    return add


@register("mse")
def mse(outputs: Outputs) -> Tensor:
    """Return the mean squared error per pixel, in squared units of [0, 1] pixels.

    Examples
    --------
    >>> import torch
    >>> mse(Outputs(images=torch.ones(1, 1, 8, 8), reconstruction=torch.zeros(1, 1, 8, 8)))
    tensor([1.])
    """
    images, reconstruction = outputs.compared()
    return outputs.combined((reconstruction - images).square().flatten(1).mean(1))


@register("bce")
def bce(outputs: Outputs) -> Tensor:
    """Return the binary cross-entropy per pixel in nats, for images and outputs in [0, 1].

    Examples
    --------
    >>> import torch
    >>> bce(Outputs(images=torch.ones(1, 4), reconstruction=torch.full((1, 4), 0.5)))
    tensor([0.6931])
    """
    images, reconstruction = outputs.compared()
    return outputs.combined(_cross_entropy(images, reconstruction).mean(1))


def _cross_entropy(images: Tensor, reconstruction: Tensor) -> Tensor:
    """Return the binary cross-entropy of each pixel in nats, ``(n, p)``."""
    probability = reconstruction.clamp(1e-6, 1 - 1e-6)
    # Written out, for PyTorch's own function fails on NaN before `check_finite` can name it.
    values = -(images * probability.log() + (1 - images) * torch.log1p(-probability))
    return values.flatten(1)


@register("nll")
def nll(outputs: Outputs) -> Tensor:
    """Return the negative log-likelihood of binary images in nats: `bce` summed over pixels.

    Together with the divergence, weight 1 each, it is the negative evidence lower bound.

    References
    ----------
    Kingma, Welling (2014), arXiv:1312.6114, equation 3.

    Examples
    --------
    >>> import torch
    >>> nll(Outputs(images=torch.ones(1, 4), reconstruction=torch.full((1, 4), 0.5)))
    tensor([2.7726])
    """
    images, reconstruction = outputs.compared()
    return outputs.combined(_cross_entropy(images, reconstruction).sum(1))


@register("divergence")
def divergence(outputs: Outputs) -> Tensor:
    """Return the divergence of the code's posterior from its prior, in nats.

    Examples
    --------
    >>> import torch
    >>> divergence(Outputs(images=torch.ones(1, 4), divergence=torch.tensor([0.7])))
    tensor([0.7000])
    """
    assert outputs.divergence is not None  # noqa: S101
    return outputs.divergence


@register("classification")
def classification(outputs: Outputs) -> Tensor:
    """Return the cross-entropy in nats between label distribution and softmax of the logits.

    Images without a label count zero, and the others are scaled up, so that the mean over the
    batch is the mean over its labelled images.

    Examples
    --------
    >>> import torch
    >>> targets = torch.tensor([[1.0, 0.0], [0.0, 0.0]])
    >>> classification(Outputs(torch.zeros(2, 1), class_logits=torch.zeros(2, 2), targets=targets))
    tensor([1.3863, 0.0000])
    """
    assert outputs.class_logits is not None and outputs.targets is not None  # noqa: S101
    values = (outputs.targets * -torch.log_softmax(outputs.class_logits, dim=1)).sum(1)
    n_labelled = parallel.summed((outputs.targets.sum(1) > 0).sum())
    return values * (outputs.n_images / n_labelled.clamp_min(1))


@register("information")
def information(outputs: Outputs) -> Tensor:
    """Return minus the mutual information in nats between the codes of image and partner.

    With ``P = mean_i code_i partner_i'``, symmetrised, the value of image i is
    ``-sum_ab code_ia partner_ib log(P_ab / (P_a P_b))``: its mean over the batch is ``-I``.
    Codes of several heads, ``(n, n_heads, n_classes)``, give the mean over the heads.
    A batch should hold many times ``n_classes`` images, or the estimate is biased upward.

    References
    ----------
    Ji, Henriques, Vedaldi (2019), arXiv:1807.06653, equations 2 and 3.

    Examples
    --------
    >>> import torch
    >>> code = torch.eye(2).repeat(3, 1)
    >>> information(Outputs(torch.zeros(6, 1), code=code, partner_code=code)).mean()
    tensor(-0.6931)
    """
    assert outputs.code is not None and outputs.partner_code is not None  # noqa: S101
    code, partner = (
        heads if heads.ndim == 3 else heads[:, None]
        for heads in (outputs.code, outputs.partner_code)
    )
    joint = parallel.summed(torch.einsum("nha,nhb->hab", code, partner)) / outputs.n_images
    joint = (joint + joint.mT) / 2
    smallest = torch.finfo(joint.dtype).tiny
    marginal = joint.sum(2).clamp_min(smallest).log()
    gain = joint.clamp_min(smallest).log() - marginal[:, :, None] - marginal[:, None, :]
    return -(torch.einsum("nha,hab->nhb", code, gain) * partner).sum(2).mean(1)


NEEDS = {
    **dict.fromkeys(RECONSTRUCTION_TERMS, "reconstruction"),
    "information": "partner_code",
    "divergence": "divergence",
}


RAMPS = {"divergence": 0.3}
"""Share of the training in which a term's weight rises from 0, in proportion to the progress.

A decoder that has learned nothing makes every code too dear: with the whole weight from the start
most of a code falls out of use, and stays so. Sønderby et al. (2016), arXiv:1602.02282, section 2.
"""


class Objective:
    """A weighted sum of terms.

    Parameters
    ----------
    weights : mapping of str to float
        Multiplier of each term by its registered name; a term of weight 0 is not computed.

    Raises
    ------
    InputError
        If a term is not registered, a weight is negative or not finite, or all weights are 0.

    Examples
    --------
    >>> objective = Objective({"mse": 0.5, "classification": 0.5, "information": 0.0})
    >>> sorted(objective.weights), objective.needs("reconstruction")
    (['classification', 'mse'], True)
    """

    def __init__(self, weights: Mapping[str, float]) -> None:
        for name, weight in weights.items():
            if name not in TERMS:
                raise unknown_name("term", name, TERMS)
            if not 0 <= weight < float("inf"):
                raise InputError(
                    f"The weight of the term '{name}' must be a finite number of at least 0. "
                    f"Got {weight!r} instead."
                )
        self.weights = {name: float(weight) for name, weight in weights.items() if weight}
        if not self.weights:
            raise InputError(
                f"There is nothing to learn: every term has weight 0 ({', '.join(weights)}). "
                "Give at least one of them a weight above 0."
            )

    def needs(self, output: str) -> bool:
        """Return whether any term reads that field of `Outputs`."""
        return any(NEEDS.get(name) == output for name in self.weights)

    def weight(self, name: str, progress: float) -> float:
        """Return a term's weight at `progress` in [0, 1].

        Examples
        --------
        >>> objective = Objective({"nll": 1.0, "divergence": 1.0})
        >>> [round(objective.weight("divergence", progress), 2) for progress in (0, 0.15, 0.3, 1)]
        [0.0, 0.5, 1.0, 1.0]
        """
        share = min(1.0, progress / RAMPS[name]) if name in RAMPS else 1.0
        return share * self.weights[name]

    def __call__(self, outputs: Outputs) -> dict[str, Tensor]:
        """Return each term's unweighted values, one per image."""
        return {name: TERMS[name](outputs) for name in self.weights}
