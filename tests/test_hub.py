"""Model cards, and models that go to a stand-in of the hub and come back."""

from __future__ import annotations

import json
import shutil
import socket
import warnings
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import yaml
from hub_stand_in import TOKEN, Hub, running
from markdown_it import MarkdownIt
from running import call, digits, tree, write_npz

import selfsort
from selfsort.datasets import known_datasets
from selfsort.errors import InputError
from selfsort.hub.card import as_text

# huggingface_hub's own, where it uploads a large file.
pytestmark = pytest.mark.filterwarnings("ignore:Use 'content=:DeprecationWarning")
huggingface_hub = pytest.importorskip("huggingface_hub")

HOSTILE = (
    "a: [b]",
    "---",
    "| pipe | `code` |",
    "<script>alert(1)</script>",
    "[link](http://example.org)",
    "line\nbreak",
    "*bold* _it_ #1 {{ 7 * 7 }} {% raw %}",
    "\x1b[31mred",
    "'\"\\",
    "~~gone~~ &amp; 猫",
)


@pytest.fixture(scope="module")
def data(tmp_path_factory) -> Path:
    return write_npz(tmp_path_factory.mktemp("hub") / "small.npz", n=80, n_test=40, side=12)


@pytest.fixture(scope="module")
def run(data) -> Path:
    out = data.parent / "run"
    done = call("train", data, "--labels", "all", "--epochs", 1, "--threads", 1, "--out", out)
    assert done.code == 0, done.err
    return out


@pytest.fixture(scope="module")
def clusterer() -> selfsort.AutoencoderClusterer:
    images, _ = digits(60, 12)
    parameters = {"n_classes": 3, "method": "direct", "epochs": 1, "n_threads": 1}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", selfsort.ClassCollapseWarning)
        return selfsort.AutoencoderClusterer(random_state=0, **parameters).fit(images)


@pytest.fixture
def hub(monkeypatch, tmp_path) -> Iterator[Hub]:
    from huggingface_hub import constants
    from huggingface_hub.utils import close_session, disable_progress_bars, enable_progress_bars

    with running() as hub:
        for name, value in {
            "ENDPOINT": hub.url,
            "HUGGINGFACE_CO_URL_TEMPLATE": hub.url + "/{repo_id}/resolve/{revision}/{filename}",
            "HF_HUB_CACHE": str(tmp_path / "cache"),
            "HF_HUB_DISABLE_XET": True,
            "HF_HUB_DISABLE_TELEMETRY": True,
        }.items():
            monkeypatch.setattr(constants, name, value)
        monkeypatch.setenv("HF_TOKEN", TOKEN)
        disable_progress_bars()
        yield hub
        enable_progress_bars()
        close_session()


def parts_of(card: str) -> tuple[dict, str]:
    """Return the header and the Markdown of a card."""
    nothing, header, body = card.split("---\n", 2)
    assert nothing == ""
    return yaml.safe_load(header), body


def section(card: str, heading: str) -> str:
    return card.split(f"## {heading}\n")[1].split("\n## ")[0]


# ---- the card -----------------------------------------------------------------------------


def test_the_card_says_what_the_result_says(run):
    card = selfsort.model_card(run)
    header, body = parts_of(card)
    result = json.loads((run / "result.json").read_text())
    test = result["test"]
    assert header["library_name"] == "selfsort"
    assert header["pipeline_tag"] == "image-classification"
    [model] = header["model-index"]
    [found] = model["results"]
    assert found["dataset"] == {"name": "small", "type": "small", "split": "test"}
    values = {metric["type"]: metric["value"] for metric in found["metrics"]}
    assert values == {name: round(test[name], 6) for name in ("accuracy", "nmi", "ari")}
    assert f"| {100 * result['train']['accuracy']:.2f} % | {100 * test['accuracy']:.2f} % |" in body
    assert f"| {100 * test['ece']:.2f} % |" in section(body, "Figures")
    for row in result["doubt"]:
        assert f"abstain={row['probability']:g}, {100 * row['kept']:.2f} %" in body
    trained_on = section(body, "What it was trained on")
    assert "- training images: 80\n- test images: 40\n- size: 12×12 pixels, grey" in trained_on
    assert "- images with a label that it learned from: 80" in trained_on
    assert "10 classes: 0, 1, 2, 3, 4, 5, 6, 7, 8, 9." in section(body, "Classes")
    assert "Seed: 0, told before the training." in section(body, "How it was chosen")
    assert "selfsort train small.npz --recipe teach --seed 0 --labels all --epochs 1" in body
    assert "![" in body
    assert str(run.parent) not in card


