"""The log of corrections: what is in it is on the disk before anybody is told that it is done."""

from __future__ import annotations

import contextlib
import datetime
import json
import secrets
import sqlite3
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from selfsort.errors import InputError

NAME = "corrections.sqlite"
FORMAT = "1"
_TABLES = """
CREATE TABLE IF NOT EXISTS about (name TEXT PRIMARY KEY, value TEXT NOT NULL) STRICT;
CREATE TABLE IF NOT EXISTS corrections (
    number INTEGER PRIMARY KEY AUTOINCREMENT,
    key TEXT NOT NULL UNIQUE,
    time TEXT NOT NULL,
    body TEXT NOT NULL
) STRICT;
"""


class Log:
    """Corrections in a file that only grows.

    Each has a key that its maker chose: what comes twice with one key, because the answer to the
    first was lost, is there once.

    Parameters
    ----------
    path : Path
        An SQLite file, made if it is missing.
    of : str
        What the corrections belong to, such as a hash of the run; another one is refused.

    Raises
    ------
    InputError
        If the file is no log, or belongs to something else.

    Examples
    --------
    >>> import tempfile
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     log = Log(Path(folder, NAME), "run")
    ...     first, again = log.add("k", {"kind": "undo"}), log.add("k", {"kind": "undo"})
    ...     kept = [body["kind"] for body in log]
    ...     log.close()
    >>> first, again, kept
    (True, False, ['undo'])
    """

    def __init__(self, path: Path, of: str) -> None:
        self.path = path
        with contextlib.ExitStack() as opened:
            try:
                self._file = sqlite3.connect(path, check_same_thread=False, isolation_level=None)
                opened.callback(self.close)
                # EXTRA: the folder is flushed too, after the commit, which removes the journal
                self._file.execute("PRAGMA synchronous = EXTRA")
                self._file.executescript(_TABLES)
                self._about("format", FORMAT)
                self._about("of", of)
                self._about("secret", secrets.token_hex(16))
                found = {name: self._read_about(name) for name in ("format", "of", "secret")}
                self.secret = bytes.fromhex(found["secret"])
            except (sqlite3.Error, ValueError) as error:
                raise InputError(
                    f"{path}: is no log of corrections, or is damaged ({error}). Move it elsewhere "
                    "to begin anew."
                ) from error
            if found["format"] != FORMAT or found["of"] != of:
                raise InputError(
                    f"{path}: belongs to another run or another version. Move it elsewhere to "
                    "begin anew."
                )
            opened.pop_all()  # it stays open

    def _about(self, name: str, value: str) -> None:
        self._file.execute("INSERT OR IGNORE INTO about VALUES (?, ?)", (name, value))

    def _read_about(self, name: str) -> str:
        return str(
            self._file.execute("SELECT value FROM about WHERE name = ?", (name,)).fetchone()[0]
        )

    def has(self, key: str) -> bool:
        """Return whether a correction with that key is there."""
        found = self._file.execute("SELECT 1 FROM corrections WHERE key = ?", (key,)).fetchone()
        return found is not None

    def add(self, key: str, body: dict[str, Any]) -> bool:
        """Write a correction down; return whether it is new."""
        time = datetime.datetime.now(datetime.UTC).isoformat(timespec="milliseconds")
        text = json.dumps(body, ensure_ascii=False, allow_nan=False)
        done = self._file.execute(
            "INSERT OR IGNORE INTO corrections (key, time, body) VALUES (?, ?, ?)",
            (key, time, text),
        )
        return done.rowcount == 1

    def __iter__(self) -> Iterator[dict[str, Any]]:
        rows = self._file.execute("SELECT number, body FROM corrections ORDER BY number")
        for number, body in rows:
            try:
                yield dict(json.loads(body))
            except ValueError as error:
                raise InputError(
                    f"{self.path}: its correction {number} is damaged. Move the file elsewhere to "
                    "begin anew."
                ) from error

    def __len__(self) -> int:
        return int(self._file.execute("SELECT count(*) FROM corrections").fetchone()[0])

    def close(self) -> None:
        """Close the file."""
        self._file.close()
