"""Named data sets: where they are looked for, fetched from a small server, and verified."""

import gzip
import hashlib
import http.server
import json
import re
import struct
import threading
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from sklearn.datasets import _openml, load_digits

from selfsort.datasets import known_datasets, load_dataset, loading
from selfsort.datasets.openml import verify
from selfsort.datasets.sources import SOURCES, Source, cache_folder
from selfsort.errors import DataNotFoundError, InputError

NAME = "rings"
DATA_ID = 77
N_TRAIN, N_TEST = 6, 3
RNG = np.random.default_rng(1)
PIXELS = RNG.integers(0, 256, (N_TRAIN + N_TEST, 8, 9))
LABELS = np.array([0, 1, 2, 0, 1, 2, 0, 0, 1])


def says(sentence: str) -> str:
    return f"^{re.escape(sentence)}$"


def idx_bytes(array: np.ndarray) -> bytes:
    sizes = b"".join(struct.pack(">I", side) for side in array.shape)
    return bytes([0, 0, 8, array.ndim]) + sizes + array.astype(np.uint8).tobytes()


def canonical_files() -> dict[str, bytes]:
    return {
        "train-images-idx3-ubyte": idx_bytes(PIXELS[:N_TRAIN]),
        "train-labels-idx1-ubyte": idx_bytes(LABELS[:N_TRAIN]),
        "t10k-images-idx3-ubyte": idx_bytes(PIXELS[N_TRAIN:]),
        "t10k-labels-idx1-ubyte": idx_bytes(LABELS[N_TRAIN:]),
    }


def rings(**changes) -> Source:
    facts = {
        "description": "made up for the tests",
        "data_id": DATA_ID,
        "n_train": N_TRAIN,
        "n_test": N_TEST,
        "image_shape": (8, 9),
        "class_counts": (4, 3, 2),
        "train_counts": (2, 2, 2),
        "md5": {name: hashlib.md5(each).hexdigest() for name, each in canonical_files().items()},
    }
    return Source(**{**facts, **changes})


class Server:
    """OpenML's part of the protocol that scikit-learn uses, with one data set."""

    def __init__(self, pixels: np.ndarray, labels: list[str]) -> None:
        self.requests: list[str] = []
        self.arff = self._arff(pixels, labels)
        self.md5 = hashlib.md5(self.arff).hexdigest()
        self.features = [f"pixel{i}" for i in range(pixels[0].size)]
        self.classes = sorted(set(labels))
        self.status = 200
        outer = self

        class Handler(http.server.BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                outer.requests.append(self.path)
                body = outer.answer(self.path)
                self.send_response(outer.status if body is not None else 404)
                self.end_headers()
                self.wfile.write(body or b"{}")

            def log_message(self, *arguments: object) -> None:
                pass

        self.http = http.server.HTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.http.server_port}"
        self.thread = threading.Thread(target=self.http.serve_forever, args=(0.01,))
        self.thread.start()

    @staticmethod
    def _arff(pixels: np.ndarray, labels: list[str]) -> bytes:
        flat = pixels.reshape(len(pixels), -1)
        lines = ["@RELATION rings"]
        lines += [f"@ATTRIBUTE pixel{i} REAL" for i in range(flat.shape[1])]
        lines += [f"@ATTRIBUTE class {{{','.join(sorted(set(labels)))}}}", "@DATA"]
        lines += [
            ",".join([*map(str, row), label])
            for row, label in zip(flat.tolist(), labels, strict=True)
        ]
        return ("\n".join(lines) + "\n").encode()

    def answer(self, path: str) -> bytes | None:
        if path == "/rings.arff":
            return self.arff
        content = {
            f"/json/{DATA_ID}": {
                "data_set_description": {
                    "id": str(DATA_ID),
                    "name": NAME,
                    "version": "1",
                    "status": "active",
                    "format": "ARFF",
                    "description": "rings",
                    "url": f"{self.url}/rings.arff",
                    "md5_checksum": self.md5,
                }
            },
            f"/json/features/{DATA_ID}": {
                "data_features": {
                    "feature": [
                        *(self._feature(i, name) for i, name in enumerate(self.features)),
                        {
                            **self._feature(len(self.features), "class"),
                            "data_type": "nominal",
                            "nominal_values": json.dumps(self.classes),
                            "is_target": "true",
                        },
                    ]
                }
            },
            f"/json/qualities/{DATA_ID}": {
                "data_qualities": {
                    "quality": [
                        {
                            "name": "NumberOfInstances",
                            "value": str(self.arff.split(b"@DATA\n")[1].count(b"\n")),
                        }
                    ]
                }
            },
        }.get(path)
        return None if content is None else json.dumps(content).encode()

    @staticmethod
    def _feature(index: int, name: str) -> dict[str, str]:
        return {
            "index": str(index),
            "name": name,
            "data_type": "numeric",
            "is_target": "false",
            "is_ignore": "false",
            "is_row_identifier": "false",
            "number_of_missing_values": "0",
        }

    def close(self) -> None:
        self.http.shutdown()
        self.thread.join()
        self.http.server_close()


