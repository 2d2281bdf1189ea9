"""Neighbour graphs and grouping, against brute force and closed forms."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
import scipy.stats
import torch
from sklearn.metrics import mutual_info_score, normalized_mutual_info_score
from sklearn.neighbors import NearestNeighbors

from selfsort.errors import InputError, SelfsortError
from selfsort.grouping import (
    agglomerate,
    choose_n_groups,
    exchange,
    group,
    information_per_nat,
    joint_distribution,
    mutual_information,
    nearest_neighbours,
    pixel_features,
    rank_by_tangents,
    spread,
    vote,
)
from selfsort.grouping import neighbours as graph


def random_joint(seed: int, m: int) -> np.ndarray:
    table = np.random.default_rng(seed).dirichlet(np.full(m * m, 0.3)).reshape(m, m)
    return (table + table.T) / 2


def planted_joint(seed: int, sizes: list[int], share_outside: float) -> tuple:
    """Blocks of fine clusters whose images are neighbours, and a share that is noise."""
    rng = np.random.default_rng(seed)
    blocks = np.repeat(np.arange(len(sizes)), sizes)
    mass = rng.uniform(0.5, 1.5, len(blocks))
    inside = np.outer(mass, mass) * (blocks[:, None] == blocks) * rng.uniform(0.2, 1.8, (1, 1))
    noise = np.outer(mass, mass) * rng.uniform(0, 2, (len(blocks), len(blocks)))
    joint = (1 - share_outside) * inside / inside.sum() + share_outside * noise / noise.sum()
    return joint + joint.T, blocks


def grouped(joint: np.ndarray, classes: np.ndarray, k: int) -> np.ndarray:
    member = np.eye(k)[np.asarray(classes)]
    return member.T @ joint @ member


def kl_information(joint: np.ndarray) -> float:
    """The definition: the divergence of the joint from the product of its margins."""
    joint = joint / joint.sum()
    product = np.outer(joint.sum(axis=1), joint.sum(axis=0))
    used = joint > 0
    return float((joint[used] * np.log(joint[used] / product[used])).sum())


# Neighbours


@pytest.mark.parametrize(
    ("dtype", "n", "p", "k", "products"),
    [
        (torch.float32, 700, 20, 10, 2**25),
        (torch.float32, 701, 20, 10, 701 * 100),  # 100 rows at a time
        (torch.float32, 701, 20, 10, 1),
        (torch.float32, 300, 5, 200, 2**25),  # more neighbours than groups
        (torch.float32, 4200, 8, 10, 2**25),
        (torch.bfloat16, 4200, 8, 10, 2**25),
    ],
)
def test_neighbours_are_those_of_brute_force(monkeypatch, dtype, n, p, k, products):
    monkeypatch.setattr(graph, "has_fast_bfloat16", lambda device: dtype == torch.bfloat16)
    monkeypatch.setattr(graph, "_PRODUCTS", products)
    X = torch.randn(n, p, generator=torch.Generator().manual_seed(n)) + 1
    found = nearest_neighbours(X, k)
    search = NearestNeighbors(n_neighbors=k, metric="cosine", algorithm="brute").fit(X.numpy())
    rows = np.arange(0, n, 9)
    index = search.kneighbors(X.numpy()[rows], k + 1, return_distance=False)
    expected = index[index != rows[:, None]].reshape(len(rows), k)
    np.testing.assert_array_equal(found.numpy()[rows], expected)
    assert found.dtype == torch.int64


def test_rows_of_length_one_are_not_copied():
    X = torch.randn(50, 8, generator=torch.Generator().manual_seed(0))
    unit = graph._unit_rows(X)
    torch.testing.assert_close(unit, torch.nn.functional.normalize(X))
    unit[3] = 0
    assert graph._unit_rows(unit) is unit
    assert graph._unit_rows(unit.double()) is not unit
    # Neither do the squares of a row underflow, nor is one that is too long taken as it is.
    for factor in (1e-30, 1.001):
        other = unit.clone()
        other[7] *= factor
        torch.testing.assert_close(graph._unit_rows(other), unit)


def test_tight_clusters_for_which_bfloat16_is_too_coarse(monkeypatch):
    # Every similarity lies above 0.99, where bfloat16 has hardly more than two values.
    monkeypatch.setattr(graph, "has_fast_bfloat16", lambda device: True)
    generator = torch.Generator().manual_seed(0)
    X = torch.randn(64, generator=generator) + 0.05 * torch.randn(4200, 64, generator=generator)
    unit = torch.nn.functional.normalize(X.double())
    similarity = unit @ unit.T
    assert similarity.min() > 0.99
    expected = similarity.fill_diagonal_(-1).topk(10).indices
    found = nearest_neighbours(X, 10)
    recall = (found[:, :, None] == expected[:, None]).any(dim=1).double().mean()
    assert recall > 0.999


def test_bfloat16_is_used_where_it_keeps_the_neighbours(monkeypatch):
    monkeypatch.setattr(graph, "has_fast_bfloat16", lambda device: True)
    generator = torch.Generator().manual_seed(0)
    spread_out = graph._unit_rows(torch.randn(4200, 64, generator=generator))
    tight = graph._unit_rows(1 + 0.05 * torch.randn(4200, 64, generator=generator))
    assert graph._rough_rows(spread_out, 10, -torch.inf).dtype == torch.bfloat16
    assert graph._rough_rows(tight, 10, -torch.inf).dtype == torch.float32


def test_neighbours_are_the_same_every_time_and_equal_rows_come_in_row_order():
    X = torch.randn(6, 4, generator=torch.Generator().manual_seed(0)).repeat(20, 1)
    found = nearest_neighbours(X, 5)
    assert torch.equal(found, nearest_neighbours(X, 5))
    assert found[3].tolist() == [9, 15, 21, 27, 33]


def test_rows_of_zeros_have_neighbours_and_do_not_disturb_others():
    X = torch.tensor([[0.0, 0.0], [1.0, 0.0], [1.0, 0.1], [0.0, 0.0]])
    found = nearest_neighbours(X, 3)
    assert found[0].tolist() == [1, 2, 3]  # all similarities are 0: row order
    assert found[1].tolist() == [2, 0, 3]


@pytest.mark.parametrize("size", [1e-30, 1e30])
def test_neighbours_of_tiny_and_huge_values_are_those_of_ordinary_ones(size):
    X = torch.randn(50, 6, generator=torch.Generator().manual_seed(1))
    assert torch.equal(nearest_neighbours(X * size, 4), nearest_neighbours(X, 4))


def test_a_row_is_its_own_first_neighbour_on_request():
    X = torch.ones(40, 3)  # all rows tie
    found = nearest_neighbours(X, 40, include_self=True)
    assert found[:, 0].tolist() == list(range(40))
    assert found.sort(dim=1).values.tolist() == [list(range(40))] * 40


@pytest.mark.parametrize(
    ("X", "arguments", "sentence"),
    [
        (
            torch.zeros(5),
            {"n_neighbours": 1},
            "X must have 2 dimensions (rows, features). Got shape (5,).",
        ),
        (
            torch.zeros(5, 2),
            {"n_neighbours": 5},
            "n_neighbours must be from 1 to 4 for 5 rows. Got 5.",
        ),
        (
            torch.zeros(5, 2),
            {"n_neighbours": 0, "include_self": True},
            "n_neighbours must be from 1 to 5 for 5 rows. Got 0.",
        ),
        (
            torch.tensor([[0.0], [torch.nan], [torch.inf]]),
            {"n_neighbours": 1},
            "X must be finite. Row 1 holds NaN or infinity; remove it or replace those values.",
        ),
    ],
)
def test_neighbours_of_unusable_input(X, arguments, sentence):
    with pytest.raises(InputError) as error:
        nearest_neighbours(X, **arguments)
    assert str(error.value) == sentence


# Tangent distance


def tangent_distance(first: np.ndarray, second: np.ndarray) -> float:
    """Twice the squared distance to a point's tangents, by ridge regression in numpy."""
    distance = 0.0
    for image in (first, second):
        height, width = image.shape[1:]
        down, right = np.gradient(image, axis=1), np.gradient(image, axis=2)
        half = max(height, width) / 2
        y = (np.arange(height) - (height - 1) / 2)[:, None] / half
        x = (np.arange(width) - (width - 1) / 2)[None] / half
        moved = [right, down, x * right, y * right, x * down, y * down]
        pictures = [*moved, np.hypot(right, down), image]
        T = np.stack([picture.ravel() for picture in pictures], axis=1)
        gram = T.T @ T
        ridge = 1e-3 * np.trace(gram) / 8 * np.eye(8)
        difference = (first - second).ravel()
        explained = T @ np.linalg.solve(gram + ridge, T.T @ difference)
        distance += float(difference @ difference - difference @ explained)
    return distance


