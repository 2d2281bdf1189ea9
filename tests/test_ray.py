"""Predictions in parts by Ray's processes: the same bytes as by this one, and no network.

Skipped where Ray is not installed (extra `ray`).
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from running import call, digits, write_npz

from selfsort.verified import matching

ray = pytest.importorskip("ray", reason="the extra ray is not installed")
pytest.importorskip("ray.data", reason="the extra ray is not installed")
pytestmark = [
    pytest.mark.slow,
    # Ray's own, about its future and about files it leaves to the end of the process.
    pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::FutureWarning"),
    pytest.mark.filterwarnings("ignore::ResourceWarning", "ignore::pytest.PytestWarning"),
]


@pytest.fixture(scope="module")
def place(tmp_path_factory) -> Path:
    place = tmp_path_factory.mktemp("ray")
    options = ("--labels", "all", "--epochs", 1, "--threads", 1)
    write_npz(place / "data.npz", n=60, n_test=0)
    assert call("train", place / "data.npz", "--out", place / "run", *options).code == 0
    np.save(place / "new.npy", digits(200)[0])
    return place


def parts_of(out: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in matching(out, "part-*")}


def test_both_engines_write_the_same_bytes(place, tmp_path) -> None:
    command = ("predict", place / "run", place / "new.npy", "--part-size", 30, "--threads", 1)
    assert call(*command, "--out", tmp_path / "local").code == 0
    out = tmp_path / "ray"
    shutil.copytree(tmp_path / "local", out)
    for path in matching(out, "part-*")[2:]:  # Ray goes on where this process had been
        path.unlink()
    outcome = call(*command, "--out", out, "--engine", "ray", "--workers", 1)
    assert outcome.code == 0, outcome.err
    assert outcome.out == f"{out}: 200 images in 7 parts\n"
    assert outcome.err.splitlines()[0] == "Going on: 2 of 7 parts are there."
    assert parts_of(out) == parts_of(tmp_path / "local")
    assert len(parts_of(out)) == 7
    assert not matching(out, ".*")
    assert not ray.is_initialized()
    assert "http_proxy" not in os.environ


def test_an_error_in_a_process_is_one_line_and_more_workers_than_cores(place, tmp_path) -> None:
    photos = tmp_path / "photos"
    photos.mkdir()
    from PIL import Image

    for i, image in enumerate(digits(80)[0]):
        Image.fromarray(image).save(photos / f"{i:03}.png")
    (photos / "077.png").write_bytes(b"")  # beyond those that are looked at before
    command = ("predict", place / "run", photos, "--out", tmp_path / "out", "--on-error", "stop")
    ray.init(num_cpus=1, include_dashboard=False, logging_level="ERROR", log_to_driver=False)
    try:
        outcome = call(*command, "--engine", "ray", "--threads", 1)
        assert outcome.code == 2
        assert outcome.err.splitlines()[-1] == (
            f"selfsort: {photos}/077.png: not a readable PNG or JPEG (the content is neither)."
        )
        outcome = call(*command, "--engine", "ray", "--threads", 1, "--workers", 2)
        assert outcome.code == 2
        assert outcome.err.splitlines()[-1] == (
            "selfsort: 2 workers of 1 cores each are more than Ray has, 1 cores in all. Give "
            "fewer --workers, or fewer --threads."
        )
        assert ray.is_initialized()  # it was not started by the prediction
    finally:
        ray.shutdown()


def test_a_ray_that_is_started_here_asks_nothing_of_the_network() -> None:
    code = """
import os
from selfsort.runs.bulk.on_ray import _running
with _running() as ray:
    print([node["NodeManagerAddress"] for node in ray.nodes()])
    print(ray.get(ray.remote(lambda: os.environ["http_proxy"]).remote()))
    print(ray.get(ray.remote(lambda: os.environ["RAY_USAGE_STATS_ENABLED"]).remote()))
print("http_proxy" in os.environ)
"""
    environment = {name: value for name, value in os.environ.items() if "proxy" not in name.lower()}
    done = subprocess.run(
        [sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=False
    )
    # Its own machine's inner address, a closed door for whatever asks, and no statistics.
    wanted = ["['127.0.0.1']", "http://127.0.0.1:9", "0", "False"]
    assert done.stdout.splitlines() == wanted, done.stderr
