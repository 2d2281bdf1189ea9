"""What every network is made of, and how one is made from its name."""

from __future__ import annotations

import math
from collections.abc import Callable, Collection
from functools import cached_property
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional

from selfsort.errors import InputError, unknown_name

Shape = tuple[int, ...]
"""Shape of one input: ``(channels, height, width)`` for images, ``(p,)`` for vectors."""
SMALLEST_SIDE = 8
N_FEATURES = 128
PARTS = ("encoder", "head", "style", "decoder")
"""What can train or be frozen: encoder with neck, class head, style, decoder."""


class Encoded:
    """What a network says of a batch, each part worked out when it is first asked for."""

    def __init__(self, network: Network, images: Tensor) -> None:
        self._network = network
        self._inputs = network.normalised(images)

    @cached_property
    def maps(self) -> Tensor:
        """What the encoder gives, ``(n, n_maps)``."""
        maps: Tensor = self._network.encoder(self._inputs)
        return maps

    @cached_property
    def features(self) -> Tensor:
        """What the class head reads, ``(n, n_features)``."""
        features: Tensor = self._network.neck(self.maps)
        return features

    @cached_property
    def logits(self) -> Tensor | None:
        """What the class head gives, ``(n, n_logits)``, float32; None where there is none."""
        head = self._network.head
        return None if head is None else head(self.features).float()

    @cached_property
    def style(self) -> Tensor | None:
        """The style ``(n, style_dim)``, float32; None where there is none."""
        network = self._network
        if network.style is None:
            return None
        style: Tensor = network.style(self._inputs if network.own_style else self.maps)
        return style.float()


class Heads(nn.Linear):
    """Several linear heads side by side, from features ``(n, d)`` to ``(n, n_heads, n_outputs)``.

    Examples
    --------
    >>> import torch
    >>> Heads(128, n_heads=5, n_outputs=100)(torch.zeros(2, 128)).shape
    torch.Size([2, 5, 100])
    """

    def __init__(self, n_features: int, n_heads: int, n_outputs: int) -> None:
        super().__init__(n_features, n_heads * n_outputs)
        self.n_heads = n_heads

    def forward(self, features: Tensor) -> Tensor:
        return super().forward(features).unflatten(1, (self.n_heads, -1))

    def one(self, i: int, features: Tensor) -> Tensor:
        """Return what head `i` alone gives, ``(n, n_outputs)``."""
        weight, bias = self.weight.chunk(self.n_heads)[i], self.bias.chunk(self.n_heads)[i]
        return functional.linear(features, weight, bias)


class Network(nn.Module):
    """Encoder, class head, style part and decoder.

    Parameters
    ----------
    encoder : Module
        From inputs ``(n, *shape)`` to maps ``(n, n_maps)``.
    neck : Module
        From maps to features ``(n, n_features)``.
    head : Module or None
        From features to logits ``(n, n_logits)``; None where there are no classes.
    style : Module or None
        From maps, or from inputs, to the style ``(n, style_dim)``; None where the code is all
        that passes.
    decoder : Module
        From ``(n, n_latent)``, the code and the style, to outputs ``(n, *shape)``.
    mean, std : float
        Inputs are normalised to ``(x - mean) / std`` before the encoder, and the decoder's
        output is in those units too; `decode` turns it back, so that pixels in [0, 1] are the
        only unit outside.
    own_style : bool
        Whether the style reads inputs, so that it can be learned apart from the classes.

    Attributes
    ----------
    name : str
        Under which `make_network` made it.
    """

    name: str

    def __init__(
        self,
        encoder: nn.Module,
        neck: nn.Module,
        head: nn.Module | None,
        style: nn.Module | None,
        decoder: nn.Module,
        mean: float = 0.0,
        std: float = 1.0,
        *,
        own_style: bool = False,
    ) -> None:
        super().__init__()
        self.encoder = encoder
        self.neck = neck
        self.head = head
        self.style = style
        self.decoder = decoder
        self.mean = mean
        self.std = std
        self.own_style = own_style

    @property
    def decodes_apart(self) -> bool:
        """Whether style and decoder need nothing of the encoder but the logits."""
        return self.style is None or self.own_style

    def normalised(self, images: Tensor) -> Tensor:
        """Return inputs in [0, 1] in the units that the encoder reads."""
        if (self.mean, self.std) == (0.0, 1.0):
            return images
        return (images - self.mean) / self.std

    def encode(self, images: Tensor) -> Encoded:
        """Return features, logits and style of inputs ``(n, *shape)`` in [0, 1]."""
        return Encoded(self, images)

    def decode(self, latent: Tensor) -> Tensor:
        """Return the images of latents ``(n, n_latent)``: code, then style."""
        images = self.decoder(latent).float()
        if (self.mean, self.std) != (0.0, 1.0):
            images = images * self.std + self.mean
        return images

    def train_only(self, parts: Collection[str]) -> None:
        """Let only some of `PARTS` train; the others keep weights and running statistics."""
        modules = {
            "encoder": (self.encoder, self.neck),
            "head": (self.head,),
            "style": (self.style,),
            "decoder": (self.decoder,),
        }
        for part, members in modules.items():
            for module in members:
                if module is not None:
                    module.train(part in parts).requires_grad_(part in parts)

    def sharpen_head(self, generator: torch.Generator) -> None:
        """Start the class head sharp: weights with a standard deviation of 3/sqrt(d).

        The mutual information of a head that starts with the usual small weights has almost
        no gradient: every code is nearly uniform.
        """
        if isinstance(self.head, nn.Linear):
            with torch.no_grad():
                deviation = 3.0 / math.sqrt(self.head.in_features)
                # Drawn on the CPU, so that one seed gives the same start on every device.
                start = torch.empty(self.head.weight.shape).normal_(generator=generator)
                self.head.weight.copy_(start * deviation)
                self.head.bias.zero_()


