"""News for the pages: one thread looks at files and jobs while someone listens, and every listener hears what changed.

A listener that is slow gets the newest of each kind, never a backlog.
"""

from __future__ import annotations

import asyncio
import json
import logging
import threading
from collections.abc import AsyncIterator, Callable
from typing import Any

Message = dict[str, Any]
TICK = 0.4  # seconds between looks
SILENCE = 15.0  # seconds after which a comment shows that the line is alive

log = logging.getLogger(__name__)


class Listener:
    """One open `/events` answer."""

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
    """Calls `look` every `TICK` seconds while someone listens, and passes on what differs from the last look.

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
        """Look at once: something was just done."""
        self._changed.set()

    async def stream(self) -> AsyncIterator[str]:
        """The body of one `/events` answer: everything known, then what changes."""
        listener = Listener()
        with self._lock:
            self._listeners.add(listener)
            for topic, message in self._last.items():
                listener.pending[topic] = message
            if listener.pending:
                listener.wake.set()
            if self._thread is None and not self._closed:
                self._thread = threading.Thread(target=self._watch, name="tdw-events", daemon=True)
                self._thread.start()
        self.nudge()
        try:
            yield "retry: 1000\n\n"
            while not self._closed:
                try:
                    await asyncio.wait_for(listener.wake.wait(), SILENCE)
                except TimeoutError:
                    yield ": still here\n\n"
                    continue
                listener.wake.clear()
                fresh, listener.pending = listener.pending, {}
                for message in fresh.values():
                    yield f"data: {json.dumps(message)}\n\n"
        finally:
            with self._lock:
                self._listeners.discard(listener)

    def close(self) -> None:
        """End every stream, so that the server can end."""
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
                log.exception("looking at the runs failed")  # the next look may succeed; pages keep what they have
                seen = self._last
            with self._lock:
                if self._closed or not self._listeners:
                    self._thread = None
                    self._last = {}
                    return
                news = {topic: message for topic, message in seen.items() if self._last.get(topic) != message}
                self._last = seen
                for listener in self._listeners:
                    for topic, message in news.items():
                        listener.tell(topic, message)
            self._changed.wait(TICK)
