"""The errors that Headgate answers requests with, as typed values without HTTP in them."""

from __future__ import annotations

from typing import ClassVar


class HeadgateError(Exception):
    """An error with one sentence, `detail`: what was wrong, and what to do."""

    code: ClassVar[str] = "error"

    def __init__(self, detail: str) -> None:
        super().__init__(detail)
        self.detail = detail


class StartError(HeadgateError):
    """The server cannot start as configured: an unusable port, folder or data file."""

    code = "start"

    @property
    def problems(self) -> tuple[str, ...]:
        """The sentences of the detail, each on a line of its own."""
        return tuple(f"{line}." for line in self.detail.split(".\n"))


class RestartNeeded(StartError):
    """A reload cannot put the settings in force, which a start may."""


class BadRequest(HeadgateError):
    """The request is malformed; the detail names the parameter or header."""

    code = "bad_request"


class Unauthenticated(HeadgateError):
    """The route needs a credential, and the request has none, or one that is not valid."""

    code = "unauthenticated"

    def __init__(self, detail: str, *, is_refused: bool = False, challenge: str = "") -> None:
        """Set `is_refused` if there was a token that is not accepted (RFC 6750).

        `challenge` is an origin's challenge in place of a bearer token (RFC 9110 section 11.6.1).
        """
        super().__init__(detail)
        self.is_refused = is_refused
        self.challenge = challenge


class SignatureRefused(Unauthenticated):
    """A signed URL is needed, and there is none, or one that does not permit the request."""

    code = "signature_refused"

    def __init__(self, why: str, detail: str) -> None:
        """Refuse by the code `why` of the Proxy Protocol."""
        super().__init__(detail, is_refused=True)
        self.why = why


class Forbidden(HeadgateError):
    """The principal may not perform this operation on this stream."""

    code = "forbidden"


class DestinationRefused(HeadgateError):
    """A URL that a client names leads to a host or an address that no request may go to."""

    code = "destination_refused"


class KeysUnavailable(HeadgateError):
    """A token cannot be judged yet: its issuer's keys could not be fetched so far."""

    code = "keys_unavailable"


NO_STREAM = "there is no stream at this path"
"""The usual detail of StreamNotFound; a concealed stream has it, too."""


class StreamNotFound(HeadgateError):
    """No stream lives at this path."""

    code = "stream_not_found"


class WebSocketNotOffered(HeadgateError):
    """The request is the handshake of a WebSocket, which no route takes.

    It is a 404, after which clients go on over HTTP: with 426 some end.
    """

    code = "websocket_not_offered"

    def __init__(self) -> None:
        super().__init__("there is no WebSocket here: send the request over HTTP")


class StreamGone(HeadgateError):
    """The stream was deleted while forks still need it, or the offset is of an earlier stream."""

    code = "gone"


class WebOriginRefused(HeadgateError):
    """A write by a browser's page that neither `write_origins` nor a token permits."""

    code = "origin_not_allowed"

    def __init__(self, origin: str, *, is_guarded: bool = True, has_token: bool = False) -> None:
        """Set `has_token` if the token was accepted, and only the page's origin is wrong."""
        may = "write_origins names the web origins that may"
        if has_token:
            may = "with a token in Authorization, cors_origins names the web origins that may"
        elif is_guarded:
            may += ", and a token in Authorization lets others"
        super().__init__(f"pages of {origin[:128]} may not write here: {may}")


class MethodNotAllowed(HeadgateError):
    """The method has no meaning for a stream, or for a resource with the `allowed` ones."""

    code = "method_not_allowed"

    def __init__(self, detail: str, allowed: str | None = None) -> None:
        super().__init__(detail)
        self.allowed = allowed


class MisdirectedRequest(HeadgateError):
    """A request for a host that this server does not answer for."""

    code = "misdirected_request"


class NotOffered(HeadgateError):
    """A part of the protocol that this server does not have."""

    code = "not_implemented"


class StreamClosed(HeadgateError):
    """An append to a closed stream. `next_offset` is its final tail."""

    code = "stream_closed"

    def __init__(self, next_offset: str) -> None:
        super().__init__("the stream is closed: it takes no further appends")
        self.next_offset = next_offset


class ContentTypeMismatch(HeadgateError):
    """The request's content type is not the stream's."""

    code = "content_type_mismatch"


class SequenceRegression(HeadgateError):
    """`Stream-Seq` is not greater than the last one accepted."""

    code = "sequence_regression"


class ConfigurationConflict(HeadgateError):
    """A stream with another configuration exists where one was to be created."""

    code = "configuration_conflict"


class IdempotencyKeyReused(HeadgateError):
    """The Idempotency-Key came with another request before."""

    code = "idempotency_key_reused"


