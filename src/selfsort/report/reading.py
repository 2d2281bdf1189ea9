"""What lies in a run folder: result, history, and pictures as the page takes them."""

from __future__ import annotations

import base64
import io
import json
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

from PIL import Image

from selfsort.errors import InputError
from selfsort.report.sections import SECTIONS
from selfsort.verified import matching

MAX_PICTURE_BYTES = 3_500_000  # of all PNGs: 4.7 MB as base64, so that the page stays below 5 MB


class Picture(NamedTuple):
    """A picture as the page shows it."""

    title: str
    caption: str
    alt: str
    uri: str
    width: int
    height: int


def read_result(folder: Path) -> dict[str, Any]:
    """Return what ``result.json`` holds."""
    path = folder / "result.json"
    try:
        result = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise InputError(
            f"{folder}: no run (there is no result.json). "
            "Give a folder that 'selfsort train DATA --out DIR' has written."
        ) from None
    except (ValueError, OSError) as error:
        raise _unreadable(path, str(error)) from None
    if not isinstance(result, dict):
        raise _unreadable(path, "it holds no object")
    return result


def _unreadable(path: Path, fact: str) -> InputError:
    return InputError(f"{path}: not readable ({fact}). Run the training again.")


def read_history(folder: Path) -> list[dict[str, Any]]:
    """Return the rows of ``history.jsonl``, without those that are half written."""
    path = folder / "history.jsonl"
    if not path.exists():
        return []
    rows = []
    for line in path.read_text(encoding="utf-8", errors="replace").splitlines():
        try:
            row = json.loads(line)
        except ValueError:  # the last line of a run that was killed may be half written
            continue
        if isinstance(row, dict):
            rows.append(row)
    return rows


def read_pictures(folder: Path) -> tuple[list[Picture], list[Picture]]:
    """Return the pictures of the sections, and those of the classes."""
    paths = [folder / f"{name}.png" for name, *_ in SECTIONS]
    texts = [section[1:] for section in SECTIONS]
    for number, path in _class_sheets(folder):
        paths.append(path)
        texts.append((f"Class {number}", "", f"Images that were put into class {number}."))
    found = [(path, text) for path, text in zip(paths, texts, strict=True) if path.exists()]
    contents = _within_budget([_read_png(path) for path, _ in found])
    pictures = [_picture(png, *text) for png, (_, text) in zip(contents, found, strict=True)]
    n_sections = sum(path.exists() for path in paths[: len(SECTIONS)])
    return pictures[:n_sections], pictures[n_sections:]


def read_strips(folder: Path, sections: Sequence[tuple[str, str, str, str]]) -> list[Picture]:
    """Return the pictures of some sections that are in a folder."""
    found = [(folder / f"{name}.png", texts) for name, *texts in sections]
    found = [(path, texts) for path, texts in found if path.exists()]
    contents = _within_budget([_read_png(path) for path, _ in found])
    return [_picture(png, *texts) for png, (_, texts) in zip(contents, found, strict=True)]


def _class_sheets(folder: Path) -> list[tuple[int, Path]]:
    found = matching(folder, "class-*.png")
    matches = [(re.fullmatch(r"class-(\d+)\.png", p.name), p) for p in found]
    return sorted((int(match[1]), path) for match, path in matches if match)


def _read_png(path: Path) -> bytes:
    content = path.read_bytes()
    try:
        with Image.open(io.BytesIO(content), formats=["PNG"]) as image:
            image.load()
    except (OSError, SyntaxError):  # Pillow's own words name only a buffer
        raise InputError(
            f"{path}: not a readable PNG. Delete it, or run the training again."
        ) from None
    return content


def _within_budget(contents: Sequence[bytes]) -> list[bytes]:
    """Reduce the largest pictures until all fit into the page."""
    contents = list(contents)
    while sum(map(len, contents)) > MAX_PICTURE_BYTES:
        largest = max(range(len(contents)), key=lambda i: len(contents[i]))
        contents[largest] = _reduced(contents[largest])
    return contents


def _reduced(png: bytes) -> bytes:
    with Image.open(io.BytesIO(png)) as image:
        size = [max(1, round(0.7 * length)) for length in image.size]
        smaller = image.convert("RGB").resize((size[0], size[1])).quantize(64)
    buffer = io.BytesIO()
    smaller.save(buffer, "PNG", optimize=True)
    return buffer.getvalue()


def _picture(png: bytes, title: str, caption: str, alt: str) -> Picture:
    uri = "data:image/png;base64," + base64.b64encode(png).decode("ascii")
    with Image.open(io.BytesIO(png)) as image:
        return Picture(title, caption, alt, uri, *image.size)
