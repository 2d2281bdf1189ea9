"""How a stage of training tells scikit-learn's callbacks of itself."""

from __future__ import annotations

from typing import TYPE_CHECKING

from sklearn.callback import CallbackContext

from selfsort.training import Row

if TYPE_CHECKING:
    from selfsort.estimators.base import BaseAutoencoder

REPORTS_PER_EPOCH = 50
"""How often an epoch tells its callbacks: a live bar, and Ctrl-C within 2 % of an epoch."""


class CallbackBridge:
    """Tell scikit-learn's callbacks of a training stage's epochs and steps.

    The end of an epoch comes with X, y and an estimator that can predict, where the stage gives
    one, and without metadata, which scikit-learn's ScoringMonitor would pass to its scorer. The
    epoch's row is the last one of the estimator's ``history_``.
    """

    def __init__(
        self,
        estimator: BaseAutoencoder,
        stage: CallbackContext,
        name: str,
        n_epochs: int,
        usable: bool,
    ) -> None:
        self.estimator = estimator
        self.stage = stage
        self.name = name
        self.n_epochs = n_epochs
        self.usable = usable
        self.epoch: CallbackContext | None = None

    def _begin_epoch(self) -> CallbackContext:
        epoch = self.stage.subcontext(task_name="epoch", max_subtasks=REPORTS_PER_EPOCH + 1)
        metadata = {"stage": self.name, "n_epochs": self.n_epochs}
        epoch.call_on_fit_task_begin(estimator=self.estimator, metadata=metadata)
        return epoch

    def on_step(self, step: int, n_steps: int) -> bool:
        """Report about every fiftieth part of an epoch; return whether to stop."""
        if self.epoch is None:
            self.epoch = self._begin_epoch()
        every = -(-n_steps // REPORTS_PER_EPOCH)
        if step % every:
            return False
        leaf = self.epoch.subcontext(task_name="steps")
        metadata = {"stage": self.name, "step": step, "n_steps": n_steps}
        leaf.call_on_fit_task_begin(estimator=self.estimator, metadata=metadata)
        return leaf.call_on_fit_task_end(estimator=self.estimator, metadata=metadata)

    def on_epoch(self, row: Row) -> bool:
        """Record the row and report it; return whether to stop."""
        self.estimator._record(row)
        if self.epoch is None:
            self.epoch = self._begin_epoch()
        stop = self.epoch.call_on_fit_task_end(
            estimator=self.estimator,
            **self.estimator._given,
            reconstruction_attributes=self.estimator._fitted_attributes if self.usable else None,
        )
        self.epoch = None
        return stop
