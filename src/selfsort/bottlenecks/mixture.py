"""The class as a component of a mixture of normal distributions."""

from __future__ import annotations

import torch
from sklearn.mixture import GaussianMixture
from torch import Tensor, nn

from selfsort.bottlenecks.base import Variational, check_counts, check_shares
from selfsort.bottlenecks.normal import Normal, draw_normal, log_normal, normal_of

N_REMEMBERED = 5000
"""So many codes are enough to find the components among them."""


class MixtureStart(nn.Module):
    """Find the components of a mixture among the codes, once the warm-up is over.

    Parameters
    ----------
    width : int
        Numbers in a code.
    warm_up : float
        Share of the training, in [0, 1).

    Examples
    --------
    >>> import torch
    >>> start = MixtureStart(width=1, warm_up=0.5)
    >>> codes = torch.tensor([[-1.0], [-1.1], [-0.9], [1.0], [1.1], [0.9]])
    >>> start.found(codes, 2, "diag", 0.1, None) is None, bool(start.done)
    (True, False)
    >>> sorted(start.found(codes, 2, "diag", 0.5, None).means_.round(1).ravel().tolist())
    [-1.0, 1.0]
    """

    remembered: Tensor
    done: Tensor

    def __init__(self, width: int, warm_up: float) -> None:
        super().__init__()
        self.warm_up = warm_up
        self.register_buffer("remembered", torch.zeros(N_REMEMBERED, width))
        self.register_buffer("done", torch.zeros(1))

    @torch.no_grad()
    def found(
        self,
        code: Tensor,
        n_components: int,
        covariance_type: str,
        progress: float,
        generator: torch.Generator | None,
    ) -> GaussianMixture | None:
        """Remember codes ``(n, width)``; return the mixture of all once, when it is time.

        It stays None where there were too few codes.
        """
        self.remembered.copy_(torch.cat([code, self.remembered])[:N_REMEMBERED])
        if progress < self.warm_up:
            return None
        self.done.fill_(1)
        codes = self.remembered[self.remembered.abs().sum(1) > 0].cpu().double().numpy()
        seed = int(torch.randint(2**31 - 1, (), generator=generator))
        if len(codes) <= 2 * n_components:
            return None
        return GaussianMixture(
            n_components,
            covariance_type=covariance_type,
            n_init=5,
            reg_covar=1e-3,
            random_state=seed,
        ).fit(codes)


class MixturePrior(Variational):
    """A code of normal latents whose prior is a mixture, one component a class.

    An image's class is the component that its code most probably comes from, by Bayes: nothing
    else names it. While the first `warm_up` of the training lasts, the prior is one standard
    normal distribution; then the components are those of a Gaussian mixture of the codes, and
    learn together with everything else. Components that start at random all become one, which is
    why this method is often reported to find nothing.

    Parameters
    ----------
    n_classes : int
    width : int, default=10
        Numbers in the code.
    warm_up : float, default=0.4
        Share of the training, in [0, 1).

    References
    ----------
    Jiang, Zheng, Tan, Tang, Zhou (2017), arXiv:1611.05148, equations 2 to 6 and section 3.3. The
    divergence is that of a draw from the mixture's own density, which is their bound at its
    optimum.

    Examples
    --------
    >>> import torch
    >>> bottleneck = MixturePrior(n_classes=3, width=2)
    >>> bottleneck(torch.zeros(5, bottleneck.n_logits)).shape
    torch.Size([5, 2])
    """

    name = "vade"
    takes_labels = False  # the components start anew in the middle of the training

    def __init__(self, n_classes: int, width: int = 10, warm_up: float = 0.4) -> None:
        check_counts("MixturePrior", width=width)
        check_shares("MixturePrior", warm_up=warm_up)
        super().__init__(n_classes, 2 * width, width)
        self.means = nn.Parameter(torch.randn(n_classes, width))
        self.log_variances = nn.Parameter(torch.zeros(n_classes, width))
        self.shares = nn.Parameter(torch.zeros(n_classes))
        self.mixture_start = MixtureStart(width, warm_up)

    def forward(
        self, logits: Tensor, progress: float = 1.0, generator: torch.Generator | None = None
    ) -> Tensor:
        posterior = normal_of(logits)
        if not self.training:
            return posterior[0]
        code = draw_normal(posterior, generator)
        if not self.mixture_start.done and not self.frozen:
            mixture = self.mixture_start.found(
                code.detach(), self.n_classes, "diag", progress, generator
            )
            if mixture is not None:
                self._begin(mixture)
        return code

    @torch.no_grad()
    def _begin(self, mixture: GaussianMixture) -> None:
        self.means.copy_(torch.from_numpy(mixture.means_))
        self.log_variances.copy_(torch.from_numpy(mixture.covariances_).log())
        self.shares.copy_(torch.from_numpy(mixture.weights_).log())

    @property
    def components(self) -> Normal:
        """The distribution of each class's codes, ``(n_classes, width)`` each."""
        return normal_of(torch.cat([self.means, self.log_variances], dim=1))

    def log_joint(self, code: Tensor) -> Tensor:
        """Return ``log p(class) p(code | class)``, ``(n, n_classes)``."""
        log_shares = torch.log_softmax(self.shares, dim=0)
        return log_shares + log_normal(code[:, None], self.components)

    def log_prior(self, code: Tensor) -> Tensor:
        """Return the log-density of the prior, ``(n,)``."""
        if self.training and not self.mixture_start.done:
            standard = (torch.zeros_like(code), torch.zeros_like(code))
            return log_normal(code, standard)
        return torch.logsumexp(self.log_joint(code), dim=1)

    def divergence(
        self, logits: Tensor, code: Tensor, generator: torch.Generator | None = None
    ) -> Tensor:
        return log_normal(code, normal_of(logits)) - self.log_prior(code)

    def draw(self, logits: Tensor, generator: torch.Generator | None = None) -> Tensor:
        return draw_normal(normal_of(logits), generator)

    def log_ratio(self, logits: Tensor, code: Tensor) -> Tensor:
        return self.log_prior(code) - log_normal(code, normal_of(logits))

    def prior(self, n: int, generator: torch.Generator | None = None) -> Tensor:
        shares = torch.softmax(self.shares.detach().cpu(), dim=0)
        return self.prior_of(torch.multinomial(shares, n, True, generator=generator), generator)

    @torch.no_grad()
    def prior_of(self, classes: Tensor, generator: torch.Generator | None = None) -> Tensor:
        mean, log_variance = self.components
        return draw_normal((mean[classes], log_variance[classes]), generator)

    def class_logits(self, logits: Tensor, code: Tensor) -> Tensor:
        return self.log_joint(code)

    def prototype_codes(self) -> Tensor:
        return self.means
