"""The sorting page without its server: corrections, their log, and what is shown."""

from __future__ import annotations

import contextlib
import copy
import csv
import io
import shutil
import sqlite3
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image
from sklearn.datasets import load_digits

from selfsort import load
from selfsort.errors import InputError
from selfsort.images import ImageSet, read_labels
from selfsort.runs import Request, train
from selfsort.runs.folder import check_free
from selfsort.web import exporting, trying
from selfsort.web.album import Album, png
from selfsort.web.board import REJECTED, Board
from selfsort.web.learning import NotNowError, Trainer, progress_of
from selfsort.web.log import NAME, Log
from selfsort.web.studio import Studio

# ---- the board ----------------------------------------------------------------------------

N = 12


def board() -> Board:
    return Board.begin(["a", "b", "c"], np.arange(N) % 3)


def seen(one: Board) -> Any:
    return copy.deepcopy(
        (one.classes, one.labels.tolist(), one.corrected.tolist(), one.next_class, one.run)
    )


IMAGES = st.lists(st.integers(0, N - 1), min_size=1, max_size=4)
CLASSES = st.integers(0, 5)
CORRECTIONS = st.one_of(
    st.fixed_dictionaries({"kind": st.just("name"), "class": CLASSES, "name": st.text()}),
    st.fixed_dictionaries({"kind": st.just("merge"), "classes": st.lists(CLASSES, max_size=3)}),
    st.fixed_dictionaries({"kind": st.just("move"), "images": IMAGES, "class": CLASSES}),
    st.fixed_dictionaries({"kind": st.just("move"), "images": IMAGES, "new_class": st.text()}),
    st.fixed_dictionaries({"kind": st.sampled_from(["reject", "confirm"]), "images": IMAGES}),
    st.fixed_dictionaries(
        {"kind": st.just("split"), "class": CLASSES, "parts": st.lists(IMAGES, max_size=3)}
    ),
    st.fixed_dictionaries({"kind": st.sampled_from(["undo", "redo"])}),
)


@settings(max_examples=300, deadline=None)
@given(st.lists(CORRECTIONS, max_size=12))
def test_undo_and_redo_walk_through_what_was_seen(corrections: list[dict[str, Any]]) -> None:
    """The history as a list of whole states is what undo and redo have to give."""
    one = board()
    states, position = [seen(one)], 0
    accepted = []
    for correction in corrections:
        before = seen(one)
        try:
            one.apply(correction)
        except InputError:
            assert seen(one) == before  # a refused correction leaves no trace
            continue
        accepted.append(correction)
        if correction["kind"] == "undo":
            position -= 1
        elif correction["kind"] == "redo":
            position += 1
        else:
            states[position + 1 :] = [seen(one)]
            position += 1
        assert seen(one) == states[position]
        assert (one.can_undo is None) == (position == 0)
        assert (one.can_redo is None) == (position == len(states) - 1)
    again = board()
    for correction in accepted:
        again.apply(correction)
    assert seen(again) == seen(one)


def test_each_correction_does_what_it_says() -> None:
    one = board()
    one.apply({"kind": "name", "class": 1, "name": " the  b "})
    one.apply({"kind": "merge", "classes": [0, 2]})
    assert [(k, g.name, g.named, sorted(g.columns)) for k, g in one.classes.items()] == [
        (0, "a", False, [0, 2]),
        (1, "the b", True, [1]),
    ]
    assert one.labels.tolist() == [0, 1, 0] * 4
    assert not one.corrected.any()
    one.apply({"kind": "split", "class": 0, "parts": [[0, 2, 3], [5, 6, 8, 9, 11]]})
    assert np.flatnonzero(one.labels == 3).tolist() == [5, 6, 8, 9, 11]
    assert (one.classes[3].name, sorted(one.classes[3].columns)) == ("a 2", [0, 2])
    one.apply({"kind": "move", "images": [0, 1], "new_class": "new"})
    one.apply({"kind": "reject", "images": [2]})
    one.apply({"kind": "confirm", "images": [3]})
    assert one.labels[:4].tolist() == [4, 4, REJECTED, 0]
    assert np.flatnonzero(one.corrected).tolist() == [0, 1, 2, 3]
    assert one.classes[4].columns == frozenset()


