"""Scikit-learn's own checks of its estimator contract, on all three estimators."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from sklearn.utils.estimator_checks import parametrize_with_checks

from selfsort import Autoencoder, AutoencoderClassifier, AutoencoderClusterer

SMALL = {"device": "cpu", "n_threads": 1, "random_state": 0}
ESTIMATORS = [
    Autoencoder(style_dim=3, epochs=2, **SMALL),
    AutoencoderClusterer(n_classes=3, epochs=2, **SMALL),
    AutoencoderClusterer(n_classes=3, method="direct", information_weight=1.0, epochs=2, **SMALL),
    # check_classifiers_train asks for an accuracy above 0.83: with 2 epochs it would be chance.
    AutoencoderClassifier(epochs=12, **SMALL),
]


# The checks use noise, and as few as 10 rows: classes fall out of use, and the warning says so.
@pytest.mark.filterwarnings("ignore::selfsort.errors.ClassCollapseWarning")
@parametrize_with_checks(ESTIMATORS)
def test_contract(estimator: Any, check: Callable[[Any], None]) -> None:
    check(estimator)
