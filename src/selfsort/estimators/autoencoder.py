"""`Autoencoder`: no class bottleneck, features for any other estimator."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Self

from sklearn.callback import with_callbacks

from selfsort.estimators.base import BaseAutoencoder
from selfsort.training import Feed


class Autoencoder(BaseAutoencoder):
    """Learn features from which images can be rebuilt.

    Parameters
    ----------
    style_dim : int, default=32
        Number of features, at least 1.
    network : str, default="auto"
        A name from `selfsort.NETWORKS`; "auto": convolutional for images, dense for vectors.
    reconstruction : {"mse", "bce"}, default="mse"
        Squared error in units of [0, 1] pixels, or binary cross-entropy in nats.
    reconstruction_weight : float, default=1.0
        Multiplier of the reconstruction term.
    transform_strength : float, default=0.0
        Strength of the random transforms while training, 0 to 10; 0: none.
    epochs : int or None, default=None
        None: 10 epochs, more for small data, so that there are at least 600 steps.
    batch_size : int, default=256
        Images a step; fewer where an epoch would have less than eight steps.
    optimizer : {"adam", "adamw", "sgd"}, default="adamw"
    learning_rate : float, default=0.002
    momentum : float, default=0.0
        For "sgd", in [0, 1).
    weight_decay : float, default=0.01
    schedule : {"constant", "cosine"}, default="cosine"
        How the learning rate goes with the progress of the training.
    phases : list of (parts, epochs) or None, default=None
        Which parts train for how long, such as ``[("decoder", 2), ("encoder+head", 1), ("all",
        8)]``; replaces `epochs`.
    mean, std : float, default=0.0, 1.0
        Inputs are normalised to ``(x - mean) / std``, x in [0, 1].
    image_shape : tuple (h, w) or (h, w, c), default=None
        Shape of the images in flat rows; None: rows are vectors.
    device : str, default="auto"
        "cpu", "cuda", …; "auto": a GPU when there is one.
    n_threads : int or None, default=None
        Threads on the CPU; None: as PyTorch has it.
    random_state : int, RandomState or None, default=None
        An integer gives the same bits on the same machine, versions and threads.

    Attributes
    ----------
    model_ : torch module
        Network and bottleneck.
    network_ : str
        Its name, where `network` says "auto".
    history_ : list of dict
        One row an epoch: stage, epoch, seconds, images_per_second, loss, each term.
    n_features_in_ : int
        Pixels times channels.
    n_epochs_ : int
        Epochs that were trained.
    stopped_ : bool
        Whether a callback ended the training early.

    References
    ----------
    Hinton, Salakhutdinov (2006), Reducing the dimensionality of data with neural networks.

    Examples
    --------
    >>> from sklearn.datasets import load_digits
    >>> from selfsort import Autoencoder
    >>> images = load_digits().images[:100]
    >>> autoencoder = Autoencoder(style_dim=8, epochs=1, random_state=0).fit(images)
    >>> autoencoder.transform(images).shape, autoencoder.reconstruct(images).shape
    ((100, 8), (100, 8, 8))
    """

    def __init__(
        self,
        style_dim: int = 32,
        *,
        network: str = "auto",
        reconstruction: str = "mse",
        reconstruction_weight: float = 1.0,
        transform_strength: float = 0.0,
        epochs: int | None = None,
        batch_size: int = 256,
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
        self.style_dim = style_dim
        self.network = network
        self.reconstruction = reconstruction
        self.reconstruction_weight = reconstruction_weight
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
        """Learn from images, labels not used.

        Parameters
        ----------
        X : array-like of shape (n, h, w), (n, h, w, c) or (n, p), or Source
            A source, as `selfsort.open_source` gives it, is read while it is learned from.
            At least 2 images.
        y : ignored

        Returns
        -------
        self
        """
        self._validate_params()
        with self._fitting(X, y, n_classes=0) as data:
            feed = Feed(data, self._transform(data))
            self._train("fit", self._weights(), lambda: feed, self._settings(len(data)))
            self._trained()
            self._measure_style(data)
        return self
