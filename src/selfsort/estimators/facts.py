"""Facts of an estimator that JSON holds."""

from __future__ import annotations

import hashlib
import json
from typing import TYPE_CHECKING, Any

import numpy as np

from selfsort.errors import InputError
from selfsort.training import Rows
from selfsort.version import __version__

if TYPE_CHECKING:
    from selfsort.estimators.base import BaseAutoencoder


def _plain(value: Any) -> Any:
    """Return a parameter as JSON can hold it; a RandomState, which cannot be held, as None."""
    if isinstance(value, np.generic | np.ndarray):
        return value.tolist()
    if isinstance(value, tuple | list):
        return [_plain(member) for member in value]
    if isinstance(value, np.random.RandomState):
        return None
    return value


def plain_parameters(estimator: BaseAutoencoder) -> dict[str, Any]:
    """Return the parameters as JSON holds them.

    Raises
    ------
    InputError
        If JSON cannot hold one.
    """
    parameters = {name: _plain(value) for name, value in estimator.get_params().items()}
    for name, value in parameters.items():
        try:
            json.dumps(value, allow_nan=False)
        except (TypeError, ValueError) as error:
            raise InputError(
                f"The '{name}' parameter of {type(estimator).__name__} cannot be saved: JSON does "
                f"not hold {value!r}. Use a plain number or text. Nothing was written."
            ) from error
    return parameters


def identity_of(estimator: BaseAutoencoder, inputs: np.ndarray | Rows, y: Any) -> dict[str, Any]:
    """Return what decides how a fit ends, but for machine and versions of libraries."""
    return {
        "selfsort": __version__,
        "estimator": type(estimator).__name__,
        "parameters": plain_parameters(estimator),
        "images": inputs.source.fingerprint() if isinstance(inputs, Rows) else _digest(inputs),
        "labels": None if y is None else _digest(np.asarray(y)),
    }


def _digest(array: np.ndarray) -> str:
    """Return a checksum of type, shape and values."""
    found = hashlib.sha256(f"{array.dtype.str} {array.shape}".encode())
    if array.dtype.kind in "OUST":  # text, of whatever type
        found.update("\0".join(map(str, array.ravel())).encode())
    else:
        found.update(np.ascontiguousarray(array).data)
    return found.hexdigest()
