"""The sorting page under load: `benchmarks/results/page.md`.

    python benchmarks/page.py RUN

So many clients at once as no person has, each reading the classes and thumbnails one after the
other, with a connection of its own that it keeps: how long answers take, how many clients are told
to come again, and whether the server's memory grows. It takes some five minutes.
"""

from __future__ import annotations

import argparse
import datetime
import http.client
import json
import random
import subprocess
import sys
import threading
import time
from collections import Counter
from pathlib import Path

import numpy as np
from common import RESULTS, table

from selfsort.runs.environment import machine, versions

N_CLIENTS = 200
SECONDS = 240.0
TOKEN = "a-token-of-thirty-two-letters-xx"


class Measured:
    """What the clients saw."""

    def __init__(self) -> None:
        self.seconds: dict[str, list[float]] = {"state": [], "list": [], "thumbnail": []}
        self.statuses: Counter[int] = Counter()
        self.n_broken = 0
        self.lock = threading.Lock()


def ask(connection: http.client.HTTPConnection, path: str, cookie: str) -> tuple[int, bytes]:
    """Return status and body of an answer."""
    connection.request("GET", path, headers={"cookie": cookie})
    answer = connection.getresponse()
    return answer.status, answer.read()


def client(port: int, seed: int, end: float, measured: Measured) -> None:
    """Read classes, a list and twenty of its thumbnails, again and again."""
    rng = random.Random(seed)
    cookie = f"selfsort-{port}={TOKEN}"
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=60)

    def timed(kind: str, path: str) -> bytes | None:
        start = time.monotonic()
        try:
            status, body = ask(connection, path, cookie)
        except (OSError, http.client.HTTPException):
            connection.close()
            with measured.lock:
                measured.n_broken += 1
            return None
        with measured.lock:
            measured.statuses[status] += 1
            if status == 200:
                measured.seconds[kind].append(time.monotonic() - start)
        if status == 503:
            time.sleep(0.5)
        return body if status == 200 else None

    while time.monotonic() < end:
        timed("state", "/api/state")
        body = timed("list", f"/api/images?start={rng.randrange(1000)}&count=50")
        images = json.loads(body)["images"] if body else []
        for image in rng.sample(images, min(20, len(images))):
            timed("thumbnail", f"/image/{image['id']}")


def memory(process: int) -> float:
    """Return the resident memory of a process, in MB."""
    status = Path(f"/proc/{process}/status").read_text()
    line = next(line for line in status.splitlines() if line.startswith("VmRSS"))
    return int(line.split()[1]) / 1000


def page(measured: Measured, sizes: list[float], n_images: int) -> str:
    """Return the page of figures."""
    n_answers = sum(measured.statuses.values())
    rows = []
    for kind, seconds in measured.seconds.items():
        p50, p99 = np.percentile(seconds, [50, 99]) * 1000
        rows.append([kind, f"{len(seconds):,}", f"{p50:.0f}", f"{p99:.0f}"])
    origin = ", ".join(f"{name} {version}" for name, version in versions().items())
    statuses = ", ".join(f"{status}: {n:,}" for status, n in sorted(measured.statuses.items()))
    shown = ", ".join(f"{size:.0f}" for size in sizes)
    parts = [
        "# The sorting page under load",
        "",
        f"{datetime.date.today().isoformat()}; {machine()}; {origin}. "
        "`python benchmarks/page.py RUN`.",
        "",
        f"{N_CLIENTS} clients at once for {SECONDS:.0f} s, on the same machine as the server, on a "
        f"run of {n_images:,} images. A person asks for one thing in some seconds; these ask for "
        "the next as soon as they have an answer.",
        "",
        *table(["asked for", "answers", "median ms", "99 % within ms"], rows),
        "",
        f"{n_answers:,} answers by status: {statuses}. At most 64 are worked on at a time; others "
        f"are told to come again (503). Connections that broke: {measured.n_broken}.",
        "",
        f"Resident memory of the server in MB, at ten moments: {shown}.",
    ]
    return "\n".join(parts) + "\n"


def main() -> int:
    """Measure, and write the page."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("run")
    run = parser.parse_args().run
    command = [sys.executable, "-m", "selfsort", "page", run, "--no-browser", "--token", TOKEN]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as server:
        try:
            assert server.stdout is not None
            port = int(server.stdout.readline().split(":")[3].split("/")[0])
            connection = http.client.HTTPConnection("127.0.0.1", port, timeout=60)
            state = json.loads(ask(connection, "/api/state", f"selfsort-{port}={TOKEN}")[1])
            measured, end = Measured(), time.monotonic() + SECONDS
            threads = [
                threading.Thread(target=client, args=(port, seed, end, measured))
                for seed in range(N_CLIENTS)
            ]
            for thread in threads:
                thread.start()
            sizes = []
            for _ in range(10):
                time.sleep(SECONDS / 10 * 0.99)
                sizes.append(memory(server.pid))
            for thread in threads:
                thread.join()
        finally:
            server.terminate()
    text = page(measured, sizes, state["run"]["n_images"])
    (RESULTS / "page.md").write_text(text, encoding="utf-8")
    print(text)
    return 0


if __name__ == "__main__":
    sys.exit(main())
