"""Numbers with their nouns or units, as commands print them."""

from __future__ import annotations

import math


def counted(number: int, noun: str) -> str:
    """Return a number with its noun, in the plural unless it is 1."""
    return f"{number:,} {noun}{'' if number == 1 else 's'}"


def byte_size(number: float) -> str:
    """Return a number of bytes in its largest unit."""
    unit = min(int(math.log(max(number, 1), 1024)), 3)
    shown = number / 1024**unit
    digits = f"{shown:,.0f}" if shown >= 100 else f"{shown:.3g}"
    return f"{digits} {('B', 'KiB', 'MiB', 'GiB')[unit]}"
