"""Fixtures for all tests: the running app, one browser for the whole session, small trained runs."""

from __future__ import annotations

import atexit
import contextlib
import http.client
import json
import os
import select
import shutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest
from hypothesis import settings

from tests import array_types, chromium

# The same examples in every run, so that results are reproducible, and no deadline, because machines may be busy;
# `pytest --hypothesis-profile=explore` looks for new ones.
settings.register_profile("repeat", derandomize=True, deadline=None)
settings.register_profile("explore", max_examples=1000, deadline=None)
settings.load_profile("repeat")

ROOT = Path(__file__).parents[1]
array_types.install()
# Processes started by tests import this checkout, in any folder.
os.environ["PYTHONPATH"] = os.pathsep.join([str(ROOT), *filter(None, [os.environ.get("PYTHONPATH")])])
# Tests neither read nor write the user's own state folder.
os.environ["TDW_STATE_DIR"] = tempfile.mkdtemp(prefix="tdw-state-")
atexit.register(shutil.rmtree, os.environ["TDW_STATE_DIR"], ignore_errors=True)


@dataclass
class Answer:
    """The response of a server."""

    status: int
    headers: dict[str, str]
    body: bytes


@dataclass
class Window:
    """A running app, and requests to it that a browser would not send."""

    process: subprocess.Popen[bytes]
    state: Path
    printed: str = ""
    port: int = field(init=False)
    _cookie: str = ""

    def __post_init__(self) -> None:
        while "/?token=" not in self.printed or not self.printed.endswith("\n"):
            assert self.process.stdout is not None
            piece = os.read(self.process.stdout.fileno(), 65536)
            if not piece:
                self.process.stdout.close()
                raise AssertionError(f"the app exited with status {self.process.wait()} without printing an address")
            self.printed += piece.decode()
        port = urlsplit(self.address).port
        assert port is not None
        self.port = port

    @property
    def address(self) -> str:
        """The last address that was printed, with a token that works once. The next one is printed before the response to
        a request that used it.
        """
        assert self.process.stdout is not None
        while select.select([self.process.stdout], [], [], 0)[0]:
            piece = os.read(self.process.stdout.fileno(), 65536)
            if not piece:
                break
            self.printed += piece.decode()
        return self._last("http://127.0.0.1")

    @property
    def address_through_proxy(self) -> str:
        """The last address through a proxy that was printed."""
        _ = self.address  # reads what was printed
        return self._last("https://")

    def _last(self, start: str) -> str:
        return next(word for word in reversed(self.printed.split()) if word.startswith(start) and "/?token=" in word)

    @property
    def token(self) -> str:
        """The token in that address."""
        return parse_qs(urlsplit(self.address).query)["token"][0]

    @property
    def host(self) -> str:
        return f"127.0.0.1:{self.port}"

    @property
    def cookie(self) -> str:
        """The cookie that a browser gets for the token; requested once."""
        if not self._cookie:
            self._cookie = self.ask(f"/?token={self.token}").headers["set-cookie"].split(";")[0]
        return self._cookie

    @property
    def cookie_name(self) -> str:
        """The name of that cookie."""
        return self.cookie.partition("=")[0]

    def ask(
        self, path: str, method: str = "GET", *, host: str | None = None, body: bytes = b"", **headers: str
    ) -> Answer:
        """One request with exactly these headers (underscores are dashes) and no others."""
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=30)
        try:
            connection.putrequest(method, path, skip_host=True, skip_accept_encoding=True)
            if host != "":
                connection.putheader("Host", (host or self.host).encode())
            for name, value in headers.items():
                connection.putheader(name.replace("_", "-"), value)
            if body:
                connection.putheader("Content-Length", str(len(body)))
            connection.endheaders(body or None)
            reply = connection.getresponse()
            # An event stream does not end: return its head.
            endless = reply.headers.get_content_type() == "text/event-stream"
            return Answer(reply.status, {k.lower(): v for k, v in reply.getheaders()}, b"" if endless else reply.read())
        finally:
            connection.close()

    def get(self, path: str) -> bytes:
        """The body at a path, requested as by the app's own page."""
        answer = self.ask(path, Cookie=self.cookie)
        assert answer.status == 200, answer.body
        return answer.body

    def do(self, command: str, **given: object) -> tuple[int, dict[str, Any]]:
        """Send a command as the app's own page does. Returns status and JSON."""
        headers = {"Cookie": self.cookie, "Content_Type": "application/json", "Origin": f"http://{self.host}"}
        answer = self.ask(f"/do/{command}", "POST", body=json.dumps(given).encode(), **headers)
        return answer.status, json.loads(answer.body)

    def stop(self) -> None:
        """Ctrl-C."""
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGINT)
        try:
            self.process.wait(15)
        finally:
            self.process.kill()
            self.process.wait()
            assert self.process.stdout is not None
            self.process.stdout.close()


