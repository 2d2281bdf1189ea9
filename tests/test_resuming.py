"""A fit that was ended anywhere goes on from its last snapshot, and ends with the same bits."""

from __future__ import annotations

import copy
import itertools
from typing import Any

import numpy as np
import pytest
import safetensors.torch
from sklearn.datasets import load_digits

from selfsort import (
    Autoencoder,
    AutoencoderClassifier,
    AutoencoderClusterer,
    Checkpoint,
)
from selfsort.training.snapshot import Snapshot

DIGITS = load_digits()
X, Y = DIGITS.images[:120], DIGITS.target[:120]
FEW = np.where(np.arange(len(X)) < 40, Y, -1)
TIMES = ("seconds", "images_per_second")

pytestmark = pytest.mark.filterwarnings("ignore::selfsort.ClassCollapseWarning")


class Memory(Checkpoint):
    """Keeps every snapshot, as the bytes that go to the disk."""

    def __init__(self, start: bytes | None = None, facts: dict[str, Any] | None = None) -> None:
        super().__init__("never-written", 0)
        self.start, self.facts = start, facts
        self.kept: list[tuple[bytes, dict[str, Any]]] = []

    def newest(self, identity: dict[str, Any]) -> Snapshot | None:
        if self.start is None:
            return None
        assert self.facts is not None
        assert identity == self.facts["identity"]
        return Snapshot(safetensors.torch.load(self.start), copy.deepcopy(self.facts))

    def due(self) -> bool:
        return True

    def keep(self, snapshot: Snapshot) -> None:
        arrays = {name: array.clone().contiguous() for name, array in snapshot.arrays.items()}
        self.kept.append((safetensors.torch.save(arrays), copy.deepcopy(snapshot.facts)))


def fitted(kind: str, *callbacks: Any) -> Any:
    """Return a fitted estimator of one of the ways to learn."""
    made, y = {
        "images only": lambda: (Autoencoder(style_dim=4, epochs=2), None),
        "no labels": lambda: (AutoencoderClusterer(4, epochs=8, style_dim=3), None),
        "no labels, K not told": lambda: (AutoencoderClusterer(None, epochs=8, style_dim=3), None),
        "a few labels": lambda: (AutoencoderClassifier(epochs=8, unlabeled=-1, style_dim=3), FEW),
        "all labels": lambda: (AutoencoderClassifier(epochs=4, style_dim=3), Y),
        "momentum": lambda: (
            AutoencoderClassifier(epochs=2, optimizer="sgd", momentum=0.9, phases=[("all", 2)]),
            Y,
        ),
        "dvae": lambda: (bound("dvae", {"units": 8, "layers": 2, "continuous": 2}), None),
        "vq": lambda: (bound("vq", {"categories": 8, "width": 2}), None),
        "vade": lambda: (bound("vade", {"width": 2}), None),
        "gmvae": lambda: (bound("m2", {"style": 2, "style_prior": "class"}), None),
    }[kind]()
    made.set_params(random_state=3, n_threads=1)
    made.set_callbacks(*callbacks)
    return made.fit(X, y)


def bound(bottleneck: str, parameters: dict[str, Any]) -> AutoencoderClusterer:
    return AutoencoderClusterer(
        4,
        method="direct",
        network="dense",
        bottleneck=bottleneck,
        bottleneck_parameters=parameters,
        style_dim=0,
        reconstruction="nll",
        divergence_weight=1.0,
        binarize=True,
        transform_strength=0.0,
        epochs=4,
    )


def result_of(estimator: Any) -> dict[str, Any]:
    """Return everything that a fit leaves, but times."""
    found = {f"model.{name}": t.cpu().numpy() for name, t in estimator.model_.state_dict().items()}
    found["latent"] = estimator.transform(X)
    for name in ("labels_", "style_means_", "style_factors_", "information_curve_", "n_classes_"):
        if hasattr(estimator, name):
            found[name] = np.asarray(getattr(estimator, name))
    found["history"] = np.array(
        [repr([(k, v) for k, v in row.items() if k not in TIMES]) for row in estimator.history_]
    )
    return found


def assert_same(found: dict[str, Any], wanted: dict[str, Any]) -> None:
    assert found.keys() == wanted.keys()
    for name in wanted:
        assert found[name].dtype == wanted[name].dtype, name
        np.testing.assert_array_equal(found[name], wanted[name], err_msg=name)


KINDS = (
    "images only",
    "no labels",
    "no labels, K not told",
    "a few labels",
    "all labels",
    "momentum",
    "dvae",
    "vq",
    "vade",
    "gmvae",
)


@pytest.mark.parametrize("kind", KINDS)
def test_a_fit_goes_on_to_the_same_bits_from_every_stage(kind: str) -> None:
    memory = Memory()
    wanted = result_of(fitted(kind, memory))
    assert_same(result_of(fitted(kind)), wanted)  # snapshots change nothing
    stages = [facts["stage"] for _, facts in memory.kept]
    names = list(dict.fromkeys(stages))
    assert names[-1] == "end"
    for i in chosen(stages, KINDS.index(kind)):
        callback = Memory(*memory.kept[i])
        again = fitted(kind, callback)
        try:
            assert_same(result_of(again), wanted)
        except AssertionError as error:
            raise AssertionError(f"from snapshot {i} in '{stages[i]}': {error}") from None
        assert list(again.stage_seconds_) == names[:-1]
        if i < len(stages) - 2:  # the optimizer's state too, at the very last step
            assert_same(last_step_of(callback), last_step_of(memory))


def last_step_of(memory: Memory) -> dict[str, np.ndarray]:
    """Return all that is kept of the training's last step: weights, optimizer, averages."""
    content, facts = memory.kept[-2]
    assert facts["stage"] != "end"
    arrays = {name: array.numpy() for name, array in safetensors.torch.load(content).items()}
    assert any(name.startswith("optimizer/") for name in arrays)
    return arrays


def chosen(stages: list[str], turn: int) -> list[int]:
    """Return one snapshot of each stage: in turn its beginning, its middle and its last step."""
    members = [
        list(group) for _, group in itertools.groupby(range(len(stages)), stages.__getitem__)
    ]
    places = (lambda m: m[0], lambda m: m[len(m) // 2], lambda m: m[-1])
    return [places[(turn + j) % 3](member) for j, member in enumerate(members)]
