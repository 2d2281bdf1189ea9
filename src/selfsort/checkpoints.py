"""Fitted models on disk: weights as safetensors, everything else as JSON. No pickle."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Annotated, Any, Literal

import numpy as np
import pydantic
import pydantic_core
import safetensors
import safetensors.numpy

from selfsort.errors import InputError
from selfsort.verified import naming

WEIGHTS = "model.safetensors"
CONFIG = "config.json"


def _rising(limits: tuple[float, float]) -> tuple[float, float]:
    if not limits[0] < limits[1]:
        raise pydantic_core.PydanticCustomError("rising", "Input should be two rising numbers")
    return limits


Range = Annotated[
    tuple[pydantic.FiniteFloat, pydantic.FiniteFloat], pydantic.AfterValidator(_rising)
]


class Config(pydantic.BaseModel):
    """What `config.json` holds: everything but the arrays that is needed to rebuild a model."""

    model_config = pydantic.ConfigDict(extra="forbid")

    format: Literal[1] = 1
    selfsort: str
    estimator: str
    parameters: dict[str, Any]
    input_shape: list[pydantic.PositiveInt] = pydantic.Field(min_length=1, max_length=3)
    input_layout: str
    input_range: Range
    n_features_in: int = pydantic.Field(ge=1)
    network: str
    n_classes: int = pydantic.Field(ge=0)
    style_dim: int = pydantic.Field(ge=0)
    classes: list[bool] | list[int] | list[float] | list[str] | None = None
    feature_names: list[str] | None = None


def write_atomically(path: Path, write: Callable[[Path], object]) -> None:
    """Write a file under a temporary name, flush it to the disk, then rename it.

    Whoever reads `path` sees the old file or the new one, never half of one.
    """
    temporary = path.with_name(f".{path.name}.part")
    try:
        with naming(temporary):
            write(temporary)
            with temporary.open("rb+") as file:  # Windows flushes only what may be written
                os.fsync(file.fileno())
            temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)


def write_text(path: Path, text: str) -> None:
    """Write a UTF-8 text file atomically."""
    write_atomically(path, lambda temporary: temporary.write_text(text, encoding="utf-8"))


def to_json(value: object) -> str:
    """Return JSON for people: indented, without NaN, a newline at the end.

    Examples
    --------
    >>> print(to_json({"accuracy": 0.5}), end="")
    {
      "accuracy": 0.5
    }
    """
    return json.dumps(value, indent=2, ensure_ascii=False, allow_nan=False) + "\n"


def save(folder: Path, config: Config, arrays: Mapping[str, np.ndarray]) -> None:
    """Write weights and configuration into `folder`, which is made if it is missing."""
    folder.mkdir(parents=True, exist_ok=True)
    contiguous = {name: np.ascontiguousarray(array) for name, array in arrays.items()}
    content = safetensors.numpy.save(contiguous)
    write_atomically(folder / WEIGHTS, lambda temporary: temporary.write_bytes(content))
    write_text(folder / CONFIG, to_json(config.model_dump()))


def load(folder: Path) -> tuple[Config, dict[str, np.ndarray]]:
    """Read what `save` wrote.

    Raises
    ------
    InputError
        If a file is missing, unreadable or does not hold what it should.
    """
    path = folder / CONFIG
    try:
        config = Config.model_validate_json(path.read_bytes())
    except OSError as error:
        raise InputError(
            f"{path}: cannot be read ({error.strerror}). Name a folder that 'selfsort train' or "
            "an estimator's save() wrote."
        ) from error
    except pydantic.ValidationError as error:
        first = error.errors()[0]
        # The name of an unknown field can hold anything, line breaks too.
        where = " ".join(".".join(str(part) for part in first["loc"]).split()) or "file"
        raise InputError(
            f"{path}: not a configuration of selfsort ({where}: {first['msg']}). "
            "Train the model again, or restore the file from a copy."
        ) from error
    path = folder / WEIGHTS
    try:
        arrays = safetensors.numpy.load_file(path)
        for array in arrays.values():
            # A type that numpy lacks, unless a library such as onnx has taught it.
            if array.dtype.kind not in "biuf":
                raise TypeError(f"data type '{array.dtype}' not understood")
    except (OSError, TypeError, safetensors.SafetensorError) as error:
        reason = error.strerror if isinstance(error, OSError) and error.strerror else error
        raise InputError(
            f"{path}: cannot be read ({reason}). Train the model again, or restore the file from "
            "a copy."
        ) from error
    return config, arrays
