"""How a fit trains: optimizer, schedule, phases and precision."""

from __future__ import annotations

import contextlib
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from numbers import Integral

import torch
from torch import nn

from selfsort.errors import InputError, unknown_name
from selfsort.networks import PARTS

OPTIMIZERS: dict[str, Callable[..., torch.optim.Optimizer]] = {
    "adam": torch.optim.Adam,
    "adamw": torch.optim.AdamW,
    "sgd": torch.optim.SGD,
}


@dataclass
class Settings:
    """How one fit trains; every estimator parameter of the same name ends here.

    ``schedule`` maps progress in [0, 1] to a factor of the learning rate.
    """

    epochs: int
    batch_size: int
    learning_rate: float
    optimizer: str = "adamw"
    momentum: float = 0.0
    weight_decay: float = 0.0
    schedule: Callable[[float], float] = lambda progress: 1.0
    phases: Sequence[tuple[str, int]] = ()
    average: float = 0.0
    autocast: bool = False


LARGEST_SMALL_BATCH = 256


def with_small_batches(settings: Settings) -> Settings:
    """Return settings with batches of 256 at most, for stages that learn no information.

    The information between neighbours needs larger batches to be measured; everything else
    learns more from twice the steps.
    """
    return replace(settings, batch_size=min(settings.batch_size, LARGEST_SMALL_BATCH))


def cosine(progress: float, warm_up: float = 0.1) -> float:
    """Rise linearly during `warm_up`, then fall along a cosine to 0.

    Examples
    --------
    >>> [round(cosine(p), 3) for p in (0.0, 0.05, 0.1, 0.55, 1.0)]
    [0.0, 0.5, 1.0, 0.5, 0.0]
    """
    if progress < warm_up:
        return progress / warm_up
    return 0.5 * (1 + math.cos(math.pi * (progress - warm_up) / (1 - warm_up)))


def constant(progress: float) -> float:
    """Keep the learning rate."""
    return 1.0


SCHEDULES: dict[str, Callable[[float], float]] = {"constant": constant, "cosine": cosine}


def autocast(device: torch.device, enabled: bool) -> contextlib.AbstractContextManager[None]:
    """Return the context in which a network runs, in bfloat16 where enabled."""
    if not enabled:
        return contextlib.nullcontext()
    return torch.autocast(device.type, dtype=torch.bfloat16)


def check_phases(phases: Sequence[tuple[str, int]]) -> list[tuple[tuple[str, ...], int]]:
    """Return phases as (parts, epochs), checked.

    Examples
    --------
    >>> check_phases([("encoder+head", 2), ("all", 1)])
    [(('encoder', 'head'), 2), (('encoder', 'head', 'style', 'decoder'), 1)]
    """
    checked: list[tuple[tuple[str, ...], int]] = []
    for phase in phases:
        if not isinstance(phase, (tuple, list)) or len(phase) != 2:
            raise InputError(
                f"The 'phases' parameter must be a list of (parts, epochs) pairs such as "
                f"('decoder', 2). Got {phase!r} in it instead."
            )
        name, epochs = phase
        parts = PARTS if name == "all" else tuple(str(name).split("+"))
        for part in parts:
            if part not in PARTS:
                raise unknown_name("part", part, [*PARTS, "all"])
        if not isinstance(epochs, Integral) or isinstance(epochs, bool) or epochs < 1:
            raise InputError(
                f"The epochs of phase '{name}' must be a whole number of at least 1. "
                f"Got {epochs!r} instead."
            )
        checked.append((parts, int(epochs)))
    return checked


def parts_by_epoch(settings: Settings) -> list[tuple[str, ...]]:
    """Return which parts train in each epoch."""
    if not settings.phases:
        return [PARTS] * settings.epochs
    return [parts for parts, epochs in check_phases(settings.phases) for _ in range(epochs)]


def make_optimizer(model: nn.Module, settings: Settings) -> torch.optim.Optimizer:
    """Return the optimizer; biases and normalisations are not decayed by AdamW."""
    if settings.optimizer not in OPTIMIZERS:
        raise unknown_name("optimizer", settings.optimizer, OPTIMIZERS)
    options: dict[str, object] = {"lr": settings.learning_rate}
    groups: list[dict[str, object]] = []
    weights = list(model.parameters())
    if settings.optimizer == "sgd":
        options["momentum"] = settings.momentum
    else:
        options["fused"] = True
        if weights[0].device.type == "cuda":  # a graph of the step reads the rate from there
            options["lr"] = torch.tensor(settings.learning_rate, device=weights[0].device)
            options["capturable"] = True
    if settings.optimizer == "adamw":
        flat = [p for p in weights if p.ndim < 2]
        groups = [
            {"params": [p for p in weights if p.ndim >= 2], "weight_decay": settings.weight_decay},
            {"params": flat, "weight_decay": 0.0},
        ]
    else:
        groups = [{"params": weights, "weight_decay": settings.weight_decay}]
    return OPTIMIZERS[settings.optimizer](groups, **options)
