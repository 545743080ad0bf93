"""Numbers and intervals as text: the cases that the page's scripts are held to as well."""

from __future__ import annotations

import json
from pathlib import Path

from tdw import text_format


def test_numbers_and_intervals_are_written_as_in_the_window() -> None:
    cases = json.loads((Path(__file__).parents[1] / "js/format.cases.json").read_text())
    assert set(cases) == {"integer", "short", "scientific", "fixed", "integers", "between", "count"}
    for name, rows in cases.items():
        assert len(rows) >= 3
        for given, expected in rows:
            if name == "between":
                written = text_format.between(tuple(given))
            elif name == "short":
                written = text_format.short(float(given))
            else:
                written = getattr(text_format, name)(*(given if isinstance(given, list) else [given]))
            assert written == expected, (name, given)
