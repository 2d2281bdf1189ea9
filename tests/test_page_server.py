"""The page's server: who may ask for what, and what a hostile request gets."""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import json
import shutil
import subprocess
import sys
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from correcting import Outcome, correct_and_kill
from fastapi import FastAPI
from platforms import needs_proc
from running import call
from sklearn.datasets import load_digits
from starlette.testclient import TestClient

from selfsort.runs import Request, train
from selfsort.web import guard
from selfsort.web.app import GUARDED, check_routes, make_app
from selfsort.web.guard import Guard, Rules
from selfsort.web.learning import Trainer
from selfsort.web.studio import Studio

HOST = "127.0.0.1:8000"
TOKEN = "a-token-of-thirty-two-letters-xx"
COOKIE = "selfsort-8000"
RULES = Rules(frozenset({HOST, "localhost:8000"}), TOKEN, COOKIE)
GOOD = {
    "host": HOST,
    "origin": f"http://{HOST}",
    "cookie": f"{COOKIE}={TOKEN}",
    "content-type": "application/json",
}


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("server")
    digits = load_digits(n_class=3)
    np.savez(folder / "digits.npz", images=(digits.images[:150] * 15.9).astype(np.uint8))
    train(Request(data=str(folder / "digits.npz"), n_classes=3, epochs=6, out=folder / "run"))
    return folder / "run"


@pytest.fixture(scope="module")
def application(run: Path) -> Iterator[Guard]:
    studio = Studio(run)
    yield make_app(studio, Trainer(studio), RULES)
    studio.close()


@pytest.fixture(scope="module")
def client(application: Guard) -> TestClient:
    return TestClient(application, follow_redirects=False, base_url=f"http://{HOST}")


def ask(client: TestClient, method: str, path: str, **changes: str | None) -> Any:
    """Send a request that is good but for some headers; None leaves one out."""
    headers = {**GOOD, **{name.replace("_", "-"): value for name, value in changes.items()}}
    content = b"{}" if method == "POST" else None
    given = {name: value for name, value in headers.items() if value is not None}
    return client.request(method, path, headers=given, content=content)


def addresses() -> list[tuple[str, str]]:
    filled = {
        "/static": "/static/style.css",
        "/image/{name}": "/image/none",
        "/prototype/{number}": "/prototype/0",
    }
    return [
        (method, filled.get(path, path))
        for path, methods in GUARDED.items()
        for method in methods.split()
    ]


# ---- host, origin and token ---------------------------------------------------------------

HOSTS = [
    HOST, "localhost:8000", "127.0.0.1", "localhost", "127.0.0.1:8001", "127.0.0.1:80",
    "evil.example", "evil.example:8000", "127.0.0.1.evil.example:8000", "localhost.:8000",
    "LOCALHOST:8000", "[::1]:8000", "0.0.0.0:8000", "127.1:8000", "2130706433:8000",
    "127.0.0.1:8000@evil.example", "evil.example#127.0.0.1:8000", "127.0.0.1:08000", "*", " ",
]  # fmt: skip
ORIGINS = [
    f"http://{HOST}", "http://localhost:8000", None, "null", "http://evil.example",
    "https://127.0.0.1:8000", "http://127.0.0.1", "http://127.0.0.1:8001",
    "http://127.0.0.1:8000.evil.example", "http://127.0.0.1:8000/", "file://",
    "HTTP://127.0.0.1:8000",
]  # fmt: skip
COOKIES = [
    (GOOD["cookie"], True), (None, False), (f"{COOKIE}={TOKEN}x", False), (f"{COOKIE}=", False),
    (f"{COOKIE}={TOKEN[:-1]}", False), (f"selfsort-8001={TOKEN}", False), (f"x={TOKEN}", False),
]  # fmt: skip


def test_the_matrix_is_as_large_as_it_is_said_to_be() -> None:
    assert (len(HOSTS), len(ORIGINS)) == (20, 12)
    assert len(set(HOSTS)) == 20
    assert len(set(ORIGINS)) == 12


