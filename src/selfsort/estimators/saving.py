"""Estimators on disk: which arrays and facts make a fitted one."""

from __future__ import annotations

import contextlib
import math
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch
from sklearn.utils.validation import check_is_fitted

from selfsort import checkpoints
from selfsort.errors import InputError, unknown_name
from selfsort.estimators.autoencoder import Autoencoder
from selfsort.estimators.base import BaseAutoencoder
from selfsort.estimators.classes import BaseClasses
from selfsort.estimators.classifier import AutoencoderClassifier
from selfsort.estimators.clusterer import AutoencoderClusterer
from selfsort.estimators.doubt import OutlierScale
from selfsort.estimators.facts import plain_parameters
from selfsort.estimators.outputs import features_part
from selfsort.estimators.resources import resolve_device
from selfsort.training import Data, Model
from selfsort.version import __version__

ESTIMATORS: dict[str, type[BaseAutoencoder]] = {
    cls.__name__: cls for cls in (Autoencoder, AutoencoderClusterer, AutoencoderClassifier)
}
LAYOUTS = {"nhw": 3, "nhwc": 3, "flat": 1}
"""Layouts of the inputs, and the fewest sides that one input has in them."""

PREFIX = "model."
SCALE = "outlier_scale."


def save_estimator(estimator: BaseAutoencoder, folder: Path) -> None:
    """Write a fitted estimator into `folder`."""
    check_is_fitted(estimator, "model_")
    classes = getattr(estimator, "classes_", None)
    names = getattr(estimator, "feature_names_in_", None)
    means = getattr(estimator, "style_means_", None)
    config = checkpoints.Config(
        selfsort=__version__,
        estimator=type(estimator).__name__,
        parameters=plain_parameters(estimator),
        input_shape=list(estimator.input_shape_),
        input_layout=estimator.input_layout_,
        input_range=estimator.input_range_,
        n_features_in=estimator.n_features_in_,
        network=estimator.network_,
        n_classes=0 if means is None else len(means),
        style_dim=estimator.style_width_,
        classes=None if classes is None else classes.tolist(),
        feature_names=None if names is None else list(names),
    )
    arrays = {
        f"{PREFIX}{name}": tensor.cpu().numpy()
        for name, tensor in estimator.model_.state_dict().items()
    }
    if isinstance(estimator, BaseClasses):
        arrays["style_means"] = estimator.style_means_
        arrays["style_factors"] = estimator.style_factors_
        arrays |= {SCALE + name: array for name, array in estimator.outlier_scale_.arrays().items()}
    if isinstance(estimator, AutoencoderClusterer):
        arrays["labels"] = estimator.labels_
    checkpoints.save(folder, config, arrays)


def load_estimator(folder: str | Path) -> BaseAutoencoder:
    """Return the fitted estimator that `save` wrote into `folder`.

    Parameters
    ----------
    folder : str or Path
        A folder with ``model.safetensors`` and ``config.json``, such as a run.

    Raises
    ------
    InputError
        If the files are missing, damaged, or do not fit together.

    Examples
    --------
    >>> import tempfile
    >>> from sklearn.datasets import load_digits
    >>> from selfsort import Autoencoder, load
    >>> images = load_digits().images[:50]
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     Autoencoder(style_dim=4, epochs=1, random_state=0).fit(images).save(folder)
    ...     load(folder).transform(images).shape
    (50, 4)
    """
    folder = Path(folder)
    config, arrays = checkpoints.load(folder)
    with _naming_file(folder / checkpoints.CONFIG, "cannot be used", "the file"):
        estimator = _made(config)
        _check_config(config)
        _set_attributes(estimator, config)
    with _naming_file(folder, "weights and configuration do not fit together", "both files"):
        _restore(estimator, config, arrays)
    return estimator


@contextlib.contextmanager
def _naming_file(path: Path, fact: str, restored: str) -> Iterator[None]:
    """Turn whatever a wrong configuration or wrong weights lead to into one sentence."""
    try:
        yield
    except (TypeError, ValueError, RuntimeError, MemoryError) as error:
        reason = (str(error) or type(error).__name__).splitlines()[0].rstrip(".")
        raise InputError(
            f"{path}: {fact} ({reason}). Train the model again, or restore {restored} from a copy."
        ) from error


def _restore(estimator: Any, config: checkpoints.Config, arrays: dict[str, np.ndarray]) -> None:
    """Give an estimator its model, and what was measured of the training images."""
    model = estimator._make_model(config.network, config.n_classes)
    weights = {
        name.removeprefix(PREFIX): array
        for name, array in arrays.items()
        if name.startswith(PREFIX)
    }
    _check_names(arrays)
    _check_weights(model, weights)
    model.load_state_dict({name: torch.from_numpy(array) for name, array in weights.items()})
    estimator.model_ = model.eval()
    _check_style_width(estimator, config)
    if isinstance(estimator, BaseClasses):
        shape = (config.n_classes, config.style_dim)
        estimator.style_means_ = _array(arrays, "style_means", shape).astype(np.float32)
        factors = _array(arrays, "style_factors", (*shape, config.style_dim))
        estimator.style_factors_ = factors.astype(np.float32)
        estimator.outlier_scale_ = _outlier_scale(estimator, arrays)
    if isinstance(estimator, AutoencoderClusterer):
        estimator.labels_ = _array(arrays, "labels", None)
        estimator.n_classes_ = config.n_classes


