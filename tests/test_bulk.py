"""Predictions in parts: the same facts as the CSV file, from any source, resumed after any end.

A long form with more kills: `python tests/long/bulk.py KILLS`.
"""

from __future__ import annotations

import csv
import io
import json
import random
import shutil
import tarfile
from pathlib import Path
from unittest import mock

import malformed
import numpy as np
import pytest
from bulk_killing import kill_at_random
from malformed_bulk import BULK, HEAVY
from PIL import Image
from platforms import needs_signals
from rich.console import Console
from running import WORDS, call, digits, tree, write_folder, write_npz

from selfsort.errors import InputError
from selfsort.runs import predict_in_parts, predict_to_csv
from selfsort.runs.bulk import making
from selfsort.verified import matching

pa = pytest.importorskip("pyarrow", reason="the extra data is not installed")
pq = pytest.importorskip("pyarrow.parquet")
pd = pytest.importorskip("pandas")
QUIET = Console(quiet=True)
N = 90


@pytest.fixture(scope="module")
def place(tmp_path_factory) -> Path:
    """Return a folder with a run, and the same images as an array and as pictures."""
    place = tmp_path_factory.mktemp("bulk")
    options = ("--labels", "all", "--epochs", 1, "--threads", 1)
    write_npz(place / "data.npz", n=60, n_test=0)
    assert call("train", place / "data.npz", "--out", place / "run", *options).code == 0
    np.save(place / "new.npy", digits(N)[0])
    write_folder(place / "photos", n=N)
    return place


@pytest.fixture(scope="module")
def named_run(place) -> Path:
    """Return the run with words for its classes."""
    run = place / "named" / "run"
    shutil.copytree(place / "run", run)
    config = json.loads((run / "config.json").read_text())
    words = [WORDS[k] for k in config["classes"]]
    (run / "config.json").write_text(json.dumps(config | {"classes": words}))
    return run


def parts_of(out: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in matching(out, "part-*")}


def table_of(out: Path) -> pd.DataFrame:
    return pd.read_parquet(out)


def predicted(run: Path, data: Path, out: Path, **options: object) -> pd.DataFrame:
    predict_in_parts(run, data, out, console=QUIET, **{"part_size": 40, **options})
    return table_of(out)


# ---- what is written --------------------------------------------------------------------------


def same_as_csv(run: Path, data: str, folder: Path, **options: object) -> None:
    predict_to_csv(run, data, folder / "classes.csv", **options)
    found = predicted(run, Path(data), folder / "classes", **options)
    with (folder / "classes.csv").open(encoding="utf-8") as file:
        header, *rows = csv.reader(file)
    assert list(found.columns) == header
    assert len(found) == len(rows)
    for (key, name, probability, outlier), row in zip(rows, found.itertuples(), strict=True):
        assert key == str(row[1])
        assert name == ("" if pd.isna(row[2]) else f"{row[2]:g}" if name.isdigit() else row[2])
        assert float(probability) == pytest.approx(row.probability, abs=2e-6)
        # It says which share of 60 training images is less unusual.
        assert float(outlier) == pytest.approx(row.outlier, abs=1e-6)


def test_an_array_gives_what_the_csv_file_holds(place, tmp_path) -> None:
    same_as_csv(place / "run", str(place / "new.npy"), tmp_path)


def test_pictures_and_doubt_give_what_the_csv_file_holds(place, named_run, tmp_path) -> None:
    same_as_csv(named_run, str(place / "photos"), tmp_path, abstain=0.3, on_error="skip")
    kinds = pq.read_schema(tmp_path / "classes" / "part-000000.parquet")
    assert [str(field.type) for field in kinds] == [
        "string",
        "dictionary<values=string, indices=int32, ordered=0>",
        "float",
        "double",
    ]
    doubtful = table_of(tmp_path / "classes")["class"].isna().sum()
    assert 0 < doubtful < N


def test_a_named_data_set_and_what_is_said(place, tmp_path) -> None:
    out = tmp_path / "classes"
    outcome = call("predict", place / "run", "digits", "--out", f"{out}/", "--abstain", 1)
    table = table_of(out)
    assert outcome.out == f"{out}/: {len(table)} images in 1 part, {len(table)} of them in doubt\n"
    assert table["class"].isna().all()
    assert outcome.err.startswith(f"part-000000.parquet: {len(table)} of {len(table)} images, ")


