"""Images in: arrays, npy, npz, idx, folders of pictures, and label files."""

import gzip
import hashlib
import re
import struct
import subprocess
import sys
from pathlib import Path

import malformed
import numpy as np
import pytest
from PIL import Image

from selfsort.errors import InputError
from selfsort.images import ImageSet, as_images, read_images, read_labels, read_splits, resize_set
from selfsort.images import arrays as arrays_module
from selfsort.images import idx as idx_module
from selfsort.images.folders import common_size
from selfsort.images.idx import idx_md5, read_idx
from selfsort.images.npy import NpyRows
from selfsort.images.pixels import fit

RNG = np.random.default_rng(0)


def says(sentence: str) -> str:
    """Return a pattern that only the whole sentence matches."""
    return f"^{re.escape(sentence)}$"


def idx_bytes(array: np.ndarray) -> bytes:
    sizes = b"".join(struct.pack(">I", side) for side in array.shape)
    return bytes([0, 0, 8, array.ndim]) + sizes + array.astype(np.uint8).tobytes()


def grey(height=10, width=12, value=None) -> np.ndarray:
    if value is not None:
        return np.full((height, width), value, np.uint8)
    return RNG.integers(0, 256, (height, width), dtype=np.uint8)


def save(path: Path, pixels: np.ndarray, **options) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(pixels).save(path, **options)


# as_images


def test_grey_images_get_a_channel_axis():
    X = RNG.integers(0, 256, (3, 9, 10), dtype=np.uint8)
    found = as_images(X)
    assert found.shape == (3, 1, 9, 10)
    assert found.dtype == np.uint8
    assert found[2, 0, 4, 5] == X[2, 4, 5]


@pytest.mark.parametrize("channels", [1, 2, 3, 4])
def test_channels_move_to_the_front(channels):
    X = RNG.random((3, 9, 10, channels))
    found = as_images(X)
    assert found.shape == (3, channels, 9, 10)
    assert found.dtype == np.float32
    assert found.flags.c_contiguous
    assert found[1, channels - 1, 4, 5] == np.float32(X[1, 4, 5, channels - 1])


@pytest.mark.parametrize("image_shape", [(8, 24), (8, 24, 1), (8, 8, 3), [24, 8]])
def test_flat_rows_with_a_shape_become_images(image_shape):
    X = np.arange(2 * 192).reshape(2, 192) % 256
    height, width, channels = (*image_shape, 1)[:3]
    found = as_images(X, image_shape)
    assert found.shape == (2, channels, height, width)
    assert found.dtype == np.uint8
    assert found[1, channels - 1, 3, 2] == (192 + (3 * width + 2) * channels + channels - 1) % 256


@pytest.mark.parametrize(
    ("given", "expected"),
    [(np.float64, np.float32), (np.uint8, np.uint8), (np.int64, np.float32), (bool, np.float32)],
)
def test_flat_rows_without_a_shape_stay_vectors(given, expected):
    found = as_images(np.ones((4, 5), given))
    assert found.shape == (4, 5)
    assert found.dtype == expected
    assert (found == 1).all()


def test_floats_are_not_scaled():
    assert as_images(np.full((1, 8, 8), -3.5)).max() == -3.5


def test_booleans_become_black_and_white():
    assert as_images(np.eye(8, dtype=bool)[None])[0, 0, 0, :2].tolist() == [255, 0]


