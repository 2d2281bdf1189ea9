"""A fit in the middle, as arrays and plain facts, from which it goes on bit for bit.

Taking a snapshot changes nothing: a fit that was interrupted and one that was not end the same.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn

from selfsort.training.loop import Epoch, Fit

Arrays = dict[str, Tensor]


@dataclass
class Snapshot:
    """What has to be kept: tensors, and what JSON holds."""

    arrays: Arrays = field(default_factory=dict)
    facts: dict[str, Any] = field(default_factory=dict)

    def add(self, prefix: str, tensors: Mapping[str, Tensor]) -> None:
        """Take tensors in, under names that start with `prefix` and a slash."""
        self.arrays |= {f"{prefix}/{name}": tensor for name, tensor in tensors.items()}

    def below(self, prefix: str) -> Arrays:
        """Return the tensors whose names start with `prefix` and a slash, without that."""
        start = f"{prefix}/"
        return {
            name.removeprefix(start): tensor
            for name, tensor in self.arrays.items()
            if name.startswith(start)
        }


def keep_model(kept: Snapshot, model: nn.Module, generator: torch.Generator) -> None:
    """Add weights, buffers and the states of all generators, the fit's and PyTorch's own."""
    kept.add("model", model.state_dict())
    kept.add("random", {"fit": generator.get_state(), "torch": torch.get_rng_state()})
    device = _device_of(model)
    if device.type == "cuda":  # dropout draws there
        kept.add("random", {"cuda": torch.cuda.get_rng_state(device)})


def restore_model(kept: Snapshot, model: nn.Module, generator: torch.Generator) -> None:
    """Set what `keep_model` kept."""
    model.load_state_dict(kept.below("model"))
    states = kept.below("random")
    generator.set_state(states["fit"])
    torch.set_rng_state(states["torch"])
    if "cuda" in states:
        torch.cuda.set_rng_state(states["cuda"], _device_of(model))


def keep_fit(kept: Snapshot, fit: Fit) -> None:
    """Add what a fit has beside its model: optimizer, averaged weights, and where it is."""
    for i, weight in enumerate(_weights(fit)):
        state = fit.optimizer.state.get(weight, {})
        tensors = {name: value for name, value in state.items() if isinstance(value, Tensor)}
        kept.add(f"optimizer/{i}", tensors)
    if fit.averaged is not None:
        kept.add("averaged", fit.averaged.state_dict())
    epoch = fit.epoch
    if epoch.order is not None:
        fit.check(epoch.sums, epoch.step)  # what is kept must be fit to go on from
        kept.arrays["order"] = epoch.order
    names = ("number", "step", "n_seen", "seconds")
    kept.facts["epoch"] = {name: getattr(epoch, name) for name in names}
    kept.facts["sums"] = epoch.sums.tolist()
    if fit.portion.halved:
        kept.facts["batches_of"] = fit.portion.size


def restore_fit(kept: Snapshot, fit: Fit) -> None:
    """Set what `keep_fit` kept."""
    for i, weight in enumerate(_weights(fit)):
        state = {name: _like(weight, value) for name, value in kept.below(f"optimizer/{i}").items()}
        if state:
            fit.optimizer.state[weight] = state
    if fit.averaged is not None:
        fit.averaged.load_state_dict(kept.below("averaged"))
    if "batches_of" in kept.facts:
        fit.portion.size, fit.portion.halved = kept.facts["batches_of"], True
    sums = torch.tensor(kept.facts["sums"], dtype=torch.float64)
    fit.epoch = Epoch(order=kept.arrays.get("order"), sums=sums, **kept.facts["epoch"])


def _device_of(model: nn.Module) -> torch.device:
    return next(model.parameters()).device


def _weights(fit: Fit) -> list[Tensor]:
    return [weight for group in fit.optimizer.param_groups for weight in group["params"]]


def _like(weight: Tensor, value: Tensor) -> Tensor:
    """Return an optimizer's tensor laid out in memory as its weight.

    What is fused goes through both as they lie there.
    """
    if value.shape != weight.shape:
        return value.clone().to(weight.device)  # a fused optimizer counts its steps there
    return torch.empty_like(weight, dtype=value.dtype).copy_(value)
