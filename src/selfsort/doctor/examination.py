"""Examine an autoencoder: all checks, and the figures they rest on."""

from __future__ import annotations

import dataclasses
import math
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from selfsort.doctor.case import N_RANGE_STEPS, Case
from selfsort.doctor.checks import BEFORE_LEARNING, CHECKS
from selfsort.doctor.finding import Finding
from selfsort.doctor.patient import Loss, MakeOptimizer, Patient, adam, squared_error
from selfsort.errors import InputError
from selfsort.images import as_images
from selfsort.images.arrays import images_to_uint8

MAX_IMAGES = 2000
MIN_IMAGES = 50
N_REBUILT = 10


@dataclass(frozen=True, eq=False)
class Examination:
    """What the doctor found.

    Attributes
    ----------
    name : str
        Class of the module.
    findings : tuple of Finding
        What to mend first comes first; empty where nothing was found.
    figures : dict
        What was measured: numbers, texts and lists of them, as JSON takes them.
    images, rebuilt : ndarray of shape (n, channels, height, width)
        Some images and their reconstructions after the practice, as the module sees them; empty
        where it could not be trained.
    """

    name: str
    findings: tuple[Finding, ...]
    figures: dict[str, Any]
    images: np.ndarray
    rebuilt: np.ndarray

    def __str__(self) -> str:
        if not self.findings:
            return f"{self.name}: {len(CHECKS)} checks found nothing."
        lines = [f"{self.name}: {len(self.findings)} of {len(CHECKS)} checks found something."]
        for number, finding in enumerate(self.findings, 1):
            lines += [f"{number}. {finding.title} ({finding.name})", f"   {finding.evidence}"]
        return "\n".join(lines)


def examine(
    module: nn.Module,
    images: Any,
    labels: Any = None,
    *,
    prepare: Callable[[Tensor], Tensor] | None = None,
    loss: Loss | None = None,
    optimizer: MakeOptimizer | None = None,
    batch_size: int = 64,
    random_state: int = 0,
) -> Examination:
    """Find out why an autoencoder does not learn what it should.

    A copy is trained for some hundred steps, as the module comes and at other learning rates;
    the module itself is left as it is. It is run in this process: for code that you do not trust,
    or that may hang, use ``selfsort doctor``.

    Parameters
    ----------
    module : nn.Module
        Takes images ``(n, channels, height, width)`` or rows ``(n, p)``; returns the
        reconstruction, alone or among other tensors.
    images : array of shape (n, h, w) or (n, h, w, c), at least 50
        ``uint8``, or floats in [0, 1]. At most 2,000 are used, drawn by `random_state`.
    labels : int array of shape (n,), optional
        For a loss that takes labels; else only to say what k-means would reach.
    prepare : callable, optional
        ``prepare(images)``: what you do to images in [0, 1] before the module gets them.
    loss : callable, optional
        ``loss(output, images)`` or ``loss(output, images, labels)``: one number, or a dict with
        one for each term. Mean squared error unless given.
    optimizer : callable, optional
        ``optimizer(parameters)`` returns one of PyTorch's optimizers. Adam unless given.
    batch_size : int
        At least 2.
    random_state : int

    Returns
    -------
    examination : Examination

    Raises
    ------
    InputError
        If the images cannot be used, or the module cannot be run on them or returns no
        reconstruction.

    Examples
    --------
    >>> import torch
    >>> from sklearn.datasets import load_digits
    >>> from selfsort.doctor import examine
    >>> module = torch.nn.Sequential(
    ...     torch.nn.Flatten(), torch.nn.Linear(64, 10), torch.nn.Softmax(dim=0),
    ...     torch.nn.Linear(10, 64), torch.nn.ReLU(), torch.nn.Sigmoid(),
    ... )
    >>> found = examine(module, load_digits().images / 16)
    >>> [finding.name for finding in found.findings][:2]
    ['relu-before-sigmoid', 'softmax-over-the-batch']
    """
    pixels, known = _checked(images, labels, batch_size, random_state)
    module = _module(module)
    prepared = pixels if prepare is None else _prepared(prepare, pixels)
    patient = Patient(module, prepared, known, loss or squared_error, optimizer or adam, batch_size)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # PyTorch's own, of what the checks look for
        _choose_form(patient)
        case = Case(patient, random_state)
        return _examined(case)


def _examined(case: Case) -> Examination:
    error = case.start.error
    checks = CHECKS if error is None else BEFORE_LEARNING
    findings = tuple(finding for finding in (check(case) for check in checks) if finding)
    if error is not None and not findings:
        raise InputError(
            f"The loss of {case.patient.name} cannot be computed ({type(error).__name__}: {error})."
        ) from error
    empty = np.empty((0, 1, 1, 1), np.float32)
    images, rebuilt = _rebuilt(case) if error is None else (empty, empty)
    return Examination(case.patient.name, findings, _figures(case), images, rebuilt)


