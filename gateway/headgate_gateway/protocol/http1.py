"""HTTP/1.1 heads and chunks as bytes (RFC 9112), built once and written many times."""

from __future__ import annotations

from http import HTTPStatus
from typing import TYPE_CHECKING

from headgate_gateway.protocol.http.repeated_fields import with_one_vary

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from multidict import MultiMapping

    from headgate_gateway.protocol.responses import Response

LAST_CHUNK = b"0\r\n\r\n"

BODYLESS = frozenset({204, 304})  # no response with these has a body (RFC 9110 section 6.4.1)


class _StatusLines(dict[int, bytes]):
    """Status lines with their line ends, by status; one without a name has no phrase."""

    def __missing__(self, status: int) -> bytes:
        return f"HTTP/1.1 {status} \r\n".encode()


# Of RFC 9110, section 15, where Python before 3.13 has older ones.
_PHRASES = {
    413: "Content Too Large",
    414: "URI Too Long",
    416: "Range Not Satisfiable",
    422: "Unprocessable Content",
}
STATUS_LINES = _StatusLines(
    {
        it.value: f"HTTP/1.1 {it.value} {_PHRASES.get(it, it.phrase)}\r\n".encode()
        for it in HTTPStatus
    }
)
OK, PARTIAL, UNCHANGED = (STATUS_LINES[status] for status in (200, 206, 304))


def serialize(response: Response, common: bytes, *, varies: bool, to_head: bool = False) -> bytes:
    """Return a whole response. `common` are the lines of the moment: date, request id, CORS.

    They may have a Vary line if the gateway `varies` responses. A response to a HEAD has no body
    (RFC 9110 section 9.3.2), and no length: that would be a GET's.
    """
    fields, body, length = response.fields, response.body, ""
    if to_head:
        body = b""
    elif response.status not in BODYLESS:
        length = f"Content-Length: {len(body)}\r\n"
    # A body may be megabytes, of which each copy is some milliseconds.
    lines = _wire(f"{fields}{length}\r\n")
    if varies:
        common, lines = with_one_vary(common, lines)
    return b"".join((STATUS_LINES[response.status], common, lines, body))


def content_length(text: str | None) -> int | None:
    """Parse a Content-Length; None if it is missing or invalid."""
    return int(text) if text is not None and text.isdecimal() and len(text) < 19 else None


def field_lines(fields: Iterable[tuple[str, str]]) -> bytes:
    """Return header lines with the bytes that aiohttp read them from."""
    return _wire("".join([f"{name}: {value}\r\n" for name, value in fields]))


def _wire(lines: str) -> bytes:
    return lines.encode("utf-8", "surrogateescape")


def parse_field_lines(lines: bytes) -> Iterator[tuple[str, str]]:
    """Parse header lines that `field_lines` made."""
    for line in lines.decode("utf-8", "surrogateescape").split("\r\n")[:-1]:
        name, _, value = line.partition(": ")
        yield name, value


def range_line(begin: int, end: int, size: int) -> bytes:
    """Return the line of a 206 with the bytes from `begin` to `end` (exclusive) of `size`."""
    return b"Content-Range: bytes %d-%d/%d\r\n" % (begin, end - 1, size)


def stream_head(response: Response, common: bytes, *, chunked: bool, varies: bool) -> bytes:
    """Return the head of a response without a known end: chunked, or ended by closing (1.0).

    A chunked response must not have `Connection: close`: clients would take any cut for its end.
    """
    framing = "Transfer-Encoding: chunked" if chunked else "Connection: close"
    fields = _wire(f"{response.fields}{framing}\r\n\r\n")
    if varies:
        common, fields = with_one_vary(common, fields)
    return STATUS_LINES[response.status] + common + fields


def chunk(data: bytes) -> bytes:
    """Return a chunk of a chunked body; nothing for no data, since an empty one is the last."""
    return b"%x\r\n%b\r\n" % (len(data), data) if data else b""


def accepts_trailers(headers: MultiMapping[str]) -> bool:
    """Return whether a request's TE field has `trailers` (RFC 9110, section 10.1.4).

    Nobody else is sent trailer fields: workerd takes them for the head of the next response.
    """
    codings = ",".join(headers.getall("TE", ())).split(",")
    return any(one.strip().lower() == "trailers" for one in codings)


def last_chunk(trailers: bytes) -> bytes:
    """Return the end of a chunked body, with trailer fields if there are any."""
    return b"0\r\n%b\r\n" % trailers if trailers else LAST_CHUNK


def chunk_parts(shared: bytes, own: bytes) -> tuple[bytes, bytes, bytes]:
    """Return the pieces of one chunk of both parts, without copying the shared part."""
    return b"%x\r\n" % (len(shared) + len(own)), shared, own + b"\r\n"


def unframe(chunks: bytes) -> bytes:
    """Return the data of whole chunks, for clients that do not know the coding."""
    parts, at = [], 0
    while at < len(chunks):
        line = chunks.index(b"\r\n", at)
        begin, size = line + 2, int(chunks[at:line], 16)
        parts.append(chunks[begin : begin + size])
        at = begin + size + 2
    return b"".join(parts)