@pytest.mark.parametrize(
    ("X", "image_shape", "sentence"),
    [
        (
            np.zeros((5, 784)),
            (28, 27),
            "X has 784 values a row, but image_shape=(28, 27, 1) needs 756. "
            "Give the shape that the images had before they were flattened.",
        ),
        (
            np.zeros((5, 7, 28)),
            None,
            "X holds images of 7 x 28 pixels; at least 8 x 8 are needed. "
            "Enlarge them, or give flat rows to use them as vectors.",
        ),
        (
            np.zeros((5, 20)),
            (5, 4),
            "X holds images of 5 x 4 pixels; at least 8 x 8 are needed. "
            "Enlarge them, or give flat rows to use them as vectors.",
        ),
        (
            np.zeros((5, 3, 28, 28)),
            None,
            "X has shape (5, 3, 28, 28), so 28 channels; 1 to 4 are possible. "
            "Put the channels last: X.transpose(0, 2, 3, 1).",
        ),
        (
            np.zeros((5, 28, 28, 5)),
            None,
            "X has shape (5, 28, 28, 5), so 5 channels; 1 to 4 are possible. "
            "Give (n, height, width), (n, height, width, channels) or flat (n, values).",
        ),
        (
            np.zeros(5),
            None,
            "X has shape (5,). "
            "Give (n, height, width), (n, height, width, channels) or flat (n, values).",
        ),
        (
            np.zeros((0, 28, 28)),
            None,
            "X is empty: its shape is (0, 28, 28). Give at least one image.",
        ),
        (
            np.full((2, 8, 8), 300),
            None,
            "X holds integers from 300 to 300; pixels go from 0 to 255. "
            "Scale them, or give floats.",
        ),
        (
            np.zeros((2, 8, 8), complex),
            None,
            "X has dtype complex128, which holds no pixels. "
            "Give numbers: uint8 from 0 to 255 or floats.",
        ),
        (
            np.array([["a", "b"]]),
            None,
            "X has dtype <U1, which holds no pixels. Give numbers: uint8 from 0 to 255 or floats.",
        ),
        (
            np.array([[1, None]], object),
            None,
            "X has dtype object, which holds no pixels. "
            "Give numbers: uint8 from 0 to 255 or floats.",
        ),
        (
            [[1, 2], [3]],
            None,
            "X is not one array: its rows differ in length. Bring all images to one size first.",
        ),
        (
            np.array([[0.0, 1.0], [np.nan, 1.0]]),
            None,
            "X has NaN, infinity or a value too large for float32, first in row 1. "
            "Remove or replace it.",
        ),
        (
            np.full((1, 8, 8), 1e300),
            None,
            "X has NaN, infinity or a value too large for float32, first in row 0. "
            "Remove or replace it.",
        ),
        (
            np.zeros((5, 784)),
            (28,),
            "image_shape is (28,). Give (height, width) or (height, width, channels).",
        ),
        (
            np.zeros((5, 784)),
            (28, 28.0),
            "image_shape is (28, 28.0). Give (height, width) or (height, width, channels).",
        ),
        (
            np.zeros((5, 28, 28)),
            (14, 56),
            "X holds images of (28, 28, 1), but image_shape means (14, 56, 1). "
            "Leave image_shape out: it is for flat rows.",
        ),
    ],
)
def test_an_array_that_cannot_be_used_says_why(X, image_shape, sentence):
    with pytest.raises(InputError, match=says(sentence)):
        as_images(X, image_shape)


def test_a_sparse_matrix_is_named():
    from scipy.sparse import eye_array

    sentence = "pixels is a sparse matrix. Give a dense array: pixels.toarray()."
    with pytest.raises(InputError, match=says(sentence)):
        as_images(eye_array(8), name="pixels")


# npy and npz


def test_npy(tmp_path):
    X = RNG.integers(0, 256, (3, 9, 10), dtype=np.uint8)
    np.save(tmp_path / "x.npy", X)
    found = read_images(tmp_path / "x.npy")
    np.testing.assert_array_equal(found.images[:, 0], X)
    assert found.labels is None
    assert found.class_names is None
    assert found.names is None
    assert len(found) == 3


def test_a_large_npy_is_mapped_and_not_read(tmp_path, monkeypatch):
    X = RNG.integers(0, 256, (3, 9, 10), dtype=np.uint8)
    np.save(tmp_path / "x.npy", X)
    assert not is_mapped(read_images(tmp_path / "x.npy").images)
    monkeypatch.setattr(arrays_module, "MAPPED_BYTES", 0)
    found = read_images(tmp_path / "x.npy").images
    assert is_mapped(found)
    np.testing.assert_array_equal(found[:, 0], X)


def is_mapped(array):
    while array is not None and not isinstance(array, np.memmap):
        array = array.base
    return array is not None


@pytest.mark.parametrize("order", ["C", "F"])
def test_an_npy_of_python_2_is_read_without_a_word(tmp_path, order):
    X = np.random.default_rng(0).integers(0, 256, (3, 8, 9), dtype=np.uint8)
    sides = "(3L, 8L, 9L)"  # Python 3 knows no such number, and NumPy warns that it took it out
    header = f"{{'descr': '|u1', 'fortran_order': {order == 'F'}, 'shape': {sides}, }}"
    (tmp_path / "x.npy").write_bytes(malformed.npy_of(header, X.tobytes(order)))
    np.testing.assert_array_equal(read_images(tmp_path / "x.npy").images[:, 0], X)
    np.testing.assert_array_equal(NpyRows(tmp_path / "x.npy").rows(1, 3), X[1:])


def test_npy_of_vectors(tmp_path):
    np.save(tmp_path / "x.npy", np.arange(12).reshape(3, 4))
    found = read_images(tmp_path / "x.npy").images
    assert found.dtype == np.float32
    assert found[2].tolist() == [8, 9, 10, 11]


@pytest.mark.parametrize(("top", "factor"), [(1.0, 255), (200.0, 1)])
def test_float_pixels_in_a_file_become_bytes(tmp_path, top, factor):
    X = np.linspace(0, top, 64).reshape(1, 8, 8)
    np.save(tmp_path / "x.npy", X)
    found = read_images(tmp_path / "x.npy").images
    assert found.dtype == np.uint8
    assert np.abs(found[0, 0] - X[0] * factor).max() <= 0.5 + 1e-5