def test_doubt_is_that_of_the_test_images(run, data):
    result = json.loads((run / "result.json").read_text())
    with np.load(data) as arrays:
        X, y = arrays["x_test"], arrays["y_test"]
    estimator = selfsort.load(run)
    largest, right = estimator.predict_proba(X).max(1), estimator.predict(X) == y
    expected = [
        {"probability": p, "kept": (largest >= p).mean(), "accuracy": right[largest >= p].mean()}
        for p in (0.9, 0.99)
        if (largest >= p).any()
    ]
    assert result["doubt"] == [pytest.approx(row) for row in expected]


def test_a_card_without_labels_says_that_classes_are_matched(run, tmp_path):
    folder = shutil.copytree(run, tmp_path / "run")
    result = json.loads((folder / "result.json").read_text())
    result |= {"matched": True, "n_labels": 0}
    (folder / "result.json").write_text(json.dumps(result))
    header, body = parts_of(selfsort.model_card(folder))
    names = [one["name"] for one in header["model-index"][0]["results"][0]["metrics"]]
    assert names == ["accuracy, classes matched to labels", "NMI", "ARI"]
    assert "each class got one label and each label one class" in body
    assert "Labels were used only to score: the training never saw one." in body
    assert "The number of classes, 10, was given, not found." in section(body, "Classes")


@pytest.mark.parametrize("info", known_datasets(), ids=lambda info: info.name)
def test_the_licence_of_named_data_is_told(run, tmp_path, info):
    folder = shutil.copytree(run, tmp_path / "run")
    result = json.loads((folder / "result.json").read_text())
    result["asked"]["data"] = info.name
    (folder / "result.json").write_text(json.dumps(result))
    expected = info.licence or "not stated: say it before you publish"
    assert f"- the data: {expected}\n" in selfsort.model_card(folder)


def test_licences(run):
    header, body = parts_of(selfsort.model_card(run))
    assert "license" not in header
    assert section(body, "Licence").splitlines() == [
        "- selfsort's code: BSD-3-Clause",
        "- the data: not stated: say it before you publish",
        "- these weights: not stated: say it before you publish",
    ]
    header, body = parts_of(selfsort.model_card(run, licence="CC-BY-4.0"))
    assert header["license"] == "cc-by-4.0"
    assert "- these weights: CC-BY-4.0" in body


def test_hostile_names_are_only_text(tmp_path):
    images, _ = digits(40, 12)
    labels = np.array(HOSTILE, dtype=object)[np.arange(40) % len(HOSTILE)]
    classifier = selfsort.AutoencoderClassifier(epochs=1, n_threads=1, random_state=0)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", selfsort.ClassCollapseWarning)
        classifier.fit(images, labels).save(tmp_path)
    result = {"recipe": "teach", "data": HOSTILE[2] + HOSTILE[5], "n_classes": len(HOSTILE)}
    result["asked"] = {"data": "/home/me/" + HOSTILE[5] + "```\n# heading"}
    result["test"] = {"n_images": 3, "accuracy": 0.5}
    (tmp_path / "result.json").write_text(json.dumps(result))
    card = selfsort.model_card(tmp_path, repo_id='me/x")\n```\n# heading')
    header, body = parts_of(card)
    shown = " ".join(result["data"].split("\n"))
    assert header["model-index"][0]["results"][0]["dataset"]["name"] == shown
    tokens = MarkdownIt("commonmark").enable(["table", "strikethrough"]).parse(body)
    inline = [child for token in tokens for child in token.children or []]
    texts = ["".join(c.content for c in t.children or []) for t in tokens if t.children]
    assert {child.type for child in inline} <= {"text", "text_special", "softbreak"}
    [listed] = [text for text in texts if text.startswith("10 classes: ")]
    for name in HOSTILE:
        assert " ".join(name.split("\n")).replace("\x1b", "\\x1b") in listed
    assert sum(token.type == "heading_open" for token in tokens) == body.count("\n## ") + 1
    fences = [token.content for token in tokens if token.type == "fence"]
    assert len(fences) == 3
    assert all(name not in card for name in ("/home/me", "\x1b"))


@pytest.mark.parametrize("text", [*HOSTILE, "www.example.org", "![x](y)", "$x$", "a\\b"])
def test_a_text_is_shown_as_it_is(text):
    parser = MarkdownIt("gfm-like", {"linkify": False})
    [_, inline, _] = parser.parse(f"x {as_text(text)}")
    assert {child.type for child in inline.children} <= {"text", "text_special"}
    shown = "".join(child.content for child in inline.children)
    assert shown == "x " + " ".join(text.split("\n")).replace("\x1b", "\\x1b")


def test_the_card_of_a_model_without_a_run(clusterer, tmp_path):
    clusterer.save(tmp_path)
    header, body = parts_of(selfsort.model_card(tmp_path))
    assert "model-index" not in header
    assert header["tags"] == ["selfsort", "autoencoder", "clustering", "unsupervised"]
    assert "## Figures" not in body
    assert "## How to make it again" not in body
    assert "its figures were not kept" in body
    assert "3 classes, numbered from 0." in section(body, "Classes")


