"""`AutoencoderClusterer`: classes without labels."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, ClassVar, Self

import numpy as np
from sklearn.base import ClusterMixin
from sklearn.callback import with_callbacks
from sklearn.utils._param_validation import StrOptions

from selfsort.errors import InputError
from selfsort.estimators.classes import CLASS_COUNT, BaseClasses
from selfsort.training import Feed

CURVE_LENGTH = 30
ASSUMED_CLASSES = 10
"""Until the number of classes is chosen: only small data makes a difference by it."""


class AutoencoderClusterer(ClusterMixin, BaseClasses):
    """Learn the classes of images without labels, and what each class looks like.

    Parameters
    ----------
    n_classes : int or None, default=10
        How many classes, at least 2; None: chosen from the images (see `information_curve_`).
    method : {"sort", "direct"}, default="sort"
        "sort": fine clusters, grouping, self-training, then a decoder (see `selfsort.sorting`).
        "direct": one fit of all weights on the sum of the reconstruction and information terms.
    bottleneck : str, default="softmax"
        A name from `selfsort.BOTTLENECKS`. With "sort", one whose code names the class.
    bottleneck_parameters : dict or None, default=None
        The bottleneck's own parameters, such as ``{"groups": 20, "categories": 10}`` of "gumbel".
    style_dim : int, default=16
        What the class does not say; 0: the class is all that the decoder gets.
    information_weight : float, default=0.0
        Multiplier of the information term, for "direct".
    divergence_weight : float, default=0.0
        Multiplier of the divergence of the codes from their prior, in nats, for "direct", which it
        reaches after 30 % of the training. With 1, ``reconstruction="nll"`` and ``style_dim=0``
        the evidence lower bound is learned.
    binarize : bool, default=False
        Whether to learn from black and white images, for "direct": each time an image is seen,
        each pixel is drawn anew, white with its brightness as the probability. Afterwards pixels
        are white that are brighter than the middle of the range.
    network, reconstruction, reconstruction_weight, epochs, batch_size, optimizer, \
