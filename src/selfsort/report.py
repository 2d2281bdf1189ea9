"""One HTML page per run, that needs nothing but itself."""

from __future__ import annotations

import base64
import io
import json
import math
import os
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from jinja2 import Environment, PackageLoader
from PIL import Image

from selfsort.errors import InputError

MAX_PICTURE_BYTES = 3_500_000  # of all PNGs: 4.7 MB as base64, so that the page stays below 5 MB

# name, heading, what it shows, what it says to a person who cannot see it
SECTIONS = (
    (
        "prototypes",
        "What each class looks like",
        "The decoder's picture of each class, with the class's mean style. The number counts "
        "training images.",
        "One picture for each class: the decoder's prototype of it.",
    ),
    (
        "reconstructions",
        "Images and their reconstructions",
        "Above: ten images. Below: what the network rebuilds from class and style.",
        "Ten images in a row, and below each its reconstruction.",
    ),
    (
        "confusion",
        "Which classes are mixed up",
        "One row for each label, one column for each class; the number counts images. "
        "The diagonal is agreement.",
        "Confusion matrix: labels in rows, classes in columns, counts in the cells.",
    ),
    (
        "curves",
        "Learning curves",
        "The value of each term of the loss after every epoch, and the accuracy where it was "
        "measured. Shaded: the stages.",
        "Line charts of the loss terms over the epochs.",
    ),
    (
        "tradeoff",
        "Accuracy against reconstruction",
        "One point for each multiplier of the loss; up and left is better.",
        "Scatter chart of accuracy against reconstruction error, one point for each multiplier.",
    ),
    (
        "epochs",
        "The same images after each epoch",
        "Top: the images. Below: their reconstructions after each epoch that trained the decoder.",
        "Ten images, and below them one row of reconstructions for each epoch.",
    ),
)
FIGURES = (
    ("accuracy", "Accuracy", "percent", "share of images in the right class"),
    ("nmi", "NMI", "decimal", "normalised mutual information, 0 to 1"),
    ("ari", "ARI", "decimal", "adjusted Rand index; 0 is chance, 1 is perfect"),
    ("classes_in_use", "Classes in use", "count", "classes with at least one image"),
    (
        "reconstruction_mse",
        "Reconstruction error",
        "decimal",
        "mean squared error of a pixel, brightness from 0 to 1",
    ),
)


class Picture(NamedTuple):
    """A picture as the page shows it."""

    title: str
    caption: str
    alt: str
    uri: str
    width: int
    height: int


def write_report(folder: Path) -> Path:
    """Write ``report.html`` from what lies in a run folder.

    The page holds everything: pictures as base64, style in the page, no script. It takes at
    most 5 MB; where the pictures are more, the largest are reduced.

    Parameters
    ----------
    folder : Path
        Run folder with ``result.json``, and where they exist ``history.jsonl`` and the
        pictures.

    Returns
    -------
    path : Path
        The page.

    Raises
    ------
    InputError
        If ``result.json`` is missing or not readable, or a picture is no PNG.

    Examples
    --------
    >>> import tempfile
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     _ = Path(folder, "result.json").write_text('{"recipe": "plain", "data": "digits"}')
    ...     write_report(Path(folder)).name
    'report.html'
    """
    folder = Path(folder)
    result = _read_result(folder)
    history = _read_history(folder)
    pictures, sheets = _read_pictures(folder)
    page = _environment().get_template("report.html")
    html = page.render(
        result=result,
        summary=_summary(result, history),
        assumptions=_assumptions(result),
        sets=[(name, result[name]) for name in ("train", "test") if result.get(name)],
        figures=FIGURES,
        stages=_stages(result, history),
        extra=_scalars(result.get("extra") or {}),
        points=_points(result),
        origin=_origin(result),
        pictures=pictures,
        sheets=sheets,
    )
    return _replace(folder / "report.html", html)


