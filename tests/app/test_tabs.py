"""Many tabs and jobs at once: everything stays responsive, and closing a tab or the server loses nothing."""

from __future__ import annotations

import asyncio
import os
import shutil
import socket
import statistics
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

import tdw
from tdw import store
from tdw.analyses.engine import registry
from tdw.app import server
from tests import loops

SMALL = {"p": 11, "d_model": 16, "heads": 2, "d_mlp": 16, "threads": 1}
OPENED = ".tdw-item[data-section=open]"
PAINTED = "window.tdw && tdw.count > 0 && tdw.painted === tdw.index && tdw.index >= 0"

# Step through all checkpoints but the newest, which a tab would follow as the run grows.
STEP = """async ({ steps, last }) => {
  const painted = [], waited = [];
  for (let i = 0; i < steps; i++) {
    const index = (i * 7919) % last; // a prime: every checkpoint has its turn
    const start = performance.now();
    tdw.show(index);
    do await new Promise(requestAnimationFrame);
    while (tdw.painted !== index);
    painted.push(index);
    waited.push(performance.now() - start);
  }
  return { painted, waited };
}"""

ASK = """async (paths) => {
  const waited = [];
  for (const path of paths) {
    const start = performance.now();
    const answer = await fetch(path);
    await answer.json();
    if (!answer.ok) throw new Error(`${path} answered ${answer.status}`);
    waited.push(performance.now() - start);
  }
  return waited;
}"""


@pytest.fixture(scope="module")
def broad(tmp_path_factory) -> Path:
    """A run that is trained quickly and takes long to analyze. Copy it before analyzing it."""
    path = tmp_path_factory.mktemp("runs") / "broad.tdw"
    tdw.create(path, tdw.configure(p=59, d_mlp=256, epochs=120, checkpoints="0:120:1", threads=1))
    tdw.train(path)
    return path


@pytest.fixture
def own(tmp_path, monkeypatch) -> Path:
    """A folder for runs, created by the same user as the window's, with that user's list of known files."""
    (tmp_path / "state").mkdir(mode=0o700)
    known = Path(os.environ["TDW_STATE_DIR"]) / "known"
    if known.exists():  # missing if this test runs alone
        shutil.copytree(known, tmp_path / "state" / "known")
    monkeypatch.setenv("TDW_STATE_DIR", str(tmp_path / "state"))
    return tmp_path


def separate_tab(page):
    """A new tab in a separate browser window, because background tabs get one frame per second."""
    with page.context.expect_page() as opened:
        page.evaluate("window.open('/', '', 'popup,noopener,width=1280,height=800') && undefined")
    return opened.value


def until(condition) -> None:
    """Wait for a process to finish its work."""
    deadline = time.monotonic() + 120
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.05)


def opened(window, file: Path) -> str:
    status, answer = window.do("open", path=str(file))
    assert status == 200, answer
    return answer["key"]


def test_answers_are_sent_at_once():
    """Headers and a short body are two writes; without TCP_NODELAY the second waits until the first is acknowledged."""

    async def accepted() -> int:
        loop = asyncio.get_running_loop()
        answer: asyncio.Future[int] = loop.create_future()

        class Protocol(asyncio.Protocol):
            def connection_made(self, transport):
                own = transport.get_extra_info("socket")
                answer.set_result(own.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY))

        with server._listening(None) as listener:
            serving = await loop.create_server(Protocol, sock=listener)
            _, writer = await asyncio.open_connection(*listener.getsockname())
            try:
                return await answer
            finally:
                writer.close()
                await writer.wait_closed()
                serving.close()
                await serving.wait_closed()

    assert loops.run(accepted()) != 0


