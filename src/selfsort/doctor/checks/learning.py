"""Checks of how the weights learn: gradients, steps, modes, and the terms of the loss."""

from __future__ import annotations

import math

import torch
from torch import nn

from selfsort.doctor.case import N_RANGE_STEPS, N_STEPS, Case
from selfsort.doctor.finding import Finding
from selfsort.doctor.patient import adam
from selfsort.doctor.trials import N_UPDATES, train

LOST = 0.03
"""Gradient of the encoder beside the decoder's, below which most of it is lost on the way."""
LOST_BY_LAYER = 1e-4
"""Gradient of a layer beside that of the layer with the most."""
STILL = 1e-4
"""Mean step, as a share of the weights' own size, below which a layer hardly moves."""
SLOW = 3e-4
"""The same for the layer that moves most; about 1e-3 is usual."""
BETTER = 0.15
"""Part of what could be learned by which another learning rate must be better to be told."""
DROWNED = 0.02
"""Share of the gradient below which a term has no say."""
NO_PROGRESS = 0.1
"""Part of a term's own progress, when it is learned alone, below which it makes none."""


def unregistered_layers(case: Case) -> Finding | None:
    """Layers in a plain list, which the optimizer never sees."""
    missing = [step for step, name in case.start.layers if not name]
    if not missing:
        return None
    kinds = ", ".join(sorted({step.name for step in missing}))
    return Finding(
        "unregistered-layers",
        f"{len(missing)} layers are not known to the module.",
        f"Weights of {len(missing)} operations ({kinds}) are not among its parameters().",
        "Layers in a list or dict of Python's are not registered: the optimizer never changes "
        "them, .to(device) does not move them, and they are not saved.",
        "self.layers = torch.nn.ModuleList([...])  # or torch.nn.Sequential(...)",
    )


def no_gradient(case: Case) -> Finding | None:
    """An encoder that no gradient reaches."""
    look = case.start
    sizes = case.gradients
    if not look.encoder or any(sizes[name] > 0 for name in look.encoder):
        return None
    if not any(sizes[name] > 0 for name in look.decoder):
        return _nothing_learns(len(sizes))
    suspects = [
        step.name
        for step in look.path
        if step.name in {"detach", "argmax", "round", "sign", "one_hot", "floor", "bernoulli"}
        or (not step.result.requires_grad and step.result.is_floating_point())
    ]
    suspects = [name for name in dict.fromkeys(suspects) if name != "source"]
    at = f" On the way: {', '.join(suspects)}." if suspects else ""
    return Finding(
        "no-gradient",
        "No gradient reaches the encoder.",
        f"The gradient of all {len(look.encoder)} of its weight matrices is exactly 0.{at}",
        "The encoder stays as it was initialised; only the decoder learns.",
        "# a decision through which the gradient passes (straight-through):\n"
        "hard = torch.nn.functional.one_hot(soft.argmax(1), soft.shape[1])\n"
        "code = hard + soft - soft.detach()",
    )


def _nothing_learns(n_weights: int) -> Finding:
    return Finding(
        "no-gradient",
        "No gradient reaches any weight.",
        f"The gradient of all {n_weights} weights and biases is exactly 0 before the first step.",
        "Every output is where its activation is flat, such as a ReLU below zero: nothing moves, "
        "whatever the learning rate. Another start may look better for a while.",
        "# no ReLU after the last layer of the decoder; then make the module anew",
    )


