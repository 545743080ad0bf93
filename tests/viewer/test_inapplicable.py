"""What the views say of runs that a panel is not for, of what is not there yet, and of what comes while one looks."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from tdw import panels
from tdw.panels.registry import VIEWS
from tdw.panels.spec import GridSpec
from tdw.project.records import ImportedFrom
from tests.viewer.conftest import go, probe
from tests.viewer.looking import choose, menu, state_of
from tests.viewer.serving import Served
from tests.viewer.synthetic import Made

pytestmark = pytest.mark.browser

Show = Callable[..., Any]


@pytest.fixture
def made() -> Made:
    """A run of which everything is analyzed that makes sense for it."""
    return Made(everything=True)


# ---- what does not fit -----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("settings", "view", "title", "reason"),
    [
        ({}, "Algorithm", "Phase alignment", "needs a one-hot MLP"),
        ({"network": "one-hot"}, "Attention", "Attention", "A one-hot MLP has no attention."),
        ({"task": "x2+y2"}, "Logits", "Logit frequencies", "additive task"),
        ({"p": 2, "checkpoints": 2}, "Algorithm", "Distance irrelevance", "It needs an odd modulus; p = 2."),
    ],
)
def test_a_panel_that_makes_no_sense_says_why(
    show: Show, served: Served, settings: dict[str, Any], view: str, title: str, reason: str
) -> None:
    served.runs["made"] = Made(everything=True, **{"d_mlp": 12, "checkpoints": 3, **settings})
    page = show()
    choose(page, view)
    assert reason in state_of(page, title)
    card = page.locator(".tdw-card", has=page.get_by_role("heading", name=title, exact=True))
    assert card.get_by_role("button").locator("visible=true").count() == 0, "there is nothing to press"
    go(page, 0)


def test_a_run_whose_split_nobody_knows_says_so_where_it_matters(show: Show, made: Made) -> None:
    made.imported = ImportedFrom(
        source="x.pt", form="weights", inferred=[], converted=[], contradicted=[], unknown=[], resumable=False
    )
    made._arrays["analysis/loss/loss"][:, 1:] = np.nan
    made._arrays["analysis/restricted_loss/loss"][..., 1:] = np.nan
    made._arrays["analysis/excluded_loss/alone"][:] = np.nan
    page = show()
    choose(page, "Losses")
    assert "The train/test split of this run is unknown" in state_of(page, "Excluded loss")
    assert "The train/test split of this run is unknown" in state_of(page, "Excluded loss over training")
    go(page, 8)
    loss = made.series("analysis/restricted_loss/loss")
    assert probe(page, "restricted_loss", 800)["values"] == pytest.approx(loss[8, 0, 0, :, 0].tolist())
    menu(page, "Restricted loss", "train pairs")
    assert "Choose “all pairs” in the menu" in state_of(page, "Restricted loss")
    menu(page, "Restricted loss", "all pairs")
    choose(page, "Run")
    assert probe(page, "checkpoint_loss", 800)["labels"] == ["all"]


def test_a_run_of_losses_only_has_no_card_that_needs_weights(show: Show, made: Made) -> None:
    made.kept, made.covered = 0, {}
    page = show()
    assert page.get_by_role("tab").all_inner_texts() == ["Overview", "Run"]
    choose(page, "Run")
    assert page.locator(".tdw-card h3").all_inner_texts() == ["Events"]
    assert probe(page, "events", 0)["text"] == "220 … 374"


def test_a_run_that_is_not_finished_keeps_its_cards(show: Show, made: Made) -> None:
    made.kept, made.covered, made.recorded = 0, {}, 200
    page = show()
    assert page.get_by_role("tab").all_inner_texts() == list(VIEWS)
    assert "Losses only" in page.locator(".tdw-card").nth(1).inner_text()


def test_nothing_is_filled_in_where_no_checkpoint_was_kept(show: Show, made: Made) -> None:
    later = [500 + 40 * i for i in range(12)]
    made._epochs = later
    for name in made._arrays:
        if name.endswith("/epoch") and "graduation" not in name:
            made._arrays[name][:] = later
    page = show()
    choose(page, "Frequencies")
    painted = page.evaluate(
        """epochs => { const { frame } = window.tdw.panel("frequency_history");
        return epochs.map((epoch) => frame.context.getImageData(Math.round(frame.px(epoch) * frame.ratio), 20, 1, 1).data[3]); }""",
        [20, 250, 470, 500, 510, 700, 940, 970, 1080],
    )
    assert painted == [0, 0, 0, 255, 255, 255, 255, 0, 0]


def test_one_checkpoint_is_neither_path_nor_speed(show: Show, made: Made) -> None:
    made.kept = 1
    whole = {name for name, rows in made.covered.items() if rows == 1}
    made.covered = dict.fromkeys(made.covered, 1)
    made._arrays["analysis/weight_trajectory/position"] = np.zeros((1, 4, 1, 3), np.float32)
    made._arrays["analysis/weight_trajectory/speed"] = np.full((1, 1), np.nan)
    assert "weight_trajectory" in whole
    page = show()
    choose(page, "Weights")
    assert state_of(page, "Weight trajectory").startswith("One point only")
    assert "only one" in state_of(page, "Weight speed")
    assert probe(page, "weight_norms", 0)["values"][0] == pytest.approx(
        float(made.series("analysis/weight_norms/total")[0])
    )


def test_not_analyzed_yet_and_results_of_another_shape(show: Show, made: Made) -> None:
    del made.covered["margin"]
    made.old_version = {"restricted_loss", "sparsity"}
    made._arrays["analysis/restricted_loss/loss"] = np.zeros((12, 5, 3))
    page = show()
    choose(page, "Algorithm")
    assert state_of(page, "Margin").startswith("Not analyzed yet")
    choose(page, "Losses")
    assert state_of(page, "Restricted loss").startswith(
        "Results are out of date\n\nComputed by version 0 of restricted_loss"
    )
    choose(page, "Frequencies")
    assert page.locator(".tdw-flag:visible").all_inner_texts() == ["stale"]
    assert probe(page, "sparsity", 0)["values"][0] is not None


def test_names_from_a_file_are_shown_as_text(show: Show, made: Made) -> None:
    evil = ["<img src=x onerror=alert(1)>", "\u202eevil", "a" * 300, "<a href='https://x.org'>b</a>"]
    found = made.analyses()
    found["restricted_loss"].parameters["variants"] = evil
    found["key_frequencies"].parameters["rules"] = evil
    made.analyses = lambda: found  # type: ignore[method-assign]
    shown = [evil[0], "‹U+202E›evil", "a" * 31 + "…", evil[3]]
    page = show()
    choose(page, "Losses")
    labels = page.locator(".tdw-card").nth(1).locator(".tdw-line-label").all_text_contents()
    assert labels == shown
    page.get_by_role("button", name="Progress losses: options").click()
    assert "‹U+202E›evil" in page.locator(".tdw-menu").inner_text()
    choose(page, "Frequencies")
    ticks = page.locator(".tdw-card").nth(2).locator(".ytick text").all_text_contents()
    assert ticks == shown
    assert page.locator(".tdw-viewer img, .tdw-viewer a").count() == 0
    heat = panels.figure(made, "key_frequencies", 1100).data[0]  # type: ignore[arg-type]
    assert heat.y[3] == "&lt;a href='https://x.org'&gt;b&lt;/a&gt;"
    title = panels.figure(made, "restricted_loss", 1100, rule=evil[0]).layout.title.text  # type: ignore[arg-type]
    assert "(by &lt;img src=x onerror=alert(1)&gt; · " in title
    found["key_frequencies"].parameters["rules"] = ["same"] * 4
    described = panels.describe(made)  # type: ignore[arg-type]
    spec = next(panel.spec for panel in described if panel.header.name == "key_frequencies")
    assert isinstance(spec, GridSpec)
    assert spec.choices["rule"].options[0] == "logit_cosine", "names that are not distinct are not used"


def test_a_view_chosen_while_the_server_is_lost_is_filled_when_it_is_back(page: Any, made: Made) -> None:
    server = Served(made=made)
    port = server.server.server_address[1]
    page.goto(server.page())
    page.evaluate("window.tdw.ready")
    server.close()
    page.wait_for_function("document.querySelector('.tdw-doc').textContent.includes('server offline')", timeout=15000)
    choose(page, "Algorithm")
    assert state_of(page, "Margin").startswith("Not loaded")
    again = Served(port=port, made=made)
    try:
        page.wait_for_function("window.tdw.probe('margin', 0).values?.[0] !== undefined", timeout=15000)
        page.wait_for_function("document.querySelector('.tdw-state:not([hidden])')?.textContent.includes('one-hot')")
        least = made.series("analysis/margin/minimum")
        assert probe(page, "margin", 1100)["values"][2] == pytest.approx(float(least[11]))
    finally:
        again.close()


@pytest.mark.parametrize("factor", [1e6, 1e-7, 1e25], ids="{:g}".format)
def test_numbers_of_any_size_find_replacement_path_their_axis(show: Show, made: Made, factor: float) -> None:
    made._arrays["analysis/unembedding_frequencies/norms"] = (
        made.series("analysis/unembedding_frequencies/norms") * factor
    )
    page = show()
    choose(page, "Frequencies")
    card = page.locator(".tdw-card").nth(1)
    assert "Unembedding frequencies" in card.inner_text()
    left = card.bounding_box()["x"]
    ticks = [tick for tick in card.locator(".ytick text").all() if tick.text_content() != "0"]
    assert len(ticks) >= 2
    plain = str.maketrans("⁰¹²³⁴⁵⁶⁷⁸⁹⁻−", "0123456789--")
    values = [float(tick.text_content().replace("·10", "e").translate(plain)) for tick in ticks]
    most = float(made.series("analysis/unembedding_frequencies/norms")[-1].max())
    assert most / 10 < max(values) <= 2 * most
    assert len(set(values)) == len(values)
    assert min(tick.bounding_box()["x"] for tick in ticks) > left


# ---- a run that grows ------------------------------------------------------------------------------------------


def test_a_view_grows_with_its_run(show: Show, served: Served, made: Made) -> None:
    everywhere = dict(made.covered)
    made.recorded, made.kept = 501, 6
    made.covered = {name: 6 for name in everywhere if f"analysis/{name}/epoch" in made._arrays and everywhere[name] > 1}
    page = show()
    choose(page, "Logits")
    choose(page, "Neurons")
    assert page.evaluate("window.tdw.painted") == 5
    served.requests.clear()
    made.recorded, made.kept = 801, 9
    made.covered = dict.fromkeys(made.covered, 9)
    served.changed()
    page.wait_for_function("window.tdw.painted === 8")
    count = made.series("analysis/neuron_clusters/count")
    assert [probe(page, "neuron_clusters", k, 8)["value"] for k in range(5)] == count[8].tolist()
    assert any("neuron_clusters/count" in path and "from=6" in path for path in served.requests)
    assert not any("logit" in path for path in served.requests), "a view that is not looked at waits"
    choose(page, "Logits")
    assert any("logit_frequencies/cosine" in path and "from=6" in path for path in served.requests)
    cosine = made.series("analysis/logit_frequencies/cosine")
    assert probe(page, "logit_frequencies", 2)["value"] == pytest.approx(float(cosine[8, 2]))
