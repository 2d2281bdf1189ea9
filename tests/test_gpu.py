"""What is different on a GPU. Where there is none, these tests are skipped."""

from __future__ import annotations

import gc
import math

import numpy as np
import pytest
import torch
from sklearn.datasets import load_digits

import selfsort
from selfsort import AutoencoderClassifier, AutoencoderClusterer
from selfsort.bottlenecks.softmax import Softmax
from selfsort.errors import NotFiniteError, SmallerBatchWarning
from selfsort.estimators.resources import computing
from selfsort.training import loop
from selfsort.training.replay import Replay

pytestmark = pytest.mark.skipif(not torch.cuda.is_available(), reason="There is no GPU here.")
GPU = torch.device("cuda")
DIGITS = load_digits()


def fitted(epochs: int = 6, seed: int = 0, **parameters) -> AutoencoderClusterer:
    clusterer = AutoencoderClusterer(
        10, epochs=epochs, random_state=seed, device="cuda", **parameters
    )
    return clusterer.fit(DIGITS.images)


def weights_of(estimator: AutoencoderClusterer) -> dict[str, np.ndarray]:
    return {name: t.cpu().numpy() for name, t in estimator.model_.state_dict().items()}


def test_one_seed_gives_the_same_bits_each_time():
    first, again = fitted(), fitted()
    for name, weights in weights_of(first).items():
        np.testing.assert_array_equal(weights_of(again)[name], weights, err_msg=name)
    np.testing.assert_array_equal(first.transform(DIGITS.images), again.transform(DIGITS.images))


def test_replayed_steps_are_the_steps(monkeypatch):
    """The same losses as when each kernel is launched by the host."""
    replays = []
    init = Replay.__init__
    monkeypatch.setattr(
        Replay, "__init__", lambda self, *given: replays.append(1) or init(self, *given)
    )
    replayed = fitted(epochs=3)
    assert replays
    before = len(replays)
    monkeypatch.setattr(Softmax, "steady", False)
    launched = fitted(epochs=3)
    assert len(replays) == before
    for found, wanted in zip(replayed.history_, launched.history_, strict=True):
        assert found["loss"] == pytest.approx(wanted["loss"], rel=0.02, abs=0.02)
    first, wanted = replayed.history_[0]["loss"], launched.history_[0]["loss"]
    assert first == pytest.approx(wanted, rel=1e-3)


def test_what_is_not_finite_raises_soon_and_is_not_kept(tmp_path):
    classifier = AutoencoderClassifier(epochs=50, learning_rate=1e30, device="cuda")
    with pytest.raises(NotFiniteError, match="Try a lower learning rate"):
        classifier.fit(DIGITS.images, DIGITS.target)


def test_a_model_says_the_same_on_both_devices(tmp_path):
    clusterer = fitted(epochs=3)
    clusterer.save(tmp_path)
    on_gpu = selfsort.load(tmp_path)
    on_cpu = selfsort.load(tmp_path)
    on_cpu.device_ = torch.device("cpu")
    on_cpu.model_.to("cpu")
    X = DIGITS.images[:500]
    np.testing.assert_allclose(on_gpu.transform(X), on_cpu.transform(X), atol=2e-4)
    few = np.concatenate([on_gpu.transform(X[i : i + 7]) for i in range(0, 70, 7)])
    np.testing.assert_allclose(few, on_gpu.transform(X)[:70], atol=2e-5)


def test_without_memory_the_batch_is_halved():
    """A real shortage: the GPU's own allocator refuses."""
    images = np.random.default_rng(0).integers(0, 256, (1000, 256, 256), dtype=np.uint8)
    classifier = AutoencoderClassifier(
        epochs=1, network="convolutional", transform_strength=0.0, device="cuda", random_state=0
    )
    gc.collect()
    torch.cuda.empty_cache()
    total = torch.cuda.get_device_properties(GPU).total_memory
    room = torch.cuda.memory_reserved() + 500 * 2**20
    torch.cuda.set_per_process_memory_fraction(room / total)
    try:
        with pytest.warns(SmallerBatchWarning, match="did not fit into memory"):
            classifier.fit(images, np.arange(1000) % 2)
    finally:
        torch.cuda.set_per_process_memory_fraction(1.0)
    assert classifier.predict(images[:10]).shape == (10,)


def test_a_step_does_not_wait(monkeypatch):
    """PyTorch itself raises where the host waits for the GPU inside a step."""
    step, seen = loop.learn, []

    def watched(*given, **named):
        torch.cuda.set_sync_debug_mode("error")
        try:
            return step(*given, **named)
        finally:
            torch.cuda.set_sync_debug_mode("default")
            seen.append(1)

    monkeypatch.setattr(loop, "learn", watched)
    monkeypatch.setattr(Softmax, "steady", False)
    classifier = AutoencoderClassifier(epochs=1, device="cuda", random_state=0)
    classifier.fit(DIGITS.images, DIGITS.target)
    assert len(seen) > 5
    assert math.isfinite(classifier.history_[-1]["loss"])


def test_computing_asks_for_whole_float32():
    left = torch.rand(1, 8, 64, 64, device=GPU)
    kernel = torch.rand(8, 8, 3, 3, device=GPU)
    with computing(GPU, None):
        found = torch.nn.functional.conv2d(left, kernel)
        assert torch.backends.cudnn.deterministic
    wanted = torch.nn.functional.conv2d(left.double(), kernel.double())
    assert ((found - wanted).abs() / wanted.abs()).max().item() < 1e-5
    assert not torch.backends.cudnn.deterministic
