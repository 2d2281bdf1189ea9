"""Images that are read while they are learned from: same results, few reads, little memory."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from sklearn.datasets import load_digits
from test_resuming import Memory, assert_same, bound, result_of

from selfsort import Autoencoder, AutoencoderClassifier, AutoencoderClusterer, open_source
from selfsort.errors import InputError
from selfsort.images import ImageSet
from selfsort.images.sets import Skipped
from selfsort.parallel import share_of
from selfsort.sources import Chunk, WholeSource
from selfsort.training import Data, Feed, OneHot, Rows, rows

DIGITS = load_digits()
X, Y = (DIGITS.images[:120] * 15.9).astype(np.uint8), DIGITS.target[:120]
PIXELS = X[:, None]


class Counting(WholeSource):
    """A source that knows which ranges were read."""

    def __init__(self, images: np.ndarray) -> None:
        super().__init__(ImageSet(images), "X")
        self.reads: Counter[tuple[int, int]] = Counter()

    def read(self, start: int, stop: int) -> Chunk:
        assert 0 <= start < stop <= len(self)
        self.reads[start, stop] += 1
        return super().read(start, stop)


def in_chunks(images: np.ndarray, chunk_rows: int) -> Rows:
    """Return rows that are read so many at a time."""
    n_bytes = images[0].nbytes
    found = Rows(Counting(images), buffer=2 * rows.CHUNKS * n_bytes * chunk_rows)
    assert found.chunk_rows == chunk_rows
    found.source.reads.clear()
    return found


def numbered(n: int) -> np.ndarray:
    return np.arange(n, dtype=np.float32)[:, None]


@pytest.mark.parametrize("n", [1, 7, 100])
def test_rows_are_those_of_a_tensor(n: int) -> None:
    images = np.random.default_rng(0).integers(0, 256, (n, 1, 8, 8), dtype=np.uint8)
    found, tensor = in_chunks(images, 8), torch.from_numpy(images)
    assert (found.shape, len(found), found.ndim) == (images.shape, n, 4)
    index = torch.randint(n, (50,), generator=torch.Generator().manual_seed(0))
    assert torch.equal(found[index], tensor[index])
    assert torch.equal(found[2:n], tensor[2:n])
    assert torch.equal(found.scattered(index.numpy()), tensor[index.sort().values])
    assert Rows(WholeSource(ImageSet(numbered(n) - 3), "X")).limits() == (-3, n - 4)


@pytest.mark.parametrize("again", [False, True])
def test_an_epoch_reads_every_chunk_once_and_keeps_few(again: bool) -> None:
    n = 8 * rows.CHUNKS * 5 - 3  # five groups of chunks; the last chunk is short
    found = in_chunks(numbered(n), 8)
    index = torch.arange(n)
    given = None
    if again:  # some images more often than others
        index = given = torch.cat([index, torch.arange(40)])
    order = found.order(given, 100, torch.Generator().manual_seed(1))
    assert torch.equal(order.sort().values, index.sort().values)
    assert not torch.equal(order, index)
    kept = 0
    for batch in order.split(100):
        assert torch.equal(found[batch][:, 0].long(), batch)
        kept = max(kept, len(found._kept))
    assert kept <= 2 * rows.CHUNKS
    assert len(found.source.reads) == 5 * rows.CHUNKS
    assert set(found.source.reads.values()) == {1}
    other = found.order(given, 100, torch.Generator().manual_seed(2))
    assert not torch.equal(order, other)


def test_images_are_shuffled_within_many_chunks() -> None:
    found = in_chunks(numbered(16 * rows.CHUNKS), 16)
    order = found.order(None, 128, torch.Generator().manual_seed(0))
    for batch in order.split(128):
        chunks = Counter((batch // 16).tolist())
        assert len(chunks) > rows.CHUNKS * 0.7  # 128 draws from 64 hit 86 % of them
        assert max(chunks.values()) < 10


def test_each_of_several_processes_reads_its_own_chunks() -> None:
    n_chunks = 4 * rows.CHUNKS
    found = in_chunks(numbered(64 * n_chunks), 64)
    order = found.order(None, 512, torch.Generator().manual_seed(0))
    read = []
    for rank in range(2):
        found.source.reads.clear()
        found._kept.clear()
        for batch in order.split(512):
            _ = found[batch[share_of(len(batch), rank, 2)]]
        read.append(found.source.reads.total())
    assert n_chunks <= sum(read) < 1.3 * n_chunks
    assert max(read) < 0.7 * n_chunks


def in_order_of_memory(self: Rows, index: Any, batch_size: int, generator: Any) -> Any:
    assert index is None
    return torch.randperm(len(self), generator=generator)


ESTIMATORS = {
    "images only": lambda: Autoencoder(style_dim=4, epochs=2),
    "direct": lambda: AutoencoderClusterer(4, method="direct", bottleneck="gumbel", epochs=2),
    "dvae": lambda: bound("dvae", {"units": 8, "layers": 2, "continuous": 2}),
    "labels": lambda: AutoencoderClassifier(epochs=4, style_dim=3),
}


def fitted(kind: str, images: Any, *callbacks: Any) -> Any:
    made = ESTIMATORS[kind]().set_params(random_state=3, n_threads=1)
    made.set_callbacks(*callbacks)
    return made.fit(images, Y if kind == "labels" else None)


@pytest.mark.filterwarnings("ignore::selfsort.ClassCollapseWarning")
@pytest.mark.parametrize("kind", ESTIMATORS)
def test_in_the_same_order_the_bits_are_those_of_an_array(
    kind: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(Rows, "order", in_order_of_memory)
    np.save(tmp_path / "x.npy", X)
    source = open_source(tmp_path / "x.npy", (1, 8, 8))
    found, wanted = fitted(kind, source), fitted(kind, X)
    assert_same(result_of(found), result_of(wanted))
    np.testing.assert_array_equal(found.transform(source), wanted.transform(X))
    assert found.input_layout_ == wanted.input_layout_
    assert found.n_features_in_ == wanted.n_features_in_


@pytest.mark.slow
def test_it_goes_on_in_the_middle_of_an_epoch(tmp_path: Path) -> None:
    np.save(tmp_path / "x.npy", X)
    source = open_source(tmp_path / "x.npy", (1, 8, 8))
    memory = Memory()
    wanted = result_of(fitted("labels", source, memory))
    begun = [kept for kept in memory.kept if kept[1].get("epoch", {}).get("step")]
    kept = begun[len(begun) // 2]
    assert_same(result_of(fitted("labels", source, Memory(*kept))), wanted)


def test_vectors_and_their_range(tmp_path: Path) -> None:
    vectors = DIGITS.data[:200].astype(np.float32)
    np.save(tmp_path / "x.npy", vectors)
    source = open_source(tmp_path / "x.npy", (64,))
    found = AutoencoderClassifier(epochs=3, random_state=0).fit(source, DIGITS.target[:200])
    assert found.input_range_ == (0.0, 16.0)
    assert found.input_layout_ == "flat"
    assert (found.predict(source) == found.predict(vectors)).all()


def test_what_compares_all_images_refuses(tmp_path: Path) -> None:
    np.save(tmp_path / "x.npy", X)
    source = open_source(tmp_path / "x.npy", (1, 8, 8))
    few = np.where(np.arange(len(X)) < 20, Y, -1)
    for estimator, y in (
        (AutoencoderClusterer(4), None),
        (AutoencoderClassifier(unlabeled=-1), few),
    ):
        with pytest.raises(InputError, match="all images are needed at once"):
            estimator.fit(source, y)


class Broken(Counting):
    """A source of which some images cannot be read."""

    def __init__(self, images: np.ndarray, broken: set[int]) -> None:
        super().__init__(images)
        self.broken = broken

    def read(self, start: int, stop: int) -> Chunk:
        chunk = super().read(start, stop)
        good = [i for i in range(start, stop) if i not in self.broken]
        skipped = [Skipped(str(i), f"{i}: no picture.") for i in range(start, stop)
                   if i in self.broken]  # fmt: skip
        return Chunk(chunk.images[[i - start for i in good]], good, tuple(skipped))


def test_others_stand_in_for_images_that_cannot_be_read() -> None:
    source = Broken(numbered(24), {0, 5, 7, 23})
    found = Rows(source, buffer=2 * rows.CHUNKS * 4 * 8)  # eight at a time
    wanted = torch.arange(24)
    wanted[[0, 5, 7, 23]] = torch.tensor([1, 6, 6, 22])
    assert torch.equal(found.readable(torch.arange(24)), wanted)
    assert torch.equal(found[torch.arange(24)][:, 0].long(), wanted)
    assert found[4:8][:, 0].tolist() == [4, 6, 6, 6]
    assert found.scattered(np.array([4, 5])).tolist() == [[4], [6]]
    assert found.skipped == {i: f"{i}: no picture." for i in (0, 5, 7, 23)}
    feed = Feed(Data(found), targets=OneHot(torch.arange(24) % 3, 3))
    batch = feed.shared({"index": torch.tensor([5, 9])})
    assert batch["index"].tolist() == [6, 9]  # and so is the label that of the stand-in

    source.broken = set(range(8, 16))
    with pytest.raises(InputError, match=r"8: no picture\. Nor can the 7 pictures after it"):
        _ = Rows(source, buffer=2 * rows.CHUNKS * 4 * 8)[torch.tensor([9])]


def test_black_and_white_is_past_the_middle() -> None:
    data = Data(torch.tensor([[0, 127, 128, 255]], dtype=torch.uint8), black_and_white=True)
    assert data.batch(slice(0, 1)).tolist() == [[0, 0, 1, 1]]
    data = Data(torch.tensor([[-1.0, 0.5, 0.6, 2.0]]), -1.0, 2.0, black_and_white=True)
    assert data.batch(slice(0, 1)).tolist() == [[0, 0, 1, 1]]


def test_a_feed_draws_the_images_it_is_told() -> None:
    found = in_chunks(numbered(64), 8)
    feed = Feed(Data(found), index=torch.tensor([3, 3, 60]))
    order = feed.order(torch.Generator().manual_seed(0), 2)
    assert sorted(order.tolist()) == [3, 3, 60]
