"""Neurons as maps and the heat map of clusters: what is painted equals what is so."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from tdw.network.kinds import network_of
from tests.viewer.conftest import go, press, probe
from tests.viewer.looking import assert_color, drag, overlay, plotly_range
from tests.viewer.serving import Served
from tests.viewer.synthetic import KEYS, Made, brute_force

pytestmark = pytest.mark.browser

Show = Callable[..., Any]


# ---- neurons ---------------------------------------------------------------------------------------------------


def test_maps_equal_brute_force_and_are_painted_as_the_color_map_says(show: Show, made: Made) -> None:
    page = show()
    largest = made.series("analysis/neuron_summary/maximum").max(axis=0)
    for index, neuron in [(0, 0), (5, 3), (11, 8)]:
        go(page, index)
        expected = brute_force(made.weights[index], neuron)
        found = np.array(page.evaluate("n => window.tdw.panel('neuron_activations').map(n)", neuron))
        np.testing.assert_allclose(found.reshape(expected.shape), expected, rtol=1e-5, atol=1e-5)
        order = np.argsort(expected, axis=None)  # nothing, halfway, the largest
        for at in (order[0], order[np.searchsorted(expected.ravel()[order], 0.6 * expected.max())], order[-1]):
            a, b = (int(i) for i in np.unravel_index(at, expected.shape))
            pixel = probe(page, "neuron_activations", neuron, a, b)["pixel"]
            assert_color(pixel, expected[a, b] / largest[neuron])


def test_saturated_attention_is_still_exact(page: Any, served: Served) -> None:
    steep = Made(p=7, checkpoints=2)
    for weights in steep.weights:
        weights["blocks.0.attn.W_Q"] *= 2000
    served.runs["steep"] = steep
    page.goto(served.page("steep"))
    page.evaluate("window.tdw.ready")
    scores = steep.attention_scores()
    assert np.abs(scores).max() > 700, "beyond what exp can hold"
    expected = brute_force(steep.weights[1], 4)
    found = np.array(page.evaluate("window.tdw.panel('neuron_activations').map(4)"))
    np.testing.assert_allclose(found.reshape(7, 7), expected, rtol=1e-4, atol=1e-4)


def test_dead_neurons_are_shown_as_dead_and_sorting_puts_them_last(show: Show, made: Made) -> None:
    page = show()
    dead = page.locator(".tdw-thumb.tdw-dead")
    assert dead.count() == 1
    assert dead.inner_text() == "1 dead"
    order = "Array.from(window.tdw.panel('neuron_activations').order)"
    summary = {name: made.series(f"analysis/neuron_summary/{name}")[-1] for name in ("frequency", "share", "variance")}
    for sort in ("frequency", "share", "variance"):
        page.get_by_label("Sort neurons by").select_option(sort)
        got = page.evaluate(order)
        assert sorted(got) == list(range(made.config.d_mlp))
        assert got[-1] == 1
        values = summary[sort][got[:-1]]
        assert (np.diff(values) >= 0).all() if sort == "frequency" else (np.diff(values) <= 0).all()
    page.get_by_label("Sort neurons by").select_option("frequency")
    frequencies = summary["frequency"][page.evaluate(order)[:-1]]
    assert set(frequencies) >= set(KEYS)


def test_pinned_neurons_are_followed_through_training(show: Show, made: Made) -> None:
    page = show()
    for neuron in (0, 4, 5):
        page.locator(".tdw-thumb", has_text=re.compile(rf"^{neuron}\b")).click()
    assert page.evaluate("window.tdw.pins") == [0, 4, 5]
    page.get_by_role("button", name="pinned (3)").click()
    assert page.locator(".tdw-pinned figure").count() == 3
    boxes = [canvas.bounding_box() for canvas in page.locator(".tdw-pinned canvas").all()]
    assert all(box["width"] == box["height"] > 120 for box in boxes)
    share = made.series("analysis/neuron_summary/share")
    frequency = made.series("analysis/neuron_summary/frequency")
    largest = made.series("analysis/neuron_summary/maximum").max(axis=0)
    for index in (11, 2, 7):
        go(page, index)
        for neuron in (0, 4, 5):
            found = probe(page, "neuron_activations", neuron, 3, 9)
            assert found["drawn"] == index
            assert_color(found["pixel"], brute_force(made.weights[index], neuron)[3, 9] / largest[neuron])
            k = frequency[index, neuron]
            told = f"n {neuron} · k {k} · {share[index, neuron]:.2f}" if k > 0 else f"n {neuron} · dead"
            assert found["caption"].startswith(told)
    page.locator(".tdw-pinned figure").nth(1).hover()
    page.get_by_role("button", name="Unpin neuron 4").click()
    assert page.evaluate("window.tdw.pins") == [0, 5]
    page.evaluate("window.tdw.pin(0, 2, 3, 4, 5)")
    page.evaluate("window.tdw.viewer.togglePin(6)")
    assert page.evaluate("window.tdw.pins") == [0, 2, 3, 4, 5]
    assert "unpin one first" in page.locator(".tdw-toast").inner_text()


def test_colors_per_checkpoint_use_the_whole_range(show: Show, made: Made) -> None:
    page = show()
    go(page, 0)
    expected = brute_force(made.weights[0], 5)
    a, b = np.unravel_index(expected.argmax(), expected.shape)
    overall = made.series("analysis/neuron_summary/maximum").max(axis=0)[5]
    assert expected.max() < 0.8 * overall, "the neuron must grow for this test to mean anything"
    assert_color(probe(page, "neuron_activations", 5, int(a), int(b))["pixel"], expected.max() / overall)
    page.get_by_role("button", name="Neurons: options").click()
    page.get_by_role("menuitemradio", name="Full range at each checkpoint").click()
    go(page, 1)  # a picture that was drawn before the choice does not count
    go(page, 0)
    assert_color(probe(page, "neuron_activations", 5, int(a), int(b))["pixel"], 1)


def test_hovering_a_map_tells_the_exact_value(show: Show, made: Made) -> None:
    page = show()
    page.evaluate("window.tdw.pin(4)")
    page.get_by_role("button", name="pinned (1)").click()
    box = page.locator(".tdw-pinned canvas").bounding_box()
    cell = box["width"] / 11
    page.mouse.move(box["x"] + 7.5 * cell, box["y"] + 3.5 * cell)
    tip = page.locator(".tdw-tooltip")
    tip.wait_for(state="visible")
    value = float(tip.inner_text().split("activation ")[1])
    assert "a = 3, b = 7" in tip.inner_text()
    assert value == pytest.approx(brute_force(made.weights[-1], 4)[3, 7], rel=1e-4, abs=1e-5)


@pytest.mark.parametrize("network", ["transformer", "two-token", "one-hot"])
def test_maps_of_every_network_and_activation_are_exact(show: Show, served: Served, network: str) -> None:
    page = show()
    for activation in ("relu", "gelu", "quadratic"):
        made = Made(p=7, d_mlp=12, checkpoints=3, network=network, activation=activation)
        served.runs[activation] = made
        page.evaluate("run => window.instance.open(`/runs/${run}`)", activation)
        for index in (2, 0):
            go(page, index)
            for neuron in (0, 5, 11):
                expected = network_of(made.weights[index]).computation.neuron_map(
                    made.weights[index], neuron, made.config.nonlinearity
                )
                found = np.array(page.evaluate("n => window.tdw.panel('neuron_activations').map(n)", neuron))
                np.testing.assert_allclose(found.reshape(7, 7), expected, rtol=2e-5, atol=2e-6)
        if activation == "gelu":
            maps = [
                network_of(made.weights[0]).computation.neuron_map(made.weights[0], neuron, made.config.nonlinearity)
                for neuron in range(12)
            ]
            neuron, a, b = (int(i) for i in np.unravel_index(np.argmin(maps), (12, 7, 7)))
            lowest = float(maps[neuron][a, b])
            assert lowest < -0.01, "a neuron must go below zero for this test to mean anything"
            drawn = probe(page, "neuron_activations", neuron, a, b)
            level = round(-lowest / drawn["largest"] * 255)
            minus = page.evaluate(
                "level => { const v = window.tdw.viewer.colors.minus[level]; return [v & 255, (v >> 8) & 255, (v >> 16) & 255]; }",
                level,
            )
            assert drawn["pixel"][:3] == pytest.approx(minus, abs=3)
            assert drawn["pixel"][0] > drawn["pixel"][2], "below zero is warm"


# ---- clusters --------------------------------------------------------------------------------------------------


def test_the_heat_map_is_painted_as_the_color_map_says(show: Show, made: Made) -> None:
    page = show()
    share = made.series("analysis/neuron_frequencies/share")
    for order in ("Final cluster", "Index"):
        page.get_by_role("button", name="Neuron–frequency clusters: options").click()
        page.get_by_role("menuitemradio", name=order).click()
        for index in (0, 11):
            go(page, index)
            for k, neuron in [(1, 0), (2, 23), (5, 11), (3, 1)]:
                found = probe(page, "neuron_frequencies", k, neuron)
                assert not found["pooled"]
                assert_color(found["pixel"], share[index, k - 1, neuron])


def test_the_heat_map_zooms_and_keeps_its_zoom(show: Show, made: Made) -> None:
    page = show()
    box = overlay(page, 3)
    drag(page, (box["x"] + box["width"] * 0.1, box["y"] + 10), (box["x"] + box["width"] * 0.5, box["y"] + 150))
    page.wait_for_function("window.tdw.probe('neuron_frequencies', 5, 3).range.x[1] < 20")
    zoomed = probe(page, "neuron_frequencies", 5, 3)["range"]
    press(page, "ArrowLeft", 10)
    assert probe(page, "neuron_frequencies", 5, 3)["range"] == zoomed == plotly_range(page, "neuron_frequencies")
    place = page.evaluate("Array.from(window.tdw.panel('neuron_frequencies').order)")[int(sum(zoomed["x"]) / 2 + 0.5)]
    found = probe(page, "neuron_frequencies", 5, place)
    assert_color(found["pixel"], made.series("analysis/neuron_frequencies/share")[10, 4, place])


def test_more_neurons_than_pixels_keep_the_largest(page: Any, served: Served) -> None:
    wide = Made(p=5, d_model=8, heads=2, d_mlp=1200, checkpoints=2)
    share = wide._arrays["analysis/neuron_frequencies/share"]
    share[:] = 0
    share[1, 1, 600] = 1.0  # a lone neuron
    served.runs["wide"] = wide
    page.goto(served.page("wide"))
    page.evaluate("window.tdw.ready")
    found = probe(page, "neuron_frequencies", 2, 600)
    assert found["pooled"]
    assert_color(found["pixel"], 1.0)


def test_a_click_in_the_heat_map_pins_the_neuron_there(show: Show) -> None:
    page = show()
    order = page.evaluate("Array.from(window.tdw.panel('neuron_frequencies').order)")
    box = overlay(page, 3)
    page.mouse.move(box["x"] + box["width"] * 4.5 / 24, box["y"] + 50)
    tip = page.locator(".tdw-tooltip")
    tip.wait_for(state="visible")
    assert tip.inner_text().startswith(f"neuron {order[4]} ")
    page.mouse.click(box["x"] + box["width"] * 4.5 / 24, box["y"] + 50)
    assert page.evaluate("window.tdw.pins") == [order[4]]
