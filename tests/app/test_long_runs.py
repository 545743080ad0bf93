"""Runs so long that a page fetches only a part of them: what it shows is what the file has, and it stays small."""

from __future__ import annotations

import json
import random
import shutil
from pathlib import Path
from urllib.parse import urlsplit

import numpy as np
import pytest

import tdw
from tdw import store
from tdw.app import run_arrays, streamed_rows
from tdw.app.open_runs import OpenRuns, key_of
from tdw.app.recent_files import RecentFiles
from tdw.errors import AppError, UnknownNameError
from tdw.panels import curve_points
from tests.app.test_bounds import memory
from tests.long_run import OVERVIEW, plant

SHARE = "analysis/neuron_frequencies/share"
MAXIMUM = "analysis/neuron_summary/maximum"
NORMS = "analysis/embedding_frequencies/norms"
CHECKPOINTS = 701
PAINTED = "window.tdw && tdw.count > 0 && tdw.painted === tdw.index && tdw.index >= 0 && !tdw.viewer.isLoading"
EXACT = "tdw.painted === tdw.index && !document.querySelector('.tdw-waiting-for:not([hidden])')"
BUDGET = 8e6


@pytest.fixture(scope="module")
def long(tmp_path_factory) -> Path:
    """701 checkpoints and 70 001 epochs: the first view has 36 MB of results, and 86 MB of tables."""
    path = tmp_path_factory.mktemp("runs") / "long.tdw"
    sizes = {"p": 59, "d_model": 16, "heads": 4, "d_mlp": 256}
    return plant(path, checkpoints=CHECKPOINTS, every=100, analyses=(*OVERVIEW, "logit_spectrum"), **sizes)


@pytest.fixture
def held(tmp_path, long, monkeypatch):
    """The run as the server has it."""
    monkeypatch.setenv("TDW_STATE_DIR", str(tmp_path / "state"))
    runs = OpenRuns(RecentFiles())
    with runs.at(long) as run:
        yield run
    runs.close()


def rows_of(run, *asked) -> bytes:
    return b"".join(run.array(*asked).chunks())


@pytest.mark.parametrize(("start", "stop", "step"), [(0, None, 1), (3, 700, 100), (5, 6, 1), (0, 701, 699), (9, 3, 2)])
@pytest.mark.parametrize("name", [SHARE, NORMS, "losses/test"])
@pytest.mark.parametrize("chunk", [4096, 1 << 20])
def test_rows_of_a_range_are_those_of_the_file(held, long, start, stop, step, name, chunk, monkeypatch):
    monkeypatch.setattr(streamed_rows, "CHUNK", chunk)
    with tdw.open(long) as run:
        wanted = run.series(name)[start:stop:step]
    asked = held.array(name, start, stop, step)
    assert asked.nbytes == wanted.nbytes
    assert b"".join(asked.chunks()) == wanted.tobytes()


def test_tables_of_a_grid_are_those_of_all_checkpoints(held):
    width = 1 + 2 * 4 * 59
    whole = np.frombuffer(b"".join(held.neurons([3, 17]).chunks()), "<f4").reshape(CHECKPOINTS, 2, width)
    some = np.frombuffer(b"".join(held.neurons([3, 17], 1, 700, 200).chunks()), "<f4").reshape(-1, 2, width)
    np.testing.assert_array_equal(some, whole[1:700:200])
    scores = np.frombuffer(b"".join(held.scores().chunks()), "<f4").reshape(CHECKPOINTS, -1)
    some = np.frombuffer(b"".join(held.scores(0, None, 350).chunks()), "<f4").reshape(-1, scores.shape[1])
    np.testing.assert_array_equal(some, scores[::350])


def test_extremes_are_those_of_all_rows_and_only_new_ones_are_read_again(held, long, monkeypatch):
    with tdw.open(long) as run:
        rows = run.series(MAXIMUM)
    found = np.frombuffer(held.extremes(MAXIMUM), "<f8").reshape(4, -1)
    np.testing.assert_array_equal(found, [rows.min(0), rows.max(0), rows.min(0), np.full(rows.shape[1], CHECKPOINTS)])
    monkeypatch.setattr(run_arrays.reductions, "series", lambda *_: pytest.fail("it was read again"))
    np.testing.assert_array_equal(np.frombuffer(held.extremes(MAXIMUM), "<f8").reshape(4, -1), found)
    monkeypatch.undo()
    monkeypatch.setattr(run_arrays, "KEPT_EXTREMES", 100)
    held.extremes(NORMS)
    assert not held._extremes, "more than may be kept"


