"""Nearest neighbours past the limit of the exact search, against brute force."""

from __future__ import annotations

import re
import sys
import warnings

import numpy as np
import pytest
import torch
from sklearn.neighbors import NearestNeighbors

from selfsort.errors import ApproximateNeighboursWarning, SlowNeighboursWarning
from selfsort.grouping import approximate, nearest_neighbours
from selfsort.grouping import neighbours as graph

N = 3000
SENTENCE = r"The neighbours of 3,000 images are approximate: recall (\d\.\d{3}) on 256 of them\."


@pytest.fixture
def low_limit(monkeypatch):
    monkeypatch.setattr(graph, "EXACT_UP_TO", 1000)


@pytest.fixture
def faiss(low_limit):
    return pytest.importorskip("faiss", reason="needs faiss: pip install selfsort[ann]")


def clustered_rows(n: int = N, p: int = 24) -> torch.Tensor:
    generator = torch.Generator().manual_seed(0)
    centres = torch.randn(30, p, generator=generator)
    which = torch.randint(30, (n,), generator=generator)
    return 3 * (centres[which] + 0.5 * torch.randn(n, p, generator=generator))


def brute_force(X: torch.Tensor, n_neighbours: int) -> np.ndarray:
    search = NearestNeighbors(metric="cosine", algorithm="brute").fit(X.double().numpy())
    return search.kneighbors(n_neighbors=n_neighbours, return_distance=False)


def recall(found: torch.Tensor, expected: np.ndarray) -> float:
    """The share of the expected neighbours that were found, as sets, row by row."""
    pairs = zip(found.tolist(), expected.tolist(), strict=True)
    return float(np.mean([len(set(row) & set(true)) / len(true) for row, true in pairs]))


def approximate_neighbours(X: torch.Tensor, *arguments, **more) -> tuple[torch.Tensor, str]:
    """Return the neighbours and the one warning's sentence."""
    with pytest.warns(ApproximateNeighboursWarning) as caught:
        found = nearest_neighbours(X, *arguments, **more)
    assert len(caught) == 1
    assert caught[0].filename == __file__
    return found, str(caught[0].message)


@pytest.mark.usefixtures("faiss")
def test_nearly_all_neighbours_are_found_most_similar_first():
    X = clustered_rows()
    found, _ = approximate_neighbours(X, 10)
    assert found.shape == (N, 10)
    assert found.dtype == torch.int64
    assert recall(found, brute_force(X, 10)) >= 0.95
    assert not (found == torch.arange(N)[:, None]).any()
    assert all(len(set(row)) == 10 for row in found.tolist())
    unit = X.double() / X.double().norm(dim=1, keepdim=True)
    similarity = (unit[found] * unit[:, None]).sum(dim=2)
    assert (similarity.diff(dim=1) <= 1e-6).all()