def test_the_parts_are_the_images_in_their_order(place, tmp_path) -> None:
    whole = predicted(place / "run", place / "new.npy", tmp_path / "whole", part_size=N)
    made = predict_in_parts(
        place / "run", place / "new.npy", tmp_path / "parts", part_size=40, console=QUIET
    )
    assert made == (N, 0, 3, 0)
    sizes = [pq.read_metadata(path).num_rows for path in matching(tmp_path / "parts", "part-*")]
    assert sizes == [40, 40, 10]
    found = table_of(tmp_path / "parts")
    assert found["index"].tolist() == list(range(N))
    assert found["class"].tolist() == whole["class"].tolist()
    np.testing.assert_allclose(found.probability, whole.probability, atol=1e-6)


def test_only_some_images_are_read_at_once(place, tmp_path, monkeypatch) -> None:
    monkeypatch.setattr(making, "BATCHES_AT_ONCE", 1)
    monkeypatch.setattr(making, "evaluation_batch", lambda shape: 16)
    seen = []
    with mock.patch.object(
        making.PartMaker,
        "_judged",
        autospec=True,
        side_effect=lambda self, chunk: seen.append(len(chunk.images)) or making.Judged(),
    ):
        predict_in_parts(
            place / "run", place / "new.npy", tmp_path / "out", part_size=40, console=QUIET
        )
    assert seen == [16, 16, 8, 16, 16, 8, 10]


def write_tables(folder: Path) -> dict[str, Path]:
    """Write the digits in each kind of file that is read range by range."""
    images, _ = digits(N)
    pictures = []
    for image in images:
        out = io.BytesIO()
        Image.fromarray(image).save(out, "PNG")
        pictures.append(out.getvalue())
    rows = [{"bytes": content, "path": None} for content in pictures]
    kinds = {
        "structures": pa.array(rows, pa.struct([("bytes", pa.binary()), ("path", pa.string())])),
        "bytes": pa.array(pictures),
        "lists": pa.array(images.reshape(N, -1).tolist(), pa.list_(pa.uint8())),
        "nested": pa.array(images.tolist(), pa.list_(pa.list_(pa.int64()))),
        "fixed": pa.FixedSizeListArray.from_arrays(images.ravel(), 16 * 16),
    }
    made = {}
    for name, column in kinds.items():
        table = pa.table({"number": range(N), "image": column})
        made[name] = folder / f"{name}.parquet"
        pq.write_table(table, made[name], row_group_size=33)
    for name, writer in {"stream": pa.ipc.new_stream, "footer": pa.ipc.new_file}.items():
        made[name] = folder / f"{name}.arrow"
        with pa.OSFile(str(made[name]), "wb") as file, writer(file, table.schema) as out:
            out.write_table(table, max_chunksize=33)
    made["files"] = folder / "files"
    made["files"].mkdir()
    for i, start in enumerate(range(0, N, 25)):
        pq.write_table(table.slice(start, 25), made["files"] / f"{i}.parquet")
    made["shards"] = folder / "shards"
    made["shards"].mkdir()
    for i, start in enumerate(range(0, N, 25)):
        with tarfile.open(made["shards"] / f"{i}.tar", "w") as tar:
            for j, content in enumerate(pictures[start : start + 25], start):
                for name, part in ((f"{j:03}.png", content), (f"{j:03}.cls", b"3")):
                    info = tarfile.TarInfo(name)
                    info.size = len(part)
                    tar.addfile(info, io.BytesIO(part))
    return made


def test_every_kind_of_file_gives_the_same_rows(place, tmp_path) -> None:
    wanted = predicted(place / "run", place / "new.npy", tmp_path / "wanted")
    (tmp_path / "data").mkdir()
    kinds = write_tables(tmp_path / "data") | {"photos": place / "photos"}
    for name, data in kinds.items():
        found = predicted(place / "run", data, tmp_path / name)
        key = found.columns[0]
        assert key == ("file" if name in ("shards", "photos") else "index"), name
        assert found.drop(columns=key).equals(wanted.drop(columns="index")), name
        if key == "index":
            assert found[key].tolist() == list(range(N)), name
    assert table_of(tmp_path / "shards").file[25] == "1.tar/025.png"


def test_the_images_may_be_in_colour_or_of_another_size(place, tmp_path) -> None:
    write_folder(tmp_path / "photos", n=12, side=20)
    small = predicted(place / "run", tmp_path / "photos", tmp_path / "small")
    assert len(small) == 12
    for path in matching(tmp_path / "photos", "*.png"):
        Image.open(path).convert("RGB").save(path)  # grey all the same
    again = predicted(place / "run", tmp_path / "photos", tmp_path / "again")
    assert again.equals(small)
    red = tmp_path / "photos" / "red.png"
    Image.new("RGB", (20, 20), "red").save(red)
    with pytest.raises(InputError) as raised:
        predicted(place / "run", tmp_path / "photos", tmp_path / "no")
    assert str(raised.value) == (
        f"{red}: is in colour, but images of 1 channel are needed. Make it grey."
    )


