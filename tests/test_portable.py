"""Nothing that only Linux has, and nothing that a spawned process could not take over."""

from __future__ import annotations

import ast
import multiprocessing
import pickle
import re
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from running import digits

import selfsort

ROOT = Path(__file__).resolve().parents[1]
FILES = [*(ROOT / "src").rglob("*.py"), *(ROOT / "tests").glob("*.py")]

MODULES = {"fcntl", "grp", "posix", "pty", "pwd", "resource", "syslog", "termios", "tty"}
OF_OS = {
    *("fork", "forkpty", "getuid", "geteuid", "getgid", "getpgid", "setsid", "setuid", "setgid"),
    *("killpg", "mkfifo", "nice", "sched_getaffinity", "statvfs", "uname", "wait4", "O_NONBLOCK"),
    *("set_blocking", "chown", "getloadavg", "sysconf", "pread", "O_NOFOLLOW"),
}
SIGNALS = {"SIGINT", "SIGTERM"}
"""Those that Windows has too."""
PLACES = re.compile(r"/(proc|dev|sys|tmp|etc|usr)(/|$)")

ALLOWED = {
    "src/selfsort/runs/environment.py": {"/proc/cpuinfo": "looked at where it is there"},
    "tests/test_training.py": {"/proc/cpuinfo": "looked at where it is there"},
    "tests/test_bad_input.py": {
        "/proc/self/status": "needs_proc",
        "signal.SIGKILL": "needs_proc",
    },
    "tests/test_memory.py": {"/proc/self/statm": "needs_proc"},
    "tests/test_page_server.py": {"/proc/net/tcp": "needs_proc"},
    "tests/platforms.py": {"/proc/self/status": "looked for"},
    "tests/test_permissions.py": {
        "os.geteuid": "skipped without",
        "os.setuid": "skipped without",
        "os.setgid": "skipped without",
    },
    "tests/test_cli.py": {"os.geteuid": "of a test that needs_signals"},
    "tests/killing.py": {
        "signal.SIGKILL": "of tests that needs_signals",
        "signal.SIGSTOP": "of tests that need strace",
    },
    "tests/injecting.py": {
        "signal.SIGCONT": "of tests that need strace",
        "/proc/": "of tests that need strace",
    },
    "tests/test_sweep.py": {"signal.SIGKILL": "needs_signals"},
    "tests/bulk_killing.py": {"signal.SIGKILL": "of tests that needs_signals"},
    "tests/killed_together.py": {"signal.SIGKILL": "of tests that needs_signals"},
}


def strange(source: str) -> Iterator[str]:
    """Yield what a source uses that not every system has."""
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names if alias.name in MODULES)
        elif isinstance(node, ast.ImportFrom) and node.module in MODULES:
            yield str(node.module)
        elif isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name):
            name = f"{node.value.id}.{node.attr}"
            if name.startswith("os.") and node.attr in OF_OS:
                yield name
            if re.match(r"signal\.SIG[A-Z]", name) and node.attr not in SIGNALS:
                yield name
            if name.endswith("multiprocessing.set_start_method"):
                yield name
        elif isinstance(node, ast.Constant) and isinstance(node.value, str):
            if PLACES.match(node.value):
                yield node.value
        elif isinstance(node, ast.Call):
            yield from unnamed_encoding(node)


def unnamed_encoding(call: ast.Call) -> Iterator[str]:
    """Yield the name of a call that reads or writes text as the system likes to have it."""
    name = getattr(call.func, "attr", getattr(call.func, "id", ""))
    of = getattr(getattr(call.func, "value", None), "id", "")
    given = {keyword.arg: keyword.value for keyword in call.keywords}
    if "encoding" in given or None in given:
        return
    if name in ("read_text", "write_text") and isinstance(call.func, ast.Attribute):
        yield f"{name} without encoding"
    if name == "open" and of not in ("os", "Image", "gzip", "tarfile", "webbrowser", "zipfile"):
        position = 0 if isinstance(call.func, ast.Attribute) else 1
        mode = given.get("mode", call.args[position] if len(call.args) > position else None)
        if "b" not in str(getattr(mode, "value", "")):
            yield "open without encoding"


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.relative_to(ROOT).as_posix())
def test_nothing_that_only_some_systems_have(path: Path) -> None:
    name = path.relative_to(ROOT).as_posix()
    found = set(strange(path.read_text(encoding="utf-8")))
    if name.startswith("tests/"):  # texts of tests are ASCII, or written and read in one test
        found -= {f"{name} without encoding" for name in ("read_text", "write_text", "open")}
        found -= {text for text in found if text.startswith(("/dev/", "/tmp", "/etc", "/home"))}
    if path != Path(__file__):
        assert found == set(ALLOWED.get(name, {}))


@pytest.mark.parametrize(
    ("source", "expected"),
    [
        ("import fcntl", "fcntl"),
        ("from resource import getrlimit", "resource"),
        ("import os\nos.fork()", "os.fork"),
        ("import signal\nsignal.SIGKILL", "signal.SIGKILL"),
        ("Path('/proc/cpuinfo')", "/proc/cpuinfo"),
        ("path.read_text()", "read_text without encoding"),
        ("open(name)", "open without encoding"),
        ("path.open('a')", "open without encoding"),
        (
            "import multiprocessing\nmultiprocessing.set_start_method('fork')",
            "multiprocessing.set_",
        ),
    ],
)
def test_the_check_sees_each_kind(source: str, expected: str) -> None:
    [found] = strange(source)
    assert found.startswith(expected)


def test_the_check_leaves_the_rest_alone() -> None:
    lines = (
        "os.path.join('a', 'b')",
        "signal.SIGTERM",
        "f.read_text(encoding='x')",
        "f.open('rb')",
    )
    assert list(strange("\n".join(lines))) == []


# ---- processes ----------------------------------------------------------------------------

IMAGES, LABELS = digits(60, 12)


def fit(estimator: selfsort.AutoencoderClassifier) -> np.ndarray:
    import warnings

    with warnings.catch_warnings():
        warnings.simplefilter("ignore", selfsort.ClassCollapseWarning)
        return estimator.fit(IMAGES, LABELS).predict_proba(IMAGES)


def test_a_spawned_process_fits_to_the_same_bits(tmp_path: Path) -> None:
    classifier = selfsort.AutoencoderClassifier(epochs=1, n_threads=1, random_state=0)
    callbacks = [selfsort.Checkpoint(tmp_path / "work")]
    classifier.set_callbacks(*callbacks)
    with multiprocessing.get_context("spawn").Pool(1) as pool:
        there = pool.apply(fit, (classifier,))
    np.testing.assert_array_equal(there, fit(classifier))


def test_callbacks_are_pickled_with_an_estimator(tmp_path: Path) -> None:
    pytest.importorskip("tensorboard")
    classifier = selfsort.AutoencoderClassifier(epochs=1, n_threads=1, random_state=0)
    classifier.set_callbacks(selfsort.TensorBoard(tmp_path / "logs"))
    fit(classifier)
    fit(pickle.loads(pickle.dumps(classifier)))
    assert len(list((tmp_path / "logs").iterdir())) == 2
