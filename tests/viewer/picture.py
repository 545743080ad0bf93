"""The README's pictures: `python -m tests.viewer.picture` trains the demo, opens it in the real app, pins a neuron of each of
three clusters, and writes `assets/page-light.png` and `assets/page-dark.png`. With `--views FOLDER` it takes pictures of
every view as well, and writes them there. `--file RUN.tdw` takes them of another run.
"""

from __future__ import annotations

import argparse
import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

import numpy as np

import tdw
from tests import chromium
from tests.conftest import start_window

# The tables of the pinned neurons come after the step is painted: until then their maps are of one color.
MAPS_DRAWN = """() => [...document.querySelectorAll('.tdw-pinned canvas')]
    .filter((canvas) => canvas.offsetParent !== null && canvas.width > 0)
    .every((canvas) => {
        const pixels = new Uint32Array(canvas.getContext('2d').getImageData(0, 0, canvas.width, canvas.height).data.buffer);
        return pixels.some((pixel) => pixel !== pixels[0]);
    })"""
ASSETS = Path(__file__).parents[2] / "assets"


def typical(path: Path) -> list[int]:
    """The neuron of each frequency that is most purely that frequency at the end, for the three largest clusters."""
    with tdw.open(path) as run:
        arrays = run.analysis("neuron_summary").arrays
    frequency, share = arrays["frequency"][-1], arrays["share"][-1]
    found, counts = np.unique(frequency[share > 0.85], return_counts=True)
    largest = sorted(found[np.argsort(-counts)][:3])
    return [int(np.argmax(np.where(frequency == k, share, 0))) for k in largest]


def shown(page: Any, address: str, epoch: int) -> None:
    """Open the window and go to the checkpoint nearest to an epoch."""
    page.goto(address)
    page.wait_for_function("window.tdw !== undefined && window.tdw.painted >= 0")
    page.evaluate("window.tdw.ready")
    page.evaluate(
        """epoch => { const all = window.tdw.viewer.run.checkpoints;
        window.tdw.show(all.indexOf(all.reduce((a, b) => (Math.abs(b - epoch) < Math.abs(a - epoch) ? b : a)))); }""",
        epoch,
    )


def drawn(page: Any) -> None:
    """Wait until everything has come and is painted."""
    page.wait_for_load_state("networkidle")
    page.wait_for_function("window.tdw.painted === window.tdw.index && window.tdw.viewer.request === null")


def overview(page: Any, path: Path, theme: str) -> None:
    """The picture of the first view, three neurons pinned."""
    page.evaluate("pins => window.tdw.pin(...pins)", typical(path))
    page.evaluate("window.tdw.panel('neuron_activations').setStage('pinned')")
    drawn(page)
    page.wait_for_function(MAPS_DRAWN)
    ASSETS.mkdir(exist_ok=True)
    page.screenshot(path=ASSETS / f"page-{theme}.png")


def views(page: Any, folder: Path, theme: str) -> None:
    """A picture of every view."""
    folder.mkdir(parents=True, exist_ok=True)
    for view in page.get_by_role("tab").all_inner_texts():
        page.evaluate("view => window.tdw.choose(view)", view)
        drawn(page)
        page.screenshot(path=folder / f"{view.lower()}-{theme}.png")


def main() -> None:
    """Take the pictures."""
    from playwright.sync_api import sync_playwright

    parser = argparse.ArgumentParser(prog="python -m tests.viewer.picture")
    parser.add_argument("--file", type=Path, metavar="RUN.tdw")
    parser.add_argument("--epoch", type=int, default=600)
    parser.add_argument("--views", type=Path, metavar="FOLDER")
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as home, sync_playwright() as playwright:
        path = Path(home, "runs", "grok-p59.tdw")
        path.parent.mkdir()
        state = Path(home, "state")
        if given.file:
            shutil.copy(given.file, path)
        else:  # by the user whose window it is opened in, so that it does not count as another computer's file
            command = [sys.executable, "-m", "tdw", "demo", str(path), "--no-open"]
            subprocess.run(command, check=True, env={**os.environ, "TDW_STATE_DIR": str(state)})
        window = start_window(state, str(path), HOME=home)
        browser = chromium.launch(playwright)
        for theme in ("light", "dark"):
            page = browser.new_page(viewport={"width": 1280, "height": 800}, color_scheme=theme)
            shown(page, window.address, given.epoch)
            if given.views:
                views(page, given.views, theme)
                page.evaluate("window.tdw.choose('Overview')")
            overview(page, path, theme)
            page.close()
        browser.close()
        window.stop()


if __name__ == "__main__":
    main()
