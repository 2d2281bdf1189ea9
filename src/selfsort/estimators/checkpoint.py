"""Snapshots of a fit on the disk."""

from __future__ import annotations

import json
import time
import warnings
from numbers import Real
from pathlib import Path
from typing import Any

import safetensors.torch
import torch
from sklearn.utils._param_validation import Interval

from selfsort.checkpoints import to_json
from selfsort.errors import DamagedCheckpointWarning, InputError, NotFiniteError
from selfsort.estimators.resources import check_arguments
from selfsort.training.snapshot import Snapshot
from selfsort.verified import (
    DamagedError,
    matching,
    naming,
    read_folder,
    remove_folder,
    write_folder,
)

ARRAYS, FACTS = "arrays.safetensors", "facts.json"
LEAST_WORK = 20
"""Between two checkpoints a fit trains at least that many times as long as one takes."""
EVERY = 30.0


class Checkpoint:
    """Keep a fit on the disk while it trains, so that it goes on where it was killed.

    A callback of scikit-learn: ``estimator.set_callbacks(Checkpoint("work"))``. A `fit` of the
    same estimator, parameters and images then goes on from what is in the folder, and ends as if
    nothing had happened: on the same machine, with the same versions and threads, bit for bit.
    When it is done the checkpoints are deleted.

    The last two checkpoints are kept, each a folder with ``arrays.safetensors``, ``facts.json``
    and the checksums of both. One that is damaged is passed over, with a warning.

    Parameters
    ----------
    folder : str or Path
        Of this fit alone; made when the first checkpoint is.
    every : float, default=30.0
        Seconds between two checkpoints; 0: one after each step. They are fewer where writing one
        takes long, so that it takes a twentieth of the time at most.

    Raises
    ------
    InputError
        In `fit`, if the folder holds checkpoints of another fit.

    Examples
    --------
    >>> import tempfile
    >>> from sklearn.datasets import load_digits
    >>> from selfsort import Autoencoder, Checkpoint
    >>> images = load_digits().images[:100]
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     autoencoder = Autoencoder(epochs=2, random_state=0)
    ...     autoencoder = autoencoder.set_callbacks(Checkpoint(folder)).fit(images)
    >>> autoencoder.n_epochs_
    2
    """

    def __init__(self, folder: str | Path, every: float = EVERY) -> None:
        limits = {"every": [Interval(Real, 0, None, closed="left")]}
        check_arguments("Checkpoint", limits, every=every)
        self.folder = Path(folder)
        self.every = every
        self._good: Path | None = None
        self._next = 0.0

    # ---- what scikit-learn calls ----------------------------------------------------------

    def setup(self, estimator: Any, context: Any) -> None:
        """Begin a fit."""
        self._good = None
        self._next = time.monotonic() + self.every

    def teardown(self, estimator: Any, context: Any) -> None:
        """End a fit, whether it succeeded or not."""

    def on_fit_task_begin(
        self, estimator: Any, context: Any, *, metadata: dict[str, Any] | None = None
    ) -> None:
        """Begin a stage, an epoch or some steps."""

    def on_fit_task_end(
        self, estimator: Any, context: Any, *, metadata: dict[str, Any] | None = None
    ) -> bool:
        """Delete the checkpoints when a fit is done; return False: never stop."""
        if context.parent is None and not estimator.stopped_:
            self.clear()
        return False

    # ---- what the fit calls -----------------------------------------------------------------

    def newest(self, identity: dict[str, Any]) -> Snapshot | None:
        """Return the newest snapshot that is not damaged; None where there is none at all."""
        damages = []
        for path in reversed(self._kept()):
            try:
                found = _read(path)
            except DamagedError as error:
                damages.append(str(error))
                continue
            _check_same(path, found.facts["identity"], identity)
            if damages:
                warnings.warn(
                    f"{damages[0]}: the training goes on from {path}.",
                    DamagedCheckpointWarning,
                    stacklevel=2,
                )
            self._good = path
            return found
        if damages:
            raise InputError(
                f"{damages[0]}, and no older checkpoint can be used. Start the training again: "
                f"delete {self.folder}."
            )
        return None

    def due(self) -> bool:
        """Return whether it is time for a checkpoint."""
        return time.monotonic() >= self._next

    def keep(self, snapshot: Snapshot) -> None:
        """Write a checkpoint, and delete those before the last one."""
        start = time.monotonic()
        for name, array in snapshot.arrays.items():
            if array.is_floating_point() and not array.isfinite().all():
                raise NotFiniteError(
                    f"'{name}' became NaN or infinite: training stopped, the last checkpoint is "
                    "sound. Try a lower learning rate."
                )
        kept = self._kept()
        number = int(kept[-1].name) + 1 if kept else 1
        path = self.folder / f"{number:06d}"
        arrays = {name: array.detach().contiguous() for name, array in snapshot.arrays.items()}
        content = {
            ARRAYS: safetensors.torch.save(_apart(arrays)),
            FACTS: to_json(snapshot.facts).encode(),
        }
        write_folder(path, content)
        for old in kept:
            if old != self._good:
                remove_folder(old)
        self._good = path
        end = time.monotonic()
        self._next = end + (max(self.every, LEAST_WORK * (end - start)) if self.every else 0)

    def clear(self) -> None:
        """Delete all checkpoints, and the folder if nothing else is in it."""
        if not self.folder.is_dir():
            return
        for path in [*self._kept(), *matching(self.folder, ".*.part")]:
            remove_folder(path)
        with naming(self.folder):
            if not any(self.folder.iterdir()):
                self.folder.rmdir()

    def _kept(self) -> list[Path]:
        """Return the folders of all checkpoints, the oldest first."""
        found = matching(self.folder, "[0-9]*") if self.folder.is_dir() else ()
        return sorted((path for path in found if path.name.isdecimal()), key=lambda p: int(p.name))


def _apart(arrays: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """Return tensors none of which shares its memory with another."""
    seen: set[int] = set()
    apart = {}
    for name, array in arrays.items():
        pointer = array.untyped_storage().data_ptr()
        apart[name] = array.clone() if pointer in seen else array
        seen.add(pointer)
    return apart


def _read(path: Path) -> Snapshot:
    files = read_folder(path)
    try:
        arrays = safetensors.torch.load(files[ARRAYS])
        facts = json.loads(files[FACTS])
        return Snapshot(arrays, facts)
    except (KeyError, ValueError, safetensors.SafetensorError) as error:
        raise DamagedError(f"{path} is no checkpoint ({error})") from error


def _check_same(path: Path, kept: dict[str, Any], asked: dict[str, Any]) -> None:
    """Raise if a checkpoint is of another fit."""
    different = [name for name in asked if kept.get(name) != asked[name]]
    if "estimator" in different:  # everything else differs with it
        different = ["estimator"]
    elif "parameters" in different:
        before, now = kept.get("parameters") or {}, asked["parameters"]
        different = [name for name in now if before.get(name) != now[name]] or different
    if different:
        raise InputError(
            f"{path}: is a checkpoint of another fit (other {', '.join(different)}). Give another "
            "folder, or delete this one."
        )
