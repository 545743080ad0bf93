"""Requests that the window does not make: every route of the running application, with all parts drawn from odd values."""

from __future__ import annotations

import contextlib
import http.client
import json
import random
import re
import socket
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import quote

TEXTS = (
    "", " ", "0", "-1", "1", "3,15", "1,1", "1.5", "9" * 9, "9" * 10, "9" * 400, "1e5", "0x10", "NaN", "Infinity", "null", "true",
    "٣", "²", "a", "x" * 3000, "x" * 40_000, "../../etc/passwd", "..", "/", "//", "/etc/passwd", "/proc/self/mem", "/proc/self/environ",
    "/dev/null", "/dev/full", "/", "~", "~root", "~nobody-of-that-name", "C:\\x", "file:///etc/passwd", "http://127.0.0.1:1/", "a\0b",
    "a\nb", "a\rb", "\x1b[31m", "\u202e", "é", "😀", "%", "%00", "%ff", "%2e%2e", "a;b", "a&b=c", "'", '"', "<b>", "{}", "{x}", "[]",
    "losses/train", "checkpoints/epoch", "analysis/neuron_frequencies/share", "analysis/x/y", ",".join(map(str, range(16))),
    ",".join(map(str, range(2000))), ",".join(["1"] * 9000), "1,", ",", "-", "+1", " 1", "1 ", "1_000", "0" * 9,
)  # fmt: skip
PATH = {"path": "/etc/passwd"}
FILES = (
    PATH, [PATH], {**PATH, "meta": {"_type": "gradio.FileData"}, "orig_name": "x", "url": "http://127.0.0.1:1/", "is_stream": True},
    {"video": PATH}, {"files": [PATH], "text": "x"}, {"__type__": "update", "value": "x"},
)  # fmt: skip
NUMBERS = (0, -1, 1, 2**31, 2**63, 2**64, 10**400, 0.5, -0.0, 1e308, float("nan"), float("inf"), -float("inf"))
RAW = (
    b"", b"{", b"[]", b"null", b"7", b'"x"', b"\xff\xfe", b"\0" * 100, b"[" * 60_000, b'{"a":' * 10_000, b"x" * 60_000,
    b"x" * 70_000, b"x" * 1_000_000, b'{"key": "x", "key": 7}', b'{"path": "\\ud800"}', b'{"path": "\\u0000"}', b'{"key": NaN}',
    b'{"data": [1e999], "fn_index": 0}', b"--x\r\nContent-Disposition: form-data; name=f; filename=f\r\n\r\nx\r\n--x--\r\n",
)  # fmt: skip
TYPES = (
    "application/json",
    "text/plain",
    "multipart/form-data; boundary=x",
    "application/x-www-form-urlencoded",
    "",
    "a/b; c=\xff",
)
METHODS = ("GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "TRACE", "CONNECT", "PROPFIND", "get", "X")
HEADERS = (
    ("Accept", "text/event-stream"), ("Accept-Encoding", "gzip, br, \xff"), ("Range", "bytes=0-1"), ("Range", "bytes=9-1,-5,x"),
    ("If-None-Match", "*"), ("If-Modified-Since", "never"), ("Last-Event-ID", "9" * 100), ("Transfer-Encoding", "x"),
    ("Content-Length", "-1"), ("Content-Length", "9" * 30), ("Expect", "100-continue"), ("Upgrade", "websocket"),
    ("Content-Encoding", "gzip"), ("Cookie", "a" * 5000), ("Host", "evil.example"), ("Origin", "null"), ("X", "y" * 70_000),
)  # fmt: skip


@dataclass
class Fuzz:
    """Draws requests and sends them; problems are collected in `wrong`.

    routes: path patterns with their methods · fields: the JSON names that commands know · keys: those of open runs
    """

    port: int
    cookie: str
    routes: list[tuple[str, list[str]]]
    keys: list[str]
    calls: int  # of the form
    seed: int
    paths: list[str] = field(default_factory=list)
    sent: int = 0
    statuses: dict[int, int] = field(default_factory=dict)
    wrong: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.draw = random.Random(self.seed)

    def text(self) -> str:
        """An odd text; often enough a valid one, to get past the first check."""
        choose = self.draw.random()
        if choose < 0.25 and self.keys:
            return self.draw.choice(self.keys)
        if choose < 0.35 and self.paths:
            return self.draw.choice(self.paths)
        text = self.draw.choice(TEXTS)
        if choose > 0.9 and text:
            at = self.draw.randrange(len(text))
            text = text[:at] + chr(self.draw.choice((0, 9, 37, 92, 255, 0x202E, 0x1F600))) + text[at:]
        return text

    def value(self, depth: int = 0) -> Any:
        """An odd JSON value."""
        kinds: list[Callable[[], Any]] = [
            self.text, self.text, lambda: self.draw.choice(NUMBERS), lambda: self.draw.choice([None, True, False]),
            lambda: self.draw.choice(FILES),
        ]  # fmt: skip
        if depth < 3:
            kinds += [
                lambda: [self.value(depth + 1) for _ in range(self.draw.randrange(4))],
                lambda: {self.text()[:50]: self.value(depth + 1) for _ in range(self.draw.randrange(4))},
            ]
        return self.draw.choice(kinds)()

    def body(self, path: str) -> bytes:
        """A body for a route: a valid one with one odd value, or a different one."""
        if self.draw.random() < 0.25:
            return self.draw.choice(RAW)
        if "predict" in path:
            given: Any = {
                "data": [self.value() if self.draw.random() < 0.3 else "1" for _ in range(self.draw.choice((0, 1, self.calls, self.calls, 40)))],
                "fn_index": self.draw.choice((0, 1, 2, 3, 4, self.value())),
                "session_hash": self.draw.choice(("x", "abc123", None, self.value())),
                "trigger_id": self.draw.choice((None, 1, 7, self.value())),
                "event_data": self.value(), "batched": self.value(), "simple_format": self.value(), "event_id": self.value(),
            }  # fmt: skip
            for name in list(given):
                if self.draw.random() < 0.3 and name not in {"data", "fn_index"}:
                    del given[name]
        else:
            given = {name: self.value() if self.draw.random() < 0.5 else self.text() for name in ("path", "key")}
            if self.draw.random() < 0.2:
                given = {self.text()[:50]: given, **given}
        try:
            return json.dumps(given).encode("utf-8", "surrogatepass")
        except ValueError:
            return b"{}"

    def address(self, pattern: str) -> str:
        """A path of a route with parameters filled in, and a query."""
        path = re.sub(r"\{[^}]*\}", lambda _: quote(self.text(), safe=self.draw.choice(("", "/", "/.,"))), pattern)
        names = ("ids", "from", "version", "token", "v", self.text()[:20])
        query = "&".join(
            f"{quote(self.draw.choice(names))}={quote(self.text(), safe=',')}"
            for _ in range(self.draw.choice((0, 0, 1, 2, 3)))
        )
        if self.draw.random() < 0.02:
            return self.draw.choice(
                ("*", "x", "http://evil.example/now", "127.0.0.1:1", "//x/y", "/%", "/\\..\\x", "?", "/?=&&=")
            )
        return path + (f"?{query}" if query else "")

    def once(self) -> None:
        """Send one request."""
        pattern, methods = self.draw.choice(self.routes)
        method = self.draw.choice(methods) if self.draw.random() < 0.9 else self.draw.choice(METHODS)
        path = self.address(pattern)
        body = self.body(pattern) if method not in {"GET", "HEAD"} or self.draw.random() < 0.05 else b""
        headers = {"Host": f"127.0.0.1:{self.port}", "Cookie": self.cookie}
        if body or self.draw.random() < 0.1:
            headers["Content-Type"] = self.draw.choice(TYPES) if self.draw.random() < 0.2 else TYPES[0]
        if self.draw.random() < 0.1:
            name, said = self.draw.choice(HEADERS)
            headers[name] = said
        request = f"{method} {path[:200]} {headers} {body[:300]!r}"
        self.sent += 1
        try:
            status, answer = self.ask(method, path, headers, body)
        except (ConnectionError, http.client.HTTPException) as error:
            status, answer = 0, str(error).encode()  # closed at once: does not require a response
        except TimeoutError:
            self.wrong.append(f"no answer to {request}")
            return
        self.statuses[status] = self.statuses.get(status, 0) + 1
        if status >= 500 or b"Traceback (most recent" in answer or b"root:x:0" in answer:
            self.wrong.append(f"{status} {answer[:300]!r} to {request}")

    def ask(self, method: str, path: str, headers: dict[str, str], body: bytes) -> tuple[int, bytes]:
        """Send one request without changes."""
        lines = [f"{method} {path} HTTP/1.1", *(f"{name}: {value}" for name, value in headers.items())]
        if body and "Content-Length" not in headers:
            lines.append(f"Content-Length: {len(body)}")
        with socket.create_connection(("127.0.0.1", self.port), timeout=60) as stream:
            with contextlib.suppress(BrokenPipeError, ConnectionResetError):  # answered before it was all sent
                stream.sendall("\r\n".join([*lines, "Connection: close", "", ""]).encode("latin-1", "replace") + body)
            reply = http.client.HTTPResponse(stream, method=method)
            reply.begin()
            if reply.headers.get_content_type() == "text/event-stream":
                return reply.status, reply.fp.readline()
            return reply.status, reply.read()
