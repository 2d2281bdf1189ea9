"""What a model card says, from what lies in the folder of a model."""

from __future__ import annotations

import json
import shlex
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from selfsort.checkpoints import Config
from selfsort.datasets import known_datasets
from selfsort.report.numbers import any_value, count, percent
from selfsort.report.words import assumptions, n_training

Result = Mapping[str, Any]

NOT_STATED = "not stated: say it before you publish"


def title(config: Config, result: Result) -> str:
    """Return the heading."""
    data = str(result.get("data") or "images")
    if not config.n_classes:
        return f"An autoencoder of {data}"
    verb = "sorted into" if config.estimator == "AutoencoderClusterer" else "in"
    return f"{data} {verb} {config.n_classes} classes"


def data_rows(config: Config, result: Result) -> list[tuple[str, str]]:
    """Return what it was trained on: names and values."""
    rows = [("data", str(result.get("data") or "not stated"))]
    for part in ("train", "test"):
        scores = result.get(part)
        if scores:
            kind = "training" if part == "train" else "test"
            n_images = n_training(result) if part == "train" else scores.get("n_images")
            rows.append((f"{kind} images", count(n_images)))
    rows.append(("size", size_in_words(config)))
    if result:
        rows.append(("images with a label that it learned from", count(result.get("n_labels"))))
        skipped = result.get("skipped")
        if skipped:
            rows.append(("pictures that could not be read, left out", count(len(skipped))))
    rows.append(("licence of the data", data_licence(result)))
    return rows


def size_in_words(config: Config) -> str:
    """Return what one input is.

    Examples
    --------
    >>> from types import SimpleNamespace
    >>> size_in_words(SimpleNamespace(input_shape=[1, 28, 28]))
    '28×28 pixels, grey'
    """
    if len(config.input_shape) == 1:
        return f"vectors of {config.input_shape[0]} numbers"
    channels, height, width = config.input_shape
    kind = {1: "grey", 3: "colour"}.get(channels, f"{channels} channels")
    return f"{height}×{width} pixels, {kind}"


def images_in_words(config: Config) -> str:
    """Return the form in which the model takes images."""
    low, high = config.input_range
    units = f"numbers from {low:g} to {high:g}"
    if len(config.input_shape) == 1 or config.input_layout == "flat":
        return f"(n, {config.n_features_in}), {units}"
    channels, height, width = config.input_shape
    last = f", {channels}" if config.input_layout == "nhwc" else ""
    return f"(n, {height}, {width}{last}), {units}"


def data_licence(result: Result) -> str:
    """Return the licence of a named data set; of other data nobody told it."""
    asked = (result.get("asked") or {}).get("data")
    found = [info.licence for info in known_datasets() if info.name == asked]
    return found[0] if found and found[0] else NOT_STATED


def class_lines(config: Config, result: Result) -> list[str]:
    """Return how many classes there are, where that is from, and their names."""
    if not config.n_classes:
        return []
    if config.classes is None:
        named = (
            f"{config.n_classes} classes, numbered from 0. The numbers mean nothing: another "
            "training numbers them otherwise."
        )
    else:
        named = f"{config.n_classes} classes: {', '.join(map(str, config.classes))}."
    return [named, *(line for line in assumptions(result) if "number of classes" in line)]


def measured_lines(result: Result) -> list[str]:
    """Return what the figures rest on, and what leaving out images in doubt buys."""
    lines = [line for line in assumptions(result) if "number of classes" not in line]
    kind = "test" if result.get("test") else "training"
    for row in result.get("doubt") or []:
        lines.append(
            f"With abstain={row['probability']:g}, {percent(row['kept'])} of the {kind} images "
            f"get a class, and {percent(row['accuracy'])} of these the right one."
        )
    return lines


