"""`tdw runs`: the runs in a folder, or groups of them, as lines of text."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from tdw import interrupts
from tdw.cli.streams import say, say_json
from tdw.safe_text import cut
from tdw.text_format import count

if TYPE_CHECKING:
    from tdw.statistics.collection import Group, Runs

MOST_SETTINGS = 6  # columns of the table; `--csv` has all
WIDEST = 60  # characters of a cell
UNINTERESTING = ("device", "threads", "d_head")  # how a run was trained, or what follows from other settings


def runs_command(arguments: argparse.Namespace) -> None:
    """List the runs in a folder: state, events and the settings in which they differ; with --group, statistics of each group."""
    from tdw.statistics.collection import runs

    found = runs(arguments.folder).filter(*arguments.where or ())
    interrupts.at_work()
    every = len(found)
    for problem in found.problems:
        say(f"tdw: {problem.message}", error=True)
    groups = found.group(*arguments.group) if arguments.group else []
    if arguments.parquet:
        from tdw.statistics.tables import write_parquet

        write_parquet(arguments.parquet, *_table(found, groups))
        say(f"{arguments.parquet}: {count(len(groups) or every, 'row')} written.")
    elif arguments.csv:
        from tdw.statistics.tables import csv_text

        say(*csv_text(*_table(found, groups)).splitlines())
    elif arguments.json:
        rows, _ = _table(found, groups)
        say_json({"runs" if not groups else "groups": rows, "problems": [vars(problem) for problem in found.problems]})
    elif groups:
        say(*_aligned([_group_cells(group) for group in groups]), *_comparison(groups))
    else:
        say(*_aligned([_run_cells(row, _shown(found)) for row in found.rows]), *_counts(found))


def _table(runs: Runs, groups: Sequence[Group]) -> tuple[list[dict[str, Any]], Sequence[str]]:
    """Rows and columns of what is exported: runs, or groups."""
    if not groups:
        return runs.rows, runs.columns
    rows = [group.key | _statistics(group) for group in groups]
    return rows, tuple(rows[0])


def _statistics(group: Group) -> dict[str, Any]:
    """Numbers of a group: how its runs ended, and the median delay with its 95 % interval, in epochs."""
    from tdw.statistics.durations import durations
    from tdw.statistics.outcomes import outcomes

    delay = durations(group.runs)
    median = delay.survival().quantile(0.5)
    return outcomes(group.runs)._asdict() | {
        "median_delay": median.value,
        "median_delay_low": median.low,
        "median_delay_high": median.high,
        "censored": delay.censored,
    }


def _group_cells(group: Group) -> dict[str, str]:
    from tdw.statistics.collection import text_of

    cells = {name: text_of(value) for name, value in (group.key | _statistics(group)).items()}
    value, low, high = (cells.pop(f"median_delay{end}") for end in ("", "_low", "_high"))
    value, low, high = (text if text != "none" else "not reached" for text in (value, low, high))
    nothing = cells["memorized"] == "0"  # and so no delay
    interval = "" if {value, low, high} == {"not reached"} else f" ({low} to {high})"
    cells["median delay (95 % interval)"] = "none memorized" if nothing else f"{value}{interval}"
    return cells


def _comparison(groups: Sequence[Group]) -> list[str]:
    """The log-rank test between the groups that have runs that memorized."""
    from tdw.statistics.durations import durations
    from tdw.statistics.survival import log_rank

    delays = [times for times in (durations(group.runs) for group in groups) if times.time.size]
    if len(delays) < 2:
        return []
    test = log_rank([(times.time, times.happened) for times in delays])
    if test.p is None:
        return ["log-rank test of equal delays: not possible, there are too few events"]
    return [f"log-rank test of equal delays: chi² = {test.chi2:.3g}, {test.df} df, p = {test.p:.2g}"]


def _shown(runs: Runs) -> list[str]:
    """The settings that the table shows: those that differ, as far as there is room."""
    return [name for name in runs.varying() if name not in UNINTERESTING][:MOST_SETTINGS]


def _run_cells(row: dict[str, Any], settings: Sequence[str]) -> dict[str, str]:
    from tdw.statistics.collection import text_of

    return {
        "file": row["path"],
        "state": row["state"],
        "epoch": str(row["recorded_epochs"]),
        "outcome": row["outcome"]
        if row["diverged_at"] is None
        else f"{row['outcome']} (ended at {row['diverged_at']})",
        "memorized": text_of(row["memorized_0.1"]),
        "generalized": text_of(row["generalized_0.1"]),
        "delay": text_of(row["delay_max"]),
        **{name: cut(text_of(row[name]), WIDEST) for name in settings},
    }


def _outcome(row: dict[str, Any]) -> str:
    ended = [] if row["diverged_at"] is None else [f"diverged at {row['diverged_at']}"]
    return ", ".join([*([row["outcome"]] if row["outcome"] != "diverged" else []), *ended])


def _counts(runs: Runs) -> list[str]:
    from tdw.statistics.outcomes import outcomes

    found = outcomes(runs)
    lines = [
        f"{count(found.runs, 'run')}: {found.memorized} memorized, {found.generalized} generalized, {found.diverged} diverged"
    ]
    if copies := runs.copies():
        lines.append(
            f"{count(copies, 'file')} {'is a copy' if copies == 1 else 'are copies'} of a run listed above: statistics count it again"
        )
    return lines


def _aligned(rows: Sequence[dict[str, str]]) -> list[str]:
    """Rows as lines with a header, in columns of equal width."""
    if not rows:
        return []
    lines = [list(rows[0]), *(list(row.values()) for row in rows)]
    widths = [max(len(line[i]) for line in lines) for i in range(len(lines[0]))]
    return ["  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)).rstrip() for line in lines]
