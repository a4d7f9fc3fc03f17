"""A git server as hosting services are: smart HTTP by `git http-backend`, a token for the user `x-access-token`.

    with GitServer(folder, token="secret") as server:
        url = server.url + "/project.git"

`server.fault` makes it misbehave and `server.requests` says what it was asked. Stand-alone:
`python -m tests.support.git_server --root DIR --port N [--token-file F] [--host H]` prints its URL on the first line
and serves until it gets SIGTERM or SIGINT.
"""

import argparse
import base64
import gzip
import os
import shutil
import signal
import subprocess
import threading
from dataclasses import dataclass, field
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from types import FrameType, TracebackType
from typing import Literal, Self
from urllib.parse import urlsplit

USER = "x-access-token"
Fault = Literal["", "hang", "error", "unauthorized", "forbidden", "missing", "too-many", "redirect", "cut"]

_STATUS: dict[Fault, HTTPStatus] = {
    "error": HTTPStatus.INTERNAL_SERVER_ERROR,
    "unauthorized": HTTPStatus.UNAUTHORIZED,
    "forbidden": HTTPStatus.FORBIDDEN,
    "missing": HTTPStatus.NOT_FOUND,
    "too-many": HTTPStatus.TOO_MANY_REQUESTS,
    "redirect": HTTPStatus.FOUND,
}
# what hosting services allow, and nothing of this machine's configuration
_CONFIG = {
    "http.receivepack": "false",
    "uploadpack.allowAnySHA1InWant": "true",
    "uploadpack.allowFilter": "true",
    "safe.directory": "*",
}
_CHUNK = 65536


@dataclass(frozen=True)
class Request:
    method: str
    path: str
    authorization: str | None
    body: bytes = field(repr=False)


class GitServer:
    """Serves every repository below `root`. `token` may be changed while it serves."""

    def __init__(self, root: Path, token: str | None = None, *, host: str = "127.0.0.1", port: int = 0) -> None:
        self.root = root
        self.token = token
        self.fault: Fault = ""
        self.redirect_to = ""  # an address that replaces this server's, for the fault `redirect`
        self.says = ""  # what a failing answer has in its body, which git shows as `remote: …`
        self.requests: list[Request] = []
        self.holding = threading.Event()  # set once the fault `hang` holds a request
        self._released = threading.Event()
        handler = type("Handler", (_Handler,), {"git": self})
        self._http = ThreadingHTTPServer((host, port), handler)
        self._thread = threading.Thread(target=self._http.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True)

    @property
    def url(self) -> str:
        host, port = self._http.server_address[:2]
        return f"http://{host!s}:{port}"

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.release()
        self._http.shutdown()
        self._http.server_close()

    def release(self) -> None:
        """Lets go of the requests that the fault `hang` holds."""
        self._released.set()

    def hold(self) -> None:
        """Blocks until `release`."""
        self.holding.set()
        self._released.wait(60)

    def lets_in(self, authorization: str | None) -> bool:
        if self.token is None:
            return True
        expected = base64.b64encode(f"{USER}:{self.token}".encode()).decode()
        return authorization == f"Basic {expected}"

    @property
    def paths(self) -> list[str]:
        """`METHOD path` of every request so far."""
        return [f"{request.method} {request.path}" for request in self.requests]