def choice_lines(config: Config, result: Result) -> list[str]:
    """Return how seed, number of epochs and whatever else there was to choose were chosen."""
    seed = config.parameters.get("random_state")
    lines = [
        "Seed: drawn by chance." if seed is None else f"Seed: {seed}, told before the training.",
        _stopping(config, result),
    ]
    if not result.get("n_labels") and config.parameters.get("method") == "sort":
        lines.append(
            "Of several heads and groupings that were learned, those with the best objective were "
            "kept: no label had a part in it."
        )
    lines.append(
        "Whether it was picked among several trainings, and by what, only whoever publishes it "
        "can say."
    )
    return lines


def _stopping(config: Config, result: Result) -> str:
    if result.get("interrupted"):
        return "Stopping: by hand, before the training was done."
    if config.parameters.get("epochs") is None and not config.parameters.get("phases"):
        return (
            "Stopping: after the epochs that the number of images asks for; no label or held-out "
            "image decides."
        )
    return "Stopping: after the epochs that were asked for; no label or held-out image decides."


def limit_lines(config: Config, result: Result) -> list[str]:
    """Return what the model assumes and what it fails at."""
    lines = [
        f"It takes images like those that it learned from, of {size_in_words(config)}, and no "
        "others."
    ]
    if config.n_classes:
        lines.append(
            "An image of something else gets a class too, at times with a high probability: look "
            "at outlier_score, and use abstain."
        )
    n_images = n_training(result) or 0
    n_labels = result.get("n_labels") or 0
    if not result or 2 * n_labels < n_images:
        lines += _of_few_labels(config)
    if config.estimator == "AutoencoderClassifier":
        lines.append("It can be no better than the labels that it learned from.")
    lines += [
        "What the decoder shows is typical of a class, not one image of it; details are lost.",
        "The weights say something of the images that they were learned from"
        + (
            ", and the file holds the class of each training image."
            if config.estimator == "AutoencoderClusterer"
            else "."
        ),
        "It was not examined for whom it treats unfairly. Do not let it decide about people.",
    ]
    return lines


def _of_few_labels(config: Config) -> list[str]:
    if not config.n_classes:
        return []
    return [
        "It takes images for one class that look alike but for small shifts, turns and "
        "differences in thickness or light. Where that is not what a person means, the classes "
        "are not either.",
        "Where classes differ much in size, such as ten to one, small ones may be mixed up.",
        "selfsort was measured on digits. Photos of varied objects in front of changing "
        "backgrounds are much harder, and were not measured.",
    ]


def command_of(result: Result) -> str | None:
    """Return how to train it again: the command without the paths of one's machine."""
    asked = result.get("asked") or {}
    if not asked.get("data"):
        return None
    words = ["selfsort", "train", _without_path(asked["data"])]
    words += ["--recipe", str(result.get("recipe")), "--seed", str(result.get("seed"))]
    options = {"n_classes": "--classes", "labels": "--labels", "epochs": "--epochs"}
    for name, option in {**options, "size": "--size", "on_error": "--on-error"}.items():
        if asked.get(name) not in (None, "none", "skip"):
            words += [option, _without_path(str(asked[name]))]
    for name, value in (result.get("set") or {}).items():
        words += ["--set", f"{name}={json.dumps(value)}"]
    if result.get("threads"):
        words += ["--threads", str(result["threads"])]
    return shlex.join(words)


def _without_path(text: str) -> str:
    return Path(text).name or text


def origin_rows(result: Result) -> list[tuple[str, str]]:
    """Return what a training depends on beside the command."""
    versions = result.get("versions") or {}
    rows = [
        ("versions", ", ".join(f"{name} {version}" for name, version in versions.items())),
        ("machine", result.get("machine")),
        ("device", result.get("device")),
        ("threads", result.get("threads")),
        ("date", result.get("date")),
    ]
    return [(name, any_value(value)) for name, value in rows if value not in (None, "")]


def licence_lines(result: Result, licence: str | None) -> list[str]:
    """Return whose terms there are: of the code, the data, and these weights."""
    return [
        "selfsort's code: BSD-3-Clause",
        f"the data: {data_licence(result)}",
        f"these weights: {licence or NOT_STATED}",
    ]