def test_a_refined_network_keeps_what_a_person_decided() -> None:
    one = board()
    one.retrained = lambda correction: ([1, 0], np.zeros(N, np.int64))
    one.apply({"kind": "move", "images": [0, 1], "class": 2})
    before = seen(one)
    one.apply({"kind": "retrain", "run": "refined-1"})
    assert one.labels.tolist() == [2, 2, *[1] * 10]
    assert {k: sorted(group.columns) for k, group in one.classes.items()} == {0: [1], 1: [0], 2: []}
    assert one.run == "refined-1"
    one.apply({"kind": "undo"})
    assert seen(one) == before


@pytest.mark.parametrize(
    ("correction", "message"),
    [
        ({"kind": "burn"}, "There is no correction 'burn'. Known: name, merge, split, move, "
         "reject, confirm, retrain, undo, redo."),
        ({"kind": "undo"}, "There is nothing to take back."),
        ({"kind": "redo"}, "There is nothing to bring back."),
        ({"kind": "name", "class": 7, "name": "x"}, "There is no class 7."),
        ({"kind": "name", "class": True, "name": "x"}, "There is no class True."),
        ({"kind": "name", "class": 0, "name": 3}, "name must be text."),
        ({"kind": "name", "class": 0, "name": " "},
         "name must be from 1 to 100 characters that can be printed."),
        ({"kind": "name", "class": 0, "name": "\x1b[31m"},
         "name must be from 1 to 100 characters that can be printed."),
        ({"kind": "merge", "classes": [1, 1]},
         "classes must be a list of two different classes or more."),
        ({"kind": "move", "images": [], "class": 0},
         "images must be a list of one image or more."),
        ({"kind": "move", "images": [0.5], "class": 0}, "images must be whole numbers."),
        ({"kind": "move", "images": [12], "class": 0}, "images must be from 0 to 11."),
        ({"kind": "split", "class": 0, "parts": [[0], [1]]},
         "Some images of the parts are not in class 0."),
        ({"kind": "split", "class": 0, "parts": [[0]]}, "parts must be a list of two parts or "
         "more."),
    ],
)  # fmt: skip
def test_what_does_not_go_is_told(correction: dict[str, Any], message: str) -> None:
    with pytest.raises(InputError) as caught:
        board().apply(correction)
    assert str(caught.value) == message


# ---- the log ------------------------------------------------------------------------------


def test_a_log_keeps_each_key_once_and_in_order(tmp_path: Path) -> None:
    log = Log(tmp_path / NAME, "run")
    secret = log.secret
    assert [log.add(key, {"kind": key}) for key in ("b", "a", "b")] == [True, True, False]
    log.close()
    again = Log(tmp_path / NAME, "run")
    assert [body["kind"] for body in again] == ["b", "a"]
    assert (again.has("a"), again.has("c"), len(again)) == (True, False, 2)
    assert again.secret == secret
    again.close()


def test_a_log_of_another_run_is_refused(tmp_path: Path) -> None:
    Log(tmp_path / NAME, "run").close()
    with pytest.raises(InputError) as caught:
        Log(tmp_path / NAME, "other")
    assert str(caught.value) == (
        f"{tmp_path / NAME}: belongs to another run or another version. Move it elsewhere to begin "
        "anew."
    )


def change(path: Path, statement: str) -> None:
    with contextlib.closing(sqlite3.connect(path)) as file:
        file.execute(statement)
        file.commit()


def test_a_damaged_log_is_named(tmp_path: Path) -> None:
    (tmp_path / NAME).write_bytes(b"SQLite format 3\0" + b"x" * 2000)
    with pytest.raises(InputError, match="is no log of corrections, or is damaged"):
        Log(tmp_path / NAME, "run")
    (tmp_path / NAME).unlink()
    log = Log(tmp_path / NAME, "run")
    log.add("a", {"kind": "undo"})
    log.close()
    change(tmp_path / NAME, "UPDATE corrections SET body = '{'")
    log = Log(tmp_path / NAME, "run")
    with pytest.raises(InputError, match="its correction 1 is damaged"):
        list(log)
    log.close()
    change(tmp_path / NAME, "UPDATE about SET value = 'x' WHERE name = 'secret'")
    with pytest.raises(InputError, match="is no log of corrections, or is damaged"):
        Log(tmp_path / NAME, "run")


