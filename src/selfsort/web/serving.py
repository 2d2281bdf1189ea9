"""Open a run's page: find a port, print the address, serve until Ctrl-C."""

from __future__ import annotations

import contextlib
import secrets
import socket
import webbrowser
from collections.abc import Iterator
from pathlib import Path

import filelock
import uvicorn
from rich.console import Console

from selfsort.errors import InputError
from selfsort.runs.request import read_record
from selfsort.web.app import make_app
from selfsort.web.guard import Rules
from selfsort.web.learning import Trainer
from selfsort.web.studio import Studio

LOCK = ".page.lock"
LOOPBACK = ("127.0.0.1", "localhost")
LEAST_TOKEN = 16


def serve(
    folder: Path,
    *,
    host: str = "127.0.0.1",
    port: int = 0,
    token: str | None = None,
    open_browser: bool = True,
    console: Console | None = None,
) -> None:
    """Serve a run's page until it is interrupted.

    Parameters
    ----------
    folder : Path
        Of a run with classes.
    host : str
        Another one than this machine's own only with a token that was chosen.
    port : int
        0: a free one.
    token : str, optional
        At least 16 letters; drawn unless given.
    open_browser : bool
    console : rich Console, optional

    Raises
    ------
    InputError
        If the run cannot be used, its page is open already, or the port is taken.
    """
    console = console or Console(stderr=True)
    if host not in LOOPBACK and token is None:
        raise InputError(
            f"--host {host} lets other machines in: give --token as well, a secret of at least "
            f"{LEAST_TOKEN} letters."
        )
    if token is not None and (len(token) < LEAST_TOKEN or not _is_plain(token)):
        raise InputError(f"--token must be at least {LEAST_TOKEN} letters, digits, - or _.")
    read_record(folder)
    with _alone(folder), contextlib.closing(_listening(host, port)) as listening:
        port = listening.getsockname()[1]
        with console.status("Looking at all images; this is kept for the next time"):
            studio = Studio(folder)
            trainer = Trainer(studio)
        names = {host, *(LOOPBACK if host in LOOPBACK else ())}
        rules = Rules(
            frozenset(f"{name}:{port}" for name in names),
            token or secrets.token_urlsafe(32),
            f"selfsort-{port}",
        )
        address = f"http://{host}:{port}/?token={rules.token}"
        print(f"Page: {address}", flush=True)
        console.print("Ctrl-C closes it. Corrections are kept as you make them.")
        if open_browser:
            webbrowser.open(address)
        config = uvicorn.Config(
            make_app(studio, trainer, rules),
            log_level="warning",
            access_log=False,
            server_header=False,
            proxy_headers=False,
            timeout_keep_alive=30,
            timeout_graceful_shutdown=3,
        )
        try:
            with contextlib.suppress(KeyboardInterrupt):
                uvicorn.Server(config).run(sockets=[listening])
        finally:
            trainer.close()
            studio.close()


def _is_plain(token: str) -> bool:
    return token.isascii() and all(c.isalnum() or c in "-_" for c in token)


@contextlib.contextmanager
def _alone(folder: Path) -> Iterator[None]:
    """Refuse a second page of one run: it would not see the corrections of the first."""
    lock = filelock.FileLock(folder / LOCK, timeout=0)
    try:
        lock.acquire()
    except filelock.Timeout:
        raise InputError(f"{folder}: its page is open already.") from None
    try:
        yield
    finally:
        lock.release()


def _listening(host: str, port: int) -> socket.socket:
    try:
        return socket.create_server((host, port), backlog=256)
    except OSError as error:
        raise InputError(
            f"--port {port} of {host} cannot be used ({error.strerror}). Give another one."
        ) from error
