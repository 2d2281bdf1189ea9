"""What a check says: what is wrong, how that shows, why it matters, and how to mend it."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Finding:
    """One cause why an autoencoder does not learn what it should.

    Attributes
    ----------
    name : str
        A name that does not change, such as ``"relu-before-softmax"``.
    title : str
        What is wrong, in one sentence.
    evidence : str
        What was measured, with its figure.
    reason : str
        Why it matters.
    fix : str
        What to write instead, as code.
    """

    name: str
    title: str
    evidence: str
    reason: str
    fix: str
