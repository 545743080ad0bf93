"""Security headers of every response, and pages without what this server does not have.

The Content-Security-Policy allows the page to load from and connect to this server only, and to run only inline scripts
that the server wrote, which the policy lists by hash. A handler or script injected through text does not run. Two
exceptions are needed by Gradio: it compiles templates in the browser ('unsafe-eval') and uses inline styles.
"""

from __future__ import annotations

import base64
import hashlib
import re
from collections.abc import Awaitable, Callable, Iterable, MutableMapping
from typing import Any

Message = MutableMapping[str, Any]
Send = Callable[[Message], Awaitable[None]]


def content_security_policy(scripts: Iterable[str] = ()) -> str:
    """The policy of a response. scripts: hashes of its inline scripts."""
    return "; ".join(
        (
            "default-src 'none'",
            " ".join(["script-src 'self' 'unsafe-eval'", *(f"'{one}'" for one in scripts)]),
            "style-src 'self' 'unsafe-inline'",
            "img-src 'self' data: blob:",
            "font-src 'self' data:",
            "connect-src 'self'",
            "base-uri 'self'",
            "form-action 'none'",
            "frame-ancestors 'none'",
        )
    )


HEADERS = {
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "X-Frame-Options": "DENY",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
}
_POLICY = b"content-security-policy"
_OURS = {_POLICY, *(name.lower().encode() for name in HEADERS)}
_MANIFEST = re.compile(rb'<link rel="manifest"[^>]*>')  # Gradio's pages link one, of an app to install
_SCRIPT = re.compile(rb"<script([^>]*)>(.*?)</script>", re.DOTALL | re.IGNORECASE)


def headers(scripts: Iterable[str] = ()) -> list[tuple[bytes, bytes]]:
    """The headers of a response, in ASGI form."""
    fixed = [(name.lower().encode(), value.encode()) for name, value in HEADERS.items()]
    return [(_POLICY, content_security_policy(scripts).encode()), *fixed]


def hashes(page: bytes) -> list[str]:
    """The hashes of the inline scripts of an HTML page, in the form that policies use.

    >>> hashes(b'<script src="a.js"></script><script>let x;</script>')
    ['sha256-0d16uaq56s5GjNyUV+TVNe6kCw90XFh4MjUbyKmlPjs=']
    """
    texts = [text for attributes, text in _SCRIPT.findall(page) if b"src=" not in attributes]
    digests = [hashlib.sha256(text.replace(b"\r\n", b"\n")).digest() for text in texts]
    return list(dict.fromkeys("sha256-" + base64.b64encode(digest).decode() for digest in digests))


def with_headers(send: Send) -> Send:
    """`send` that adds the headers. HTML pages are buffered until complete, to hash their scripts and to leave
    out the link to a manifest.
    """
    start: Message | None = None
    page = b""

    async def sending(message: Message) -> None:
        nonlocal start, page
        if message["type"] == "http.response.start":
            kept = [header for header in message.get("headers", []) if header[0].lower() not in _OURS]
            message = {**message, "headers": kept}
            if _is_page(kept):
                start = message
                return
            message["headers"] = [*kept, *headers()]
        elif message["type"] == "http.response.body" and start is not None:
            page += message.get("body", b"")
            if message.get("more_body"):
                return
            page = _MANIFEST.sub(lambda link: b" " * len(link[0]), page)  # of the length that the headers say
            await send({**start, "headers": [*start["headers"], *headers(hashes(page))]})
            message = {"type": "http.response.body", "body": page}
            start, page = None, b""
        await send(message)

    return sending


def _is_page(headers: list[tuple[bytes, bytes]]) -> bool:
    by_name = {name.lower(): value for name, value in headers}
    return by_name.get(b"content-type", b"").startswith(b"text/html") and b"content-encoding" not in by_name
