"""The registry of panels, what it tells the viewer, and the same numbers as plain Plotly figures."""

from __future__ import annotations

import json
import re
import subprocess
import sys

import numpy as np
import pytest

from tdw import panels
from tdw.analyses import ANALYSES
from tdw.errors import CheckpointNotFound, ProjectError, UnknownName
from tdw.panels.registry import GROUPS
from tdw.viewer import page

from .synthetic import Made

KINDS = {"curve", "bars", "maps", "image", "grid", "spans", "path", "table"}


@pytest.fixture(scope="module")
def run() -> Made:
    return Made(p=7, d_mlp=12, checkpoints=4, everything=True)


@pytest.fixture(scope="module")
def one_hot() -> Made:
    return Made(p=7, d_mlp=12, checkpoints=4, everything=True, network="one-hot", activation="quadratic")


@pytest.mark.parametrize("panel", panels.PANELS.values(), ids=lambda panel: panel.name)
def test_every_panel_keeps_its_promises(panel: panels.Panel, run: Made, one_hot: Made) -> None:
    if panel.name == "phase_alignment":
        run = one_hot
    spec = next(spec for spec in panels.describe(run) if spec["name"] == panel.name)  # type: ignore[arg-type]
    assert json.loads(json.dumps(spec)) == spec
    assert spec["kind"] in KINDS
    assert spec["arrays"] or panel.name == "events", "a panel names the arrays it reads; events are in the manifest"
    assert set(spec["arrays"]) <= set(run.array_index())
    named = set(re.findall(r"(?:analysis|losses|accuracy)/[\w/]+", json.dumps({**spec, "arrays": []})))
    assert named <= set(spec["arrays"]), "an array that is used but not listed would never be fetched"
    figure = panels.figure(run, panel.name, 100)  # type: ignore[arg-type]
    assert json.loads(figure.to_json())["data"]
    assert "100" in figure.layout.title.text


def test_panels_stand_in_the_order_of_the_page(run: Made) -> None:
    groups: dict[str, list[str]] = {}
    for spec in panels.describe(run):  # type: ignore[arg-type]
        groups.setdefault(spec["group"], []).append(spec["name"])
    assert list(groups) == list(GROUPS)
    assert groups["Overview"] == ["loss", "embedding_frequencies", "neuron_activations", "neuron_frequencies"]
    for group, names in groups.items():
        assert len(names) <= 4, f"{group} does not fit without scrolling"
        assert [panels.PANELS[name].place for name in names] == list(range(1, len(names) + 1))


def test_every_measure_has_a_panel_that_reads_it(run: Made, one_hot: Made) -> None:
    read = {array for made in (run, one_hot) for spec in panels.describe(made) for array in spec["arrays"]}  # type: ignore[arg-type]
    assert {name.split("/")[1] for name in read if name.startswith("analysis/")} == set(ANALYSES) - {"events"}


def test_figures_carry_the_stored_numbers(run: Made) -> None:
    bars = panels.figure(run, "embedding_frequencies", 200).data[0]  # type: ignore[arg-type]
    assert list(bars.x) == ["constant", "cos 1", "sin 1", "cos 2", "sin 2", "cos 3", "sin 3"]
    np.testing.assert_array_equal(bars.y, run.series("analysis/embedding_frequencies/norms")[2])
    heat = panels.figure(run, "neuron_frequencies", 300).data[0]  # type: ignore[arg-type]
    share = run.series("analysis/neuron_frequencies/share")[3]
    np.testing.assert_array_equal(heat.z, share[:, [int(neuron) for neuron in heat.x]])
    assert (heat.zmin, heat.zmax) == (0, 1)
    train, test = panels.figure(run, "loss").data  # type: ignore[arg-type]
    assert len(train.x) == 301
    np.testing.assert_array_equal(test.x, np.arange(0, 301, 10))
    neurons = panels.figure(run, "neuron_activations", 300)  # type: ignore[arg-type]
    shown = [int(title.text.split()[1]) for title in neurons.layout.annotations]
    np.testing.assert_allclose(neurons.data[0].z, run.neuron_map(300, shown[0]))


def test_figures_say_of_which_run_they_are() -> None:
    made = Made(p=5, d_mlp=8, checkpoints=2, everything=True)
    made.notes["title"] = "<b>x</b> & $y$"
    for name in panels.PANELS.keys() - {"phase_alignment"}:
        figure = panels.figure(made, name, 100)  # type: ignore[arg-type]
        assert figure.layout.title.subtitle.text == "made up.tdw · &lt;b&gt;x&lt;/b&gt; &amp; &#36;y&#36;"


def test_refusals_say_what_to_do(run: Made) -> None:
    with pytest.raises(UnknownName, match="did you mean 'loss'"):
        panels.figure(run, "los", 100)  # type: ignore[arg-type]
    with pytest.raises(CheckpointNotFound, match="no checkpoint at epoch 150: the nearest stored one is 100"):
        panels.figure(run, "loss", 150)  # type: ignore[arg-type]
    partly = Made(p=5, d_mlp=8, checkpoints=4)
    partly.covered["embedding_frequencies"] = 2
    with pytest.raises(ProjectError, match=r"holds embedding_frequencies of 2 of its 4 checkpoints, not of epoch 300"):
        panels.figure(partly, "embedding_frequencies", 300)  # type: ignore[arg-type]


def test_states_of_an_analysis(run: Made) -> None:
    made = Made(p=5, d_mlp=8, checkpoints=4)

    def status(name: str) -> str:
        spec = next(spec for spec in panels.describe(made) if spec["name"] == name)  # type: ignore[arg-type]
        return str(spec["state"]["status"])

    assert status("neuron_frequencies") == "ready"
    made.covered["neuron_frequencies"] = 2
    assert status("neuron_frequencies") == "partial"
    made.old_version = {"neuron_frequencies"}
    assert status("neuron_frequencies") == "stale"
    del made.covered["neuron_frequencies"]
    assert status("neuron_frequencies") == "missing"
    assert status("loss") == "ready"


def test_every_asset_is_there_and_named_by_its_bytes() -> None:
    names = [asset.name for asset in page.assets()]
    assert len(names) == len(set(names))
    scripts = {path.name for path in page.HERE.glob("*.js")}
    assert scripts == set(page.SCRIPTS), "a script that is not listed would never be loaded"
    assert {path.name for path in page.HERE.glob("*.css")} == set(page.STYLES)
    for asset in page.assets():
        assert asset.path.stat().st_size > 0
        assert re.fullmatch(rf"/assets/{re.escape(asset.name)}\?v=[0-9a-f]{{16}}", page.address(asset))


def test_scripts_reach_nothing_outside() -> None:
    for asset in page.assets():
        if asset.name != page.PLOTLY:
            found = re.findall(r"https?://[^\s\"')]+", asset.path.read_text())
            assert set(found) <= {"http://www.w3.org/2000/svg"}, asset.name


def test_no_text_is_ever_set_as_html() -> None:
    for name in page.SCRIPTS:
        assert not re.search(
            r"innerHTML|insertAdjacentHTML|document\.write|\beval\(", (page.HERE / name).read_text()
        ), name


def test_panels_load_neither_torch_nor_plotly() -> None:
    code = "import sys, tdw.panels, tdw.viewer.page; print(*sys.modules)"
    loaded = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.split()
    assert "tdw.panels.loss" in loaded
    assert "torch" not in loaded
    assert "plotly" not in loaded
