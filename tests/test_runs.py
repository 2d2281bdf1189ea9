"""Runs: what a run folder holds, and that its figures are true."""

from __future__ import annotations

import csv
import io
import json
import re
import shutil
import signal
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from killing import content_of
from PIL import Image
from platforms import needs_signals
from rich.console import Console
from running import WORDS, call, program, tree, write_folder, write_npz
from scipy.optimize import linear_sum_assignment
from sklearn.datasets import load_digits
from sklearn.metrics import accuracy_score, adjusted_rand_score, normalized_mutual_info_score

import selfsort
from selfsort import grouping
from selfsort.datasets import Dataset
from selfsort.errors import InputError
from selfsort.images import ImageSet
from selfsort.recipes import MULTIPLIERS, RECIPES
from selfsort.runs import Request, callbacks, evaluating, illustrating, suggesting, training
from selfsort.runs.data import choose_labels

ALWAYS = {
    "run.json",
    "config.json",
    "model.safetensors",
    "history.jsonl",
    "result.json",
    "report.html",
    "reconstructions.png",
    "epochs.png",
    "curves.png",
}
WITH_CLASSES = ALWAYS | {"prototypes.png", "samples.png", "outliers.png", "map.png"}
SCORED = {"confusion.png", "coverage.png"}
KEYS = {
    "recipe",
    "seed",
    "n_classes",
    "n_labels",
    "epochs",
    "train_seconds",
    "images_per_second",
    "versions",
    "train",
    "test",
}
FIGURES = {
    *("n_images", "accuracy", "nmi", "ari", "ece", "classes_in_use", "reconstruction_mse"),
}


def train(data: Path, out: Path, *options: object) -> Path:
    outcome = call("train", data, "--out", out, "--threads", 1, *options)
    assert outcome.code == 0, outcome.err
    assert outcome.out == f"Report: {out / 'report.html'}\n"
    return out


def result_of(run: Path) -> dict:
    return json.loads((run / "result.json").read_text(encoding="utf-8"))


def history_of(run: Path) -> list[dict]:
    return [json.loads(line) for line in (run / "history.jsonl").read_text().splitlines()]


def names_in(run: Path) -> set[str]:
    return {path.name for path in run.iterdir()}


def sheets(run: Path) -> set[str]:
    """Return the pictures that only a run without labels has."""
    return {"choice.png"} | {f"class-{k}.png" for k in range(result_of(run)["n_classes"])}


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    return tmp_path_factory.mktemp("runs")


@pytest.fixture(scope="module")
def data(folder) -> Path:
    return write_npz(folder / "small.npz")


@pytest.fixture(scope="module")
def taught(folder, data) -> Path:
    options = ("--recipe", "teach", "--labels", "all", "--epochs", 5, "--seed", 3)
    return train(data, folder / "taught", *options)


@pytest.fixture(scope="module")
def sorted_run(folder, data) -> Path:
    return train(data, folder / "sorted", "--epochs", 6)


@pytest.fixture(scope="module")
def photos(folder) -> Path:
    return write_folder(folder / "photos")


@pytest.fixture(scope="module")
def sorted_photos(folder, photos) -> Path:
    return train(photos, folder / "sorted-photos", "--classes", 3, "--epochs", 3)


def independent_figures(run: Path, X: np.ndarray, y: np.ndarray) -> dict:
    """Return the figures of a result from the estimator's public methods and scikit-learn."""
    estimator = selfsort.load(run)
    predicted = estimator.predict(X)
    named = predicted
    if not hasattr(estimator, "classes_"):
        counts = np.zeros((10, len(estimator.prototypes_)), int)
        np.add.at(counts, (y, predicted), 1)
        rows, columns = linear_sum_assignment(-counts)
        label_of = dict(zip(columns, rows, strict=True))
        named = np.array([label_of[k] for k in predicted])
    probability = estimator.predict_proba(X)
    rebuilt = np.clip(estimator.reconstruct(X) / 255, 0, 1)
    return {
        "n_images": len(X),
        "accuracy": accuracy_score(y, named),
        "nmi": normalized_mutual_info_score(y, predicted),
        "ari": adjusted_rand_score(y, predicted),
        "ece": calibration_error(probability.max(1), named == y),
        "classes_in_use": len(set(predicted.tolist())),
        "reconstruction_mse": float(((rebuilt - X / 255) ** 2).mean()),
    }


def calibration_error(confidence: np.ndarray, correct: np.ndarray) -> float:
    """Return the expected calibration error, bin by bin."""
    error = 0.0
    for i in range(15):
        here = (confidence > i / 15) & (confidence <= (i + 1) / 15)
        if here.any():
            error += here.mean() * abs(correct[here].mean() - confidence[here].mean())
    return error


# ---- what is in the folder ----------------------------------------------------------------


def test_files_of_a_run_with_labels(taught):
    assert names_in(taught) == WITH_CLASSES | SCORED


def test_files_of_a_run_without_labels(sorted_run):
    assert names_in(sorted_run) == WITH_CLASSES | SCORED | sheets(sorted_run)


def test_images_without_any_label_give_no_accuracy_and_no_confusion(sorted_photos):
    assert names_in(sorted_photos) == WITH_CLASSES | sheets(sorted_photos)
    result = result_of(sorted_photos)
    assert (result["n_classes"], result["n_labels"], result["test"]) == (3, 0, None)
    assert [result["train"][name] for name in ("accuracy", "nmi", "ari", "ece")] == [None] * 4
    assert result["train"]["n_images"] == 60
    assert 1 <= result["train"]["classes_in_use"] <= 3


def test_a_recipe_without_classes(folder, data):
    run = train(data, folder / "plain", "--recipe", "plain", "--epochs", 2)
    assert names_in(run) == ALWAYS
    result = result_of(run)
    assert (result["n_classes"], result["n_labels"], result["epochs"]) == (None, 0, 2)
    for part in ("train", "test"):
        assert set(result[part]) == FIGURES
        assert result[part]["accuracy"] is None
        assert 0 < result[part]["reconstruction_mse"] < 1


def test_the_tradeoff_recipe(folder):
    data = write_npz(folder / "mnist-like.npz", n=40, n_test=20, side=28)
    run = train(data, folder / "tradeoff", "--recipe", "tradeoff", "--epochs", 1)
    assert names_in(run) == WITH_CLASSES | SCORED | {"tradeoff.png"}
    result = result_of(run)
    points = result["extra"]["points"]
    assert [point["multiplier"] for point in points] == list(MULTIPLIERS)
    at_half = points[MULTIPLIERS.index(0.5)]
    for name in ("accuracy", "reconstruction_mse"):
        assert at_half[name] == result["test"][name]
    stages = [f"multiplier {multiplier}" for multiplier in MULTIPLIERS]
    assert [row["stage"] for row in history_of(run)] == stages
    assert list(result["stage_seconds"]) == stages
    assert result["train_seconds"] == pytest.approx(sum(result["stage_seconds"].values()), abs=0.1)
    assert "Each multiplier" in (run / "report.html").read_text(encoding="utf-8")