@pytest.mark.parametrize("pairs", [2048, 7])  # all 600 at a time, or an image's in two goes
@pytest.mark.parametrize("shape", [(1, 8, 8), (3, 8, 12)])
def test_candidates_are_ranked_by_tangent_distance(shape, pairs, monkeypatch):
    monkeypatch.setattr("selfsort.grouping.tangents._PAIRS", pairs)
    rng = np.random.default_rng(0)
    images = rng.random((40, *shape))
    images[20:] = np.roll(images[:20], 1, axis=3) + 0.1 * rng.random((20, *shape))
    candidates = np.stack([rng.permutation(np.delete(np.arange(40), i))[:15] for i in range(40)])
    found = rank_by_tangents(torch.from_numpy(images).float(), torch.from_numpy(candidates))
    for i, row in enumerate(candidates):
        order = np.argsort([tangent_distance(images[i], images[j]) for j in row])
        assert found[i].tolist() == row[order].tolist()
    part = rank_by_tangents(
        torch.from_numpy(images).float(), torch.from_numpy(candidates[5:9]), rows=slice(5, 9)
    )
    assert torch.equal(part, found[5:9])
    monkeypatch.setattr("selfsort.grouping.tangents._ROWS", 16)  # the images in three goes
    nearest = rank_by_tangents(torch.from_numpy(images).float(), torch.from_numpy(candidates), 4)
    assert torch.equal(nearest, found[:, :4])


