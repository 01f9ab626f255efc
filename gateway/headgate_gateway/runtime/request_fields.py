"""The header fields that equal requests share, with what was parsed from them."""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec
from multidict import CIMultiDict, istr

from headgate_gateway.protocol.http.header_names import NGINX_FIELD
from headgate_gateway.protocol.requests import MAX_STREAM_SEQ, is_closing, parse_append_head

if TYPE_CHECKING:
    from multidict import MultiMapping

    from headgate_gateway.access.contract import AuthenticatedClient
    from headgate_gateway.protocol.requests import Append, AppendHead


_NUMBER, _WORDS = "[0-9]{1,16}", "[!-~](?:[ -~]{0,510}[!-~])?"
# The fields that differ from request to request where all others are equal: the body's length, the
# writer's sequence, what a proxy numbers, browsers' validators, the part that a player asks for,
# traces. The form of each is one whose value the parser returns unchanged.
OWN_FIELDS = {
    "Content-Length": _NUMBER,
    "Producer-Seq": _NUMBER,
    "Stream-Seq": f"[!-~]{{1,{MAX_STREAM_SEQ}}}",
    "X-Request-Id": "[A-Za-z0-9._:/+=-]{1,128}",
    "If-None-Match": "[!-~]{1,256}",
    "Last-Event-ID": "[!-~]{1,256}",
    "Range": "bytes=(?:[0-9]{1,16}-[0-9]{0,16}|-[0-9]{1,16})",
    **dict.fromkeys(
        (
            *("traceparent", "tracestate", "CF-Ray", "X-Amzn-Trace-Id", "X-Cloud-Trace-Context"),
            *("b3", "X-B3-TraceId", "X-B3-SpanId", "X-B3-ParentSpanId", "X-B3-Sampled"),
            *("X-Datadog-Trace-Id", "X-Datadog-Parent-Id", "X-Datadog-Tags"),
            "X-Datadog-Sampling-Priority",
        ),
        _WORDS,
    ),
}
_ORIGIN, _CONTENT_ENCODING, _NGINX = istr("Origin"), istr("Content-Encoding"), istr(NGINX_FIELD)


class Own(msgspec.Struct, frozen=True, gc=False):
    """The values in which a request differs from others with the same fields.

    `length` is that of the body; `fields` has all the others. Some of these are attributes, too:
    None for one that is missing. It `has_more` if it has others than an id and a tag.
    """

    length: int = 0
    id: str | None = None
    id_line: bytes = b""  # the header line with the id, or nothing
    tag: str | None = None  # If-None-Match
    seq: str | None = None  # of its producer
    stream_seq: str | None = None
    requested_range: str | None = None  # Range
    has_more: bool = False
    fields: tuple[tuple[str, str], ...] = ()

    def added_to(self, shared: MultiMapping[str]) -> CIMultiDict[str]:
        """Return `shared` fields with these, but for the length of the body."""
        headers = CIMultiDict(shared)
        headers.update(self.fields)
        return headers


NOTHING = Own()


class RequestFields:
    """The parsed `headers` of one request, or of all requests with the same fields.

    `are_known` says that later requests may share them. If they came with a bearer token,
    `client` has sent it, and `headers` lacks the token. What every request needs is computed
    once: its `origin` (of a web page), whether it `closes` its stream, and whether it `is_of_nginx`
    (one with a rendered file).
    """

    __slots__ = (
        *("append_head", "are_known", "client", "closes", "headers", "is_coded", "is_of_nginx"),
        "origin",
    )

    def __init__(
        self,
        headers: MultiMapping[str],
        *,
        are_known: bool = False,
        client: AuthenticatedClient | None = None,
    ) -> None:
        self.headers = headers
        self.are_known = are_known
        self.client = client
        self.closes = is_closing(headers)
        self.origin = headers.get(_ORIGIN)
        self.is_coded = _CONTENT_ENCODING in headers
        self.is_of_nginx = _NGINX in headers
        self.append_head: AppendHead | None = None

    def append(self, body: bytes, own: Own) -> Append:
        """Return an append with these fields and its own; raises BadRequest."""
        head = self.append_head
        if head is None or not head.is_of(own.seq, own.stream_seq):
            head = self.append_head = parse_append_head(own.added_to(self.headers))
        return head.append(body, own.seq, own.stream_seq)
