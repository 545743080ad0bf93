"""An answer that is refused, or does not come, is said where it is missing, and asked for again."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable
from typing import Any

import pytest

from tests.viewer.conftest import go, probe
from tests.viewer.looking import choose, state_of
from tests.viewer.serving import Served
from tests.viewer.synthetic import Made

pytestmark = pytest.mark.browser

Show = Callable[..., Any]
SENTENCE = "run.tdw is damaged: its <b>bytes</b> are others"


def refuse(page: Any, path: str) -> Counter[str]:
    """Refuse what is asked for at these addresses; returns how often each was, counted as it happens."""
    refused: Counter[str] = Counter()

    def answer(route: Any) -> None:
        refused[route.request.url] += 1
        route.fulfill(status=409, body=json.dumps({"error": SENTENCE}))

    page.route(path, answer)
    return refused


def drawn(page: Any, neuron: int = 2) -> None:
    page.wait_for_function(f"tdw.probe('neuron_activations', {neuron}, 0, 0).drawn === tdw.index")


@pytest.mark.parametrize("what", ["neurons", "scores"])
def test_neurons_that_are_refused_say_so_and_are_asked_for_again(
    page: Any, served: Served, made: Made, what: str
) -> None:
    refuse(page, f"**/{what}*")
    page.goto(served.page())
    page.wait_for_selector(".tdw-state:visible")
    assert state_of(page, "Neurons").split("\n")[:1] == ["Not loaded"]
    assert SENTENCE in state_of(page, "Neurons")
    assert page.locator(".tdw-state:visible").count() == 1
    go(page, 3)
    assert SENTENCE in state_of(page, "Neurons")
    page.unroute(f"**/{what}*")
    made.revisions += 1
    served.changed()
    drawn(page)
    assert page.locator(".tdw-state:visible").count() == 0


def test_neurons_that_are_refused_are_asked_for_again_by_hand(page: Any, served: Served) -> None:
    refused = refuse(page, "**/neurons*")
    page.goto(served.page())
    page.wait_for_selector(".tdw-state:visible")
    while min(refused.values()) < 2:  # the page itself tries once more, in case the file was being changed
        page.wait_for_timeout(50)
    page.unroute("**/neurons*")
    page.get_by_role("button", name="Try again").click()
    drawn(page)
    assert page.locator(".tdw-state:visible").count() == 0


def test_an_answer_of_too_few_checkpoints_is_no_empty_frame(page: Any, served: Served) -> None:
    width = 4 * (1 + 2 * 4 * 11) * 24
    page.route("**/neurons*", lambda route: route.fulfill(body=bytes(3 * width)))
    page.goto(served.page())
    page.wait_for_selector(".tdw-state:visible")
    assert "The server sent 3 of 12 checkpoints" in state_of(page, "Neurons")


def test_what_is_drawn_stays_when_newer_rows_are_refused(show: Show, served: Served, made: Made) -> None:
    made.recorded, made.kept = 451, 5
    page = show()
    go(page, 1)
    refuse(page, "**/neurons*")
    made.recorded, made.kept = 651, 7
    served.changed()
    page.wait_for_function("tdw.panel('neuron_activations').refusal")
    go(page, 2)
    assert probe(page, "neuron_activations", 2, 0, 0)["drawn"] == 2
    assert page.locator(".tdw-state:visible").count() == 0
    go(page, 6)
    assert SENTENCE in state_of(page, "Neurons")


def test_an_array_that_is_refused_leaves_the_others(page: Any, served: Served, made: Made) -> None:
    refuse(page, "**/array/analysis/embedding_frequencies/*")
    page.goto(served.page())
    page.wait_for_function("window.tdw?.count > 0 && tdw.painted === tdw.index")
    drawn(page)
    assert SENTENCE in state_of(page, "Embedding frequencies")
    assert page.locator(".tdw-state:visible").count() == 1
    assert page.locator(".tdw-state b").count() == 0, "text is text"
    choose(page, "Overview")
    page.unroute("**/array/analysis/embedding_frequencies/*")
    made.revisions += 1
    served.changed()
    page.wait_for_function("!document.querySelector('.tdw-state:not([hidden])')")
    assert probe(page, "embedding_frequencies", 3)["value"] > 0


def test_a_summary_that_is_refused_takes_no_maps_away(page: Any, served: Served) -> None:
    refuse(page, "**/array/analysis/neuron_summary/share*")
    page.goto(served.page())
    page.wait_for_function("window.tdw?.count > 0 && tdw.painted === tdw.index")
    drawn(page)
    flag = page.locator(".tdw-card", has=page.get_by_role("heading", name="Neurons", exact=True)).locator(".tdw-flag")
    assert flag.inner_text() == "not loaded"
    assert SENTENCE in flag.get_attribute("title")
    page.unroute("**/array/analysis/neuron_summary/share*")
    flag.click()
    flag.wait_for(state="hidden")


@pytest.mark.parametrize("by_hand", [True, False])
def test_a_file_that_cannot_be_read_now_is_said_until_it_can(
    show: Show, served: Served, made: Made, by_hand: bool
) -> None:
    page = show()
    served.refusal = SENTENCE
    made.revisions += 1
    served.changed()
    chip = page.get_by_role("button", name="file cannot be read now")
    chip.wait_for()
    assert SENTENCE in chip.get_attribute("title")
    go(page, 2)
    assert probe(page, "neuron_activations", 2, 0, 0)["drawn"] == 2
    if by_hand:
        for _ in range(3):  # each refusal doubles the time until the page itself asks again, which must not come first
            with page.expect_response("**/manifest*"):
                chip.click()
    served.refusal = None
    if by_hand:
        chip.click()
    chip.wait_for(state="detached")  # nothing is told: the page asks by itself
    assert page.evaluate("tdw.revision") == made.revision


def test_a_file_that_was_refused_at_first_is_opened_by_hand(show: Show, served: Served) -> None:
    served.refusal = SENTENCE
    page = show()
    assert SENTENCE in page.locator(".tdw-blank").inner_text()
    served.refusal = None
    page.get_by_role("button", name="Try again").click()
    page.wait_for_function("tdw.count === 12 && tdw.painted === 11")


def test_a_file_that_is_lost_and_the_same_again_is_shown_again(show: Show, served: Served, made: Made) -> None:
    page = show()
    served.tell({"type": "run", "key": "made", "state": "lost", "error": "it is not there any more"})
    chip = page.get_by_role("button", name="file cannot be read now")
    chip.wait_for()
    assert "it is not there any more" in chip.get_attribute("title")
    served.changed()  # with the revision that it had
    chip.wait_for(state="detached")


def test_another_run_at_the_same_address_is_rebuilt(show: Show, served: Served, made: Made) -> None:
    page = show()
    go(page, 9)
    page.evaluate("tdw.pin(3, 20)")
    other = Made(p=7, d_mlp=8, checkpoints=6)
    other.id, other.revisions = "another", 1
    served.runs["made"] = other
    served.changed()
    notice = page.locator(".tdw-notice:visible")
    notice.wait_for()
    assert "was replaced by another run, shown now." in notice.inner_text()
    assert page.evaluate("[tdw.count, tdw.index, tdw.painted, tdw.pins]") == [6, 5, 5, [3]]
    assert page.evaluate("tdw.panel('neuron_activations').p") == 7
    page.evaluate("window.instance.open(null)")
    assert page.locator(".tdw-notice:visible").count() == 0
