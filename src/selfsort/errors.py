"""Every exception and warning of selfsort, with its sentence."""

from __future__ import annotations

import difflib
from collections.abc import Iterable


class SelfsortError(Exception):
    """Base of every error that a person can cause; its message is one line."""


class InputError(SelfsortError, ValueError):
    """Something that was passed in cannot be used."""


class DataNotFoundError(InputError):
    """A data set is neither on this machine nor reachable."""


class NotFiniteError(SelfsortError, FloatingPointError):
    """A loss became NaN or infinite while training."""


class ClassCollapseWarning(UserWarning):
    """Classes fell out of use: fewer are predicted than were asked for."""


def unknown_name(kind: str, name: str, known: Iterable[str]) -> InputError:
    """Return the error for a name that is not registered, with the nearest valid one.

    Examples
    --------
    >>> print(unknown_name("bottleneck", "gumble", ["softmax", "gumbel"]))
    There is no bottleneck named 'gumble'. Did you mean 'gumbel'? Known bottlenecks: gumbel,
    softmax.
    """
    names = sorted(known)
    nearest = difflib.get_close_matches(str(name), names, n=1)
    hint = f" Did you mean '{nearest[0]}'?" if nearest else ""
    return InputError(
        f"There is no {kind} named '{name}'.{hint} Known {kind}s: {', '.join(names)}."
    )


def collapse_sentence(n_in_use: int, n_classes: int, remedy: str) -> str:
    """Return the sentence of a `ClassCollapseWarning`.

    Examples
    --------
    >>> collapse_sentence(3, 10, "Try fewer classes.")
    'Only 3 of 10 classes are in use. Try fewer classes.'
    """
    return f"Only {n_in_use} of {n_classes} classes are in use. {remedy}"
