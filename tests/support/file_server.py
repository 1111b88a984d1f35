"""A server of two small files, which may serve them badly, and of a record that describes them."""

from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Event
from typing import Any

BODIES = {"tiny_1.hdf5": bytes(range(256)) * 2, "tiny_2.hdf5": b"second" * 20}
FIRST, SECOND = BODIES.values()


class Server(ThreadingHTTPServer):
    """Serves BODIES, well or badly."""

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.mode = "good"
        self.asked: list[str] = []  # files and ranges, in the order of the requests
        self.stop = Event()
        self.record = b""

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_port}/files"

    def handle_error(self, *_: Any) -> None:
        """A client that hangs up is no news."""


class Handler(BaseHTTPRequestHandler):
    server: Server

    def log_message(self, *_: Any) -> None:
        """Keep stderr as calogen leaves it."""

    def do_GET(self) -> None:
        name, wanted = self.path.removeprefix("/files/"), self.headers.get("Range", "")
        self.server.asked.append(f"{name} {wanted}".strip())
        mode, body = self.server.mode, self.server.record if name == "record" else BODIES[name]
        start = int(wanted.removeprefix("bytes=").removesuffix("-")) if wanted and mode != "no ranges" else 0
        if mode == "silent":
            self.server.stop.wait(10)
        elif mode in ("endless", "stalled"):  # without a length
            self.send_response(200)
            self.end_headers()
            self.wfile.write(body[:100])
            while mode == "endless":
                self.wfile.write(bytes(1000))
            self.server.stop.wait(10)
        elif mode == "missing":
            self.send_error(404)
        elif start >= len(body):
            self.send_error(416)
        else:
            body = body.replace(b"s", b"S").replace(b"\x00", b"\x01") if mode == "corrupted" else body
            self.send_response(206 if start else 200)
            if start:
                shift = 1 if mode == "other range" else 0
                self.send_header("Content-Range", f"bytes {start + shift}-{len(body) - 1}/{len(body)}")
            self.send_header("Content-Length", str(len(body) - start))
            self.end_headers()
            self.wfile.write(body[start : start + 50] if mode == "truncated" else body[start:])