@pytest.mark.browser
def test_many_tabs_on_one_run_stay_alive(page, window, tmp_path, tiny_run):
    one, two = (Path(shutil.copy(tiny_run, tmp_path / f"{name}.tdw")) for name in ("one", "two"))
    opened(window, two)
    opened(window, one)
    tabs = [page, *(page.context.new_page() for _ in range(6))]
    for tab in tabs:
        tab.goto(window.address)
        tab.wait_for_function(PAINTED)
    # Events still reach all tabs when the tab that listens for the others is closed.
    tabs.remove(page)
    page.close()
    listed = f".tdw-recent .tdw-choose[title='{two}']"
    for tab in tabs:
        tab.wait_for_selector(listed, state="attached")
    assert window.do("forget", path=str(two))[0] == 200
    for tab in tabs:
        tab.bring_to_front()
        tab.wait_for_selector(listed, state="detached")
        tab.keyboard.press("Home")
        tab.wait_for_function("tdw.painted === 0")


@pytest.mark.browser
def test_an_answer_that_comes_late_does_not_undo_the_news(page, window, tmp_path, tiny_run):
    one, two = (Path(shutil.copy(tiny_run, tmp_path / f"{name}.tdw")) for name in ("one", "two"))
    opened(window, two)
    opened(window, one)
    page.goto(window.address)
    page.wait_for_function(PAINTED)
    listed = f".tdw-recent .tdw-choose[title='{two}']"
    page.wait_for_selector(listed, state="attached")
    # A second tab has requested the list; before it gets the response, the list shrinks.
    late = []
    tab = page.context.new_page()
    tab.route("**/now", lambda route: late.append((route, route.fetch())))
    tab.goto(window.address)
    until(lambda: late or tab.wait_for_timeout(10))
    assert window.do("forget", path=str(two))[0] == 200
    page.wait_for_selector(listed, state="detached")
    route, answer = late[0]
    assert str(two) in answer.text()
    route.fulfill(response=answer)
    tab.wait_for_function(PAINTED)
    assert tab.locator(listed).count() == 0


@pytest.mark.browser
@pytest.mark.slow
@pytest.mark.parametrize("count", [3, 10])
def test_tabs_and_three_jobs_at_once(page, open_window, own, broad, count, record_property):
    """On a run that is being trained, while another one is trained and a third is analyzed."""
    grows, other = own / "grows.tdw", own / "other.tdw"
    for file in (grows, other):
        tdw.create(file, tdw.configure(**SMALL, epochs=2_000_000, checkpoints="0:2000000:200"))
    analyzed = Path(shutil.copy(broad, own))
    window = open_window()
    streams: list[str] = []
    page.context.on("request", lambda request: streams.append(request.url) if request.url.endswith("/events") else None)
    keys = {file: opened(window, file) for file in (other, analyzed, grows)}
    for file in (other, grows):
        assert window.do("train", key=keys[file])[0] == 200
    page.goto(window.address)
    page.wait_for_function("window.tdw?.count > 3")
    tabs = [page, *(separate_tab(page) for _ in range(count - 1))]
    for tab in tabs:
        tab.wait_for_function("window.tdw?.count > 3 && tdw.painted >= 0")
    assert window.do("analyze", key=keys[analyzed])[0] == 200
    for tab in tabs:
        tab.locator(".tdw-running .tdw-item[data-state=running]").nth(1).wait_for()
    assert all(map(store.locked_by, keys))

    # All tabs paint every step at the same time, and all their requests are answered.
    grown = [tab.evaluate("tdw.count") for tab in tabs]
    for tab, many in zip(tabs, grown, strict=True):
        tab.evaluate(f"how => {{ window.stepping = ({STEP})(how); }}", {"steps": 60, "last": many - 1})
    stepped = [tab.evaluate("window.stepping") for tab in tabs]
    for found, many in zip(stepped, grown, strict=True):
        assert found["painted"] == [(i * 7919) % (many - 1) for i in range(60)]
    answered = [tab.evaluate(ASK, ["/now", f"/runs/{keys[grows]}/manifest"] * 3) for tab in tabs]

    # Every tab gets the progress of the run and the actions in other tabs.
    for tab, many in zip(tabs, grown, strict=True):
        tab.wait_for_function("many => tdw.count > many", arg=many)
    tabs[-1].click(f"{OPENED} .tdw-action >> text=Stop")
    for tab in tabs:
        tab.locator(f"{OPENED} .tdw-action >> text=Resume").wait_for()
    assert len(streams) == 1  # of the six connections a browser has

    for name, waits in (("input to paint", [found["waited"] for found in stepped]), ("answer", answered)):
        every = sorted(wait for waited in waits for wait in waited)
        said = f"{name}: median {statistics.median(every):.0f} ms, 95 % {every[len(every) * 95 // 100]:.0f}, most {every[-1]:.0f}"
        record_property(name, said)
        print(f"\n{count} tabs, {said}", end="")