@pytest.mark.usefixtures("faiss")
@pytest.mark.parametrize(
    ("n_visited", "lowest", "highest"), [(1, 0.3, 0.9), (3, 0.9, 0.999), (64, 1, 1)]
)
def test_the_recall_that_is_told_is_the_recall_of_256_rows(monkeypatch, n_visited, lowest, highest):
    monkeypatch.setattr(approximate, "n_cells", lambda n: 54)  # larger ones than usual
    monkeypatch.setattr(approximate, "n_visited", lambda n: n_visited)
    X = clustered_rows()
    found, sentence = approximate_neighbours(X, 10)
    told = re.fullmatch(SENTENCE, sentence)
    assert told
    rows = [i * N // 256 for i in range(256)]
    expected = recall(found[rows], brute_force(X, 10)[rows])
    assert float(told[1]) == pytest.approx(expected, abs=6e-4)
    assert lowest <= expected <= highest


@pytest.mark.usefixtures("faiss")
def test_where_the_cells_hold_too_few_rows_all_are_searched(monkeypatch):
    monkeypatch.setattr(approximate, "n_visited", lambda n: 1)
    X = clustered_rows(1200)
    found, sentence = approximate_neighbours(X, 200)
    monkeypatch.setattr(graph, "EXACT_UP_TO", 1200)
    assert torch.equal(found, nearest_neighbours(X, 200))
    assert sentence == (
        "The neighbours of 1,200 images are approximate: recall 1.000 on 256 of them."
    )


@pytest.mark.usefixtures("faiss")
def test_approximate_neighbours_are_the_same_every_time_whatever_the_block(monkeypatch):
    X = clustered_rows()
    found, _ = approximate_neighbours(X, 10)
    assert torch.equal(found, approximate_neighbours(X, 10)[0])
    monkeypatch.setattr(graph, "_ROWS", 77)
    assert torch.equal(found, approximate_neighbours(X, 10)[0])


@pytest.mark.usefixtures("faiss")
def test_all_other_rows_are_neighbours_where_so_many_are_asked_for(monkeypatch):
    monkeypatch.setattr(approximate, "n_visited", lambda n: 1)  # too few, so that all are searched
    found, _ = approximate_neighbours(clustered_rows(1200), 1199)
    everything = torch.arange(1200).repeat(1200, 1)
    others = everything[everything != torch.arange(1200)[:, None]].view(1200, 1199)
    assert torch.equal(found.sort(dim=1).values, others)


@pytest.mark.usefixtures("faiss")
def test_equal_rows_come_in_row_order_and_zero_rows_disturb_nothing():
    X = clustered_rows(300).repeat(5, 1)
    X[700:703] = 0
    found, _ = approximate_neighbours(X, 4)
    assert found[10].tolist() == [310, 610, 910, 1210]
    assert found[610].tolist() == [10, 310, 910, 1210]


@pytest.mark.usefixtures("faiss")
def test_a_row_is_its_own_first_approximate_neighbour_on_request():
    X = torch.ones(1200, 3)  # so many ties that faiss returns other rows than the one sought
    found, sentence = approximate_neighbours(X, 3, include_self=True)
    assert found[:, 0].tolist() == list(range(1200))
    assert sentence == (
        "The neighbours of 1,200 images are approximate: recall 1.000 on 256 of them."
    )
    assert not (approximate_neighbours(X, 3)[0] == torch.arange(1200)[:, None]).any()


def test_faiss_uses_the_threads_of_torch_and_gets_its_own_back(faiss, monkeypatch):
    n_threads = []
    monkeypatch.setattr(torch, "get_num_threads", lambda: 3)
    monkeypatch.setattr(sys, "platform", "linux")
    before = faiss.omp_get_max_threads()
    with approximate._faiss():
        n_threads.append(faiss.omp_get_max_threads())
    monkeypatch.setattr(sys, "platform", "darwin")
    monkeypatch.setenv("KMP_DUPLICATE_LIB_OK", "TRUE")
    with approximate._faiss():
        n_threads.append(faiss.omp_get_max_threads())
    assert [*n_threads, faiss.omp_get_max_threads()] == [3, 1, before]


def test_up_to_the_limit_the_search_is_exact_and_says_nothing(monkeypatch):
    monkeypatch.setattr(graph, "EXACT_UP_TO", N)
    monkeypatch.setitem(sys.modules, "faiss", None)
    X = clustered_rows()
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        found = nearest_neighbours(X, 10)
    assert recall(found, brute_force(X, 10)) > 0.9999


@pytest.mark.usefixtures("low_limit")
def test_without_faiss_the_search_stays_exact_and_says_what_would_be_quicker(monkeypatch):
    monkeypatch.setitem(sys.modules, "faiss", None)  # an import of it now fails
    X = clustered_rows()
    with pytest.warns(SlowNeighboursWarning) as caught:
        found = nearest_neighbours(X, 10)
    assert [str(warning.message) for warning in caught] == [
        "The exact neighbours of 3,000 images take a time that grows with the square of their "
        "number. For approximate ones, which are quicker: pip install selfsort[ann]."
    ]
    assert caught[0].filename == __file__
    assert recall(found, brute_force(X, 10)) > 0.9999


@pytest.mark.usefixtures("faiss")
def test_cells_have_their_memory_before_they_are_filled(monkeypatch):
    reserve, places = approximate._reserve, []

    def where(index) -> list[int]:
        return [int(index.invlists.get_codes(number)) for number in range(index.nlist)]

    def noted(index, rows) -> None:
        reserve(index, rows)
        assert index.invlists.compute_ntotal() == 0
        places.extend(where(index))

    monkeypatch.setattr(approximate, "_reserve", noted)
    index = approximate.cells(torch.nn.functional.normalize(clustered_rows()))
    assert index.ntotal == index.invlists.compute_ntotal() == N
    assert where(index) == places