def test_shifted_images_are_nearer_than_others_of_more_similar_pixels():
    from scipy.ndimage import gaussian_filter, shift

    rng = np.random.default_rng(1)
    blobs = gaussian_filter(rng.random((30, 28, 28)), (0, 3, 3))
    blobs = (blobs - blobs.min()) / np.ptp(blobs)
    images = np.concatenate([blobs, shift(blobs, (0, 1.5, 1), mode="nearest")])
    X = torch.from_numpy(np.rint(255 * images).astype(np.uint8))[:, None]
    others = torch.arange(60).repeat(60, 1)
    others = others[others != torch.arange(60)[:, None]].reshape(60, 59)
    first = rank_by_tangents(X, others)[:, 0]
    assert first.tolist() == [*range(30, 60), *range(30)]


def test_blank_images_and_strips_have_tangents_too():
    X = torch.zeros(3, 1, 8, 8, dtype=torch.uint8)
    X[2] = 255
    ranked = rank_by_tangents(X, torch.tensor([[1, 2], [2, 0], [0, 1]]))
    assert ranked[:2].tolist() == [[1, 2], [0, 2]]
    strips = torch.rand(4, 1, 2, 64)
    assert rank_by_tangents(strips, torch.tensor([[1, 2]] * 4)).shape == (4, 2)


def test_ranking_of_something_that_is_no_batch_of_images():
    with pytest.raises(InputError, match=r"images must have shape .* Got \(3, 4\)\."):
        rank_by_tangents(torch.zeros(3, 4), torch.zeros(3, 1, dtype=torch.int64))
    with pytest.raises(InputError) as error:
        rank_by_tangents(torch.zeros(3, 1, 8, 8), torch.zeros(3, 1, dtype=torch.int64), 2)
    assert str(error.value) == (
        "n_neighbours must be from 1 to 1, the number of candidates. Got 2."
    )


# Pixel features


def test_small_images_lose_their_mean_and_get_length_one():
    images = torch.randint(0, 256, (3, 2, 8, 16), dtype=torch.uint8)
    flat = images.numpy().reshape(3, -1) / 255
    centred = flat - flat.mean(axis=1, keepdims=True)
    expected = centred / np.linalg.norm(centred, axis=1, keepdims=True)
    np.testing.assert_allclose(pixel_features(images).numpy(), expected, atol=1e-6)
    assert not pixel_features(torch.zeros(2, 1, 8, 8)).any()


