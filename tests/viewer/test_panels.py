"""The registry of panels and what it tells the page."""

from __future__ import annotations

import json
import subprocess
import sys
from types import FunctionType

import numpy as np
import pytest

from tdw import panels
from tdw.analyses import ANALYSES
from tdw.errors import UnknownNameError
from tdw.panels import reductions, registry
from tdw.panels.reductions import reduced
from tdw.panels.registry import VIEWS
from tdw.panels.spec import CurveSpec, GridSpec, Line, PanelDescription, Quantity, array_names
from tests.viewer.synthetic import Made


@pytest.fixture(scope="module")
def run() -> Made:
    return Made(p=7, d_mlp=12, checkpoints=4, everything=True)


@pytest.fixture(scope="module")
def one_hot() -> Made:
    return Made(p=7, d_mlp=12, checkpoints=4, everything=True, network="one-hot", activation="quadratic")


def described(run: Made) -> dict[str, PanelDescription]:
    """Descriptions of the panels by name, in the order of the page."""
    return {panel.header.name: panel for panel in panels.describe(run)}  # type: ignore[arg-type]


@pytest.mark.parametrize("panel", panels.PANELS.values(), ids=lambda panel: panel.name)
def test_every_panel_follows_the_contract(panel: panels.Panel, run: Made, one_hot: Made) -> None:
    if panel.name == "phase_alignment":
        run = one_hot
    found = described(run)[panel.name]
    assert found.spec is not None
    assert found.spec.kind == found.header.kind == panel.kind
    assert json.loads(json.dumps(found.to_json())) == found.to_json()
    assert found.header.arrays or panel.name == "events", (
        "a panel names the arrays it reads; events are in the manifest"
    )
    stored = set(panels.array_index(run, [found]))  # type: ignore[arg-type]
    assert all(name in stored or ANALYSES[name.split("/")[1]].on_request for name in found.header.arrays)
    assert set(array_names(found.spec)) == set(found.header.arrays), "an array that is not listed is never fetched"
    figure = panels.figure(run, panel.name, 100)  # type: ignore[arg-type]
    assert json.loads(figure.to_json())["data"]
    assert "100" in figure.layout.title.text


def test_panels_are_in_the_order_of_the_page(run: Made) -> None:
    views: dict[str, list[str]] = {}
    for name, panel in described(run).items():
        views.setdefault(panel.header.view, []).append(name)
    assert list(views) == list(VIEWS)
    assert views["Overview"] == ["loss", "embedding_frequencies", "neuron_activations", "neuron_frequencies"]
    assert views["Run"] == ["events", "baselines", "checkpoint_loss", "pair_graduation"]


def test_tables_over_a_and_b_have_the_same_directions(run: Made) -> None:
    """Those of the neuron maps: a downward, b to the right."""
    views = [view for panel in described(run).values() if isinstance(panel.spec, GridSpec) for view in panel.spec.views]
    square = [view for view in views if view.square]
    assert len(square) == 4
    assert all(view.downward and "a ↓ b →" in view.quantity for view in square)


def test_every_analysis_has_a_panel_that_reads_it(run: Made, one_hot: Made) -> None:
    arrays = {name for made in (run, one_hot) for panel in described(made).values() for name in panel.header.arrays}
    read = {source for name in arrays for source in sources(name)}
    assert {name.split("/")[1] for name in read if name.startswith("analysis/")} == set(ANALYSES) - {"events"}


def sources(name: str) -> tuple[str, ...]:
    """The stored arrays that a name stands for."""
    return reductions.parse(name).sources if name.startswith(reductions.PREFIX) else (name,)


