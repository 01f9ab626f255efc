"""Header fields of caching, conditions and ranges, parsed however badly they are written."""

from __future__ import annotations

import re
from datetime import UTC, datetime
from functools import lru_cache
from typing import TYPE_CHECKING, NamedTuple

import msgspec

from headgate_gateway.errors import OriginBroken, RangeNotSatisfiable
from headgate_gateway.protocol.cache_headers import matches

if TYPE_CHECKING:
    from collections.abc import Container, Iterable

    from multidict import MultiMapping


LONGEST_S = 2**31  # what delta-seconds that overflow become (RFC 9111 section 1.2.2)

# No group is repeated possessively: Python up to 3.11.4 takes for matched what a last, failed round
# of the group has begun with. What may follow each part is unambiguous, so none takes long to fail.
_QUOTED = r'"[^"\\]*+(?:\\.[^"\\]*+)*"'
_WELL_QUOTED = re.compile(rf'[^"]*+(?:{_QUOTED}[^"]*+)*')
_MEMBER = re.compile(rf'(?:{_QUOTED}|[^,"]++)+')
_DIGITS = re.compile(r"[0-9]+")
LONGEST_DATE = len("Wednesday, 06-Nov-94 08:49:37 GMT")
LONGEST_AGAIN_S = 60  # seconds; one response does not keep a waiting client away for longer

# RFC 9110 section 5.6.7; case does not count.
_DATES = ("%a, %d %b %Y %H:%M:%S GMT", "%A, %d-%b-%y %H:%M:%S GMT", "%a %b %d %H:%M:%S %Y")

# A dictionary of structured fields (RFC 8941 section 3.2).
_KEY = r"[a-z*][a-z0-9_.*-]*+"
_STRING = r'"[\x20\x21\x23-\x5b\x5d-\x7e]*+(?:\\["\\][\x20\x21\x23-\x5b\x5d-\x7e]*+)*"'
_INTEGER = r"-?[0-9]{1,15}(?![0-9.])"
_BARE_ITEM = (
    rf"(?:{_INTEGER}|-?[0-9]{{1,12}}\.[0-9]{{1,3}}(?![0-9])|{_STRING}"
    r"|[A-Za-z*][A-Za-z0-9!#$%&'*+.^_`|~:/-]*+|:[A-Za-z0-9+/=]*+:|\?[01])"
)
_PARAMETERS = rf"(?:;\x20*{_KEY}(?:={_BARE_ITEM})?)*"
_ITEM = rf"{_BARE_ITEM}{_PARAMETERS}"
_INNER_LIST = rf"\(\x20*(?:{_ITEM}(?:\x20+(?!\))|\x20*(?=\))))*\){_PARAMETERS}"
_DICTIONARY_MEMBER = re.compile(
    rf"(?P<key>{_KEY})"
    rf"(?:=(?:(?P<value>{_BARE_ITEM}){_PARAMETERS}|(?P<list>{_INNER_LIST}))|{_PARAMETERS})"
)
_DICTIONARY_COMMA = re.compile(r"[ \t]*,[ \t]*(?!$)")
_WHOLE_INTEGER = re.compile(_INTEGER)
DELTA_SECONDS = frozenset({"max-age", "s-maxage", "stale-while-revalidate", "stale-if-error"})

_ABSENT = "\n"  # no field's value can be this
_REFUSED = re.compile(r";[ \t]*q[ \t]*=[ \t]*0(?:\.0*)?[ \t]*$", re.IGNORECASE)
_ONE_RANGE = re.compile(r"bytes[ \t]*=[ \t]*(?:([0-9]+)-([0-9]*)|-([0-9]+))[ \t]*", re.IGNORECASE)

# A request with one of these may get less than the whole response.
CONDITIONS = ("If-None-Match", "If-Modified-Since", "Range")
# Statuses of responses only to requests with one of these fields (RFC 9110 section 15).
CONDITIONAL_STATUSES = {206: ("Range",), 304: ("If-None-Match", "If-Modified-Since")}


