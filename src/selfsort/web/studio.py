"""What the page shows and does, without the web: classes, images, corrections."""

from __future__ import annotations

import threading
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
import torch
from sklearn.cluster import KMeans

from selfsort.errors import InputError
from selfsort.estimators.doubt import suggested
from selfsort.images import ImageSet
from selfsort.runs.evaluating import class_names
from selfsort.runs.loading import load_images
from selfsort.runs.predicting import load_with_classes
from selfsort.runs.request import Record, read_record
from selfsort.web.album import Album
from selfsort.web.board import Board
from selfsort.web.facts import Facts, facts_of, fingerprint
from selfsort.web.log import NAME, Log

DOUBTFUL = 0.9
N_SHOWN = 8
MOST_AT_ONCE = 500
MOST_CORRECTED = 5_000
MOST_SPLIT = 20_000
MOST_LOOKED_AT = 20_000
"""A class is split by so many of its images at most; the others follow the nearest centre."""
REFINED = "refined-"


class Studio:
    """One run, its images and everything that a person decided about them.

    Parameters
    ----------
    folder : Path
        Of a run with classes.

    Raises
    ------
    InputError
        If the run or its images cannot be used, or are others than the corrections were made for.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.record: Record = read_record(folder)
        if not self.record.complete:
            raise InputError(
                f"{folder}: this run is not finished. First: selfsort train --resume {folder}"
            )
        estimator = load_with_classes(folder)
        data = load_images(self.record)
        self.data_path = data.path
        self.images: ImageSet = data.train
        if self.images.images.ndim != 4:
            raise InputError(f"{folder}: learned from rows of numbers; the page is for images.")
        self._estimators: dict[str, Any] = {"": estimator}
        self._facts: dict[str, Facts] = {}
        self.log = Log(folder / NAME, fingerprint(folder, self.images))
        self.album = Album(self.images, self.log.secret)
        self.board = self._replayed()
        self.lock = threading.RLock()
        self.exporting = threading.Lock()
        self.revision = len(self.log)
        self._order = lru_cache(maxsize=32)(self._ordered)

    def _replayed(self) -> Board:
        """Return the board that the log tells of."""
        predicted = self.facts("").probabilities.argmax(1)
        board = Board.begin(class_names(self.estimator("")), predicted)
        board.retrained = self._retrained
        for body in self.log:
            board.apply(body)
        return board

    def close(self) -> None:
        """Close the log."""
        self.log.close()

    # ---- networks -------------------------------------------------------------------------

    def folder_of(self, run: str) -> Path:
        """Return the folder of the run itself ("") or of a refined one."""
        return self.folder / run if run else self.folder

    def estimator(self, run: str) -> Any:
        """Return the network of the run itself ("") or of a refined one."""
        if run not in self._estimators:
            self._estimators[run] = load_with_classes(self.folder_of(run))
        return self._estimators[run]

    def facts(self, run: str) -> Facts:
        """Return what that network says of all images."""
        if run not in self._facts:
            folder = self.folder_of(run)
            self._facts[run] = facts_of(folder, self.estimator(run), self.images)
        return self._facts[run]

    def known_classes(self, run: str) -> list[int]:
        """Return the numbers of the classes that a refined network learned, in its own order."""
        return [int(name) for name in self.estimator(run).classes_]

    def _retrained(self, correction: Any) -> tuple[list[int], np.ndarray]:
        run = str(correction["run"])
        return self.known_classes(run), self.facts(run).probabilities.argmax(1)

    # ---- what is shown --------------------------------------------------------------------

    def probability(self) -> np.ndarray:
        """Return how likely the network finds each image's class ``(n,)``.

        That of a class made of several is their sum; of one that the network does not know, 0.
        """
        found = np.zeros(len(self.album), np.float32)
        probabilities = self.facts(self.board.run).probabilities
        for number, group in self.board.classes.items():
            rows = np.flatnonzero(self.board.labels == number)
            if group.columns:
                found[rows] = probabilities[rows][:, sorted(group.columns)].sum(1)
        return found.clip(0, 1)

    def state(self) -> dict[str, Any]:
        """Return everything that the page shows of the classes."""
        with self.lock:
            board = self.board
            channels, height, width = self.images.images.shape[1:]
            return {
                "revision": self.revision,
                "run": {
                    "name": self.folder.name,
                    "n_images": len(self.album),
                    "image_shape": [channels, height, width],
                    "style_dim": self.estimator(board.run).style_means_.shape[1],
                },
                "classes": [self._class(number) for number in board.classes],
                "n_rejected": int((board.labels < 0).sum()),
                "n_corrected": int(board.corrected.sum()),
                "can_undo": board.can_undo,
                "can_redo": board.can_redo,
            }

    def _class(self, number: int) -> dict[str, Any]:
        group = self.board.classes[number]
        rows, p = self._members(number)
        free = ~self.board.corrected[rows]
        by_doubt = rows[free][np.argsort(p[free], kind="stable")][:N_SHOWN]
        typical = rows[np.argsort(-p, kind="stable")][:N_SHOWN]
        return {
            "id": number,
            "name": group.name,
            "named": group.named,
            "size": len(rows),
            "n_doubtful": int((free & (p < DOUBTFUL)).sum()),
            "n_corrected": int((~free).sum()),
            "prototype": f"/prototype/{number}" if group.columns else None,
            "typical": [self.album.id_of(i) for i in typical],
            "doubtful": [self.album.id_of(i) for i in by_doubt],
        }

    def _members(self, number: int) -> tuple[np.ndarray, np.ndarray]:
        rows = np.flatnonzero(self.board.labels == number)
        return rows, self._probability_now()[rows]

    def _probability_now(self) -> np.ndarray:
        if getattr(self, "_probability_of", None) != self.revision:
            self._probability: np.ndarray = self.probability()
            self._probability_of = self.revision
        return self._probability

    def shown(self, position: int) -> dict[str, Any]:
        """Return one image as the page gets it."""
        return {
            "id": self.album.id_of(position),
            "class": int(self.board.labels[position]),
            "p": round(float(self._probability_now()[position]), 4),
            "outlier": round(float(self.facts(self.board.run).outlier[position]), 4),
            "name": self.album.names[position],
            "corrected": bool(self.board.corrected[position]),
        }

    def listed(
        self,
        which: str = "all",
        order: str = "typical",
        least: float = 0.0,
        most: float = 1.0,
        outlier: float = 0.0,
        text: str = "",
        start: int = 0,
        count: int = 200,
    ) -> dict[str, Any]:
        """Return a part of a list of images."""
        with self.lock:
            rows = self._order(self.revision, which, order, least, most, outlier, text)
            part = rows[start : start + min(count, MOST_AT_ONCE)]
            return {
                "revision": self.revision,
                "total": len(rows),
                "images": [self.shown(int(i)) for i in part],
            }

    def _ordered(
        self,
        revision: int,
        which: str,
        order: str,
        least: float,
        most: float,
        outlier: float,
        text: str,
    ) -> np.ndarray:
        p = self._probability_now()
        unusual = self.facts(self.board.run).outlier
        chosen = (p >= least) & (p <= most) & (unusual >= outlier)
        if which == "rejected":
            chosen &= self.board.labels < 0
        elif which != "all":
            chosen &= self.board.labels == self.board.check_class(_number(which))
        if text:
            chosen &= self.album.named_like(text)
        rows = np.flatnonzero(chosen)
        keys = {"typical": -p, "doubtful": p, "unusual": -unusual}
        if order == "file":
            return rows
        if order not in keys:
            raise InputError(f"There is no order {order!r}. Known: {', '.join(keys)}, file.")
        return rows[np.argsort(keys[order][rows], kind="stable")]

    def suggestions(self, n: int) -> dict[str, Any]:
        """Return the images whose label would help most, the best first."""
        with self.lock:
            facts, corrected = self.facts(self.board.run), self.board.corrected.copy()
        # Of very many images some are looked at: their neighbours would take minutes.
        n_rows = min(len(corrected), MOST_LOOKED_AT)
        rows = np.linspace(0, len(corrected) - 1, n_rows).astype(int)
        n_free = int((~corrected[rows]).sum())
        if not n_free:
            return {"images": []}
        # Without the lock: it takes seconds.
        features = torch.from_numpy(facts.features[rows])
        labelled = corrected[rows]
        chosen = suggested(features, facts.probabilities[rows], labelled, min(n, n_free))
        with self.lock:
            return {"images": [self.shown(int(i)) for i in rows[chosen]]}

    # ---- what is done ---------------------------------------------------------------------

    def correct(self, key: object, asked: dict[str, Any]) -> dict[str, Any]:
        """Apply a correction, and return the state.

        It is on the disk before this returns. One whose key is known is not done again.

        Raises
        ------
        InputError
            If it does not go with the classes and images there are.
        """
        if not isinstance(key, str) or not 8 <= len(key) <= 80 or not key.isascii():
            raise InputError("key must be a text of 8 to 80 letters, made anew for a correction.")
        images = asked.get("images", ())
        n_images = len(images) if isinstance(images, list) else 0
        with self.lock:
            if not self.log.has(key):  # before it is looked at: done, it may go with nothing more
                self._do(key, self._resolved(asked))
            return {**self.state(), "did": {"kind": asked["kind"], "n_images": n_images}}

    def _do(self, key: str, body: dict[str, Any]) -> None:
        self.board.apply(body)
        try:
            self.log.add(key, body)
        except BaseException:  # a full disk: the board must not know more than the log
            self.board = self._replayed()
            raise
        self.revision += 1

    def _resolved(self, asked: dict[str, Any]) -> dict[str, Any]:
        """Return a correction as the log holds it: images by position, a split by its parts."""
        kind = asked.get("kind")
        if kind == "retrain":  # only the server itself says that
            raise InputError("There is no correction 'retrain' to ask for.")
        body = {name: asked[name] for name in _FIELDS.get(str(kind), ()) if name in asked}
        body["kind"] = kind
        if "images" in body:
            given = body["images"]
            if not isinstance(given, list) or len(given) > MOST_CORRECTED:
                raise InputError(f"images must be a list of at most {MOST_CORRECTED:,}.")
            body["images"] = [self.album.position_of(name) for name in given]
        if kind == "split":
            body["parts"] = self._parts(self.board.check_class(asked.get("class")))
        return body

    def _parts(self, number: int) -> list[list[int]]:
        """Return the two groups into which a class falls, by what the network learned."""
        rows = np.flatnonzero(self.board.labels == number)
        if len(rows) < 2:
            raise InputError("A class of one image cannot be split.")
        features = self.facts(self.board.run).features
        some = rows[np.linspace(0, len(rows) - 1, min(len(rows), MOST_SPLIT)).astype(int)]
        k_means = KMeans(2, n_init=5, random_state=0).fit(features[some])
        part = k_means.predict(features[rows])
        if len(np.unique(part)) < 2:
            raise InputError("The images of this class are all alike: it cannot be split.")
        larger = int(np.bincount(part).argmax())
        return [rows[part == k].tolist() for k in (larger, 1 - larger)]

    def take_over(self, run: str) -> dict[str, Any]:
        """Use a refined network from now on."""
        with self.lock:
            self._do(f"retrain-{run}", {"kind": "retrain", "run": run})
            return self.state()

    def forget(self, run: str) -> None:
        """Forget a refined network that was thrown away: another may get its name."""
        self._estimators.pop(run, None)
        self._facts.pop(run, None)

    def kept_runs(self) -> set[str]:
        """Return the refined runs that the log names."""
        return {str(body["run"]) for body in self.log if body["kind"] == "retrain"}

    def figures(self, run: str, columns: dict[int, frozenset[int]]) -> dict[str, float | None]:
        """Return how a network does beside what a person decided: for before and after."""
        probabilities = self.facts(run).probabilities
        decided = np.flatnonzero(self.board.corrected & (self.board.labels >= 0))
        agreement = None
        if len(decided):
            said = probabilities[decided].argmax(1)
            agreed = [
                column in columns.get(int(label), ())
                for column, label in zip(said, self.board.labels[decided], strict=True)
            ]
            agreement = float(np.mean(agreed))
        return {
            "doubtful": float((probabilities.max(1) < DOUBTFUL).mean()),
            "agreement": agreement,
        }


_FIELDS = {
    "name": ("class", "name"),
    "merge": ("classes",),
    "split": ("class",),
    "move": ("images", "class", "new_class"),
    "reject": ("images",),
    "confirm": ("images",),
    "undo": (),
    "redo": (),
}


def _number(text: str) -> int:
    if not (text.isascii() and text.isdecimal()):
        raise InputError(f"class must be a number, 'rejected' or 'all'. Got {text!r} instead.")
    return int(text)
