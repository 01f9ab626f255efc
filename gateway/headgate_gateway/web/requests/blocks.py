"""A table of parsed header fields, by the bytes of their block in a request.

Clients send the same fields again and again, and only targets and bodies differ: to look up a block
of fields takes 1 us, to parse it 12 and more. A block is remembered only if aiohttp's parser
accepted it in one whole request, and only whole requests are looked up, so it has the same meaning
each time. The fast path looks each request up before it is parsed.

Some fields differ from request to request: the length of a body, a sequence number, an id that a
proxy adds, a trace. They are the request's own (OWN_FIELDS): a block is looked up without them, and
their values are parsed here, each by the form of its field.

If a route has a guard, a block may have a token in it. Then the keys are keyed digests of blocks,
and the fields have the principal instead of the token. The caller checks whether that principal is
still admitted (`web.admission`).
"""

from __future__ import annotations

import re
from hashlib import blake2b
from secrets import token_bytes
from typing import TYPE_CHECKING, ClassVar, Generic, TypeVar

from aiohttp.http import HttpVersion, HttpVersion11
from msgspec import Struct
from multidict import CIMultiDict, CIMultiDictProxy, MultiMapping

from headgate_gateway.protocol.http.forwarding import hop_names
from headgate_gateway.protocol.http.header_names import CLOSED
from headgate_gateway.runtime.request_fields import NOTHING, OWN_FIELDS, Own, RequestFields

if TYPE_CHECKING:
    from collections.abc import Callable

    from aiohttp.http_parser import RawRequestMessage


# Of each of two tables: 4,096 clients that are in use stay beside as many requests that never come
# again. With plans and parsed fields 10 to 20 MB; 150 MB if each has as many fields as it may.
MOST_BLOCKS = 8192
LONGEST_BLOCK = 3072  # bytes; browsers send about 700, and a JWT as many
MOST_FIELDS = 32  # of a remembered block: parsed, each takes 300 bytes; browsers send about 15

# Targets in plain URL characters only; any other target goes to the parser.
_LINE = re.compile(rb"(GET|HEAD|POST|PUT) (/(?!/)[A-Za-z0-9._~!$&'()*+,;=:@%/?-]*) HTTP/1\.1\r\n")
_LONGEST_LINE = 4096  # at most as long as the parser accepts
# Requests with these are not remembered: they change how a body is framed or sent. And the
# permission to close a stream may depend on whether the request has a body. A credential for a
# proxy is not used here, and must not stay in memory.
FOR_PROXIES = "Proxy-Authorization"
_NOT_REMEMBERED = ("Transfer-Encoding", "Expect", "Upgrade", CLOSED, FOR_PROXIES)
_NAMES = {name.lower().encode(): name for name in OWN_FIELDS}


# Made for each request: a Struct takes a third of the time that a NamedTuple takes.
class KnownRequest(Struct, frozen=True):
    """A whole request that was looked up, with the attributes of a RawRequestMessage.

    `fields` and their `headers` are shared by requests with equal blocks; `own` has the values of
    this one. It ends at position `end` of the received bytes.
    """

    method: str
    path: str
    headers: MultiMapping[str]
    fields: RequestFields
    own: Own = NOTHING
    body: bytes = b""
    end: int = 0
    version: ClassVar[HttpVersion] = HttpVersion11
    should_close: ClassVar[bool] = False  # a request with Connection: close is not remembered