def test_float_pixels_out_of_range(tmp_path):
    path = tmp_path / "x.npy"
    np.save(path, np.linspace(-0.5, 2, 64).reshape(1, 8, 8))
    sentence = f"{path}: the pixels go from -0.5 to 2. Scale them to 0..1 or 0..255."
    with pytest.raises(InputError, match=says(sentence)):
        read_images(path)


def test_npz_with_text_labels(tmp_path):
    X = np.zeros((4, 8, 8, 3), np.uint8)
    np.savez(tmp_path / "x.npz", images=X, labels=np.array(["cat", "", "ant", "cat"]))
    found = read_images(tmp_path / "x.npz")
    assert found.images.shape == (4, 3, 8, 8)
    assert found.class_names == ("ant", "cat")
    assert found.labels.tolist() == [1, -1, 0, 1]
    assert found.labels.dtype == np.int64


def test_npz_of_keras_shares_the_classes_of_both_splits(tmp_path):
    np.savez_compressed(
        tmp_path / "x.npz",
        x_train=np.zeros((3, 8, 8), np.uint8),
        y_train=np.array([[10], [9], [-1]]),
        x_test=np.ones((2, 8, 8), np.uint8),
        y_test=np.array([11, 9], np.uint8),
    )
    train, test = read_splits(tmp_path / "x.npz")
    assert train.class_names == test.class_names == ("9", "10", "11")
    assert train.labels.tolist() == [1, 0, -1]
    assert test.labels.tolist() == [2, 0]
    assert test.images.max() == 1


def test_integer_labels_from_zero_keep_their_value(tmp_path):
    labels = np.array([3, 0, 2, 1])
    np.savez(tmp_path / "x.npz", images=np.zeros((4, 8, 8)), labels=labels)
    np.testing.assert_array_equal(read_images(tmp_path / "x.npz").labels, labels)


def test_labels_are_never_needed(tmp_path):
    np.savez(tmp_path / "x.npz", images=np.zeros((2, 8, 8)))
    np.savez(tmp_path / "y.npz", images=np.zeros((2, 8, 8)), labels=np.array([-1, -1]))
    for name in ("x.npz", "y.npz"):
        found, test = read_splits(tmp_path / name)
        assert found.labels is None
        assert found.class_names is None
        assert test is None


@pytest.mark.parametrize(
    ("stored", "sentence"),
    [
        (
            {"a": np.zeros(3), "b": np.zeros(2)},
            "holds a, b. Name the arrays images and labels, or x_train, y_train, x_test and "
            "y_test.",
        ),
        (
            {"images": np.zeros((2, 8, 8)), "labels": np.zeros(3, int)},
            "the labels have shape (3,), but there are 2 images. Give one label per image.",
        ),
        (
            {"images": np.zeros((2, 8, 8)), "labels": np.zeros(2)},
            "the labels have dtype float64. Give integers (-1 for unlabelled) or text.",
        ),
        (
            {"images": np.zeros((2, 8, 8)), "labels": np.array([-2, 0])},
            "a label is -2. Labels start at 0; -1 marks an unlabelled image.",
        ),
        (
            {"images": np.zeros((2, 8, 8)), "labels": np.array([None, 1])},
            "not a readable .npz file (Object arrays cannot be loaded when allow_pickle=False). "
            "Write it again with numpy, without object arrays.",
        ),
        (
            {
                "x_train": np.zeros((2, 8, 8)),
                "y_train": np.array([0, 1]),
                "x_test": np.zeros((1, 8, 8)),
                "y_test": np.array(["a"]),
            },
            "the training labels and the test labels must both be integers or both be text.",
        ),
        (
            {"x_train": np.zeros((2, 8, 8)), "x_test": np.zeros((1, 8, 9))},
            "the training images are (1, 8, 8), the test images (1, 8, 9) "
            "(channels, height, width). Bring them to one shape.",
        ),
    ],
)
def test_an_npz_that_cannot_be_used_says_why(tmp_path, stored, sentence):
    path = tmp_path / "x.npz"
    np.savez(path, **stored)
    with pytest.raises(InputError, match=says(f"{path}: {sentence}")):
        read_splits(path)


def test_a_truncated_npz_names_the_file(tmp_path):
    path = tmp_path / "x.npz"
    np.savez(path, images=np.zeros((2, 8, 8)))
    path.write_bytes(path.read_bytes()[:-30])
    with pytest.raises(InputError, match=re.escape(f"{path}: not a readable .npz file (")):
        read_splits(path)


def test_a_damaged_npy_header_names_the_file(tmp_path):
    path = tmp_path / "x.npy"
    np.save(path, np.zeros((2, 8, 8)))
    path.write_bytes(path.read_bytes().replace(b"}", b" ", 1))
    with pytest.raises(InputError, match=re.escape(f"{path}: not a readable .npy file (")):
        read_images(path)