@pytest.fixture
def cache(tmp_path, monkeypatch):
    """An empty cache, no folder of data, and no waiting between attempts."""
    folder = tmp_path / "cache"
    monkeypatch.setenv("SELFSORT_CACHE", str(folder))
    monkeypatch.delenv("SELFSORT_DATA", raising=False)
    monkeypatch.setattr(_openml.time, "sleep", lambda seconds: None)
    monkeypatch.setitem(SOURCES, NAME, rings())
    return folder


def point_to(monkeypatch, url: str) -> None:
    monkeypatch.setattr(_openml, "_DATA_INFO", f"{url}/json/{{}}")
    monkeypatch.setattr(_openml, "_DATA_FEATURES", f"{url}/json/features/{{}}")
    monkeypatch.setattr(_openml, "_DATA_QUALITIES", f"{url}/json/qualities/{{}}")


@pytest.fixture
def serve(cache, monkeypatch):
    """Start servers that scikit-learn takes for OpenML."""
    servers = []

    def start(pixels=PIXELS, labels=LABELS) -> Server:
        servers.append(Server(np.asarray(pixels), [str(label) for label in labels]))
        point_to(monkeypatch, servers[-1].url)
        return servers[-1]

    yield start
    for server in servers:
        server.close()


def files_in(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.rglob("*"))


def check_rings(dataset, labels=LABELS) -> None:
    assert dataset.name == NAME
    np.testing.assert_array_equal(dataset.train.images[:, 0], PIXELS[:N_TRAIN])
    np.testing.assert_array_equal(dataset.test.images[:, 0], PIXELS[N_TRAIN:])
    assert dataset.train.images.dtype == np.uint8
    assert dataset.train.labels.tolist() == labels[:N_TRAIN].tolist()
    assert dataset.test.labels.tolist() == labels[N_TRAIN:].tolist()
    assert dataset.test.class_names == ("0", "1", "2")


# The download


def test_a_download_is_verified_cached_and_not_repeated(serve, cache):
    server = serve()
    check_rings(load_dataset(NAME))
    assert "/rings.arff" in server.requests
    assert files_in(cache) == ["rings.json", "rings.npz"]
    record = json.loads((cache / "rings.json").read_text())
    content = (cache / "rings.npz").read_bytes()
    assert record == {
        "name": NAME,
        "openml_id": DATA_ID,
        "sha256": hashlib.sha256(content).hexdigest(),
    }
    server.requests.clear()
    check_rings(load_dataset(NAME))
    assert server.requests == []


def test_size_applies_to_what_is_cached_too(serve):
    serve()
    for _ in range(2):
        dataset = load_dataset(NAME, size=12)
        assert dataset.train.images.shape == (N_TRAIN, 1, 12, 12)
        assert dataset.test.images.shape == (N_TEST, 1, 12, 12)


def test_values_around_zero_and_labels_from_one(serve, monkeypatch):
    usps_like = rings(value_range=(-1, 1), first_label=1, train_counts=None)
    monkeypatch.setitem(SOURCES, NAME, usps_like)
    serve(PIXELS / 127.5 - 1, LABELS + 1)
    check_rings(load_dataset(NAME))


