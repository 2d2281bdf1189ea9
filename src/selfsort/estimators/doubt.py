"""Which images are unusual, and which ones a person should label."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, fields, replace
from typing import Self

import numpy as np
import torch
from sklearn.covariance import ledoit_wolf
from torch import Tensor
from torch.nn import functional

from selfsort import grouping
from selfsort.grouping.neighbours import neighbour_mean

MOST_FEATURES = 256
"""Wider features are averaged in groups: their covariance would outweigh the network."""

N_QUANTILES = 10_001
"""Training images that stand for all."""
SMALLEST_SHARE, SMALLEST_VARIANCE = 1e-3, 1e-6
"""Every direction counts with at least that share of the mean variance, and that variance."""
SMALLEST_MEANS = np.array([1e-4, 1e-6])
"""Of distance and error, where images are all the same: below is only rounding noise."""
SLACK = 1e-5
"""By how much an image must be more unusual, or it could differ from itself in another batch."""

N_NEIGHBOURS, N_ALIKE = 20, 5
"""Neighbours that tell how typical an image is (as in TypiClust), and those taken for the same."""


def compact(features: Tensor) -> Tensor:
    """Return at most `MOST_FEATURES` features of each image, ``(n, d)``.

    Examples
    --------
    >>> compact(torch.ones(2, 3200)).shape, compact(torch.ones(2, 128)).shape
    (torch.Size([2, 256]), torch.Size([2, 128]))
    """
    if features.shape[1] <= MOST_FEATURES:
        return features
    return functional.adaptive_avg_pool1d(features[:, None], MOST_FEATURES)[:, 0]


# ---- unusual images -------------------------------------------------------------------------


@dataclass(frozen=True)
class OutlierScale:
    """What the training images look like to encoder and decoder: the scale of `outlier_score`.

    An image can be unusual to the encoder, by its distance to the nearest class in units of the
    spread within classes, and to the decoder, by its reconstruction error. Both are divided by
    their means over the training images, and the root of the sum of squares says how unusual the
    image is.

    Parameters
    ----------
    whitening : ndarray of shape (d, d)
        Features times this have variance 1 within the classes.
    centres : ndarray of shape (n_classes_in_use, d)
        Mean whitened features of each class.
    means : ndarray of shape (2,)
        Mean distance and mean error of the training images, above 0.
    quantiles : ndarray of shape (m,)
        How unusual training images are, in rising order: all, or 10,001 at evenly spaced
        ranks.

    References
    ----------
    Lee, Lee, Lee, Shin (2018), arXiv:1807.03888, equation 2, for the distance; Ledoit, Wolf
    (2004), "A well-conditioned estimator for large-dimensional covariance matrices".
    """

    whitening: np.ndarray
    centres: np.ndarray
    means: np.ndarray
    quantiles: np.ndarray

    @classmethod
    def measured(cls, features: np.ndarray, errors: np.ndarray, classes: np.ndarray) -> Self:
        """Return the scale of training images with these features, errors and classes."""
        whitening, centres = _whitened_classes(features.astype(np.float64), classes)
        scale = cls(whitening, centres, np.ones(2), np.zeros(1))
        means = np.maximum(scale._distances_and_errors(features, errors).mean(1), SMALLEST_MEANS)
        scale = replace(scale, means=means)
        return replace(scale, quantiles=_quantiles(scale._unusual(features, errors)))

    def score(self, features: np.ndarray, errors: np.ndarray) -> np.ndarray:
        """Return the share of training images that are less unusual than each image."""
        unusual = self._unusual(features, errors)
        # NaN, of absurd pixels, sorts above all.
        n_below = np.searchsorted(self.quantiles, (1 - SLACK) * unusual - SLACK)
        return n_below / len(self.quantiles)

    def arrays(self) -> dict[str, np.ndarray]:
        """Return the parameters by their names."""
        return {field.name: getattr(self, field.name) for field in fields(self)}

    def _unusual(self, features: np.ndarray, errors: np.ndarray) -> np.ndarray:
        distances, errors = self._distances_and_errors(features, errors) / self.means[:, None]
        return np.hypot(distances, errors)

    def _distances_and_errors(self, features: np.ndarray, errors: np.ndarray) -> np.ndarray:
        """Return distances to the nearest class (mean squares per feature), and errors."""
        # In torch, which does not warn of the infinite features that absurd pixels lead to.
        whitened = torch.from_numpy(features).double() @ torch.from_numpy(self.whitening)
        distances = torch.cdist(whitened, torch.from_numpy(self.centres)).square().amin(1)
        return np.stack([distances.numpy() / features.shape[1], errors.astype(np.float64)])


def _whitened_classes(features: np.ndarray, classes: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return the matrix that whitens features within classes, and each class's whitened mean."""
    in_use, index = np.unique(classes, return_inverse=True)
    means = np.stack([features[index == k].mean(0) for k in range(len(in_use))])
    covariance, _ = ledoit_wolf(features - means[index], assume_centered=True)
    variances, axes = np.linalg.eigh(covariance)
    # Along features that are constant, rounding noise would be an infinite distance.
    smallest = max(SMALLEST_SHARE * variances.mean(), SMALLEST_VARIANCE)
    whitening = axes / np.sqrt(np.maximum(variances, smallest))
    return whitening, means @ whitening