@pytest.mark.parametrize("flag", [1, 32, 64])  # encrypted, patched, strongly encrypted
def test_an_encrypted_npz_names_the_file(tmp_path, flag):
    path = tmp_path / "x.npz"
    np.savez(path, images=np.zeros((2, 8, 8)))
    content = bytearray(path.read_bytes())
    for header, offset in ((b"PK\x03\x04", 6), (b"PK\x01\x02", 8)):
        content[content.index(header) + offset] |= flag
    path.write_bytes(content)
    with pytest.raises(InputError, match=re.escape(f"{path}: not a readable .npz file (")):
        read_images(path)


def test_an_npz_that_would_unpack_to_too_much_is_refused(tmp_path, monkeypatch):
    monkeypatch.setattr(arrays_module, "MAX_BYTES", 1000)
    path = tmp_path / "x.npz"
    np.savez_compressed(path, images=np.zeros((2, 64, 64), np.uint8))
    sentence = (
        f"{path}: would unpack to 8320 bytes; the limit is 1000. Split it into smaller files."
    )
    with pytest.raises(InputError, match=says(sentence)):
        read_splits(path)


def test_a_suffix_that_lies(tmp_path):
    np.savez(tmp_path / "x.npz", images=np.zeros((2, 8, 8)))
    (tmp_path / "x.npz").rename(tmp_path / "x.npy")
    sentence = f"{tmp_path / 'x.npy'}: is a zip archive, not an array. Name it .npz."
    with pytest.raises(InputError, match=says(sentence)):
        read_images(tmp_path / "x.npy")


# idx


def test_idx_md5_is_that_of_the_file():
    array = RNG.integers(0, 256, (3, 4, 5), dtype=np.uint8)
    assert idx_md5(array) == hashlib.md5(idx_bytes(array)).hexdigest()


@pytest.mark.parametrize("packed", ["", ".gz"])
@pytest.mark.parametrize("labels_packed", ["", ".gz"])
def test_an_idx_pair(tmp_path, packed, labels_packed):
    images = RNG.integers(0, 256, (3, 9, 10), dtype=np.uint8)
    write_idx(tmp_path / f"my-images-idx3-ubyte{packed}", images)
    write_idx(tmp_path / f"my-labels-idx1-ubyte{labels_packed}", np.array([2, 0, 1]))
    found = read_images(tmp_path / f"my-images-idx3-ubyte{packed}")
    np.testing.assert_array_equal(found.images[:, 0], images)
    assert found.images.flags.writeable
    assert found.labels.tolist() == [2, 0, 1]
    assert found.class_names == ("0", "1", "2")


def test_idx_without_labels_and_in_colour(tmp_path):
    images = RNG.integers(0, 256, (3, 9, 10, 3), dtype=np.uint8)
    write_idx(tmp_path / "some.idx", images)
    found = read_images(tmp_path / "some.idx")
    np.testing.assert_array_equal(found.images, images.transpose(0, 3, 1, 2))
    assert found.labels is None


@pytest.mark.parametrize("form", ["{}-{}-{}-ubyte", "{}-{}.{}-ubyte.gz"])
def test_a_folder_with_the_names_of_mnist(tmp_path, form):
    pictures = {"train": grey_stack(4), "t10k": grey_stack(2)}
    for split, images in pictures.items():
        write_idx(tmp_path / form.format(split, "images", "idx3"), images)
        write_idx(tmp_path / form.format(split, "labels", "idx1"), np.arange(len(images)))
    train, test = read_splits(tmp_path)
    np.testing.assert_array_equal(train.images[:, 0], pictures["train"])
    np.testing.assert_array_equal(test.images[:, 0], pictures["t10k"])
    assert train.class_names == test.class_names == ("0", "1", "2", "3")
    assert test.labels.tolist() == [0, 1]
    np.testing.assert_array_equal(read_images(tmp_path).images, train.images)


def test_a_folder_with_the_training_images_of_mnist_only(tmp_path):
    write_idx(tmp_path / "train-images-idx3-ubyte", grey_stack(4))
    train, test = read_splits(tmp_path)
    assert train.labels is None
    assert test is None


def grey_stack(n: int) -> np.ndarray:
    return RNG.integers(0, 256, (n, 8, 9), dtype=np.uint8)


def write_idx(path: Path, array: np.ndarray) -> None:
    content = idx_bytes(array)
    path.write_bytes(gzip.compress(content) if path.suffix == ".gz" else content)


WHOLE = idx_bytes(np.zeros((2, 8, 8), np.uint8))


