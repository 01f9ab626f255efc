"""Policy of a shared cache: RFC 9111, with RFC 5861 and RFC 9213.

Directives of requests are advice (RFC 9111 section 5.2.1) and ignored: otherwise any viewer could
make the origin work; only `only-if-cached` costs the origin nothing.
"""

from __future__ import annotations

from http import HTTPStatus
from typing import TYPE_CHECKING
from urllib.parse import urljoin, urlsplit

import msgspec
from msgspec.structs import replace
from multidict import CIMultiDict

from headgate_gateway.protocol.cache_headers import is_same_tag
from headgate_gateway.protocol.http.header_names import NGINX_FIELD
from headgate_gateway.rules.directives import (
    LONGEST_S,
    Directives,
    age_of,
    date_of,
    governing,
    members,
    normalised,
    parse_date,
)

if TYPE_CHECKING:
    from collections.abc import Iterable

    from multidict import MultiMapping

# RFC 9110 section 15.1, without 206: partial content is not stored.
_HEURISTIC = frozenset({200, 203, 204, 300, 301, 308, 404, 405, 410, 414, 501})
# Responses to a part or a condition of one request.
_OF_ONE_REQUEST = frozenset({206, 304, 412, 416})
_UNDERSTOOD = frozenset(status.value for status in HTTPStatus)
_SAFE = frozenset({"GET", "HEAD", "OPTIONS", "TRACE"})
_ERRORS = frozenset({500, 502, 503, 504})

_LETS_AUTHORIZED_BE_STORED = ("public", "s-maxage", "must-revalidate")
_FORBIDS_STALE = ("must-revalidate", "proxy-revalidate", "s-maxage", "no-cache")

_HEURISTIC_SHARE = 0.1
_LONGEST_HEURISTIC_S = 24 * 3600.0
_LONGEST_OF_AN_ERROR_S = 60.0  # a client that gets a 404 may stop for good

# Fields about the stored body, which a 304 cannot change (sections 3.2 and 4.3.4) ...
_OF_THE_BODY = ("Content-Encoding", "Content-Length", "Content-Range", "ETag")
_OF_THE_MOMENT = ("Age", "Date", "Set-Cookie")  # ... and fields that are true of one response only
_NOT_OF_ORIGINS = {NGINX_FIELD.lower()}  # no origin gets it, so no response differs by it
# `Vary: *`: no request selects this, since no field can have the value.
OF_ONE_REQUEST = (("*", "\r"),)


class Times(msgspec.Struct, frozen=True, gc=False):
    """The times (epoch seconds) of a request to the origin, and of its response's head."""

    requested_at: float
    answered: float


class ResponseMetadata(msgspec.Struct, frozen=True, gc=False):
    """The metadata of a stored response for later decisions; epoch seconds and seconds.

    `born` is the time when its age was 0. `lifetime` is 0 if it must be validated at each use.
    `vary` holds the request's normalised values of the fields that the response varies with.
    """

    status: int
    born: float
    lifetime: float
    stale_while_revalidate: float = 0
    stale_if_error: float = 0
    etag: str | None = None
    last_modified: str | None = None
    vary: tuple[tuple[str, str], ...] = ()
    date: float | None = None  # the origin's Date, if it sent one

    @property
    def fresh_until(self) -> float:
        """The time (epoch seconds) at which the response becomes stale."""
        return self.born + self.lifetime

    @property
    def longest(self) -> float:
        """The age in seconds from which the response is never served without validation."""
        return self.lifetime + max(self.stale_while_revalidate, self.stale_if_error)

    def age(self, now: float) -> int:
        """Return the Age field."""
        return int(min(max(0.0, now - self.born), LONGEST_S))

    def is_fresh(self, now: float) -> bool:
        """Return whether the response may be served without validation."""
        return self.lifetime > 0 and now - self.born < self.lifetime

    def is_within(self, seconds: float, now: float) -> bool:
        """Return whether the response is younger than so many seconds."""
        return max(0.0, now - self.born) < seconds


