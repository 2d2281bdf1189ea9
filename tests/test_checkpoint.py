"""Checkpoints on the disk: whole, verified, two of them, and gone when the fit is done."""

from __future__ import annotations

import os
import random
import shutil
import stat
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from mutating import damage, restore
from sklearn.datasets import load_digits

from selfsort import (
    Autoencoder,
    AutoencoderClassifier,
    Checkpoint,
    DamagedCheckpointWarning,
    InputError,
    NotFiniteError,
)
from selfsort.estimators import checkpoint as module
from selfsort.runs.callbacks import Callback
from selfsort.training.snapshot import Snapshot, keep_model, restore_model
from selfsort.verified import DamagedError, read_folder, write_folder

X, Y = load_digits(n_class=3, return_X_y=True)
X, Y = X[:120].reshape(-1, 8, 8), Y[:120]
IDENTITY = {"estimator": "Test", "parameters": {"a": 1}}


class KilledError(Exception):
    """Stands for whatever ends a process."""


class KillAt(Callback):
    """A callback that raises at a step of the fit."""

    def __init__(self, step: int) -> None:
        self.left = step

    def on_fit_task_end(self, estimator: Any, context: Any, *, metadata: Any = None) -> bool:
        self.left -= context.task_name == "steps"
        if self.left < 0:
            raise KilledError
        return False


def autoencoder(**changes: Any) -> Autoencoder:
    return Autoencoder(**{"epochs": 3, "style_dim": 4, "random_state": 0, "n_threads": 1} | changes)