@pytest.mark.browser
def test_a_tab_closed_while_its_run_is_analyzed_loses_nothing(page, open_window, own, broad):
    file = Path(shutil.copy(broad, own))
    window = open_window(file)
    page.goto(window.address)
    page.wait_for_function(PAINTED)
    page.click(f"{OPENED} .tdw-action >> text=Analyze")
    page.wait_for_function("document.querySelector('.tdw-item .tdw-pace').textContent.includes('checkpoints/s')")
    context = page.context
    page.close()
    assert store.locked_by(file)
    with tdw.open(file) as run:
        fitting = [item.name for item in registry.usual(run.config)]
        assert any(name not in run.analyses() or run.analyses()[name].rows < 121 for name in fitting)
    until(lambda: not store.locked_by(file))
    assert list((window.state / "jobs").glob("*.json")) != []  # there was no poll since

    tab = context.new_page()
    tab.goto(window.address)
    tab.wait_for_function(PAINTED)
    tab.locator(f"{OPENED}[data-state='']:not(:has(.tdw-action:text('Analyze'):visible))").wait_for()
    assert "analyzed" not in tab.inner_text("#tdw-viewer").lower()
    assert list((window.state / "jobs").glob("*.json")) == []
    command = [sys.executable, "-m", "tdw", "analyze", shutil.copy(broad, own / "again.tdw")]
    subprocess.run(command, check=True, capture_output=True)
    with tdw.open(file) as run, tdw.open(own / "again.tdw") as again:
        assert set(run.analyses()) == set(again.analyses()) == set(fitting)
        for name in fitting:
            for one, two in zip(run.analysis(name).arrays.values(), again.analysis(name).arrays.values(), strict=True):
                assert np.array_equal(one, two, equal_nan=one.dtype.kind == "f"), name


@pytest.mark.browser
@pytest.mark.slow
def test_a_tab_closed_and_a_server_killed_while_a_run_is_trained_lose_nothing(page, open_window, own):
    settings = tdw.configure(**SMALL, epochs=8_000, checkpoints="0:8000:1000")
    file, alone = own / "watched.tdw", own / "alone.tdw"
    for path in (file, alone):
        tdw.create(path, settings)
    first = open_window(file)
    page.goto(first.address)
    page.click(f"{OPENED} .tdw-action >> text=Train")
    page.wait_for_function("window.tdw?.count > 0")
    context = page.context
    page.close()
    job = store.locked_by(file)
    first.process.kill()
    first.process.wait()
    assert job
    assert store.locked_by(file) == job

    second = open_window()
    tab = context.new_page()
    tab.goto(second.address)
    tab.click(".tdw-running .tdw-choose")
    until(lambda: not store.locked_by(file))
    tab.locator(f"{OPENED} .tdw-action >> text=Analyze").wait_for()
    tdw.train(alone)
    with tdw.open(file) as run, tdw.open(alone) as other:
        assert run.state == other.state == "finished"
        assert run.checkpoints == other.checkpoints
        for side in ("train", "test"):
            assert np.array_equal(run.series(f"losses/{side}"), other.series(f"losses/{side}"), equal_nan=True)