class _Handler(BaseHTTPRequestHandler):
    git: GitServer
    protocol_version = "HTTP/1.1"

    def do_GET(self) -> None:
        self._answer()

    def do_POST(self) -> None:
        self._answer()

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - the base class named it
        """Says nothing: `requests` has it all."""

    def _answer(self) -> None:
        body = self._body()
        authorization = self.headers.get("Authorization")
        self.git.requests.append(Request(self.command, self.path, authorization, body))
        fault = self.git.fault
        if fault == "cut":
            self._reply(HTTPStatus.OK, {"Content-Length": "100000"}, b"half")
            self.close_connection = True
        elif fault != "redirect" and fault in _STATUS:
            self._refuse(_STATUS[fault])
        elif not self.git.lets_in(authorization):
            self._refuse(HTTPStatus.UNAUTHORIZED)
        elif fault == "hang":
            self.git.hold()
            self.close_connection = True
        elif fault == "redirect":
            self._refuse(_STATUS[fault])
        else:
            self._run_backend(body)

    def _refuse(self, status: HTTPStatus) -> None:
        headers = {"Content-Type": "text/plain"}
        if status is HTTPStatus.UNAUTHORIZED:
            headers["WWW-Authenticate"] = 'Basic realm="git"'
        if status is HTTPStatus.TOO_MANY_REQUESTS:
            headers["Retry-After"] = "7"
        if status is HTTPStatus.FOUND:
            headers["Location"] = self.git.redirect_to + self.path
        body = self.git.says.encode()
        self._reply(status, headers | {"Content-Length": str(len(body))}, body)

    def _body(self) -> bytes:
        if self.headers.get("Transfer-Encoding", "").lower() == "chunked":
            return self._chunked()
        return self.rfile.read(int(self.headers.get("Content-Length") or 0))

    def _chunked(self) -> bytes:
        chunks = []
        while size := int(self.rfile.readline().split(b";")[0], 16):
            chunks.append(self.rfile.read(size))
            self.rfile.readline()
        self.rfile.readline()
        return b"".join(chunks)

    def _run_backend(self, body: bytes) -> None:
        if self.headers.get("Content-Encoding") == "gzip":
            body = gzip.decompress(body)
        done = subprocess.run(
            ("git", "http-backend"), env=self._environment(len(body)), input=body, capture_output=True, check=False
        )
        head, _, content = done.stdout.partition(b"\r\n\r\n")
        headers = dict(line.split(": ", 1) for line in head.decode().split("\r\n") if line)
        status = HTTPStatus(int(headers.pop("Status", "200").split()[0]))
        self._reply(status, headers | {"Content-Length": str(len(content))}, content)

    def _environment(self, length: int) -> dict[str, str]:
        address = urlsplit(self.path)
        config = {
            name: value
            for number, pair in enumerate(_CONFIG.items())
            for name, value in zip((f"GIT_CONFIG_KEY_{number}", f"GIT_CONFIG_VALUE_{number}"), pair, strict=True)
        }
        return {
            "PATH": os.environ["PATH"],
            "HOME": str(self.git.root),
            "GIT_CONFIG_NOSYSTEM": "1",
            "GIT_CONFIG_GLOBAL": "/dev/null",
            "GIT_CONFIG_COUNT": str(len(_CONFIG)),
            "GIT_HTTP_EXPORT_ALL": "1",
            "GIT_PROJECT_ROOT": str(self.git.root),
            "GIT_PROTOCOL": self.headers.get("Git-Protocol", ""),
            "REQUEST_METHOD": self.command,
            "PATH_INFO": address.path,
            "QUERY_STRING": address.query,
            "CONTENT_TYPE": self.headers.get("Content-Type", ""),
            "CONTENT_LENGTH": str(length),
            "REMOTE_ADDR": self.client_address[0],
            **config,
        }

    def _reply(self, status: HTTPStatus, headers: dict[str, str], body: bytes) -> None:
        try:
            self.send_response(status)
            for name, value in headers.items():
                self.send_header(name, value)
            self.end_headers()
            for start in range(0, len(body), _CHUNK):
                self.wfile.write(body[start : start + _CHUNK])
        except (BrokenPipeError, ConnectionResetError):
            self.close_connection = True  # the client was ended, which is what some tests are about


def main() -> None:
    parser = argparse.ArgumentParser(description="Serves git repositories over HTTP, read-only.")
    parser.add_argument("--root", type=Path, required=True)
    parser.add_argument("--host", default="127.0.0.1")
    parser.add_argument("--port", type=int, default=0)
    parser.add_argument("--token-file", type=Path)
    given = parser.parse_args()
    if shutil.which("git") is None:
        parser.error("git is not installed")
    token = given.token_file.read_text().strip() if given.token_file else None
    ended = threading.Event()

    def end(_signum: int, _frame: FrameType | None) -> None:
        ended.set()

    for signum in (signal.SIGTERM, signal.SIGINT):
        signal.signal(signum, end)
    with GitServer(given.root.resolve(), token, host=given.host, port=given.port) as server:
        print(server.url, flush=True)  # noqa: T201 - the program's output
        ended.wait()


if __name__ == "__main__":
    main()
