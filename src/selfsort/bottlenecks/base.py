"""What every bottleneck is made of, and how one is made from its name."""

from __future__ import annotations

import inspect
import math
from abc import ABC, abstractmethod
from collections.abc import Mapping
from numbers import Real
from typing import Any, ClassVar

import numpy as np
import torch
from sklearn.cluster import KMeans
from torch import Tensor, nn

from selfsort.errors import InputError, unknown_name

BOTTLENECKS: dict[str, type[Bottleneck]] = {}
LEAST_VARIANCE = 1e-6
"""Of codes around their centre: where all codes are one, others must not be infinitely far."""
MOST_ROUNDS = 100
"""Rounds of draws from the prior, until each class was found."""


class Bottleneck(nn.Module, ABC):
    """From logits ``(n, n_logits)`` to codes ``(n, code_dim)``.

    Parameters
    ----------
    n_classes : int
    n_logits : int, optional
        How many numbers the class head gives for an image; one a class unless told otherwise.
    code_dim : int, optional
        How many the decoder reads; as many as `n_logits` unless told otherwise.

    Attributes
    ----------
    copies : int
        How many codes are drawn of each image in a training step.
    frozen : bool
        Whether what is learned without a gradient stays as it is too, such as a codebook.
    steady : bool
        Whether it does the same at every step: it draws nothing, and nothing in it follows the
        progress.
    takes_labels : bool
        Whether its classes can be learned from labels.
    reader : ClassReader or None
        What tells classes from codes, where the code is not a distribution over the classes.
    """

    name: ClassVar[str] = ""
    copies = 1
    frozen = False
    steady = False
    takes_labels = True

    def __init_subclass__(cls) -> None:
        super().__init_subclass__()
        if not cls.__dict__.get("name"):
            return
        taken = BOTTLENECKS.get(cls.name)
        # A file that is run again defines the same class anew.
        if taken is not None and (taken.__module__, taken.__qualname__) != (
            cls.__module__,
            cls.__qualname__,
        ):
            raise InputError(f"There is a bottleneck named '{cls.name}' already: choose another.")
        BOTTLENECKS[cls.name] = cls

    def __init__(
        self, n_classes: int, n_logits: int | None = None, code_dim: int | None = None
    ) -> None:
        super().__init__()
        self.reader: ClassReader | None = None
        self.n_classes = n_classes
        self.n_logits = n_classes if n_logits is None else n_logits
        self.code_dim = self.n_logits if code_dim is None else code_dim

    @abstractmethod
    def forward(
        self, logits: Tensor, progress: float = 1.0, generator: torch.Generator | None = None
    ) -> Tensor:
        """Return the codes.

        Parameters
        ----------
        logits : Tensor of shape (n, n_logits)
            Any finite numbers.
        progress : float in [0, 1], default=1.0
            How much of the training is done; temperatures follow it.
        generator : torch.Generator, optional
            Source of the noise, where there is any.

        Returns
        -------
        code : Tensor of shape (n, code_dim)
            While training ``(n * copies, code_dim)``, the copies of an image one after another.
        """

    @property
    def names_classes(self) -> bool:
        """Whether the logits are one a class."""
        return self.reader is None and self.n_logits == self.n_classes

    def class_logits(self, logits: Tensor, code: Tensor) -> Tensor:
        """Return logits of the classes ``(n, n_classes)``; `code` is that of evaluation mode."""
        if self.reader is None:
            return logits
        found: Tensor = self.reader(self.read(code))
        return found

    def told(self, logits: Tensor, targets: Tensor) -> Tensor:
        """Return logits that know the classes of images with a label.

        `targets` are of shape ``(n, n_classes)``, a row of zeros where there is no label.
        """
        return logits

    def read(self, code: Tensor) -> Tensor:
        """Return the part of the codes that classes are read from, where there is a reader."""
        return code

    def prototype_codes(self) -> Tensor:
        """Return the code that stands for each class, ``(n_classes, code_dim)``."""
        return torch.eye(self.n_classes) if self.reader is None else self.reader.centres

    def settle(self, generator: torch.Generator | None = None) -> None:
        """Measure what can be measured only once the weights are final."""

    def combine(self, logits: Tensor, code: Tensor, values: Tensor) -> Tensor:
        """Return one value an image ``(n,)`` from those of its codes ``(n, copies)``.

        Its gradient is that of the expected value over the codes that could have been drawn.
        """
        return values.mean(1)


