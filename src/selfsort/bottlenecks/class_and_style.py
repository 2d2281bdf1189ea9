"""A class and a style, both random: the semi-supervised model M2."""

from __future__ import annotations

import numpy as np
import torch
from sklearn.mixture import GaussianMixture
from torch import Tensor, nn

from selfsort.bottlenecks.base import Variational, check_counts, check_shares
from selfsort.bottlenecks.gumbel import Gumbel
from selfsort.bottlenecks.mixture import MixtureStart
from selfsort.bottlenecks.normal import (
    Normal,
    draw_normal,
    log_normal,
    normal_divergence,
    normal_of,
)
from selfsort.errors import unknown_name

CLASSES = ("marginal", "gumbel")
STYLE_PRIORS = ("shared", "class")
CERTAIN = 30.0
"""Logit of a class that is known."""


class ClassAndStyle(Variational):
    """A class y and a normal style z, both read by the decoder.

    The K classes are as likely as each other, and the posterior is ``q(y | x) q(z | x, y)``, in
    which the class moves mean and log-variance of the style. Where a label is given, y is known.

    *marginal*: a training step decodes each image once for every class, and weighs the results by
    ``q(y | x)``. *gumbel*: it draws one nearly one-hot y, as `Gumbel` does.

    Parameters
    ----------
    n_classes : int
    style : int, default=16
        Numbers in the style.
    classes : {"marginal", "gumbel"}, default="marginal"
    style_prior : {"shared", "class"}, default="shared"
        Prior of the style: standard normal, or a normal distribution of each class, so that the
        styles are a Gaussian mixture, as in GMVAE, whose decoder does not see the class.
    warm_up : float, default=0.4
        Share of the training, in [0, 1), after which a prior of each class begins, where no labels
        were given. Until then the style's prior is standard normal, and all classes are as likely
        for each image; then priors and classes are those of a Gaussian mixture of the styles.
        Without it all images come to be of one or two classes.
    start, end : float, default=1.0, 0.5
        See `Gumbel`.

    References
    ----------
    Kingma, Rezende, Mohamed, Welling (2014), arXiv:1406.5298, equations 6 to 9; Jang, Gu, Poole
    (2017), arXiv:1611.01144, section 3, for "gumbel"; Dilokthanakul et al. (2016),
    arXiv:1611.02648, for a prior of each class.

    Examples
    --------
    >>> import torch
    >>> bottleneck = ClassAndStyle(n_classes=3, style=2)
    >>> bottleneck(torch.zeros(5, bottleneck.n_logits)).shape  # each image with each class
    torch.Size([15, 5])
    """

    name = "m2"
    slope: Tensor
    offset: Tensor

    def __init__(
        self,
        n_classes: int,
        style: int = 16,
        classes: str = "marginal",
        style_prior: str = "shared",
        warm_up: float = 0.4,
        start: float = 1.0,
        end: float = 0.5,
    ) -> None:
        check_counts("ClassAndStyle", style=style)
        check_shares("ClassAndStyle", warm_up=warm_up)
        for kind, value, known in (
            ("way with the classes", classes, CLASSES),
            ("style prior", style_prior, STYLE_PRIORS),
        ):
            if value not in known:
                raise unknown_name(kind, value, known)
        super().__init__(n_classes, n_classes + 2 * style, n_classes + style)
        self.of_class = Gumbel(n_classes, start=start, end=end)
        self.marginal = classes == "marginal"
        self.copies = n_classes if self.marginal else 1
        self.shift = nn.Linear(n_classes, 2 * style, bias=False)
        self.style_prior: nn.Linear | None = None
        self.mixture_start: MixtureStart | None = None
        if style_prior == "class":
            self.style_prior = nn.Linear(n_classes, 2 * style, bias=False)
            self.mixture_start = MixtureStart(style, warm_up)
            self.register_buffer("slope", torch.zeros(n_classes, style))
            self.register_buffer("offset", torch.zeros(n_classes))

    @property
    def waits(self) -> bool:
        """Whether the classes have no priors of their own yet."""
        return self.training and self.mixture_start is not None and not self.mixture_start.done

    def class_part(self, rows: Tensor) -> Tensor:
        """Return what logits, or codes, say of the class, ``(n, n_classes)``."""
        return rows[:, : self.n_classes]

    def of_image(self, logits: Tensor) -> Tensor:
        """Return the logits of ``q(y | x)``, ``(n, n_classes)``."""
        part = self.class_part(logits)
        if self.mixture_start is None:
            return part
        if self.waits:
            return torch.zeros_like(part)
        mean, _ = normal_of(logits[:, self.n_classes :])
        return part + mean @ self.slope.T + self.offset

    def posterior(self, logits: Tensor, y: Tensor) -> Normal:
        """Return ``q(z | x, y)``."""
        of_style = logits[:, self.n_classes :]
        return normal_of(of_style if self.waits else of_style + self.shift(y))

    def prior_given(self, y: Tensor) -> Normal:
        """Return ``p(z | y)``."""
        if self.style_prior is None or self.waits:
            zeros = y.new_zeros(len(y), self.code_dim - self.n_classes)
            return zeros, zeros
        return normal_of(self.style_prior(y))

    def told(self, logits: Tensor, targets: Tensor) -> Tensor:
        if self.mixture_start is not None:
            self.mixture_start.done.fill_(1)  # the labels say what the classes are
        known = targets.sum(1, keepdim=True) > 0
        of_class = torch.where(known, CERTAIN * targets, self.class_part(logits))
        return torch.cat([of_class, logits[:, self.n_classes :]], dim=1)

    def forward(
        self, logits: Tensor, progress: float = 1.0, generator: torch.Generator | None = None
    ) -> Tensor:
        if not self.training:
            y = torch.softmax(self.of_image(logits), dim=1)
            return torch.cat([y, self.posterior(logits, y)[0]], dim=1)
        if self.waits and not self.frozen:
            self._remember(logits, progress, generator)
        if self.marginal:
            y = torch.eye(self.n_classes, device=logits.device).repeat(len(logits), 1)
            logits = logits.repeat_interleave(self.n_classes, dim=0)
        else:
            y = self.of_class(self.of_image(logits), progress, generator)
        return torch.cat([y, draw_normal(self.posterior(logits, y), generator)], dim=1)

    def _remember(self, logits: Tensor, progress: float, generator: torch.Generator | None) -> None:
        assert self.mixture_start is not None  # noqa: S101 - others do not wait
        style = normal_of(logits[:, self.n_classes :])[0].detach()
        mixture = self.mixture_start.found(style, self.n_classes, "tied", progress, generator)
        if mixture is not None:
            self._begin(mixture)

    @torch.no_grad()
    def _begin(self, mixture: GaussianMixture) -> None:
        """Take the classes of a mixture whose components differ in nothing but their means.

        Which of them a style is of, is then a linear function of it (Fisher's discriminant).
        """
        assert self.style_prior is not None  # noqa: S101 - others have no start
        slope = mixture.means_ @ mixture.precisions_
        offset = np.log(mixture.weights_) - 0.5 * (slope * mixture.means_).sum(1)
        spread = np.tile(np.log(mixture.covariances_.diagonal()), (self.n_classes, 1))
        priors = np.concatenate([mixture.means_, spread], axis=1)
        self.slope.copy_(torch.from_numpy(slope))
        self.offset.copy_(torch.from_numpy(offset))
        self.style_prior.weight.copy_(torch.from_numpy(priors.T))
        self.shift.weight.zero_()

    def combine(self, logits: Tensor, code: Tensor, values: Tensor) -> Tensor:
        return (torch.softmax(self.of_image(logits), dim=1) * values).sum(1)

    def divergence(
        self, logits: Tensor, code: Tensor, generator: torch.Generator | None = None
    ) -> Tensor:
        y, of_class = self.class_part(code), self.of_image(logits)
        copies = len(code) // len(logits)
        many = logits.repeat_interleave(copies, dim=0)
        of_style = normal_divergence(self.posterior(many, y), self.prior_given(y))
        if copies > 1:
            of_style = self.combine(logits, code, of_style.view(len(logits), copies))
        return self.of_class.divergence(of_class, y) + of_style

    def draw(self, logits: Tensor, generator: torch.Generator | None = None) -> Tensor:
        y = self.of_class.draw(self.of_image(logits), generator)
        return torch.cat([y, draw_normal(self.posterior(logits, y), generator)], dim=1)

    def log_ratio(self, logits: Tensor, code: Tensor) -> Tensor:
        y, z = self.class_part(code), code[:, self.n_classes :]
        of_class = self.of_class.log_ratio(self.of_image(logits), y)
        of_style = log_normal(z, self.prior_given(y)) - log_normal(z, self.posterior(logits, y))
        return of_class + of_style

    def prior(self, n: int, generator: torch.Generator | None = None) -> Tensor:
        classes = torch.randint(self.n_classes, (n,), generator=generator)
        return self.prior_of(classes, generator)

    @torch.no_grad()
    def prior_of(self, classes: Tensor, generator: torch.Generator | None = None) -> Tensor:
        y = torch.eye(self.n_classes, device=self.shift.weight.device)[classes]
        return torch.cat([y, draw_normal(self.prior_given(y), generator)], dim=1)

    def class_logits(self, logits: Tensor, code: Tensor) -> Tensor:
        return self.of_image(logits)

    def class_of(self, code: Tensor) -> Tensor:
        return self.class_part(code).argmax(1)

    def prototype_codes(self) -> Tensor:
        y = torch.eye(self.n_classes, device=self.shift.weight.device)
        return torch.cat([y, self.prior_given(y)[0]], dim=1)
