"""An exported model says what its estimator says, wherever it runs."""

from __future__ import annotations

import json
import re
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import onnx
import onnxruntime
import pytest
import torch
from PIL import Image
from sklearn.datasets import load_digits
from torch import nn

from selfsort import (
    Autoencoder,
    AutoencoderClassifier,
    AutoencoderClusterer,
    InputError,
    __version__,
)
from selfsort.bottlenecks import BOTTLENECKS, Bottleneck, make_bottleneck
from selfsort.cli.app import main
from selfsort.exporting import export, page, writing
from selfsort.exporting.checking import expected
from selfsort.exporting.fitting import Fit
from selfsort.exporting.formats import PlainDistances
from selfsort.exporting.graph import _pillow_takes_tall_first, graph_of
from selfsort.images.pixels import fit

DIGITS = load_digits()


@pytest.fixture(scope="module")
def classifier(taught_run: Path) -> AutoencoderClassifier:
    return AutoencoderClassifier.load(taught_run)


def session_of(path: Path) -> onnxruntime.InferenceSession:
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1  # more would wait for one another beside other tests
    return onnxruntime.InferenceSession(path, options)


def command(monkeypatch: pytest.MonkeyPatch, *words: object) -> int:
    monkeypatch.setattr("sys.argv", ["selfsort", *map(str, words)])
    with pytest.raises(SystemExit) as end:
        main()
    assert isinstance(end.value.code, int)
    return end.value.code


# ---- ONNX -------------------------------------------------------------------------------------


def test_the_file_is_one_and_says_what_it_is(
    exported: Path, taught_run: Path, classifier: AutoencoderClassifier
) -> None:
    assert list(exported.parent.iterdir()) == [exported]
    written = onnx.load(exported)
    onnx.checker.check_model(written, full_check=True)
    assert [(one.domain, one.version) for one in written.opset_import] == [("", 20)]
    facts = {entry.key: entry.value for entry in written.metadata_props}
    assert json.loads(facts["classes"]) == classifier.classes_.tolist()
    assert (facts["selfsort"], facts["estimator"]) == (__version__, "AutoencoderClassifier")
    assert (json.loads(facts["shape"]), json.loads(facts["range"])) == ([1, 16, 16], [0, 255])
    assert facts["command"] == json.loads((taught_run / "run.json").read_text())["command"]
    session = session_of(exported)
    sides = {one.name: (one.shape, one.type) for one in session.get_inputs()}
    assert sides == {"input": (["batch", "height", "width"], "tensor(uint8)")}
    assert {one.name: (one.shape, one.type) for one in session.get_outputs()} == {
        "probability": (["batch", 10], "tensor(float)"),
        "label": (["batch"], "tensor(int64)"),
        "reconstruction": (["batch", 16, 16], "tensor(float)"),
    }


@pytest.mark.parametrize("n", [1, 2, 7, 1197])
def test_every_image_gets_its_class_and_probabilities(
    exported: Path, classifier: AutoencoderClassifier, large_digits: np.ndarray, n: int
) -> None:
    X = large_digits[600 : 600 + n]
    found = session_of(exported).run(None, {"input": X})
    wanted = classifier.predict_proba(X)
    if n > 1000:
        assert 20 < (wanted.max(1) < 0.9).sum() < n - 20  # some are looked at again, some are not
    assert np.abs(found[0] - wanted).max() < 1e-5
    assert (classifier.classes_[found[1]] == classifier.predict(X)).all()
    assert np.abs(found[2] - classifier.reconstruct(X)).max() < 0.01


def test_without_the_second_look_it_would_differ(
    classifier: AutoencoderClassifier, large_digits: np.ndarray, monkeypatch: pytest.MonkeyPatch
) -> None:
    graph = graph_of(classifier)
    monkeypatch.setattr(graph, "shift", 0)
    found = graph(torch.from_numpy(large_digits[600:]))[0].numpy()
    assert np.abs(found - classifier.predict_proba(large_digits[600:])).max() > 0.01