def test_features_and_a_support_vector_machine(folder, data):
    run = train(data, folder / "svm", "--recipe", "features-svm", "--epochs", 3)
    result = result_of(run)
    assert names_in(run) == ALWAYS
    assert result["n_labels"] == result["extra"]["svm_images"] == 160
    with np.load(data) as arrays:
        X, y, test_X, test_y = (arrays[k] for k in ("x_train", "y_train", "x_test", "y_test"))
    from sklearn.svm import SVC

    pixels = SVC(C=10.0).fit(X.reshape(len(X), -1) / 255, y)
    expected = pixels.score(test_X.reshape(len(test_X), -1) / 255, test_y)
    assert result["extra"]["svm_pixels_test_accuracy"] == pytest.approx(expected)
    assert 0 <= result["extra"]["svm_features_test_accuracy"] <= 1


@pytest.mark.parametrize("kind", ["taught", "sorted_run", "sorted_photos"])
def test_every_picture_is_a_png_and_in_the_report(request, kind):
    run = request.getfixturevalue(kind)
    paths = list(run.glob("*.png"))
    for path in paths:
        with Image.open(path, formats=["PNG"]) as image:
            image.load()
    page = (run / "report.html").read_text(encoding="utf-8")
    assert page.count("data:image/png;base64,") == len(paths)


def test_epochs_shows_a_row_for_each_epoch_that_rebuilds(taught, sorted_run):
    def n_rows(run: Path) -> int:
        with Image.open(run / "epochs.png") as image:
            return round(image.height / 68)  # a picture of 64 pixels, a gap of 4

    for run in (taught, sorted_run):
        assert n_rows(run) == 1 + sum("mse" in row for row in history_of(run)) > 1


# ---- result.json and history.jsonl --------------------------------------------------------


@pytest.mark.parametrize("kind", ["taught", "sorted_run"])
def test_the_figures_are_those_of_an_independent_computation(request, kind, data):
    run = request.getfixturevalue(kind)
    result = result_of(run)
    with np.load(data) as arrays:
        for part in ("train", "test"):
            expected = independent_figures(run, arrays[f"x_{part}"], arrays[f"y_{part}"])
            assert result[part] == pytest.approx(expected, rel=1e-4), part


def test_keys_of_the_result(taught):
    result = result_of(taught)
    assert set(result) >= KEYS
    assert set(result["train"]) == set(result["test"]) == FIGURES
    assert set(result["versions"]) == {"selfsort", "python", "torch", "numpy", "scikit-learn"}
    assert result["versions"]["selfsort"] == selfsort.__version__
    told = ("recipe", "data", "seed", "n_classes", "n_labels", "epochs", "interrupted", "matched")
    assert [result[name] for name in told] == ["teach", "small", 3, 10, 160, 5, False, False]
    assert result["threads"] == 1
    assert result["command"].startswith("selfsort train ")
    assert result["command"].endswith("--recipe teach --labels all --epochs 5 --seed 3")
    assert list(result["stage_seconds"]) == ["classes", "decoder"]
    assert 0 < sum(result["stage_seconds"].values()) <= result["train_seconds"]


def test_a_run_without_labels_is_matched(sorted_run):
    result = result_of(sorted_run)
    told = ("recipe", "n_classes", "n_labels", "matched")
    assert [result[name] for name in told] == ["sort", 10, 0, True]
    assert list(result["stage_seconds"]) == [
        "neighbours",
        "fine clusters",
        "grouping",
        "first self-training",
        "second neighbours",
        "second self-training",
        "decoder",
    ]


def test_history_has_a_line_an_epoch(taught, sorted_run):
    rows = history_of(taught)
    stages = [(row["stage"], row["epoch"], row["n_epochs"]) for row in rows]
    first, second = [("classes", i, 3) for i in (1, 2, 3)], [("decoder", i, 2) for i in (1, 2)]
    assert stages == first + second
    for row in rows:
        learned = row["classification"] if row["stage"] == "classes" else row["mse"]
        assert row["loss"] == pytest.approx(learned)
        assert 0 <= row["test_accuracy"] <= 1
        assert row["images_per_second"] > 0
    assert rows[-1]["test_accuracy"] == result_of(taught)["test"]["accuracy"]
    seconds = [row["seconds"] for row in rows]
    assert seconds == sorted(seconds)
    assert not any("test_accuracy" in row for row in history_of(sorted_run))


def test_the_same_seed_gives_the_same_bits(folder, data, taught):
    torch.rand(7)  # the state of other generators must not matter
    options = ("--recipe", "teach", "--labels", "all", "--epochs", 5, "--seed", 3)
    again = train(data, folder / "again", *options)
    assert (again / "model.safetensors").read_bytes() == (taught / "model.safetensors").read_bytes()
    first, second = result_of(taught), result_of(again)
    assert (first["train"], first["test"]) == (second["train"], second["test"])


def test_another_seed_gives_another_model(folder, photos):
    runs = [
        train(photos, folder / f"seed-{seed}", "--recipe", "plain", "--epochs", 1, "--seed", seed)
        for seed in (0, 1)
    ]
    first, second = ((run / "model.safetensors").read_bytes() for run in runs)
    assert first != second


# ---- labels -------------------------------------------------------------------------------


def labelled(labels: list[int], n_classes: int = 3) -> Dataset:
    images = np.zeros((len(labels), 1, 8, 8), np.uint8)
    names = tuple("abcdefghij"[:n_classes])
    return Dataset("letters", ImageSet(images, np.array(labels), names), None)


TEACH, SORT = RECIPES["teach"], RECIPES["sort"]


def test_drawn_labels_are_spread_evenly_and_reproducible():
    data = labelled([0] * 50 + [1] * 30 + [2] * 4 + [-1] * 5)
    drawn = choose_labels("12", TEACH, data, seed=1)
    index = drawn.index
    assert drawn.n_labels == 12
    assert Counter(index[index >= 0].tolist()) == {0: 4, 1: 4, 2: 4}
    assert (index[index >= 0] == data.train.labels[index >= 0]).all()
    np.testing.assert_array_equal(index, choose_labels("12", TEACH, data, seed=1).index)
    assert (index != choose_labels("12", TEACH, data, seed=2).index).any()


