"""`selfsort bottlenecks`: the table, the page, and a bottleneck of one's own."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from running import call, digits, write_npz
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

import selfsort
from selfsort.bottlenecks import BOTTLENECKS, Variational
from selfsort.images import ImageSet
from selfsort.recipes import RECIPES
from selfsort.runs import bottlenecks as comparing

MINE = """
import torch
from selfsort.bottlenecks import Bottleneck

class Mine(Bottleneck):
    name = "mine-{n}"

    def forward(self, logits, progress=1.0, generator=None):
        return torch.softmax({body}, dim=-1)

class Other:
    name = "other"
"""


def write_mine(path: Path, n: int, body: str = "2 * logits") -> Path:
    path.write_text(MINE.format(n=n, body=body), encoding="utf-8")
    return path


@pytest.fixture(scope="module", autouse=True)
def registered_as_before() -> Iterator[None]:
    """Forget the bottlenecks of one's own after these tests."""
    registries = (BOTTLENECKS, RECIPES)
    before = [dict(registry) for registry in registries]
    yield
    for registry, entries in zip(registries, before, strict=True):
        registry.clear()
        registry.update(entries)


@pytest.fixture(scope="module")
def compared(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("bottlenecks")
    data = write_npz(folder / "small.npz", n=160, n_test=60, side=8)
    mine = write_mine(folder / "mine.py", 1)
    options = ("--recipes", "vq,categorical-score", "--with", f"{mine}:Mine", "--epochs", 2)
    with pytest.MonkeyPatch.context() as patches:
        patches.setattr(comparing, "MANY", 0)  # few epochs for the judge, who is not judged here
        done = call("bottlenecks", data, *options, "--out", folder / "out", "--threads", 1)
    assert done.code == 0, done.err
    assert "| vq |" in done.out
    assert f"Page: {folder / 'out' / 'bottlenecks.html'}" in done.out
    return folder


def lines_of(compared: Path) -> dict[str, dict[str, object]]:
    lines = json.loads((compared / "out" / "bottlenecks.json").read_text())["lines"]
    return {line["recipe"]: line for line in lines}


def test_each_bottleneck_has_a_line_a_run_and_pictures(compared):
    lines = lines_of(compared)
    assert list(lines) == ["vq", "categorical-score", "mine-1"]
    for name, line in lines.items():
        assert (compared / "out" / name / "report.html").is_file()
        assert 0 <= line["accuracy"] <= 1
        assert 0.1 < line["accuracy_100_labels"] <= 1
        assert 0 < line["reconstruction_mse"] < 1
        assert 0 <= line["samples_recognised"] <= 1
    page = (compared / "out" / "bottlenecks.html").read_text(encoding="utf-8")
    assert page.count("data:image/png;base64,") == 4
    assert "categorical-score" in page
    table = (compared / "out" / "bottlenecks.md").read_text(encoding="utf-8")
    assert table.count("\n| ") == 4  # titles and three lines


def test_only_those_with_a_prior_have_a_likelihood(compared):
    lines = lines_of(compared)
    assert lines["mine-1"]["bound"] is lines["mine-1"]["log_likelihood"] is None
    for name in ("vq", "categorical-score"):
        assert lines[name]["bound"] <= lines[name]["log_likelihood"] < 0


def test_the_figures_are_those_of_the_run(compared):
    line = lines_of(compared)["vq"]
    result = json.loads((compared / "out" / "vq" / "result.json").read_text())
    assert line["accuracy"] == result["test"]["accuracy"]
    assert line["reconstruction_mse"] == result["test"]["reconstruction_mse"]
    assert line["classes_in_use"] == result["train"]["classes_in_use"]
    estimator = selfsort.load(compared / "out" / "vq")
    data = np.load(compared / "small.npz")
    codes = estimator.transform(data["x_train"])
    labels = data["y_train"]
    chosen = np.concatenate(
        [np.random.default_rng(0).permutation(np.flatnonzero(labels == k))[:10] for k in range(10)]
    )
    machine = make_pipeline(StandardScaler(), LogisticRegression(max_iter=1000))
    machine.fit(codes[chosen], labels[chosen])
    expected = machine.score(estimator.transform(data["x_test"]), data["y_test"])
    assert line["accuracy_100_labels"] == pytest.approx(expected)


def test_gradients_are_noisy_only_where_something_is_drawn(compared):
    lines = lines_of(compared)
    for name in ("mine-1", "vq"):
        assert lines[name]["gradient_noise"] == pytest.approx(0, abs=1e-5)
    assert lines["categorical-score"]["gradient_noise"] > 0.01


def test_the_noise_is_that_of_many_gradients(compared):
    """Twice the draws of the code halve the variance of the gradient's mean over them."""
    estimator = selfsort.load(compared / "out" / "categorical-score")
    X = np.load(compared / "small.npz")["x_test"]
    few = comparing.gradient_noise(estimator, X, seed=0)
    estimator.model_.bottleneck.copies = 64
    many = comparing.gradient_noise(estimator, X, seed=0)
    assert many < 0.5 * few
    before = {name: tensor.clone() for name, tensor in estimator.model_.state_dict().items()}
    comparing.gradient_noise(estimator, X, seed=0)
    after = estimator.model_.state_dict()
    assert all(torch.equal(before[name], after[name]) for name in before)


def test_complete_runs_are_not_repeated(compared, monkeypatch):
    monkeypatch.setattr(comparing, "MANY", 0)
    data, out = compared / "small.npz", compared / "out"
    made = (out / "vq" / "model.safetensors").stat().st_mtime_ns
    options = ("--recipes", "vq", "--epochs", 2, "--out", out, "--threads", 1)
    assert call("bottlenecks", data, *options).code == 0
    assert (out / "vq" / "model.safetensors").stat().st_mtime_ns == made


def test_every_compared_recipe_is_one_of_a_bottleneck_with_a_prior():
    for name in comparing.COMPARED:
        parameters = RECIPES[name].parameters
        assert issubclass(BOTTLENECKS[parameters["bottleneck"]], Variational)
        assert parameters["reconstruction"] == "nll"
        assert parameters["divergence_weight"] == 1.0


@pytest.mark.parametrize(
    ("option", "sentence"),
    [
        ("{folder}/none.py:Mine", "{folder}/none.py: no such file. Give --with FILE.py:CLASS."),
        ("{mine}", "--with {mine}: give a file and a class in it, such as mine.py:Mine."),
        (
            "{mine}:Other",
            "{mine}: has no class Other that is a selfsort Bottleneck.",
        ),
        (
            "{broken}:Mine",
            "{broken}: cannot be run (NameError: name 'nothing' is not defined).",
        ),
        (
            "{raising}:Mine",
            "{raising}: Mine cannot be used (NameError: name 'nothing' is not defined).",
        ),
        (
            "{faulty}:Mine",
            "The bottleneck 'mine-2' must give the code of an image alone. Found a difference of ",
        ),
    ],
)
def test_a_bottleneck_that_cannot_take_part(tmp_path, option, sentence):
    places = {
        "folder": tmp_path,
        "mine": write_mine(tmp_path / "mine.py", 3),
        "faulty": write_mine(tmp_path / "faulty.py", 2, body="logits * logits.mean()"),
        "raising": write_mine(tmp_path / "raising.py", 4, body="nothing"),
        "broken": tmp_path / "broken.py",
    }
    places["broken"].write_text("nothing\n", encoding="utf-8")
    done = call("bottlenecks", "digits", "--with", option.format(**places), "--out", tmp_path / "o")
    assert done.code == 2
    assert done.err.startswith(f"selfsort: {sentence.format(**places)}")
    assert done.err.count("\n") == 1
    assert not (tmp_path / "o").exists()


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        *(
            (
                ("--recipes", name),
                f"The recipe '{name}' is not one of a bottleneck. Known: "
                f"{', '.join(comparing.COMPARED)}.",
            )
            for name in ("sort", "gumbel", "m2-labels")
        ),
        (
            ("--classes", "auto"),
            "--classes auto does not go with these recipes: give a number.",
        ),
    ],
)
def test_what_cannot_be_compared(tmp_path, options, sentence):
    done = call("bottlenecks", "digits", *options, "--out", tmp_path / "o")
    assert (done.code, done.err) == (2, f"selfsort: {sentence}\n")
    assert not (tmp_path / "o").exists()


