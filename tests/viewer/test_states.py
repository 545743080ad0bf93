"""What the page says when there is nothing to draw, or not yet, or no longer."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from tdw.project.records import Notes
from tests.viewer.conftest import go, probe
from tests.viewer.serving import Served
from tests.viewer.synthetic import Made, brute_force

pytestmark = pytest.mark.browser

Show = Callable[..., Any]


def states(page: Any) -> list[str]:
    """The words of the cards that have nothing to draw."""
    return [state.inner_text() for state in page.locator(".tdw-state:visible").all()]


def test_no_run_open(show: Show) -> None:
    page = show(None)
    assert "No run is open" in page.locator(".tdw-blank").inner_text()
    assert page.evaluate("window.tdw.count") == 0
    page.keyboard.press("ArrowRight")


def test_another_run_is_shown_everywhere_and_the_place_is_remembered(show: Show, served: Served) -> None:
    served.runs["other"] = Made(p=7, checkpoints=4)
    page = show()
    go(page, 3)
    page.evaluate("window.tdw.pin(2, 3)")
    page.evaluate("window.instance.open('/runs/other')")
    assert page.evaluate("[window.tdw.count, window.tdw.painted, window.tdw.pins.length]") == [4, 3, 0]
    assert page.evaluate("window.tdw.panel('neuron_activations').p") == 7
    page.evaluate("window.instance.open('/runs/made')")
    assert page.evaluate("[window.tdw.count, window.tdw.painted, window.tdw.pins.length]") == [12, 3, 2]


def test_a_run_that_diverged_says_so_in_place_of_unfinished(show: Show, made: Made) -> None:
    made.recorded, made.kept = 251, 3
    page = show()
    assert "unfinished: 250 of" in page.locator(".tdw-doc").inner_text()
    made.diverged = {"epoch": 1251, "side": "test"}  # type: ignore[attr-defined]
    page.reload()
    page.wait_for_selector("text=training diverged at epoch 1\u202f251: test loss is not finite")
    assert "unfinished" not in page.locator(".tdw-doc").inner_text()


def test_a_branch_says_where_it_was_forked_and_how_it_was_edited(show: Show, made: Made) -> None:
    made.branched = {  # type: ignore[attr-defined]
        "at": 3000,
        "is_edited": True,
        "sentences": ["forked from run.tdw at epoch 3000", "edited at epoch 3000: frequency 5 removed from <b>W_E</b>"],
    }
    page = show()
    told = page.locator(".tdw-doc .tdw-chip", has_text="edited at epoch 3\u202f000")
    assert told.get_attribute("title").split("\n") == made.branched["sentences"]  # type: ignore[attr-defined]
    made.branched = {"at": 40, "is_edited": False, "sentences": ["forked from run.tdw at epoch 40"]}  # type: ignore[attr-defined]
    page.reload()
    page.wait_for_selector("text=forked at epoch 40")


def test_not_analyzed_yet_offers_to(show: Show, served: Served, made: Made) -> None:
    made.covered = {}
    page = show()
    assert [text.split("\n")[0] for text in states(page)] == ["Not analyzed yet", "Not analyzed yet"]
    assert page.locator(".tdw-thumb:visible").count() == 24, "maps need no analysis"
    assert probe(page, "neuron_activations", 2, 0, 0)["largest"] > 0
    page.get_by_role("button", name="Analyze", exact=True).first.click()
    assert page.evaluate("window.actions") == [{"action": "analyze", "key": "made"}]


def test_panels_fill_while_an_analysis_runs(show: Show, served: Served, made: Made) -> None:
    made.covered = {}
    page = show()
    go(page, 4)
    served.jobs["made"] = {"kind": "analyze", "done": 2, "total": 12}
    made.covered = dict.fromkeys(
        ("embedding_frequencies", "neuron_frequencies", "neuron_clusters", "neuron_summary"), 2
    )
    served.changed()
    page.wait_for_function("document.querySelector('.tdw-state:not([hidden])')?.textContent.includes('2 of 12')")
    assert "analyzing 2 / 12" in page.locator(".tdw-doc").inner_text()
    made.covered = dict.fromkeys(made.covered, 7)
    served.changed()
    page.wait_for_function("!document.querySelector('.tdw-state:not([hidden])')")  # checkpoint 4 is there now
    assert probe(page, "embedding_frequencies", 3)["value"] > 0
    served.jobs["made"] = None
    served.changed()
    flag = page.locator(".tdw-flag:visible").first
    flag.wait_for()
    assert flag.inner_text() == "7 of 12"
    page.keyboard.press("End")
    page.wait_for_function("window.tdw.painted === 11")
    assert states(page)[0].startswith("Not analyzed at epoch 1\u202f100")
    page.get_by_role("button", name="Analyze the rest").first.click()
    assert page.evaluate("window.actions.length") == 1


def test_a_run_without_curves_says_so(show: Show, made: Made) -> None:
    for name, values in made._losses.items():
        made._losses[name] = np.full_like(values, np.nan)
    page = show()
    assert states(page) == ["Nothing to show\n\nThis run has no recorded values."]
    page.get_by_role("button", name="Loss: options").click()  # what was recorded can still be chosen
    assert page.get_by_role("menuitemradio", name="Accuracy").count() == 1


def test_a_stale_analysis_says_why(show: Show, made: Made) -> None:
    made.old_version = {"embedding_frequencies"}
    page = show()
    flag = page.locator(".tdw-flag:visible")
    assert flag.count() == 1
    assert flag.inner_text() == "stale"
    assert "version 0" in flag.get_attribute("title")
    flag.click()
    assert page.evaluate("window.actions[0].action") == "analyze"


def test_training_is_followed_live(show: Show, served: Served, made: Made) -> None:
    made.covered, made.recorded, made.kept = {}, 0, 0
    made.reached = False
    page = show()
    assert all("Not trained yet" in text for text in states(page))
    assert page.locator(".tdw-range").is_disabled()
    served.jobs["made"] = {"kind": "train", "done": 0, "total": 1100, "epochs_per_second": 78.2, "seconds_left": 14}
    made.recorded, made.kept = 251, 3
    served.changed()
    page.wait_for_function("window.tdw.painted === 2")
    assert "training 250 / 1\u202f100 · 78.2 epochs/s · 14 s left" in page.locator(".tdw-doc").inner_text()
    assert probe(page, "loss", 200)["range"]["x"][1] >= 250
    assert any("Analyze this run when training" in text for text in states(page))
    made.recorded, made.kept = 451, 5
    served.changed()
    page.wait_for_function("window.tdw.painted === 4")  # the newest checkpoint stays the newest
    page.wait_for_function("window.tdw.probe('neuron_activations', 2, 0, 0).drawn === 4")
    assert len(probe(page, "loss", 0)["shown"][0]["x"]) == 451
    go(page, 1)
    made.recorded, made.kept = 651, 7
    served.changed()
    page.wait_for_function("window.tdw.count === 7")
    assert page.evaluate("[window.tdw.index, window.tdw.painted]") == [1, 1]
    # arrays that only grew are asked for from where they end
    assert any("losses/train" in path and "from=451" in path for path in served.requests)
    for index in (1, 4, 6):  # rows that came at different times
        go(page, index)
        page.wait_for_function(f"window.tdw.probe('neuron_activations', 2, 0, 0).drawn === {index}")
        exact = brute_force(made.weights[index], 2)
        found = np.array(page.evaluate("window.tdw.panel('neuron_activations').map(2)"))
        np.testing.assert_allclose(found.reshape(exact.shape), exact, rtol=1e-5, atol=1e-5)
    assert any("/scores?from=5" in path for path in served.requests)
    assert any("/neurons?" in path and "from=5" in path for path in served.requests)


def test_a_step_taken_while_news_are_fetched_is_not_taken_back(show: Show, served: Served, made: Made) -> None:
    made.recorded, made.kept = 451, 5
    page = show()
    assert page.evaluate("window.tdw.painted") == 4  # the newest
    held: list[Any] = []
    page.route("**/manifest", lambda route: held.append(route))  # noqa: PLW0108 (Playwright looks for its signature)
    made.recorded, made.kept = 651, 7
    with page.expect_request("**/manifest"):
        served.changed()
    go(page, 1)
    held[0].continue_()
    page.wait_for_function("window.tdw.count === 7")
    assert page.evaluate("window.tdw.index") == 1


def test_a_run_without_checkpoints_shows_its_losses(show: Show, made: Made) -> None:
    made.kept, made.covered = 0, {}
    page = show()
    assert page.evaluate("[window.tdw.count, window.tdw.painted]") == [0, -1]
    assert states(page) == []
    assert page.locator(".tdw-card h3").all_inner_texts() == ["Loss"]
    assert len(probe(page, "loss", 0)["shown"][0]["x"]) == 1101
    card, grid = (page.locator(part).bounding_box() for part in (".tdw-card", ".tdw-cards"))
    assert card["width"] > grid["width"] - 30, "it has the whole page"
    assert card["height"] > grid["height"] - 30


def test_a_refused_file_is_a_sentence_and_text_is_text(show: Show, served: Served) -> None:
    served.refusal = "run.tdw is <b>damaged</b>: checkpoint 3 does not match its checksum"
    page = show()
    blank = page.locator(".tdw-blank")
    assert "This file cannot be shown" in blank.inner_text()
    assert served.refusal in blank.inner_text()
    assert blank.locator("b").count() == 0


def test_names_from_a_file_are_never_html(show: Show, made: Made) -> None:
    made.path = made.path.with_name("<img src=x onerror=alert(1)>.tdw")
    page = show()
    assert page.locator(".tdw-file").inner_text() == made.path.name
    assert page.locator(".tdw-viewer img").count() == 0


def test_notes_stand_in_the_bar(show: Show, served: Served, made: Made) -> None:
    page = show()
    assert page.locator(".tdw-title, .tdw-remarked").count() == 0
    assert page.locator(".tdw-tags").is_hidden()
    made.notes = Notes(tags=["p11"], remark="first\nsecond")
    made.revisions += 1
    served.changed()
    page.wait_for_selector(".tdw-tag >> text=p11")
    assert (
        page.locator(".tdw-file.tdw-remarked").get_attribute("title")
        == f"{made.path.name}\n\ntags: p11\n\nfirst\nsecond"
    )
    made.notes = Notes(title="The clock", tags=["a", "b", "c", "d"], remark="why")
    made.revisions += 1
    served.changed()
    page.wait_for_selector(".tdw-title.tdw-remarked >> text=The clock")
    assert page.locator(".tdw-title").get_attribute("title") == "The clock\n\ntags: a, b, c, d\n\nwhy"
    assert page.locator(".tdw-tag").all_inner_texts() == ["a", "b", "+2"]
    assert page.locator(".tdw-remarked").count() == 1


@pytest.mark.parametrize("width", [1280, 900])
def test_the_longest_notes_take_nothing_from_the_bar(show: Show, served: Served, made: Made, width: int) -> None:
    made.notes = Notes(title="Long title " * 11, tags=["a tag as long as a tag may be, 40 letters"] * 12, remark="r")
    made.recorded = 500
    page = show()
    page.set_viewport_size({"width": width, "height": 800})
    served.jobs["made"] = {"kind": "train", "epochs_per_second": 59.3, "seconds_left": 3500, "done": 500, "total": 1100}
    served.changed()
    page.wait_for_selector(".tdw-status .tdw-progress")
    bar = page.evaluate(
        """() => { const bar = document.querySelector(".tdw-doc"); const right = bar.getBoundingClientRect().right;
        return { over: bar.scrollWidth - bar.clientWidth, high: bar.scrollHeight - bar.clientHeight,
          out: [...bar.querySelectorAll(":scope > *")].filter((node) => node.getBoundingClientRect().right > right).map((node) => node.className),
          file: document.querySelector(".tdw-file").scrollWidth - document.querySelector(".tdw-file").clientWidth,
          title: document.querySelector(".tdw-title").clientWidth, status: document.querySelector(".tdw-status").innerText }; }"""
    )
    assert bar["over"] <= 0
    assert bar["high"] <= 0
    assert bar["out"] == []
    assert bar["file"] <= 0, "the name of the file stays whole"
    assert bar["title"] > 80
    assert "training" in bar["status"]


def test_a_lost_server_is_said_and_found_again(page: Any, made: Made) -> None:
    server = Served(made=made)
    port = server.server.server_address[1]
    page.goto(server.page())
    page.evaluate("window.tdw.ready")
    server.close()
    page.wait_for_function("document.querySelector('.tdw-doc').textContent.includes('server offline')", timeout=15000)
    go(page, 2)
    assert probe(page, "neuron_activations", 2, 0, 0)["drawn"] == 2, "what is loaded can still be explored"
    again = Served(port=port, made=made)
    try:
        page.wait_for_function(
            "!document.querySelector('.tdw-doc').textContent.includes('server offline')", timeout=15000
        )
    finally:
        again.close()


def test_news_come_as_a_list_of_jobs_and_lines_too(page: Any, served: Served, made: Made) -> None:
    """What the window's shell passes on: one message for all jobs, and whether the server answers."""
    page.goto(served.page("", events=False))
    page.wait_for_function("window.tdw !== undefined")
    page.evaluate(
        """() => {
          window.news = new EventTarget();
          window.tell = (message) => news.dispatchEvent(new MessageEvent("message", { data: JSON.stringify(message) }));
          window.instance.close();
          window.instance = window.mount(document.getElementById("host"), { base: null, events: news });
          tell({ type: "jobs", jobs: [{ key: "made", kind: "analyze", state: "running", done: 3, total: 12 }] });
          return window.instance.open("/runs/made");
        }"""
    )
    bar = page.locator(".tdw-doc")
    assert "analyzing 3 / 12" in bar.inner_text(), "a job told of before its run was opened"
    page.evaluate(
        "tell({ type: 'jobs', jobs: [{ key: 'made', kind: 'analyze', state: 'finished', done: 12, total: 12 }] })"
    )
    assert "analyzing" not in bar.inner_text()
    page.wait_for_function(
        "!window.tdw.viewer.updates.waiting && !window.tdw.viewer.run.busy"
    )  # the end of a job is looked into
    page.evaluate("tell({ type: 'line', online: false })")
    assert "server offline" in bar.inner_text()
    page.evaluate("tell({ type: 'line', online: true })")
    page.wait_for_function("!document.querySelector('.tdw-doc').textContent.includes('server offline')")


def test_a_mistake_in_one_panel_leaves_the_others(served: Served, browser: Any) -> None:
    page = browser.new_page()  # not the fixture, which fails on the very error that is expected here
    thrown: list[str] = []
    page.on("pageerror", lambda error: thrown.append(str(error)))
    page.goto(served.page())
    page.wait_for_function("window.tdw !== undefined")
    page.evaluate("window.tdw.ready")
    page.evaluate("window.tdw.panel('embedding_frequencies').draw = () => { throw new Error('planted') }, null")
    go(page, 2)
    assert probe(page, "neuron_frequencies", 1, 0)["value"] == pytest.approx(
        served.runs["made"].series("analysis/neuron_frequencies/share")[2, 0, 0]
    )
    assert "This panel failed" in states(page)[0]
    assert any("planted" in text for text in thrown)
    page.close()
