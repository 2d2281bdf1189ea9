"""The page of accuracies is computed right, and what was measured is not measured again."""

from __future__ import annotations

import importlib
import json
import math
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from sklearn.datasets import load_digits
from torch import nn

from selfsort import AutoencoderClusterer
from selfsort.networks.base import NETWORKS, Widths

sys.path.append(str(Path(__file__).resolve().parents[1] / "benchmarks"))
accuracy = importlib.import_module("accuracy")
accuracy_pages = importlib.import_module("accuracy_pages")
accuracy_rows = importlib.import_module("accuracy_rows")
bottlenecks = importlib.import_module("bottlenecks")
common = importlib.import_module("common")
export = importlib.import_module("export")
gradients = importlib.import_module("gradients")
peers = importlib.import_module("peers")
likelihood = importlib.import_module("likelihood")
causes = importlib.import_module("likelihood_causes")
scale = importlib.import_module("scale")
start = importlib.import_module("start")

GOAL = (
    common.Bound("mean", "test.accuracy", "≥", 0.99),
    common.Bound("worst", "test.accuracy", "≥", 0.98),
    common.Bound("longest", "seconds", "≤", 300),
)
ROW = accuracy_rows.Row("none", "some images", lambda seed: {}, GOAL, n_seeds=3)


def figures(share: float) -> dict[str, Any]:
    return {
        "accuracy": share,
        "classes_in_use": 10,
        "calibration_error": 0.01,
        "sure_accuracy": 0.999,
        "sure_share": 0.9,
    }


def line(
    seed: int = 0, test: float | None = 0.99, version: str = "new", **changes: Any
) -> dict[str, Any]:
    """Return a record as a run writes it."""
    return {
        "row": "none",
        "seed": seed,
        "version": version,
        "date": "2026-11-24T10:00:00+00:00" if version == "new" else "2026-11-20T10:00:00+00:00",
        "machine": "a machine",
        "versions": {"selfsort": "1"},
        "device": "cpu",
        "threads": 2,
        "precision": "float32",
        "patches": [],
        "seconds": 200.0,
        "cpu_seconds": 400.0,
        "stage_seconds": {"neighbours": 15.0, "decoder": 5.0},
        "n_classes": 10,
        "train": figures(0.5),
        "test": None if test is None else figures(test),
        "extra": {"outlier AUROC, blank": None},
        "collapsed": False,
    } | changes


def cells(page: str, start: str) -> list[str]:
    """Return the cells of the first row of a table whose first cell is `start`."""
    row = next(text for text in page.splitlines() if text.startswith(f"| {start} |"))
    return [cell.strip() for cell in row.strip("|").split("|")]


