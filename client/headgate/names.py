"""Names and values of header fields that the library uses, and names and URLs of streams."""

from __future__ import annotations

import inspect
import re
from operator import itemgetter
from typing import TYPE_CHECKING
from urllib.parse import quote, urlsplit, urlunsplit

if TYPE_CHECKING:
    from collections.abc import Mapping

    from yarl import URL

NEXT_OFFSET = "Stream-Next-Offset"
UP_TO_DATE = "Stream-Up-To-Date"
CLOSED = "Stream-Closed"
CURSOR = "Stream-Cursor"
TTL = "Stream-TTL"
EXPIRES_AT = "Stream-Expires-At"
SSE_ENCODING = "Stream-SSE-Data-Encoding"
PRODUCER_ID = "Producer-Id"
PRODUCER_EPOCH = "Producer-Epoch"
PRODUCER_SEQ = "Producer-Seq"
EXPECTED_SEQ = "Producer-Expected-Seq"
MULTI = "X-Stream-Multi"
# Of a Headgate with its own log: the offset at which a response to a read from -1 begins.
START_OFFSET = "Headgate-Start-Offset"
# Offsets of any stream (PROTOCOL.md section 6): its beginning, and its tail at the moment.
BEGINNING, NOW = "-1", "now"
# Streams below the name of a run's stream, and the id of its producer in all of them.
LEASE, WAIT, STOP, GRACE = "lease", "wait", "stop", "grace"
BESIDE = (LEASE, WAIT, STOP, GRACE)
PRODUCER = "run"
# The variables by which clients and commands find a server, and its URL where neither is set.
BASE_VARIABLE, AUTHORIZATION_VARIABLE = "STREAM_URL", "STREAM_AUTH"
DEFAULT_BASE = "http://127.0.0.1:4437/v1/stream"
LIST = "__ds/streams"  # below the base URL: Headgate's list of streams
IN_NAMES = "/!$&'()*+,;=:@"  # besides letters, digits and -._~, as they are (RFC 3986)
MOST_SHOWN = 300  # characters of a URL in an error
# What no header field may hold; a surrogate is a byte of an argument or variable that is not UTF-8.
NOT_IN_FIELDS = re.compile(r"[\x00-\x1f\x7f-\x9f\ud800-\udfff]")
_HOST_AND_PORT = re.compile(r"([\w.-]+|\[[0-9A-Fa-f:.]+\]):\d{1,5}(/[^\s?#@]*)?")
MOST_DIGITS = 20  # of 64 bits; Python itself refuses to read thousands


def stream_url(base: str, name: str) -> str:
    """Return the URL of the stream `name` below `base`, as one percent-encoded path segment.

    Raises ValueError for `.` and `..`, which name other URLs even percent-encoded.
    """
    if name in {".", ".."}:
        raise ValueError(f"a stream cannot be named {name!r}")
    return path_url(base, quote(name, safe=""))


def path_url(base: str, path: str) -> str:
    """Return the URL of a path, which is percent-encoded already, below `base`."""
    return f"{base.rstrip('/')}/{path}"


def with_parameters(url: URL, query: Mapping[str, str] | None) -> URL:
    """Return the URL with these parameters; all are sorted, so that caches see equal URLs."""
    parameters = url.update_query(query or {}).query
    return url.with_query(sorted(parameters.items(), key=itemgetter(0))) if query else url


def with_scheme(text: str, scheme: str = "http") -> str | None:
    """Return the URL that a host and a port, perhaps with a path, were meant as.

    Return None for any other text, and for one that may hold a secret.
    """
    return f"{scheme}://{text}" if _HOST_AND_PORT.fullmatch(text) else None


def without_secrets(url: str) -> str:
    """Return a URL without password and query."""
    parts = urlsplit(url)
    return urlunsplit((parts.scheme, parts.netloc.rpartition("@")[2], parts.path, "", ""))


def shown(url: str) -> str:
    """Return the URL for messages: without password and query, cut to MOST_SHOWN characters."""
    whole = without_secrets(url)
    return whole if len(whole) <= MOST_SHOWN else f"{whole[:MOST_SHOWN]}..."


def whole_number(text: str) -> int | None:
    """Return the number in a header field; None if it is not one, or longer than any counter."""
    return int(text) if text.isdecimal() and len(text) <= MOST_DIGITS else None


def is_closed(headers: Mapping[str, str]) -> bool:
    """Return whether the response says that the stream is closed."""
    return headers.get(CLOSED, "").lower() == "true"


def not_text(name: object, sentence: str) -> TypeError:
    """Return the error for a name, id or URL that is not a str, with its type after the sentence.

    A coroutine is closed, so that Python does not warn that it was never awaited.
    """
    if inspect.iscoroutine(name):
        name.close()
    await_it = ": await it, and pass its result" if inspect.isawaitable(name) else ""
    return TypeError(f"{sentence}, not {type(name).__name__}{await_it}")


def is_quoted(text: str) -> bool:
    """Return whether a text has quotes around it, as its first and its last character.

    A shell removes them. Files of variables, such as those of Docker's --env-file, keep them.
    """
    return len(text) > 1 and text[0] == text[-1] and text[0] in "\"'"


def has_quoted_token(authorization: str) -> bool:
    """Return whether a value of Authorization, or the token after its scheme, is in quotes."""
    return is_quoted(authorization) or is_quoted(authorization.rpartition(" ")[2])


def authorization_of(environment: Mapping[str, str]) -> str | None:
    """Return the value of STREAM_AUTH, None if it is not set. Raises ValueError for bad text."""
    return checked_authorization(
        environment.get(AUTHORIZATION_VARIABLE, ""), AUTHORIZATION_VARIABLE
    )


def checked_authorization(value: str, source: str) -> str | None:
    """Return the value of a header field, None for an empty one. Raises ValueError."""
    if NOT_IN_FIELDS.search(value):
        raise ValueError(
            f"{source} has a line end or another character in it that cannot be "
            "sent: it must be one line of text"
        )
    if has_quoted_token(value):
        raise ValueError(f"{source} has quotes in its text: leave them out")
    return value or None
