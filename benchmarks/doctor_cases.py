"""Autoencoders for the doctor: sound ones, and ones with a fault that somebody put in.

Each is a function of the images' side, so that it runs on any square images.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from selfsort.recipes import MEAN, STD


@dataclass(frozen=True)
class Example:
    """An autoencoder, how it is trained, and what is wrong with it.

    Attributes
    ----------
    make : callable
        ``make(side)`` gives the module.
    faults : frozenset of str
        Findings that must be made; empty for a sound one.
    effects : frozenset of str
        Findings that are right as well: what the fault leads to.
    loss, optimizer, prepare : callable or None
    labels : bool
    """

    make: Callable[[int], nn.Module]
    faults: frozenset[str] = frozenset()
    effects: frozenset[str] = frozenset()
    loss: Callable[..., Any] | None = None
    optimizer: Callable[[Iterable[nn.Parameter]], torch.optim.Optimizer] | None = None
    prepare: Callable[[Tensor], Tensor] | None = None
    labels: bool = False


# ---- modules -------------------------------------------------------------------------------


class Dense(nn.Module):
    """Two layers down, two up."""

    def __init__(
        self,
        side: int,
        width: int = 16,
        code: nn.Module | None = None,
        output: nn.Module | None = None,
    ) -> None:
        super().__init__()
        n = side * side
        self.encoder = nn.Sequential(
            nn.Flatten(), nn.Linear(n, 128), nn.ReLU(), nn.Linear(128, width)
        )
        self.code = code or nn.Identity()
        self.decoder = nn.Sequential(nn.Linear(width, 128), nn.ReLU(), nn.Linear(128, n))
        self.output = output or nn.Sigmoid()

    def forward(self, x: Tensor) -> Any:
        return self.output(self.decoder(self.code(self.encoder(x)))).view(x.shape)


class Deep(nn.Module):
    """Four layers down, four up."""

    def __init__(self, side: int, activation: type[nn.Module], *, normalise: bool) -> None:
        super().__init__()

        def layer(before: int, after: int) -> list[nn.Module]:
            norm = [nn.BatchNorm1d(after)] if normalise else []
            return [nn.Linear(before, after), *norm, activation()]

        n = side * side
        self.encoder = nn.Sequential(
            nn.Flatten(), *layer(n, 256), *layer(256, 128), *layer(128, 64), nn.Linear(64, 16)
        )
        self.decoder = nn.Sequential(
            *layer(16, 64), *layer(64, 128), *layer(128, 256), nn.Linear(256, n), nn.Sigmoid()
        )

    def forward(self, x: Tensor) -> Tensor:
        return self.decoder(self.encoder(x)).view(x.shape)


class Convolutional(nn.Module):
    """Two strided convolutions down, two up."""

    def __init__(self, side: int, output: nn.Module) -> None:
        super().__init__()
        small = side // 4
        n = 32 * small * small
        self.encoder = nn.Sequential(
            nn.Conv2d(1, 16, 3, stride=2, padding=1),
            nn.ReLU(),
            nn.Conv2d(16, 32, 3, stride=2, padding=1),
            nn.ReLU(),
            nn.Flatten(),
            nn.Linear(n, 32),
        )
        self.decoder = nn.Sequential(
            nn.Linear(32, n),
            nn.ReLU(),
            nn.Unflatten(1, (32, small, small)),
            nn.ConvTranspose2d(32, 16, 4, stride=2, padding=1),
            nn.ReLU(),
            nn.ConvTranspose2d(16, 1, 4, stride=2, padding=1),
        )
        self.output = output

    def forward(self, x: Tensor) -> Tensor:
        return self.output(self.decoder(self.encoder(x)))


class Variational(nn.Module):
    """A Gaussian code."""

    def __init__(self, side: int) -> None:
        super().__init__()
        n = side * side
        self.hidden = nn.Linear(n, 256)
        self.mean, self.log_variance = nn.Linear(256, 8), nn.Linear(256, 8)
        self.decoder = nn.Sequential(nn.Linear(8, 256), nn.ReLU(), nn.Linear(256, n), nn.Sigmoid())

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        hidden = torch.relu(self.hidden(x.flatten(1)))
        mean, log_variance = self.mean(hidden), self.log_variance(hidden)
        code = mean + torch.randn_like(mean) * torch.exp(0.5 * log_variance)
        return self.decoder(code).view_as(x), mean, log_variance


class Categorical(nn.Module):
    """Ten groups of ten, drawn with the Gumbel-softmax."""

    def __init__(self, side: int) -> None:
        super().__init__()
        n = side * side
        self.encoder = nn.Sequential(
            nn.Flatten(), nn.Linear(n, 256), nn.ReLU(), nn.Linear(256, 100)
        )
        self.decoder = nn.Sequential(nn.Linear(100, 256), nn.ReLU(), nn.Linear(256, n))

    def forward(self, x: Tensor) -> dict[str, Tensor]:
        logits = self.encoder(x).view(-1, 10, 10)
        code = F.gumbel_softmax(logits, tau=1.0, dim=-1).flatten(1)
        return {"image": self.decoder(code).view_as(x), "log_code": logits.log_softmax(-1)}


class Joint(nn.Module):
    """A softmax that is the code and the classifier at once."""

    def __init__(
        self, side: int, softmax: nn.Module | None = None, *, rectify: bool = False
    ) -> None:
        super().__init__()
        n = side * side
        self.encoder = nn.Sequential(nn.Flatten(), nn.Linear(n, 128), nn.ReLU(), nn.Linear(128, 10))
        self.rectify = rectify
        self.softmax = softmax or nn.Softmax(dim=1)
        self.decoder = nn.Sequential(nn.Linear(10, 128), nn.ReLU(), nn.Linear(128, n))

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        logits = self.encoder(x)
        if self.rectify:
            logits = F.relu(logits)
        code = self.softmax(logits)
        return self.decoder(code).view_as(x), logits, code


class Tied(nn.Module):
    """The decoder's weights are the encoder's."""

    def __init__(self, side: int) -> None:
        super().__init__()
        n = side * side
        self.weight = nn.Parameter(torch.randn(32, n) / n**0.5)
        self.bias = nn.Parameter(torch.zeros(n))

    def forward(self, x: Tensor) -> Tensor:
        code = F.leaky_relu(F.linear(x.flatten(1), self.weight), 0.1)
        return torch.sigmoid(F.linear(code, self.weight.t(), self.bias)).view_as(x)


class ClassAndStyle(nn.Module):
    """A class, learned from labels, and a style beside it."""

    def __init__(self, side: int) -> None:
        super().__init__()
        n = side * side
        self.features = nn.Sequential(nn.Flatten(), nn.Linear(n, 128), nn.ReLU())
        self.head, self.style = nn.Linear(128, 10), nn.Linear(128, 8)
        self.decoder = nn.Sequential(nn.Linear(18, 128), nn.ReLU(), nn.Linear(128, n))

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        features = self.features(x)
        logits = self.head(features)
        code = torch.cat([logits.softmax(1), self.style(features)], 1)
        return self.decoder(code).view_as(x), logits


class Question(nn.Module):
    """The question's own model."""

    def __init__(self, side: int) -> None:
        super().__init__()
        small = side - 8
        self.encoder = nn.Sequential(
            nn.Conv2d(1, 4, 5),
            nn.ReLU(),
            nn.Dropout2d(0.2),
            nn.Conv2d(4, 8, 5),
            nn.ReLU(),
            nn.Dropout2d(0.2),
            nn.Flatten(),
            nn.Linear(8 * small * small, 10),
        )
        self.decoder = nn.Sequential(
            nn.Linear(10, small * small),
            nn.ReLU(),
            nn.Unflatten(1, (1, small, small)),
            nn.ConvTranspose2d(1, 10, 5),
            nn.ReLU(),
            nn.ConvTranspose2d(10, 1, 5),
        )

    def forward(self, x: Tensor) -> Tensor:
        code = F.softmax(F.relu(self.encoder(x)), dim=1)
        return torch.sigmoid(F.relu(self.decoder(code)))


