"""Lifetimes of answers that reached the open tail of a stream, where their origin gives them."""

from __future__ import annotations

from functools import lru_cache
from typing import TYPE_CHECKING

from multidict import CIMultiDict

from gateway.edge.rules.directives import (
    Directives,
    date_of,
    governing,
    parse_dictionary,
    parse_directives,
)
from gateway.protocol import cache_headers
from gateway.protocol.cache_headers import Freshness
from gateway.protocol.origins.repair import LIFETIMES

if TYPE_CHECKING:
    from collections.abc import Mapping

    from multidict import MultiMapping

    from gateway.protocol.cache_headers import TailDirective

_GRACE = "stale-while-revalidate"
_AGES = frozenset({"max-age", "s-maxage", _GRACE, "stale-if-error"})
_NEVER_FRESH = frozenset({"no-store", "no-cache"})
_FOR_ALL = frozenset({"public", "s-maxage"})


def shortened(fields: MultiMapping[str], freshness: Freshness) -> list[tuple[str, str]] | None:
    """Return an origin's cache headers so that browsers ask again each time; None if they do.

    Shared caches store it for `tail_max_age` at most. All other directives
    stay.
    """
    longest_s = freshness.tail_max_age
    browsers = Directives(parse_directives(fields.getall("Cache-Control", ())))
    shared = governing(fields)
    told_s = _shared_s(shared, fields)
    is_short = told_s <= longest_s and not _has_grace(shared)
    # Where Cache-Control says nothing of it, Varnish has a grace of its own.
    denies_grace = not told_s or browsers.by_name.get(_GRACE) == "0"
    if (
        is_short
        and denies_grace
        and _asks_again(browsers)
        and _are_short_for_surrogates(fields, longest_s)
    ):
        return None
    age = 0 if "private" in browsers else min(told_s, longest_s)
    is_for_all = age > 0 and not _FOR_ALL.isdisjoint(shared.by_name)
    is_spelled = browsers.seconds("max-age") == 0
    spelling = "max-age=0" if is_spelled else freshness.tail_directive
    asked_again = _asked_again(browsers, spelling if is_for_all else "no-cache")
    if age:
        # Varnish stores by Surrogate-Control, for the time that Cache-Control says.
        asked_again |= {"s-maxage": str(age)} if is_for_all else {"max-age": "0"}
        asked_again[_GRACE] = "0"
    lines = [("Cache-Control", _directive_line(asked_again, targeted=False))]
    if age:
        directives = {name: value for name, value in shared.by_name.items() if name not in _AGES}
        edge = _directive_line({**directives, "max-age": str(age)}, targeted=shared.targeted)
        also = f", s-maxage={age}" if "s-maxage" in shared else ""  # it says for whom, too
        lines += [("CDN-Cache-Control", f"{edge}{also}"), ("Surrogate-Control", edge)]
    elif shared.targeted:
        never = _directive_line(_asked_again(shared, "no-cache"), targeted=True)
        lines.append(("CDN-Cache-Control", never))
    return lines


def _has_grace(directives: Directives) -> bool:
    return directives.by_name.get(_GRACE, "0") != "0"


def _asked_again(directives: Directives, tail_directive: TailDirective) -> dict[str, str]:
    """Return the directives without their ages, and with this one unless they never are fresh."""
    remaining = {name: value for name, value in directives.by_name.items() if name not in _AGES}
    if _NEVER_FRESH.isdisjoint(remaining):
        name, _, value = tail_directive.partition("=")
        remaining[name] = value
    return remaining


def _directive_line(directives: Mapping[str, str], *, targeted: bool) -> str:
    plain = "?1" if targeted else ""  # how a member without an argument was parsed
    return ", ".join(
        name if value in {"", plain} else f"{name}={value}" for name, value in directives.items()
    )


def _asks_again(directives: Directives) -> bool:
    if not _NEVER_FRESH.isdisjoint(directives.by_name):
        return True
    return directives.seconds("max-age") == 0 and not _has_grace(directives)


def _shared_s(directives: Directives, fields: MultiMapping[str]) -> int:
    """Return the seconds for which shared caches may serve a response without validation."""
    if "private" in directives or not _NEVER_FRESH.isdisjoint(directives.by_name):
        return 0
    for name in ("s-maxage", "max-age"):
        seconds = directives.seconds(name)
        if seconds is not None:
            return seconds
    expires, date = date_of(fields, "Expires"), date_of(fields, "Date")
    if directives.targeted or expires is None or date is None:
        return 0
    return max(0, int(expires - date))


def _are_short_for_surrogates(fields: MultiMapping[str], longest_s: int) -> bool:
    """Return whether Surrogate-Control is missing, or well-formed and at most `longest_s`.

    Some surrogates accept what is no dictionary, such as `max-age=1+60`.
    """
    if "Surrogate-Control" not in fields:
        return True
    directives = Directives(parse_dictionary(fields.getall("Surrogate-Control")))
    if not _NEVER_FRESH.isdisjoint(directives.by_name):
        return True
    seconds = directives.seconds("max-age")
    return seconds is not None and seconds <= longest_s and not _has_grace(directives)


def shorten(fields: CIMultiDict[str], freshness: Freshness) -> list[tuple[str, str]]:
    """Have `fields` say the same; returns what its origin had said, where that was more."""
    lines = shortened(fields, freshness)
    if lines is None:
        return []
    removed = [(name, value) for name in LIFETIMES for value in fields.popall(name, ())]
    fields.extend(lines)
    return removed


def shortened_lines(lines: str, freshness: Freshness) -> str:
    """Shorten header lines for caches, such as an origin sends with every poll; none stay none."""
    return _shortened_lines(lines, freshness.tail_max_age, freshness.tail_directive)


@lru_cache(maxsize=256)  # an origin says the same of all its streams, or of each type of them
def _shortened_lines(lines: str, tail_max_age: int, tail_directive: TailDirective) -> str:
    if not lines:
        return ""
    fields = CIMultiDict(cache_headers.fields(lines))
    freshness = Freshness(tail_max_age=tail_max_age, tail_directive=tail_directive)
    shorten(fields, freshness)
    return "".join(f"{name}: {value}\r\n" for name, value in fields.items())
