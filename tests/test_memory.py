"""Memory that runs out: batches are halved, and it is said."""

from __future__ import annotations

import ctypes
import re
import sys
import warnings
from pathlib import Path
from unittest import mock

import numpy as np
import pytest
import torch
from killing import PROCESSES, Program
from platforms import needs_proc
from running import call, digits, write_npz
from torch.nn import functional as F

from selfsort import (
    Autoencoder,
    AutoencoderClusterer,
    Checkpoint,
    NotEnoughMemoryError,
    SmallerBatchWarning,
    memory,
    training,
)
from selfsort.errors import ran_out_of_memory
from selfsort.memory import give_back
from selfsort.training import Feed, Fit, Portion

CPU_SENTENCE = "[enforce fail at alloc_cpu.cpp:127] err == 0. DefaultCPUAllocator: can't allocate"
OUT_OF_MEMORY = {
    "numpy": MemoryError("Unable to allocate"),
    "cpu": RuntimeError(f"{CPU_SENTENCE} memory: you tried to allocate 8 bytes."),
    "cuda": torch.OutOfMemoryError("CUDA out of memory."),
}


def test_pytorch_itself_is_understood():
    with pytest.raises(RuntimeError) as raised:
        torch.empty(2**60)
    assert ran_out_of_memory(raised.value)


@pytest.mark.parametrize("error", OUT_OF_MEMORY.values(), ids=OUT_OF_MEMORY)
def test_a_part_that_does_not_fit_is_halved(error):
    def function(part: range) -> int:
        if len(part) > 3:
            raise error
        return sum(part)

    portion = Portion(8)
    with pytest.warns(SmallerBatchWarning) as warned:
        found = list(portion.each(range(10), function))
    sentence = "8 images at once did not fit into memory: 2 from here on."
    assert [str(one.message) for one in warned] == [sentence]
    assert found == [(range(i, i + 2), 2 * i + 1) for i in range(0, 10, 2)]
    assert portion.halved


def test_a_rest_of_fewer_than_the_least_joins_the_part_before():
    sizes = [len(part) for part, _ in Portion(4, least=2).each(torch.arange(9), len)]
    assert sizes == [4, 5]
    assert [len(part) for part, _ in Portion(4).each(torch.arange(9), len)] == [4, 4, 1]


def test_no_room_for_the_least():
    def function(part: range) -> None:
        raise MemoryError

    portion = Portion(4, least=2)
    with pytest.raises(NotEnoughMemoryError, match="not enough memory for 2 images at once"):
        list(portion.each(range(4), function))


def test_other_errors_come_through():
    def function(part: range) -> None:
        raise RuntimeError("shapes do not match")

    with pytest.raises(RuntimeError, match="shapes"):
        list(Portion(4).each(range(4), function))


class LittleMemory:
    """Stands for a device on which the activations of more than `n` images do not fit."""

    def __init__(self, n: int) -> None:
        self.n = n

    def __enter__(self) -> None:
        self.relu = F.relu

        def relu(values: torch.Tensor, inplace: bool = False) -> torch.Tensor:
            if len(values) > self.n:
                raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 20.00 MiB.")
            return self.relu(values, inplace)

        F.relu = relu

    def __exit__(self, *rest: object) -> None:
        F.relu = self.relu


def test_a_fit_and_its_use_go_on_with_smaller_batches():
    images, _ = digits(200, side=8)
    autoencoder = Autoencoder(epochs=2, batch_size=64, n_threads=1, random_state=0)
    with LittleMemory(12), pytest.warns(SmallerBatchWarning) as warned:
        autoencoder.fit(images)
    texts = [str(one.message) for one in warned]
    assert "25 images at once did not fit into memory: 12 from here on." in texts
    assert autoencoder.n_epochs_ == 2
    assert autoencoder.history_[-1]["mse"] < autoencoder.history_[0]["mse"]
    whole = autoencoder.transform(images)
    with LittleMemory(50), pytest.warns(SmallerBatchWarning):
        parts = autoencoder.transform(images)
    np.testing.assert_allclose(parts, whole, atol=1e-5)
    with LittleMemory(50), pytest.warns(SmallerBatchWarning):
        decoded = autoencoder.inverse_transform(whole)
    np.testing.assert_allclose(decoded, autoencoder.inverse_transform(whole), atol=1e-3)


class KilledError(Exception):
    """Stands for whatever ends a process."""


