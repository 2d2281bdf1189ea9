"""Predictions on disk: Parquet parts of a fixed number of images each, and what they belong to."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Any, Literal, NamedTuple

import pyarrow as pa
import pyarrow.parquet as pq
import pydantic

from selfsort import checkpoints
from selfsort.checkpoints import to_json, write_atomically, write_text
from selfsort.errors import InputError, one_line
from selfsort.runs.folder import LOCK
from selfsort.verified import matching, naming

MANIFEST = "_manifest.json"
"""With a low line in front, readers of folders of Parquet files pass over it."""
PARTS, TEMPORARY = "part-*.parquet", ".part-*.parquet.part"
FACTS = b"selfsort.part"
MOST_PARTS = 1_000_000
"""As many as six digits can number."""


class Part(NamedTuple):
    """The images of one file: those from `first` to before `stop`."""

    number: int
    first: int
    stop: int

    @property
    def name(self) -> str:
        """The file's name."""
        return f"part-{self.number:06}.parquet"


class PartFacts(pydantic.BaseModel):
    """What a part says of itself, beside its rows."""

    model_config = pydantic.ConfigDict(extra="forbid", strict=True)

    first: int
    stop: int
    n_doubtful: int
    skipped: list[tuple[str, str]]
    """Name of each picture that was left out, and why."""

    @property
    def n_rows(self) -> int:
        """How many images have a row."""
        return self.stop - self.first - len(self.skipped)


class Manifest(pydantic.BaseModel):
    """What all parts of a folder are made of."""

    model_config = pydantic.ConfigDict(extra="forbid")

    format: Literal[1] = 1
    selfsort: str
    run: str
    model: str
    data: str
    fingerprint: str
    n_images: int
    part_size: int
    threads: int
    abstain: float | None
    on_error: str

    def difference(self, other: Manifest) -> str:
        """Return what another manifest has else, in words; "" where nothing is."""
        facts = (
            ("version of selfsort", self.selfsort, other.selfsort),
            ("model", f"{self.run} ({self.model[:8]})", f"{other.run} ({other.model[:8]})"),
            ("data", self._data(), other._data()),
            ("part size", self.part_size, other.part_size),
            ("number of threads", self.threads, other.threads),
            ("--abstain", self.abstain, other.abstain),
            ("--on-error", self.on_error, other.on_error),
        )
        same = {"model": self.model == other.model, "data": self._digest() == other._digest()}
        for name, mine, theirs in facts:
            if not same.get(name, mine == theirs):
                return f"another {name}: {mine} instead of {theirs}"
        return ""

    def _digest(self) -> tuple[str, int]:
        return self.fingerprint, self.n_images

    def _data(self) -> str:
        return f"{self.data} ({self.n_images} images, {self.fingerprint[:8]})"


def planned(n_images: int, part_size: int) -> list[Part]:
    """Return the parts of so many images.

    Examples
    --------
    >>> planned(5, 3)
    [Part(number=0, first=0, stop=3), Part(number=1, first=3, stop=5)]
    """
    n_parts = -(-n_images // part_size)
    if n_parts > MOST_PARTS:
        raise InputError(
            f"{n_images} images in parts of {part_size} would be {n_parts} files; {MOST_PARTS} "
            "at most are possible. Give a larger --part-size."
        )
    return [Part(i, i * part_size, min((i + 1) * part_size, n_images)) for i in range(n_parts)]


def model_digest(run: Path) -> str:
    """Return a SHA-256 of a run's model: its weights and configuration."""
    digest = hashlib.sha256()
    for name in (checkpoints.CONFIG, checkpoints.WEIGHTS):
        digest.update((run / name).read_bytes())
    return digest.hexdigest()


# ---- the folder -------------------------------------------------------------------------------


def check_parts_folder(folder: Path, manifest: Manifest, *, force: bool) -> None:
    """Raise unless the parts that a manifest describes may be written into a folder.

    They may where there is nothing yet, where there are parts of just that prediction, and with
    `force` where there are parts of another one.
    """
    if not folder.exists():
        return
    if not folder.is_dir():
        raise InputError(f"{folder}: is a file, not a folder. Give another --out.")
    path = folder / MANIFEST
    if not path.exists():
        names = {one.name for one in folder.iterdir()} - {LOCK}
        others = names - {one.name for one in matching(folder, TEMPORARY)}
        if others:
            raise InputError(
                f"{folder}: holds files that no prediction wrote, such as '{min(others)}'. "
                "Nothing was written: give another --out."
            )
    elif not force:
        different = _read_manifest(path).difference(manifest)
        if different:
            raise InputError(
                f"{folder}: was begun with {different}. Nothing was written: give another --out, "
                "or --force to begin anew."
            )
        _check_no_other_parts(folder, manifest)


def _check_no_other_parts(folder: Path, manifest: Manifest) -> None:
    wanted = {part.name for part in planned(manifest.n_images, manifest.part_size)}
    others = [path.name for path in matching(folder, PARTS) if path.name not in wanted]
    if others:
        raise InputError(
            f"{folder / others[0]}: is no part of this prediction. Nothing was written: remove "
            "it, or give another --out."
        )


def threads_before(folder: Path) -> int | None:
    """Return with how many threads parts were begun, which decide the last bits; None: not yet."""
    path = folder / MANIFEST
    return _read_manifest(path).threads if path.is_file() else None


def _read_manifest(path: Path) -> Manifest:
    try:
        return Manifest.model_validate_json(path.read_bytes())
    except (OSError, pydantic.ValidationError) as error:
        reason = error.strerror if isinstance(error, OSError) else error.errors()[0]["msg"]
        raise InputError(
            f"{path}: not a manifest of selfsort ({one_line(str(reason))}). Give another --out, "
            "or --force to begin anew."
        ) from error


def begin_parts(folder: Path, manifest: Manifest, *, force: bool) -> None:
    """Write the manifest, and remove what a killed process, and with `force` any, left."""
    for path in matching(folder, TEMPORARY):
        path.unlink(missing_ok=True)
    if force:
        (folder / MANIFEST).unlink(missing_ok=True)  # first: what is left belongs to nothing
        for path in matching(folder, PARTS):
            path.unlink()
    if not (folder / MANIFEST).exists():
        write_text(folder / MANIFEST, to_json(manifest.model_dump()))


# ---- one part ---------------------------------------------------------------------------------


def write_part(path: Path, table: pa.Table, facts: PartFacts) -> None:
    """Write a part that is whole or not there, and says of itself which images it holds."""
    told = table.replace_schema_metadata({FACTS: facts.model_dump_json().encode()})
    with naming(path):
        write_atomically(path, lambda temporary: pq.write_table(told, temporary))


def sound_part(folder: Path, part: Part) -> PartFacts | None:
    """Return what a part says of itself, if it is there, and what it should be; else None."""
    try:
        metadata: Any = pq.read_metadata(folder / part.name)
        facts = PartFacts.model_validate_json((metadata.metadata or {})[FACTS])
    except (OSError, ValueError, KeyError, pa.ArrowException):
        return None
    same = (facts.first, facts.stop) == (part.first, part.stop)
    return facts if same and metadata.num_rows == facts.n_rows else None