def _quantiles(values: np.ndarray) -> np.ndarray:
    """Return up to `N_QUANTILES` of the values in rising order, with the least and the largest."""
    n = len(values)
    ranks = np.linspace(0, n - 1, min(n, N_QUANTILES)).round().astype(int)
    return np.sort(values)[ranks]


# ---- images to label ------------------------------------------------------------------------


def suggested(
    features: Tensor, probabilities: np.ndarray, labelled: np.ndarray, n_images: int
) -> np.ndarray:
    """Return which images to label: typical ones of new classes, then those most in doubt.

    Parameters
    ----------
    features : Tensor of shape (n, d)
    probabilities : ndarray of shape (n, n_classes)
    labelled : bool ndarray of shape (n,)
        Images that have a label already.
    n_images : int
        From 1 to the number of images without a label.

    Returns
    -------
    chosen : int64 ndarray of shape (n_images,)
    """
    classes = probabilities.argmax(1)
    in_use, sizes = np.unique(classes, return_counts=True)
    members = [np.flatnonzero(classes == k) for k in in_use[np.argsort(-sizes, kind="stable")]]
    neighbours = _neighbours(features, probabilities.shape[1])
    typicality = _typicality(features, neighbours)
    new = [images for images in members if not labelled[images].any()]
    typical = [_most_typical(images, typicality, probabilities.max(1)) for images in new]
    margin = np.diff(np.sort(probabilities, axis=1)[:, -2:])[:, 0]
    by_doubt = [images[margin[images].argsort(kind="stable")] for images in members]
    alike = neighbours[:, : N_ALIKE + 1].numpy()
    return _completed(typical[:n_images], by_doubt, alike, labelled, n_images)


def _neighbours(features: Tensor, n_classes: int) -> Tensor:
    """Return each image and its nearest neighbours, fewer where there are few images a class."""
    few = max(1, len(features) // (4 * n_classes))
    n_neighbours = min(N_NEIGHBOURS, few, len(features) - 1)
    return grouping.nearest_neighbours(features, n_neighbours + 1, include_self=True).cpu()


def _typicality(features: Tensor, neighbours: Tensor) -> np.ndarray:
    """Return each image's mean cosine similarity to its neighbours, ``(n,)``."""
    unit = functional.normalize(features)
    return (unit * neighbour_mean(unit, neighbours)).sum(1).numpy()


def _most_typical(images: np.ndarray, typicality: np.ndarray, probability: np.ndarray) -> int:
    """Return the most typical image of the surer half of a class."""
    surer = images[probability[images] >= np.median(probability[images])]
    return int(surer[typicality[surer].argmax()])


def _completed(
    chosen: list[int],
    by_doubt: list[np.ndarray],
    alike: np.ndarray,
    labelled: np.ndarray,
    n_images: int,
) -> np.ndarray:
    """Return the images chosen and as many of those in doubt as are wanted.

    Near-duplicates of images that are labelled or chosen come only when there is nothing else.
    """
    for reach in (alike, alike[:, :1]):
        left_out = np.zeros(len(labelled), dtype=bool)
        left_out[reach[labelled]] = True
        left_out[reach[chosen]] = True
        for image in _in_turn(by_doubt, left_out):
            if len(chosen) == n_images:
                break
            chosen.append(image)
            left_out[reach[image]] = True
    return np.array(chosen, dtype=np.int64)


def _in_turn(queues: list[np.ndarray], left_out: np.ndarray) -> Iterator[int]:
    """Yield the first image of each queue, then the second ones, without those left out by then."""
    waiting = [(int(image) for image in queue if not left_out[image]) for queue in queues]
    while waiting:
        for queue in list(waiting):
            image = next(queue, None)
            if image is None:
                waiting.remove(queue)
            else:
                yield image
