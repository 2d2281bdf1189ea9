"""`selfsort sweep`: judged by held-out training images, killed without losing a trial."""

from __future__ import annotations

import csv
import json
import shlex
import signal
import time
import warnings
from pathlib import Path

import numpy as np
import pytest
from killing import Program
from platforms import needs_signals
from running import call, tree, write_folder, write_npz
from sklearn.model_selection import train_test_split

import selfsort
from selfsort import runs
from selfsort.recipes import MEAN, RECIPES, STD

optuna = pytest.importorskip("optuna")
OPTIONS = ("--epochs", 2, "--threads", 1)
N = 120


@pytest.fixture(scope="module")
def data(tmp_path_factory) -> Path:
    return write_npz(tmp_path_factory.mktemp("sweep") / "small.npz", n=N, n_test=30, side=12)


@pytest.fixture(scope="module")
def swept(data) -> tuple[Path, str]:
    out = data.parent / "swept"
    done = call("sweep", data, "--trials", 6, "--out", out, *OPTIONS)
    assert done.code == 0, done.err
    return out, done.out


def rows_of(folder: Path) -> list[dict[str, str]]:
    with (folder / "trials.csv").open(encoding="utf-8") as file:
        return list(csv.DictReader(file))


def study_of(folder: Path) -> optuna.Study:
    from sqlalchemy.pool import NullPool

    storage = optuna.storages.RDBStorage(
        f"sqlite:///{folder / 'study.db'}", engine_kwargs={"poolclass": NullPool}
    )
    return optuna.load_study(study_name="selfsort", storage=storage)


def complete(rows: list[dict[str, str]]) -> list[dict[str, str]]:
    return [row for row in rows if row["state"] == "complete"]


def test_what_is_in_the_folder(swept) -> None:
    out, said = swept
    assert {path.name for path in out.iterdir()} == {
        *("study.db", "trials.csv", "sweep.md", "trials.png")
    }
    rows = rows_of(out)
    assert [int(row["trial"]) for row in rows] == list(range(6))
    assert len(complete(rows)) >= 3  # so many are let run before others are given up
    assert (out / "sweep.md").read_text(encoding="utf-8") in said
    assert (out / "trials.png").read_bytes()[1:4] == b"PNG"


def test_a_trial_is_judged_by_held_out_training_images(swept, data) -> None:
    out, _ = swept
    with np.load(data) as arrays:
        X, y = arrays["x_train"], arrays["y_train"]
    learned, judged = train_test_split(np.arange(N), test_size=0.2, random_state=0, stratify=y)
    row = complete(rows_of(out))[-1]
    multiplier = float(row["multiplier"])
    classifier = selfsort.AutoencoderClassifier(
        **RECIPES["joint"].parameters
        | {
            "classification_weight": multiplier,
            "reconstruction_weight": (1 - multiplier) / STD**2,
            "learning_rate": float(row["learning_rate"]),
            "epochs": 2,
            "n_threads": 1,
            "random_state": 0,
        }
    )
    assert classifier.mean == MEAN
    learned = np.sort(learned)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", selfsort.ClassCollapseWarning)
        classifier.fit(X[learned], y[learned])
    right = (classifier.predict(X[judged]) == y[judged]).mean()
    assert float(row["accuracy"]) == pytest.approx(right)
    error = classifier.reconstruction_error(X[judged]).mean()
    assert float(row["reconstruction_mse"]) == pytest.approx(error, rel=1e-5)


def test_no_test_image_is_looked_at(swept, data, tmp_path) -> None:
    with np.load(data) as arrays:
        parts = dict(arrays)
    parts["x_test"] = 255 - parts["x_test"]
    parts["y_test"] = parts["y_test"][::-1]
    np.savez(tmp_path / "small.npz", **parts)
    out = tmp_path / "out"
    assert call("sweep", tmp_path / "small.npz", "--trials", 2, "--out", out, *OPTIONS).code == 0
    assert rows_of(out) == rows_of(swept[0])[:2]


