"""The discrete variational autoencoder: binary units with a Boltzmann machine as their prior."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from selfsort.bottlenecks.base import ClassReader, Variational, check_counts, check_positive
from selfsort.bottlenecks.boltzmann import BoltzmannMachine
from selfsort.bottlenecks.normal import draw_normal, log_normal, normal_divergence, normal_of
from selfsort.errors import InputError, unknown_name

SMOOTHINGS = ("spike-and-exponential", "gumbolt")
PRIOR_SWEEPS = 500
"""Updates of all units between the persistent chains and a draw from the prior."""


class DiscreteVariational(Variational):
    """Binary units z, smoothed to numbers in [0, 1], and continuous latents below them.

    The prior of z is a restricted Boltzmann machine. The posterior is a hierarchy: the units come
    in `layers` groups, each of which depends on the image and on the smoothed units of the groups
    before. The continuous latents come in layers too, normal in prior and posterior, each
    depending on the units and on the layers before. The decoder reads smoothed units and
    continuous latents.

    *spike-and-exponential*: a unit that is 0 stays 0, and one that is 1 becomes a number in
    [0, 1] with a density proportional to ``exp(beta * number)``. The gradient flows through those
    numbers; where a unit would change from 0 to 1, the change of the energy is added.

    *gumbolt*: a unit becomes ``sigmoid((logit + noise) / temperature)`` with logistic noise, and
    the energy is that of these numbers. Simpler, and with less variance; when it is used, units
    are 0 or 1.

    Parameters
    ----------
    n_classes : int
    units : int, default=128
        Even, at least 2.
    layers : int, default=4
        Groups of the posterior, a divisor of `units`.
    smoothing : {"spike-and-exponential", "gumbolt"}, default="spike-and-exponential"
    beta : float, default=5.0
        Sharpness of the smoothed ones, above 0.
    temperature : float, default=0.2
        Of "gumbolt", above 0.
    continuous : int, default=32
        Continuous latents in each layer; 0 for none.
    continuous_layers : int, default=1
    hidden : int, default=256
        Width of the networks between the parts.
    chains, sweeps : int, default=500, 10
        See `BoltzmannMachine`.

    References
    ----------
    Rolfe (2017), arXiv:1609.02200, equations 6, 15, 17 and appendices A to F; Khoshaman, Amin
    (2018), arXiv:1805.07349, equation 10, for "gumbolt".

    Examples
    --------
    >>> import torch
    >>> bottleneck = DiscreteVariational(10, units=8, layers=2, continuous=3)
    >>> bottleneck(torch.zeros(5, bottleneck.n_logits)).shape
    torch.Size([5, 11])
    """

    name = "dvae"

    def __init__(
        self,
        n_classes: int,
        units: int = 128,
        layers: int = 4,
        smoothing: str = "spike-and-exponential",
        beta: float = 5.0,
        temperature: float = 0.2,
        continuous: int = 32,
        continuous_layers: int = 1,
        hidden: int = 256,
        chains: int = 500,
        sweeps: int = 10,
    ) -> None:
        owner = "DiscreteVariational"
        check_counts(owner, layers=layers, hidden=hidden, chains=chains, sweeps=sweeps)
        check_counts(owner, least=2, units=units)
        check_counts(owner, least=0, continuous=continuous, continuous_layers=continuous_layers)
        check_positive(owner, beta=beta, temperature=temperature)
        if smoothing not in SMOOTHINGS:
            raise unknown_name("smoothing", smoothing, SMOOTHINGS)
        if units % 2 or units % layers:
            raise InputError(
                f"The 'units' parameter of {owner} must be even, and a multiple of 'layers' "
                f"({layers}). Got {units!r} instead."
            )
        n_continuous = continuous * continuous_layers
        super().__init__(n_classes, hidden, units + n_continuous)
        self.units, self.each = units, units // layers
        self.smoothing = smoothing
        self.beta, self.temperature = beta, temperature
        self.continuous, self.n_layers = continuous, continuous_layers if continuous else 0
        self.machine = BoltzmannMachine(units, chains, sweeps)
        self.groups = nn.ModuleList(
            _between(hidden + i * self.each, hidden, self.each) for i in range(layers)
        )
        before = [units + i * continuous for i in range(self.n_layers)]
        self.posteriors = nn.ModuleList(
            _between(hidden + n, hidden, 2 * continuous) for n in before
        )
        self.priors = nn.ModuleList(_between(n, hidden, 2 * continuous) for n in before)
        self.reader = ClassReader(n_classes, units)

    # ---- the code -------------------------------------------------------------------------

    def forward(
        self, logits: Tensor, progress: float = 1.0, generator: torch.Generator | None = None
    ) -> Tensor:
        code = logits[:, :0]
        for group in self.groups:
            unit_logits = group(torch.cat([logits, code], dim=1))
            if self.training:
                noise = torch.rand(unit_logits.shape, generator=generator).to(logits)
            else:
                noise = torch.full_like(unit_logits, 0.5)
            code = torch.cat([code, self.smoothed(unit_logits, noise)], dim=1)
        return self._with_continuous(logits, code, generator if self.training else None)

    def _with_continuous(
        self, logits: Tensor, code: Tensor, generator: torch.Generator | None, *, draw: bool = False
    ) -> Tensor:
        for posterior in self.posteriors:
            latent = normal_of(posterior(torch.cat([logits, code], dim=1)))
            drawn = draw_normal(latent, generator) if self.training or draw else latent[0]
            code = torch.cat([code, drawn], dim=1)
        return code

    def smoothed(self, logits: Tensor, uniform: Tensor) -> Tensor:
        """Return smoothed units: the inverse of their distribution function at `uniform`."""
        if self.smoothing == "gumbolt":
            noise = torch.logit(uniform, eps=1e-6)
            relaxed = torch.sigmoid((logits + noise) / self.temperature)
            return relaxed if self.training else (logits > 0).to(logits)
        one = torch.sigmoid(logits)
        # The inverse of F(s) = 1 - one + one (exp(beta s) - 1) / (exp(beta) - 1).
        share = (uniform - (1 - one)).clamp_min(0) / one.clamp_min(1e-6)
        return torch.log1p(share * math.expm1(self.beta)) / self.beta

    def unit_logits(self, logits: Tensor, smoothed: Tensor) -> Tensor:
        """Return the posterior's logits of all units, given the smoothed ones of each group."""
        parts = [
            group(torch.cat([logits, smoothed[:, : i * self.each]], dim=1))
            for i, group in enumerate(self.groups)
        ]
        return torch.cat(parts, dim=1)

    # ---- what it costs --------------------------------------------------------------------

    def divergence(
        self, logits: Tensor, code: Tensor, generator: torch.Generator | None = None
    ) -> Tensor:
        smoothed = code[:, : self.units]
        unit_logits = self.unit_logits(logits, smoothed)
        log_z = self.machine.log_z
        if self.training:
            log_z = self.machine.free_energy_gradient(generator)
        if self.smoothing == "gumbolt":
            negative_entropy = _log_bernoulli(unit_logits, smoothed).sum(1)
            energy = self.machine.energy(smoothed)
        else:
            one = torch.sigmoid(unit_logits)
            negative_entropy = (
                one * F.logsigmoid(unit_logits) + (1 - one) * F.logsigmoid(-unit_logits)
            ).sum(1)
            energy = self.machine.energy(self._units_with_gradient(one, smoothed))
        return negative_entropy + energy + log_z + self._continuous_divergence(logits, code)

    @staticmethod
    def _units_with_gradient(one: Tensor, smoothed: Tensor) -> Tensor:
        """Return the units, 0 or 1, with the gradient of their expectation.

        As the probability `one` of a unit rises, some draws for which it was 0 become 1. What the
        energy changes by is told by the draws for which it is 0, a share ``1 - one`` of all
        (equation 17 of Rolfe, appendix F).
        """
        units = (smoothed > 0).to(one)
        rate = (1 - units) / (1 - one).clamp_min(1e-6).detach()
        return units + rate * (one - one.detach())

    def _continuous_divergence(self, logits: Tensor, code: Tensor) -> Tensor:
        total = torch.zeros(len(code), device=code.device)
        for start, posterior, prior in self._continuous_parts():
            inputs = torch.cat([logits, code[:, :start]], dim=1)
            latent, expected = normal_of(posterior(inputs)), normal_of(prior(code[:, :start]))
            total = total + normal_divergence(latent, expected)
        return total

    def _continuous_parts(self) -> list[tuple[int, nn.Module, nn.Module]]:
        starts = [self.units + i * self.continuous for i in range(self.n_layers)]
        return list(zip(starts, self.posteriors, self.priors, strict=True))

    # ---- exact samples ----------------------------------------------------------------------

    def draw(self, logits: Tensor, generator: torch.Generator | None = None) -> Tensor:
        code = logits[:, :0]
        for group in self.groups:
            unit_logits = group(torch.cat([logits, code], dim=1))
            uniform = torch.rand(unit_logits.shape, generator=generator).to(logits)
            if self.smoothing == "gumbolt":
                drawn = (uniform < torch.sigmoid(unit_logits)).to(logits)
            else:
                drawn = self.smoothed(unit_logits, uniform)
            code = torch.cat([code, drawn], dim=1)
        return self._with_continuous(logits, code, generator, draw=True)

    def log_ratio(self, logits: Tensor, code: Tensor) -> Tensor:
        # The densities of smoothed units, given the units, are the same in both and cancel.
        units = (code[:, : self.units] > 0).to(code)
        unit_logits = self.unit_logits(logits, code[:, : self.units])
        total = self.machine.log_probability(units) - _log_bernoulli(unit_logits, units).sum(1)
        for start, posterior, prior in self._continuous_parts():
            latent = code[:, start : start + self.continuous]
            total = total + log_normal(latent, normal_of(prior(code[:, :start])))
            inputs = torch.cat([logits, code[:, :start]], dim=1)
            total = total - log_normal(latent, normal_of(posterior(inputs)))
        return total

    def prior(self, n: int, generator: torch.Generator | None = None) -> Tensor:
        with torch.no_grad():
            chosen = torch.randint(len(self.machine.chain), (n,), generator=generator)
            start = self.machine.chain[chosen.to(self.machine.chain.device)]
            code = self.machine.swept(start, PRIOR_SWEEPS, generator)
            if self.smoothing == "spike-and-exponential":
                uniform = torch.rand(code.shape, generator=generator).to(code)
                code = code * torch.log1p(uniform * math.expm1(self.beta)) / self.beta
            for prior in self.priors:
                code = torch.cat([code, draw_normal(normal_of(prior(code)), generator)], dim=1)
        return code

    # ---- classes ------------------------------------------------------------------------------

    def read(self, code: Tensor) -> Tensor:
        return code[:, : self.units]

    def prototype_codes(self) -> Tensor:
        assert self.reader is not None  # noqa: S101
        code = self.reader.centres
        for prior in self.priors:
            code = torch.cat([code, normal_of(prior(code))[0]], dim=1)
        return code

    def settle(self, generator: torch.Generator | None = None) -> None:
        self.machine.measure(generator)


def _between(n_inputs: int, hidden: int, n_outputs: int) -> nn.Sequential:
    return nn.Sequential(
        nn.Linear(n_inputs, hidden), nn.LayerNorm(hidden), nn.ReLU(), nn.Linear(hidden, n_outputs)
    )


def _log_bernoulli(logits: Tensor, units: Tensor) -> Tensor:
    return units * F.logsigmoid(logits) + (1 - units) * F.logsigmoid(-logits)