class Perfect:
    """Makes samples of a class by taking images with that label; its classes are turned by one."""

    def __init__(self, images, labels):
        self.images, self.labels, self.style_means_ = images, labels, np.zeros((10, 0))

    def predict(self, X):
        return (self.labels + 1) % 10

    def sample(self, n, *, label, random_state):
        if label == 0:  # stands for nine
            raise selfsort.InputError("hardly ever")
        return np.resize(self.images[self.labels == label - 1], (n, 8, 8))


def test_samples_are_recognised_by_the_label_that_their_class_stands_for():
    images, labels = digits(200, 8)
    judge = SimpleNamespace(
        classes_=np.arange(10),
        predict=lambda X: np.array([labels[(images == x).all((1, 2)).argmax()] for x in X]),
    )
    shown = ImageSet(images[:, None], labels, tuple("0123456789"))
    perfect = Perfect(images, labels)
    assert comparing._recognised(perfect, judge, shown, 0) == pytest.approx(0.9)
    assert comparing._recognised(perfect, None, shown, 0) is None


def test_the_noise_is_deviation_over_mean(compared, monkeypatch):
    """For gradients that are known, the share is the one that numpy finds."""
    estimator = selfsort.load(compared / "out" / "vq")
    X = np.load(compared / "small.npz")["x_test"]
    shape = tuple(estimator.model_.network.head.weight.shape)
    made = 1 + np.random.default_rng(0).normal(size=(comparing.N_GRADIENTS, *shape))
    given = iter(torch.from_numpy(made).float())
    monkeypatch.setattr(
        comparing,
        "terms_of",
        lambda fit, *rest: {"nll": (fit.model.network.head.weight * next(given)).sum()},
    )
    flat = made.reshape(len(made), -1)
    expected = np.sqrt(flat.var(0, ddof=1).sum()) / np.linalg.norm(flat.mean(0))
    assert comparing.gradient_noise(estimator, X, seed=0) == pytest.approx(expected, rel=1e-4)
