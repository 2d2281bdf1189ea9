"""Modules for the doctor's examples: sound ones, and parts that break them.

Each is made for images of a side, so that it runs on any square ones.
"""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn


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
