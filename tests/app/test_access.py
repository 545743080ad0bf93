"""A browser that loses access, or whose server was restarted, shows why and how to reconnect."""

from __future__ import annotations

import http.server
import shutil
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

pytestmark = pytest.mark.browser

LOST = "text=This browser has lost access"
PAINTED = "window.tdw && tdw.count > 0 && tdw.painted === tdw.index && tdw.index >= 0"


def shown(page: Any, address: str) -> None:
    page.goto(address)
    page.wait_for_selector(".tdw-themes")
    page.wait_for_function(PAINTED)


@pytest.fixture
def own(tmp_path: Path, tiny_run: Path) -> Path:
    return Path(shutil.copy(tiny_run, tmp_path / "run.tdw"))


@pytest.fixture
def other_port() -> Iterator[int]:
    """Another user's server on this machine, which sets cookies until the browser evicts ours."""

    class Page(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(200)
            for number in range(300):
                self.send_header("Set-Cookie", f"mine-{self.path[1:]}-{number}=x; Path=/; Max-Age=9999")
            self.end_headers()
            self.wfile.write(b"<!doctype html><p>elsewhere</p>")

        def log_message(self, *_: Any) -> None:
            pass

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Page)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True)
    thread.start()
    yield server.server_port
    server.shutdown()
    server.server_close()


def test_a_cookie_evicted_by_another_port_is_reported_and_the_next_address_restores_access(
    page, open_window, own, other_port
):
    window = open_window(own)
    shown(page, window.address)
    context = page.context
    (name,) = (cookie["name"] for cookie in context.cookies() if cookie["name"].startswith("tdw-"))
    stranger = context.new_page()
    for turn in range(5):
        stranger.goto(f"http://127.0.0.1:{other_port}/{turn}")
        if name not in {cookie["name"] for cookie in context.cookies()}:
            break
    assert name not in {cookie["name"] for cookie in context.cookies()}, "the browser keeps more cookies than were set"
    # The next action shows it, and how to reconnect.
    page.fill("#tdw-path :is(textarea, input)", str(own))
    page.click("#tdw-open-button")
    page.wait_for_selector(LOST)
    assert "Open the newest address that tdw printed" in page.inner_text(".tdw-offline")
    assert "<" not in page.inner_text("#tdw-side")
    # The next address, opened in another tab, reconnects this one too.
    stranger.goto(window.address)
    stranger.wait_for_selector(".tdw-themes")
    page.wait_for_selector(LOST, state="hidden")
    page.click("#tdw-open-button")
    page.wait_for_selector("#tdw-refusal", state="hidden")
    page.reload()
    page.wait_for_function(PAINTED)


def test_a_lost_cookie_is_reported_by_the_first_request(page, open_window, own):
    window = open_window(own)
    shown(page, window.address)
    second = page.context.new_page()
    second.goto(f"http://{window.host}/")
    second.wait_for_function(PAINTED)
    page.context.clear_cookies()
    said = page.evaluate(
        "async (path) => { const r = await fetch(path); return [r.status, (await r.json()).error]; }", "/now"
    )
    assert said[0] == 401
    assert "Open the newest address that tdw printed" in said[1]
    for tab in (page, second):
        tab.wait_for_selector(LOST)
    # A reload shows the guard's own page, with the same way back; a browser's second visit to it works like the first.
    page.reload()
    assert "Open the newest address that tdw printed" in page.inner_text("body")
    shown(page, window.address)
    second.wait_for_selector(LOST, state="hidden")


def test_an_open_page_finds_out_that_its_server_is_another_one(page, open_window, own):
    first = open_window(own)
    shown(page, first.address)
    first.stop()
    page.wait_for_selector("text=Server offline")
    second = open_window(own, "--port", str(first.port))
    page.wait_for_selector(LOST)
    # After reconnecting in another tab, this page says that it is from the earlier server.
    other = page.context.new_page()
    shown(other, second.address)
    page.wait_for_selector("text=tdw was restarted since this page was loaded")
    page.click(".tdw-offline .tdw-action")
    page.wait_for_function(PAINTED)
    page.wait_for_selector(".tdw-offline", state="hidden")
    assert other.is_hidden(".tdw-offline")


def test_the_used_address_is_worth_nothing_elsewhere_and_works_where_it_was_used(browser, page, open_window, own):
    window = open_window(own)
    used = window.address
    shown(page, used)
    # From the history, the terminal, or a link on another page: the browser that has the cookie gets access.
    shown(page, used)
    page.goto(f"data:text/html,<a href='{used}'>in</a>")
    page.click("a")
    page.wait_for_function(PAINTED)
    assert "token" not in page.url
    context = browser.new_context()
    try:
        stranger = context.new_page()
        stranger.goto(used)
        assert "This address was used already" in stranger.inner_text("body")
        assert "Open the newest address that tdw printed" in stranger.inner_text("body")
        assert context.cookies() == []
        stranger.goto(f"data:text/html,<a href='{used}'>in</a>")
        stranger.click("a")
        stranger.wait_for_selector("text=This browser has no access")
        shown(stranger, window.address)
    finally:
        context.close()