def test_broken_pictures_are_left_out_and_listed_also_after_a_resume(place, tmp_path) -> None:
    photos = write_folder(tmp_path / "photos", n=50)
    for name in ("003.png", "044.png"):
        (photos / name).write_bytes(b"no picture")
    out = tmp_path / "classes"
    command = ("predict", place / "run", photos, "--out", out, "--part-size", 20)
    stopped = call(*command, "--on-error", "stop")
    assert (stopped.code, out.exists()) == (2, False)
    first = call(*command)
    assert first.out == f"{out}: 48 images in 3 parts\n"
    told = [
        "Left out 2 of 50 pictures:",
        f"  {photos}/003.png: not a readable PNG or JPEG (the content is neither).",
        f"  {photos}/044.png: not a readable PNG or JPEG (the content is neither).",
    ]
    assert first.err.splitlines()[-3:] == told
    assert not {"003.png", "044.png"} & set(table_of(out).file)
    again = call(*command)
    assert (again.code, again.out) == (0, first.out)
    assert again.err.splitlines() == ["Going on: 3 of 3 parts are there.", *told]


def test_nothing_that_can_be_read(place, tmp_path) -> None:
    photos = write_folder(tmp_path / "photos", n=2)
    for path in matching(photos, "*.png"):
        path.write_bytes(b"")
    outcome = call("predict", place / "run", photos, "--out", tmp_path / "out")
    assert outcome.code == 2
    assert outcome.err.startswith(f"selfsort: {photos}: none of its 2 pictures can be read. ")
    assert not (tmp_path / "out").exists()


# ---- arrays -----------------------------------------------------------------------------------


def test_floats_are_scaled_by_all_of_them(place, tmp_path) -> None:
    """Whether 1 is white depends on images that are in another part."""
    images = digits(N)[0].astype(np.float32)
    images[:40] /= 255
    np.save(tmp_path / "floats.npy", images)
    np.save(tmp_path / "dark.npy", np.rint(images).astype(np.uint8))
    floats = predicted(place / "run", tmp_path / "floats.npy", tmp_path / "a")
    dark = predicted(place / "run", tmp_path / "dark.npy", tmp_path / "b")
    assert floats.equals(dark)


@pytest.mark.parametrize(
    ("damage", "sentence"),
    [
        (np.nan, "has NaN, infinity or a value too large for float32, first in row 77. Remove or"),
        (300, ": the pixels go from 0 to 300. Scale them to 0..1 or 0..255."),
    ],
)
def test_a_wrong_number_at_the_end_is_seen_before_anything_is_written(
    place, tmp_path, damage, sentence, monkeypatch
) -> None:
    monkeypatch.setattr("selfsort.sources.stored.AT_ONCE", 16 * 16 * 4 * 10)
    images = digits(N)[0].astype(np.float32)
    images[77, 3, 3] = damage
    np.save(tmp_path / "floats.npy", images)
    with pytest.raises(InputError, match=sentence):
        predicted(place / "run", tmp_path / "floats.npy", tmp_path / "out")
    assert not (tmp_path / "out").exists()


# ---- going on ---------------------------------------------------------------------------------


def test_parts_that_are_there_and_sound_are_kept(place, tmp_path) -> None:
    out = tmp_path / "classes"
    run, data = place / "run", place / "new.npy"
    wanted = predicted(run, data, out, part_size=10)
    whole = parts_of(out)
    assert len(whole) == 9
    paths = matching(out, "part-*")
    paths[1].unlink()
    paths[2].write_bytes(whole[paths[2].name][:-1])
    paths[3].write_bytes(whole[paths[4].name])  # sound, but other images
    fewer = pq.read_table(paths[5])
    pq.write_table(fewer.slice(1), paths[5])  # its footer says the rows, not the metadata
    (out / f".{paths[6].name}.part").write_bytes(b"of a killed process")
    kept = {path.name: path.stat().st_mtime_ns for path in (paths[0], paths[4], *paths[6:])}
    made = predict_in_parts(run, data, out, part_size=10, console=QUIET)
    assert made.n_kept == 5
    assert parts_of(out) == whole
    assert {name: (out / name).stat().st_mtime_ns for name in kept} == kept
    assert sorted(tree(out)) == ["_manifest.json", *sorted(whole)]
    assert table_of(out).equals(wanted)


