"""Header fields of caching as clients get them: brief at open tails, private on private routes.

The gateway's own cache has a response as the origin sent it. On a private route clients get it with
directives that let only a browser's cache store it; under a URL with the stream's reader key, all
caches may.
"""

from __future__ import annotations

import re
from functools import lru_cache
from typing import TYPE_CHECKING, NamedTuple

from multidict import CIMultiDict

from headgate_gateway.protocol import cache_headers
from headgate_gateway.protocol.http.repeated_fields import add_vary
from headgate_gateway.protocol.http1 import field_lines
from headgate_gateway.rules import policy
from headgate_gateway.rules.directives import (
    Directives,
    date_of,
    governing,
    members,
    parse_dictionary,
    parse_directives,
)
from headgate_gateway.rules.repair import LIFETIMES

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from multidict import MultiMapping

    from headgate_gateway.protocol.cache_headers import Freshness, TailDirective

# Each lets a cache share a response to a request with Authorization (RFC 9111 section 3.5), or
# limits how long. Browsers still use max-age.
_FOR_ALL = frozenset({"public", "s-maxage", "must-revalidate", "proxy-revalidate", "private"})
_CREDENTIALS = ("Authorization", "Cookie")
_OF_ALL_CACHES = frozenset({"cache-control", "vary"})
# Fields by which shared caches store a response, or tag it: RFC 9213 and its like, Fastly,
# Akamai, Cloudflare, nginx, Varnish, LiteSpeed. Some of them go before Cache-Control.
_OF_SHARED_CACHES = re.compile(
    r".+-cache-control|.*surrogate-(control|key)|edge-control|.*cache-tags?"
    r"|x-(accel-expires|key|litespeed-tag)|xkey|cdn-tag"
    # It names no audience, and caches that do not know `private` use it.
    r"|expires"
)

_GRACE = "stale-while-revalidate"
_AGES = frozenset({"max-age", "s-maxage", _GRACE, "stale-if-error"})
_NEVER_FRESH = frozenset({"no-store", "no-cache"})
_FOR_SHARED = frozenset({"public", "s-maxage"})


class Recipient(NamedTuple):
    """The recipient of a response, as far as its header fields depend on it."""

    is_private: bool = False  # its route is
    reader_key: str = ""
    by_key: bool | None = None


EVERYBODY = Recipient()


class CachingLines(NamedTuple):
    """The `Cache-Control` and `Vary` lines of a response, by their recipient."""

    for_all: bytes
    private: bytes
    never: bytes  # for a URL with an old reader key


class ServedFields(NamedTuple):
    """The header fields of a response, in three parts, by how a private recipient gets them."""

    rest: list[tuple[str, str]]  # unchanged
    shared: list[tuple[str, str]]  # not at all
    caching: list[tuple[str, str]]  # replaced


def served(fields: MultiMapping[str]) -> ServedFields:
    """Return the parts of a response's fields."""
    parts = ServedFields([], [], [])
    for pair in fields.items():
        name = pair[0].lower()
        if name in _OF_ALL_CACHES:
            parts.caching.append(pair)
        elif _is_of_shared_caches(name):
            parts.shared.append(pair)
        else:
            parts.rest.append(pair)
    return parts


@lru_cache(maxsize=256)  # an origin says the same for all its streams, or for each type of them
def caching_lines(caching: tuple[tuple[str, str], ...]) -> CachingLines:
    """Return the lines with the `caching` part of a response's fields."""
    private = CIMultiDict(caching)
    make_private(private)
    never = private.copy()
    never["Cache-Control"] = "private, no-store"
    return CachingLines(*(field_lines(it) for it in (caching, private.items(), never.items())))


def make_private(fields: CIMultiDict[str]) -> None:
    """Remove the fields that let shared caches store a response.

    Another user of the same browser has another credential, which the cached copy does not match.
    """
    for name in {name for name in fields if _is_of_shared_caches(name)}:
        del fields[name]
    directives = [
        one
        for one in members(fields.getall("Cache-Control", ()))
        if one.partition("=")[0].strip().lower() not in _FOR_ALL
    ]
    fields["Cache-Control"] = ", ".join(["private", *directives])
    add_vary(fields, *_CREDENTIALS)


@lru_cache(maxsize=256)  # an origin says the same for all its streams, or for each type of them
def private_lines(lines: str) -> str:
    """Return an origin's caching lines for polls as private ones; no lines stay none."""
    if not lines:
        return ""
    fields = CIMultiDict(cache_headers.fields(lines))
    make_private(fields)
    return "".join(f"{name}: {value}\r\n" for name, value in fields.items())


@lru_cache(maxsize=256)  # clients do not choose the names: there are a few dozen
def _is_of_shared_caches(name: str) -> bool:
    return _OF_SHARED_CACHES.fullmatch(name.lower()) is not None