class RectifiedSigmoid(nn.Module):
    """Nothing below a half."""

    def forward(self, x: Tensor) -> Tensor:
        return torch.sigmoid(F.relu(x))


class Detached(nn.Module):
    """No gradient gets through."""

    def forward(self, x: Tensor) -> Tensor:
        return x.detach()


class Decision(nn.Module):
    """A one-hot code without a gradient."""

    def forward(self, x: Tensor) -> Tensor:
        return F.one_hot(x.argmax(1), x.shape[1]).float()


class AlwaysDropping(nn.Module):
    """Dropout that is not told whether the module trains."""

    def forward(self, x: Tensor) -> Tensor:
        return F.dropout(x, 0.2)


class Forgotten(Dense):
    """Its hidden layers are in a plain list."""

    def __init__(self, side: int) -> None:
        super().__init__(side)
        self.hidden = [nn.Linear(16, 16), nn.Linear(16, 16)]

    def forward(self, x: Tensor) -> Tensor:
        code = self.encoder(x)
        for layer in self.hidden:
            code = F.relu(layer(code)) + code
        return self.output(self.decoder(code)).view(x.shape)


class Frozen(Deep):
    """Its batch normalisation never leaves evaluation mode."""

    def train(self, mode: bool = True) -> Frozen:
        super().train(mode)
        for part in self.modules():
            if isinstance(part, nn.BatchNorm1d):
                part.training = False
        return self


