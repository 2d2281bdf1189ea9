"""Callbacks for TensorBoard and MLflow: their files are read back, and say what the fit says."""

from __future__ import annotations

import importlib.util
import io
import socket
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from running import digits

import selfsort
from selfsort.errors import InputError
from selfsort.tracking.base import prototype_images

IMAGES, LABELS = digits(120, 12)
MISSING = [
    name for name in ("mlflow", "sqlalchemy", "alembic") if not importlib.util.find_spec(name)
]
HAS_TENSORBOARD = importlib.util.find_spec("tensorboard") is not None
needs_tensorboard = pytest.mark.skipif(not HAS_TENSORBOARD, reason="tensorboard is not installed")
needs_mlflow = pytest.mark.skipif(bool(MISSING), reason=f"{MISSING} not installed: the extra log")
PLACE = {"stage", "epoch", "n_epochs"}


@pytest.fixture(scope="module", autouse=True)
def no_network() -> Iterator[None]:
    def refuse(self: socket.socket, address: Any) -> None:
        raise AssertionError(f"a connection to {address}")

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(socket.socket, "connect", refuse)
        yield


def fitted(*callbacks: Any, y: Any = LABELS, **parameters: Any) -> Any:
    classifier = selfsort.AutoencoderClassifier(
        epochs=3, n_threads=1, random_state=0, **parameters
    ).set_callbacks(*callbacks)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", selfsort.ClassCollapseWarning)
        return classifier.fit(IMAGES, y)


def expected(history: list[dict], join: str = "/") -> dict[str, list[tuple[int, float]]]:
    """Return (epoch in the whole fit, value) by name of stage and figure."""
    found: dict[str, list[tuple[int, float]]] = {}
    for step, row in enumerate(history, 1):
        for name in row.keys() - PLACE:
            found.setdefault(f"{row['stage']}{join}{name}", []).append((step, row[name]))
    return found


@pytest.fixture(scope="module")
def with_tensorboard(tmp_path_factory, no_network) -> tuple[Path, Any]:
    if not HAS_TENSORBOARD:
        pytest.skip("tensorboard is not installed")
    folder = tmp_path_factory.mktemp("tensorboard") / "logs"
    return folder, fitted(selfsort.TensorBoard(folder))


@needs_tensorboard
def test_tensorboard_reads_every_figure(with_tensorboard) -> None:
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    folder, classifier = with_tensorboard
    events = EventAccumulator(str(folder)).Reload()
    wanted = expected(classifier.history_)
    assert {name.partition("/")[0] for name in wanted} == {"classes", "decoder"}
    assert set(events.Tags()["scalars"]) == set(wanted)
    for name, values in wanted.items():
        found = [(event.step, event.value) for event in events.Scalars(name)]
        assert found == [(step, pytest.approx(value, rel=1e-6)) for step, value in values]


@needs_tensorboard
def test_tensorboard_has_the_prototypes(with_tensorboard) -> None:
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    folder, classifier = with_tensorboard
    events = EventAccumulator(str(folder)).Reload()
    [event] = events.Images("prototypes")
    assert event.step == len(classifier.history_)
    with Image.open(io.BytesIO(event.encoded_image_string)) as image:
        grid = np.asarray(image.convert("L"))
    assert grid.shape[0] * grid.shape[1] >= 10 * 12 * 12
    first = np.clip(classifier.prototypes_[0], 0, 255)
    framed = grid[2:14, 2:14] if grid.shape[0] % 12 else grid[:12, :12]
    np.testing.assert_allclose(framed, first, atol=1.1)


