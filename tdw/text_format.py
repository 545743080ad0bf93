"""Numbers, sizes, times and intervals as text, the same in the terminal, in figures and in the window (`viewer/format.js`).

Thousands are separated by a narrow space, minus is −, powers of ten are written as 3.1·10⁻⁸, intervals as 1 025–1 030. Halves
are rounded away from 0, as JavaScript does. `tests/js/format.cases.json` holds both sides to the same texts.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from decimal import ROUND_HALF_UP, Context, Decimal

THIN_SPACE = "\u202f"  # narrow no-break space: "12 500" does not break across lines
NO_BREAK_SPACE = "\u00a0"  # between a number and its unit


MINUS = "−"
SUPERSCRIPTS = str.maketrans("-0123456789", "⁻⁰¹²³⁴⁵⁶⁷⁸⁹")


def integer(number: int) -> str:
    """An integer with its digits in groups of three.

    >>> integer(12500).split(THIN_SPACE), integer(-7)
    (['12', '500'], '−7')
    """
    return f"{number:,}".replace(",", THIN_SPACE).replace("-", MINUS)


def fixed(value: float, digits: int) -> str:
    """A finite number with so many digits after the point.

    >>> fixed(-0.0625, 3), fixed(1234.5, 0).split(THIN_SPACE)
    ('−0.063', ['1', '235'])
    """
    rounded = Decimal(value).quantize(Decimal(1).scaleb(-digits), ROUND_HALF_UP)
    return f"{rounded:,}".replace(",", THIN_SPACE).replace("-", MINUS)


def power(exponent: int) -> str:
    """A power of ten.

    >>> power(-8)
    '10⁻⁸'
    """
    return f"10{str(exponent).translate(SUPERSCRIPTS)}"


def scientific(value: float, digits: int) -> str:
    """A finite number with a power of ten and so many digits, without zeros at their end.

    >>> scientific(1720000, 3), scientific(-1e-8, 2), scientific(0.0, 2)
    ('1.72·10⁶', '−10⁻⁸', '0')
    """
    if value == 0:
        return "0"
    rounded = Context(prec=digits, rounding=ROUND_HALF_UP).create_decimal(Decimal(abs(value)))
    mantissa = f"{rounded.scaleb(-rounded.adjusted()).normalize():f}"
    sign = MINUS if value < 0 else ""
    return f"{sign}{'' if mantissa == '1' else mantissa + '·'}{power(rounded.adjusted())}"


def short(value: float) -> str:
    """A value for a reading, with two or three digits.

    >>> short(0.4118), short(40.81), short(3.14e-5), short(math.nan), short(-math.inf)
    ('0.412', '40.8', '3.1·10⁻⁵', '–', '−∞')
    """
    if math.isnan(value):
        return "–"
    if math.isinf(value):
        return "∞" if value > 0 else f"{MINUS}∞"
    size = abs(value)
    if size == 0:
        return "0"
    if value == int(value) and size < 1e5:
        return integer(int(value))
    if size < 0.01 or size >= 1e5:
        return scientific(value, 2)
    return fixed(value, 0 if size >= 100 else 1 if size >= 10 else 2 if size >= 1 else 3)


def count(number: int, noun: str) -> str:
    """A number of things.

    >>> count(1, "checkpoint"), count(2, "checkpoint")
    ('1 checkpoint', '2 checkpoints')
    """
    return f"{integer(number)} {noun}" + ("" if number == 1 else "s")


def size(megabytes: float) -> str:
    """The size of a file.

    >>> size(0.25), size(32.4), size(1234)
    ('0.2 MB', '32 MB', '1.2 GB')
    """
    if megabytes >= 1000:
        return f"{megabytes / 1000:.1f} GB"
    return f"{megabytes:.0f} MB" if megabytes >= 10 else f"{megabytes:.1f} MB"


def duration(seconds: float) -> str:
    """An estimated time.

    >>> duration(42), duration(600), duration(10_000)
    ('about 42 s', 'about 10 min', 'about 2.8 h')
    """
    if seconds < 90:
        return f"about {max(seconds, 1):.0f} s"
    return f"about {seconds / 60:.0f} min" if seconds < 5_400 else f"about {seconds / 3600:.1f} h"


def clock(seconds: float) -> str:
    """Time left as minutes and seconds.

    >>> clock(75), clock(1e9)
    ('1:15', '?')
    """
    return f"{int(seconds) // 60}:{int(seconds) % 60:02d}" if seconds < 360_000 else "?"


def between(interval: tuple[int, int]) -> str:
    """The epochs at which an event may have happened, from the recorded epochs around it.

    >>> between((125, 126)), between((590, 600))
    ('126', '591–600')
    """
    low, high = interval
    return integers(min(low + 1, high), high)


def span(low: str, high: str) -> str:
    """Two numbers as an interval.

    >>> span("0.75", "2.49"), span("7.84", "7.84"), span("−3", "2")
    ('0.75–2.49', '7.84', '−3 to 2')
    """
    if low == high:
        return low
    return f"{low} to {high}" if low.startswith(MINUS) else f"{low}–{high}"


def integers(low: int, high: int) -> str:
    """An interval of integers.

    >>> integers(300, 309), integers(5, 5)
    ('300–309', '5')
    """
    return span(integer(low), integer(high))


def percent(share: float) -> str:
    """A share as percent, with a digit after the point where it is below 10 %.

    >>> [percent(share).replace(NO_BREAK_SPACE, " ") for share in (0.0525, 0.4)]
    ['5.2 %', '40 %']
    """
    return f"{100 * share:.{1 if share < 0.1 else 0}f}{NO_BREAK_SPACE}%"


def times(ratio: Sequence[float]) -> str:
    """Bounds on a ratio.

    >>> times((7.84, 7.84)), times((0.75, 2.493))
    ('7.84', '0.750–2.49')
    """
    low, high = (short(number) for number in ratio)
    return span(low, high)


def sentence(text: str) -> str:
    """Text that begins with a capital letter and ends with a full stop.

    >>> sentence("the file is damaged"), sentence("Really?")
    ('The file is damaged.', 'Really?')
    """
    return text[:1].upper() + text[1:] + ("" if text.endswith((".", "?", "!")) else ".")