class Directives(msgspec.Struct, frozen=True):
    """The directives that govern a response, and whether a targeted field gave them."""

    by_name: dict[str, str]
    targeted: bool = False

    def __contains__(self, name: str) -> bool:
        return name in self.by_name

    def seconds(self, name: str) -> int | None:
        """Return the seconds of a directive: None without it, 0 if they are invalid."""
        argument = self.by_name.get(name)
        if argument is None:
            return None
        if len(argument) > 1 and argument[0] == argument[-1] == '"':
            argument = argument[1:-1]
        return delta_seconds(argument) or 0


def governing(headers: MultiMapping[str]) -> Directives:
    """Return the directives for a shared cache: RFC 9213's field, else Cache-Control."""
    targeted = parse_dictionary(headers.getall("CDN-Cache-Control", ()))
    if targeted:
        return Directives(targeted, targeted=True)
    return Directives(parse_directives(headers.getall("Cache-Control", ())))


def parse_directives(lines: Iterable[str]) -> dict[str, str]:
    """Parse Cache-Control. The first of equal directives counts (RFC 9111 section 4.2.1)."""
    by_name: dict[str, str] = {}
    for member in members(lines):
        name, _, argument = member.partition("=")
        if name != name.rstrip():
            argument = f" {argument}"  # a space at the equals sign makes the argument invalid
        by_name.setdefault(name.strip().lower(), argument)
    return by_name


def parse_dictionary(lines: Iterable[str]) -> dict[str, str]:
    """Parse a targeted field: empty unless it is a valid dictionary (RFC 9213 section 2.1).

    A time that is not an integer is left out, as the section demands for values of the wrong type.
    """
    text = ", ".join(lines).lstrip(" ").rstrip(" \t")
    by_name: dict[str, str] = {}
    at = 0
    while at < len(text):
        member = _DICTIONARY_MEMBER.match(text, at)
        if member is None:
            return {}
        by_name[member["key"]] = member["value"] or member["list"] or "?1"
        at = member.end()
        if at < len(text):
            comma = _DICTIONARY_COMMA.match(text, at)
            if comma is None:
                return {}
            at = comma.end()
    return {name: value for name, value in by_name.items() if _makes_sense(name, value)}


def _makes_sense(name: str, value: str) -> bool:
    if name in DELTA_SECONDS:
        return _WHOLE_INTEGER.fullmatch(value) is not None
    return value != "?0"


def members(lines: Iterable[str]) -> list[str]:
    """Return the members of a list field, stripped, without empty ones."""
    found = (member.strip() for line in lines for member in _split(line))
    return [member for member in found if member]


def _split(line: str) -> list[str]:
    """Split at the commas outside of quotes. A quote that never closes hides nothing."""
    if '"' in line and _WELL_QUOTED.fullmatch(line):
        return _MEMBER.findall(line)
    return line.split(",")


def delta_seconds(text: str) -> int | None:
    """Parse a non-negative number of seconds; None for anything else."""
    return min(whole_number(text), LONGEST_S) if _DIGITS.fullmatch(text) else None


def whole_number(digits: str) -> int:
    """Parse digits; more than 18 are just a very large number (int() refuses thousands)."""
    significant = digits.lstrip("0")
    return int(significant or "0") if len(significant) <= 18 else 10**18


def age_of(headers: MultiMapping[str]) -> int:
    """Return the Age in seconds: the first value counts, an invalid one is 0 (RFC 9111 5.1)."""
    return age_said(headers.get("Age", ""))


def age_said(text: str) -> int:
    """Parse an Age in seconds."""
    if len(text) < 10 and text.isascii() and text.isdigit():
        return int(text)
    ages = members([text]) if text else ()
    return (delta_seconds(ages[0]) or 0) if ages else 0


