"""The window in a real browser: a run is started, watched, stopped, resumed, analyzed and explored."""

from __future__ import annotations

import os
import shutil
import signal
import time
from pathlib import Path
from urllib.parse import urlsplit

import pytest

import tdw
from tdw import store

pytestmark = pytest.mark.browser

OPENED = ".tdw-item[data-section=open]"
SMALL = {"p": 11, "d_model": 16, "heads": 2, "d_mlp": 16, "threads": 1}


def enter(page, window) -> None:
    """Open the window and wait until it is drawn."""
    page.goto(window.address)
    page.wait_for_selector(".tdw-themes")


def show(page, window, path: Path) -> None:
    """Open a run in a shared window: a new tab shows the run opened last."""
    status, answer = window.do("open", path=str(path))
    assert status == 200, answer
    enter(page, window)
    painted(page)


def painted(page) -> None:
    """Wait until the shown run is drawn at its checkpoint."""
    page.wait_for_function("window.tdw && tdw.count > 0 && tdw.painted === tdw.index && tdw.index >= 0")


def fill(page, name: str, value: object) -> None:
    page.fill(f"#tdw-input-{name} :is(textarea, input:not([type=range]))", str(value))


def reason(page, name: str):
    return page.locator(f"#tdw-field-{name} .tdw-said")


def open_form(page, **settings: object) -> None:
    page.click("#tdw-new-button")
    page.wait_for_selector("#tdw-form", state="visible")
    if any(name in SMALL and name != "p" for name in settings):
        page.click("#tdw-more > button")
    for name, value in settings.items():
        fill(page, name, value)


def start(page, file: Path, epochs: int, checkpoints: str, **more: object) -> None:
    """Start a small run from the form and wait until it is shown."""
    open_form(page, file=file, epochs=epochs, checkpoints=checkpoints, **SMALL, **more)
    page.wait_for_selector("#tdw-start:not([disabled])")
    page.wait_for_function("!document.querySelector('.tdw-said')")
    page.click("#tdw-start")
    page.wait_for_selector(f"{OPENED} >> text={file.stem}")


def act(page, name: str) -> None:
    page.click(f"{OPENED} .tdw-action >> text={name}")


def copies(folder: Path, tiny_run: Path, *names: str) -> list[Path]:
    return [Path(shutil.copy(tiny_run, folder / f"{name}.tdw")) for name in names]


def test_the_field_for_a_path_has_a_name(page, window):
    enter(page, window)
    assert page.get_by_role("textbox", name="Path of a file to open").count() == 1


def test_nothing_open_says_what_to_do(page, open_window):
    enter(page, open_window())
    page.wait_for_selector("text=No runs yet")
    assert page.locator(".tdw-item").count() == 0


def test_a_run_is_started_watched_stopped_resumed_analyzed_and_explored(page, open_window, tmp_path):
    window = open_window()
    enter(page, window)
    file = tmp_path / "flow.tdw"
    start(page, file, epochs=200_000, checkpoints="0:1000:100, 0:200000:500")

    # Watched: the curve and the checkpoints grow, the side bar counts.
    page.wait_for_function("window.tdw?.count >= 2")
    first = page.evaluate("tdw.count")
    page.wait_for_function(f"tdw.count > {first}")
    pace = page.locator(f"{OPENED} .tdw-pace")
    page.wait_for_function("/epochs\\/s.*left/.test(document.querySelector('.tdw-pace').textContent)")
    assert "200\u202f000" in pace.text_content()
    assert "train" in page.locator(f"{OPENED} .tdw-losses").text_content()
    assert "test" in page.locator(f"{OPENED} .tdw-losses").text_content()

    # A reload finds the job and its run again.
    page.reload()
    page.wait_for_selector(f"{OPENED} .tdw-action >> text=Stop")
    painted(page)

    # Stopped: finished work is kept.
    act(page, "Stop")
    page.wait_for_selector(f"{OPENED} .tdw-action >> text=Resume")
    assert store.locked_by(file) is None
    with tdw.open(file) as run:
        assert run.state == "unfinished"
        stopped_at = len(run.epochs)
    assert stopped_at > 500

    # Resumed: continues from there.
    act(page, "Resume")
    page.wait_for_selector(f"{OPENED} .tdw-action >> text=Stop")
    page.wait_for_function("document.querySelector('.tdw-item .tdw-pace').textContent.includes('epochs/s')")
    act(page, "Stop")
    page.wait_for_selector(f"{OPENED} .tdw-action >> text=Resume")
    with tdw.open(file) as run:
        assert len(run.epochs) > stopped_at

    # Analyzed: the panels appear, without a reload.
    assert page.locator("text=Not analyzed yet").count() > 0
    act(page, "Analyze")
    page.wait_for_selector(f"{OPENED}[data-state='']:not(:has(.tdw-action:text('Analyze'):visible))")
    page.wait_for_function("!document.querySelector('#tdw-viewer').innerText.includes('Not analyzed yet')")
    with tdw.open(file) as run:
        assert run.analysis("neuron_frequencies").checkpoints == run.checkpoints

    # Explored.
    painted(page)
    page.keyboard.press("Home")
    page.wait_for_function("tdw.painted === 0")
    page.keyboard.press("ArrowRight")
    page.wait_for_function("tdw.painted === 1")


