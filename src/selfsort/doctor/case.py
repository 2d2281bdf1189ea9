"""What is known about a patient: measured once, when a check first asks for it."""

from __future__ import annotations

import dataclasses
import math
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import torch
from sklearn.cluster import KMeans
from torch import Tensor, nn

from selfsort.doctor.patient import Patient
from selfsort.doctor.trace import Step, Trace
from selfsort.doctor.trials import Trial, train
from selfsort.errors import InputError
from selfsort.scores import score

N_SHOWN = 256
"""Images that a module is watched on."""
N_STEPS = 300
"""Steps of the practice."""
N_RANGE_STEPS = 100
N_STARTS = 5
"""Other starts that are tried where nothing learns from the given one."""
RATES = (1e-3, 1e-2, 1e-1, 1.0, 1e1, 1e2, 1e3)
"""Multiples of the learning rate that are tried."""


@dataclass
class Look:
    """A module watched on some images.

    Attributes
    ----------
    module : nn.Module
    trace : Trace
    images : Tensor
    output : object
        As the module returned it.
    rebuilt : Step
        What made the reconstruction.
    terms : dict of Tensor
    error : Exception or None
        What the loss raised, and then there are no terms.
    """

    module: nn.Module
    trace: Trace
    images: Tensor
    output: Any
    rebuilt: Step
    terms: dict[str, Tensor]
    error: Exception | None = None

    @cached_property
    def path(self) -> list[Step]:
        """Return the steps from the images to the reconstruction, in order."""
        return self.trace.between(self.trace.source, self.rebuilt)

    @cached_property
    def code(self) -> Step | None:
        """Return the bottleneck: where least numbers stand for an image; None if nowhere few.

        Every way passes it. Of several that are as narrow, the last: after the activation.
        """
        n = len(self.images)
        gates = self.trace.gates(self.trace.source, self.rebuilt)[1:-1]
        narrow = [step for step in gates if step.output.dim() > 0 and len(step.output) == n]
        width = min((step.width(n) for step in narrow), default=math.inf)
        if width >= 0.9 * self.trace.source.width(n):
            return None
        return [step for step in narrow if step.width(n) == width][-1]

    @cached_property
    def class_code(self) -> Step | None:
        """Return the step whose rows are distributions over classes and feed the decoder."""
        found = [step for step in self.path if _is_distribution(step.output, len(self.images))]
        return found[-1] if found else None

    @property
    def only_class(self) -> bool:
        """Return whether the class is all that the decoder gets."""
        return (
            self.code is not None
            and self.class_code is not None
            and self.code.width(1) == self.class_code.width(1)
            and self.class_code in self.trace.gates(self.trace.source, self.rebuilt)
        )

    @cached_property
    def layers(self) -> list[tuple[Step, str]]:
        """Return the steps on the path that have a matrix of weights, and its name.

        The name is "" for weights that are no parameter of the module.
        """
        names = {id(weight): name for name, weight in self.module.named_parameters()}
        return [
            (step, names.get(id(weight), ""))
            for step in self.path
            for weight in step.operands
            if weight.dim() >= 2 and weight.is_leaf and weight.requires_grad
        ]

    @cached_property
    def encoder(self) -> list[str]:
        """Return the names of the weights before the bottleneck."""
        leads = self.trace.before(self.code) if self.code else set()
        return [name for step, name in self.layers if name and step in leads]

    @cached_property
    def decoder(self) -> list[str]:
        """Return the names of the weights after the bottleneck."""
        leads = self.trace.before(self.code) if self.code else set()
        return [name for step, name in self.layers if name and step not in leads]

    def source_of(self, step: Step, passing: set[str]) -> Step | None:
        """Return the last step before one that does more than the operations named."""
        while step.inputs:
            step = step.inputs[0]
            if step.name not in passing:
                return step
        return None

    @property
    def activation(self) -> Step:
        """Return what made the reconstruction, before it was brought into shape."""
        step = self.rebuilt
        while step.name in RESHAPING and step.inputs:
            step = step.inputs[0]
        return step


def _is_distribution(output: Tensor, n_images: int) -> bool:
    if output.dim() != 2 or len(output) != n_images or output.shape[1] < 2:
        return False
    if not output.is_floating_point() or float(output.min()) < 0:
        return False
    return bool((output.sum(1) - 1).abs().max() < 1e-3)