def test_what_a_small_class_lacks_is_drawn_from_the_others():
    data = labelled([0] * 50 + [1] * 30 + [2] * 4)
    index = choose_labels("20", TEACH, data, seed=0).index
    assert Counter(index[index >= 0].tolist()) == {0: 8, 1: 8, 2: 4}
    counts = Counter(choose_labels("5", TEACH, data, seed=0).index.tolist())
    assert sorted(counts[k] for k in range(3)) == [1, 2, 2]


def test_all_labels_and_none():
    data = labelled([0, 1, 2, -1])
    np.testing.assert_array_equal(choose_labels("all", TEACH, data, 0).index, [0, 1, 2, -1])
    assert choose_labels("none", SORT, data, 0).index is None


@pytest.mark.parametrize(
    ("option", "recipe", "labels", "sentence"),
    [
        ("2", TEACH, [0, 1, 2, 2],
         "--labels must be from 3 (one a class) to 4 (all) for letters. Got 2 instead."),
        ("5", TEACH, [0, 1, 2, -1],
         "--labels must be from 3 (one a class) to 3 (all) for letters. Got 5 instead."),
        ("some", TEACH, [0, 1, 2],
         "--labels must be 'none', 'all', a number or a CSV file. Got 'some' instead."),
        ("none", TEACH, [0, 1, 2],
         "The recipe 'teach' learns from labels: give --labels all, a number, or a CSV file; or "
         "use --recipe sort."),
        ("all", SORT, [0, 1, 2],
         "The recipe 'sort' learns without labels: give --labels none, or use --recipe teach."),
        ("all", TEACH, [1, 1, -1],
         "letters: has labels of 1 class, but there must be at least 2 classes to learn: label "
         "more images, or give --labels none."),
        ("5", TEACH, [-1, -1, -1],
         "letters: has labels of no classes, but there must be at least 2 classes to learn: label "
         "more images, or give --labels none."),
    ],
)  # fmt: skip
def test_labels_that_cannot_be(option, recipe, labels, sentence):
    with pytest.raises(InputError, match=f"^{re.escape(sentence)}$"):
        choose_labels(option, recipe, labelled(labels), 0)


def test_names_become_numbers_where_all_are_whole_numbers():
    def y_of(names: tuple[str, ...]) -> tuple[list, object]:
        train = ImageSet(np.zeros((3, 1, 8, 8), np.uint8), np.array([1, 0, -1]), names)
        y, marker = choose_labels("all", TEACH, Dataset("d", train, None), 0).y()
        return y.tolist(), marker

    assert y_of(("3", "12")) == ([12, 3, -1], -1)
    assert y_of(("03", "12")) == (["12", "03", ""], "")
    assert y_of(("cat", "dog")) == (["dog", "cat", ""], "")


def test_few_labels(folder, data):
    run = train(data, folder / "few", "--labels", 20, "--epochs", 3)
    result = result_of(run)
    assert (result["recipe"], result["n_labels"], result["n_classes"]) == ("teach", 20, 10)
    assert names_in(run) == WITH_CLASSES | SCORED
    # fine clusters are no classes: their epochs have no accuracy
    measured = {row["stage"] for row in history_of(run) if "test_accuracy" in row}
    rounds = {f"{which} self-training" for which in ("first", "second", "third")}
    assert measured == {*rounds, "decoder"}


def test_labels_of_a_csv_file_for_images_that_have_none(folder, photos):
    labels = folder / "labels.csv"
    rows = [f"{i:03}.png,{'odd' if i % 2 else 'even'}" for i in range(20)]
    labels.write_text("\n".join(["file,class", *rows]))
    options = ("--labels", labels, "--epochs", 2)
    run = train(photos, folder / "from-csv", *options)
    result = result_of(run)
    assert (result["recipe"], result["n_labels"], result["n_classes"]) == ("teach", 20, 2)
    estimator = selfsort.load(run)
    assert estimator.classes_.tolist() == ["even", "odd"]
    images = selfsort.read_images(photos).images[:20, 0]
    expected = np.array(["even", "odd"] * 10)
    assert result["train"]["accuracy"] == np.mean(estimator.predict(images) == expected)
    assert names_in(run) >= SCORED


# ---- predict ------------------------------------------------------------------------------


def rows_of(path: Path) -> list[list[str]]:
    with path.open(encoding="utf-8", newline="") as file:
        return list(csv.reader(file))


def test_predict_of_arrays_has_an_index(tmp_path, taught, data):
    out = tmp_path / "classes.csv"
    outcome = call("predict", taught, data, "--out", out)
    assert outcome == (0, f"{out}: 160 images\n", "")
    rows = rows_of(out)
    assert rows[0] == ["index", "class", "probability", "outlier"]
    assert [row[0] for row in rows[1:]] == [str(i) for i in range(160)]
    estimator = selfsort.load(taught)
    with np.load(data) as arrays:
        X = arrays["x_train"]
    predicted, probability = estimator.predict(X), estimator.predict_proba(X)
    assert estimator.classes_.dtype.kind == "i"
    assert [int(row[1]) for row in rows[1:]] == predicted.tolist()
    expected = probability[np.arange(160), predicted]
    np.testing.assert_allclose([float(row[2]) for row in rows[1:]], expected, atol=6e-7)
    assert [row[3] for row in rows[1:]] == [f"{x:.6f}" for x in estimator.outlier_score(X)]


def test_predict_leaves_out_the_class_of_images_in_doubt(tmp_path, taught, data):
    out = tmp_path / "classes.csv"
    with np.load(data) as arrays:
        X = arrays["x_train"]
    kept = selfsort.load(taught).predict(X, abstain=0.5)
    n_doubtful = int((kept == -1).sum())
    assert 0 < n_doubtful < 160
    outcome = call("predict", taught, data, "--out", out, "--abstain", 0.5)
    assert outcome == (0, f"{out}: 160 images, {n_doubtful} of them in doubt\n", "")
    rows = rows_of(out)[1:]
    assert [row[1] for row in rows] == ["" if k == -1 else str(k) for k in kept]
    assert all((float(row[2]) < 0.5) == (row[1] == "") for row in rows)


def test_predict_of_a_folder_has_file_names_and_class_names(folder, tmp_path):
    named = write_folder(folder / "named", names=WORDS)
    run = train(named, folder / "words", "--labels", "all", "--epochs", 2)
    out = tmp_path / "classes.csv"
    assert call("predict", run, named, "--out", out).code == 0
    rows = rows_of(out)
    assert rows[0] == ["file", "class", "probability", "outlier"]
    images = selfsort.read_images(named)
    assert [row[0] for row in rows[1:]] == list(images.names)
    assert all((named / row[0]).is_file() for row in rows[1:])
    predicted = selfsort.load(run).predict(images.images[:, 0])
    assert [row[1] for row in rows[1:]] == predicted.tolist()
    assert {row[1] for row in rows[1:]} <= set(WORDS)