def test_a_finished_run_says_so_and_leaves_no_record(page, open_window, tmp_path):
    window = open_window()
    enter(page, window)
    file = tmp_path / "short.tdw"
    start(page, file, epochs=100, checkpoints="0:100:10")
    page.wait_for_selector(f"{OPENED} .tdw-action >> text=Analyze")
    with tdw.open(file) as run:
        assert run.state == "finished"
    assert page.locator(f"{OPENED} .tdw-action >> text=Resume").is_hidden()
    assert list((window.state / "jobs").iterdir()) == []
    # The form now suggests another name.
    page.click("#tdw-new-button")
    page.wait_for_function("document.querySelector('#tdw-input-file :is(textarea, input)').value.endsWith('run-1.tdw')")
    assert reason(page, "file").count() == 0


def test_arrow_keys_move_every_panel_and_send_nothing(page, window, tiny_run):
    show(page, window, tiny_run)
    page.keyboard.press("Home")
    page.wait_for_function("tdw.painted === 0")
    sent = []
    page.on("request", lambda request: sent.append(request.url))
    for step in range(1, 25):
        page.keyboard.press("ArrowRight")
        page.wait_for_function(f"tdw.painted === {step}")
    assert sent == []


def test_the_page_never_scrolls(page, window, tiny_run):
    show(page, window, tiny_run)
    _does_not_scroll(page)
    page.click("#tdw-new-button")
    page.click("#tdw-more > button")
    page.wait_for_selector("#tdw-input-threads", state="visible")
    _does_not_scroll(page)


def _does_not_scroll(page) -> None:
    wide, high = page.evaluate("[document.scrollingElement.scrollWidth, document.scrollingElement.scrollHeight]")
    assert (wide, high) == (1280, 800)
    page.evaluate("scrollTo(0, 500)")
    assert page.evaluate("scrollY") == 0


def test_the_form_stays_when_the_lists_come_late(page, window, tiny_run):
    assert window.do("open", path=str(tiny_run))[0] == 200
    held: list = []
    page.route("**/now", lambda route: held.append(route))  # noqa: PLW0108 - a method of a list is none it can take
    enter(page, window)
    page.click("#tdw-new-button")
    page.wait_for_selector("#tdw-form", state="visible")
    held[0].continue_()
    painted(page)
    assert page.is_visible("#tdw-form")


def test_a_refused_path_is_a_sentence(page, open_window, tmp_path, tiny_run):
    window = open_window()
    enter(page, window)
    text = tmp_path / "<b>notes.tdw"
    text.write_text("not a run")
    for path in (tmp_path / "missing.tdw", text):
        page.fill("#tdw-path :is(textarea, input)", str(path))
        page.click("#tdw-open-button")
        page.locator("#tdw-refusal:visible", has_text=path.name).wait_for()
        assert "Traceback" not in page.inner_text("body")
    # With a run open, the message is below the field and the run stays.
    page.fill("#tdw-path :is(textarea, input)", str(tiny_run))
    page.press("#tdw-path :is(textarea, input)", "Enter")
    painted(page)
    page.fill("#tdw-path :is(textarea, input)", str(text))
    page.click("#tdw-open-button")
    page.wait_for_selector("#tdw-refusal:visible")
    assert "<b>notes.tdw" in page.inner_text("#tdw-refusal")
    assert page.locator("#tdw-refusal b").count() == 0
    assert page.inner_text(f"{OPENED} b") == "tiny"
    painted(page)


