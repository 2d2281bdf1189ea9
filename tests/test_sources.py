"""Sources: any range in any order, in memory that does not grow, and in another process."""

from __future__ import annotations

import copyreg
import io
import random
import re
import tarfile
import tracemalloc
from pathlib import Path

import malformed
import malformed_bulk
import numpy as np
import pytest
from PIL import Image
from running import digits, write_folder, write_npz
from test_bulk import N, write_tables

from selfsort.errors import InputError
from selfsort.images import read_images
from selfsort.sources import Source, open_source

pa = pytest.importorskip("pyarrow", reason="the extra data is not installed")
pq = pytest.importorskip("pyarrow.parquet")
SHAPE = (1, 16, 16)


@pytest.fixture(scope="module")
def kinds(tmp_path_factory) -> dict[str, Path]:
    folder = tmp_path_factory.mktemp("kinds")
    made = write_tables(folder)
    np.save(folder / "array.npy", digits(N)[0])
    write_npz(folder / "whole.npz", n=N, n_test=0)
    write_folder(folder / "photos", n=N)
    return made | {
        "array": folder / "array.npy",
        "whole": folder / "whole.npz",
        "photos": folder / "photos",
    }


NAMES = (
    "structures", "bytes", "lists", "nested", "fixed", "stream", "footer", "files", "shards",
    "array", "whole", "photos",
)  # fmt: skip


def sent(source: Source) -> Source:
    """Return a source as another process gets it: its attributes, and no open file."""
    reduced = source.__reduce_ex__(2)
    assert reduced[0] is copyreg.__newobj__
    other = type(source).__new__(type(source))
    state = reduced[2]
    assert not any(hasattr(value, "read") for value in state.values())
    other.__dict__.update(state)
    return other


@pytest.mark.parametrize("name", NAMES)
def test_any_range_in_any_order(name, kinds) -> None:
    wanted = digits(N)[0]
    source = open_source(kinds[name], SHAPE)
    assert len(source) == N
    rng = random.Random(0)
    ranges = [(0, 20), (20, 47), (47, 60), (10, 30), (N - 1, N), (0, N), (70, 75), (76, 90)]
    ranges += [tuple(sorted(rng.sample(range(N + 1), 2))) for _ in range(8)]
    for i, (start, stop) in enumerate(ranges):
        if i == 5:
            source = sent(source)
        chunk = source.read(start, stop)
        np.testing.assert_array_equal(chunk.images[:, 0], wanted[start:stop])
        assert chunk.images.dtype == np.uint8
        assert len(chunk.keys) == stop - start
        if source.key == "index":
            assert chunk.keys == list(range(start, stop))
        else:
            assert all(f"{i:03}.png" in key for i, key in enumerate(chunk.keys, start))
    assert source.fingerprint() == open_source(kinds[name], SHAPE).fingerprint()


def test_in_columns_of_fortran_and_of_other_numbers(tmp_path) -> None:
    images = digits(N)[0]
    for name, array in {
        "columns": np.asfortranarray(images),
        "large": images.astype(np.int64),
        "floats": images / 255,
    }.items():
        np.save(tmp_path / f"{name}.npy", array)
        found = open_source(tmp_path / f"{name}.npy", SHAPE).read(30, 50).images
        np.testing.assert_array_equal(found[:, 0], images[30:50])


def test_sides_that_no_memory_holds(tmp_path) -> None:
    for i, shape in enumerate((f"({10**40}, 0, 16)", f"({10**40}, 16, 16)", f"(4, {10**40}, 16)")):
        path = tmp_path / f"{i}.npy"
        path.write_bytes(malformed.shaped(shape))
        with pytest.raises(InputError, match=re.escape(str(path))):
            open_source(path, SHAPE)


def test_vectors_stay_what_they_are(tmp_path) -> None:
    rows = np.random.default_rng(0).normal(size=(20, 5)).astype(np.float32)
    np.save(tmp_path / "rows.npy", rows)
    pq.write_table(pa.table({"row": list(rows)}), tmp_path / "rows.parquet")
    for name in ("rows.npy", "rows.parquet"):
        chunk = open_source(tmp_path / name, (5,)).read(3, 9)
        assert chunk.images.dtype == np.float32
        np.testing.assert_array_equal(chunk.images, rows[3:9])
    with pytest.raises(InputError, match="holds vectors of 5 values, but images of 16 x 16 pixels"):
        open_source(tmp_path / "rows.npy", SHAPE)
    write_folder(tmp_path / "photos", n=2)
    sentence = "holds pictures, but vectors of 5 values are needed"
    with pytest.raises(InputError, match=sentence):
        open_source(tmp_path / "photos", (5,))


def test_pictures_become_what_the_reader_of_folders_makes_of_them(tmp_path) -> None:
    for i, size in enumerate([(20, 30), (9, 9), (200, 40)]):
        pixels = np.random.default_rng(i).integers(0, 256, (*size, 3), dtype=np.uint8)
        Image.fromarray(pixels).save(tmp_path / f"{i}.png")
    wanted = read_images(tmp_path, size=16)
    found = open_source(tmp_path, (3, 16, 16)).read(0, 3)
    np.testing.assert_array_equal(found.images, wanted.images)
    assert found.keys == list(wanted.names)


