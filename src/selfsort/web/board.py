"""The classes as a person sees them: what each image belongs to, and every correction so far."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, TypeAlias

import numpy as np

from selfsort.errors import InputError

REJECTED = -1
"""The class of an image that is none of these."""
MAX_NAME = 100
Correction: TypeAlias = Mapping[str, Any]
Inverse: TypeAlias = Callable[[], None]


@dataclass(frozen=True)
class Group:
    """One class.

    Attributes
    ----------
    name : str
    named : bool
        Whether a person gave it that name.
    columns : frozenset of int
        The network's classes that it is made of; empty for one that the network does not know.
    """

    name: str
    named: bool = False
    columns: frozenset[int] = frozenset()


@dataclass
class _Done:
    correction: Correction
    inverse: Inverse


@dataclass
class Board:
    """Classes, the class of each image, and the corrections that can be taken back.

    It lives in memory and is made again from the log of corrections: the same corrections give
    the same board.

    Attributes
    ----------
    classes : dict of int to Group
        In the order in which they came to be; a number is never used twice.
    labels : int64 array of shape (n_images,)
        Class of each image, `REJECTED` for none of these.
    corrected : bool array of shape (n_images,)
        Images that a person decided on.
    run : str
        The network in use: "" for the run itself, else the name of a refined one.
    done, undone : list
        What undo and redo work on.
    retrained : callable or None
        From a correction of kind "retrain" to the numbers of the classes that the refined network
        knows, in the order of its own, and what it predicts for each image.

    Examples
    --------
    >>> import numpy as np
    >>> board = Board.begin(["a", "b"], np.array([0, 1, 1]))
    >>> board.apply({"kind": "move", "images": [0], "class": 1})
    >>> board.apply({"kind": "undo"})
    >>> board.labels.tolist(), board.corrected.tolist()
    ([0, 1, 1], [False, False, False])
    """

    classes: dict[int, Group]
    labels: np.ndarray
    corrected: np.ndarray
    next_class: int
    run: str = ""
    done: list[_Done] = field(default_factory=list)
    undone: list[Correction] = field(default_factory=list)
    retrained: Callable[[Correction], tuple[list[int], np.ndarray]] | None = None

    @classmethod
    def begin(cls, names: Sequence[str], predicted: np.ndarray) -> Board:
        """Return the board of a run that nobody has corrected yet."""
        classes = {k: Group(name, columns=frozenset([k])) for k, name in enumerate(names)}
        labels = np.array(predicted, dtype=np.int64)
        return cls(classes, labels, np.zeros(len(labels), bool), len(names))

    @property
    def can_undo(self) -> str | None:
        """Return the kind of correction that undo takes back."""
        return self.done[-1].correction["kind"] if self.done else None

    @property
    def can_redo(self) -> str | None:
        """Return the kind of correction that redo brings back."""
        return self.undone[-1]["kind"] if self.undone else None

    def apply(self, correction: Correction) -> None:
        """Apply one correction.

        Raises
        ------
        InputError
            If it does not go with the board, which then stays as it was.
        """
        kind = correction.get("kind")
        if kind == "undo":
            self._undo()
        elif kind == "redo":
            self._redo()
        elif isinstance(kind, str) and kind in _APPLIED:
            inverse = _APPLIED[kind](self, correction)
            self.done.append(_Done(correction, inverse))
            self.undone.clear()
        else:
            raise InputError(f"There is no correction {kind!r}. Known: {', '.join(KINDS)}.")

    def _undo(self) -> None:
        if not self.done:
            raise InputError("There is nothing to take back.")
        last = self.done.pop()
        last.inverse()
        self.undone.append(last.correction)

    def _redo(self) -> None:
        if not self.undone:
            raise InputError("There is nothing to bring back.")
        correction = self.undone.pop()
        inverse = _APPLIED[correction["kind"]](self, correction)
        self.done.append(_Done(correction, inverse))

    # ---- what is checked ------------------------------------------------------------------

    def check_class(self, number: Any) -> int:
        """Return the number of a class that there is."""
        if not isinstance(number, int) or isinstance(number, bool) or number not in self.classes:
            raise InputError(f"There is no class {number!r}.")
        return number

    def check_images(self, images: Any) -> np.ndarray:
        """Return positions of images, each once."""
        if not isinstance(images, list) or not images:
            raise InputError("images must be a list of one image or more.")
        if not all(isinstance(i, int) and not isinstance(i, bool) for i in images):
            raise InputError("images must be whole numbers.")
        found = np.unique(np.array(images, dtype=np.int64))
        if found[0] < 0 or found[-1] >= len(self.labels):
            raise InputError(f"images must be from 0 to {len(self.labels) - 1}.")
        return found

    # ---- what changes ---------------------------------------------------------------------

    def _set(self, images: np.ndarray, labels: Any, corrected: bool) -> Inverse:
        old_labels, old_corrected = self.labels[images].copy(), self.corrected[images].copy()

        def inverse() -> None:
            self.labels[images], self.corrected[images] = old_labels, old_corrected

        self.labels[images] = labels
        if corrected:
            self.corrected[images] = True
        return inverse

    def _with_classes(self, change: Callable[[], Inverse]) -> Inverse:
        """Do something to the classes too; what takes it back brings them back as they were."""
        classes, next_class = dict(self.classes), self.next_class
        inner = change()

        def inverse() -> None:
            inner()
            self.classes, self.next_class = dict(classes), next_class

        return inverse

    def new_class(self, name: str, columns: frozenset[int] = frozenset()) -> int:
        """Add a class at the end."""
        number = self.next_class
        self.classes[number] = Group(name, bool(name), columns)
        self.next_class += 1
        return number


def check_name(name: Any) -> str:
    """Return the name of a class, in one line.

    Examples
    --------
    >>> check_name("  two   words ")
    'two words'
    """
    if not isinstance(name, str):
        raise InputError("name must be text.")
    name = " ".join(name.split())
    if not name or len(name) > MAX_NAME or not name.isprintable():
        raise InputError(f"name must be from 1 to {MAX_NAME} characters that can be printed.")
    return name


def _name(board: Board, correction: Correction) -> Inverse:
    number, name = board.check_class(correction.get("class")), check_name(correction.get("name"))

    def change() -> Inverse:
        board.classes[number] = replace(board.classes[number], name=name, named=True)
        return lambda: None

    return board._with_classes(change)


def _merge(board: Board, correction: Correction) -> Inverse:
    given = correction.get("classes")
    if not isinstance(given, list) or len(set(map(str, given))) < 2:
        raise InputError("classes must be a list of two different classes or more.")
    numbers = [board.check_class(number) for number in given]
    first, others = numbers[0], numbers[1:]
    images = np.flatnonzero(np.isin(board.labels, others))

    def change() -> Inverse:
        columns = frozenset().union(*(board.classes[number].columns for number in numbers))
        board.classes[first] = replace(board.classes[first], columns=columns)
        for number in set(others) - {first}:
            del board.classes[number]
        return board._set(images, first, corrected=False)

    return board._with_classes(change)


def _split(board: Board, correction: Correction) -> Inverse:
    """Split as the log says: the images of each part, all but the first into a new class."""
    number = board.check_class(correction.get("class"))
    parts = correction.get("parts")
    if not isinstance(parts, list) or len(parts) < 2:
        raise InputError("parts must be a list of two parts or more.")
    found = [board.check_images(part) for part in parts]
    if any((board.labels[images] != number).any() for images in found):
        raise InputError(f"Some images of the parts are not in class {number}.")

    def change() -> Inverse:
        group = board.classes[number]
        inverses = []
        for position, images in enumerate(found[1:], 2):
            new = board.new_class(f"{group.name} {position}"[:MAX_NAME], group.columns)
            board.classes[new] = replace(board.classes[new], named=False)
            inverses.append(board._set(images, new, corrected=False))

        def inverse() -> None:
            for one in reversed(inverses):
                one()

        return inverse

    return board._with_classes(change)


def _move(board: Board, correction: Correction) -> Inverse:
    images = board.check_images(correction.get("images"))
    if "new_class" not in correction:
        number = board.check_class(correction.get("class"))
        return board._set(images, number, corrected=True)
    name = check_name(correction["new_class"])
    return board._with_classes(lambda: board._set(images, board.new_class(name), corrected=True))


def _reject(board: Board, correction: Correction) -> Inverse:
    return board._set(board.check_images(correction.get("images")), REJECTED, corrected=True)


def _confirm(board: Board, correction: Correction) -> Inverse:
    images = board.check_images(correction.get("images"))
    return board._set(images, board.labels[images], corrected=True)


def _retrain(board: Board, correction: Correction) -> Inverse:
    """Take over what a network says that learned from the corrections."""
    assert board.retrained is not None  # noqa: S101 - whoever replays a log sets it
    known, predicted = board.retrained(correction)
    numbers = [board.check_class(number) for number in known]
    free = np.flatnonzero(~board.corrected)
    run = board.run

    def change() -> Inverse:
        board.run = str(correction["run"])
        column_of = {number: column for column, number in enumerate(numbers)}
        for number, group in board.classes.items():
            columns = frozenset([column_of[number]] if number in column_of else [])
            board.classes[number] = replace(group, columns=columns)
        restore = board._set(free, np.array(numbers)[predicted[free]], corrected=False)

        def inverse() -> None:
            restore()
            board.run = run

        return inverse

    return board._with_classes(change)


_APPLIED: dict[str, Callable[[Board, Correction], Inverse]] = {
    "name": _name,
    "merge": _merge,
    "split": _split,
    "move": _move,
    "reject": _reject,
    "confirm": _confirm,
    "retrain": _retrain,
}
KINDS = (*_APPLIED, "undo", "redo")
