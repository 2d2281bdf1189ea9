"""What the callbacks share: when there is something to tell, and what."""

from __future__ import annotations

import importlib.util
from typing import Any

import numpy as np
from sklearn.callback import CallbackContext

from selfsort.errors import InputError

PLACE = ("stage", "epoch", "n_epochs")
"""What of a row says where it belongs; the rest are figures."""


def check_extra(name: str, *packages: str) -> None:
    """Raise where a package of the extra `log` is missing."""
    missing = [package for package in packages if importlib.util.find_spec(package) is None]
    if missing:
        raise InputError(
            f"{name} needs more packages (there is no {missing[0]}): pip install 'selfsort[log]'"
        )


class Teller:
    """A callback of scikit-learn that is told of a fit's beginning, each epoch, and its end."""

    def begin(self, estimator: Any) -> None:
        """Come to a fit whose input was found good."""
        raise NotImplementedError

    def epoch(self, stage: str, epoch: int, step: int, figures: dict[str, float]) -> None:
        """Take an epoch's figures: `epoch` counts within its stage, `step` in the whole fit."""
        raise NotImplementedError

    def end(self, estimator: Any) -> None:
        """Come to the end of a fit that succeeded."""
        raise NotImplementedError

    def close(self) -> None:
        """Leave a fit, whether it succeeded or not."""
        raise NotImplementedError

    # ---- what scikit-learn calls ----------------------------------------------------------

    def setup(self, estimator: Any, context: CallbackContext) -> None:
        """Begin a fit."""

    def teardown(self, estimator: Any, context: CallbackContext) -> None:
        """End a fit, whether it succeeded or not."""
        self.close()

    def on_fit_task_begin(
        self, estimator: Any, context: CallbackContext, *, metadata: dict[str, Any] | None = None
    ) -> None:
        """Begin the fit, a stage, an epoch or some steps."""
        if context.parent is None:
            self.begin(estimator)

    def on_fit_task_end(
        self, estimator: Any, context: CallbackContext, *, metadata: dict[str, Any] | None = None
    ) -> bool:
        """End the fit, a stage, an epoch or some steps; return False: never stop."""
        if context.task_name == "epoch":
            row = estimator.history_[-1]
            figures = {name: float(value) for name, value in row.items() if name not in PLACE}
            self.epoch(row["stage"], row["epoch"], len(estimator.history_), figures)
        elif context.parent is None:
            self.end(estimator)
        return False


def prototype_images(estimator: Any) -> np.ndarray | None:
    """Return the prototypes as images ``(n_classes, h, w, channels)`` in [0, 1].

    None where there are no classes, or nothing that can be seen.
    """
    if not hasattr(estimator, "style_means_") or len(estimator.input_shape_) == 1:
        return None
    channels, height, width = estimator.input_shape_
    if channels not in (1, 3):
        return None
    low, high = estimator.input_range_
    pixels = (estimator.prototypes_ - low) / (high - low)
    return np.clip(pixels, 0, 1).reshape(-1, height, width, channels)
