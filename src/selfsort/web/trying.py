"""New images on the page: what class they are, and what the decoder makes of class and style."""

from __future__ import annotations

import base64
import binascii
from typing import Any

import numpy as np
from PIL import Image

from selfsort.errors import InputError
from selfsort.estimators.outputs import features_part
from selfsort.images import ImageSet
from selfsort.images.drawing import INK, box_of, place_in
from selfsort.images.pixels import picture_of
from selfsort.runs.data import as_given
from selfsort.web.album import png, to_bytes
from selfsort.web.studio import N_SHOWN, Studio

N_STYLES = 16
N_MEASURED = 500
"""Images from which it is seen how large things are drawn."""


def classify(studio: Studio, picture: object, drawn: object) -> dict[str, Any]:
    """Return what the network says of a picture.

    Parameters
    ----------
    studio : Studio
    picture : str
        A PNG or JPEG as a data URL.
    drawn : bool
        It is drawn by hand, white on black: it is brought to the size and place that things have
        in the images of the run.

    Raises
    ------
    InputError
        If it is no picture that can be read.
    """
    channels, height, width = studio.images.images.shape[1:]
    content = decoded(picture)
    if drawn is True:
        pixels = as_drawn_in(
            studio.images, picture_of(content, "the drawing", 4 * height, 4 * width)
        )
    else:
        pixels = with_channels(picture_of(content, "the picture", height, width), channels)
    estimator = studio.estimator(studio.board.run)
    X = as_given(ImageSet(pixels[None]))
    facts = studio.facts(studio.board.run)
    probabilities = estimator.predict_proba(X)[0]
    latent = estimator.transform(X)[0]
    (features,) = estimator._collected(estimator._prepared(X), features_part)
    distance = ((facts.features - features[0]) ** 2).sum(1)
    nearest = np.argsort(distance, kind="stable")[:N_SHOWN]
    with studio.lock:
        groups = {
            number: float(sum(probabilities[k] for k in group.columns))
            for number, group in studio.board.classes.items()
        }
    ranked = sorted(groups, key=lambda number: (-groups[number], number))
    n_code = len(latent) - estimator.style_width_
    return {
        "class": ranked[0],
        "probabilities": [{"class": k, "p": round(min(groups[k], 1.0), 5)} for k in ranked],
        "outlier": round(float(estimator.outlier_score(X)[0]), 4),
        "input": as_url(pixels),
        "reconstruction": as_url(_as_pixels(estimator.reconstruct(X))),
        "nearest": [studio.album.id_of(int(i)) for i in nearest],
        "style": [float(value) for value in latent[n_code:][:N_STYLES]],
    }


def styles(studio: Studio) -> dict[str, Any]:
    """Return the range of each style: its mean, and two deviations to both sides."""
    estimator = studio.estimator(studio.board.run)
    means, factors = estimator.style_means_, estimator.style_factors_
    within = np.einsum("kij,kij->ki", factors, factors).mean(0)
    deviation = np.sqrt(within + means.var(0))
    middle = means.mean(0)
    return {
        "dims": [
            {"low": float(m - 2 * d), "high": float(m + 2 * d), "mean": float(m)}
            for m, d in zip(middle[:N_STYLES], deviation[:N_STYLES], strict=True)
        ]
    }


def decode(studio: Studio, asked: dict[str, Any]) -> dict[str, Any]:
    """Return the decoder's picture of a class, or of what lies between two, with a style."""
    estimator = studio.estimator(studio.board.run)
    start = _prototype_latent(studio, asked.get("class"))
    end = start if asked.get("to") is None else _prototype_latent(studio, asked.get("to"))
    share = _number(asked.get("share", 0.0), "share")
    latent = (1 - share) * start + share * end
    style = asked.get("style")
    if style is not None:
        n_style = estimator.style_width_
        if not isinstance(style, list) or len(style) != min(n_style, N_STYLES):
            raise InputError(f"style must be a list of {min(n_style, N_STYLES)} numbers.")
        values = [_number(value, "style", 1e6) for value in style]
        first = len(latent) - n_style
        latent[first : first + len(values)] = values
    image = estimator.inverse_transform(latent[None])
    return {"image": as_url(_as_pixels(image))}


