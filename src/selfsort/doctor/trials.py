"""Short trainings of a copy, and what is measured in them."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn

from selfsort.doctor.patient import Patient, tensors

N_UPDATES = 20
"""Steps at the start whose size is measured."""


@dataclass
class Trial:
    """One short training.

    Attributes
    ----------
    module : nn.Module
        The copy, trained.
    losses : list of float
        One a step; ends at the first that is not finite.
    terms : dict of list of float
        The same for each term.
    updates : dict of float
        By weight: the mean size of a step, as a share of the weight's own size, over the first
        `N_UPDATES` steps.
    shares : dict of float
        By term: its part of the length of all gradients, mean over the steps it was measured in.
    """

    module: nn.Module
    losses: list[float] = field(default_factory=list)
    terms: dict[str, list[float]] = field(default_factory=dict)
    updates: dict[str, float] = field(default_factory=dict)
    shares: dict[str, float] = field(default_factory=dict)

    @property
    def first(self) -> float:
        """Return the loss before the first step."""
        return self.losses[0]

    @property
    def last(self) -> float:
        """Return the loss at the end: the mean of the last tenth; infinite if it broke."""
        return late(self.losses)


def late(values: Sequence[float]) -> float:
    """Return the mean of the last tenth, infinite if there is one that is not finite.

    Examples
    --------
    >>> late([9.0] * 18 + [2.0, 4.0]), late([1.0, float("nan")])
    (3.0, inf)
    """
    tail = values[-max(1, len(values) // 10) :]
    return sum(tail) / len(tail) if all(map(math.isfinite, values)) else math.inf


def train(
    patient: Patient,
    n_steps: int,
    *,
    random_state: int,
    rate: float = 1.0,
    only: str | None = None,
    share_every: int = 0,
) -> Trial:
    """Train a copy for some steps.

    Parameters
    ----------
    patient : Patient
    n_steps : int
    random_state : int
        Of the batches and of what the module draws.
    rate : float
        Multiplier of the optimizer's learning rates.
    only : str, optional
        Learn from one term alone.
    share_every : int
        Measure each term's gradient in every so many steps; 0: never.
    """
    module = patient.copy().train()
    trial = Trial(module)
    weights = {name: each for name, each in module.named_parameters() if each.requires_grad}
    if not weights:
        return trial
    optimizer = patient.make_optimizer(weights.values())
    for group in optimizer.param_groups:
        group["lr"] *= rate
    updates: dict[str, list[float]] = {name: [] for name in weights}
    shares: dict[str, list[float]] = {}
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(random_state)
        generator = torch.Generator().manual_seed(random_state)
        for step, rows in enumerate(patient.batches(n_steps, generator)):
            images, labels = patient.images[rows], patient.labels_of(rows)
            output = patient.run(module, images)
            if not finite(output):  # of which PyTorch's own losses make an error
                trial.losses.append(math.inf)
                break
            terms = patient.terms(output, images, labels)
            loss = torch.stack(list(terms.values())).sum() if only is None else terms[only]
            trial.losses.append(float(loss.detach()))
            for name, term in terms.items():
                trial.terms.setdefault(name, []).append(float(term.detach()))
            if not (math.isfinite(trial.losses[-1]) and loss.requires_grad):
                break
            if share_every and step % share_every == 0 and len(terms) > 1:
                for name, size in gradient_sizes(terms, list(weights.values())).items():
                    shares.setdefault(name, []).append(size)
            _step(optimizer, loss, weights, updates if step < N_UPDATES else None)
    trial.updates = {name: sum(each) / len(each) for name, each in updates.items() if each}
    n_measured = max(map(len, shares.values()), default=0)
    totals = [sum(shares[name][i] for name in shares) for i in range(n_measured)]
    trial.shares = {
        name: sum(size / max(total, 1e-30) for size, total in zip(sizes, totals, strict=True))
        / n_measured
        for name, sizes in shares.items()
    }
    return trial


def _step(
    optimizer: torch.optim.Optimizer,
    loss: Tensor,
    weights: dict[str, nn.Parameter],
    updates: dict[str, list[float]] | None,
) -> None:
    before = {} if updates is None else {name: w.detach().clone() for name, w in weights.items()}
    optimizer.zero_grad()
    loss.backward()
    optimizer.step()
    if updates is not None:
        for name, old in before.items():
            moved = float((weights[name].detach() - old).norm())
            updates[name].append(moved / max(float(old.norm()), 1e-12))


def finite(output: Any) -> bool:
    """Return whether every number of an output is finite.

    Examples
    --------
    >>> import torch
    >>> finite(torch.zeros(2)), finite({"code": torch.tensor(float("nan"))})
    (True, False)
    """
    return all(bool(tensor.isfinite().all()) for tensor in tensors(output))


def gradient_sizes(terms: dict[str, Tensor], weights: list[nn.Parameter]) -> dict[str, float]:
    """Return the length of each term's gradient with respect to all weights."""
    sizes = {}
    for name, term in terms.items():
        if not term.requires_grad:
            sizes[name] = 0.0
            continue
        found: Any = torch.autograd.grad(term, weights, retain_graph=True, allow_unused=True)
        sizes[name] = math.sqrt(sum(float(g.square().sum()) for g in found if g is not None))
    return sizes
