"""The errors that Headgate answers requests with, each with its status."""

from __future__ import annotations

from typing import ClassVar

from typing_extensions import override


class HeadgateError(Exception):
    """An error with one sentence, `detail`: what was wrong, and what to do.

    A response to it has the `status`, and the `code` for programs.
    """

    code: ClassVar[str] = "error"
    status: ClassVar[int] = 500

    @override
    def __init_subclass__(cls, *, code: str = "", status: int = 0) -> None:
        super().__init_subclass__()
        cls.code, cls.status = code or cls.code, status or cls.status

    def __init__(self, detail: str) -> None:
        super().__init__(detail)
        self.detail = detail


class StartError(HeadgateError, code="start"):
    """The server cannot start as configured: an unusable port, folder or data file."""

    @property
    def problems(self) -> tuple[str, ...]:
        """The sentences of the detail, each on a line of its own."""
        return tuple(f"{line}." for line in self.detail.split(".\n"))


class RestartNeeded(StartError):
    """A reload cannot put the settings in force, which a start may."""


class BadRequest(HeadgateError, code="bad_request", status=400):
    """The request is malformed; the detail names the parameter or header."""


class Unauthenticated(HeadgateError, code="unauthenticated", status=401):
    """The route needs a credential, and the request has none, or one that is not valid."""

    def __init__(self, detail: str, *, is_refused: bool = False, challenge: str = "") -> None:
        """Set `is_refused` if there was a token that is not accepted (RFC 6750).

        `challenge` is an origin's challenge in place of a bearer token (RFC 9110 section 11.6.1).
        """
        super().__init__(detail)
        self.is_refused = is_refused
        self.challenge = challenge


class Forbidden(HeadgateError, code="forbidden", status=403):
    """The principal may not perform this operation on this stream."""


class DestinationRefused(HeadgateError, code="destination_refused", status=403):
    """A URL that a client names leads to a host or an address that no request may go to."""


class KeysUnavailable(HeadgateError, code="keys_unavailable", status=503):
    """A token cannot be verified yet: its issuer's keys could not be fetched so far."""


NO_STREAM = "there is no stream at this path"
"""The usual detail of StreamNotFound; a concealed stream has it, too."""


class StreamNotFound(HeadgateError, code="stream_not_found", status=404):
    """No stream lives at this path."""


class WebSocketNotOffered(HeadgateError, code="websocket_not_offered", status=404):
    """The request is the handshake of a WebSocket, which no route takes.

    It is a 404, after which clients go on over HTTP: with 426 some end.
    """

    def __init__(self) -> None:
        super().__init__("there is no WebSocket here: send the request over HTTP")


class StreamGone(HeadgateError, code="gone", status=410):
    """The stream was deleted while forks still need it, or the offset is of an earlier stream."""


class WebOriginRefused(HeadgateError, code="origin_not_allowed", status=403):
    """A write by a browser's page that neither `http.write_origins` nor a token permits."""

    def __init__(self, origin: str, *, is_guarded: bool = True, has_token: bool = False) -> None:
        """Set `has_token` if the token was accepted, and only the page's origin is wrong."""
        may = "http.write_origins names the web origins that may"
        if has_token:
            may = "with a token in Authorization, http.cors_origins names the web origins that may"
        elif is_guarded:
            may += ", and a token in Authorization lets others"
        super().__init__(f"pages of {origin[:128]} may not write here: {may}")


class MethodNotAllowed(HeadgateError, code="method_not_allowed", status=405):
    """The method has no meaning for a stream, or for a resource with the `allowed` ones."""

    def __init__(self, detail: str, allowed: str | None = None) -> None:
        super().__init__(detail)
        self.allowed = allowed


class MisdirectedRequest(HeadgateError, code="misdirected_request", status=421):
    """A request for a host that this server does not answer for."""


class NotOffered(HeadgateError, code="not_implemented", status=501):
    """A part of the protocol that this server does not have."""


class StreamClosed(HeadgateError, code="stream_closed", status=409):
    """An append to a closed stream. `next_offset` is its final tail."""

    def __init__(self, next_offset: str) -> None:
        super().__init__("the stream is closed: it takes no further appends")
        self.next_offset = next_offset


class ContentTypeMismatch(HeadgateError, code="content_type_mismatch", status=409):
    """The request's content type is not the stream's."""


class SequenceRegression(HeadgateError, code="sequence_regression", status=409):
    """`Stream-Seq` is not greater than the last one accepted."""


class ConfigurationConflict(HeadgateError, code="configuration_conflict", status=409):
    """A stream with another configuration exists where one was to be created."""


class StreamBusy(HeadgateError, code="stream_busy", status=409):
    """An answer is being written to the stream where another one was to begin."""


class ProducerFenced(HeadgateError, code="stale_epoch", status=403):
    """The producer's epoch is older than the current one, `epoch`."""

    def __init__(self, epoch: int) -> None:
        super().__init__(f"the producer was fenced: epoch {epoch} is in force")
        self.epoch = epoch