def prototype(studio: Studio, number: int) -> bytes:
    """Return a class's prototype as a PNG; that of its first network class where it has several."""
    estimator = studio.estimator(studio.board.run)
    image = estimator.inverse_transform(_prototype_latent(studio, number)[None])
    return png(_as_pixels(image))


def _prototype_latent(studio: Studio, number: object) -> np.ndarray:
    """Return the latent of a class: its code and mean style, mean over what it is made of."""
    columns = sorted(studio.board.classes[studio.board.check_class(number)].columns)
    if not columns:
        raise InputError("The network has not learned this class yet: learn from the corrections.")
    estimator = studio.estimator(studio.board.run)
    counts = np.bincount(
        studio.facts(studio.board.run).probabilities.argmax(1),
        minlength=len(estimator.style_means_),
    )
    column = max(columns, key=lambda k: (counts[k], -k))
    codes = estimator.model_.bottleneck.prototype_codes().detach().cpu().numpy()
    return np.concatenate([codes[column], estimator.style_means_[column]]).astype(np.float32)


def _as_pixels(images: np.ndarray) -> np.ndarray:
    """Return the first image of an estimator's answer as ``uint8 (channels, height, width)``."""
    image = images[0]
    return to_bytes(image[None] if image.ndim == 2 else image.transpose(2, 0, 1))


def _number(value: object, name: str, most: float = 1.0) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float) or not abs(value) <= most:
        raise InputError(f"{name} must be a number of at most {most:g}.")
    return float(value)


def as_url(pixels: np.ndarray) -> str:
    """Return a picture as a data URL."""
    return "data:image/png;base64," + base64.b64encode(png(pixels)).decode("ascii")


def decoded(picture: object) -> bytes:
    """Return the content of a data URL.

    Examples
    --------
    >>> decoded("data:image/png;base64,AAAA") == bytes(3)
    True
    """
    head, comma, body = picture.partition(",") if isinstance(picture, str) else ("", "", "")
    if not (comma and head in ("data:image/png;base64", "data:image/jpeg;base64")):
        raise InputError("image must be a data URL of a PNG or JPEG.")
    try:
        return base64.b64decode(body, validate=True)
    except binascii.Error:
        raise InputError("image must be a data URL of a PNG or JPEG.") from None


def with_channels(pixels: np.ndarray, channels: int) -> np.ndarray:
    """Return a picture with as many channels as the run's images have."""
    if len(pixels) == channels:
        return pixels
    if len(pixels) == 1:
        return np.repeat(pixels, channels, axis=0)
    grey = np.rint(pixels[:3].mean(0, keepdims=True)).astype(np.uint8)
    return np.repeat(grey, channels, axis=0)


def as_drawn_in(images: ImageSet, drawing: np.ndarray) -> np.ndarray:
    """Return a drawing in the colours, size and place that things have in some images.

    Parameters
    ----------
    images : ImageSet
    drawing : uint8 array of shape (channels, h, w)
        White on black.
    """
    channels, height, width = images.images.shape[1:]
    place = place_in(images.images[:: max(1, len(images) // N_MEASURED)])
    ink = drawing.max(0)
    found = box_of(ink > INK * 255)
    if found is None or place is None:
        raise InputError("There is nothing drawn.")
    top, bottom, left, right = found
    scale = place.size / max(bottom - top, right - left)
    shape = (
        min(width, max(1, round((right - left) * scale))),
        min(height, max(1, round((bottom - top) * scale))),
    )
    part = Image.fromarray(ink[top:bottom, left:right]).resize(shape, Image.Resampling.BOX)
    canvas = np.zeros((height, width), np.float64)
    y = int(np.clip(round(place.middle[0] - shape[1] / 2), 0, height - shape[1]))
    x = int(np.clip(round(place.middle[1] - shape[0] / 2), 0, width - shape[0]))
    canvas[y : y + shape[1], x : x + shape[0]] = np.asarray(part) / 255
    foreground = 255.0 if place.background < 128 else 0.0
    pixels = place.background + (foreground - place.background) * canvas
    return np.repeat(to_bytes(pixels)[None], channels, axis=0)
