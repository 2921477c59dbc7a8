"""A fake Google Cloud Storage: the part of its JSON API that gcsfs and TensorStore use, with objects in memory.

Processes with a server's `environment()` read and write `gs://bucket/...` on it.
"""

import base64
import contextlib
import hashlib
import itertools
import json
import re
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import parse_qs, unquote, urlsplit

BUCKET = "bucket"
_OBJECT = re.compile(r"(?:/download)?/storage/v1/b/([^/]+)/o/([^/]+)")
_MOVE = re.compile(r"/storage/v1/b/([^/]+)/o/([^/]+)/moveTo/o/([^/]+)")
_LIST = re.compile(r"/storage/v1/b/([^/]+)/o/?")
_BUCKET = re.compile(r"/storage/v1/b/([^/]+)/?")
_PAGE = 5  # names per page; few, so that clients have to read several pages


class Server(ThreadingHTTPServer):
    """The server.

    Attributes:
      objects: {name: (content, generation)}.
      calls: the paths of all requests.
      written: the names of written objects, in order.
      clients: processes to kill when the server stops.
      refused: (method, name) -> whether to answer 403.
      hold: (name) -> None; called before an object is stored, and may block.
    """

    daemon_threads = True
    request_queue_size = 128  # TensorStore opens many connections at once

    def __init__(self):
        super().__init__(("127.0.0.1", 0), _Handler)
        self.objects, self.sessions, self.calls, self.written, self.clients = {}, {}, [], [], []
        self.lock, self.generations = threading.RLock(), itertools.count(1)
        self.refused = lambda method, name: False
        self.hold = lambda name: None

    def handle_error(self, request, client_address):
        """Ignores errors: tests kill clients."""

    def names(self, prefix=""):
        with self.lock:
            return sorted(name for name in self.objects if name.startswith(prefix))

    def read(self, name):
        return self.objects[name][0]

    def write(self, name, content):
        with self.lock:
            self.objects[name] = (content, next(self.generations))

    def environment(self):
        address = f"http://127.0.0.1:{self.server_port}"
        return {
            "STORAGE_EMULATOR_HOST": address,
            "TENSORSTORE_GCS_HTTP_URL": address,
            "GOOGLE_AUTH_TOKEN_FOR_TESTING": "none",
            # Otherwise gcsfs would ask for the kind of bucket over gRPC.
            "GCSFS_EXPERIMENTAL_ZB_HNS_SUPPORT": "false",
        }


@contextlib.contextmanager
def running():
    server = Server()
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True)
    thread.start()
    try:
        yield server
    finally:
        for process in server.clients:
            process.kill()
            process.wait()
        server.shutdown()
        server.server_close()


