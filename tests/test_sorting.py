"""The stages that learn classes without labels, one by one, on made-up images."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import nn

from selfsort import grouping, sorting
from selfsort.bottlenecks import make_bottleneck
from selfsort.networks import Heads, make_network
from selfsort.objectives import Outputs, information
from selfsort.sorting import Sorting
from selfsort.training import Data, Model, Settings

K = 3


def make_sorting(
    n: int = 60, labels: np.ndarray | None = None, stop_in: str = "", choose: bool = False
) -> Sorting:
    torch.manual_seed(0)
    images = torch.randint(0, 256, (n, 1, 8, 8), dtype=torch.uint8)
    model = Model(make_network("auto", (1, 8, 8), K, 2), make_bottleneck("softmax", K))
    calls: list = []

    def train(name, weights, feed, settings):
        calls.append((name, dict(weights), feed(), settings))
        return name != stop_in

    def renew(n_classes):
        fresh = make_network("auto", (1, 8, 8), n_classes, 2)
        model.network.head, model.network.decoder = fresh.head, fresh.decoder

    sorted_by = Sorting(
        model,
        Data(images),
        K,
        choose,
        labels,
        sorting.split_epochs(12, labelled=labels is not None),
        transform=None,
        strong_transform=None,
        settings=lambda **changes: Settings(
            **{"epochs": 1, "batch_size": 300, "learning_rate": 0.1, **changes}
        ),
        train=train,
        compute=lambda name, function: function(),
        renew=renew,
        generator=torch.Generator().manual_seed(0),
    )
    sorted_by.calls = calls
    return sorted_by


@pytest.mark.parametrize(
    ("total", "expected"), [(24, (6, 6, 8, 4)), (75, (19, 19, 25, 12)), (2, (1, 1, 1, 1))]
)
def test_epochs_are_split_three_three_four_two(total, expected):
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
    stage.start_head(sorting.solved_head(features, targets))
    rows = np.column_stack([features[:50, :20].numpy(), np.ones(50)]).astype(float)
    solution, *_ = np.linalg.lstsq(rows, targets[:50].numpy().astype(float), rcond=None)
    expected = sorting.HEAD_SCALE * rows @ solution
    found = stage.model.network.head(features[:50]).detach().numpy()
    np.testing.assert_allclose(found, expected, atol=1e-2)


def ring(n: int, k: int = 4) -> torch.Tensor:
    """Each image's neighbours are the k before and after it, within its third of all."""
    third = n // 3
    rows = []
    for i in range(n):
        start = i // third * third
        rows.append([start + (i - start + step) % third for step in range(1, k + 1)])
    return torch.tensor(rows)


THIRDS = torch.arange(60) // 20


EVERYTHING = torch.ones(60, dtype=torch.bool)


def test_images_in_no_doubt_agree_with_their_neighbours_in_each_graph():
    stage, classes, certain = make_sorting(60), THIRDS.clone(), EVERYTHING.clone()
    classes[5] = 2  # disagrees with all its neighbours, and so do those before it with it
    certain[30] = False
    unanimous = stage.undoubted(classes, certain, [ring(60), ring(60)], 1.0)
    doubtful = {1, 2, 3, 4, 5, 30}
    assert set(np.flatnonzero(~unanimous).tolist()) == doubtful
    three_of_four = stage.undoubted(classes, certain, [ring(60), ring(60)], 0.75)
    assert set(np.flatnonzero(~three_of_four).tolist()) == {5, 30}
    # One graph that disagrees is enough.
    assert not stage.undoubted(classes, certain, [ring(60, 1), ring(60)], 1.0)[1]
    assert not stage.undoubted(classes, certain, [ring(60), ring(60, 1)], 1.0)[1]


def test_a_share_of_the_votes_is_not_lost_to_rounding():
    classes = torch.tensor([0] * 19 + [1])
    stage = make_sorting(60)
    stage.n_classes = 2
    graph = (torch.arange(20)[:, None] + torch.arange(1, 11)) % 20
    votes = (classes[graph] == classes[:, None]).sum(1)  # of ten, in whole numbers
    known = stage.undoubted(classes, torch.ones(20, dtype=torch.bool), [graph], 0.9)
    assert known[:19].tolist() == (votes[:19] >= 9).tolist()


def test_a_class_of_which_nothing_is_certain_does_not_vanish():
    known = make_sorting(60).undoubted(THIRDS, THIRDS != 1, [ring(60), ring(60)], 1.0)
    assert known.all()


