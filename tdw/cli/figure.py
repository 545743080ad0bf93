"""`tdw figure`: a panel as a file for a paper, or as an animation over the checkpoints."""

from __future__ import annotations

import argparse
from typing import Any

from tdw import interrupts
from tdw.cli.streams import say
from tdw.errors import TdwError
from tdw.safe_text import visible


def figure_command(arguments: argparse.Namespace) -> None:
    """Write a panel to a PDF, SVG, PNG or CSV file, or as an animation over the checkpoints. Prints a caption for it."""
    from tdw.cli.progress import frames_progress
    from tdw.operations.figure import figure
    from tdw.run import open as open_run

    interrupts.at_work()
    if arguments.list:
        with open_run(arguments.file) as run:
            say(*_listed(run))
        return
    out = arguments.out or arguments.animate
    if arguments.panel is None or out is None:
        raise TdwError(
            "name a panel and a file to write: `tdw figure FILE PANEL --out figure.pdf`. --list lists the panels."
        )
    look: dict[str, Any] = {
        "width_mm": arguments.width,
        "height_mm": arguments.height,
        "font": arguments.font,
        "caption": arguments.caption,
        "overwrite": arguments.force,
        **({} if arguments.dpi is None else {"dpi": arguments.dpi}),
        **dict(arguments.choose or ()),
    }
    if arguments.animate is None:
        caption = figure(arguments.file, arguments.panel, out, arguments.epoch, **look)
    else:
        with frames_progress(visible(arguments.file.name)) as progress:
            look |= {"fps": arguments.fps, "progress": progress}
            caption = figure(arguments.file, arguments.panel, out, arguments.epoch, **look)
    say(f"{out}: {caption}")


def _listed(run: Any) -> list[str]:
    """A line for each panel: its name, its title, what it has of choices, and why it cannot be drawn where it cannot."""
    from tdw import panels
    from tdw.panels import selection

    lines = []
    described = panels.describe(run)
    wide = max(len(one.header.name) for one in described)
    for one in described:
        notes = []
        if one.header.state.status in ("inapplicable", "missing", "outdated"):
            notes.append(one.header.state.reason or f"not analyzed: `tdw analyze FILE --only {one.header.analysis}`")
        elif one.spec is not None:
            titles = selection.titles_of(one.spec)
            menus = {"view": tuple(titles)} if len(titles) > 1 else {}
            for name, menu in selection.choices_of(one.spec).items():
                both = zip(menu.options, menu.names, strict=True)
                menus[name] = tuple(option if option == shown else f"{option} “{shown}”" for option, shown in both)
            notes += [f"{name}: {', '.join(options)}" for name, options in menus.items()]
        text = f"{one.header.view} · {one.header.title}"
        lines.append(f"{one.header.name:{wide}}  {text}" + (f" ({'; '.join(notes)})" if notes else ""))
    return lines