def start_window(
    state: Path,
    *arguments: str,
    umask: int = -1,
    errors: Any = None,
    cwd: Path | None = None,
    through: Sequence[str] = (),
    **environment: str,
) -> Window:
    """Start `tdw open` in a new process with its private state under `state`. through: a command to start it with, such
    as `setpriv`.
    """
    process = subprocess.Popen(
        [
            *through,
            sys.executable,
            "-m",
            "tdw",
            "open",
            *([] if "BROWSER" in environment else ["--no-browser"]),
            *arguments,
        ],
        env={**os.environ, "TDW_STATE_DIR": str(state), **environment},
        stdout=subprocess.PIPE,
        stderr=errors,
        bufsize=0,
        start_new_session=True,
        umask=umask,
        cwd=cwd,
    )
    return Window(process, state)


@pytest.fixture(scope="session")
def window(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Window]:
    """One running app, for tests that do not change its state."""
    running = start_window(tmp_path_factory.mktemp("state"))
    yield running
    running.stop()


@pytest.fixture
def open_window(tmp_path: Path) -> Iterator[Callable[..., Window]]:
    """A function that starts apps that share one private state; its arguments are those of `start_window`."""
    started: list[Window] = []

    def start(*arguments: object, **how: Any) -> Window:
        started.append(start_window(tmp_path / "state", *map(str, arguments), **how))
        return started[-1]

    yield start
    for running in started:
        running.stop()
    if started:
        _end_jobs(tmp_path)


def _end_jobs(folder: Path) -> None:
    """Kill jobs that still run on files in a test's folder, because jobs outlive their window."""
    from tdw import store

    for path in folder.rglob("*.tdw"):
        while pid := store.locked_by(path):
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)


@pytest.fixture(scope="session")
def browser() -> Iterator[Any]:
    """Headless Chromium."""
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        running = chromium.launch(playwright)
        yield running
        running.close()


@pytest.fixture
def page(browser: Any) -> Iterator[Any]:
    """A page in a new context. The test fails if a script throws, the page violates its own security policy, or a request
    leaves the machine.
    """
    with watched_page(browser) as opened:
        yield opened


@contextlib.contextmanager
def watched_page(browser: Any, *names: str, **settings: Any) -> Iterator[Any]:
    """Such a page. names: further names of this machine; settings: of the context."""
    context = browser.new_context(viewport={"width": 1280, "height": 800}, **settings)
    opened = context.new_page()
    thrown: list[str] = []
    outside: list[str] = []
    refused: list[str] = []
    opened.on("pageerror", lambda error: thrown.append(str(error)))
    opened.on(
        "console", lambda message: refused.append(message.text) if "Content Security Policy" in message.text else None
    )
    context.on("request", lambda request: _note_outside(request.url, {"127.0.0.1", "localhost", *names}, outside))
    yield opened
    context.close()
    assert not thrown
    assert not outside
    assert not refused


def _note_outside(url: str, inside: set[str], outside: list[str]) -> None:
    parts = urlsplit(url)
    if parts.scheme in {"http", "https", "ws", "wss"} and parts.hostname not in inside:
        outside.append(url)


@pytest.fixture(scope="session")
def shared_tiny_run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A finished and analyzed run that takes a second to compute, for every test of this process."""
    import tdw

    path = tmp_path_factory.mktemp("runs") / "tiny.tdw"
    settings = tdw.configure(
        p=11, d_model=16, heads=2, d_mlp=16, epochs=120, checkpoints="0:120:5", train_fraction=0.6, threads=1
    )
    tdw.create(path, settings)
    tdw.train(path)
    tdw.analyze(path)
    return path


@pytest.fixture
def tiny_run(shared_tiny_run: Path) -> Iterator[Path]:
    """The finished and analyzed run that tests share: a test that changes it fails itself. Copy it to change it."""
    before = shared_tiny_run.stat()
    yield shared_tiny_run
    assert shared_tiny_run.exists(), "this test moved or removed the run that all tests share: let it take a copy"
    after = shared_tiny_run.stat()
    assert (after.st_ino, after.st_size, after.st_mtime_ns) == (before.st_ino, before.st_size, before.st_mtime_ns), (
        "this test changed the run that all tests share: let it take a copy"
    )


@pytest.fixture(scope="session")
def workshop() -> Iterator[Any]:
    """Runs commands of `tdw` in separate processes, which may be killed (tests/store/workshop.py)."""
    from tests.store.workshop import Workshop

    working = Workshop()
    yield working
    working.close()


@pytest.fixture(scope="session")
def whole(workshop: Any, tmp_path_factory: pytest.TempPathFactory) -> Any:
    """A run of 1000 epochs that was never interrupted."""
    from tests.store.workshop import uninterrupted

    return uninterrupted(workshop, tmp_path_factory.mktemp("whole"), 1000)


# What `just fast` leaves out: kills, many processes, servers, long random searches.
LONG = {
    "store": {"two_writers", "training_kills", "kill", "power_loss", "damage", "slow_copies", "processes", "replaced", "faults",
              "names_beside", "training_beside", "foreign_files", "hostile"},
    "core": {"sweep", "stops", "streams", "recovery", "recovery_report", "any_history", "any_settings", "notes", "resume", "replay",
             "kinds", "range", "consistent", "runs", "measures_of_runs", "measures_of_logits", "typing_commands", "cli", "deep_transformer", "comparison"},
}  # fmt: skip


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        folder, name = item.path.parent.name, item.path.stem.removeprefix("test_")
        if folder in {"app", "viewer", "interchange"} or name in LONG.get(folder, ()):
            item.add_marker("long")
