"""Hostile texts, and how they must be shown."""

from __future__ import annotations

import unicodedata

MARKUP = (
    """<img src=x onerror="window.ran='img'"><script>window.ran='script'</script>&amp;<b>b</b><a href="//x">a</a>"""
)
TEMPLATE = "${window.ran='js'}{{window.ran='template'}}{{{value}}}<%= 1 %>$x$"
CONTROLS = "\x1b[2J\x1b]0;title\x07\x08\t\x7f\x9b31m"
BIDI = "\u202e\u202a\u2066\u2067\u2068\u2069\u200e\u200f\u061c\ufeff\u200b"
ALL = MARKUP + TEMPLATE + CONTROLS + BIDI
IN_NAMES = "<img src=x onerror=window.ran=1>" + TEMPLATE.replace("/", "") + CONTROLS + BIDI + "\n&amp;"  # no slash


def unshown(text: str) -> list[str]:
    """Characters without a shape, which must not reach a page or a terminal."""
    bad = {"Cc", "Cf", "Cs", "Zl", "Zp"}
    return [f"U+{ord(char):04X}" for char in text if unicodedata.category(char) in bad and char not in "\u200c\u200d"]
