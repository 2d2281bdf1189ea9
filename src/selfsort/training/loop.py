"""One step, one epoch, one fit.

The three functions are the whole loop; everything else (progress, history, pictures) hangs on
the two hooks that `fit` calls.
"""

from __future__ import annotations

import functools
import math
import time
from collections.abc import Callable
from dataclasses import dataclass, field

import torch
from torch import Tensor, nn
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn, update_bn

from selfsort.errors import InputError, NotFiniteError
from selfsort.objectives import Objective
from selfsort.training.data import Feed, batches
from selfsort.training.memory import Portion
from selfsort.training.model import Model, evaluation_batch
from selfsort.training.settings import Settings, autocast, make_optimizer, parts_by_epoch

CALIBRATION_IMAGES = 10_000
CALIBRATION_BATCH = 500
SMALLEST_BATCH = 2
"""Batch normalisation cannot learn from one image."""
Row = dict[str, object]
"""One line of the history: stage, epoch, seconds, loss and every term's mean."""


@dataclass
class Epoch:
    """Where a fit is: an epoch, counted from 1, and what was seen in it so far.

    `order` is that of the epoch's images; None: it has not begun.
    """

    number: int = 1
    order: Tensor | None = None
    step: int = 0
    n_seen: int = 0
    sums: dict[str, float] = field(default_factory=dict)
    seconds: float = 0.0


@dataclass
class Fit:
    """The state of a fit: what `train_step` needs, where it is, and the history so far.

    `fit` goes on from `epoch`; both hooks may keep a snapshot of all of this. A batch that does
    not fit into memory is taken in parts, by as many steps: `portion` says how many images go.
    """

    model: Model
    objective: Objective
    settings: Settings
    generator: torch.Generator
    stage: str = "fit"
    on_step: Callable[[int, int], bool] = lambda step, n_steps: False
    on_epoch: Callable[[Row], bool] = lambda row: False
    history: list[Row] = field(default_factory=list)
    stopped: bool = False
    epoch: Epoch = field(default_factory=Epoch)
    portion: Portion = field(init=False)
    optimizer: torch.optim.Optimizer = field(init=False)
    averaged: AveragedModel | None = field(init=False)

    def __post_init__(self) -> None:
        self.optimizer = make_optimizer(self.model, self.settings)
        self.portion = Portion(self.settings.batch_size, least=SMALLEST_BATCH)
        self.averaged = None
        if self.settings.average:
            self.averaged = AveragedModel(
                self.model, multi_avg_fn=warm_average(self.settings.average), use_buffers=True
            )


def terms_of(fit: Fit, feed: Feed, index: Tensor, progress: float) -> dict[str, Tensor]:
    """Return each term's mean over a batch."""
    objective, device = fit.objective, feed.data.inputs.device
    images = feed.view(index, fit.generator)
    partners = None
    if objective.needs("partner_code"):
        partners = feed.view(feed.partner_of(index, fit.generator), fit.generator)
    with autocast(device, fit.settings.autocast):
        outputs = fit.model(
            images,
            partners,
            None if feed.logits is None else feed.logits[index.to(device)],
            None if feed.targets is None else feed.targets[index.to(device)],
            reconstruct=objective.needs("reconstruction"),
            diverge=objective.needs("divergence"),
            progress=progress,
            generator=fit.generator,
        )
    return {name: values.mean() for name, values in objective(outputs).items()}


def train_step(fit: Fit, feed: Feed, index: Tensor, progress: float) -> dict[str, float]:
    """Take one optimizer step; return each term's batch mean.

    A term that is NaN or infinite raises before it can reach the weights.
    """
    means = terms_of(fit, feed, index, progress)
    for name, mean in means.items():
        if not math.isfinite(mean.item()):
            raise NotFiniteError(f"The term '{name}' became {mean.item()}")
    loss = sum(fit.objective.weight(name, progress) * mean for name, mean in means.items())
    assert isinstance(loss, Tensor)  # noqa: S101 - an objective has at least one term
    if not loss.requires_grad:
        raise InputError(
            f"Nothing can be learned in stage '{fit.stage}': its terms ({', '.join(means)}) do "
            "not depend on the parts that train. Change the 'phases' parameter."
        )
    for group in fit.optimizer.param_groups:
        group["lr"] = fit.settings.learning_rate * fit.settings.schedule(progress)
    fit.optimizer.zero_grad(set_to_none=True)
    loss.backward()
    fit.optimizer.step()
    if fit.averaged is not None:
        fit.averaged.update_parameters(fit.model)
    return {name: mean.item() for name, mean in means.items()}


