"""What a network says of all images of its run, worked out once and kept beside it."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import safetensors
import safetensors.numpy

from selfsort.checkpoints import CONFIG, WEIGHTS, write_atomically
from selfsort.estimators.outputs import error_part, features_part, probability_part
from selfsort.images import ImageSet
from selfsort.runs.data import as_given

NAME = "page-cache.safetensors"


@dataclass(frozen=True, eq=False)
class Facts:
    """What a network says of images.

    Attributes
    ----------
    probabilities : float32 array of shape (n, n_classes)
    outlier : float32 array of shape (n,)
        From 0 to 1, as `outlier_score` gives it.
    features : float32 array of shape (n, d)
    """

    probabilities: np.ndarray
    outlier: np.ndarray
    features: np.ndarray


def facts_of(folder: Path, estimator: Any, images: ImageSet) -> Facts:
    """Return what a run's network says of images, from its cache where that is still true."""
    identity = fingerprint(folder, images)
    path = folder / NAME
    kept = _read(path, identity)
    if kept is not None:
        return kept
    probabilities, features, errors = estimator._collected(  # all in one pass
        estimator._prepared(as_given(images)),
        probability_part,
        features_part,
        error_part,
        reconstruct=True,
    )
    outlier = estimator.outlier_scale_.score(features, errors)
    facts = Facts(*(part.astype(np.float32) for part in (probabilities, outlier, features)))
    arrays = {name: np.ascontiguousarray(value) for name, value in vars(facts).items()}
    content = safetensors.numpy.save(arrays, metadata={"of": identity})
    write_atomically(path, lambda temporary: temporary.write_bytes(content))
    return facts


def fingerprint(folder: Path, images: ImageSet) -> str:
    """Return a hash of a run's network and of the images."""
    found = hashlib.sha256()
    for path in (folder / CONFIG, folder / WEIGHTS):
        found.update(path.read_bytes())
    found.update(np.ascontiguousarray(images.images).data)
    return found.hexdigest()


def _read(path: Path, identity: str) -> Facts | None:
    try:
        with safetensors.safe_open(path, framework="numpy") as file:
            if (file.metadata() or {}).get("of") != identity:
                return None
            return Facts(*(file.get_tensor(name) for name in Facts.__annotations__))
    except (OSError, safetensors.SafetensorError):
        return None  # it is only a cache
