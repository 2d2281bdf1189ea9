"""Bias and variance of each bottleneck's gradient: `benchmarks/results/gradients.md`.

    python benchmarks/gradients.py

Of functions of a code that are small enough to be summed over all codes, so that the exact
gradient is known. It takes a minute.
"""

from __future__ import annotations

import argparse
import datetime
import itertools
import sys
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from common import RESULTS, spread, table
from torch import Tensor

from selfsort.bottlenecks import Bottleneck, make_bottleneck
from selfsort.bottlenecks.dvae import DiscreteVariational
from selfsort.runs.environment import machine, versions

N_DRAWS = 10_000
FUNCTIONS = range(10)
"""Seeds of the functions, each with logits of its own."""
CATEGORIES = 10
UNITS = 6
CATEGORICAL: list[tuple[str, str, dict[str, Any]]] = [
    ("`softmax`", "softmax", {}),
    ("`straight-through`", "straight-through", {}),
    ("`gumbel`, temperature 1", "gumbel", {"start": 1.0, "end": 1.0}),
    ("`gumbel`, temperature 0.5", "gumbel", {"start": 0.5, "end": 0.5}),
    (
        "`gumbel`, straight-through, temperature 1",
        "gumbel",
        {"start": 1.0, "end": 1.0, "straight_through": True},
    ),
    (
        "`gumbel`, straight-through, temperature 0.5",
        "gumbel",
        {"start": 0.5, "end": 0.5, "straight_through": True},
    ),
    ("`leave-one-out`, 2 draws", "leave-one-out", {"draws": 2}),
    ("`leave-one-out`, 4 draws", "leave-one-out", {"draws": 4}),
]
BINARY: list[tuple[str, dict[str, Any]]] = [
    ("`dvae`, spike-and-exponential", {}),
    ("`dvae`, gumbolt", {"smoothing": "gumbolt"}),
]


@dataclass(frozen=True)
class Found:
    """How far the gradients of one estimator are from the exact one, as shares of its norm.

    `chance` is the standard error of `bias`: what an unbiased estimator shows, too. `largest` is
    the largest deviation of one component, in standard errors of its mean.
    """

    bias: float
    chance: float
    largest: float
    noise: float


def compared(gradients: Tensor, exact: Tensor) -> Found:
    """Return bias and noise of gradients ``(n, p)`` beside the exact one ``(p,)``."""
    size = exact.norm()
    deviation, variance = gradients.mean(0) - exact, gradients.var(0)
    errors = (variance / len(gradients)).sqrt()
    largest = (deviation.abs() / errors)[errors > 0]
    return Found(
        bias=float(deviation.norm() / size),
        chance=float(errors.norm() / size),
        largest=float(largest.max()) if len(largest) else np.inf,
        noise=float(variance.sum().sqrt() / size),
    )


def seeded(seed: int) -> torch.Generator:
    """Return a generator."""
    return torch.Generator().manual_seed(seed)


def categorical(name: str, parameters: dict[str, Any], seed: int) -> Found:
    """Compare the gradients of ``E f(code)``, to the logits, of a categorical bottleneck.

    f is smooth, curved, and has an offset, as a reconstruction's error has.
    """
    bottleneck = make_bottleneck(name, CATEGORIES, parameters)
    mixing = torch.randn(CATEGORIES, 4, generator=seeded(seed)).double()
    logits = torch.randn(1, CATEGORIES, generator=seeded(seed + 1000)).double()

    def of_code(code: Tensor) -> Tensor:
        return 3 * torch.tanh(code.double() @ mixing).sum(1) + 10

    exact = logits.clone().requires_grad_()
    codes = torch.eye(CATEGORIES, dtype=torch.float64)
    (exact.softmax(1)[0] * of_code(codes)).sum().backward()
    assert exact.grad is not None
    return compared(sampled(bottleneck, logits, of_code), exact.grad[0])


def sampled(bottleneck: Bottleneck, logits: Tensor, of_code: Callable[[Tensor], Tensor]) -> Tensor:
    """Return the gradients to the logits of many draws, ``(N_DRAWS, n_logits)``."""
    bottleneck.train()
    many = logits.expand(N_DRAWS, -1).clone().requires_grad_()
    code = bottleneck(many, 1.0, seeded(7))
    values = of_code(code)
    if bottleneck.copies > 1:
        values = bottleneck.combine(many, code, values.view(N_DRAWS, bottleneck.copies))
    values.sum().backward()
    assert many.grad is not None
    return many.grad