def _environment() -> Environment:
    environment = Environment(
        loader=PackageLoader("selfsort"), autoescape=True, trim_blocks=True, lstrip_blocks=True
    )
    formats = {"percent": _percent, "decimal": _decimal, "count": _count, "duration": _duration}
    environment.filters.update(formats, value=_value)
    environment.globals.update(formats=formats)
    return environment


# Reading the folder


def _read_result(folder: Path) -> dict[str, Any]:
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


def _read_history(folder: Path) -> list[dict[str, Any]]:
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


def _read_pictures(folder: Path) -> tuple[list[Picture], list[Picture]]:
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


def _class_sheets(folder: Path) -> list[tuple[int, Path]]:
    matches = [(re.fullmatch(r"class-(\d+)\.png", p.name), p) for p in folder.glob("class-*.png")]
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


# What the page says


def _summary(result: Mapping[str, Any], history: Sequence[Mapping[str, Any]]) -> list[str]:
    sentences = [_what_was_done(result), _how_well(result), _how_close(result)]
    if result.get("interrupted"):
        sentences.append("The training was stopped early: these figures are what it had learned.")
        if not any(name in row for row in history for name in ("mse", "bce")):
            sentences.append("The decoder had learned nothing yet: its pictures mean nothing.")
    unused = _unused_classes(result)
    if unused:
        sentences.append(unused)
    return [sentence for sentence in sentences if sentence]


def _what_was_done(result: Mapping[str, Any]) -> str:
    n_images = (result.get("train") or {}).get("n_images")
    images = f"{_count(n_images)} images" if n_images else f"the images of {result.get('data')}"
    took = f" in {_duration(result['train_seconds'])}" if result.get("train_seconds") else ""
    n_classes, n_labels = result.get("n_classes"), result.get("n_labels")
    if not n_classes:
        return f"Trained an autoencoder without classes on {images}{took}."
    if not n_labels:
        return f"Sorted {images} into {n_classes} classes without labels{took}."
    if n_labels == n_images:
        return f"Learned {n_classes} classes from {images}, all with labels,{took}."
    return (
        f"Learned {n_classes} classes from {images}, {_count(n_labels)} of them with labels,{took}."
    )


def _how_well(result: Mapping[str, Any]) -> str:
    scores, which = _best_scores(result)
    if scores.get("accuracy") is None:
        reason = "there are no classes" if not result.get("n_classes") else "no labels to compare"
        return f"There is no accuracy: {reason}."
    share = f"{100 * scores['accuracy']:.1f} %"
    if result.get("matched"):
        return f"{which}, {share} fall in the class that matches their label best."
    return f"{which}, {share} are put in the right class."


def _best_scores(result: Mapping[str, Any]) -> tuple[Mapping[str, Any], str]:
    name = "test" if result.get("test") else "train"
    scores = result.get(name) or {}
    n_images = scores.get("n_images")
    kind = "test" if name == "test" else "training"
    return scores, f"On the {_count(n_images) + ' ' if n_images else ''}{kind} images"


def _how_close(result: Mapping[str, Any]) -> str:
    error = _best_scores(result)[0].get("reconstruction_mse")
    if error is None or not error >= 0:
        return ""
    return (
        "A pixel of a rebuilt image is typically "
        f"{100 * math.sqrt(error):.0f} % of the brightness range away from the original."
    )


def _unused_classes(result: Mapping[str, Any]) -> str:
    n_classes, in_use = result.get("n_classes"), (result.get("train") or {}).get("classes_in_use")
    if not n_classes or in_use is None or in_use >= n_classes:
        return ""
    return f"Only {in_use} of {n_classes} classes are in use."


