"""Text from elsewhere (a file, its name, a message that quotes either), made safe to show.

One rule, here and in `viewer/format.js`: a character that has no shape of its own is shown as one. Control characters
become their symbols (ESC is ␛), what else is invisible becomes its number: ‹U+202E›. So nothing from a file moves a
terminal's cursor, turns the rest of a line around, or hides. HTML is no matter here: a page sets text as text.
"""

from __future__ import annotations

import json
import os
import re
import shlex
import unicodedata
from typing import Any

# Control characters, lone surrogates, separators of lines and paragraphs, and whatever only steers what stands beside it:
# the two bidirectional marks, embeddings, overrides, isolates, invisible spaces.
UNSHOWN = frozenset({"Cc", "Cs", "Zl", "Zp", "Cf"})
JOINERS = "\u200c\u200d"  # scripts and emoji are written with them, and they change only what they join


def visible(text: str, *, lines: bool = False) -> str:
    r"""The text with every character shown; with `lines`, ends of lines stay what they are.

    >>> visible("a\x1b[31mb\nc\u202ed\udcff")
    'a␛[31mb␊c‹U+202E›d‹U+DCFF›'
    """
    if text.isascii() and text.isprintable():
        return text
    return "".join(char if lines and char == "\n" else _shape(char) for char in text)


def _shape(char: str) -> str:
    if unicodedata.category(char) not in UNSHOWN or char in JOINERS:
        return char
    code = ord(char)
    if code < 0x20:
        return chr(0x2400 + code)
    return "\u2421" if code == 0x7F else f"‹U+{code:04X}›"


def typed(path: str | os.PathLike[str]) -> str:
    r"""A path as it is typed in a command: quoted where a shell would take it apart, and never read as an option.

    >>> typed("run.tdw"), typed("-lead dash.tdw"), typed("a\x1bb.tdw")
    ('run.tdw', "'./-lead dash.tdw'", "$'a\\x1bb.tdw'")
    """
    text = os.fspath(path)
    if text.startswith("-"):
        text = f"./{text}"
    if os.name == "nt":
        return f'"{text}"' if set(text) & set(" &()[]{}^=;!'+,`~%") else text
    if visible(text) == text:
        return shlex.quote(text)
    return "$'" + "".join(_in_quotes(byte) for byte in os.fsencode(text)) + "'"


def _in_quotes(byte: int) -> str:
    char = chr(byte)
    return char if char.isascii() and char.isprintable() and char not in "'\\" else f"\\x{byte:02x}"


def cut(text: str, most: int = 80) -> str:
    """The beginning of a text that may be as long as somebody likes.

    >>> cut("x" * 99, 5)
    'xxxx…'
    """
    return text if len(text) <= most else text[: most - 1] + "…"


def json_text(value: Any, indent: int | None = None) -> str:
    r"""A value as JSON that reads the same by eye and by machine: what has no shape is escaped, all else stands as it is.

    >>> json_text({"title": "ü \u202e \udcff"})
    '{"title": "ü \\u202e \\udcff"}'
    """
    written = json.dumps(value, indent=indent, ensure_ascii=False)
    return re.sub(r"[^ -~\n]", lambda found: _escaped(found[0]), written)  # line ends are those of the indentation


def _escaped(char: str) -> str:
    return char if _shape(char) == char else json.dumps(char)[1:-1]