@pytest.mark.parametrize(
    ("content", "sentence"),
    [
        (
            WHOLE[:-1],
            "the header promises 128 values, but only 127 follow. Fetch or copy the file again.",
        ),
        (
            WHOLE + b"x",
            "more follows than the 128 values that the header promises. "
            "Fetch or copy the file again.",
        ),
        (WHOLE[:9], "ends within its header. Fetch or copy the file again."),
        (
            bytes([0, 0, 8, 9]) + WHOLE[4:],
            "starts with 00000809, not with the 000008 of an idx file of bytes. "
            "Give an idx file of images.",
        ),
        (
            bytes([0, 0, 8, 3]) + struct.pack(">III", 2**31, 2**31, 2),
            f"the header promises {2**63} bytes; the limit is {2**33}. "
            "Split it into smaller files.",
        ),
        (idx_bytes(np.zeros(3)), "holds labels, not images. Give the file of the images."),
        (
            gzip.compress(b"hello", mtime=0),
            "starts with 68656c6c, not with the 000008 of an idx file of bytes. "
            "Give an idx file of images.",
        ),
    ],
)
def test_an_idx_file_that_cannot_be_used_says_why(tmp_path, content, sentence):
    for name, stored in (("x.idx", content), ("x.idx.gz", gzip.compress(content))):
        if content[:2] == b"\x1f\x8b" and name.endswith("gz"):
            continue  # packed twice is a different mistake
        path = tmp_path / name
        path.write_bytes(stored)
        with pytest.raises(InputError, match=says(f"{path}: {sentence}")):
            read_images(path)


def test_a_bomb_is_not_unpacked_beyond_its_header(tmp_path, monkeypatch):
    path = tmp_path / "x.idx.gz"
    path.write_bytes(gzip.compress(idx_bytes(np.zeros((1, 8, 8), np.uint8)) + bytes(10**7)))
    read = []
    original = gzip.GzipFile.read

    def counting(self, size=-1):
        read.append(size)
        return original(self, size)

    monkeypatch.setattr(gzip.GzipFile, "read", counting)
    with pytest.raises(InputError, match="more follows than the 64 values"):
        read_idx(path)
    assert read == [4, 12, 64, 0, 1]


@pytest.mark.parametrize("keep", [-6, -20])
def test_damaged_gzip_data_names_the_file(tmp_path, keep):
    path = tmp_path / "x.idx.gz"
    path.write_bytes(gzip.compress(idx_bytes(grey_stack(5)))[:keep])
    sentence = (
        f"{path}: not readable (Compressed file ended before the end-of-stream marker was "
        "reached). Fetch or copy the file again."
    )
    with pytest.raises(InputError, match=says(sentence)):
        read_images(path)


def test_the_limit_of_idx_holds_when_lowered(tmp_path, monkeypatch):
    monkeypatch.setattr(idx_module, "MAX_BYTES", 127)
    (tmp_path / "x").write_bytes(WHOLE)
    with pytest.raises(InputError, match="the header promises 128 bytes; the limit is 127"):
        read_images(tmp_path / "x")


# Folders of pictures


def test_a_flat_folder_has_no_labels(tmp_path):
    pixels = [grey() for _ in range(3)]
    for name, each in zip(["b.png", "a.PNG", ".hidden.png"], pixels, strict=True):
        save(tmp_path / name, each)
    (tmp_path / "notes.txt").write_text("no picture")
    save(tmp_path / ".cache" / "c.png", pixels[2])
    found, test = read_splits(tmp_path)
    assert found.names == ("a.PNG", "b.png")
    assert found.labels is None
    assert test is None
    np.testing.assert_array_equal(found.images, np.stack([pixels[1], pixels[0]])[:, None])


@pytest.mark.parametrize(
    ("shape", "size"), [((10, 14, 3), None), ((10, 14, 3), 12), ((300, 200, 3), 128)]
)
def test_one_picture_is_read_as_it_is_in_a_folder(tmp_path, shape, size):
    pixels = np.random.default_rng(0).integers(0, 256, shape, np.uint8)
    Image.fromarray(pixels).save(tmp_path / "one.PNG")
    one, whole = (read_images(path, size) for path in (tmp_path / "one.PNG", tmp_path))
    assert one.names == whole.names == ("one.PNG",)
    assert one.labels is None
    np.testing.assert_array_equal(one.images, whole.images)
    if size is None:
        np.testing.assert_array_equal(one.images[0], pixels.transpose(2, 0, 1))


@pytest.mark.parametrize("on_error", ["stop", "skip"])
def test_one_picture_that_cannot_be_read(tmp_path, on_error):
    path = tmp_path / "one.jpg"
    path.write_text("no picture")
    sentence = f"{path}: not a readable PNG or JPEG (the content is neither). Nothing was written."
    with pytest.raises(InputError, match=says(sentence)):
        read_images(path, on_error=on_error)