@pytest.mark.parametrize(
    ("field", "value", "sentence"),
    [
        ("p", "1", "ust be an integer from 2 to 1000 (got 1)"),
        ("checkpoints", "0:100:nonsense", "0:100:nonsense"),
        ("epochs", "-5", "ust be an integer from 1 to"),
        ("file", "/no/such/folder/a.tdw", "Folder /no/such/folder does not exist"),
        ("file", "", "No path given"),
    ],
)
def test_a_wrong_setting_shows_its_error_below_the_field(page, window, tmp_path, field, value, sentence):
    enter(page, window)
    open_form(page, file=tmp_path / "a.tdw")
    fill(page, field, value)
    reason(page, field).wait_for()
    assert sentence in reason(page, field).text_content()
    page.wait_for_selector("#tdw-start[disabled]")
    fill(page, field, {"p": 13, "checkpoints": "0:100:10", "epochs": 100, "file": tmp_path / "b.tdw"}[field])
    page.wait_for_selector("#tdw-start:not([disabled])")
    assert reason(page, field).count() == 0


def test_the_preview_counts_as_one_types(page, window, tmp_path):
    enter(page, window)
    open_form(page, file=tmp_path / "a.tdw", p=59, epochs=1000)
    for schedule, count in (("0:1000:100", 11), ("0:1000:10", 101)):
        fill(page, "checkpoints", schedule)
        page.wait_for_function(f"document.querySelector('#tdw-preview dd').textContent === '{count}'")
    assert page.locator(".tdw-ticks i").count() == 101
    assert " MB" in page.inner_text("#tdw-preview")


def test_a_job_that_fails_says_why(page, open_window, tmp_path):
    window = open_window()
    enter(page, window)
    file = tmp_path / "fails.tdw"
    start(page, file, epochs=1_000_000, checkpoints="0:1000000:50000")
    painted(page)
    os.kill(store.locked_by(file), signal.SIGKILL)
    page.wait_for_selector(f"{OPENED} .tdw-reason >> text=killed by signal 9")
    act(page, "Dismiss")
    page.wait_for_selector(f"{OPENED} .tdw-reason", state="hidden")
    act(page, "Resume")  # what it had committed is kept
    page.wait_for_selector(f"{OPENED} .tdw-action >> text=Stop")
    act(page, "Stop")
    page.wait_for_selector(f"{OPENED} .tdw-action >> text=Resume")


def test_a_job_that_never_got_its_file_says_why(page, open_window, tmp_path):
    window = open_window()
    enter(page, window)
    # It fits on the disk by the form's estimate, but not in memory: only the job detects that.
    file = tmp_path / "large.tdw"
    open_form(page, file=file, p=997, d_mlp=16_384, epochs=1, checkpoints="0", network="deep-transformer")
    page.keyboard.press("Enter")
    page.click("#tdw-start")
    page.wait_for_selector(
        "#tdw-state [data-kind=failed], #tdw-state [data-kind] .tdw-message h2 >> text=could not be started"
    )
    assert "GB of memory" in page.inner_text("#tdw-state")
    assert "Traceback" not in page.inner_text("body")
    assert not file.exists()
    page.click("#tdw-state .tdw-action")
    page.wait_for_selector("#tdw-form", state="visible")


def test_a_job_is_found_again_by_a_server_started_later(page, open_window, tmp_path):
    first = open_window()
    enter(page, first)
    file = tmp_path / "long.tdw"
    start(page, file, epochs=1_000_000, checkpoints="0:1000000:50000")
    painted(page)
    pid = store.locked_by(file)
    first.process.kill()
    first.process.wait()
    page.wait_for_selector("text=Server offline")
    assert store.locked_by(file) == pid  # the job is not affected
    second = open_window()
    enter(page, second)
    page.wait_for_selector(".tdw-running .tdw-item b >> text=long")
    page.click(".tdw-running .tdw-choose")
    painted(page)
    act(page, "Stop")
    page.wait_for_selector(f"{OPENED} .tdw-action >> text=Resume")
    assert store.locked_by(file) is None


def test_training_started_elsewhere_on_a_known_file_is_found(page, open_window, tmp_path):
    file = tmp_path / "elsewhere.tdw"
    tdw.create(file, tdw.configure(**SMALL, epochs=1_000_000, checkpoints="0:1000000:100000"))
    window = open_window(file)
    enter(page, window)
    act(page, "Train")
    page.wait_for_function("tdw.count > 0")
    act(page, "Stop")
    page.wait_for_selector(f"{OPENED} .tdw-action >> text=Resume")