def test_larger_images_are_blurred_and_averaged():
    from scipy.ndimage import gaussian_filter

    images = np.random.default_rng(0).random((4, 28, 28)).astype(np.float32)
    blurred = gaussian_filter(images, (0, 1, 1), mode="constant", truncate=3)
    means = blurred.reshape(4, 14, 2, 14, 2).mean(axis=(2, 4)).reshape(4, -1)
    centred = means - means.mean(axis=1, keepdims=True)
    expected = centred / np.linalg.norm(centred, axis=1, keepdims=True)
    found = pixel_features(torch.from_numpy(images)[:, None])
    np.testing.assert_allclose(found.numpy(), expected, atol=1e-6)


@pytest.mark.parametrize(
    ("shape", "n_features"), [((17, 17), 196), ((64, 32), 14 * 7), ((300, 2), 14)]
)
def test_size_of_the_features_of_larger_images(shape, n_features):
    images = torch.randint(0, 256, (2, 3, *shape), dtype=torch.uint8)
    assert pixel_features(images).shape == (2, 3 * n_features)


def test_vectors_are_standardised_and_constant_features_become_zero():
    X = np.random.default_rng(0).normal(5, 3, (200, 3)).astype(np.float32)
    X[:, 1] = 0.1
    expected = (X - X.mean(axis=0)) / X.std(axis=0)
    expected[:, 1] = 0
    np.testing.assert_allclose(pixel_features(torch.from_numpy(X)).numpy(), expected, atol=1e-5)


def test_features_of_something_that_is_no_batch_of_images():
    with pytest.raises(InputError) as error:
        pixel_features(torch.zeros(3, 28, 28))
    assert str(error.value) == (
        "images must have shape (n, channels, height, width) or (n, p). Got (3, 28, 28)."
    )


# Joint distribution and mutual information


@pytest.mark.parametrize("rows", [4096, 7])  # all at a time, or some
def test_joint_distribution_is_the_mean_over_pairs(rows, monkeypatch):
    monkeypatch.setattr("selfsort.grouping.information._ROWS", rows)
    rng = np.random.default_rng(0)
    codes, neighbours = rng.dirichlet(np.ones(4), 30), rng.integers(0, 30, (30, 3))
    expected = np.zeros((4, 4))
    for i, row in enumerate(neighbours):
        for j in row:
            expected += np.outer(codes[i], codes[j]) / 180
            expected += np.outer(codes[j], codes[i]) / 180
    found = joint_distribution(torch.from_numpy(codes), torch.from_numpy(neighbours))
    np.testing.assert_allclose(found, expected, rtol=1e-12)
    assert found.dtype == np.float64
    assert found.sum() == pytest.approx(1)


def test_mutual_information_is_that_of_scikit_learn():
    rng = np.random.default_rng(0)
    labels = rng.integers(0, 5, 200)
    neighbours = rng.integers(0, 200, (200, 4))
    neighbours[:, 0] = [np.flatnonzero(labels == label)[0] for label in labels]
    joint = joint_distribution(torch.from_numpy(np.eye(5)[labels]), torch.from_numpy(neighbours))
    left, right = np.repeat(labels, 4), labels[neighbours].ravel()
    both_ways = mutual_info_score(np.append(left, right), np.append(right, left))
    assert both_ways > 0.05
    assert mutual_information(joint) == pytest.approx(both_ways, rel=1e-10)


def test_joint_distribution_of_unusable_input():
    codes = torch.full((3, 2), 0.5)
    for neighbours, sentence in [
        (
            torch.zeros(2, 1, dtype=torch.int64),
            "neighbours must have one row for each of the 3 images. Got shape (2, 1).",
        ),
        (
            torch.tensor([[1], [2], [3]]),
            "neighbours must be row numbers from 0 to 2. Got 1 to 3.",
        ),
    ]:
        with pytest.raises(InputError) as error:
            joint_distribution(codes, neighbours)
        assert str(error.value) == sentence
    with pytest.raises(InputError) as error:
        joint_distribution(codes * 0, torch.tensor([[1], [2], [0]]))
    assert str(error.value) == "codes must be finite, not negative, and not all 0."


# Grouping


def all_groupings(m: int, k: int) -> np.ndarray:
    return np.array(list(itertools.product(range(k), repeat=m)))


