"""The parts of a prediction that are missing, made by this process or by Ray's."""

from __future__ import annotations

import contextlib
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

from rich.console import Console

from selfsort.runs.bulk.making import PartMaker, Work
from selfsort.runs.bulk.parts import Manifest, Part, PartFacts, begin_parts, sound_part
from selfsort.runs.bulk.telling import Told
from selfsort.runs.callbacks import leaving_on_sigterm
from selfsort.runs.folder import Occupation


def make_missing(
    work: Work,
    manifest: Manifest,
    parts: list[Part],
    engine: str,
    workers: int | None,
    force: bool,
    console: Console | None,
) -> Told:
    """Make the parts that are missing, and return what was counted of all of them."""
    told = Told(console or Console(stderr=True), len(work.source))
    with occupied(work.out), leaving_on_sigterm():
        begin_parts(work.out, manifest, force=force)
        found = {part: sound_part(work.out, part) for part in parts}
        for facts in found.values():
            if facts is not None:
                told.keep(facts)
        missing = [part for part, facts in found.items() if facts is None]
        with told.shown(len(parts)):
            for part, facts in _makers(engine)(work, missing, workers):
                told.add(part, facts)
    return told


def _makers(engine: str) -> Any:
    """Return the function that makes parts, and yields each with its facts."""
    if engine == "local":
        return made_here
    from selfsort.runs.bulk.on_ray import made_on_ray

    return made_on_ray


@contextlib.contextmanager
def occupied(folder: Path) -> Iterator[None]:
    """Let no other process write into a folder."""
    occupation = Occupation(folder, "predicting")
    occupation.begin()
    try:
        yield
    finally:
        occupation.end()


def made_here(
    work: Work, parts: Iterable[Part], workers: int | None = None
) -> Iterator[tuple[Part, PartFacts]]:
    """Make parts in this process, one after the other, and yield each with its facts."""
    maker = None
    for part in parts:
        maker = maker or PartMaker(work)
        yield part, maker(part)
