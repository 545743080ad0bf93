"""The files of the page: their addresses, their imports, and what they must not contain."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from tdw.panels import theme
from tdw.viewer import page
from tests.viewer import declarations


def test_every_asset_is_there_and_named_by_its_bytes() -> None:
    where = page.addresses(page.assets())
    assert {path.name for path in page.HERE.glob("*.css")} == set(page.STYLES)
    assert {f"viewer/{path.name}" for path in page.HERE.glob("*.js")} < set(where)
    modules = set()
    for asset in page.assets():
        assert asset.path.stat().st_size > 0
        if asset.is_module:
            version, *name = where[asset.name].removeprefix("./assets/").split("/")
            assert "/".join(name) == asset.name
            modules.add(version)
        else:
            assert where[asset.name] == f"./assets/{asset.name}?v={page.digest(asset.path)}"
    assert len(modules) == 1, "relative imports need one folder"
    assert re.fullmatch("[0-9a-f]{16}", modules.pop())


def test_the_address_of_every_module_changes_with_the_bytes_of_any(tmp_path: Path) -> None:
    for name in ("a.js", "b.js"):
        (tmp_path / name).write_text(name)
    before = page.addresses(page.modules(tmp_path))
    page.digest.cache_clear()
    (tmp_path / "b.js").write_text("changed")
    after = page.addresses(page.modules(tmp_path))
    assert all(before[name] != after[name] for name in before)


def test_every_import_names_a_module_that_is_there() -> None:
    for asset in page.assets():
        if asset.is_module:
            for name in re.findall(r'^(?:import|export|\}) .*from "([^"]+)"', asset.path.read_text(), re.MULTILINE):
                assert (asset.path.parent / name).is_file(), (asset.name, name)


def test_scripts_reach_nothing_outside() -> None:
    for asset in page.assets():
        if asset.name != page.PLOTLY:
            found = re.findall(r"https?://[^\s\"')]+", asset.path.read_text())
            assert set(found) <= {"http://www.w3.org/2000/svg"}, asset.name


def test_no_text_is_ever_set_as_html() -> None:
    for asset in page.assets():
        if asset.is_module:
            text = asset.path.read_text()
            assert not re.search(r"innerHTML|insertAdjacentHTML|document\.write|\beval\(", text), asset.name


def test_declarations_of_the_page_are_those_of_the_dataclasses() -> None:
    assert (page.HERE / "panels.d.ts").read_text() == declarations.declarations()


@pytest.mark.parametrize("name", ["light", "dark"])
def test_the_page_and_figures_have_the_same_colors(name: str) -> None:
    light, _, dark = (page.HERE / "tokens.css").read_text().partition('[data-theme="dark"]')
    tokens = dict(re.findall(r"--tdw-([\w-]+): (#[0-9a-f]{6});", light if name == "light" else dark))
    assert tokens == theme.COLORS[name]
    assert theme.color("series-11") == theme.LIGHT["series-1"], "a color of figures is one of the page"
