"""A stand-in of the Hugging Face hub on loopback: the part of its protocol that downloads use."""

import json
import re
import threading
from hashlib import sha256
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import TracebackType
from typing import Self

COMMIT = "0123456789abcdef0123456789abcdef01234567"


class Hub:
    """Serves `files` (content by `owner/repository/file`).

    `breaks`: how many downloads break off in the middle. `error`: status and error code of every response, if set.
    `lies`: the hashes in the headers are wrong. `ranges`: the ranges that were requested.
    """

    def __init__(
        self, files: dict[str, bytes], *, breaks: int = 0, error: tuple[int, str] | None = None, lies: bool = False
    ) -> None:
        self.files, self.breaks, self.error, self.lies = files, breaks, error, lies
        self.ranges: list[str] = []
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), self._handler())
        self.url = f"http://127.0.0.1:{self._server.server_port}"

    def __enter__(self) -> Self:
        self._thread = threading.Thread(target=self._server.serve_forever, daemon=True)
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()

    def _handler(self) -> type[BaseHTTPRequestHandler]:
        hub = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def log_message(self, format: str, *arguments: object) -> None:
                pass

            def do_HEAD(self) -> None:
                self._answer(body=False)

            def do_GET(self) -> None:
                self._answer(body=True)

            def _answer(self, *, body: bool) -> None:
                if hub.error is not None:
                    status, code = hub.error
                    self._send(status, b"", {"X-Error-Code": code} if code else {})
                    return
                path = self.path.partition("?")[0].lstrip("/")
                if path.startswith("api/models/"):
                    self._list(path.removeprefix("api/models/"))
                    return
                match = re.fullmatch(r"(?P<repository>[^/]+/[^/]+)/resolve/[^/]+/(?P<file>.+)", path)
                content = hub.files.get(f"{match['repository']}/{match['file']}") if match else None
                if content is None:
                    self._send(404, b"", {"X-Error-Code": "EntryNotFound"})
                    return
                self._file(content, body=body)

            def _list(self, path: str) -> None:
                repository = "/".join(path.split("/")[:2])
                names = [name.removeprefix(f"{repository}/") for name in hub.files if name.startswith(f"{repository}/")]
                if "/tree/" in path:
                    listing: object = [
                        {"type": "file", "path": name, "size": len(hub.files[f"{repository}/{name}"]), "oid": "0" * 40}
                        for name in names
                    ]
                else:
                    listing = {"id": repository, "sha": COMMIT, "siblings": [{"rfilename": name} for name in names]}
                self._send(200, json.dumps(listing).encode(), {"Content-Type": "application/json"})

            def _file(self, content: bytes, *, body: bool) -> None:
                digest = sha256(content + (b"!" if hub.lies else b"")).hexdigest()
                headers = {"ETag": f'"{digest}"', "X-Repo-Commit": COMMIT, "Accept-Ranges": "bytes"}
                if not body:
                    self._send(200, content, {**headers, "X-Linked-Size": str(len(content))}, body=False)
                    return
                start = 0
                if requested := self.headers.get("Range"):
                    hub.ranges.append(requested)
                    start = int(requested.removeprefix("bytes=").partition("-")[0])
                    headers["Content-Range"] = f"bytes {start}-{len(content) - 1}/{len(content)}"
                if hub.breaks:
                    hub.breaks -= 1
                    self.send_response(200)
                    self.send_header("Content-Length", str(len(content) - start))
                    for name, value in headers.items():
                        self.send_header(name, value)
                    self.end_headers()
                    self.wfile.write(content[start : start + len(content) // 2])
                    self.close_connection = True
                    return
                self._send(206 if start else 200, content[start:], headers)

            def _send(self, status: int, content: bytes, headers: dict[str, str], *, body: bool = True) -> None:
                self.send_response(status)
                self.send_header("Content-Length", str(len(content)))
                for name, value in headers.items():
                    self.send_header(name, value)
                self.end_headers()
                if body and self.command == "GET":
                    self.wfile.write(content)

        return Handler
