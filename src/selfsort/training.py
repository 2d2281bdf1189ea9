"""Training: one step, one epoch, one fit.

The three functions at the end are the whole loop; everything else (progress, history, pictures)
hangs on the two hooks that `fit` calls.
"""

from __future__ import annotations

import contextlib
import math
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from numbers import Integral

import torch
from torch import Tensor, nn
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn, update_bn

from selfsort.augment import Transform
from selfsort.bottlenecks import Bottleneck
from selfsort.errors import InputError, NotFiniteError, unknown_name
from selfsort.networks import PARTS, Network
from selfsort.objectives import Objective, Outputs

CALIBRATION_IMAGES = 10_000
CALIBRATION_BATCH = 500

Row = dict[str, object]
"""One line of the history: stage, epoch, seconds, loss and every term's mean."""

OPTIMIZERS: dict[str, Callable[..., torch.optim.Optimizer]] = {
    "adam": torch.optim.Adam,
    "adamw": torch.optim.AdamW,
    "sgd": torch.optim.SGD,
}


@dataclass
class Data:
    """Inputs on the device they are used on, as they were given.

    Parameters
    ----------
    inputs : Tensor of shape (n, ...), uint8 or float32
    low, high : float
        The range that becomes [0, 1], ``low < high``.
    """

    inputs: Tensor
    low: float = 0.0
    high: float = 255.0

    def __len__(self) -> int:
        return len(self.inputs)

    def batch(self, index: Tensor | slice) -> Tensor:
        """Return some inputs as float32, `low` and `high` becoming 0 and 1."""
        values = self.inputs[index].float()
        if self.low:
            values = values - self.low
        return values / (self.high - self.low)


class Model(nn.Module):
    """A network and the bottleneck between its head and its decoder."""

    def __init__(self, network: Network, bottleneck: Bottleneck) -> None:
        super().__init__()
        self.network = network
        self.bottleneck = bottleneck

    def forward(
        self,
        images: Tensor,
        partners: Tensor | None = None,
        *,
        reconstruct: bool = True,
        progress: float = 1.0,
        generator: torch.Generator | None = None,
    ) -> Outputs:
        """Encode images (and their partners in the same pass), and decode the images' codes."""
        n = len(images)
        encoded = self.network.encode(images if partners is None else torch.cat([images, partners]))
        outputs = Outputs(images)
        if encoded.logits is not None:
            code = self.bottleneck(encoded.logits, progress, generator)
            outputs.code, outputs.logits = code[:n], encoded.logits[:n]
            outputs.partner_code = code[n:] if partners is not None else None
        if reconstruct:
            style = None if encoded.style is None else encoded.style[:n]
            outputs.reconstruction = self.network.decode(latent_of(outputs.code, style))
        return outputs


def latent_of(code: Tensor | None, style: Tensor | None) -> Tensor:
    """Return what the decoder reads: the code, then the style, whichever there are."""
    return torch.cat([part for part in (code, style) if part is not None], dim=1)


@dataclass
class Settings:
    """How one fit trains; every estimator parameter of the same name ends here.

    ``schedule`` maps progress in [0, 1] to a factor of the learning rate.
    """

    epochs: int
    batch_size: int
    learning_rate: float
    optimizer: str = "adamw"
    momentum: float = 0.0
    weight_decay: float = 0.0
    schedule: Callable[[float], float] = lambda progress: 1.0
    phases: Sequence[tuple[str, int]] = ()
    average: float = 0.0
    autocast: bool = False


@dataclass
class Feed:
    """What a fit draws its batches from.

    Parameters
    ----------
    data : Data
    transform : Transform or None
        Applied to every image and partner.
    neighbours : LongTensor of shape (n, k) or None
        Partners are drawn from an image's row; None: the partner is the image itself.
    targets : Tensor of shape (n, n_classes) or None
        Label distributions; a row of zeros where there is no label.
    index : LongTensor or None
        The images to draw from; None: all.
    """

    data: Data
    transform: Transform | None = None
    neighbours: Tensor | None = None
    targets: Tensor | None = None
    index: Tensor | None = None

    def __len__(self) -> int:
        return len(self.data) if self.index is None else len(self.index)

    def order(self, generator: torch.Generator) -> Tensor:
        """Return the images of one epoch in random order."""
        order = torch.randperm(len(self), generator=generator)
        return order if self.index is None else self.index[order]

    def view(self, index: Tensor, generator: torch.Generator) -> Tensor:
        """Return (transformed) images."""
        images = self.data.batch(index.to(self.data.inputs.device))
        return images if self.transform is None else self.transform(images, generator)

    def partner_of(self, index: Tensor, generator: torch.Generator) -> Tensor:
        """Return one partner's index per image."""
        if self.neighbours is None:
            return index
        column = torch.randint(self.neighbours.shape[1], (len(index),), generator=generator)
        return self.neighbours[index, column]


@dataclass
class Fit:
    """The state of a fit: what `train_step` needs, and the history so far."""

    model: Model
    objective: Objective
    settings: Settings
    generator: torch.Generator
    stage: str = "fit"
    on_step: Callable[[int, int], bool] = lambda step, n_steps: False
    on_epoch: Callable[[Row], bool] = lambda row: False
    history: list[Row] = field(default_factory=list)
    stopped: bool = False