class SequenceGap(HeadgateError, code="sequence_gap", status=409):
    """The producer skipped a sequence number."""

    def __init__(self, expected: int, received: int) -> None:
        super().__init__(f"Producer-Seq {received} came where {expected} was expected")
        self.expected = expected
        self.received = received


class BodyTooLarge(HeadgateError, code="body_too_large", status=413):
    """The body is over `max_append` bytes, or over another bound."""

    def __init__(self, limit: int, bound: str = "max_append") -> None:
        super().__init__(f"the body is over {bound}, {limit} bytes")
        self.limit = limit


class CodingNotSupported(HeadgateError, code="content_coding_not_supported", status=415):
    """The body has another content coding than the `taken` ones, of which "identity" is none."""

    def __init__(self, detail: str, taken: str = "identity") -> None:
        super().__init__(detail)
        self.taken = taken


class RangeNotSatisfiable(HeadgateError, code="range_not_satisfiable", status=416):
    """The range begins after the end of the response, which has `size` bytes."""

    def __init__(self, size: int) -> None:
        """Take the size, which tells the client what it can ask for."""
        super().__init__(f"the answer has {size} bytes, and the range begins after them")
        self.size = size


class HeadTooLarge(HeadgateError, code="header_too_large", status=431):
    """A header line, or all of them, are longer than any proxy would pass on."""


class RequestTimeout(HeadgateError, code="request_timeout", status=408):
    """The rest of the request did not come in time."""


class LimitReached(HeadgateError, code="limit_reached", status=503):
    """A bound of this server is reached; the detail names it. The request may be repeated.

    With `ends_connection`, that of the client would take what is short.
    """

    def __init__(self, detail: str, *, ends_connection: bool = False) -> None:
        super().__init__(detail)
        self.ends_connection = ends_connection


class ClientLimitReached(HeadgateError, code="client_limit_reached", status=429):
    """A client has reached a limit, which the detail names; it may retry after `again_s`."""

    def __init__(self, detail: str, again_s: int = 1) -> None:
        super().__init__(detail)
        self.again_s = again_s


class ServerStopping(HeadgateError, code="stopping", status=503):
    """The server is stopping, and starts no more waits."""


class StreamLimit(HeadgateError, code="stream_limit", status=409):
    """A limit of the stream itself, so that a retry does not help; counted as `limit`."""

    def __init__(self, detail: str, limit: str) -> None:
        super().__init__(detail)
        self.limit = limit


class LogUnavailable(HeadgateError, code="log_unavailable", status=503):
    """The log cannot take or give data now. Nothing was written; the request may be repeated."""


class LogFull(HeadgateError, code="log_full", status=507):
    """The log has reached its quota. Nothing was written; reads, closes and deletes go on."""


class RecordDamaged(HeadgateError, code="record_damaged", status=500):
    """A stored record does not match its checksum, so it is not served."""


class OriginUnreachable(HeadgateError, code="origin_unreachable", status=502):
    """No connection to the origin: unknown host, refused, TLS. Nothing was sent to it."""


class OriginTimeout(HeadgateError, code="origin_timeout", status=504):
    """The origin did not answer in time, or stopped in the middle of its answer."""


class OriginBroken(HeadgateError, code="origin_broken", status=502):
    """The origin's response is not HTTP, too long, or incomplete."""


class OriginBusy(HeadgateError, code="origin_busy", status=503):
    """The origin has answered 429 or 5xx; `again_s` is its Retry-After in seconds."""

    def __init__(self, detail: str, again_s: int | None = None) -> None:
        super().__init__(detail)
        self.again_s = again_s


class OriginBehind(HeadgateError, code="origin_behind", status=503):
    """The stream ends before the requested offset: it is another one, or a replica lags."""

    def __init__(self, detail: str = "", end: str = "") -> None:
        """Refuse a read that lies beyond `end`, where the origin says that the stream ends."""
        super().__init__(detail)
        self.end = end


class LoopDetected(HeadgateError, code="loop_detected", status=508):
    """The request has come through this gateway before."""


class NotCached(HeadgateError, code="not_cached", status=504):
    """The request accepts a cached response only, and there is none."""


# The failures of an HTTP origin.
OF_THE_ORIGIN = (OriginBehind, OriginBroken, OriginBusy, OriginTimeout, OriginUnreachable)


def drop_frames(error: BaseException) -> None:
    """Drop the tracebacks of an error that is handled, and of its causes.

    Their frames refer to the bodies of requests. A frame that refers to the error is a cycle with
    them, which only the next full garbage collection would end.
    """
    errors, dropped = [error], set[int]()
    while errors:
        one = errors.pop()
        if id(one) in dropped:
            continue
        dropped.add(id(one))
        one.__traceback__ = None
        errors += (it for it in (one.__cause__, one.__context__) if it is not None)
