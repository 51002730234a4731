"""A web server for one person on one machine: it answers the loopback interface alone and changes nothing."""

from __future__ import annotations

import json
import os
import re
import sys
from collections.abc import Callable
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from importlib.resources import files
from threading import Lock
from typing import Any

from ..errors import BadInput, ShotsieveError
from .shots import KeptShots

HOST = "127.0.0.1"
_SHOT = re.compile(r"/(picture|values)/(\d{1,9})")


class Viewer(ThreadingHTTPServer):
    """Serves the page and the shots; `url` says where.

    Parameters
    ----------
    shots : KeptShots
    port : int
        0 takes a free one.

    Raises
    ------
    BadInput
        If the port is taken.
    """

    daemon_threads = True

    def __init__(self, shots: KeptShots, port: int = 0) -> None:
        self.shots, self.lock = shots, Lock()
        self.page = files(__package__).joinpath("page.html").read_bytes()
        try:
            super().__init__((HOST, port), _Handler)
        except (OSError, OverflowError) as err:
            raise BadInput(
                f"port {port} cannot be used ({err}); choose another, or 0 for a free one"
            ) from err

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Say nothing of pages that went away before they had their answer."""
        if not isinstance(sys.exc_info()[1], ConnectionError):
            super().handle_error(request, client_address)

    @property
    def url(self) -> str:
        return f"http://{HOST}:{self.server_port}/"


class _Handler(BaseHTTPRequestHandler):
    server: Viewer
    protocol_version = "HTTP/1.1"

    def do_GET(self) -> None:
        # Another site's page may ask for this address under a name of its own: only ours is answered.
        if self.headers.get("Host", "").partition(":")[0] not in (HOST, "localhost"):
            self.send_error(HTTPStatus.FORBIDDEN)
            return
        path = self.path.partition("?")[0]
        shot = _SHOT.fullmatch(path)
        if path == "/":
            self._answer("text/html; charset=utf-8", self.server.page)
        elif path == "/about":
            self._answer_json(self.server.shots.about)
        elif shot and int(shot[2]) < len(self.server.shots):
            number = int(shot[2])
            if shot[1] == "values":
                self._answer_json(lambda: self.server.shots.values(number))
            else:
                self._answer("application/octet-stream", lambda: self.server.shots.picture(number))
        else:
            self.send_error(HTTPStatus.NOT_FOUND)

    def _answer_json(self, made: Callable[[], dict[str, Any]]) -> None:
        self._answer("application/json", lambda: json.dumps(made(), allow_nan=False).encode())

    def _answer(self, kind: str, body: bytes | Callable[[], bytes]) -> None:
        try:
            if not isinstance(body, bytes):
                with self.server.lock:  # HDF5 serves one at a time in any case
                    body = body()
        except ShotsieveError as err:
            self.send_error(HTTPStatus.INTERNAL_SERVER_ERROR, explain=str(err))
            return
        self.send_response(HTTPStatus.OK)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(body)))
        self.send_header("Cache-Control", "no-store")
        self.send_header(
            "Content-Security-Policy", "default-src 'self' 'unsafe-inline'; img-src 'self' data:"
        )
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: Any) -> None:
        """Say nothing: whoever looks at shots does not want a line for each."""


def serve(
    out: str | os.PathLike,
    *,
    geometry: str | os.PathLike | None = None,
    port: int = 0,
    ready: Callable[[str], object] = lambda url: None,
) -> None:
    """Show the kept shots of a reduced run on a local page until interrupted.

    Parameters
    ----------
    out : path
        Output of `shotsieve.reduce` with calibrated frames.
    geometry : path or None
        CrystFEL geometry file; None takes the recipe's.
    port : int
        0 takes a free one.
    ready : callable
        Called with the address once the page can be opened.

    Raises
    ------
    BadInput
        If there is nothing to show or the port is taken.

    Notes
    -----
    Answers 127.0.0.1 alone; from elsewhere use a tunnel (``ssh -L``). Nothing is written.

    Examples
    --------
    >>> serve("red/r0001", port=8080, ready=print)    # doctest: +SKIP
    http://127.0.0.1:8080/
    """
    with Viewer(KeptShots(out, geometry), port) as server:
        ready(server.url)
        server.serve_forever()