def test_a_damaged_download_is_refused_and_the_next_one_is_fetched_anew(serve, cache):
    server = serve()
    whole, server.arff = server.arff, server.arff.replace(b"0", b"1", 3)
    sentence = (
        "The download of 'rings' from OpenML, number 77, is refused: its MD5 is not the one that "
        "OpenML gives. Nothing was kept; try again later."
    )
    with pytest.raises(InputError, match=says(sentence)):
        load_dataset(NAME)
    assert files_in(cache) == []
    server.arff = whole
    check_rings(load_dataset(NAME))


@pytest.mark.parametrize(
    ("pixels", "labels", "changes", "fact"),
    [
        (PIXELS[:8], LABELS[:8], {}, "its shape is (8, 72), not (9, 72)"),
        (PIXELS[:, :, :8], LABELS, {}, "its shape is (9, 64), not (9, 72)"),
        (
            np.full((9, 8, 9), 256),
            LABELS,
            {},
            "its pixels go from 256 to 256, not 0 to 255",
        ),
        (PIXELS * 0.5, LABELS, {}, "not all of its pixels are whole numbers"),
        (PIXELS, LABELS[::-1], {}, "its training classes have (3, 2, 1) images, not (2, 2, 2)"),
        (PIXELS, LABELS + 1, {}, "its labels go from 1 to 3, not 0 to 2"),
        (PIXELS, [0] * 9, {}, "its labels go from 0 to 0, not 0 to 2"),
        (PIXELS, [0, 1, 2] * 3, {}, "its classes have (3, 3, 3) images, not (4, 3, 2)"),
        (
            PIXELS,
            ["a"] * 9,
            {},
            "its labels are not all numbers: could not convert string to float: 'a'",
        ),
        (
            PIXELS,
            LABELS,
            {"md5": {"t10k-labels-idx1-ubyte": "0" * 32}},
            "the MD5 of its t10k-labels-idx1-ubyte is "
            + hashlib.md5(idx_bytes(LABELS[N_TRAIN:])).hexdigest()
            + f", not {'0' * 32}",
        ),
    ],
)
def test_a_download_that_is_something_else_is_refused(
    serve, cache, monkeypatch, pixels, labels, changes, fact
):
    monkeypatch.setitem(SOURCES, NAME, rings(**changes))
    serve(pixels, labels)
    sentence = (
        f"The download of 'rings' from OpenML, number 77, is refused: {fact}. "
        "Nothing was kept; try again later."
    )
    with pytest.raises(InputError, match=says(sentence)) as caught:
        load_dataset(NAME)
    assert not isinstance(caught.value, DataNotFoundError)
    assert files_in(cache) == []


def not_found(cache: Path, looked: str, reason: str) -> str:
    return (
        f"The data set 'rings' was not found: looked {looked}, in {cache}, and at OpenML, "
        f"number 77 ({reason}). Put its idx files, an npz file or folders of images into "
        "$SELFSORT_DATA/rings, or try again with a network."
    )


def test_an_unreachable_server_gives_one_line(serve, cache):
    serve().close()
    sentence = not_found(
        cache, "in $SELFSORT_DATA, which is not set", "[Errno 111] Connection refused"
    )
    with pytest.raises(DataNotFoundError) as caught:
        load_dataset(NAME)
    assert str(caught.value) == sentence
    assert files_in(cache) == []


@pytest.mark.parametrize(
    ("status", "reason"),
    [(503, "Service Unavailable"), (412, "Dataset with data_id 77 not found")],
)
def test_a_server_that_refuses_gives_one_line(serve, cache, tmp_path, monkeypatch, status, reason):
    monkeypatch.setenv("SELFSORT_DATA", str(tmp_path))
    serve().status = status
    sentence = not_found(cache, f"in {tmp_path / NAME}", reason)
    with pytest.raises(DataNotFoundError, match=says(sentence)):
        load_dataset(NAME)
    assert files_in(cache) == []