def _assumptions(result: Mapping[str, Any]) -> list[str]:
    lines = []
    n_classes, n_labels = result.get("n_classes"), result.get("n_labels")
    scored = _best_scores(result)[0].get("accuracy") is not None
    if not n_labels:
        use = "Labels were used only to score" if scored else "No labels were used"
        lines.append(f"{use}: the training never saw one.")
    else:
        lines.append(f"The training saw the labels of {_count(n_labels)} images.")
    if n_classes and not n_labels:
        lines.append(f"The number of classes, {n_classes}, was given, not found.")
    if result.get("matched") and scored:
        lines.append(
            "For the accuracy each class got one label and each label one class, "
            "so that as many images as possible agree."
        )
    if result.get("test"):
        lines.append("The test images took no part in the training.")
    return lines


def _stages(
    result: Mapping[str, Any], history: Sequence[Mapping[str, Any]]
) -> list[tuple[str, int | None, float | None]]:
    """Return name, number of epochs and seconds of every stage, in order."""
    seconds = result.get("stage_seconds") or {}
    epochs: dict[str, int] = {}
    for row in history:
        name = str(row.get("stage", ""))
        epochs[name] = epochs.get(name, 0) + 1
    names = list(seconds) + [name for name in epochs if name not in seconds]
    return [(name, epochs.get(name), seconds.get(name)) for name in names]


def _origin(result: Mapping[str, Any]) -> list[tuple[str, str]]:
    versions = result.get("versions") or {}
    rows = [
        ("Recipe", result.get("recipe")),
        ("Data", result.get("data")),
        ("Seed", _text(result.get("seed"))),
        ("Epochs", result.get("epochs")),
        ("Speed", _speed(result.get("images_per_second"))),
        ("Date", result.get("date")),
        ("Machine", result.get("machine")),
        ("Threads", result.get("threads")),
        ("Versions", ", ".join(f"{name} {version}" for name, version in versions.items())),
    ]
    return [(name, _value(value)) for name, value in rows if value not in (None, "")]


def _scalars(extra: Mapping[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in extra.items() if not isinstance(value, list | dict)}


def _points(result: Mapping[str, Any]) -> list[list[str]]:
    """Return the lines of the table of multipliers."""
    points = (result.get("extra") or {}).get("points") or []
    return [
        [
            _value(point["multiplier"]),
            _percent(point["accuracy"]),
            _decimal(point["reconstruction_mse"]),
        ]
        for point in points
    ]


# Numbers as people write them


def _missing(value: object) -> bool:
    return not isinstance(value, int | float) or not math.isfinite(value)


def _percent(value: float | None) -> str:
    return "n/a" if value is None or _missing(value) else f"{100 * value:.2f} %"


def _decimal(value: float | None) -> str:
    return "n/a" if value is None or _missing(value) else f"{value:.4f}"


def _count(value: int | None) -> str:
    return "n/a" if value is None or _missing(value) else f"{value:,}"


def _speed(value: float | None) -> str | None:
    return None if value is None or _missing(value) else f"{round(value):,} images per second"


def _duration(seconds: float | None) -> str:
    """Return a duration in the unit that suits it.

    Examples
    --------
    >>> [_duration(seconds) for seconds in (3.14, 59.6, 240, 7300)]
    ['3.1 seconds', '60 seconds', '4.0 minutes', '2.0 hours']
    """
    if seconds is None or _missing(seconds):
        return "n/a"
    if seconds < 90:
        return f"{seconds:.1f} seconds" if seconds < 10 else f"{seconds:.0f} seconds"
    if seconds < 5400:
        return f"{seconds / 60:.1f} minutes"
    return f"{seconds / 3600:.1f} hours"


def _text(value: object) -> str | None:
    return None if value is None else str(value)


def _value(value: object) -> str:
    """Return any value of a result as text."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        return str(value)
    return f"{value:,}" if isinstance(value, int) else f"{value:,.6g}"


def _replace(path: Path, text: str) -> Path:
    partial = path.with_name(f".{path.name}.{os.getpid()}.part")
    try:
        partial.write_text(text, encoding="utf-8")
        partial.replace(path)
    finally:
        partial.unlink(missing_ok=True)
    return path
