"""Parts made by processes that Ray starts: on the cores of this machine, or of a cluster."""

from __future__ import annotations

import contextlib
import json
import logging
import os
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np

from selfsort.errors import InputError, SelfsortError
from selfsort.runs.bulk.making import PartMaker, Work
from selfsort.runs.bulk.parts import Part, PartFacts


class RayMaker:
    """A `PartMaker` in a process of Ray's: rows of a list of parts go in, facts come out."""

    def __init__(self, work: Work) -> None:
        self.make = PartMaker(work)

    def __call__(self, batch: dict[str, np.ndarray]) -> dict[str, list[Any]]:
        rows = zip(batch["number"], batch["first"], batch["stop"], strict=True)
        parts = [Part(*map(int, row)) for row in rows]
        return {
            "number": [part.number for part in parts],
            "outcome": [self._outcome(part) for part in parts],
        }

    def _outcome(self, part: Part) -> str:
        """Return a part's facts, or what went wrong, as JSON: Ray would wrap an error in its own.

        Errors that nobody expects go through Ray.
        """
        try:
            return json.dumps({"facts": self.make(part).model_dump()})
        except InputError as error:
            return json.dumps({"input": str(error)})
        except OSError as error:
            return json.dumps({"system": [error.errno, error.strerror, error.filename]})


def _facts(outcome: str) -> PartFacts:
    """Return a part's facts, or raise what went wrong where it was made."""
    found = json.loads(outcome)
    if "input" in found:
        raise InputError(found["input"])
    if "system" in found:
        raise OSError(*found["system"])
    return PartFacts.model_validate(found["facts"], strict=False)


def made_on_ray(
    work: Work, parts: Sequence[Part], workers: int | None = None
) -> Iterator[tuple[Part, PartFacts]]:
    """Make parts by a pool of processes, and yield each with its facts, in the order they come."""
    if not parts:
        return
    of_number = {part.number: part for part in parts}
    with _running() as ray:
        rows = ray.data.from_items(
            [part._asdict() for part in parts], override_num_blocks=len(parts)
        )
        made = rows.map_batches(
            RayMaker,
            fn_constructor_args=(work,),
            batch_size=1,
            num_cpus=work.n_threads,
            num_gpus=1 if work.on_gpu else None,
            concurrency=_pool(ray, work, workers, len(parts)),
        )
        try:
            for row in made.iter_rows():
                yield of_number[row["number"]], _facts(row["outcome"])
        except ray.exceptions.RayError as error:
            lines = str(error).strip().splitlines() or [type(error).__name__]
            raise SelfsortError(
                f"Ray gave up: {lines[-1]}. The parts that are done are kept: give the same "
                "command again."
            ) from error


def _pool(ray: Any, work: Work, workers: int | None, n_parts: int) -> int:
    """Return how many processes there are: no more than there is room for, or Ray would wait."""
    resources = ray.cluster_resources()
    n_cores = int(resources.get("CPU", 0))
    room = n_cores // work.n_threads
    needs = f"{work.n_threads} cores"
    if work.on_gpu:
        room, needs = min(room, int(resources.get("GPU", 0))), f"{needs} and a GPU"
    if room < (workers or 1):
        raise InputError(
            f"{workers or 1} workers of {needs} each are more than Ray has, {n_cores} cores in "
            "all. Give fewer --workers, or fewer --threads."
        )
    return min(workers or room, n_parts)


@contextlib.contextmanager
def _running() -> Iterator[Any]:
    """Start Ray on this machine, or join the cluster that RAY_ADDRESS names, and leave it after.

    Where it runs already it is used as it is.
    """
    joins = bool(os.environ.get("RAY_ADDRESS"))
    with _environment({} if joins else ALONE):
        import ray
        import ray.data

        if ray.is_initialized():
            yield ray
            return
        ray.init(
            logging_level=logging.ERROR,
            log_to_driver=False,
            **({} if joins else {"include_dashboard": False}),
        )
    ray.data.DataContext.get_current().enable_progress_bars = False
    logging.getLogger("ray.data").setLevel(logging.ERROR)
    try:
        yield ray
    finally:
        ray.shutdown()


ALONE = {
    "RAY_USAGE_STATS_ENABLED": "0",
    "RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER": "0",  # on Linux too: only this machine's own address
    # Without statistics it still asks known addresses which cloud this is: nobody answers there.
    "http_proxy": "http://127.0.0.1:9",
    "HTTP_PROXY": "http://127.0.0.1:9",
}
"""What keeps a Ray that is started here from asking anything of the network."""


@contextlib.contextmanager
def _environment(variables: dict[str, str]) -> Iterator[None]:
    """Set variables for the processes that are started meanwhile."""
    before = {name: os.environ.get(name) for name in variables}
    os.environ.update(variables)
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                os.environ.pop(name)
            else:
                os.environ[name] = value
