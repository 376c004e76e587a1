"""A hub on the loopback: what the ``huggingface_hub`` client asks for, and a log of what it asked.

Serves folders as model repositories over the requests that the client makes: the repository's
facts, its tree, and files by HEAD and GET with ``ETag``, ``X-Repo-Commit`` and ``Range``; and takes
what is pushed, in the one commit that the client makes of small files.
"""

from __future__ import annotations

import base64
import hashlib
import json
import shutil
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from functools import lru_cache
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import unquote, urlsplit


class Hub(ThreadingHTTPServer):
    """Repositories by id, each with revisions (names or commit hashes) that are folders."""

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.repos: dict[str, dict[str, Path]] = {}  # id -> commit -> folder
        self.refs: dict[str, dict[str, str]] = {}  # id -> branch or tag -> commit
        self.gated: set[str] = set()  # ids that answer 401 GatedRepo
        self.private: set[str] = set()  # ids that answer 401 and nothing else, as to strangers
        self.closing = threading.Event()  # set when the hub is being closed
        self.failures: dict[str, int] = {}  # id -> how many requests still to answer with 500
        self.silent: set[str] = set()  # ids that say what a file is and never send it
        self.cuts: dict[str, int] = {}  # id -> after how many bytes to cut the next long download
        self.commits: dict[str, str] = {}  # id -> what to call its commit, as a hostile hub may
        self.etags: dict[str, str] = {}  # id -> what to call its files' contents, likewise
        self.tokens: dict[str, str] = {}  # id -> the only token that it lets in
        self.uploads = Path()  # where pushed repositories go
        self.ranges: list[tuple[str, int, int]] = []  # (path, first byte wanted, bytes in all)
        self.log: list[tuple[str, str]] = []  # (method, path), in order of arrival

    def handle_error(self, request: object, client_address: object) -> None:
        """Say nothing of a client that hung up: some tests make it do so."""
        if not isinstance(sys.exception(), ConnectionError):
            super().handle_error(request, client_address)

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_address[1]}"

    def add(self, repo: str, folder: Path, ref: str = "main") -> str:
        """Serve ``folder`` as ``repo`` at ``ref``; returns the commit hash."""
        commit = hashlib.sha1(f"{repo} {ref} {folder}".encode(), usedforsecurity=False).hexdigest()
        self.repos.setdefault(repo, {})[commit] = folder
        self.refs.setdefault(repo, {})[ref] = commit
        return commit

    def files_asked(self, repo: str) -> list[str]:
        """Files of ``repo`` that were asked for, by HEAD or GET; ``api`` for its other requests."""
        asked = []
        for _, path in self.log:
            if path.startswith(f"/api/models/{repo}/"):
                asked.append("api")
            elif path.startswith(f"/{repo}/resolve/"):
                asked.append(path.split("/", 5)[5])
        return asked