def binary(parameters: dict[str, Any], seed: int) -> Found:
    """Compare the gradients of ``KL(q(z | x) || p(z))``, to the posterior's logits.

    p is a Boltzmann machine of `UNITS` units, which come in one group, so that all states of
    them can be summed over.
    """
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        sizes = {"units": UNITS, "layers": 1, "continuous": 0, "hidden": 4}
        bottleneck = make_bottleneck("dvae", 3, {**sizes, **parameters})
        assert isinstance(bottleneck, DiscreteVariational)
        bottleneck.machine.weight.data = 2 * torch.randn(bottleneck.machine.weight.shape)
        bottleneck.machine.bias.data = torch.randn(UNITS)
    bottleneck.settle(seeded(seed))
    # The logits themselves, in place of what is learned of the features.
    bottleneck.groups[0] = torch.nn.Identity()
    logits = torch.randn(1, UNITS, generator=seeded(seed + 1000))

    states = torch.tensor(list(itertools.product([0.0, 1.0], repeat=UNITS)))
    exact = logits[0].clone().requires_grad_()
    log_q = -torch.nn.functional.binary_cross_entropy_with_logits(
        exact.expand(len(states), -1), states, reduction="none"
    ).sum(1)
    energy = bottleneck.machine.energy(states).detach()
    (log_q.exp() * (log_q + energy)).sum().backward()
    assert exact.grad is not None

    bottleneck.train()
    many = logits.expand(N_DRAWS, -1).clone().requires_grad_()
    code = bottleneck(many, 1.0, seeded(7))
    bottleneck.divergence(many, code, seeded(8)).sum().backward()
    assert many.grad is not None
    return compared(many.grad, exact.grad)


def cells(name: str, found: list[Found]) -> list[str]:
    """Return a line of a table."""
    return [
        name,
        spread([one.bias for one in found], 1, 100),
        spread([one.chance for one in found], 1, 100),
        spread([one.largest for one in found if np.isfinite(one.largest)], 1),
        spread([one.noise for one in found], 2),
    ]


def page() -> str:
    """Measure, and return the page."""
    titles = ["bottleneck", "bias %", "of it by chance %", "largest deviation", "noise"]
    rows = [
        cells(label, [categorical(name, parameters, seed) for seed in FUNCTIONS])
        for label, name, parameters in CATEGORICAL
    ]
    units = [
        cells(label, [binary(parameters, seed) for seed in FUNCTIONS])
        for label, parameters in BINARY
    ]
    origin = ", ".join(f"{name} {version}" for name, version in versions().items())
    parts = [
        "# Bias and variance of the gradients",
        "",
        f"{datetime.date.today().isoformat()}; {machine()}; {origin}. "
        "`python benchmarks/gradients.py`.",
        "",
        f"{N_DRAWS:,} draws of the gradient beside the exact one, which is summed over all codes; "
        f"mean (lowest to highest) over {len(FUNCTIONS)} functions. Bias: the distance of the mean "
        "gradient from the exact one, as a share of the latter's length; even without any, chance "
        "gives about what is in the next column. Largest deviation: of one component, in standard "
        "errors; below about 4 it is chance. Noise: the square root of the summed variances of one "
        "gradient, as a share of the exact one's length.",
        "",
        f"## One of {CATEGORIES} categories",
        "",
        "A smooth function of the code with an offset. `softmax` and `straight-through` draw "
        "nothing, and have no noise. `leave-one-out` decodes each image as often as it draws.",
        "",
        *table(titles, rows),
        "",
        f"## Binary units: the divergence of {UNITS} from a Boltzmann machine",
        "",
        *table(titles, units),
    ]
    return "\n".join(parts) + "\n"


def main() -> int:
    """Measure, and write the page."""
    argparse.ArgumentParser(description=__doc__.partition("\n")[0]).parse_args()
    (RESULTS / "gradients.md").write_text(page(), encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
