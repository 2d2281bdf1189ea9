"""The stages that learn classes without labels, one by one, on made-up images."""

from __future__ import annotations

import contextlib

import numpy as np
import pytest
import torch

from selfsort import sorting
from selfsort.bottlenecks import make_bottleneck
from selfsort.networks import make_network
from selfsort.sorting import Sorting
from selfsort.training import Data, Model, Settings

K = 3


def make_sorting(n: int = 60, labels: np.ndarray | None = None) -> Sorting:
    torch.manual_seed(0)
    images = torch.randint(0, 256, (n, 1, 8, 8), dtype=torch.uint8)
    model = Model(make_network("auto", (1, 8, 8), K, 2), make_bottleneck("softmax"))
    calls: list = []

    def train(name, weights, feed, settings):
        calls.append((name, dict(weights), feed, settings))

    sorted_by = Sorting(
        model,
        Data(images),
        K,
        labels,
        {"fine clusters": 4, "self-training": 6, "decoder": 2},
        transform=None,
        strong_transform=None,
        settings=lambda **changes: Settings(
            **{"epochs": 1, "batch_size": 16, "learning_rate": 0.1, **changes}
        ),
        train=train,
        stage=lambda name: contextlib.nullcontext(),
        generator=torch.Generator().manual_seed(0),
    )
    sorted_by.calls = calls
    return sorted_by


@pytest.mark.parametrize(
    ("total", "expected"), [(24, (8, 12, 4)), (75, (25, 38, 12)), (2, (1, 1, 1))]
)
def test_epochs_are_split_four_six_two(total, expected):
    split = sorting.split_epochs(total)
    assert tuple(split.values()) == expected


@pytest.mark.parametrize(("n", "expected"), [(60, 5), (1000, 10), (13, 1)])
def test_few_images_have_fewer_neighbours(n, expected):
    rows = torch.randn(n, 4, generator=torch.Generator().manual_seed(0))
    assert make_sorting(n).neighbours_of(rows, 10).shape == (n, expected)


def test_the_head_starts_at_the_least_squares_solution():
    stage = make_sorting()
    features = torch.randn(60, 128, generator=torch.Generator().manual_seed(1))[:, :128]
    features[:, 20:] = 0.0  # features that are never active
    targets = torch.eye(K)[torch.arange(60) % K]
    targets[50:] = 0.0  # images whose votes disagree
    stage.solve_head(features, targets)
    rows = np.column_stack([features[:50, :20].numpy(), np.ones(50)]).astype(float)
    solution, *_ = np.linalg.lstsq(rows, targets[:50].numpy().astype(float), rcond=None)
    expected = sorting.HEAD_SCALE * rows @ solution
    found = stage.model.network.head(features[:50]).detach().numpy()
    np.testing.assert_allclose(found, expected, atol=1e-2)


def test_targets_are_the_classes_on_which_both_votes_agree():
    stage = make_sorting(4)
    classes = torch.eye(K)[torch.tensor([0, 0, 1, 2])]
    pixels = torch.tensor([[1], [0], [3], [2]])  # votes 0, 0, 2, 1
    features = torch.tensor([[1], [2], [2], [3]])  # votes 0, 1, 1, 2
    targets = stage.agreed(classes, pixels, features)
    assert targets.tolist() == [[1, 0, 0], [0, 0, 0], [0, 0, 0], [0, 0, 0]]


def test_where_no_votes_agree_every_class_is_kept():
    stage = make_sorting(2)
    swapped = torch.tensor([[1], [0]])
    targets = stage.agreed(torch.eye(K)[:2], swapped, swapped)
    assert targets.tolist() == [[1, 0, 0], [0, 1, 0]]


def test_a_given_label_outweighs_every_vote():
    stage = make_sorting(2, labels=np.array([2, -1]))
    own = torch.tensor([[0], [1]])
    targets = stage.agreed(torch.eye(K)[[0, 1]], own, own)
    assert targets.tolist() == [[0, 0, 1], [0, 1, 0]]


def test_groups_are_read_from_the_joint_distribution_of_all_graphs():
    stage = make_sorting(8)
    codes = torch.eye(4).repeat(2, 1)  # fine clusters 0 1 2 3 0 1 2 3
    stage.n_classes = 2
    # Neighbours hold 0 with 1 and 2 with 3 together.
    together = torch.tensor([[1], [0], [3], [2], [5], [4], [7], [6]])
    classes = stage.group(codes, together, together).argmax(1)
    assert classes[0] == classes[1] == classes[4] == classes[5]
    assert classes[2] == classes[3] == classes[6] == classes[7]
    assert classes[0] != classes[2]


def test_all_stages_run_in_order_with_what_they_need():
    stage = make_sorting()
    stage.run()
    names = [name for name, *_ in stage.calls]
    assert names == ["fine clusters", "self-training"]
    _, weights, feed, settings = stage.calls[0]
    assert weights == {"information": 1.0}
    assert feed.neighbours.shape == (60, 5)
    assert feed.targets is None
    assert settings.epochs == 4
    _, weights, feed, settings = stage.calls[1]
    assert weights == {"classification": 1.0, "information": 0.3}
    assert feed.targets.shape == (60, K)
    assert settings.epochs == 6
    assert stage.model.network.head.out_features == K


def test_descriptions_are_those_of_the_network_in_evaluation_mode():
    stage = make_sorting()
    codes, features = stage.describe()
    model = stage.model.eval()
    with torch.no_grad():
        encoded = model.network.encode(stage.data.batch(slice(None)))
    np.testing.assert_allclose(codes, torch.softmax(encoded.logits, 1), atol=1e-6)
    np.testing.assert_allclose(features, encoded.features, atol=1e-6)