def one_hot(classes: torch.Tensor) -> torch.Tensor:
    """Return rows of K, and of zeros for -1."""
    return torch.eye(K + 1)[classes][:, :K]


def test_images_in_doubt_get_the_class_that_spreads_to_them():
    known = THIRDS.clone()
    known[[5, 25, 26, 27]] = -1
    targets = make_sorting(60).mended([ring(60), ring(60)], one_hot(known))
    assert targets.argmax(1).tolist() == THIRDS.tolist()
    assert targets.sum(1).tolist() == [1.0] * 60


def test_images_between_two_classes_have_no_target():
    known = THIRDS.clone()
    known[10] = -1
    pixels, features = ring(60), ring(60)
    pixels[10], features[10] = torch.arange(1, 5), torch.arange(21, 25)
    for i in range(60):  # nobody else has it as a neighbour
        pixels[i][pixels[i] == 10] = i
        features[i][features[i] == 10] = i
    targets = make_sorting(60).mended([pixels, features], one_hot(known))
    assert targets[10].tolist() == [0, 0, 0]
    assert targets.sum() == 59


def test_where_every_image_of_a_class_is_in_doubt_all_keep_their_targets():
    shares = one_hot(THIRDS)
    shares[:40] = torch.tensor([0.55, 0.45, 0.0])  # less than `LEAST_SHARE`, all of them
    targets = make_sorting(60).mended(GRAPHS, shares)
    assert targets.argmax(1).tolist() == np.repeat([0, 2], [40, 20]).tolist()
    assert targets.sum(1).tolist() == [1.0] * 60


def test_a_given_label_takes_the_place_of_what_was_found():
    given = np.full(60, -1)
    given[[3, 50]] = [2, 0]
    found = one_hot(THIRDS)
    found[50] = 0
    targets = make_sorting(60, labels=given).targets(found)
    assert targets[[3, 4, 50]].tolist() == [[0, 0, 1], [1, 0, 0], [1, 0, 0]]
    assert found[3].tolist() == [1, 0, 0]  # nothing is changed in place


def labelled(places: list[int], labels: list[int]) -> np.ndarray:
    given = np.full(60, -1)
    given[places] = labels
    return given


GRAPHS = [ring(60), ring(60)]


def test_given_labels_outweigh_what_was_found():
    stage = make_sorting(60, labels=labelled([3, 30, 59], [2, 0, 1]))
    found = one_hot(torch.full((60,), -1))
    found[[4, 5, 31]] = torch.tensor([1.0, 0, 0])
    targets = stage.mended(GRAPHS, found)
    assert targets.argmax(1).tolist() == np.repeat([2, 0, 1], 20).tolist()


def classes_of(stage: Sorting, groups: torch.Tensor, graphs: list[torch.Tensor]) -> list[int]:
    return stage.mended(graphs, stage.named(groups)).argmax(1).tolist()


def test_without_labels_a_group_is_a_class():
    assert make_sorting(60).named(THIRDS).tolist() == one_hot(THIRDS).tolist()


def test_labels_name_the_groups():
    stage = make_sorting(60, labels=labelled([3, 30, 59], [2, 0, 1]))
    assert classes_of(stage, THIRDS, GRAPHS) == np.repeat([2, 0, 1], 20).tolist()
    stage.labels = labelled([3, 4, 5, 6], [2, 2, 0, 2])
    assert stage.named(THIRDS)[[0, 20]].tolist() == [[0.25, 0, 0.75], [0, 0, 0]]


def test_groups_that_their_labels_share_or_that_have_none_follow_the_labels_near():
    # The first two thirds are one group, which two labels contradict; the last one has none.
    groups, given = torch.clamp(THIRDS - 1, min=0), labelled([3, 30], [2, 0])
    linked = [ring(60), ring(60)]
    linked[0][59] = torch.tensor([21, 22, 23, 24])
    classes = classes_of(make_sorting(60, labels=given), groups, linked)
    assert classes == np.repeat([2, 0, 0], 20).tolist()


def test_several_groups_may_be_one_class():
    stage = make_sorting(60, labels=labelled([3, 30, 31, 59], [1, 0, 0, 1]))
    assert classes_of(stage, THIRDS, GRAPHS) == np.repeat([1, 0, 1], 20).tolist()
    # There are as many groups as the images suggest, where that is more than the classes.
    stage.n_classes = 2
    twelve = torch.eye(12)[torch.arange(60) % 4 + 4 * THIRDS]
    everyone = torch.stack([THIRDS * 20 + i for i in range(20)], dim=1)
    groups, _ = stage.group([twelve], everyone)
    assert (stage.n_classes, len(groups.unique())) == (2, 3)


