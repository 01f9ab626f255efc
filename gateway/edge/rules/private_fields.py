"""Header fields of responses of a private route, without permissions for shared caches.

The gateway's own cache has the response as the origin sent it. Clients get it with directives that
let only a browser's cache store it; under a URL with the stream's reader key, all caches may.
"""

from __future__ import annotations

import re
from functools import lru_cache
from typing import TYPE_CHECKING, NamedTuple

from multidict import CIMultiDict

from gateway.edge.rules.directives import members
from gateway.protocol import cache_headers
from gateway.protocol.http1 import field_lines

if TYPE_CHECKING:
    from multidict import MultiMapping

# Each lets a cache give to others what came with Authorization (RFC 9111 section 3.5), or says how
# long. A browser goes by max-age as before.
_FOR_ALL = frozenset({"public", "s-maxage", "must-revalidate", "proxy-revalidate", "private"})
_CREDENTIALS = ("Authorization", "Cookie")
_OF_ALL_CACHES = frozenset({"cache-control", "vary"})
# Where products of others are told to keep an answer, or its tags: RFC 9213 and its like, Fastly,
# Akamai, Cloudflare, nginx, Varnish, LiteSpeed. Some of them go before Cache-Control.
_OF_SHARED_CACHES = re.compile(
    r".+-cache-control|.*surrogate-(control|key)|edge-control|.*cache-tags?"
    r"|x-(accel-expires|key|litespeed-tag)|xkey|cdn-tag"
    # It names no audience, and those caches go by it that do not know `private`.
    r"|expires"
)


class Recipient(NamedTuple):
    """The recipient of a response, as far as its header fields depend on it."""

    is_private: bool = False  # its route is
    reader_key: str = ""
    by_key: bool | None = None


EVERYBODY = Recipient()


class CachingLines(NamedTuple):
    """The `Cache-Control` and `Vary` lines of a response, by who receives it."""

    for_all: bytes
    private: bytes
    never: bytes  # for a recipient whose URL has an old reader key


class ServedFields(NamedTuple):
    """The header fields of a response, in three parts: by what a private recipient gets of them."""

    rest: list[tuple[str, str]]  # all of it
    shared: list[tuple[str, str]]  # nothing
    caching: list[tuple[str, str]]  # other ones


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
    fields["Cache-Control"] = _private(tuple(fields.getall("Cache-Control", ())))
    varies = {name.lower() for name in members(fields.getall("Vary", ()))}
    for name in _CREDENTIALS:
        if name.lower() not in varies and "*" not in varies:
            fields.add("Vary", name)


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


@lru_cache(maxsize=256)  # an origin says the same of all its streams, or of each type of them
def _private(lines: tuple[str, ...]) -> str:
    directives = [
        it for it in members(lines) if it.partition("=")[0].strip().lower() not in _FOR_ALL
    ]
    return ", ".join(["private", *directives])