@pytest.mark.parametrize(
    ("query", "sentence"),
    [
        ("points/losses/train?every=0", "every must be from 1 to 131072 epochs (got 0)"),
        ("points/losses/train?every=131073", "every must be from 1 to 131072 epochs (got 131073)"),
        ("points/losses/train?every=64&from=3", "from must be a multiple of every, 64 (got 3)"),
        (
            "points/losses/train?every=1",
            "the response would have 70001 buckets, the limit is 4096: request fewer epochs",
        ),
        ("points/losses/train?every=-1", "every must be a non-negative integer (got '-1')"),
        ("points/losses/train?every=", "every must be a non-negative integer (got '')"),
        ("points/losses/train?to=1e3", "to must be a non-negative integer (got '1e3')"),
        ("points/losses/train?from=99999999999", "from must be a non-negative integer"),
        (f"points/{SHARE}?every=64", "share"),
        ("points/split/train?every=64", "split/train"),
        ("at_checkpoints/checkpoints/epoch", "checkpoints/epoch"),
        ("at_checkpoints/nothing", "nothing"),
        ("extremes/nothing", "nothing"),
        ("extremes/split/train", "split/train"),
        ("array/losses/train?step=0", "step must be 1 or more (got 0)"),
        ("array/losses/train?step=-2", "step must be a non-negative integer (got '-2')"),
        ("array/losses/train?to=%D9%A1", "to must be a non-negative integer"),
        ("neurons?ids=1&step=0", "step must be 1 or more (got 0)"),
        ("scores?step=x", "step must be a non-negative integer (got 'x')"),
    ],
)
def test_what_cannot_be_sent_is_a_sentence_before_anything_is_read(open_window_on, query, sentence):
    window, base = open_window_on
    before = memory(window.process.pid)
    answer = window.ask(f"{base}/{query}", Cookie=window.cookie)
    assert answer.status == 404
    assert sentence in json.loads(answer.body)["error"]
    assert memory(window.process.pid) - before < 5e6


@pytest.fixture(scope="module")
def open_window_on(window, long):
    """The app with the long run, and the address of its data."""
    assert window.do("open", path=str(long))[0] == 200
    return window, f"/runs/{key_of(long)}"


def test_bounds_are_held_against_the_run_before_anything_is_read(held, monkeypatch):
    monkeypatch.setattr(run_arrays.reductions, "series", lambda *_: pytest.fail("it was read"))
    monkeypatch.setattr(run_arrays, "MAX_EXTREMES", 1000)
    for ask in (
        lambda: held.points("losses/train", 0),
        lambda: held.points("losses/train", 1),
        lambda: held.points("losses/train", curve_points.BLOCK + 1),
        lambda: held.extremes(SHARE),
        lambda: held.array(SHARE, 0, None, 0),
    ):
        with pytest.raises(AppError):
            ask()
    for ask in (lambda: held.points(SHARE, 64), lambda: held.at_checkpoints(SHARE), lambda: held.extremes("x/y")):
        with pytest.raises(UnknownNameError):
            ask()
    assert held.array(SHARE, 10**8, 10**9, 10**8).nbytes == 0


def test_a_page_of_a_replaced_file_notices_rows_that_are_others(tmp_path, long, monkeypatch):
    monkeypatch.setenv("TDW_STATE_DIR", str(tmp_path / "state"))
    path = Path(shutil.copy(long, tmp_path / "own.tdw"))
    runs = OpenRuns(RecentFiles())
    with runs.at(path) as run:
        before = run.manifest()["contents"]
        rows_of(run, SHARE, 0, None, 100)
        rows_of(run, SHARE, 333, 340)
        run.points("losses/train", 128)
        with store.open_writer(path) as writer:
            writer.set_notes({"title": "noted", "tags": [], "remark": ""})
        assert run.manifest()["contents"] == before, "a new file with the same rows"

        whole = path.read_bytes()
        with tdw.open(path) as there:
            row = there.series(SHARE, 335, 336).tobytes()
        with store.open_writer(path) as writer:
            rows = {
                name: writer.reader.read(f"analysis/neuron_frequencies/{name}").copy() for name in ("share", "epoch")
            }
            rows["share"][335] *= 0.5
            plan = writer.reader.analyses()["neuron_frequencies"]
            again = store.AnalysisPlan("neuron_frequencies", plan.version, plan.parameters, plan.arrays, CHECKPOINTS)
            writer.plan_analyses([again], remove=["neuron_frequencies"])
            writer.append_rows({"neuron_frequencies": rows})
        assert row in whole
        after = run.manifest()["contents"]
        assert {name for name in before if after[name] != before[name]} == {SHARE}
    runs.close()


def fetched(page) -> list[tuple[str, int]]:
    """What the page fetches of runs from now on: addresses and bytes."""
    found: list[tuple[str, int]] = []

    def note(answer) -> None:
        if "/runs/" in urlsplit(answer.url).path:
            found.append((answer.url, int(answer.headers.get("content-length", 0))))

    page.on("response", note)
    return found


