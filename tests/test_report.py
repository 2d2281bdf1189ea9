"""The report: one page that needs nothing else, whatever the names in it are."""

from __future__ import annotations

import base64
import io
import json
import math
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from selfsort.errors import InputError
from selfsort.report import write_report

RESULT = {
    "recipe": "sort",
    "data": "digits",
    "seed": 12345,
    "n_classes": 10,
    "n_labels": 0,
    "epochs": 16,
    "train_seconds": 240.3,
    "images_per_second": 4012.3,
    "interrupted": False,
    "matched": True,
    "command": "selfsort train digits --seed 12345",
    "date": "2026-09-14T10:22:31+00:00",
    "machine": "2 cores",
    "threads": 2,
    "versions": {"selfsort": "0.1.0", "numpy": "2.4.6"},
    "stage_seconds": {"fine": 92.1, "graph": 15.3, "decoder": 7300},
    "train": {
        "accuracy": 0.98123,
        "nmi": 0.951,
        "ari": 0.957,
        "ece": 0.0113,
        "classes_in_use": 10,
        "reconstruction_mse": 0.0312,
        "n_images": 60000,
    },
    "test": {
        "accuracy": 0.97832,
        "nmi": 0.9481,
        "ari": 0.9522,
        "ece": 0.0125,
        "classes_in_use": 10,
        "reconstruction_mse": 0.0324,
        "n_images": 10000,
    },
    "extra": {"n_fine": 100},
}
PICTURES = [
    *("reconstructions", "epochs", "prototypes", "samples", "confusion", "coverage"),
    *("choice", "outliers", "map", "curves", "tradeoff"),
]
NO_SCORES = {"accuracy": None, "nmi": None, "ari": None, "ece": None, "classes_in_use": 0}
VOID = {"meta", "img", "br", "link"}


class Page(HTMLParser):
    """Tags with their attributes, the text of each element, and what was left open."""

    def __init__(self, path: Path) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.texts: list[tuple[str, str]] = []
        self.open: list[str] = []
        self.feed(path.read_text(encoding="utf-8"))

    def handle_starttag(self, tag, attrs):
        self.tags.append((tag, dict(attrs)))
        if tag not in VOID:
            self.open.append(tag)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        if data.strip():
            self.texts.append((self.open[-1] if self.open else "", " ".join(data.split())))

    def all(self, tag: str) -> list[dict[str, str | None]]:
        return [attributes for name, attributes in self.tags if name == tag]

    def text(self, *tags: str) -> list[str]:
        return [text for name, text in self.texts if name in tags]


def png(side: int = 4, noise: int | None = None) -> bytes:
    shape = (side, side, 3)
    pixels = np.zeros(shape, np.uint8)
    if noise is not None:
        pixels = np.random.default_rng(noise).integers(0, 256, shape, dtype=np.uint8)
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, "PNG")
    return buffer.getvalue()


def make_run(folder: Path, **changes: object) -> Path:
    (folder / "result.json").write_text(json.dumps({**RESULT, **changes}))
    rows = [{"stage": "fine", "epoch": i, "loss": 1.0} for i in (1, 2, 3)]
    lines = [json.dumps(row) for row in [*rows, {"stage": "decoder", "epoch": 1}]]
    (folder / "history.jsonl").write_text("\n".join([*lines, '{"stage": "dec']))
    return folder


@pytest.fixture
def run(tmp_path) -> Path:
    """A finished run with all its pictures."""
    for name in [*PICTURES, "class-0", "class-2", "class-10"]:
        (tmp_path / f"{name}.png").write_bytes(png())
    return make_run(tmp_path)


def test_the_page_needs_nothing_but_itself(run):
    path = write_report(run)
    text, page = path.read_text(encoding="utf-8"), Page(path)
    assert path == run / "report.html"
    assert page.open == []
    for forbidden in ("http://", "https://", "<link", "<script", "@import", "url("):
        assert forbidden not in text
    loaded = [v for _, a in page.tags for k, v in a.items() if k in ("src", "srcset", "href")]
    assert len(loaded) == len(PICTURES) + 3
    assert all(value.startswith("data:image/png;base64,") for value in loaded)