class _Error(Exception):
    def __init__(self, status):
        super().__init__(status)
        self.status = status


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True  # otherwise each response waits 40 ms between header and body
    server: Server

    def do_GET(self):
        self._handle()

    do_POST = do_PUT = do_DELETE = do_GET  # noqa: N815

    def log_message(self, *arguments):
        pass

    def _handle(self):
        parts = urlsplit(self.path)
        query = {name: values[0] for name, values in parse_qs(parts.query, keep_blank_values=True).items()}
        body = self._body()
        self.server.calls.append(parts.path)
        try:
            status, content, headers = self._answer(self.command, parts.path, query, self.headers, body)
        except _Error as error:
            status, headers = error.status, {}
            content = {"error": {"code": status, "message": "refused"}} if status >= 400 else b""
        data = json.dumps(content).encode() if isinstance(content, dict) else content
        self.send_response(status)
        for name, value in {"Content-Length": len(data), "Content-Type": "application/json", **headers}.items():
            self.send_header(name, str(value))
        self.end_headers()
        self.wfile.write(data)

    def _body(self):
        if self.headers.get("Transfer-Encoding") != "chunked":
            return self.rfile.read(int(self.headers.get("Content-Length") or 0))
        chunks = []
        while size := int(self.rfile.readline().split(b";")[0], 16):
            chunks.append(self.rfile.read(size))
            self.rfile.readline()
        self.rfile.readline()
        return b"".join(chunks)

    def _answer(self, method, path, query, headers, body):
        if path.startswith("/upload/"):
            self._require_bucket(path.split("/")[5])
            return self._upload(query, headers, body)
        if match := _MOVE.fullmatch(path):
            return self._move(unquote(match[2]), unquote(match[3]))
        if match := _OBJECT.fullmatch(path):
            self._require_bucket(match[1])
            return self._object(method, unquote(match[2]), path, query, headers)
        if match := _LIST.fullmatch(path):
            self._require_bucket(match[1])
            return self._list(query)
        if match := _BUCKET.fullmatch(path):
            raise _Error(403)  # as for an account with roles/storage.objectAdmin
        raise _Error(404)

    def _require_bucket(self, name):
        if name != BUCKET:
            raise _Error(404)

    def _object(self, method, name, path, query, headers):
        with self.server.lock:
            if self.server.refused(method, name):
                raise _Error(403)
            found = self.server.objects.get(name)
            self._check(found, query)
            if found is None:
                raise _Error(404)
            if method == "DELETE":
                del self.server.objects[name]
                return 204, b"", {}
        content, generation = found
        if query.get("alt") != "media" and not path.startswith("/download"):
            return 200, _resource(name, found), {}
        status, extra = 200, {"x-goog-generation": generation, "Content-Type": "application/octet-stream"}
        if match := re.fullmatch(r"bytes=(\d+)-(\d*)", headers.get("Range") or ""):
            first, last = int(match[1]), min(int(match[2] or len(content)), len(content) - 1)
            if first >= len(content):
                raise _Error(416)
            extra["Content-Range"] = f"bytes {first}-{last}/{len(content)}"
            status, content = 206, content[first : last + 1]
        return status, content, extra

    def _check(self, found, query):
        generation = found[1] if found else 0
        if "ifGenerationMatch" in query and int(query["ifGenerationMatch"]) != generation:
            raise _Error(412)
        if "ifGenerationNotMatch" in query and int(query["ifGenerationNotMatch"]) == generation:
            raise _Error(304)

    def _list(self, query):
        prefix, delimiter = query.get("prefix", ""), query.get("delimiter")
        first, end = query.get("startOffset", ""), query.get("endOffset")
        found = {}
        for name in self.server.names(prefix):
            if name < first or (end and name >= end):
                continue
            cut = name.find(delimiter, len(prefix)) if delimiter else -1
            found.setdefault(name if cut < 0 else name[: cut + len(delimiter)], cut >= 0)
        begin = int(query.get("pageToken") or 0)
        size = min(int(query.get("maxResults") or _PAGE), _PAGE)
        page = list(found.items())[begin : begin + size]
        with self.server.lock:
            known = [name for name, is_prefix in page if not is_prefix and name in self.server.objects]
            answer = {"kind": "storage#objects", "items": [_resource(n, self.server.objects[n]) for n in known]}
        answer["prefixes"] = [name for name, is_prefix in page if is_prefix]
        if begin + size < len(found):
            answer["nextPageToken"] = str(begin + size)
        return 200, answer, {}

    def _upload(self, query, headers, body):
        if "upload_id" in query:
            return self._resume(query["upload_id"], headers, body)
        kind = query.get("uploadType")
        if kind == "media":
            return self._store(query["name"], body, query)
        if kind == "multipart":
            _, meta, media = re.split(rb"\r?\n\r?\n", body, maxsplit=2)
            name = json.loads(meta.splitlines()[0])["name"]
            return self._store(name, media[: media.rindex(b"\n--")], query)
        identifier = str(next(self.server.generations))
        name = query.get("name") or json.loads(body)["name"]
        self.server.sessions[identifier] = [name, b"", query]
        address = f"http://{headers['Host']}/upload/storage/v1/b/{BUCKET}/o?uploadType=resumable&upload_id={identifier}"
        return 200, {}, {"Location": address}

    def _resume(self, identifier, headers, body):
        session = self.server.sessions[identifier]
        session[1] += body
        total = headers["Content-Range"].rpartition("/")[2]
        if total != "*" and len(session[1]) == int(total):
            return self._store(session[0], session[1], session[2])
        return 308, b"", {"Range": f"bytes=0-{len(session[1]) - 1}"} if session[1] else {}

    def _store(self, name, content, query):
        self.server.hold(name)
        with self.server.lock:
            if self.server.refused("PUT", name):
                raise _Error(403)
            self._check(self.server.objects.get(name), query)
            self.server.written.append(name)
            self.server.write(name, content)
            return 200, _resource(name, self.server.objects[name]), {}

    def _move(self, source, target):
        with self.server.lock:
            if source not in self.server.objects:
                raise _Error(404)
            self.server.write(target, self.server.objects.pop(source)[0])
            return 200, _resource(target, self.server.objects[target]), {}


def _resource(name, found):
    content, generation = found
    return {
        "kind": "storage#object",
        "id": f"{BUCKET}/{name}/{generation}",
        "bucket": BUCKET,
        "name": name,
        "size": str(len(content)),
        "generation": str(generation),
        "metageneration": "1",
        "md5Hash": base64.b64encode(hashlib.md5(content).digest()).decode(),
        "timeCreated": "2026-01-01T00:00:00.000Z",
        "updated": "2026-01-01T00:00:00.000Z",
        "storageClass": "STANDARD",
    }
