"""How much a request may bring: a layer that takes in the whole body of a command before anything works on it."""

from __future__ import annotations

import json

from tdw.app.access import App, Receive, Scope
from tdw.app.security_headers import Message, Send

LARGEST_BODY = 64 << 10  # bytes; what the window sends has hundreds


class Bounded:
    """An ASGI application that answers 413 where a body is larger than any the window sends, and passes others on."""

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
                await refuse(send, 413, f"this request has more than {self.limit} bytes: nothing the window sends has")
                return
            if not message.get("more_body"):
                break
        whole: list[Message] = [{"type": "http.request", "body": body, "more_body": False}]

        async def receiving() -> Message:
            return whole.pop() if whole else await receive()

        await self.app(scope, receiving, send)


async def refuse(send: Send, status: int, sentence: str) -> None:
    """Answer with a sentence, as every refusal is answered."""
    body = json.dumps({"error": sentence}).encode("ascii")
    about = [(b"content-type", b"application/json"), (b"content-length", str(len(body)).encode())]
    closing = [(b"connection", b"close")] if status == 413 else []  # the rest is not read
    await send({"type": "http.response.start", "status": status, "headers": [*about, *closing]})
    await send({"type": "http.response.body", "body": body})
