"""What can go wrong, by what a caller can do about it. Each message is one sentence.

No message holds a credential: a URL is shown without its password and its query.
"""

from __future__ import annotations

from dataclasses import dataclass
from email.utils import mktime_tz, parsedate_tz
from typing import TYPE_CHECKING

from headgate.names import CLOSED, PRODUCER_EPOCH, whole_number

if TYPE_CHECKING:
    from collections.abc import Mapping

REQUEST_TIMEOUT, TOO_MANY_REQUESTS = 408, 429

PASSING = frozenset({REQUEST_TIMEOUT, TOO_MANY_REQUESTS})


class StreamError(Exception):
    """Whatever keeps a stream from being written or read."""


class ProtocolError(StreamError):
    """What answered is no Durable Streams server, or it broke the protocol."""


@dataclass(frozen=True, slots=True)
class RefusedChunk:
    """A chunk of a `StreamWriter` that the server does not take."""

    number: int  # from 1 on, of those that were written
    size: int  # bytes


class RequestRefused(StreamError):
    """The server, or the way to it, refused a request; `status` is None if nothing answered.

    `reason` is what the server said, without the URL of the stream. `chunk` is set where a writer
    has found out that one chunk alone was refused.
    """

    def __init__(
        self,
        sentence: str,
        status: int | None = None,
        headers: Mapping[str, str] | None = None,
        *,
        reason: str = "",
        chunk: RefusedChunk | None = None,
    ) -> None:
        super().__init__(sentence)
        self.status = status
        self.headers = headers or {}
        self.reason = reason
        self.chunk = chunk

    @property
    def is_passing(self) -> bool:
        """Whether the same request may succeed later."""
        return self.status is None or self.status in PASSING or self.status >= 500

    @property
    def retry_after_s(self) -> float:
        """How long the server asked to be left alone (RFC 9110 section 10.2.3); 0 if unclear."""
        text = self.headers.get("Retry-After", "")
        if text.isdecimal():
            return float(text)
        # A moment is told by the server's clock, so it is compared with the server's clock.
        until, now = _moment_s(text), _moment_s(self.headers.get("Date", ""))
        return 0.0 if until is None or now is None else max(0.0, until - now)


class Unavailable(RequestRefused):
    """Nothing answered, or a server that is busy or faulty for now: the request may succeed later.

    It is not known whether an append was stored; only a producer's may be sent again.
    """


class CannotConnect(Unavailable):
    """There was no connection, so nothing was sent: no append can have been stored."""


class NotAuthorized(RequestRefused):
    """The server wants another credential (401), or forbids it to this one (403)."""


class ProducerFenced(RequestRefused):
    """A producer of the same id with a higher epoch has taken over (403)."""

    @property
    def epoch(self) -> int:
        """The epoch that the server holds for this producer."""
        return int(self.headers[PRODUCER_EPOCH])


class StreamNotFound(RequestRefused):
    """There is no such stream (404)."""


class StreamGone(RequestRefused):
    """The stream, or what was at the offset, is gone (410)."""


# The stream is not there, or not any more.
ABSENT = (StreamNotFound, StreamGone)


class StreamConflict(RequestRefused):
    """The stream does not take it (409): another content type, a gap in a producer's numbers."""


class StreamClosed(StreamConflict):
    """The stream has ended, and takes no append (409)."""


class TooLarge(RequestRefused):
    """The body is longer than the server takes (413)."""


class StreamExists(StreamError):
    """The id of a stream that was to be created is in use, or was until a short while ago."""


class SourceFailed(StreamError):
    """The source ended with an error, after the text that was read."""


class ProducerLost(StreamError):
    """Whoever produced the stream answers no longer; the rest of the text is unknown."""


class RunFailed(StreamError):
    """A run failed or is orphaned, and nothing that its readers were sent says so."""


class TextTrimmed(StreamError):
    """The text that was asked for has left the producer's buffer, which is bounded."""


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
    """A moment of a field, in seconds since 1970; None if it is none."""
    moment = parsedate_tz(text)
    if moment is None:
        return None
    try:
        return float(mktime_tz(moment))
    except (ValueError, OverflowError):  # of a year that no calendar has
        return None


def refusal(shown: str, reason: str, status: int, headers: Mapping[str, str]) -> RequestRefused:
    """Return the kind of error that an answer is, which names the URL as it may be shown."""
    kind = Unavailable if status >= 500 else _KINDS.get(status, RequestRefused)
    if status == 409 and headers.get(CLOSED, "").lower() == "true":
        kind = StreamClosed
    elif status == 403 and whole_number(headers.get(PRODUCER_EPOCH, "")) is not None:
        kind = ProducerFenced
    return kind(f"{shown}: {reason}", status, headers, reason=reason)
