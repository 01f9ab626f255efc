"""Parsing of multi-appends: bodies with many messages, each preceded by its length.

They are an addition to PROTOCOL.md. A server without them would store the lengths as data, so one
that has them says so in its responses to PUT, HEAD and POST.
"""

from __future__ import annotations

import struct
from typing import TYPE_CHECKING

from headgate.multi_chunks import LENGTH_BYTES
from headgate_gateway.errors import BadRequest
from headgate_gateway.protocol.bodies.content import (
    Records,
    is_json,
    long_value,
    one_value,
    short_values,
)
from headgate_gateway.protocol.bodies.json_text import SLICE_BYTES
from headgate_gateway.protocol.http.header_names import MULTI

if TYPE_CHECKING:
    from collections.abc import Generator, Iterator, Mapping, Sequence

# Of a request: so many are parsed and decided in one turn of the event loop.
MAX_MESSAGES = 4096
_LENGTH = struct.Struct(">I").unpack_from
NO_MESSAGE = "the body is empty: a multi-append must have a message"


def is_multi(headers: Mapping[str, str]) -> bool:
    """Return whether a body has lengths in it. Raises BadRequest for anything but one `true`."""
    value = headers.get(MULTI)
    if value is None:
        return False
    name = MULTI.lower()
    # Servers differ in which of several lines counts.
    lines = sum(line.lower() == name for line, _ in headers.items())
    if value.lower() != "true" or lines > 1:
        raise BadRequest(f"{MULTI} must be true, or absent")
    return True


def messages_of(body: bytes) -> list[bytes]:
    """Split a body into its messages. Raises BadRequest."""
    return _of_one_length(body) or _of_any_length(body)


def _of_one_length(body: bytes) -> list[bytes] | None:
    """Split a body whose messages have one length, in a fifth of the time; else None."""
    length = body[:LENGTH_BYTES]
    size = int.from_bytes(length)
    step = LENGTH_BYTES + size
    count, rest = divmod(len(body), step)
    if rest or not size or not 0 < count <= MAX_MESSAGES:
        return None
    if any(body[at::step] != length[at : at + 1] * count for at in range(LENGTH_BYTES)):
        return None
    # An own Struct, since functions of the module would cache a hundred such formats.
    return list(struct.Struct(f"{LENGTH_BYTES}x{size}s" * count).unpack(body))


def _of_any_length(body: bytes) -> list[bytes]:
    messages: list[bytes] = []
    at, end = 0, len(body)
    while at < end:
        begin, number = at + LENGTH_BYTES, len(messages) + 1
        if begin > end:
            raise BadRequest(f"{end - at} bytes follow the last message, too few for a length")
        if number > MAX_MESSAGES:
            most = f"a multi-append may have {MAX_MESSAGES:,} messages"
            raise BadRequest(f"{most}: this one has more")
        (size,) = _LENGTH(body, at)
        at = begin + size
        if not size:
            raise BadRequest(f"{_name(number)} is empty: each must have a byte")
        if at > end:
            cut = f"its length is {size:,}, and {end - begin:,} bytes follow"
            raise BadRequest(f"{_name(number)} is cut: {cut}")
        messages.append(body[begin:at])
    if not messages:
        raise BadRequest(NO_MESSAGE)
    return messages


def multi_records(content_type: str, body: bytes) -> Records:
    """Return the records of a body that is not long: its messages, JSON without blanks around.

    Raises BadRequest.
    """
    messages = messages_of(body)
    if is_json(content_type):
        messages = _values(messages, 1)
    return messages, len(messages)


def long_multi_records(body: bytes) -> Generator[None, None, Records | BadRequest]:
    """Parse long JSON messages as `multi_records` does, in steps of a few milliseconds."""
    values: list[bytes] = []
    try:
        for messages in _in_groups(messages_of(body)):
            yield
            number = len(values) + 1
            if len(messages[0]) > SLICE_BYTES:
                values.append((yield from long_value(messages[0], _name(number))))
            else:
                values += _values(messages, number)
    except BadRequest as refusal:
        return refusal.with_traceback(None)
    return values, len(values)


def _in_groups(messages: Sequence[bytes]) -> Iterator[Sequence[bytes]]:
    """Yield groups of messages that are short together, or one message that is long."""
    begin, size = 0, 0
    for number, message in enumerate(messages):
        size += len(message)
        if size > SLICE_BYTES and number > begin:
            yield messages[begin:number]
            begin, size = number, len(message)
    yield messages[begin:]


def _values(messages: Sequence[bytes], first: int) -> list[bytes]:
    """Parse short messages as JSON values; `first` is the number of the first message.

    An invalid one is found by halving: to parse each by itself would take ten times as long.
    """
    values = short_values(messages)
    if values is not None:
        return values
    if len(messages) == 1:
        return [one_value(messages[0], _name(first))]
    half = len(messages) // 2
    return _values(messages[:half], first) + _values(messages[half:], first + half)


def _name(number: int) -> str:
    return f"message {number:,}"