def test_groups_are_read_from_the_joint_distribution():
    stage = make_sorting(8)
    # The first head is stuck with everything in one; fine clusters 0 1 2 3 0 1 2 3 in the second.
    codes = [torch.eye(4)[[0] * 8], torch.eye(4).repeat(2, 1)]
    stage.n_classes = 2
    # Neighbours hold 0 with 1 and 2 with 3 together.
    together = torch.tensor([[1], [0], [3], [2], [5], [4], [7], [6]])
    classes, certain = stage.group(codes, together)
    assert classes[0] == classes[1] == classes[4] == classes[5]
    assert classes[2] == classes[3] == classes[6] == classes[7]
    assert classes[0] != classes[2]
    assert certain.all()  # the stuck head has no say
    assert stage.n_classes == 2
    np.testing.assert_allclose(stage.information[[0, 1, 3]], np.log([1, 2, 4]), atol=1e-12)


def test_images_are_certain_on_which_the_heads_agree_that_are_not_stuck():
    stage = make_sorting(1500)
    thirds = torch.arange(1500) // 500
    best = torch.eye(4)[thirds]
    moved = thirds.clone()
    moved[7] = 1
    named_otherwise = torch.eye(4)[torch.tensor([2, 3, 0])[moved]]
    stuck = torch.eye(4)[[0] * 1500]
    codes = [stuck, named_otherwise, best, best]
    classes, certain = stage.group(codes, ring(1500))
    assert [len(set(classes[start : start + 500].tolist())) for start in (0, 500, 1000)] == [
        1,
        1,
        1,
    ]
    assert len(set(classes.tolist())) == 3
    assert certain.tolist() == [i != 7 for i in range(1500)]


