"""Which column of a table holds images, and what its values are."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from selfsort.errors import InputError
from selfsort.images.arrays import as_float32, as_images
from selfsort.sources.base import picture_in

USUAL_NAMES = ("image", "images", "img", "picture", "pixels")
"""What a column of images is mostly called, where several could be that."""


LABELS = ("label", "labels", "class", "target")
"""What a column of labels is called."""


def column_of(path: Path, schema: pa.Schema, wanted: str | None) -> str:
    """Return the name of the column that holds the images."""
    possible = [field.name for field in schema if _can_hold_images(field.type)]
    shown = ", ".join(schema.names[:20])
    if wanted is not None:
        if schema.names.count(wanted) != 1:
            raise InputError(f"{path}: has no column '{wanted}', but {shown}. Give --column.")
        if wanted not in possible:
            raise InputError(
                f"{path}: the column '{wanted}' holds {schema.field(wanted).type}, not images. "
                "Give --column, or a column of encoded pictures or of lists of pixels."
            )
        return wanted
    usual = [name for name in USUAL_NAMES if name in possible]
    if not possible:
        raise InputError(
            f"{path}: has no column of images, but {shown or 'none at all'}. Give a column of "
            "encoded pictures, or of lists of pixels."
        )
    if len(possible) > 1 and not usual:
        raise InputError(
            f"{path}: several columns could hold images: {', '.join(possible[:20])}. "
            "Say which with --column."
        )
    found = usual[0] if usual else possible[0]
    if schema.names.count(found) != 1:
        raise InputError(f"{path}: has several columns named '{found}'. Rename them.")
    return found


def label_column(schema: pa.Schema) -> str | None:
    """Return the name of the column that holds labels, None where there is none."""
    for name in LABELS:
        if schema.names.count(name) == 1:
            kind = schema.field(name).type
            kind = kind.value_type if pa.types.is_dictionary(kind) else kind
            if pa.types.is_integer(kind) or _is_text(kind):
                return name
    return None


def _is_text(kind: pa.DataType) -> bool:
    return pa.types.is_string(kind) or pa.types.is_large_string(kind)


def values_of(array: pa.Array) -> np.ndarray:
    """Return labels as integers, -1 for none, or as text, "" for none."""
    if pa.types.is_dictionary(array.type):
        array = array.dictionary_decode()
    if _is_text(array.type):
        return np.array(array.fill_null("").to_pylist(), dtype=np.str_)
    return array.cast(pa.int64()).fill_null(-1).to_numpy(zero_copy_only=False)


def stored(kind: pa.DataType) -> pa.DataType:
    """Return how a type is stored, where a library such as `datasets` gave it a name."""
    return kind.storage_type if isinstance(kind, pa.BaseExtensionType) else kind


def _can_hold_images(kind: pa.DataType) -> bool:
    kind = stored(kind)
    return holds_pictures(kind) or _leaf(kind) is not None


def holds_pictures(kind: pa.DataType) -> bool:
    """Return whether values are encoded pictures: bytes, or a structure with `bytes` in it."""
    if pa.types.is_struct(kind):
        fields = {field.name: field.type for field in kind}
        return "bytes" in fields and _is_binary(fields["bytes"])
    return _is_binary(kind)


def _is_binary(kind: pa.DataType) -> bool:
    return pa.types.is_binary(kind) or pa.types.is_large_binary(kind)


def _leaf(kind: pa.DataType) -> pa.DataType | None:
    """Return the type of the numbers in lists, or in lists of lists; None where there are none."""
    depth = 0
    while (
        pa.types.is_list(kind) or pa.types.is_large_list(kind) or pa.types.is_fixed_size_list(kind)
    ):
        kind, depth = kind.value_type, depth + 1
    number = pa.types.is_integer(kind) or pa.types.is_floating(kind)
    return kind if 1 <= depth <= 3 and number else None


def bytes_of(array: pa.Array) -> list[bytes | None]:
    """Return the encoded picture of each row; None where there is none."""
    if pa.types.is_struct(array.type):
        array = array.flatten()[array.type.get_field_index("bytes")]
    return array.to_pylist()


def read_picture(
    name: str, content: bytes | None, height: int, width: int
) -> tuple[str, np.ndarray]:
    """Return the name and the pixels of an encoded picture."""
    if content is None:
        raise InputError(f"{name}: holds no picture. Fill it in, or leave the row out.")
    return picture_in(content, name, height, width)


def from_pixels(
    path: Path, arrays: list[pa.Array], shape: tuple[int, ...], first: int
) -> np.ndarray:
    """Return lists of pixels as images ``(n, channels, height, width)``, or as vectors."""
    values = np.concatenate([_flat(path, array, shape) for array in arrays])
    if len(shape) == 1:
        return as_float32(as_images(values, name=str(path)), str(path), first)
    if values.dtype.kind == "f":
        raise InputError(
            f"{path}: holds pixels as floats, whose white may be 1 or 255. Write them as uint8."
        )
    channels, height, width = shape
    return as_images(values, (height, width, channels), name=str(path))


def _flat(path: Path, array: pa.Array, shape: tuple[int, ...]) -> np.ndarray:
    """Return the numbers of each list, ``(n, values)``."""
    n_rows, sides = len(array), []
    while pa.types.is_nested(array.type):
        whole = array.null_count == 0
        lengths = pc.min_max(pc.list_value_length(array)).as_py() if whole else {}
        sides.append(lengths.get("min") if len(set(lengths.values())) == 1 else None)
        array = array.flatten()
    if None in sides or array.null_count:
        raise InputError(
            f"{path}: some rows or pixels are missing, or rows differ in length. Bring all images "
            "to one size."
        )
    if sides not in _possible_sides(shape):
        wanted = " or ".join(" x ".join(map(str, one)) for one in _possible_sides(shape))
        raise InputError(
            f"{path}: a row has {' x '.join(map(str, sides))} pixels, but {wanted} are needed. "
            "Bring all images to that size."
        )
    return array.to_numpy(zero_copy_only=False).reshape(n_rows, math.prod(shape))


def _possible_sides(shape: tuple[int, ...]) -> list[list[int]]:
    """Return how lists of pixels may be nested, the channels last.

    Examples
    --------
    >>> _possible_sides((1, 8, 9)), _possible_sides((3, 8, 9)), _possible_sides((64,))
    ([[72], [8, 9], [8, 9, 1]], [[216], [8, 9, 3]], [[64]])
    """
    if len(shape) == 1:
        return [list(shape)]
    channels, height, width = shape
    grey = [[height, width]] if channels == 1 else []
    return [[math.prod(shape)], *grey, [height, width, channels]]
