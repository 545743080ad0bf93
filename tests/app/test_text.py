"""Hostile text in the window: all of it is shown as text, and it has no effect."""

from __future__ import annotations

import json
import os
import shutil
import unicodedata
from pathlib import Path
from typing import Any

import pytest

import tdw
from tdw import panels, store
from tdw.app import routes
from tdw.project.writer import ProjectWriter
from tdw.safe_text import visible
from tests import hostile_text
from tests.app.test_window import OPENED, enter, fill, open_form, painted, reason

pytestmark = pytest.mark.browser

FOLDER = "a<"  # and a slash: together with the name of the file, the end of a script
FILE = (
    os.fsdecode(b"\xff")
    + "script><img src=x onerror=window.ran=1>"
    + hostile_text.TEMPLATE.replace("/", "")
    + "\x1b[31m\n\u202e\u2067.tdw"
)
TITLE = hostile_text.MARKUP[:80] + "\u202e\x1b\ud800"
TAGS = ["<b>t</b>\u2066", "</script>\u200f", "\x07&amp;${ran=2}"]
REMARK = "<i>first</i>\n\u202esecond\x00"


@pytest.fixture
def hostile(tmp_path: Path, tiny_run: Path) -> Path:
    """A run in which every text is hostile."""
    folder = tmp_path / FOLDER
    folder.mkdir()
    path = Path(shutil.copy(tiny_run, folder / FILE))
    with store.open_writer(path) as writer:
        writer.set_notes({"title": TITLE, "tags": TAGS, "remark": REMARK})
        stale = store.AnalysisPlan(
            "neuron_clusters",
            1,
            {"threshold": hostile_text.ALL[:300]},
            writer.reader.analyses()["neuron_clusters"].arrays,
            99,
        )
        rows = {name: writer.reader.read(f"analysis/neuron_clusters/{name}") for name in stale.arrays}
        writer.plan_analyses([stale])
        writer.append_rows({"neuron_clusters": rows})
    return path


def nothing_came_of_it(page: Any) -> None:
    """No script ran, no element was created, and the visible text has no invisible characters."""
    found = page.evaluate(
        """() => {
          const inside = (place) => `${place} :is(img, script, a, u, iframe, textarea)`;
          const bad = document.querySelectorAll(`img[src="x"], [onerror], [onload], ${[".tdw-viewer", "#tdw-lists", "#tdw-state", ".tdw-reason"].map(inside)}`);
          const texts = [document.title];
          const walker = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
          while (walker.nextNode()) if (!walker.currentNode.parentElement.closest("script, style")) texts.push(walker.currentNode.data);
          for (const node of document.querySelectorAll("*")) {
            for (const name of ["title", "aria-label", "placeholder", "alt"]) if (node.hasAttribute(name)) texts.push(node.getAttribute(name));
          }
          return { ran: String(window.ran), bad: [...bad].map((node) => node.outerHTML.slice(0, 200)), texts };
        }"""
    )
    assert found["ran"] == "undefined"
    assert found["bad"] == []
    # Gradio's page has newlines between its elements.
    assert [text for text in found["texts"] if hostile_text.unshown(text.translate({10: None, 9: None}))] == []