def test_class_folders_with_pictures_deeper_and_outside(tmp_path):
    for name in ("10/x.png", "9/b/y.png", "9/a.png", "loose.png"):
        save(tmp_path / name, grey())
    found = read_images(tmp_path)
    assert found.names == ("10/x.png", "9/a.png", "9/b/y.png", "loose.png")
    assert found.class_names == ("9", "10")
    assert found.labels.tolist() == [1, 0, 0, -1]


def test_train_and_test_folders(tmp_path):
    save(tmp_path / "train/cat/1.png", grey(10, 12))
    save(tmp_path / "train/ant/1.png", grey(10, 12))
    save(tmp_path / "test/cat/2.png", grey(30, 12))
    train, test = read_splits(tmp_path)
    assert train.names == ("train/ant/1.png", "train/cat/1.png")
    assert test.names == ("test/cat/2.png",)
    assert train.class_names == test.class_names == ("ant", "cat")
    assert test.labels.tolist() == [1]
    assert train.images.shape == (2, 1, 12, 12)  # the median of the larger sides 12, 12, 30
    assert test.images.shape == (1, 1, 12, 12)


@pytest.mark.parametrize("extra", ["val/1.png", "loose.png"])
def test_train_and_test_with_something_else_is_unclear(tmp_path, extra):
    for name in ("train/1.png", "test/1.png", extra):
        save(tmp_path / name, grey())
    sentence = (
        f"{tmp_path}: holds {extra.split('/')[0]} beside train and test, so it is unclear whether "
        "these are splits or classes. Leave only train and test in it, or rename them."
    )
    with pytest.raises(InputError, match=says(sentence)):
        read_splits(tmp_path)


def test_an_empty_folder(tmp_path):
    sentence = (
        f"{tmp_path}: there is no PNG or JPEG file in it. "
        "Give a folder of pictures, or of idx files with the names of MNIST."
    )
    with pytest.raises(InputError, match=says(sentence)):
        read_images(tmp_path)


def test_a_broken_picture_is_named(tmp_path):
    save(tmp_path / "a.png", grey(40, 40))
    save(tmp_path / "b.png", grey(40, 40))
    (tmp_path / "b.png").write_bytes((tmp_path / "b.png").read_bytes()[:300])
    sentence = (
        f"{tmp_path / 'b.png'}: not a readable PNG or JPEG (image file is truncated). "
        "Nothing was written."
    )
    with pytest.raises(InputError, match=says(sentence)):
        read_images(tmp_path)


def test_another_format_under_the_name_of_png(tmp_path):
    Image.fromarray(grey()).save(tmp_path / "a.png", format="BMP")
    sentence = (
        f"{tmp_path / 'a.png'}: not a readable PNG or JPEG (the content is neither). "
        "Nothing was written."
    )
    with pytest.raises(InputError, match=says(sentence)):
        read_images(tmp_path)


@pytest.mark.parametrize("limit", [100, 60])  # Pillow warns above the limit, raises above twice it
def test_a_picture_beyond_the_safe_size_is_refused(tmp_path, monkeypatch, limit):
    save(tmp_path / "a.png", grey(10, 15))
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", limit)
    sentence = (
        f"{tmp_path / 'a.png'}: has more pixels than the {limit} that are safe to unpack. "
        "Make it smaller. Nothing was written."
    )
    with pytest.raises(InputError, match=says(sentence)):
        read_images(tmp_path)


@pytest.mark.parametrize(
    ("sizes", "size", "expected"),
    [
        ([(20, 30)] * 3, None, (20, 30)),
        ([(20, 30)] * 3, 16, (16, 16)),
        ([(20, 30), (30, 21)], None, (30, 30)),
        ([(5, 6)] * 2, None, (8, 8)),
        ([(3000, 4000)] * 2, None, (64, 64)),
        ([(256, 256)] * 2, None, (256, 256)),
        ([(10, 10), (90, 20), (40, 41)], None, (41, 41)),
    ],
)
def test_the_size_that_is_chosen(sizes, size, expected):
    assert common_size(sizes, size) == expected


def test_resizing_keeps_proportions_and_pads_with_the_border_colour():
    pixels = np.full((20, 10), 200, np.uint8)
    pixels[4:16, 3:7] = 0
    found = fit(Image.fromarray(pixels), 10, 10)[0]
    assert (found[:, :2] == 200).all()
    assert (found[:, 8:] == 200).all()
    assert found[5, 4] == 0
    assert found[0, 4] == 200  # the picture itself: 10 x 5 pixels from column 2


def test_resizing_averages():
    pixels = np.tile(np.array([[0, 100]], np.uint8), (16, 8))
    found = fit(Image.fromarray(pixels), 8, 8)[0]
    assert abs(found[:, 1:-1].astype(float).mean() - 50) < 1


def test_a_thin_picture_keeps_a_pixel():
    assert fit(Image.fromarray(np.full((1, 100), 9, np.uint8)), 8, 8).tolist() == [[[9] * 8] * 8]


