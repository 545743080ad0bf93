"""Server-sent events: listeners get all messages first, and then changes only."""

from __future__ import annotations

import asyncio
import json
import subprocess
import sys
import threading
from types import SimpleNamespace

from fastapi import FastAPI

from tdw.app import event_stream, routes
from tdw.app.event_stream import Hub
from tests import loops


async def heard(stream, count: int) -> list[dict]:
    found = []
    while len(found) < count:
        event = await anext(stream)
        if event.startswith(b"data: "):
            found.append(json.loads(event.removeprefix(b"data: ")))
    return found


def test_a_listener_gets_all_messages_first_and_then_changes():
    world = {"a": {"n": 1}, "b": {"n": 1}}
    hub = Hub(lambda: {topic: dict(message) for topic, message in world.items()})

    async def scene() -> None:
        one, two = hub.stream(), hub.stream()
        assert await heard(one, 2) == [{"n": 1}, {"n": 1}]
        assert await heard(two, 2) == [{"n": 1}, {"n": 1}]
        world["b"]["n"] = 2
        hub.nudge()
        assert await heard(one, 1) == [{"n": 2}]
        assert await heard(two, 1) == [{"n": 2}]
        hub.close()
        assert [piece async for piece in one] == []
        assert [piece async for piece in two] == []

    loops.run(scene())


def test_a_slow_listener_gets_the_newest_of_each_kind():
    world = {"a": {"n": 0}}
    looked = threading.Event()

    def look():
        looked.set()
        return {"a": dict(world["a"])}

    hub = Hub(look)

    async def scene() -> None:
        stream = hub.stream()
        assert await heard(stream, 1) == [{"n": 0}]
        for number in range(1, 6):
            world["a"]["n"] = number
            looked.clear()
            hub.nudge()
            await asyncio.to_thread(looked.wait, 10)
        seen = [0]
        while seen[-1] < 5:
            seen += [message["n"] for message in await heard(stream, 1)]
        assert len(seen) < 6
        hub.close()
        await stream.aclose()

    loops.run(scene())


def test_there_is_no_polling_without_listeners(monkeypatch):
    monkeypatch.setattr(event_stream, "TICK", 0.01)
    looks = []
    hub = Hub(lambda: looks.append(1) or {"a": {"n": 1}})

    async def scene() -> None:
        stream = hub.stream()
        await heard(stream, 1)
        watcher = hub._thread
        await stream.aclose()
        await asyncio.to_thread(watcher.join, 10)
        assert not watcher.is_alive()
        again = hub.stream()  # the next listener gets all messages again
        assert await heard(again, 1) == [{"n": 1}]
        hub.close()
        await again.aclose()

    assert looks == []
    loops.run(scene())


def test_the_route_sends_events_and_keeps_a_silent_connection_alive(monkeypatch):
    monkeypatch.setattr(event_stream, "PING", 0.05)
    hub = Hub(lambda: {"a": {"name": "\udcff", "n": 1}})
    application = FastAPI()
    routes.add(application, SimpleNamespace(hub=hub, runs=None, jobs=None, library=None))
    started: list[dict] = []
    body = b""

    async def receive() -> dict:
        await asyncio.sleep(60)
        raise AssertionError("the stream did not end")

    async def send(message: dict) -> None:
        nonlocal body
        if message["type"] == "http.response.start":
            started.append(message)
        body += message.get("body", b"")
        if body.count(b": ping\n\n") == 2:
            hub.close()

    scope = {
        "type": "http", "asgi": {"version": "3.0"}, "http_version": "1.1", "method": "GET", "scheme": "http",
        "path": "/events", "raw_path": b"/events", "query_string": b"", "headers": [], "root_path": "",
    }  # fmt: skip
    loops.run(asyncio.wait_for(application(scope, receive, send), 30))
    headers = dict(started[0]["headers"])
    assert headers[b"content-type"].startswith(b"text/event-stream")
    assert headers[b"cache-control"] == b"no-store"
    events = body.split(b"\n\n")
    assert events[:2] == [b"retry: 1000", b'data: {"name": "\\udcff", "n": 1}']
    assert events.count(b": ping") == 2
    assert hub._listeners == set(), "the listener is forgotten when the stream ends"


def test_a_look_that_fails_is_logged_and_the_next_one_counts(monkeypatch, caplog):
    monkeypatch.setattr(event_stream, "TICK", 0.01)
    answers = iter([ValueError("a mistake of ours")])

    def look():
        error = next(answers, None)
        if error:
            raise error
        return {"a": {"n": 1}}

    hub = Hub(look)

    async def scene() -> None:
        stream = hub.stream()
        assert await heard(stream, 1) == [{"n": 1}]
        hub.close()
        await stream.aclose()

    loops.run(scene())
    assert "a mistake of ours" in caplog.text


def test_the_window_never_loads_torch():
    code = "import sys, tdw.app.server, tdw.app.routes, tdw.app.gradio_shell; print('torch' in sys.modules)"
    listed = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    assert listed == "False\n"