def test_a_cache_that_cannot_be_written(serve, monkeypatch, cache):
    serve()

    def full(*arguments: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(loading, "write_cache", full)
    sentence = (
        f"{cache}: the data set 'rings' was fetched but cannot be kept there "
        "(No space left on device). Make room, or set SELFSORT_CACHE to another folder."
    )
    with pytest.raises(InputError, match=says(sentence)):
        load_dataset(NAME)


# The cache


def test_a_changed_cache_is_refused(serve, cache):
    serve()
    load_dataset(NAME)
    path = cache / "rings.npz"
    expected = json.loads((cache / "rings.json").read_text())["sha256"]
    path.write_bytes(path.read_bytes() + b"x")
    found = hashlib.sha256(path.read_bytes()).hexdigest()
    sentence = (
        f"{path}: the SHA-256 is {found}, but rings.json records {expected}. "
        "Delete both files to fetch the data set again."
    )
    with pytest.raises(InputError, match=says(sentence)):
        load_dataset(NAME)


def test_an_unreadable_record_is_refused(serve, cache):
    serve()
    load_dataset(NAME)
    (cache / "rings.json").write_text("{")
    with pytest.raises(InputError, match=r"but rings\.json records no SHA-256\. Delete both files"):
        load_dataset(NAME)


def test_a_file_without_its_record_is_fetched_again(serve, cache):
    server = serve()
    load_dataset(NAME)
    (cache / "rings.json").unlink()
    server.requests.clear()
    check_rings(load_dataset(NAME))
    assert "/rings.arff" in server.requests


# $SELFSORT_DATA


@pytest.fixture
def data(cache, tmp_path, monkeypatch):
    monkeypatch.setenv("SELFSORT_DATA", str(tmp_path / "data"))
    folder = tmp_path / "data" / NAME
    folder.mkdir(parents=True)
    return folder


def test_idx_files_are_found_first(data):
    for name, content in canonical_files().items():
        (data / f"{name}.gz").write_bytes(gzip.compress(content))
    check_rings(load_dataset(NAME))


def test_idx_files_of_another_content_are_refused(data):
    for name, content in canonical_files().items():
        (data / name).write_bytes(content)
    path = data / "t10k-images-idx3-ubyte"
    content = path.read_bytes()
    changed = content[:-1] + bytes([content[-1] ^ 1])
    path.write_bytes(changed)
    expected = hashlib.md5(canonical_files()[path.name]).hexdigest()
    sentence = (
        f"{path}: the MD5 of the unpacked bytes is {hashlib.md5(changed).hexdigest()}, "
        f"not {expected}. Fetch the file again."
    )
    with pytest.raises(InputError, match=says(sentence)):
        load_dataset(NAME)


def test_an_npz_file_is_found(data):
    np.savez(
        data / "any-name.npz",
        x_train=PIXELS[:N_TRAIN].astype(np.uint8),
        y_train=LABELS[:N_TRAIN],
        x_test=PIXELS[N_TRAIN:].astype(np.uint8),
        y_test=LABELS[N_TRAIN:],
    )
    check_rings(load_dataset(NAME))


def test_folders_of_images_are_found(data):
    for row, (pixels, label) in enumerate(zip(PIXELS, LABELS, strict=True)):
        path = data / ("train" if row < N_TRAIN else "test") / str(label) / f"{row}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(pixels.astype(np.uint8)).save(path)
    dataset = load_dataset(NAME)
    rows = np.argsort(LABELS[:N_TRAIN], kind="stable")  # the order of the folders' names
    np.testing.assert_array_equal(dataset.train.images[:, 0], PIXELS[:N_TRAIN][rows])
    np.testing.assert_array_equal(dataset.train.labels, LABELS[:N_TRAIN][rows])
    assert dataset.test.labels.tolist() == [0, 0, 1]


def test_a_folder_without_a_test_part(data):
    np.savez(data / "x.npz", images=PIXELS.astype(np.uint8))
    dataset = load_dataset(NAME)
    assert dataset.test is None
    assert dataset.train.labels is None


def test_where_a_data_set_is_found(serve, cache, tmp_path, monkeypatch):
    def found() -> str | None:
        return next(info.found for info in known_datasets() if info.name == NAME)

    assert found() is None
    serve()
    load_dataset(NAME)
    assert found() == str(cache / "rings.npz")
    (tmp_path / "data" / NAME).mkdir(parents=True)
    monkeypatch.setenv("SELFSORT_DATA", str(tmp_path / "data"))
    assert found() == str(tmp_path / "data" / NAME)


# What is built in


def test_the_registry_agrees_with_itself():
    for source in SOURCES.values():
        assert sum(source.class_counts) == source.n_train + source.n_test
        if source.train_counts is not None:
            assert sum(source.train_counts) == source.n_train
            assert all(a < b for a, b in zip(source.train_counts, source.class_counts, strict=True))


def test_the_cache_lies_in_the_home_folder(monkeypatch):
    monkeypatch.delenv("SELFSORT_CACHE", raising=False)
    monkeypatch.setenv("HOME", "/home/ada")
    assert cache_folder() == Path("/home/ada/.cache/selfsort")


def test_digits_has_a_fixed_test_part():
    whole = load_digits()
    dataset = load_dataset("digits")
    train, test = dataset.train, dataset.test
    info = known_datasets()[0]
    assert (len(train), len(test)) == (info.n_train, info.n_test)
    assert train.images.shape[1:] == (1, *info.image_shape)
    threes = whole.images[whole.target == 3]
    np.testing.assert_array_equal(
        test.images[test.labels == 3][:, 0], np.rint(threes[4::5] * 255 / 16)
    )
    kept = np.delete(threes, np.s_[4::5], axis=0)
    np.testing.assert_array_equal(train.images[train.labels == 3][:, 0], np.rint(kept * 255 / 16))
    assert train.class_names == tuple("0123456789")
    assert (np.bincount(test.labels) == np.bincount(whole.target) // 5).all()
    assert load_dataset("digits", size=16).test.images.shape == (355, 1, 16, 16)


# Paths


@pytest.mark.parametrize(("file", "name"), [("x.npz", "x"), ("my.set.npy", "my.set")])
def test_a_path_is_named_after_its_stem(tmp_path, file, name):
    path = tmp_path / file
    images = PIXELS.astype(np.uint8)
    if path.suffix == ".npy":
        np.save(path, images)
    else:
        np.savez(path, images=images)
    dataset = load_dataset(path)
    assert dataset.name == name
    assert dataset.test is None
    np.testing.assert_array_equal(dataset.train.images[:, 0], images)


def test_a_folder_is_named_after_itself(tmp_path):
    (tmp_path / "my.photos").mkdir()
    Image.fromarray(PIXELS[0].astype(np.uint8)).save(tmp_path / "my.photos" / "a.png")
    dataset = load_dataset(f"{tmp_path}/my.photos/", size=10)
    assert dataset.name == "my.photos"
    assert dataset.train.images.shape == (1, 1, 10, 10)


def test_an_unknown_name():
    sentence = (
        "There is no data set named 'mnits'. Did you mean 'mnist'? Known data sets: digits, "
        "fashion-mnist, kmnist, mnist, usps. There is no file or folder 'mnits' either."
    )
    with pytest.raises(InputError, match=says(sentence)):
        load_dataset("mnits")


# MNIST itself


@pytest.fixture(scope="module")
def mnist(mnist_folder):
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("SELFSORT_DATA", str(mnist_folder.parent))
        return load_dataset("mnist")


def test_mnist_is_itself(mnist):
    assert mnist.train.images.shape == (60000, 1, 28, 28)
    assert mnist.test.images.shape == (10000, 1, 28, 28)
    assert mnist.train.labels[:10].tolist() == [5, 0, 4, 1, 9, 2, 1, 3, 1, 4]
    # The mean and deviation that everybody normalises MNIST with.
    pixels = mnist.train.images / np.float32(255)
    assert round(float(pixels.mean(dtype=np.float64)), 4) == 0.1307
    assert round(float(pixels.std(dtype=np.float64)), 4) == 0.3081


def test_the_facts_about_mnist_verify_it(mnist):
    values = np.concatenate([mnist.train.images, mnist.test.images]).reshape(70000, 784)
    target = np.concatenate([mnist.train.labels, mnist.test.labels]).astype(str).astype(object)
    images, labels = verify("mnist", values, target)
    np.testing.assert_array_equal(images[60000:], mnist.test.images)
    assert labels[-1] == mnist.test.labels[-1]
    values = values.copy()
    values[5, 300] ^= 1
    with pytest.raises(InputError, match=r"the MD5 of its train-images-idx3-ubyte is [0-9a-f]{32}"):
        verify("mnist", values, target)
