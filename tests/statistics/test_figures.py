"""Figures draw the numbers of the statistics."""

from __future__ import annotations

import numpy as np

from tdw.statistics.bands import Band
from tdw.statistics.collection import Runs
from tdw.statistics.durations import durations
from tdw.statistics.figures import band_figure, frequencies_figure, phase_figure, survival_figure
from tdw.statistics.frequencies import frequency_choices
from tdw.statistics.phase import phase_diagram
from tests.statistics.test_frequencies import made_up as with_frequencies
from tests.statistics.test_phase import MEMORIZED, grokked, made_up


def example() -> Runs:
    cells = [(1.0, 0.3, grokked(300 + 100 * n)) for n in range(6)] + [(1.0, 0.3, MEMORIZED)] * 2
    cells += [(0.1, 0.3, grokked(800))] + [(0.1, 0.3, MEMORIZED)] * 4 + [(0.1, 0.2, {})]
    return made_up(*cells)


def test_survival_steps_from_1_to_the_last_time():
    groups = example().group("weight_decay")
    figure = survival_figure(groups)
    lines = [trace for trace in figure.data if trace.mode == "lines" and trace.name]
    assert [trace.name for trace in lines] == [
        "weight_decay=0.1 (5 runs, 4 censored)", "weight_decay=1 (8 runs, 2 censored)"
    ]  # fmt: skip
    curve = durations(groups[1].runs).survival()
    assert lines[1].x.tolist() == [0, *curve.time, 900]
    assert lines[1].y.tolist() == [1, *curve.share, curve.share[-1]]
    assert lines[1].line.shape == "hv"
    ticks = [trace for trace in figure.data if trace.mode == "markers"][1]
    assert (ticks.x.tolist(), ticks.y.tolist()) == ([900, 900], [curve.share[-1]] * 2)


def test_cells_of_a_phase_diagram_are_told():
    figure = phase_figure(phase_diagram(example()))
    (cells,) = figure.data
    assert cells.x == ("0.1", "1")
    np.testing.assert_array_equal(cells.z, [[0, np.nan], [0.2, 0.75]])
    assert [list(row) for row in cells.text] == [["0 of 1", ""], ["1 of 5", "6 of 8<br>delay 600"]]


def test_a_band_lies_between_its_limits():
    x = np.arange(3)
    band = Band("test_loss", "epoch", 0.8, True, x, x, x + 2.0, x + 2.5, x + 1.0, x + 4.0, 5, 1)
    high, low, median, mean = band_figure(band).data
    assert (high.y.tolist(), low.y.tolist(), low.fill) == ([4, 5, 6], [1, 2, 3], "tonexty")
    assert (median.y.tolist(), mean.y.tolist(), mean.name) == ([2.5, 3.5, 4.5], [2, 3, 4], "geometric mean")
    assert band_figure(band).layout.title.subtitle.text == "5 runs, 1 left out"


def test_frequencies_are_counted_and_marked():
    choices = frequency_choices(with_frequencies([[1, 2]] * 12, 9))
    (bars,) = frequencies_figure(choices).data
    assert bars.y.tolist() == [12, 12, 0, 0, 0, 0, 0, 0, 0]
    assert len(set(bars.marker.color[:2])) == 1
    assert bars.marker.color[0] != bars.marker.color[2]