def storable(
    method: str,
    request_headers: MultiMapping[str],
    status: int,
    headers: MultiMapping[str],
    times: Times,
    stale_if_error: int,
) -> ResponseMetadata | None:
    """Return the metadata of a response; None if it must not or need not be stored.

    `stale_if_error` are the route's seconds for a response without that directive.
    """
    directives = governing(headers)
    if method != "GET" or not _may_store(status, request_headers, directives):
        return None
    lifetime = _lifetime(status, headers, directives, times)
    born = times.answered - initial_age(age_of(headers), date_of(headers, "Date"), times)
    stored = not_stored(request_headers, status, headers, born)
    if lifetime is None or stored.vary == OF_ONE_REQUEST:
        return None
    while_revalidate, if_error = stale_allowance(directives, lifetime, stale_if_error)
    stored = replace(
        stored,
        lifetime=0 if "no-cache" in directives else lifetime,
        stale_while_revalidate=while_revalidate,
        stale_if_error=if_error,
    )
    # It can be served for some time, or at least validated without a body.
    is_of_use = stored.etag or stored.last_modified or times.answered - born < stored.longest
    return stored if is_of_use else None


def not_stored(
    request_headers: MultiMapping[str], status: int, headers: MultiMapping[str], born: float
) -> ResponseMetadata:
    """Return the metadata of a response that is not stored, for the requests that wait for it."""
    return ResponseMetadata(
        status,
        born,
        0,
        etag=headers.get("ETag"),
        last_modified=last_modified(headers),
        vary=variant(request_headers, headers),
        date=date_of(headers, "Date"),
    )


def _may_store(status: int, request_headers: MultiMapping[str], directives: Directives) -> bool:
    """Return whether a cache may store a response (RFC 9111 sections 3 and 3.5).

    Any `private` forbids it: its field names may not be all that is private.
    """
    if status < 200 or status in _OF_ONE_REQUEST or "private" in directives:
        return False
    if "must-understand" in directives:
        if status not in _UNDERSTOOD:
            return False
    elif "no-store" in directives:
        return False
    return "Authorization" not in request_headers or any(
        name in directives for name in _LETS_AUTHORIZED_BE_STORED
    )


def is_public(headers: MultiMapping[str]) -> bool:
    """Return whether a response is public although its request was identified.

    By section 3.5 must-revalidate and s-maxage say so too. But they are written for other
    reasons, by people who do not expect them to give one reader's response to the next.
    """
    return "public" in governing(headers)


def initial_age(age_s: int, date: float | None, times: Times) -> float:
    """Return the age on arrival (RFC 9111 section 4.2.3).

    Date has whole seconds, so a fraction of its second does not count as age.
    """
    apparent_age = 0 if date is None else max(0.0, int(times.answered) - date)
    return max(apparent_age, age_s + max(0.0, times.answered - times.requested_at))


def _lifetime(
    status: int, headers: MultiMapping[str], directives: Directives, times: Times
) -> float | None:
    """Return the freshness lifetime (section 4.2.1); None if nothing allows storing."""
    date = date_of(headers, "Date")
    date = times.answered if date is None else date
    explicit = explicit_lifetime(headers, directives, date)
    if explicit is not None:
        return explicit
    if "Set-Cookie" in headers or (status not in _HEURISTIC and "public" not in directives):
        return None
    modified = date_of(headers, "Last-Modified")
    if modified is None:
        return 0
    longest = _LONGEST_HEURISTIC_S if status < 400 else _LONGEST_OF_AN_ERROR_S
    return min(max(0.0, (date - modified) * _HEURISTIC_SHARE), longest)


def explicit_lifetime(
    headers: MultiMapping[str], directives: Directives, date: float | None
) -> int | None:
    """Return the seconds that a response may be fresh in shared caches; None if it does not say.

    An Expires counts from its `date`, and is invalid without one.
    """
    for name in ("s-maxage", "max-age"):
        seconds = directives.seconds(name)
        if seconds is not None:
            return seconds
    if directives.targeted or "Expires" not in headers:
        return None
    expires = date_of(headers, "Expires")
    return 0 if expires is None or date is None else min(max(0, int(expires - date)), LONGEST_S)


