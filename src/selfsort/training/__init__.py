"""Training: what is learned from, what is trained, how, and the loop of steps and epochs."""

from selfsort.training.data import Data, Feed, OneHot
from selfsort.training.loop import Fit, Row, fit
from selfsort.training.memory import Portion
from selfsort.training.model import Model, evaluation_batch, latent_of, look_at
from selfsort.training.rows import Rows
from selfsort.training.settings import (
    OPTIMIZERS,
    SCHEDULES,
    Settings,
    autocast,
    check_phases,
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
    "OneHot",
    "Portion",
    "Row",
    "Rows",
    "Settings",
    "autocast",
    "check_phases",
    "evaluation_batch",
    "fit",
    "latent_of",
    "look_at",
    "parts_by_epoch",
    "with_small_batches",
]