def test_images_none_of_which_is_in_doubt_are_looked_at_once(
    exported: Path,
    classifier: AutoencoderClassifier,
    large_digits: np.ndarray,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    graph = graph_of(classifier)
    monkeypatch.setattr(graph, "shift", 0)
    first = graph(torch.from_numpy(large_digits[600:]))[0].numpy()
    sure = first.max(1) > 0.91
    assert sure.sum() > 5
    X = large_digits[600:][sure]
    found = session_of(exported).run(["probability"], {"input": X})[0]
    assert np.abs(found - first[sure]).max() < 1e-5
    assert np.abs(found - classifier.predict_proba(X)).max() < 1e-5


@pytest.mark.parametrize(("height", "width"), [(16, 16), (40, 33), (7, 90), (300, 20), (1, 1)])
def test_images_of_any_size_are_read_as_predict_reads_them(
    exported: Path,
    classifier: AutoencoderClassifier,
    large_digits: np.ndarray,
    height: int,
    width: int,
) -> None:
    shapes = [Image.fromarray(one).resize((width, height)) for one in large_digits[600:630]]
    fitted = np.stack([fit(one, 16, 16)[0] for one in shapes])
    found = session_of(exported).run(
        ["probability"], {"input": np.stack([np.asarray(one) for one in shapes])}
    )[0]
    assert np.abs(found - classifier.predict_proba(fitted)).max() < 1e-5


def test_the_command_says_what_it_wrote(
    taught_run: Path,
    exported: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setattr(writing, "_written", as_before(exported))  # tracing it again takes long
    to = tmp_path / "again.onnx"
    assert command(monkeypatch, "export", taught_run, "--to", to) == 0
    said = capsys.readouterr().out
    size = to.stat().st_size / 1e6
    assert re.fullmatch(rf"{to}: {size:.1f} MB, differs from the run by at most \de-0[678]\n", said)
    assert to.read_bytes() == exported.read_bytes()


def as_before(exported: Path) -> Any:
    """Return what stands for the writing of a graph that is there already."""

    def written(estimator: Any, path: Path, write: Any) -> Any:
        path.write_bytes(exported.read_bytes())
        session = session_of(path)
        return lambda batch: session.run(None, {"input": batch})

    return written


# ---- resizing ---------------------------------------------------------------------------------

SIZES = [
    (28, 28), (1, 1), (1, 400), (400, 1), (3, 900), (56, 56), (84, 84), (29, 27), (31, 17),
    (93, 13), (166, 11), (254, 53), (64, 76), (40, 67), (12, 5), (113, 112), (225, 300),
]  # fmt: skip


@pytest.mark.parametrize(("height", "width"), [(28, 28), (8, 8), (20, 31), (64, 48)])
def test_resizing_is_pillows_to_the_bit(height: int, width: int) -> None:
    rng = np.random.default_rng(0)
    ours = Fit(height, width, tall_first=_pillow_takes_tall_first())
    for h, w in [*SIZES, *rng.integers(1, 200, (20, 2)).tolist()]:
        picture = rng.integers(0, 256, (h, w, 3)).astype(np.uint8)
        wanted = fit(Image.fromarray(picture), height, width)
        found = ours(torch.from_numpy(picture).permute(2, 0, 1)[None].double())[0]
        assert np.array_equal(found.numpy(), wanted), (h, w)


def test_the_order_of_the_passes_matters() -> None:
    picture = np.random.default_rng(0).integers(0, 256, (254, 53)).astype(np.uint8)
    wanted = fit(Image.fromarray(picture), 28, 28)
    pixels = torch.from_numpy(picture)[None, None].double()
    first = _pillow_takes_tall_first()
    assert np.array_equal(Fit(28, 28, tall_first=first)(pixels)[0].numpy(), wanted)
    assert not np.array_equal(Fit(28, 28, tall_first=not first)(pixels)[0].numpy(), wanted)


# ---- every estimator, layout and bottleneck ----------------------------------------------------

SMALL: Any = {"epochs": 1, "random_state": 0, "batch_size": 100}
WIDE = (DIGITS.images[:200] * 15).astype(np.uint8).repeat(2, axis=1).repeat(3, axis=2)
COLOUR = np.stack([DIGITS.images, DIGITS.images[:, ::-1], DIGITS.images * 0.5], axis=-1)[:200]


@pytest.mark.parametrize(
    ("estimator", "X"),
    [
        (AutoencoderClusterer(3, method="direct", **SMALL), COLOUR),
        (AutoencoderClusterer(3, method="direct", **SMALL), (COLOUR * 15).astype(np.uint8)),
        (
            AutoencoderClusterer(
                3, method="direct", bottleneck="gumbel", binarize=True, mean=0.2, **SMALL
            ),
            DIGITS.images[:200],
        ),
        (
            AutoencoderClusterer(3, method="direct", image_shape=(8, 8, 3), **SMALL),
            COLOUR.reshape(200, -1) - 4,
        ),
        (AutoencoderClusterer(3, method="direct", style_dim=0, **SMALL), DIGITS.data[:200]),
        (Autoencoder(3, **SMALL), (DIGITS.images[:200] * 15).astype(np.uint8)),
        (Autoencoder(network="plain", **SMALL), WIDE),
    ],
    ids=["colours", "colour-bytes", "binarized", "flat", "vectors", "features", "maps"],
)
def test_the_graph_says_what_the_estimator_says(estimator: Any, X: np.ndarray) -> None:
    estimator.fit(X)
    wanted = expected(estimator, X)
    graph = graph_of(estimator)
    dtype = X.dtype if graph.inputs.are_bytes else np.float32
    found = graph(torch.from_numpy(X.astype(dtype)))
    assert graph.outputs == tuple(wanted)
    for name, one in zip(wanted, found, strict=True):
        assert one.shape == wanted[name].shape
        assert one.numpy().dtype == wanted[name].dtype
        np.testing.assert_allclose(one.numpy(), wanted[name], rtol=1e-4, atol=2e-4, err_msg=name)


class EveryBottleneck(nn.Module):
    """Codes and logits of the classes of all that is registered, in one graph."""

    def __init__(self) -> None:
        super().__init__()
        made = {name.replace("-", "_"): make_bottleneck(name, 4) for name in BOTTLENECKS}
        self.each = nn.ModuleDict(made).eval().requires_grad_(False)
        for bottleneck in made.values():
            if bottleneck.reader is not None:
                bottleneck.reader.centres.normal_()

    def forward(self, numbers: torch.Tensor) -> tuple[torch.Tensor, ...]:
        outputs: list[torch.Tensor] = []
        for one in self.each.values():
            logits = numbers[:, : one.n_logits]
            code = one(logits)
            outputs += [code, torch.softmax(one.class_logits(logits, code), 1)]
        return tuple(outputs)


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")
def test_every_bottleneck_can_be_exported() -> None:
    torch.manual_seed(0)
    every = EveryBottleneck()
    width = max(one.n_logits for one in every.each.values())
    example, shapes = (torch.randn(3, width),), ({0: torch.export.Dim("batch", min=1)},)
    with PlainDistances():
        program = torch.export.export(every, example, dynamic_shapes=shapes)
    turned = torch.onnx.export(
        program, example, dynamo=True, dynamic_shapes=shapes, input_names=["x"], verbose=False
    )
    session = onnxruntime.InferenceSession(turned.model_proto.SerializeToString())
    for n in (1, 40):  # from 26 on PyTorch measures distances in another way
        numbers = torch.randn(n, width)
        for found, wanted in zip(
            session.run(None, {"x": numbers.numpy()}), every(numbers), strict=True
        ):
            np.testing.assert_allclose(found, wanted.numpy(), atol=2e-5)


def test_a_program_is_loaded_by_pytorch(tmp_path: Path) -> None:
    X = DIGITS.data[:100].astype(np.float32)
    autoencoder = Autoencoder(4, **SMALL).fit(X)
    done = export(autoencoder, tmp_path / "features.pt2")
    assert done.n_bytes == (tmp_path / "features.pt2").stat().st_size
    assert done.difference < 1e-5
    features, reconstruction = torch.export.load(done.path).module()(torch.from_numpy(X))
    np.testing.assert_allclose(features.numpy(), autoencoder.transform(X), atol=1e-4)
    np.testing.assert_allclose(reconstruction.numpy(), autoencoder.reconstruct(X), atol=1e-3)


# ---- what cannot be exported -------------------------------------------------------------------


def refused(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], *words: object
) -> str:
    assert command(monkeypatch, "export", *words) == 2
    return capsys.readouterr().err


@pytest.mark.parametrize(
    ("name", "options", "sentence"),
    [
        (
            "model.oonx",
            [],
            "its ending says what to write. Give one of .onnx (ONNX), .pt2 (torch.export), .html "
            "(a page to draw on).",
        ),
        ("old.onnx", [], "exists already. Give another name, or --force to replace it."),
        ("none/m.onnx", [], "cannot be written there. Give a file in an existing folder."),
        ("m.onnx", ["--runtime", "."], "only a page (.html) takes a runtime along. Leave it out."),
    ],
)
def test_what_is_wrong_is_said_in_one_line(
    taught_run: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    name: str,
    options: list[str],
    sentence: str,
) -> None:
    (tmp_path / "old.onnx").write_text("old")
    to = tmp_path / name
    said = refused(monkeypatch, capsys, taught_run, "--to", to, *options)
    assert said == f"selfsort: {to}: {sentence}\n"
    assert [path.name for path in tmp_path.iterdir()] == ["old.onnx"]
    assert (tmp_path / "old.onnx").read_text() == "old"


def test_a_page_needs_onnxruntime_web(
    taught_run: Path,
    large_digits: np.ndarray,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    how = "npm install onnxruntime-web, then --runtime node_modules/onnxruntime-web."
    to = tmp_path / "m.html"
    assert refused(monkeypatch, capsys, taught_run, "--to", to) == (
        f"selfsort: A page takes the npm package onnxruntime-web along. Give it: {how}\n"
    )
    missing = tmp_path / "dist" / "ort.wasm.min.js"
    assert refused(monkeypatch, capsys, taught_run, "--to", to, "--runtime", tmp_path) == (
        f"selfsort: {missing}: is not there, so the page cannot use that folder. Give "
        f"onnxruntime-web: {how}\n"
    )
    Autoencoder(4, **SMALL).fit(large_digits[:50]).save(tmp_path / "features")
    assert refused(monkeypatch, capsys, tmp_path / "features", "--to", to) == (
        "selfsort: A page needs classes of grey or colour images of whole numbers from 0 to 255, "
        "which this model does not have: export it as .onnx.\n"
    )


def test_a_drawing_becomes_like_the_classes_pictures() -> None:
    pictures = np.full((2, 28, 28), 250.0)
    pictures[:, 2:22, 6:16] = 10.0
    drawing = page._drawing(SimpleNamespace(prototypes_=pictures))
    assert (drawing["background"], drawing["foreground"]) == (250, 0)
    assert (drawing["middle"], drawing["size"]) == ((12.0, 11.0), 20.0)
    clouds = np.full((2, 28, 28, 3), 90.0)
    clouds[:, 5, 5] = 200.0
    drawing = page._drawing(SimpleNamespace(prototypes_=clouds))
    assert (drawing["background"], drawing["foreground"]) == (0, 255)
    assert (drawing["middle"], drawing["size"]) == ((14.0, 14.0), 20.0)


def test_the_extra_is_named_where_it_is_missing(
    taught_run: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    assert refused(monkeypatch, capsys, taught_run, "--to", tmp_path / "m.onnx") == (
        "selfsort: ONNX needs more packages: pip install 'selfsort[onnx]'\n"
    )


@pytest.mark.filterwarnings("ignore:Guards may run slower on Python 3.13.0:RuntimeWarning")
@pytest.mark.parametrize(
    ("output", "name"), [(0, "probability"), (1, "label"), (2, "reconstruction")]
)
def test_a_graph_that_says_something_else_gets_no_file(
    classifier: AutoencoderClassifier,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    output: int,
    name: str,
) -> None:
    graph = graph_of(classifier)

    def written(path: Path) -> Any:
        path.write_text("a graph")

        def run(batch: np.ndarray) -> tuple[np.ndarray, ...]:
            found = [one.numpy() for one in graph(torch.from_numpy(batch))]
            found[output] = (found[output] + 1) % 10 if output == 1 else found[output] + 0.1
            return tuple(found)

        return run

    monkeypatch.setattr(writing, "_written", lambda estimator, path, write: written(path))
    (tmp_path / "m.onnx").write_text("old")
    with pytest.raises(InputError, match=rf"^The exported graph .*: {name} differs by \S+\. Noth"):
        export(classifier, tmp_path / "m.onnx", force=True)
    assert [path.name for path in tmp_path.iterdir()] == ["m.onnx"]
    assert (tmp_path / "m.onnx").read_text() == "old"


def test_what_pytorch_cannot_trace_is_said_in_one_line(tmp_path: Path) -> None:
    class Undecided(Bottleneck):
        name = "undecided"

        def forward(self, logits: Any, progress: float = 1.0, generator: Any = None) -> Any:
            return torch.softmax(logits if logits.sum() > 0 else -logits, dim=1)

    try:
        clusterer = AutoencoderClusterer(3, method="direct", bottleneck="undecided", **SMALL)
        clusterer.fit(DIGITS.data[:100])
        with pytest.raises(
            InputError, match=r"^The model with the network 'dense' and the bottleneck 'undecided' "
        ) as error:
            export(clusterer, tmp_path / "m.pt2")
    finally:
        del BOTTLENECKS["undecided"]
    assert str(error.value).endswith("Nothing was written: use 'selfsort predict' in its place.")
    assert list(tmp_path.iterdir()) == []