def again_s(headers: MultiMapping[str]) -> int | None:
    """Return the seconds of Retry-After, up to a bound; None without a valid one."""
    text = headers.get("Retry-After", "")
    wait = delta_seconds(text.strip(" \t"))
    if wait is None:
        moment, now = parse_date(text), date_of(headers, "Date")
        if moment is None or now is None:
            return None
        wait = int(moment - now)
    return min(max(wait, 1), LONGEST_AGAIN_S)


def date_of(headers: MultiMapping[str], name: str) -> float | None:
    """Return the first date under `name` (epoch seconds); None if it is missing or invalid."""
    return parse_date(headers.get(name, ""))


def parse_date(text: str) -> float | None:
    """Parse an HTTP date in any of its three formats; return epoch seconds."""
    text = text.strip(" \t")
    return _parsed_date(text) if len(text) <= LONGEST_DATE else None


@lru_cache(maxsize=256)  # all responses of one second have the same; 64 KB
def _parsed_date(text: str) -> float | None:
    text = text.replace(":60 ", ":59 ")  # a leap second is the last one of its minute
    for form in _DATES if text.isascii() else ():
        try:
            moment = datetime.strptime(text, form).replace(tzinfo=UTC)
            if moment.year == 1969 and "%y" in form:
                moment = moment.replace(year=2069)  # no web server's clock shows an earlier year
        except ValueError:
            continue
        # Numbers of fewer digits, and more blanks, make no date. A wrong weekday does not matter.
        usual = moment.strftime(form.rpartition(", ")[2])
        return moment.timestamp() if len(usual) == len(text.rpartition(", ")[2]) else None
    return None


def normalised(name: str, request_headers: MultiMapping[str]) -> str:
    """Return a field's normalised value, equal for spellings with one meaning (section 4.1)."""
    lines = request_headers.getall(name, None)
    if lines is None:
        return _ABSENT
    values = members(lines)
    if name == "accept-language":
        values = sorted({re.sub(r"[ \t]", "", value).lower() for value in values})
    elif name == "accept-encoding":
        values = sorted(_accepted_codings(values))
    return ",".join(values)


def _accepted_codings(values: Iterable[str]) -> set[str]:
    """Return the acceptable codings; weights are ignored, because the origin chooses among them."""
    accepted = (value for value in values if not _REFUSED.search(value))
    return {value.partition(";")[0].strip().lower() for value in accepted} - {"identity"}


def check_conditional_status(status: int, sent: Container[str]) -> None:
    """Raise OriginBroken for a 206 or 304 that the fields `sent` did not request."""
    names = CONDITIONAL_STATUSES.get(status)
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

    A malformed tag matches when it comes back unchanged.
    """
    if etag is None:
        return if_none_match.strip() == "*"
    return if_none_match.strip() == etag or matches(if_none_match, etag)


def byte_range(
    request_headers: MultiMapping[str], marks: Marks, length: int
) -> tuple[int, int] | None:
    """Return the start and the end (exclusive) of the requested range of a complete 200.

    Return None to send the whole body, as `requested_part` does, and for the range of another
    representation. Raises RangeNotSatisfiable.
    """
    if not _if_range_holds(request_headers, marks):
        return None
    return requested_part(request_headers.get("Range", ""), length)


def requested_part(requested_range: str, length: int) -> tuple[int, int] | None:
    """Return the start and the end (exclusive) of the range that a field names in `length` bytes.

    Return None to send the whole body: without a range, for several, for one in another unit or
    malformed, and for an empty body, as at the tail of a stream. Raises RangeNotSatisfiable.
    """
    match = _ONE_RANGE.fullmatch(requested_range.strip(" \t"))
    if match is None or not length:
        return None
    end = length
    if match[3] is not None:
        start = max(0, length - whole_number(match[3]))
    else:
        start = whole_number(match[1])
        if match[2]:
            last = whole_number(match[2])
            if last < start:
                return None
            end = min(last + 1, length)
    if start >= length:
        raise RangeNotSatisfiable(length)
    return start, end


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
