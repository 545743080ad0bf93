"""Server-sent events: one thread polls files and jobs while pages listen, and every listener gets what changed.

A slow listener gets the newest message of each topic, never a backlog.
"""

from __future__ import annotations

import asyncio
import json
import logging
import threading
from collections.abc import AsyncIterator, Callable
from typing import Any

from fastapi.sse import KEEPALIVE_COMMENT, format_sse_event

Message = dict[str, Any]
TICK = 0.4  # seconds between polls
RETRY = 1000  # milliseconds after which a browser reconnects
PING = 15.0  # seconds of silence after which a comment is sent, so that a connection that is gone is noticed

log = logging.getLogger(__name__)


class Listener:
    """One open `/events` response."""

    def __init__(self) -> None:
        self.loop = asyncio.get_running_loop()
        self.pending: dict[str, Message] = {}
        self.wake = asyncio.Event()

    def tell(self, topic: str, message: Message) -> None:
        """Queue a message from any thread, replacing an unread one of the same topic."""

        def put() -> None:
            self.pending[topic] = message
            self.wake.set()

        self.loop.call_soon_threadsafe(put)


class Hub:
    """Calls `look` every `TICK` seconds while there are listeners, and sends them the messages that changed.

    `look` returns messages by topic; it is called from the hub's own thread.
    """

    def __init__(self, look: Callable[[], dict[str, Message]]):
        self._look = look
        self._lock = threading.Lock()
        self._listeners: set[Listener] = set()
        self._last: dict[str, Message] = {}
        self._changed = threading.Event()
        self._closed = False
        self._thread: threading.Thread | None = None

    def nudge(self) -> None:
        """Poll now, because something was just done."""
        self._changed.set()

    async def stream(self) -> AsyncIterator[bytes]:
        """The body of one `/events` response: first all current messages, then changes.

        A route that yields `ServerSentEvent`s would leave the encoding to FastAPI, which logs a traceback when a page leaves
        while an event is on its way (0.165).
        """
        listener = Listener()
        with self._lock:
            self._listeners.add(listener)
            for topic, message in self._last.items():
                listener.pending[topic] = message
            if listener.pending or self._closed:
                listener.wake.set()
            if self._thread is None and not self._closed:
                self._thread = threading.Thread(target=self._watch, name="tdw-events", daemon=True)
                self._thread.start()
        self.nudge()
        try:
            yield format_sse_event(retry=RETRY)
            while not self._closed:
                try:
                    await asyncio.wait_for(listener.wake.wait(), PING)
                except TimeoutError:
                    yield KEEPALIVE_COMMENT
                    continue
                listener.wake.clear()
                fresh, listener.pending = listener.pending, {}
                for message in fresh.values():
                    yield format_sse_event(data_str=json.dumps(message))  # ASCII: names may contain lone surrogates
        finally:
            with self._lock:
                self._listeners.discard(listener)

    def close(self) -> None:
        """End all streams, so that the server can shut down."""
        self._closed = True
        self._changed.set()
        with self._lock:
            for listener in self._listeners:
                listener.loop.call_soon_threadsafe(listener.wake.set)

    def _watch(self) -> None:
        while True:
            self._changed.clear()
            try:
                seen = self._look()
            except Exception:
                log.exception("polling the runs failed")  # the next poll may succeed; pages keep what they have
                seen = self._last
            with self._lock:
                if self._closed or not self._listeners:
                    self._thread = None
                    self._last = {}
                    return
                changed = {topic: message for topic, message in seen.items() if self._last.get(topic) != message}
                self._last = seen
                for listener in self._listeners:
                    for topic, message in changed.items():
                        listener.tell(topic, message)
            self._changed.wait(TICK)