class Widths(NamedTuple):
    """How many numbers stand for one image: logits, style, and what the decoder reads."""

    n_logits: int
    style_dim: int
    n_latent: int


class Probability(nn.Module):
    """The logistic function in float32: bfloat16 knows no probability between 0.996 and 1."""

    def forward(self, x: Tensor) -> Tensor:
        return torch.sigmoid(x.float())


Builder = Callable[[Shape, Widths], Network]
NETWORKS: dict[str, Builder] = {}


def register(name: str) -> Callable[[Builder], Builder]:
    """Register a function ``(shape, widths) -> Network`` under `name`."""

    def add(builder: Builder) -> Builder:
        NETWORKS[name] = builder
        return builder

    return add


def resolve_network(name: str, shape: Shape, *, wide: bool = False) -> str:
    """Return the name that ``"auto"`` stands for, or the name itself.

    Examples
    --------
    >>> resolve_network("auto", (1, 28, 28)), resolve_network("auto", (5,))
    ('convolutional', 'dense')
    """
    if name != "auto":
        return name
    if len(shape) != 3:
        return "dense"
    return "convolutional-wide" if wide else "convolutional"


def make_network(
    name: str,
    shape: Shape,
    n_classes: int,
    style_dim: int,
    mean: float = 0.0,
    std: float = 1.0,
    *,
    n_logits: int | None = None,
    code_dim: int | None = None,
) -> Network:
    """Return a freshly initialised network, in PyTorch's current random state.

    Parameters
    ----------
    name : str
        A registered name, or ``"auto"``: convolutional for images, dense for vectors.
    shape : tuple of int
        ``(channels, height, width)``, at least 8×8 and 1 to 4 channels, or ``(p,)``.
    n_classes : int
        0 for a network without classes.
    style_dim : int
        Width of the style; 0 for the pure K-way bottleneck.
    mean, std : float
        Normalisation of the inputs; ``std > 0``.
    n_logits, code_dim : int, optional
        Widths of what the class head gives and of the code that the decoder reads; as many as
        classes unless told otherwise.

    Raises
    ------
    InputError
        If the name is not registered, or the network cannot be built for that shape.

    Examples
    --------
    >>> import torch
    >>> network = make_network("auto", (1, 28, 28), n_classes=10, style_dim=2)
    >>> network.decode(torch.zeros(5, 12)).shape
    torch.Size([5, 1, 28, 28])
    """
    name = resolve_network(name, shape)
    if name not in NETWORKS:
        raise unknown_name("network", name, [*NETWORKS, "auto"])
    n_logits = n_classes if n_logits is None else n_logits
    code_dim = n_classes if code_dim is None else code_dim
    network = NETWORKS[name](shape, Widths(n_logits, style_dim, code_dim + style_dim))
    network.name, network.mean, network.std = name, mean, std
    return network


def linear(n_inputs: int, n_outputs: int) -> nn.Linear | None:
    """Return a linear layer, or None where nothing is to come out."""
    return nn.Linear(n_inputs, n_outputs) if n_outputs else None


def check_image_shape(name: str, shape: Shape) -> None:
    """Raise where a network of convolutions cannot take inputs of that shape."""
    if len(shape) != 3 or min(shape[1:]) < SMALLEST_SIDE or not 1 <= shape[0] <= 4:
        raise InputError(
            f"The network '{name}' needs images of at least {SMALLEST_SIDE}x{SMALLEST_SIDE} with "
            f"1 to 4 channels, got {shape}: use network='dense' for vectors."
        )
