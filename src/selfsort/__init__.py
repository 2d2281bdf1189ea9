"""selfsort: images that sort themselves, an autoencoder whose bottleneck is the class.

Names are imported when they are first used, so that ``import selfsort`` does not wait for torch.
"""

from __future__ import annotations

import importlib
from typing import Any

from selfsort.version import __version__

_HOMES = {
    "Autoencoder": "selfsort.estimators",
    "AutoencoderClassifier": "selfsort.estimators",
    "AutoencoderClusterer": "selfsort.estimators",
    "BOTTLENECKS": "selfsort.bottlenecks",
    "Checkpoint": "selfsort.estimators",
    "ClassCollapseWarning": "selfsort.errors",
    "DamagedCheckpointWarning": "selfsort.errors",
    "DataNotFoundError": "selfsort.errors",
    "InputError": "selfsort.errors",
    "MLflow": "selfsort.tracking",
    "NETWORKS": "selfsort.networks",
    "NotEnoughMemoryError": "selfsort.errors",
    "NotFiniteError": "selfsort.errors",
    "RECIPES": "selfsort.recipes",
    "SelfsortError": "selfsort.errors",
    "SmallerBatchWarning": "selfsort.errors",
    "TensorBoard": "selfsort.tracking",
    "from_hub": "selfsort.hub",
    "load": "selfsort.estimators",
    "load_dataset": "selfsort.datasets",
    "model_card": "selfsort.hub",
    "open_source": "selfsort.sources",
    "push_to_hub": "selfsort.hub",
    "read_images": "selfsort.images",
}
_OTHER_NAMES = {"load": "load_estimator"}

__all__ = ["__version__", *_HOMES]


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module 'selfsort' has no attribute '{name}'")
    module = importlib.import_module(_HOMES[name])
    return getattr(module, _OTHER_NAMES.get(name, name))


def __dir__() -> list[str]:
    return sorted(__all__)
