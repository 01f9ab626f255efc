"""Fields of caching, written so that caches in front read in them what the gateway reads.

Many caches search these fields for names and digits. They would find a lifetime within quotes or at
the end of a longer name, go by the last of two, or by the digits with which an invalid time begins.
"""

from __future__ import annotations

import re
from functools import lru_cache
from typing import TYPE_CHECKING

from headgate_gateway.rules.directives import (
    DELTA_SECONDS,
    Directives,
    members,
    parse_dictionary,
    parse_directives,
)

if TYPE_CHECKING:
    from multidict import CIMultiDict

_NAME = re.compile(r"max-?age|stale-", re.IGNORECASE)
_SECONDS = re.compile(r"-?[0-9]+")  # a negative time is none to all caches


def write_plainly(fields: CIMultiDict[str]) -> None:
    """Replace the lines of caching that some caches misread. All others stay as they are.

    A CDN-Cache-Control without any directive that counts, such as a malformed one, is dropped.
    """
    targeted = fields.getall("CDN-Cache-Control", ())
    if targeted and not parse_dictionary(targeted):
        del fields["CDN-Cache-Control"]
    for name in ("Cache-Control", "Surrogate-Control", "CDN-Cache-Control"):
        lines = fields.getall(name, ())
        if any(map(_NAME.search, lines)):
            is_dictionary = name == "CDN-Cache-Control"
            plain = _plain(", ".join(lines), is_dictionary=is_dictionary)
            if plain is None:
                continue
            if plain:
                fields[name] = plain
            elif name == "Cache-Control":
                fields[name] = "max-age=0"  # without the field, a default lifetime would count
            else:
                del fields[name]


@lru_cache(maxsize=256)  # an origin says the same for all its streams, or for each type of them
def _plain(line: str, *, is_dictionary: bool) -> str | None:
    """Return a line with the directives of another; None if that is plain itself."""
    parts = members([line])
    if _is_plain(parts):
        return None
    by_name = parse_dictionary([line]) if is_dictionary else parse_directives([line])
    directives = Directives(by_name)
    plain = []
    written = set()
    for part in parts:
        name = part.partition("=")[0].strip().lower()
        if name in DELTA_SECONDS:
            if name in by_name and name not in written:
                plain.append(f"{name}={directives.seconds(name)}")
                written.add(name)
        elif not _NAME.search(part):
            plain.append(part)
        elif name in ("no-cache", "private"):
            plain.append(name)  # of the whole response then, and not of the fields that it names
    return ", ".join(plain)


def _is_plain(parts: list[str]) -> bool:
    """Return whether each time is of digits, and stands once, with no other member like it."""
    times = [part for part in parts if _NAME.search(part)]
    pairs = [part.partition("=") for part in times]
    names = [name.lower() for name, _, _ in pairs]
    return (
        len(set(names)) == len(names)
        and DELTA_SECONDS.issuperset(names)
        and all(_SECONDS.fullmatch(argument) for _, _, argument in pairs)
    )