@pytest.fixture
def rows(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(accuracy_pages, "ROWS", (ROW,))


@pytest.mark.usefixtures("rows")
def test_the_table_gives_mean_worst_best_collapsed_and_seconds() -> None:
    lines = [line(0, 0.98), line(1, 1.0), line(2, 0.99, seconds=290.0, collapsed=True)]
    page = accuracy_pages.accuracy_page(lines)
    found = dict(zip(accuracy_pages.MAIN_TITLES, cells(page, "`none`"), strict=True))
    assert found["seeds"] == "3"
    assert found["test accuracy %"] == "99.00 (98.00 to 100.00)"
    assert found["train accuracy %"] == "50.00 (50.00 to 50.00)"
    assert found["calibration error"] == "0.0100 (0.0100 to 0.0100)"
    assert found["collapsed runs"] == "1"
    assert found["fit s, mean (longest)"] == "230 (290)"
    assert found["threads"] == "2 float32"
    assert found["version"] == "`new`"
    assert found["goal met?"] == "met"
    goal = "mean test accuracy ≥ 99 %, worst test accuracy ≥ 98 %, longest seconds ≤ 300"
    assert found["goal"] == f"{goal} (3 seeds)"
    assert "2026-11-24; a machine; selfsort 1. `python benchmarks/accuracy.py`." in page
    assert "Mean seconds of the stages: neighbours 15, decoder 5." in page
    assert cells(page, "1")[:3] == ["1", "100.00", "50.00"]
    assert cells(page, "mean")[:3] == ["mean", "99.00", "50.00"]
    assert cells(page, "1")[-1] == "–"  # not measured


@pytest.mark.parametrize(
    ("shares", "seconds", "expected"),
    [
        ((0.99, 0.99, 0.99), 300.0, "met"),
        ((0.99, 0.99, 0.99), 300.1, "missed: longest seconds ≤ 300"),
        ((0.99, 0.99, 0.9899), 200.0, "missed: mean test accuracy ≥ 99 %"),
        ((1.0, 1.0, 0.979), 200.0, "missed: worst test accuracy ≥ 98 %"),
        ((0.99, 0.99), 200.0, "met so far"),
        (
            (None, None),
            300.1,
            "missed so far: mean test accuracy ≥ 99 %, worst test accuracy ≥ 98 %, "
            "longest seconds ≤ 300",
        ),
    ],
)
def test_a_goal_is_met_or_missed(
    shares: tuple[float | None, ...], seconds: float, expected: str
) -> None:
    runs = [line(seed, share, seconds=seconds) for seed, share in enumerate(shares)]
    assert accuracy_pages.verdict(ROW, runs) == expected


@pytest.mark.usefixtures("rows")
def test_only_the_newest_version_counts_and_of_a_seed_the_first_run() -> None:
    lines = [line(0, 0.5, "old"), line(1, 0.97), line(0, 0.98), line(0, 1.0), line(5, 0.4, "old")]
    (newest,) = common.newest(lines, "none")
    assert [run["test"]["accuracy"] for run in newest] == [0.98, 0.97]
    found = cells(accuracy_pages.accuracy_page(lines), "`none`")
    assert found[3:5] == ["2", "97.50 (97.00 to 98.00)"]
    assert "50.00" not in found[4]
    assert common.newest(lines, "digits") == []


@pytest.mark.usefixtures("rows")
def test_runs_of_two_settings_are_not_thrown_together() -> None:
    lines = [line(0, 0.98), line(0, 0.97, threads=1), line(1, 0.96), line(0, 0.5, "old")]
    lines.append(line(7, 0.5, threads=4))
    del lines[-1]["precision"]
    one, two = common.newest(lines, "none")
    assert [run["threads"] for run in one + two] == [1, 2, 2]
    page = accuracy_pages.accuracy_page(lines)
    starts = [text for text in page.splitlines() if text.startswith("| `none` |")]
    assert ["97.00 (97.00 to 97.00)" in text for text in starts] == [True, False]
    assert ["1 float32" in text for text in starts] == [True, False]
    assert page.count("## `none`, threads: 2 float32") == 1
    pages = accuracy_pages.change([line(0, 0.99, "new+patch")], lines)
    assert pages == "+1.00 (1 of 1 seeds)"


def test_a_setting_has_a_newest_version_of_its_own() -> None:
    gpu = {"device": "cuda", "gpu": "a GPU"}
    lines = [line(0, 0.98), line(0, 0.97, "old", **gpu), line(0, 0.5, "old"), line(1, **gpu)]
    lines += [line(1, 0.96, "old", **gpu)]
    assert common.newest(lines[:3], "none") == [[lines[0]], [lines[1]]]
    assert common.newest(lines, "none") == [[lines[0]], [lines[3]]]
    assert common.setting(lines[1]) == "2 float32 on a GPU"


def test_the_share_of_runs_that_find_ten_classes() -> None:
    bound = common.Bound("share of 10 among", "extra.classes", "≥", 0.6)
    runs = [line(seed, extra={"classes": n}) for seed, n in enumerate((10, 10, 9))]
    assert bound.holds(runs)
    assert not bound.holds(runs[1:])
    assert str(bound) == "share of 10 among classes ≥ 0.6"


def test_figures_are_those_of_the_fitted_images_where_there_are_no_others() -> None:
    runs = [line(0, None)]
    assert accuracy_pages.main_cells(ROW, runs)[4:7] == [
        "–",
        "50.00 (50.00 to 50.00)",
        "0.0100 (0.0100 to 0.0100)",
    ]


class Runs:
    """Stands in for `run_apart`: remembers what it was asked for, and fails where told to."""

    def __init__(self) -> None:
        self.asked: list[tuple[str, int]] = []
        self.fails: set[tuple[str, int]] = set()

    def __call__(
        self, row: Any, seed: int, version: str, threads: int, jobs: int
    ) -> dict[str, Any] | None:
        self.asked.append((row.name, seed))
        if (row.name, seed) in self.fails:
            return None
        return line(seed, version=version, row=row.name, threads=threads)


@pytest.fixture
def runs(monkeypatch: pytest.MonkeyPatch) -> Runs:
    stand_in = Runs()
    monkeypatch.setattr(accuracy, "run_apart", stand_in)
    here = {"precision": "float32", "gpu": None}
    monkeypatch.setattr(accuracy, "circumstances", lambda: here)
    monkeypatch.setattr(accuracy.os, "cpu_count", lambda: 4)
    monkeypatch.setattr(accuracy_rows, "method_version", lambda also: "new")
    return stand_in


def test_a_finished_run_is_not_repeated(
    runs: Runs, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "accuracy.jsonl"
    two = accuracy_rows.ROWS[:2]
    first = [("none", 0), ("digits", 0), ("none", 1), ("digits", 1)]
    assert accuracy.run_missing(two, [0, 1], path, lambda: None) == 0
    assert runs.asked == first
    assert accuracy.run_missing(two, [0, 1, 2], path, lambda: None) == 0
    assert runs.asked[4:] == [("none", 2), ("digits", 2)]
    assert len(path.read_text().splitlines()) == 6

    monkeypatch.setattr(accuracy_rows, "method_version", lambda also: "newer")
    accuracy.run_missing(two, [0], path, lambda: None)
    assert runs.asked[6:] == first[:2]
    assert [one["version"] for one in common.read_lines(path)] == ["new"] * 6 + ["newer"] * 2


def test_two_runs_at_once_share_the_cores(runs: Runs, tmp_path: Path) -> None:
    path = tmp_path / "accuracy.jsonl"
    two = accuracy_rows.ROWS[:2]
    accuracy.run_missing(two, [0], path, lambda: None)
    accuracy.run_missing(two, [0, 1], path, lambda: None, jobs=2)
    again = accuracy.run_missing(two, [0, 1], path, lambda: None, jobs=2)
    assert again == 0
    assert [one["threads"] for one in common.read_lines(path)] == [4] * 2 + [2] * 4


def test_a_failed_run_is_not_recorded_and_others_go_on(
    runs: Runs, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "accuracy.jsonl"
    runs.fails = {("none", 0)}
    assert accuracy.run_missing(accuracy_rows.ROWS[:2], [0], path, lambda: None) == 1
    assert [one["row"] for one in common.read_lines(path)] == ["digits"]
    assert "none, seed 0: FAILED, not recorded" in capsys.readouterr().out


@pytest.mark.filterwarnings("ignore::selfsort.ClassCollapseWarning")  # so few images
@pytest.mark.parametrize("row", accuracy_rows.ABLATION, ids=lambda row: row.name)
def test_the_method_learns_without_each_part(row: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    images = load_digits().images[:200]
    for path, value in row.patches:
        monkeypatch.setattr(path, value)
    learned = AutoencoderClusterer(3, epochs=4, random_state=0).fit_predict(images)
    assert learned.shape == (200,)


def test_no_run_starts_when_the_time_is_over(runs: Runs, tmp_path: Path) -> None:
    assert (
        accuracy.run_missing(accuracy_rows.ROWS, [0], tmp_path / "a.jsonl", print, minutes=0) == 0
    )
    assert runs.asked == []


def test_the_version_changes_with_code_not_with_comments(tmp_path: Path) -> None:
    for name in common.METHOD:
        path = tmp_path / f"{name}.py"
        path.parent.mkdir(exist_ok=True)
        path.write_text('"""A module."""\nN = 1\n"""A number."""\n')
    version = common.method_version(source=tmp_path)
    (tmp_path / "sorting.py").write_text("# why\nN = 1\n")
    assert common.method_version(source=tmp_path) == version
    (tmp_path / "sorting.py").write_text("N = 2\n")
    assert common.method_version(source=tmp_path) != version
    (tmp_path / "sorting.py").write_text("import math\n")
    (tmp_path / "training.py").write_text("__all__ = []\nN = 1\nN = 1\n")
    assert common.method_version(source=tmp_path) == version, "moved"
    others = common.method_version(without=["sorting"], source=tmp_path)
    (tmp_path / "sorting.py").write_text("N = 3\n")
    assert common.method_version(without=["sorting"], source=tmp_path) == others
    (tmp_path / "sorting.py").unlink()
    with pytest.raises(FileNotFoundError, match="neither a module nor a package"):
        common.method_version(source=tmp_path)


def test_probabilities_stand_in_the_order_of_the_labels() -> None:
    labels = np.array([0, 0, 1, 1])
    unnamed = np.array([[0.1, 0.2, 0.7], [0.0, 0.0, 1.0], [0.8, 0.1, 0.1], [0.6, 0.2, 0.2]])
    images = accuracy_rows.Images(np.zeros((4, 2, 2)), labels)
    clusterer = SimpleNamespace(predict_proba=lambda X: unnamed)
    assert np.array_equal(accuracy_rows.by_label(clusterer, images), unnamed[:, [2, 0, 1]])
    found = accuracy_rows.quality(clusterer, images)
    assert found["accuracy"] == 1.0
    assert (found["sure_accuracy"], found["sure_share"]) == (1.0, 0.25)
    # alone in their bins: 0.3, 0, 0.2 and 0.4 from being right
    assert found["calibration_error"] == pytest.approx((0.3 + 0 + 0.2 + 0.4) / 4)

    taught = SimpleNamespace(predict_proba=lambda X: np.ones((4, 1)), classes_=np.array([1]))
    assert np.array_equal(accuracy_rows.by_label(taught, images), [[0, 1]] * 4)


def test_prototypes_come_in_the_order_of_their_labels_and_back() -> None:
    pictures = np.arange(3)[:, None, None] * np.ones((3, 4, 4))
    clusterer = SimpleNamespace(predict=lambda X: np.array([2, 0, 1]), prototypes_=pictures)
    packed = accuracy_rows.packed_prototypes(
        clusterer, accuracy_rows.Images(np.zeros(3), np.arange(3))
    )
    assert accuracy_rows.unpacked(json.loads(json.dumps(packed)))[:, 0, 0, 0].tolist() == [2, 0, 1]


def test_an_ablation_is_compared_with_the_same_seeds_and_code(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    row = accuracy_rows.Row("one head", "", ROW.learn, patches=(("selfsort.sorting.N_HEADS", 1),))
    monkeypatch.setattr(accuracy_pages, "ABLATION", (row,))
    assert row.written_patches() == ["selfsort.sorting.N_HEADS = 1"]
    assert row.version() != accuracy_rows.Row("", "", ROW.learn).version()
    removed = {"row": "one head", "patches": row.written_patches()}
    lines = [line(seed, 0.9, "new+1", **removed) for seed in (0, 1)]
    whole = [line(0, 0.5, "old"), line(0, 0.95), line(2, 1.0)]
    found = cells(accuracy_pages.ablation_page(lines, whole), "one head")
    assert found[1:5] == [
        "`selfsort.sorting.N_HEADS = 1`",
        "2",
        "90.00 (90.00 to 90.00)",
        "-5.00 (1 of 2 seeds)",
    ]


def test_what_is_patched_must_be_there(monkeypatch: pytest.MonkeyPatch) -> None:
    sorting = importlib.import_module("selfsort.sorting")
    monkeypatch.setattr(sorting, "N_HEADS", sorting.N_HEADS)  # puts it back afterwards
    common.patch([("selfsort.sorting.N_HEADS", 1)])
    assert sorting.N_HEADS == 1
    with pytest.raises(AttributeError, match=r"There is no selfsort\.sorting\.N_HEAD to patch\."):
        common.patch([("selfsort.sorting.N_HEAD", 1)])


@pytest.mark.parametrize(
    ("script", "argument", "said"),
    [
        ("scale", "999", "argument sizes: a number of at least 1,000, not '999'"),
        ("limit", "x", "argument images: a number of at least 1,000, not 'x'"),
        ("likelihood", "--seeds=a", "argument --seeds: seeds are such as 0-9 or 0,3,7-9, not 'a'"),
        (
            "likelihood",
            "--seeds=3-1",
            "argument --seeds: seeds are such as 0-9 or 0,3,7-9, not '3-1'",
        ),
    ],
)
def test_wrong_arguments_are_one_line(
    script: str, argument: str, said: str, monkeypatch: pytest.MonkeyPatch, capsys: Any
) -> None:
    monkeypatch.setattr("sys.argv", [script, argument])
    monkeypatch.setattr(f"{script}.alone", lambda: pytest.fail("it measures"))
    with pytest.raises(SystemExit) as ended:
        importlib.import_module(script).main()
    assert ended.value.code == 2
    assert capsys.readouterr().err.splitlines()[-1] == f"{script}: error: {said}"


def test_seeds_and_imbalanced_classes() -> None:
    assert common.parse_seeds("0-2,7") == [0, 1, 2, 7]
    labels = np.repeat(np.arange(10), 5400)
    images = accuracy_rows.Images(np.arange(len(labels)), labels)
    sizes = [np.bincount(accuracy_rows.imbalanced(images, seed).y).tolist() for seed in (0, 1)]
    assert sorted(sizes[0]) == list(range(540, 5401, 540))
    assert sizes[0] != sizes[1]


# The likelihood of each bottleneck


def likelihood_line(
    recipe: str, seed: int, nats: float, binarisation: str = "static", **changes: Any
) -> dict[str, Any]:
    keys = ("date", "machine", "versions", "threads", "precision")
    return {
        **{key: value for key, value in line().items() if key in keys},
        "row": f"{recipe}, {binarisation}",
        "seed": seed,
        "version": "new",
        "budget": 1800.0,
        "epochs": 100,
        "seconds": 1750.0,
        "weights": 12345,
        "curve": [(10.0, -nats - 9), (20.0, -nats - 1)],
        "bound": -nats - 4,
        "log_likelihood": -nats,
        "log_z_deviation": None,
        "accuracy": 0.5,
        "mse": 0.01,
    } | changes


def test_the_page_of_likelihoods_gives_nats_of_all_seeds_and_the_papers() -> None:
    lines = [
        likelihood_line("dvae", 0, 90.0),
        likelihood_line("dvae", 1, 92.0),
        likelihood_line("vq", 0, 99.0, "dynamic"),
        likelihood_line("dvae", 0, 10.0, version="old", date="2026-01-01"),
        likelihood_line("dvae", 0, 11.0, threads=1, date="2026-01-01"),
        likelihood_line("dvae", 2, 12.0, budget=300.0, date="2026-01-01"),
    ]
    text = likelihood.page(lines)
    found = cells(text, "`dvae`")
    assert found[1:5] == ["static", "0, 1", "91.00 (90.00 to 92.00)", "95.00 (94.00 to 96.00)"]
    assert found[-1].startswith("80.04 dynamic, 81.01 static")
    assert cells(text, "`vq`")[1:4] == ["dynamic", "0", "99.00 (99.00 to 99.00)"]
    changed = {"changes": {"end": 0.1}, "date": "2026-12-01"}
    lines += [likelihood_line("vq", 0, 88.0, "dynamic", **changed)]
    assert cells(likelihood.page(lines), "`vq`, end 0.1")[3] == "88.00 (88.00 to 88.00)"


def test_a_recipe_has_one_colour_and_each_panel_its_own_legend() -> None:
    alone = [likelihood_line("categorical", 0, 90.0)]
    both = [
        *alone,
        likelihood_line("vq", 0, 92.0),
        likelihood_line("vq", 0, 99.0, "dynamic", gpu="NVIDIA H200"),
    ]
    left, right = likelihood.draw(both).axes
    assert [text.get_text() for text in left.get_legend().texts] == ["categorical", "vq"]
    assert [text.get_text() for text in right.get_legend().texts] == ["vq, NVIDIA H200"]
    assert list(left.lines[0].get_ydata()) == [99.0, 91.0]
    assert left.lines[1].get_color() == right.lines[0].get_color() != left.lines[0].get_color()
    _, empty = likelihood.draw(alone).axes
    assert empty.get_legend() is None


def test_a_likelihood_is_measured_again_where_another_parameter_is_asked_for(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[str] = []

    def run_apart(recipe: str, binarisation: str, seed: int, budget: float) -> dict[str, Any]:
        asked.append(recipe)
        current = {"version": likelihood.bottleneck_version(), "budget": budget}
        changes = {"changes": likelihood.changes_of(recipe)} if recipe != "vq" else {}  # as before
        return likelihood_line(recipe, seed, 90.0, binarisation, **current, **changes)

    monkeypatch.setattr(likelihood, "run_apart", run_apart)
    monkeypatch.setattr(likelihood, "LINES", tmp_path / "likelihood.jsonl")
    monkeypatch.setattr(likelihood, "write", lambda: None)
    monkeypatch.setattr(likelihood, "HERE", {})
    for recipe in ("vq", "categorical", "categorical"):
        assert likelihood.run_if_missing(0, "static", recipe, 9.0, math.inf) == 0
    monkeypatch.setattr(likelihood, "HERE", {"categorical": {"end": 0.1}})
    for recipe in ("vq", "categorical", "categorical"):
        assert likelihood.run_if_missing(0, "static", recipe, 9.0, math.inf) == 0
    assert asked == ["vq", "categorical", "categorical"]


def test_images_are_binarised_once_by_their_brightness() -> None:
    grey = np.full((500, 8, 8), 64, np.uint8)
    found = likelihood.binarised(grey)
    assert set(np.unique(found)) == {0, 255}
    assert np.array_equal(found, likelihood.binarised(grey))
    assert (found == 255).mean() == pytest.approx(64 / 255, abs=0.01)


def test_the_page_of_causes_has_a_line_for_each_run_there_is(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[list[str]] = []

    def run_script(script: Path, arguments: list[str], **_: Any) -> dict[str, Any]:
        asked.append(arguments)
        measured = {"training": -84.0, "more_codes": 0.25, "version": causes.bottleneck_version()}
        return likelihood_line("dvae", 0, 86.5, row=arguments[1], **measured)

    monkeypatch.setattr(causes, "run_script", run_script)
    monkeypatch.setattr(causes, "RESULTS", tmp_path)
    monkeypatch.setattr(causes, "LINES", tmp_path / "likelihood_causes.jsonl")
    assert causes.run_if_missing("network", math.inf) == 0
    assert causes.run_if_missing("network", math.inf) == 0
    assert causes.run_if_missing("none", 0.0) == 0
    assert asked == [["--run", "network"]]
    text = (tmp_path / "likelihood_causes.md").read_text(encoding="utf-8")
    found = cells(text, "encoder and decoder four times as wide")
    assert found[1:6] == ["86.50", "84.00", "0.25", "100", "1750"]
    assert text.count("86.50") == 1
    elsewhere = common.read_lines(causes.LINES)[0] | {"machine": "another", "log_likelihood": -86.0}
    lines = causes.page([*common.read_lines(causes.LINES), elsewhere]).splitlines()[-2:]
    assert [line.split(" | ")[1] for line in lines] == ["86.50", "86.00"]
    assert lines[1].endswith("another |")  # what is compared is of one machine


def test_a_cause_changes_what_it_says(monkeypatch: pytest.MonkeyPatch) -> None:
    grey = np.random.default_rng(0).integers(0, 256, (300, 1, 8, 8), np.uint8)
    part = SimpleNamespace(images=grey)
    monkeypatch.setattr(causes, "load_dataset", lambda name: SimpleNamespace(train=part, test=part))
    monkeypatch.setitem(NETWORKS, "dense-wide", causes.dense_wide)
    for name, value in {"EPOCHS": 1, "N_CODES": 2, "N_MORE_CODES": 40}.items():
        monkeypatch.setattr(causes, name, value)
    found = {name: causes.learned(cause) for name, cause in causes.CAUSES.items()}
    assert {name: one["epochs"] for name, one in found.items() if one["epochs"] != 1} == {
        "epochs": 4
    }
    weights = {name: one["weights"] for name, one in found.items()}
    assert weights["none"] == weights["epochs"] < weights["latents"] < weights["network"]
    assert weights["network"] < weights["both"]
    # More codes give more of the likelihood; here test images are training images.
    assert all(one["more_codes"] > 0 for one in found.values())
    assert all(one["training"] == one["log_likelihood"] < 0 for one in found.values())


def test_the_wide_network_is_the_dense_one_with_more_weights() -> None:
    builders = {"dense": NETWORKS["dense"], "wide": causes.dense_wide}
    made = {name: build((28, 28), Widths(256, 0, 160)) for name, build in builders.items()}
    kinds = {name: [type(part) for part in made[name].modules()] for name in made}
    assert kinds["wide"] == kinds["dense"]
    images = torch.rand(3, 28, 28)
    assert made["wide"].encode(images).logits.shape == (3, 256)
    assert made["wide"].decode(torch.rand(3, 160)).shape == (3, 28, 28)
    layers = {
        name: [part.out_features for part in network.modules() if isinstance(part, nn.Linear)]
        for name, network in made.items()
    }
    assert layers == {
        "dense": [256, 256, 128, 256, 256, 256, 784],
        "wide": [1024, 1024, 512, 256, 1024, 1024, 784],
    }


# Bottlenecks side by side


def comparison(seed: int, accuracy: float, bound: float | None) -> dict[str, Any]:
    """Return the record of a comparison of two bottlenecks."""
    figures = dict.fromkeys(bottlenecks.COLUMNS, 0.5) | {"accuracy": accuracy, "bound": bound}
    lines = [{**figures, "recipe": "vq"}, {**figures, "recipe": "mine", "bound": None}]
    return {**line(seed), "row": "compared", "lines": lines}


def test_the_page_of_bottlenecks_gives_mean_and_range_over_the_seeds() -> None:
    few = {**line(), "row": "m2-labels, sampled", "accuracy": 0.9, "train_seconds": 77.0}
    records = [comparison(0, 0.5, -90.0), comparison(1, 0.6, -92.0), few]
    text = bottlenecks.page(records)
    assert "Mean (lowest to highest) of 2 seeds" in text
    [vq] = [row for row in text.splitlines() if row.startswith("| `vq`")]
    assert "| 55.00 (50.00 to 60.00) |" in vq
    assert "| -91.00 (-92.00 to -90.00) |" in vq
    [mine] = [row for row in text.splitlines() if row.startswith("| `mine`")]
    assert "| – |" in mine
    assert "| `m2-labels`, sampled | 1 | 90.00 (90.00 to 90.00) | 77 (77 to 77) |" in text
    assert "marginal |" not in text


def test_there_is_a_page_before_the_first_run() -> None:
    assert "no run yet" in bottlenecks.page([])


# Bias and variance of gradients


def test_bias_and_noise_of_known_gradients() -> None:
    draws = np.random.default_rng(0).normal([3.0, 4.0], [0.3, 0.4], (10_000, 2))
    exact = gradients.torch.tensor([3.0, 4.0])
    found = gradients.compared(gradients.torch.tensor(draws), exact)
    assert found.noise == pytest.approx(0.1, rel=0.03)
    assert found.chance == pytest.approx(0.001, rel=0.03)
    assert found.bias < 0.003
    assert found.largest < 4
    shifted = gradients.compared(gradients.torch.tensor(draws + np.array([0, 0.05])), exact)
    assert shifted.bias == pytest.approx(0.01, abs=0.003)
    assert shifted.largest == pytest.approx(0.05 / 0.004, rel=0.3)


def test_unbiased_gradients_are_told_from_biased_ones() -> None:
    assert gradients.categorical("leave-one-out", {"draws": 2}, 0).largest < 4
    assert gradients.binary({}, 0).largest < 4
    assert gradients.categorical("gumbel", {}, 0).largest > 6
    assert gradients.categorical("straight-through", {}, 0).bias > 0.05


# Peers


def peer(work: str, number: int = 0, **found: float) -> dict[str, Any]:
    keys = ("date", "machine", "versions", "threads", "precision")
    head = {key: value for key, value in line().items() if key in keys}
    return {"work": work, "round": number, **head, "found": found}


def test_the_page_of_the_peers_gives_the_ratio_of_each_round(tmp_path: Path) -> None:
    rates = {"answer, an epoch": (100.0, 200.0, 100.0), "joint, an epoch": (900.0, 800.0, 700.0)}
    records = [
        peer(work, number, images_per_second=rate)
        for work, each in rates.items()
        for number, rate in enumerate(each)
    ]
    records += [peer("KMeans", seconds=61.0, accuracy=0.5), peer("sort", seconds=9.0, accuracy=1.0)]
    records.append(peer("engines", **{"eager at 1": 5.0, "onnxruntime at 1": 1234.0}))
    written = peers.page(records)
    assert cells(written, "`joint`")[2:5] == ["800", "100", "7.00 (4.00 to 9.00)"]
    assert cells(written, "`joint`")[5].startswith("≥ 8: missed; both are bound")
    one_side = [{**one, "version": "2"} if one["work"][0] == "j" else one for one in records]
    assert "| `joint` |" not in peers.page(one_side)
    kmeans = "scikit-learn's KMeans, ten starts; no labels"
    assert cells(written, kmeans)[1:] == ["1", "61", "50.00", "2026-11-24", "a machine"]
    records += [peer("KMeans", 1, seconds=71.0, accuracy=0.6)]
    both = ["2", "66 (61 to 71)", "55.00 (50.00 to 60.00)", "2026-11-24", "a machine"]
    assert cells(peers.page(records), kmeans)[1:] == both
    assert cells(written, "1") == ["1", "5", "1,234"]
    assert "| N2D" not in written
    limited = {"seconds": 1800.0, "accuracy": 0.8, "planned_epochs": 250}
    records += [peer("DEC", number, **limited, epochs=7 + number) for number in range(2)]
    assert "ClustPy's DEC, half an hour; no labels (7 to 8 of 250 epochs) | 2 |" in peers.page(
        records
    )
    peers.draw(records, tmp_path / "peers.png")
    with Image.open(tmp_path / "peers.png") as image:
        assert min(image.size) > 400


def test_goals_of_whole_fits_are_judged_by_the_median_of_the_rounds() -> None:
    goal = "without labels: more accurate than N2D in at most a third of its time"
    ours = [(9.0, 1.0), (12.0, 1.0), (9.0, 1.0)]
    theirs = [(30.0, 0.9), (30.0, 0.9), (90.0, 0.9)]

    def judged(theirs: list[tuple[float, float]], **other: str) -> list[str]:
        records = [
            {**peer(work, number, seconds=seconds, accuracy=accuracy), "version": "1", **extra}
            for work, each, extra in (("sort", ours, {}), ("N2D", theirs, other))
            for number, (seconds, accuracy) in enumerate(each)
        ]
        page = peers.page(records)
        return cells(page, goal)[1:3] if goal in page else []

    assert judged(theirs) == ["0.30 (0.10 to 0.40)", "met"]
    assert judged(theirs[:2]) == ["0.35 (0.30 to 0.40)", "missed"]  # rounds that both have
    assert judged([*theirs[:2], (90.0, 1.0)])[1] == "missed"  # not more accurate in one of them
    assert judged(theirs, machine="another machine") == []
    assert judged(theirs, version="2") == []  # not measured in turn


def test_works_are_repeated_in_turn(monkeypatch: pytest.MonkeyPatch) -> None:
    done: list[tuple[str, int]] = []

    def run(work: str, number: int) -> dict[str, Any]:
        done.append((work, number))
        return {"found": None}

    monkeypatch.setattr(peers, "run", run)
    monkeypatch.setattr(peers, "read_lines", lambda _: [])
    peers.run_missing([])
    assert len(set(done)) == len(done)
    assert [number for work, number in done if work == "sort"] == [0, 1, 2]
    assert [number for work, number in done if work == "engines"] == [0]
    assert done.index(("sort", 1)) > done.index(("SVC", 0))


def test_peers_count_as_the_newest_machine_and_version_have_them() -> None:
    def on(machine: str, version: str, date: str) -> dict[str, Any]:
        return {**peer("sort", seconds=1.0), "machine": machine, "version": version, "date": date}

    kept = {**peer("KMeans", seconds=61.0), "date": "2026-11-20"}
    old, older = on("a", "1", "2026-11-21"), on("b", "2", "2026-11-20")
    last = [on("a", "2", "2026-11-22"), on("a", "2", "2026-11-23")]
    assert peers.newest_of([kept, *last, old, older]) == [kept, *last]


def test_a_peer_that_ends_with_an_error_is_told_and_done_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    found: dict[str, float] | None = None

    def run(work: str, number: int) -> dict[str, Any]:
        identity = {"work": work, "round": number, "version": peers.version_of(work)}
        return {**peer(work), **identity, "machine": peers.machine(), "found": found}

    monkeypatch.setattr(peers, "run", run)
    monkeypatch.setattr(peers, "LINES", tmp_path / "peers.jsonl")
    assert peers.run_missing(["engines"]) == 1
    assert not peers.LINES.exists()
    assert "engines 0 ended with an error" in capsys.readouterr().out
    found = {"seconds": 1.0, "accuracy": 0.9}
    assert peers.run_missing(["engines"]) == 0
    assert peers.run_missing(["engines"]) == 0  # it is there
    assert len(peers.LINES.read_text().splitlines()) == 1


def test_what_is_ours_and_what_is_measured_beside_it_are_of_one_version() -> None:
    assert peers.version_of("SVC") is None
    assert peers.version_of("DEC") is None
    in_turn = ("plain loop", "teach, an epoch", "sort", "N2D", "answer", "engines")
    ours = {peers.version_of(work) for work in in_turn}
    assert len(ours) == 1
    assert None not in ours


# Starting


def test_the_start_is_judged_by_the_median_of_the_rounds() -> None:
    found = {start.BASE: [0.1, 0.2, 0.1], "selfsort --help": [0.2, 0.3, 0.4]}
    written = start.page(found, "a machine")
    assert cells(written, "`selfsort --help`")[1:] == ["0.30 (0.20 to 0.40)", "2.00 (1.50 to 4.00)"]
    assert "2.00, met" in written
    found["selfsort --help"][0] = 0.4
    assert "4.00, missed" in start.page(found, "a machine")


# Exported models


def test_the_page_of_exports_gives_differences_and_the_ratio_of_each_round() -> None:
    head = {key: line()[key] for key in ("date", "machine", "versions", "threads")}
    compared = {"images": 10_000, "in_doubt": 123, "other_class": 2, "probability": 4e-7}
    record = head | {
        "load_before": 0.5,
        "export_seconds": 9.0,
        "megabytes": 5.8,
        "onnxruntime": "1.32.0",
        "accuracy": 0.9788,
        "same_size": compared | {"reconstruction": 1e-4},
        "resized": {"images": 1000, "other_class": 0, "probability": 0.5},
        "speeds": {"64": {"estimator": [100.0, 200.0, 100.0], "onnxruntime": [50.0, 300.0, 400.0]}},
    }
    text = export.page(record)
    assert "123 of the 10,000 test images are in doubt" in text
    assert cells(text, "the test images, 28×28")[1:] == ["10,000", "2", "4.0e-07"]
    assert "| 1,000 | 0 | 5.0e-01 |" in text
    assert cells(text, "64") == ["64", "100", "300", "1.50 (0.50 to 4.00)"]
    assert "2026-11-24; a machine; selfsort 1, onnxruntime 1.32.0." in text


def test_what_an_exported_model_says_is_compared_image_by_image() -> None:
    X = np.zeros((2500, 4, 4), np.uint8)
    sure = np.tile([[0.05, 0.95]], (2500, 1))
    sure[7] = [0.4, 0.6]
    classifier = SimpleNamespace(
        classes_=np.array(["a", "b"]),
        predict=lambda X: np.full(len(X), "b"),
        predict_proba=lambda X: sure,
        reconstruct=lambda X: np.zeros((len(X), 4, 4)),
    )
    seen: list[int] = []

    def run(batch: np.ndarray) -> Any:
        start, n = sum(seen), len(batch)
        seen.append(n)
        label = np.ones(n, int)
        label[-1] = 0
        return sure[start : start + n] - 0.25, label, np.full((n, 4, 4), 3.0)

    assert export.differences(classifier, run, X) == {
        "images": 2500,
        "in_doubt": 1,
        "other_class": 3,
        "probability": 0.25,
        "reconstruction": 3.0,
    }
    assert seen == [1000, 1000, 500]


# Growth with the images


def test_the_page_of_scale_shows_each_works_newest_version_on_one_machine() -> None:
    head = {"stage_seconds": {}, "told": [], "peak": 2**30}

    def measured(work: str, n: int, day: int, **changes: Any) -> dict[str, Any]:
        date = f"2026-11-{day}T10:00:00+00:00"
        return line() | head | {"work": work, "n": n, "seconds": n / 100, "date": date} | changes

    records = [
        measured("none", 1000, 22, version="older"),
        measured("all", 2000, 23, version="without sorting"),
        measured("predict", 3000, 24, machine="another"),
        measured("none", 4000, 25),
    ]
    text = scale.page(records)
    assert cells(text, "with all labels, two epochs")[1:4] == ["2,000", "20.0", "10.000"]
    assert cells(text, "without labels, four epochs")[1] == "4,000"
    assert "| 1,000 |" not in text
    assert "| prediction" not in text
