"""Figures of two runs of the benchmarks, compared."""

import json

from tests.benchmarks import figures


def test_figures_are_written_and_compared(tmp_path, monkeypatch, capsys):
    for name, seconds in (("old", 0.2), ("new", 0.05)):
        monkeypatch.setattr(figures, "FIGURES", {})
        figures.row("analysis", "shown", s=seconds, MB=8.0)
        figures.row(f"only {name}", "shown", s=1.0)
        figures.row("words only", "shown")
        figures.save(tmp_path / name, {"cores": 2})
    assert capsys.readouterr().out.count("| shown |") == 6
    old, new = (json.loads((tmp_path / name).read_text()) for name in ("old", "new"))
    assert figures.compared(old, new) == [
        "| what | unit | old | new | ratio |",
        "|---|---|---|---|---|",
        "| analysis | s | 0.2 | 0.05 | 0.25 |",
        "| analysis | MB | 8 | 8 | 1.00 |",
        "| only old | s | 1 |  |  |",
        "| only new | s |  | 1 |  |",
    ]
    assert "different machines" in figures.compared(old, new | {"machine": {"cores": 4}})[0]
