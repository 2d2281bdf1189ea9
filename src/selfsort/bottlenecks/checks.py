"""What every bottleneck must hold to, ours and a user's own: `check_bottleneck`."""

from __future__ import annotations

import copy
from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import Tensor

from selfsort.bottlenecks.base import Bottleneck, Variational, make_bottleneck
from selfsort.errors import InputError

Make = Callable[[int], Bottleneck]
"""From a number of classes to a fresh bottleneck."""
N_DRAWS = 4000


def check_bottleneck(name: str, parameters: Mapping[str, Any] | None = None) -> None:
    """Run all `CHECKS` on a registered bottleneck.

    Raises
    ------
    InputError
        That names the check that failed, and what was found.

    Examples
    --------
    >>> check_bottleneck("gumbel", {"groups": 2})
    """
    for check in CHECKS:
        check(lambda n_classes: make_bottleneck(name, n_classes, parameters))


def shapes(make: Make) -> None:
    """Each image gets its codes: finite float32 numbers, `copies` rows while training."""
    for n, n_classes in ((1, 2), (3, 10), (4, 3)):
        for training in (True, False):
            bottleneck = make(n_classes).train(training)
            for progress in (0.0, 0.5, 1.0):
                code = bottleneck(_logits(bottleneck, n), progress, _seeded())
                expected = (n * bottleneck.copies if training else n, bottleneck.code_dim)
                _require(bottleneck, code.shape == expected, f"{expected}", f"{tuple(code.shape)}")
                fine = code.dtype == torch.float32 and bool(torch.isfinite(code).all())
                _require(bottleneck, fine, "finite float32 numbers", f"{code}")


def distributions(make: Make) -> None:
    """Codes that name the class are distributions over the classes."""
    for training in (True, False):
        bottleneck = make(5).train(training)
        if bottleneck.names_classes:
            code = bottleneck(_logits(bottleneck, 20), 0.5, _seeded())
            sums = code.sum(1)
            fine = bool((code >= 0).all()) and bool(((sums - 1).abs() < 1e-5).all())
            _require(bottleneck, fine, "rows that sum to 1, none below 0", f"sums {sums}")


def gradients(make: Make) -> None:
    """Logits get a finite gradient, be they large, and most images get one that is not zero."""
    for training in (True, False):
        bottleneck = make(3).train(training)
        logits = _logits(bottleneck, 40).abs()
        logits[0, 0], logits[1] = 1e4, -1e4
        logits.requires_grad_()
        code = bottleneck(logits, 1.0, _seeded())
        values = (code * torch.arange(1.0, bottleneck.code_dim + 1)).sum(1)
        if training:
            values = bottleneck.combine(logits, code, values.view(len(logits), -1))
        if values.requires_grad:
            values.sum().backward()
        gradient = logits.grad
        fine = gradient is not None and bool(torch.isfinite(gradient).all())
        _require(bottleneck, fine, "a finite gradient", f"{gradient}")
        assert gradient is not None  # noqa: S101 - just checked
        share = float((gradient.abs().sum(1) > 0).float().mean())
        _require(bottleneck, share > 0.5, "a gradient for most images", f"{share:.0%} of them")


def evaluation(make: Make) -> None:
    """In evaluation mode nothing is drawn, and progress makes no difference."""
    bottleneck, generator = make(5).eval(), _seeded()
    logits = _logits(bottleneck)
    before = generator.get_state(), torch.get_rng_state()
    codes = [bottleneck(logits, progress, generator) for progress in (0.0, 0.3, 1.0)]
    same = torch.equal(generator.get_state(), before[0])
    same = same and torch.equal(torch.get_rng_state(), before[1])
    _require(bottleneck, same, "no random numbers in evaluation mode", "some were drawn")
    same = torch.equal(codes[0], codes[1]) and torch.equal(codes[0], codes[2])
    _require(bottleneck, same, "the same codes at any progress in evaluation mode", "others")


def generators(make: Make) -> None:
    """The generator that is passed decides the noise, and no other is touched."""
    bottleneck = make(5).train()
    logits, before = _logits(bottleneck), torch.get_rng_state()
    first = copy.deepcopy(bottleneck)(logits, 0.5, _seeded(1))
    again = bottleneck(logits, 0.5, _seeded(1))
    _require(bottleneck, torch.equal(first, again), "the same codes from the same seed", "others")
    untouched = torch.equal(torch.get_rng_state(), before)
    _require(bottleneck, untouched, "noise from the generator", "PyTorch's own random numbers")