def entropy(table: np.ndarray) -> float:
    return scipy.stats.entropy(table.sum(axis=1))


@pytest.mark.parametrize("seed", range(6))
@pytest.mark.parametrize(("m", "k"), [(6, 3), (6, 2), (5, 4)])
def test_grouping_by_the_information_alone_is_the_best_of_all(seed, m, k):
    joint = random_joint(seed, m)
    best = max(kl_information(grouped(joint, g, k)) for g in all_groupings(m, k))
    found = group(joint, k, n_restarts=20, random_state=0)
    assert found.information == found.value == pytest.approx(best, rel=1e-9)
    assert kl_information(grouped(joint, found.classes, k)) == pytest.approx(best, rel=1e-9)


@pytest.mark.parametrize("seed", range(6))
@pytest.mark.parametrize(("m", "k"), [(6, 3), (6, 2), (5, 4)])
def test_grouping_with_a_price_on_entropy_is_the_best_of_all(seed, m, k):
    joint = random_joint(seed, m)
    tables = [grouped(joint, g, k) for g in all_groupings(m, k)]
    price = 0.5 * information_per_nat(joint, k)
    best = max(kl_information(table) - price * entropy(table) for table in tables)
    found = group(joint, k, entropy_price=price, n_restarts=20, random_state=0)
    table = grouped(joint, found.classes, k)
    assert kl_information(table) - price * entropy(table) == pytest.approx(best, abs=1e-9)
    assert found.value == pytest.approx(best, abs=1e-9)
    assert found.information == pytest.approx(kl_information(table))


@pytest.mark.parametrize("seed", range(6))
def test_groups_smaller_than_the_least_mass_are_found_only_where_there_are_no_others(seed):
    # Two classes that are hard to tell apart, a clear one, and a few odd images far from all.
    rng = np.random.default_rng(seed)
    joint = np.diag([10, 11, 9, 10, 20, 19, 1.0]) + rng.uniform(0, 0.01, (7, 7))
    joint[:4, :4] += 2
    joint[:2, :2] += 2.5
    joint[2:4, 2:4] += 2.5
    joint[4:6, 4:6] += 5
    joint += joint.T
    price = 0.8 * information_per_nat(joint, 3)
    tables = [grouped(joint, g, 3) for g in all_groupings(7, 3)]
    values = [kl_information(table) - price * entropy(table) for table in tables]
    large = [table.sum(1).min() >= 0.1 * table.sum() for table in tables]
    best = max(value for value, one in zip(values, large, strict=True) if one)
    assert best < max(values)  # or nothing is tested
    found = group(joint, 3, entropy_price=price, least_mass=0.1, random_state=0)
    assert found.n_filled == 3
    assert found.value == pytest.approx(best)
    assert group(joint, 3, least_mass=1 / 3, random_state=0).n_filled < 3


def test_no_group_is_emptied_for_the_price_of_its_entropy():
    joint, _ = planted_joint(0, [4, 4, 4], 0.9)
    found = group(joint, 5, entropy_price=1.0, random_state=0)
    assert len(set(found.classes.tolist())) == 5


@pytest.mark.parametrize("seed", range(3))
def test_information_per_nat_by_the_definition(seed):
    joint = random_joint(seed, 8)
    table = grouped(joint, group(joint, 3, n_restarts=0).classes, 3)
    expected = kl_information(table) / entropy(table)
    assert information_per_nat(joint, 3) == pytest.approx(expected)
    assert information_per_nat(joint, 1) == 0


def test_classes_of_unequal_size_are_not_cut_to_be_equal():
    # A large class of four loosely joined forms, and six small ones that hold together well.
    sizes, forms = [60, 60, 60, 60, 20, 16, 12, 10, 8, 6], [0, 0, 0, 0, 1, 2, 3, 4, 5, 6]
    within = np.equal.outer(forms, forms) * np.outer(sizes, sizes) / 240
    joint = np.diag(np.array(sizes, float) * 0.6) + 0.4 * within + 0.02
    price = 0.75 * information_per_nat(joint, 7)
    classes = group(joint, 7, entropy_price=price, random_state=0).classes
    assert len(set(classes[:4])) == 1
    assert len(set(classes)) == 7
    by_information = group(joint, 7, random_state=0).classes
    assert len(set(by_information[:4])) > 1