# ---- the command --------------------------------------------------------------------------


def test_the_command_prints_or_writes_the_card(run, tmp_path):
    printed = call("card", run)
    assert (printed.code, printed.err) == (0, "")
    assert printed.out == selfsort.model_card(run)
    out = tmp_path / "README.md"
    assert call("card", run, "--out", out, "--licence", "mit") == (0, f"Card: {out}\n", "")
    assert out.read_text(encoding="utf-8") == selfsort.model_card(run, licence="mit")
    again = call("card", run, "--out", out)
    assert (again.code, again.err) == (
        2,
        f"selfsort: {out}: exists already. Give another --out, or --force to replace it.\n",
    )
    assert call("card", run, "--out", out, "--force").code == 0


def test_no_run_no_card(tmp_path):
    done = call("card", tmp_path)
    assert (done.code, done.out) == (2, "")
    assert done.err == (
        f"selfsort: {tmp_path}/config.json: cannot be read (No such file or directory). Name a "
        "folder that 'selfsort train' or an estimator's save() wrote.\n"
    )


@pytest.mark.parametrize("command", ["card", "push"])
def test_the_extra_is_named_where_it_is_missing(monkeypatch, run, command):
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    done = call(command, run, *(["me/x"] if command == "push" else []))
    assert done == (
        2,
        "",
        "selfsort: Model cards and the hub need more packages: pip install 'selfsort[hub]'\n",
    )


# ---- up and down --------------------------------------------------------------------------


def test_a_run_goes_up_and_comes_back_to_the_bit(hub, run, data):
    before = tree(run)
    done = call("push", run, "me/small", "--private")
    assert (done.code, done.err) == (0, "")
    assert done.out == f"Uploaded: {hub.url}/me/small/commit/{hub.sha('me/small')}\n"
    assert tree(run) == before
    names = ["README.md", "config.json", "manifest.json", "model.safetensors", "prototypes.png"]
    assert hub.commits == [("Upload a selfsort model", names)]
    assert hub.private == {"me/small": True}
    card = hub.repositories["me/small"]["README.md"].decode()
    assert 'selfsort.from_hub("me/small")' in card
    hub.requests.clear()
    again, first = selfsort.from_hub("me/small"), selfsort.load(run)
    with np.load(data) as arrays:
        X = arrays["x_test"]
    np.testing.assert_array_equal(again.predict_proba(X), first.predict_proba(X))
    assert list(again.classes_) == list(first.classes_)
    fetched = {line.rpartition("/")[2] for line in hub.requests if line.startswith("GET /me")}
    assert fetched == {"config.json", "manifest.json", "model.safetensors"}


def test_an_estimator_goes_up_and_comes_back_to_the_bit(hub, clusterer):
    url = selfsort.push_to_hub(clusterer, "me/found")
    assert url == f"{hub.url}/me/found/commit/{hub.sha('me/found')}"
    assert hub.private == {"me/found": False}
    again = selfsort.from_hub("me/found")
    images, _ = digits(30, 12, start=60)
    np.testing.assert_array_equal(again.transform(images), clusterer.transform(images))
    np.testing.assert_array_equal(again.labels_, clusterer.labels_)


def test_a_card_that_was_written_by_hand_goes_along(hub, run, tmp_path):
    folder = shutil.copytree(run, tmp_path / "run")
    (folder / "README.md").write_text("---\nlicense: mit\n---\n\n# Mine\n")
    selfsort.push_to_hub(folder, "me/mine")
    assert hub.repositories["me/mine"]["README.md"].endswith(b"# Mine\n")


def test_a_card_with_a_broken_header_is_refused(hub, run, tmp_path):
    folder = shutil.copytree(run, tmp_path / "run")
    (folder / "README.md").write_text("---\nlicense: [\n---\n\n# Mine\n")
    with pytest.raises(InputError) as caught:
        selfsort.push_to_hub(folder, "me/mine")
    assert str(caught.value) == (
        "me/mine: the hub refuses (it says 400: the header is no YAML). Mend what it names, or try "
        "again later."
    )
    assert hub.commits == []


def test_a_second_push_replaces_the_first(hub, run, clusterer):
    selfsort.push_to_hub(run, "me/x")
    selfsort.push_to_hub(clusterer, "me/x")
    assert len(hub.commits) == 2
    assert isinstance(selfsort.from_hub("me/x"), selfsort.AutoencoderClusterer)


