"""Figures of the benchmarks as JSON, and two such files compared: `python -m tests.benchmarks.figures OLD NEW`."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

FIGURES: dict[str, dict[str, float]] = {}


def row(what: str, value: str, **numbers: float) -> None:
    """One line of the table. numbers: what it says, by unit, for `save`."""
    print(f"| {what} | {value} |", flush=True)
    if numbers:
        FIGURES[what] = numbers


def save(path: str | Path, machine: dict[str, Any]) -> None:
    """Write all figures so far. machine: what they were measured on."""
    Path(path).write_text(json.dumps({"machine": machine, "figures": FIGURES}, indent=1) + "\n", "utf-8")


def compared(old: dict[str, Any], new: dict[str, Any]) -> list[str]:
    """Lines of a table of both files' figures and their ratios, new over old; a figure that one file lacks has no ratio."""
    lines = []
    if old["machine"] != new["machine"]:
        lines += [f"Measured on different machines: {old['machine']} and {new['machine']}.", ""]
    lines += ["| what | unit | old | new | ratio |", "|---|---|---|---|---|"]
    for what in dict.fromkeys([*old["figures"], *new["figures"]]):
        before, after = (side["figures"].get(what, {}) for side in (old, new))
        for unit in dict.fromkeys([*before, *after]):
            a, b = before.get(unit), after.get(unit)
            shown = ["" if value is None else f"{value:.4g}" for value in (a, b)]
            ratio = f"{b / a:.2f}" if a and b is not None else ""
            lines.append(f"| {what} | {unit} | {' | '.join(shown)} | {ratio} |")
    return lines


if __name__ == "__main__":
    if len(sys.argv) != 3:
        sys.exit("python -m tests.benchmarks.figures OLD.json NEW.json")
    print("\n".join(compared(*(json.loads(Path(name).read_text("utf-8")) for name in sys.argv[1:]))))
