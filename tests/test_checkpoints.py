"""What is saved comes back, half-written files never appear, and damage gives one line."""

from __future__ import annotations

import json
import os
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import save_file

from selfsort import checkpoints
from selfsort.checkpoints import Config, load, save, to_json, write_atomically, write_text
from selfsort.errors import InputError

ARRAYS = {
    "model.weight": np.arange(6, dtype=np.float32).reshape(2, 3),
    "model.count": np.array(7, dtype=np.int64),
    "labels": np.arange(5)[::-1],  # not contiguous
    "none": np.zeros((0, 4), dtype=np.float32),
}


def a_config(**changes: object) -> Config:
    values: dict = {
        "selfsort": "0.1",
        "estimator": "AutoencoderClassifier",
        "parameters": {"network": "auto", "phases": [["decoder", 2]], "mean": 0.1, "epochs": None},
        "input_shape": [1, 28, 28],
        "input_layout": "nhw",
        "input_range": (0.0, 255.0),
        "n_features_in": 784,
        "network": "convolutional",
        "n_classes": 3,
        "style_dim": 2,
        **changes,
    }
    return Config(**values)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    save(tmp_path, a_config(), ARRAYS)
    return tmp_path


def one_line(folder: Path) -> str:
    """Return the error of loading, without the folder."""
    with pytest.raises(InputError) as error:
        load(folder)
    sentence = str(error.value)
    assert sentence.startswith(f"{folder}{os.sep}")
    assert "\n" not in sentence
    return sentence.replace(f"{folder}{os.sep}", "")


# There and back


@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"classes": [0, 1, 9]},
        {"classes": [False, True]},
        {"classes": [0.5, 1.5, 2.0]},
        {"classes": ["cat", "dog", "Übermut – ½"]},
        {"input_shape": [4], "feature_names": ["a", "b", "c", "d"]},
        {"input_range": (-1.5, 0.25), "n_classes": 0, "style_dim": 0},
    ],
)
def test_what_is_saved_comes_back(tmp_path, changes):
    save(tmp_path / "new" / "run", a_config(**changes), ARRAYS)
    config, arrays = load(tmp_path / "new" / "run")
    assert config == a_config(**changes)
    assert list(map(type, config.classes or [])) == list(map(type, changes.get("classes") or []))
    assert set(arrays) == set(ARRAYS)
    for name, array in ARRAYS.items():
        np.testing.assert_array_equal(arrays[name], array)
        assert arrays[name].dtype == array.dtype


def test_saving_twice_gives_the_same_bytes(tmp_path):
    for name in ("a", "b"):
        save(tmp_path / name, a_config(), ARRAYS)
    for file in (checkpoints.WEIGHTS, checkpoints.CONFIG):
        assert (tmp_path / "a" / file).read_bytes() == (tmp_path / "b" / file).read_bytes()


def test_json_is_for_people_and_without_nan():
    assert to_json({"é": [1, None]}) == '{\n  "é": [\n    1,\n    null\n  ]\n}\n'
    with pytest.raises(ValueError, match="JSON compliant"):
        to_json({"accuracy": float("nan")})


# Written whole or not at all


class NoSpaceError(OSError):
    pass


def half(path: Path) -> None:
    path.write_text("half of the new te")
    raise NoSpaceError


@pytest.mark.parametrize("failure", ["write", "flush", "rename"])
def test_a_failing_write_leaves_the_old_file_and_nothing_else(tmp_path, monkeypatch, failure):
    path = tmp_path / "result.json"
    path.write_text("old")

    def fail(*arguments: object) -> None:
        raise NoSpaceError

    if failure == "flush":
        monkeypatch.setattr(os, "fsync", fail)
    if failure == "rename":
        monkeypatch.setattr(Path, "replace", fail)
    with pytest.raises(NoSpaceError):
        write_atomically(path, half if failure == "write" else lambda part: part.write_text("new"))
    assert path.read_text() == "old"
    assert [file.name for file in tmp_path.iterdir()] == ["result.json"]


def test_a_write_that_fails_before_it_made_a_file_says_why(tmp_path):
    with pytest.raises(FileNotFoundError):
        write_text(tmp_path / "missing" / "a.txt", "text")


def test_the_file_is_flushed_before_it_is_renamed(tmp_path, monkeypatch):
    path, seen = tmp_path / "a.txt", []
    monkeypatch.setattr(os, "fsync", lambda number: seen.append(path.exists()))
    write_text(path, "ä")
    assert seen == [False]
    assert path.read_bytes() == "ä".encode()
    assert list(tmp_path.iterdir()) == [path]


@pytest.mark.skipif(os.name != "posix", reason="only POSIX systems have an umask")
@pytest.mark.parametrize(("umask", "mode"), [(0o022, 0o644), (0o077, 0o600), (0o002, 0o664)])
def test_file_modes_follow_the_umask(tmp_path, umask, mode):
    before = os.umask(umask)
    try:
        save(tmp_path, a_config(), ARRAYS)
    finally:
        os.umask(before)
    assert {file.name: file.stat().st_mode & 0o777 for file in tmp_path.iterdir()} == {
        checkpoints.WEIGHTS: mode,
        checkpoints.CONFIG: mode,
    }


