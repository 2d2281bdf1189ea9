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
from torch.optim.swa_utils import update_bn

from selfsort import parallel
from selfsort.errors import InputError, NotFiniteError
from selfsort.objectives import RAMPS, Objective
from selfsort.training.average import WarmAverage
from selfsort.training.data import Batch, Feed, batches, moved
from selfsort.training.memory import Portion
from selfsort.training.model import Model, evaluation_batch
from selfsort.training.normalisation import normalise_together
from selfsort.training.replay import Replay
from selfsort.training.settings import Settings, autocast, make_optimizer, parts_by_epoch

CALIBRATION_IMAGES = 10_000
CALIBRATION_BATCH = 500
SMALLEST_BATCH = 2
"""Batch normalisation cannot learn from one image."""
CHECKED_STEPS = 50
"""A GPU is asked that often whether a term is still finite: to ask is to wait for it."""
DROPOUTS = (nn.Dropout, nn.Dropout1d, nn.Dropout2d, nn.Dropout3d, nn.AlphaDropout)
Row = dict[str, object]
"""One line of the history: stage, epoch, seconds, loss and every term's mean."""


@dataclass
class Epoch:
    """Where a fit is: an epoch, counted from 1, and what was seen in it so far.

    `order` is that of the epoch's images; None: it has not begun. `sums` has each term's sum over
    the images seen, float64.
    """

    number: int = 1
    order: Tensor | None = None
    step: int = 0
    n_seen: int = 0
    sums: Tensor = field(default_factory=lambda: torch.zeros(0, dtype=torch.float64))
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
    averaged: WarmAverage | None = field(init=False)
    replays: dict[object, Replay] = field(default_factory=dict, init=False)

    def __post_init__(self) -> None:
        self.optimizer = make_optimizer(self.model, self.settings)
        self.portion = Portion(self.settings.batch_size, least=SMALLEST_BATCH)
        self.averaged = None
        if parallel.n_processes() > 1:
            normalise_together(self.model)
        if self.settings.average:
            self.averaged = WarmAverage(self.model, self.settings.average)

    @functools.cached_property
    def device(self) -> torch.device:
        """Where the weights are."""
        return next(self.model.parameters()).device

    @property
    def counts_on(self) -> torch.device:
        """Where sums are kept: on the device, if its host need not wait and it knows float64."""
        return self.device if self.device.type == "cuda" else torch.device("cpu")

    @functools.cached_property
    def replays_steps(self) -> bool:
        """Whether every step is the same kernels, with other numbers, on a GPU."""
        return (
            self.device.type == "cuda"
            and parallel.n_processes() == 1
            and self.settings.optimizer != "sgd"
            and self.model.bottleneck.steady
            and not RAMPS.keys() & self.objective.weights.keys()
            and not any(isinstance(one, DROPOUTS) for one in self.model.modules())
        )

    def check(self, values: Tensor, step: int) -> None:
        """Raise where a term's mean, or its sum over the epoch, is NaN or infinite."""
        for name, value in zip(self.objective.weights, values.tolist(), strict=True):
            if not math.isfinite(value):
                raise NotFiniteError(
                    f"The term '{name}' became {value} in epoch {self.epoch.number}, step {step} "
                    f"of stage '{self.stage}': training stopped. Try a lower learning rate (now "
                    f"{self.settings.learning_rate:g})."
                )


def terms_of(fit: Fit, feed: Feed, batch: Batch, progress: float) -> dict[str, Tensor]:
    """Return each term's mean over a batch, which is on the device: this process's part of it.

    A bottleneck that draws, or remembers what passed, gets the logits of all processes.
    """
    objective, everyone = fit.objective, batch.get("all", batch["index"])
    index = batch["index"] if fit.model.bottleneck.steady else everyone
    images = feed.view(batch)
    partners = feed.view(batch, "partner ") if objective.needs("partner_code") else None
    with autocast(images.device, fit.settings.autocast):
        outputs = fit.model(
            images,
            partners,
            None if feed.logits is None else feed.logits[index],
            None if feed.targets is None else feed.targets[index],
            reconstruct=objective.needs("reconstruction"),
            diverge=objective.needs("divergence"),
            progress=progress,
            generator=fit.generator,
            n_all=len(everyone),
        )
    values = objective(outputs)
    return {name: parallel.mean_part(values[name], len(everyone)) for name in values}


