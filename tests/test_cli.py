"""The command line: help, progress, and errors of one line that leave everything as it was."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from running import WORDS, call, program, tree, write_folder, write_npz

from selfsort import cli, runs
from selfsort.datasets import known_datasets
from selfsort.recipes import RECIPES

LISTS = ("datasets", "recipes")
SHARING = ("card", "push")
COMMANDS = (
    "train",
    "predict",
    "suggest",
    "report",
    *SHARING,
    "compare",
    "sweep",
    "bottlenecks",
    *LISTS,
)
RECIPE_NAMES = ", ".join(sorted(RECIPES))


@pytest.fixture(scope="module")
def place(tmp_path_factory) -> Path:
    """A folder with data, right and wrong, and two small runs."""
    place = tmp_path_factory.mktemp("place")
    data = write_npz(place / "small.npz", n=60, n_test=0)
    photos = write_folder(place / "photos", n=12)
    write_folder(place / "one-class", n=12, names=("same",) * 10)
    write_folder(place / "words", n=20, names=WORDS)
    (place / "empty").mkdir()
    broken = place / "broken"
    shutil.copytree(photos, broken)
    (broken / "004.png").write_bytes((broken / "004.png").read_bytes()[:60])
    (place / "a-file").write_text("mine")
    (place / "text.txt").write_text("no images")
    (place / "taken.png").write_bytes(b"mine")
    (place / "no-labels.csv").write_text("index,class\n")
    (place / "one-class.csv").write_text("index,class\n0,cat\n1,cat\n")
    (place / "two-classes.csv").write_text("index,class\n0,cat\n1,dog\n")
    (place / "bad-index.csv").write_text("index,class\n0,1\n99,2\n")
    (place / "bad-header.csv").write_text("image,label\n0,1\n")
    assert (
        call("train", data, "--recipe", "plain", "--epochs", 1, "--out", place / "plain").code == 0
    )
    teach = ("--labels", "all", "--epochs", 1)
    assert call("train", data, *teach, "--out", place / "run").code == 0
    for name, file, content in (
        ("cut-model", "model.safetensors", (place / "run" / "model.safetensors").read_bytes()[:99]),
        ("bad-config", "config.json", b"{"),
        ("bad-result", "result.json", b"{"),
    ):
        shutil.copytree(place / "run", place / name)
        (place / name / file).write_bytes(content)
    (place / "cut-model" / "result.json").unlink()
    return place


# ---- help ---------------------------------------------------------------------------------


@pytest.mark.parametrize("command", COMMANDS)
def test_help_of_every_command_has_an_example(command):
    outcome = call(command, "--help")
    assert (outcome.code, outcome.err) == (0, "")
    assert re.search(rf"Examples?:\s+selfsort {command}", outcome.out)


def test_help_of_the_program():
    outcome = call()
    assert outcome.code == 0
    assert call("--help").out.split() == outcome.out.split() == call("-h").out.split()
    assert "selfsort train digits" in outcome.out
    for command in COMMANDS:
        assert re.search(rf"^\W*{command} ", outcome.out, re.MULTILINE)


def test_help_names_every_option_of_the_issue():
    text = call("train", "--help").out
    options = ("classes", "labels", "recipe", "epochs", "seed", "out", "device", "threads", "size")
    for option in (*options, "force"):
        assert f"--{option} " in text


def test_no_help_and_no_version_imports_torch():
    code = """
import contextlib, io, sys
sys.path.insert(0, sys.argv.pop(1))
from selfsort import cli
calls = [["--help"], ["--version"], *([command, "--help"] for command in sys.argv[1:])]
for arguments in calls:
    sys.argv = ["selfsort", *arguments]
    with contextlib.redirect_stdout(io.StringIO()), contextlib.suppress(SystemExit):
        cli.main()