def test_a_hostile_run_is_shown_as_text_everywhere(page, open_window, hostile):
    window = open_window(hostile, cwd=hostile.parent)
    enter(page, window)
    painted(page)
    shown = visible(hostile.name)
    bar = page.locator(".tdw-doc")
    assert bar.locator(".tdw-file").text_content() == shown
    assert bar.locator(".tdw-title").text_content() == visible(TITLE)
    assert bar.locator(".tdw-tag").all_text_contents() == [visible(tag) for tag in TAGS]
    assert visible(REMARK, lines=True) in bar.locator(".tdw-title").get_attribute("title")
    assert bar.locator(".tdw-path").text_content() == f"{visible(str(hostile.parent))} · saved"
    assert page.locator(f"{OPENED} b").text_content() == visible(hostile.stem)
    assert page.locator(f"{OPENED} .tdw-choose").get_attribute("title") == visible(str(hostile))
    assert page.title() == f"{visible(hostile.stem)} – Training Dynamics Workbench"
    # The order in the side bar does not depend on the text.
    lefts = page.evaluate(
        "[...document.querySelectorAll('.tdw-doc > *')].filter((node) => node.offsetParent).map((node) => node.getBoundingClientRect().left)"
    )
    assert lefts == sorted(lefts)
    nothing_came_of_it(page)
    # Texts of the viewer itself.
    page.evaluate(
        "(text) => { tdw.viewer.say(text); tdw.viewer.tooltip.show(300, 300, [text, [text, text]]); }", hostile_text.ALL
    )
    assert page.locator(".tdw-toast").text_content() == visible(hostile_text.ALL)
    assert (
        page.locator(".tdw-tooltip").text_content()
        == f"{visible(hostile_text.ALL)}{visible(hostile_text.ALL)} {visible(hostile_text.ALL)}"
    )
    nothing_came_of_it(page)
    # The form suggests a name in the folder that the program was started in.
    page.click("#tdw-new-button")
    page.wait_for_selector("#tdw-form", state="visible")
    assert page.input_value("#tdw-input-file :is(textarea, input)") == str(hostile.parent / "run-1.tdw")
    nothing_came_of_it(page)


def test_hostile_jobs_and_their_errors_are_text(page, open_window, hostile):
    window = open_window(hostile)
    enter(page, window)
    painted(page)
    with ProjectWriter.open(hostile):  # so that the job fails with a message that contains the path
        page.evaluate("document.dispatchEvent(new CustomEvent('tdw:action', { detail: { action: 'train' } }))")
        error = page.locator(f"{OPENED} .tdw-reason")
        page.wait_for_function(
            "document.querySelector('.tdw-item .tdw-reason').textContent.includes('is being written to')"
        )
    assert visible(str(hostile)) in error.text_content()
    nothing_came_of_it(page)
    other = hostile.with_name("<u>other\u202e.tdw")
    tdw.create(
        other, tdw.configure(p=11, d_model=16, heads=2, d_mlp=16, epochs=1_000_000, checkpoints="even:3", threads=1)
    )
    status, answer = window.do("open", path=str(other))
    assert status == 200
    assert window.do("train", key=answer["key"])[0] == 200
    page.wait_for_selector(".tdw-running .tdw-bar")
    assert page.locator(".tdw-running b").text_content() == visible(other.stem)
    assert page.locator(".tdw-running .tdw-choose").get_attribute("title") == visible(str(other))
    nothing_came_of_it(page)
    assert window.do("stop", key=answer["key"])[0] == 200
    page.wait_for_selector(".tdw-recent b")
    assert page.locator(".tdw-recent b").text_content() == visible(other.stem)
    nothing_came_of_it(page)


REFUSED = [
    hostile_text.ALL,
    "/" + hostile_text.IN_NAMES + ".tdw",
    "\ud800.tdw",
    "\udcff",
    "</textarea></script><script>window.ran=1</script>",
    "~" + hostile_text.BIDI,
]


def test_a_hostile_path_is_refused_in_a_sentence_that_is_text(page, open_window, tiny_run):
    enter(page, open_window())
    open_path = "(text) => tdwShell.openPath(text)"  # typing drops newlines
    for text in REFUSED:
        page.evaluate(open_path, text)
        page.wait_for_function("document.querySelector('#tdw-refusal').textContent !== ''")
        assert page.locator("#tdw-refusal").is_visible()
        nothing_came_of_it(page)
    page.evaluate(open_path, str(tiny_run))
    painted(page)
    for text in REFUSED:
        page.evaluate(open_path, text)
        assert page.locator("#tdw-refusal").is_visible()
        nothing_came_of_it(page)


