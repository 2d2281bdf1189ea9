"""Checks of the bottleneck: what its units say, and whether they can say a class."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from selfsort.doctor.case import RESHAPING, Case
from selfsort.doctor.finding import Finding
from selfsort.doctor.trace import Step

DEAD = 0.25
"""Share of a bottleneck's units that say nothing, from which it is told."""
CONSTANT = 1e-4
"""Standard deviation of a unit over images, beside that of the liveliest, that says nothing."""
FLAT_DERIVATIVE = 0.05
"""Mean slope of an activation, as a share of its steepest, below which it is saturated."""
SURE = 0.99
LITTLE = 0.1
"""Share of the information that K classes can carry, below which a code says nothing."""
SOFTMAXES = {"softmax", "log_softmax", "gumbel_softmax"}


def softmax_without_dim(case: Case) -> Finding | None:
    """Softmax that has to guess its axis."""
    for step in _softmaxes(case):
        if step.arguments.get("dim", 0) is None:
            n_axes = step.output.dim()
            taken = 0 if n_axes in (0, 1, 3) else 1
            return Finding(
                "softmax-without-dim",
                "A softmax is not told over which axis.",
                f"For its input of shape {tuple(step.output.shape)} PyTorch takes axis {taken}.",
                "The axis that PyTorch takes depends on the number of axes: 0 for one or three, "
                "else 1. It warns that this will be an error.",
                "torch.nn.Softmax(dim=1)  # or torch.softmax(logits, dim=1)",
            )
    return None


def softmax_over_the_batch(case: Case) -> Finding | None:
    """Softmax over the images, not over the classes."""
    n_images = len(case.start.images)
    for step in _softmaxes(case):
        output = step.output.exp() if step.name == "log_softmax" else step.output
        if output.dim() < 2 or len(output) != n_images:
            continue
        over_images = float((output.sum(0) - 1).abs().max())
        rows = output.sum(-1)
        if over_images < 1e-3 and float((rows - 1).abs().max()) > 1e-3:
            return Finding(
                "softmax-over-the-batch",
                "A softmax runs over the images, not over the classes.",
                f"Over the {n_images} images of a batch each unit adds up to 1; the codes of "
                f"single images add up to {float(rows.min()):.3g} to {float(rows.max()):.3g}.",
                "Images compete for a class, not classes for an image: the code of an image "
                "depends on what else is in the batch.",
                "code = torch.softmax(logits, dim=1)",
            )
    return None


def saturated_code(case: Case) -> Finding | None:
    """Units at the end of their range from the start: no gradient passes."""
    look = case.start
    if look.class_code is not None:
        code = look.class_code
        largest = float(code.output.max(1).values.mean())
        if largest < SURE or not code.result.requires_grad or not _same_again(case, code):
            return None
        what = f"the largest entry of a code is {largest:.4f} in the mean"
    else:
        step = look.code
        while step is not None and step.name in RESHAPING and step.inputs:
            step = step.inputs[0]
        slope = None if step is None else _slope(step)
        if slope is None or slope >= FLAT_DERIVATIVE:
            return None
        what = f"the slope of its {step.name if step else ''} is {slope:.2g} of the steepest"
    return Finding(
        "saturated-code",
        "The bottleneck is saturated from the start.",
        f"Before the first step {what}.",
        "At the end of its range an activation passes no gradient, so that the encoder cannot "
        "change what it says.",
        "# bring what goes in to the size of 1\nlogits = torch.nn.BatchNorm1d(n_units)(logits)",
    )


def dead_units(case: Case) -> Finding | None:
    """Units of the bottleneck that say the same for every image."""
    look = case.end
    if look.code is None or look.class_code is not None or _from_softmax(case):
        return None
    if saturated_code(case):  # units that cannot move say the same soon
        return None
    units = look.code.output.flatten(1)
    deviations = units.std(0)
    dead = deviations <= CONSTANT * max(float(deviations.max()), 1e-12)
    share = float(dead.float().mean())
    if share < DEAD or share == 1:
        return None
    zero = int((units[:, dead] == 0).all(0).sum())
    of_zero = f", {zero} of them always 0" if zero else ""
    return Finding(
        "dead-units",
        f"{int(dead.sum())} of the bottleneck's {units.shape[1]} units say nothing.",
        f"After {len(case.practice.losses)} steps these are the same for all of {len(units)} "
        f"images{of_zero}.",
        "What a dead unit could tell the decoder is lost. A ReLU that is 0 for every image gets no "
        "gradient and stays dead.",
        "# no activation at the bottleneck, or one that passes a gradient everywhere:\n"
        "torch.nn.LeakyReLU(0.1)",
    )


def collapsed_code(case: Case) -> Finding | None:
    """A code that does not depend on the image."""
    look = case.end
    if saturated_code(case):
        return None
    if look.class_code is not None:
        return _collapsed_classes(look.class_code.output)
    if look.code is None or _from_softmax(case):
        return None
    first, second = _two_draws(case)
    informative = _shared_variance(first, second)
    active = int((informative > LITTLE).sum())
    if active > 0:
        return None
    return Finding(
        "collapsed-code",
        "The code says nothing about the image.",
        f"None of its {len(informative)} units depends on the image: at most "
        f"{float(informative.max()):.1%} of a unit's variance does.",
        "The decoder has learned one picture for all images. In a variational autoencoder, the "
        "divergence outweighs the reconstruction.",
        "# the sum over pixels, as in the bound, not the mean; or raise the weight of the "
        "divergence from 0 over the first epochs:\n"
        "loss = ((output - images) ** 2).flatten(1).sum(1).mean() + progress * divergence",
    )