@pytest.mark.browser
def test_a_long_run_opens_within_its_budget_and_shows_what_the_file_has(page, open_window, long):
    window = open_window(long)
    asked = fetched(page)
    page.goto(window.address)
    page.wait_for_function(PAINTED)
    page.evaluate("tdw.ready")
    page.wait_for_function(EXACT)
    page.wait_for_timeout(500)  # what is fetched ahead
    assert 1e6 < sum(size for _, size in asked) <= BUDGET
    drawn = random.Random(7)
    with tdw.open(long) as run:
        share, norms, clusters = (run.series(name) for name in (SHARE, NORMS, "analysis/neuron_clusters/frequency"))
        train, test = run.series("losses/train"), run.series("losses/test")
        grid = page.evaluate(f"tdw.viewer.run.array('{SHARE}').step")
        assert grid > 1
        for index in [0, CHECKPOINTS - 1, grid, 2 * grid, *(drawn.randrange(CHECKPOINTS) for _ in range(12))]:
            page.evaluate("index => tdw.show(index)", index)
            page.wait_for_function(f"tdw.painted === {index} && {EXACT}")
            k, neuron, component = 1 + drawn.randrange(29), drawn.randrange(256), drawn.randrange(59)
            got = page.evaluate("([k, n]) => tdw.probe('neuron_frequencies', k, n).value", [k, neuron])
            assert got == share[index, k - 1, neuron]
            got = page.evaluate("i => tdw.probe('embedding_frequencies', i).value", component)
            assert got == norms[index, component]
            of = f"tdw.panel('neuron_frequencies').reading({index})"
            assert page.evaluate(of).startswith(f"{np.count_nonzero(clusters[index] > 0)} of 256 in")
            values = page.evaluate("epoch => tdw.probe('loss', epoch).values", 100 * index)
            assert values == pytest.approx([train[100 * index], test[100 * index]], rel=0, nan_ok=True)
            shown = page.evaluate("tdw.panel('neuron_activations').shownNeurons()")
            picked = drawn.choice(shown)
            got = np.reshape(page.evaluate("n => tdw.panel('neuron_activations').map(n)", picked), (59, 59))
            np.testing.assert_allclose(got, run.neuron_map(100 * index, picked), atol=2e-6)
        largest = page.evaluate("Array.from(tdw.panel('neuron_activations').maps.largestEver)")
        np.testing.assert_array_equal(largest, run.series(MAXIMUM).max(0))
        low, high = page.evaluate("tdw.panel('embedding_frequencies').full.y")
        assert (low, high) == (0, pytest.approx(1.16 * norms.max()))
    assert memory(window.process.pid) < 300e6


@pytest.mark.browser
def test_a_scale_is_that_of_all_checkpoints_though_few_are_here(page, open_window, long):
    window = open_window(long)
    page.goto(window.address)
    page.wait_for_function(PAINTED)
    asked = fetched(page)
    page.evaluate("tdw.choose('Logits')")
    page.wait_for_function(f"{PAINTED} && {EXACT}")
    assert sum(size for _, size in asked) <= BUDGET
    name = "analysis/logit_spectrum/norm"
    with tdw.open(long) as run:
        norms = run.series(name)
    assert page.evaluate(f"tdw.viewer.run.array('{name}').held().length") < CHECKPOINTS / 2
    assert page.evaluate("tdw.panel('logit_spectrum').top") == norms.max()
    for index in (123, 688):
        page.evaluate("index => tdw.show(index)", index)
        page.wait_for_function(f"tdw.painted === {index} && {EXACT}")
        assert page.evaluate("tdw.probe('logit_spectrum', 7, 31).value") == norms[index, 7, 31]


@pytest.mark.browser
def test_while_a_checkpoint_is_on_its_way_the_nearest_one_is_shown_and_said_to_be_so(page, open_window, long):
    window = open_window(long)
    waiting = []
    is_held = {"on": False}

    def hold(route) -> None:
        if is_held["on"]:
            waiting.append(route)
        else:
            route.continue_()

    page.route("**/runs/*/array/**", hold)
    page.goto(window.address)
    page.wait_for_function(PAINTED)
    page.evaluate("tdw.ready")
    page.wait_for_function(EXACT)
    grid = page.evaluate(f"tdw.viewer.run.array('{SHARE}').step")
    is_held["on"] = True
    target = 3 * grid + grid // 3
    page.evaluate("index => tdw.show(index)", target)
    page.wait_for_function(f"tdw.painted === {target}")
    card = page.locator(".tdw-card", has_text="Neuron–frequency clusters")
    text = card.locator(".tdw-waiting-for").inner_text()
    assert text.replace("\u202f", "") == f"epoch {300 * grid}, loading {100 * target}"
    with tdw.open(long) as run:
        share = run.series(SHARE)
    assert page.evaluate("tdw.probe('neuron_frequencies', 4, 9).value") == share[3 * grid, 3, 9], "not the slider's"
    assert page.locator(".tdw-where").inner_text().replace("\u202f", "").endswith(f"{target + 1} / {CHECKPOINTS}")
    # Fast: everything is painted at once, and one request of each array is under way.
    before = len(waiting)
    for index in range(target, target + 60):
        page.evaluate("index => tdw.show(index)", index)
        page.wait_for_function(f"tdw.painted === {index}")
    assert len(waiting) == before
    # The answer for a checkpoint that the slider has left is not shown in place of another.
    is_held["on"] = False
    for route in waiting:
        route.continue_()
    page.wait_for_function(EXACT)
    assert page.evaluate("tdw.probe('neuron_frequencies', 4, 9).value") == share[target + 59, 3, 9]
    assert not card.locator(".tdw-waiting-for").is_visible()


