"""What the page says of a run, in sentences and tables."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

from selfsort.report.numbers import any_value, count, decimal, duration, percent, speed


def summary(result: Mapping[str, Any], history: Sequence[Mapping[str, Any]]) -> list[str]:
    """Return the sentences at the top: what was done, and how good it is."""
    sentences = [_what_was_done(result), _how_well(result), _how_close(result)]
    if result.get("interrupted"):
        sentences.append("The training was stopped early: these figures are what it had learned.")
        if not any(name in row for row in history for name in ("mse", "bce")):
            sentences.append("The decoder had learned nothing yet: its pictures mean nothing.")
    sentences += [_unused_classes(result), _left_out(result)]
    return [sentence for sentence in sentences if sentence]


def n_training(result: Mapping[str, Any]) -> int | None:
    """Return how many images were learned from; figures may be of fewer."""
    return result.get("n_images") or (result.get("train") or {}).get("n_images")


def _what_was_done(result: Mapping[str, Any]) -> str:
    n_images = n_training(result)
    images = f"{count(n_images)} images" if n_images else f"the images of {result.get('data')}"
    took = f" in {duration(result['train_seconds'])}" if result.get("train_seconds") else ""
    n_classes, n_labels = result.get("n_classes"), result.get("n_labels")
    if not n_classes:
        return f"Trained an autoencoder without classes on {images}{took}."
    if not n_labels:
        return f"Sorted {images} into {n_classes} classes without labels{took}."
    if n_labels == n_images:
        return f"Learned {n_classes} classes from {images}, all with labels,{took}."
    return (
        f"Learned {n_classes} classes from {images}, {count(n_labels)} of them with labels,{took}."
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
    return scores, f"On the {count(n_images) + ' ' if n_images else ''}{kind} images"


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


def _left_out(result: Mapping[str, Any]) -> str:
    skipped = result.get("skipped")
    if not isinstance(skipped, list) or not skipped:
        return ""
    what = "1 picture" if len(skipped) == 1 else f"{count(len(skipped))} pictures"
    return f"{what} could not be read and took no part: result.json lists them."


def assumptions(result: Mapping[str, Any]) -> list[str]:
    """Return what the figures rest on, a sentence each."""
    lines = []
    n_classes, n_labels = result.get("n_classes"), result.get("n_labels")
    scored = _best_scores(result)[0].get("accuracy") is not None
    if not n_labels:
        use = "Labels were used only to score" if scored else "No labels were used"
        lines.append(f"{use}: the training never saw one.")
    else:
        lines.append(f"The training saw the labels of {count(n_labels)} images.")
    if n_classes and not n_labels:
        lines.append(_class_count(result, n_classes))
    if result.get("matched") and scored:
        lines.append(
            "For the accuracy each class got one label and each label one class, "
            "so that as many images as possible agree."
        )
    scored_images = (result.get("train") or {}).get("n_images")
    if scored_images and scored_images < (result.get("n_images") or 0):
        lines.append(
            f"Figures and pictures are of {count(scored_images)} of the training images, evenly "
            "spread over them: the images were read while they were learned from."
        )
    if result.get("test"):
        lines.append("The test images took no part in the training.")
    return lines


def _class_count(result: Mapping[str, Any], n_classes: int) -> str:
    if (result.get("asked") or {}).get("n_classes") != "auto":
        natural = result.get("natural_n_classes")
        suggested = f" The images themselves suggest {natural}." if natural else ""
        return f"The number of classes, {n_classes}, was given, not found.{suggested}"
    return f"The number of classes, {n_classes}, was found in the images, not given."


def stages(
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


def origin(result: Mapping[str, Any]) -> list[tuple[str, str]]:
    """Return name and value of what the run was made with."""
    versions, seed = result.get("versions") or {}, result.get("seed")
    rows = [
        ("Recipe", result.get("recipe")),
        ("Data", result.get("data")),
        ("Seed", None if seed is None else str(seed)),  # a name, not a quantity: no commas
        ("Epochs", result.get("epochs")),
        ("Speed", speed(result.get("images_per_second"))),
        ("Date", result.get("date")),
        ("Machine", result.get("machine")),
        ("Threads", result.get("threads")),
        ("Versions", ", ".join(f"{name} {version}" for name, version in versions.items())),
    ]
    return [(name, any_value(value)) for name, value in rows if value not in (None, "")]


def scalars(extra: Mapping[str, Any]) -> dict[str, Any]:
    """Return what a recipe reports beside lists and tables."""
    return {name: value for name, value in extra.items() if not isinstance(value, list | dict)}


def points(result: Mapping[str, Any]) -> list[list[str]]:
    """Return the lines of the table of multipliers."""
    found = (result.get("extra") or {}).get("points") or []
    return [
        [
            any_value(point["multiplier"]),
            percent(point["accuracy"]),
            decimal(point["reconstruction_mse"]),
        ]
        for point in found
    ]
