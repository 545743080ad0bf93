"""The synchronized page in a real browser, over a made-up run whose numbers are known."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from tdw.recorded import RECORDED_NAN
from tests.viewer.conftest import go, press, probe
from tests.viewer.looking import assert_color, drag, overlay, plotly_range, token
from tests.viewer.serving import Served
from tests.viewer.synthetic import Made, brute_force

pytestmark = pytest.mark.browser

Show = Callable[..., Any]


# ---- the transport ---------------------------------------------------------------------------------------------


def test_keys_move_every_panel(show: Show, made: Made) -> None:
    page = show()
    last = len(made.checkpoints) - 1
    assert page.evaluate("window.tdw.index") == last
    press(page, "Home", 0)
    steps = [
        ("ArrowRight", 1),
        ("ArrowRight", 2),
        ("Shift+ArrowRight", last),
        ("ArrowLeft", last - 1),
        ("Shift+ArrowLeft", 0),
    ]
    for key, expected in [*steps, ("End", last), ("ArrowRight", last)]:
        press(page, key, expected)
        epoch = made.checkpoints[expected]
        loss = probe(page, "loss", epoch)
        assert loss["marker"] == pytest.approx(loss["x"], abs=0.01)
        norms = made.series("analysis/embedding_frequencies/norms")
        assert probe(page, "embedding_frequencies", 3)["value"] == pytest.approx(norms[expected, 3])
        neuron = probe(page, "neuron_activations", 2, 4, 7)
        assert neuron["drawn"] == expected
        assert neuron["value"] == pytest.approx(brute_force(made.weights[expected], 2)[4, 7], rel=1e-4, abs=1e-5)
        share = made.series("analysis/neuron_frequencies/share")
        assert probe(page, "neuron_frequencies", 2, 5)["value"] == pytest.approx(share[expected, 1, 5])
        assert page.locator(".tdw-where").inner_text().endswith(f"checkpoint {expected + 1} / {last + 1}")
        assert page.locator(".tdw-epoch").input_value().replace("\u202f", "") == str(epoch)
        assert page.locator(".tdw-range").get_attribute("aria-valuetext") == (
            f"epoch {epoch}, checkpoint {expected + 1} of {last + 1}"
        )


def test_after_a_click_on_a_tab_the_keys_move_the_checkpoints(show: Show, made: Made) -> None:
    page = show()
    page.get_by_role("tab", name="Neurons").click()
    press(page, "ArrowLeft", len(made.checkpoints) - 2)
    press(page, "Home", 0)
    page.keyboard.press(" ")
    page.wait_for_function("window.tdw.painted === window.tdw.count - 1")
    assert page.locator("[role=tab][aria-selected=true]").inner_text() == "Neurons"
    # Who comes to a tab by keyboard stays in the row of tabs.
    page.locator("[role=tab][aria-selected=true]").focus()
    page.keyboard.press("Enter")
    page.keyboard.press("Home")
    assert page.locator("[role=tab][aria-selected=true]").inner_text() == "Overview"
    page.keyboard.press("ArrowRight")
    assert page.locator("[role=tab][aria-selected=true]").inner_text() == "Frequencies"
    assert page.evaluate("window.tdw.index") == len(made.checkpoints) - 1


def test_the_slider_is_a_real_range_input_over_epochs(show: Show, made: Made) -> None:
    page = show()
    box = page.locator(".tdw-range").bounding_box()
    page.mouse.click(box["x"] + 8 + (box["width"] - 16) * 0.46, box["y"] + box["height"] / 2)
    page.wait_for_function("window.tdw.painted === 5")  # 0.46 of 1100 is 506: checkpoint 500
    assert float(page.locator(".tdw-range").input_value()) == 500
    page.locator(".tdw-range").focus()
    press(page, "ArrowRight", 6)
    press(page, "PageDown", 0)


def test_a_typed_epoch_goes_to_the_nearest_checkpoint(show: Show) -> None:
    page = show()
    box = page.locator(".tdw-epoch")
    box.fill("640")
    box.press("Enter")
    page.wait_for_function("window.tdw.painted === 6")
    box.fill("1 049")
    box.press("Enter")
    page.wait_for_function("window.tdw.painted === 10")
    box.fill("soon")
    box.press("Enter")
    assert box.get_attribute("aria-invalid") == "true"
    assert "The epoch must be a number from 0 to 1100 (got “" in page.locator(".tdw-toast").inner_text()
    assert page.evaluate("window.tdw.index") == 10
    box.press("ArrowLeft")  # moves the caret, not the checkpoint
    box.press("Escape")
    assert box.input_value().replace("\u202f", "") == "1000"
    assert page.evaluate("window.tdw.index") == 10


def test_space_plays_to_the_end_and_stops(show: Show, made: Made) -> None:
    page = show()
    press(page, "Home", 0)
    page.keyboard.press(" ")
    assert page.locator(".tdw-play").get_attribute("aria-label") == "Pause"
    page.wait_for_function("window.tdw.painted === window.tdw.count - 1")
    page.wait_for_function("document.querySelector('.tdw-play').getAttribute('aria-label') === 'Play'")


def test_what_a_card_says_is_not_cut_in_a_common_window(show: Show) -> None:
    page = show()
    page.set_viewport_size({"width": 1440, "height": 900})
    cut = "nodes => nodes.filter(n => n.scrollWidth > n.clientWidth || n.scrollHeight > n.clientHeight).map(n => n.innerText)"
    for view in page.get_by_role("tab").all_inner_texts():
        page.evaluate("view => window.tdw.choose(view)", view)
        assert page.locator(".tdw-reading").evaluate_all(cut) == [], view


# ---- loss ------------------------------------------------------------------------------------------------------


def test_a_click_on_the_curve_jumps_and_a_drag_zooms(show: Show, made: Made) -> None:
    page = show()
    box = overlay(page, 0)
    page.mouse.click(box["x"] + box["width"] * 0.28, box["y"] + 40)  # epoch 308
    page.wait_for_function("window.tdw.painted === 3")
    before = probe(page, "loss", 300)["range"]
    drag(page, (box["x"] + box["width"] * 0.2, box["y"] + 30), (box["x"] + box["width"] * 0.6, box["y"] + 200))
    page.wait_for_function("before => window.tdw.probe('loss', 0).range.x[1] < before", arg=before["x"][1])
    zoomed = probe(page, "loss", 300)["range"]
    assert zoomed["x"] == pytest.approx([0.2 * 1100, 0.6 * 1100], abs=6)
    assert page.evaluate("window.tdw.index") == 3, "a drag is no click"
    press(page, "ArrowRight", 4)
    assert probe(page, "loss", 400)["range"] == zoomed == plotly_range(page, "loss")
    loss = probe(page, "loss", 400)
    assert loss["marker"] == pytest.approx(loss["x"], abs=0.01)
    page.get_by_role("button", name="reset zoom").first.click()
    assert probe(page, "loss", 400)["range"] == before


def test_thinning_keeps_spikes_and_says_so(page: Any, served: Served, made: Made) -> None:
    made.planned_epochs, made.recorded = 20_000, 20_001
    rng = np.random.default_rng(0)
    train = 10 ** rng.uniform(-6, -5, 20_001)
    train[12_345] = 3.0  # one epoch
    train[777] = 1e-9
    made._losses["losses/train"] = train
    made._losses["losses/test"] = np.where(np.arange(20_001) % 10 == 0, 0.5, np.nan)
    page.goto(served.page())
    page.evaluate("window.tdw.ready")
    found = probe(page, "loss", 0)
    shown = found["shown"][0]
    assert len(shown["x"]) < 4000
    points = dict(zip(shown["x"], shown["y"], strict=True))
    assert points[12_345] == 3.0
    assert points[777] == 1e-9
    assert shown["x"] == sorted(shown["x"])
    assert re.search(r"\b\d\d epochs per pixel$", page.locator(".tdw-reading").first.inner_text())
    # NaN between evaluations: neighbors are connected, nothing is drawn as zero or as a gap
    test = found["shown"][1]
    assert set(test["y"]) == {0.5}
    assert all(x % 10 == 0 for x in test["x"])
    box = overlay(page, 0)
    drag(page, (box["x"] + box["width"] * 0.6, box["y"] + 5), (box["x"] + box["width"] * 0.67, box["y"] + 200))
    page.wait_for_function("window.tdw.probe('loss', 0).per === 1")  # zoomed in, every epoch is there again
    inside = list(probe(page, "loss", 0)["shown"][0]["x"])
    assert inside == list(range(int(inside[0]), int(inside[-1]) + 1))


def test_loss_can_be_linear_and_accuracy_shown(show: Show) -> None:
    page = show()
    page.get_by_role("button", name="Loss: options").click()
    page.get_by_role("menuitemradio", name="Linear").click()
    assert probe(page, "loss", 0)["range"]["y"][0] == 0
    page.get_by_role("button", name="Loss: options").click()
    page.get_by_role("menuitemradio", name="Accuracy").click()
    assert page.locator(".tdw-card h3").first.inner_text() == "Accuracy"
    assert probe(page, "loss", 0)["range"]["y"] == pytest.approx([0, 1.04])


def test_zeros_infinities_and_epochs_that_were_not_evaluated_are_told_apart(show: Show, made: Made) -> None:
    train, test = 2 / (1 + np.arange(1101.0)), np.full(1101, 0.5)
    train[250:] = 0
    test[600:604] = np.inf
    test[300:330] = np.nan
    test[700:710] = RECORDED_NAN
    made._losses |= {"losses/train": train, "losses/test": test}
    page = show()
    found = probe(page, "loss", 0)
    assert found["off"] == [["0 from epoch 250"], ["∞ at epochs 600–603", "NaN at epochs 700–709"]]
    low = found["range"]["y"][0]
    assert np.log10(train[249]) > low > np.log10(train[249]) - 1, "zeros do not stretch the axis"
    traces = page.evaluate(
        """() => window.tdw.panel("loss").frame.plot.data.map(({ x, y, text, mode, marker }) =>
        ({ x: [...x], y: [...y], text, mode, sizes: marker?.size, symbols: marker?.symbol }))"""
    )
    zeros, name, infinite, other, not_a_number = traces[2:]
    assert zeros["x"][:2] == [249, 250]
    assert zeros["x"][-1] == 1100
    assert low < np.log10(zeros["y"][-1]) < np.log10(train[249]), "at the foot of the plot"
    assert [i for i, size in enumerate(zeros["sizes"]) if size] == [1]
    assert name["text"] == ["train 0 from epoch 250"]
    assert np.log10(max(infinite["y"])) > np.log10(2)
    assert "test ∞ at epochs 600–603" in other["text"][0]
    assert "test NaN at epochs 700–709" in not_a_number["text"][0]
    marks = {x: symbol for x, size, symbol in zip(*map(infinite.get, ("x", "sizes", "symbols")), strict=True) if size}
    assert marks == {600: "triangle-up", 700: "x"}
    drawn = dict(zip(traces[1]["x"], traces[1]["y"], strict=True))
    assert 315 not in drawn, "the line goes on where nothing was recorded"
    assert drawn[699] == 0.5
    assert drawn[705] is None or np.isnan(drawn[705])
    assert page.locator(".tdw-line-label", has_text="train").is_visible()
    assert "-9999" not in found["dots"][0], "the dot at the slider's checkpoint is there"
    assert page.locator(".tdw-reading").first.inner_text().startswith("log · train 0 · test 0.5")
    box = overlay(page, 0)

    def said(epoch: float) -> str:
        page.mouse.move(box["x"] + found["x"] + box["width"] * epoch / found["range"]["x"][1], box["y"] + 30)
        text: str = page.locator(".tdw-tooltip").inner_text()
        return text

    assert "train 0\n" in said(700)
    assert "test ∞" in said(601.5)
    assert "test 0.5 at 299" in said(315)
    assert "test not a number\n" in said(705)
    go(page, 7)
    assert page.locator(".tdw-reading").first.inner_text().startswith("log · train 0 · test NaN")
    page.get_by_role("button", name="Loss: options").click()
    page.get_by_role("menuitemradio", name="Linear").click()
    assert probe(page, "loss", 0)["off"] == [[], ["∞ at epochs 600–603", "NaN at epochs 700–709"]]


# ---- embedding frequencies -------------------------------------------------------------------------------------


def test_bars_are_the_norms_in_the_order_const_cos_sin(show: Show, made: Made) -> None:
    page = show()
    for index in (0, 6, 11):
        go(page, index)
        norms = made.series("analysis/embedding_frequencies/norms")[index]
        for bar in range(made.config.p):
            found = probe(page, "embedding_frequencies", bar)
            assert found["value"] == pytest.approx(norms[bar])
            assert found["height"] == pytest.approx(found["expected"], abs=1)
    page.get_by_role("button", name="Embedding frequencies: options").click()
    page.get_by_role("menuitemradio", name="Per frequency").click()
    norms = made.series("analysis/embedding_frequencies/frequency_norms")[11]
    page.wait_for_function("window.tdw.painted === 11")
    assert probe(page, "embedding_frequencies", 4)["value"] == pytest.approx(norms[4])


def test_even_p_ends_with_one_cosine(page: Any, served: Served) -> None:
    served.runs["even"] = Made(p=10, checkpoints=3)
    page.goto(served.page("even"))
    page.evaluate("window.tdw.ready")
    labels = page.evaluate("window.tdw.panel('embedding_frequencies').shape.labels")
    assert labels[0] == "constant"
    assert labels[1:4] == ["cos 1", "sin 1", "cos 2"]
    assert labels[-2:] == ["sin 4", "cos 5"]
    assert page.evaluate("window.tdw.panel('embedding_frequencies').shape.frequency.at(-1)") == 5


def test_the_threshold_is_dragged_without_asking_anyone(show: Show, served: Served) -> None:
    page = show()
    reading = page.locator(".tdw-reading").nth(1)
    assert "k = 2, 3, 5 above" in reading.inner_text()
    dominant, plain = token("accent"), token("bar")
    assert probe(page, "embedding_frequencies", 3)["pixel"][:3] == list(dominant)
    asked = len(served.requests)
    handle = page.get_by_role("slider", name="Threshold above which a frequency counts as dominant")
    box = handle.bounding_box()
    area = overlay(page, 1)
    drag(page, (box["x"] + 90, box["y"] + 6), (box["x"] + 90, area["y"] + 2))
    page.wait_for_function("document.querySelectorAll('.tdw-reading')[1].textContent.includes('none above')")
    assert probe(page, "embedding_frequencies", 3)["pixel"][:3] == list(plain)
    box = handle.bounding_box()
    drag(page, (box["x"] + 90, box["y"] + 6), (box["x"] + 90, area["y"] + area["height"] - 0.5))
    page.wait_for_function("document.querySelectorAll('.tdw-reading')[1].textContent.includes('all 5 above')")
    value = float(handle.get_attribute("aria-valuenow"))
    handle.press("ArrowUp")
    assert float(handle.get_attribute("aria-valuenow")) > value
    press(page, "ArrowLeft", 10)  # the slider's keys still work while the threshold has the focus
    assert len(served.requests) == asked


def test_labels_of_dominant_bars_neither_touch_nor_leave(page: Any, served: Served) -> None:
    served.runs["many"] = Made(p=59, checkpoints=3)
    page.goto(served.page("many"))
    page.evaluate("window.tdw.ready")
    go(page, 0)
    page.evaluate("window.tdw.panel('embedding_frequencies').move(0.01)")  # everything is dominant
    page.wait_for_function("document.querySelectorAll('.tdw-reading')[1].textContent.includes('all 29')")
    boxes = [item["box"] for item in page.evaluate("window.tdw.panel('embedding_frequencies').labeled")]
    area = overlay(page, 1)
    assert len(boxes) > 5
    for i, a in enumerate(boxes):
        assert a[0] >= -2
        assert a[2] <= area["width"] + 2
        assert a[1] >= 0
        for b in boxes[:i]:
            assert a[0] >= b[2] or b[0] >= a[2] or a[1] >= b[3] or b[1] >= a[3]


# ---- the whole -------------------------------------------------------------------------------------------------


def test_moving_asks_the_server_for_nothing(show: Show, served: Served) -> None:
    page = show()
    page.evaluate("window.tdw.pin(0, 2, 3, 4, 5)")
    for stage in ("thumbnails", "pinned"):
        page.wait_for_load_state("networkidle")
        asked = len(served.requests)
        for index in [*range(12), *range(11, -1, -1)]:
            go(page, index)
        assert served.requests[asked:] == [], stage
        if stage == "thumbnails":
            page.get_by_role("button", name="pinned (5)").click()


def test_nothing_scrolls_at_1280_by_800_and_nothing_is_cut(show: Show) -> None:
    page = show()
    assert page.evaluate("document.documentElement.scrollHeight") <= 800
    assert page.evaluate("document.documentElement.scrollWidth") <= 1280
    for box in [card.bounding_box() for card in page.locator(".tdw-card").all()]:
        assert box["y"] + box["height"] <= 800 - 8
        assert box["height"] > 300
    # Plotly's own labels lie inside their cards
    outside = page.evaluate(
        """() => [...document.querySelectorAll(".tdw-plot text")].filter((text) => {
          const box = text.getBoundingClientRect(), card = text.closest(".tdw-card").getBoundingClientRect();
          return text.textContent && (box.left < card.left || box.right > card.right || box.bottom > card.bottom);
        }).map((text) => text.textContent)"""
    )
    assert outside == []


def test_the_theme_changes_while_the_page_is_open(show: Show, made: Made) -> None:
    page = show()
    share = made.series("analysis/neuron_frequencies/share")[11, 1, 5]
    for theme, switch in [
        ("dark", "document.documentElement.dataset.theme = 'dark'"),
        ("light", "document.documentElement.dataset.theme = 'light'"),
        ("dark", "document.body.classList.add('dark')"),  # Gradio's way
    ]:
        page.evaluate(switch)
        wanted = "#{:02x}{:02x}{:02x}".format(*token("ink", theme))
        page.wait_for_function("ink => window.tdw.viewer.colors.ink === ink", arg=wanted)
        page.wait_for_function("window.tdw.viewer.request === null")
        assert_color(probe(page, "neuron_frequencies", 2, 5)["pixel"], share, theme)
        assert probe(page, "embedding_frequencies", 3)["pixel"][:3] == list(token("accent", theme))
        line = page.locator(".tdw-card").first.locator("path.js-line").first
        stroke = page.evaluate("path => path.style.stroke", line.element_handle())
        assert [int(part) for part in re.findall(r"\d+", stroke)] == list(token("train", theme))


def test_resizing_keeps_everything_in_place(show: Show, made: Made) -> None:
    page = show()
    for width, height in [(1600, 1000), (1100, 700)]:
        page.set_viewport_size({"width": width, "height": height})
        page.wait_for_function(
            "([w, h]) => { const f = window.tdw.panel('loss').frame; return f.width < w / 2 && Math.abs(f.height - f.body.clientHeight) < 1"
            " && f.width === f.body.clientWidth && f.plot.querySelector('svg').clientWidth === f.width; }",
            arg=[width, height],
        )
        page.wait_for_function("window.tdw.viewer.request === null")
        loss = probe(page, "loss", 1100)
        assert loss["marker"] == pytest.approx(loss["x"], abs=0.01)
        found = probe(page, "embedding_frequencies", 3)
        assert found["height"] == pytest.approx(found["expected"], abs=1)
        assert_color(
            probe(page, "neuron_frequencies", 2, 5)["pixel"], made.series("analysis/neuron_frequencies/share")[11, 1, 5]
        )
        assert page.evaluate("document.documentElement.scrollHeight") <= height


def test_the_thumb_is_dragged_and_snaps_to_checkpoints(show: Show, made: Made) -> None:
    page = show()
    box = page.locator(".tdw-range").bounding_box()
    middle = box["y"] + box["height"] / 2
    page.mouse.move(box["x"] + box["width"] - 8, middle)
    page.mouse.down()
    page.mouse.move(box["x"] + 8 + (box["width"] - 16) * 0.32, middle, steps=12)  # epoch 352
    page.wait_for_function("window.tdw.painted === 4")
    assert float(page.locator(".tdw-range").input_value()) == 400
    page.mouse.move(box["x"] - 200, middle, steps=6)
    page.wait_for_function("window.tdw.painted === 0")
    page.mouse.up()


def test_what_was_chosen_in_menus_outlives_a_change_of_run(show: Show, served: Served) -> None:
    served.runs["other"] = Made(p=7, checkpoints=4)
    page = show()
    page.get_by_role("button", name="Loss: options").click()
    page.get_by_role("menuitemradio", name="Linear").click()
    page.get_by_label("Sort neurons by").select_option("share")
    page.evaluate("window.instance.open('/runs/other')")
    assert probe(page, "loss", 0)["range"]["y"][0] == 0
    assert page.get_by_label("Sort neurons by").input_value() == "share"
    order = page.evaluate("Array.from(window.tdw.panel('neuron_activations').order)")
    share = served.runs["other"].series("analysis/neuron_summary/share")[-1]
    assert (np.diff(share[order]) <= 0).all()


def test_everything_that_can_be_used_has_a_name_and_the_keyboard_reaches_it(show: Show) -> None:
    page = show()
    nameless = page.evaluate(
        """() => [...document.querySelectorAll(".tdw-viewer button, .tdw-viewer input, .tdw-viewer select, [role=slider]")]
          .filter((node) => node.offsetParent && !(node.getAttribute("aria-label") || node.textContent.trim()))
          .map((node) => node.outerHTML)"""
    )
    assert nameless == []
    page.get_by_role("button", name="Neuron–frequency clusters: options").focus()
    page.keyboard.press("Enter")
    assert page.evaluate("document.activeElement.textContent") == "Final cluster"
    page.keyboard.press("ArrowDown")
    assert page.evaluate("document.activeElement.textContent") == "Index"
    page.keyboard.press("Enter")
    assert page.evaluate("Array.from(window.tdw.panel('neuron_frequencies').order).slice(0, 3)") == [0, 1, 2]
    assert page.evaluate("document.activeElement.getAttribute('aria-label')") == "Neuron–frequency clusters: options"
    page.keyboard.press("Enter")
    page.keyboard.press("Escape")
    assert page.locator(".tdw-menu").count() == 0
    press(page, "ArrowLeft", 10)
