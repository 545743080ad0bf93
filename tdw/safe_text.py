"""Untrusted text (file contents, file names, messages that quote them), made safe to display.

One rule, here and in `viewer/format.js`: invisible characters become visible. Control characters become their symbols
(ESC is ␛), other invisible ones their code point: ‹U+202E›. So text from a file cannot move a terminal's cursor, reverse
the rest of a line, or hide. HTML is not escaped here: pages insert text as text nodes.
"""

from __future__ import annotations

import json
import math
import os
import re
import shlex
import unicodedata
from typing import Any

# Control characters, lone surrogates, line and paragraph separators, and format characters: bidirectional marks,
# embeddings, overrides, isolates, invisible spaces.
UNSHOWN = frozenset({"Cc", "Cs", "Zl", "Zp", "Cf"})
JOINERS = "\u200c\u200d"  # needed by some scripts and emoji, and they affect only the characters they join


def visible(text: str, *, lines: bool = False) -> str:
    r"""The text with invisible characters replaced by visible ones; with `lines`, newlines are kept.

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
    r"""A path as typed in a command: quoted for the shell if necessary, and never mistaken for an option.

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
    """The text, truncated to `most` characters.

    >>> cut("x" * 99, 5)
    'xxxx…'
    """
    return text if len(text) <= most else text[: most - 1] + "…"


def shown(given: object) -> str:
    r"""A value that was given, in one line, for a message.

    >>> shown(None), shown("a"), shown(" "), shown([1, "a"])
    ('None', 'a', 'nothing', "[1, 'a']")
    """
    return cut(" ".join((given if isinstance(given, str) else repr(given)).split())) or "nothing"


def json_text(value: Any, indent: int | None = None) -> str:
    r"""A value as JSON in which invisible characters are escaped and all others are kept. NaN and infinities, which JSON lacks,
    become text.

    >>> json_text({"title": "ü \u202e \udcff"})
    '{"title": "ü \\u202e \\udcff"}'
    >>> json_text([1.5, math.nan, -math.inf])
    '[1.5, "NaN", "-Infinity"]'
    """
    written = json.dumps(_finite(value), indent=indent, ensure_ascii=False, allow_nan=False)
    return re.sub(r"[^ -~\n]", lambda found: _escaped(found[0]), written)  # newlines come from the indentation only


def _finite(value: Any) -> Any:
    match value:
        case float() if math.isnan(value):
            return "NaN"
        case float() if math.isinf(value):
            return "Infinity" if value > 0 else "-Infinity"
        case dict():
            return {name: _finite(item) for name, item in value.items()}
        case list() | tuple():
            return [_finite(item) for item in value]
    return value


def _escaped(char: str) -> str:
    return char if _shape(char) == char else json.dumps(char)[1:-1]