def test_one_declaration_adds_a_panel_to_a_view_and_another_a_view(run: Made, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(registry, "PANELS", dict(registry.PANELS))

    def spec(_project: object) -> CurveSpec:
        return CurveSpec(
            quantities=(Quantity(title="Margin", axis="margin", lines=(Line(array="analysis/margin/mean"),)),)
        )

    for name, view in (("fifth", "Overview"), ("sixth", "Overview"), ("own", "Mine")):
        declared = FunctionType(spec.__code__, spec.__globals__, name)
        registry.panel(CurveSpec, view=view, title=name, analysis="margin")(declared)
    found = described(run)
    overview = [name for name, panel in found.items() if panel.header.view == "Overview"]
    assert overview[4:] == ["fifth", "sixth"]
    assert registry.views() == [*VIEWS, "Mine"]
    assert list(found)[-1] == "own"
    with pytest.raises(ValueError, match="two panels are named 'own'"):
        registry.panel(CurveSpec, view="Run", title="again")(declared)


# ---- reductions -----------------------------------------------------------------------------------------------


def test_reductions_are_those_of_a_naive_loop(run: Made) -> None:
    share, dead = (run.series(f"analysis/neuron_summary/{name}") for name in ("share", "dead"))
    count = run.series("analysis/neuron_clusters/count")
    assert dead.any()
    of_share = {
        how: reduced(how, "analysis/neuron_summary/share", unless="analysis/neuron_summary/dead")
        for how in ("mean", "median")
    }
    for row in range(len(share)):
        active = sorted(float(share[row, n]) for n in range(share.shape[1]) if not dead[row, n])
        numbers = {name: float(reductions.series(run, name)[row]) for name in of_share.values()}  # type: ignore[arg-type]
        assert numbers[of_share["mean"]] == pytest.approx(sum(active) / len(active))
        middle = len(active) // 2
        median = active[middle] if len(active) % 2 else (active[middle - 1] + active[middle]) / 2
        assert numbers[of_share["median"]] == pytest.approx(median)
        total = reductions.series(run, reduced("sum", "analysis/neuron_clusters/count", over=12))[row]  # type: ignore[arg-type]
        assert total == pytest.approx(sum(count[row].tolist()) / 12)


def test_reductions_leave_out_what_is_not_a_number_and_read_in_blocks(monkeypatch: pytest.MonkeyPatch) -> None:
    made = Made(p=7, d_mlp=12, checkpoints=4, everything=True)
    name, stored = reduced("mean", "analysis/neuron_summary/share"), made.series("analysis/neuron_summary/share").copy()
    stored[0], stored[1, :5] = np.nan, np.nan
    made._arrays["analysis/neuron_summary/share"] = stored
    numbers = reductions.series(made, name)  # type: ignore[arg-type]
    assert np.isnan(numbers[0])
    assert numbers[1] == pytest.approx(stored[1, 5:].mean())
    monkeypatch.setattr(reductions, "BLOCK", 1)
    np.testing.assert_array_equal(reductions.series(made, name), numbers)  # type: ignore[arg-type]
    np.testing.assert_array_equal(reductions.series(made, name, 1, 3), numbers[1:3])  # type: ignore[arg-type]


@pytest.mark.parametrize(
    "name",
    [
        "reduced/product/neuron_summary/share",
        "reduced/sum/../secret",
        "reduced/sum/neuron_summary/nothing",
        "reduced/sum/key_frequencies/key/at/1",
        "reduced/sum/neuron_summary/share/unless/key_frequencies/key",
    ],
)
def test_reductions_that_cannot_be_computed_are_refused(run: Made, name: str) -> None:
    with pytest.raises(UnknownNameError, match="is named"):
        reductions.series(run, name)  # type: ignore[arg-type]


# ---- states ---------------------------------------------------------------------------------------------------


def test_states_of_an_analysis(run: Made) -> None:
    made = Made(p=5, d_mlp=8, checkpoints=4)

    def status(name: str) -> str:
        return described(made)[name].header.state.status

    assert status("neuron_frequencies") == "ready"
    made.covered["neuron_frequencies"] = 2
    assert status("neuron_frequencies") == "partial"
    made.old_version = {"neuron_frequencies"}
    assert status("neuron_frequencies") == "stale"
    del made.covered["neuron_frequencies"]
    assert status("neuron_frequencies") == "missing"
    assert status("loss") == "ready"


def test_panels_load_neither_torch_nor_plotly() -> None:
    code = "import sys, tdw.panels, tdw.viewer.page; print(*sys.modules)"
    loaded = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.split()
    assert "tdw.panels.views.losses" in loaded
    assert "torch" not in loaded
    assert "plotly" not in loaded
