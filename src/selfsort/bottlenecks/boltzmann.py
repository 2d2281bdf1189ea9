"""A restricted Boltzmann machine: the prior of binary units that depend on each other."""

from __future__ import annotations

import itertools
import math

import torch
from torch import Tensor, nn
from torch.nn import functional as F

N_EXACT = 12
"""Units on the smaller side up to which the partition function is summed, not estimated."""
N_AIS_CHAINS = 500
N_AIS_STEPS = 2000
N_ROUGH_CHAINS = 100
N_ROUGH_STEPS = 200
MEASURED_EVERY = 200
"""Training steps between two rough measures."""


class BoltzmannMachine(nn.Module):
    """A distribution over binary units in two halves, each unit tied to all of the other half.

    ``p(z) = exp(-E(z)) / Z`` with ``E(z) = -left' W right - b' z``.

    Parameters
    ----------
    units : int
        Even: half of them left, half right.
    chains : int
        Persistent Markov chains, from which the gradient of ``log Z`` is estimated.
    sweeps : int
        Updates of all units of all chains for each estimate.

    Attributes
    ----------
    log_z : Tensor of shape (1,)
        ``log Z`` in nats: measured roughly while training, well by `measure`.

    References
    ----------
    Tieleman (2008), "Training restricted Boltzmann machines using approximations to the
    likelihood gradient", for persistent chains; Salakhutdinov, Murray (2008), "On the
    quantitative analysis of deep belief networks", for the partition function.

    Examples
    --------
    >>> import torch
    >>> machine = BoltzmannMachine(units=4, chains=10, sweeps=1)
    >>> machine.measure(torch.Generator().manual_seed(0))
    >>> codes = torch.cartesian_prod(*[torch.tensor([0.0, 1.0])] * 4)
    >>> round(machine.log_probability(codes).exp().sum().item(), 4)
    1.0
    """

    side: int
    sweeps: int
    chain: Tensor
    log_z: Tensor
    age: Tensor

    def __init__(self, units: int, chains: int, sweeps: int) -> None:
        super().__init__()
        self.side = units // 2
        self.sweeps = sweeps
        self.weight = nn.Parameter(0.01 * torch.randn(self.side, self.side))
        self.bias = nn.Parameter(torch.zeros(units))
        self.register_buffer("chain", (torch.rand(chains, units) < 0.5).float())
        self.register_buffer("log_z", torch.full((1,), units * math.log(2)))
        self.register_buffer("age", torch.zeros(1))

    def energy(self, z: Tensor, strength: float = 1.0) -> Tensor:
        """Return the energy of states ``(n, units)``, the weights taken times `strength`."""
        left, right = z[:, : self.side], z[:, self.side :]
        return -strength * ((left @ self.weight) * right).sum(1) - z @ self.bias

    def log_probability(self, z: Tensor) -> Tensor:
        """Return the log-probability of states ``(n, units)`` in nats, ``(n,)``."""
        return -self.energy(z) - self.log_z

    @torch.no_grad()
    def swept(
        self, z: Tensor, sweeps: int, generator: torch.Generator | None, strength: float = 1.0
    ) -> Tensor:
        """Return states after that many updates of all units, first the left ones."""
        right = z[:, self.side :]
        for _ in range(sweeps):
            left = _coins(strength * right @ self.weight.T + self.bias[: self.side], generator)
            right = _coins(strength * left @ self.weight + self.bias[self.side :], generator)
        return torch.cat([left, right], dim=1)

    def free_energy_gradient(self, generator: torch.Generator | None) -> Tensor:
        """Return ``log Z``, a number whose gradient is estimated from the persistent chains.

        Its value, which the gradient does not need, is measured roughly and now and then. To
        follow it from step to step by the chains does not work: they lag behind the weights, and
        it ends several nats too low.
        """
        with torch.no_grad():
            if self.age % MEASURED_EVERY == 0:
                self.measure(generator, N_ROUGH_CHAINS, N_ROUGH_STEPS)
            self.age += 1
            self.chain.copy_(self.swept(self.chain, self.sweeps, generator))
        phase = -self.energy(self.chain.clone()).mean()
        return self.log_z.clone()[0] + phase - phase.detach()

    def measure(
        self,
        generator: torch.Generator | None,
        n_chains: int = N_AIS_CHAINS,
        n_steps: int = N_AIS_STEPS,
    ) -> None:
        """Measure ``log Z``: summed for small machines, else by annealed importance sampling."""
        exact = self.side <= N_EXACT
        log_z = self.summed() if exact else self.annealed(generator, n_chains, n_steps)
        self.log_z.fill_(log_z)

    @torch.no_grad()
    def summed(self) -> float:
        """Return ``log Z``, summed over all states of the left half."""
        places = torch.arange(self.side)
        states = (torch.arange(1 << self.side)[:, None] >> places) & 1
        left = states.to(self.weight)
        inputs = left @ self.weight + self.bias[self.side :]
        return float((left @ self.bias[: self.side] + F.softplus(inputs).sum(1)).logsumexp(0))

    @torch.no_grad()
    def annealed(
        self,
        generator: torch.Generator | None,
        n_chains: int,
        n_steps: int,
    ) -> float:
        """Return an estimate of ``log Z``, from units that depend on nothing to the machine.

        ``Z`` itself is estimated without bias.
        """
        z = _coins(self.bias.expand(n_chains, -1), generator)
        log_weight = torch.zeros(n_chains, dtype=torch.float64, device=z.device)
        strengths = [step / n_steps for step in range(n_steps + 1)]
        for last, strength in itertools.pairwise(strengths):
            log_weight += (self.energy(z, last) - self.energy(z, strength)).double()
            z = self.swept(z, 1, generator, strength)
        start = F.softplus(self.bias).sum().double()
        return float(start + log_weight.logsumexp(0) - math.log(n_chains))


def _coins(logits: Tensor, generator: torch.Generator | None) -> Tensor:
    """Return 1 with the probability of each logit, else 0."""
    uniform = torch.rand(logits.shape, generator=generator).to(logits.device)
    return (uniform < torch.sigmoid(logits)).to(logits)
