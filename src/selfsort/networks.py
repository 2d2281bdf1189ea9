"""Networks: the only weights.

A network is an encoder, a class head, a style part and a decoder. The encoder gives *maps*
(flat), the neck turns them into the *features* that the class head reads. The style part reads
the maps themselves, which still know where things are, or has convolutions of its own and reads
the image: maps learned for the classes alone have forgotten much of it. The decoder rebuilds
the image from the code and the style. A new network is one function in this file with `@register`.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Collection
from functools import cached_property

import torch
from torch import Tensor, nn

from selfsort.errors import InputError, unknown_name

Shape = tuple[int, ...]
"""Shape of one input: ``(channels, height, width)`` for images, ``(p,)`` for vectors."""

SMALLEST_SIDE = 8
PARTS = ("encoder", "head", "style", "decoder")
"""What can train or be frozen: encoder with neck, class head, style, decoder."""


class Encoded:
    """What the encoder says of a batch; the style is worked out when it is asked for."""

    def __init__(
        self, features: Tensor, logits: Tensor | None, style: Callable[[], Tensor | None]
    ) -> None:
        self.features = features
        self.logits = logits
        self._style = style

    @cached_property
    def style(self) -> Tensor | None:
        """The style ``(n, style_dim)``, float32; None where there is none."""
        return self._style()


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


class Network(nn.Module):
    """Encoder, class head, style head and decoder.

    Parameters
    ----------
    encoder : Module
        From inputs ``(n, *shape)`` to maps ``(n, n_maps)``.
    neck : Module
        From maps to features ``(n, n_features)``.
    head : Module or None
        From features to logits ``(n, n_classes)``; None where there are no classes.
    style : Module or None
        From maps, or from inputs, to the style ``(n, style_dim)``; None where the code is all
        that passes.
    decoder : Module
        From ``(n, n_classes + style_dim)`` to outputs ``(n, *shape)``.
    mean, std : float
        Inputs are normalised to ``(x - mean) / std`` before the encoder, and the decoder's
        output is in those units too; `decode` turns it back, so that pixels in [0, 1] are the
        only unit outside.
    own_style : bool
        Whether the style reads inputs, so that it can be learned apart from the classes.
    """

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

    def normalised(self, images: Tensor) -> Tensor:
        """Return inputs in [0, 1] in the units that the encoder reads."""
        if (self.mean, self.std) == (0.0, 1.0):
            return images
        return (images - self.mean) / self.std

    def encode(self, images: Tensor) -> Encoded:
        """Return features, logits and style of inputs ``(n, *shape)`` in [0, 1]."""
        inputs = self.normalised(images)
        maps = self.encoder(inputs)
        features = self.neck(maps)
        logits = None if self.head is None else self.head(features).float()

        def style() -> Tensor | None:
            if self.style is None:
                return None
            style: Tensor = self.style(inputs if self.own_style else maps)
            return style.float()

        return Encoded(features, logits, style)

    def decode(self, latent: Tensor) -> Tensor:
        """Return the images of latents ``(n, n_classes + style_dim)``: code, then style."""
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


Builder = Callable[[Shape, int, int], Network]
NETWORKS: dict[str, Builder] = {}


def register(name: str) -> Callable[[Builder], Builder]:
    """Register a function ``(shape, n_classes, style_dim) -> Network`` under `name`."""

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
) -> Network:
    """Return a freshly initialised network, in PyTorch's current random state.

    Parameters
    ----------
    name : str
        A registered name, or ``"auto"``: convolutional for images, dense for vectors.
    shape : tuple of int
        ``(channels, height, width)``, at least 8×8 and 1 to 4 channels, or ``(p,)``.
    n_classes : int
        Width of the code; 0 for a network without classes.
    style_dim : int
        Width of the style; 0 for the pure K-way bottleneck.
    mean, std : float
        Normalisation of the inputs; ``std > 0``.

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
    network = NETWORKS[name](shape, n_classes, style_dim)
    network.mean, network.std = mean, std
    return network


def _linear(n_inputs: int, n_outputs: int) -> nn.Linear | None:
    return nn.Linear(n_inputs, n_outputs) if n_outputs else None


def _need_image(name: str, shape: Shape) -> None:
    if len(shape) != 3 or min(shape[1:]) < SMALLEST_SIDE or not 1 <= shape[0] <= 4:
        raise InputError(
            f"The network '{name}' needs images of at least {SMALLEST_SIDE}x{SMALLEST_SIDE} with "
            f"1 to 4 channels, got {shape}: use network='dense' for vectors."
        )


def _halvings(side: int, smallest: int) -> int:
    """Return how often `side` can be halved while it is at least `smallest`."""
    count = 0
    while side >= smallest:
        side //= 2
        count += 1
    return count


def _encoder_block(n_inputs: int, n_outputs: int, pool: bool) -> nn.Sequential:
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
            blocks.append(_encoder_block(widths[i], widths[i + 1], pool))
    encoder = nn.Sequential(*blocks, nn.Flatten())
    with torch.no_grad():
        n_maps = encoder.eval()(torch.zeros(1, *shape)).shape[1]
    return encoder.train(), n_maps


N_HIDDEN = 256