def test_predict_of_one_picture(tmp_path, taught, data):
    with np.load(data) as arrays:
        pixels = arrays["x_train"][0]
    picture, out = tmp_path / "one.png", tmp_path / "class.csv"
    Image.fromarray(pixels).save(picture)
    assert call("predict", taught, picture, "--out", out) == (0, f"{out}: 1 image\n", "")
    [row] = rows_of(out)[1:]
    assert row[:2] == ["one.png", str(selfsort.load(taught).predict(pixels[None])[0])]


def test_predict_says_what_the_estimator_says_whatever_the_bottleneck(folder, tmp_path):
    data = write_npz(folder / "28.npz", n=64, n_test=0, side=28)
    run = train(data, folder / "question", "--recipe", "question", "--epochs", 1)
    out = tmp_path / "classes.csv"
    assert call("predict", run, data, "--out", out).code == 0
    with np.load(data) as arrays:
        expected = selfsort.load(run).predict(arrays["x_train"])
    assert [int(row[1]) for row in rows_of(out)[1:]] == expected.tolist()


def test_predict_brings_a_named_set_to_the_size_of_the_run(tmp_path, taught):
    out = tmp_path / "classes.csv"
    assert call("predict", taught, "digits", "--out", out).code == 0
    assert len(rows_of(out)) == 1 + 355  # the test images


def test_predict_replaces_a_file_only_when_told(tmp_path, taught, data):
    out = tmp_path / "classes.csv"
    out.write_text("mine")
    outcome = call("predict", taught, data, "--out", out)
    sentence = f"selfsort: {out}: exists already. Give another --out, or --force to replace it.\n"
    assert outcome == (2, "", sentence)
    assert tree(tmp_path) == {"classes.csv": b"mine"}
    assert call("predict", taught, data, "--out", out, "--force").code == 0
    assert rows_of(out)[0] == ["index", "class", "probability", "outlier"]


# ---- suggest ------------------------------------------------------------------------------


def fill_in(path: Path, class_of: Callable[[str], str]) -> None:
    header, *rows = rows_of(path)
    filled = [[key, name or class_of(key)] for key, name in rows]
    path.write_text("".join(f"{','.join(row)}\n" for row in [header, *filled]))


def test_suggest_train_and_suggest_again(tmp_path, photos, sorted_photos):
    todo, more = tmp_path / "todo.csv", tmp_path / "more.csv"
    outcome = call("suggest", sorted_photos, photos, "--n", 12, "--out", todo)
    assert outcome == (
        0,
        f"{todo}: 12 images to look at in {tmp_path / 'todo.png'}\n"
        f"Fill in the column class, then: selfsort train {photos} --labels {todo}\n",
        "",
    )
    images = selfsort.read_images(photos)
    chosen = selfsort.load(sorted_photos).suggest(images.images[:, 0], 12)
    assert rows_of(todo) == [["file", "class"], *([images.names[i], ""] for i in chosen)]
    with Image.open(tmp_path / "todo.png", formats=["PNG"]) as image:
        image.load()

    labels = load_digits().target

    def word(key: str) -> str:
        return WORDS[labels[int(key.removesuffix(".png"))]]

    fill_in(todo, word)
    run = train(photos, tmp_path / "run", "--labels", todo, "--epochs", 2)
    assert result_of(run)["n_labels"] == 12
    assert call("suggest", run, photos, "--labels", todo, "--n", 5, "--out", more).code == 0
    rows, known = rows_of(more)[1:], rows_of(todo)[1:]
    assert [name for _, name in rows[:5]] == [""] * 5
    assert sorted(rows[5:]) == sorted(known)
    assert len({key for key, _ in rows}) == 17
    fill_in(more, word)
    run = train(photos, tmp_path / "again", "--labels", more, "--epochs", 1)
    assert result_of(run)["n_labels"] == 17


def test_a_file_that_nobody_filled_in_teaches_nothing(tmp_path, taught, photos):
    todo = tmp_path / "todo.csv"
    assert call("suggest", taught, photos, "--out", todo).code == 0
    outcome = call("train", photos, "--labels", todo, "--out", tmp_path / "run")
    sentence = (
        f"selfsort: {todo}: has labels of no classes, but there must be at least 2 classes to "
        "learn: label more images, or give --labels none.\n"
    )
    assert outcome == (2, "", sentence)


def test_suggest_of_a_named_set_takes_the_images_to_train_with(tmp_path, taught):
    out = tmp_path / "todo.csv"
    assert call("suggest", taught, "digits", "--out", out, "--n", 300).code == 0
    header, *rows = rows_of(out)
    assert header == ["index", "class"]
    assert len(rows) == 300
    assert 355 < max(int(index) for index, _ in rows) < 1442  # there are 355 to test with


def test_suggest_replaces_files_only_when_told(tmp_path, taught, data):
    out = tmp_path / "todo.csv"
    out.write_text("mine")
    (tmp_path / "todo.png").write_bytes(b"mine")
    options = ("suggest", taught, data, "--out", out)
    assert call(*options).code == 2
    assert tree(tmp_path) == {"todo.csv": b"mine", "todo.png": b"mine"}
    assert call(*options, "--force").code == 0
    assert len(rows_of(out)) == 11
    assert (tmp_path / "todo.png").read_bytes()[1:4] == b"PNG"


def test_the_guesses_stand_in_the_picture(monkeypatch, tmp_path, taught, data):
    drawn = []
    monkeypatch.setattr(suggesting.pictures, "save_named_sheet", lambda *all: drawn.append(all))
    assert call("suggest", taught, data, "--out", tmp_path / "todo.csv", "--n", 3).code == 0
    [(path, images, names, guesses, title)] = drawn
    with np.load(data) as arrays:
        X = arrays["x_train"]
    estimator = selfsort.load(taught)
    chosen = estimator.suggest(X, 3)
    assert (path, names) == (tmp_path / "todo.png", [str(i) for i in chosen])
    np.testing.assert_array_equal(images[:, 0], X[chosen])
    probability = estimator.predict_proba(X[chosen])
    assert guesses == [f"{100 * row.max():.0f} % {row.argmax()}" for row in probability]
    assert title == "3 images whose label would help most, the best first"


