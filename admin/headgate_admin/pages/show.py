"""Values as people read them: short numbers with their unit, times, and names that are safe.

Every function takes None, for what is not known, and shows it as a dash: it is not zero.
"""

from __future__ import annotations

import unicodedata
from datetime import UTC, datetime
from functools import lru_cache

from headgate_gateway.settings.reading.units import DAY_S, HOUR_S, MINUTE_S

UNKNOWN = "–"
THOUSANDS = ("", "k", "M", "G", "T", "P")
LONGEST_NAME = 48  # characters: as many as a table's column holds beside its figures


def number(value: float | None) -> str:
    """Format a number with three significant digits and a suffix: 0.12, 452, 12.4k, 1.7M."""
    if value is None:
        return UNKNOWN
    size, power = abs(value), 0
    while size >= 999.5 and power < len(THOUSANDS) - 1:
        size, power = size / 1000, power + 1
    return f"{'-' if value < 0 else ''}{_three_digits(size)}{THOUSANDS[power]}"


def _three_digits(size: float) -> str:
    """Format three significant digits, without a point that only zeros would follow."""
    if size >= 99.95 or size == int(size):
        return f"{size:.0f}"
    return f"{size:.1f}" if size >= 9.995 else f"{size:.2f}".rstrip("0").rstrip(".")


def count(value: float | None) -> str:
    """Format a whole number with its digits in threes: 48,210."""
    return UNKNOWN if value is None else f"{value:,.0f}"


def rate(value: float | None) -> str:
    """Format a rate: 12.4k/s."""
    return UNKNOWN if value is None else f"{number(value)}/s"


def size(value: float | None) -> str:
    """Format bytes: 512 B, 1.8 MB (of 1,000,000 bytes)."""
    if value is None:
        return UNKNOWN
    text = number(value)
    digits = text.rstrip("".join(THOUSANDS))
    return f"{digits} {text[len(digits) :]}B"


def percent(ratio: float | None) -> str:
    """Format a ratio with one digit after the point: 93.4 %; 100 % only if it is exactly 1."""
    if ratio is None:
        return UNKNOWN
    if ratio >= 1:
        return "100 %"
    return f"{min(ratio * 100, 99.9):.1f} %"


def level(ratio: float) -> str:
    """Format a ratio from the settings: 85 %."""
    return f"{ratio:.0%}".replace("%", " %")


def factor(value: float | None) -> str:
    """Format a factor: 1,284×, 1.2×."""
    if value is None:
        return UNKNOWN
    return f"{value:,.0f}×" if value >= 10 else f"{_three_digits(value)}×"


def duration(seconds: float | None) -> str:
    """Format a duration in its fitting unit: 250 µs, 3.2 ms, 1.5 s, 4 min, 2 h, 3 d."""
    if seconds is None:
        return UNKNOWN
    if not seconds:
        return "0 s"
    if seconds < 0.0009995:
        return f"{seconds * 1e6:.0f} µs"
    if seconds < 0.9995:
        return f"{_three_digits(seconds * 1000)} ms"
    if seconds < 2 * MINUTE_S:
        return f"{_three_digits(seconds)} s"
    for unit, length in (("min", MINUTE_S), ("h", HOUR_S), ("d", DAY_S)):
        if seconds < 2 * 60 * length or unit == "d":
            return f"{seconds / length:.0f} {unit}"
    raise AssertionError("days have no end")


def with_unit(value: float | str | None, unit: str) -> str:
    """Format a number of bytes, of seconds or without a unit; return words as they are shown."""
    if isinstance(value, str):
        return visible(value)
    return {"bytes": size, "seconds": duration, "count": count}[unit](value)


def relative(moment: float | None, now: float) -> str:
    """Format a moment relative to now: 12 s ago, in 3 h."""
    if moment is None:
        return UNKNOWN
    away = round(moment - now)
    if not away:
        return "now"
    return f"in {duration(away)}" if away > 0 else f"{duration(-away)} ago"


def clock(moment: float) -> str:
    """Format the time of day in UTC, as log lines have it: 12:05:10."""
    return datetime.fromtimestamp(moment, UTC).strftime("%H:%M:%S")


def exact(moment: float | None) -> str:
    """Format a moment for people who compare it with a log: 2026-03-01 12:05:10 UTC."""
    if moment is None:
        return UNKNOWN
    return _iso(moment, " ", " UTC")


def machine(moment: float) -> str:
    """Format a moment for `<time datetime>`: 2026-03-01T12:05:10Z."""
    return _iso(moment, "T", "Z")


def _iso(moment: float, between: str, zone: str) -> str:
    try:
        time = datetime.fromtimestamp(moment, UTC)
    except (OverflowError, ValueError, OSError):  # what expires in the year 100,000
        return f"{moment:.0f} s after 1970"
    return f"{time:%Y-%m-%d}{between}{time:%H:%M:%S}{zone}"


def visible(text: str) -> str:
    """Return text in which nothing hides: controls and marks of direction become their code points.

    A name may hold them, and could look like another one, or turn round what stands beside it.
    """
    return text if text.isprintable() else "".join(map(_visible_character, text))


@lru_cache(4096)  # the characters of most languages; a message has thousands
def _visible_character(character: str) -> str:
    hides = unicodedata.category(character) in {"Cc", "Cf", "Cs", "Zl", "Zp"}
    return f"⟨U+{ord(character):04X}⟩" if hides else character


def sentence(text: str) -> str:
    """Return a reason as a sentence, with a capital and an end."""
    shown = visible(text.strip())
    return shown[:1].upper() + shown[1:] + ("" if shown.endswith((".", "!", "?", "…")) else ".")


def parts(text: str, longest: int = LONGEST_NAME) -> tuple[str, str, str]:
    """Return the begin, the middle and the end of a name that is cut in its middle.

    Names differ least there. The middle and the end are empty if all of it is shown.
    """
    if len(text) <= longest:
        return text, "", ""
    end = (longest - 1) // 2
    begin = longest - 1 - end
    return text[:begin], text[begin : len(text) - end], text[len(text) - end :]


def version(text: str) -> str:
    """Return a version with the revision that it was built from: 0.1.0 · c851b36."""
    release, _, revision = text.partition("+g")
    return " · ".join(filter(None, (release.partition(".dev")[0], revision[:7])))
