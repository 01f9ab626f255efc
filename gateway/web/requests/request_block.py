"""Requests whose fields came before, byte for byte: what was parsed from them is looked up.

Clients say the same fields again and again, and only their targets and bodies differ: to look a
block of fields up takes 1 us, to parse it 12. Only what is plainly one whole request is looked at
here, and only a block that aiohttp's parser has let through, of a request that was one whole
message, is remembered: so it means what it meant then.

Of writes, the length of the body is another one each time, and so is a producer's sequence number.
So a write whose block is unknown is looked up without these two lines, and they are read here. So
is a read without the lines of its own (`web.requests.own_lines`).

Where some route has a guard, a block may have a token in it. There a keyed digest stands for each,
and what is remembered of one with a token is what was left of its fields without, and whose it was:
whoever uses them asks whether that one is admitted still (`web.short_admission`).
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

# Blocks, and twice as many of writes, with and without what varies: with what was parsed from them
# 10 MB. Then all are forgotten. With tokens in them they may be longer, of which the tokens are not
# kept: 18 MB.
REMEMBERED = 1024
LONGEST = 1024  # bytes of one: browsers send about 700
LONGEST_WITH_TOKEN = 3072  # with a JWT three times as much

# A target is as a URL is written: what else the parser lets through, it is given.
_LINE = re.compile(rb"(GET|HEAD|POST|PUT) (/(?!/)[A-Za-z0-9._~!$&'()*+,;=:@%/?-]*) HTTP/1\.1\r\n")
_READS = frozenset({"GET", "HEAD"})  # a write has a length, and another one each time
_LENGTH = b"content-length"
SEQ = "Producer-Seq"
_LONGEST_LINE = 4096  # as the parser would have it, or less
# Lines, whole ones, that say no more than a number.
_VARYING = re.compile(
    rb"(?<=\r\n)(Content-Length|Producer-Seq): ([0-9]{1,16})\r\n(?![ \t])", re.IGNORECASE
)
# What may be sent before the answer to it is known, or changes how a body is framed; and a trace,
# another one each time: to remember the block would push out those that come again.
_UNLIKE = ("Transfer-Encoding", "Expect", "Upgrade", "Traceparent")


K = TypeVar("K")
V = TypeVar("V")


class _Block(NamedTuple):
    fields: RequestFields
    length: int  # of the body


# Made for each request: of a Struct that takes a third of the time that it does of a NamedTuple.
class KnownRequest(Struct, frozen=True):
    """A request as a RawRequestMessage has it; its fields are shared by all that have the same.

    With a `seq`, that is its Producer-Seq, and theirs is another one's; so may be Content-Length.
    So it is with the lines that are a read's `own`.
    """

    method: str
    path: str
    headers: MultiMapping[str]
    fields: RequestFields
    seq: str | None = None
    own: OwnLines = NOTHING
    should_close: ClassVar[bool] = False  # what ends a connection is not remembered


class Found(Struct, frozen=True):
    """A request in what has come: its body, and where it ends."""

    request: KnownRequest
    body: bytes
    end: int


class _Pared(Struct, frozen=True):
    """What a block says without the lines that vary, under which it is looked up, and they."""

    key: tuple[bytes, bool]
    length: int
    seq: str | None = None

    @property
    def seqs(self) -> int:
        """How many Producer-Seq lines were taken out."""
        return int(self.seq is not None)


class RequestBlocks:
    """Those of all connections of a process; with `digest`, that stands for what is looked up."""

    def __init__(self, digest: Callable[[bytes], bytes] | None = None) -> None:
        self._digest = digest
        self._longest = LONGEST if digest is None else LONGEST_WITH_TOKEN
        self._blocks: dict[bytes, _Block] = {}
        # Of writes, by their blocks without what varies, and by whether a Producer-Seq was in it.
        self._pared: dict[tuple[bytes, bool], RequestFields] = {}
        # Of writes that were found by these, by their whole blocks: most bodies have a few lengths.
        self._writes: dict[bytes, _Block] = {}

    def __len__(self) -> int:
        return max(len(self._blocks), len(self._pared), len(self._writes))

    def read(self, data: bytes) -> tuple[KnownRequest, bytes] | None:
        """The request that these bytes are, and its body."""
        found = self._at(data, 0)
        if found is None or found.end != len(data):
            return None
        return found.request, found.body

    def writes(self, data: bytes, most: int) -> list[Found]:
        """The whole appends to one stream, or creations of any, that these bytes begin with.

        What is behind one whose fields did not come before is left.
        """
        found: list[Found] = []
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

    def _at(self, data: bytes, at: int) -> Found | None:
        """The whole request that begins there, if its fields came before."""
        line = _LINE.match(data, at)
        if line is None or line.end() - at > _LONGEST_LINE:
            return None
        begin = line.end()
        head_end = data.find(b"\r\n\r\n", begin, begin + self._longest + 4)
        if head_end < 0:  # cut a byte behind the block, it would be found, too
            return None
        method, path = line.group(1).decode(), line.group(2)
        is_read = method in _READS
        known = self._known(data[begin - 2 : head_end + 2], is_read=is_read)
        if known is None:
            return None
        (fields, length), seq, own = known
        end = head_end + 4 + length
        if end > len(data):
            return None
        shared, said = fields.headers, path.decode()
        request = KnownRequest(method, said, shared, fields, seq, own)
        return Found(request, data[head_end + 4 : end], end)

    def _known(self, block: bytes, *, is_read: bool) -> tuple[_Block, str | None, OwnLines] | None:
        """Return a block's parsed fields, its Producer-Seq and own lines; None if it is unknown."""
        inside = block[2:-2]
        name = inside if self._digest is None else self._digest(inside)
        known = self._blocks.get(name)
        if known is None and not is_read:  # whose own Content-Length its fields have
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
        """Keep what was parsed from a whole request, its body of so many bytes included.

        Whoever calls has made sure that no reader is known by these fields, and that its host is
        served.
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
            self._keep_write(headers, block, fields)

    def _keep_write(self, headers: MultiMapping[str], block: bytes, fields: RequestFields) -> None:
        """Keep what was parsed from a write, without what varies."""
        pared = self._pare(block)
        # Whoever closes a stream may need another permission for it with a body than without.
        if pared is None or CLOSED in headers or len(headers.getall(SEQ, ())) != pared.seqs:
            return
        _put(self._pared, pared.key, fields)

    def _named(self, block: bytes) -> bytes:
        """What stands for a block, or for a part of it."""
        return block if self._digest is None else self._digest(block)

    def _pare(self, block: bytes) -> _Pared | None:
        """A block between line ends without what varies; None of one without a plain length."""
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
    if len(known) >= REMEMBERED:
        known.clear()
    known[key] = value


def _are_alike(one: KnownRequest, other: KnownRequest) -> bool:
    return one.method == other.method and (one.method == "PUT" or one.path == other.path)
