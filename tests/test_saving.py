"""Estimators on disk: the same model comes back, or one line says why not."""

from __future__ import annotations

import json
import warnings
from collections.abc import Callable
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import safetensors.numpy
from sklearn.datasets import load_digits
from sklearn.exceptions import NotFittedError

import selfsort
from selfsort import (
    Autoencoder,
    AutoencoderClassifier,
    AutoencoderClusterer,
    ClassCollapseWarning,
    InputError,
)

IMAGES, LABELS = load_digits().images[:120], load_digits().target[:120]
QUICK = {"epochs": 1, "device": "cpu", "n_threads": 1, "random_state": 0}
REMEDY = "Train the model again, or restore both files from a copy."
CONFIG_REMEDY = REMEDY.replace("both files", "the file")


def fit(estimator: Any, X: np.ndarray = IMAGES, y: np.ndarray = LABELS % 5) -> Any:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ClassCollapseWarning)
        return estimator.fit(X, y)


@pytest.fixture(scope="module")
def saved(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return the folder of a clusterer of 5 classes and a style of 3."""
    folder = tmp_path_factory.mktemp("saved")
    fit(AutoencoderClusterer(5, method="direct", style_dim=3, **QUICK)).save(folder)
    return folder


@pytest.fixture
def copy(saved: Path, tmp_path: Path) -> Path:
    for name in ("config.json", "model.safetensors"):
        (tmp_path / name).write_bytes((saved / name).read_bytes())
    return tmp_path


def change_config(folder: Path, change: Callable[[dict[str, Any]], object]) -> None:
    path = folder / "config.json"
    config = json.loads(path.read_text())
    change(config)
    path.write_text(json.dumps(config))


def change_arrays(folder: Path, change: Callable[[dict[str, Any]], object]) -> None:
    path = folder / "model.safetensors"
    arrays = safetensors.numpy.load_file(path)
    change(arrays)
    path.write_bytes(safetensors.numpy.save(arrays))


def error_of(folder: Path) -> str:
    with pytest.raises(InputError) as caught:
        selfsort.load(folder)
    message = str(caught.value)
    assert "\n" not in message
    return message


COLOUR = np.random.default_rng(0).integers(0, 256, (40, 9, 8, 3), np.uint8)
VECTORS = np.random.default_rng(0).normal(size=(40, 6))


@pytest.mark.parametrize(
    ("estimator", "X", "y"),
    [
        (Autoencoder(style_dim=4, **QUICK), IMAGES, None),
        (Autoencoder(network="plain", **QUICK), np.kron(IMAGES, np.ones((2, 2))), None),
        (Autoencoder(style_dim=2, image_shape=(8, 8), **QUICK), IMAGES.reshape(120, -1), None),
        (Autoencoder(style_dim=2, mean=0.1307, std=0.3081, **QUICK), IMAGES, None),
        (AutoencoderClusterer(3, method="direct", bottleneck="gumbel", **QUICK), COLOUR, None),
        (AutoencoderClusterer(3, **QUICK), IMAGES, None),
        (AutoencoderClusterer(3, method="direct", style_dim=0, **QUICK), VECTORS, None),
        (AutoencoderClassifier(**QUICK), IMAGES, LABELS),
        (AutoencoderClassifier(**QUICK), IMAGES, LABELS > 4),
        (AutoencoderClassifier(**QUICK), IMAGES, LABELS.astype(float)),
        (AutoencoderClassifier(unlabeled="?", **QUICK), IMAGES, np.array(list("abc?"))[LABELS % 4]),
    ],
)
def test_what_is_loaded_answers_bit_for_bit(estimator, X, y, tmp_path):
    fit(estimator, X, y)
    estimator.save(tmp_path / "new" / "folder")
    for loaded in (
        selfsort.load(tmp_path / "new" / "folder"),
        type(estimator).load(str(tmp_path / "new" / "folder")),
    ):
        assert type(loaded) is type(estimator)
        assert loaded.get_params() == {
            name: list(value) if isinstance(value, tuple) else value
            for name, value in estimator.get_params().items()
        }
        np.testing.assert_array_equal(loaded.transform(X), estimator.transform(X))
        np.testing.assert_array_equal(loaded.reconstruct(X), estimator.reconstruct(X))
        assert list(loaded.get_feature_names_out()) == list(estimator.get_feature_names_out())
        if hasattr(estimator, "predict"):
            expected, found = estimator.predict(X), loaded.predict(X)
            np.testing.assert_array_equal(found, expected)
            assert found.dtype.kind == expected.dtype.kind
            np.testing.assert_array_equal(loaded.predict_proba(X), estimator.predict_proba(X))
            np.testing.assert_array_equal(loaded.prototypes_, estimator.prototypes_)
            np.testing.assert_array_equal(loaded.outlier_score(X), estimator.outlier_score(X))
            np.testing.assert_array_equal(loaded.suggest(X), estimator.suggest(X))
        if hasattr(estimator, "labels_"):
            np.testing.assert_array_equal(loaded.labels_, estimator.labels_)


def test_numpy_parameters_become_plain_and_a_random_state_none(tmp_path):
    parameters = {
        "image_shape": np.array([8, 8]),
        "learning_rate": np.float32(0.5),
        "phases": [("decoder", 1)],
        "random_state": np.random.RandomState(0),
    }
    fit(Autoencoder(**{**QUICK, **parameters})).save(tmp_path)
    loaded = selfsort.load(tmp_path)
    assert (loaded.image_shape, loaded.learning_rate) == ([8, 8], 0.5)
    assert (loaded.phases, loaded.random_state) == ([["decoder", 1]], None)
    assert loaded.fit(IMAGES).n_epochs_ == 1


def test_columns_are_remembered(tmp_path):
    import pandas as pd

    frame = pd.DataFrame(VECTORS, columns=list("abcdef"))
    Autoencoder(**QUICK).fit(frame).save(tmp_path)
    assert selfsort.load(tmp_path).feature_names_in_.tolist() == list("abcdef")


def test_a_device_that_is_not_here_gives_way(copy):
    change_config(copy, lambda config: config["parameters"].update(device="cuda:99"))
    assert selfsort.load(copy).predict(IMAGES[:3]).shape == (3,)


def test_a_parameter_that_json_does_not_hold(tmp_path):
    classifier = fit(AutoencoderClassifier(unlabeled=Fraction(1, 3), **QUICK))
    with pytest.raises(InputError) as caught:
        classifier.save(tmp_path)
    assert str(caught.value) == (
        "The 'unlabeled' parameter of AutoencoderClassifier cannot be saved: JSON does not hold "
        "Fraction(1, 3). Use a plain number or text. Nothing was written."
    )
    assert list(tmp_path.iterdir()) == []


def test_what_was_not_fitted_is_not_saved(tmp_path):
    with pytest.raises(NotFittedError):
        Autoencoder().save(tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_loading_as_another_estimator(saved):
    with pytest.raises(InputError) as caught:
        Autoencoder.load(saved)
    assert str(caught.value) == (
        f"{saved}: holds AutoencoderClusterer, not Autoencoder: use AutoencoderClusterer.load, or "
        "selfsort.load."
    )


@pytest.mark.parametrize(
    ("change", "fact"),
    [
        (
            {"n_classes": 10},
            "network.head.weight has shape (5, 128) in the weights and (10, 128) by the "
            "configuration",
        ),
        (
            {"style_dim": 4},
            "style_dim is 4 in the configuration, but the network's style has width 3",
        ),
        ({"n_classes": 0}, "n_classes of the configuration contradicts the rest of it"),
        ({"n_features_in": 65}, "n_features_in of the configuration contradicts the rest of it"),
        ({"classes": [1, 2]}, "classes of the configuration contradicts the rest of it"),
        ({"input_shape": [8, 8]}, "input_shape of the configuration contradicts the rest of it"),
        (
            {"input_shape": [64]},
            "input_layout of the configuration contradicts the rest of it",
        ),
        (
            {"feature_names": ["a"]},
            "feature_names of the configuration contradicts the rest of it",
        ),
        (
            {"input_layout": "nhv"},
            "There is no layout named 'nhv'. Did you mean 'nhw'? Known layouts: flat, nhw, nhwc",
        ),
    ],
)
def test_a_configuration_that_does_not_fit(copy, change, fact):
    change_config(copy, lambda config: config.update(change))
    sentence = f"{copy}: weights and configuration do not fit together ({fact}). {REMEDY}"
    if "contradicts" in fact or "layout" in fact:
        sentence = f"{copy / 'config.json'}: cannot be used ({fact}). {CONFIG_REMEDY}"
    assert error_of(copy) == sentence


@pytest.mark.parametrize(
    ("change", "fact"),
    [
        (
            {"epochs": "many"},
            "The 'epochs' parameter of AutoencoderClusterer must be an int in the range [1, inf) "
            "or None. Got 'many' instead",
        ),
        (
            {"bottleneck": "gumble"},
            "There is no bottleneck named 'gumble'. Did you mean 'gumbel'? Known bottlenecks: ",
        ),
        (
            {"metod": "sort"},
            "There is no parameter named 'metod'. Did you mean 'method'? Known parameters: ",
        ),
    ],
)
def test_parameters_that_do_not_fit(copy, change, fact):
    change_config(copy, lambda config: config["parameters"].update(change))
    message = error_of(copy)
    if "epochs" in change or "metod" in change:
        assert message.startswith(f"{copy / 'config.json'}: cannot be used ({fact}")
        assert message.endswith(f"). {CONFIG_REMEDY}")
    else:
        assert message.startswith(f"{copy}: weights and configuration do not fit together ({fact}")
        assert message.endswith(f"). {REMEDY}")


def test_an_unknown_estimator(copy):
    change_config(copy, lambda config: config.update(estimator="AutoencoderClassifer"))
    assert error_of(copy) == (
        f"{copy / 'config.json'}: cannot be used (There is no estimator named "
        "'AutoencoderClassifer'. Did you mean 'AutoencoderClassifier'? Known estimators: "
        f"Autoencoder, AutoencoderClassifier, AutoencoderClusterer). {CONFIG_REMEDY}"
    )


@pytest.mark.parametrize(
    ("change", "fact"),
    [
        (lambda arrays: arrays.pop("labels"), "the weights lack labels"),
        (lambda arrays: arrays.pop("style_means"), "the weights lack style_means"),
        (
            lambda arrays: arrays.pop("model.network.head.bias"),
            "the weights lack network.head.bias",
        ),
        (
            lambda arrays: arrays.update({"model.network.tail": np.zeros(2)}),
            "the network has no network.tail",
        ),
        (
            lambda arrays: arrays.update(style_means=np.zeros((5, 2), np.float32)),
            "style_means has shape (5, 2) instead of (5, 3)",
        ),
        (
            lambda arrays: [arrays.pop(name) for name in list(arrays) if "outlier" in name],
            "the weights lack outlier_scale.whitening",
        ),
        (
            lambda arrays: arrays.update({"outlier_scale.whitening": np.zeros((128, 9))}),
            "outlier_scale.whitening has shape (128, 9) instead of (128, 128)",
        ),
        (
            lambda arrays: arrays.update({"outlier_scale.centres": np.zeros((2, 9))}),
            "outlier_scale.centres has shape (2, 9) instead of (any, 128)",
        ),
        (
            lambda arrays: arrays.update({"outlier_scale.quantiles": np.zeros((3, 9))}),
            "outlier_scale.quantiles has shape (3, 9) instead of (any,)",
        ),
    ],
)
def test_arrays_that_do_not_fit(copy, change, fact):
    change_arrays(copy, change)
    assert error_of(copy) == (
        f"{copy}: weights and configuration do not fit together ({fact}). {REMEDY}"
    )


@pytest.mark.parametrize(
    ("name", "values"),
    [
        ("whitening", np.full((128, 128), np.inf)),
        ("centres", np.full((2, 128), np.nan)),
        ("centres", np.zeros((0, 128))),
        ("centres", np.zeros((6, 128))),
        ("means", np.array([1.0, 0.0])),
        ("quantiles", np.array([])),
        ("quantiles", np.array([0.0, 2.0, 1.0])),
        ("quantiles", np.array([0.0, np.nan])),
    ],
)
def test_an_outlier_scale_that_no_training_gives(copy, name, values):
    change_arrays(copy, lambda arrays: arrays.update({f"outlier_scale.{name}": values}))
    assert error_of(copy) == (
        f"{copy}: weights and configuration do not fit together (outlier_scale.{name} holds "
        f"numbers that no training gives). {REMEDY}"
    )
