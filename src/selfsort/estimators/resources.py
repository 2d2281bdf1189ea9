"""Devices, threads, and arguments of methods."""

from __future__ import annotations

import contextlib
import difflib
from collections.abc import Iterator, Mapping
from typing import Any

import torch
from sklearn.utils._param_validation import StrOptions, validate_parameter_constraints

from selfsort import parallel
from selfsort.errors import InputError


def resolve_device(device: str) -> torch.device:
    """Return the device of that name; ``"auto"`` is a GPU when there is one.

    Examples
    --------
    >>> resolve_device("cpu")
    device(type='cpu')
    """
    if parallel.n_processes() > 1 and device in ("auto", "cuda"):
        return torch.device(parallel.local_device())
    if device == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        resolved = torch.device(device)
        torch.empty(0, device=resolved)
    except (RuntimeError, AssertionError, NotImplementedError) as error:
        reason = str(error).splitlines()[0]
        raise InputError(
            f"The device '{device}' cannot be used here ({reason}). Use 'auto' or 'cpu'."
        ) from error
    return resolved


@contextlib.contextmanager
def threads(n_threads: int | None) -> Iterator[None]:
    """Run with that many threads, then go back to as many as before."""
    before = torch.get_num_threads()
    if n_threads is not None:
        torch.set_num_threads(n_threads)
    try:
        yield
    finally:
        torch.set_num_threads(before)


@contextlib.contextmanager
def computing(device: torch.device, n_threads: int | None) -> Iterator[None]:
    """Compute with that many threads; on a GPU with the same bits each time, in whole float32.

    Otherwise what is said of an image would depend, in the third digit, on how many are looked at
    together.
    """
    with contextlib.ExitStack() as stack:
        stack.enter_context(threads(n_threads))
        if device.type == "cuda":
            cudnn = torch.backends.cudnn
            stack.enter_context(cudnn.flags(enabled=True, deterministic=True, allow_tf32=False))
        yield


def check_arguments(caller: str, limits: Mapping[str, list[Any]], **values: Any) -> None:
    """Raise scikit-learn's sentence for every argument that is out of its limits.

    Where a name is close to one that is possible, that one is offered.

    Examples
    --------
    >>> from numbers import Integral
    >>> from sklearn.utils._param_validation import Interval
    >>> check_arguments("suggest", {"n_images": [Interval(Integral, 1, None, closed="left")]},
    ...                 n_images=0)
    Traceback (most recent call last):
    selfsort.errors.InputError: The 'n_images' parameter of suggest must be an int in the range \
[1, inf). Got 0 instead.
    """
    mistakes = []
    for name, value in values.items():
        try:
            validate_parameter_constraints(limits, {name: value}, caller_name=caller)
        except ValueError as error:
            mistakes.append(f"{error}{_nearest(limits[name], value)}")
    if mistakes:
        raise InputError(" ".join(mistakes))


def _nearest(constraints: list[Any], value: Any) -> str:
    """Return a hint at the name that was meant, if one is near."""
    known = [name for each in constraints if isinstance(each, StrOptions) for name in each.options]
    found = difflib.get_close_matches(value, known, n=1) if isinstance(value, str) else []
    return f" Did you mean '{found[0]}'?" if found else ""