def _checked(
    images: Any, labels: Any, batch_size: int, random_state: int
) -> tuple[Tensor, Tensor | None]:
    pixels = images_to_uint8(as_images(images, name="images"), "images")
    if pixels.ndim != 4:
        raise InputError(
            f"images must have the shape (n, h, w) or (n, h, w, c). Got {pixels.shape} instead."
        )
    if len(pixels) < MIN_IMAGES:
        raise InputError(f"images must be at least {MIN_IMAGES}. Got {len(pixels)} instead.")
    if not isinstance(batch_size, int) or batch_size < 2:
        raise InputError(
            f"batch_size must be a whole number from 2 on. Got {batch_size!r} instead."
        )
    known = None
    if labels is not None:
        known = np.asarray(labels)
        if known.shape != (len(pixels),) or known.dtype.kind not in "iu":
            raise InputError(
                f"labels must be {len(pixels)} whole numbers, one for each image. "
                f"Got shape {known.shape} of {known.dtype} instead."
            )
    rows = np.random.default_rng(random_state).permutation(len(pixels))[:MAX_IMAGES]
    chosen = torch.from_numpy(pixels[rows].reshape(len(rows), -1)).float() / 255
    # In memory as view() expects it: with one channel, PyTorch takes some strides for channels-last
    chosen = chosen.view(len(rows), *pixels.shape[1:])
    if known is None:
        return chosen, None
    return chosen, torch.from_numpy(known[rows].astype(np.int64))


def _module(module: Any) -> nn.Module:
    if not isinstance(module, nn.Module):
        raise InputError(f"module must be a torch.nn.Module. Got {type(module).__name__} instead.")
    return module


def _prepared(prepare: Callable[[Tensor], Tensor], images: Tensor) -> Tensor:
    try:
        prepared = prepare(images)
    except Exception as error:  # whatever a stranger's function raises
        raise InputError(f"prepare cannot be run ({type(error).__name__}: {error}).") from error
    if not isinstance(prepared, Tensor) or len(prepared) != len(images):
        raise InputError("prepare must return a tensor with as many images as it got.")
    return prepared.detach().float()


def _choose_form(patient: Patient) -> None:
    """Find out whether the module takes images or rows."""
    few = patient.images[: max(2, min(8, len(patient.images)))]
    errors = []
    for flat in (False, True):
        patient.flat = flat
        try:
            with torch.no_grad(), torch.random.fork_rng(devices=[]):
                output = patient.run(patient.copy(), few)
        except InputError:
            raise
        except Exception as error:  # whatever a stranger's module raises
            errors.append(error)
            continue
        patient.reconstruction(output, few)
        return
    shape = tuple(few.shape[1:])
    raise InputError(
        f"{patient.name} cannot be run on images of shape {shape}, nor on rows of "
        f"{math.prod(shape)} ({type(errors[0]).__name__}: {errors[0]})."
    ) from errors[0]


def _rebuilt(case: Case) -> tuple[np.ndarray, np.ndarray]:
    images = case.end.images[:N_REBUILT]
    rebuilt = case.end.rebuilt.output.reshape(case.end.images.shape)[:N_REBUILT]
    return images.numpy(), rebuilt.detach().float().numpy()


def _figures(case: Case) -> dict[str, Any]:
    look = case.start
    figures: dict[str, Any] = {
        "n_images": len(case.patient.images),
        "image_shape": list(case.patient.images.shape[1:]),
        "n_weights": sum(w.numel() for w in case.patient.module.parameters()),
        "code_width": look.code and round(look.code.width(len(look.images))),
        "n_classes": look.class_code and look.class_code.output.shape[1],
        "n_checks": len(CHECKS),
    }
    if look.error is not None:
        return figures
    names = list(dict.fromkeys(name for _, name in look.layers if name))
    return figures | {
        "losses": _finite(case.practice.losses),
        "terms": {name: _finite(values) for name, values in case.practice.terms.items()},
        "rates": [
            {"rate": rate, "loss": trial.last if math.isfinite(trial.last) else None}
            for rate, trial in case.rates.items()
        ],
        "n_range_steps": N_RANGE_STEPS,
        "learning_rate": _learning_rate(case.patient),
        "layers": [
            {
                "name": name,
                "part": "encoder" if name in look.encoder else "decoder",
                "gradient": case.gradients[name],
                "update": case.practice.updates.get(name, 0.0),
            }
            for name in names
        ],
    }


def _finite(values: list[float]) -> list[float | None]:
    return [value if math.isfinite(value) else None for value in values]


def _learning_rate(patient: Patient) -> float:
    optimizer = patient.make_optimizer(patient.copy().parameters())
    return float(optimizer.param_groups[0]["lr"])


def to_dict(examination: Examination) -> dict[str, Any]:
    """Return an examination without its pictures, as JSON takes it."""
    return {
        "name": examination.name,
        "findings": [dataclasses.asdict(finding) for finding in examination.findings],
        "figures": examination.figures,
    }