def shorten(
    fields: CIMultiDict[str], longest_s: int, tail_directive: TailDirective
) -> list[tuple[str, str]]:
    """Make browsers revalidate each time, and shared caches store for `longest_s` at most.

    All other directives stay. Return the origin's lines if these allowed more.
    """
    browsers = Directives(parse_directives(fields.getall("Cache-Control", ())))
    shared = governing(fields)
    shared_s = 0
    if "private" not in shared and _NEVER_FRESH.isdisjoint(shared.by_name):
        shared_s = policy.explicit_lifetime(fields, shared, date_of(fields, "Date")) or 0
    is_never_fresh = not _NEVER_FRESH.isdisjoint(browsers.by_name)
    asks_again = browsers.seconds("max-age") == 0
    surrogates = fields.getall("Surrogate-Control", ())
    is_short_for_surrogates = _is_short(surrogates, longest_s)
    if (
        shared_s <= longest_s
        and shared.by_name.get(_GRACE, "0") == "0"
        # Without the directive, Varnish has a grace of its own.
        and (not shared_s or browsers.by_name.get(_GRACE) == "0")
        and (is_never_fresh or (asks_again and browsers.by_name.get(_GRACE, "0") == "0"))
        and (not surrogates or is_short_for_surrogates)
    ):
        return []
    age = 0 if "private" in browsers else min(shared_s, longest_s)
    is_for_all = age > 0 and not _FOR_SHARED.isdisjoint(shared.by_name)
    if asks_again:
        tail_directive = "max-age=0"
    control = _with_tail_directive(browsers, tail_directive if is_for_all else "no-cache")
    lines = []
    if age:
        # Varnish stores by Surrogate-Control, for the time that Cache-Control says.
        control |= {"s-maxage": str(age)} if is_for_all else {"max-age": "0"}
        control[_GRACE] = "0"
        directives = {name: value for name, value in shared.by_name.items() if name not in _AGES}
        edge = _directive_line({**directives, "max-age": str(age)}, targeted=shared.targeted)
        also = f", s-maxage={age}" if "s-maxage" in shared else ""  # it allows sharing, too
        lines = [("CDN-Cache-Control", f"{edge}{also}")]
        if not is_short_for_surrogates:
            surrogates = [edge]
    elif shared.targeted:
        never = _directive_line(_with_tail_directive(shared, "no-cache"), targeted=True)
        lines = [("CDN-Cache-Control", never)]
    lines.insert(0, ("Cache-Control", _directive_line(control, targeted=False)))
    if age or is_short_for_surrogates:
        lines += [("Surrogate-Control", value) for value in surrogates]
    removed = [(name, value) for name in LIFETIMES for value in fields.popall(name, ())]
    fields.extend(lines)
    return removed if removed != lines else []


def _is_short(surrogate_control: Sequence[str], longest_s: int) -> bool:
    """Return whether Surrogate-Control is well-formed, and lets surrogates store no longer.

    Some surrogates accept what is not a dictionary, such as `max-age=1+60`.
    """
    directives = Directives(parse_dictionary(surrogate_control))
    if not _NEVER_FRESH.isdisjoint(directives.by_name):
        return True
    seconds = directives.seconds("max-age")
    return (
        seconds is not None and seconds <= longest_s and directives.by_name.get(_GRACE, "0") == "0"
    )


def _with_tail_directive(directives: Directives, tail_directive: TailDirective) -> dict[str, str]:
    """Return the directives with `tail_directive` instead of ages, unless they forbid freshness."""
    remaining = {name: value for name, value in directives.by_name.items() if name not in _AGES}
    if _NEVER_FRESH.isdisjoint(remaining):
        name, _, value = tail_directive.partition("=")
        remaining[name] = value
    return remaining


def _directive_line(directives: Mapping[str, str], *, targeted: bool) -> str:
    plain = "?1" if targeted else ""  # as a member without an argument is parsed
    return ", ".join(
        name if value in {"", plain} else f"{name}={value}" for name, value in directives.items()
    )


def shortened_lines(lines: str, freshness: Freshness) -> str:
    """Shorten header lines for caches, such as an origin sends with every poll; none stay none."""
    return _shortened_lines(lines, freshness.tail_max_age, freshness.tail_directive)


@lru_cache(maxsize=256)  # an origin says the same of all its streams, or of each type of them
def _shortened_lines(lines: str, tail_max_age: int, tail_directive: TailDirective) -> str:
    if not lines:
        return ""
    fields = CIMultiDict(cache_headers.fields(lines))
    shorten(fields, tail_max_age, tail_directive)
    return "".join(f"{name}: {value}\r\n" for name, value in fields.items())