def cosine(progress: float, warm_up: float = 0.1) -> float:
    """Rise linearly during `warm_up`, then fall along a cosine to 0.

    Examples
    --------
    >>> [round(cosine(p), 3) for p in (0.0, 0.05, 0.1, 0.55, 1.0)]
    [0.0, 0.5, 1.0, 0.5, 0.0]
    """
    if progress < warm_up:
        return progress / warm_up
    return 0.5 * (1 + math.cos(math.pi * (progress - warm_up) / (1 - warm_up)))


def constant(progress: float) -> float:
    """Keep the learning rate."""
    return 1.0


SCHEDULES: dict[str, Callable[[float], float]] = {"constant": constant, "cosine": cosine}


def warm_average(decay: float) -> Callable[..., None]:
    """Return a moving average whose decay grows with the steps t: ``(1 + t) / (10 + t)`` at most.

    With the full decay from the start, a short training would keep mostly its first weights.
    """

    def update(averaged: list[Tensor], current: list[Tensor], n_averaged: Tensor) -> None:
        step = int(n_averaged)
        get_ema_multi_avg_fn(min(decay, (1 + step) / (10 + step)))(averaged, current, n_averaged)

    return update


def has_fast_bfloat16(device: torch.device) -> bool:
    """Return whether bfloat16 is a win there: AVX-512 BF16 or AMX, or a GPU since Ampere."""
    if device.type == "cuda":
        return torch.cuda.is_bf16_supported(including_emulation=False)
    if device.type != "cpu":
        return False
    return bool(torch.ops.mkldnn._is_mkldnn_bf16_supported())


def autocast(device: torch.device, enabled: bool) -> contextlib.AbstractContextManager[None]:
    """Return the context in which a network runs, in bfloat16 where enabled."""
    if not enabled:
        return contextlib.nullcontext()
    return torch.autocast(device.type, dtype=torch.bfloat16)


def check_phases(phases: Sequence[tuple[str, int]]) -> list[tuple[tuple[str, ...], int]]:
    """Return phases as (parts, epochs), checked.

    Examples
    --------
    >>> check_phases([("encoder+head", 2), ("all", 1)])
    [(('encoder', 'head'), 2), (('encoder', 'head', 'style', 'decoder'), 1)]
    """
    checked: list[tuple[tuple[str, ...], int]] = []
    for phase in phases:
        if not isinstance(phase, (tuple, list)) or len(phase) != 2:
            raise InputError(
                f"The 'phases' parameter must be a list of (parts, epochs) pairs such as "
                f"('decoder', 2). Got {phase!r} in it instead."
            )
        name, epochs = phase
        parts = PARTS if name == "all" else tuple(str(name).split("+"))
        for part in parts:
            if part not in PARTS:
                raise unknown_name("part", part, [*PARTS, "all"])
        if not isinstance(epochs, Integral) or isinstance(epochs, bool) or epochs < 1:
            raise InputError(
                f"The epochs of phase '{name}' must be a whole number of at least 1. "
                f"Got {epochs!r} instead."
            )
        checked.append((parts, int(epochs)))
    return checked


def parts_by_epoch(settings: Settings) -> list[tuple[str, ...]]:
    """Return which parts train in each epoch."""
    if not settings.phases:
        return [PARTS] * settings.epochs
    return [parts for parts, epochs in check_phases(settings.phases) for _ in range(epochs)]


def make_optimizer(network: Network, settings: Settings) -> torch.optim.Optimizer:
    """Return the optimizer; biases and normalisations are not decayed by AdamW."""
    if settings.optimizer not in OPTIMIZERS:
        raise unknown_name("optimizer", settings.optimizer, OPTIMIZERS)
    options: dict[str, object] = {"lr": settings.learning_rate}
    groups: list[dict[str, object]] = []
    weights = list(network.parameters())
    if settings.optimizer == "sgd":
        options["momentum"] = settings.momentum
    else:
        options["fused"] = True
    if settings.optimizer == "adamw":
        flat = [p for p in weights if p.ndim < 2]
        groups = [
            {"params": [p for p in weights if p.ndim >= 2], "weight_decay": settings.weight_decay},
            {"params": flat, "weight_decay": 0.0},
        ]
    else:
        groups = [{"params": weights, "weight_decay": settings.weight_decay}]
    return OPTIMIZERS[settings.optimizer](groups, **options)


def batches(order: Tensor, batch_size: int) -> Iterator[Tensor]:
    """Yield index batches; a last one of a single image joins the one before.

    Batch normalisation cannot learn from one image.
    """
    n = len(order)
    starts = list(range(0, n, batch_size))
    if len(starts) > 1 and n - starts[-1] == 1:
        starts.pop()
    for start, end in zip(starts, [*starts[1:], n], strict=True):
        yield order[start:end]


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
            reconstruct=objective.needs("reconstruction"),
            progress=progress,
            generator=fit.generator,
        )
    outputs.targets = None if feed.targets is None else feed.targets[index.to(device)]
    return {name: values.mean() for name, values in objective(outputs).items()}


