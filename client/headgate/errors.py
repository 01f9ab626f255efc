"""The exceptions of the library, by what a caller can do about them.

No message holds a credential: a URL is shown without its password and its query.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from email.utils import mktime_tz, parsedate_tz
from typing import TYPE_CHECKING

from headgate.names import CLOSED, PRODUCER_EPOCH, whole_number

if TYPE_CHECKING:
    from collections.abc import Mapping

REQUEST_TIMEOUT, TOO_MANY_REQUESTS = 408, 429

PASSING = frozenset({REQUEST_TIMEOUT, TOO_MANY_REQUESTS})


class StreamError(Exception):
    """The base of all errors of writing and reading streams."""


class ProtocolError(StreamError):
    """A response that no Durable Streams server sends: wrong server, or a broken protocol."""


@dataclass(frozen=True, slots=True)
class RefusedChunk:
    """A chunk of a `StreamWriter` that the server refuses.

    Attributes:
        number: Its number among the chunks that were written, from 1 on.
        size: Its length in bytes.
    """

    number: int
    size: int


class RequestRefused(StreamError):
    """A request that the server, or the way to it, refused.

    Attributes:
        status: The status of the response; None if nothing answered.
        headers: The header fields of the response.
        reason: The server's explanation, without the URL of the stream.
        code: The code of the error, such as `ALREADY_CLAIMED`, of responses that have one.
        chunk: The chunk that was refused, if a writer has found out that it is one alone.
    """

    def __init__(
        self,
        sentence: str,
        status: int | None = None,
        headers: Mapping[str, str] | None = None,
        *,
        reason: str = "",
        code: str = "",
        chunk: RefusedChunk | None = None,
    ) -> None:
        super().__init__(sentence)
        self.status = status
        self.headers = headers or {}
        self.reason = reason
        self.code = code
        self.chunk = chunk

    @property
    def is_passing(self) -> bool:
        """True if the same request may succeed later."""
        return self.status is None or self.status in PASSING or self.status >= 500

    @property
    def retry_after_s(self) -> float:
        """Seconds of the server's Retry-After (RFC 9110 section 10.2.3); 0 if absent or invalid."""
        text = self.headers.get("Retry-After", "")
        if text.isdecimal():
            return float(text)
        # The date comes from the server's clock, so it is compared with the server's clock.
        until, now = _moment_s(text), _moment_s(self.headers.get("Date", ""))
        return 0.0 if until is None or now is None else max(0.0, until - now)


class Unavailable(RequestRefused):
    """A failure that may pass: no response, or a server that is busy or faulty for now.

    It is not known whether an append was stored; only a producer's may be sent again.
    """


class CannotConnect(Unavailable):
    """A failed connection: nothing was sent, so no append can have been stored."""


class NotAuthorized(RequestRefused):
    """A refusal for lack of a valid credential (401), or of permission (403)."""


class ProducerFenced(RequestRefused):
    """A refusal because a producer of the same id has a higher epoch (403)."""

    @property
    def epoch(self) -> int:
        """The epoch that the server holds for this producer."""
        return int(self.headers[PRODUCER_EPOCH])


class StreamNotFound(RequestRefused):
    """A stream that does not exist (404)."""


class StreamGone(RequestRefused):
    """A stream, or data at an offset, that is gone (410)."""


# The stream is not there, or not any more.
ABSENT = (StreamNotFound, StreamGone)


class StreamConflict(RequestRefused):
    """A conflict with the stream (409): its content type, or a gap in a producer's numbers."""


class StreamClosed(StreamConflict):
    """A closed stream, which takes no append (409)."""


class TooLarge(RequestRefused):
    """A body that is longer than the server accepts (413)."""


class StreamExists(StreamError):
    """A resumable stream whose id is in use, or was until a short while ago."""


class SourceFailed(StreamError):
    """A source that ended with an error, after the text that was read."""


class ProducerLost(StreamError):
    """A producer that does not respond any longer; the rest of the text is unknown."""


class RunFailed(StreamError):
    """A run that failed or is orphaned, raised where its format does not show it to readers."""


class TextTrimmed(StreamError):
    """Text that was requested after it had left the producer's bounded buffer."""


class LeaseLost(StreamError):
    """A job that this worker has no longer: its lease is over, and another may have it."""


class WebhookRejected(StreamError):
    """A request to a webhook receiver that is not signed by its server, or not for it."""


_KINDS: dict[int, type[RequestRefused]] = {
    401: NotAuthorized,
    403: NotAuthorized,
    404: StreamNotFound,
    410: StreamGone,
    409: StreamConflict,
    413: TooLarge,
    REQUEST_TIMEOUT: Unavailable,
    TOO_MANY_REQUESTS: Unavailable,
}


def _moment_s(text: str) -> float | None:
    """Return the date of a header field in seconds since 1970; None if it is no date."""
    moment = parsedate_tz(text)
    if moment is None:
        return None
    try:
        return float(mktime_tz(moment))
    except (ValueError, OverflowError):  # of a year that no calendar has
        return None


def refusal(
    shown: str, reason: str, status: int, headers: Mapping[str, str], code: str = ""
) -> RequestRefused:
    """Return the kind of error that an answer is, which names the URL as it may be shown."""
    kind = Unavailable if status >= 500 else _KINDS.get(status, RequestRefused)
    if status == 409 and headers.get(CLOSED, "").lower() == "true":
        kind = StreamClosed
    elif status == 403 and whole_number(headers.get(PRODUCER_EPOCH, "")) is not None:
        kind = ProducerFenced
    return kind(f"{shown}: {reason}", status, headers, reason=reason, code=code)


def check_number(
    name: str,
    value: object,
    at_least: int = 0,
    *,
    is_whole: bool = False,
    is_finite: bool = False,
) -> None:
    """Raise TypeError or ValueError if an argument is not a number of `at_least`."""
    kind = "whole " if is_whole else "finite " if is_finite else ""
    wanted = f"{name} is a {kind}number, {at_least} or more"
    if not isinstance(value, int | float):
        raise TypeError(f"{wanted}, and not of the type {type(value).__name__}")
    is_kind = isinstance(value, int) if is_whole else not (is_finite and value == math.inf)
    if not (value >= at_least and is_kind):
        raise ValueError(f"{wanted}, not {value}")
