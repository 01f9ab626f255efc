"""Conditional and range requests: what of a whole response a client wants."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from gateway.edge.rules.directives import date_of, parse_date, parse_range
from gateway.errors import OriginBroken, RangeNotSatisfiable
from gateway.protocol.cache_headers import matches

if TYPE_CHECKING:
    from collections.abc import Container

    from multidict import MultiMapping


# A request with one of these wants less than all of an answer.
CONDITIONS = ("If-None-Match", "If-Modified-Since", "Range")


# What an answer may be only to a request with one of these fields (RFC 9110 section 15).
ASKED_FOR = {206: ("Range",), 304: ("If-None-Match", "If-Modified-Since")}


def check_asked_for(status: int, sent: Container[str]) -> None:
    """Raise OriginBroken for a part, or for "not modified", that the fields sent do not ask for."""
    names = ASKED_FOR.get(status)
    if names is not None and not any(name in sent for name in names):
        raise OriginBroken(f"the origin answered with a {status} that was not asked for")


def wants_all(headers: MultiMapping[str]) -> bool:
    """Return whether a request is neither conditional nor for a range."""
    return not any(map(headers.__contains__, CONDITIONS))


class Marks(NamedTuple):
    """The marks of a whole response that conditions of requests are compared with.

    Dates are epoch seconds.
    """

    etag: str | None
    last_modified: float | None
    date: float | None
    is_of_stream: bool


def is_not_modified(request_headers: MultiMapping[str], marks: Marks) -> bool:
    """Return whether the client has this 200 already (section 4.3.2, RFC 9110 section 13.2.2)."""
    if_none_match = request_headers.getall("If-None-Match", ())
    if if_none_match:
        return has_tag(", ".join(if_none_match), marks.etag)
    since, modified = date_of(request_headers, "If-Modified-Since"), marks.last_modified
    if modified is None and not marks.is_of_stream:  # a stream may grow twice in a second
        modified = marks.date
    return since is not None and modified is not None and modified <= since


def has_tag(if_none_match: str, etag: str | None) -> bool:
    """Return whether If-None-Match names a tag, by weak comparison (RFC 9110, section 13.1.2).

    A malformed tag matches when it comes back as it was given.
    """
    if etag is None:
        return if_none_match.strip() == "*"
    return if_none_match.strip() == etag or matches(if_none_match, etag)


def byte_range(
    request_headers: MultiMapping[str], marks: Marks, length: int
) -> tuple[int, int] | None:
    """Return the start and the end (exclusive) of the requested range of a complete 200.

    Return None to send the whole body, as `part_asked_for` does, and for the range of another
    representation. Raises RangeNotSatisfiable.
    """
    if not _if_range_holds(request_headers, marks):
        return None
    return part_asked_for(request_headers.get("Range", ""), length)


def part_asked_for(requested_range: str, length: int) -> tuple[int, int] | None:
    """Return the start and the end (exclusive) of a range of `length` bytes.

    Return None to send the whole body: without a range, for several, for one in another unit, and
    for an empty body, as at the tail of a stream. Raises RangeNotSatisfiable.
    """
    requested = parse_range(requested_range, length)
    if not length or requested is None:
        return None
    if requested[0] >= length:
        raise RangeNotSatisfiable(length)
    return requested


def _if_range_holds(request_headers: MultiMapping[str], marks: Marks) -> bool:
    """Return whether If-Range holds (RFC 9110 section 13.1.5).

    It has to be a strong tag, or a date that cannot mean two representations.
    """
    condition = request_headers.get("If-Range")
    if condition is None:
        return True
    if condition.startswith('"'):
        return condition == marks.etag
    date, modified, generated = parse_date(condition), marks.last_modified, marks.date
    if date is None or modified is None or generated is None:
        return False
    return date == modified and generated - modified >= 1