class Handler(BaseHTTPRequestHandler):
    """Answers one request; ``self.server`` is the :class:`Hub`."""

    protocol_version = "HTTP/1.1"
    server: Hub

    def do_GET(self) -> None:
        self.answer()

    def do_HEAD(self) -> None:
        self.answer()

    def do_POST(self) -> None:
        """What ``create_repo`` and ``upload_folder`` ask: a repository, how to send, a commit."""
        body = self.rfile.read(int(self.headers["Content-Length"]))
        path = unquote(urlsplit(self.path).path)
        self.server.log.append((self.command, path))
        if path == "/api/repos/create":
            values = json.loads(body)
            repo = f"{values.get('organization') or 'someone'}/{values['name']}"
            return self.json({"url": f"{self.server.url}/{repo}", "name": repo})
        if path == "/api/validate-yaml":
            return self.json({"warnings": [], "errors": []})
        repo, action = "/".join(path.split("/")[3:5]), path.split("/")[5]
        if not self.has_token(repo):
            return self.error(401, None)
        if action == "preupload":
            files = [{"path": f["path"], "uploadMode": "regular", "shouldIgnore": False}
                     for f in json.loads(body)["files"]]  # fmt: skip
            return self.json({"files": files})
        for entry in map(json.loads, body.splitlines()):
            if entry["key"] == "file":
                file = self.server.uploads / repo / entry["value"]["path"]
                file.parent.mkdir(parents=True, exist_ok=True)
                file.write_bytes(base64.b64decode(entry["value"]["content"]))
        commit = self.server.add(repo, self.server.uploads / repo)
        return self.json({"commitUrl": f"{self.server.url}/{repo}/commit/{commit}",
                          "commitOid": commit})  # fmt: skip

    def has_token(self, repo: str) -> bool:
        return self.headers.get("Authorization") == f"Bearer {self.server.tokens.get(repo)}"

    def answer(self) -> None:
        path = unquote(urlsplit(self.path).path)
        self.server.log.append((self.command, path))
        parts = path.strip("/").split("/")
        if parts[:2] == ["api", "models"]:
            parts = parts[2:]
        if len(parts) < 4:
            return self.error(404, None)
        repo, action, revision, name = "/".join(parts[:2]), parts[2], parts[3], "/".join(parts[4:])
        if repo in self.server.silent and self.command == "GET":
            self.server.closing.wait()
        if self.server.failures.get(repo, 0):
            self.server.failures[repo] -= 1
            return self.error(500, None)
        if repo in self.server.private:
            return self.error(401, None)
        if repo in self.server.tokens and not self.has_token(repo):
            return self.error(401, None)
        if repo in self.server.gated:
            return self.error(401, "GatedRepo")
        if repo not in self.server.repos:
            return self.error(404, "RepoNotFound")
        commit = self.server.refs[repo].get(revision, revision)
        if commit not in self.server.repos[repo]:
            return self.error(404, "RevisionNotFound")
        folder = self.server.repos[repo][commit]
        files = sorted(p.relative_to(folder).as_posix() for p in folder.rglob("*") if p.is_file())
        if action == "revision":
            siblings = [{"rfilename": file} for file in files]
            return self.json({"id": repo, "modelId": repo, "sha": commit, "siblings": siblings})
        if action == "tree":
            return self.json(
                [
                    {"type": "file", "path": file, "size": (folder / file).stat().st_size,
                     "oid": etag(folder / file)}
                    for file in files
                ]
            )  # fmt: skip
        if action == "resolve" and name in files:
            return self.file(folder / name, commit, repo)
        return self.error(404, "EntryNotFound", commit)

    def error(self, status: int, code: str | None, commit: str | None = None) -> None:
        self.send_response(status)
        if code:
            self.send_header("X-Error-Code", code)
        if commit:
            self.send_header("X-Repo-Commit", commit)
        if status == 500:
            self.send_header("Retry-After", "0")  # else the client waits longer and longer
        self.send_header("Content-Length", "0")
        self.end_headers()

    def json(self, value: object) -> None:
        body = json.dumps(value).encode()
        self.send_response(200)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)

    def file(self, path: Path, commit: str, repo: str) -> None:
        size, start = path.stat().st_size, 0
        wanted = self.headers.get("Range", "")
        if wanted.startswith("bytes="):
            start = int(wanted.removeprefix("bytes=").split("-")[0])
        self.send_response(206 if start else 200)
        self.send_header("ETag", f'"{self.server.etags.get(repo) or etag(path)}"')
        self.send_header("X-Repo-Commit", self.server.commits.get(repo, commit))
        self.send_header("Content-Length", str(size - start))
        if start:
            self.send_header("Content-Range", f"bytes {start}-{size - 1}/{size}")
        self.end_headers()
        if self.command == "GET":
            self.server.ranges.append((self.path, start, size))
            with path.open("rb") as file:
                file.seek(start)
                if size > self.server.cuts.get(repo, size):
                    self.wfile.write(file.read(self.server.cuts.pop(repo)))
                    self.close_connection = True  # and not another byte
                else:
                    shutil.copyfileobj(file, self.wfile, 1 << 20)

    def log_message(self, *args: object) -> None:
        """Keep standard error clean: ``Hub.log`` has it."""


@lru_cache(maxsize=256)
def etag(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


@contextmanager
def serve() -> Iterator[Hub]:
    """A running hub on a free port, until the block ends."""
    hub = Hub()
    thread = threading.Thread(target=hub.serve_forever, args=(0.05,))
    thread.start()
    try:
        yield hub
    finally:
        hub.closing.set()
        hub.shutdown()
        hub.server_close()
        thread.join()