def run_epoch(fit: Fit, feed: Feed, n_epochs: int) -> Row:
    """Train on every image once; return speed, loss and each term's mean over the epoch."""
    epoch = fit.epoch
    start = time.perf_counter() - epoch.seconds
    if epoch.order is None:
        epoch.order = feed.order(fit.generator)
        epoch.sums = dict.fromkeys(fit.objective.weights, 0.0)
    chunks = list(batches(epoch.order, fit.settings.batch_size))
    for index in chunks[epoch.step :]:
        progress = (epoch.number - 1 + epoch.step / len(chunks)) / n_epochs
        step = functools.partial(train_step, fit, feed, progress=progress)
        try:
            for part, means in fit.portion.each(index, step):
                epoch.n_seen += len(part)
                for name, mean in means.items():
                    epoch.sums[name] += mean * len(part)
        except NotFiniteError as error:
            raise NotFiniteError(
                f"{error} in epoch {epoch.number}, step {epoch.step + 1} of stage '{fit.stage}': "
                f"training stopped. Try a lower learning rate (now {fit.settings.learning_rate:g})."
            ) from None
        epoch.step += 1
        epoch.seconds = time.perf_counter() - start
        if fit.on_step(epoch.step, len(chunks)):
            fit.stopped = True
            break
    epoch_means = {name: value / epoch.n_seen for name, value in epoch.sums.items()}
    return {
        "images_per_second": round(epoch.n_seen / (time.perf_counter() - start), 1),
        "loss": sum(fit.objective.weights[name] * mean for name, mean in epoch_means.items()),
        **epoch_means,
    }


def fit(fit: Fit, feed: Feed) -> list[Row]:
    """Train for all epochs that are left, calling the hooks; return this fit's history.

    The model is left in evaluation mode, with averaged weights where `average` is set, and with
    normalisation statistics of images without transform.
    """
    plan = parts_by_epoch(fit.settings)
    for number in range(fit.epoch.number, len(plan) + 1):
        parts = plan[number - 1]
        fit.model.train()
        fit.model.train_only(parts)
        learned = run_epoch(fit, feed, len(plan))
        row: Row = {"stage": fit.stage, "epoch": number, "n_epochs": len(plan), **learned}
        fit.history.append(row)
        # The hook of the last epoch sees the very model that is left behind.
        last = fit.stopped or number == len(plan)
        if last:
            settle(fit, feed, parts)
        fit.model.eval()
        fit.epoch = Epoch(number + 1)
        if fit.on_epoch(row) or fit.stopped:
            fit.stopped = True
            if not last:
                settle(fit, feed, parts)
            break
    fit.model.eval().requires_grad_(True)
    return fit.history


def warm_average(decay: float) -> Callable[..., None]:
    """Return a moving average whose decay grows with the steps t: ``(1 + t) / (10 + t)`` at most.

    With the full decay from the start, a short training would keep mostly its first weights.
    """

    def update(averaged: list[Tensor], current: list[Tensor], n_averaged: Tensor) -> None:
        step = int(n_averaged)
        get_ema_multi_avg_fn(min(decay, (1 + step) / (10 + step)))(averaged, current, n_averaged)

    return update


def settle(fit: Fit, feed: Feed, parts: tuple[str, ...]) -> None:
    """Take the averaged weights, and normalisation statistics of images without transform."""
    if fit.averaged is not None:
        fit.model.load_state_dict(fit.averaged.module.state_dict())
    if feed.transform is not None and "encoder" in parts:
        calibrate(fit, feed)


def calibrate(fit: Fit, feed: Feed) -> None:
    """Measure the encoder's normalisation statistics again, on images without transform.

    Batch normalisation remembers means and variances of the transformed, partly erased images
    it was trained on, and of weights before averaging. Those of the images as they are differ
    so much that they cost a third of MNIST's remaining errors.
    """
    network, data = fit.model.network, feed.data
    n_images = min(CALIBRATION_IMAGES, len(feed))
    size = min(CALIBRATION_BATCH, evaluation_batch(data.inputs.shape[1:]))
    if fit.portion.halved:
        size = min(size, fit.portion.size)
    chosen = list(batches(feed.order(fit.generator)[:n_images], size))
    images = (network.normalised(data.batch(index.to(data.inputs.device))) for index in chosen)
    with autocast(data.inputs.device, fit.settings.autocast):
        update_bn(images, nn.Sequential(network.encoder, network.neck))