def test_report_is_written_again(tmp_path, taught):
    run = tmp_path / "run"
    shutil.copytree(taught, run)
    (run / "report.html").unlink()
    assert call("report", run) == (0, f"Report: {run / 'report.html'}\n", "")
    assert (run / "report.html").read_bytes() == (taught / "report.html").read_bytes()


# ---- doubt, unusual images, the number of classes -----------------------------------------


def scored_by_hand(**changes) -> evaluating.Scored:
    images = ImageSet(np.zeros((6, 1, 8, 8), np.uint8), np.array([0, 1, 1, -1, 0, 2]), ("a", "b"))
    facts = {
        "answers": np.array([0, 1, 0, 1, 0, -1]),
        "confidence": np.array([0.999, 0.9, 0.6, 0.95, 0.99, 0.5], np.float32),
    }
    return evaluating.Scored(images, {}, np.zeros(6), **{**facts, **changes})


def test_coverage_counts_images_with_a_label(monkeypatch, tmp_path):
    drawn = []
    monkeypatch.setattr(illustrating.pictures, "save_coverage", lambda *all: drawn.append(all))
    illustrating._save_coverage(tmp_path, scored_by_hand(), "title")
    [(_, coverage, accuracy, marks, _)] = drawn
    # by falling confidence: right, right, right, wrong, wrong
    np.testing.assert_allclose(coverage, [0.2, 0.4, 0.6, 0.8, 1.0])
    np.testing.assert_allclose(accuracy, [1, 1, 1, 0.75, 0.6])
    assert marks == [(0.9, 0.6, 1.0), (0.99, 0.4, 1.0)]


def test_where_all_are_in_doubt_there_is_no_mark(monkeypatch, tmp_path):
    drawn = []
    monkeypatch.setattr(illustrating.pictures, "save_coverage", lambda *all: drawn.append(all))
    unsure = np.full(6, 0.4, np.float32)
    illustrating._save_coverage(tmp_path, scored_by_hand(confidence=unsure), "title")
    assert drawn[0][3] == []


def test_the_calibration_error_by_hand():
    # class 0 stands for label 1, class 2 for label 0; class 1 for none, and none for label 2
    probability = np.array([[0.8, 0.2, 0], [0.2, 0, 0.8], [0, 1, 0], [0.8, 0.2, 0], [0.8, 0, 0.2]])
    labels = np.array([1, 0, 0, 2, -1])
    error = evaluating._calibration_error(probability, np.array([1, -1, 0]), labels)
    # right, right and wrong at 0.8; wrong at 1; one without a label
    assert error == pytest.approx(3 / 4 * abs(2 / 3 - 0.8) + 1 / 4 * 1)


def test_noise_among_digits_is_the_most_unusual(monkeypatch, tmp_path, taught, data):
    drawn = []
    monkeypatch.setattr(illustrating.pictures, "save_named_sheet", lambda *all: drawn.append(all))
    with np.load(data) as arrays:
        pixels = arrays["x_train"][:, None].copy()
    noisy = [17, 90, 133]
    pixels[noisy] = np.random.default_rng(0).integers(0, 256, (3, 1, 16, 16), np.uint8)
    estimator = selfsort.load(taught)
    train_set = evaluating.scored(estimator, ImageSet(pixels))
    illustrating._save_outliers(tmp_path / "o.png", estimator, train_set)
    [(path, images, names, notes, title)] = drawn
    assert path == tmp_path / "o.png"
    assert {int(name) for name in names[:3]} == set(noisy)
    np.testing.assert_array_equal(images, pixels[[int(name) for name in names]])
    predicted = estimator.predict(images[:, 0])
    assert notes == [str(label) for label in predicted]
    assert title == "The 40 most unusual of 160 training images, the most unusual first"
    unusual = estimator.outlier_score(images[:, 0])
    assert unusual.tolist() == sorted(unusual, reverse=True)


def test_the_information_of_each_number_of_classes_is_kept_and_shown(sorted_run):
    curve = result_of(sorted_run)["information_curve"]
    assert 10 <= len(curve) <= 30
    assert 2 <= result_of(sorted_run)["natural_n_classes"] <= 30
    assert curve[0] == 0
    assert curve == sorted(curve)  # more groups never keep less
    assert "How many classes there are" in (sorted_run / "report.html").read_text(encoding="utf-8")


def test_an_estimator_that_measured_no_information_has_no_curve(taught):
    assert illustrating.information_curve(selfsort.load(taught)) is None
    assert result_of(taught)["information_curve"] is None


def test_auto_leaves_the_number_of_classes_to_the_estimator(tmp_path, data):
    said = io.StringIO()
    request = Request(str(data), n_classes="auto", out=tmp_path / "run", epochs=6, threads=1)
    run = training.train(request, Console(file=said, width=200))
    result = result_of(run)
    estimator = selfsort.load(run)
    assert estimator.n_classes is None
    assert estimator.n_classes_ == result["n_classes"] == len(estimator.prototypes_)
    lines = said.getvalue().splitlines()
    assert f"Found {result['n_classes']} classes." in lines
    times = ", ".join(f"{name} {seconds:.1f}" for name, seconds in result["stage_seconds"].items())
    assert f"Seconds: {times}" in lines
    assert times.startswith("neighbours ")


# ---- a folder that is there already -------------------------------------------------------


def test_a_run_is_replaced_only_when_told(tmp_path, taught, data):
    run = tmp_path / "run"
    shutil.copytree(taught, run)
    (run / "class-7.png").write_bytes(b"of an earlier run without labels")
    before = tree(tmp_path)
    options = ("train", data, "--recipe", "plain", "--epochs", 1, "--out", run)
    outcome = call(*options)
    sentence = (
        f"selfsort: {run}: already holds a run. Nothing was written: give another --out, or "
        "--force to replace it.\n"
    )
    assert outcome == (2, "", sentence)
    assert tree(tmp_path) == before
    assert call(*options, "--force").code == 0
    assert names_in(run) == ALWAYS  # nothing of the earlier run stays


def test_force_removes_no_file_that_no_run_wrote(tmp_path, taught, data):
    run = tmp_path / "run"
    shutil.copytree(taught, run)
    (run / "notes.txt").write_text("mine")
    before = tree(tmp_path)
    outcome = call("train", data, "--out", run, "--force")
    sentence = (
        f"selfsort: {run}: holds files that no run wrote, such as 'notes.txt'. Nothing was "
        "written: give another --out.\n"
    )
    assert outcome == (2, "", sentence)
    assert tree(tmp_path) == before


