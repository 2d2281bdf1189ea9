"""What an estimator with classes can make up: new images, and how likely given ones are."""

from __future__ import annotations

import math
from numbers import Integral
from typing import Any

import numpy as np
import torch
from sklearn.utils import check_random_state
from sklearn.utils._param_validation import Interval
from sklearn.utils.validation import check_is_fitted
from torch import Tensor

from selfsort.bottlenecks import Variational
from selfsort.errors import InputError
from selfsort.estimators.base import BaseAutoencoder
from selfsort.estimators.resources import check_arguments, computing
from selfsort.networks import Encoded
from selfsort.objectives import Outputs, nll

CODES_AT_ONCE = 2000
"""So many codes are decoded together."""
AT_LEAST_ONE = [Interval(Integral, 1, None, closed="left")]
AT_LEAST_TWO = [Interval(Integral, 2, None, closed="left")]


class GenerativeMixin(BaseAutoencoder):
    """New images, mixtures of images, and likelihoods."""

    reconstruction: str
    style_means_: np.ndarray
    style_factors_: np.ndarray

    def log_likelihood(
        self, X: Any, n_samples: int = 1000, *, random_state: Any = None
    ) -> np.ndarray:
        """Return an estimate of each image's log-likelihood, in nats.

        Codes c are drawn from the posterior, and ``log mean p(x | c) p(c) / q(c | x)`` is a lower
        bound of the log-likelihood in expectation, which rises to it with the number of codes.
        One number may be wrong for all images alike: the partition function of the prior of
        "dvae" is estimated, and more often too small than too large.

        Parameters
        ----------
        X : array-like of shape (n, h, w), (n, h, w, c) or (n, p)
            Black and white images: the decoder gives the probability that a pixel is white. With
            `binarize`, pixels that are brighter than the middle of the range count as white.
        n_samples : int, default=1000
            Codes drawn of each image, at least 1.
        random_state : int, RandomState or None, default=None

        Returns
        -------
        log_likelihood : ndarray of shape (n,), float64

        Raises
        ------
        InputError
            If the bottleneck has no prior, there is a style (which has none), the estimator
            learned another likelihood than that of black and white pixels, or X has others.

        References
        ----------
        Burda, Grosse, Salakhutdinov (2016), arXiv:1509.00519, equation 8.

        Examples
        --------
        >>> from sklearn.datasets import load_digits
        >>> from selfsort import AutoencoderClusterer
        >>> images = (load_digits().images > 8).astype(float)
        >>> clusterer = AutoencoderClusterer(
        ...     method="direct", bottleneck="gumbel", style_dim=0, reconstruction="nll",
        ...     divergence_weight=1.0, transform_strength=0.0, epochs=4, random_state=0,
        ... ).fit(images)
        >>> found = clusterer.log_likelihood(images[:100], n_samples=50, random_state=0)
        >>> bool(-64 * 0.7 < found.mean() < -10)  # better than 0.7 nats a pixel
        True
        """
        check_arguments("log_likelihood", {"n_samples": AT_LEAST_ONE}, n_samples=n_samples)
        data = self._prepared(X)
        bottleneck = self._with_prior("log_likelihood")
        generator = _generator(random_state)

        def likelihood_part(outputs: Outputs, encoded: Encoded) -> Tensor:
            if not ((outputs.images == 0) | (outputs.images == 1)).all():
                raise InputError(
                    "log_likelihood needs black and white images, all pixels at one end of the "
                    "range: binarise them first, such as by X > 127."
                )
            return self._importance_weighted(outputs, bottleneck, n_samples, generator)

        return self._collected(data, likelihood_part)[0]

    def _with_prior(self, method: str) -> Variational:
        """Return the bottleneck, if the model has a likelihood."""
        bottleneck = self.model_.bottleneck
        reasons = {
            "the bottleneck has no prior: use one that has, such as 'gumbel'": not isinstance(
                bottleneck, Variational
            ),
            "the style has no prior: use style_dim=0": self.model_.network.style is not None,
            "it learned another error than that of black and white pixels: use "
            "reconstruction='nll' or 'bce'": self.reconstruction == "mse",
        }
        for reason, holds in reasons.items():
            if holds:
                raise InputError(f"{method} needs a likelihood, and {reason}.")
        assert isinstance(bottleneck, Variational)  # noqa: S101
        return bottleneck

    def _importance_weighted(
        self, outputs: Outputs, bottleneck: Variational, n_samples: int, generator: torch.Generator
    ) -> Tensor:
        """Return the log of the mean importance weight of a batch, ``(n,)``, float64."""
        assert outputs.logits is not None  # noqa: S101 - it has a bottleneck
        n = len(outputs.images)
        total = torch.full((n,), -math.inf, dtype=torch.float64, device=outputs.images.device)
        at_once = max(1, CODES_AT_ONCE // n)
        for start in range(0, n_samples, at_once):
            copies = min(at_once, n_samples - start)
            logits = outputs.logits.repeat_interleave(copies, dim=0)
            code = bottleneck.draw(logits, generator)
            images = outputs.images.repeat_interleave(copies, dim=0)
            decoded = Outputs(images, reconstruction=self.model_.network.decode(code))
            weight = (bottleneck.log_ratio(logits, code) - nll(decoded)).double().view(n, copies)
            total = torch.logaddexp(total, weight.logsumexp(1))
        return total - math.log(n_samples)

    def sample(
        self, n_images: int = 1, *, label: Any = None, random_state: Any = None
    ) -> np.ndarray:
        """Return new images, in the layout and units of the images that were fitted.

        Where the bottleneck has a prior, codes are drawn from it, with `label` until enough of
        that class are found. Elsewhere they are the classes' own, each as likely as the others. A
        style is drawn from a normal distribution with the mean and covariance of its class.

        Parameters
        ----------
        n_images : int, default=1
        label : object, default=None
            A class, as `predict` gives it; None: any.
        random_state : int, RandomState or None, default=None

        Returns
        -------
        images : ndarray, float32
            What the decoder expects of each pixel, not a draw of it.

        Raises
        ------
        InputError
            If there is no such class, or the prior hardly ever gives it.

        Examples
        --------
        >>> from sklearn.datasets import load_digits
        >>> from selfsort import AutoencoderClassifier
        >>> digits = load_digits()
        >>> classifier = AutoencoderClassifier(epochs=5, random_state=0)
        >>> classifier = classifier.fit(digits.images, digits.target)
        >>> classifier.sample(4, label=7, random_state=0).shape
        (4, 8, 8)
        """
        check_arguments("sample", {"n_images": AT_LEAST_ONE}, n_images=n_images)
        check_is_fitted(self, "model_")
        wanted = None if label is None else self._class_index(label)
        generator = _generator(random_state)
        with computing(self.device_, self.n_threads), torch.inference_mode():
            latent = self._drawn(n_images, wanted, generator)
        return self.inverse_transform(latent)

    def _class_index(self, label: Any) -> int:
        """Return the index of a class as `predict` gives it."""
        names = getattr(self, "classes_", np.arange(len(self.style_means_)))
        found = np.flatnonzero(names == label)
        if len(found) != 1:
            shown = ", ".join(str(name) for name in names)
            raise InputError(f"There is no class {label!r}. Classes: {shown}.")
        return int(found[0])

    def _drawn(self, n: int, wanted: int | None, generator: torch.Generator) -> np.ndarray:
        """Return latents of new images, ``(n, code_dim + style_width)``."""
        bottleneck = self.model_.bottleneck
        if wanted is None:
            classes = torch.randint(len(self.style_means_), (n,), generator=generator)
        else:
            classes = torch.full((n,), wanted)
        if not isinstance(bottleneck, Variational):
            code = bottleneck.prototype_codes()[classes]
        elif wanted is None:
            code = bottleneck.prior(n, generator)
            classes = bottleneck.class_of(code).cpu()
        else:
            code = bottleneck.prior_of(classes, generator)
        noise = torch.randn(n, self.style_width_, 1, generator=generator).numpy()
        style = self.style_means_[classes] + (self.style_factors_[classes] @ noise)[..., 0]
        return np.concatenate([code.cpu().numpy(), style], axis=1)

    def interpolate(self, X: Any, Z: Any, n_steps: int = 8) -> np.ndarray:
        """Return what lies between images, from those of `X` to those of `Z`, step by step.

        Codes and styles are mixed linearly, and decoded.

        Parameters
        ----------
        X, Z : array-like of shape (n, h, w), (n, h, w, c) or (n, p)
            As many of one as of the other.
        n_steps : int, default=8
            At least 2: the first step is the reconstruction of `X`, the last one that of `Z`.

        Returns
        -------
        images : ndarray of shape (n, n_steps, ...), float32
            In the layout and units of the images that were fitted.

        Raises
        ------
        InputError
            If there are not as many images in `Z` as in `X`.

        Examples
        --------
        >>> from sklearn.datasets import load_digits
        >>> from selfsort import AutoencoderClassifier
        >>> digits = load_digits()
        >>> classifier = AutoencoderClassifier(epochs=5, random_state=0)
        >>> classifier = classifier.fit(digits.images, digits.target)
        >>> classifier.interpolate(digits.images[:3], digits.images[3:6], n_steps=5).shape
        (3, 5, 8, 8)
        """
        check_arguments("interpolate", {"n_steps": AT_LEAST_TWO}, n_steps=n_steps)
        start, end = self.transform(X), self.transform(Z)
        if len(start) != len(end):
            raise InputError(
                f"interpolate needs as many images in Z as in X, got {len(end)} and {len(start)}."
            )
        shares = np.linspace(0, 1, n_steps, dtype=np.float32)[:, None]
        mixed = start[:, None] * (1 - shares) + end[:, None] * shares
        images = self.inverse_transform(mixed.reshape(-1, start.shape[1]))
        return images.reshape(len(start), n_steps, *images.shape[1:])


def _generator(random_state: Any) -> torch.Generator:
    seed = int(check_random_state(random_state).randint(2**31 - 1))
    return torch.Generator().manual_seed(seed)
