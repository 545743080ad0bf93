"""Validation of the form's calls before Gradio sees them.

Gradio's endpoint accepts any JSON: it copies files named in values, prints tracebacks for unexpected values, and has
options that the window does not use. Only calls that the form can make are passed on, rebuilt from validated fields.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from tdw.app.access import App, Receive, Scope
from tdw.app.body_limit import refuse
from tdw.app.security_headers import Message, Send
from tdw.state_dir import parsed

PATH = "/gradio_api/run/predict"
LONGEST = 48_000  # characters per field
_SESSION = re.compile(r"[0-9A-Za-z]{1,32}")


@dataclass(frozen=True)
class Field:
    """What a field accepts: text, one of `choices`, or a number from `least` to `most`."""

    choices: tuple[str, ...] | None = None
    least: float | None = None
    most: float | None = None

    def takes(self, value: Any) -> bool:
        """Whether the form can send this value."""
        if self.least is not None and self.most is not None:
            return isinstance(value, int | float) and not isinstance(value, bool) and self.least <= value <= self.most
        return isinstance(value, str) and len(value) <= LONGEST and (self.choices is None or value in self.choices)


class FormCalls:
    """An ASGI application that passes only valid calls to Gradio's endpoint, and all requests to other paths.

    Args:
        app: the guarded application
        calls: fields of each call of the form, by call number
        triggers: numbers of the components that may trigger a call
    """

    def __init__(self, app: App, calls: Mapping[int, Sequence[Field]], triggers: frozenset[int]):
        self.app = app
        self.calls = calls
        self.triggers = triggers

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request, or pass it on."""
        if scope["type"] != "http" or scope["path"] != PATH or scope["method"] != "POST":
            await self.app(scope, receive, send)
            return
        call = self.validated((await receive()).get("body", b""))
        if call is None:
            await refuse(send, 422, "this is not a request of the form")
            return
        body = json.dumps(call).encode("ascii")
        kept = [header for header in scope["headers"] if header[0].lower() not in {b"content-type", b"content-length"}]
        own = [(b"content-type", b"application/json"), (b"content-length", str(len(body)).encode())]
        whole: list[Message] = [{"type": "http.request", "body": body, "more_body": False}]

        async def receiving() -> Message:
            return whole.pop() if whole else await receive()

        await self.app({**scope, "headers": [*kept, *own], "query_string": b""}, receiving, send)

    def validated(self, body: bytes) -> dict[str, Any] | None:
        """The call in a request body, rebuilt from validated fields; None if it is not one of the form's."""
        try:
            given = parsed(body)
        except ValueError:
            return None
        if not isinstance(given, dict):
            return None
        number, data, session = given.get("fn_index"), given.get("data"), given.get("session_hash")
        trigger = given.get("trigger_id")
        if type(number) is not int or number not in self.calls or not isinstance(data, list):
            return None
        fields = self.calls[number]
        if len(data) != len(fields) or not all(field.takes(one) for field, one in zip(fields, data, strict=True)):
            return None
        if not (session is None or (isinstance(session, str) and _SESSION.fullmatch(session))):
            return None
        if not (trigger is None or (type(trigger) is int and trigger in self.triggers)):
            return None
        return {"fn_index": number, "data": data, "session_hash": session, "trigger_id": trigger, "event_data": None}
