"""What the two estimators with classes share: codes, probabilities and prototypes."""

from __future__ import annotations

import math
import warnings
from dataclasses import replace
from numbers import Integral, Real
from typing import Any, ClassVar

import numpy as np
import torch
from sklearn.utils._param_validation import Interval
from sklearn.utils.validation import check_is_fitted

from selfsort import parallel, training
from selfsort.bottlenecks import BOTTLENECKS, Bottleneck, Variational, make_bottleneck
from selfsort.errors import ClassCollapseWarning, InputError, NotFiniteError, collapse_sentence
from selfsort.estimators.doubt import N_QUANTILES, OutlierScale, suggested
from selfsort.estimators.generative import AT_LEAST_ONE, GenerativeMixin
from selfsort.estimators.outputs import (
    class_part,
    code_part,
    error_part,
    features_part,
    probability_part,
    style_part,
)
from selfsort.estimators.resources import check_arguments, computing
from selfsort.networks import Encoded
from selfsort.sorting import Sorting, split_epochs
from selfsort.training import Data, Feed, with_small_batches

N_READ = 20_000
"""So many images, evenly spread, are enough to find classes among their codes."""
ERASE = 0.5
"""Share of the images of which self-training erases a rectangle."""


class BaseClasses(GenerativeMixin):
    """An autoencoder whose bottleneck is the class."""

    _parameter_constraints: ClassVar[dict[str, list[Any]]] = {
        **GenerativeMixin._parameter_constraints,
        "bottleneck": [str],
        "bottleneck_parameters": [dict, None],
        "information_weight": [Interval(Real, 0, None, closed="left")],
        "divergence_weight": [Interval(Real, 0, None, closed="left")],
        "binarize": ["boolean"],
    }
    _default_epochs: ClassVar[int] = 12
    _least_steps: ClassVar[int] = 1200

    def _make_bottleneck(self, n_classes: int) -> Bottleneck:
        return make_bottleneck(self.bottleneck, n_classes, self.bottleneck_parameters)

    def _weights(self) -> dict[str, float]:
        return super()._weights() | {
            "information": self.information_weight,
            "divergence": self.divergence_weight,
        }

    def _check_training(self, staged: bool) -> None:
        super()._check_training(staged)
        bottleneck, name = self.model_.bottleneck, self.bottleneck
        if staged:
            self._check_stages()
        if self.divergence_weight and not isinstance(bottleneck, Variational):
            priors = [key for key, kind in BOTTLENECKS.items() if issubclass(kind, Variational)]
            raise InputError(
                f"The bottleneck '{name}' has no prior for divergence_weight="
                f"{self.divergence_weight:g}: give 0, or one with a prior: "
                f"{', '.join(sorted(priors))}."
            )
        if self.information_weight and not (bottleneck.names_classes and bottleneck.copies == 1):
            raise InputError(
                f"The bottleneck '{name}' does not give one distribution over the classes for each "
                "image, which the information is measured of: use information_weight=0."
            )

    def _check_stages(self) -> None:
        """Raise where the parameters do not go with classes that are learned by stages."""
        for parameter, value in (
            ("binarize", self.binarize),
            ("divergence_weight", self.divergence_weight),
        ):
            if value:
                raise InputError(
                    f"{parameter}={value!r} does not go with classes that are learned by stages: "
                    "leave it out, or use AutoencoderClusterer(method='direct')."
                )
        if not self.model_.bottleneck.names_classes or self.model_.bottleneck.copies > 1:
            raise InputError(
                f"The classes cannot be sorted into the codes of the bottleneck '{self.bottleneck}'"
                ", which are not one distribution over the classes for each image: use another, or "
                "AutoencoderClusterer(method='direct')."
            )

    def _as_used(self, data: Data) -> Data:
        return replace(data, black_and_white=True) if self.binarize else data

    # ---- learning -----------------------------------------------------------------------

    def _sort(
        self,
        data: Data,
        n_classes: int,
        labels: np.ndarray | None,
        *,
        n_epochs: int,
        choose: bool = False,
    ) -> Sorting:
        """Learn the classes by stages, then style and decoder for the learned codes."""
        epochs = split_epochs(n_epochs, labelled=labels is not None)
        sorting = Sorting(
            self.model_,
            data,
            n_classes,
            choose,
            labels,
            epochs,
            transform=self._transform(data),
            strong_transform=self._transform(data, erase=ERASE),
            settings=lambda **changes: self._settings(len(data), **changes),
            train=self._train,
            compute=self._compute,
            renew=self._renew,
            generator=self._generator,
        )
        sorting.run()
        self._learn_decoder(data, epochs["decoder"])
        return sorting

    def _learn_decoder(self, data: Data, n_epochs: int) -> None:
        """Learn style and decoder for the codes as they are."""
        if self.stopped_:
            return
        phases = [("style+decoder", n_epochs)]
        settings = with_small_batches(self._settings(len(data), phases=phases))

        def feed() -> Feed:
            apart = self.model_.network.decodes_apart
            return Feed(data, logits=self._logits(data) if apart else None)

        self._train("decoder", {self.reconstruction: 1.0}, feed, settings)

    def _logits(self, data: Data) -> torch.Tensor:
        """Return the logits ``(n, n_classes)`` of images, as a stage of training sees them."""

        def read(images: torch.Tensor, encoded: Encoded) -> list[torch.Tensor]:
            assert encoded.logits is not None  # noqa: S101 - there are classes
            return [encoded.logits]

        enabled, own = self._settings(len(data)).autocast, parallel.share(len(data))
        (logits,) = training.look_at(self.model_, data, read, part=own, enabled=enabled)
        return parallel.gathered(logits, len(data))

    def _renew(self, n_classes: int) -> None:
        """Give the model a fresh class head and decoder for that many classes."""
        fresh = self._make_model(self.network_, n_classes)
        network, self.model_.bottleneck = self.model_.network, fresh.bottleneck
        network.head, network.decoder = fresh.network.head, fresh.network.decoder

    def _finish(self, data: Data, n_classes: int) -> np.ndarray:
        """Return each training image's class index, and measure what the methods below need."""
        self._trained()
        data = self._as_used(data)
        self._measure_style(data)
        bottleneck = self.model_.bottleneck
        bottleneck.settle(self._generator)
        if bottleneck.reader is not None:
            (codes,) = self._collected(data.chosen(data.evenly(N_READ)), code_part)
            seed = int(torch.randint(2**31 - 1, (), generator=self._generator))
            bottleneck.reader.fit(bottleneck.read(torch.from_numpy(codes)).numpy(), seed)
        some = data.evenly(N_QUANTILES)
        measured = data.chosen(some)
        # Features of images that are not in memory would not be either: those of some have to do.
        seen, own = (data, some) if data.is_resident else (measured, np.arange(len(some)))
        index, style_of, features = self._collected(
            seen, class_part, style_part, features_part, together=True
        )
        (errors,) = self._collected(measured, error_part, reconstruct=True)
        self._check_finite(features, errors)
        self.outlier_scale_ = OutlierScale.measured(features[own], errors, index[own])
        styles = [style_of[index == k] for k in range(n_classes)]
        styles = [style if len(style) else style_of for style in styles]
        self.style_means_ = np.stack([style.mean(0) for style in styles]).astype(np.float32)
        self.style_factors_ = np.stack([covariance_factor(style) for style in styles])
        if not data.is_resident:
            (index,) = self._collected(data, class_part, together=True)
        n_in_use = len(np.unique(index))
        if n_in_use < n_classes:
            warnings.warn(
                collapse_sentence(n_in_use, n_classes, self._remedy()),
                ClassCollapseWarning,
                stacklevel=4,
            )
        return index

    def _check_finite(self, *arrays: np.ndarray) -> None:
        """Raise where the very last step broke the weights, which no later loss could show."""
        if not all(np.isfinite(array).all() for array in arrays):
            raise NotFiniteError(
                "The last step of the training made the features or reconstructions NaN or "
                f"infinite. Try a lower learning rate (now {self.learning_rate:g})."
            )

    def _remedy(self) -> str:
        return "Try fewer classes, more images, more epochs or a lower learning_rate."

    # ---- use ----------------------------------------------------------------------------

    def _probabilities(self, X: Any) -> np.ndarray:
        """Return softmax of the classes' logits ``(n, n_classes)``, float32."""
        return self._collected(self._prepared(X), probability_part)[0]

    def _indices(self, X: Any, abstain: float | None) -> np.ndarray:
        """Return the class index of each image, -1 where its probability is below `abstain`."""
        check_arguments("predict", {"abstain": ABSTAIN}, abstain=abstain)
        if abstain is None:
            return self._collected(self._prepared(X), class_part)[0]
        index, probability = self._collected(self._prepared(X), class_part, probability_part)
        return np.where(probability.max(1) < float(abstain), -1, index)

    def outlier_score(self, X: Any) -> np.ndarray:
        """Return how unusual each image is, by the share of training images that are less so.

        An image is unusual where its features are far from those of every class (in units of
        their spread within the classes, Mahalanobis' distance), or where its reconstruction is
        unlike it. Both are divided by their means over the training images, and the root of the
        sum of squares is compared with that of the training images.

        Parameters
        ----------
        X : array-like of shape (n, h, w), (n, h, w, c) or (n, p)

        Returns
        -------
        score : ndarray of shape (n,), float64
            From 0 to 1, in steps of 1/n for n training images (10,001 of them stand for more).
            1.0: more unusual than every training image; 0.5: more than half of them. New images
            of the same kind score a little higher than the training images, and much higher
            where the network learned few images by heart.

        Raises
        ------
        InputError
            If `X` does not have the shape of the images that were fitted.

        References
        ----------
        Lee, Lee, Lee, Shin (2018), arXiv:1807.03888, equation 2, for the distance.

        Examples
        --------
        >>> import numpy as np
        >>> from sklearn.datasets import load_digits
        >>> from selfsort import AutoencoderClassifier
        >>> digits = load_digits()
        >>> classifier = AutoencoderClassifier(epochs=5, random_state=0)
        >>> classifier = classifier.fit(digits.images[:900], digits.target[:900])
        >>> bool(classifier.outlier_score(digits.images[900:]).mean() < 0.7)
        True
        >>> noise = np.random.default_rng(0).uniform(0, 16, (3, 8, 8))
        >>> classifier.outlier_score(noise)
        array([1., 1., 1.])
        """
        check_is_fitted(self, "outlier_scale_")
        return self.outlier_scale_.score(
            *self._collected(self._prepared(X), features_part, error_part, reconstruct=True)
        )

    def suggest(self, X: Any, n_images: int = 10, *, labels: Any = None) -> np.ndarray:
        """Return which images a person should label so that the labels help most.

        First comes one typical image of each class without a label, the largest class first:
        among the surer half of the class, the one most similar to its nearest neighbours in the
        features. Then, the classes in turn, come the images with the smallest margin between the
        two largest probabilities, leaving out the nearest neighbours of images that are labelled
        or chosen for as long as there are others.

        Parameters
        ----------
        X : array-like of shape (n, h, w), (n, h, w, c) or (n, p)
        n_images : int, default=10
            From 1 to the number of images without a label.
        labels : array-like of shape (n,) or None, default=None
            What is known: -1 (or the `unlabeled` parameter of a classifier) where an image has
            no label; None: nothing. Images that have one are not suggested, and their classes,
            by what is predicted, need no typical one.

        Returns
        -------
        chosen : ndarray of shape (n_images,), int64
            Positions in `X`, the most useful first.

        Raises
        ------
        InputError
            If `n_images` is out of range, `labels` does not fit `X`, or `X` does not have the
            shape of the images that were fitted.

        References
        ----------
        Hacohen, Dekel, Weinshall (2022), arXiv:2202.02794, for typical images first where there
        are few labels; Scheffer, Decomain, Wrobel (2001), "Active hidden Markov models for
        information extraction", for the margin.

        Examples
        --------
        Sort images, label three of them, and see which ones to label next:

        >>> import numpy as np
        >>> from sklearn.datasets import load_digits
        >>> from selfsort import AutoencoderClusterer
        >>> images, truth = load_digits(n_class=3, return_X_y=True)
        >>> images = images.reshape(-1, 8, 8)
        >>> clusterer = AutoencoderClusterer(n_classes=3, epochs=12, random_state=0).fit(images)
        >>> chosen = clusterer.suggest(images, 3)
        >>> labels = np.full(len(images), -1)
        >>> labels[chosen] = truth[chosen]  # a person says what they show
        >>> sorted(labels[chosen].tolist())
        [0, 1, 2]
        >>> more = clusterer.suggest(images, 5, labels=labels)
        >>> len(np.union1d(chosen, more))
        8
        """
        check_arguments("suggest", {"n_images": AT_LEAST_ONE}, n_images=n_images)
        data = self._prepared(X)
        labelled = self._labelled(labels, len(data))
        n_free = int((~labelled).sum())
        if n_images > n_free:
            raise InputError(
                f"suggest cannot give {n_images} images: only {n_free} of {len(data)} have no "
                "label. Ask for fewer, or give more images."
            )
        probabilities, features = self._collected(data, probability_part, features_part)
        with computing(self.device_, self.n_threads):
            return suggested(torch.from_numpy(features), probabilities, labelled, n_images)

    def _labelled(self, labels: Any, n_images: int) -> np.ndarray:
        """Return which images have a label."""
        if labels is None:
            return np.zeros(n_images, dtype=bool)
        labels = np.asarray(labels)
        if labels.shape != (n_images,):
            raise InputError(
                f"labels must be of shape ({n_images},), one for each image of X. "
                f"Got shape {labels.shape} instead."
            )
        if labels.dtype.kind == "f" and np.isnan(labels).any():
            raise InputError("labels has NaN: mark images without a label by -1.")
        return np.all([labels != marker for marker in self._no_label()], axis=0)

    def _no_label(self) -> list[Any]:
        """Return what stands for no label in `suggest`."""
        return [-1]

    @property
    def prototypes_(self) -> np.ndarray:
        """Each class as a picture: its one-hot code and mean style, decoded.

        Where the code does not name classes, the mean code of the class takes its place.

        Of shape ``(n_classes, h, w)``, ``(n_classes, h, w, c)`` or ``(n_classes, p)``, in the
        layout and units of the images that were fitted.
        """
        check_is_fitted(self, "style_means_")
        codes = self.model_.bottleneck.prototype_codes().detach().cpu().numpy()
        return self.inverse_transform(np.concatenate([codes, self.style_means_], axis=1))

    def _latent_widths(self) -> tuple[int, ...]:
        return tuple(sorted({len(self.style_means_), self._n_features_out}))

    def _with_style(self, latent: np.ndarray) -> np.ndarray:
        if latent.shape[1] == self._n_features_out:
            return latent
        codes = self.model_.bottleneck.prototype_codes().detach().cpu().numpy()
        return np.concatenate([latent @ codes, latent @ self.style_means_], axis=1)

    @property
    def _n_features_out(self) -> int:
        return self.model_.bottleneck.code_dim + self.style_width_


def covariance_factor(rows: np.ndarray) -> np.ndarray:
    """Return L with ``L L'`` the covariance of some rows ``(n, d)``, ``(d, d)`` float32."""
    centred = (rows - rows.mean(0)) / math.sqrt(len(rows))
    _, singular, axes = np.linalg.svd(centred, full_matrices=False)
    factor = np.zeros((rows.shape[1], rows.shape[1]), dtype=np.float32)
    factor[:, : len(singular)] = axes.T * singular
    return factor


CLASS_COUNT = [Interval(Integral, 2, None, closed="left")]
ABSTAIN = [Interval(Real, 0, 1, closed="right"), None]