class Case:
    """All that is measured on one patient.

    Parameters
    ----------
    patient : Patient
    random_state : int
    """

    def __init__(self, patient: Patient, random_state: int) -> None:
        self.patient = patient
        self.random_state = random_state

    def look(self, module: nn.Module, *, training: bool, draw: int = 0) -> Look:
        """Watch a module on the first images, with the loss; `draw` says which random numbers."""
        module.train(training)
        patient = self.patient
        images = patient.images[:N_SHOWN].clone()
        rows = torch.arange(len(images))
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(self.random_state + draw)
            trace = Trace(images.flatten(1) if patient.flat else images)
            with trace, trace.naming(module):
                output = module(trace.source.result)
            rebuilt = trace.maker(patient.reconstruction(output, images))
            if rebuilt is None:
                raise InputError(
                    f"{patient.name} returns a reconstruction that it did not make from the "
                    "images: return what the decoder gives."
                )
            error, terms = None, {}
            try:
                with trace:
                    terms = patient.terms(output, images, patient.labels_of(rows))
            except InputError:
                raise
            except Exception as raised:  # whatever a stranger's loss raises
                error = raised
        return Look(module, trace, images, output, rebuilt, terms, error)

    @cached_property
    def start(self) -> Look:
        """Return a look at the module as it came, in training mode."""
        return self.look(self.patient.copy(), training=True)

    @cached_property
    def start_evaluating(self) -> Look:
        """Return a look at the module as it came, in evaluation mode."""
        return self.look(self.patient.copy(), training=False)

    @cached_property
    def practice(self) -> Trial:
        """Return a short training as the patient does it."""
        return train(self.patient, N_STEPS, random_state=self.random_state, share_every=20)

    @cached_property
    def end(self) -> Look:
        """Return a look at the module after the practice, in evaluation mode."""
        return self.look(self.practice.module, training=False)

    @cached_property
    def rates(self) -> dict[float, Trial]:
        """Return a shorter training for each multiple of the learning rate."""
        state = self.random_state
        return {
            rate: train(self.patient, N_RANGE_STEPS, random_state=state, rate=rate)
            for rate in RATES
        }

    @cached_property
    def gradients(self) -> dict[str, float]:
        """Return each weight's gradient at the start, as a share of the weight's size."""
        module = self.patient.copy().train()
        look = self.look(module, training=True)
        loss = torch.stack(list(look.terms.values())).sum()
        weights = [(name, w) for name, w in module.named_parameters() if w.requires_grad]
        if not loss.requires_grad:
            return {name: 0.0 for name, _ in weights}
        found = torch.autograd.grad(loss, [w for _, w in weights], allow_unused=True)
        return {
            name: 0.0 if g is None else float(g.norm() / w.detach().norm().clamp_min(1e-12))
            for (name, w), g in zip(weights, found, strict=True)
        }

    @cached_property
    def alive(self) -> Case:
        """Return this case, or one of the same module started anew, if no weight has a gradient.

        An output that happens to be dead from the start hides what else is wrong.
        """
        if any(self.gradients.values()):
            return self
        for attempt in range(1, N_STARTS + 1):
            module = self.patient.copy()
            with torch.random.fork_rng(devices=[]):
                torch.manual_seed(self.random_state + attempt)
                for part in module.modules():
                    reset = getattr(part, "reset_parameters", None)
                    if callable(reset):
                        reset()
            patient = dataclasses.replace(self.patient, module=module)
            case = Case(patient, self.random_state)
            if any(case.gradients.values()):
                return case
        return self

    @cached_property
    def target(self) -> Tensor:
        """Return what the loss compares the reconstruction with; the images unless it shows."""
        look = self.start
        for step, other in compared(look):
            if step.name in COMPARING and other.numel() == look.images.numel():
                return other.detach().reshape(look.images.shape)
        return look.images

    def k_means(self, n_classes: int) -> tuple[float, float | None]:
        """Return k-means' mean squared error, and the share of labels its clusters match."""
        rows = self.patient.images.flatten(1).double().numpy()
        k_means = KMeans(min(n_classes, len(rows)), n_init=3, random_state=self.random_state)
        error = float(k_means.fit(rows).inertia_ / rows.size)
        if self.patient.labels is None:
            return error, None
        found = score(self.patient.labels.numpy(), k_means.labels_.astype(int), matched=True)
        return error, found["accuracy"]


COMPARING = {
    "mse_loss",
    "l1_loss",
    "smooth_l1_loss",
    "huber_loss",
    "binary_cross_entropy",
    "binary_cross_entropy_with_logits",
    "sub",
    "rsub",
}
"""Functions that compare two tensors of the same size."""


def compared(look: Look) -> list[tuple[Step, Tensor]]:
    """Return the steps of the loss that read the reconstruction, with what else they read."""
    followers = [look.rebuilt]
    found = []
    start = look.trace.steps.index(look.rebuilt)
    for step in look.trace.steps[start + 1 :]:
        if not any(each in followers for each in step.inputs):
            continue
        if step.name in RESHAPING:
            followers.append(step)
            continue
        made = [look.trace.maker(operand) for operand in step.operands]
        for operand, maker in zip(step.operands, made, strict=True):
            if maker not in followers:
                found.append((step, operand))
    return found


RESHAPING = {
    "view", "reshape", "flatten", "unflatten", "squeeze", "unsqueeze", "permute", "contiguous",
    "float", "to", "double", "clone", "transpose", "view_as", "reshape_as", "type", "getitem",
}  # fmt: skip
"""Operations that leave every number as it is."""
