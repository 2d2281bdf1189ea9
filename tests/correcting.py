"""A page's server that is killed again and again while somebody corrects."""

from __future__ import annotations

import json
import random
import subprocess
import sys
import threading
import time
import urllib.error
import urllib.request
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from selfsort.web.studio import Studio

TOKEN = "a-token-of-thirty-two-letters-xx"
PATIENCE = 120.0
"""Seconds after which a server that does not come back is an error."""


class Server:
    """A page's server in a process of its own, on one port however often it starts."""

    def __init__(self, run: Path, port: int = 0) -> None:
        self.run, self.port = run, port
        self.process: subprocess.Popen[str] | None = None
        self.start()

    def start(self) -> None:
        command = [sys.executable, "-m", "selfsort", "page", str(self.run), "--no-browser"]
        command += ["--port", str(self.port), "--token", TOKEN]
        self.process = subprocess.Popen(
            command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
        )
        assert self.process.stdout is not None
        line = self.process.stdout.readline()
        if not line.startswith("Page: "):
            assert self.process.stderr is not None
            raise RuntimeError(self.process.stderr.read())
        self.port = int(line.split(":")[3].split("/")[0])

    def kill(self) -> None:
        assert self.process is not None
        with self.process:
            self.process.kill()

    def ask(self, path: str, body: dict[str, Any] | None = None) -> Any:
        """Return an answer, asking again until there is one."""
        host = f"127.0.0.1:{self.port}"
        headers = {
            "cookie": f"selfsort-{self.port}={TOKEN}",
            "origin": f"http://{host}",
            "content-type": "application/json",
        }
        data = None if body is None else json.dumps(body).encode()
        end = time.monotonic() + PATIENCE
        while True:
            request = urllib.request.Request(f"http://{host}{path}", data, headers)
            try:
                with urllib.request.urlopen(request, timeout=30) as answer:
                    return json.load(answer)
            except urllib.error.HTTPError as error:
                if error.code != 503:
                    raise
            except (OSError, ValueError):  # no server, or an answer that broke off
                if time.monotonic() > end:
                    raise
            time.sleep(0.01)


@dataclass
class Outcome:
    """What came of it: corrections that were answered, in the log, lost, there twice."""

    n_answered: int
    n_logged: int
    n_lost: int
    n_doubled: int
    n_kills: int
    same: bool


def correct_and_kill(run: Path, n_corrections: int, n_kills: int, seed: int) -> Outcome:
    """Correct one image after the other while the server is killed at random moments.

    An answer that got lost is asked for again with the same key.
    """
    rng = random.Random(seed)
    server = Server(run)
    images = [image["id"] for image in server.ask("/api/images?count=100")["images"]]
    answered: list[str] = []
    done = threading.Event()

    def correct() -> None:
        for i in range(n_corrections):
            kinds = [
                {"kind": "move", "images": [rng.choice(images)], "class": rng.randrange(3)},
                {"kind": "reject", "images": [rng.choice(images)]},
                {"kind": "name", "class": rng.randrange(3), "name": f"name {i}"},
            ]
            key = f"{seed}-correction-{i}"
            server.ask("/api/correct", {"key": key, **kinds[i % 3]})
            answered.append(key)
        done.set()

    def killing() -> int:
        times = random.Random(seed + 1)
        kills = 0
        while kills < n_kills and not done.is_set():
            # so that the kills are spread over the corrections
            goal = n_corrections * (kills + times.random()) / n_kills
            while len(answered) < goal and not done.is_set():
                time.sleep(0.001)
            time.sleep(times.random() * 0.02)
            server.kill()
            kills += 1
            server.start()
        return kills

    worker = threading.Thread(target=correct, daemon=True)
    worker.start()
    n_kills = killing()
    worker.join(timeout=3600)
    shown = server.ask("/api/state")
    server.kill()
    studio = Studio(run)
    rows = [
        key for (key,) in studio.log._file.execute("SELECT key FROM corrections ORDER BY number")
    ]
    again = studio.state()
    studio.close()
    for name in ("training", "export_folder"):
        shown.pop(name)
    return Outcome(
        len(answered),
        len(rows),
        len(set(answered) - set(rows)),
        len(rows) - len(set(rows)),
        n_kills,
        # in the order in which they were made, and the page shows what the log says
        rows == answered and shown == again,
    )