def test_a_run_that_cannot_begin_leaves_the_earlier_one(tmp_path, taught, photos):
    run = tmp_path / "run"
    shutil.copytree(taught, run)
    before = tree(tmp_path)
    outcome = call("train", photos, "--classes", 61, "--out", run, "--force")
    sentence = (
        f"selfsort: {photos}: holds 60 images, but 61 classes are to be learned: give more images, "
        "or a smaller --classes.\n"
    )
    assert outcome == (2, "", sentence)
    assert tree(tmp_path) == before


def test_the_default_folder_is_numbered(tmp_path, monkeypatch, photos):
    monkeypatch.chdir(tmp_path)
    for name in ("photos-plain", "photos-plain-2"):
        outcome = call("train", photos, "--recipe", "plain", "--epochs", 1)
        assert outcome.out == f"Report: {Path('runs', name, 'report.html')}\n"
    assert {path.name for path in (tmp_path / "runs").iterdir()} == {
        "photos-plain", "photos-plain-2"
    }  # fmt: skip


# ---- what happens while it trains ---------------------------------------------------------


def send(monkeypatch, module: object, name: str, action: object) -> None:
    """Do something before the first call of a function."""
    original, todo = getattr(module, name), [action]

    def first_act(*args, **kwargs):
        if todo:
            todo.pop()()
        return original(*args, **kwargs)

    monkeypatch.setattr(module, name, first_act)


def press_ctrl_c(times: int = 1) -> None:
    for _ in range(times):
        signal.raise_signal(signal.SIGINT)


INTERRUPTED = "Interrupted: ending with what was learned so far (Ctrl-C again: at once)."


def to_go_on(run: Path, *, finish: bool = False) -> str:
    more = " (with --finish: to a report of what was learned so far)" if finish else ""
    return f"To go on: selfsort train --resume {run}{more}"


@needs_signals
def test_ctrl_c_ends_a_real_program_with_what_was_learned(tmp_path, data):
    run = tmp_path / "run"
    options = ("--recipe", "teach", "--labels", "all", "--epochs", 10_000, "--threads", 1)
    process = program("train", data, "--out", run, *options)
    try:
        lines = []
        for line in process.stderr:
            lines.append(line.strip())
            if line.startswith("classes 3/"):
                process.send_signal(signal.SIGINT)
                break
        out, err = process.communicate(timeout=60)
    finally:
        process.kill()
    lines += err.splitlines()
    assert process.returncode == 130
    assert INTERRUPTED in lines
    assert all(
        re.match(r"classes \d+/5714: classif|Interrupted: |ClassColl|Seconds: |To go on: ", line)
        for line in lines
    )
    assert lines[-1] == to_go_on(run)
    assert out == f"Report: {run / 'report.html'}\n"
    # No epoch rebuilt images.
    assert names_in(run) == WITH_CLASSES - {"epochs.png"} | SCORED | {"checkpoints"}
    result = result_of(run)
    assert result["interrupted"] is True
    assert 3 <= result["epochs"] == len(history_of(run)) < 10_000
    assert "The training was stopped early" in (run / "report.html").read_text(encoding="utf-8")
    assert call("predict", run, data, "--out", tmp_path / "classes.csv").code == 0
    with np.load(data) as arrays:
        expected = independent_figures(run, arrays["x_test"], arrays["y_test"])
    assert result["test"] == pytest.approx(expected, rel=1e-4)


@pytest.mark.parametrize("stage", ["pixel_features", "joint_distribution"])
def test_ctrl_c_in_a_stage_that_does_not_train_ends_at_once(monkeypatch, tmp_path, data, stage):
    send(monkeypatch, grouping, stage, press_ctrl_c)
    run = tmp_path / "run"
    outcome = call("train", data, "--out", run, "--epochs", 4)
    assert (outcome.code, outcome.out) == (130, "")
    assert outcome.err.splitlines()[-2:] == [to_go_on(run, finish=True), "selfsort: interrupted."]
    assert names_in(run) - {"history.jsonl"} == {"run.json", "checkpoints"}
    # It goes on with that stage: what came before is kept.
    again = call("train", "--resume", run)
    assert again.code == 0
    said = again.err.splitlines()
    assert re.match(r"Going on in '(neighbours|grouping)', after \d+ s\.", said[0])
    assert said[1].startswith(
        "fine clusters 1/1" if stage == "pixel_features" else "first self-training 1/1"
    )
    assert names_in(run) == WITH_CLASSES | SCORED | sheets(run)


def test_ctrl_c_with_many_images_ends_with_a_checkpoint(monkeypatch, tmp_path, data):
    monkeypatch.setattr(training, "FEW_IMAGES", 200)  # there are 220
    options = ("--recipe", "joint", "--epochs", 3)
    assert call("train", data, "--out", tmp_path / "whole", *options).code == 0
    in_words = callbacks.row_in_words

    def press_in_the_first_epoch(row, **options):
        if row["epoch"] == 1:
            press_ctrl_c()
        return in_words(row, **options)

    monkeypatch.setattr(callbacks, "row_in_words", press_in_the_first_epoch)
    run = tmp_path / "run"
    outcome = call("train", data, "--out", run, *options)
    assert (outcome.code, outcome.out) == (130, "")
    said = outcome.err.splitlines()
    assert "Interrupted: ending with a checkpoint (Ctrl-C again: at once)." in said
    assert said[-2:] == [to_go_on(run, finish=True), "selfsort: interrupted."]
    assert names_in(run) == {"run.json", "checkpoints", "history.jsonl"}
    monkeypatch.setattr(callbacks, "row_in_words", in_words)

    finished = call("train", "--resume", run, "--finish")
    assert (finished.code, finished.out) == (0, f"Report: {run / 'report.html'}\n")
    assert finished.err.splitlines()[-1] == to_go_on(run)
    assert result_of(run)["interrupted"] is True
    assert len(history_of(run)) == 2
    assert "The training was stopped early" in (run / "report.html").read_text(encoding="utf-8")

    assert call("train", "--resume", run).code == 0
    assert content_of(run) == content_of(tmp_path / "whole")


def test_finish_goes_with_resume(tmp_path, data):
    outcome = call("train", data, "--finish", "--out", tmp_path / "run")
    assert (outcome.code, outcome.out) == (2, "")
    assert outcome.err.startswith("selfsort: --finish goes with --resume RUN.")