class Blocks:
    """The blocks that a process remembers.

    A field for which `is_identity` is true is never left out of the key: it identifies the reader.
    If the table `is_keyed`, its keys are keyed digests of blocks, since these may have tokens.
    """

    def __init__(
        self, is_identity: Callable[[str], bool] = lambda _: False, *, is_keyed: bool = False
    ) -> None:
        self._keyed = blake2b(key=token_bytes(32), digest_size=16) if is_keyed else None
        # A block with one of these is not remembered: one reader's value would be used for others.
        self._identifying = tuple(name for name in OWN_FIELDS if is_identity(name))
        self._own = tuple(name for name in OWN_FIELDS if name not in self._identifying)
        names = "|".join(_named(name, OWN_FIELDS[name]) for name in self._own)
        # The line end is matched, not consumed: two own lines may follow each other.
        self._own_line = re.compile(rf"\r\n({names}): ([^\r]*)(?=\r\n[^ \t]|\Z)".encode())
        self._fields: AgingTable[bytes, RequestFields] = AgingTable(MOST_BLOCKS)
        # By whole blocks, of which only the length is the request's own.
        self._known: AgingTable[bytes, tuple[RequestFields, Own]] = AgingTable(MOST_BLOCKS)

    def __len__(self) -> int:
        return len(self._fields)

    def at(self, data: bytes, at: int) -> KnownRequest | None:
        """Return the whole request that begins at `at`, if its fields are known."""
        line = _LINE.match(data, at)
        if line is None or line.end() - at > _LONGEST_LINE:
            return None
        begin = line.end() - 2
        head_end = data.find(b"\r\n\r\n", begin, begin + 2 + LONGEST_BLOCK + 4)
        if head_end < 0:  # the head is not complete, or too long
            return None
        block = data[begin:head_end]
        key = block if self._keyed is None else self.named(block)
        known = self._known.fresh.get(key) or self._find(block, key)
        if known is None:
            return None
        fields, own = known
        end = head_end + 4 + own.length
        if end > len(data):
            return None
        method, path = line.group(1).decode(), line.group(2).decode()
        return KnownRequest(
            method, path, fields.headers, fields, own, data[head_end + 4 : end], end
        )

    def _find(self, block: bytes, key: bytes) -> tuple[RequestFields, Own] | None:
        """Return a block's parsed fields and the request's own; None if it is unknown."""
        pared = self.pared(block)
        if pared is None:
            return None
        rest, values = pared
        name = rest if self._keyed is None else self.named(rest)
        fields = self._fields.fresh.get(name) or self._fields.find(name)
        if fields is None:
            return None
        own = own_of(values)
        known = fields, own
        if not own.fields:  # the others never come again
            self._known.add(key, known)
        return known

    def remember(
        self, data: bytes, message: RawRequestMessage, size: int, fields: RequestFields
    ) -> None:
        """Remember the parsed fields of a whole request with a body of `size` bytes.

        The caller has checked that the fields identify no reader, and that the host is served.
        """
        line = _LINE.match(data)
        if line is None or message.should_close or message.chunked or message.upgrade:
            return
        begin, end = line.end() - 2, data.find(b"\r\n\r\n")
        headers = message.headers
        if end - begin - 2 > LONGEST_BLOCK or len(headers) > MOST_FIELDS:
            return
        if len(data) != end + 4 + size:
            return
        if any(map(headers.__contains__, (*_NOT_REMEMBERED, *self._identifying))):
            return
        block = data[begin:end]
        pared = self.pared(block)
        own = NOTHING if pared is None else own_of(pared[1].copy())
        if pared is None or own.length != size:
            return
        shared = self._without_own(headers, fields, pared[1])
        if shared is not None:
            self._fields.add(self.named(pared[0]), shared)
            # It may be known with a principal of another route, or one whose credential has ended.
            self._known.drop(self.named(block))

    def _without_own(
        self, headers: MultiMapping[str], fields: RequestFields, values: dict[str, str]
    ) -> RequestFields | None:
        """Return the fields without the request's own, if the parser has found just those."""
        hops = hop_names(headers)
        rest = CIMultiDict(fields.headers)
        for name in self._own:
            found = [values[name]] if name in values else []
            if headers.getall(name, []) != found or (found and name.lower() in hops):
                return None
            rest.popall(name, None)
        return RequestFields(CIMultiDictProxy(rest), are_known=True, client=fields.client)

    def pared(self, block: bytes) -> tuple[bytes, dict[str, str]] | None:
        """Return a block, or a whole head, without own lines, and their values.

        Return None if one comes twice.
        """
        parts = self._own_line.split(block)
        values: dict[str, str] = {}
        for at in range(1, len(parts), 3):
            values[_NAMES[parts[at].lower()]] = parts[at + 1].decode()
        if 3 * len(values) + 1 < len(parts):
            return None
        return parts[0] if len(parts) == 1 else b"".join(parts[::3]), values

    def named(self, block: bytes) -> bytes:
        """Return the key of a block, or of a part or a whole head."""
        if self._keyed is None:
            return block
        digest = self._keyed.copy()  # a copy has the key already: half the time of a new one
        digest.update(block)
        return digest.digest()


def _named(name: str, form: str) -> str:
    """Return the pattern of a field's name, in any case, before a value of this form.

    A line of another form is none of the request's own, and no block with it is remembered. The
    first letter by itself lets the pattern skip most names at once.
    """
    first = name[0]
    return rf"[{first.upper()}{first.lower()}](?i:{name[1:]})(?=: {form}(?:\r|\Z))"


def own_of(values: dict[str, str]) -> Own:
    """Return a request's own values, and take the length out of them."""
    length = int(values.pop("Content-Length", "0"))
    if not values:
        return Own(length)
    get = values.get
    own_id, tag = get("X-Request-Id"), get("If-None-Match")
    return Own(
        length,
        own_id,
        b"" if own_id is None else b"X-Request-Id: %b\r\n" % own_id.encode(),
        tag,
        get("Producer-Seq"),
        get("Stream-Seq"),
        get("Range"),
        len(values) > (own_id is not None) + (tag is not None),
        tuple(values.items()),
    )


K = TypeVar("K")
V = TypeVar("V")


class AgingTable(Generic[K, V]):
    """At most `most` entries, in a `fresh` half and an old one.

    A look-up moves an entry to the fresh half. When that is full it becomes the old half, and what
    was in the old half is dropped: a flood of entries that never come again drops none that is used
    again within half a table of them. A look-up costs one `fresh.get` mostly.
    """

    __slots__ = ("_half", "_old", "fresh")

    def __init__(self, most: int) -> None:
        self._half = most // 2
        self.fresh: dict[K, V] = {}
        self._old: dict[K, V] = {}

    def __len__(self) -> int:
        return len(self.fresh) + len(self._old)

    def find(self, key: K) -> V | None:
        """Return the entry of a key, or None."""
        found = self.fresh.get(key)
        if found is None:
            found = self._old.pop(key, None)
            if found is not None:
                self.add(key, found)
        return found

    def add(self, key: K, value: V) -> None:
        """Add an entry, or replace it."""
        self._old.pop(key, None)
        if len(self.fresh) >= self._half and key not in self.fresh:
            self.fresh, self._old = {}, self.fresh
        self.fresh[key] = value

    def drop(self, key: K) -> None:
        """Drop the entry of a key, if there is one."""
        self.fresh.pop(key, None)
        self._old.pop(key, None)
