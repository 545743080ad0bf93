"""The README's pictures: `python -m tests.viewer.picture FILE.tdw [EPOCH]` opens the file in the real app, pins a neuron of
each of three clusters, and writes `assets/page-light.png` and `assets/page-dark.png`.
"""

from __future__ import annotations

import shutil
import sys
import tempfile
from pathlib import Path

import numpy as np

import tdw
from tests import chromium
from tests.conftest import start_window

ASSETS = Path(__file__).parents[2] / "assets"


def typical(path: Path) -> list[int]:
    """The neuron of each frequency that is most purely that frequency at the end, for the three largest clusters."""
    with tdw.open(path) as run:
        arrays = run.analysis("neuron_summary").arrays
    frequency, share = arrays["frequency"][-1], arrays["share"][-1]
    found, counts = np.unique(frequency[share > 0.85], return_counts=True)
    largest = sorted(found[np.argsort(-counts)][:3])
    return [int(np.argmax(np.where(frequency == k, share, 0))) for k in largest]


def main() -> None:
    """Take both pictures."""
    from playwright.sync_api import sync_playwright

    source = Path(sys.argv[1])
    epoch = int(sys.argv[2]) if len(sys.argv) > 2 else 600
    with tempfile.TemporaryDirectory() as home, sync_playwright() as playwright:
        path = Path(home, "runs", "grok-p59.tdw")
        path.parent.mkdir()
        shutil.copy(source, path)
        window = start_window(Path(home, "state"), str(path), HOME=home)
        browser = chromium.launch(playwright)
        for theme in ("light", "dark"):
            page = browser.new_page(viewport={"width": 1280, "height": 800}, color_scheme=theme)
            page.goto(window.address)
            page.wait_for_function("window.tdw !== undefined && window.tdw.painted >= 0")
            page.evaluate("window.tdw.ready")
            page.evaluate("pins => window.tdw.pin(...pins)", typical(path))
            page.evaluate("window.tdw.panel('neuron_activations').setStage('pinned')")
            page.evaluate(
                """epoch => { const all = window.tdw.viewer.run.checkpoints;
                window.tdw.show(all.indexOf(all.reduce((a, b) => (Math.abs(b - epoch) < Math.abs(a - epoch) ? b : a)))); }""",
                epoch,
            )
            page.wait_for_load_state("networkidle")
            page.wait_for_function("window.tdw.painted === window.tdw.index && window.tdw.viewer.request === null")
            page.wait_for_function("tdw.panel('neuron_activations').figures.every((map) => map.drawn === tdw.index)")
            ASSETS.mkdir(exist_ok=True)
            page.screenshot(path=ASSETS / f"page-{theme}.png")
            page.close()
        browser.close()
        window.stop()


if __name__ == "__main__":
    main()
