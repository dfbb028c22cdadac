"""A Hugging Face Hub that takes models: the few addresses that creating and uploading ask for, over real HTTP."""

import base64
import json
import re
import threading
from collections.abc import Generator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

TOKEN = "hf_of_the_test"
LARGE = ".safetensors"
"""Files that go through large-file storage, as the real Hub has it."""


class Hub(ThreadingHTTPServer):
    """What it was sent, by repository and path; `visibility` of each repository."""

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.visibility = dict[str, str]()
        self.files = dict[str, dict[str, bytes]]()
        self.objects = dict[str, bytes]()
        self.bodies = list[bytes]()
        """Everything that came in, whatever the address."""

    @property
    def address(self) -> str:
        return f"http://127.0.0.1:{self.server_address[1]}"


@contextmanager
def hub() -> Generator[Hub]:
    """A running Hub."""
    with Hub() as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        try:
            yield server
        finally:
            server.shutdown()
            thread.join()


class _Handler(BaseHTTPRequestHandler):
    server: Hub  # pyright: ignore[reportIncompatibleVariableOverride]
    protocol_version = "HTTP/1.1"

    def do_GET(self) -> None:
        self._route("GET", b"")

    def do_POST(self) -> None:
        self._route("POST", self._body())

    def do_PUT(self) -> None:
        body = self._body()
        self.server.objects[self.path.rpartition("/")[2]] = body
        self._answer(200, {})

    def log_message(self, format: str, *args: Any) -> None:
        """Say nothing."""

    def _body(self) -> bytes:
        if self.headers["transfer-encoding"] == "chunked":
            body = b"".join(iter(self._chunk, b""))
        else:
            body = self.rfile.read(int(self.headers["content-length"] or 0))
        self.server.bodies.append(body)
        return body

    def _chunk(self) -> bytes:
        size = int(self.rfile.readline().partition(b";")[0], 16)
        chunk = self.rfile.read(size)
        self.rfile.readline()
        return chunk

    def _route(self, method: str, body: bytes) -> None:
        if self.headers["authorization"] != f"Bearer {TOKEN}":
            self._answer(401, {"error": "Invalid credentials"})
            return
        routes = {
            r"POST /api/repos/create": self._create,
            r"GET /api/models/([^/]+/[^/]+)": self._info,
            r"POST /api/validate-yaml": self._validate,
            r"POST /api/models/([^/]+/[^/]+)/preupload/main": self._preupload,
            r"POST /([^/]+/[^/]+)\.git/info/lfs/objects/batch": self._batch,
            r"POST /api/models/([^/]+/[^/]+)/commit/main": self._commit,
        }
        asked = f"{method} {self.path.partition('?')[0]}"
        for pattern, handle in routes.items():
            if match := re.fullmatch(pattern, asked):
                handle(body, *match.groups())
                return
        self._answer(404, {"error": f"no such address: {asked}"})

    def _create(self, body: bytes) -> None:
        asked = json.loads(body)
        name = f"{asked['organization']}/{asked['name']}"
        if asked["organization"] == "forbidden":
            self._answer(403, {"error": "You don't have the rights"})
        elif name in self.server.visibility:
            self._answer(409, {"error": "You already created this model repo", "url": f"{self.server.address}/{name}"})
        else:
            self.server.visibility[name] = asked["visibility"]
            self._answer(200, {"url": f"{self.server.address}/{name}", "name": name})

    def _info(self, _: bytes, name: str) -> None:
        known = self.server.visibility.get(name)
        if known is None:
            self._answer(404, {"error": "Repository not found"})
        else:
            self._answer(200, {"id": name, "modelId": name, "private": known == "private", "tags": [], "siblings": []})

    def _validate(self, body: bytes) -> None:
        self._answer(200, {"errors": [], "warnings": []})

    def _preupload(self, body: bytes, _: str) -> None:
        files = [
            {
                "path": file["path"],
                "uploadMode": "lfs" if file["path"].endswith(LARGE) else "regular",
                "shouldIgnore": False,
            }
            for file in json.loads(body)["files"]
        ]
        self._answer(200, {"files": files})

    def _batch(self, body: bytes, _: str) -> None:
        objects = [
            {
                "oid": item["oid"],
                "size": item["size"],
                "actions": {"upload": {"href": f"{self.server.address}/objects/{item['oid']}"}},
            }
            for item in json.loads(body)["objects"]
        ]
        self._answer(200, {"transfer": "basic", "objects": objects})

    def _commit(self, body: bytes, name: str) -> None:
        files = self.server.files.setdefault(name, {})
        for line in map(json.loads, body.splitlines()):
            value = line["value"]
            if line["key"] == "file":
                files[value["path"]] = base64.b64decode(value["content"])
            elif line["key"] == "lfsFile":
                files[value["path"]] = self.server.objects[value["oid"]]
        url = f"{self.server.address}/{name}/commit/{'0' * 40}"
        self._answer(200, {"commitUrl": url, "commitOid": "0" * 40, "pullRequestUrl": None})

    def _answer(self, status: int, content: dict[str, Any]) -> None:
        body = json.dumps(content).encode()
        self.send_response(status)
        self.send_header("content-type", "application/json")
        self.send_header("content-length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)
