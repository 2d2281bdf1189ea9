"""What the two estimators with classes share: codes, probabilities and prototypes."""

from __future__ import annotations

import warnings
from numbers import Integral, Real
from typing import Any, ClassVar

import numpy as np
import torch
from sklearn.utils._param_validation import Interval
from sklearn.utils.validation import check_is_fitted
from torch import Tensor

from selfsort import training
from selfsort.errors import ClassCollapseWarning, InputError, NotFiniteError, collapse_sentence
from selfsort.estimators.base import BaseAutoencoder
from selfsort.estimators.doubt import N_QUANTILES, OutlierScale, compact, suggested
from selfsort.estimators.outputs import error_part, style_part
from selfsort.estimators.resources import check_arguments, threads
from selfsort.networks import Encoded
from selfsort.objectives import Outputs
from selfsort.sorting import Sorting, split_epochs
from selfsort.training import Data, Feed, with_small_batches

ERASE = 0.5
"""Share of the images of which self-training erases a rectangle."""


class BaseClasses(BaseAutoencoder):
    """An autoencoder whose bottleneck is the class."""

    _parameter_constraints: ClassVar[dict[str, list[Any]]] = {
        **BaseAutoencoder._parameter_constraints,
        "bottleneck": [str],
        "information_weight": [Interval(Real, 0, None, closed="left")],
    }
    _default_epochs: ClassVar[int] = 12
    _least_steps: ClassVar[int] = 1200

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
            stage=self._stage,
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
        feed = Feed(data, logits=self._logits(data) if self.model_.network.decodes_apart else None)
        self._train("decoder", {self.reconstruction: 1.0}, feed, settings)

    def _logits(self, data: Data) -> torch.Tensor:
        """Return the logits ``(n, n_classes)`` of images, as a stage of training sees them."""
        batches = training.look_at(self.model_, data, enabled=self._settings(len(data)).autocast)
        parts = [encoded.logits for _, encoded in batches if encoded.logits is not None]
        return torch.cat(parts).clone()  # a copy: inference tensors cannot enter a training step

    def _renew(self, n_classes: int) -> None:
        """Give the model a fresh class head and decoder for that many classes."""
        fresh = self._make_model(self.network_, n_classes).network
        self.model_.network.head, self.model_.network.decoder = fresh.head, fresh.decoder

    def _finish(self, data: Data, n_classes: int) -> np.ndarray:
        """Return each training image's class index, and measure what the methods below need."""
        self._measure_style(data)
        code, style_of, features = self._collected(data, code_part, style_part, features_part)
        index = code.argmax(1)
        some = np.linspace(0, len(data) - 1, min(len(data), N_QUANTILES)).round().astype(int)
        (errors,) = self._collected(
            Data(data.inputs[some], data.low, data.high), error_part, reconstruct=True
        )
        self._check_finite(features, errors)
        self.outlier_scale_ = OutlierScale.measured(features[some], errors, index[some])
        overall = style_of.mean(0)
        self.style_means_ = np.stack(
            [
                style_of[index == k].mean(0) if (index == k).any() else overall
                for k in range(n_classes)
            ]
        ).astype(np.float32)
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

    def _codes(self, X: Any) -> np.ndarray:
        return self._collected(self._prepared(X), code_part)[0]

    def _probabilities(self, X: Any) -> np.ndarray:
        """Return softmax of the logits ``(n, n_classes)``, float32, whatever the bottleneck."""
        return self._collected(self._prepared(X), probability_part)[0]

    def _indices(self, X: Any, abstain: float | None) -> np.ndarray:
        """Return the class index of each image, -1 where its probability is below `abstain`."""
        check_arguments("predict", {"abstain": ABSTAIN}, abstain=abstain)
        if abstain is None:
            return self._codes(X).argmax(1)
        code, probability = self._collected(self._prepared(X), code_part, probability_part)
        return np.where(probability.max(1) < float(abstain), -1, code.argmax(1))

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
        with threads(self.n_threads):
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

        Of shape ``(n_classes, h, w)``, ``(n_classes, h, w, c)`` or ``(n_classes, p)``, in the
        layout and units of the images that were fitted.
        """
        check_is_fitted(self, "style_means_")
        return self.inverse_transform(np.eye(len(self.style_means_), dtype=np.float32))

    def _latent_widths(self) -> tuple[int, ...]:
        n_classes = len(self.style_means_)
        widths = {n_classes, n_classes + self.style_width_}
        return tuple(sorted(widths))

    def _with_style(self, latent: np.ndarray) -> np.ndarray:
        if latent.shape[1] == self._n_features_out:
            return latent
        return np.concatenate([latent, latent @ self.style_means_], axis=1)

    @property
    def _n_features_out(self) -> int:
        return len(self.style_means_) + self.style_width_


def code_part(outputs: Outputs, encoded: Encoded) -> Tensor:
    """Return what passes the bottleneck."""
    assert outputs.code is not None  # noqa: S101 - these estimators have classes
    return outputs.code


def probability_part(outputs: Outputs, encoded: Encoded) -> Tensor:
    """Return softmax of the logits, whatever the bottleneck."""
    assert outputs.logits is not None  # noqa: S101
    # No more digits than the logits have: those differ in the last ones with the batch size.
    return torch.softmax(outputs.logits.double(), dim=1).float()


def features_part(outputs: Outputs, encoded: Encoded) -> Tensor:
    """Return what the class head reads, compacted."""
    return compact(encoded.features)


CLASS_COUNT = [Interval(Integral, 2, None, closed="left")]
AT_LEAST_ONE = [Interval(Integral, 1, None, closed="left")]
ABSTAIN = [Interval(Real, 0, 1, closed="right"), None]
