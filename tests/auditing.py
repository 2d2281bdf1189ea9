"""Everything that loads data, under an audit hook, with files that try to run code.

Run as a program: `python auditing.py FOLDER`. It prints JSON: the payloads, what each led to, and
the events that were seen while data was loaded.
"""

from __future__ import annotations

import json
import os
import pickle
import shutil
import sys
import zipfile
from pathlib import Path
from typing import Any

import malformed
import malformed_bulk
import numpy as np
import pyarrow as pa
from rich.console import Console
from running import call, write_folder, write_npz

from selfsort.errors import InputError
from selfsort.report import write_report
from selfsort.runs import (
    Request,
    predict_in_parts,
    predict_to_csv,
    read_record,
    resumed,
    suggest_to_csv,
    train,
)

QUIET = Console(quiet=True)

FORBIDDEN = (
    "pickle.find_class",
    "os.system",
    "os.exec",
    "os.posix_spawn",
    "os.fork",
    "os.forkpty",
    "os.spawn",
    "subprocess.Popen",
    "ctypes.dlopen",
    "socket.connect",
    "marshal.loads",
    "import",
    "exec",
    "compile",
    "code.__new__",
)
"""Events that say that something was run, or could be; importing is one, after the first time."""


class Payload:
    """An object whose pickle runs a command when it is loaded."""

    def __init__(self, marker: Path) -> None:
        self.marker = marker

    def __reduce__(self) -> tuple[Any, tuple[str]]:
        return os.system, (f"touch {self.marker}",)


def payloads(folder: Path, run: Path) -> dict[str, tuple[object, ...]]:
    """Write files that try to make a marker; return the commands that read them."""
    marker = folder / "marker"
    pickled = pickle.dumps(Payload(marker))
    touch = f"__import__('os').system('touch {marker}')"
    made: dict[str, tuple[object, ...]] = {}

    def given(name: str, content: bytes) -> None:
        path = folder / name
        path.write_bytes(content)
        made[name] = ("train", path, "--out", folder / "out")

    given("objects.npy", malformed.npy(np.array([Payload(marker)], dtype=object), pickled=True))
    given("pickle.npy", pickled)
    given("header.npy", malformed.npy_of(touch))
    given("member.npz", malformed.zipped({"images.npy": pickled}))
    given("objects.npz", malformed.npz(images=np.array([Payload(marker)], dtype=object)))
    given("outside.npz", malformed.zipped({"../../marker": b"x", f"{marker}": b"x"}))
    given("pickle.idx.gz", malformed.gzip.compress(pickled))

    def pictures(name: str, content: bytes) -> None:
        photos = write_folder(folder / name, n=12)
        (photos / "evil.png").write_bytes(content)
        made[name] = ("train", photos, "--out", folder / "out")

    eps = f"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n(%pipe%touch {marker}) (w) file\n"
    pictures("postscript", eps.encode())
    script = f"<svg xmlns='http://www.w3.org/2000/svg'><script>{touch}</script></svg>"
    pictures("script", script.encode())

    def in_parts(name: str, content: bytes) -> None:
        path = folder / name
        path.write_bytes(content)
        made[name] = ("parts", run, path, "--out", folder / "parts")

    image = {"image": [pickled, pickled]}
    in_parts("pickle.parquet", pickled)
    in_parts("member.parquet", malformed_bulk.parquet(image))
    in_parts("member.arrow", malformed_bulk.arrow(image))
    in_parts("extension.arrow", malformed_bulk.arrow({"image": evil_extension(pickled)}))
    names = ("0.pyd", "0.pickle", "0.pkl", "0.pth", "0.py")  # webdataset's decoders would run some
    others = [malformed_bulk.member(name, pickled) for name in names]
    in_parts("others.tar", malformed_bulk.tar(*others))
    in_parts("member.tar", malformed_bulk.tar(*others, malformed_bulk.member("0.png", pickled)))
    outside = malformed_bulk.member(str(marker)[1:], b"x"), malformed_bulk.member("../marker.png")
    in_parts("outside.tar", malformed_bulk.tar(*outside))
    piped = folder / f"pipe:touch {marker.name};.tar"  # what webdataset would give to a shell
    piped.write_bytes(pickled)
    made["pipe.tar"] = ("parts", run, piped, "--out", folder / "parts")

    labels = folder / "labels.csv"
    labels.write_bytes(pickled)
    photos = write_folder(folder / "photos", n=12)
    made["labels.csv"] = ("train", photos, "--labels", labels, "--out", folder / "out")

    def damaged(name: str, file: str, content: bytes, *command: object) -> None:
        copy = folder / name
        shutil.copytree(run, copy)
        (copy / file).write_bytes(content)
        made[name] = tuple(copy if part == "RUN" else part for part in command)

    data = folder / "new.npy"
    np.save(data, np.zeros((3, 16, 16), np.uint8))
    predict = ("predict", "RUN", data, "--out", folder / "out.csv")
    damaged("weights", "model.safetensors", pickled, *predict)
    archive = folder / "torch.zip"
    with zipfile.ZipFile(archive, "w") as file:
        file.writestr("model/data.pkl", pickled)
    damaged("torch", "model.safetensors", archive.read_bytes(), *predict)
    config = json.loads((run / "config.json").read_text())
    evil = config | {"estimator": f"os.system('touch {marker}')"}
    damaged("estimator", "config.json", json.dumps(evil).encode(), *predict)
    evil = config | {"network": touch, "parameters": config["parameters"] | {"network": touch}}
    damaged("network", "config.json", json.dumps(evil).encode(), *predict)
    result = json.loads((run / "result.json").read_text())
    evil = result | {"recipe": "{{ cycler.__init__.__globals__.os.system('touch marker') }}"}
    damaged("template", "result.json", json.dumps(evil).encode(), "report", "RUN")
    record = json.loads((run / "run.json").read_text())
    evil = record | {"complete": False, "parameters": {"network": touch}}
    damaged("request", "run.json", json.dumps(evil).encode(), "train", "--resume", "RUN")
    checkpoint = folder / "checkpoint"
    shutil.copytree(run, checkpoint)
    (checkpoint / "run.json").write_text(json.dumps(record | {"complete": False}))
    (checkpoint / "checkpoints" / "000001").mkdir(parents=True)
    for name in ("arrays.safetensors", "facts.json", "manifest.json"):
        (checkpoint / "checkpoints" / "000001" / name).write_bytes(pickled)
    made["checkpoint"] = ("train", "--resume", checkpoint)
    return made


