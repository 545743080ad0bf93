"""A limit on request bodies: a layer that reads the whole body before the application sees the request."""

from __future__ import annotations

import json

from tdw.app.access import App, Receive, Scope
from tdw.app.security_headers import Message, Send

LARGEST_BODY = 64 << 10  # bytes; the window sends a few hundred


class BodyLimit:
    """An ASGI application that answers 413 to larger bodies, and passes other requests on."""

    def __init__(self, app: App, limit: int = LARGEST_BODY):
        self.app = app
        self.limit = limit

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request, or pass it on."""
        if scope["type"] != "http" or scope["method"] in {"GET", "HEAD"}:
            await self.app(scope, receive, send)
            return
        body = b""
        while True:
            message = await receive()
            if message["type"] == "http.disconnect":
                return
            body += message.get("body", b"")
            if len(body) > self.limit:
                await refuse(send, 413, f"the request body exceeds {self.limit} bytes")
                return
            if not message.get("more_body"):
                break
        whole: list[Message] = [{"type": "http.request", "body": body, "more_body": False}]

        async def receiving() -> Message:
            return whole.pop() if whole else await receive()

        await self.app(scope, receiving, send)


async def refuse(send: Send, status: int, sentence: str) -> None:
    """Answer with an error message as JSON."""
    body = json.dumps({"error": sentence}).encode("ascii")
    headers = [(b"content-type", b"application/json"), (b"content-length", str(len(body)).encode())]
    closing = [(b"connection", b"close")] if status == 413 else []  # the rest of the body is not read
    await send({"type": "http.response.start", "status": status, "headers": [*headers, *closing]})
    await send({"type": "http.response.body", "body": body})