def _made(config: checkpoints.Config) -> Any:
    """Return the unfitted estimator, its parameters checked."""
    if config.estimator not in ESTIMATORS:
        raise unknown_name("estimator", config.estimator, ESTIMATORS)
    cls = ESTIMATORS[config.estimator]
    known = cls._get_param_names()
    for name in config.parameters:
        if name not in known:
            raise unknown_name("parameter", name, known)
    estimator = cls(**config.parameters)
    estimator._validate_params()
    return estimator


def _check_config(config: checkpoints.Config) -> None:
    """Raise where the numbers of the configuration contradict each other."""
    if config.input_layout not in LAYOUTS:
        raise unknown_name("layout", config.input_layout, LAYOUTS)
    facts = {
        "input_shape": len(config.input_shape) in {1, 3},
        "input_layout": len(config.input_shape) >= LAYOUTS[config.input_layout],
        "n_features_in": config.n_features_in == math.prod(config.input_shape),
        "n_classes": (config.n_classes > 0) == (config.estimator != "Autoencoder"),
        "classes": _count(config.classes)
        == (config.n_classes if config.estimator == "AutoencoderClassifier" else None),
        "feature_names": _count(config.feature_names) in {None, config.n_features_in},
    }
    wrong = [name for name, holds in facts.items() if not holds]
    if wrong:
        raise InputError(f"{wrong[0]} of the configuration contradicts the rest of it")


def _count(values: list[Any] | None) -> int | None:
    return None if values is None else len(values)


def _set_attributes(estimator: Any, config: checkpoints.Config) -> None:
    estimator.device_ = _device(estimator.device)
    estimator.input_shape_ = tuple(config.input_shape)
    estimator.input_layout_ = config.input_layout
    estimator.input_range_ = tuple(config.input_range)
    estimator.n_features_in_ = config.n_features_in
    estimator.history_ = []
    if config.classes is not None:
        estimator.classes_ = np.array(config.classes)
    if config.feature_names is not None:
        estimator.feature_names_in_ = np.array(config.feature_names, dtype=object)


def _device(device: str) -> torch.device:
    """Return the device that was asked for, or what there is on this machine."""
    try:
        return resolve_device(device)
    except InputError:
        return resolve_device("auto")


def _check_names(arrays: dict[str, np.ndarray]) -> None:
    measured = {"style_means", "style_factors", "labels"}
    for name in arrays:
        if not name.startswith((PREFIX, SCALE)) and name not in measured:
            raise InputError(f"no model has {name}")


def _check_weights(model: Model, weights: dict[str, np.ndarray]) -> None:
    state = model.state_dict()
    # A single number may have been written as an array of one.
    wanted = {name: tuple(tensor.shape) or (1,) for name, tensor in state.items()}
    for name in [*wanted, *weights]:
        if name not in weights:
            raise InputError(f"the weights lack {name}")
        if name not in wanted:
            raise InputError(f"the network has no {name}")
        shape = np.atleast_1d(weights[name]).shape
        if shape != wanted[name]:
            raise InputError(
                f"{name} has shape {shape} in the weights and {wanted[name]} by the configuration"
            )
        kinds = weights[name].dtype.kind, state[name].numpy(force=True).dtype.kind
        if kinds[0] != kinds[1]:
            raise InputError(f"{name} is of type {weights[name].dtype}")
        if kinds[0] == "f" and not np.isfinite(weights[name]).all():
            raise InputError(f"{name} has NaN or infinity")


def _two_blank(estimator: BaseAutoencoder) -> Data:
    return Data(torch.zeros(2, *estimator.input_shape_, device=estimator.device_))


def _check_style_width(estimator: Any, config: checkpoints.Config) -> None:
    estimator._measure_style(_two_blank(estimator))
    if estimator.style_width_ != config.style_dim:
        raise InputError(
            f"style_dim is {config.style_dim} in the configuration, but the network's style has "
            f"width {estimator.style_width_}"
        )


def _outlier_scale(estimator: BaseClasses, arrays: dict[str, np.ndarray]) -> OutlierScale:
    n_features = estimator._collected(_two_blank(estimator), features_part)[0].shape[1]
    shapes = {
        "whitening": (n_features, n_features),
        "centres": (None, n_features),
        "means": (2,),
        "quantiles": (None,),
    }
    parts = {name: _array(arrays, SCALE + name, shape) for name, shape in shapes.items()}
    facts = {
        "whitening": np.isfinite(parts["whitening"]).all(),
        "centres": np.isfinite(parts["centres"]).all()
        and 1 <= len(parts["centres"]) <= len(estimator.style_means_),
        "means": np.isfinite(parts["means"]).all() and (parts["means"] > 0).all(),
        "quantiles": len(parts["quantiles"]) and (np.diff(parts["quantiles"]) >= 0).all(),
    }
    for name, holds in facts.items():
        if not holds:
            raise InputError(f"{SCALE}{name} holds numbers that no training gives")
    return OutlierScale(**{name: part.astype(np.float64) for name, part in parts.items()})


def _array(
    arrays: dict[str, np.ndarray], name: str, shape: tuple[int | None, ...] | None
) -> np.ndarray:
    """Return an array of that shape, None being any number."""
    if name not in arrays:
        raise InputError(f"the weights lack {name}")
    array = arrays[name]
    if shape is not None and not _fits(array.shape, shape):
        wanted = str(shape).replace("None", "any")
        raise InputError(f"{name} has shape {array.shape} instead of {wanted}")
    return array


def _fits(found: tuple[int, ...], wanted: tuple[int | None, ...]) -> bool:
    pairs = zip(found, wanted, strict=False)
    return len(found) == len(wanted) and all(want in (None, side) for side, want in pairs)