def evaluating(module: nn.Module) -> nn.Module:
    """Return a module in evaluation mode."""
    return module.eval()


def with_large_weights(module: Dense, factor: float) -> Dense:
    """Return a module whose code starts far out."""
    with torch.no_grad():
        module.encoder[-1].weight.mul_(factor)
    return module


def with_dead_units(module: Dense) -> Dense:
    """Return a module with half of its code's units below zero."""
    with torch.no_grad():
        module.encoder[-1].bias[::2] -= 20
    return module


def with_equal_logits(module: Joint) -> Joint:
    """Return a module whose class head starts at zero."""
    with torch.no_grad():
        module.encoder[-1].weight.zero_()
        module.encoder[-1].bias.zero_()
    return module


# ---- losses and optimizers -----------------------------------------------------------------


def negative_bound(output: Any, images: Tensor) -> Tensor:
    """Return the variational autoencoder's loss."""
    image, mean, log_variance = output
    error = F.binary_cross_entropy(image, images, reduction="sum") / len(images)
    divergence = -0.5 * (1 + log_variance - mean**2 - log_variance.exp()).sum() / len(images)
    return error + divergence


def negative_bound_with_mean(output: Any, images: Tensor) -> Tensor:
    """Return the same with the mean over pixels, beside the sum over units."""
    image, mean, log_variance = output
    divergence = -0.5 * (1 + log_variance - mean**2 - log_variance.exp()).sum(1).mean()
    return F.mse_loss(image, images) + divergence


def categorical_bound(output: dict[str, Tensor], images: Tensor) -> dict[str, Tensor]:
    """Return the categorical autoencoder's loss, by term."""
    log_code = output["log_code"]
    error = F.binary_cross_entropy_with_logits(output["image"], images, reduction="sum")
    divergence = (log_code.exp() * (log_code + torch.tensor(10.0).log())).sum()
    return {"error": error / len(images), "divergence": divergence / len(images)}


def joint(weight: float) -> Callable[[Any, Tensor, Tensor], Tensor]:
    """Return a loss of reconstruction and classification."""

    def loss(output: Any, images: Tensor, labels: Tensor) -> Tensor:
        return F.mse_loss(output[0], images) + weight * F.cross_entropy(output[1], labels)

    return loss


def joint_on_code(output: Any, images: Tensor, labels: Tensor) -> Tensor:
    """Return a loss that takes the softmax twice."""
    return F.mse_loss(output[0], images) + F.cross_entropy(output[2], labels)


def only_image(output: Any, images: Tensor) -> Tensor:
    """Return the squared error of the first output."""
    return F.mse_loss(output[0], images)


def summed(output: Tensor, images: Tensor) -> Tensor:
    """Return the squared error, added up over everything."""
    return F.mse_loss(output, images, reduction="sum")


