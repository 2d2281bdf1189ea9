"""Checks of the images, of the output's range and of what the loss makes of it."""

from __future__ import annotations

import math

from selfsort.doctor.case import RESHAPING, Case, compared
from selfsort.doctor.finding import Finding
from selfsort.doctor.trace import Step

RANGES = {
    "sigmoid": (0.0, 1.0),
    "hardsigmoid": (0.0, 1.0),
    "softmax": (0.0, 1.0),
    "tanh": (-1.0, 1.0),
    "hardtanh": (-1.0, 1.0),
    "relu": (0.0, math.inf),
    "relu6": (0.0, 6.0),
    "softplus": (0.0, math.inf),
}
"""What an activation can give."""
RECTIFIERS = {"relu", "relu6", "threshold"}
PASSING = {*RESHAPING, "dropout", "dropout1d", "dropout2d", "dropout3d", "alpha_dropout"}
LARGE = 5.0
"""Inputs beyond this are far from what usual initial weights are made for."""
UNREACHED = 0.02
"""Error that no output can undo, as a share of the target's variance, from which it matters."""


def input_scale(case: Case) -> Finding | None:
    """Pixels from 0 to 255, or another scale far from 1."""
    images = case.patient.images
    largest = float(images.abs().max())
    if largest <= LARGE:
        return None
    return Finding(
        "input-scale",
        "The images are not scaled.",
        f"The module gets numbers from {float(images.min()):.4g} to {float(images.max()):.4g}.",
        "Initial weights and learning rates are made for inputs of about the size of 1: larger "
        "ones saturate activations and make the gradient explode.",
        "images = images / 255",
    )


def output_range(case: Case) -> Finding | None:
    """An activation at the output that cannot give what the loss asks for."""
    last = case.start.activation
    if last.name not in RANGES:
        return None
    low, high = RANGES[last.name]
    target = case.target
    outside = float(((target < low - 1e-6) | (target > high + 1e-6)).float().mean())
    left = float((target - target.clamp(low, high)).square().mean())
    share = left / max(float(target.var()), 1e-12)
    if share < UNREACHED:
        return None
    ends = f"from {low:g} to {high:g}" if math.isfinite(high) else f"not below {low:g}"
    return Finding(
        "output-range",
        f"The output's {last.name} cannot reach the images' range.",
        f"It gives numbers {ends}, the images go from {float(target.min()):.3g} to "
        f"{float(target.max()):.3g}: {outside:.0%} of their pixels are out of reach, and an error "
        f"of {share:.0%} of their variance cannot be undone.",
        "The reconstruction cannot become right, whatever the code says, so that the loss says "
        "little about the code.",
        "# no activation at the end of the decoder, or images scaled to its range, without "
        "normalisation:\nimages = (images - images.min()) / (images.max() - images.min())",
    )


def target_scale(case: Case) -> Finding | None:
    """Cross-entropy against numbers that are no probabilities."""
    for step, other in compared(case.start):
        if step.name.startswith("binary_cross_entropy"):
            low, high = float(other.min()), float(other.max())
            if low < -1e-6 or high > 1 + 1e-6:
                return Finding(
                    "target-scale",
                    "The cross-entropy gets images that are no probabilities.",
                    f"Its target goes from {low:.3g} to {high:.3g}.",
                    "Binary cross-entropy is defined for targets from 0 to 1. Below and above, it "
                    "has no minimum and the loss falls for ever.",
                    "# scale to [0, 1] and do not normalise, or take the squared error:\n"
                    "loss = torch.nn.functional.mse_loss(output, images)",
                )
    return None


def relu_before_sigmoid(case: Case) -> Finding | None:
    """ReLU, then sigmoid: half of the range is gone."""
    found = _rectified(case, {"sigmoid"})
    if found is None:
        return None
    step, relu = found
    zero = float((relu.output == 0).float().mean())
    return Finding(
        "relu-before-sigmoid",
        "A ReLU stands before a sigmoid.",
        f"The sigmoid's smallest output is {float(step.output.min()):.3f}; {zero:.0%} of its "
        f"inputs are exactly 0 before the first step{_later(case, relu)}.",
        "sigmoid(relu(x)) is never below 0.5: dark pixels cannot be said. An output that is "
        "negative everywhere never comes back, because its ReLU passes no gradient.",
        "output = torch.sigmoid(x)  # without torch.relu",
    )


def relu_before_softmax(case: Case) -> Finding | None:
    """ReLU, then softmax: no class can be ruled out."""
    found = _rectified(case, {"softmax", "log_softmax", "gumbel_softmax"})
    if found is None:
        return None
    step, relu = found
    zero = relu.output == 0
    never = int(zero.flatten(0, -2).all(0).sum()) if zero.dim() > 1 else 0
    n_units = relu.output.shape[-1]
    return Finding(
        "relu-before-softmax",
        f"A ReLU stands before the {step.name}.",
        f"{float(zero.float().mean()):.0%} of the logits are exactly 0; {never} of {n_units} are "
        "0 for every image.",
        "Every negative logit is thrown away, so that a class can never be ruled out, and a class "
        "whose logit is negative for all images gets no gradient any more.",
        "code = torch.softmax(logits, dim=1)  # without torch.relu",
    )


def activation_twice(case: Case) -> Finding | None:
    """A loss that applies sigmoid or softmax itself, to what has been through one."""
    twice = {
        "binary_cross_entropy_with_logits": {"sigmoid"},
        "cross_entropy": {"softmax", "gumbel_softmax"},
    }
    for step in case.start.trace.steps:
        if step.name not in twice or not step.inputs:
            continue
        before = step.inputs[0]
        if before.name in PASSING:
            before = case.start.source_of(before, PASSING) or before
        if before.name in twice[step.name]:
            logits = "logits" if step.name == "cross_entropy" else "output before the sigmoid"
            return Finding(
                "activation-twice",
                f"{step.name} gets what has been through {before.name} already.",
                f"Its inputs lie between {float(before.output.min()):.3f} and "
                f"{float(before.output.max()):.3f}.",
                f"{step.name} applies {before.name} itself. Twice, even a sure answer counts as a "
                "doubtful one, and the gradient nearly vanishes.",
                f"loss = torch.nn.functional.{step.name}({logits.replace(' ', '_')}, target)",
            )
    return None


def _later(case: Case, relu: Step) -> str:
    """Say how much a ReLU passes after the practice, where there was one."""
    if case.start.error is not None:
        return ""
    position = case.start.trace.steps.index(relu)
    steps = case.end.trace.steps
    if position >= len(steps) or steps[position].name != relu.name:
        return ""
    zero = float((steps[position].output == 0).float().mean())
    return f", and {zero:.0%} after {len(case.practice.losses)}"


def _rectified(case: Case, names: set[str]) -> tuple[Step, Step] | None:
    look = case.start
    for step in look.trace.steps:
        if step.name in names:
            before = look.source_of(step, PASSING)
            if before is not None and before.name in RECTIFIERS:
                return step, before
    return None
