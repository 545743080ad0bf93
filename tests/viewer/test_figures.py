"""Panels as plain Plotly figures: the stored numbers, what menus offer, and errors."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tdw import panels
from tdw.analyses import summary
from tdw.errors import CheckpointNotFoundError, NotApplicableError, ProjectError, TdwError, UnknownNameError
from tdw.panels import off_scale, selection
from tdw.project.records import Notes
from tdw.text_format import short
from tests.viewer.synthetic import Made


@pytest.fixture(scope="module")
def run() -> Made:
    return Made(p=7, d_mlp=12, checkpoints=4, everything=True)


@pytest.fixture(scope="module")
def one_hot() -> Made:
    return Made(p=7, d_mlp=12, checkpoints=4, everything=True, network="one-hot", activation="quadratic")


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


def test_figures_of_what_is_chosen_in_the_menus(run: Made) -> None:
    def drawn(name: str, **picks: str) -> Any:
        return panels.figure(run, name, 200, **picks)  # type: ignore[arg-type]

    loss = run.series("analysis/restricted_loss/loss")  # keys, rule, variant, side
    by_clusters = drawn("restricted_loss", rule="clusters", side="train", keys="keys per checkpoint")
    for i, line in enumerate(by_clusters.data):
        np.testing.assert_array_equal(line.y, loss[:, 1, 2, i, 1])
    assert "(by clusters · keys per checkpoint · train)" in by_clusters.layout.title.text
    (alone,) = drawn("restricted_loss", variant="block_3x3").data
    np.testing.assert_array_equal(alone.y, loss[:, 0, 0, 2, 2])
    rules = drawn("restricted_loss", compare="rule", variant="block_2x2", side="test pairs").data
    assert [line.name for line in rules] == ["logit cosine", "neuron maps", "clusters", "embedding"]
    for i, line in enumerate(rules):
        np.testing.assert_array_equal(line.y, loss[:, 0, i, 1, 2])
    assert len(drawn("restricted_loss", compare="none").data) == 1
    heads = drawn("attention_frequency_history", view="Variance of attention of each head", token="=")
    np.testing.assert_array_equal(heads.data[0].z, run.series("analysis/attention/variance")[:, :, 2].T)
    assert "Variance of attention over training (on =)" in heads.layout.title.text
    right = np.unpackbits(run.series("analysis/accuracy/correct")[2])[:49].reshape(7, 7)
    np.testing.assert_array_equal(drawn("pair_graduation", view="Correct at this checkpoint").data[0].z, right)
    path = drawn("weight_trajectory", plane="2 and 3").data[0]
    position = run.series("analysis/weight_trajectory/position")[0, 0]
    np.testing.assert_array_equal(path.y, position[:, 2])


def test_every_option_of_every_menu_can_be_drawn(run: Made, one_hot: Made) -> None:
    drawn = set()
    for made in (run, one_hot):
        for panel in panels.describe(made):  # type: ignore[arg-type]
            if panel.spec is None or panel.header.state.status != "ready":
                continue
            choices, titles = selection.choices_of(panel.spec), selection.titles_of(panel.spec)
            picks = [{name: option} for name, menu in choices.items() for option in menu.options]
            picks += [{"view": title} for title in titles if len(titles) > 1]
            for pick in picks:
                panels.figure(made, panel.header.name, 200, **pick)  # type: ignore[arg-type]
                drawn.add((panel.header.name, *pick))
    expected = {("restricted_loss", "rule"), ("weight_trajectory", "group"), ("attention", "view"), ("loss", "view")}
    assert expected < drawn
    assert len(drawn) > 15


def test_unknown_choices_and_options_are_refused_with_those_there_are(run: Made) -> None:
    for name, picks, sentence in (
        ("loss", {"rule": "clusters"}, "no choice of this panel is named 'rule': there are view"),
        ("restricted_loss", {"rul": "clusters"}, "no choice of this panel is named 'rul': did you mean 'rule'"),
        (
            "restricted_loss",
            {"rule": "best"},
            "no option of 'rule' is named 'best': there are logit_cosine, neuron_map",
        ),
        (
            "restricted_loss",
            {"compare": "token"},
            "no option of 'compare' is named 'token': there are variant, rule, keys",
        ),
        (
            "restricted_loss",
            {"compare": "rule", "rule": "clusters"},
            "'rule' is both chosen and compared: drop one of the two",
        ),
        ("attention", {"view": "x"}, "no option of 'view' is named 'x': there are Mean, Variance"),
    ):
        with pytest.raises(TdwError, match=sentence):
            panels.figure(run, name, 200, **picks)  # type: ignore[arg-type]


def test_figures_of_every_kind_carry_the_stored_numbers(
    run: Made, one_hot: Made, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(summary, "events", lambda project: project.events())  # the synthetic run plants its own

    def drawn(name: str) -> Any:
        return panels.figure(run, name, 200).data  # type: ignore[arg-type]

    loss = run.series("analysis/restricted_loss/loss")
    variants = drawn("restricted_loss")
    assert [line.name for line in variants] == ["sum directions", "2 × 2 blocks", "3 × 3 blocks", "logit fit"]
    for i, line in enumerate(variants):
        np.testing.assert_array_equal(line.y, loss[:, 0, 0, i, 2])
        np.testing.assert_array_equal(line.x, run.checkpoints)
    full, restricted, excluded = drawn("progress_losses")
    np.testing.assert_array_equal(full.y, run.series("analysis/loss/loss")[:, 2])
    np.testing.assert_array_equal(restricted.y, loss[:, 0, 0, 0, 2])
    np.testing.assert_array_equal(excluded.y, run.series("analysis/excluded_loss/together")[:, 0, 0])
    np.testing.assert_array_equal(drawn("weight_speed")[0].y, run.series("analysis/weight_trajectory/speed")[0])
    mean, median = drawn("neuron_share")
    share, dead = (run.series(f"analysis/neuron_summary/{name}")[2] for name in ("share", "dead"))
    assert (mean.y[2], median.y[2]) == pytest.approx((share[dead == 0].mean(), np.median(share[dead == 0])))
    np.testing.assert_array_equal(
        drawn("unembedding_frequencies")[0].y, run.series("analysis/unembedding_frequencies/norms")[2]
    )
    np.testing.assert_array_equal(drawn("attention")[0].z, run.series("analysis/attention/mean")[2])
    shares = drawn("attention_frequencies")[0]
    np.testing.assert_array_equal(shares.z, run.series("analysis/attention/share")[2].T)
    assert list(shares.y) == ["head 0", "head 1", "head 2", "head 3"]
    lottery = drawn("neuron_clusters")[0]
    np.testing.assert_array_equal(lottery.z, run.series("analysis/neuron_clusters/count").T)
    spectrum = run.series("analysis/logit_spectrum/norm")[2]
    np.testing.assert_allclose(
        drawn("logit_spectrum")[0].z, np.log10(np.maximum(spectrum, spectrum.max() / 1e4)), rtol=1e-6
    )
    graduated = run.series("analysis/pair_graduation/epoch")[0]
    np.testing.assert_array_equal(drawn("pair_graduation")[0].z, np.where(graduated < 0, np.nan, graduated))
    path, here = drawn("weight_trajectory")
    position = run.series("analysis/weight_trajectory/position")[0, 0]
    np.testing.assert_array_equal(path.x, position[:, 0])
    assert (here.x[0], here.y[0]) == tuple(position[2, :2])
    names = [line.y[0] for line in drawn("events")]
    assert names == [
        "train loss below 0.1",
        "test loss below 0.1",
        "test loss above 0.1 again: not reached",
        "test accuracy at least 0.99: not recorded",
    ]
    cells = drawn("baselines")[0].cells.values
    gini = run.series("analysis/sparsity/embedding_gini")[2]
    assert dict(zip(cells[0], cells[1], strict=True))["Gini of W_E frequencies"] == short(float(gini))
    with pytest.raises(NotApplicableError, match=r"phase_alignment.*It needs a one-hot MLP"):
        drawn("phase_alignment")
    lines = panels.figure(one_hot, "phase_alignment", 200).data  # type: ignore[arg-type]
    of_neurons = one_hot.series("analysis/phase_alignment/neuron")[2]
    assert lines[1].y[2] == pytest.approx(np.nanmedian(of_neurons))


def test_figures_name_their_run() -> None:
    made = Made(p=5, d_mlp=8, checkpoints=2, everything=True)
    made.notes = Notes(title="<b>x</b> & $y$")
    for name in panels.PANELS.keys() - {"phase_alignment"}:
        figure = panels.figure(made, name, 100)  # type: ignore[arg-type]
        assert figure.layout.title.subtitle.text == "made up.tdw · &lt;b&gt;x&lt;/b&gt; &amp; &#36;y&#36;"


def test_errors_say_what_to_do(run: Made) -> None:
    with pytest.raises(UnknownNameError, match="did you mean 'loss'"):
        panels.figure(run, "los", 100)  # type: ignore[arg-type]
    with pytest.raises(CheckpointNotFoundError, match="no checkpoint at epoch 150: the nearest stored one is 100"):
        panels.figure(run, "loss", 150)  # type: ignore[arg-type]
    partly = Made(p=5, d_mlp=8, checkpoints=4)
    partly.covered["embedding_frequencies"] = 2
    with pytest.raises(ProjectError, match=r"has embedding_frequencies at 2 of its 4 checkpoints, not at epoch 300"):
        panels.figure(partly, "embedding_frequencies", 300)  # type: ignore[arg-type]


def test_figures_draw_zeros_infinities_nan_and_gaps_as_four_different_things() -> None:
    made = Made(p=7, d_mlp=12, checkpoints=4)
    train, test = np.full(301, 0.5), np.full(301, 2.0)
    train[250:] = 0  # to the end
    test[100:104] = np.inf
    test[200:230] = np.nan  # not evaluated
    made._losses |= {"losses/train": train, "losses/test": test}
    data = panels.figure(made, "loss").data  # type: ignore[arg-type]
    np.testing.assert_array_equal(data[0].y, np.where(train == 0, np.nan, train))  # Plotly draws 0 far below the plot
    assert set(range(200, 230)).isdisjoint(data[1].x)
    zeros, name, infinite, other = data[2:]
    assert list(zeros.x) == [249, *range(250, 301)]
    assert zeros.y[0] == 0.5
    assert list(zeros.customdata[:2]) == ["0.500", "0"]
    assert {*zeros.y[1:]} == {min(zeros.y)}
    assert 0 < min(zeros.y) < 0.5
    assert list(np.flatnonzero(zeros.marker.size)) == [1]  # one mark, where it begins
    assert name.text[0] == "train 0 from epoch 250"
    assert list(infinite.x) == [99, 100, 101, 102, 103, 104]
    assert max(infinite.y) > 2
    assert other.text[0] == "test ∞ at epochs 100–103"
    linear = panels.figure(made, "loss", view="Accuracy").data  # type: ignore[arg-type]
    assert len(linear) == 2, "0 has a place on a linear axis"
    made._losses["losses/train"] = np.zeros(301)
    made._losses["losses/test"] = np.full(301, np.nan)
    assert "train 0 from epoch 0" in [one.text[0] for one in panels.figure(made, "loss").data if one.text]  # type: ignore[arg-type]


def test_a_run_of_losses_only_has_a_figure_of_them_and_one_without_says_so() -> None:
    made = Made(p=7, d_mlp=12, checkpoints=4)
    made.kept, made.covered = 0, {}
    figure = panels.figure(made, "loss")  # type: ignore[arg-type]
    np.testing.assert_array_equal(figure.data[0].y, made.series("losses/train"))
    assert "epoch 300 marked" in figure.layout.title.text
    assert "epoch 150 marked" in panels.figure(made, "loss", 150).layout.title.text  # type: ignore[arg-type]
    with pytest.raises(ProjectError, match="has no epoch 301: it has epochs 0 to 300"):
        panels.figure(made, "loss", 301)  # type: ignore[arg-type]
    with pytest.raises(NotApplicableError, match="It shows weights, and this run has losses only"):
        panels.figure(made, "weight_norms")  # type: ignore[arg-type]
    made.recorded = 200
    with pytest.raises(CheckpointNotFoundError, match="tdw train"):  # it can still be trained
        panels.figure(made, "weight_norms")  # type: ignore[arg-type]
    bare = Made(p=7, d_mlp=12, checkpoints=4)
    bare._losses = {name: np.full_like(values, np.nan) for name, values in bare._losses.items()}
    with pytest.raises(NotApplicableError, match="no recorded values"):
        panels.figure(bare, "loss")  # type: ignore[arg-type]


def test_what_is_off_the_scale_is_said_as_on_the_page() -> None:
    cases = json.loads((Path(__file__).parents[1] / "js/off_scale.cases.json").read_text())
    assert len(cases) > 5
    for case in cases:
        values = np.array([float(value) for value in case["values"]])
        found = off_scale.stretches(off_scale.kinds(values, is_log=case["isLog"], is_curve=case.get("isCurve", False)))
        assert [one.words(case["epochs"]) for one in found] == case["said"]
        assert [one.words(case["epochs"]) for one in off_scale.named(found)] == case["named"]


def test_curves_without_the_class_that_measures_leave_out_say_so() -> None:
    for classes, unit in (("answers", ""), ("tokens", "without the class '='")):
        made = Made(p=5, d_mlp=8, checkpoints=2, classes=classes)
        (spec,) = (panel.spec for panel in panels.describe(made) if panel.header.name == "checkpoint_loss")  # type: ignore[arg-type]
        assert {quantity.unit for quantity in spec.quantities} == {unit}  # type: ignore[union-attr]


def test_baselines_of_other_definitions_are_left_out() -> None:
    made = Made(p=5, d_mlp=8, checkpoints=2, everything=True)
    name = "permutation_baselines"
    made._arrays |= {
        f"analysis/{name}/{array}": made.series(f"analysis/baselines/{array}").copy()
        for array in ("band", "p", "epoch")
    }
    made.covered[name] = 2

    def columns() -> list[str]:
        return list(panels.figure(made, "baselines", 100).data[0].header["values"])  # type: ignore[arg-type]

    assert columns() == ["", "now", "untrained", "p", "relabeled", "p"]
    made.old_version.add(name)
    assert columns() == ["", "now", "untrained", "p"]


def test_what_people_read_is_in_one_dictionary_and_identifiers_are_accepted_too(run: Made) -> None:
    from tdw.analyses import ANALYSES
    from tdw.panels.names import READABLE

    stored = [*ANALYSES["restricted_loss"].parameters["variants"], *ANALYSES["key_frequencies"].parameters["rules"]]
    assert list(READABLE) == stored, "every identifier that a menu offers has a name, and no other"
    for spelled in ("block_3x3", "3 × 3 blocks"):
        figure = panels.figure(run, "restricted_loss", 200, variant=spelled)  # type: ignore[arg-type]
        np.testing.assert_array_equal(figure.data[0].y, run.series("analysis/restricted_loss/loss")[:, 0, 0, 2, 2])
        assert "(3 × 3 blocks · by logit cosine" in figure.layout.title.text
    rows = panels.figure(run, "key_frequencies", 200).data[0].y  # type: ignore[arg-type]
    assert list(rows) == ["logit cosine", "neuron maps", "clusters", "embedding"]