OTHERS = {
    "part size: 40 instead of 41": {"part_size": 41},
    "--abstain: None instead of 0.5": {"abstain": 0.5},
    "--on-error: stop instead of skip": {"on_error": "skip"},
    "number of threads: 1 instead of 2": {"threads": 2},
}


@pytest.mark.parametrize("what", OTHERS)
def test_other_options_are_refused(place, tmp_path, what) -> None:
    out = tmp_path / "classes"
    predicted(place / "run", place / "new.npy", out)
    before = tree(out)
    with pytest.raises(InputError) as raised:
        predicted(place / "run", place / "new.npy", out, **OTHERS[what])
    assert str(raised.value) == (
        f"{out}: was begun with another {what}. Nothing was written: give another --out, or "
        "--force to begin anew."
    )
    assert tree(out) == before
    predicted(place / "run", place / "new.npy", out, force=True, **OTHERS[what])
    assert not matching(out, ".*")


def test_another_model_and_other_data_are_refused(place, named_run, tmp_path) -> None:
    out, data = tmp_path / "classes", tmp_path / "new.npy"
    data.write_bytes((place / "new.npy").read_bytes())
    predicted(place / "run", data, out)
    with pytest.raises(InputError, match=r"another model: .*/run \(\w{8}\) instead of .*/run \("):
        predicted(named_run, data, out)
    images = np.load(data)
    np.save(data, images[::-1])  # as many, of the same size
    with pytest.raises(InputError, match=rf"another data: {data} \(90 images, \w+\) instead of"):
        predicted(place / "run", data, out)


def test_what_no_prediction_wrote_is_left_alone(place, tmp_path) -> None:
    run, data, out = place / "run", place / "new.npy", tmp_path / "classes"
    predicted(run, data, out)
    (out / "part-000009.parquet").write_bytes((out / "part-000000.parquet").read_bytes())
    with pytest.raises(InputError, match=r"part-000009\.parquet: is no part of this prediction"):
        predicted(run, data, out)
    (out / "_manifest.json").write_text("{}")
    with pytest.raises(InputError, match=r"_manifest\.json: not a manifest of selfsort \(Field"):
        predicted(run, data, out)
    (out / "_manifest.json").unlink()
    sentence = "holds files that no prediction wrote, such as 'part-000000.parquet'. Nothing"
    for force in (False, True):
        with pytest.raises(InputError, match=sentence):
            predicted(run, data, out, force=force)


def test_too_many_parts(place, tmp_path, monkeypatch) -> None:
    monkeypatch.setattr("selfsort.runs.bulk.parts.MOST_PARTS", 8)
    with pytest.raises(InputError, match="90 images in parts of 10 would be 9 files; 8 at most"):
        predicted(place / "run", place / "new.npy", tmp_path / "out", part_size=10)


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        ({"engine": "rai"}, "engine must be 'local' or 'ray'. Got 'rai' instead."),
        ({"part_size": 0}, "part_size must be at least 1. Got 0 instead."),
        ({"abstain": 1.5}, "abstain must be from 0 to 1. Got 1.5 instead."),
        ({"on_error": "go"}, "on_error must be 'stop' or 'skip'. Got 'go' instead."),
    ],
)
def test_wrong_options(place, tmp_path, options, sentence) -> None:
    with pytest.raises(InputError) as raised:
        predicted(place / "run", place / "new.npy", tmp_path / "out", **options)
    assert str(raised.value) == sentence


@pytest.mark.parametrize(("package", "extra"), [("ray", "ray"), ("pyarrow", "data")])
def test_a_package_that_is_missing_is_one_line(place, tmp_path, package, extra) -> None:
    find = mock.Mock(side_effect=lambda name: None if name == package else mock.Mock())
    with mock.patch("importlib.util.find_spec", find):
        engine = ("--engine", "ray") if package == "ray" else ()
        outcome = call("predict", place / "run", place / "new.npy", "--out", tmp_path, *engine)
    assert outcome.code == 2
    assert outcome.err.count("\n") == 1
    assert f"pip install 'selfsort[{extra}]'" in outcome.err


# ---- ends -------------------------------------------------------------------------------------


def test_ctrl_c_keeps_what_is_done(place, tmp_path) -> None:
    out = tmp_path / "classes"
    command = ("predict", place / "run", place / "new.npy", "--out", out, "--part-size", 30)
    make = making.PartMaker.__call__

    def interrupted(self: making.PartMaker, part: making.Part) -> making.PartFacts:
        if part.number == 2:
            raise KeyboardInterrupt
        return make(self, part)

    with mock.patch.object(making.PartMaker, "__call__", interrupted):
        outcome = call(*command)
    assert outcome.code == 130
    assert outcome.err.splitlines()[-1] == "selfsort: interrupted."
    assert sorted(tree(out)) == ["_manifest.json", "part-000000.parquet", "part-000001.parquet"]
    outcome = call(*command)
    assert outcome.code == 0
    assert outcome.err.splitlines()[0] == "Going on: 2 of 3 parts are there."


