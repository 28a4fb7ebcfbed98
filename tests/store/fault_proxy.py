"""A real HTTP proxy in front of an S3 server that loses, delays and refuses requests, and can be cut off."""

from __future__ import annotations

import http.client
import random
import threading
import time
from collections import Counter, deque
from collections.abc import Callable, Iterable
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import urlsplit

#: What can happen to a request: the connection is dropped before the server hears of it, after the server has done it
#: (the answer is lost), or in the middle of the answer; the answer comes late; another one comes instead.
FAULTS = ("before", "after", "torn", "delay", "500", "503")
_ERROR = b'<?xml version="1.0"?><Error><Code>%s</Code><Message>injected</Message></Error>'
_CODES = {"500": b"InternalError", "503": b"SlowDown"}


class FaultProxy:
    """Forwards to ``upstream``; a ``rate`` of the requests meets a fault, drawn with ``seed``."""

    def __init__(self, upstream: str, *, rate: float = 0.0, seed: int = 0, port: int = 0) -> None:
        self.rate = rate
        self.counts: Counter[str] = Counter()
        self.requests: list[tuple[str, str]] = []
        self.cut_at: Callable[[str, str], bool] = lambda method, path: False
        """Whether the connection is cut for good when this request (method, path) comes."""
        self.is_cut = False
        self._script: deque[str | None] = deque()
        self._random = random.Random(seed)
        self._lock = threading.Lock()
        self._upstream = urlsplit(upstream).netloc
        proxy = self

        class Handler(_Handler):
            owner = proxy

        self._server = ThreadingHTTPServer(("127.0.0.1", port), Handler)
        self._server.daemon_threads = True
        self._thread = threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True)
        self._thread.start()
        self.url = f"http://127.0.0.1:{self._server.server_address[1]}"

    def next_faults(self, faults: Iterable[str | None]) -> None:
        """Exactly these happen to the next requests, one each."""
        self._script = deque(faults)

    def stop(self) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()

    def choose(self, method: str, path: str) -> str | None:
        with self._lock:
            self.requests.append((method, path))
            self.is_cut = self.is_cut or self.cut_at(method, path)
            if self.is_cut:
                return "before"
            fault = self._random.choice(FAULTS) if self._random.random() < self.rate else None
            if self._script:
                fault = self._script.popleft()
            self.counts[fault or "none"] += 1
            return fault

    def pause(self) -> float:
        with self._lock:
            return self._random.uniform(0, 0.3)

    def forward(self, method: str, path: str, headers: Any, body: bytes) -> tuple[int, list[tuple[str, str]], bytes]:
        connection = http.client.HTTPConnection(self._upstream, timeout=60)
        try:
            connection.request(method, path, body=body, headers={**headers, "Connection": "close"})
            answer = connection.getresponse()
            return answer.status, answer.getheaders(), answer.read()
        finally:
            connection.close()


class _Handler(BaseHTTPRequestHandler):
    owner: FaultProxy
    protocol_version = "HTTP/1.1"

    def _serve(self) -> None:
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        fault = self.owner.choose(self.command, self.path)
        if fault == "before":
            self.close_connection = True
            return
        if fault in _CODES:
            self._answer(int(fault or 0), [], _ERROR % _CODES[fault or ""])
            return
        if fault == "delay":
            time.sleep(self.owner.pause())
        status, headers, content = self.owner.forward(self.command, self.path, dict(self.headers), body)
        if fault == "after" or self.owner.is_cut:
            self.close_connection = True
            return
        self._answer(status, headers, content, torn=fault == "torn")

    def _answer(self, status: int, headers: list[tuple[str, str]], content: bytes, *, torn: bool = False) -> None:
        self.send_response_only(status)
        length = str(len(content))
        for name, value in headers:
            if name.lower() == "content-length":
                length = value  # of a HEAD, whose answer has no body
            elif name.lower() not in ("connection", "transfer-encoding"):
                self.send_header(name, value)
        self.send_header("Content-Length", length)
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(content[: len(content) // 2] if torn else content)
        self.close_connection = torn

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - the signature of the base class
        """Nothing: the counts say what happened."""

    do_GET = do_PUT = do_HEAD = do_POST = do_DELETE = _serve  # noqa: N815 - names of the base class