class Variational(Bottleneck):
    """A bottleneck with a prior and a posterior: an autoencoder with it is a generative model.

    The decoder gives ``p(x | code)``, the prior ``p(code)``, the class head and the bottleneck
    ``q(code | x)``; then ``log p(x) >= E_q log p(x | code) - KL(q || p)``.
    """

    @abstractmethod
    def divergence(
        self, logits: Tensor, code: Tensor, generator: torch.Generator | None = None
    ) -> Tensor:
        """Return ``KL(q || p)`` of each image in nats, ``(n,)``, or an unbiased estimate of it.

        `code` is what `forward` gave for these logits.
        """

    @abstractmethod
    def draw(self, logits: Tensor, generator: torch.Generator | None = None) -> Tensor:
        """Return one code of each posterior, ``(n, code_dim)``: discrete where it is discrete."""

    @abstractmethod
    def log_ratio(self, logits: Tensor, code: Tensor) -> Tensor:
        """Return ``log p(code) - log q(code | x)`` of codes that `draw` gave, in nats, ``(n,)``."""

    @abstractmethod
    def prior(self, n: int, generator: torch.Generator | None = None) -> Tensor:
        """Return codes drawn from the prior, ``(n, code_dim)``."""

    def class_of(self, code: Tensor) -> Tensor:
        """Return the classes ``(n,)`` of codes that `prior` gave."""
        return self.class_logits(code, code).argmax(1)

    def prior_of(self, classes: Tensor, generator: torch.Generator | None = None) -> Tensor:
        """Return codes of the prior that belong to these classes ``(n,)``, ``(n, code_dim)``.

        Where nothing better is known, codes are drawn until one is read as that class.

        Raises
        ------
        InputError
            If the prior hardly ever gives one of these classes.
        """
        assert self.reader is not None  # noqa: S101 - others know how
        codes = torch.empty(len(classes), self.code_dim)
        left = torch.arange(len(classes))
        for _ in range(MOST_ROUNDS):
            drawn = self.prior(max(100, 10 * len(left)), generator)
            read = self.read(drawn).to(self.reader.centres.device)
            found = self.reader(read).argmax(1).to(drawn.device)
            for k in classes[left].unique().tolist():
                places, hits = left[classes[left] == k], drawn[found == k]
                n = min(len(places), len(hits))
                codes[places[:n]] = hits[:n].to(codes)
                left = left[~torch.isin(left, places[:n])]
            if not len(left):
                return codes
        raise InputError(
            f"The prior of the bottleneck '{self.name}' hardly ever gives class "
            f"{int(classes[left[0]])}: sample without a label, or train longer."
        )


class ClassReader(nn.Module):
    """Tell classes from codes that do not name them: the nearest of `n_classes` centres.

    The centres are those of k-means; until `fit` all are zero. The logits are those of a mixture
    of normal distributions with one variance, the mean within the clusters.

    Examples
    --------
    >>> import torch
    >>> reader = ClassReader(n_classes=2, code_dim=1)
    >>> reader.fit(torch.tensor([[0.0], [0.1], [1.0], [1.1]]).numpy(), seed=0)
    >>> reader(torch.tensor([[0.0], [0.2], [0.9]])).argmax(1).unique().numel()
    2
    """

    centres: Tensor
    variance: Tensor

    def __init__(self, n_classes: int, code_dim: int) -> None:
        super().__init__()
        self.register_buffer("centres", torch.zeros(n_classes, code_dim))
        self.register_buffer("variance", torch.ones(1))

    def fit(self, codes: np.ndarray, seed: int) -> None:
        """Find the centres of codes ``(n, code_dim)``."""
        means = KMeans(len(self.centres), n_init=10, random_state=seed).fit(codes)
        variance = max(means.inertia_ / codes.size, LEAST_VARIANCE)
        self.centres.copy_(torch.from_numpy(means.cluster_centers_))
        self.variance.fill_(variance)

    def forward(self, codes: Tensor) -> Tensor:
        distances: Tensor = torch.cdist(codes, self.centres).square()
        return -distances / (2 * self.variance)


def check_positive(owner: str, **values: float) -> None:
    """Raise where a parameter is not above 0."""
    for name, value in values.items():
        if not isinstance(value, Real) or not 0 < value < math.inf:
            raise InputError(
                f"The '{name}' parameter of {owner} must be a number above 0. "
                f"Got {value!r} instead."
            )


def check_shares(owner: str, **values: float) -> None:
    """Raise where a parameter is not in [0, 1)."""
    for name, value in values.items():
        if not isinstance(value, Real) or not 0 <= value < 1:
            raise InputError(
                f"The '{name}' parameter of {owner} must be a number in the range [0, 1). "
                f"Got {value!r} instead."
            )


def check_counts(owner: str, least: int = 1, **values: int) -> None:
    """Raise where a parameter is not a whole number of at least `least`."""
    for name, value in values.items():
        if not isinstance(value, int) or isinstance(value, bool) or value < least:
            raise InputError(
                f"The '{name}' parameter of {owner} must be a whole number of at least {least}. "
                f"Got {value!r} instead."
            )


def gumbel_noise(like: Tensor, generator: torch.Generator | None) -> Tensor:
    """Return standard Gumbel noise of the shape, type and device of `like`.

    Drawn on the CPU, so that one seed gives the same noise on every device.
    """
    exponential = torch.empty(like.shape).exponential_(generator=generator)
    return -exponential.clamp_min(torch.finfo(exponential.dtype).tiny).log().to(like)


def make_bottleneck(
    name: str, n_classes: int, parameters: Mapping[str, Any] | None = None
) -> Bottleneck:
    """Return the bottleneck registered as `name`.

    Parameters
    ----------
    name : str
    n_classes : int
    parameters : mapping of str to anything, optional
        Its own parameters, where they differ from their defaults.

    Raises
    ------
    InputError
        If there is no such bottleneck or parameter, or a value is out of range.

    Examples
    --------
    >>> make_bottleneck("gumbel", 10, {"start": 2.0}).temperature(0.0)
    2.0
    >>> make_bottleneck("gumble", 10)
    Traceback (most recent call last):
    selfsort.errors.InputError: There is no bottleneck named 'gumble'. Did you mean 'gumbel'? \
Known bottlenecks: dvae, gumbel, ...
    """
    if name not in BOTTLENECKS:
        raise unknown_name("bottleneck", name, BOTTLENECKS)
    kind, given = BOTTLENECKS[name], dict(parameters or {})
    known = [key for key in inspect.signature(kind).parameters if key != "n_classes"]
    for key in given:
        if key not in known:
            raise unknown_name(f"parameter of the bottleneck '{name}'", key, known)
    return kind(n_classes, **given)
