"""Scikit-learn's own checks of its estimator contract, on all three estimators."""

from __future__ import annotations

import pytest
from sklearn.utils.estimator_checks import parametrize_with_checks

from selfsort import Autoencoder, AutoencoderClassifier, AutoencoderClusterer

SMALL = {"epochs": 2, "device": "cpu", "n_threads": 1, "random_state": 0}
ESTIMATORS = [
    Autoencoder(style_dim=3, **SMALL),
    AutoencoderClusterer(n_classes=3, **SMALL),
    AutoencoderClusterer(n_classes=3, method="direct", **SMALL),
    AutoencoderClassifier(**SMALL),
]


@pytest.mark.filterwarnings("ignore::selfsort.errors.ClassCollapseWarning")
@parametrize_with_checks(ESTIMATORS)
def test_contract(estimator, check):
    check(estimator)
