"""The exceptions of the library, by what a caller can do about them.

No message holds a credential: a URL is shown without its password and its query.
"""

from __future__ import annotations

import math
from email.utils import parsedate_to_datetime
from typing import TYPE_CHECKING, ClassVar

from headgate.names import (
    BEGINNING,
    DEFAULT_BASE,
    EXPECTED_SEQ,
    LIST,
    MOST_SHOWN,
    NEXT_OFFSET,
    NOW,
    PRODUCER_EPOCH,
    is_closed,
    whole_number,
)

if TYPE_CHECKING:
    import logging
    from collections.abc import Callable, Mapping

MOST_CHARACTERS = 1000  # a few sentences; a message may hold all of what a model was asked
REQUEST_TIMEOUT, TOO_MANY_REQUESTS = 408, 429


class StreamError(Exception):
    """The base of the errors of the library. Each kind says what you can do.

    The message is one sentence. Below it, a traceback has what to do about a refusal (`__notes__`).

    Attributes:
        reason: What is wrong, without the URL of the stream.
        stream: The URL of the stream, without password and query; None if no stream is concerned.
        status: The status of the response; None if no response is the reason.
        offset: The offset that the error is about: the final one of a closed stream, and otherwise
            the one that was requested or read; None if there is none.
        headers: The header fields of the response.
        code: The code of the error, such as `ALREADY_CLAIMED`, of responses that have one.
        chunk: The number, from 1 on, and the length in bytes of the chunk of a `StreamWriter` that
            the server refuses; None if the writer does not know which one.
    """

    chunk: tuple[int, int] | None = None
    _advice: ClassVar[str]  # of a refusal

    def __init__(
        self,
        reason: str,
        *,
        stream: str | None = None,
        status: int | None = None,
        offset: str | None = None,
        headers: Mapping[str, str] | None = None,
        code: str = "",
    ) -> None:
        super().__init__(f"{stream}: {reason}" if stream else reason)
        self.reason = reason
        self.stream = stream
        self.status = status
        self.offset = offset
        self.headers = headers or {}
        self.code = code

    def _name_chunk(self, number: int, size: int) -> None:
        """Add to the sentence which chunk of a writer was refused."""
        self.chunk = number, size
        words = f"; it was chunk {number}, of {size:,} bytes"
        self.reason += words
        self.args = (f"{self}{words}",)


class Unavailable(StreamError):
    """A failure that may pass: try again later. The server is away, busy or faulty for now.

    An append may be stored or not, unless `is_unsent`: only a producer's may be sent again.

    Attributes:
        is_unsent: Whether nothing was sent, since there was no connection.
    """

    _advice = "Try again later."

    is_unsent = False

    @property
    def retry_after(self) -> float:
        """Seconds of the server's Retry-After (RFC 9110 section 10.2.3); 0 if absent or invalid."""
        text = self.headers.get("Retry-After", "")
        if text.isdecimal():
            return float(text)
        try:  # a date is of the server's clock, so it is compared with that
            wait = parsedate_to_datetime(text) - parsedate_to_datetime(self.headers.get("Date", ""))
        except (TypeError, ValueError):
            return 0.0
        return max(0.0, wait.total_seconds())


class NotAuthorized(StreamError):
    """A missing or wrong credential (401), or no permission (403): get another credential."""

    _advice = (
        "Set the `token` of the client to one that permits this; STREAM_AUTH and an "
        "`authorization` begin with its scheme, as 'Bearer TOKEN' does."
    )


class Fenced(StreamError):
    """A writer or worker that another one has replaced: stop this one.

    A producer of the same id has a higher epoch (403), or the lease of a job is over.
    """

    _advice = "Another writer has taken over: end this one."

    @property
    def epoch(self) -> int:
        """The epoch that the server has for this producer; 0 for a job."""
        return int(self.headers.get(PRODUCER_EPOCH, 0))


class StreamNotFound(StreamError):
    """A stream that does not exist (404): create it, or correct its name."""

    _advice = "Correct its name or the URL of the client, or create the stream first."


class Gone(StreamError):
    """A stream, or data at an offset, that is gone (410): begin again at the beginning."""

    _advice = 'Begin again at the beginning: offset="-1".'


ABSENT = (StreamNotFound, Gone)


class Conflict(StreamError):
    """A request that does not fit the present state (409): look at the state, then decide.

    The stream has another content type or configuration, its name is in use, or an answer of the
    chat goes on.
    """

    _advice = (
        "Take another name, or delete the stream first; `open` returns it as it is, and a closed "
        "one can only be read."
    )