def test_a_run_from_elsewhere_is_said_to_be_one_and_only_once(page, open_window, tmp_path, monkeypatch):
    """A file from another computer is shown like others, and rebuilt before its first analysis."""
    path = tmp_path / "sent.tdw"
    with monkeypatch.context() as elsewhere:
        elsewhere.setenv("TDW_STATE_DIR", str(tmp_path / "elsewhere"))
        tdw.create(path, tdw.configure(**SMALL, epochs=20, checkpoints="0:20:5", train_fraction=0.6))
        tdw.train(path)
    enter(page, open_window(path))
    painted(page)
    word = page.locator(f"{OPENED} .tdw-word")
    assert word.inner_text().startswith("sent.tdw comes from another computer. It was checked in a sandbox")
    page.reload()
    painted(page)
    assert not word.is_visible()
    act(page, "Analyze")
    page.wait_for_selector(f"{OPENED} .tdw-bar", state="visible")
    page.wait_for_selector(f"{OPENED} .tdw-bar", state="hidden")
    monkeypatch.setenv("TDW_STATE_DIR", str(tmp_path / "state"))
    with store.open_reader(path) as reader:
        assert reader.made_here
        assert "neuron_frequencies" in reader.analyses()


def test_switching_shows_the_other_run_everywhere(page, open_window, tmp_path, tiny_run):
    one, two = copies(tmp_path, tiny_run, "one", "two")
    window = open_window(one)
    enter(page, window)
    painted(page)
    page.fill("#tdw-path :is(textarea, input)", f'  "{two}" ')
    page.click("#tdw-open-button")
    page.wait_for_selector(f"{OPENED} b >> text=two")
    page.wait_for_selector(".tdw-file >> text=two.tdw")
    painted(page)
    page.click(".tdw-recent .tdw-choose")
    page.wait_for_selector(f"{OPENED} b >> text=one")
    page.wait_for_selector(".tdw-file >> text=one.tdw")
    painted(page)
    # The same tab shows it after a reload, and a new one the run opened last.
    page.reload()
    page.wait_for_selector(".tdw-file >> text=one.tdw")
    other = page.context.new_page()
    other.goto(f"http://{window.host}/")
    other.wait_for_selector(".tdw-file >> text=one.tdw")


def open_path(page, path: Path) -> None:
    page.fill("#tdw-path :is(textarea, input)", str(path))
    page.click("#tdw-open-button")


def hold_openings(page, path: Path) -> list:
    """Keep the window's commands to open a path waiting, as a slow import does."""
    held: list = []
    page.route(
        "**/do/open", lambda route: held.append(route) if path.name in route.request.post_data else route.continue_()
    )
    return held


def test_what_is_opened_slowly_does_not_take_the_window_away(page, open_window, tmp_path, tiny_run):
    one, slow, two = copies(tmp_path, tiny_run, "one", "slow", "two")
    enter(page, open_window(one))
    painted(page)
    held = hold_openings(page, slow)
    open_path(page, slow)
    page.wait_for_selector("#tdw-opening >> text=Opening slow.tdw …")
    open_path(page, two)
    page.wait_for_selector(".tdw-file >> text=two.tdw")
    held.pop().continue_()
    page.wait_for_selector("#tdw-opening", state="hidden")
    page.wait_for_selector(".tdw-recent .tdw-item b >> text=slow")
    assert page.inner_text(".tdw-file") == "two.tdw"
    # Nor does it take the form away from who is filling it in.
    open_path(page, slow)
    page.wait_for_selector("#tdw-opening >> text=Opening slow.tdw …")
    page.click("#tdw-new-button")
    page.wait_for_selector("#tdw-form", state="visible")
    held.pop().continue_()
    page.wait_for_selector("#tdw-opening", state="hidden")
    assert page.is_visible("#tdw-form")


def test_a_refusal_goes_when_the_next_file_is_opened(page, open_window, tmp_path, tiny_run):
    one, slow = copies(tmp_path, tiny_run, "one", "slow")
    enter(page, open_window(one))
    painted(page)
    open_path(page, tmp_path / "missing.tdw")
    page.wait_for_selector("#tdw-refusal >> text=missing.tdw does not exist")
    held = hold_openings(page, slow)
    open_path(page, slow)
    page.wait_for_selector("#tdw-refusal", state="hidden")
    page.wait_for_selector("#tdw-opening >> text=Opening slow.tdw …")
    slow.unlink()
    held.pop().continue_()
    page.wait_for_selector("#tdw-refusal >> text=slow.tdw does not exist")
    assert page.locator("#tdw-opening").is_hidden()


def test_a_refusal_is_seen_beside_the_form(page, open_window, tmp_path):
    enter(page, open_window())
    page.wait_for_selector("text=No runs yet")
    page.click("#tdw-new-button")
    page.wait_for_selector("#tdw-form", state="visible")
    open_path(page, tmp_path / "missing.tdw")
    page.wait_for_selector("#tdw-refusal:visible >> text=missing.tdw does not exist")
    assert page.is_visible("#tdw-form")