def vanishing_gradient(case: Case) -> Finding | None:
    """A gradient that gets lost between the decoder and the encoder."""
    case = case.alive
    look, sizes = case.start, case.gradients
    if not look.encoder or not look.decoder or no_gradient(case):
        return None
    encoder = max(sizes[name] for name in look.encoder)
    decoder = max(sizes[name] for name in look.decoder)
    if decoder == 0:
        return None
    moves = max(case.practice.updates.get(name, 0.0) for name in look.encoder)
    names = [name for _, name in look.layers if name]
    least = min(names, key=sizes.__getitem__)
    lost = encoder / decoder < LOST and moves < STILL
    lost_by_layer = sizes[least] / max(encoder, decoder) < LOST_BY_LAYER
    if not (lost or lost_by_layer):
        return None
    table = "; ".join(f"{name} {sizes[name]:.1e}" for name in dict.fromkeys(names))
    softmax = look.class_code is not None
    fix = (
        "# normalise what the class head reads, and let the logits differ from the start:\n"
        "features = torch.nn.BatchNorm1d(n_features)(features)"
        if softmax
        else "# activations that pass the gradient, and normalised layers between them:\n"
        "torch.nn.Sequential(torch.nn.Linear(n, m), torch.nn.BatchNorm1d(m), torch.nn.ReLU())"
    )
    return Finding(
        "vanishing-gradient",
        "The gradient gets lost between the decoder and the encoder.",
        f"Gradient by weight matrix, as a share of its size, before the first step: {table}.",
        "What the decoder would need is not told to the encoder"
        + (
            ": a softmax whose outputs are all about the same passes hardly any gradient."
            if softmax
            else ": activations that are flat, one after the other, each pass a fraction of it."
        ),
        fix,
    )


def plain_sgd(case: Case) -> Finding | None:
    """Plain gradient steps where the layers' gradients differ by orders of magnitude."""
    if not vanishing_gradient(case):
        return None
    case = case.alive
    optimizer = case.patient.make_optimizer(case.patient.copy().parameters())
    if not isinstance(optimizer, torch.optim.SGD):
        return None
    encoder = case.start.encoder
    moved = max(case.practice.updates.get(name, 0.0) for name in encoder)
    other = train(case.patient.with_optimizer(adam), N_UPDATES, random_state=case.random_state)
    with_adam = max(other.updates.get(name, 0.0) for name in encoder)
    if with_adam < 10 * moved:
        return None
    return Finding(
        "plain-sgd",
        "Plain gradient descent does not make up for small gradients.",
        f"A step changes the encoder's weights by {moved:.1e} of their size at most, with Adam by "
        f"{with_adam:.1e}.",
        "SGD moves each weight by its gradient: where that is a thousand times smaller, so is the "
        "step. Adam brings all to one size.",
        "optimizer = torch.optim.Adam(model.parameters(), lr=1e-3)",
    )


def learning_rate_too_low(case: Case) -> Finding | None:
    """Steps so small that training would take for ever."""
    updates = case.practice.updates
    if not updates or vanishing_gradient(case):
        return None
    names = [name for _, name in case.start.layers if name]
    moved = max((updates.get(name, 0.0) for name in names), default=0.0)
    best, now, reach = _range(case)
    if moved >= SLOW or best <= 1 or now < BETTER * reach:
        return None
    return Finding(
        "learning-rate-too-low",
        "The learning rate is too low.",
        f"A step changes no weight matrix by more than {moved:.1e} of its size. {_figures(case)}",
        "The loss falls, but so slowly that it looks like a model that cannot learn.",
        f"# about {best:g} times the learning rate\n{_fixed_rate(case, best)}",
    )


def learning_rate_too_high(case: Case) -> Finding | None:
    """Steps so large that they destroy what was learned."""
    best, now, reach = _range(case)
    if best >= 1 or now <= BETTER * reach:
        return None
    summed = any(
        step.arguments.get("reduction") == "sum" for step in case.start.trace.steps
    )  # the gradient then grows with pixels and images
    also = " The loss is summed, not averaged, so that gradients are large." if summed else ""
    return Finding(
        "learning-rate-too-high",
        "The learning rate is too high.",
        f"{_figures(case)}{also}",
        "Steps that are too large throw the weights to where activations are saturated or dead, "
        "from which they do not come back.",
        f"# about {best:g} times the learning rate\n{_fixed_rate(case, best)}",
    )


