"""Files of the page that are generated from `tdw.panels`: `python -m tests.viewer.declarations` writes them.

`panels.d.ts` declares the dataclasses of `tdw.panels.spec` to the type checker of the page's scripts; the colors in
`tokens.css` are those of `colors.json`.
"""

from __future__ import annotations

import dataclasses
import re
import sys
import types
import typing
from collections.abc import Mapping

from tdw.panels import spec, theme
from tdw.viewer import page

HEAD = """// Descriptions of panels, generated from tdw/panels/spec.py: change it there and run `python -m tests.viewer.declarations`.
"""
NAMES = {bool: "boolean", int: "number", float: "number", str: "string", type(None): "null"}


def declarations() -> str:
    """The text of `panels.d.ts`."""
    classes = [
        item
        for item in vars(spec).values()
        if isinstance(item, type) and dataclasses.is_dataclass(item) and item is not spec.PanelDescription
    ]
    specs = typing.get_args(spec.Spec)
    union = " | ".join(item.__name__.replace("Spec", "Description") for item in specs)
    panels = [
        f"export type {item.__name__.replace('Spec', 'Description')} = PanelHeader & {item.__name__};\n"
        for item in specs
    ]
    return "\n".join([HEAD, *map(interface, classes), "".join(panels), f"export type PanelDescription = {union};\n"])


def interface(item: type) -> str:
    """One dataclass as an interface."""
    types_of = typing.get_type_hints(item)
    lines = [f"  {field.name}: {typescript(types_of[field.name])};\n" for field in dataclasses.fields(item)]
    kind = f'  kind: "{item.kind}";\n' if hasattr(item, "kind") else ""
    return f"export interface {item.__name__} {{\n{kind}{''.join(lines)}}}\n"


def typescript(annotation: typing.Any) -> str:
    """A Python type as TypeScript."""
    if annotation in NAMES:
        return NAMES[annotation]
    origin, arguments = typing.get_origin(annotation), typing.get_args(annotation)
    if origin is typing.Literal:
        return " | ".join(f'"{value}"' for value in arguments)
    if origin in (typing.Union, types.UnionType):
        return " | ".join(dict.fromkeys(typescript(part) for part in arguments))
    if origin is tuple and arguments[-1] is Ellipsis:
        part = typescript(arguments[0])
        return f"({part})[]" if " " in part else f"{part}[]"
    if origin is tuple:
        return f"[{', '.join(map(typescript, arguments))}]"
    if origin is Mapping:
        return f"Record<string, {typescript(arguments[1])}>"
    assert dataclasses.is_dataclass(annotation), annotation
    return typing.cast("type", annotation).__name__


def tokens(text: str) -> str:
    """`tokens.css` with the colors of `colors.json`."""
    light, _, dark = text.partition('[data-theme="dark"]')
    for colors, block in ((theme.COLORS["light"], light), (theme.COLORS["dark"], dark)):
        painted = block
        for name, color in colors.items():
            painted = re.sub(rf"(--tdw-{name}: )#[0-9a-f]+;", rf"\g<1>{color};", painted)
        text = text.replace(block, painted)
    return text


def main() -> None:
    """Write the generated files."""
    (page.HERE / "panels.d.ts").write_text(declarations())
    css = page.HERE / "tokens.css"
    css.write_text(tokens(css.read_text()))
    sys.stdout.write("wrote panels.d.ts and tokens.css\n")


if __name__ == "__main__":
    main()
