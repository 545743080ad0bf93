"""What the synchronized page is made of.

The page is plain JavaScript without a build step. Every script only adds to `window.TdwViewer` when it loads, so their
order does not matter; `TdwViewer.mount(element, {base, events})` may be called once all are there.
"""

from __future__ import annotations

import hashlib
import html
from collections.abc import Mapping
from functools import cache
from importlib.util import find_spec
from pathlib import Path
from typing import NamedTuple

HERE = Path(__file__).parent
STYLES = ("tokens.css", "viewer.css", "toolbars.css", "tabs.css", "menu.css", "panels.css")
SCRIPTS = (
    "format.js",
    "color.js",
    "data_source.js",
    "neuron_map.js",
    "tooltip.js",
    "notice.js",
    "plot_frame.js",
    "framed_panel.js",
    "card.js",
    "choices.js",
    "heat.js",
    "lines.js",
    "curve.js",
    "bars.js",
    "maps.js",
    "image.js",
    "grid.js",
    "spans.js",
    "path.js",
    "table.js",
    "transport.js",
    "tabs.js",
    "card_state.js",
    "docbar.js",
    "viewer.js",
)
PLOTLY = "plotly.min.js"


class Asset(NamedTuple):
    """One file of the page."""

    name: str
    path: Path
    media_type: str


def plotly_script() -> Path:
    """Plotly's script, from the installed `plotly` package: nothing is fetched from elsewhere."""
    package = find_spec("plotly")
    if package is None or package.origin is None:
        raise ModuleNotFoundError("the plotly package is missing: `pip install plotly`")
    return Path(package.origin).parent / "package_data" / PLOTLY


def assets() -> list[Asset]:
    """Every file the page needs, styles first, then Plotly, then the page's own scripts."""
    return [
        *(Asset(name, HERE / name, "text/css") for name in STYLES),
        Asset(PLOTLY, plotly_script(), "text/javascript"),
        *(Asset(name, HERE / name, "text/javascript") for name in SCRIPTS),
    ]


@cache
def digest(path: Path) -> str:
    """A name for the bytes of a file, for addresses that may be cached for ever."""
    return hashlib.blake2b(path.read_bytes(), digest_size=8).hexdigest()


def address(asset: Asset) -> str:
    """Where the app serves an asset; differs when its bytes do."""
    return f"/assets/{asset.name}?v={digest(asset.path)}"


def head(addresses: Mapping[str, str] | None = None) -> str:
    """The tags that load the page's styles and scripts. `addresses`: by name, where not those of `address`."""
    tags = []
    for asset in assets():
        where = html.escape((addresses or {}).get(asset.name) or address(asset), quote=True)
        if asset.media_type == "text/css":
            tags.append(f'<link rel="stylesheet" href="{where}">')
        else:
            tags.append(f'<script src="{where}"></script>')
    return "".join(tags)