def test_the_command_trains_with_the_best(swept, tmp_path) -> None:
    out, said = swept
    [line] = [line.strip() for line in said.splitlines() if line.startswith("    selfsort train")]
    best = max(complete(rows_of(out)), key=lambda row: float(row["accuracy"]))
    words = shlex.split(line)[1:]
    assert call(*words, "--out", tmp_path / "run", "--threads", 1).code == 0
    result = json.loads((tmp_path / "run" / "result.json").read_text())
    multiplier, rate = float(best["multiplier"]), float(best["learning_rate"])
    wanted = {
        "classification_weight": multiplier,
        "reconstruction_weight": pytest.approx((1 - multiplier) / STD**2),
        "learning_rate": rate,
    }
    assert result["set"] == wanted
    assert {name: result["parameters"][name] for name in wanted} == wanted
    estimator = selfsort.load(tmp_path / "run")
    assert {name: getattr(estimator, name) for name in wanted} == wanted
    assert f"--set learning_rate={rate!r}" in selfsort.model_card(tmp_path / "run")


def test_the_same_command_again_only_writes_the_tables(swept, data) -> None:
    out, said = swept
    before = tree(out)
    again = call("sweep", data, "--trials", 6, "--out", out, *OPTIONS)
    assert (again.code, again.out) == (0, said)
    assert again.err == "Going on after 6 trials.\n"
    assert {k: v for k, v in tree(out).items() if k != "study.db"} == {
        k: v for k, v in before.items() if k != "study.db"
    }


# ---- killed -------------------------------------------------------------------------------


def wait_for(program: Program, text: str) -> None:
    for _ in range(6000):
        if text in program.err():
            return
        assert program.wait(0.02) is None, program.err()
    raise AssertionError(program.err())


@needs_signals
@pytest.mark.slow
def test_a_killed_sweep_goes_on_and_loses_no_trial(data, tmp_path) -> None:
    out, said = tmp_path / "out", tmp_path / "said.txt"
    n = 12  # a trial that is given up takes a tenth of a second: with few, all may be over at once
    words = ("sweep", data, "--trials", n, "--out", out, "--epochs", 12, "--threads", 1)
    program = Program(*words, said=said)
    wait_for(program, f"trial 2/{n}")
    time.sleep(0.2)
    program.send(signal.SIGKILL)
    assert program.wait(10) == -signal.SIGKILL
    states = optuna.trial.TrialState
    before = study_of(out).trials
    kept = {t.number: t.values for t in before if t.state in (states.COMPLETE, states.PRUNED)}
    left = [trial for trial in before if trial.state == states.RUNNING]
    assert len(kept) >= 2
    assert len(left) == 1  # a trial takes longer than what is between two

    program = Program(*words, said=said)
    wait_for(program, "Going on after")
    wait_for(program, f"trial {len(kept) + 1}/{n}")
    program.send(signal.SIGINT)
    assert program.wait(60) == 130
    assert program.err().splitlines()[-2:] == [
        "To go on: the same command again.",
        "selfsort: interrupted.",
    ]

    program = Program(*words, said=said)
    assert program.wait(120) == 0, program.err()
    after = {trial.number: trial for trial in study_of(out).trials}
    assert all(after[number].values == values for number, values in kept.items())
    assert after[left[0].number].state == states.FAIL
    again = [t for t in after.values() if t.user_attrs.get("again") == left[0].number]
    assert [trial.params for trial in again] == [left[0].params]
    assert len(rows_of(out)) == n
    assert not [trial for trial in after.values() if trial.state == states.RUNNING]
    proposed = [tuple(t.params.values()) for t in after.values() if "again" not in t.user_attrs]
    assert len(set(proposed)) == len(proposed)


# ---- mistakes -----------------------------------------------------------------------------


