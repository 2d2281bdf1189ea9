"""Broken pictures among sound ones: stop at the first, or skip and list them."""

from __future__ import annotations

import csv
import json
import os
import re
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from running import call, write_folder

from selfsort.datasets import load_dataset
from selfsort.errors import InputError
from selfsort.images import read_images, read_splits


@pytest.fixture
def photos(tmp_path) -> Path:
    """Return 30 pictures, of which four cannot be read, for four reasons."""
    folder = write_folder(tmp_path / "photos", n=30)
    (folder / "003.png").write_bytes(b"no picture")
    content = (folder / "007.png").read_bytes()
    (folder / "007.png").write_bytes(content[:-30])
    (folder / "011.png").unlink()
    (folder / "011.png").symlink_to("nowhere.png")
    with open(os.fsencode(folder) + b"/caf\xe9.png", "wb") as file:
        file.write(content)
    return folder


BROKEN = ["003.png", "007.png", "011.png", "caf\\xe9.png"]


def test_the_first_one_stops(photos) -> None:
    with pytest.raises(InputError, match=r"003\.png: not a readable PNG or JPEG \(the content is"):
        read_images(photos)


def test_those_that_can_be_read_are(photos, tmp_path) -> None:
    found = read_images(photos, on_error="skip")
    assert [one.name for one in found.skipped] == BROKEN
    for one in found.skipped[:3]:
        assert one.reason.startswith(f"{photos / one.name}: ")
        assert "Nothing was written" not in one.reason
    assert found.skipped[3].reason.startswith(f"{photos}/caf\\xe9.png: its name is not UTF-8.")
    for name in (*BROKEN[:3], b"caf\xe9.png"):
        os.unlink(os.path.join(os.fsencode(photos), os.fsencode(name)))
    alone = read_images(photos)
    assert found.names == alone.names
    np.testing.assert_array_equal(found.images, alone.images)
    assert alone.skipped == ()


def test_classes_and_splits_go_with_the_pictures_that_are_left(tmp_path) -> None:
    for split in ("train", "test"):
        for name in ("cat", "dog"):
            write_folder(tmp_path / split / name, n=3)
    (tmp_path / "train" / "cat" / "001.png").write_bytes(b"")
    (tmp_path / "test" / "dog" / "002.png").write_bytes(b"")
    train, test = read_splits(tmp_path, on_error="skip")
    assert test is not None
    assert train.labels.tolist() == [0, 0, 1, 1, 1]
    assert test.labels.tolist() == [0, 0, 0, 1, 1]
    assert [one.name for one in train.skipped] == ["train/cat/001.png"]
    assert [one.name for one in test.skipped] == ["test/dog/002.png"]
    with pytest.raises(InputError, match=r"train/cat/001\.png: not a readable PNG"):
        load_dataset(tmp_path)


def test_nothing_that_can_be_read(tmp_path) -> None:
    for name in ("a.png", "b.jpg"):
        (tmp_path / name).write_bytes(b"")
    sentence = (
        f"{tmp_path}: none of its 2 pictures can be read. {tmp_path / 'a.png'}: not a readable PNG "
        "or JPEG (the content is neither). The others cannot be read either."
    )
    with pytest.raises(InputError, match=f"^{re.escape(sentence)}$"):
        read_images(tmp_path, on_error="skip")
    outcome = call("train", tmp_path, "--out", tmp_path / "run")
    assert outcome == (2, "", f"selfsort: {sentence}\n")


@pytest.mark.parametrize("on_error", ["skip", "stop"])
def test_the_only_picture_is_cut(tmp_path, on_error) -> None:
    path = write_folder(tmp_path / "photos", n=1) / "000.png"
    path.write_bytes(path.read_bytes()[:60])
    reason = f"{path}: not a readable PNG or JPEG (image file is truncated)."
    with pytest.raises(InputError) as raised:
        read_images(path.parent, on_error=on_error)
    assert reason in str(raised.value)