def test_a_hostile_setting_is_refused_in_a_sentence_that_is_text(page, window):
    enter(page, window)
    for value in (
        hostile_text.MARKUP,
        hostile_text.TEMPLATE,
        "\u202e12",
        "{{#each x}}<img src=x onerror=window.ran=1>{{/each}}",
        "`${window.ran=1}`",
    ):
        open_form(page)
        for field in ("p", "checkpoints", "file"):
            fill(page, field, value if field != "file" else f"/{value}/a.tdw")
            reason(page, field).wait_for()
            if field != "checkpoints":  # its message quotes the wrong part
                page.wait_for_function(
                    "([field, text]) => document.querySelector(`#tdw-field-${field} .tdw-said`)?.textContent.includes(text)",
                    arg=[field, visible(value)[:30]],
                )
        nothing_came_of_it(page)


def test_letters_from_right_to_left_stay_in_their_place(page, open_window, tmp_path, tiny_run):
    """Plain Hebrew without control characters: the words around it keep their order."""
    folder = tmp_path / "שלום"
    folder.mkdir()
    path = Path(shutil.copy(tiny_run, folder / "ריצה.tdw"))
    with ProjectWriter.open(path) as writer:
        writer.set_notes(title="כותרת", tags=["תג", "b"])
    enter(page, open_window(path))
    painted(page)
    assert page.locator(".tdw-file").text_content() == "ריצה.tdw"
    places = page.evaluate(
        """() => {
          const path = document.querySelector(".tdw-path");
          const saved = document.createRange();
          saved.selectNode(path.lastChild);
          return [path.firstChild.getBoundingClientRect().right, saved.getBoundingClientRect().left];
        }"""
    )
    assert places[0] <= places[1] + 1
    lefts = page.evaluate(
        "[...document.querySelectorAll('.tdw-doc > *')].filter((node) => node.offsetParent).map((node) => node.getBoundingClientRect().left)"
    )
    assert lefts == sorted(lefts)


def test_the_page_and_the_terminal_have_one_rule(page, window):
    enter(page, window)
    page.evaluate(
        "async (address) => { window.visibleText = (await import(address)).visibleText }",
        routes.addresses()["viewer/format.js"].removeprefix("."),
    )
    changed = set(
        page.evaluate(
            """() => { const found = [];
            for (let code = 0; code < 0x110000; code++) if (visibleText(String.fromCodePoint(code)) !== String.fromCodePoint(code)) found.push(code);
            return found; }"""
        )
    )
    known = [
        code for code in range(0x110000) if unicodedata.category(chr(code)) != "Cn"
    ]  # one may know newer characters
    assert {code for code in known if code in changed} == {code for code in known if visible(chr(code)) != chr(code)}
    for text in (
        hostile_text.ALL,
        "\x00\x1f\x7f\x80\x9f",
        "\u2028\u2029",
        "a\ud800b\udcff",
        "\U000e0041",
        "👩\u200d👧",
    ):
        assert page.evaluate("(text) => visibleText(text)", text) == visible(text)
        assert page.evaluate("(text) => visibleText(text, true)", text + "\n") == visible(text + "\n", lines=True)


def test_an_exported_figure_shows_text_as_text(page, hostile, tmp_path):
    one_of_each_kind = {item.kind: name for name, item in reversed(panels.PANELS.items()) if name != "phase_alignment"}
    for panel in one_of_each_kind.values():
        with tdw.open(hostile) as run:
            figure = run.figure(panel, epoch=120)
        assert hostile_text.unshown(json.dumps(figure.to_plotly_json(), default=str, ensure_ascii=False)) == []
        figure.write_html(tmp_path / "figure.html", include_plotlyjs=True)
        page.goto((tmp_path / "figure.html").as_uri())
        page.wait_for_selector(".gtitle-subtitle")
        shown = page.locator(".gtitle-subtitle").text_content()
        assert shown == f"{visible(hostile.name)} · {visible(TITLE)}"
        assert page.locator("img, svg a, [onerror]").count() == 0
        assert page.evaluate("String(window.ran)") == "undefined"
