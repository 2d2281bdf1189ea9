"""`AutoencoderClassifier`: classes from some or all labels."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from numbers import Real
from typing import Any, ClassVar, Self

import numpy as np
import torch
from sklearn.base import ClassifierMixin
from sklearn.callback import with_callbacks
from sklearn.utils._missing import is_pandas_na, is_scalar_nan
from sklearn.utils._param_validation import Interval
from sklearn.utils.multiclass import check_classification_targets
from sklearn.utils.validation import column_or_1d

from selfsort.errors import InputError
from selfsort.estimators.classes import BaseClasses
from selfsort.training import Data, Feed, OneHot, with_small_batches

FEW = 0.5
"""Below this share of labelled images the classes are learned by stages, as without labels."""


STAGED_EPOCHS = 20
"""Epochs where few have labels, unless small data needs more."""
DIRECT_EPOCHS = 42
"""Epochs where most have labels, unless small data needs more."""
CLASSES_SHARE = 4 / 7
"""Of those, where the style can be learned apart: the rest is for style and decoder."""
LONG_AVERAGE = 0.998
"""Decay of the averaged weights, at each of many steps."""
LABELLED_SHARE = 0.1
"""Of a batch, at least, where everything is learned at once."""


def _n_missing(labels: np.ndarray) -> int:
    """Return how many labels of any type say nothing, as columns of frames have it."""
    if labels.dtype.kind != "O":
        return 0
    return sum(one is None or is_scalar_nan(one) or is_pandas_na(one) for one in labels)


class AutoencoderClassifier(ClassifierMixin, BaseClasses):
    """Learn classes from some or all labels, and what each class looks like.

    Where at least half of the images have labels, one fit on the weighted sum of cross-entropy,
    reconstruction and information does it. A network whose style has convolutions of its own, as
    the default one, learns the classes first, then style and decoder (unless `phases` says what
    trains when). Where fewer have labels, the stages of `AutoencoderClusterer` do it: labels name
    the groups, and outweigh them where they are near. Bottlenecks whose logits are not one a
    class, such as "m2", learn everything at once in any case.

    Parameters
    ----------
    unlabeled : int, str or None, default=None
        Marker in y of images without a label, such as -1; None: every image has one.
    classification_weight : float, default=1.0
        Multiplier of the cross-entropy on the labelled images, in nats.
    reconstruction_weight : float, default=1.0
        Multiplier of the reconstruction term. With 0, no decoder is learned.
    information_weight : float, default=0.0
        Multiplier of the information between an image and its transformed copy.
    divergence_weight : float, default=0.0
        Multiplier of the divergence of the codes from their prior, in nats, where everything is
        learned at once.
    binarize : bool, default=False
        See `AutoencoderClusterer`; where everything is learned at once.
    bottleneck, bottleneck_parameters, network, style_dim, reconstruction, transform_strength, \
