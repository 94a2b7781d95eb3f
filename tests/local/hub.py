"""A Hugging Face hub on loopback with the endpoints that downloads use."""

import json
import re
import threading
from hashlib import sha256

from tests.servers.loopback import Handler, LoopbackServer

COMMIT = "0123456789abcdef0123456789abcdef01234567"


class Hub(LoopbackServer):
    """Serve `files` (`owner/repository/file` -> content).

    `breaks`: number of downloads that are interrupted halfway. `stalls`: bytes after which downloads stall. `error`:
    status and error code of every response, if set. `wrong_hash`: the hashes in the headers are wrong. `etag`, `size`:
    replace the hash and the size in the headers. `content`: another server with the files, to which the hub redirects.
    `ranges`: the requested ranges. `sent`: number of bytes sent. `keys`: the values of `Authorization`.
    """

    def __init__(
        self,
        files: dict[str, bytes],
        *,
        breaks: int = 0,
        stalls: int | None = None,
        error: tuple[int, str] | None = None,
        wrong_hash: bool = False,
        etag: str = "",
        size: int | None = None,
        content: "Hub | None" = None,
    ) -> None:
        super().__init__(HubHandler)
        self.files, self.breaks, self.stalls = files, breaks, stalls
        self.error, self.wrong_hash, self.etag, self.size, self.content = error, wrong_hash, etag, size, content
        self.ranges: list[str] = []
        self.keys: set[str | None] = set()
        self.sent = 0
        self.closing = threading.Event()

    def __exit__(self, *_: object) -> None:
        self.closing.set()
        super().__exit__()


class HubHandler(Handler):
    server: Hub

    def do_GET(self) -> None:  # noqa: N802 (the name of the base class)
        hub, path = self.server, self.path.partition("?")[0].lstrip("/")
        match = re.fullmatch(r"(?P<repository>[^/]+/[^/]+)/resolve/[^/]+/(?P<file>.+)", path)
        content = hub.files.get(f"{match['repository']}/{match['file']}") if match else None
        hub.keys.add(self.headers["Authorization"])
        if hub.error is not None:
            status, code = hub.error
            self.reply(status, headers={"X-Error-Code": code} if code else {})
        elif path.startswith("api/models/"):
            self._list(path.removeprefix("api/models/"))
        elif content is None:
            self.reply(404, headers={"X-Error-Code": "EntryNotFound"})
        else:
            self._file(content)

    do_HEAD = do_GET  # noqa: N815

    def _list(self, path: str) -> None:
        repository = "/".join(path.split("/")[:2])
        files = {
            name.removeprefix(f"{repository}/"): content
            for name, content in self.server.files.items()
            if name.startswith(f"{repository}/")
        }
        if "/tree/" in path:
            listing: object = [
                {"type": "file", "path": name, "size": len(content), "oid": "0" * 40} for name, content in files.items()
            ]
        else:
            listing = {"id": repository, "sha": COMMIT, "siblings": [{"rfilename": name} for name in files]}
        self.reply(200, json.dumps(listing).encode(), {"Content-Type": "application/json"})

    def _file(self, content: bytes) -> None:
        hub = self.server
        digest = hub.etag or sha256(content + (b"!" if hub.wrong_hash else b"")).hexdigest()
        headers = {"ETag": f'"{digest}"', "X-Repo-Commit": COMMIT, "Accept-Ranges": "bytes"}
        linked = {**headers, "X-Linked-ETag": headers["ETag"], "X-Linked-Size": str(hub.size or len(content))}
        if hub.content is not None:
            self.reply(302, headers={**linked, "Location": f"{hub.content.url}{self.path}"})
            return
        if self.command == "HEAD":
            self.reply(200, content, linked)
            return
        start = 0
        if requested := self.headers.get("Range"):
            hub.ranges.append(requested)
            start = int(requested.removeprefix("bytes=").partition("-")[0])
            headers["Content-Range"] = f"bytes {start}-{len(content) - 1}/{len(content)}"
        part = content[start:]
        if hub.breaks:
            hub.breaks -= 1
            part = part[: len(part) // 2]
        elif hub.stalls is not None:
            part = part[: hub.stalls]
        self.reply(206 if start else 200, part, {**headers, "Content-Length": str(len(content) - start)})
        hub.sent += len(part)
        if start + len(part) < len(content):
            self.close_connection = True
            if hub.stalls is not None:
                hub.closing.wait()