def test_what_was_fetched_is_used_without_a_network(hub, clusterer):
    selfsort.push_to_hub(clusterer, "me/x")
    selfsort.from_hub("me/x")
    hub.refuse["GET "] = 503
    np.testing.assert_array_equal(selfsort.from_hub("me/x").labels_, clusterer.labels_)


@pytest.mark.parametrize("name", ["config.json", "model.safetensors"])
def test_a_changed_file_is_refused(hub, clusterer, name):
    selfsort.push_to_hub(clusterer, "me/x")
    files = hub.repositories["me/x"]
    content = bytearray(files[name])
    content[len(content) // 2] ^= 1
    files[name] = bytes(content)
    with pytest.raises(InputError) as caught:
        selfsort.from_hub("me/x")
    assert str(caught.value).startswith(f"me/x: {name} is not what was uploaded (in ")
    assert str(caught.value).endswith("to fetch it again, or ask whoever publishes it.")


def test_a_changed_manifest_is_refused(hub, clusterer):
    selfsort.push_to_hub(clusterer, "me/x")
    files = hub.repositories["me/x"]
    files["manifest.json"] = files["manifest.json"].replace(b"selfsort", b"selfsorT")
    with pytest.raises(InputError, match=r"^me/x: manifest.json is not what was uploaded"):
        selfsort.from_hub("me/x")


def test_a_repository_of_something_else_is_refused_and_not_fetched(hub):
    hub.repositories["me/other"] = {"pytorch_model.bin": b"a pickle", "config.json": b"{}"}
    with pytest.raises(InputError) as caught:
        selfsort.from_hub("me/other")
    assert str(caught.value) == (
        "me/other: holds no model of selfsort (there is no model.safetensors). Name a repository "
        "that selfsort.push_to_hub has written."
    )
    assert not any("pytorch_model.bin" in line for line in hub.requests)


MISSING = (
    "me/none: there is no such repository, or you may not see it. Check the name, and log in with "
    "'hf auth login' if it is private."
)


@pytest.mark.parametrize(
    ("act", "sentence"),
    [
        (lambda c: selfsort.from_hub("me/none"), MISSING),
        (
            lambda c: selfsort.from_hub("me/known", revision="v9"),
            "me/known: has no such revision. Give a branch, tag or commit.",
        ),
        (
            lambda c: selfsort.from_hub("a/b/c"),
            "'a/b/c' is no name of a repository: give one such as user/name.",
        ),
        (
            lambda c: selfsort.push_to_hub(c, "no spaces/x"),
            "'no spaces/x' is no name of a repository: give one such as user/name.",
        ),
        (
            lambda c: selfsort.push_to_hub(c, "me/x", token="hf_wrong"),
            "me/x: you may not do that (the hub says 401). Log in with 'hf auth login', with a "
            "token that may write.",
        ),
        (
            lambda c: selfsort.push_to_hub(c.get_params(), "me/x"),
            "push_to_hub takes a fitted estimator of selfsort, or the folder of a run. Got dict "
            "instead.",
        ),
    ],
)
def test_what_the_hub_refuses_is_one_sentence(hub, clusterer, act, sentence):
    hub.repositories["me/known"] = {}
    with pytest.raises(InputError) as caught:
        act(clusterer)
    assert str(caught.value) == sentence
    assert hub.commits == []


@pytest.mark.parametrize("what", ["POST /api/models", "POST /me/x.git", "PUT /store"])
@pytest.mark.parametrize("status", [400, 403])
def test_a_hub_in_trouble(hub, clusterer, what, status):
    hub.refuse[what] = status
    with pytest.raises(InputError) as caught:
        selfsort.push_to_hub(clusterer, "me/x")
    assert str(caught.value).startswith("me/x: ")
    assert str(status) in str(caught.value)


def test_without_a_network_one_line_says_so(hub, monkeypatch, run):
    from huggingface_hub import constants

    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        nowhere = f"http://127.0.0.1:{free.getsockname()[1]}"
    monkeypatch.setattr(constants, "ENDPOINT", nowhere)
    done = call("push", run, "me/x")
    assert (done.code, done.out, done.err.count("\n")) == (2, "", 1)
    assert done.err.startswith(f"selfsort: me/x: {nowhere} cannot be reached (")
    assert done.err.endswith("). Try again with a network.\n")
    with pytest.raises(InputError, match=r"^me/x: http://127.0.0.1:\d+ cannot be reached \("):
        selfsort.from_hub("me/x")


def test_a_damaged_run_is_not_uploaded(hub, run, tmp_path):
    folder = shutil.copytree(run, tmp_path / "run")
    (folder / "model.safetensors").write_bytes((run / "model.safetensors").read_bytes()[:200])
    done = call("push", folder, "me/x")
    assert done.code == 2
    assert done.err.startswith(f"selfsort: {folder}/model.safetensors: cannot be read (")
    assert hub.requests == []