def train_step(
    fit: Fit, feed: Feed, index: Tensor, optimizer: torch.optim.Optimizer, progress: float
) -> dict[str, float]:
    """Take one optimizer step; return each term's batch mean.

    A term that is NaN or infinite raises before it can reach the weights.
    """
    means = terms_of(fit, feed, index, progress)
    for name, mean in means.items():
        if not math.isfinite(mean.item()):
            raise NotFiniteError(f"The term '{name}' became {mean.item()}")
    loss = sum(fit.objective.weights[name] * mean for name, mean in means.items())
    assert isinstance(loss, Tensor)  # noqa: S101 - an objective has at least one term
    if not loss.requires_grad:
        raise InputError(
            f"Nothing can be learned in stage '{fit.stage}': its terms ({', '.join(means)}) do "
            "not depend on the parts that train. Change the 'phases' parameter."
        )
    optimizer.zero_grad(set_to_none=True)
    loss.backward()
    optimizer.step()
    return {name: mean.item() for name, mean in means.items()}


def run_epoch(
    fit: Fit,
    feed: Feed,
    optimizer: torch.optim.Optimizer,
    averaged: AveragedModel | None,
    epoch: int,
    n_epochs: int,
) -> Row:
    """Train on every image once; return speed, loss and each term's mean over the epoch."""
    start, n_seen, sums = time.perf_counter(), 0, dict.fromkeys(fit.objective.weights, 0.0)
    chunks = list(batches(feed.order(fit.generator), fit.settings.batch_size))
    for step, index in enumerate(chunks):
        progress = (epoch - 1 + step / len(chunks)) / n_epochs
        for group in optimizer.param_groups:
            group["lr"] = fit.settings.learning_rate * fit.settings.schedule(progress)
        try:
            means = train_step(fit, feed, index, optimizer, progress)
        except NotFiniteError as error:
            raise NotFiniteError(
                f"{error} in epoch {epoch}, step {step + 1} of stage '{fit.stage}': training "
                f"stopped. Try a lower learning rate (now {fit.settings.learning_rate:g})."
            ) from None
        if averaged is not None:
            averaged.update_parameters(fit.model)
        n_seen += len(index)
        for name, mean in means.items():
            sums[name] += mean * len(index)
        if fit.on_step(step + 1, len(chunks)):
            fit.stopped = True
            break
    epoch_means = {name: value / n_seen for name, value in sums.items()}
    return {
        "images_per_second": round(n_seen / (time.perf_counter() - start), 1),
        "loss": sum(fit.objective.weights[name] * mean for name, mean in epoch_means.items()),
        **epoch_means,
    }


def calibrate(fit: Fit, feed: Feed) -> None:
    """Measure the encoder's normalisation statistics again, on images without transform.

    Batch normalisation remembers means and variances of the transformed, partly erased images
    it was trained on, and of weights before averaging. Those of the images as they are differ
    so much that they cost a third of MNIST's remaining errors.
    """
    network, data = fit.model.network, feed.data
    n_images = min(CALIBRATION_IMAGES, len(feed))
    chosen = list(batches(feed.order(fit.generator)[:n_images], CALIBRATION_BATCH))
    images = (network.normalised(data.batch(index.to(data.inputs.device))) for index in chosen)
    with autocast(data.inputs.device, fit.settings.autocast):
        update_bn(images, nn.Sequential(network.encoder, network.neck))


def settle(fit: Fit, feed: Feed, averaged: AveragedModel | None, parts: tuple[str, ...]) -> None:
    """Take the averaged weights, and normalisation statistics of images without transform."""
    if averaged is not None:
        fit.model.load_state_dict(averaged.module.state_dict())
    if feed.transform is not None and "encoder" in parts:
        calibrate(fit, feed)


def fit(fit: Fit, feed: Feed) -> list[Row]:
    """Train for all epochs, calling the hooks; return this fit's history.

    The model is left in evaluation mode, with averaged weights where `average` is set, and with
    normalisation statistics of images without transform.
    """
    settings, network = fit.settings, fit.model.network
    optimizer = make_optimizer(network, settings)
    averaged = None
    if settings.average:
        averaged = AveragedModel(
            fit.model, multi_avg_fn=warm_average(settings.average), use_buffers=True
        )
    plan = parts_by_epoch(settings)
    for epoch, parts in enumerate(plan, start=1):
        fit.model.train()
        network.train_only(parts)
        learned = run_epoch(fit, feed, optimizer, averaged, epoch, len(plan))
        row: Row = {"stage": fit.stage, "epoch": epoch, "n_epochs": len(plan), **learned}
        fit.history.append(row)
        # The hook of the last epoch sees the very model that is left behind.
        last = fit.stopped or epoch == len(plan)
        if last:
            settle(fit, feed, averaged, parts)
        fit.model.eval()
        if fit.on_epoch(row) or fit.stopped:
            fit.stopped = True
            if not last:
                settle(fit, feed, averaged, parts)
            break
    fit.model.eval().requires_grad_(True)
    return fit.history
