"""`MLflow`: a fit as a run in a store of MLflow on this machine."""

from __future__ import annotations

import os
import tempfile
from pathlib import Path
from typing import Any

import numpy as np

from selfsort import pictures
from selfsort.estimators.facts import plain_parameters
from selfsort.tracking.base import Teller, check_extra, prototype_images


class MLflow(Teller):
    """Write a fit into a local store of MLflow: parameters, figures of each epoch, the model.

    A callback of scikit-learn: ``estimator.set_callbacks(MLflow("mlflow"))``, then
    ``mlflow ui --backend-store-uri sqlite:///mlflow/mlflow.db``. Each fit is a run. Its metrics
    are named ``stage/figure``, at the number of the epoch in the whole fit; its artifacts are the
    model, as `save` writes it, and the prototypes as a picture. Nothing leaves the machine, and
    no pickle is written.

    Parameters
    ----------
    folder : str or Path
        Of the store, ``mlflow.db`` (SQLite) and the artifacts; made when the fit begins.
    experiment : str, default="selfsort"
        The name that the runs go under.
    run_name : str or None, default=None
        None: MLflow thinks of one.

    Attributes
    ----------
    run_id_ : str
        Of the last fit's run.

    Raises
    ------
    InputError
        If the extra `log` is missing.

    Examples
    --------
    >>> from selfsort import Autoencoder, MLflow
    >>> autoencoder = Autoencoder().set_callbacks(MLflow("mlflow"))  # doctest: +SKIP
    """

    def __init__(
        self, folder: str | Path, *, experiment: str = "selfsort", run_name: str | None = None
    ) -> None:
        check_extra("MLflow", "mlflow", "sqlalchemy", "alembic")
        self.folder = Path(folder)
        self.experiment = experiment
        self.run_name = run_name
        self._client: Any = None
        self._ended = False

    def begin(self, estimator: Any) -> None:
        """Open the store, and begin a run."""
        # It tells its makers how it is used, unless told not to before it is imported.
        os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")
        from mlflow import MlflowClient

        folder = self.folder.resolve()
        folder.mkdir(parents=True, exist_ok=True)
        self._client = MlflowClient(tracking_uri=f"sqlite:///{(folder / 'mlflow.db').as_posix()}")
        found = self._client.get_experiment_by_name(self.experiment)
        number = (
            self._client.create_experiment(self.experiment, (folder / "artifacts").as_uri())
            if found is None
            else found.experiment_id
        )
        run = self._client.create_run(number, run_name=self.run_name)
        self.run_id_, self._ended = run.info.run_id, False
        self._client.set_tag(self.run_id_, "estimator", type(estimator).__name__)
        for name, value in plain_parameters(estimator).items():
            self._client.log_param(self.run_id_, name, value)

    def epoch(self, stage: str, epoch: int, step: int, figures: dict[str, float]) -> None:
        """Write an epoch's figures."""
        for name, value in figures.items():
            self._client.log_metric(self.run_id_, f"{stage}/{name}", value, step=step)

    def end(self, estimator: Any) -> None:
        """Write the model and the prototypes."""
        with tempfile.TemporaryDirectory() as name:
            folder = Path(name)
            estimator.save(folder / "model")
            images = prototype_images(estimator)
            if images is not None:
                pixels = np.round(255 * images).astype(np.uint8).transpose(0, 3, 1, 2)
                names = [str(k) for k in getattr(estimator, "classes_", range(len(images)))]
                pictures.save_prototypes(folder / "prototypes.png", pixels, names)
            self._client.log_artifacts(self.run_id_, str(folder))
        self._ended = True

    def close(self) -> None:
        """End the run; one whose fit did not come to its end has failed."""
        if self._client is not None:
            status = "FINISHED" if self._ended else "FAILED"
            self._client.set_terminated(self.run_id_, status)
            self._client = None
