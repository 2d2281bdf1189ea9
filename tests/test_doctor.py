"""The doctor: sound modules pass, faults are found, and a stranger's file cannot hurt."""

from __future__ import annotations

import copy
import importlib
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from sklearn.cluster import KMeans
from sklearn.datasets import load_digits
from torch import Tensor, nn

from selfsort import cli
from selfsort.datasets import load_dataset
from selfsort.doctor import Examination, examine
from selfsort.doctor.case import Case
from selfsort.doctor.checks import CHECKS
from selfsort.doctor.patient import Patient, adam, addends, squared_error
from selfsort.doctor.trace import Trace
from selfsort.doctor.trials import train
from selfsort.errors import InputError

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "benchmarks"))
cases = importlib.import_module("doctor_cases")
SIDE = 16


@pytest.fixture(scope="module")
def digits() -> tuple[np.ndarray, np.ndarray]:
    data = load_dataset("digits", size=SIDE).train
    assert data.labels is not None
    return data.images[:, 0], data.labels


def examined(example: Any, digits: tuple[np.ndarray, np.ndarray], seed: int = 0) -> Examination:
    torch.manual_seed(seed)
    return examine(
        example.make(SIDE),
        digits[0],
        digits[1] if example.labels else None,
        prepare=example.prepare,
        loss=example.loss,
        optimizer=example.optimizer,
        random_state=seed,
    )


# All examples, on MNIST too, are examined by benchmarks/doctor.py.
SOUND = ["dense, gradient descent", "deep", "variational", "categorical", "joint"]
FAULTY = [
    "the question's model",
    "ReLU, normalised images",
    "images from 0 to 255",
    "softmax without dim",
    "softmax over the batch",
    "dead code",
    "saturated tanh code",
    "mean beside sum",
    "decision without a gradient",
    "layers in a list",
    "rate too high, summed",
    "rate too low",
    "dropout always",
    "frozen normalisation",
    "classification drowned",
    "cross-entropy, normalised images",
    "softmax twice",
]


def test_the_chosen_examples_show_every_finding() -> None:
    shown = frozenset().union(*(cases.FAULTY[name].faults for name in FAULTY))
    everything = frozenset().union(*(example.faults for example in cases.FAULTY.values()))
    names = {check.__name__.replace("_", "-") for check in CHECKS}
    assert shown == everything == names


@pytest.mark.parametrize("name", SOUND)
def test_nothing_is_found_in_a_sound_one(name: str, digits: tuple[np.ndarray, np.ndarray]) -> None:
    found = examined(cases.SOUND[name], digits)
    assert found.findings == ()
    assert str(found) == f"{found.name}: {len(CHECKS)} checks found nothing."


@pytest.mark.parametrize("name", FAULTY)
def test_what_was_put_in_is_found(name: str, digits: tuple[np.ndarray, np.ndarray]) -> None:
    example = cases.FAULTY[name]
    found = {finding.name for finding in examined(example, digits).findings}
    assert example.faults <= found <= example.faults | example.effects


def test_the_module_is_left_as_it_was(digits: tuple[np.ndarray, np.ndarray]) -> None:
    torch.manual_seed(0)
    module = cases.Dense(SIDE)
    before = {name: w.clone() for name, w in module.state_dict().items()}
    state = torch.get_rng_state()
    first, second = (examine(module, digits[0]) for _ in range(2))
    assert first.figures == second.figures
    assert module.training
    assert all(torch.equal(w, before[name]) for name, w in module.state_dict().items())
    assert torch.equal(torch.get_rng_state(), state)


# ---- the figures --------------------------------------------------------------------------


def patient(module: nn.Module, images: Tensor, **more: Any) -> Patient:
    asked: dict[str, Any] = {
        "labels": None,
        "loss": squared_error,
        "make_optimizer": adam,
        "batch_size": 32,
    }
    return Patient(module, images, **{**asked, **more})


@pytest.fixture(scope="module")
def few() -> Tensor:
    return torch.from_numpy(load_digits().images[:300, None] / 16).float()