def cross_entropy(output: Tensor, images: Tensor) -> Tensor:
    """Return the binary cross-entropy of probabilities."""
    return F.binary_cross_entropy(output, images)


def cross_entropy_of_logits(output: Tensor, images: Tensor) -> Tensor:
    """Return the binary cross-entropy of logits."""
    return F.binary_cross_entropy_with_logits(output, images)


def adam(lr: float) -> Callable[[Iterable[nn.Parameter]], torch.optim.Optimizer]:
    """Return what makes Adam."""
    return lambda parameters: torch.optim.Adam(parameters, lr=lr)


def sgd(lr: float, momentum: float = 0.9) -> Callable[..., torch.optim.Optimizer]:
    """Return what makes gradient descent with momentum."""
    return lambda parameters: torch.optim.SGD(parameters, lr=lr, momentum=momentum)


def normalise(images: Tensor) -> Tensor:
    """Return images with the question's mean and deviation."""
    return (images - MEAN) / STD


def double(images: Tensor) -> Tensor:
    """Return images from -1 to 1."""
    return 2 * images - 1


def bytes_of(images: Tensor) -> Tensor:
    """Return images from 0 to 255."""
    return 255 * images


# ---- the lists -----------------------------------------------------------------------------

SOUND = {
    "dense": Example(Dense),
    "dense, linear output": Example(lambda side: Dense(side, output=nn.Identity())),
    "dense, gradient descent": Example(
        lambda side: Dense(side, output=nn.Identity()), optimizer=sgd(0.5)
    ),
    "dense, from -1 to 1": Example(lambda side: Dense(side, output=nn.Tanh()), prepare=double),
    "dense, logits": Example(
        lambda side: Dense(side, output=nn.Identity()), loss=cross_entropy_of_logits
    ),
    "sigmoid code": Example(lambda side: Dense(side, code=nn.Sigmoid())),
    "denoising": Example(lambda side: nn.Sequential(nn.Dropout(0.3), Dense(side))),
    "tied weights": Example(Tied),
    "deep, normalised": Example(lambda side: Deep(side, nn.ReLU, normalise=True)),
    "deep": Example(lambda side: Deep(side, nn.ReLU, normalise=False)),
    "convolutional": Example(lambda side: Convolutional(side, nn.Sigmoid())),
    "convolutional, normalised images": Example(
        lambda side: Convolutional(side, nn.Identity()), prepare=normalise
    ),
    "variational": Example(Variational, loss=negative_bound),
    "categorical": Example(Categorical, loss=categorical_bound),
    "joint": Example(Joint, loss=joint(1.0), labels=True),
    "class and style": Example(ClassAndStyle, loss=joint(1.0), labels=True),
}


def _faulty(
    make: Callable[[int], nn.Module], faults: str, effects: str = "", **more: Any
) -> Example:
    return Example(make, frozenset(faults.split()), frozenset(effects.split()), **more)


