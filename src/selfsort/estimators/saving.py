"""Estimators on disk: which arrays and facts make a fitted one."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import torch
from sklearn.utils.validation import check_is_fitted

from selfsort import checkpoints
from selfsort.errors import InputError, unknown_name
from selfsort.estimators.autoencoder import Autoencoder
from selfsort.estimators.base import BaseAutoencoder, resolve_device
from selfsort.estimators.classifier import AutoencoderClassifier
from selfsort.estimators.clusterer import AutoencoderClusterer
from selfsort.version import __version__

ESTIMATORS: dict[str, type[BaseAutoencoder]] = {
    cls.__name__: cls for cls in (Autoencoder, AutoencoderClusterer, AutoencoderClassifier)
}


def _plain(value: Any) -> Any:
    """Return a parameter as JSON can hold it; a RandomState, which cannot be held, as None."""
    if isinstance(value, np.generic):
        return value.item()
    if isinstance(value, np.random.RandomState):
        return None
    return value


def save_estimator(estimator: BaseAutoencoder, folder: Path) -> None:
    """Write a fitted estimator into `folder`."""
    check_is_fitted(estimator, "model_")
    classes = getattr(estimator, "classes_", None)
    names = getattr(estimator, "feature_names_in_", None)
    means = getattr(estimator, "style_means_", None)
    config = checkpoints.Config(
        selfsort=__version__,
        estimator=type(estimator).__name__,
        parameters={name: _plain(value) for name, value in estimator.get_params().items()},
        input_shape=list(estimator.input_shape_),
        input_layout=estimator.input_layout_,
        input_range=estimator.input_range_,
        n_features_in=estimator.n_features_in_,
        n_classes=0 if means is None else len(means),
        style_dim=estimator.style_width_,
        classes=None if classes is None else classes.tolist(),
        feature_names=None if names is None else list(names),
    )
    arrays = {
        f"model.{name}": tensor.cpu().numpy()
        for name, tensor in estimator.model_.state_dict().items()
    }
    if means is not None:
        arrays["style_means"] = means
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
    if config.estimator not in ESTIMATORS:
        raise unknown_name("estimator", config.estimator, ESTIMATORS)
    cls = ESTIMATORS[config.estimator]
    try:
        estimator = cls(**config.parameters)
        estimator._validate_params()
        _restore(estimator, config, arrays)
    except (TypeError, ValueError, KeyError, RuntimeError) as error:
        reason = str(error).splitlines()[0]
        raise InputError(
            f"{folder}: weights and configuration do not fit together ({reason}). Train the model "
            "again, or restore both files from a copy."
        ) from error
    return estimator


def _restore(
    estimator: Any, config: checkpoints.Config, arrays: dict[str, np.ndarray]
) -> None:
    estimator.device_ = resolve_device("auto")
    estimator.input_shape_ = tuple(config.input_shape)
    estimator.input_layout_ = config.input_layout
    estimator.input_range_ = tuple(config.input_range)
    estimator.n_features_in_ = config.n_features_in
    estimator.style_width_ = config.style_dim
    estimator.history_ = []
    if config.classes is not None:
        estimator.classes_ = np.array(config.classes)
    if config.feature_names is not None:
        estimator.feature_names_in_ = np.array(config.feature_names, dtype=object)
    if "style_means" in arrays:
        estimator.style_means_ = arrays["style_means"]
    if "labels" in arrays:
        estimator.labels_ = arrays["labels"]
    model = estimator._make_model(config.n_classes)
    prefix = "model."
    model.load_state_dict(
        {
            name[len(prefix) :]: torch.from_numpy(array)
            for name, array in arrays.items()
            if name.startswith(prefix)
        }
    )
    estimator.model_ = model.eval()