def learn(fit: Fit, feed: Feed, batch: Batch, progress: float) -> Tensor:
    """Change the weights for one batch on the device; return each term's mean, float64.

    Nothing here waits for a GPU of NVIDIA's. Elsewhere a term that is NaN or infinite raises before
    it can reach the weights.
    """
    means = terms_of(fit, feed, batch, progress)
    parts = torch.stack([mean.detach() for mean in means.values()])
    found = parallel.summed(parts.to(fit.counts_on).double())
    if fit.counts_on.type == "cpu":
        fit.check(found, fit.epoch.step + 1)
    loss = sum(fit.objective.weight(name, progress) * mean for name, mean in means.items())
    assert isinstance(loss, Tensor)  # noqa: S101 - an objective has at least one term
    if not loss.requires_grad:
        raise InputError(
            f"Nothing can be learned in stage '{fit.stage}': its terms ({', '.join(means)}) do "
            "not depend on the parts that train. Change the 'phases' parameter."
        )
    fit.optimizer.zero_grad(set_to_none=True)
    loss.backward()
    parallel.add_gradients(fit.model.parameters())
    fit.optimizer.step()
    return found


def train_step(fit: Fit, feed: Feed, index: Tensor, progress: float) -> Tensor:
    """Take one optimizer step; return each term's batch mean, float64."""
    batch = feed.draw(index, fit.generator, partners=fit.objective.needs("partner_code"))
    rate = fit.settings.learning_rate * fit.settings.schedule(progress)
    for group in fit.optimizer.param_groups:
        if isinstance(group["lr"], Tensor):
            group["lr"].fill_(rate)
        else:
            group["lr"] = rate
    if fit.replays_steps and feed.data.is_resident and len(index) == fit.portion.size:
        means = replay(fit, feed, batch)
    else:
        own = moved(feed.shared(batch), feed.data.inputs.device)
        means = learn(fit, feed, own, progress)
    if fit.averaged is not None:
        fit.averaged.update_parameters(fit.model)
    return means


def replay(fit: Fit, feed: Feed, batch: Batch) -> Tensor:
    """Take one optimizer step as all others of this size were, for the parts that train now."""
    trained = tuple(weight.requires_grad for weight in fit.model.parameters())
    key = (len(batch["index"]), trained)
    if key not in fit.replays:
        step = functools.partial(learn, fit, feed, progress=1.0)
        fit.replays[key] = Replay(step, fit.model, fit.optimizer, batch)
    return fit.replays[key](batch)


def run_epoch(fit: Fit, feed: Feed, n_epochs: int) -> Row:
    """Train on every image once; return speed, loss and each term's mean over the epoch."""
    epoch = fit.epoch
    start = time.perf_counter() - epoch.seconds
    if epoch.order is None:
        epoch.order = feed.order(fit.generator, fit.settings.batch_size)
        epoch.sums = torch.zeros(len(fit.objective.weights), dtype=torch.float64)
    epoch.sums = epoch.sums.to(fit.counts_on)
    chunks = list(batches(epoch.order, fit.settings.batch_size))
    for index in chunks[epoch.step :]:
        progress = (epoch.number - 1 + epoch.step / len(chunks)) / n_epochs
        step = functools.partial(train_step, fit, feed, progress=progress)
        for part, means in fit.portion.each(index, step):
            epoch.n_seen += len(part)
            epoch.sums += means * len(part)
        epoch.step += 1
        if epoch.step % CHECKED_STEPS == 0:
            fit.check(epoch.sums, epoch.step)
        epoch.seconds = time.perf_counter() - start
        if fit.on_step(epoch.step, len(chunks)):
            fit.stopped = True
            break
    fit.check(epoch.sums, epoch.step)
    weights = fit.objective.weights
    epoch_means = {
        name: value / epoch.n_seen for name, value in zip(weights, epoch.sums.tolist(), strict=True)
    }
    return {
        "images_per_second": round(epoch.n_seen / (time.perf_counter() - start), 1),
        "loss": sum(weights[name] * mean for name, mean in epoch_means.items()),
        **epoch_means,
    }


def fit(fit: Fit, feed: Feed) -> list[Row]:
    """Train for all epochs that are left, calling the hooks; return this fit's history.

    The model is left in evaluation mode, with averaged weights where `average` is set, and with
    normalisation statistics of images without transform.
    """
    try:
        return _epochs(fit, feed)
    finally:
        fit.replays.clear()  # a graph holds memory of the GPU for as long as it is there


def _epochs(fit: Fit, feed: Feed) -> list[Row]:
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
    size = evaluation_batch(data.inputs.shape[1:], CALIBRATION_BATCH)
    if fit.portion.halved:
        size = min(size, fit.portion.size)
    chosen = list(batches(feed.order(fit.generator, fit.settings.batch_size)[:n_images], size))
    chosen = [index[parallel.share(len(index))].to(data.inputs.device) for index in chosen]
    images = (network.normalised(data.batch(index)) for index in chosen)
    with autocast(data.inputs.device, fit.settings.autocast):
        update_bn(images, nn.Sequential(network.encoder, network.neck))
