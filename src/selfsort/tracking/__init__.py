"""Callbacks that tell other programs of a fit, on this machine only."""

from selfsort.tracking.mlflow import MLflow
from selfsort.tracking.tensorboard import TensorBoard

__all__ = ["MLflow", "TensorBoard"]