def test_a_trace_follows_values_and_not_shapes() -> None:
    x = torch.ones(4, 6)
    trace = Trace(x)
    with trace:
        noise = torch.randn_like(x)
        y = (x.sum(1, keepdim=True) + noise.sum(1, keepdim=True)).expand(4, 6).view_as(x)
    made = trace.maker(y)
    assert made is not None
    path = [step.name for step in trace.between(trace.source, made)]
    assert path == ["source", "sum", "add", "expand", "view_as"]
    assert trace.maker(noise) not in trace.between(trace.source, made)


def test_the_code_is_the_narrowest_place_that_all_passes(few: Tensor) -> None:
    class Two(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.a, self.b, self.c = nn.Linear(64, 3), nn.Linear(64, 4), nn.Linear(7, 64)

        def forward(self, x: Tensor) -> Tensor:
            rows = x.flatten(1)
            return self.c(torch.cat([self.a(rows).softmax(1), self.b(rows)], 1)).view_as(x)

    look = Case(patient(Two(), few), 0).start
    assert look.code is not None
    assert look.class_code is not None
    assert (look.code.name, look.code.width(256)) == ("cat", 7)
    assert (look.class_code.name, look.class_code.output.shape[1]) == ("softmax", 3)
    assert not look.only_class
    assert (look.encoder, look.decoder) == (["a.weight", "b.weight"], ["c.weight"])


def test_gradients_and_steps_are_those_of_a_loop_written_out(few: Tensor) -> None:
    torch.manual_seed(0)
    module = nn.Sequential(nn.Flatten(), nn.Linear(64, 4), nn.Linear(4, 64))

    def descent(parameters: Any) -> torch.optim.Optimizer:
        return torch.optim.SGD(parameters, lr=0.5)

    one = patient(module, few, make_optimizer=descent)
    case = Case(one, 3)
    trial = train(one, 2, random_state=3)

    plain = copy.deepcopy(module)
    loss = ((plain(few[:256]).view(-1, 1, 8, 8) - few[:256]) ** 2).mean()
    loss.backward()
    weight = plain[1].weight
    assert weight.grad is not None
    assert case.gradients["1.weight"] == pytest.approx(
        float(weight.grad.norm() / weight.detach().norm()), rel=1e-4
    )
    order = torch.randperm(len(few), generator=torch.Generator().manual_seed(3))
    shares, losses = [], []
    for batch in (few[order[:32]], few[order[32:64]]):
        plain.zero_grad()
        loss = ((plain(batch).view(-1, 1, 8, 8) - batch) ** 2).mean()
        loss.backward()
        losses.append(float(loss.detach()))
        with torch.no_grad():
            before = weight.norm()
            shares.append(float(0.5 * weight.grad.norm() / before))
            for w in plain.parameters():
                assert w.grad is not None
                w -= 0.5 * w.grad
    assert trial.losses == pytest.approx(losses, rel=1e-5)
    assert trial.updates["1.weight"] == pytest.approx(np.mean(shares), rel=1e-3)


def test_a_sum_is_taken_apart() -> None:
    x = torch.ones(3, requires_grad=True)
    with Trace(x) as trace:
        loss = F.mse_loss(x, 3 * x) - 2 * x.exp().mean() + (x.abs().sum() + x.abs().sum()) / 2
    parts = addends(trace, loss)
    assert list(parts) == ["mse_loss", "exp", "add"]
    values = {name: float(part.detach()) for name, part in parts.items()}
    assert sum(values.values()) == pytest.approx(float(loss.detach()))
    assert values["exp"] == pytest.approx(-2 * np.e, rel=1e-5)


def test_k_means_is_scikit_learns(few: Tensor) -> None:
    labels = torch.from_numpy(load_digits().target[:300])
    error, matched = Case(patient(nn.Identity(), few, labels=labels), 0).k_means(10)
    rows = few.flatten(1).double().numpy()
    k_means = KMeans(10, n_init=3, random_state=0).fit(rows)
    centres = k_means.cluster_centers_[k_means.labels_]
    assert error == pytest.approx(((rows - centres) ** 2).mean())
    assert matched is not None
    assert 0.5 < matched < 0.95


def test_a_start_that_is_dead_does_not_hide_the_other_causes(
    digits: tuple[np.ndarray, np.ndarray],
) -> None:
    example = cases.FAULTY["the question's model"]
    torch.manual_seed(1)  # all outputs are negative there, so that the last ReLU passes nothing
    module = example.make(SIDE)
    output = module(example.prepare(torch.from_numpy(digits[0][:20, None] / 255).float()))
    assert (output == 0.5).all()
    found = examined(example, digits, seed=1)
    names = {finding.name for finding in found.findings}
    assert example.faults | {"no-gradient"} <= names
    first = next(finding for finding in found.findings if finding.name == "no-gradient")
    assert first.title == "No gradient reaches any weight."


# ---- what cannot be examined --------------------------------------------------------------

IMAGES = np.zeros((60, 8, 8))


class Raises(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        raise RuntimeError("no luck")


@pytest.mark.parametrize(
    ("given", "message"),
    [
        (
            lambda: examine(nn.Identity(), IMAGES[:3]),
            "images must be at least 50. Got 3 instead.",
        ),
        (
            lambda: examine(nn.Identity(), np.zeros((60, 64))),
            "images must have the shape (n, h, w) or (n, h, w, c). Got (60, 64) instead.",
        ),
        (
            lambda: examine("Net", IMAGES),  # type: ignore[arg-type]
            "module must be a torch.nn.Module. Got str instead.",
        ),
        (
            lambda: examine(nn.Identity(), IMAGES, batch_size=1),
            "batch_size must be a whole number from 2 on. Got 1 instead.",
        ),
        (
            lambda: examine(nn.Identity(), IMAGES, [1, 2]),
            "labels must be 60 whole numbers, one for each image. Got shape (2,) of int64 instead.",
        ),
        (
            lambda: examine(nn.Linear(64, 10), IMAGES),
            "Linear gives (8, 10) for images of shape (8, 1, 8, 8): none of it is a "
            "reconstruction. The doctor is for autoencoders: return the rebuilt images.",
        ),
        (
            lambda: examine(Raises(), IMAGES),
            "Raises cannot be run on images of shape (1, 8, 8), nor on rows of 64 "
            "(RuntimeError: no luck).",
        ),
        (
            lambda: examine(nn.Linear(64, 64), IMAGES, prepare=lambda images: images / "2"),
            "prepare cannot be run (TypeError: unsupported operand type(s) for /: 'Tensor' and "
            "'str').",
        ),
        (
            lambda: examine(nn.Linear(64, 64), IMAGES, loss=lambda output, images: output),
            "The loss of Linear must be one number, or a dict with one for each term. Got shape "
            "(60, 64) for 'loss' instead.",
        ),
        (
            lambda: examine(nn.Linear(64, 64), IMAGES, loss=lambda output, images: 1 / 0),
            "The loss of Linear cannot be computed (ZeroDivisionError: division by zero).",
        ),
    ],
)
def test_what_cannot_be_examined_is_told(given: Callable[[], Any], message: str) -> None:
    with pytest.raises(InputError) as caught:
        given()
    assert str(caught.value) == message


# ---- the command --------------------------------------------------------------------------

FILE = """
import os
import torch
from torch import nn

class Sound(nn.Module):
    def __init__(self):
        super().__init__()
        print("made")
        self.layers = nn.Sequential(
            nn.Flatten(), nn.Linear(64, 64), nn.ReLU(), nn.Linear(64, 8),
            nn.Linear(8, 64), nn.ReLU(), nn.Linear(64, 64), nn.Sigmoid(),
        )

    def forward(self, x):
        return self.layers(x)

class Halved(Sound):
    def forward(self, x):
        return torch.sigmoid(torch.relu(super().forward(x)))

class Crashes(Sound):
    def forward(self, x):
        os.abort()

class Leaves(Sound):
    def forward(self, x):
        os._exit(0)

class Hangs(Sound):
    def forward(self, x):
        while True:
            pass

class Needs(Sound):
    def __init__(self, width):
        super().__init__()

word = "no module"
"""


SCRIPT = """
from mine import Sound
import torch

class Late(Sound):
    calls = 0

    def forward(self, x):
        Late.calls += 1
        if Late.calls > 20:
            raise ValueError("too late")
        return super().forward(x)

model = Sound()
optimizer = torch.optim.AdamW(model.parameters(), lr=0.5)
loss = torch.zeros(())  # what a loop of its own left behind
"""


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("doctor")
    (folder / "mine.py").write_text(FILE)
    (folder / "script.py").write_text(SCRIPT)
    (folder / "broken.py").write_text("import torch\n1 / 0\n")
    return folder


def doctor(folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "selfsort", "doctor", *arguments]
    return subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)


def test_a_sound_file_passes(folder: Path) -> None:
    done = doctor(folder, "mine.py:Sound", "digits", "--out", "sound.html")
    assert done.stdout == f"Sound: {len(CHECKS)} checks found nothing.\nPage: sound.html\n"
    assert done.returncode == 0
    assert "made" in done.stderr
    page = (folder / "sound.html").read_text()
    assert f"{len(CHECKS)} checks found nothing." in page
    assert page.count("<img ") == 2
    assert sorted(path.name for path in folder.glob("*.html")) == ["sound.html"]


def test_a_faulty_file_gets_a_page(folder: Path) -> None:
    done = doctor(folder, "mine.py:Halved", "digits", "--normalise", "0.3,0.4", "--lr", "0.001")
    assert done.returncode == 1
    assert "1. The output's sigmoid cannot reach the images' range." in done.stdout
    assert "2. A ReLU stands before a sigmoid." in done.stdout
    assert done.stdout.endswith("Page: runs/doctor-Halved.html\n")
    page = (folder / "runs" / "doctor-Halved.html").read_text()
    assert "relu-before-sigmoid" in page
    assert "selfsort doctor mine.py:Halved digits --normalise 0.3,0.4 --lr 0.001" in page


def test_a_script_is_examined_with_the_optimizer_that_it_made(folder: Path) -> None:
    done = doctor(folder, "script.py:model", "digits", "--out", "script.html")
    assert done.returncode == 1
    assert "The learning rate is too high." in done.stdout
    assert "torch.optim.AdamW(model.parameters(), lr=0.0" in done.stdout


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (
            ["script.py:Late", "digits"],
            "script.py: Late cannot be trained (ValueError: too late).",
        ),
        (["mine.py:Crashes", "digits"], "mine.py:Crashes: its process was ended by SIGABRT."),
        (["mine.py:Leaves", "digits"], "mine.py:Leaves: its process ended without an answer (0)."),
        (
            ["mine.py:Hangs", "digits", "--seconds", "8"],
            "mine.py:Hangs: not done after 8 s. Use smaller images (--size), or give more time "
            "with --seconds.",
        ),
        (
            ["mine.py:Needs", "digits"],
            "mine.py: Needs() cannot be made (TypeError: Needs.__init__() missing 1 required "
            "positional argument: 'width'). Give a class or a function that needs no arguments.",
        ),
        (
            ["mine.py:Soundd", "digits"],
            "mine.py: has no 'Soundd'. It has Sound, Halved, Crashes, Leaves, Hangs, Needs.",
        ),
        (
            ["mine.py:word", "digits"],
            "mine.py: word is no class, function or torch.nn.Module.",
        ),
        (
            ["broken.py:Net", "digits"],
            "broken.py: cannot be run (ZeroDivisionError: division by zero).",
        ),
        (["mine.py", "digits"], "mine.py: give a file and a class in it, such as mine.py:Net."),
        (["none.py:Net", "digits"], "none.py: no such file. Give FILE.py:CLASS."),
        (
            ["mine.py:Sound", "digits", "--normalise", "1,0"],
            "Invalid value for '--normalise': give mean and deviation, such as 0.1307,0.3081. Got "
            "'1,0' instead. See 'selfsort doctor --help'.",
        ),
        (
            ["mine.py:Sound", "digits", "--lr", "-1"],
            "Invalid value for '--lr': give a number above 0. Got '-1' instead. See 'selfsort "
            "doctor --help'.",
        ),
    ],
)
def test_what_a_file_does_wrong_is_one_line(
    folder: Path,
    arguments: list[str],
    message: str,
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(folder)
    monkeypatch.setattr(sys, "argv", ["selfsort", "doctor", *arguments, "--out", "none.html"])
    with pytest.raises(SystemExit) as end:
        cli.main()
    assert end.value.code == 2
    said = capfd.readouterr().err  # the examined process's too
    assert said.splitlines()[-1] == f"selfsort: {message}"
    assert "Traceback" not in said
    assert not (folder / "none.html").exists()