def stale_allowance(
    directives: Directives, lifetime: float, stale_if_error: int
) -> tuple[float, float]:
    """Return the stale seconds during revalidation, and while the origin fails (RFC 5861).

    The route's `stale_if_error` is for responses with a lifetime alone: one that always has to be
    validated is not served because the origin fails.
    """
    if any(name in directives for name in _FORBIDS_STALE):
        return 0, 0
    if_error = directives.seconds("stale-if-error")
    if if_error is None:
        if_error = stale_if_error if lifetime > 0 else 0
    return directives.seconds("stale-while-revalidate") or 0, if_error


def last_modified(headers: MultiMapping[str]) -> str | None:
    """Return the Last-Modified of a response, if it is a date."""
    text = headers.get("Last-Modified")
    return text if text is not None and parse_date(text) is not None else None


def selects(request_headers: MultiMapping[str], stored: ResponseMetadata) -> bool:
    """Return whether a request selects this variant of its URL."""
    return all(normalised(name, request_headers) == value for name, value in stored.vary)


def variant(
    request_headers: MultiMapping[str], headers: MultiMapping[str]
) -> tuple[tuple[str, str], ...]:
    """Return the fields of Vary with the request's values; OF_ONE_REQUEST for `*`."""
    names = {name.lower() for name in members(headers.getall("Vary", ()))} - _NOT_OF_ORIGINS
    if "*" in names:
        return OF_ONE_REQUEST
    return tuple((name, normalised(name, request_headers)) for name in sorted(names))


def serves_error(stored: ResponseMetadata, now: float) -> bool:
    """Return whether a response may be served while its origin fails or is unreachable."""
    return stored.is_within(stored.lifetime + stored.stale_if_error, now)


def is_error(status: int) -> bool:
    """Return whether a status counts as a failure that a stale response may cover."""
    return status in _ERRORS


def validators(headers: MultiMapping[str]) -> list[tuple[str, str]]:
    """Return the conditional fields to validate a response with (section 4.3.1)."""
    conditions = []
    if "ETag" in headers:
        conditions.append(("If-None-Match", headers["ETag"]))
    modified = last_modified(headers)
    if modified is not None:
        conditions.append(("If-Modified-Since", modified))
    return conditions


def confirms(conditions: Iterable[tuple[str, str]], headers: MultiMapping[str]) -> bool:
    """Return whether a 304 confirms the response with these conditions (section 4.3.4).

    Tags are compared weakly, as in the condition itself: a proxy that compresses makes the tag of a
    200 weak, but has no body to compress in a 304. A 304 without validators confirms it too.
    """
    sent = dict(conditions)
    tag, modified = headers.get("ETag"), headers.get("Last-Modified")
    if tag is not None:
        mine = sent.get("If-None-Match")
        return mine is not None and is_same_tag(mine, tag)
    since = sent.get("If-Modified-Since")
    return modified is None or since is None or parse_date(modified) == parse_date(since)


def updated(
    headers_of_stored: MultiMapping[str], headers_of_304: MultiMapping[str]
) -> CIMultiDict[str]:
    """Return the fields of a stored response that a 304 has confirmed (section 3.2).

    The arguments have no hop-by-hop fields.
    """
    fields = CIMultiDict(headers_of_stored)
    newer = CIMultiDict(headers_of_304)
    for name in _OF_THE_BODY:
        newer.popall(name, None)
    for name in (*_OF_THE_MOMENT, *newer):
        fields.popall(name, None)
    fields.extend(newer)
    return fields


def invalidates(method: str, status: int) -> bool:
    """Return whether a request invalidates the cached responses of its URL (section 4.4)."""
    return method not in _SAFE and 200 <= status < 400


def invalidated_also(target: str, headers: MultiMapping[str]) -> list[str]:
    """Return the further targets of the origin that an unsafe request to `target` changed."""
    origin = urlsplit(target)[:2]
    paths = []
    for name in ("Location", "Content-Location"):
        for value in headers.getall(name, ())[:1]:
            try:
                url = urlsplit(urljoin(target, value))
            except ValueError:  # not a URL
                continue
            if url[:2] == origin:
                paths.append(url._replace(scheme="", netloc="", fragment="").geturl())
    return paths
