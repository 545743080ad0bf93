"""Views with more panels than fit: they scroll, and only what is near the viewport is built and fetched."""

from __future__ import annotations

from collections.abc import Callable
from types import FunctionType
from typing import Any

import pytest

from tdw.panels import registry
from tdw.panels.spec import CurveSpec, Line, Quantity
from tests.viewer.conftest import go, probe
from tests.viewer.serving import Served
from tests.viewer.synthetic import Made
from tests.viewer.test_views import asked

pytestmark = pytest.mark.browser

Show = Callable[..., Any]
EXTRA = ("margin/mean", "loss/loss", "weight_norms/total", "sparsity/embedding_gini", "distance_irrelevance/value")


@pytest.fixture
def made() -> Made:
    return Made(everything=True)


@pytest.fixture
def extra(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Five more panels in the first view, each of an array of its own: nine in all."""
    monkeypatch.setattr(registry, "PANELS", dict(registry.PANELS))
    arrays = []
    for number, array in enumerate(EXTRA):
        name = f"analysis/{array}"
        arrays.append(name)

        def describe(_project: object, name: str = name) -> CurveSpec:
            axes = (0,) if name.endswith("loss/loss") else ()
            return CurveSpec(quantities=(Quantity(title="Extra", axis="number", lines=(Line(array=name, axes=axes),)),))

        declared = FunctionType(describe.__code__, describe.__globals__, f"extra_{number}", (name,))
        analysis = array.split("/")[0]
        registry.panel(CurveSpec, view="Overview", title=f"Extra {number}", analysis=analysis)(declared)
    return arrays


def test_more_panels_scroll_and_are_built_and_fetched_when_they_come_near(
    show: Show, served: Served, made: Made, extra: list[str]
) -> None:
    page = show()
    cards = page.locator(".tdw-card")
    assert cards.count() == 9
    heights = [card.bounding_box()["height"] for card in cards.all()]
    assert max(heights) - min(heights) < 1, "all cards are of one size, two rows of which fit"
    assert page.evaluate("document.documentElement.scrollHeight") <= 800, "the cards scroll, not the page"
    assert asked(served) & set(extra) == set(extra[:2]), "a third row is near, a fourth and a fifth are not"
    assert probe(page, "extra_0", 300)["values"] == pytest.approx([made.series(extra[0])[3]])
    with pytest.raises(Exception, match="the panel extra_4 is not drawn"):
        probe(page, "extra_4", 300)
    before = len(served.requests)
    cards.nth(8).scroll_into_view_if_needed()
    page.wait_for_function("window.tdw.viewer.grid.entries[8].panel !== null")
    page.evaluate("window.tdw.ready")
    assert asked(served, before) & set(extra) == set(extra[2:])
    go(page, 7)
    for number in (2, 3, 4):
        found = probe(page, f"extra_{number}", made.checkpoints[7])
        assert found["values"] == pytest.approx([made.series(extra[number])[7]])
        assert found["marker"] == pytest.approx(found["x"], abs=0.01)
    assert cards.nth(8).locator(".tdw-state:visible").count() == 0
    before = len(served.requests)
    page.evaluate("document.querySelector('.tdw-cards').scrollTop = 0")
    page.wait_for_function("window.tdw.viewer.grid.entries[8].isNear === false")
    for index in (2, 9):
        go(page, index)
    assert probe(page, "loss", 0)["marker"] == pytest.approx(probe(page, "loss", made.checkpoints[9])["x"], abs=0.01)
    assert served.requests[before:] == []


def test_focus_brings_a_card_into_sight_and_builds_it(show: Show, extra: list[str]) -> None:
    page = show()
    page.get_by_role("button", name="Extra 4: options").focus()
    page.wait_for_function("window.tdw.viewer.grid.entries[8].panel !== null")
    page.evaluate("window.tdw.ready")
    page.keyboard.press("Enter")
    assert page.get_by_role("menuitemradio", name="Linear").count() == 1
