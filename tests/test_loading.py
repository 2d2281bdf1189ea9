"""`--stream` and `--sample`: runs that learn from more images than memory holds."""

from __future__ import annotations

import io
import json
import tarfile
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from running import WORDS, call, digits, write_folder, write_npz

from selfsort import load
from selfsort.runs import read_record, resumed
from selfsort.runs.loading import load_images
from selfsort.runs.request import Request
from selfsort.sources import open_source

pa = pytest.importorskip("pyarrow", reason="the extra data is not installed")
pq = pytest.importorskip("pyarrow.parquet")
N = 160
SIZE = ("--size", 16)
FEW_EPOCHS = ("--epochs", 3, "--threads", 1)


def png(image: np.ndarray) -> bytes:
    out = io.BytesIO()
    Image.fromarray(image).save(out, "PNG")
    return out.getvalue()


@pytest.fixture(scope="module")
def kinds(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """The same images, and labels where the kind has them, in several kinds of files."""
    folder = tmp_path_factory.mktemp("kinds")
    images, labels = digits(N)
    np.save(folder / "array.npy", images)
    lines = [f"{i},{WORDS[label]}\n" for i, label in enumerate(labels)]
    (folder / "labels.csv").write_text("index,class\n" + "".join(lines))
    contents = [png(image) for image in images]
    names = [WORDS[label] for label in labels]
    for kind, column in {
        "text": pa.array(names),
        "dictionary": pa.array(names).dictionary_encode(),
        "numbers": pa.array(labels, pa.uint8()),
    }.items():
        table = pa.table({"image": contents, "label": column})
        pq.write_table(table, folder / f"{kind}.parquet", row_group_size=33)
    table = pa.table({"image": images.reshape(N, -1).tolist(), "label": names})
    with (
        pa.OSFile(str(folder / "lists.arrow"), "wb") as file,
        pa.ipc.new_file(file, table.schema) as out,
    ):
        out.write_table(table, max_chunksize=33)
    (folder / "shards").mkdir()
    for k in range(2):
        with tarfile.open(folder / "shards" / f"{k}.tar", "w") as tar:
            for i in range(k * N // 2, (k + 1) * N // 2):
                for ending, content in (("png", contents[i]), ("cls", names[i].encode())):
                    info = tarfile.TarInfo(f"all/{i:03}.{ending}")
                    info.size = len(content)
                    tar.addfile(info, io.BytesIO(content))
    write_folder(folder / "classes", n=N, names=WORDS)
    return {path.stem: path for path in folder.iterdir()}


def figures(folder: Path) -> dict[str, object]:
    return json.loads((folder / "result.json").read_text())


@pytest.mark.parametrize("kind", ["text", "dictionary", "lists", "shards", "classes", "numbers"])
def test_labels_and_names_of_sources(kind: str, kinds: dict[str, Path]) -> None:
    source = open_source(kinds[kind], (1, 16, 16))
    _, labels = digits(N)
    wanted = labels if kind == "numbers" else np.array([WORDS[label] for label in labels])
    names = source.names()
    if kind == "classes":  # in the order of the folders
        assert names == sorted(names)
        order = [int(name.split("/")[1].removesuffix(".png")) for name in names]
        assert sorted(order) == list(range(N))
        wanted = wanted[order]
    elif kind == "shards":
        assert names == [f"{i * 2 // N}.tar/all/{i:03}.png" for i in range(N)]
    else:
        assert names is None
    assert (source.labels() == wanted).all()


@pytest.mark.slow
def test_every_kind_gives_the_same_bits(kinds: dict[str, Path], tmp_path: Path) -> None:
    weights = {}
    for kind, size, labels in (
        ("array", (), kinds["labels"]),
        ("text", SIZE, "all"),
        ("lists", SIZE, "all"),
        ("shards", SIZE, "all"),
    ):
        out = tmp_path / kind
        done = call("train", kinds[kind], "--stream", *size, "--labels", labels, *FEW_EPOCHS,
                    "--out", out)  # fmt: skip
        assert done.code == 0, done.err
        assert f"Read while it is learned from: {N} images." in done.err
        result = figures(out)
        assert (result["n_images"], result["n_labels"], result["n_classes"]) == (N, N, 10)
        assert result["train"]["n_images"] == N
        model = load(out)
        assert [str(name) for name in model.classes_] == sorted(WORDS)
        weights[kind] = [value.numpy() for value in model.model_.state_dict().values()]
    for kind in weights:
        for found, wanted in zip(weights[kind], weights["array"], strict=True):
            np.testing.assert_array_equal(found, wanted)


@pytest.mark.slow
def test_figures_and_pictures_are_of_some(
    kinds: dict[str, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("selfsort.runs.loading.SHOWN", 50)
    out = tmp_path / "run"
    done = call("train", kinds["array"], "--stream", "--labels", kinds["labels"], *FEW_EPOCHS,
                "--out", out)  # fmt: skip
    assert done.code == 0, done.err
    result = figures(out)
    assert (result["n_images"], result["n_labels"], result["train"]["n_images"]) == (N, N, 50)
    images, labels = digits(N)
    some = np.linspace(0, N - 1, 50).round().astype(int)
    predicted = load(out).predict(images[some])
    accuracy = np.mean(predicted == np.array([WORDS[label] for label in labels[some]]))
    assert result["train"]["accuracy"] == pytest.approx(accuracy)
    report = (out / "report.html").read_text()
    assert "of 50 of the training images" in report
    assert f"{N} images" in report
    record = read_record(out)
    assert record.stream
    assert resumed(out, record).stream
    assert load_images(record).train.images.shape == (50, 1, 16, 16)  # what the page shows


@pytest.mark.slow
def test_a_sample_is_learned_from(kinds: dict[str, Path], tmp_path: Path) -> None:
    out = tmp_path / "run"
    done = call("train", kinds["classes"], "--sample", 100, "--classes", 3, *FEW_EPOCHS,
                "--out", out)  # fmt: skip
    assert done.code == 0, done.err
    result = figures(out)
    assert (result["n_images"], result["n_labels"]) == (100, 0)
    assert result["train"]["accuracy"] is not None
    record = read_record(out)
    assert resumed(out, record).sample == 100
    first, again = load_images(record).train, load_images(record).train
    np.testing.assert_array_equal(first.images, again.images)
    assert len(set(first.names)) == 100
    pixels = {f"{i:03}.png": image for i, image in enumerate(digits(N)[0])}
    for image, name, label in zip(first.images, first.names, first.labels, strict=True):
        np.testing.assert_array_equal(image[0], pixels[name.split("/")[1]])
        assert first.class_names[label] == name.split("/")[0]


def request(data: Path | str, **options: object) -> Request:
    return Request(str(data), **options)


def test_samples_of_other_seeds_and_sizes(kinds: dict[str, Path]) -> None:
    names = [
        load_images(request(kinds["classes"], sample=n, seed=seed)).train.names
        for n, seed in ((100, 0), (100, 1), (10**6, 0))
    ]
    assert names[0] != names[1]
    assert len(names[2]) == N  # no more than there are
    named = load_images(request("digits", sample=100))
    assert len(named.train) == 100
    assert len(named.test) == 355


def test_size_and_colour_are_found_for_folders(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    for folder, shape in (("grey", (9, 12)), ("colour", (9, 12, 3))):
        (tmp_path / folder).mkdir()
        for i in range(4):
            pixels = rng.integers(0, 256, shape, dtype=np.uint8)
            Image.fromarray(pixels).save(tmp_path / folder / f"{i}.png")
    (tmp_path / "grey" / "broken.png").write_text("no picture")
    grey = load_images(request(tmp_path / "grey", sample=10)).train
    assert grey.images.shape == (4, 1, 9, 12)
    assert [one.name for one in grey.skipped] == ["broken.png"]
    colour = load_images(request(tmp_path / "colour", sample=10)).train
    assert colour.images.shape == (4, 3, 9, 12)


@pytest.mark.parametrize(
    ("data", "more", "said"),
    [
        ("array", (), "the recipe 'sort' needs all images at once"),
        ("array", ("--labels", "few.csv"), "all images are needed at once"),
        ("array", ("--labels", "all"), "has no labels"),
        ("shards", (), "say with --size"),
        ("whole", (), "is read as a whole"),
        ("none", (), "there is no such file or folder"),
        ("digits", (), "is read as a whole"),
        ("x" * 5000, (), "there is no such file or folder"),
        ("text", (*SIZE, "--recipe", "features-svm"), "needs all images at once"),
    ],
)
def test_what_cannot_be_streamed(
    data: str,
    more: tuple[object, ...],
    said: str,
    kinds: dict[str, Path],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.chdir(tmp_path)
    few = kinds["labels"].read_text().splitlines(keepends=True)[:40]
    Path("few.csv").write_text("".join(few))
    write_npz(Path("whole.npz"))
    path = {"whole": "whole.npz", "digits": "digits"}.get(data) or kinds.get(data, data)
    done = call("train", path, "--stream", *more, "--out", "out")
    assert done.code == 2
    assert said in done.err
    assert "Traceback" not in done.err
    assert not Path("out").exists()


@pytest.mark.parametrize("content", [b"x" * 2000, b"\xff\xfe", b"a\0b"])
def test_a_class_that_is_none(content: bytes, tmp_path: Path) -> None:
    with tarfile.open(tmp_path / "x.tar", "w") as tar:
        for name, part in (("a.png", png(digits(1)[0][0])), ("a.cls", content)):
            info = tarfile.TarInfo(name)
            info.size = len(part)
            tar.addfile(info, io.BytesIO(part))
    done = call("train", tmp_path / "x.tar", "--stream", *SIZE, "--labels", "all", "--out",
                tmp_path / "out")  # fmt: skip
    assert done.code == 2
    assert "a.cls: is no class" in done.err


def test_numbers_in_some_files_and_text_in_others(tmp_path: Path) -> None:
    contents = [png(image) for image in digits(4)[0]]
    for name, labels in (("a", [1, None, 2, 3]), ("b", ["x", None, "", "y"])):
        pq.write_table(pa.table({"image": contents, "label": labels}), tmp_path / f"{name}.parquet")
    for name, wanted in (("a", [1, -1, 2, 3]), ("b", ["x", "", "", "y"])):
        source = open_source(tmp_path / f"{name}.parquet", (1, 16, 16))
        assert source.labels().tolist() == wanted
    done = call("train", tmp_path, "--stream", *SIZE, "--labels", "all", "--out", tmp_path / "out")
    assert done.code == 2
    assert "numbers in some files and text in others" in done.err


def test_parts_are_not_read_as_a_whole(kinds: dict[str, Path], tmp_path: Path) -> None:
    for kind in ("text", "shards"):
        done = call("train", kinds[kind], "--out", tmp_path / "out")
        assert done.code == 2
        assert "give --sample N" in done.err


@pytest.mark.slow
def test_broken_pictures_are_told_of(tmp_path: Path) -> None:
    folder = write_folder(tmp_path / "photos", n=60, names=WORDS)
    for name in ("one/000.png", "zero/zz.png"):
        (tmp_path / "photos" / name).write_text("no picture")
    out = tmp_path / "out"
    arguments = ("train", folder, "--stream", "--labels", "all", *FEW_EPOCHS, "--out", out)
    done = call(*arguments)
    assert done.code == 0, done.err
    assert done.err.count("Left out 2 of 62 pictures") == 1
    assert {one["name"] for one in figures(out)["skipped"]} == {"one/000.png", "zero/zz.png"}
    done = call(*arguments, "--force", "--on-error", "stop")
    assert done.code == 2
    assert "one/000.png" in done.err