@pytest.fixture(scope="module")
def killed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return the folder of a fit that was ended in its middle."""
    folder = tmp_path_factory.mktemp("killed") / "work"
    with pytest.raises(KilledError):
        autoencoder().set_callbacks(Checkpoint(folder, 0), KillAt(8)).fit(X)
    return folder


@pytest.fixture
def work(killed: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(killed, tmp_path / "work"))


@pytest.fixture(scope="module")
def wanted() -> np.ndarray:
    return autoencoder().fit(X).transform(X)


def numbers(folder: Path) -> list[str]:
    return sorted(os.listdir(folder))


# ---- a fit with checkpoints -------------------------------------------------------------------


def test_the_last_two_are_kept_and_nothing_else(killed: Path) -> None:
    newest = numbers(killed)[-1]
    assert numbers(killed) == [f"{int(newest) - 1:06d}", newest]
    for number in numbers(killed):
        assert numbers(killed / number) == ["arrays.safetensors", "facts.json", "manifest.json"]


def test_a_fit_goes_on_and_is_done(work: Path, wanted: np.ndarray) -> None:
    went_on = autoencoder().set_callbacks(Checkpoint(work, 0)).fit(X)
    np.testing.assert_array_equal(went_on.transform(X), wanted)
    assert not work.exists()


def test_it_does_go_on_and_not_begin_again(work: Path) -> None:
    # Fewer steps are left than a whole fit has.
    counting = KillAt(10**6)
    autoencoder().set_callbacks(Checkpoint(work), counting).fit(X)
    left = 10**6 - counting.left
    counting = KillAt(10**6)
    autoencoder().set_callbacks(counting).fit(X)
    whole = 10**6 - counting.left
    assert 0 < left < whole


def test_what_is_not_a_checkpoint_stays(work: Path) -> None:
    (work / "notes.txt").write_text("mine")
    autoencoder().set_callbacks(Checkpoint(work)).fit(X)
    assert numbers(work) == ["notes.txt"]


@pytest.mark.parametrize(
    ("other", "named"),
    [
        (lambda: (autoencoder(learning_rate=0.1), X, None), "learning_rate"),
        (lambda: (autoencoder(random_state=1), X, None), "random_state"),
        (lambda: (autoencoder(), X + 1, None), "images"),
        (lambda: (AutoencoderClassifier(epochs=3), X, Y), "estimator"),
    ],
)
def test_another_fit_is_refused_and_harms_nothing(work: Path, other: Any, named: str) -> None:
    estimator, images, labels = other()
    before = {path: path.read_bytes() for path in work.rglob("*") if path.is_file()}
    with pytest.raises(InputError, match=rf"{work}.*another fit \(other .*{named}.*delete"):
        estimator.set_callbacks(Checkpoint(work, 0)).fit(images, labels)
    assert before == {path: path.read_bytes() for path in work.rglob("*") if path.is_file()}


def test_other_labels_are_another_fit(tmp_path: Path) -> None:
    few = np.where(np.arange(len(Y)) < 60, Y, -1)
    classifier = AutoencoderClassifier(epochs=2, unlabeled=-1, random_state=0)
    with pytest.raises(KilledError):
        classifier.set_callbacks(Checkpoint(tmp_path, 0), KillAt(3)).fit(X, few)
    few[0] = -1
    with pytest.raises(InputError, match=r"other labels"):
        classifier.set_callbacks(Checkpoint(tmp_path, 0)).fit(X, few)


@pytest.mark.parametrize("every", [-1, "often", None])
def test_every_must_be_seconds(every: Any) -> None:
    with pytest.raises(InputError, match="The 'every' parameter of Checkpoint must be"):
        Checkpoint("anywhere", every)


def test_they_come_every_so_often_and_take_a_twentieth_of_the_time(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    now = [0.0]
    monkeypatch.setattr(module.time, "monotonic", lambda: now[0])
    written = write_folder

    def slow(*args: Any) -> None:
        written(*args)
        now[0] += 4.0

    checkpoint = Checkpoint(tmp_path, 30)
    checkpoint.setup(None, None)
    now[0] = 29.9
    assert not checkpoint.due()
    now[0] = 30.0
    assert checkpoint.due()
    checkpoint.keep(snapshot())
    now[0] = 59.9
    assert not checkpoint.due()
    now[0] = 60.0
    assert checkpoint.due()
    monkeypatch.setattr(module, "write_folder", slow)
    checkpoint.keep(snapshot())  # until 64: not again before 64 + 20 * 4
    now[0] = 143.9
    assert not checkpoint.due()
    now[0] = 144.0
    assert checkpoint.due()


def test_numbers_that_broke_are_not_kept(work: Path) -> None:
    broken = snapshot()
    broken.arrays["model/weight"][0, 0] = torch.nan
    before = numbers(work)
    with pytest.raises(NotFiniteError, match="'model/weight' became NaN"):
        Checkpoint(work).keep(broken)
    assert numbers(work) == before


def test_random_generators_are_kept() -> None:
    model, generator, kept = torch.nn.Linear(2, 2), torch.Generator().manual_seed(1), Snapshot()
    with torch.random.fork_rng():
        keep_model(kept, model, generator)
        kept.arrays = {name: array.clone() for name, array in kept.arrays.items()}
        first = torch.rand(3), torch.rand(3, generator=generator)
        restore_model(kept, model, generator)
        again = torch.rand(3), torch.rand(3, generator=generator)
    assert torch.equal(first[0], again[0])
    assert torch.equal(first[1], again[1])


# ---- damage -------------------------------------------------------------------------------


def snapshot(value: float = 0.5) -> Snapshot:
    arrays = {
        "model/weight": torch.full((3, 2), value),
        "order": torch.arange(5),
        "random/fit": torch.arange(7, dtype=torch.uint8),
    }
    return Snapshot(arrays, {"identity": IDENTITY, "finished": [], "value": value})


@pytest.fixture
def two(tmp_path: Path) -> Path:
    """Return a folder with two small checkpoints, of values 1 and 2."""
    checkpoint = Checkpoint(tmp_path / "two", 0)
    for value in (1.0, 2.0):
        checkpoint.keep(snapshot(value))
    return checkpoint.folder


def newest_value(folder: Path) -> tuple[float, list[str]]:
    """Return which checkpoint is used, and the warnings."""
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        found = Checkpoint(folder).newest(IDENTITY)
    assert found is not None
    assert found.arrays["model/weight"].unique().tolist() == [found.facts["value"]]
    assert all(issubclass(one.category, DamagedCheckpointWarning) for one in caught)
    return found.facts["value"], [str(one.message) for one in caught]


def test_the_newest_is_used(two: Path) -> None:
    assert newest_value(two) == (2.0, [])


def test_every_mutation_is_seen_and_the_previous_one_used(two: Path) -> None:
    """300 here; `tests/long/mutations.py` does 10,000."""
    rng = random.Random(0)
    newest, older = two / "000002", two / "000001"
    sound = two.with_name("sound")
    shutil.copytree(newest, sound)
    for i in range(300):
        broken = damage(newest, older, rng, i)
        value, said = newest_value(two)
        assert value == 1.0, broken
        assert len(said) == 1, broken
        assert str(newest) in said[0], broken
        assert str(older) in said[0], broken
        restore(newest, sound)
        assert newest_value(two) == (2.0, [])


def test_when_both_are_damaged_it_says_what_to_do(two: Path) -> None:
    for number in ("000001", "000002"):
        (two / number / "facts.json").write_text("{}")
    with pytest.raises(InputError, match=rf"000002.facts\.json.*delete {two}"):
        Checkpoint(two).newest(IDENTITY)


def test_an_older_one_stays_until_a_new_one_is_written(two: Path) -> None:
    (two / "000002" / "facts.json").write_text("{}")
    checkpoint = Checkpoint(two, 0)
    with pytest.warns(DamagedCheckpointWarning, match="goes on from .*000001"):
        assert checkpoint.newest(IDENTITY) is not None
    checkpoint.keep(snapshot(3.0))
    assert numbers(two) == ["000001", "000003"]
    checkpoint.keep(snapshot(4.0))
    assert numbers(two) == ["000003", "000004"]


# ---- folders that are written whole -------------------------------------------------------------


def test_the_mode_of_files_follows_the_umask(tmp_path: Path) -> None:
    for mask in (0o022, 0o077, 0o027):
        before = os.umask(mask)
        try:
            write_folder(tmp_path / f"{mask}", {"a.bin": b"1"})
        finally:
            os.umask(before)
        for path in (tmp_path / f"{mask}").iterdir():
            assert stat.S_IMODE(path.stat().st_mode) == 0o666 & ~mask
        assert stat.S_IMODE((tmp_path / f"{mask}").stat().st_mode) == 0o777 & ~mask


@pytest.mark.parametrize("nth", range(4))
def test_a_full_disk_leaves_nothing(
    nth: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    calls = []

    def fsync(number: int) -> None:
        calls.append(number)
        if len(calls) == nth + 1:
            raise OSError(28, "No space left on device")

    monkeypatch.setattr("os.fsync", fsync)
    with pytest.raises(OSError, match="No space left") as caught:
        write_folder(tmp_path / "one", {"a.bin": b"1", "b.bin": b"2"})
    assert str(caught.value.filename).startswith(str(tmp_path))
    assert numbers(tmp_path) == []


def test_what_a_killed_process_left_is_replaced(tmp_path: Path) -> None:
    (tmp_path / ".one.part").mkdir()
    (tmp_path / ".one.part" / "half").write_bytes(b"1")
    write_folder(tmp_path / "one", {"a.bin": b"1"})
    assert numbers(tmp_path) == ["one"]
    assert read_folder(tmp_path / "one") == {"a.bin": b"1"}


def test_a_folder_under_another_name_is_another(tmp_path: Path) -> None:
    write_folder(tmp_path / "one", {"a.bin": b"1"})
    (tmp_path / "one").rename(tmp_path / "two")
    with pytest.raises(DamagedError, match="not what was written"):
        read_folder(tmp_path / "two")


def test_a_folder_that_cannot_be_listed_is_not_an_empty_one(monkeypatch, tmp_path) -> None:
    """Taken for empty, the training would begin again, over the checkpoints that are there."""

    def refused(path: object) -> list[str]:
        raise PermissionError(13, "Permission denied", str(path))

    monkeypatch.setattr(os, "listdir", refused)
    with pytest.raises(PermissionError, match=str(tmp_path)):
        Checkpoint(tmp_path).newest(IDENTITY)


def test_an_error_of_deleting_names_the_folder(monkeypatch, tmp_path) -> None:
    def refused(path: object) -> None:
        raise PermissionError(13, "Permission denied", "000001")  # as rmtree does

    write_folder(tmp_path / "000001", {"x": b""})
    monkeypatch.setattr(shutil, "rmtree", refused)
    with pytest.raises(PermissionError) as raised:
        Checkpoint(tmp_path).clear()
    assert raised.value.filename == str(tmp_path / "000001")