def test_size_for_arrays_and_pairs(tmp_path):
    X = np.zeros((2, 8, 8, 3), np.uint8)
    X[..., 1] = 70
    np.savez(tmp_path / "x.npz", x_train=X, x_test=X[:1])
    train, test = read_splits(tmp_path / "x.npz", 12)
    assert train.images.shape == (2, 3, 12, 12)
    assert test.images.shape == (1, 3, 12, 12)
    assert train.images[0, :, 5, 5].tolist() == [0, 70, 0]


def test_vectors_have_no_size():
    with pytest.raises(
        InputError, match=says("X: holds vectors, which have no size. Leave size out.")
    ):
        resize_set(ImageSet(np.zeros((2, 5), np.float32)), 8)


def test_size_has_a_least_value(tmp_path):
    with pytest.raises(InputError, match=says("size is 7. Give at least 8 pixels.")):
        read_images(tmp_path, 7)


def test_the_exif_orientation_is_applied(tmp_path):
    pixels = grey(10, 20)
    exif = Image.Exif()
    exif[0x0112] = 6  # to be seen, turn it by 90 degrees clockwise
    save(tmp_path / "a.png", pixels, exif=exif)
    found = read_images(tmp_path).images
    np.testing.assert_array_equal(found[0, 0], np.rot90(pixels, -1))


def test_jpeg_orientation_counts_for_the_common_size(tmp_path):
    exif = Image.Exif()
    exif[0x0112] = 8
    save(tmp_path / "a.jpg", grey(16, 24, 90), exif=exif)
    save(tmp_path / "b.jpeg", grey(24, 16, 90))
    found = read_images(tmp_path).images
    assert found.shape == (2, 1, 24, 16)
    assert (found == 90).all()


def test_colour_where_any_picture_is_coloured(tmp_path):
    save(tmp_path / "a.png", grey(8, 8, 77))
    save(tmp_path / "b.png", np.full((8, 8, 3), (10, 20, 30), np.uint8))
    found = read_images(tmp_path).images
    assert found.shape == (2, 3, 8, 8)
    assert found[0, :, 3, 3].tolist() == [77, 77, 77]
    assert found[1, :, 3, 3].tolist() == [10, 20, 30]


def as_mode(mode: str) -> tuple[Image.Image, list[int]]:
    """Return a picture of one colour in a mode, and the channels it must be read as."""
    colour = Image.new("RGB", (8, 8), (200, 100, 50))
    wide = np.full((8, 8), 257 * 40 + 3, np.uint16)
    cases = {
        "RGB": (colour, [200, 100, 50]),
        "grey RGB": (Image.new("RGB", (8, 8), (9, 9, 9)), [9]),
        "P": (colour.convert("P", palette=Image.Palette.ADAPTIVE), [200, 100, 50]),
        "1": (Image.new("1", (8, 8), 1), [255]),
        "LA": (Image.new("LA", (8, 8), (60, 255)), [60]),
        "clear LA": (Image.new("LA", (8, 8), (60, 0)), [255]),
        "opaque RGBA": (Image.new("RGBA", (8, 8), (1, 2, 3, 255)), [1, 2, 3]),
        "clear RGBA": (Image.new("RGBA", (8, 8), (1, 2, 3, 0)), [255]),
        "I;16": (Image.fromarray(wide), [40]),
    }
    return cases[mode]


@pytest.mark.parametrize(
    "mode",
    ["RGB", "grey RGB", "P", "1", "LA", "clear LA", "opaque RGBA", "clear RGBA", "I;16"],
)
def test_every_kind_of_png(tmp_path, mode):
    image, expected = as_mode(mode)
    image.save(tmp_path / "a.png")
    assert read_images(tmp_path).images[0, :, 4, 4].tolist() == expected


def test_half_transparent_is_put_on_white(tmp_path):
    Image.new("RGBA", (8, 8), (0, 0, 0, 51)).save(tmp_path / "a.png")
    assert read_images(tmp_path).images[0, :, 4, 4].tolist() == [204]  # 255 * (1 - 51/255)


def test_a_transparent_grey_value_is_put_on_white(tmp_path):
    Image.new("L", (8, 8), 30).save(tmp_path / "a.png", transparency=30)
    assert read_images(tmp_path).images[0, :, 4, 4].tolist() == [255]


def test_cmyk_jpeg(tmp_path):
    Image.new("CMYK", (8, 8), (0, 255, 255, 0)).save(tmp_path / "a.jpg", quality=95)
    red, green, blue = read_images(tmp_path).images[0, :, 4, 4].tolist()
    assert red > 250
    assert max(green, blue) < 5


# Paths


def test_a_path_that_does_not_exist():
    sentence = "nowhere/x.npz: there is no such file or folder. Check the path."
    with pytest.raises(InputError, match=says(sentence)):
        read_images("nowhere/x.npz")