@pytest.mark.browser
def test_what_the_page_keeps_of_a_long_run_is_bounded(page, open_window, long):
    window = open_window(long)
    page.goto(window.address)
    page.wait_for_function(PAINTED)
    page.evaluate("tdw.ready")
    for index in range(0, CHECKPOINTS, 23):
        page.evaluate("index => tdw.show(index)", index)
        page.wait_for_function(f"tdw.painted === {index} && {EXACT}")
    kept = page.evaluate("[...tdw.viewer.run.arrays.values()].reduce((sum, { data }) => sum + data.byteLength, 0)")
    assert kept < BUDGET
    tables = page.evaluate(
        "[...tdw.panel('neuron_activations').maps.tables.kept.values()].reduce((sum, { tables }) => sum + tables.size, 0)"
    )
    assert tables * 4 * (1 + 2 * 4 * 59) < 33e6


@pytest.mark.browser
def test_a_long_curve_shows_every_spike_and_is_exact_where_it_is_zoomed_in(page, open_window, tmp_path):
    path = plant(tmp_path / "curve.tdw", checkpoints=11, every=20_000, p=11, d_model=16, heads=2, d_mlp=16)
    window = open_window(path)
    asked = fetched(page)
    page.goto(window.address)
    page.wait_for_function(PAINTED)
    page.evaluate("tdw.ready")
    assert sum(size for _, size in asked) < 1e6
    with tdw.open(path) as run:
        train, test = run.series("losses/train"), run.series("losses/test")
    spike, zero, infinite = 200_001 // 3 + 7, 200_001 // 2 + 11, 10 * (200_001 // 17)
    xs, ys = page.evaluate("(({ xs, ys }) => [xs, ys])(tdw.panel('loss').lines[0])")
    assert (spike, 3.5) in zip(xs, ys, strict=True)
    assert [train[x] for x in xs] == ys
    named = page.evaluate("tdw.probe('loss', 0).off.map((of) => of.map((words) => words.replace(/\u202f/g, '')))")
    assert named == [[f"0 at epoch {zero}"], [f"∞ at epoch {infinite}"]]
    for index, epoch in enumerate(range(0, 200_001, 20_000)):
        page.evaluate("index => tdw.show(index)", index)
        page.wait_for_function(f"tdw.painted === {index}")
        assert page.evaluate("epoch => tdw.probe('loss', epoch).values", epoch) == [train[epoch], test[epoch]]
    panel = "tdw.panel('loss')"
    page.evaluate(f"{panel}.frame.setView({{ x: [60000, 60900], y: {panel}.full.y }})")
    page.wait_for_function(f"{panel}.lines.every(({{ long }}) => long.fine?.every === 1)")
    xs, ys = page.evaluate("(({ xs, ys }) => [xs, ys])(tdw.panel('loss').lines[0])")
    inside = [(x, y) for x, y in zip(xs, ys, strict=True) if 60_000 <= x <= 60_900]
    assert inside == [(x, train[x]) for x in range(60_000, 60_901)]
    tip = page.evaluate(f"{panel}.hover(60123)")
    assert tip[2] == page.evaluate("([t, e]) => `test ${t} at ${e}`", [tip[2].split()[1], "60\u202f120"])
    page.evaluate(f"{panel}.frame.setView(null)")
    tip = page.evaluate(f"{panel}.hover(130001)")
    assert " to " in tip[1], "the least and the greatest of a bucket"


@pytest.mark.browser
def test_of_a_short_run_everything_is_there_at_once(page, open_window, tiny_run):
    window = open_window(tiny_run)
    page.goto(window.address)
    page.wait_for_function(PAINTED)
    page.evaluate("tdw.ready")
    asked = fetched(page)
    for index in range(page.evaluate("tdw.count")):
        page.evaluate("index => tdw.show(index)", index)
        page.wait_for_function(f"tdw.painted === {index}")
    assert asked == []
