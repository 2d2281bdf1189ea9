"""Every error and warning: what it is, and its whole sentence."""

from __future__ import annotations

import pytest

from selfsort import errors
from selfsort.errors import (
    ClassCollapseWarning,
    DataNotFoundError,
    InputError,
    NotFiniteError,
    SelfsortError,
    collapse_sentence,
    unknown_name,
)

ERRORS = [
    kind
    for kind in vars(errors).values()
    if isinstance(kind, type) and issubclass(kind, Exception) and not issubclass(kind, Warning)
]


@pytest.mark.parametrize("kind", ERRORS)
def test_one_except_clause_catches_every_error(kind):
    assert issubclass(kind, SelfsortError)
    assert str(kind("photos/a.png: not a picture.")) == "photos/a.png: not a picture."


@pytest.mark.parametrize(
    ("kind", "builtin"),
    [
        (InputError, ValueError),
        (DataNotFoundError, InputError),
        (NotFiniteError, FloatingPointError),
        (ClassCollapseWarning, UserWarning),
    ],
)
def test_errors_are_what_other_libraries_expect(kind, builtin):
    assert issubclass(kind, builtin)


def test_a_near_miss_names_the_nearest_and_all_known_in_order():
    error = unknown_name("term", "information_", ["mse", "information", "bce"])
    assert isinstance(error, InputError)
    assert str(error) == (
        "There is no term named 'information_'. Did you mean 'information'? "
        "Known terms: bce, information, mse."
    )


@pytest.mark.parametrize("name", ["", "zzz", None, 7])
def test_a_name_that_is_like_none_gets_no_guess(name):
    sentence = f"There is no network named '{name}'. Known networks: dense, plain."
    assert str(unknown_name("network", name, iter(["plain", "dense"]))) == sentence


def test_the_sentence_on_classes_out_of_use():
    assert collapse_sentence(1, 7, "Ask for fewer classes.") == (
        "Only 1 of 7 classes are in use. Ask for fewer classes."
    )