def test_a_file_of_another_kind(tmp_path):
    path = tmp_path / "a.txt"
    path.write_text("no image")
    sentence = (
        f"{path}: not a kind of file that can be read. "
        "Give .npy, .npz, an idx file, a PNG or JPEG file, or a folder of them."
    )
    with pytest.raises(InputError, match=says(sentence)):
        read_images(path)


def test_images_need_no_torch():
    code = "import sys, selfsort.images; sys.exit('torch' in sys.modules)"
    source = str(Path(arrays_module.__file__).parents[2])
    subprocess.run([sys.executable, "-c", code], check=True, env={"PYTHONPATH": source})


# Label files

NAMES = ("a.png", "cat/b.png", "c.png")


def label_file(folder: Path, text: str) -> Path:
    path = folder / "labels.csv"
    path.write_text(text, encoding="utf-8")
    return path


@pytest.mark.parametrize(
    "text",
    [
        "file,class\nc.png,zebra\n./cat\\b.png,ant\n",
        "\ufeffIndex, Class\n2,zebra\n\n1,ant\n0,\n1,ant\n",
    ],
)
def test_labels_by_file_or_index(tmp_path, text):
    labels, class_names = read_labels(label_file(tmp_path, text), NAMES, 3)
    assert labels.tolist() == [-1, 0, 1]
    assert labels.dtype == np.int64
    assert class_names == ("ant", "zebra")


def test_a_file_may_have_a_name_that_looks_like_another(tmp_path):
    path = tmp_path / "labels.csv"
    path.write_text('file,class\n"a\\b.png",x\n" c.png",y\nc.png,x\nd\\e.png,y\n')
    names = ("a/b.png", "a\\b.png", "c.png", " c.png", "d/e.png")
    labels, _ = read_labels(path, names, len(names))
    assert labels.tolist() == [-1, 0, 0, 1, 1]


def test_labels_that_are_numbers_sort_as_numbers(tmp_path):
    labels, class_names = read_labels(label_file(tmp_path, "index,class\n0,10\n1,9\n"), None, 2)
    assert class_names == ("9", "10")
    assert labels.tolist() == [1, 0]


def test_labels_of_given_classes_keep_their_index(tmp_path):
    path = label_file(tmp_path, "index,class\n0,7\n")
    labels, class_names = read_labels(path, None, 2, class_names=tuple("0123456789"))
    assert labels.tolist() == [7, -1]
    assert class_names == tuple("0123456789")


@pytest.mark.parametrize(
    ("text", "names", "sentence"),
    [
        (
            "file,class\nd.png,x\n",
            NAMES,
            ", line 2: there is no image file 'd.png'. "
            "Give names relative to the folder of the images.",
        ),
        (
            "file,class\na.png,x\n",
            None,
            ", line 1: these images have no file names. Use the header index,class.",
        ),
        (
            "index,class\n0,x\n3,x\n",
            NAMES,
            ", line 3: there is no image with index '3'. Indices go from 0 to 2.",
        ),
        (
            "index,class\n-1,x\n",
            NAMES,
            ", line 2: there is no image with index '-1'. Indices go from 0 to 2.",
        ),
        (
            "index,class\n0,x\n1,y\n0,y\n",
            NAMES,
            ", line 4: the image has class 'y' here, but 'x' in line 2. Keep one of them.",
        ),
        (
            "index,class\n0,x,y\n",
            NAMES,
            ", line 2: has 3 values. Give index,class.",
        ),
        (
            "name,class\n",
            NAMES,
            ", line 1: the header is 'name,class'. Write file,class or index,class.",
        ),
        ("", NAMES, ", line 1: the header is ''. Write file,class or index,class."),
    ],
)
def test_a_label_file_that_cannot_be_used_says_why(tmp_path, text, names, sentence):
    path = label_file(tmp_path, text)
    with pytest.raises(InputError, match=says(f"{path}{sentence}")):
        read_labels(path, names, 3)


def test_a_class_that_is_not_among_the_given(tmp_path):
    path = label_file(tmp_path, "index,class\n0,cta\n")
    sentence = f"{path}, line 2: there is no class 'cta'. Known classes: ant, cat."
    with pytest.raises(InputError, match=says(sentence)):
        read_labels(path, None, 2, class_names=("ant", "cat"))


def test_a_label_file_that_is_not_there(tmp_path):
    path = tmp_path / "no.csv"
    sentence = (
        f"{path}: cannot be read (No such file or directory). Check the path and its permissions."
    )
    with pytest.raises(InputError, match=says(sentence)):
        read_labels(path, None, 2)


def test_a_label_file_that_is_not_text(tmp_path):
    (tmp_path / "x.csv").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(InputError, match="not a readable CSV file in UTF-8"):
        read_labels(tmp_path / "x.csv", None, 2)
