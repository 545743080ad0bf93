"""What the page fetches of long runs, and what that costs: `python -m tests.benchmarks.long_runs [OTHER]`.

OTHER is another checkout of this repository, which is measured in turn with this one on the same files. The runs are planted
(see tests/long_run.py): 2 001 checkpoints at p = 113, and a million epochs. Nothing here is a test.
"""

from __future__ import annotations

import json
import os
import re
import sys
import tempfile
import time
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from tests import chromium
from tests.conftest import start_window
from tests.long_run import plant
from tests.viewer.measure import SWEEP

HERE = Path(__file__).resolve().parents[2]
PAINTED = "window.tdw && tdw.count > 0 && tdw.painted === tdw.index && tdw.index >= 0 && !tdw.viewer.isLoading"
COMPLETE = "!document.querySelector('.tdw-waiting-for:not([hidden])')"


def peak_mb(pid: int) -> float:
    """Peak memory of a process in MB."""
    found = re.search(r"VmHWM:\s+(\d+) kB", Path(f"/proc/{pid}/status").read_text())
    assert found is not None
    return int(found[1]) * 1024 / 1e6


def opening(browser: Any, path: Path, checkout: Path, state: Path) -> dict[str, float]:
    """One opening of a file in a new server and a new page, and a sweep of the slider after it."""
    window = start_window(state, cwd=checkout, PYTHONPATH=str(checkout))
    context = browser.new_context(viewport={"width": 1280, "height": 800})
    try:
        # The libraries of the server are loaded, and the browser has the page's own files.
        page = context.new_page()
        page.goto(window.address)
        page.wait_for_function("window.tdw !== undefined")
        page.close()
        before = peak_mb(window.process.pid)
        page = context.new_page()
        bodies: list[int] = []
        page.on("response", lambda answer: bodies.append(length(answer)))
        started = time.perf_counter()
        assert window.do("open", path=str(path))[0] == 200
        page.goto(f"http://{window.host}/")
        page.wait_for_function(PAINTED, timeout=180_000)
        first = time.perf_counter() - started
        page.evaluate("tdw.ready")
        page.wait_for_function(COMPLETE)
        complete = time.perf_counter() - started
        page.wait_for_timeout(2000)
        opened = sum(bodies)
        swept = page.evaluate(SWEEP, 120)
        page.wait_for_timeout(1000)
        return {
            "MB fetched": opened / 1e6,
            "seconds to the first picture": first,
            "seconds until complete": complete,
            "MB after 120 steps": sum(bodies) / 1e6,
            "ms of script per step": swept["median"],
            "ms of script per step, 95 %": swept["p95"],
            "frames dropped of 120": swept["dropped"],
            "MB of the server before": before,
            "MB of the server, peak": peak_mb(window.process.pid),
        }
    finally:
        context.close()
        window.stop()


def length(answer: Any) -> int:
    """Bytes of an answer with data of a run. Canceled ones count whole."""
    if "/runs/" not in urlsplit(answer.url).path:
        return 0
    stated = answer.headers.get("content-length")
    return int(stated) if stated is not None else len(answer.body())


def runs(folder: Path) -> dict[str, Path]:
    """The planted runs; those that are there are used again."""
    wanted: dict[str, dict[str, Any]] = {
        "2 001 checkpoints, p = 113": {"checkpoints": 2001, "every": 20, "p": 113},
        "1 000 000 epochs": {"checkpoints": 51, "every": 20_000, "p": 11, "d_model": 16, "heads": 2, "d_mlp": 16},
    }
    found = {name: folder / f"{i}.tdw" for i, name in enumerate(wanted)}
    for name, settings in wanted.items():
        if not found[name].exists():
            plant(found[name], **settings)
    return found


def main() -> None:
    """Print one line of JSON for each run and checkout."""
    from playwright.sync_api import sync_playwright

    checkouts = [HERE, *map(Path, sys.argv[1:2])]
    with tempfile.TemporaryDirectory() as made, sync_playwright() as playwright:
        folder = Path(os.environ.get("TDW_LONG_RUNS", made))  # where they are kept for the next time
        state = folder / "state"
        os.environ["TDW_STATE_DIR"] = str(state)  # the server knows the files as made on this computer
        browser = chromium.launch(playwright)
        for name, path in runs(folder).items():
            for checkout in checkouts:
                found = {key: round(value, 2) for key, value in opening(browser, path, checkout, state).items()}
                sys.stdout.write(json.dumps({"run": name, "checkout": checkout.name, **found}) + "\n")
                sys.stdout.flush()
        browser.close()


if __name__ == "__main__":
    main()
