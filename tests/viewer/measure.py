"""What a step of the slider costs in the browser. `python -m tests.viewer.measure [FILE.tdw]` prints it.

The benchmarks call `measure(browser, project)`; nothing here is asserted.
"""

from __future__ import annotations

import sys
from typing import Any

from tests.viewer.serving import Served

STEPS = 120

# One step per frame, as fast as the display asks for them, up and down through the checkpoints. `cost` is the page's own
# clock round everything it does for a step; a frame is dropped when the next comes more than half an interval late.
SWEEP = """async (steps) => {
  await window.tdw.ready;
  const range = document.querySelector(".tdw-range");
  const epochs = window.tdw.viewer.run.checkpoints;
  const frame = () => new Promise(requestAnimationFrame);
  const costs = [], times = [], latencies = [];
  let index = 0, direction = 1;
  for (let i = -10; i < steps; i++) {
    if (index + direction < 0 || index + direction >= epochs.length) direction = -direction;
    index += direction;
    const before = performance.now();
    range.value = String(epochs[index]);
    range.dispatchEvent(new Event("input", { bubbles: true }));
    while (window.tdw.painted !== index) await frame();
    const now = performance.now();
    if (i >= 0) { costs.push(window.tdw.cost); times.push(now); latencies.push(now - before); }
  }
  const sorted = (list) => [...list].sort((a, b) => a - b);
  const gaps = times.slice(1).map((t, i) => t - times[i]);
  const interval = sorted(gaps)[gaps.length >> 1];
  return {
    median: sorted(costs)[costs.length >> 1],
    p95: sorted(costs)[Math.floor(costs.length * 0.95)],
    latency: sorted(latencies)[latencies.length >> 1],
    interval,
    dropped: gaps.filter((gap) => gap > 1.5 * interval).length,
    steps,
  };
}"""


def measure(browser: Any, project: Any, steps: int = STEPS) -> dict[str, dict[str, float]]:
    """Milliseconds of script per step (median, 95th percentile), from input to painted, between frames, and frames
    dropped, with the neurons shown as thumbnails, one pinned and five pinned, and in every other view; `requests` made
    meanwhile.
    """
    served = Served(run=project)
    try:
        page = browser.new_page(viewport={"width": 1280, "height": 800})
        page.goto(served.page("run"))
        page.wait_for_function("window.tdw !== undefined")
        page.evaluate("window.tdw.ready")
        found = {}
        for name, pins in [("thumbnails", []), ("one pinned", [0]), ("five pinned", [0, 1, 2, 3, 4])]:
            page.evaluate("pins => window.tdw.pin(...pins)", pins)
            if pins:
                page.evaluate("window.tdw.panel('neuron_activations').setStage('pinned')")
            page.wait_for_load_state("networkidle")
            asked = len(served.requests)
            found[name] = page.evaluate(SWEEP, steps)
            found[name]["requests"] = len(served.requests) - asked
        for view in page.get_by_role("tab").all_inner_texts()[1:]:
            page.evaluate("view => window.tdw.choose(view)", view)
            page.wait_for_load_state("networkidle")
            asked = len(served.requests)
            found[view] = page.evaluate(SWEEP, steps)
            found[view]["requests"] = len(served.requests) - asked
        page.close()
        return found
    finally:
        served.close()


def opening(browser: Any, project: Any) -> dict[str, float]:
    """What a page asks for when it opens a run: requests, kilobytes in all, and of them the manifest."""
    served = Served(run=project)
    try:
        page = browser.new_page(viewport={"width": 1280, "height": 800})
        page.goto(served.page("run"))
        page.wait_for_function("window.tdw !== undefined")
        page.evaluate("window.tdw.ready")
        page.wait_for_load_state("networkidle")
        page.close()
        data = [path for path in served.requests if path.startswith("/runs/")]
        sizes = [len(served.answer(path)[2]) / 1e3 for path in data]
        return {"requests": len(data), "kB": sum(sizes), "manifest kB": sizes[0]}
    finally:
        served.close()


def main() -> None:
    """Measure a file given on the command line, or a made-up run of the paper's size."""
    from playwright.sync_api import sync_playwright

    import tdw
    from tests import chromium
    from tests.viewer.synthetic import Made

    project = (
        tdw.open(sys.argv[1])
        if len(sys.argv) > 1
        else Made(p=59, d_model=64, d_mlp=256, checkpoints=20, everything=True)
    )
    with sync_playwright() as playwright:
        browser = chromium.launch(playwright)
        for name, row in {"opening": opening(browser, project), **measure(browser, project)}.items():
            sys.stdout.write(f"{name:<14}" + "  ".join(f"{key} {value:.2f}" for key, value in row.items()) + "\n")
        browser.close()


if __name__ == "__main__":
    main()