def test_a_run_leaves_the_list_and_its_file_stays(page, open_window, tmp_path, tiny_run):
    one, two = copies(tmp_path, tiny_run, "one", "two")
    window = open_window(one)
    assert window.do("open", path=str(two))[0] == 200
    enter(page, window)
    page.hover(".tdw-recent .tdw-item")
    page.click(".tdw-recent .tdw-forget")
    page.wait_for_selector(".tdw-recent .tdw-item", state="detached")
    assert one.exists()


def test_a_file_that_goes_away_is_said(page, window, tmp_path, tiny_run):
    (one,) = copies(tmp_path, tiny_run, "one")
    show(page, window, one)
    one.unlink()
    page.wait_for_selector("text=This file can no longer be read")


def test_a_reload_shows_the_same_view_checkpoint_and_neurons(page, window, tiny_run):
    show(page, window, tiny_run)
    page.get_by_role("tab", name="Neurons").click()
    page.evaluate("tdw.pin(2, 3)")
    page.keyboard.press("Home")
    page.keyboard.press("ArrowRight")
    page.wait_for_function("tdw.painted === 1")
    page.reload()
    painted(page)
    assert page.evaluate("[tdw.index, ...tdw.pins]") == [1, 2, 3]
    assert page.locator("[role=tab][aria-selected=true]").inner_text() == "Neurons"
    page.keyboard.press("End")
    page.wait_for_function("tdw.painted === tdw.count - 1")
    page.reload()
    painted(page)
    assert page.evaluate("tdw.index === tdw.count - 1")


def test_a_narrow_window_shows_everything(page, window, tiny_run):
    page.set_viewport_size({"width": 500, "height": 800})
    show(page, window, tiny_run)
    outside = """() => [...document.querySelectorAll('#tdw-side *, .tdw-doc > *, .tdw-transport *, .tdw-card, #tdw-new *')]
        .filter(node => node.checkVisibility() && node.getBoundingClientRect().right > innerWidth + 1).map(node => node.outerHTML)"""
    assert page.evaluate(outside) == []
    assert page.locator("#tdw-viewer").bounding_box()["width"] == 500
    assert page.locator(".tdw-cards").bounding_box()["height"] > 300
    page.click("#tdw-new-button")
    page.wait_for_selector("#tdw-form", state="visible")
    assert page.evaluate(outside) == []
    assert page.locator("#tdw-input-file").bounding_box()["width"] > 300
    assert page.evaluate("document.scrollingElement.scrollHeight") == 800


def test_light_and_dark(browser, window, tiny_run):
    for scheme, other in (("light", "dark"), ("dark", "light")):
        context = browser.new_context(viewport={"width": 1280, "height": 800}, color_scheme=scheme)
        page = context.new_page()
        show(page, window, tiny_run)

        def ground(page=page) -> list[str]:
            return page.evaluate(
                "['#tdw-side', '.tdw-viewer .tdw-doc', '#tdw-fields'].map((one) => getComputedStyle(document.querySelector(one)).backgroundColor)"
            )

        before = ground()
        assert len(set(before)) == 1
        page.click(f".tdw-themes [data-name={other}]")
        page.wait_for_function(f"document.documentElement.dataset.theme === '{other}'")
        after = ground()
        assert len(set(after)) == 1
        assert after != before
        page.reload()
        page.wait_for_selector(".tdw-themes")
        assert ground() == after
        page.click(".tdw-themes [data-name=system]")
        assert ground() == before
        context.close()


def test_the_page_on_disk_leads_in(page, open_window, tmp_path):
    """The browser is opened on a private file, so that process lists show only its name."""
    seen, script = tmp_path / "seen", tmp_path / "browser"
    script.write_text(f'#!/bin/sh\nprintf %s "$1" > {seen}.part && mv {seen}.part {seen}\n')
    script.chmod(0o700)
    window = open_window(BROWSER=str(script))
    deadline = time.monotonic() + 30
    while not seen.exists() and time.monotonic() < deadline:
        time.sleep(0.05)
    address = seen.read_text()
    file = Path(urlsplit(address).path)
    assert window.token not in address
    assert file.stat().st_mode & 0o777 == 0o600
    page.goto(address)
    page.wait_for_selector(".tdw-themes")
    assert urlsplit(page.url)[:3] == ("http", window.host, "/")
    assert window.token not in page.url
    window.stop()
    assert not file.exists()