def narrow_bottleneck(case: Case) -> Finding | None:
    """K soft numbers as the whole code, and nothing but the reconstruction to learn from."""
    look = case.start
    if not look.only_class or look.class_code is None or _other_ways(case):
        return None
    n_classes = look.class_code.output.shape[1]
    code = case.end.class_code.output if case.end.class_code else look.class_code.output
    k_means, matched = case.k_means(n_classes)
    also = "" if matched is None else f", and its classes match {matched:.0%} of the labels"
    return Finding(
        "narrow-bottleneck",
        f"Reconstruction alone does not make {n_classes} softmax units into classes.",
        f"With {n_classes} one-hot codes no decoder does better than k-means with {n_classes} "
        f"centres; that has a squared error of {k_means:.4f}{also}. The largest entry of this "
        f"module's codes is {float(code.max(1).values.mean()):.2f} in the mean.",
        f"Codes that are decisions give the decoder {n_classes} pictures, and it takes the ones "
        "that lie closest to all images: that is k-means, for which slant and thickness count "
        "more than the class. Codes that are none are a point in a space, not a class.",
        "# classes are what an image and its changed copies have in common:\n"
        "from selfsort import AutoencoderClusterer\n"
        f"AutoencoderClusterer(n_classes={n_classes}).fit(images)",
    )


def _softmaxes(case: Case) -> list[Step]:
    return [step for step in case.start.trace.steps if step.name in SOFTMAXES]


def _from_softmax(case: Case) -> bool:
    """Return whether the code is made of several distributions side by side."""
    step = case.end.code
    while step is not None and step.name in RESHAPING and step.inputs:
        step = step.inputs[0]
    return step is not None and step.name in SOFTMAXES


def _slope(step: Step) -> float | None:
    """Return the mean derivative of an activation, as a share of its largest."""
    if step.name == "sigmoid":
        return float((4 * step.output * (1 - step.output)).mean())
    if step.name == "tanh":
        return float((1 - step.output.square()).mean())
    return None


def _same_again(case: Case, code: Step) -> bool:
    """Return whether the same images give the same code: nothing is drawn."""
    again = case.look(case.patient.copy(), training=True, draw=1).class_code
    return again is not None and torch.equal(again.output, code.output)


def _two_draws(case: Case) -> tuple[Tensor, Tensor]:
    codes = []
    for draw in (0, 1):
        step = case.look(case.practice.module, training=True, draw=draw).code
        codes.append(step.output.flatten(1) if step is not None else torch.zeros(2, 1))
    return codes[0], codes[1]


def _shared_variance(first: Tensor, second: Tensor) -> Tensor:
    """Return by unit the share of its variance over images that is the same in two draws.

    Examples
    --------
    >>> import torch
    >>> a = torch.tensor([[0.0, 1.0, 0.0], [1.0, 1.0, 1.0], [0.0, 1.0, 1.0], [1.0, 1.0, 0.0]])
    >>> b = torch.tensor([[0.0, 1.0, 0.0], [1.0, 1.0, 1.0], [0.0, 1.0, 0.0], [1.0, 1.0, 1.0]])
    >>> _shared_variance(a, b).tolist()
    [1.0, 0.0, 0.0]
    """
    first, second = first - first.mean(0), second - second.mean(0)
    spread = (first.square().mean(0) * second.square().mean(0)).sqrt()
    shared = (first * second).mean(0)
    return torch.where(spread > 1e-12, shared / spread.clamp_min(1e-12), torch.zeros_like(spread))


def _collapsed_classes(code: Tensor) -> Finding | None:
    n_classes = code.shape[1]
    together = _entropy(code.mean(0, keepdim=True))
    information = float(together - _entropy(code))
    in_use = len(code.argmax(1).unique())
    if information >= LITTLE * math.log(n_classes):
        return None
    return Finding(
        "collapsed-code",
        "The code says next to nothing about the image.",
        f"{in_use} of {n_classes} classes are the largest of some image; code and image share "
        f"{information:.3f} of {math.log(n_classes):.2f} nats, and a code has an entropy of "
        f"{float(_entropy(code)):.2f}.",
        "Codes that are the same for all images leave the decoder with one picture for all.",
        "# start sharp, so that codes differ from the first step on:\n"
        "torch.nn.init.normal_(head.weight, std=3 / head.in_features**0.5)",
    )


def _entropy(code: Tensor) -> Tensor:
    return -(code * code.clamp_min(1e-12).log()).sum(1).mean()


def _other_ways(case: Case) -> bool:
    """Return whether the loss learns from the encoder other than through the reconstruction."""
    look = case.start
    assert look.class_code is not None  # noqa: S101
    leads = look.trace.before(look.class_code)
    ends = [look.trace.maker(term) for term in look.terms.values()]
    return any(
        look.trace.between(step, end, without=look.rebuilt)
        for step, _ in look.layers
        if step in leads
        for end in ends
        if end is not None
    )