@pytest.mark.parametrize("seed", range(3))
def test_planted_blocks_are_found_in_noise(seed):
    joint, blocks = planted_joint(seed, [12, 7, 9, 5, 7], 0.4)
    found = group(joint, 5, n_restarts=3, random_state=0)
    assert normalized_mutual_info_score(blocks, found.classes) == pytest.approx(1)


def test_permuting_the_fine_clusters_permutes_the_answer():
    joint, _ = planted_joint(0, [9, 3, 5, 7], 0.5)
    order = np.random.default_rng(1).permutation(len(joint))
    found, permuted = (
        group(joint, 4, random_state=0),
        group(joint[np.ix_(order, order)], 4, random_state=0),
    )
    np.testing.assert_array_equal(permuted.classes, found.classes[order])
    assert permuted.information == pytest.approx(found.information, rel=1e-12)


def test_the_first_group_is_the_largest():
    joint, blocks = planted_joint(0, [3, 9, 6], 0.2)
    np.testing.assert_array_equal(
        group(joint, 3, random_state=0).classes, np.array([2, 0, 1])[blocks]
    )


def test_exchange_moves_improve_on_merging_alone():
    gains = []
    for seed in range(10):
        joint = random_joint(seed, 20)
        merged = agglomerate(joint).information[4 - 1]
        moved = group(joint, 4, n_restarts=0).information
        restarted = group(joint, 4, n_restarts=5, random_state=0).information
        assert merged <= moved + 1e-12
        assert moved <= restarted + 1e-12
        gains.append(moved - merged)
    assert max(gains) > 1e-3