def test_ctrl_c_before_the_decoder_learned_leaves_a_report(monkeypatch, tmp_path, data):
    at_once = callbacks.row_in_words

    def press_in_self_training(row, **options):
        if row["stage"] == "first self-training":
            press_ctrl_c()
        return at_once(row, **options)

    monkeypatch.setattr(callbacks, "row_in_words", press_in_self_training)
    run = tmp_path / "run"
    outcome = call("train", data, "--out", run, "--epochs", 4)
    assert outcome.code == 130
    assert INTERRUPTED in outcome.err.splitlines()
    assert result_of(run)["interrupted"] is True
    names = WITH_CLASSES - {"epochs.png"} | SCORED | sheets(run) | {"checkpoints"}
    assert names_in(run) == names
    page = (run / "report.html").read_text(encoding="utf-8")
    assert "The decoder had learned nothing yet: its pictures mean nothing." in page
    assert call("predict", run, data, "--out", tmp_path / "classes.csv").code == 0


def test_an_interrupted_run_goes_on_and_ends_as_if_it_had_not_been(monkeypatch, tmp_path, data):
    options = ("--epochs", 4, "--threads", 1)
    whole = train(data, tmp_path / "whole", "--epochs", 4)
    run = tmp_path / "run"
    send(monkeypatch, callbacks, "row_in_words", press_ctrl_c)
    assert call("train", data, "--out", run, *options).code == 130
    assert len(history_of(run)) < len(history_of(whole))
    outcome = call("train", "--resume", run)
    assert (outcome.code, outcome.out) == (0, f"Report: {run / 'report.html'}\n")
    wanted, found = content_of(whole), content_of(run)
    assert [name for name in wanted if wanted[name] != found.get(name)] == []
    assert found.keys() == wanted.keys()
    assert result_of(run)["interrupted"] is False


@pytest.mark.slow
def test_several_fits_of_one_run_go_on(monkeypatch, tmp_path):
    data = write_npz(tmp_path / "small.npz", n=60, n_test=20)
    options = ("--recipe", "tradeoff", "--epochs", 1)
    whole = train(data, tmp_path / "whole", *options)
    run = tmp_path / "run"
    in_words, rows = callbacks.row_in_words, []

    def press_in_the_fifth(row, **more):
        rows.append(row["stage"])
        if len(set(rows)) == 5:
            press_ctrl_c(2)
        return in_words(row, **more)

    monkeypatch.setattr(callbacks, "row_in_words", press_in_the_fifth)
    assert call("train", data, "--out", run, "--threads", 1, *options).code == 130
    monkeypatch.setattr(callbacks, "row_in_words", in_words)
    assert not (run / "result.json").exists()
    outcome = call("train", "--resume", run)
    assert outcome.code == 0
    # The four that were finished are not trained again.
    assert len(re.findall(r"^multiplier", outcome.err, re.MULTILINE)) == len(MULTIPLIERS) - 4
    wanted, found = content_of(whole), content_of(run)
    assert [name for name in wanted if wanted[name] != found.get(name)] == []
    assert found.keys() == wanted.keys()


def test_a_run_that_is_not_complete_is_not_replaced_by_accident(monkeypatch, tmp_path, data):
    run = tmp_path / "run"
    options = ("train", data, "--out", run, "--recipe", "plain", "--epochs", 2)
    send(monkeypatch, callbacks, "row_in_words", lambda: press_ctrl_c(2))
    assert call(*options).code == 130
    before = tree(run)
    outcome = call(*options)
    assert outcome.code == 2
    assert outcome.err == (
        f"selfsort: {run}: already holds a run. Nothing was written: give another --out, or "
        f"--force to replace it. To go on with it: selfsort train --resume {run}\n"
    )
    assert tree(run) == before
    assert call(*options, "--force").code == 0
    assert names_in(run) == ALWAYS


def test_other_images_are_another_run(monkeypatch, tmp_path):
    data = write_npz(tmp_path / "small.npz")
    run = tmp_path / "run"
    send(monkeypatch, callbacks, "row_in_words", press_ctrl_c)
    assert call("train", data, "--out", run, "--recipe", "plain", "--epochs", 9).code == 130
    write_npz(tmp_path / "small.npz", n=150)
    outcome = call("train", "--resume", run)
    assert outcome.code == 2
    assert "is a checkpoint of another fit (other images)" in outcome.err


@pytest.mark.parametrize(
    ("content", "fact"),
    [
        (b"", "file: Invalid JSON"),
        (b'{"format": 1}', "selfsort: Field required"),
        (b"[]", "file: Input should be an object"),
        (b"\xff\xfe", "file: Invalid JSON"),
    ],
)
def test_a_damaged_record_is_one_line(tmp_path, content, fact):
    (tmp_path / "run.json").write_bytes(content)
    outcome = call("train", "--resume", tmp_path)
    assert (outcome.code, outcome.out) == (2, "")
    assert outcome.err.startswith(f"selfsort: {tmp_path / 'run.json'}: is damaged ({fact}")
    assert outcome.err.endswith("). Start the training again, with another --out.\n")
    assert names_in(tmp_path) == {"run.json"}


def test_checkpoints_that_were_left_behind_go(monkeypatch, tmp_path, data):
    run = tmp_path / "run"

    def fails(folder):
        raise OSError(5, "Input/output error", str(folder))

    monkeypatch.setattr(training, "drop_checkpoints", fails)
    outcome = call("train", data, "--out", run, "--recipe", "plain", "--epochs", 1)
    assert (outcome.code, "checkpoints" in names_in(run)) == (1, True)
    again = call("train", "--resume", run)
    assert again == (0, f"{run}: the run is complete.\nReport: {run / 'report.html'}\n", "")
    assert names_in(run) == ALWAYS


def test_two_processes_in_one_folder(tmp_path, data):
    run = tmp_path / "run"
    first = program("train", data, "--out", run, "--recipe", "plain", "--epochs", 100_000)
    try:
        for line in first.stderr:
            if line.startswith("fit 1/"):
                break
        sentence = (
            f"selfsort: {run}: another process is training in this folder. Wait until it is done, "
            "or give another --out.\n"
        )
        forced = call("train", data, "--out", run, "--recipe", "plain", "--epochs", 1, "--force")
        assert forced == (2, "", sentence)
        assert call("train", "--resume", run) == (2, "", sentence)
        assert first.poll() is None
    finally:
        first.kill()
        first.communicate()
    assert ".lock" in names_in(run)  # left behind, it locks nobody out
    forced = call("train", data, "--out", run, "--recipe", "plain", "--epochs", 1, "--force")
    assert forced.code == 0
    assert names_in(run) == ALWAYS


