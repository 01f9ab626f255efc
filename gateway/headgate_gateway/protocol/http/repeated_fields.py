"""The fields of responses that are sent in one line each (RFC 9110 section 5.3).

Some caches in front, as nginx before 1.23, read one line of a field only. With the others, a
response would be private, or one of several variants.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from multidict import CIMultiDict

# Lists by which caches decide, and what says how to read a body.
JOINED = frozenset(
    {
        *("cache-control", "cdn-cache-control", "surrogate-control", "pragma"),
        *("content-encoding", "vary"),
    }
)
# Fields that may stand once. The gateway acts upon the first line, and others would not.
FIRST = frozenset(
    {
        *("age", "date", "etag", "expires", "last-modified", "retry-after", "x-accel-expires"),
        # The rendered configurations read these, too.
        *("content-type", "location", "stream-closed", "stream-next-offset", "stream-up-to-date"),
    }
)

VARY_ORIGIN = b"Vary: Origin\r\n"
_VARY = b"Vary: "
_WELL_QUOTED = re.compile(r'[^"\\]*+(?:"[^"\\]*+(?:\\.[^"\\]*+)*"[^"\\]*+)*')


def join_lines(fields: CIMultiDict[str]) -> None:
    """Make one line of each of the JOINED and FIRST fields, where the first one is."""
    names = {name.lower(): name for name in fields}
    if len(names) < len(fields):
        for lower, name in names.items():
            if lower in FIRST:
                fields[name] = fields[name]
            elif lower in JOINED:
                fields[name] = _joined(fields.getall(name))
    if "vary" in names:
        fields["Vary"] = varying_by(fields.getall("Vary"))


def add_vary(fields: CIMultiDict[str], *names: str) -> None:
    """Add the names of request fields to what a response varies with."""
    fields["Vary"] = varying_by((*fields.getall("Vary", ()), *names))


def varying_by(lines: Iterable[str]) -> str:
    """Return the value of Vary with the names of some lines, each once; `*` stands for all."""
    names: dict[str, str] = {}
    for line in lines:
        for name in line.split(","):
            if bare := name.strip(" \t"):
                names.setdefault(bare.lower(), bare)
    # Some caches, as nginx, know `*` only by itself.
    return "*" if "*" in names else ", ".join(names.values())


def with_one_vary(common: bytes, lines: bytes) -> tuple[bytes, bytes]:
    """Return the `common` lines of responses and a response's own, with one Vary for both.

    The line stays where it is unless both have one.
    """
    if VARY_ORIGIN not in common:
        return common, lines
    lines, own = without_vary(lines)
    return (
        (common.replace(VARY_ORIGIN, vary_line(own, "Origin")), lines) if own else (common, lines)
    )


def with_vary(lines: str, name: str) -> str:
    """Return header lines of which the Vary has this name, too."""
    others, value = without_vary(lines.encode("latin-1"))
    return (others + vary_line(value, name)).decode("latin-1")


def without_vary(lines: bytes) -> tuple[bytes, str]:
    """Return header lines without the Vary line, and the value of that; "" if there is none."""
    begin = 0 if lines.startswith(_VARY) else lines.find(b"\r\n" + _VARY) + 2
    if begin == 1:
        return lines, ""
    end = lines.index(b"\r\n", begin)
    value = lines[begin + len(_VARY) : end].decode("latin-1")
    return lines[:begin] + lines[end + 2 :], value


def vary_line(*values: str) -> bytes:
    """Return the Vary line of a response that varies by all of these."""
    return f"Vary: {varying_by(values)}\r\n".encode("latin-1")


def _joined(lines: Sequence[str]) -> str:
    """Return the lines of a list in one. A quote that never closes hides none of the others."""
    if len(lines) == 1:
        return lines[0]
    return ", ".join(
        line if _WELL_QUOTED.fullmatch(line) else line.replace('"', "")
        for line in lines
        if line.strip(" \t,")
    )