def test_prototypes_in_every_layout() -> None:
    for given, parameters in (
        (IMAGES, {}),
        (np.repeat(IMAGES[..., None], 3, axis=3) / 255, {}),
        (IMAGES.reshape(len(IMAGES), -1).astype(float), {"image_shape": (12, 12)}),
    ):
        parameters |= {"method": "direct", "epochs": 1, "n_threads": 1, "random_state": 0}
        clusterer = selfsort.AutoencoderClusterer(4, **parameters)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", selfsort.ClassCollapseWarning)
            clusterer.fit(given)
        images = prototype_images(clusterer)
        assert images is not None
        assert images.shape == (4, 12, 12, 3 if given.ndim == 4 else 1)
        low, high = (0, 1) if given.max() <= 1 else (0, given.max())
        wanted = np.clip((clusterer.prototypes_.reshape(images.shape) - low) / (high - low), 0, 1)
        np.testing.assert_allclose(images, wanted, atol=1e-6)


def test_vectors_and_features_have_no_picture() -> None:
    rows = IMAGES.reshape(len(IMAGES), -1)[:, :50]
    autoencoder = selfsort.Autoencoder(epochs=1, n_threads=1, random_state=0).fit(rows)
    assert prototype_images(autoencoder) is None


@needs_tensorboard
def test_the_fit_is_the_same_with_and_without(with_tensorboard) -> None:
    _, classifier = with_tensorboard
    np.testing.assert_array_equal(classifier.predict_proba(IMAGES), fitted().predict_proba(IMAGES))


@pytest.mark.parametrize(
    ("make", "missing", "name"),
    [
        (lambda: selfsort.TensorBoard("x"), "tensorboard", "TensorBoard"),
        (lambda: selfsort.MLflow("x"), "mlflow", "MLflow"),
    ],
)
def test_a_missing_package_is_named(monkeypatch, make, missing, name) -> None:
    monkeypatch.setattr("importlib.util.find_spec", lambda package: None)
    with pytest.raises(InputError) as caught:
        make()
    assert str(caught.value) == (
        f"{name} needs more packages (there is no {missing}): pip install 'selfsort[log]'"
    )


# ---- MLflow -------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def with_mlflow(tmp_path_factory, no_network) -> tuple[Path, Any, Any]:
    if MISSING:
        pytest.skip(f"{MISSING} not installed: the extra log")
    folder = tmp_path_factory.mktemp("mlflow") / "store"
    callback = selfsort.MLflow(folder, experiment="digits", run_name="first")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # MLflow's own, of SQLAlchemy
        return folder, callback, fitted(callback)


def client_of(folder: Path) -> Any:
    from mlflow import MlflowClient

    return MlflowClient(tracking_uri=f"sqlite:///{folder / 'mlflow.db'}")


@needs_mlflow
@pytest.mark.filterwarnings("ignore")
def test_mlflow_has_parameters_figures_and_model(with_mlflow) -> None:
    folder, callback, classifier = with_mlflow
    client = client_of(folder)
    run = client.get_run(callback.run_id_)
    assert run.info.status == "FINISHED"
    assert run.info.run_name == "first"
    assert client.get_experiment(run.info.experiment_id).name == "digits"
    assert run.data.params == {k: str(v) for k, v in classifier.get_params().items()}
    wanted = expected(classifier.history_)
    assert set(run.data.metrics) == set(wanted)
    for name, values in wanted.items():
        found = client.get_metric_history(callback.run_id_, name)
        assert [(metric.step, metric.value) for metric in found] == values
    artifacts = folder / "artifacts" / callback.run_id_ / "artifacts"
    again = selfsort.load(artifacts / "model")
    np.testing.assert_array_equal(again.predict_proba(IMAGES), classifier.predict_proba(IMAGES))
    with Image.open(artifacts / "prototypes.png") as image:
        assert image.format == "PNG"
    assert not list(folder.rglob("*.pkl"))


@needs_mlflow
@pytest.mark.filterwarnings("ignore")
def test_a_fit_that_fails_is_a_run_that_failed(with_mlflow) -> None:
    folder, _, _ = with_mlflow
    callback = selfsort.MLflow(folder, experiment="digits")
    with pytest.raises(FloatingPointError):
        fitted(callback, optimizer="sgd", learning_rate=1e30, momentum=0.9)
    assert client_of(folder).get_run(callback.run_id_).info.status == "FAILED"
