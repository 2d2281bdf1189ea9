"""Several processes that learn one thing, started by torchrun as users start them."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import torch.distributed as dist
from platforms import needs_signals
from safetensors.torch import load_file
from sklearn.datasets import load_digits
from together import CASES, N_STEPS

from selfsort import parallel
from selfsort.errors import InputError, ProcessLostError

HERE = Path(__file__).parent
if not dist.is_available() or not dist.is_gloo_available():
    pytest.skip("This PyTorch has no gloo.", allow_module_level=True)


def torchrun(n: int, *command: str, check: bool = True) -> subprocess.CompletedProcess[str]:
    launcher = [sys.executable, "-m", "torch.distributed.run", "--standalone"]
    return subprocess.run(
        [*launcher, f"--nproc-per-node={n}", *command],
        capture_output=True,
        text=True,
        check=check,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
    )


@pytest.fixture(scope="module")
def alone(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    out = tmp_path_factory.mktemp("alone") / "one"
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    subprocess.run([sys.executable, HERE / "together.py", out], check=True, env=environment)
    return json.loads(out.with_name("one-0.json").read_text())


@pytest.mark.slow
@pytest.mark.parametrize("n", [2, 3])
def test_fifty_steps_are_those_of_one_process(
    n: int, alone: dict[str, Any], tmp_path: Path
) -> None:
    cases = list(CASES) if n == 2 else ["information", "streamed", "vectors"]
    torchrun(n, str(HERE / "together.py"), str(tmp_path / "many"), *cases)
    seen = [json.loads((tmp_path / f"many-{rank}.json").read_text()) for rank in range(n)]
    assert all(one == seen[0] for one in seen)  # losses, and every bit of the weights
    assert seen[0]["looked"][0] == alone["looked"][0] == 61
    for name in cases:
        expected, found = np.array(alone[name][0]), np.array(seen[0][name][0])
        assert expected.shape[0] == N_STEPS
        assert np.abs(expected[0] - expected[-1]).max() > 1e-4  # something was learned
        np.testing.assert_allclose(found, expected, rtol=1e-5, atol=1e-5)


@pytest.mark.slow
@needs_signals
def test_a_killed_process_ends_the_job_and_others_go_on(tmp_path: Path) -> None:
    run, images = tmp_path / "run", tmp_path / "images.npy"
    np.save(images, load_digits(n_class=3).images[:200].astype(np.uint8) * 15)
    train = ["train", str(images), "--classes", "3", "--epochs", "4", "--out", str(run)]
    train += ["--checkpoint-every", "0.1"]
    ended = torchrun(2, str(HERE / "killed_together.py"), *train, check=False)
    assert ended.returncode != 0
    # Either it notices by itself, or torchrun's SIGTERM is faster.
    assert f"selfsort train --resume {run}" in ended.stderr or "--resume RUN" in ended.stderr
    frames = [line for line in ended.stderr.splitlines() if line.startswith("  File")]
    assert not any("/selfsort/" in line for line in frames)  # torchrun shows its own
    assert not (run / "result.json").exists()

    went_on = torchrun(3, "-m", "selfsort", "train", "--resume", str(run))
    assert went_on.stderr.count("3 processes learn together.") == 1  # one of them speaks
    assert went_on.stderr.count("Going on in") == 1
    assert went_on.stdout.count("Report: ") == 1
    result = json.loads((run / "result.json").read_text())
    history = [json.loads(line) for line in (run / "history.jsonl").read_text().splitlines()]
    assert [row["stage"] for row in history] == [
        "fine clusters", "first self-training", "second self-training", "decoder",
    ]  # fmt: skip
    assert result["train"]["classes_in_use"] == 3


@pytest.mark.slow
def test_two_launchers_learn_what_one_with_two_processes_does(tmp_path: Path) -> None:
    images = tmp_path / "images.npy"
    np.save(images, load_digits(n_class=3).images[:200].astype(np.uint8) * 15)
    train = ["train", str(images), "--classes", "3", "--epochs", "4", "--out"]
    torchrun(2, "-m", "selfsort", *train, str(tmp_path / "one"))
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    # What somebody starts on each of two machines; only the address of the first is needed.
    launcher = [sys.executable, "-m", "torch.distributed.run", "--nnodes=2", "--nproc-per-node=1"]
    launcher += ["--master-addr=127.0.0.1", f"--master-port={port}"]
    command = ["-m", "selfsort", *train, str(tmp_path / "two")]
    nodes = [
        subprocess.Popen(
            [*launcher, f"--node-rank={node}", *command],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            env={**os.environ, "OMP_NUM_THREADS": "1"},
        )
        for node in range(2)
    ]
    (told, aside), (told_by_second, _) = (node.communicate(timeout=300) for node in nodes)
    assert [node.returncode for node in nodes] == [0, 0], aside
    assert told.count("Report: ") == 1
    assert told_by_second == ""
    one, two = (load_file(tmp_path / name / "model.safetensors") for name in ("one", "two"))
    assert one.keys() == two.keys()
    assert all(torch.equal(one[name], two[name]) for name in one)


@pytest.mark.slow
@pytest.mark.skipif(torch.cuda.device_count() < 2, reason="There are not two GPUs here.")
def test_two_gpus_learn_what_one_does(tmp_path: Path) -> None:
    """Exchanges go by NCCL there, which no test without two GPUs reaches."""
    train = ["-m", "selfsort", "train", "digits", "--recipe", "teach", "--epochs", "4", "--out"]
    histories, results = [], []
    for n in (1, 2):
        told = torchrun(n, *train, str(tmp_path / f"{n}"))
        assert told.stdout.count("Report: ") == 1
        history = (tmp_path / f"{n}" / "history.jsonl").read_text().splitlines()
        histories.append([json.loads(line) for line in history])
        results.append(json.loads((tmp_path / f"{n}" / "result.json").read_text()))
    one, two = histories
    assert [row["stage"] for row in one] == [row["stage"] for row in two]
    assert two[0]["loss"] == pytest.approx(one[0]["loss"], rel=0.02)
    first, second = (result["test"]["accuracy"] for result in results)
    assert second == pytest.approx(first, abs=0.03)


@pytest.mark.parametrize("n", [0, 1, 2, 3, 10, 101])
@pytest.mark.parametrize("count", [1, 2, 3, 7])
def test_shares_are_even_and_hold_every_row_once(n: int, count: int) -> None:
    parts = [parallel.share_of(n, rank, count) for rank in range(count)]
    rows = [row for part in parts for row in range(n)[part]]
    assert rows == list(range(n))
    sizes = [part.stop - part.start for part in parts]
    assert max(sizes) - min(sizes) <= 1


@pytest.mark.parametrize(
    ("first", "own", "interface", "complains"),
    [
        ("10.0.0.1", "127.0.1.1", None, True),
        ("10.0.0.1", "127.0.1.1", "eth0", False),
        ("10.0.0.1", "10.0.0.2", None, False),
        ("127.0.0.1", "127.0.1.1", None, False),  # both launchers on one machine
    ],
)
def test_a_machine_that_others_cannot_find_says_so(
    first: str, own: str, interface: str | None, complains: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    addresses = {"box": own, first: first}
    monkeypatch.setattr(parallel.socket, "gethostname", lambda: "box")
    monkeypatch.setattr(parallel.socket, "gethostbyname", addresses.__getitem__)
    monkeypatch.setenv("WORLD_SIZE", "2")
    monkeypatch.setenv("LOCAL_WORLD_SIZE", "1")
    monkeypatch.setenv("MASTER_ADDR", first)
    monkeypatch.delenv("GLOO_SOCKET_IFNAME", raising=False)
    if interface is not None:
        monkeypatch.setenv("GLOO_SOCKET_IFNAME", interface)
    if complains:
        with pytest.raises(InputError, match="Set GLOO_SOCKET_IFNAME"):
            parallel.check_reachable()
    else:
        parallel.check_reachable()


def test_processes_that_do_not_reach_each_other_say_so(monkeypatch: pytest.MonkeyPatch) -> None:
    def refused(*args: object, **kwargs: object) -> None:
        raise dist.DistNetworkError("Connection refused\nException raised from ...")

    monkeypatch.setattr(dist, "init_process_group", refused)
    for name, value in (("WORLD_SIZE", "2"), ("LOCAL_WORLD_SIZE", "2"), ("RANK", "1")):
        monkeypatch.setenv(name, value)
    monkeypatch.setenv("MASTER_ADDR", "127.0.0.1")
    told = (
        r"^Process 1 of 2 does not reach the others \(Connection refused\)\. .*GLOO_SOCKET_IFNAME"
    )
    with pytest.raises(ProcessLostError, match=told), parallel.joined():
        pytest.fail("It was not alone.")


def test_alone_nothing_is_exchanged() -> None:
    rows = torch.arange(6.0).view(3, 2).requires_grad_()
    assert parallel.n_processes() == 1
    assert parallel.summed(rows) is rows
    assert parallel.whole(rows, 3) is rows
    assert parallel.gathered(rows, 3) is rows
    assert parallel.any_of(True)
    assert not parallel.any_of(False)
    assert parallel.from_first({"a": rows}, {"b": 1}) == ({"a": rows}, {"b": 1})
