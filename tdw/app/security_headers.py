"""What every answer tells the browser about itself: the headers that keep strangers out and the page to itself.

The Content-Security-Policy lets the page load and ask this server alone, and run no script that is written into a page
but those the server itself wrote there: their hashes are counted out in the policy of the page that holds them. So a
handler or a script that slipped into the page by way of some text would not run. Two things Gradio can't be without
remain: it compiles its templates in the browser ('unsafe-eval') and writes styles into the page.
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
    """The policy of an answer; `scripts` are the hashes of those that are written into it."""
    return "; ".join(
        (
            "default-src 'none'",
            " ".join(["script-src 'self' 'unsafe-eval'", *(f"'{one}'" for one in scripts)]),
            "style-src 'self' 'unsafe-inline'",
            "img-src 'self' data: blob:",
            "font-src 'self' data:",
            "connect-src 'self'",
            "manifest-src 'self'",
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
_SCRIPT = re.compile(rb"<script([^>]*)>(.*?)</script>", re.DOTALL | re.IGNORECASE)


def headers(scripts: Iterable[str] = ()) -> list[tuple[bytes, bytes]]:
    """The headers of an answer, as ASGI takes them."""
    fixed = [(name.lower().encode(), value.encode()) for name, value in HEADERS.items()]
    return [(_POLICY, content_security_policy(scripts).encode()), *fixed]


def hashes(page: bytes) -> list[str]:
    """The hashes of the scripts written into an HTML page, as a policy names them.

    >>> hashes(b'<script src="a.js"></script><script>let x;</script>')
    ['sha256-0d16uaq56s5GjNyUV+TVNe6kCw90XFh4MjUbyKmlPjs=']
    """
    texts = [text for attributes, text in _SCRIPT.findall(page) if b"src=" not in attributes]
    digests = [hashlib.sha256(text.replace(b"\r\n", b"\n")).digest() for text in texts]
    return list(dict.fromkeys("sha256-" + base64.b64encode(digest).decode() for digest in digests))


def with_headers(send: Send) -> Send:
    """`send` with the headers added. A page is held back until it is whole, to know its scripts."""
    start: Message | None = None
    page = b""

    async def sending(message: Message) -> None:
        nonlocal start, page
        if message["type"] == "http.response.start":
            kept = [item for item in message.get("headers", []) if item[0].lower() not in _OURS]
            message = {**message, "headers": kept}
            if _is_page(kept):
                start = message
                return
            message["headers"] = [*kept, *headers()]
        elif message["type"] == "http.response.body" and start is not None:
            page += message.get("body", b"")
            if message.get("more_body"):
                return
            await send({**start, "headers": [*start["headers"], *headers(hashes(page))]})
            message = {"type": "http.response.body", "body": page}
            start, page = None, b""
        await send(message)

    return sending


def _is_page(given: list[tuple[bytes, bytes]]) -> bool:
    known = {name.lower(): value for name, value in given}
    return known.get(b"content-type", b"").startswith(b"text/html") and b"content-encoding" not in known