@pytest.mark.parametrize("kind", ["npy", "parquet", "arrow"])
def test_memory_does_not_grow_with_the_images(kind, tmp_path) -> None:
    """Numbers of a large array are chance, so that nothing packs them into less."""
    n, path = 60_000, tmp_path / f"x.{kind}"
    flat = np.random.default_rng(0).integers(0, 256, n * 256, dtype=np.uint8)  # 15 MB
    table = pa.table({"image": pa.FixedSizeListArray.from_arrays(flat, 256)})
    if kind == "npy":
        np.save(path, flat.reshape(n, 16, 16))
    elif kind == "parquet":
        pq.write_table(table, path, compression="none", use_dictionary=False)  # one row group
    else:
        with pa.OSFile(str(path), "wb") as file, pa.ipc.new_stream(file, table.schema) as out:
            out.write_table(table, max_chunksize=1000)
    del table
    before, most_arrow = pa.total_allocated_bytes(), 0
    tracemalloc.start()
    source = open_source(path, SHAPE)
    for start in range(0, n, 1000):
        chunk = source.read(start, start + 1000)
        most_arrow = max(most_arrow, pa.total_allocated_bytes() - before)
        assert chunk.images[0, 0].ravel().tolist() == flat[256 * start :][:256].tolist()
    most = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    # A thousand images are 0.26 MB; all of them 15.
    assert most < 3e6
    assert most_arrow < 5e6


def test_members_that_are_no_pictures_and_hidden_ones_are_passed_over(tmp_path) -> None:
    content = malformed_bulk.png()
    names = ("a.png", "a.cls", "a.pyd", ".b.png", "c/d.JPG", "c/.e.png")
    with tarfile.open(tmp_path / "x.tar", "w", format=tarfile.PAX_FORMAT) as tar:
        for name in (*names, "f" * 200 + ".png"):
            info = tarfile.TarInfo(name)
            info.size = len(content)
            tar.addfile(info, io.BytesIO(content))
    found = open_source(tmp_path / "x.tar", SHAPE).read(0, 3)
    assert found.keys == ["x.tar/a.png", "x.tar/c/d.JPG", f"x.tar/{'f' * 200}.png"]
    np.testing.assert_array_equal(found.images[0, 0], malformed_bulk.PIXELS[0])


def test_broken_rows_are_left_out(tmp_path) -> None:
    sound = malformed_bulk.png()
    path = tmp_path / "x.parquet"
    path.write_bytes(
        malformed_bulk.parquet(
            {"image": malformed_bulk.pictures(sound, b"no picture", None, sound)}
        )
    )
    chunk = open_source(path, SHAPE, on_error="skip").read(0, 4)
    assert chunk.keys == [0, 3]
    assert [one.name for one in chunk.skipped] == ["1", "2"]
    assert [one.reason for one in chunk.skipped] == [
        f"{path}, row 1: not a readable PNG or JPEG (the content is neither).",
        f"{path}, row 2: holds no picture. Fill it in, or leave the row out.",
    ]
    with pytest.raises(InputError, match=re.escape(f"{path}, row 1: not a readable PNG or JPEG")):
        open_source(path, SHAPE).read(0, 4)


def test_the_column_that_is_asked_for(tmp_path) -> None:
    images = digits(6)[0].reshape(6, -1).tolist()
    path = tmp_path / "x.parquet"
    pq.write_table(pa.table({"left": images, "right": images[::-1], "text": ["a"] * 6}), path)
    with pytest.raises(InputError) as raised:
        open_source(path, SHAPE)
    assert str(raised.value) == (
        f"{path}: several columns could hold images: left, right. Say which with --column."
    )
    right = open_source(path, SHAPE, column="right").read(0, 1)
    assert right.images.ravel().tolist() == images[-1]
    with pytest.raises(InputError) as raised:
        open_source(path, SHAPE, column="text")
    assert str(raised.value) == (
        f"{path}: the column 'text' holds string, not images. Give --column, or a column of "
        "encoded pictures or of lists of pixels."
    )
    pq.write_table(pa.table({"other": images, "image": images[::-1]}), path)
    assert open_source(path, SHAPE).read(0, 1).images.ravel().tolist() == images[-1]


def test_lists_of_lists_must_have_the_shape_of_the_images(tmp_path) -> None:
    pixels = np.zeros((3, 10, 12), np.uint8)
    path = tmp_path / "x.parquet"
    pq.write_table(pa.table({"image": pixels.tolist()}), path)
    assert open_source(path, (1, 10, 12)).read(0, 3).images.shape == (3, 1, 10, 12)
    with pytest.raises(InputError) as raised:
        open_source(path, (1, 12, 10)).read(0, 3)
    assert str(raised.value) == (
        f"{path}: a row has 10 x 12 pixels, but 120 or 12 x 10 or 12 x 10 x 1 are needed. Bring "
        "all images to that size."
    )