FAULTY = {
    "the question's model": _faulty(
        Question,
        "output-range relu-before-sigmoid relu-before-softmax vanishing-gradient plain-sgd "
        "narrow-bottleneck",
        "collapsed-code no-gradient",
        prepare=normalise,
        optimizer=sgd(0.01, 0.5),
    ),
    "sigmoid, normalised images": _faulty(
        lambda side: Convolutional(side, nn.Sigmoid()), "output-range", prepare=normalise
    ),
    "ReLU, normalised images": _faulty(
        lambda side: Dense(side, output=nn.ReLU()), "output-range", prepare=normalise
    ),
    "sigmoid, images from -1 to 1": _faulty(Dense, "output-range", prepare=double),
    "images from 0 to 255": _faulty(
        Dense, "input-scale", "output-range learning-rate-too-high", prepare=bytes_of
    ),
    "images from 0 to 255, linear output": _faulty(
        lambda side: Convolutional(side, nn.Identity()),
        "input-scale",
        "learning-rate-too-high learning-rate-too-low",
        prepare=bytes_of,
    ),
    "ReLU before sigmoid": _faulty(
        lambda side: Dense(side, output=RectifiedSigmoid()), "relu-before-sigmoid"
    ),
    "ReLU before sigmoid, modules": _faulty(
        lambda side: Dense(side, output=nn.Sequential(nn.ReLU(), nn.Dropout(0.1), nn.Sigmoid())),
        "relu-before-sigmoid",
    ),
    "ReLU before softmax": _faulty(
        lambda side: Joint(side, rectify=True), "relu-before-softmax", loss=joint(1.0), labels=True
    ),
    "softmax without dim": _faulty(
        lambda side: Joint(side, nn.Softmax()), "softmax-without-dim", loss=joint(1.0), labels=True
    ),
    "softmax over the batch": _faulty(
        lambda side: Joint(side, nn.Softmax(dim=0)),
        "softmax-over-the-batch",
        "saturated-code",
        loss=joint(1.0),
        labels=True,
    ),
    "dead code": _faulty(lambda side: with_dead_units(Dense(side, code=nn.ReLU())), "dead-units"),
    "saturated sigmoid code": _faulty(
        lambda side: with_large_weights(Dense(side, code=nn.Sigmoid()), 500.0),
        "saturated-code",
        "vanishing-gradient",
    ),
    "saturated tanh code": _faulty(
        lambda side: with_large_weights(Dense(side, code=nn.Tanh()), 500.0),
        "saturated-code",
        "vanishing-gradient",
    ),
    "deep sigmoids": _faulty(
        lambda side: Deep(side, nn.Sigmoid, normalise=False),
        "vanishing-gradient",
        "collapsed-code dead-units",
    ),
    "deep sigmoids, gradient descent": _faulty(
        lambda side: Deep(side, nn.Sigmoid, normalise=False),
        "vanishing-gradient plain-sgd",
        "collapsed-code dead-units",
        optimizer=sgd(0.1),
    ),
    "mean beside sum": _faulty(
        Variational, "collapsed-code", "drowned-term", loss=negative_bound_with_mean
    ),
    "reconstruction alone": _faulty(
        Joint, "narrow-bottleneck", "collapsed-code vanishing-gradient", loss=only_image
    ),
    "equal logits": _faulty(
        lambda side: with_equal_logits(Joint(side)),
        "narrow-bottleneck",
        "collapsed-code vanishing-gradient",
        loss=only_image,
    ),
    "decision without a gradient": _faulty(
        lambda side: Dense(side, width=10, code=Decision()),
        "no-gradient",
        "narrow-bottleneck collapsed-code",
    ),
    "detached code": _faulty(lambda side: Dense(side, code=Detached()), "no-gradient"),
    "layers in a list": _faulty(Forgotten, "unregistered-layers"),
    "rate too high": _faulty(
        Dense, "learning-rate-too-high", "collapsed-code dead-units", optimizer=adam(1.0)
    ),
    "rate too high, summed": _faulty(
        lambda side: Dense(side, output=nn.Identity()),
        "learning-rate-too-high",
        "collapsed-code dead-units",
        loss=summed,
        optimizer=sgd(0.1),
    ),
    "rate too low": _faulty(Dense, "learning-rate-too-low", optimizer=adam(1e-6)),
    "rate too low, gradient descent": _faulty(
        lambda side: Convolutional(side, nn.Identity()),
        "learning-rate-too-low",
        "vanishing-gradient plain-sgd",
        optimizer=sgd(1e-5),
    ),
    "dropout always": _faulty(lambda side: Dense(side, code=AlwaysDropping()), "dropout-left-on"),
    "evaluation mode": _faulty(
        lambda side: evaluating(Deep(side, nn.ReLU, normalise=True)), "evaluation-left-on"
    ),
    "frozen normalisation": _faulty(
        lambda side: Frozen(side, nn.ReLU, normalise=True), "evaluation-left-on"
    ),
    "classification drowned": _faulty(
        Joint, "drowned-term", "collapsed-code", loss=joint(1e-6), labels=True
    ),
    "cross-entropy, normalised images": _faulty(
        Dense, "target-scale output-range", prepare=normalise, loss=cross_entropy
    ),
    "sigmoid twice": _faulty(Dense, "activation-twice", loss=cross_entropy_of_logits),
    "softmax twice": _faulty(Joint, "activation-twice", loss=joint_on_code, labels=True),
}
