"""Every exception and warning of selfsort, with its sentence."""

from __future__ import annotations

import difflib
from collections.abc import Iterable


class SelfsortError(Exception):
    """Base of every error that a person can cause; its message is one line."""

    def __init__(self, message: object = "") -> None:
        super().__init__(one_line(str(message)))


class InputError(SelfsortError, ValueError):
    """Something that was passed in cannot be used."""


class DataNotFoundError(InputError):
    """A data set is neither on this machine nor reachable."""


class NotFiniteError(SelfsortError, FloatingPointError):
    """A loss became NaN or infinite while training."""


class NotEnoughMemoryError(SelfsortError, MemoryError):
    """Not even the smallest batch fits into memory."""


class ProcessLostError(SelfsortError, RuntimeError):
    """Another process of the same training is gone."""


class ClassCollapseWarning(UserWarning):
    """Classes fell out of use: fewer are predicted than were asked for."""


class DamagedCheckpointWarning(UserWarning):
    """A checkpoint is not what was written: the one before it is used."""


class SmallerBatchWarning(UserWarning):
    """A batch did not fit into memory: it is halved."""


class ApproximateNeighboursWarning(UserWarning):
    """There are so many images that some of their nearest neighbours were not found."""


class SlowNeighboursWarning(UserWarning):
    """There are so many images that finding their exact neighbours takes long."""


def one_line(text: str) -> str:
    r"""Return a text without line breaks, and with what cannot be printed written out.

    What a file holds is quoted in messages; it must not move a terminal's cursor.

    Examples
    --------
    >>> one_line("two\nlines, \x1b[31mred\udce9")
    'two lines, \\x1b[31mred\\udce9'
    """
    joined = " ".join(text.splitlines())
    if joined.isprintable():
        return joined
    return "".join(c if c.isprintable() else ascii(c)[1:-1] for c in joined)


def ran_out_of_memory(error: BaseException) -> bool:
    """Return whether an error says that memory ran out, on any device.

    PyTorch has a class for it on a GPU, and none on a CPU.

    Examples
    --------
    >>> ran_out_of_memory(MemoryError()), ran_out_of_memory(RuntimeError("shapes do not match"))
    (True, False)
    """
    if isinstance(error, MemoryError) or type(error).__name__ == "OutOfMemoryError":
        return True
    text = str(error)
    return isinstance(error, RuntimeError) and any(sentence in text for sentence in _MEMORY_ENDS)


_MEMORY_ENDS = (
    "can't allocate memory",
    "not enough memory",
    "out of memory",
    # What oneDNN says, the library of convolutions, when it finds no memory.
    "could not create a primitive",
    "could not create a memory",
)


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
    plural = f"{kind.partition(' of ')[0]}s"
    return InputError(
        f"There is no {kind} named '{name}'.{hint} Known {plural}: {', '.join(names)}."
    )


def collapse_sentence(n_in_use: int, n_classes: int, remedy: str) -> str:
    """Return the sentence of a `ClassCollapseWarning`.

    Examples
    --------
    >>> collapse_sentence(3, 10, "Try fewer classes.")
    'Only 3 of 10 classes are in use. Try fewer classes.'
    """
    return f"Only {n_in_use} of {n_classes} classes are in use. {remedy}"


def recall_sentence(n_images: int, recall: float, n_checked: int) -> str:
    """Return the sentence of an `ApproximateNeighboursWarning`.

    Examples
    --------
    >>> recall_sentence(250_000, 0.97, 256)
    'The neighbours of 250,000 images are approximate: recall 0.970 on 256 of them.'
    """
    return (
        f"The neighbours of {n_images:,} images are approximate: "
        f"recall {recall:.3f} on {n_checked} of them."
    )


def slow_sentence(n_images: int) -> str:
    """Return the sentence of a `SlowNeighboursWarning`.

    Examples
    --------
    >>> print(slow_sentence(250_000))
    The exact neighbours of 250,000 images take a time that grows with the square of their number.
    For approximate ones, which are quicker: pip install selfsort[ann].
    """
    return (
        f"The exact neighbours of {n_images:,} images take a time that grows with the square of "
        "their number. For approximate ones, which are quicker: pip install selfsort[ann]."
    )
