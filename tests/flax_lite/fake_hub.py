"""A local server with the routes of the Hugging Face hub that its client uses, and with faults on demand.

Routes, headers and error codes are those that huggingface_hub reads: file_download.py (get_hf_file_metadata, http_get),
hf_api.py (model_info, get_repo_discussions), utils/_http.py (hf_raise_for_status). Like the hub, it redirects
requests for weights to a store that supports ranges.
"""

import contextlib
import hashlib
import json
import re
import threading
from collections.abc import Callable, Iterator, Mapping
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qs, unquote, urlsplit

_STORED = (".safetensors", ".msgpack", ".bin", ".h5")


class FakeHub:
    """Repositories in memory, and a log of the requests.

    Attributes:
        url: of the server.
        store: URL of the store of large files, for a client another host.
        asked: "METHOD /path" of every request, without the query.
        refs: commits by repository and revision.
        commits: content of the files by repository, commit and file name.
        requests: discussions and pull requests by repository.
        moved: new names of repositories by their old ones, answered with a redirect.
        gated: repositories whose files may not be downloaded.
        hashes: whether listings contain hashes of the files; some mirrors have none.
        status: status of every response, such as 500; None for normal responses.
        cuts: by the hash of a file, how many more times the connection is closed in the middle of it.
        then: a method, the end of a path, and a function to call once after such a request was answered.
    """

    def __init__(self) -> None:
        self.url = ""
        self.store = ""
        self.asked: list[str] = []
        self.refs: dict[str, dict[str, str]] = {}
        self.commits: dict[str, dict[str, dict[str, bytes]]] = {}
        self.requests: dict[str, list[dict[str, Any]]] = {}
        self.moved: dict[str, str] = {}
        self.gated: set[str] = set()
        self.hashes = True
        self.status: int | None = None
        self.cuts: dict[str, int] = {}
        self.then: tuple[str, str, Callable[[], Any]] | None = None

    def add(self, name: str, files: Mapping[str, bytes], revision: str = "main") -> str:
        """Commits these files, and no others, to a revision; returns the commit."""
        listing = repr((name, revision, sorted(files.items())))
        commit = hashlib.sha1(listing.encode()).hexdigest()
        self.commits.setdefault(name, {})[commit] = dict(files)
        self.refs.setdefault(name, {})[revision] = commit
        return commit

    def open_request(self, name: str, files: Mapping[str, bytes], **changes: Any) -> int:
        """Opens a pull request like the conversion bot, with these files; returns its number."""
        number = len(self.requests.setdefault(name, [])) + 1
        self.add(name, files, f"refs/pr/{number}")
        request = {
            "num": number,
            "title": "Adding `safetensors` variant of this model",
            "author": {"name": "SFconvertbot"},
            "status": "open",
            "isPullRequest": True,
            "createdAt": "2023-03-07T12:00:00.000Z",
            "repo": {"name": name, "type": "model"},
        }
        self.requests[name].append(request | changes)
        return number

    def downloads(self, name: str) -> list[str]:
        """Returns the requests for the content or the headers of a file."""
        return [each for each in self.asked if each.endswith(f"/{name}")]

    def stored(self, digest: str) -> bytes | None:
        """Returns the content with this hash."""
        contents = (files.values() for commits in self.commits.values() for files in commits.values())
        return next((each for content in contents for each in content if sha256(each) == digest), None)


