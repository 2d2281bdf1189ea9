"""What the corrections are good for outside: labels in a CSV file, images in class folders."""

from __future__ import annotations

import csv
import io
import os
import shutil
from pathlib import Path

import numpy as np

from selfsort.checkpoints import write_atomically
from selfsort.errors import InputError
from selfsort.runs.data import keys_of
from selfsort.runs.folder import free_name
from selfsort.verified import naming
from selfsort.web.album import png
from selfsort.web.studio import Studio

FOLDER = "export"
NOTHING = "none of these"
MAX_FOLDER_NAME = 60


def labels_csv(studio: Studio) -> str:
    """Return the class of every image, as `selfsort train --labels` reads it.

    Images that are none of these have no class.
    """
    with studio.lock:
        header, keys = keys_of(studio.images)
        names = {k: group.name for k, group in studio.board.classes.items()}
        rows = [
            (key, names.get(int(label), ""))
            for key, label in zip(keys, studio.board.labels, strict=True)
        ]
    text = io.StringIO(newline="")
    writer = csv.writer(text)
    writer.writerow((header, "class"))
    writer.writerows(rows)
    return text.getvalue()


def next_folder(studio: Studio) -> Path:
    """Return where the next export goes."""
    return free_name(studio.folder, FOLDER).absolute()


def export_folders(studio: Studio, how: object) -> tuple[Path, int]:
    """Put every image into a folder named after its class; return the folder and their number.

    Parameters
    ----------
    studio : Studio
    how : {"copy", "link"}
        Copies, or hard links to the files; images that do not come from files are written.
    """
    if how not in ("copy", "link"):
        raise InputError(f"how must be 'copy' or 'link'. Got {how!r} instead.")
    with studio.exporting:  # one after the other
        return _export(studio, link=how == "link")


def _export(studio: Studio, *, link: bool) -> tuple[Path, int]:
    with studio.lock:
        folder = next_folder(studio)
        labels = studio.board.labels.copy()
        names = {k: group.name for k, group in studio.board.classes.items()}
    folders = safe_names([*names.values(), NOTHING])
    folder_of = dict(zip([*names, -1], folders, strict=True))
    with naming(folder):
        partial = folder.with_name(f".{folder.name}.part")
        if partial.exists():
            shutil.rmtree(partial)
        for name in folders[: len(names)] + folders[-1:] * bool((labels < 0).any()):
            (partial / name).mkdir(parents=True)
        taken: set[Path] = set()
        for i, label in enumerate(labels):
            _put(studio, i, partial / folder_of[int(label)], taken, link=link)
        (partial / "labels.csv").write_text(labels_csv(studio), encoding="utf-8", newline="")
        partial.rename(folder)
    return folder, len(labels)


def _put(studio: Studio, i: int, folder: Path, taken: set[Path], *, link: bool) -> None:
    source = _source(studio, i)
    name = studio.album.names[i].replace("/", "_") if source else f"{i}.png"
    target, number = folder / name, 2
    while target in taken:
        target, number = folder / f"{Path(name).stem}-{number}{Path(name).suffix}", number + 1
    taken.add(target)
    if source is None:
        content = png(np.asarray(studio.images.images[i]))
        write_atomically(target, lambda temporary: temporary.write_bytes(content))
    elif link:
        try:
            os.link(source, target)
        except OSError as error:
            raise InputError(
                f"{target}: a hard link cannot be made ({error.strerror}): copy the images instead."
            ) from error
    else:
        shutil.copy2(source, target)


def _source(studio: Studio, i: int) -> Path | None:
    """Return the file that an image was read from; None where it comes from an array."""
    if studio.images.names is None or studio.data_path is None:
        return None
    path = Path(studio.data_path) / studio.album.names[i]
    return path if path.is_file() else None


def safe_names(names: list[str]) -> list[str]:
    """Return a folder name for each class name, all different.

    Examples
    --------
    >>> safe_names(["a/b", "..", "A b", "a b", ""])
    ['a_b', '_', 'A b', 'a b-2', '_-2']
    """
    found: list[str] = []
    for name in names:
        kept = "".join(c if c.isalnum() or c in " -_" else "_" for c in name).strip(" _")
        base = kept.encode()[:MAX_FOLDER_NAME].decode(errors="ignore").strip() or "_"
        candidate, number = base, 2
        while candidate.casefold() in {one.casefold() for one in found}:
            candidate, number = f"{base}-{number}", number + 1
        found.append(candidate)
    return found