print([name for name in ("torch", "sklearn", "scipy", "matplotlib") if name in sys.modules])
"""
    source = str(Path(cli.__file__).parents[2])
    command = [sys.executable, "-c", code, source, *COMMANDS]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    assert done.stdout == "[]\n"


def test_version():
    from selfsort import __version__

    assert call("--version") == (0, f"selfsort {__version__}\n", "")


def test_lists():
    text = call("datasets").out
    for info in known_datasets():
        assert info.name in text
        assert f"{info.n_train:,} + {info.n_test:,}" in text
    text = call("recipes").out
    for name in RECIPES:
        assert name in text


# ---- errors -------------------------------------------------------------------------------

ERRORS = {
    "unknown recipe": (
        "train {small.npz} --recipe sorts --out {new}",
        f"There is no recipe named 'sorts'. Did you mean 'sort'? Known recipes: {RECIPE_NAMES}.",
    ),
    "unknown data set": (
        "train minst --out {new}",
        "There is no data set named 'minst'. Did you mean 'mnist'? Known data sets: digits, "
        "fashion-mnist, kmnist, mnist, usps. There is no file or folder 'minst' either.",
    ),
    "unknown option": (
        "train digits --recip sort",
        "No such option: --recip (Possible options: --help, --recipe). See 'selfsort train "
        "--help'.",
    ),
    "unknown command": (
        "trian digits",
        "No such command 'trian'. Did you mean 'train'? See 'selfsort --help'.",
    ),
    "no data": ("train", "Missing argument 'DATA'. See 'selfsort train --help'."),
    "one class": (
        "train digits --classes 1 --out {new}",
        "Invalid value for '--classes': give a whole number from 2 on, or auto. Got '1' instead. "
        "See 'selfsort train --help'.",
    ),
    "classes that are no number": (
        "train digits --classes some --out {new}",
        "Invalid value for '--classes': give a whole number from 2 on, or auto. Got 'some' "
        "instead. See 'selfsort train --help'.",
    ),
    "a recipe that cannot find the classes": (
        "train {small.npz} --recipe question --classes auto --out {new}",
        "--classes auto does not go with the recipe 'question', which cannot find how many there "
        "are: give a number, or use --recipe sort.",
    ),
    "classes to be found where labels name them": (
        "train {small.npz} --labels all --classes auto --out {new}",
        "--classes auto does not go with labels of 10 classes: leave it out.",
    ),
    "no whole number": (
        "train digits --epochs many",
        "Invalid value for '--epochs': Input should be a valid integer, unable to parse string as "
        "an integer. Got 'many' instead. See 'selfsort train --help'.",
    ),
    "negative seed": (
        "train digits --seed -1",
        "Invalid value for '--seed': Input should be greater than or equal to 0. Got '-1' "
        "instead. See 'selfsort train --help'.",
    ),
    "small size": (
        "train digits --size 4",
        "Invalid value for '--size': Input should be greater than or equal to 8. Got '4' "
        "instead. See 'selfsort train --help'.",
    ),
    "fewer labels than classes": (
        "train {small.npz} --labels 3 --out {new}",
        "--labels must be from 10 (one a class) to 60 (all) for {small.npz}. "
        "Got 3 instead.",
    ),
    "labels that are no number": (
        "train {small.npz} --labels some --out {new}",
        "--labels must be 'none', 'all', a number or a CSV file. Got 'some' instead.",
    ),
    "labels for sort": (
        "train {small.npz} --recipe sort --labels all --out {new}",
        "The recipe 'sort' learns without labels: give --labels none, or use --recipe teach.",
    ),
    "no labels to teach": (
        "train {photos} --recipe teach --out {new}",
        "{photos}: has no labels to learn from: give --labels none, or a CSV file with the "
        "columns file (or index) and class.",
    ),
    "one class only": (
        "train {one-class} --labels all --out {new}",
        "{one-class}: has labels of 1 class, but there must be at least 2 classes to learn: "
        "label more images, or give --labels none.",
    ),
    "no labels file": (
        "train {photos} --labels {none.csv} --out {new}",
        "{none.csv}: cannot be read (No such file or directory). Check the path and its "
        "permissions.",
    ),
    "labels without labels": (
        "train {photos} --labels {no-labels.csv} --out {new}",
        "{no-labels.csv}: has labels of no classes, but there must be at least 2 classes to "
        "learn: label more images, or give --labels none.",
    ),
    "labels of one class": (
        "train {photos} --labels {one-class.csv} --out {new}",
        "{one-class.csv}: has labels of 1 class, but there must be at least 2 classes to learn: "
        "label more images, or give --labels none.",
    ),
    "label of no image": (
        "train {photos} --labels {bad-index.csv} --out {new}",
        "{bad-index.csv}, line 3: there is no image with index '99'. Indices go from 0 to 11.",
    ),
    "labels with another header": (
        "train {photos} --labels {bad-header.csv} --out {new}",
        "{bad-header.csv}, line 1: the header is 'image,label'. Write file,class or index,class.",
    ),
    "classes that are not those of the labels": (
        "train {small.npz} --labels all --classes 3 --out {new}",
        "--classes 3 does not go with labels of 10 classes: leave it out.",
    ),
    "classes for plain": (
        "train {small.npz} --recipe plain --classes 3 --out {new}",
        "--classes does not go with the recipe 'plain', which learns no classes.",
    ),
    "more classes than images": (
        "train {photos} --classes 13 --out {new}",
        "{photos}: holds 12 images, but 13 classes are to be learned: give more images, or a "
        "smaller --classes.",
    ),
    "a run is there": (
        "train {small.npz} --out {run}",
        "{run}: already holds a run. Nothing was written: give another --out, or --force to "
        "replace it.",
    ),
    "out is a file": (
        "train {small.npz} --out {a-file} --force",
        "{a-file}: is a file, not a folder. Give another --out.",
    ),
    "out is full of images": (
        "train {small.npz} --out {photos} --force",
        "{photos}: holds files that no run wrote, such as '000.png'. Nothing was written: give "
        "another --out.",
    ),
    "out cannot be made": (
        "train {small.npz} --recipe plain --out {a-file}/run",
        "{a-file}/run: cannot be written (Not a directory). Give another --out.",
    ),
    "broken image": (
        "train {broken} --on-error stop --classes 2 --out {new}",
        "{broken}/004.png: not a readable PNG or JPEG (image file is truncated). Nothing was "
        "written.",
    ),
    "no image in the folder": (
        "train {empty} --out {new}",
        "{empty}: there is no PNG or JPEG file in it. Give a folder of pictures, or of idx files "
        "with the names of MNIST.",
    ),
    "no images at all": (
        "train {text.txt} --out {new}",
        "{text.txt}: not a kind of file that can be read. Give .npy, .npz, an idx file, a PNG "
        "or JPEG file, or a folder of them.",
    ),
    "device": (
        "train {small.npz} --device cupu --out {new}",
        None,
    ),
    "compare nothing": (
        "compare digits --recipes , --out {new}",
        "--recipes names no recipe: give names separated by commas, such as sort.",
    ),
    "compare into a file": (
        "compare {small.npz} --recipes plain --out {a-file}",
        "{a-file}: is a file, not a folder. Give another --out.",
    ),
    "compare with an unknown recipe": (
        "compare {small.npz} --recipes plain,gumble --out {new}",
        "There is no recipe named 'gumble'. Did you mean 'gumbel'? Known recipes: "
        f"{RECIPE_NAMES}.",
    ),
    "predict without a run": (
        "predict {photos} {small.npz} --out {new}",
        "{photos}/config.json: cannot be read (No such file or directory). Name a folder that "
        "'selfsort train' or an estimator's save() wrote.",
    ),
    "predict with a cut model": (
        "predict {cut-model} {small.npz} --out {new}",
        None,
    ),
    "predict with a bad configuration": (
        "predict {bad-config} {small.npz} --out {new}",
        None,
    ),
    "predict without classes": (
        "predict {plain} {small.npz} --out {new}",
        "{plain}: has no classes to predict. Name a run of 'sort', 'teach' or another recipe with "
        "classes.",
    ),
    "predict of nothing": (
        "predict {run} {nowhere} --out {new}",
        "{nowhere}: there is no such file or folder. Check the path.",
    ),
    "predict of a broken image": (
        "predict {run} {broken} --on-error stop --out {new}.csv",
        "{broken}/004.png: not a readable PNG or JPEG (image file is truncated). Nothing was "
        "written.",
    ),
    "predict over a file": (
        "predict {run} {small.npz} --out {a-file}",
        "{a-file}: exists already. Give another --out, or --force to replace it.",
    ),
    "predict over a folder": (
        "predict {run} {small.npz} --out {photos} --force",
        "{photos}: holds files that no prediction wrote, such as '000.png'. Nothing was written: "
        "give another --out.",
    ),
    "predict into no folder": (
        "predict {run} {small.npz} --out {nowhere}/classes.csv",
        "{nowhere}/classes.csv: cannot be written there. Give a file in an existing folder.",
    ),
    "predict to a file as if it were a folder": (
        "predict {run} {small.npz} --out {a-file}/",
        "{a-file}: is a file, not a folder. Give another --out.",
    ),
    "predict to a file with what goes with a folder": (
        "predict {run} {small.npz} --out {new}.csv --part-size 9",
        "--part-size goes with a folder as --out, such as classes/. See 'selfsort predict --help'.",
    ),
    "predict with workers that nobody starts": (
        "predict {run} {small.npz} --out {new} --workers 2",
        "--workers goes with --engine ray: give --threads, or leave it out.",
    ),
    "predict of a column that is not there": (
        "predict {run} {small.npz} --out {new} --column pixels",
        "{small.npz}: has no columns. Leave --column out.",
    ),
    "predict to nothing": (
        "predict {run} {small.npz}",
        "Missing option '--out'. See 'selfsort predict --help'.",
    ),
    "predict with a probability above one": (
        "predict {run} {small.npz} --out {new} --abstain 1.5",
        "Invalid value for '--abstain': Input should be less than or equal to 1. Got '1.5' "
        "instead. See 'selfsort predict --help'.",
    ),
    "predict with a probability below zero": (
        "predict {run} {small.npz} --out {new} --abstain -0.1",
        "Invalid value for '--abstain': Input should be greater than or equal to 0. Got '-0.1' "
        "instead. See 'selfsort predict --help'.",
    ),
    "predict with no probability": (
        "predict {run} {small.npz} --out {new} --abstain nan",
        "Invalid value for '--abstain': Input should be less than or equal to 1. Got 'nan' "
        "instead. See 'selfsort predict --help'.",
    ),
    "suggest no image": (
        "suggest {run} {small.npz} --out {new.csv} --n 0",
        "Invalid value for '--n': Input should be greater than or equal to 1. Got '0' "
        "instead. See 'selfsort suggest --help'.",
    ),
    "suggest more than there are": (
        "suggest {run} {small.npz} --out {new.csv} --n 61",
        "--n 61 is more than the 60 images of {small.npz} without a label: give a smaller number.",
    ),
    "suggest more than there are without a label": (
        "suggest {run} {small.npz} --out {new.csv} --n 59 --labels {two-classes.csv}",
        "--n 59 is more than the 58 images of {small.npz} without a label: give a smaller number.",
    ),
    "suggest without classes": (
        "suggest {plain} {small.npz} --out {new.csv}",
        "{plain}: has no classes to predict. Name a run of 'sort', 'teach' or another recipe with "
        "classes.",
    ),
    "suggest without a run": (
        "suggest {photos} {small.npz} --out {new.csv}",
        "{photos}/config.json: cannot be read (No such file or directory). Name a folder that "
        "'selfsort train' or an estimator's save() wrote.",
    ),
    "suggest of nothing": (
        "suggest {run} {nowhere} --out {new.csv}",
        "There is no data set named '{nowhere}'. Known data sets: digits, fashion-mnist, kmnist, "
        "mnist, usps. There is no file or folder '{nowhere}' either.",
    ),
    "suggest over a file": (
        "suggest {run} {small.npz} --out {no-labels.csv}",
        "{no-labels.csv}: exists already. Give another --out, or --force to replace it.",
    ),
    "suggest over a picture": (
        "suggest {run} {small.npz} --out {taken.csv}",
        "{taken.png}: exists already. Give another --out, or --force to replace it.",
    ),
    "suggest into no folder": (
        "suggest {run} {small.npz} --out {nowhere}/new.csv",
        "{nowhere}/new.csv: cannot be written there. Give a file in an existing folder.",
    ),
    "suggest into a file with another name": (
        "suggest {run} {small.npz} --out {new.png}",
        "{new.png}: the name must end in .csv, or 'selfsort train --labels' does not take it.",
    ),
    "suggest beside labels that cannot be read": (
        "suggest {run} {small.npz} --out {new.csv} --labels {bad-header.csv}",
        "{bad-header.csv}, line 1: the header is 'image,label'. Write file,class or index,class.",
    ),
    "report without a run": (
        "report {photos}",
        "{photos}: no run (there is no result.json). Give a folder that 'selfsort train DATA --out "
        "DIR' has written.",
    ),
    "report of a damaged result": (
        "report {bad-result}",
        "{bad-result}/result.json: not readable (Expecting property name enclosed in double "
        "quotes: line 1 column 2 (char 1)). Run the training again.",
    ),
}  # fmt: skip
BEGINNINGS = {
    "device": "The device 'cupu' cannot be used here (",
    "predict with a cut model": "{cut-model}/model.safetensors: cannot be read (",
    "predict with a bad configuration": (
        "{bad-config}/config.json: not a configuration of selfsort ("
    ),
}


def filled(text: str, place: Path) -> str:
    return re.sub(r"\{([\w.-]+)\}", lambda match: str(place / match[1]), text)


@pytest.mark.parametrize("name", ERRORS)
def test_an_error_is_one_line_and_changes_nothing(name, place, monkeypatch):
    command, sentence = ERRORS[name]
    monkeypatch.chdir(place)
    before = tree(place)
    outcome = call(*(filled(word, place) for word in command.split()))
    assert (outcome.code, outcome.out) == (2, "")
    if sentence is None:
        assert outcome.err.startswith(f"selfsort: {filled(BEGINNINGS[name], place)}")
        assert outcome.err.count("\n") == 1
    else:
        assert outcome.err == f"selfsort: {filled(sentence, place)}\n"
    assert tree(place) == before


def test_an_error_of_a_real_program(place):
    command, sentence = ERRORS["a run is there"]
    process = program(*(filled(word, place) for word in command.split()), cwd=place)
    out, err = process.communicate(timeout=60)
    assert (process.returncode, out) == (2, "")
    assert err == f"selfsort: {filled(sentence, place)}\n"


def test_a_folder_without_the_right_to_write(place, tmp_path):
    if os.name != "posix" or os.geteuid() == 0:
        pytest.skip("the superuser may write everywhere, and Windows has no such rights")
    tmp_path.chmod(0o500)
    run = tmp_path / "run"
    outcome = call("train", place / "small.npz", "--recipe", "plain", "--out", run)
    sentence = f"selfsort: {run}: cannot be written (Permission denied). Give another --out.\n"
    assert outcome == (2, "", sentence)


def test_a_term_that_is_not_finite_is_one_line(place, tmp_path, monkeypatch):
    parameters = RECIPES["plain"].parameters
    monkeypatch.setitem(parameters, "optimizer", "sgd")
    monkeypatch.setitem(parameters, "learning_rate", 1e30)
    outcome = call(
        "train", place / "small.npz", "--recipe", "plain", "--epochs", 3, "--out", tmp_path / "run"
    )
    assert outcome.code == 1
    assert re.fullmatch(
        r"selfsort: The term 'mse' became (nan|inf) in epoch 1, step \d of stage 'fit': training "
        r"stopped\. Try a lower learning rate \(now 1e\+30\)\.",
        outcome.err.splitlines()[-1],
    )


def test_a_reader_that_stops_reading_is_no_error():
    read, write = os.pipe()
    os.close(read)
    process = program("--help", stdout=write)
    os.close(write)
    _, err = process.communicate(timeout=60)
    assert err == ""


@pytest.mark.parametrize(
    ("options", "expected"),
    [((), None), (("--classes", "auto"), "auto"), (("--classes", "12"), 12)],
)
def test_the_number_of_classes_that_is_asked_for(monkeypatch, options, expected):
    asked = []

    def stop(request):
        asked.append(request.n_classes)
        raise KeyboardInterrupt

    monkeypatch.setattr(runs, "train", stop)
    assert call("train", "digits", *options).code == 130
    assert asked == [expected]


# ---- progress -----------------------------------------------------------------------------


def test_progress_is_plain_lines_where_there_is_no_terminal(place, tmp_path):
    options = ("--recipe", "plain", "--epochs", 3, "--out", tmp_path / "run")
    outcome = call("train", place / "small.npz", *options)
    *lines, times = outcome.err.splitlines()
    assert re.fullmatch(r"Seconds: fit \d+\.\d", times)
    assert len(lines) == 3
    for i, line in enumerate(lines, start=1):
        pattern = rf"fit {i}/3: mse 0\.\d{{5}}, [\d,]+ images/s, \d+ s"
        assert re.fullmatch(pattern, line)


def test_joint_prints_both_losses_in_both_units_and_the_test_accuracy(tmp_path):
    data = write_npz(tmp_path / "28.npz", n=40, n_test=20, side=28)
    options = ("--recipe", "joint", "--epochs", 1, "--out", tmp_path / "run")
    line = call("train", data, *options).err.splitlines()[0]
    found = re.fullmatch(
        r"fit 1/1: mse ([\d.]+) \(normalised ([\d.]+)\), classification [\d.]+, "
        r"test accuracy ([\d.]+) %, [\d,]+ images/s, \d+ s",
        line,
    )
    assert found
    assert float(found[2]) == pytest.approx(float(found[1]) / 0.3081**2, abs=2e-4)
    result = json.loads((tmp_path / "run" / "result.json").read_text(encoding="utf-8"))
    assert float(found[3]) == pytest.approx(100 * result["test"]["accuracy"], abs=0.01)


def test_classes_out_of_use_are_told_with_a_remedy(place, tmp_path):
    images = np.zeros((24, 16, 16), np.uint8)
    np.savez(tmp_path / "grey.npz", images=images)
    options = ("--classes", 2, "--epochs", 1, "--out", tmp_path / "run")
    outcome = call("train", tmp_path / "grey.npz", *options)
    assert outcome.code == 0
    assert outcome.err.splitlines()[-2] == (
        "ClassCollapseWarning: Only 1 of 2 classes are in use. Try fewer classes, more images, "
        "more epochs or a lower learning_rate."
    )


def test_a_terminal_gets_bars_and_ends_with_the_report(place, tmp_path):
    pty = pytest.importorskip("pty")
    mine, theirs = pty.openpty()
    options = ("--recipe", "plain", "--epochs", 2, "--out", tmp_path / "run")
    process = program(
        "train", place / "small.npz", *options,
        stdin=theirs, stdout=theirs, stderr=theirs,
    )  # fmt: skip
    os.close(theirs)
    chunks = []
    while True:
        try:
            chunk = os.read(mine, 65536)
        except OSError:  # what Linux says when the other side is closed
            break
        if not chunk:
            break
        chunks.append(chunk)
    os.close(mine)
    assert process.wait(timeout=60) == 0
    text = b"".join(chunks).decode("utf-8")
    assert "Traceback" not in text
    assert "\x1b[" in text
    assert "fit, epoch 1" in text
    assert "━" in text
    plain = re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", text).replace("\r", "\n")
    lines = [line for line in plain.split("\n") if line.strip()]
    assert "".join(lines[-1:]).strip() == f"Report: {tmp_path / 'run' / 'report.html'}"
    assert sum(line.startswith("fit 2/2: mse ") for line in lines) == 1
