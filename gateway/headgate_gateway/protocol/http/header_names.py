"""The protocol's header names that many modules read, and W3C Trace Context.

Other names stand where they are parsed. By `traceparent` spans of several processes are one trace
(https://www.w3.org/TR/trace-context/#traceparent-header).
"""

from __future__ import annotations

import re
from typing import NamedTuple

NEXT_OFFSET = "Stream-Next-Offset"
UP_TO_DATE = "Stream-Up-To-Date"
CLOSED = "Stream-Closed"
CURSOR = "Stream-Cursor"
READER_KEY = "Stream-Reader-Key"
FORKED_FROM = "Stream-Forked-From"
MULTI = "X-Stream-Multi"
# Of a response to a read from the beginning: the offset there, from which a client can count.
START_OFFSET = "Headgate-Start-Offset"
# Of a DELETE: the id of the stream that is meant, by the console's list, whatever is at its path.
STREAM_ID = "Headgate-Stream-Id"
# A key of a provider that is not a bearer token.
PROVIDER_KEYS = ("Api-Key", "X-Api-Key", "X-Goog-Api-Key")
CONSOLE_FIELD = "Headgate-Console"  # marks a request of the console, by a secret of this run
TOKEN_FIELD = "Headgate-Token"  # a token of this server, beside the key of a provider
STREAM_FIELD = "Headgate-Stream"  # the name that a caller gives the stream of an answer
KEY_PREFIX_FIELD = "Headgate-Key-Prefix"  # which makes a key of each request of an agent
# The rendered file for nginx, which ignores Age, requests the rest of a lifetime by this field.
NGINX_FIELD = "Headgate-For-Nginx"
IDEMPOTENCY_KEY = "Idempotency-Key"  # the key that a caller gives an answer

TRACEPARENT = "traceparent"
SAMPLED = 0x01
# Of a later version, what follows is for those who know it; there is none of version 00.
_FIELDS = re.compile(r"([0-9a-f]{2})-([0-9a-f]{32})-([0-9a-f]{16})-([0-9a-f]{2})(-.*)?")
_NO_TRACE, _NO_SPAN = "0" * 32, "0" * 16


class TraceContext(NamedTuple):
    """A span of a trace, ids in lower-case hexadecimal digits, and its flags."""

    trace_id: str
    span_id: str
    flags: int = 0

    @property
    def is_sampled(self) -> bool:
        """True if the caller records the trace."""
        return bool(self.flags & SAMPLED)


def parse_traceparent(text: str) -> TraceContext | None:
    """Parse a traceparent; None for an invalid one, which must be ignored."""
    match = _FIELDS.fullmatch(text)
    if match is None:
        return None
    version, trace_id, span_id, flags, more = match.groups()
    if version == "ff" or (version == "00" and more is not None):
        return None
    if trace_id == _NO_TRACE or span_id == _NO_SPAN:
        return None
    return TraceContext(trace_id, span_id, int(flags, 16))