def test_two_processes_in_one_folder(place, tmp_path) -> None:
    out = tmp_path / "classes"
    make = making.PartMaker.__call__

    def meanwhile(self: making.PartMaker, part: making.Part) -> making.PartFacts:
        with pytest.raises(InputError, match="another process is predicting in this folder"):
            predict_in_parts(
                place / "run", place / "new.npy", out, part_size=60, console=Console(quiet=True)
            )
        return make(self, part)

    with mock.patch.object(making.PartMaker, "__call__", meanwhile):
        predicted(place / "run", place / "new.npy", out, part_size=60)
    assert table_of(out)["index"].tolist() == list(range(N))


def test_a_disk_that_is_full_is_one_line(place, tmp_path) -> None:
    full = OSError(28, "No space left on device")
    with mock.patch("selfsort.runs.bulk.parts.pq.write_table", side_effect=full):
        outcome = call("predict", place / "run", place / "new.npy", "--out", tmp_path / "out")
    assert outcome.code == 1
    assert "No space left on device. Check the path and the free space." in outcome.err
    assert sorted(tree(tmp_path / "out")) == ["_manifest.json"]


@pytest.mark.slow
@needs_signals
def test_a_killed_prediction_ends_with_the_same_bytes(place, tmp_path) -> None:
    images = np.tile(digits(300)[0], (2, 1, 1))
    np.save(tmp_path / "new.npy", images)
    options = ("--part-size", 20, "--threads", 1)
    whole, out = tmp_path / "whole", tmp_path / "killed"
    command = ("predict", place / "run", tmp_path / "new.npy", *options, "--out")
    assert call(*command, whole).code == 0
    rng = random.Random(0)
    for _ in range(3):
        assert kill_at_random((*command, out), out, tmp_path / "said.txt", rng, 0.2)
    outcome = call(*command, out)
    assert outcome.code == 0
    assert outcome.err.startswith("Going on: ")
    assert parts_of(out) == parts_of(whole)
    assert table_of(out)["index"].tolist() == list(range(len(images)))


# ---- wrong files ------------------------------------------------------------------------------


@pytest.mark.parametrize("name", [name for name in BULK if name not in HEAVY])
def test_malformed_data_is_one_line(name, place, tmp_path) -> None:
    """The others are read in processes with limits, by `tests/test_bad_input.py`."""
    arguments, named = malformed.in_parts(BULK[name])(tmp_path, place / "run")
    before = tree(tmp_path)
    outcome = call(*arguments)
    assert (outcome.code, outcome.out, outcome.err.count("\n")) == (2, "", 1), outcome.err
    assert str(named) in outcome.err
    assert tree(tmp_path) == before


def test_a_file_that_is_damaged_further_on_keeps_what_is_done(place, tmp_path, monkeypatch) -> None:
    monkeypatch.setattr("selfsort.sources.tables.PIXELS_AT_ONCE", 40 * 16 * 16)
    data, out = tmp_path / "data.parquet", tmp_path / "classes"
    pq.write_table(
        pa.table({"image": digits(240)[0].reshape(240, -1).tolist()}),
        data,
        row_group_size=80,
        use_dictionary=False,
        compression="none",
    )
    group = pq.read_metadata(data).row_group(2).column(0)
    content = bytearray(data.read_bytes())
    start = group.data_page_offset
    content[start : start + 40] = b"\xff" * 40
    data.write_bytes(content)
    outcome = call("predict", place / "run", data, "--out", out, "--part-size", 80)
    assert outcome.code == 2
    assert outcome.err.splitlines()[-1].startswith(
        f"selfsort: {data}: not a readable .parquet file ("
    )
    assert list(parts_of(out)) == ["part-000000.parquet", "part-000001.parquet"]


def test_the_manifest_says_what_it_belongs_to(place, tmp_path) -> None:
    predicted(place / "run", place / "new.npy", tmp_path / "out", threads=1)
    found = json.loads((tmp_path / "out" / "_manifest.json").read_text())
    assert {key: found[key] for key in ("run", "data", "n_images", "part_size", "threads")} == {
        "run": str(place / "run"),
        "data": str(place / "new.npy"),
        "n_images": N,
        "part_size": 40,
        "threads": 1,
    }