def refused(*arguments: object) -> str:
    done = call("sweep", *arguments)
    assert (done.code, done.out) == (2, ""), done
    return done.err.removeprefix("selfsort: ").removesuffix("\n")


def test_without_labels_there_is_nothing_to_choose_by(tmp_path) -> None:
    photos = write_folder(tmp_path / "photos", n=20, side=12)
    sentence = (
        f"{photos}: a sweep needs labels, for without them the objective alone could choose its "
        "own multipliers: give class folders, or --labels with a CSV file."
    )
    assert refused(photos, "--out", tmp_path / "out") == sentence
    assert refused(photos, "--labels", "none", "--out", tmp_path / "out") == sentence
    assert not (tmp_path / "out").exists()


def test_too_few_labels(data, tmp_path) -> None:
    assert refused(data, "--labels", 20, "--out", tmp_path / "out") == (
        f"{data}: 20 labels of 10 classes are too few to hold some out: a sweep needs 50, and two "
        "of each class."
    )


def test_images_that_do_not_fit_the_network(tmp_path) -> None:
    said = refused("digits", "--out", tmp_path / "out")
    assert said.startswith("The network 'question-rectified' needs images of at least 10x10")


def test_a_folder_with_another_sweep(swept, data) -> None:
    out, _ = swept
    before = tree(out)
    said = refused(data, "--trials", 6, "--out", out, "--epochs", 3, "--seed", 1)
    assert said == f"{out}: holds a sweep with other epochs, seed. Give another --out."
    assert tree(out) == before


def test_a_folder_with_something_else(data, tmp_path) -> None:
    (tmp_path / "mine.txt").write_text("mine")
    assert refused(data, "--out", tmp_path) == (
        f"{tmp_path}: holds files that no sweep wrote, such as 'mine.txt'. Nothing was written: "
        "give another --out."
    )
    assert refused(data, "--out", tmp_path / "mine.txt") == (
        f"{tmp_path}/mine.txt: is a file, not a folder. Give another --out."
    )


def test_a_damaged_study(data, tmp_path) -> None:
    (tmp_path / "study.db").write_bytes(b"no database at all" * 100)
    assert refused(data, "--out", tmp_path) == (
        f"{tmp_path}/study.db: is no study that can be read. Give another --out, or delete it."
    )


def test_the_extra_is_named_where_it_is_missing(monkeypatch, data, tmp_path) -> None:
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    said = refused(data, "--out", tmp_path / "out")
    assert said == "A sweep needs more packages: pip install 'selfsort[sweep]'"


def test_a_trial_whose_loss_explodes_is_given_up(monkeypatch, data, tmp_path) -> None:
    monkeypatch.setattr(runs.sweeping, "LEARNING_RATE", (1e8, 1e9))
    out = tmp_path / "out"
    done = call("sweep", data, "--trials", 1, "--out", out, *OPTIONS)
    assert done.code == 0
    assert "given up: the loss became NaN or infinite" in done.err
    assert [row["state"] for row in rows_of(out)] == ["given up"]
    assert "To train with the best" not in done.out


# ---- --set --------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("setting", "sentence"),
    [
        ("lr", "--set lr: give a name and a value, as learning_rate=0.02."),
        (
            "learning_rat=1",
            "There is no parameter of AutoencoderClassifier named 'learning_rat'. Did you mean "
            "'learning_rate'? Known parameters: ",
        ),
        (
            "learning_rate=fast",
            "The 'learning_rate' parameter of AutoencoderClassifier must be a float in the range "
            "(0.0, inf). Got 'fast' instead.",
        ),
    ],
)
def test_wrong_parameters(data, tmp_path, setting, sentence) -> None:
    done = call("train", data, "--recipe", "joint", "--out", tmp_path / "x", "--set", setting)
    assert (done.code, done.out) == (2, "")
    assert done.err.startswith(f"selfsort: {sentence}")
    assert not (tmp_path / "x").exists()
