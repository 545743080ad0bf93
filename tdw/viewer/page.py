"""The files that the page is made of, and their addresses.

The page is plain JavaScript without a build step: ES modules that import one another by relative path
(`import { el } from "./dom.js"`, `"../viewer/dom.js"` from `tdw/app`). All modules therefore share one folder in their
addresses, `./assets/VERSION/`, where VERSION is a hash of them all; styles and Plotly are versioned one by one.
"""

from __future__ import annotations

import hashlib
import html
from collections.abc import Iterable
from functools import cache
from importlib.util import find_spec
from pathlib import Path
from typing import NamedTuple

HERE = Path(__file__).parent
STYLES = ("tokens.css", "viewer.css", "toolbars.css", "tabs.css", "menu.css", "panels.css")
PLOTLY = "plotly.min.js"
ENTRY = "viewer/viewer.js"  # the module that exports `mount`


class Asset(NamedTuple):
    """One file of the page. `name` of a module is FOLDER/FILE, so that relative imports resolve."""

    name: str
    path: Path
    media_type: str

    @property
    def is_module(self) -> bool:
        """Whether this is an ES module of ours."""
        return "/" in self.name


def plotly_script() -> Path:
    """Path of Plotly's script in the installed `plotly` package. Raises ModuleNotFoundError."""
    package = find_spec("plotly")
    if package is None or package.origin is None:
        raise ModuleNotFoundError("the plotly package is missing: `pip install plotly`")
    return Path(package.origin).parent / "package_data" / PLOTLY


def modules(folder: Path, place: str = "") -> list[Asset]:
    """The ES modules in a folder. place: the folder in addresses, from which modules import each other"""
    place = place or folder.name
    return [Asset(f"{place}/{path.name}", path, "text/javascript") for path in sorted(folder.glob("*.js"))]


def assets() -> list[Asset]:
    """Every file the viewer needs: styles, Plotly, modules."""
    return [
        *(Asset(name, HERE / name, "text/css") for name in STYLES),
        Asset(PLOTLY, plotly_script(), "text/javascript"),
        *modules(HERE),
    ]


@cache
def digest(path: Path) -> str:
    """Hash of a file's bytes, for addresses that may be cached forever."""
    return hashlib.blake2b(path.read_bytes(), digest_size=8).hexdigest()


def addresses(files: Iterable[Asset]) -> dict[str, str]:
    """Where assets are served, by name: addresses relative to the page, because a proxy may show it below any path. An
    address changes whenever the bytes behind it do.
    """
    files = list(files)
    all_modules = "".join(f"{asset.name} {digest(asset.path)}\n" for asset in files if asset.is_module)
    version = hashlib.blake2b(all_modules.encode(), digest_size=8).hexdigest()
    return {
        asset.name: f"./assets/{version}/{asset.name}"
        if asset.is_module
        else f"./assets/{asset.name}?v={digest(asset.path)}"
        for asset in files
    }


def head() -> str:
    """The tags that load styles and Plotly and preload every module, for a page of the viewer alone."""
    tags = []
    for name, address in addresses(assets()).items():
        where = html.escape(address, quote=True)
        if name.endswith(".css"):
            tags.append(f'<link rel="stylesheet" href="{where}">')
        elif name == PLOTLY:
            tags.append(f'<script src="{where}"></script>')
        else:
            tags.append(f'<link rel="modulepreload" href="{where}">')
    return "".join(tags)