class Closed(Conflict):
    """A closed stream, which takes no append (409): write to another one."""

    _advice = "Append to another stream: this one has ended."


class TooLarge(StreamError):
    """A body that is longer than the server accepts (413): send less at once."""

    _advice = "Append less at once."


class BadRequest(StreamError):
    """A request that is wrong in itself (400 and others): correct it; to repeat it is of no use.

    Of a page's request to a chat: answer with its `status`.
    """

    _advice = "Correct the request: sent again as it is, it is refused again."


class ProtocolError(StreamError):
    """A response or data that does not fit: check the URL, and who else writes to the stream."""

    _advice = f"Correct the URL of the client: it is one such as {DEFAULT_BASE}."


class SourceFailed(StreamError):
    """A source of a text or a run that failed or is lost: what was read is all that there is."""


_KINDS: dict[int, type[StreamError]] = {
    401: NotAuthorized,
    403: NotAuthorized,
    404: StreamNotFound,
    410: Gone,
    409: Conflict,
    413: TooLarge,
    501: ProtocolError,
    REQUEST_TIMEOUT: Unavailable,
    TOO_MANY_REQUESTS: Unavailable,
}
OUTSIDE = "streams are below"  # begins Headgate's reason at any other path
NO_BASE = ProtocolError._advice
UNLIKE = {"", "content_type_mismatch"}  # codes of the refusal; other servers send none
OTHER_TYPE = "Leave out the `content_type` of the writer, or write to another stream."
NO_SUBSCRIPTION = "Create the subscription first, or correct its id or the URL of the client."
NO_LIST = (
    'Ask a Headgate whose route says listing = "on", with a token that may read every stream '
    "with this prefix."
)
NO_OFFSET = 'Read from the `offset` of a message, from the beginning, "-1", or from "now".'


def refusal(  # noqa: PLR0913 - what a response has
    reason: str,
    status: int,
    headers: Mapping[str, str],
    *,
    stream: str,
    method: str = "GET",
    offset: str | None = None,
    code: str = "",
) -> StreamError:
    """Return the error that a response is, with what to do about it in a note below it.

    `offset` is the one that was requested.
    """
    kind = _KINDS.get(status, Unavailable if status >= 500 else BadRequest)
    if status == 409 and is_closed(headers):
        kind, offset = Closed, headers.get(NEXT_OFFSET)
    elif status == 403 and whole_number(headers.get(PRODUCER_EPOCH, "")) is not None:
        kind = Fenced
    advice = kind._advice
    if code == "SUBSCRIPTION_NOT_FOUND":
        advice = NO_SUBSCRIPTION
    elif kind is StreamNotFound and stream.endswith(f"/{LIST}"):
        advice = NO_LIST
    elif kind is StreamNotFound and (method == "PUT" or reason.startswith(OUTSIDE)):
        advice = NO_BASE
    elif kind is Conflict and method == "POST" and code in UNLIKE and EXPECTED_SEQ not in headers:
        advice = OTHER_TYPE
    elif kind is BadRequest and offset is not None:
        advice, reason = NO_OFFSET, reason + _offset_named(offset)
    error = kind(reason, stream=stream, status=status, offset=offset, headers=headers, code=code)
    error.add_note(advice)
    return error


def _offset_named(offset: str) -> str:
    """Return the words that name a refused offset; none for one that every server knows."""
    shown = repr(offset[:MOST_SHOWN])
    named = f"; the offset was {shown}, and the beginning is {BEGINNING!r}"
    return "" if offset in {BEGINNING, NOW} else named


def sendable(words: str) -> str:
    """Return the text cut to MOST_CHARACTERS, with a question mark for each lone surrogate.

    A page shows it as `error.message`, so it ends with no blank or line end.
    """
    return words[:MOST_CHARACTERS].rstrip().encode(errors="replace").decode()


def safe_error_text(
    error: Exception,
    error_text: Callable[[Exception], str],
    default: Callable[[Exception], str],
    log: logging.Logger,
) -> str:
    """Return the application's `error_text` of an error, or the default if that function raises."""
    try:
        return sendable(error_text(error))
    except Exception as failure:
        log.warning("error_text failed", exc_info=failure)
        return default(error)


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


def check_runs(runs: object, kind: type, name: str) -> None:
    """Raise TypeError if `runs` is not of this kind, which users know by `name`."""
    if not isinstance(runs, kind):
        raise TypeError(f"Chats takes {name}, as in Chats(Runs(URL)), and not {type(runs)}")
