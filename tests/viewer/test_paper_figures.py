"""Figures by matplotlib: each panel's numbers at their places, compared with the Plotly figure of the same panel."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from tdw import panels
from tdw.analyses import summary
from tdw.errors import AnalysisNotFoundError, TdwError
from tdw.panels import content, selection
from tdw.panels.describe import drawable
from tests.viewer.synthetic import Made

matplotlib = pytest.importorskip("matplotlib")
from tdw.panels import matplotlib_figures  # noqa: E402

EPOCH = 200


@pytest.fixture(autouse=True)
def planted_events(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(summary, "events", lambda project: project.events())  # the synthetic run plants its own


def kinds() -> dict[str, Made]:
    """Runs of which different panels are defined, and one that lacks most results."""
    sizes: dict[str, Any] = {"p": 7, "d_mlp": 12, "checkpoints": 4}
    return {
        "transformer": Made(**sizes, everything=True),
        "one-hot": Made(**sizes, everything=True, network="one-hot", activation="quadratic"),
        "two-token": Made(**sizes, everything=True, network="two-token"),
        "first view": Made(**sizes),
    }


def drawn(made: Made, name: str, epoch: int | None = EPOCH, width: float = 178, **picks: str) -> Any:
    """The matplotlib figure, and what it is of."""
    _, spec, at = drawable(made, name, epoch, picks)  # type: ignore[arg-type]
    shown = content.content(made, spec, at)  # type: ignore[arg-type]
    with matplotlib.rc_context(matplotlib_figures.settings()):
        return matplotlib_figures.draw(shown, epoch, width, None), shown


def ready(made: Made) -> list[str]:
    return [one.header.name for one in panels.describe(made) if one.header.state.status == "ready"]  # type: ignore[arg-type]


def lines_of(axes: Any) -> list[Any]:
    return [line for line in axes.lines if not line.get_label().startswith("_")]


def assert_same(axes: list[Any], shown: content.Content, plotly: Any) -> None:
    """The artists of a figure have the numbers of the Plotly figure, at its places."""
    match shown:
        case content.Curves():
            theirs = [trace for trace in plotly.data if trace.showlegend is None]
            ours = lines_of(axes[0])
            assert len(ours) == len(theirs)
            for line, trace in zip(ours, theirs, strict=True):
                np.testing.assert_array_equal(line.get_xdata(), trace.x)
                np.testing.assert_array_equal(line.get_ydata(), trace.y)
                assert (line.get_label(), line.get_color()) == (trace.name, trace.line.color)
            assert axes[0].get_yscale() == (plotly.layout.yaxis.type or "linear")
            assert any(line.get_label() == "_epoch" and list(line.get_xdata()) == [EPOCH] * 2 for line in axes[0].lines)
        case content.Bars():
            (trace,) = plotly.data
            tops = [bar.get_y() + bar.get_height() for bar in axes[0].patches]
            np.testing.assert_allclose(tops, trace.y, rtol=1e-6)
            assert [bar.get_x() + bar.get_width() / 2 for bar in axes[0].patches] == pytest.approx(range(len(tops)))
            faces = [matplotlib.colors.to_hex(bar.get_facecolor()) for bar in axes[0].patches]
            assert faces == list(trace.marker.color)
        case content.Heat():
            (trace,) = plotly.data
            assert_cells(axes[0], np.asarray(trace.z), [float(x) for x in trace.x] if shown.is_history else None)
            low, high = axes[0].collections[0].get_clim()
            assert low == trace.zmin
            assert trace.zmax in (None, high)
            assert axes[0].yaxis_inverted() == (plotly.layout.yaxis.autorange == "reversed")
        case content.Maps():
            for one, trace in zip(axes, plotly.data, strict=False):
                assert_cells(one, np.asarray(trace.z), None)
                assert one.yaxis_inverted()
        case content.Spans():
            theirs = [(trace.x[0], trace.x[1], trace.y[0]) for trace in plotly.data]
            names = [label.get_text() for label in axes[0].get_yticklabels()]
            assert names == [name for *_, name in theirs]
            ours = {int(line.get_ydata()[0]): tuple(line.get_xdata()) for line in lines_of(axes[0])}
            for row, (start, end, _) in enumerate(theirs):
                assert start is None or ours[row] == (start, end)
        case content.Path():
            np.testing.assert_array_equal(
                axes[0].lines[0].get_xydata(), np.stack([plotly.data[0].x, plotly.data[0].y], 1)
            )
            here = next(line for line in axes[0].lines if line.get_label() == "_here")
            assert tuple(here.get_xydata()[0]) == (plotly.data[1].x[0], plotly.data[1].y[0])
        case content.Table():
            (trace,) = plotly.data
            theirs = [
                text
                for head, column in zip(trace.header["values"], trace.cells["values"], strict=True)
                for text in (head, *column)
            ]
            assert [text.get_text() for text in axes[0].texts] == theirs
    if not isinstance(shown, content.Table | content.Maps):
        titles = [(title or "") for title in (plotly.layout.xaxis.title.text, plotly.layout.yaxis.title.text)]
        assert [axes[0].get_xlabel(), axes[0].get_ylabel().replace("\n", " ")] == titles


def assert_cells(axes: Any, table: np.ndarray, x: list[float] | None) -> None:
    mesh = axes.collections[0]
    np.testing.assert_array_equal(np.ma.filled(mesh.get_array().astype(float), np.nan), table)
    corners = mesh.get_coordinates()
    np.testing.assert_array_equal(corners[:, 0, 1], np.arange(len(table) + 1) - 0.5)
    if x is None:
        np.testing.assert_array_equal(corners[0, :, 0], np.arange(table.shape[1] + 1) - 0.5)
    else:
        np.testing.assert_allclose(corners[0, 1:-1, 0], (np.array(x[1:]) + x[:-1]) / 2)


@pytest.mark.parametrize("kind", ["transformer", "one-hot", "two-token", "first view"])
def test_every_panel_of_every_view_has_the_numbers_of_its_plotly_figure(kind: str) -> None:
    made = kinds()[kind]
    names = ready(made)
    assert len(names) >= (5 if kind == "first view" else 20)
    for name in names:
        _, spec, _ = drawable(made, name, EPOCH, {})  # type: ignore[arg-type]
        titles = selection.titles_of(spec)
        for picks in [{"view": title} for title in titles] if len(titles) > 1 else [{}]:
            if kind == "first view" and picks.get("view") == "Unembedding":
                with pytest.raises(AnalysisNotFoundError, match="no results of unembedding_frequencies"):
                    drawn(made, name, **picks)
                continue
            figure, shown = drawn(made, name, **picks)
            assert_same(figure.axes, shown, panels.figure(made, name, EPOCH, **picks))  # type: ignore[arg-type]


def test_every_axis_has_a_title_and_quantities_have_units() -> None:
    units = {
        "loss": "loss (nats)",
        "restricted_loss": "loss (nats)",
        "neuron_share": "share of variance in one frequency",
    }
    for made in kinds().values():
        for name in ready(made):
            _, spec, _ = drawable(made, name, EPOCH, {})  # type: ignore[arg-type]
            shown = content.content(made, spec, EPOCH)  # type: ignore[arg-type]
            if isinstance(shown, content.Table | content.Spans):
                continue
            assert shown.x_title, name
            assert shown.y_title or isinstance(shown.y[0], str), name
            if name in units:
                assert shown.y_title == units[name]
            if isinstance(shown, content.Heat) and not shown.value_names:
                assert shown.value_title, name


def test_no_epoch_is_marked_unless_one_is_given_and_text_is_inside_the_figure() -> None:
    made = kinds()["transformer"]
    figure, _ = drawn(made, "restricted_loss", None, 85)
    assert not any(line.get_label() == "_epoch" for line in figure.axes[0].lines)
    figure.draw_without_rendering()
    for name in ready(made):
        figure, _ = drawn(made, name, EPOCH, 178 if name == "baselines" else 85)
        figure.draw_without_rendering()
        box = figure.get_tightbbox()
        wide, high = figure.get_size_inches()
        assert box.x0 > -0.02, name
        assert box.y0 > -0.02, name
        assert box.x1 < wide + 0.02, name
        assert box.y1 < high + 0.02, name


def test_numbers_off_the_scale_are_dotted_marked_and_said() -> None:
    made = kinds()["first view"]
    train = np.full(301, 0.5)
    train[250:] = 0
    made._losses["losses/train"] = train
    axes = drawn(made, "loss")[0].axes[0]
    np.testing.assert_array_equal(lines_of(axes)[0].get_ydata(), np.where(train == 0, np.nan, train))
    (dotted,) = (line for line in axes.lines if line.get_label() == "_off")
    assert list(dotted.get_xdata()) == [249, *range(250, 301)]
    (start,) = (line for line in axes.lines if line.get_label() == "_start")
    assert list(start.get_xdata()) == [250]
    assert "train 0 from epoch 250" in [one.get_text() for one in axes.texts]


def test_names_of_runs_and_curves_are_no_formulas_and_a_figure_without_room_is_refused() -> None:
    made = kinds()["first view"]
    shown = content.Bars(
        names=("$x^2$", "b"), heights=np.array([1.0, 2.0]), colored=np.array([True, False]), level=None, reference=None,
        is_log=False, x_title="$", y_title="_$a$", missing="",
    )  # fmt: skip
    with matplotlib.rc_context(matplotlib_figures.settings()):
        axes = matplotlib_figures.draw(shown, None, 85, None).axes[0]
        assert [label.get_text() for label in axes.get_xticklabels()] == ["$x^2$", "b"]
        assert not axes.get_xticklabels()[0].get_parse_math()
    with pytest.raises(TdwError, match="has no room"):
        drawn(made, "loss", width=12)


def test_ticks_are_written_as_numbers_are_everywhere() -> None:
    thin = "\u202f"
    for ticks, expected in (
        ([0, 250, 500, 1000], ["0", "250", "500", f"1{thin}000"]),
        ([-0.02, 0, 0.02], ["−0.02", "0.00", "0.02"]),
        ([0, 2.5, 5], ["0.0", "2.5", "5.0"]),
        ([-1e-7, 0, 1e-7], ["−10⁻⁷", "0", "10⁻⁷"]),
        ([0, 2e7], ["0", "2·10⁷"]),
    ):
        assert matplotlib_figures.linear_text(np.array(ticks, float)) == expected