@pytest.mark.parametrize("sizes", [(1, 1, 1), (4, 2, 1, 1), (5, 4, 3, 2, 2, 1)])
def test_the_number_of_groups_is_where_the_gains_fall(sizes):
    # Every class is torn into three fine clusters that meet each other nearly as often as
    # themselves, and clusters of other classes hardly ever.
    of = np.repeat(np.arange(len(sizes)), 3)
    within = np.diag(np.array(sizes, dtype=float))[np.ix_(of, of)]
    joint = within * (1 + np.eye(len(of))) + 0.002
    curve = agglomerate(joint).information
    assert choose_n_groups(curve, most=len(of) // 2) == len(sizes)
    # by the definition, written out
    gains = [(curve[k] - curve[k - 1]) / np.log((k + 1) / k) for k in range(1, len(of))]
    falls = {k: gains[k - 2] - gains[k - 1] for k in range(2, len(of) // 2 + 1)}
    assert max(falls, key=falls.get) == len(sizes)


def test_no_more_groups_are_chosen_than_most():
    assert choose_n_groups([0.0, 0.6, 1.0, 1.3, 1.31, 1.32], most=5) == 4
    assert choose_n_groups([0.0, 0.6, 1.0, 1.3, 1.31, 1.32], most=3) in {2, 3}
    assert choose_n_groups([0.0, 0.5], most=2) == 2


@pytest.mark.parametrize(
    ("curve", "most", "sentence"),
    [
        ([0.0], 2, "information must hold at least 2 numbers. Got shape (1,)."),
        ([0.0, 0.5, 0.6], 1, "most must be at least 2. Got 1."),
    ],
)
def test_wrong_arguments_of_the_choice(curve, most, sentence):
    with pytest.raises(InputError) as raised:
        choose_n_groups(curve, most)
    assert str(raised.value) == sentence


@pytest.mark.parametrize("price", [0.0, 0.7])
def test_gain_of_every_move_is_the_difference_of_the_value(price):
    joint = random_joint(3, 7)
    classes = np.array([0, 1, 2, 0, 1, 2, 0])

    def value(groups):
        table = grouped(joint, groups, 4)
        return kl_information(table) - price * entropy(table)

    gain = exchange._move_gain(joint, np.eye(4)[classes], classes, price)  # group 3 is empty
    before = value(classes)
    for cluster, target in itertools.product(range(7), range(4)):
        moved = classes.copy()
        moved[cluster] = target
        expected = value(moved) - before
        assert gain[cluster, target] == pytest.approx(expected, abs=1e-12)


def test_each_merge_loses_the_least_information():
    joint = random_joint(0, 8)
    found = agglomerate(joint)
    for n_groups in range(8, 1, -1):
        classes = found.cut(n_groups)
        assert found.information[n_groups - 1] == pytest.approx(
            kl_information(grouped(joint, classes, n_groups)), abs=1e-12
        )
        merged = [
            np.where(classes == b, a, classes)
            for a, b in itertools.combinations(range(n_groups), 2)
        ]
        best = max(kl_information(grouped(joint, one, n_groups)) for one in merged)
        assert found.information[n_groups - 2] == pytest.approx(best, abs=1e-12)
    assert found.information[0] == 0


def test_unused_fine_clusters_change_nothing():
    joint, _ = planted_joint(0, [4, 3, 5], 0.3)
    wide = np.zeros((16, 16))
    used = np.array([0, 2, 3, 5, 6, 7, 8, 10, 11, 12, 14, 15])
    wide[np.ix_(used, used)] = joint
    found, expected = group(wide, 3, random_state=0), group(joint, 3, random_state=0)
    np.testing.assert_array_equal(found.classes[used], expected.classes)
    assert found.information == pytest.approx(expected.information)
    assert set(found.classes) == {0, 1, 2}


def test_more_groups_than_fine_clusters_stay_empty():
    joint = random_joint(0, 4)
    found = group(joint, 9, random_state=0)
    assert len(set(found.classes.tolist())) == 4
    assert found.classes.max() < 9
    assert found.information == pytest.approx(kl_information(joint))


def test_one_group_holds_everything_and_tells_nothing():
    found = group(random_joint(0, 5), 1, random_state=0)
    assert found.classes.tolist() == [0] * 5
    assert found.information == pytest.approx(0, abs=1e-12)


@pytest.mark.parametrize(
    ("joint", "arguments", "sentence"),
    [
        (np.ones((2, 3)), {}, "joint must be a square matrix. Got shape (2, 3)."),
        (-np.eye(2), {}, "joint must be finite, not negative, and not all 0."),
        (np.full((2, 2), np.nan), {}, "joint must be finite, not negative, and not all 0."),
        (np.eye(2), {"n_classes": 0}, "n_classes must be at least 1. Got 0."),
        (np.eye(2), {"n_restarts": -1}, "n_restarts must be at least 0. Got -1."),
        (np.eye(2), {"entropy_price": 1.5}, "entropy_price must be from 0 to 1. Got 1.5."),
        (
            np.eye(2),
            {"least_mass": 0.6},
            "least_mass must be from 0 to 1 / n_classes, 0.5. Got 0.6.",
        ),
    ],
)
def test_grouping_of_unusable_input(joint, arguments, sentence):
    with pytest.raises(InputError) as error:
        group(joint, **{"n_classes": 2, **arguments})
    assert str(error.value) == sentence


# Votes and label spreading


def test_votes_are_the_mean_of_the_neighbours():
    rng = np.random.default_rng(0)
    shares, neighbours = rng.dirichlet(np.ones(3), 20), rng.integers(0, 20, (20, 4))
    found = vote(torch.from_numpy(shares), torch.from_numpy(neighbours))
    np.testing.assert_allclose(found.numpy(), shares[neighbours].mean(axis=1), atol=1e-6)
    assert found.dtype == torch.float32


def test_the_unlabelled_have_no_vote():
    labels = torch.tensor([0, -1, 1, -1])
    neighbours = torch.tensor([[1, 2], [0, 2], [1, 3], [0, 1]])
    expected = [[0.0, 0.5, 0.0], [0.5, 0.5, 0.0], [0.0, 0.0, 0.0], [0.5, 0.0, 0.0]]
    assert vote(labels, neighbours, n_classes=3).tolist() == expected


def random_graph(seed: int, n: int = 50, k: int = 4) -> tuple:
    rng = np.random.default_rng(seed)
    neighbours = nearest_neighbours(torch.from_numpy(rng.normal(size=(n, 3))), k)
    labels = np.full(n, -1)
    labels[rng.choice(n, 9, replace=False)] = [0, 1, 2, 0, 1, 2, 0, 0, 1]
    return neighbours, torch.from_numpy(labels)


def dense_spread(
    labels: np.ndarray, neighbours: np.ndarray, alpha: float, n_classes: int = 3
) -> np.ndarray:
    n = len(labels)
    weights = np.zeros((n, n))
    for i, row in enumerate(neighbours):
        for j in row:
            weights[i, j] += 1
            weights[j, i] += 1
    degree = weights.sum(axis=1)
    smooth = weights / np.sqrt(np.outer(degree, degree))
    known = (labels[:, None] == np.arange(n_classes)).astype(float)
    return (1 - alpha) * np.linalg.inv(np.eye(n) - alpha * smooth) @ known


@pytest.mark.parametrize("class_mass", [False, True])
@pytest.mark.parametrize("alpha", [0.5, 0.99])
def test_spreading_is_the_dense_solution(alpha, class_mass):
    neighbours, labels = random_graph(0)
    expected = dense_spread(labels.numpy(), neighbours.numpy(), alpha)
    if class_mass:
        expected = expected * np.array([4, 3, 2]) / expected.sum(axis=0)
    expected /= expected.sum(axis=1, keepdims=True)
    found = spread(labels, neighbours, 3, alpha=alpha, class_mass=class_mass)
    np.testing.assert_allclose(found.numpy(), expected, atol=1e-4)


def test_weights_spread_as_the_sum_of_what_they_are_made_of():
    neighbours, labels = random_graph(1)
    weights = np.random.default_rng(0).uniform(0, 2, (50, 3)) * (labels.numpy() >= 0)[:, None]
    expected = dense_spread(np.arange(50), neighbours.numpy(), 0.8, n_classes=50) @ weights
    expected /= expected.sum(axis=1, keepdims=True)
    found = spread(torch.from_numpy(weights), neighbours, 3, alpha=0.8)
    np.testing.assert_allclose(found.numpy(), expected, atol=1e-4)


def test_a_part_of_the_graph_without_labels_gets_none():
    neighbours = torch.tensor([[1], [0], [3], [2]])
    found = spread(torch.tensor([1, -1, -1, -1]), neighbours, 2, class_mass=True)
    assert found.tolist() == [[0, 1], [0, 1], [0, 0], [0, 0]]


@pytest.mark.parametrize(
    ("labels", "alpha", "sentence"),
    [
        ([0, 3, -1], 0.9, "labels must be from -1 (unlabelled) to 1. Got -1 to 3."),
        ([0, 1, -2], 0.9, "labels must be from -1 (unlabelled) to 1. Got -2 to 1."),
        ([-1, -1, -1], 0.9, "labels must hold at least one known label. All are -1."),
        ([0, 1, -1], 1.0, "alpha must be between 0 and 1, both excluded. Got 1.0."),
    ],
)
def test_spreading_of_unusable_input(labels, alpha, sentence):
    with pytest.raises(InputError) as error:
        spread(torch.tensor(labels), torch.tensor([[1], [2], [0]]), 2, alpha=alpha)
    assert str(error.value) == sentence


@pytest.mark.parametrize(
    ("weights", "sentence"),
    [
        (
            [[0.0, -1.0]] * 3,
            "labels must be class numbers, or finite weights of at least 0 for 2 classes. Got "
            "shape (3, 2), smallest -1.",
        ),
        (
            [[1.0]] * 3,
            "labels must be class numbers, or finite weights of at least 0 for 2 classes. Got "
            "shape (3, 1), smallest 1.",
        ),
        ([[0.0, 0.0]] * 3, "labels must hold at least one known label. All weights are 0."),
    ],
)
def test_spreading_of_unusable_weights(weights, sentence):
    with pytest.raises(InputError) as error:
        spread(torch.tensor(weights), torch.tensor([[1], [2], [0]]), 2)
    assert str(error.value) == sentence


def test_spreading_that_does_not_settle_says_so():
    # A long chain: the label at its end needs more steps than there are.
    n = 4000
    neighbours = torch.arange(1, n + 1).clamp(max=n - 2)[:, None]
    labels = torch.full((n,), -1)
    labels[0] = 0
    with pytest.raises(SelfsortError) as error:
        spread(labels, neighbours, 1, alpha=1 - 1e-12)
    assert str(error.value) == (
        "The labels did not settle within 1000 steps at alpha=0.999999999999. "
        "Choose a smaller alpha, such as 0.99."
    )
