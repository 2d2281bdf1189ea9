"""Training: what is learned from, what is trained, how, and the loop of steps and epochs."""

from selfsort.training.data import Data, Feed
from selfsort.training.loop import Fit, Row, fit
from selfsort.training.model import Model, latent_of
from selfsort.training.settings import (
    OPTIMIZERS,
    SCHEDULES,
    Settings,
    autocast,
    check_phases,
    has_fast_bfloat16,
    parts_by_epoch,
    with_small_batches,
)

__all__ = [
    "OPTIMIZERS",
    "SCHEDULES",
    "Data",
    "Feed",
    "Fit",
    "Model",
    "Row",
    "Settings",
    "autocast",
    "check_phases",
    "fit",
    "has_fast_bfloat16",
    "latent_of",
    "parts_by_epoch",
    "with_small_batches",
]
