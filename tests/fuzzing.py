"""The readers that files of strangers reach, each with sound files to begin with."""

from __future__ import annotations

import json
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple
from unittest import mock

import malformed
import malformed_bulk
import numpy as np
from PIL import Image

from selfsort import Checkpoint, checkpoints
from selfsort.errors import SelfsortError
from selfsort.estimators import checkpoint
from selfsort.images import read_images, read_labels
from selfsort.images.pixels import picture_size, read_picture
from selfsort.report.reading import read_history, read_result
from selfsort.runs import read_record
from selfsort.sources import open_source
from selfsort.verified import DamagedError, read_folder


class Reader(NamedTuple):
    """A function that reads one file, how that is called, and sound files of the kind."""

    name: str
    read: Callable[[Path], object]
    seeds: list[bytes]


def _labels(path: Path) -> object:
    return read_labels(path, ("a.png", "b.png", "c/d.png"), 3)


def _picture(path: Path) -> object:
    with warnings.catch_warnings():
        warnings.simplefilter("error", Image.DecompressionBombWarning)  # as for a folder of them
        return picture_size(path), read_picture(path, 16, 16)


def _model(path: Path) -> object:
    return checkpoints.load(path.parent)


def _checkpoint(path: Path) -> object:
    """Read facts and arrays as of a folder whose manifest is sound: as a newer version wrote it."""
    content = path.read_bytes()
    path.with_name("000001").mkdir(exist_ok=True)
    half = len(content) // 2
    files = {"arrays.safetensors": content[:half], "facts.json": content[half:]}

    def found(folder: Path) -> dict[str, bytes]:
        return files

    with mock.patch.object(checkpoint, "read_folder", found):
        return Checkpoint(path.parent).newest({"estimator": "E"})


def _manifest(path: Path) -> object:
    try:
        return read_folder(path.parent)
    except DamagedError:
        return None


CONFIG = {
    "format": 1,
    "selfsort": "0.1.0",
    "estimator": "Autoencoder",
    "parameters": {"epochs": 3},
    "input_shape": [1, 8, 8],
    "input_layout": "nhw",
    "input_range": [0.0, 16.0],
    "n_features_in": 64,
    "network": "plain",
    "n_classes": 0,
    "style_dim": 4,
    "classes": None,
    "feature_names": None,
}
RECORD = {
    "format": 1,
    "selfsort": "0.1.0",
    "command": "selfsort train digits",
    "complete": False,
    "data": "digits",
    "recipe": "sort",
    "n_classes": "auto",
    "labels": None,
    "epochs": 3,
    "seed": 0,
    "device": "auto",
    "threads": None,
    "threads_used": 2,
    "size": None,
    "on_error": "stop",
    "parameters": {},
    "checkpoint_every": 30.0,
}


def _weights() -> bytes:
    import safetensors.numpy

    return safetensors.numpy.save({"a": np.ones((2, 2), np.float32), "b": np.arange(3)})


def _range(path: Path) -> object:
    """Read the first images of what is read range by range."""
    source = open_source(path, (1, malformed_bulk.SIDE, malformed_bulk.SIDE))
    return source.read(0, min(len(source), 32))


STREAMS = [malformed_bulk.STREAM, malformed_bulk.WITH_FOOTER]
ENCODED = {"image": malformed_bulk.pictures(malformed_bulk.png(), malformed_bulk.png())}


READERS: dict[str, Reader] = {
    "idx": Reader("x-images.idx", read_images, [malformed.SOUND]),
    "idx.gz": Reader("x.idx.gz", read_images, [malformed.PACKED]),
    "npy": Reader("x.npy", read_images, [malformed.npy(malformed.PIXELS)]),
    "npz": Reader("x.npz", read_images, [malformed.ARCHIVE]),
    "png": Reader("x.png", _picture, [malformed.PNG]),
    "jpeg": Reader("x.jpg", _picture, [malformed.JPEG]),
    "labels": Reader(
        "x.csv", _labels, [b"file,class\na.png,x\nc/d.png,y\n", b"index,class\n2,x\n"]
    ),
    "config": Reader("config.json", _model, [json.dumps(CONFIG).encode()]),
    "weights": Reader("model.safetensors", _model, [_weights()]),
    "record": Reader("run.json", lambda p: read_record(p.parent), [json.dumps(RECORD).encode()]),
    "result": Reader("result.json", lambda p: read_result(p.parent), [b'{"train": {"nmi": 0.5}}']),
    "history": Reader("history.jsonl", lambda p: read_history(p.parent), [b'{"epoch": 1}\n{}\n']),
    "manifest": Reader("manifest.json", _manifest, [b'{"folder": "x", "sha256": {"a": "b"}}\n']),
    # Parquet is not among them: pyarrow itself ends the process for about one file in 10,000.
    "arrow": Reader("x.arrow", _range, [*STREAMS, malformed_bulk.arrow(ENCODED)]),
    "tar": Reader("x.tar", _range, [malformed_bulk.tar(malformed_bulk.ONE, malformed_bulk.TWO)]),
    "checkpoint": Reader("content", _checkpoint, [_weights() + b'{"identity": {}}']),
}


class Fuzzed:
    """A reader in a folder of its own: `attempt` gives it a file."""

    def __init__(self, kind: str, folder: Path) -> None:
        self.reader = READERS[kind]
        self.path = folder / self.reader.name
        for kind_beside in ("config", "weights"):
            beside = READERS[kind_beside]
            if self.reader.read is _model and beside.name != self.reader.name:
                (self.path.parent / beside.name).write_bytes(beside.seeds[0])

    def attempt(self, content: bytes) -> None:
        """Read a file; only an error of selfsort's own may come out, and of one line."""
        self.path.write_bytes(content)
        said = ""
        try:
            self.reader.read(self.path)
        except SelfsortError as error:
            said = str(error)
        assert "\n" not in said, repr(said)
