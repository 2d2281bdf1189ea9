"""A page that classifies drawings and pictures in a browser: no server, nothing left out."""

from __future__ import annotations

import base64
import gzip
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from selfsort.errors import InputError
from selfsort.exporting.graph import Inputs
from selfsort.images.drawing import INK, Place, place_in
from selfsort.report.page import environment

RUNTIME = {
    "runtime": "ort.wasm.min.js",
    "glue": "ort-wasm-simd-threaded.mjs",
    "wasm": "ort-wasm-simd-threaded.wasm",
}
"""Files of onnxruntime-web, by the names that the page has for them."""
SHOWN = ("selfsort", "classes", "shape", "layout")
"""Of the facts: whoever gets a page need not know where somebody's folders are."""
SIZE, LEAST_SIZE = 5 / 7, 1 / 4
"""Of a drawing in its image, where nobody knows better: as in MNIST; and of what counts as known.
"""


def check_page(estimator: Any, runtime: str | Path | None) -> None:
    """Raise unless a page can be made of an estimator, and onnxruntime-web is there.

    Parameters
    ----------
    estimator : AutoencoderClusterer or AutoencoderClassifier
    runtime : str or Path or None
        The folder of the npm package.

    Raises
    ------
    InputError
        That says what is missing.
    """
    inputs = Inputs.of(estimator)
    if not (inputs.any_size and inputs.shape[0] in (1, 3) and hasattr(estimator, "style_means_")):
        raise InputError(
            "A page needs classes of grey or colour images of whole numbers from 0 to 255, which "
            "this model does not have: export it as .onnx."
        )
    how = "npm install onnxruntime-web, then --runtime node_modules/onnxruntime-web"
    if runtime is None:
        raise InputError(f"A page takes the npm package onnxruntime-web along. Give it: {how}.")
    missing = [name for name in RUNTIME.values() if not Path(runtime, "dist", name).is_file()]
    if missing:
        raise InputError(
            f"{Path(runtime, 'dist', missing[0])}: is not there, so the page cannot use that "
            f"folder. Give onnxruntime-web: {how}."
        )


def page_of(estimator: Any, facts: Mapping[str, object], model: bytes, runtime: Path) -> str:
    """Return the page, with the model and onnxruntime-web in it."""
    parts = {name: (runtime / "dist" / file).read_bytes() for name, file in RUNTIME.items()}
    template = environment().get_template("classify.html")
    return template.render(
        facts={name: facts[name] for name in SHOWN} | _drawing(estimator),
        parts={name: _packed(content) for name, content in {**parts, "model": model}.items()},
    )


def _packed(content: bytes) -> str:
    # Without the time, so that the same model gives the same page.
    return base64.b64encode(gzip.compress(content, mtime=0)).decode("ascii")


def _drawing(estimator: Any) -> dict[str, object]:
    """Return how a drawing becomes like the images of the fit, by what the classes look like."""
    drawn = np.rint(estimator.prototypes_.clip(0, 255)).astype(np.uint8)
    images = drawn[:, None] if drawn.ndim == 3 else drawn.transpose(0, 3, 1, 2)
    height, width = images.shape[2:]
    place = place_in(images)
    # A decoder that has learned little draws clouds: no size can be read from them.
    if place is None or place.size < LEAST_SIZE * min(height, width):
        place = Place(0.0, (height / 2, width / 2), SIZE * min(height, width))
    return {
        "background": round(place.background),
        "foreground": 255 if place.background < 128 else 0,
        "middle": place.middle,
        "size": place.size,
        "ink": INK * 255,
    }