def sha256(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    hub: FakeHub

    def log_message(self, *_: Any) -> None:
        """Logs nothing."""

    def do_HEAD(self) -> None:
        self._answer(urlsplit(self.path).path)

    def do_GET(self) -> None:
        self._answer(urlsplit(self.path).path)

    def _answer(self, path: str) -> None:
        self.hub.asked.append(f"{self.command} {unquote(path)}")
        if self.hub.status is not None:
            self._send(self.hub.status)
        elif match := re.fullmatch(r"/api/(?:models/)?(.+)/revision/([^/]+)", path):
            self._repository(match[1], unquote(match[2]))  # names of data sets begin with "datasets/"
        elif match := re.fullmatch(r"/api/(?:models/)?(.+)/tree/([^/]+)", path):
            self._tree(match[1], unquote(match[2]))
        elif match := re.fullmatch(r"/api/models/(.+)/discussions", path):
            self._discussions(match[1])
        elif match := re.fullmatch(r"/(.+?)/resolve/([^/]+)/(.+)", path):
            self._file(match[1], unquote(match[2]), unquote(match[3]))
        elif match := re.fullmatch(r"/store/([0-9a-f]{64})", path):
            self._content(match[1])
        else:
            self._send(404)
        if self.hub.then and self.command == self.hub.then[0] and path.endswith(self.hub.then[1]):
            _, _, act = self.hub.then
            self.hub.then = None
            act()

    def _commit(self, name: str, revision: str) -> str | None:
        """Returns the commit; if there is none, sends the response and returns None."""
        if name in self.hub.moved:
            self._send(307, Location=self.path.replace(name, self.hub.moved[name], 1))
        elif name not in self.hub.refs:
            self._send(401, **{"X-Error-Code": "RepoNotFound"})  # the hub's answer for private repositories too
        elif revision in self.hub.commits[name] or revision in self.hub.refs[name]:
            return self.hub.refs[name].get(revision, revision)
        else:
            self._send(404, **{"X-Error-Code": "RevisionNotFound"})
        return None

    def _repository(self, name: str, revision: str) -> None:
        if (commit := self._commit(name, revision)) is None:
            return
        siblings = [
            {"rfilename": file, "size": len(content)} | (_hashes(file, content) if self.hub.hashes else {})
            for file, content in self.hub.commits[name][commit].items()
        ]
        self._send_json({"id": name, "sha": commit, "private": False, "siblings": siblings})

    def _tree(self, name: str, revision: str) -> None:
        """Sends the list of files, which huggingface_hub 2 requests before a download."""
        if (commit := self._commit(name, revision)) is None:
            return
        files = self.hub.commits[name][commit].items()
        self._send_json(
            [{"type": "file", "path": path, "size": len(content), "oid": _blob(content)} for path, content in files]
        )

    def _discussions(self, name: str) -> None:
        query = parse_qs(urlsplit(self.path).query)
        found = [each for each in self.hub.requests.get(name, []) if each["status"] == query["status"][0]]
        start = 2 * int(query["p"][0])  # two a page
        self._send_json({"discussions": found[start : start + 2], "count": len(found), "start": start})

    def _file(self, name: str, revision: str, file: str) -> None:
        if (commit := self._commit(name, revision)) is None:
            return
        headers = {"X-Repo-Commit": commit}
        if name in self.hub.gated:
            self._send(403, **headers, **{"X-Error-Code": "GatedRepo"})
        elif (content := self.hub.commits[name][commit].get(file)) is None:
            self._send(404, **headers, **{"X-Error-Code": "EntryNotFound"})
        elif file.endswith(_STORED):
            digest = sha256(content)
            linked = {"X-Linked-Etag": f'"{digest}"', "X-Linked-Size": str(len(content))}
            self._send(302, **headers, **linked, Location=f"{self.hub.store}/{digest}")
        else:
            self._send(200, content, **headers, ETag=f'"{_blob(content)}"')

    def _content(self, digest: str) -> None:
        content = self.hub.stored(digest)
        if content is None:
            self._send(404)
            return
        begin = re.fullmatch(r"bytes=(\d+)-", self.headers.get("Range", ""))
        start = int(begin[1]) if begin else 0
        headers = {"Content-Range": f"bytes {start}-{len(content) - 1}/{len(content)}"} if begin else {}
        cut = self.hub.cuts.get(digest, 0)
        if cut:
            self.hub.cuts[digest] = cut - 1
        half = (start + len(content)) // 2 - start
        self._send(206 if begin else 200, content[start:], sent=half if cut else None, ETag=f'"{digest}"', **headers)

    def _send_json(self, content: Any) -> None:
        self._send(200, json.dumps(content).encode(), **{"Content-Type": "application/json"})

    def _send(self, status: int, body: bytes = b"", *, sent: int | None = None, **headers: str) -> None:
        """Sends the headers, and the whole body or its first `sent` bytes."""
        self.send_response(status)
        for key, value in {**headers, "Content-Length": str(len(body))}.items():
            self.send_header(key, value)
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body[:sent])
        self.close_connection = sent is not None


def _blob(content: bytes) -> str:
    """Returns the git blob id of a file."""
    return hashlib.sha1(b"blob %d\0" % len(content) + content).hexdigest()


def _hashes(file: str, content: bytes) -> dict[str, Any]:
    if not file.endswith(_STORED):
        return {"blobId": _blob(content)}
    return {"blobId": "0" * 40, "lfs": {"sha256": sha256(content), "size": len(content), "pointerSize": 134}}


@contextlib.contextmanager
def serve() -> Iterator[FakeHub]:
    """Yields a hub that runs until the block ends."""
    hub = FakeHub()
    server = ThreadingHTTPServer(("127.0.0.1", 0), type("Handler", (_Handler,), {"hub": hub}))
    server.daemon_threads = True
    hub.url = f"http://127.0.0.1:{server.server_port}"
    hub.store = f"http://localhost:{server.server_port}/store"
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05})
    thread.start()
    try:
        yield hub
    finally:
        server.shutdown()
        thread.join()
        server.server_close()
