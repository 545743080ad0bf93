"""Numbers, sizes, times and intervals as text, the same in the terminal and in the window (`viewer/format.js`)."""

from __future__ import annotations

from collections.abc import Sequence

THIN_SPACE = "\u202f"  # narrow no-break space: "12 500" does not break across lines


def integer(number: int) -> str:
    """An integer with its digits in groups of three.

    >>> integer(12500).split(THIN_SPACE)
    ['12', '500']
    """
    return f"{number:,}".replace(",", THIN_SPACE)


def count(number: int, noun: str) -> str:
    """A number of things.

    >>> count(1, "checkpoint"), count(2, "checkpoint")
    ('1 checkpoint', '2 checkpoints')
    """
    return f"{number} {noun}" + ("" if number == 1 else "s")


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
    ('126', '591 to 600')
    """
    low, high = interval
    return str(high) if high - low <= 1 else f"{low + 1} to {high}"


def times(ratio: Sequence[float]) -> str:
    """Bounds on a ratio, with three digits.

    >>> times((7.84, 7.84)), times((0.75, 2.493))
    ('7.84', '0.75 to 2.49')
    """
    low, high = (f"{number:.3g}" for number in ratio)
    return low if low == high else f"{low} to {high}"


def sentence(text: str) -> str:
    """Text that begins with a capital letter and ends with a full stop.

    >>> sentence("the file is damaged"), sentence("Really?")
    ('The file is damaged.', 'Really?')
    """
    return text[:1].upper() + text[1:] + ("" if text.endswith((".", "?", "!")) else ".")
