"""Panels: what the page draws, and from which arrays.

A panel is a function that describes itself (`spec`), registered with the name of its view (`registry.panel`). Every module
in `views/` is imported: a new panel is one declaration there, and nothing else. The page knows kinds of panel, not panels.

`describe(project)` is what the page is told; `figure(project, name, epoch)` draws the same description as a Plotly figure.
"""

from tdw.panels import registry
from tdw.panels.describe import array_index, describe, figure
from tdw.panels.registry import PANELS, Panel, find

registry.load("tdw.panels.views")

__all__ = ["PANELS", "Panel", "array_index", "describe", "figure", "find"]