class ConvolutionalDecoder(nn.Module):
    """From latents ``(n, n_latent)`` to images ``(n, channels, height, width)`` in (0, 1)."""

    def __init__(self, n_latent: int, shape: Shape, width: int) -> None:
        super().__init__()
        channels, self.height, self.width = shape
        n_up = max(1, _halvings(min(self.height, self.width), 12))
        base = (math.ceil(self.height / 2**n_up), math.ceil(self.width / 2**n_up))
        widths = [width * min(2**i, 4) for i in range(n_up, 0, -1)] + [width]
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
        self.grow = nn.Sequential(
            *(self._double(widths[i], widths[i + 1]) for i in range(n_up)),
            nn.Conv2d(widths[-1], channels, 3, padding=1),
        )

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
        return torch.sigmoid(images[:, :, : self.height, : self.width])


N_FEATURES = 128
OTHER_WIDTH = 16
"""Channels of the first convolution for style and decoder."""


def _convolutional(name: str, shape: Shape, n_classes: int, style_dim: int, width: int) -> Network:
    _need_image(name, shape)
    encoder, n_maps = convolutional_encoder(shape, width)
    neck = nn.Sequential(
        nn.Linear(n_maps, N_FEATURES, bias=False), nn.BatchNorm1d(N_FEATURES), nn.ReLU()
    )
    decoder = ConvolutionalDecoder(n_classes + style_dim, shape, OTHER_WIDTH)
    head: nn.Module | None = _linear(N_FEATURES, n_classes)
    own_style = n_classes > 0 and style_dim > 0
    style: nn.Module | None = _linear(n_maps, style_dim)
    if own_style:
        trunk, n_maps = convolutional_encoder(shape, OTHER_WIDTH)
        style = nn.Sequential(trunk, nn.Linear(n_maps, style_dim))
    return Network(encoder, neck, head, style, decoder, own_style=own_style)


@register("convolutional")
def convolutional(shape: Shape, n_classes: int, style_dim: int) -> Network:
    """Four or more convolutions, depth chosen from the size; 1.2 million weights for 28×28.

    Where there are classes the style has convolutions of its own.
    """
    return _convolutional("convolutional", shape, n_classes, style_dim, width=24)


@register("convolutional-wide")
def convolutional_wide(shape: Shape, n_classes: int, style_dim: int) -> Network:
    """A third more channels for the classes: where all labels are there, and time."""
    return _convolutional("convolutional-wide", shape, n_classes, style_dim, width=32)


@register("dense")
def dense(shape: Shape, n_classes: int, style_dim: int) -> Network:
    """Fully connected, for vectors that are no images; images are flattened."""
    size = math.prod(shape)
    hidden = 256

    def layer(n_inputs: int, n_outputs: int) -> nn.Sequential:
        return nn.Sequential(nn.Linear(n_inputs, n_outputs), nn.BatchNorm1d(n_outputs), nn.ReLU())

    encoder = nn.Sequential(nn.Flatten(), layer(size, hidden), layer(hidden, hidden))
    decoder = nn.Sequential(
        layer(n_classes + style_dim, hidden),
        layer(hidden, hidden),
        nn.Linear(hidden, size),
        nn.Sigmoid(),
        nn.Unflatten(1, shape),
    )
    head, style = _linear(N_FEATURES, n_classes), _linear(hidden, style_dim)
    return Network(encoder, layer(hidden, N_FEATURES), head, style, decoder)


# The networks of the question and of its answers, as they stand there: two 5×5 convolutions
# without padding on 28×28 images (other sizes work as well, the flat layers follow).


def _maps_size(name: str, shape: Shape) -> tuple[int, int]:
    _need_image(name, shape)
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
    n_classes: int,
    style_dim: int,
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
        nn.Linear(n_classes + style_dim, height * width),
        nn.ReLU(),
        nn.Unflatten(1, (1, height, width)),
        nn.ConvTranspose2d(1, 10, 5),
        nn.ReLU(),
        nn.ConvTranspose2d(10, channels, 5),
        output,
    )
    head, style = _linear(n_maps, n_classes), _linear(n_maps, style_dim)
    neck = nn.BatchNorm1d(n_maps, affine=False) if normalise else nn.Identity()
    return Network(encoder, neck, head, style, decoder)


@register("question")
def question(shape: Shape, n_classes: int, style_dim: int) -> Network:
    """The asker's network: ReLU then Sigmoid on the output."""
    return _question_network("question", shape, n_classes, style_dim, _RectifiedSigmoid())


@register("question-sigmoid")
def question_sigmoid(shape: Shape, n_classes: int, style_dim: int) -> Network:
    """The asker's network without the ReLU before the output's sigmoid."""
    return _question_network("question-sigmoid", shape, n_classes, style_dim, nn.Sigmoid())


@register("question-linear")
def question_linear(shape: Shape, n_classes: int, style_dim: int) -> Network:
    """The asker's network with a linear output, which reaches every pixel value."""
    return _question_network("question-linear", shape, n_classes, style_dim, nn.Identity())


@register("question-linear-normalised")
def question_linear_normalised(shape: Shape, n_classes: int, style_dim: int) -> Network:
    """The asker's network with normalised features and a linear output."""
    name = "question-linear-normalised"
    return _question_network(name, shape, n_classes, style_dim, nn.Identity(), normalise=True)


@register("question-rectified")
def question_rectified(shape: Shape, n_classes: int, style_dim: int) -> Network:
    """The asker's network with a ReLU only on the output."""
    return _question_network("question-rectified", shape, n_classes, style_dim, nn.ReLU())


@register("plain")
def plain(shape: Shape, n_classes: int, style_dim: int) -> Network:
    """The first answer's autoencoder, 1→2→4 and 4→10→1: its feature maps are the code.

    It has no classes, and its style is all of the maps: `style_dim` is not used.
    """
    height, width = _maps_size("plain", shape)
    if n_classes:
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