@needs_signals
def test_sigterm_ends_with_a_checkpoint(tmp_path, data):
    whole = train(data, tmp_path / "whole", "--recipe", "plain", "--epochs", 30)
    run = tmp_path / "run"
    options = ("--recipe", "plain", "--epochs", 30, "--threads", 1)
    process = program("train", data, "--out", run, *options)
    try:
        for line in process.stderr:
            if line.startswith("fit 3/"):
                process.send_signal(signal.SIGTERM)
                break
        out, err = process.communicate(timeout=60)
    finally:
        process.kill()
    assert (process.returncode, out) == (143, "")
    assert err.splitlines()[-1] == to_go_on(run, finish=True)
    assert names_in(run) == {"run.json", "checkpoints", "history.jsonl"}
    assert call("train", "--resume", run).code == 0
    assert content_of(run) == content_of(whole)


def test_a_second_ctrl_c_ends_at_once(monkeypatch, tmp_path, data):
    send(monkeypatch, callbacks, "row_in_words", lambda: press_ctrl_c(2))
    options = ("--recipe", "teach", "--labels", "all", "--epochs", 5)
    outcome = call("train", data, "--out", tmp_path / "run", *options)
    run = tmp_path / "run"
    assert outcome == (
        130,
        "",
        f"{INTERRUPTED}\n{to_go_on(run, finish=True)}\nselfsort: interrupted.\n",
    )
    assert names_in(run) == {"history.jsonl", "run.json"}  # there had been no checkpoint yet
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler


def test_ctrl_c_while_figures_are_computed_leaves_the_model(monkeypatch, tmp_path, data):
    send(monkeypatch, evaluating, "scored", press_ctrl_c)
    options = ("--recipe", "teach", "--labels", "all", "--epochs", 1)
    outcome = call("train", data, "--out", tmp_path / "run", *options)
    assert outcome.code == 130
    assert outcome.err.splitlines()[-1] == "selfsort: interrupted."
    assert "Traceback" not in outcome.err
    names = {"history.jsonl", "model.safetensors", "config.json", "run.json", "checkpoints"}
    assert names_in(tmp_path / "run") == names
    assert call("predict", tmp_path / "run", data, "--out", tmp_path / "classes.csv").code == 0


def test_a_folder_that_vanishes_is_one_line(monkeypatch, tmp_path, data):
    run = tmp_path / "run"
    send(monkeypatch, callbacks.Watch, "on_fit_task_end", lambda: shutil.rmtree(run))
    outcome = call("train", data, "--out", run, "--recipe", "plain", "--epochs", 2)
    sentence = (
        f"selfsort: {run / 'history.jsonl'}: No such file or directory. Check the path and the "
        "free space.\n"
    )
    assert outcome == (1, "", sentence)


def test_a_full_disk_is_one_line(tmp_path, data):
    resource = pytest.importorskip("resource")
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    run = tmp_path / "run"
    resource.setrlimit(resource.RLIMIT_FSIZE, (5_000, before[1]))  # no file may be larger
    try:
        outcome = call("train", data, "--out", run, "--labels", "all", "--epochs", 1)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    assert outcome.code == 1
    line = outcome.err.splitlines()[-1]
    path = run / "checkpoints" / ".000001.part" / "arrays.safetensors"
    assert line == f"selfsort: {path}: File too large. Check the path and the free space."
    assert "Traceback" not in outcome.err
    assert names_in(run) == {"history.jsonl", "run.json", "checkpoints"}
    assert names_in(run / "checkpoints") == set()


# ---- compare ------------------------------------------------------------------------------


def test_compare_writes_tables_and_resumes(monkeypatch, tmp_path, data):
    out = tmp_path / "table"
    options = ("compare", data, "--recipes", "plain,teach", "--epochs", 1, "--out", out)
    first = call(*options, "--seeds", 1)
    assert first.code == 0
    made = {"plain-0", "teach-0", "comparison.csv", "comparison.md"}
    assert names_in(out) == made
    before = tree(out / "teach-0")
    # The second call makes what is missing; a Ctrl-C in it leaves that run to the third.
    send(monkeypatch, callbacks, "row_in_words", press_ctrl_c)
    second = call(*options, "--seeds", 2)
    assert (second.code, second.err.splitlines()[-1]) == (130, "selfsort: interrupted.")
    third = call(*options, "--seeds", 2)
    assert third.code == 0
    assert third.out.endswith(f"Tables: {out / 'comparison.csv'}, {out / 'comparison.md'}\n")
    # plain-1, which was interrupted at its end and goes on, and teach-1
    assert "Going on in 'fit'" in third.err
    assert re.findall(r"^\w+ 1/1", third.err, re.MULTILINE) == ["classes 1/1", "decoder 1/1"]
    assert names_in(out) == made | {"plain-1", "teach-1"}
    assert tree(out / "teach-0") == before

    with (out / "comparison.csv").open(encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    keys = [(row["recipe"], row["seed"]) for row in rows]
    assert keys == [("plain", "0"), ("plain", "1"), ("teach", "0"), ("teach", "1")]
    results = [result_of(out / f"{recipe}-{seed}") for recipe, seed in keys]
    assert [row["test_reconstruction_mse"] for row in rows] == [
        str(result["test"]["reconstruction_mse"]) for result in results
    ]
    accuracies = [100 * result["test"]["accuracy"] for result in results[2:]]
    shown = f"{np.mean(accuracies):.2f} % ({min(accuracies):.2f} to {max(accuracies):.2f})"
    table = (out / "comparison.md").read_text(encoding="utf-8")
    line = next(line for line in table.splitlines() if line.startswith("| teach |"))
    assert line.split(" | ")[1:3] == ["160", shown]
    assert table in third.out


def test_compare_does_not_mix_runs_that_were_asked_otherwise(tmp_path, data):
    out = tmp_path / "table"
    options = ("compare", data, "--recipes", "plain", "--seeds", 1, "--out", out)
    assert call(*options, "--epochs", 1).code == 0
    before = tree(out)
    outcome = call(*options, "--epochs", 2)
    sentence = (
        f"selfsort: {out / 'plain-0'}: holds a run with other epochs (1, now 2). Nothing was "
        "written: give another --out.\n"
    )
    assert outcome == (2, "", sentence)
    assert tree(out) == before


def test_compare_checks_every_recipe_before_the_first_trains(tmp_path, data):
    options = ("compare", data, "--seeds", 1, "--out", tmp_path / "table")
    outcome = call(*options, "--recipes", "plain,teach", "--labels", "7")
    sentence = (
        f"selfsort: --labels must be from 10 (one a class) to 160 (all) for {data}. "
        "Got 7 instead.\n"
    )
    assert outcome == (2, "", sentence)
    outcome = call(*options, "--recipes", "plain,teech")
    assert outcome.err.startswith(
        "selfsort: There is no recipe named 'teech'. Did you mean 'teach'? Known recipes: "
    )
    assert outcome.code == 2
    assert list(tmp_path.iterdir()) == []
