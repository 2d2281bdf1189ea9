"""Parts made by processes that Ray starts: on the cores of this machine, or of a cluster."""

from __future__ import annotations

import contextlib
import logging
import os
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np

from selfsort.errors import InputError
from selfsort.runs.bulk import PartMaker, Work
from selfsort.runs.parts import Part, PartFacts


class RayMaker:
    """A `PartMaker` in a process of Ray's: rows of a list of parts go in, facts come out."""

    def __init__(self, work: Work) -> None:
        self.make = PartMaker(work)

    def __call__(self, batch: dict[str, np.ndarray]) -> dict[str, list[Any]]:
        numbers, found, errors = [], [], []
        for row in zip(batch["number"], batch["first"], batch["stop"], strict=True):
            part = Part(*map(int, row))
            numbers.append(part.number)
            try:
                found.append(self.make(part).model_dump_json())
                errors.append("")
            except InputError as error:  # as a value: Ray would wrap it into its own
                found.append("")
                errors.append(str(error))
        return {"number": numbers, "facts": found, "error": errors}


def made_on_ray(
    work: Work, parts: Sequence[Part], workers: int | None = None
) -> Iterator[tuple[Part, PartFacts]]:
    """Make parts by a pool of processes, and yield each with its facts, in the order they come."""
    if not parts:
        return
    import ray
    import ray.data

    of_number = {part.number: part for part in parts}
    with _running(ray):
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
        for row in made.iter_rows():
            if row["error"]:
                raise InputError(row["error"])
            yield of_number[row["number"]], PartFacts.model_validate_json(row["facts"])


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
def _running(ray: Any) -> Iterator[None]:
    """Start Ray on this machine, or join the cluster that RAY_ADDRESS names, and leave it after.

    Where it runs already it is used as it is. It asks nothing of the network: no statistics of
    use are sent, and there is no dashboard.
    """
    if ray.is_initialized():
        yield
        return
    os.environ["RAY_USAGE_STATS_ENABLED"] = "0"
    here = {"include_dashboard": False, "_node_ip_address": "127.0.0.1"}
    joins = bool(os.environ.get("RAY_ADDRESS"))
    ray.init(logging_level=logging.ERROR, log_to_driver=False, **({} if joins else here))
    context = ray.data.DataContext.get_current()
    context.enable_progress_bars = False
    logging.getLogger("ray.data").setLevel(logging.ERROR)
    try:
        yield
    finally:
        ray.shutdown()