def evil_extension(pickled: bytes) -> pa.Array:
    """Return a column whose type old versions of Arrow rebuilt from a pickle."""
    metadata = {"ARROW:extension:name": "arrow.py_extension_type"}
    field = pa.field("image", pa.int8(), metadata=metadata | {"ARROW:extension:metadata": pickled})
    return pa.array([{"image": 1}], pa.struct([field]))


def sound_loads(folder: Path, run: Path) -> list[tuple[object, ...]]:
    """Return commands that read every kind of sound data."""
    data = folder / "sound.npy"
    np.save(data, np.zeros((3, 16, 16), np.uint8))
    archive = folder / "sound.npz"
    np.savez(archive, images=np.zeros((3, 16, 16), np.uint8))
    (folder / "sound.idx").write_bytes(malformed.idx(np.zeros((3, 16, 16), np.uint8)))
    packed = malformed.gzip.compress((folder / "sound.idx").read_bytes())
    (folder / "sound.idx.gz").write_bytes(packed)
    photos = write_folder(folder / "sound-photos", n=12)
    for i in range(3):
        pixels = np.zeros((16, 16), np.uint8)
        malformed.Image.fromarray(pixels).save(photos / f"{i}.jpg")
    labels = folder / "sound.csv"
    labels.write_text("file,class\n000.png,a\n001.png,b\n")
    sources = (data, archive, folder / "sound.idx", folder / "sound.idx.gz", photos)
    commands: list[tuple[object, ...]] = [
        ("predict", run, source, "--out", folder / "classes.csv", "--force") for source in sources
    ]
    (folder / "sound.parquet").write_bytes(malformed_bulk.SOUND)
    (folder / "sound.arrow").write_bytes(malformed_bulk.STREAM)
    shard = malformed_bulk.tar(malformed_bulk.ONE, malformed_bulk.member("0.pyd", b"x"))
    (folder / "sound.tar").write_bytes(shard)
    tables = (folder / f"sound.{kind}" for kind in ("npy", "parquet", "arrow", "tar"))
    commands += [("parts", run, source, "--out", folder / "parts") for source in (*tables, photos)]
    todo = ("suggest", run, photos, "--n", 3, "--out", folder / "todo.csv", "--force")
    return [*commands, (*todo, "--labels", labels), ("report", run)]


def told(command: tuple[object, ...]) -> tuple[int, str]:
    """Do what `selfsort` with these arguments does; return 2 and the error, or 0.

    Without the command line, which makes programs of its own type annotations.
    """
    name, first, *rest = command
    try:
        if name == "report":
            write_report(first)
        elif name == "train" and first == "--resume":
            train(resumed(rest[0], read_record(rest[0])), QUIET)
        elif name == "train":
            options = dict(zip(rest[0::2], rest[1::2], strict=True))
            labels = options.get("--labels")
            out = options["--out"]
            train(Request(str(first), labels=labels and str(labels), out=out), QUIET)
        elif name == "predict":
            predict_to_csv(first, str(rest[0]), rest[2], force=True)
        elif name == "parts":
            predict_in_parts(first, str(rest[0]), rest[2], force=True, console=QUIET)
        else:
            suggest_to_csv(first, str(rest[0]), rest[4], n_images=3, labels=rest[-1], force=True)
    except InputError as error:
        return 2, f"{' '.join(str(error).split())}\n"
    return 0, ""


def main() -> None:
    folder = Path(sys.argv[1])
    run = folder / "run"
    options = ("--labels", "all", "--epochs", 1, "--threads", 1, "--out", run)
    assert call("train", write_npz(folder / "data.npz", n=60, n_test=0), *options).code == 0
    commands = payloads(folder, run)
    sound = sound_loads(folder, run)
    # Once before, so that everything is imported; and a checkpoint that can be read.
    for command in [*sound, *commands.values()]:
        told(command)

    events: list[list[str]] = []
    watching = False

    def hook(event: str, arguments: tuple[Any, ...]) -> None:
        if watching and event.startswith(FORBIDDEN):
            events.append([event, *(str(one)[:500] for one in arguments[:2])])

    sys.addaudithook(hook)
    watching = True
    read = [told(command)[0] for command in sound]
    outcomes = {name: told(command) for name, command in commands.items()}
    watching = False
    print(
        json.dumps(
            {
                "marker": (folder / "marker").exists() or Path("marker").exists(),
                "sound": read,
                "payloads": outcomes,
                "events": events,
            }
        )
    )


if __name__ == "__main__":
    main()