def evaluation_left_on(case: Case) -> Finding | None:
    """Dropout and normalisation that stay in evaluation mode while the module trains."""
    module = case.patient.copy()
    depending = (nn.modules.dropout._DropoutNd, nn.modules.batchnorm._BatchNorm)
    arrived = not module.training and any(isinstance(m, depending) for m in module.modules())
    module.train()
    still = [
        name
        for name, part in module.named_modules()
        if isinstance(part, depending) and not part.training
    ]
    if not (still or arrived):
        return None
    what = (
        f"After train(), these are in evaluation mode: {', '.join(still)}."
        if still
        else "It arrives in evaluation mode: nobody called train() after model.eval()."
    )
    return Finding(
        "evaluation-left-on",
        "The module trains in evaluation mode.",
        what,
        "Dropout does nothing then, and batch normalisation uses running figures that nothing "
        "updates: a module that was never trained divides by the wrong numbers.",
        "model.train()  # before each epoch; model.eval() only to look at results",
    )


def dropout_left_on(case: Case) -> Finding | None:
    """Dropout that goes on when the module is evaluated."""
    for step in case.start_evaluating.trace.steps:
        if "dropout" not in step.name:
            continue
        p = step.arguments.get("p", 0.5)
        if step.arguments.get("training", True) and isinstance(p, float) and p > 0:
            return Finding(
                "dropout-left-on",
                "Dropout goes on in evaluation mode.",
                f"After model.eval(), {step.name} still drops {p:.0%}"
                + (f" in {step.where}." if step.where else "."),
                "Results differ from call to call, and are worse than the model: the functions of "
                "torch.nn.functional drop always, unless they are told the mode.",
                "torch.nn.functional.dropout(x, 0.5, training=self.training)  # or nn.Dropout",
            )
    return None


def drowned_term(case: Case) -> Finding | None:
    """A term of the loss whose multiplier leaves it no say."""
    practice = case.practice
    for name, share in practice.shares.items():
        if share >= DROWNED:
            continue
        values = practice.terms[name]
        alone = train(case.patient, N_STEPS, random_state=case.random_state, only=name)
        possible = values[0] - alone.last
        achieved = values[0] - _late(values)
        if not math.isfinite(possible) or possible <= 0.2 * abs(values[0]):
            continue
        if achieved >= NO_PROGRESS * possible:
            continue
        largest = max(practice.shares, key=practice.shares.__getitem__)
        factor = 10 ** round(math.log10(practice.shares[largest] / max(share, 1e-9)))
        return Finding(
            "drowned-term",
            f"The term {name} is drowned by {largest}.",
            f"It has {share:.2%} of the gradient. Learned alone for {N_STEPS} steps it falls from "
            f"{values[0]:.3g} to {alone.last:.3g}, with the others to {_late(values):.3g}.",
            "Terms are added: one whose gradient is a hundredth of another's does not change what "
            "is learned.",
            f"# multiply {name} by up to {factor:g} more, or average both over the same things\n"
            f"loss = {largest.split(' ')[0]} + weight * {name.split(' ')[0]}",
        )
    return None


def _late(values: list[float]) -> float:
    tail = values[-max(1, len(values) // 10) :]
    return sum(tail) / len(tail)


def _range(case: Case) -> tuple[float, float, float]:
    """Return the best multiple of the rate, how much better it is, and how much can be learned."""
    lasts = {rate: trial.last for rate, trial in case.rates.items() if trial.losses}
    finite = {rate: last for rate, last in lasts.items() if math.isfinite(last)}
    if not finite or 1.0 not in lasts:
        return 1.0, 0.0, 1.0
    best = min(finite, key=finite.__getitem__)
    reach = case.rates[best].first - finite[best]
    return best, lasts[1.0] - finite[best], max(reach, 1e-12)


def _figures(case: Case) -> str:
    parts = [
        f"{rate:g} times the rate: {trial.last:.3g}"
        if math.isfinite(trial.last)
        else f"{rate:g} times the rate: not finite"
        for rate, trial in case.rates.items()
    ]
    first = next(iter(case.rates.values())).first
    return f"The loss after {N_RANGE_STEPS} steps, from {first:.3g}: {', '.join(parts)}."


def _fixed_rate(case: Case, rate: float) -> str:
    optimizer = case.patient.make_optimizer(case.patient.copy().parameters())
    lr = optimizer.param_groups[0]["lr"] * rate
    return f"torch.optim.{type(optimizer).__name__}(model.parameters(), lr={lr:.1g})"
