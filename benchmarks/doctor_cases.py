"""Examples for the doctor: sound autoencoders, and ones with a fault that somebody put in.

Each is a function of the images' side, so that it runs on any square images.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from doctor_modules import (
    AlwaysDropping,
    Categorical,
    ClassAndStyle,
    Convolutional,
    Decision,
    Deep,
    Dense,
    Detached,
    Forgotten,
    Frozen,
    Joint,
    Question,
    RectifiedSigmoid,
    Tied,
    Variational,
    evaluating,
    with_dead_units,
    with_equal_logits,
    with_large_weights,
)
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