learning_rate, momentum, weight_decay, schedule, phases, mean, std, image_shape, device, \
n_threads, random_state
        See `Autoencoder`. With "sort", `epochs` is split over the stages (None: 12, more for
        small data), a step takes 256 images at most except for the fine clusters, and `phases`
        is not used.
    transform_strength : float, default=1.0
        Strength of the random transforms that keep the class, 0 to 10. At 1 images are turned by
        up to 15 degrees, scaled by 15 %, slanted, shifted by 10 % and bent.

    Attributes
    ----------
    labels_ : ndarray of shape (n,)
        Class 0..n_classes-1 of each training image.
    prototypes_ : ndarray of shape (n_classes, h, w), (n_classes, h, w, c) or (n_classes, p)
        The decoder's picture of each class.
    n_classes_ : int
        How many classes, told or chosen.
    information_curve_ : ndarray of shape (m,)
        With "sort", until saved: the information in nats that neighbouring images share in k
        groups of fine clusters, in entry k - 1.
    natural_n_classes_ : int
        With "sort", until saved: the number of groups after which a further one adds much less
        to that information (`selfsort.grouping.choose_n_groups`). It is K where `n_classes` is
        None.
    stage_seconds_ : dict
        Seconds of each stage.
    model_, history_, n_features_in_, n_epochs_, stopped_
        See `Autoencoder`.

    Notes
    -----
    Nothing is chosen by labels. With "sort", classes may differ in size about ten times; each is
    to hold at least 100 images, or half of the mean size where that is less. With fewer than 300
    images a class, equal sizes are preferred the more, the fewer there are. "direct" favours
    classes of one size.

    References
    ----------
    Ji, Henriques, Vedaldi (2019), arXiv:1807.06653, for the information term; Slonim, Tishby
    (1999), Agglomerative information bottleneck, for the grouping.

    Examples
    --------
    >>> from sklearn.datasets import load_digits
    >>> from selfsort import AutoencoderClusterer
    >>> images = load_digits().images
    >>> clusterer = AutoencoderClusterer(n_classes=10, epochs=24, random_state=0)
    >>> clusterer.fit_predict(images).shape, clusterer.prototypes_.shape
    ((1797,), (10, 8, 8))
    """

    _parameter_constraints: ClassVar[dict[str, list[Any]]] = {
        **BaseClasses._parameter_constraints,
        "n_classes": [*CLASS_COUNT, None],
        "method": [StrOptions({"sort", "direct"})],
    }

    def __init__(
        self,
        n_classes: int | None = 10,
        *,
        method: str = "sort",
        network: str = "auto",
        bottleneck: str = "softmax",
        style_dim: int = 16,
        reconstruction: str = "mse",
        reconstruction_weight: float = 1.0,
        bottleneck_parameters: dict[str, Any] | None = None,
        information_weight: float = 0.0,
        divergence_weight: float = 0.0,
        binarize: bool = False,
        transform_strength: float = 1.0,
        epochs: int | None = None,
        batch_size: int = 512,
        optimizer: str = "adamw",
        learning_rate: float = 0.002,
        momentum: float = 0.0,
        weight_decay: float = 0.01,
        schedule: str = "cosine",
        phases: Sequence[tuple[str, int]] | None = None,
        mean: float = 0.0,
        std: float = 1.0,
        image_shape: Sequence[int] | None = None,
        device: str = "auto",
        n_threads: int | None = None,
        random_state: Any = None,
    ) -> None:
        self.n_classes = n_classes
        self.method = method
        self.network = network
        self.bottleneck = bottleneck
        self.style_dim = style_dim
        self.reconstruction = reconstruction
        self.reconstruction_weight = reconstruction_weight
        self.bottleneck_parameters = bottleneck_parameters
        self.information_weight = information_weight
        self.divergence_weight = divergence_weight
        self.binarize = binarize
        self.transform_strength = transform_strength
        self.epochs = epochs
        self.batch_size = batch_size
        self.optimizer = optimizer
        self.learning_rate = learning_rate
        self.momentum = momentum
        self.weight_decay = weight_decay
        self.schedule = schedule
        self.phases = phases
        self.mean = mean
        self.std = std
        self.image_shape = image_shape
        self.device = device
        self.n_threads = n_threads
        self.random_state = random_state

    @with_callbacks
    def fit(self, X: Any, y: Any = None) -> Self:
        """Learn the classes, labels not used.

        Parameters
        ----------
        X : array-like of shape (n, h, w), (n, h, w, c) or (n, p), or Source
            A source, as `selfsort.open_source` gives it, is read while it is learned from.
            At least `n_classes` images; 10 where that is None.
        y : ignored

        Returns
        -------
        self
        """
        self._validate_params()
        n_classes, choose = self.n_classes, self.n_classes is None
        if choose and self.method != "sort":
            raise InputError(
                "n_classes=None, the number of classes chosen from the images, needs "
                f"method='sort'. Got method={self.method!r}: say how many classes."
            )
        self.n_classes_ = ASSUMED_CLASSES if n_classes is None else int(n_classes)
        self._drop("information_curve_", "natural_n_classes_")
        staged = self.method == "sort"
        with self._fitting(X, y, self.n_classes_, staged=staged) as data:
            if staged:
                n_epochs = self._epochs(len(data))
                sorting = self._sort(
                    data, self.n_classes_, labels=None, n_epochs=n_epochs, choose=choose
                )
                assert sorting.information is not None  # noqa: S101 - groups were found
                self.n_classes_, self.natural_n_classes_ = sorting.n_classes, sorting.natural
                self.information_curve_ = sorting.information[:CURVE_LENGTH]
            else:
                self._fit_direct(data)
            self.labels_ = self._finish(data, self.n_classes_)
        return self

    def _fit_direct(self, data: Any) -> None:
        feed = Feed(data, self._transform(data), binarize=self.binarize)
        self._train("fit", self._weights(), lambda: feed, self._settings(len(data)))

    def _weights(self) -> dict[str, float]:
        if self.method == "sort":
            return {self.reconstruction: 1.0}
        return super()._weights()

    def predict(self, X: Any, abstain: float | None = None) -> np.ndarray:
        """Return the class of each image.

        Parameters
        ----------
        X : array-like of shape (n, h, w), (n, h, w, c) or (n, p)
        abstain : float or None, default=None
            In (0, 1]: images whose largest probability is below it get no class. None: every
            image gets one.

        Returns
        -------
        classes : ndarray of shape (n,), int64
            0..n_classes-1, and -1 for no class.

        Raises
        ------
        InputError
            If `abstain` is out of range, or `X` does not have the shape of the images that
            were fitted.
        """
        return self._indices(X, abstain)

    def predict_proba(self, X: Any) -> np.ndarray:
        """Return each image's distribution over the classes, ``(n, n_classes)``."""
        return self._probabilities(X)
