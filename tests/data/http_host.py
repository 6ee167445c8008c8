"""A web host on a local port: files with ranges, versions and redirects, lists by query, and a plan of what goes wrong."""

import email.utils
import hashlib
import socket
import struct
import threading
import time
import zlib
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import parse_qs, unquote, urlsplit


def etag(path: str, data: bytes) -> dict[str, str]:
    """As S3 names the version of a file that was uploaded in one piece."""
    return {"ETag": f'"{hashlib.md5(data).hexdigest()}"'}


def changed(path: str, data: bytes) -> dict[str, str]:
    """As Go's http.ServeFile does, which Fuel uses; a date that depends on the bytes."""
    return {"Last-Modified": email.utils.formatdate(1_000_000_000 + zlib.crc32(data) // 8, usegmt=True)}


class HttpHost:
    """Serves `files` by path, `moved` paths by redirects and `lists` by functions of the query.

    trouble: by path, what goes wrong with the next answers: "503" and other numbers, "429 2" with Retry-After, "cut" (half of
    what is left, of lists too), "cut without length", "reset" (100 kB, then the connection is reset), "damaged" (zeros at the
    end), "wrong range" (If-Range is ignored), "hold" (half, then nothing until `go` is set).
    """

    def __init__(self, version: Callable[[str, bytes], dict[str, str]] = etag):
        self.files: dict[str, bytes] = {}
        self.moved: dict[str, str] = {}
        self.lists: dict[str, Callable[[dict[str, str]], tuple[int, dict[str, str], bytes]]] = {}
        self.trouble: dict[str, list[str]] = {}
        self.asked: list[tuple[str, str | None]] = []  # path with query, Range
        self.sent = 0  # bytes of file contents
        self.holding, self.go = threading.Event(), threading.Event()
        self.version = version
        host = self

        class Handler(BaseHTTPRequestHandler):
            def log_message(self, *args):
                pass

            def do_GET(self):
                host.asked.append((unquote(self.path), self.headers.get("Range")))
                split = urlsplit(self.path)
                path = unquote(split.path)
                trouble = host.trouble.get(path) or [""]
                what = trouble.pop(0)
                if what[:3].isdigit():
                    code, _, wait = what.partition(" ")
                    self.answer(int(code), {"Retry-After": wait} if wait else {})
                elif path in host.lists:
                    code, headers, body = host.lists[path]({key: values[0] for key, values in parse_qs(split.query).items()})
                    self.answer(code, headers, body, missing=len(body) // 2 if what == "cut" else 0)
                elif path in host.moved:
                    self.answer(302, {"Location": host.moved[path]})
                elif path in host.files:
                    self.content(path, what)
                else:
                    self.answer(404)

            def answer(self, code, headers=None, body=b"", missing=0):
                self.send_response(code)
                for name, value in {**(headers or {}), "Content-Length": str(len(body))}.items():
                    self.send_header(name, value)
                self.end_headers()
                self.wfile.write(body[: len(body) - missing])

            def content(self, path, what):
                data = host.files[path]
                headers = host.version(path, data)
                asked, condition = self.headers.get("Range"), self.headers.get("If-Range")
                same = condition is None or condition in headers.values() or what == "wrong range"
                start = int(asked.removeprefix("bytes=").rstrip("-")) if asked and same else 0
                if start and start >= len(data):
                    return self.answer(416, {"Content-Range": f"bytes */{len(data)}"})
                self.send_response(206 if start else 200)
                for name, value in headers.items():
                    self.send_header(name, value)
                if start:
                    self.send_header("Content-Range", f"bytes {start}-{len(data) - 1}/{len(data)}")
                if what != "cut without length":
                    self.send_header("Content-Length", str(len(data) - start))
                self.end_headers()
                rest = data[start:]
                if what.startswith("cut") or what == "hold":
                    rest = rest[: len(rest) // 2]
                elif what == "damaged":
                    rest = rest[:-40] + bytes(40)
                elif what == "reset":
                    rest = rest[:100_000]
                self.wfile.write(rest)
                if what == "reset":
                    time.sleep(0.1)  # so that it arrives
                    self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
                    self.connection.close()
                host.sent += len(rest)
                if what == "hold":
                    self.wfile.flush()
                    host.holding.set()
                    host.go.wait(20)

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.server.server_port}"
        threading.Thread(target=self.server.serve_forever, args=(0.02,), daemon=True).start()

    def paths(self) -> list[str]:
        return [path for path, _ in self.asked]

    def close(self):
        self.go.set()
        self.server.shutdown()
        self.server.server_close()


def until(done: Callable[[], bool], seconds: float = 15.0) -> None:
    """Wait for something that another process or thread does."""
    end = time.monotonic() + seconds
    while not done():
        assert time.monotonic() < end, "it did not happen in time"
        time.sleep(0.02)