epochs, batch_size, optimizer, learning_rate, momentum, weight_decay, schedule, phases, mean, std, \
image_shape, device, n_threads, random_state
        See `AutoencoderClusterer` and `Autoencoder`. A step that learns no information between
        images takes 256 of them at most.

    Attributes
    ----------
    classes_ : ndarray of shape (n_classes,)
        The labels, sorted.
    network_ : str
        The network that was learned: the wider one where most images have labels.
    prototypes_ : ndarray of shape (n_classes, h, w), (n_classes, h, w, c) or (n_classes, p)
        The decoder's picture of each class.
    model_, history_, n_features_in_, n_epochs_, stopped_, stage_seconds_
        See `AutoencoderClusterer`.

    Examples
    --------
    >>> from sklearn.datasets import load_digits
    >>> from selfsort import AutoencoderClassifier
    >>> digits = load_digits()
    >>> classifier = AutoencoderClassifier(epochs=5, random_state=0)
    >>> classifier.fit(digits.images[:1500], digits.target[:1500]).classes_
    array([0, 1, 2, 3, 4, 5, 6, 7, 8, 9])
    >>> bool(classifier.score(digits.images[1500:], digits.target[1500:]) > 0.8)
    True
    """

    _parameter_constraints: ClassVar[dict[str, list[Any]]] = {
        **BaseClasses._parameter_constraints,
        "unlabeled": [Real, str, None],
        "classification_weight": [Interval(Real, 0, None, closed="left")],
    }

    def __init__(
        self,
        *,
        unlabeled: int | str | None = None,
        network: str = "auto",
        bottleneck: str = "softmax",
        style_dim: int = 16,
        reconstruction: str = "mse",
        reconstruction_weight: float = 1.0,
        classification_weight: float = 1.0,
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
        self.unlabeled = unlabeled
        self.network = network
        self.bottleneck = bottleneck
        self.style_dim = style_dim
        self.reconstruction = reconstruction
        self.reconstruction_weight = reconstruction_weight
        self.classification_weight = classification_weight
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
    def fit(self, X: Any, y: Any) -> Self:
        """Learn from images and labels.

        Parameters
        ----------
        X : array-like of shape (n, h, w), (n, h, w, c) or (n, p), or Source
            A source, as `selfsort.open_source` gives it, is read while it is learned from.
        y : array-like of shape (n,)
            Labels, or `unlabeled`.

        Returns
        -------
        self
        """
        self._validate_params()
        index = self._check_labels(y)
        n_classes = len(self.classes_)
        most = bool(np.mean(index >= 0) >= FEW)
        with self._fitting(X, y, n_classes, wide=most, staged=not most) as data:
            if len(index) != len(data):
                raise InputError(
                    f"X has {len(data)} images but y has {len(index)} labels: they must go "
                    "together."
                )
            if most or not self.model_.bottleneck.names_classes:
                self._fit_direct(data, index)
            else:
                self._sort(data, n_classes, index, n_epochs=self._epochs(len(data), STAGED_EPOCHS))
            self._finish(data, n_classes)
        return self

    def _check_labels(self, y: Any) -> np.ndarray:
        """Return each label's index in `classes_`, -1 where there is none."""
        if y is None:
            raise InputError(
                f"{type(self).__name__} requires y to be passed, but the target y is None: for "
                "images without labels use AutoencoderClusterer."
            )
        labels = column_or_1d(y, warn=True)
        if len(labels) == 0:
            raise InputError("y has 0 labels: give one label for each image.")
        if labels.dtype.kind == "f" and not np.isfinite(labels).all():
            raise InputError(
                "y has NaN or infinity: mark images without a label by a finite number such as "
                "-1, and give it as unlabeled=-1."
            )
        n_missing = _n_missing(labels)
        if n_missing:
            raise InputError(
                f"y has missing values ({n_missing} of {len(labels)}): mark images without a label "
                "by a text or number of their own, such as '' or -1, and give it as unlabeled=''."
            )
        known = np.ones(len(labels), dtype=bool)
        if self.unlabeled is not None:
            known = labels != self.unlabeled
        if not known.any():
            raise InputError(
                f"y has no label, only the marker {self.unlabeled!r}: label some images, or use "
                "AutoencoderClusterer."
            )
        check_classification_targets(labels[known])
        self.classes_, inverse = np.unique(labels[known], return_inverse=True)
        if len(self.classes_) < 2:
            raise InputError(
                f"y has one class only ({self.classes_[0]}): a classifier needs at least 2 classes."
            )
        index = np.full(len(labels), -1)
        index[known] = inverse
        return index

    def _fit_direct(self, data: Data, index: np.ndarray) -> None:
        """Learn everything at once; labelled images come more often where they are few."""
        targets = OneHot(torch.from_numpy(index).to(self.device_), len(self.classes_))
        feed = Feed(
            data,
            self._transform(data),
            targets=targets,
            index=oversampled(index),
            binarize=self.binarize,
        )
        n_epochs = self._epochs(len(data), DIRECT_EPOCHS)
        apart = self.model_.network.own_style and any(self._class_weights().values())
        # The bound is of code and image together.
        apart = apart and not self.divergence_weight and not self.binarize
        apart = apart and self.model_.bottleneck.names_classes
        settings = self._settings(len(data), epochs=n_epochs)
        if not self.information_weight:
            settings = with_small_batches(settings)
        if self.phases is not None or not apart:
            self._train("fit", self._weights(), lambda: feed, settings)
            return
        n_first = max(1, round(CLASSES_SHARE * n_epochs))
        settings = replace(settings, epochs=n_first, average=LONG_AVERAGE)
        self._train("classes", self._class_weights(), lambda: feed, settings)
        if self.reconstruction_weight:
            self._learn_decoder(data, max(1, n_epochs - n_first))

    def _class_weights(self) -> dict[str, float]:
        return {
            "classification": self.classification_weight,
            "information": self.information_weight,
        }

    def _weights(self) -> dict[str, float]:
        return super()._weights() | self._class_weights()

    def _check_training(self, staged: bool) -> None:
        bottleneck = self.model_.bottleneck
        if bottleneck.reader is not None or not bottleneck.takes_labels:
            raise InputError(
                f"The code of the bottleneck '{self.bottleneck}' does not name the classes that "
                "labels could be learned for: use another bottleneck, or AutoencoderClusterer and "
                "a classifier on its transform."
            )
        super()._check_training(staged and bottleneck.names_classes)

    def predict(self, X: Any, abstain: float | None = None) -> np.ndarray:
        """Return the label of each image.

        Parameters
        ----------
        X : array-like of shape (n, h, w), (n, h, w, c) or (n, p)
        abstain : float or None, default=None
            In (0, 1]: images whose largest probability is below it get `unlabeled` in place of a
            label, or -1 where that is None. None: every image gets a label.

        Returns
        -------
        labels : ndarray of shape (n,)

        Raises
        ------
        InputError
            If `abstain` is out of range, nothing can stand for no label (set `unlabeled`), or
            `X` does not have the shape of the images that were fitted.

        Examples
        --------
        >>> from sklearn.datasets import load_digits
        >>> from selfsort import AutoencoderClassifier
        >>> digits = load_digits()
        >>> classifier = AutoencoderClassifier(epochs=5, random_state=0)
        >>> classifier = classifier.fit(digits.images[:900], digits.target[:900])
        >>> images, truth = digits.images[900:], digits.target[900:]
        >>> labels = classifier.predict(images, abstain=0.9)
        >>> sure = labels != -1
        >>> bool((labels == truth)[sure].mean() > classifier.score(images, truth))
        True
        """
        index = self._indices(X, abstain)
        if abstain is None:
            return self.classes_[index]
        return np.where(index < 0, self._abstained(), self.classes_[index])

    def _abstained(self) -> np.ndarray:
        """Return what `predict` gives to images in doubt."""
        marker = -1 if self.unlabeled is None else self.unlabeled
        text = isinstance(self.classes_[0], str)
        kind = "text" if text else "number"
        if isinstance(marker, str) != text:
            reason = f"the classes are {'text' if text else 'numbers'}"
        elif marker in self.classes_.tolist():
            reason = "that is a class"
        else:
            return np.asarray(marker)
        raise InputError(
            f"predict cannot give {marker!r} to images in doubt, for {reason}: set the unlabeled "
            f"parameter to a {kind} that is no class."
        )

    def _no_label(self) -> list[Any]:
        markers = [-1, self.unlabeled]
        return [marker for marker in markers if marker not in [None, *self.classes_.tolist()]]

    def predict_proba(self, X: Any) -> np.ndarray:
        """Return each image's distribution over `classes_`, ``(n, n_classes)``."""
        return self._probabilities(X)

    def score(self, X: Any, y: Any = None, sample_weight: Any = None) -> float:
        """Return the accuracy on labelled images."""
        return float(ClassifierMixin.score(self, X, y, sample_weight))


def oversampled(index: np.ndarray) -> torch.Tensor | None:
    """Return which images an epoch draws, those with a label so often that they are a tenth.

    None where they are that many anyway. `index` holds -1 where there is no label.

    Examples
    --------
    >>> oversampled(np.array([0, *[-1] * 18])).tolist()[19:]
    [0]
    """
    labelled = np.flatnonzero(index >= 0)
    wanted = LABELLED_SHARE / (1 - LABELLED_SHARE) * (len(index) - len(labelled))
    missing = round(wanted) - len(labelled)
    if missing <= 0:
        return None
    again = np.resize(labelled, missing)
    return torch.from_numpy(np.concatenate([np.arange(len(index)), again]))