# Damage

CURE = "Train the model again, or restore the file from a copy."


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (b"", "file: Invalid JSON: EOF while parsing a value at line 1 column 0"),
        (b"{", "file: Invalid JSON: EOF while parsing an object at line 1 column 1"),
        (b"\xff\xfe", "file: Invalid JSON: expected value at line 1 column 1"),
        (b"\x00" * 50, "file: Invalid JSON: expected value at line 1 column 1"),
        (b"[]", "file: Input should be an object"),
        (b"null", "file: Input should be an object"),
    ],
)
def test_a_configuration_that_is_no_json_object(folder, content, reason):
    (folder / checkpoints.CONFIG).write_bytes(content)
    assert one_line(folder) == f"config.json: not a configuration of selfsort ({reason}). {CURE}"


def test_a_configuration_cut_off_anywhere(folder):
    path = folder / checkpoints.CONFIG
    content = path.read_bytes().rstrip()
    for length in range(0, len(content), 7):
        path.write_bytes(content[:length])
        assert one_line(folder).endswith(CURE)


OPTIONAL = {"format", "classes", "feature_names"}


@pytest.mark.parametrize("field", [name for name in Config.model_fields if name not in OPTIONAL])
def test_a_configuration_without_one_of_its_fields(folder, field):
    path = folder / checkpoints.CONFIG
    content = json.loads(path.read_text())
    del content[field]
    path.write_text(json.dumps(content))
    assert one_line(folder) == (
        f"config.json: not a configuration of selfsort ({field}: Field required). {CURE}"
    )


@pytest.mark.parametrize(
    ("field", "value", "reason"),
    [
        ("format", 2, "format: Input should be 1"),
        ("estimator", 3, "estimator: Input should be a valid string"),
        ("parameters", [], "parameters: Input should be an object"),
        (
            "input_shape",
            [],
            "input_shape: List should have at least 1 item after validation, not 0",
        ),
        (
            "input_shape",
            [1, 2, 3, 4],
            "input_shape: List should have at most 3 items after validation, not 4",
        ),
        ("input_shape", [1, 0, 8], "input_shape.1: Input should be greater than 0"),
        ("input_range", [0.0], "input_range.1: Field required"),
        ("input_range", [5, 5], "input_range: Input should be two rising numbers"),
        ("input_range", [9, 1], "input_range: Input should be two rising numbers"),
        ("input_range", [0, float("nan")], "input_range.1: Input should be a finite number"),
        ("n_features_in", 0, "n_features_in: Input should be greater than or equal to 1"),
        ("n_classes", -1, "n_classes: Input should be greater than or equal to 0"),
        (
            "style_dim",
            1.5,
            "style_dim: Input should be a valid integer, got a number with a fractional part",
        ),
        ("classes", [None], "classes.list[bool].0: Input should be a valid boolean"),
        ("feature_names", "abc", "feature_names: Input should be a valid array"),
        ("colour", "red", "colour: Extra inputs are not permitted"),
        ("two\nlines", 1, "two lines: Extra inputs are not permitted"),
    ],
)
def test_a_configuration_with_a_wrong_field(folder, field, value, reason):
    path = folder / checkpoints.CONFIG
    path.write_text(json.dumps({**json.loads(path.read_text()), field: value}))
    assert one_line(folder) == f"config.json: not a configuration of selfsort ({reason}). {CURE}"


def test_no_configuration(tmp_path):
    assert one_line(tmp_path) == (
        "config.json: cannot be read (No such file or directory). Name a folder that "
        "'selfsort train' or an estimator's save() wrote."
    )
    (tmp_path / checkpoints.CONFIG).mkdir()
    assert one_line(tmp_path) == (
        "config.json: cannot be read (Is a directory). Name a folder that "
        "'selfsort train' or an estimator's save() wrote."
    )


@pytest.mark.parametrize(
    "damage",
    [
        lambda content: b"",
        lambda content: content[:20],
        lambda content: content[:-1],
        lambda content: content + b"x",
        lambda content: b"\xff" * 100,
        lambda content: content.replace(b'"F32"', b'"F99"'),
        lambda content: content.replace(b'"F32"', b'"F64"'),
    ],
)
def test_damaged_weights(folder, damage):
    path = folder / checkpoints.WEIGHTS
    path.write_bytes(damage(path.read_bytes()))
    sentence = one_line(folder)
    assert sentence.startswith("model.safetensors: cannot be read (")
    assert sentence.endswith(f"). {CURE}")


def test_missing_weights(folder):
    (folder / checkpoints.WEIGHTS).unlink()
    assert one_line(folder).startswith(
        "model.safetensors: cannot be read (No such file or directory"
    )


@pytest.mark.parametrize("taught", [False, True])
def test_weights_of_a_type_that_numpy_lacks(folder, taught):
    if taught:  # as onnx does, for all of the process
        pytest.importorskip("ml_dtypes")
    path = folder / checkpoints.WEIGHTS
    save_file({"a": torch.ones(2, dtype=torch.bfloat16)}, path)
    assert one_line(folder) == (
        f"model.safetensors: cannot be read (data type 'bfloat16' not understood). {CURE}"
    )
