"""Multi-appends: a body of chunks, each behind its length, of which each becomes a message.

They are an addition to PROTOCOL.md. A server that does not know them would take the lengths for
data, so one that does says so in its answers to PUT, HEAD and POST.
"""

from __future__ import annotations

from functools import partial
from io import BytesIO
from itertools import islice
from typing import TYPE_CHECKING

from gateway.errors import BadRequest
from gateway.protocol.content import Records, is_json, long_value, one_value, short_values
from gateway.protocol.header_names import MULTI
from gateway.protocol.json_slices import SLICE_BYTES

if TYPE_CHECKING:
    from collections.abc import Generator, Iterator, Mapping, Sequence

LENGTH_BYTES = 4  # of a chunk's length, the most significant byte first
# Of a request. To take so many apart and to decide them is one turn on a slow machine.
MAX_CHUNKS = 4096
NO_CHUNK = "the body is empty: a multi-append must have a chunk"


def is_multi(headers: Mapping[str, str]) -> bool:
    """Whether a body is one of chunks. Anything but `true`, in any case, is refused."""
    asked = headers.get(MULTI)
    if asked is None:
        return False
    if asked.lower() != "true":
        raise BadRequest(f"{MULTI} must be true, or absent")
    return True


def chunks_of(body: bytes) -> list[bytes]:
    """The chunks of a body, in order. Raises BadRequest."""
    take, number = BytesIO(body).read, int.from_bytes
    lengths = islice(iter(partial(take, LENGTH_BYTES), b""), MAX_CHUNKS)
    chunks = [take(number(length)) for length in lengths]  # of the last as much as is there
    if take(1):
        raise BadRequest(f"a multi-append may have {MAX_CHUNKS:,} chunks, and this one has more")
    if not chunks:
        raise BadRequest(NO_CHUNK)
    last = chunks[-1]
    at = len(body) - len(last)
    if last and number(body[at - LENGTH_BYTES : at]) != len(last):
        raise BadRequest(_fault_of_last(body, chunks))
    if b"" in chunks:
        first = chunks.index(b"") + 1
        what = _fault_of_last(body, chunks) if first == len(chunks) else _empty(first)
        raise BadRequest(what)
    return chunks


def _fault_of_last(body: bytes, chunks: Sequence[bytes]) -> str:
    begin = sum(map(len, chunks[:-1])) + LENGTH_BYTES * (len(chunks) - 1)
    length = body[begin : begin + LENGTH_BYTES]
    if len(length) < LENGTH_BYTES:
        return f"{len(length)} bytes follow the last chunk, too few for a length"
    if not any(length):
        return _empty(len(chunks))
    size, there = int.from_bytes(length), len(chunks[-1])
    return f"{_name(len(chunks))} is cut: its length is {size:,}, and {there:,} bytes follow"


def _empty(number: int) -> str:
    return f"{_name(number)} is empty: each must have a byte"


def multi_records(content_type: str, body: bytes) -> Records:
    """The records of a body that is not long: its chunks, in JSON without the blanks around them.

    Raises BadRequest.
    """
    chunks = chunks_of(body)
    if is_json(content_type):
        chunks = _values(chunks, 1)
    return chunks, len(chunks)


def long_multi_records(body: bytes) -> Generator[None, None, Records | BadRequest]:
    """What `multi_records` makes of long JSON chunks, or refuses, in steps of a few ms."""
    values: list[bytes] = []
    try:
        for chunks in _in_groups(chunks_of(body)):
            yield
            number = len(values) + 1
            if len(chunks[0]) > SLICE_BYTES:
                values.append((yield from long_value(chunks[0], _name(number))))
            else:
                values += _values(chunks, number)
    except BadRequest as refusal:
        return refusal.with_traceback(None)
    return values, len(values)


def _in_groups(chunks: Sequence[bytes]) -> Iterator[Sequence[bytes]]:
    """Chunks that follow each other and are short together, or one that is long."""
    begin, size = 0, 0
    for number, chunk in enumerate(chunks):
        size += len(chunk)
        if size > SLICE_BYTES and number > begin:
            yield chunks[begin:number]
            begin, size = number, len(chunk)
    yield chunks[begin:]


def _values(chunks: Sequence[bytes], first: int) -> list[bytes]:
    """The JSON values that short chunks are, the first of which has this number."""
    values = short_values(chunks)
    if values is None:
        for number, chunk in enumerate(chunks, first):
            one_value(chunk, _name(number))
        raise AssertionError("none of them is at fault")
    return values


def _name(number: int) -> str:
    return f"chunk {number:,}"