class StreamBusy(HeadgateError):
    """An answer is being written to the stream where another one was to begin."""

    code = "stream_busy"


class ProducerFenced(HeadgateError):
    """The producer's epoch is older than the current one, `epoch`."""

    code = "stale_epoch"

    def __init__(self, epoch: int) -> None:
        super().__init__(f"the producer was fenced: epoch {epoch} is in force")
        self.epoch = epoch


class SequenceGap(HeadgateError):
    """The producer skipped a sequence number."""

    code = "sequence_gap"

    def __init__(self, expected: int, received: int) -> None:
        super().__init__(f"Producer-Seq {received} came where {expected} was expected")
        self.expected = expected
        self.received = received


class BodyTooLarge(HeadgateError):
    """The body is over `max_append` bytes, or over another bound."""

    code = "body_too_large"

    def __init__(self, limit: int, bound: str = "max_append") -> None:
        super().__init__(f"the body is over {bound}, {limit} bytes")
        self.limit = limit


class CodingNotSupported(HeadgateError):
    """The body has another content coding than the `taken` ones, of which "identity" is none."""

    code = "content_coding_not_supported"

    def __init__(self, detail: str, taken: str = "identity") -> None:
        super().__init__(detail)
        self.taken = taken


class RangeNotSatisfiable(HeadgateError):
    """The range begins behind the end of the answer, which has `size` bytes."""

    code = "range_not_satisfiable"

    def __init__(self, size: int) -> None:
        """Take the size, which tells the client what it can ask for."""
        super().__init__(f"the answer has {size} bytes, and the range begins behind them")
        self.size = size


class HeadTooLarge(HeadgateError):
    """A header line, or all of them, are longer than any proxy would pass on."""

    code = "header_too_large"


class RequestTimeout(HeadgateError):
    """The rest of the request did not come in time."""

    code = "request_timeout"


class LimitReached(HeadgateError):
    """A bound of this server is reached; the detail names it. The request may be repeated."""

    code = "limit_reached"


class ClientLimitReached(HeadgateError):
    """A client has reached a limit, which the detail names; it may retry after `again_s`."""

    code = "client_limit_reached"

    def __init__(self, detail: str, again_s: int = 1) -> None:
        super().__init__(detail)
        self.again_s = again_s


class ServerStopping(HeadgateError):
    """The server is stopping, and starts no more waits."""

    code = "stopping"


class StreamLimit(HeadgateError):
    """A limit of the stream itself, so that a retry does not help; counted as `limit`."""

    code = "stream_limit"

    def __init__(self, detail: str, limit: str) -> None:
        super().__init__(detail)
        self.limit = limit


class LogUnavailable(HeadgateError):
    """The log cannot take or give data now. Nothing was written; the request may be repeated."""

    code = "log_unavailable"


class LogFull(HeadgateError):
    """The log has reached its quota. Nothing was written; reads, closes and deletes go on."""

    code = "log_full"


class RecordDamaged(HeadgateError):
    """A stored record does not match its checksum, so it is not served."""

    code = "record_damaged"


class OriginUnreachable(HeadgateError):
    """No connection to the origin: unknown host, refused, TLS. Nothing was sent to it."""

    code = "origin_unreachable"


class OriginTimeout(HeadgateError):
    """The origin did not answer in time, or stopped in the middle of its answer."""

    code = "origin_timeout"


class OriginBroken(HeadgateError):
    """The origin's response is not HTTP, too long, or incomplete."""

    code = "origin_broken"


class AnswerTooLong(HeadgateError):
    """The answer of a model has more bytes than may be stored."""

    code = "answer_too_long"

    def __init__(self, limit: int) -> None:
        super().__init__(f"the answer is over {limit} bytes: see max_answer_size")
        self.limit = limit


class OriginBusy(HeadgateError):
    """The origin has answered 429 or 5xx; `again_s` is its Retry-After in seconds."""

    code = "origin_busy"

    def __init__(self, detail: str, again_s: int | None = None) -> None:
        super().__init__(detail)
        self.again_s = again_s


class OriginBehind(HeadgateError):
    """The stream ends before the requested offset: it is another one, or a replica lags."""

    code = "origin_behind"

    def __init__(self, detail: str = "", end: str = "") -> None:
        """Refuse a read that lies beyond `end`, where the origin says that the stream ends."""
        super().__init__(detail)
        self.end = end


class LoopDetected(HeadgateError):
    """The request has come through this gateway before."""

    code = "loop_detected"


class NotCached(HeadgateError):
    """The request takes an answer from the cache only, and there is none."""

    code = "not_cached"


# The failures of an HTTP origin.
OF_THE_ORIGIN = (OriginBehind, OriginBroken, OriginBusy, OriginTimeout, OriginUnreachable)