def test_a_fit_that_goes_on_keeps_its_smaller_batches(tmp_path: Path) -> None:
    images, _ = digits(200, side=8)
    sizes: list[int] = []
    step = training.loop.train_step

    def watched(fit: Fit, feed: Feed, index: torch.Tensor, progress: float) -> dict[str, float]:
        sizes.append(len(index))
        if len(sizes) == 12:
            raise KilledError
        return step(fit, feed, index, progress)

    def killed() -> list[int]:
        sizes.clear()
        autoencoder = Autoencoder(epochs=2, batch_size=64, n_threads=1, random_state=0)
        autoencoder.set_callbacks(Checkpoint(tmp_path / "work", every=0))
        with mock.patch.object(training.loop, "train_step", watched), pytest.raises(KilledError):
            autoencoder.fit(images)
        return list(sizes)

    with LittleMemory(12), pytest.warns(SmallerBatchWarning):
        assert killed()[:4] == [25, 12, 13, 6]
    assert set(killed()) == {6, 7}


def test_all_stages_without_labels_go_on_with_smaller_batches():
    images, _ = digits(160, side=8)
    clusterer = AutoencoderClusterer(4, epochs=1, n_threads=1, random_state=0)
    with LittleMemory(16), warnings.catch_warnings(record=True) as warned:
        warnings.simplefilter("always")
        clusterer.fit(images)
    assert {one.category for one in warned} >= {SmallerBatchWarning}
    assert set(clusterer.stage_seconds_) == set(
        AutoencoderClusterer(4, epochs=1, n_threads=1, random_state=0).fit(images).stage_seconds_
    )


def little_memory() -> None:
    """Leave the process less memory than a large batch takes."""
    resource = pytest.importorskip("resource")
    used = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
    resource.setrlimit(resource.RLIMIT_AS, (used + LITTLE, used + LITTLE))


LITTLE = 80 * 2**20


@needs_proc
def test_a_run_with_little_memory(tmp_path: Path) -> None:
    data = write_npz(tmp_path / "data.npz", n=800, n_test=0, side=64)
    options = ("--recipe", "plain", "--epochs", 1, "--threads", 1, "--out", tmp_path / "run")
    said = tmp_path / "said.txt"
    program = Program("train", data, *options, said=said, before=little_memory)
    assert program.wait() == 0, program.err()
    assert re.search(
        r"^selfsort: \d+ images at once did not fit into memory: \d+ from here on\.$",
        program.err(),
        re.MULTILINE,
    )


def test_no_memory_at_all_is_one_line(tmp_path: Path) -> None:
    with mock.patch.object(training.Portion, "_attempt", return_value=[]):
        outcome = call(
            "train", "digits", "--size", 16, "--recipe", "plain", "--out", tmp_path / "run"
        )
    assert outcome.code == 1
    assert outcome.err.splitlines()[-1] == (
        "selfsort: There is not enough memory for 2 images at once: use smaller images (--size), "
        "or a smaller network."
    )


# Memory that is free


def resident() -> int:
    """Return the bytes of memory that this process has."""
    pages = int(Path("/proc/self/statm").read_text(encoding="utf-8").split()[1])
    return pages * 4096


def residents() -> list[int]:
    """Return the memory before pieces are allocated, with them, freed, and given back."""
    give_back()
    found = [resident()]
    large, between = [], []
    for _ in range(3000):
        large.append(torch.ones(25_000))  # 100 kB: smaller than what has pages of its own
        between.append(torch.ones(10))  # behind each, so that no free page is the last
    found.append(resident())
    large.clear()
    found.append(resident())
    give_back()
    found.append(resident())
    assert len(between) == 3000
    return found


@needs_proc
@pytest.mark.skipif(
    sys.platform != "linux" or not hasattr(ctypes.CDLL(None), "malloc_trim"),
    reason="needs the GNU C library",
)
def test_what_was_freed_is_given_back():
    # In a process of its own: a thread that another test left may allocate in this one.
    with PROCESSES.Pool(1) as pool:
        before, allocated, freed, given_back = pool.apply(residents)
    assert allocated > before + 250e6
    assert freed > before + 200e6
    assert given_back < before + 50e6


def test_elsewhere_nothing_is_given_back(monkeypatch):
    monkeypatch.setattr(memory.ctypes, "CDLL", lambda name: object())
    assert not give_back()
    monkeypatch.setattr(memory.sys, "platform", "win32")
    monkeypatch.delattr(memory.ctypes, "CDLL")
    assert not give_back()
