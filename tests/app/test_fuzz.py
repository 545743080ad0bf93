"""Random parameters for every route: the server does not answer 500, print a traceback, hang, grow or exit."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from tdw import store
from tests.app.fuzzing import Fuzz
from tests.app.test_routes import LIST_ROUTES

SECONDS = 60  # of the long one
ROUNDS = 500  # of the short one
GROWTH = 150e6  # bytes that the server may grow after the first requests


def listed(folder: Path) -> list[tuple[str, list[str]]]:
    """All routes that the window uses, listed by the application itself, so that new ones are included."""
    environment = {**os.environ, "TDW_STATE_DIR": str(folder)}
    text = subprocess.run(
        [sys.executable, "-c", LIST_ROUTES], env=environment, capture_output=True, text=True, check=True
    ).stdout
    routes = [(re.sub(r"\{api_name\}", "predict", path), methods) for path, methods in json.loads(text)[0]]
    known = [one for one in routes if one[0].startswith(("/runs", "/do", "/now", "/events", "/gradio_api/run/predict"))]
    assert len(known) > 12
    return [*routes, *known * (len(routes) // len(known) + 1)]  # our routes get as many requests as all others


def memory(pid: int) -> int:
    """Peak memory of a process in bytes."""
    found = re.search(r"VmHWM:\s+(\d+) kB", Path(f"/proc/{pid}/status").read_text())
    assert found is not None
    return int(found[1]) * 1024


def fuzzed(open_window: Any, tmp_path: Path, tiny_run: Path, seed: int, enough: Any) -> Fuzz:
    run = Path(shutil.copy(tiny_run, tmp_path / "run.tdw"))
    (tmp_path / "note.txt").write_text("a note of the user's: root: not for Gradio")
    with (tmp_path / "errors").open("w+") as errors:
        window = open_window(run, errors=errors)
        status, answer = window.do("open", path=str(run))
        assert status == 200
        inputs = fields_of_the_form(window)
        paths = [str(tmp_path / name) for name in ("run.tdw", "note.txt", "", "none.tdw")]
        fuzz = Fuzz(
            window.port, window.cookie, listed(tmp_path / "routes"), [answer["key"], "0" * 20], inputs, seed, paths
        )
        for _ in range(100):
            fuzz.once()
        before = memory(window.process.pid)
        while not enough(fuzz):
            fuzz.once()
            assert window.process.poll() is None, fuzz.wrong
        grown = memory(window.process.pid) - before
        assert window.ask("/now", Cookie=window.cookie).status == 200, "it is alive"
        window.do("stop", key=answer["key"])
        window.stop()
        errors.seek(0)
        said = errors.read()
    print(f"\n{fuzz.sent} requests, {grown / 1e6:.0f} MB more, answers {sorted(fuzz.statuses.items())}", end="")
    assert fuzz.wrong == []
    assert "Traceback" not in said, said[-3000:]
    assert said.count("\n") < 50, said[-3000:]
    assert grown < GROWTH
    assert {200, 404, 405, 422} <= set(fuzz.statuses)
    for path in window.state.rglob("*"):
        assert not path.is_file() or b"not for Gradio" not in path.read_bytes(), path
    return fuzz


def fields_of_the_form(window: Any) -> int:
    """The number of fields of the form, as described in the page."""
    config = re.search(r"window\.gradio_config = (\{.*?\});</script>", window.get("/").decode(), re.DOTALL)
    assert config is not None
    return max(len(one["inputs"]) for one in json.loads(config[1])["dependencies"] if one["backend_fn"])


def test_no_request_breaks_the_server(open_window, tmp_path, tiny_run):
    fuzzed(open_window, tmp_path, tiny_run, 1, lambda fuzz: fuzz.sent >= ROUNDS)


@pytest.mark.slow
@pytest.mark.parametrize("seed", [2, 3])
def test_no_request_of_a_minute_breaks_the_server(open_window, tmp_path, tiny_run, seed):
    end = time.monotonic() + SECONDS
    found = fuzzed(open_window, tmp_path, tiny_run, seed, lambda _: time.monotonic() > end)
    assert found.sent > 1000
    assert store.locked_by(tmp_path / "run.tdw") is None