def rows(make: Make) -> None:
    """In evaluation mode the code of an image does not depend on the others."""
    bottleneck = make(5).eval()
    logits = _logits(bottleneck)
    with torch.no_grad():
        alone = torch.cat([bottleneck(row[None]) for row in logits])
        gap = float((alone - bottleneck(logits)).abs().max())
    _require(bottleneck, gap < 1e-4, "the code of an image alone", f"a difference of {gap:g}")


def classes(make: Make) -> None:
    """Classes can be told, all of them in use for logits of all kinds."""
    bottleneck = make(5).eval()
    logits = _logits(bottleneck)
    with torch.no_grad():
        code = bottleneck(logits)
        if bottleneck.reader is not None:
            bottleneck.reader.fit(bottleneck.read(code).numpy(), seed=0)
        found = bottleneck.class_logits(logits, code)
        shape = tuple(found.shape)
        _require(bottleneck, shape == (len(logits), 5), f"({len(logits)}, 5)", f"{shape}")
        count = found.argmax(1).unique().numel()
        _require(bottleneck, count == 5, "all of 5 classes in use", f"{count}")
        prototypes = tuple(bottleneck.prototype_codes().shape)
    expected = (5, bottleneck.code_dim)
    _require(bottleneck, prototypes == expected, f"{expected}", f"{prototypes}")


def divergences(make: Make) -> None:
    """The divergence is the mean of ``log q - log p`` over the draws of the posterior."""
    bottleneck = make(3).eval()
    if not isinstance(bottleneck, Variational):
        return
    bottleneck.settle(_seeded())
    many = _logits(bottleneck, 3).repeat_interleave(N_DRAWS, dim=0)
    with torch.no_grad():
        code = bottleneck.draw(many, _seeded())
        found = bottleneck.divergence(many, code).view(3, -1).double()
        expected = -bottleneck.log_ratio(many, code).view(3, -1).double()
    gap, error = (found - expected).mean(1), (found - expected).std(1) / N_DRAWS**0.5
    # What hardly ever is drawn shows in no standard error.
    fine = bool((gap.abs() < 5 * error + 0.01).all())
    _require(bottleneck, fine, "the divergence that the draws have", f"{gap.tolist()} nats more")


def priors(make: Make) -> None:
    """Codes of the prior have the right shape, and fit its density."""
    bottleneck = make(3).eval()
    if not isinstance(bottleneck, Variational):
        return
    bottleneck.settle(_seeded())
    n_rows = 4
    some = _logits(bottleneck, n_rows // 2)
    # Whatever the prior favours, one of a pair of opposites favours it too.
    logits = torch.cat([some, -some])
    many = logits.repeat_interleave(N_DRAWS, dim=0)
    with torch.no_grad():
        shape = tuple(bottleneck.prior(7, _seeded()).shape)
        expected = (7, bottleneck.code_dim)
        _require(bottleneck, shape == expected, f"{expected}", f"{shape}")
        of_posterior = bottleneck.log_ratio(many, bottleneck.draw(many, _seeded()))
        drawn = bottleneck.prior(N_DRAWS, _seeded(1)).repeat(n_rows, 1)
        of_prior = -bottleneck.log_ratio(many, drawn)
    for name, log_weights in (("p / q", of_posterior), ("q / p", of_prior)):
        weights = log_weights.double().exp().view(n_rows, -1)
        mean, error = weights.mean(1), weights.std(1) / N_DRAWS**0.5
        # Below 1 it may be because nothing was drawn where the other one is.
        fine = bool((mean - 1 < 5 * error + 1e-3).all())
        _require(bottleneck, fine, f"weights {name} whose mean is 1", f"{mean.max():.3f}")


CHECKS: tuple[Callable[[Make], None], ...] = (
    shapes,
    distributions,
    evaluation,
    generators,
    gradients,
    rows,
    classes,
    divergences,
    priors,
)


def _logits(bottleneck: Bottleneck, n: int = 40) -> Tensor:
    return 2 * torch.randn(n, bottleneck.n_logits, generator=_seeded(7))


def _seeded(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def _require(bottleneck: Bottleneck, holds: bool, expected: str, found: str) -> None:
    if not holds:
        found = " ".join(found.split())
        found = found if len(found) < 200 else found[:200] + " …"
        raise InputError(
            f"The bottleneck '{bottleneck.name}' must give {expected}. Found {found} instead."
        )