# ---- the studio ---------------------------------------------------------------------------


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a folder with a folder of pictures and a run on it."""
    folder = tmp_path_factory.mktemp("page")
    digits = load_digits(n_class=3)
    for i, pixels in enumerate(digits.images[:180]):
        path = folder / "photos" / f"part {i % 2}" / f"{i:03}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray((pixels * 15.9).astype(np.uint8)).save(path)
    request = Request(
        data=str(folder / "photos"), n_classes=3, epochs=8, out=folder / "run", seed=0
    )
    train(request)
    return folder


@pytest.fixture
def studio(made: Path, tmp_path: Path) -> Any:
    """Return a studio of a copy of the run, with nothing corrected."""
    run = tmp_path / "run"
    shutil.copytree(made / "run", run)
    one = Studio(run)
    yield one
    one.close()


def correct(studio: Studio, **asked: Any) -> dict[str, Any]:
    correct.n = getattr(correct, "n", 0) + 1  # type: ignore[attr-defined]
    return studio.correct(f"key-{correct.n:06}", asked)  # type: ignore[attr-defined]


def ids(studio: Studio, which: str, count: int = 500) -> list[str]:
    return [image["id"] for image in studio.listed(which, count=count)["images"]]


def test_the_state_is_what_the_network_says(studio: Studio) -> None:
    state = studio.state()
    probabilities = studio.estimator("").predict_proba(
        studio.images.images.transpose(0, 2, 3, 1)[..., 0]
    )
    assert [group["size"] for group in state["classes"]] == np.bincount(
        probabilities.argmax(1), minlength=3
    ).tolist()
    assert state["run"]["n_images"] == 180
    first = studio.listed("0", "doubtful")["images"]
    expected = np.sort(probabilities[probabilities.argmax(1) == 0].max(1))
    assert [image["p"] for image in first] == pytest.approx(expected, abs=1e-3)
    assert {image["name"] for image in first} <= set(studio.images.names or ())


def test_lists_are_filtered_and_paged(studio: Studio) -> None:
    everything = studio.listed("all", "file", count=500)
    assert everything["total"] == len(everything["images"]) == 180
    page = studio.listed("all", "file", start=100, count=30)["images"]
    assert page == everything["images"][100:130]
    doubtful = studio.listed("all", "doubtful", most=0.8, count=500)["images"]
    assert [i["id"] for i in doubtful] == [
        i["id"] for i in sorted(everything["images"], key=lambda i: i["p"]) if i["p"] <= 0.8
    ]
    some = studio.listed("all", "file", text="PART 1/00", count=500)["images"]
    assert [image["name"] for image in some] == [f"part 1/{i:03}.png" for i in (1, 3, 5, 7, 9)]
    unusual = studio.listed("all", "unusual", outlier=0.9, count=500)["images"]
    assert [i["outlier"] for i in unusual] == sorted((i["outlier"] for i in unusual), reverse=True)
    assert unusual
    assert min(i["outlier"] for i in unusual) >= 0.9


def test_corrections_are_there_after_it_was_closed(studio: Studio) -> None:
    moved = ids(studio, "0")[:5]
    correct(studio, kind="name", **{"class": 2, "name": "two"})
    correct(studio, kind="move", images=moved, **{"class": 1})
    correct(studio, kind="reject", images=ids(studio, "2")[:2])
    correct(studio, kind="split", **{"class": 0})
    state = correct(studio, kind="undo")
    assert state["did"] == {"kind": "undo", "n_images": 0}
    studio.close()
    again = Studio(studio.folder)
    state.pop("did")
    assert again.state() == state
    assert ids(again, "rejected") == ids(studio, "rejected")
    assert [again.shown(again.album.position_of(name))["class"] for name in moved] == [1] * 5
    again.close()


def test_what_comes_twice_is_done_once(studio: Studio) -> None:
    asked = {"kind": "move", "images": ids(studio, "0")[:1], "new_class": "new"}
    first = studio.correct("the-same-key", asked)
    second = studio.correct("the-same-key", asked)
    assert first == second
    assert [group["name"] for group in second["classes"]].count("new") == 1


def test_what_comes_twice_need_not_be_possible_twice(studio: Studio) -> None:
    """The answer to a split was lost; asked again, the class has one image and cannot be split."""
    pair = ids(studio, "0")[:2]
    state = correct(studio, kind="move", images=pair, new_class="pair")
    number = state["classes"][-1]["id"]
    first = studio.correct("split-of-two", {"kind": "split", "class": number})
    assert [group["size"] for group in first["classes"][-2:]] == [1, 1]
    assert studio.correct("split-of-two", {"kind": "split", "class": number}) == first
    with pytest.raises(InputError, match="A class of one image cannot be split"):
        studio.correct("another-split", {"kind": "split", "class": number})


def test_what_the_disk_refuses_did_not_happen(
    studio: Studio, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = studio.state()

    def full(key: str, body: dict[str, Any]) -> bool:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(studio.log, "add", full)
    with pytest.raises(OSError, match="No space"):
        correct(studio, kind="name", **{"class": 0, "name": "lost"})
    assert studio.state() == before


def test_suggested_images_are_those_of_the_estimator(studio: Studio) -> None:
    X = studio.images.images.transpose(0, 2, 3, 1)[..., 0]
    expected = studio.estimator("").suggest(X, 5)
    found = studio.suggestions(5)["images"]
    assert [studio.album.position_of(image["id"]) for image in found] == expected.tolist()
    correct(studio, kind="confirm", images=[image["id"] for image in found])
    more = studio.suggestions(1000)["images"]
    assert len(more) == 175
    assert not {image["id"] for image in more} & {image["id"] for image in found}


def test_of_very_many_images_some_are_suggested(
    studio: Studio, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("selfsort.web.studio.MOST_LOOKED_AT", 45)
    X = studio.images.images.transpose(0, 2, 3, 1)[..., 0]
    rows = np.linspace(0, len(X) - 1, 45).astype(int)
    expected = rows[studio.estimator("").suggest(X[rows], 5)]
    found = studio.suggestions(5)["images"]
    assert [studio.album.position_of(image["id"]) for image in found] == expected.tolist()
    everything = studio.suggestions(1000)["images"]
    positions = sorted(studio.album.position_of(image["id"]) for image in everything)
    assert positions == rows.tolist()


@pytest.mark.parametrize(
    ("key", "asked", "message"),
    [
        ("short", {"kind": "undo"}, "key must be a text of 8 to 80 letters, made anew for a "
         "correction."),
        ("long-enough", {"kind": "retrain", "run": "x"}, "There is no correction 'retrain' to ask "
         "for."),
        ("long-enough", {"kind": "move", "images": ["../../etc/passwd"], "class": 0},
         "There is no such image."),
        ("long-enough", {"kind": "move", "images": "all", "class": 0},
         "images must be a list of at most 5,000."),
        ("long-enough", {"kind": "split", "class": 9}, "There is no class 9."),
    ],
)  # fmt: skip
def test_what_cannot_be_corrected_is_told(
    studio: Studio, key: str, asked: dict[str, Any], message: str
) -> None:
    with pytest.raises(InputError) as caught:
        studio.correct(key, asked)
    assert str(caught.value) == message
    assert len(studio.log) == 0


def test_an_unfinished_run_has_no_page(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no run to go on with"):
        Studio(tmp_path)


# ---- trying and exporting -----------------------------------------------------------------


def test_a_picture_gets_the_class_that_predict_gives(studio: Studio) -> None:
    pixels = studio.images.images[7]
    found = trying.classify(studio, trying.as_url(pixels), drawn=False)
    X = pixels.transpose(1, 2, 0)[None, ..., 0]
    assert found["class"] == int(studio.estimator("").predict(X)[0])
    assert sum(one["p"] for one in found["probabilities"]) == pytest.approx(1, abs=1e-3)
    assert found["nearest"][0] == studio.album.id_of(7)
    assert found["input"] == trying.as_url(pixels)
    style = trying.styles(studio)["dims"]
    assert len(style) == len(found["style"]) == 16
    decoded = trying.decode(studio, {"class": found["class"], "style": found["style"]})
    assert decoded["image"].startswith("data:image/png;base64,")


def test_a_morph_begins_and_ends_at_the_prototypes(studio: Studio) -> None:
    for share, number in ((0.0, 0), (1.0, 2)):
        found = trying.decode(studio, {"class": 0, "to": 2, "share": share})["image"]
        assert trying.decoded(found) == trying.prototype(studio, number)
    prototypes = studio.estimator("").prototypes_
    expected = np.rint(prototypes[1].clip(0, 255)).astype(np.uint8)
    shown = np.asarray(Image.open(io.BytesIO(trying.prototype(studio, 1))))
    assert np.abs(shown.astype(int) - expected).max() <= 1


def test_a_drawing_gets_size_and_place_of_the_images() -> None:
    images = np.zeros((4, 1, 16, 16), np.uint8)
    images[:, :, 4:12, 6:10] = 255
    drawing = np.zeros((1, 64, 64), np.uint8)
    drawing[:, 2:34, 40:56] = 255  # as high to its width, elsewhere and larger
    assert np.array_equal(trying.as_drawn_in(ImageSet(images), drawing), images[0])
    inverted = trying.as_drawn_in(ImageSet(255 - images), drawing)
    assert np.array_equal(inverted, 255 - images[0])
    with pytest.raises(InputError, match="There is nothing drawn"):
        trying.as_drawn_in(ImageSet(images), np.zeros((1, 64, 64), np.uint8))


@pytest.mark.parametrize(
    "picture", [None, "", "data:text/html;base64,AAAA", "data:image/png;base64,%%%", "/etc/passwd"]
)
def test_only_pictures_are_read(picture: object) -> None:
    with pytest.raises(InputError) as caught:
        trying.decoded(picture)
    assert str(caught.value) == "image must be a data URL of a PNG or JPEG."


def test_what_only_says_it_is_a_picture_is_refused(studio: Studio) -> None:
    with pytest.raises(InputError) as caught:
        trying.classify(studio, "data:image/png;base64,R0lGODdhAQABAIAA", drawn=False)
    assert str(caught.value) == (
        "the picture: not a readable PNG or JPEG (the content is neither). Nothing was written."
    )


def test_an_export_has_every_image_in_the_folder_of_its_class(studio: Studio, made: Path) -> None:
    correct(studio, kind="name", **{"class": 0, "name": "../zero"})
    correct(studio, kind="reject", images=ids(studio, "1")[:3])
    for how, name in (("copy", "export"), ("link", "export-2")):
        folder, n_images = exporting.export_folders(studio, how)
        assert (folder, n_images) == (studio.folder.absolute() / name, 180)
        found = sorted(path for path in folder.rglob("*.png"))
        assert len(found) == 180
        assert {path.parent.name for path in found} == {
            "zero", "class 1", "class 2", "none of these",
        }  # fmt: skip
        for path in found[::20]:
            source = made / "photos" / path.name.replace("_", "/")
            assert path.read_bytes() == source.read_bytes()
            assert path.samefile(source) == (how == "link")
        index, names = read_labels(folder / "labels.csv", studio.images.names, 180)
        assert names == ("../zero", "class 1", "class 2")
        assert int((index < 0).sum()) == 3
    rows = list(csv.reader(io.StringIO(exporting.labels_csv(studio))))
    assert rows[0] == ["file", "class"]
    assert len(rows) == 181


def test_two_exports_at_once_are_two_folders(studio: Studio) -> None:
    with ThreadPoolExecutor(2) as pool:
        done = list(pool.map(lambda how: exporting.export_folders(studio, how), ("copy", "link")))
    folders = {folder for folder, _ in done}
    assert {folder.name for folder in folders} == {"export", "export-2"}
    assert [len(list(folder.rglob("*.png"))) for folder in folders] == [180, 180]


def test_corrections_are_no_files_of_a_run(studio: Studio, made: Path) -> None:
    """They keep a run from being replaced; what the page only keeps for speed does not."""
    (studio.folder / ".page.lock").touch()
    with pytest.raises(InputError) as caught:
        train(Request(data=str(made / "photos"), n_classes=3, out=studio.folder, force=True))
    assert "holds files that no run wrote, such as 'corrections.sqlite'" in str(caught.value)
    (studio.folder / "corrections.sqlite").unlink()
    check_free(studio.folder, force=True)


def test_images_of_an_array_are_written(studio: Studio) -> None:
    studio.images = ImageSet(studio.images.images)
    studio.album = Album(studio.images, b"secret")
    folder, _ = exporting.export_folders(studio, "copy")
    path = next(folder.rglob("17.png"))
    assert np.array_equal(np.asarray(Image.open(path)), studio.images.images[17, 0])


def test_names_of_images_tell_nothing(studio: Studio) -> None:
    names = [studio.album.id_of(i) for i in range(180)]
    assert len(set(names)) == 180
    other = Album(studio.images, b"another secret")
    assert not set(names) & {other.id_of(i) for i in range(180)}
    assert studio.album.thumbnail(3) == png(studio.images.images[3])


# ---- learning from corrections ------------------------------------------------------------


def wait_for(trainer: Trainer) -> dict[str, Any]:
    assert trainer.current is not None
    assert trainer.current.process is not None
    trainer.current.process.wait(timeout=300)
    while (told := trainer.told()) is not None and told["state"] == "running":
        time.sleep(0.05)
    assert told is not None
    return told


def test_the_network_learns_from_corrections(studio: Studio) -> None:
    trainer = Trainer(studio)
    with pytest.raises(NotNowError, match="Nothing was corrected yet"):
        trainer.start()
    first = ids(studio, "0")
    correct(studio, kind="move", images=first[:12], new_class="new")
    trainer.start()
    with pytest.raises(NotNowError, match="A training is running already"):
        trainer.start()
    told = wait_for(trainer)
    assert told["error"] is None
    assert told["state"] == "done"
    assert told["before"]["agreement"] == 0  # the network did not know that class
    assert told["after"]["agreement"] > 0.5
    assert studio.state()["can_undo"] == "move"  # nothing is changed before it is kept
    studio.close()

    again = Studio(studio.folder)  # closed and opened, it is still to be decided on
    trainer = Trainer(again)
    told_again = trainer.told()
    assert told_again is not None
    assert told_again["after"] == told["after"]
    state = trainer.keep()
    assert state["can_undo"] == "retrain"
    assert all(again.board.labels[again.album.position_of(name)] == 3 for name in first[:12])
    assert trainer.told() is None
    assert {k: len(g.columns) for k, g in again.board.classes.items()} == {0: 1, 1: 1, 2: 1, 3: 1}
    again.close()

    last = Studio(studio.folder)
    assert last.state() == state
    assert Trainer(last).told() is None
    assert (studio.folder / "refined-1" / "report.html").is_file()
    last.close()


def test_a_training_can_be_cancelled_and_thrown_away(studio: Studio) -> None:
    correct(studio, kind="confirm", images=ids(studio, "0")[:3])
    trainer = Trainer(studio)
    trainer.start()
    process = trainer.current.process if trainer.current else None
    trainer.cancel()
    assert trainer.told() is None
    assert process is not None
    assert process.wait(timeout=60) != 0
    with pytest.raises(NotNowError, match="There is no training to decide on"):
        trainer.keep()
    assert not list(studio.folder.glob("refined-*"))
    for name in ("refined-7", "refined-by-hand"):  # what a killed page left, and a person's own
        (studio.folder / name).mkdir()
    assert Trainer(studio).told() is None
    assert [path.name for path in studio.folder.glob("refined-*")] == ["refined-by-hand"]


def test_what_was_thrown_away_is_not_used_again(studio: Studio) -> None:
    """The next network gets the name of the last; what it says must be its own."""
    trainer = Trainer(studio)
    correct(studio, kind="move", images=ids(studio, "0")[:12], new_class="new")
    trainer.start()
    assert wait_for(trainer)["state"] == "done"
    assert studio.known_classes("refined-1") == [0, 1, 2, 3]
    trainer.discard()
    assert not (studio.folder / "refined-1").exists()
    correct(studio, kind="undo")
    confirmed = ids(studio, "1")[:5]
    correct(studio, kind="confirm", images=confirmed)
    trainer.start()
    told = wait_for(trainer)
    assert studio.known_classes("refined-1") == [0, 1, 2]
    rows = [studio.album.position_of(name) for name in confirmed]
    X = studio.images.images.transpose(0, 2, 3, 1)[rows][..., 0]
    says = load(studio.folder / "refined-1").predict(X)
    agreed = float(np.mean([str(name) == "1" for name in says]))
    assert told["after"]["agreement"] == pytest.approx(agreed)


def test_progress_is_read_from_the_history(tmp_path: Path) -> None:
    path = tmp_path / "history.jsonl"
    assert progress_of(path) == ("", 0.0)
    path.write_text('{"stage": "second self-training", "epoch": 1, "n_epochs": 2}\n{"sta')
    assert progress_of(path) == ("", 0.0)
    path.write_text('{"stage": "second self-training", "epoch": 1, "n_epochs": 2}\n')
    assert progress_of(path) == ("second self-training", (3 + 3 + 4 / 2) / 20)
