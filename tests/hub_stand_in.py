"""A stand-in for the Hugging Face Hub: the few addresses that up- and downloads ask for."""

from __future__ import annotations

import base64
import contextlib
import hashlib
import json
import re
import threading
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, ClassVar
from urllib.parse import urlsplit

import yaml

TOKEN = "hf_of_the_tests"


class Hub(ThreadingHTTPServer):
    """Repositories in memory; what was asked is kept in `requests`."""

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.repositories: dict[str, dict[str, bytes]] = {}
        self.private: dict[str, bool] = {}
        self.stored: dict[str, bytes] = {}  # large files, by their SHA-256
        self.commits: list[tuple[str, list[str]]] = []
        self.requests: list[str] = []
        self.refuse: dict[str, int] = {}  # status by the beginning of "METHOD /path"

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_address[1]}"

    def sha(self, repo: str) -> str:
        """Return a name for what a repository holds now, as a commit has one."""
        files = sorted(self.repositories[repo].items())
        return hashlib.sha1(repr(files).encode(), usedforsecurity=False).hexdigest()


@contextlib.contextmanager
def running() -> Iterator[Hub]:
    hub = Hub()
    thread = threading.Thread(target=hub.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    try:
        yield hub
    finally:
        hub.shutdown()
        thread.join()
        hub.server_close()


class Handler(BaseHTTPRequestHandler):
    server: Hub
    protocol_version = "HTTP/1.1"

    def log_message(self, *arguments: Any) -> None: ...

    def do_GET(self) -> None:
        self.route()

    do_POST = do_PUT = do_HEAD = do_GET  # noqa: N815 - names of http.server

    def route(self) -> None:
        length = int(self.headers.get("Content-Length") or 0)
        self.body = self.rfile.read(length) if length else self._chunks()
        path = urlsplit(self.path).path
        asked = f"{self.command} {path}"
        self.server.requests.append(asked)
        for beginning, status in self.server.refuse.items():
            if asked.startswith(beginning):
                return self.say({"error": "refused by the test"}, status)
        for pattern, act in self.ROUTES.items():
            if found := re.fullmatch(pattern, asked):
                return act(self, *found.groups())
        raise AssertionError(f"the stand-in does not know {asked}")

    def _chunks(self) -> bytes:
        """Read a body whose length is not told."""
        if self.headers.get("Transfer-Encoding") != "chunked":
            return b""
        parts = []
        while size := int(self.rfile.readline(), 16):
            parts.append(self.rfile.read(size))
            self.rfile.readline()
        self.rfile.readline()
        return b"".join(parts)

    def say(self, value: Any, status: int = 200, **headers: str) -> None:
        content = value if isinstance(value, bytes) else json.dumps(value).encode()
        self.send_response(status)
        for name, text in {"Content-Length": str(len(content)), **headers}.items():
            self.send_header(name.replace("_", "-"), text)
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(content)

    def missing(self) -> None:
        self.say({"error": "Repository not found"}, 404, X_Error_Code="RepoNotFound")

    def harnesses(self) -> None:
        self.say({})

    # ---- up -------------------------------------------------------------------------------

    def create(self) -> None:
        if self.headers.get("Authorization") != f"Bearer {TOKEN}":
            return self.say({"error": "Invalid username or password."}, 401)
        asked = json.loads(self.body)
        repo = f"{asked['organization']}/{asked['name']}"
        known = repo in self.server.repositories
        self.server.repositories.setdefault(repo, {".gitattributes": b""})
        if not known:
            self.server.private[repo] = asked.get("visibility") == "private"
        self.say({"url": f"{self.server.url}/{repo}"}, 409 if known else 200)

    def validate(self) -> None:
        header = json.loads(self.body)["content"].split("---\n")[1]
        try:
            yaml.safe_load(header)
        except yaml.YAMLError:
            return self.say({"errors": [{"message": "the header is no YAML"}], "warnings": []}, 400)
        self.say({"errors": [], "warnings": []})

    def preupload(self, repo: str) -> None:
        files = [
            {
                "path": file["path"],
                "uploadMode": "lfs"
                if file["path"].endswith((".safetensors", ".png"))
                else "regular",
                "shouldIgnore": False,
            }
            for file in json.loads(self.body)["files"]
        ]
        self.say({"files": files})

    def batch(self, repo: str) -> None:
        asked = json.loads(self.body)
        assert asked["hash_algo"] == "sha256"
        objects = [
            {**one, "actions": {"upload": {"href": f"{self.server.url}/store/{one['oid']}"}}}
            for one in asked["objects"]
        ]
        self.say({"objects": objects, "transfer": "basic"})

    def store(self, oid: str) -> None:
        assert hashlib.sha256(self.body).hexdigest() == oid
        self.server.stored[oid] = self.body
        self.say({})

    def commit(self, repo: str) -> None:
        header, *operations = [json.loads(line) for line in self.body.splitlines()]
        files = self.server.repositories[repo]
        for operation in operations:
            value = operation["value"]
            if operation["key"] == "lfsFile":
                files[value["path"]] = self.server.stored[value["oid"]]
            else:
                files[value["path"]] = base64.b64decode(value["content"])
        names = [operation["value"]["path"] for operation in operations]
        self.server.commits.append((header["value"]["summary"], sorted(names)))
        oid = self.server.sha(repo)
        self.say({"commitUrl": f"{self.server.url}/{repo}/commit/{oid}", "commitOid": oid})

    # ---- down -----------------------------------------------------------------------------

    def info(self, repo: str, revision: str = "main") -> None:
        if repo not in self.server.repositories:
            return self.missing()
        if revision != "main":
            return self.say({"error": "Invalid rev id"}, 404, X_Error_Code="RevisionNotFound")
        files = [{"rfilename": name} for name in self.server.repositories[repo]]
        self.say({"id": repo, "sha": self.server.sha(repo), "siblings": files})

    def tree(self, repo: str) -> None:
        files = self.server.repositories[repo]
        self.say([{"type": "file", "path": name, **sizes(file)} for name, file in files.items()])

    def resolve(self, repo: str, name: str) -> None:
        content = self.server.repositories[repo][name]
        etag = f'"{sizes(content)["oid"]}"'
        self.say(content, X_Repo_Commit=self.server.sha(repo), ETag=etag)

    ROUTES: ClassVar[dict[str, Callable[..., None]]] = {
        "GET /api/agent-harnesses": harnesses,
        "POST /api/repos/create": create,
        "POST /api/validate-yaml": validate,
        "POST /api/models/(.+)/preupload/main": preupload,
        "POST /(.+).git/info/lfs/objects/batch": batch,
        "PUT /store/(.+)": store,
        "POST /api/models/(.+)/commit/main": commit,
        "GET /api/models/(.+)/revision/(.+)": info,
        "GET /api/models/(.+)/tree/.+": tree,
        "GET /api/models/([^/]+/[^/]+)": info,
        "(?:HEAD|GET) /(.+/.+)/resolve/[0-9a-f]{40}/(.+)": resolve,
    }


def sizes(content: bytes) -> dict[str, Any]:
    blob = b"blob %d\0" % len(content) + content
    return {
        "size": len(content),
        "oid": hashlib.sha1(blob, usedforsecurity=False).hexdigest(),
    }