def test_every_picture_is_embedded_unchanged_with_size_and_words(run):
    images = Page(write_report(run)).all("img")
    for image in images:
        assert base64.b64decode(image["src"].partition(",")[2]) == png()
        assert (image["width"], image["height"]) == ("4", "4")
        assert len(image["alt"]) > 20
    assert images[0]["alt"] == "One picture for each class: the decoder's prototype of it."


def test_the_classes_come_in_the_order_of_their_numbers(run):
    assert Page(write_report(run)).text("h3") == ["Class 0", "Class 2", "Class 10"]


def test_headings_and_tables_are_named(run):
    page = Page(write_report(run))
    assert page.text("h1") == ["digits"]
    assert page.text("h2") == [
        "Figures",
        "What each class looks like",
        "New images of each class",
        "Images and their reconstructions",
        "Which classes are mixed up",
        "What doubt tells",
        "How many classes there are",
        "The most unusual images",
        "A map of the images",
        "Learning curves",
        "Accuracy against reconstruction",
        "The same images after each epoch",
        "Images of each class",
        "Time",
        "More from this recipe",
        "What was assumed",
        "How to reproduce it",
    ]
    assert len(page.text("caption")) == len(page.all("table")) == 3


def test_what_is_not_there_is_not_shown(tmp_path):
    page = Page(write_report(make_run(tmp_path, test=None, extra={})))
    assert page.all("img") == []
    assert page.text("h2") == ["Figures", "Time", "What was assumed", "How to reproduce it"]
    assert "Test" not in page.text("th")


def test_numbers_are_written_for_people(run):
    cells = Page(write_report(run)).text("td")
    assert cells == [
        *("60,000", "10,000"),
        *("98.12 %", "97.83 %"),
        *("0.9510", "0.9481"),
        *("0.9570", "0.9522"),
        *("1.13 %", "1.25 %"),
        *("10", "10"),
        *("0.0312", "0.0324"),
        *("3", "1.5 minutes"),
        *("n/a", "15 seconds"),
        *("1", "2.0 hours"),
        *("16", "4.0 minutes"),
        "100",
    ]


def test_where_it_came_from_is_told(run):
    page = Page(write_report(run))
    assert page.text("code") == ["selfsort train digits --seed 12345"]
    origin = dict(zip(page.text("dt"), page.text("dd"), strict=True))
    assert (origin["Seed"], origin["Speed"]) == ("12345", "4,012 images per second")
    assert origin["Versions"] == "selfsort 0.1.0, numpy 2.4.6"


def test_a_run_without_labels_in_words(run):
    assert Page(write_report(run)).text("p")[1:4] == [
        "Sorted 60,000 images into 10 classes without labels in 4.0 minutes.",
        "On the 10,000 test images, 97.8 % fall in the class that matches their label best.",
        f"A pixel of a rebuilt image is typically {100 * math.sqrt(0.0324):.0f} % of the "
        "brightness range away from the original.",
    ]
    assert Page(write_report(run)).text("li") == [
        "Labels were used only to score: the training never saw one.",
        "The number of classes, 10, was given, not found.",
        "For the accuracy each class got one label and each label one class, so that as many "
        "images as possible agree.",
        "The test images took no part in the training.",
    ]


@pytest.mark.parametrize(
    ("changes", "sentences"),
    [
        (
            {"n_labels": 100, "matched": False},
            [
                "Learned 10 classes from 60,000 images, 100 of them with labels, in 4.0 minutes.",
                "On the 10,000 test images, 97.8 % are put in the right class.",
            ],
        ),
        (
            {"n_labels": 60000, "matched": False, "test": None, "train_seconds": 42},
            [
                "Learned 10 classes from 60,000 images, all with labels, in 42 seconds.",
                "On the 60,000 training images, 98.1 % are put in the right class.",
            ],
        ),
        (
            {"n_classes": None, "train": NO_SCORES, "test": None},
            [
                "Trained an autoencoder without classes on the images of digits in 4.0 minutes.",
                "There is no accuracy: there are no classes.",
            ],
        ),
        (
            {"train": {**NO_SCORES, "classes_in_use": 7}, "test": None, "interrupted": True},
            [
                "Sorted the images of digits into 10 classes without labels in 4.0 minutes.",
                "There is no accuracy: no labels to compare.",
                "The training was stopped early: these figures are what it had learned.",
                "The decoder had learned nothing yet: its pictures mean nothing.",
                "Only 7 of 10 classes are in use.",
            ],
        ),
    ],
)
def test_other_runs_in_words(tmp_path, changes, sentences):
    page = Page(write_report(make_run(tmp_path, **changes)))
    assert page.text("p")[1 : 1 + len(sentences)] == sentences


