"""A cache of parsed header fields, by the bytes of their block in a request.

Clients send the same fields again and again, and only targets and bodies differ: to look up a block
of fields takes 1 us, to parse it 12. A block is cached only if aiohttp's parser accepted it in one
whole request, and only whole requests are looked up, so it has the same meaning each time. The fast
path looks each request up before it is parsed.

The body's length and the producer's sequence number differ from write to write. So a write with an
unknown block is looked up without these two lines, and their values are parsed here. A read is
looked up without its own lines (`web.requests.own_lines`).

If a route has a guard, a block may have a token in it. Then the keys are keyed digests of blocks,
and the cached fields have the principal instead of the token. The caller checks whether that
principal is still admitted (`web.short_admission`).
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, ClassVar, NamedTuple, TypeVar

from msgspec import Struct
from multidict import MultiMapping

from gateway.protocol.http.header_names import CLOSED
from gateway.runtime.request_fields import OWN_LINES, RequestFields
from gateway.web.requests.own_lines import NOTHING, OwnLines, pared_read, without_own

if TYPE_CHECKING:
    from collections.abc import Callable

    from aiohttp.http_parser import RawRequestMessage

# Entries of each of three tables: blocks, and those of writes with and without the varying lines.
# With the parsed fields 10 MB, or 18 MB with tokens, whose blocks may be longer. A full table is
# cleared.
MAX_BLOCKS = 1024
LONGEST = 1024  # bytes of a block; browsers send about 700
LONGEST_WITH_TOKEN = 3072  # with a JWT three times as much

# Targets in plain URL characters only; any other target goes to the parser.
_LINE = re.compile(rb"(GET|HEAD|POST|PUT) (/(?!/)[A-Za-z0-9._~!$&'()*+,;=:@%/?-]*) HTTP/1\.1\r\n")
_READS = frozenset({"GET", "HEAD"})  # a write's Content-Length differs each time
_LENGTH = b"content-length"
SEQ = "Producer-Seq"
_LONGEST_LINE = 4096  # at most as long as the parser accepts
# Whole lines whose value is one number.
_VARYING = re.compile(
    rb"(?<=\r\n)(Content-Length|Producer-Seq): ([0-9]{1,16})\r\n(?![ \t])", re.IGNORECASE
)
# Requests with these are not cached: they change how a body is framed or sent, or differ each time,
# as a trace does, and would push out the blocks that are repeated.
_UNLIKE = ("Transfer-Encoding", "Expect", "Upgrade", "Traceparent")


K = TypeVar("K")
V = TypeVar("V")


class _Block(NamedTuple):
    fields: RequestFields
    length: int  # of the body


# Made for each request: a Struct takes a third of the time that a NamedTuple takes.
class KnownRequest(Struct, frozen=True):
    """A looked-up request, with the attributes of a RawRequestMessage.

    `fields` and `headers` are shared by requests with equal blocks. So the Content-Length in them
    may be another request's; `seq` and `own` have this request's Producer-Seq and own lines.
    """

    method: str
    path: str
    headers: MultiMapping[str]
    fields: RequestFields
    seq: str | None = None
    own: OwnLines = NOTHING
    should_close: ClassVar[bool] = False  # a request with Connection: close is not cached


class ReceivedRequest(Struct, frozen=True):
    """A request found in received bytes, with its body and the position of its end."""

    request: KnownRequest
    body: bytes
    end: int


class _Pared(Struct, frozen=True):
    """The lookup key of a block without its varying lines, and the values of those."""

    key: tuple[bytes, bool]
    length: int
    seq: str | None = None

    @property
    def seqs(self) -> int:
        """The number of Producer-Seq lines that were removed."""
        return int(self.seq is not None)


class RequestBlocks:
    """The cached blocks of a process; with `digest`, the keys are digests of their bytes."""

    def __init__(self, digest: Callable[[bytes], bytes] | None = None) -> None:
        self._digest = digest
        self._longest = LONGEST if digest is None else LONGEST_WITH_TOKEN
        self._blocks: dict[bytes, _Block] = {}
        # Fields of writes by block without the varying lines, and by whether it has Producer-Seq.
        self._pared: dict[tuple[bytes, bool], RequestFields] = {}
        # Writes found in `_pared`, by their whole blocks: most bodies have one of a few lengths.
        self._writes: dict[bytes, _Block] = {}

    def __len__(self) -> int:
        return max(len(self._blocks), len(self._pared), len(self._writes))

    def read(self, data: bytes) -> tuple[KnownRequest, bytes] | None:
        """Return the request and its body, if `data` is exactly one known request."""
        found = self._at(data, 0)
        if found is None or found.end != len(data):
            return None
        return found.request, found.body

    def writes(self, data: bytes, most: int) -> list[ReceivedRequest]:
        """Return the known writes that `data` begins with: appends to one stream, or creations.

        The list ends before the first request that is incomplete or whose fields are unknown.
        """
        found: list[ReceivedRequest] = []
        at = 0
        while len(found) < most:
            one = self._at(data, at)
            if one is None or one.request.method in _READS:
                break
            if found and not _are_alike(one.request, found[0].request):
                break
            found.append(one)
            at = one.end
        return found

    def _at(self, data: bytes, at: int) -> ReceivedRequest | None:
        """Return the whole request that begins at `at`, if its fields are known."""
        line = _LINE.match(data, at)
        if line is None or line.end() - at > _LONGEST_LINE:
            return None
        begin = line.end()
        head_end = data.find(b"\r\n\r\n", begin, begin + self._longest + 4)
        if head_end < 0:  # the head is not complete, or too long
            return None
        method, path = line.group(1).decode(), line.group(2)
        is_read = method in _READS
        known = self._find(data[begin - 2 : head_end + 2], is_read=is_read)
        if known is None:
            return None
        (fields, length), seq, own = known
        end = head_end + 4 + length
        if end > len(data):
            return None
        shared, target = fields.headers, path.decode()
        request = KnownRequest(method, target, shared, fields, seq, own)
        return ReceivedRequest(request, data[head_end + 4 : end], end)

    def _find(self, block: bytes, *, is_read: bool) -> tuple[_Block, str | None, OwnLines] | None:
        """Return a block's parsed fields, its Producer-Seq and own lines; None if it is unknown."""
        inside = block[2:-2]
        name = inside if self._digest is None else self._digest(inside)
        known = self._blocks.get(name)
        if known is None and not is_read:  # these fields may have another length
            known = self._writes.get(name)
        if known is not None:
            return known, None, NOTHING
        if is_read:
            read = pared_read(block)
            known = None if read is None else self._blocks.get(self._named(read.rest[2:-2]))
            return None if read is None or known is None else (known, None, read.own)
        own = NOTHING
        if (read := pared_read(block)) is not None:
            block, own = read.rest, read.own
            if own.tag is not None:
                return None
        pared = self._pare(block)
        fields = None if pared is None else self._pared.get(pared.key)
        if pared is None or fields is None:
            return None
        known = _Block(fields, pared.length)
        if pared.seq is None and own is NOTHING:
            _put(self._writes, name, known)
        return known, pared.seq, own

    def remember(
        self, data: bytes, message: RawRequestMessage, size: int, fields: RequestFields
    ) -> None:
        """Cache the parsed fields of a whole request with a body of `size` bytes.

        The caller has checked that the fields identify no reader, and that the host is served.
        """
        line = _LINE.match(data)
        if line is None or message.should_close or message.chunked or message.upgrade:
            return
        begin, end = line.end(), data.find(b"\r\n\r\n")
        headers = message.headers
        if not 0 < end - begin <= self._longest or len(data) != end + 4 + size:
            return
        if any(name in headers for name in _UNLIKE):
            return
        block = data[begin - 2 : end + 2]
        has_own = any(name in headers for name in OWN_LINES)
        if has_own:
            read = pared_read(block)
            shared = None if read is None else without_own(fields, read.own)
            if read is None or shared is None:
                return
            block, fields = read.rest, shared
        is_read = message.method in _READS
        if SEQ not in headers and (is_read or not has_own):
            _put(self._blocks, self._named(block[2:-2]), _Block(fields, size))
        if not is_read and "If-None-Match" not in headers:
            self._add_write(headers, block, fields)

    def _add_write(self, headers: MultiMapping[str], block: bytes, fields: RequestFields) -> None:
        """Cache the parsed fields of a write by its block without the varying lines."""
        pared = self._pare(block)
        # The permission to close a stream may depend on whether the request has a body.
        if pared is None or CLOSED in headers or len(headers.getall(SEQ, ())) != pared.seqs:
            return
        _put(self._pared, pared.key, fields)

    def _named(self, block: bytes) -> bytes:
        """Return the key of a block, or of a part of it."""
        return block if self._digest is None else self._digest(block)

    def _pare(self, block: bytes) -> _Pared | None:
        """Return a block without its varying lines; None if it has no plain Content-Length."""
        parts = _VARYING.split(block)
        if len(parts) == 4:
            before, name, number, after = parts
            if name.lower() == _LENGTH:
                return _Pared((self._named(before + after), False), int(number))
        elif len(parts) == 7:
            before, name, number, between, other, another, after = parts
            rest = (self._named(before + between + after), True)
            if name.lower() == _LENGTH != other.lower():
                return _Pared(rest, int(number), another.decode())
            if other.lower() == _LENGTH != name.lower():
                return _Pared(rest, int(another), number.decode())
        return None


def _put(known: dict[K, V], key: K, value: V) -> None:
    if len(known) >= MAX_BLOCKS:
        known.clear()
    known[key] = value


def _are_alike(one: KnownRequest, other: KnownRequest) -> bool:
    return one.method == other.method and (one.method == "PUT" or one.path == other.path)
