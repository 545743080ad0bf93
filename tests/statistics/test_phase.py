"""Phase diagrams of made-up runs, counted by hand."""

from __future__ import annotations

import numpy as np
import pytest

from tdw.errors import TdwError
from tdw.statistics.collection import Runs
from tdw.statistics.phase import phase_diagram
from tests.statistics.conftest import row

MEMORIZED = {"memorized_0.1_after": 99, "memorized_0.1": 100}


def grokked(delay):
    end = 100 + delay
    return MEMORIZED | {
        "generalized_0.1_after": end - 10, "generalized_0.1": end, "delay_min": delay - 9, "delay_max": delay
    }  # fmt: skip


def made_up(*cells):
    rows = [row(**values) | {"weight_decay": x, "train_fraction": y} for x, y, values in cells]
    return Runs(lambda: (rows, []), lambda: ())


def test_every_cell_is_counted():
    runs = made_up(
        (1.0, 0.3, grokked(500)),
        (1.0, 0.3, grokked(700)),
        (1.0, 0.3, MEMORIZED),
        (1.0, 0.2, MEMORIZED),
        (1.0, 0.2, {}),
        (10.0, 0.3, MEMORIZED | {"diverged_at": 150, "test_loss_at": 140}),
    )
    found = phase_diagram(runs)
    assert (found.x_name, found.x, found.y_name, found.y) == ("weight_decay", [1.0, 10.0], "train_fraction", [0.2, 0.3])
    assert found.runs.tolist() == [[2, 0], [3, 1]]
    assert found.memorized.tolist() == [[1, 0], [3, 1]]
    assert found.generalized.tolist() == [[0, 0], [2, 0]]
    assert found.diverged.tolist() == [[0, 0], [0, 1]]
    assert found.censored.tolist() == [[1, 0], [1, 1]]
    # Two of three generalized: the median is the second, not the mean of the two.
    np.testing.assert_array_equal(found.delay, [[np.nan, np.nan], [700, np.nan]])
    np.testing.assert_array_equal(found.delay_low[1, 0], 500)
    assert np.isnan(found.delay_high).all()


def test_axes_are_columns_in_their_order():
    found = phase_diagram(
        made_up((None, 0.3, {}), (2.0, 0.3, {}), (10.0, 0.3, {})), x="train_fraction", y="weight_decay"
    )
    assert (found.x, found.y) == ([0.3], [None, 2.0, 10.0])
    with pytest.raises(TdwError, match=r"no column 'decay': did you mean weight_decay"):
        phase_diagram(made_up((1.0, 0.3, {})), x="decay")