def test_labels_that_were_used_are_told(tmp_path):
    page = Page(write_report(make_run(tmp_path, n_labels=100, matched=False)))
    assert page.text("li")[0] == "The training saw the labels of 100 images."
    page = Page(write_report(make_run(tmp_path, train=NO_SCORES, test=None)))
    assert page.text("li")[0] == "No labels were used: the training never saw one."


def test_a_number_of_classes_that_was_found_is_told(tmp_path):
    page = Page(write_report(make_run(tmp_path, asked={"n_classes": "auto"})))
    assert page.text("li")[1] == "The number of classes, 10, was found in the images, not given."
    page = Page(write_report(make_run(tmp_path, asked={"n_classes": 10})))
    assert page.text("li")[1] == "The number of classes, 10, was given, not found."
    page = Page(write_report(make_run(tmp_path, asked={"n_classes": 10}, natural_n_classes=13)))
    expected = "The number of classes, 10, was given, not found. The images themselves suggest 13."
    assert page.text("li")[1] == expected


def test_hostile_names_are_text(tmp_path):
    bad = '<script>alert(1)</script>"><img src=x onerror=alert(2)>'
    changes: dict[str, object] = dict.fromkeys(
        ("data", "recipe", "command", "date", "machine", "seed"), bad
    )
    changes |= {"extra": {bad: bad}, "versions": {bad: bad}, "stage_seconds": {bad: 1.0}}
    page = Page(write_report(make_run(tmp_path, **changes)))
    assert page.all("script") == page.all("img") == []
    assert page.text("h1") == page.text("code") == [bad]
    assert not [key for _, attributes in page.tags for key in attributes if key.startswith("on")]


def test_the_page_stays_below_five_megabytes(run):
    for i in range(5):
        (run / f"class-{i}.png").write_bytes(png(560, noise=i))  # 0.9 MB each
    path = write_report(run)
    assert path.stat().st_size < 5_000_000
    assert len(Page(path).all("img")) == len(PICTURES) + 6


def test_values_that_are_not_finite_are_not_shown_as_numbers(tmp_path):
    scores = {**NO_SCORES, "reconstruction_mse": math.nan}
    page = Page(write_report(make_run(tmp_path, train=scores, test=None)))
    assert page.text("td")[:6] == ["n/a", "n/a", "n/a", "n/a", "0", "n/a"]


def test_a_result_with_little_in_it_still_gives_a_page(tmp_path):
    (tmp_path / "result.json").write_text('{"data": "digits", "recipe": "plain"}')
    assert Page(write_report(tmp_path)).text("h1") == ["digits"]


def test_a_folder_without_a_run_is_named(tmp_path):
    with pytest.raises(InputError) as error:
        write_report(tmp_path)
    assert str(error.value) == (
        f"{tmp_path}: no run (there is no result.json). "
        "Give a folder that 'selfsort train DATA --out DIR' has written."
    )
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("content", "fact"),
    [
        ('{"recipe": ', "Expecting value: line 1 column 12 (char 11)"),
        ("[1, 2]", "it holds no object"),
    ],
)
def test_a_broken_result_is_named(tmp_path, content, fact):
    (tmp_path / "result.json").write_text(content)
    with pytest.raises(InputError) as error:
        write_report(tmp_path)
    path = tmp_path / "result.json"
    assert str(error.value) == f"{path}: not readable ({fact}). Run the training again."


def test_a_broken_picture_is_named_and_the_old_page_stays(run):
    path = write_report(run)
    before = path.read_bytes()
    (run / "curves.png").write_bytes(b"no picture")
    with pytest.raises(InputError) as error:
        write_report(run)
    assert str(error.value) == (
        f"{run / 'curves.png'}: not a readable PNG. Delete it, or run the training again."
    )
    assert path.read_bytes() == before
