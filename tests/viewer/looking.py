"""What tests look at: colors read from tokens.css without the browser, and where things are on the page."""

from __future__ import annotations

import re
from typing import Any

import numpy as np

from tdw.viewer import page as assets


def token(name: str, theme: str = "light") -> tuple[int, int, int]:
    """A color of tokens.css, read without the browser."""
    text = (assets.HERE / "tokens.css").read_text()
    light, dark = text.split('[data-theme="dark"]')
    found = re.search(rf"--tdw-{name}: #([0-9a-f]{{6}})", dark if theme == "dark" else light)
    assert found is not None
    return tuple(int(found[1][i : i + 2], 16) for i in (0, 2, 4))  # type: ignore[return-value]


def ramp(value: float, theme: str = "light") -> list[int]:
    """The heat map's color of a value in 0…1, in 256 steps: surface, accent, ink."""
    level = np.floor(min(value, 1) * 255 + 0.5) / 255 * 2
    stops = [np.array(token(f"ramp-{i}", theme), float) for i in range(3)]
    low, high, part = (stops[0], stops[1], level) if level < 1 else (stops[1], stops[2], level - 1)
    return [int(np.floor(v + 0.5)) for v in low + (high - low) * part]


def assert_color(pixel: list[int], value: float, theme: str = "light") -> None:
    expected = ramp(value, theme)
    assert pixel[3] == 255
    # one level of the ramp either way: float32 in the browser, float64 here
    assert max(abs(a - b) for a, b in zip(pixel[:3], expected, strict=True)) <= 3, (pixel, expected, value)


def overlay(page: Any, card: int) -> dict[str, float]:
    box: dict[str, float] = page.locator(".tdw-card").nth(card).locator(".tdw-overlay").bounding_box()
    return box


def plotly_range(page: Any, panel: str) -> dict[str, list[float]]:
    """What Plotly itself draws: the panel's own idea of its range must agree with it."""
    found: dict[str, list[float]] = page.evaluate(
        """name => { const { xaxis, yaxis } = window.tdw.panel(name).frame.plot.layout;
        return { x: [...xaxis.range], y: [...yaxis.range] }; }""",
        panel,
    )
    return found


def drag(page: Any, start: tuple[float, float], end: tuple[float, float]) -> None:
    page.mouse.move(*start)
    page.mouse.down()
    page.mouse.move((start[0] + end[0]) / 2, (start[1] + end[1]) / 2, steps=4)
    page.mouse.move(*end, steps=4)
    page.mouse.up()


def choose(page: Any, view: str) -> None:
    """Show a view and wait until it is painted."""
    page.evaluate("view => window.tdw.choose(view)", view)
    page.wait_for_function("window.tdw.painted === window.tdw.index && window.tdw.viewer.request === null")


def menu(page: Any, card: str, option: str) -> None:
    """Choose an option by name in a card's menu."""
    page.get_by_role("button", name=f"{card}: options", exact=True).click()
    page.get_by_role("menuitemradio", name=option, exact=True).click()
    page.wait_for_function("window.tdw.viewer.request === null")


def state_of(page: Any, title: str) -> str:
    """The words of a card that has nothing to draw."""
    text: str = (
        page.locator(".tdw-card", has=page.get_by_role("heading", name=title, exact=True))
        .locator(".tdw-state")
        .inner_text()
    )
    return text