@pytest.mark.parametrize(("method", "path"), addresses())
def test_a_request_is_let_in_only_by_its_host_origin_and_token(
    method: str, path: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Every address with 20 hosts, 12 origins and 7 cookies, against the rule written out."""
    reached = False

    async def inner(scope: Any, receive: Any, send: Any) -> None:
        nonlocal reached
        reached = True
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body", "body": b""})

    async def asked(headers: dict[str, str | None]) -> int:
        sent: list[Any] = []

        async def receive() -> Any:
            return {"type": "http.request", "body": b"{}", "more_body": False}

        async def send(message: Any) -> None:
            sent.append(message)

        given = [(k.encode(), v.encode()) for k, v in headers.items() if v is not None]
        scope = {
            "type": "http", "method": method, "path": path, "query_string": b"", "headers": given,
        }  # fmt: skip
        await Guard(inner, RULES)(scope, receive, send)
        return int(sent[0]["status"])

    async def all_of_them() -> None:
        nonlocal reached
        for host, origin, (cookie, right) in itertools.product(HOSTS, ORIGINS, COOKIES):
            reached = False
            status = await asked({**GOOD, "host": host, "origin": origin, "cookie": cookie})
            ours = host in (HOST, "localhost:8000")
            from_us = origin in ("http://127.0.0.1:8000", "http://localhost:8000")
            allowed = (
                ours
                and (from_us or (origin is None and method == "GET"))
                and (right or path == "/health")
            )
            assert reached == allowed, (host, origin, cookie)
            assert status == (200 if allowed else 401 if ours and status == 401 else 403)

    asyncio.run(all_of_them())


def test_two_hosts_are_refused(client: TestClient) -> None:
    headers = [*GOOD.items(), ("host", "evil.example")]
    assert client.get("/api/state", headers=headers).status_code == 403


def test_a_route_without_a_rule_stops_the_start() -> None:
    app = FastAPI(docs_url=None, redoc_url=None, openapi_url=None)

    @app.get("/secret")
    def secret() -> None: ...

    with pytest.raises(RuntimeError, match="The rules are for"):
        check_routes(app)
    with pytest.raises(RuntimeError, match="is served, and has no rule"):
        check_routes(FastAPI())


def test_the_printed_address_gives_a_cookie_and_goes_on_without_the_token(
    client: TestClient,
) -> None:
    answer = ask(client, "GET", f"/?token={TOKEN}", cookie=None, origin=None)
    assert answer.status_code == 303
    assert answer.headers["location"] == "/"
    assert answer.headers["set-cookie"] == (f"{COOKIE}={TOKEN}; Path=/; HttpOnly; SameSite=Strict")
    client.cookies.clear()
    for path in (f"/?token={TOKEN}x", "/?token=", f"/?token={TOKEN}&token={TOKEN}"):
        assert ask(client, "GET", path, cookie=None).status_code == 401
    assert ask(client, "GET", f"/api/state?token={TOKEN}", cookie=None).status_code == 401


def test_every_answer_says_what_a_browser_may_do_with_it(client: TestClient) -> None:
    answers = [ask(client, method, path) for method, path in addresses()]
    answers.append(ask(client, "GET", "/api/state", host="evil.example"))
    for answer in answers:
        headers = answer.headers
        policy = dict(
            part.strip().split(" ", 1) for part in headers["content-security-policy"].split(";")
        )
        assert policy["default-src"] == "'none'"
        assert policy["script-src"] == policy["style-src"] == "'self'"
        assert headers["x-content-type-options"] == "nosniff"
        assert not [name for name in headers if name.startswith("access-control")]


@pytest.mark.parametrize("kind", [None, "text/plain", "application/x-www-form-urlencoded", "a"])
def test_writes_are_json(client: TestClient, kind: str | None) -> None:
    for method, path in addresses():
        if method == "POST":
            assert ask(client, method, path, content_type=kind).status_code == 415


# ---- hostile requests ---------------------------------------------------------------------

PARENTS = ["..", "%2e%2e", "%252e%252e", "..%00", "....", "..;", "%c0%ae%c0%ae", "\u2025"]
SEPARATORS = ["/", "%2f", "%252f", "\\", "%5c", "//"]
TARGETS = ["etc/passwd", "config.json"]


def traversals() -> list[str]:
    climbing = [
        separator.join([parent] * 4 + [target])
        for parent, separator, target in itertools.product(PARENTS, SEPARATORS, TARGETS)
    ]
    return [*climbing, "/etc/passwd", "%2fetc%2fpasswd", "file:///etc/passwd", "C:\\boot.ini"]


def test_no_path_leads_out_of_the_page(client: TestClient, run: Path) -> None:
    assert len(traversals()) >= 60
    config = (run / "config.json").read_text()
    for prefix, path in itertools.product(("/static/", "/image/", "/prototype/"), traversals()):
        url = f"{prefix}{path}".encode().decode("latin-1")
        answer = ask(client, "GET", url)
        assert answer.status_code in (400, 404, 405), url
        assert "root:" not in answer.text
        assert config not in answer.text


@pytest.mark.parametrize(
    ("path", "body", "status", "sentence"),
    [
        ("/api/correct", b"{", 400, "1: JSON decode error."),
        ("/api/correct", b"[]", 400, "request: Input should be a valid dictionary."),
        ("/api/correct", b"[" * 100_000, 400, None),
        ("/api/correct", b'{"a":' * 100_000, 400, None),
        ("/api/correct", b'{"key": "' + b"k" * 100 + b'"}', 400, None),
        ("/api/correct", b'{"key": "long-enough", "kind": "burn"}', 400, "There is no correction "
         "'burn'. Known: name, merge, split, move, reject, confirm, retrain, undo, redo."),
        ("/api/correct", b'{"key": "long-enough", "kind": ["name"]}', 400, None),
        ("/api/correct", b'{"key": "long-enough", "kind": "move", "images": ["\\ud800"]}', 400,
         "There is no such image."),
        ("/api/correct", b'{"key": "long-enough", "kind": "name", "class": 0, "name": "\\ud800"}',
         400, "name must be from 1 to 100 characters that can be printed."),
        ("/api/correct", b'{"key": "long-enough", "kind": "name", "class": 1e400, "name": "a"}',
         400, None),
        ("/api/decode", b'{"class": 0, "share": NaN}', 400, None),
        ("/api/decode", b'{"class": 0, "style": [1]}', 400, "style must be a list of 16 numbers."),
        ("/api/classify", b'{"image": "data:image/png;base64,AAAA"}', 400,
         "the picture: not a readable PNG or JPEG (the content is neither). Nothing was written."),
        ("/api/export", b'{"how": "/etc"}', 400, "how must be 'copy' or 'link'. Got '/etc' "
         "instead."),
        ("/api/train/keep", b"{}", 409, "There is no training to decide on."),
        ("/api/train", b"{}", 409, "Nothing was corrected yet: there is nothing to learn from."),
    ],
)  # fmt: skip
def test_what_is_wrong_is_one_sentence(
    client: TestClient, path: str, body: bytes, status: int, sentence: str | None
) -> None:
    answer = client.post(path, headers=GOOD, content=body)
    assert answer.status_code == status
    said = answer.json()["error"]
    assert said
    assert "\n" not in said
    if sentence is not None:
        assert said == sentence
    assert ask(client, "GET", "/api/state").json()["revision"] == 0


@pytest.mark.parametrize(
    "query",
    ["least=2", "least=x", "start=-1", "count=0", "count=501", "order=x", "class=99", "class=-1",
     "class=%F0", "text=" + "a" * 300, "outlier=nan"],
)  # fmt: skip
def test_lists_are_asked_for_within_bounds(client: TestClient, query: str) -> None:
    answer = ask(client, "GET", f"/api/images?{query}")
    assert answer.status_code == 400
    assert answer.json()["error"]


def test_a_body_has_an_end(client: TestClient) -> None:
    large = b'"' + b"a" * guard.MAX_BODY + b'"'
    assert client.post("/api/correct", headers=GOOD, content=large).status_code == 413

    def chunks() -> Iterator[bytes]:
        for _ in range(100):
            yield b"a" * 100_000

    assert client.post("/api/correct", headers=GOOD, content=chunks()).status_code == 413
    lying = {**GOOD, "content-length": "x"}
    assert client.post("/api/correct", headers=lying, content=b"{}").status_code in (400, 413)


def test_a_picture_has_an_end(client: TestClient) -> None:
    """A PNG that unpacks to 400 megapixels of nothing is refused, in a sentence."""
    import base64
    import struct
    import zlib

    def chunk(kind: bytes, body: bytes) -> bytes:
        return (
            struct.pack(">I", len(body)) + kind + body
            + struct.pack(">I", zlib.crc32(kind + body))
        )  # fmt: skip

    bomb = b"\x89PNG\r\n\x1a\n" + chunk(
        b"IHDR", struct.pack(">IIBBBBB", 20_000, 20_000, 8, 0, 0, 0, 0)
    )
    bomb += chunk(b"IDAT", zlib.compress(b"\0" * 1000)) + chunk(b"IEND", b"")
    image = "data:image/png;base64," + base64.b64encode(bomb).decode()
    answer = client.post("/api/classify", headers=GOOD, content=json.dumps({"image": image}))
    assert answer.status_code == 400
    assert "more pixels" in answer.json()["error"]


def test_too_much_at_once_is_told_to_come_again() -> None:
    waiting, going = asyncio.Event(), 0

    async def slow(scope: Any, receive: Any, send: Any) -> None:
        nonlocal going
        going += 1
        await waiting.wait()
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body", "body": b""})

    async def one(app: Guard) -> int:
        sent: list[Any] = []

        async def send(message: Any) -> None:
            sent.append(message)

        headers = [(k.encode(), v.encode()) for k, v in GOOD.items()]
        scope = {
            "type": "http", "method": "GET", "path": "/", "query_string": b"", "headers": headers,
        }  # fmt: skip
        await app(scope, None, send)  # type: ignore[arg-type]
        return int(sent[0]["status"])

    async def many() -> list[int]:
        app = Guard(slow, RULES)
        tasks = [asyncio.create_task(one(app)) for _ in range(guard.MAX_AT_ONCE + 20)]
        while going < guard.MAX_AT_ONCE:
            await asyncio.sleep(0.01)
        waiting.set()
        statuses = await asyncio.gather(*tasks)
        return [*statuses, await one(app)]

    statuses = asyncio.run(many())
    assert statuses.count(503) == 20
    assert statuses.count(200) == guard.MAX_AT_ONCE + 1  # and afterwards all is well again


def test_who_sends_slowly_is_not_waited_for(
    application: Guard, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(guard, "SECONDS_FOR_BODY", 0.05)
    sent: list[Any] = []

    async def receive() -> Any:
        await asyncio.sleep(0.02)
        return {"type": "http.request", "body": b"a", "more_body": True}

    async def send(message: Any) -> None:
        sent.append(message)

    headers = [(k.encode(), v.encode()) for k, v in GOOD.items()]
    scope = {
        "type": "http", "method": "POST", "path": "/api/correct", "query_string": b"",
        "headers": headers,
    }  # fmt: skip
    asyncio.run(application(scope, receive, send))
    assert sent[0]["status"] == 408


# ---- a real server ------------------------------------------------------------------------


@contextlib.contextmanager
def started(run: Path, *arguments: str) -> Iterator[subprocess.Popen[str]]:
    command = [sys.executable, "-m", "selfsort", "page", str(run), "--no-browser", *arguments]
    with subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as server:
        try:
            yield server
        finally:
            server.kill()


def listening_addresses(port: int) -> list[str]:
    """Return the addresses that listen on a port, as Linux tells them in hexadecimal."""
    rows = [line.split() for line in Path("/proc/net/tcp").read_text().splitlines()[1:]]
    return [row[1].split(":")[0] for row in rows if row[1].endswith(f":{port:04X}")]


@needs_proc
def test_a_page_is_served_to_this_machine_only_and_once(run: Path, tmp_path: Path) -> None:
    copy = tmp_path / "run"
    shutil.copytree(run, copy, ignore=shutil.ignore_patterns(".page.lock", "corrections.sqlite"))
    with started(copy) as server:
        assert server.stdout is not None
        line = server.stdout.readline()
        assert line.startswith("Page: http://127.0.0.1:")
        port = int(line.split(":")[3].split("/")[0])
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/health", timeout=30) as answer:
            assert json.load(answer) == {"ok": True}
        if sys.platform == "linux":
            assert set(listening_addresses(port)) == {"0100007F"}
        with started(copy) as second:
            assert second.wait(timeout=60) == 2
            assert second.stderr is not None
            assert second.stderr.read() == f"selfsort: {copy}: its page is open already.\n"
        with started(run, "--port", str(port)) as other:
            assert other.wait(timeout=60) == 2
            assert other.stderr is not None
            assert f"--port {port} of 127.0.0.1 cannot be used" in other.stderr.read()
        server.send_signal(2)
        assert server.wait(timeout=60) == 0


def test_no_correction_is_lost_or_doubled_where_the_server_is_killed(
    run: Path, tmp_path: Path
) -> None:
    """Two kills in 60 corrections; tests/long/corrections.py has a hundred in 10,000."""
    copy = tmp_path / "run"
    shutil.copytree(run, copy, ignore=shutil.ignore_patterns(".page.lock", "corrections.sqlite"))
    found = correct_and_kill(copy, 60, 2, seed=0)
    assert found == Outcome(60, 60, n_lost=0, n_doubled=0, n_kills=2, same=True)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--host", "0.0.0.0"], "--host 0.0.0.0 lets other machines in: give --token as well, a "
         "secret of at least 16 letters."),
        (["--token", "short"], "--token must be at least 16 letters, digits, - or _."),
        (["--token", "a" * 15 + "\n;"], "--token must be at least 16 letters, digits, - or _."),
    ],
)  # fmt: skip
def test_what_would_open_the_page_to_others_is_refused(
    run: Path, arguments: list[str], message: str
) -> None:
    done = call("page", run, "--no-browser", *arguments)
    assert done.code == 2
    assert done.err == f"selfsort: {message}\n"
