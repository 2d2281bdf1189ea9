"""The three estimators, in scikit-learn's contract."""

from selfsort.estimators.autoencoder import Autoencoder
from selfsort.estimators.checkpoint import Checkpoint
from selfsort.estimators.classifier import AutoencoderClassifier
from selfsort.estimators.clusterer import AutoencoderClusterer
from selfsort.estimators.saving import ESTIMATORS, load_estimator

__all__ = [
    "ESTIMATORS",
    "Autoencoder",
    "AutoencoderClassifier",
    "AutoencoderClusterer",
    "Checkpoint",
    "load_estimator",
]