@pytest.mark.parametrize(("n", "share"), [(90, 0.1), (450, 0.5), (900, 1.0), (1800, 1.0)])
def test_with_few_images_a_class_the_price_on_entropy_falls(monkeypatch, n, share):
    """900 images are 300 for each of three classes: from there on the price is whole."""
    stage, prices = make_sorting(n), []
    group = grouping.group

    def noted(joint, n_classes, *, entropy_price, **more):
        prices.append(entropy_price)
        return group(joint, n_classes, entropy_price=entropy_price, **more)

    monkeypatch.setattr(grouping, "group", noted)
    codes = torch.eye(K)[torch.arange(n) * K // n]
    neighbours = ring(n)
    stage.group([codes], neighbours)
    # Three groups of one size: a nat of entropy is log 3 of them, and they keep this much of it.
    joint = grouping.joint_distribution(codes, neighbours)
    per_nat = grouping.mutual_information(joint) / np.log(K)
    assert prices == [pytest.approx(share * 0.7 * per_nat, rel=1e-6)]


def test_the_number_of_classes_is_chosen_where_no_one_told_it():
    stage = make_sorting(240, choose=True)
    stage.n_classes = 10
    # Four classes, each torn into three fine clusters that neighbours mix.
    fine = torch.arange(240) % 3 + 3 * (torch.arange(240) // 60)
    neighbours = torch.stack([torch.arange(240) // 60 * 60 + i for i in range(0, 60, 4)], dim=1)
    classes, _ = stage.group([torch.eye(12)[fine]], neighbours)
    assert stage.n_classes == 4
    assert [len(set(classes[start : start + 60].tolist())) for start in (0, 60, 120, 180)] == [
        1
    ] * 4


def test_neighbours_of_images_are_ranked_by_tangent_distance_and_those_of_vectors_are_not():
    stage = make_sorting(60)
    features = grouping.pixel_features(stage.data.inputs)
    everyone = grouping.nearest_neighbours(features, sorting.N_CANDIDATES)
    ranked = grouping.rank_by_tangents(stage.data.inputs, everyone)
    assert stage.pixel_neighbours()["neighbours"].tolist() == ranked[:, :5].tolist()
    stage.data = Data(stage.data.inputs.flatten(1).float())
    expected = grouping.nearest_neighbours(grouping.pixel_features(stage.data.inputs), 5)
    assert stage.pixel_neighbours()["neighbours"].tolist() == expected.tolist()


def test_all_stages_run_in_order_with_what_they_need():
    stage = make_sorting()
    stage.run()
    names = [name for name, *_ in stage.calls]
    assert names == ["fine clusters", "first self-training", "second self-training"]
    _, weights, feed, settings = stage.calls[0]
    assert weights == {"information": 1.0}
    assert feed.neighbours.shape == (60, 5)
    assert feed.targets is None
    assert settings.epochs == 3
    for (_, weights, feed, settings), epochs in zip(stage.calls[1:], (3, 4), strict=True):
        assert weights == {"classification": 1.0}
        assert feed.targets.shape == (60, K)
        # Images in doubt, whose targets are all 0, are not trained on.
        assert feed.index.tolist() == np.flatnonzero(feed.targets.sum(1)).tolist()
        assert (settings.epochs, settings.average, settings.batch_size) == (epochs, 0.99, 256)
    assert stage.model.network.head.out_features == K


def test_with_labels_there_is_a_third_round():
    stage = make_sorting(labels=labelled([3, 30, 59], [2, 0, 1]))
    stage.run()
    names = [name for name, *_ in stage.calls]
    assert names[1:] == [f"{which} self-training" for which in ("first", "second", "third")]
    for _, _, feed, _ in stage.calls[1:]:
        assert feed.targets[[3, 30, 59]].tolist() == [[0, 0, 1], [1, 0, 0], [0, 1, 0]]


def test_classes_spread_over_the_neighbours_of_every_stage_so_far(monkeypatch):
    stage, seen, voters = make_sorting(labels=labelled([3, 30, 59], [2, 0, 1])), [], []
    mended, undoubted = stage.mended, stage.undoubted
    monkeypatch.setattr(
        stage,
        "undoubted",
        lambda classes, certain, graphs, vote: (
            voters.append(len(graphs)) or undoubted(classes, certain, graphs, vote)
        ),
    )
    monkeypatch.setattr(
        stage, "mended", lambda graphs, *rest: seen.append(len(graphs)) or mended(graphs, *rest)
    )
    stage.run()
    assert seen == [2, 3, 4]
    assert voters == [2, 2, 2]  # pixels and the newest features


@pytest.mark.parametrize("n_certain", [0, 1])
def test_where_nothing_is_certain_all_images_go_through_the_training(n_certain):
    stage = make_sorting()
    targets = torch.zeros(60, K)
    targets[:n_certain, 0] = 1
    stage.self_train("first self-training", targets)
    feed = stage.calls[0][2]
    assert len(feed) == 60


def test_nothing_more_is_done_once_training_was_stopped():
    stage = make_sorting(stop_in="first self-training")
    stage.run()
    assert [name for name, *_ in stage.calls] == ["fine clusters", "first self-training"]


@pytest.mark.parametrize("n_heads", [1, 3])
def test_information_of_several_heads_is_the_mean_of_each(n_heads):
    generator = torch.Generator().manual_seed(2)
    code = torch.rand(20, n_heads, 4, generator=generator).softmax(2)
    partner = torch.rand(20, n_heads, 4, generator=generator).softmax(2)
    nothing = torch.zeros(20, 1)
    single = [
        information(Outputs(nothing, code=code[:, h], partner_code=partner[:, h]))
        for h in range(n_heads)
    ]
    found = information(Outputs(nothing, code=code, partner_code=partner))
    np.testing.assert_allclose(found, torch.stack(single).mean(0), rtol=1e-5)


def test_features_and_classes_are_those_of_the_network_in_evaluation_mode():
    stage = make_sorting()
    features = stage.features()
    model = stage.model.eval()
    with torch.no_grad():
        encoded = model.network.encode(stage.data.batch(slice(None)))
        np.testing.assert_allclose(features, encoded.features, atol=1e-6)
        assert stage.classes(features).tolist() == encoded.logits.argmax(1).tolist()


def test_neighbours_by_features_leave_these_as_they_were():
    stage = make_sorting()
    features = torch.randn(60, 128, generator=torch.Generator().manual_seed(3)).relu()
    features[5] = 0.0
    before = features.clone()
    expected = grouping.nearest_neighbours(before, 5)
    assert torch.equal(stage.feature_neighbours(features), expected)
    torch.testing.assert_close(features, before)


def test_fine_codes_are_the_distributions_of_one_head_after_the_other(monkeypatch):
    monkeypatch.setattr(sorting, "ROWS", 7)
    stage = make_sorting()
    stage.model.network.head = heads = Heads(128, 3, 20)
    nn.init.normal_(heads.weight)
    features = torch.randn(60, 128, generator=torch.Generator().manual_seed(2))
    found = torch.stack(list(stage.fine_codes(features)), dim=1)
    assert found.shape == (60, 3, 20)
    assert not found.requires_grad
    torch.testing.assert_close(found, heads(features).softmax(2).detach())