def test_another_word(tmp_path) -> None:
    with pytest.raises(InputError, match=r"on_error must be 'stop' or 'skip'\. Got 'ignore'"):
        read_images(tmp_path, on_error="ignore")


def test_a_run_lists_them(photos, tmp_path) -> None:
    run = tmp_path / "run"
    (tmp_path / "labels.csv").write_text(
        "file,class\n000.png,a\n001.png,b\n003.png,a\n004.png,a\n005.png,b\n"
    )
    options = ("--labels", tmp_path / "labels.csv", "--epochs", 1, "--out", run)
    assert call("train", photos, *options, "--on-error", "stop").code == 2
    outcome = call("train", photos, *options)
    assert outcome.code == 0, outcome.err
    lines = outcome.err.splitlines()
    assert lines[0] == "Left out 4 of 31 pictures:"
    assert lines[1].startswith(f"  {photos / '003.png'}: not a readable PNG or JPEG")
    result = json.loads((run / "result.json").read_text())
    assert [one["name"] for one in result["skipped"]] == BROKEN
    assert (result["train"]["n_images"], result["n_labels"]) == (27, 4)
    assert "4 pictures could not be read" in (run / "report.html").read_text()

    out = tmp_path / "classes.csv"
    assert call("predict", run, photos, "--out", out, "--on-error", "stop").code == 2
    assert not out.exists()
    outcome = call("predict", run, photos, "--out", out)
    assert outcome.code == 0
    assert outcome.err.splitlines()[0] == "Left out 4 of 31 pictures:"
    with out.open() as file:
        files = [row["file"] for row in csv.DictReader(file)]
    assert len(files) == 27
    assert not set(files) & set(BROKEN)

    todo = tmp_path / "todo.csv"
    command = ("suggest", run, photos, "--out", todo, "--n", 3, "--labels", tmp_path / "labels.csv")
    assert call(*command).code == 0
    assert len(todo.read_text().splitlines()) == 1 + 3 + 4


def test_many_are_not_all_named(tmp_path) -> None:
    folder = write_folder(tmp_path / "photos", n=20)
    for i in range(30):
        (folder / f"x{i:02}.png").write_bytes(b"")
    run = tmp_path / "run"
    outcome = call("train", folder, "--recipe", "plain", "--epochs", 1, "--out", run)
    lines = outcome.err.splitlines()
    assert lines[0] == "Left out 30 of 50 pictures:"
    assert lines[21] == "  and 10 more"
    assert re.match("fit 1/1", lines[22])


def odd_pictures() -> dict[str, tuple[Image.Image, dict, int]]:
    """Return pictures that look odd and are sound: each with how it is saved, and a grey value."""
    grey = np.full((12, 12), 128, np.uint8)
    wide = np.full((12, 12), 128 * 257, np.uint16)
    palette = Image.fromarray(grey).convert("P")
    frames = [Image.fromarray(np.full((12, 12), value, np.uint8)) for value in (0, 255)]
    return {
        "16 bits.png": (Image.fromarray(wide), {}, 128),
        "palette.png": (palette, {}, 128),
        "bits.png": (Image.fromarray(grey > 0), {}, 255),
        "cmyk.jpg": (Image.merge("CMYK", [Image.fromarray(255 - grey)] * 3 + [frames[0]]), {}, 128),
        "animated.png": (frames[0], {"save_all": True, "append_images": frames[1:]}, 0),
        "alpha.png": (Image.fromarray(np.dstack([grey] * 3 + [grey * 0])), {}, 255),
    }


@pytest.mark.parametrize("name", odd_pictures())
def test_odd_pictures_that_are_sound(name, tmp_path) -> None:
    image, options, value = odd_pictures()[name]
    image.save(tmp_path / name, **options)
    found = read_images(tmp_path)
    assert found.images.shape == (1, 1, 12, 12)
    np.testing.assert_allclose(found.images, value, atol=3)
