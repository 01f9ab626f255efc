"""An origin that knows its readers: what it gives each, and who may read what."""

from __future__ import annotations

import asyncio
import contextlib
import re
from collections import Counter
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from tests.edge.identities.people import CANARY, SAY_WHO, Person, mark_of_scope

if TYPE_CHECKING:
    from tests.edge.simulation.network import Address, SimulatedLoop

NOBODY = "nobody"
# What an origin says of its answers, by the last part of their path.
SAYS = {
    "nothing": (),
    "private": ("Cache-Control: private, max-age=600",),
    "no-store": ("Cache-Control: no-store",),
    "max-age": ("Cache-Control: max-age=600",),
    "must-revalidate": ("Cache-Control: max-age=600, must-revalidate",),
    "s-maxage": ("Cache-Control: s-maxage=600",),
    "public": ("Cache-Control: public, max-age=600",),
    "no-cache": ("Cache-Control: no-cache",),
    "stale": ("Cache-Control: max-age=1, stale-while-revalidate=600",),
    "failing": ("Cache-Control: max-age=0, stale-if-error=600",),
    "vary": ("Cache-Control: max-age=600", "Vary: User-Agent"),
    "vary-who": ("Cache-Control: max-age=600", "Vary: Authorization, Cookie"),
    "vary-all": ("Cache-Control: max-age=600", "Vary: *"),
    "set-cookie": ("Cache-Control: max-age=600",),
}
# Of these an origin may make each answer for whoever asks, though he does not say who he is. Not
# where a stream ends: what the protocol has be no-store because it passes is the same for all.
FOR_ONE_REQUEST = frozenset({"private", "no-store", "vary-all", "set-cookie"})
GROWS_EVERY_S = 1.0
IN_A_CHUNK = 3
HOLDS_S = 3.0
OPEN, BY_TOKEN, BY_ORIGIN = "/open", "/tokens", "/origin"
_IDENTIFYING = frozenset(name.lower() for name in (*SAY_WHO, "Authorization", "Cookie"))
_TOKEN = re.compile(rf"{CANARY}-(\d+)-")


class Origin:
    """On the simulated network. `members` are those whose tokens it takes now."""

    def __init__(self, loop: SimulatedLoop, address: Address, people: int) -> None:
        self._loop = loop
        self._address = address
        self._tasks: set[asyncio.Task[None]] = set()
        # GETs of what fails every other time, by target: by one count for all, a crowd that comes
        # twice would meet a failure first each time, and never a copy that stands in for it.
        self._asked: Counter[str] = Counter()
        self.members = set(range(people))
        self.saw: list[str] = []  # canaries where it had no business with them

    def start(self) -> None:
        self._loop.listen(self._address, self._accept)

    def stop(self) -> None:
        self._loop.refuse(self._address)
        for task in [*self._tasks]:
            task.cancel()

    def _accept(self) -> asyncio.StreamReaderProtocol:
        reader = asyncio.StreamReader(1 << 20)
        return asyncio.StreamReaderProtocol(reader, self._begin)

    def _begin(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = self._loop.create_task(self._serve(reader, writer))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(ConnectionError, asyncio.IncompleteReadError):
            while True:
                head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1")
                writer.write(await self._answer(head[:-4]))
                await writer.drain()
        writer.close()

    async def _answer(self, head: str) -> bytes:
        line, *lines = head.split("\r\n")
        method, target, _ = line.split(" ")
        fields = {name.lower(): value for name, _, value in (one.partition(": ") for one in lines)}
        prefix, scope, kind = _parts(target)
        if CANARY in (head if prefix == BY_TOKEN else target):
            self.saw.append(head)
        if kind == "failing" and method == "GET":
            self._asked[target] += 1
            if self._asked[target] % 2 == 0:
                return _wire(503, (), b"", method)
        if prefix == BY_ORIGIN and not self._lets(fields, scope):
            return _wire(403, ("WWW-Authenticate: Bearer",), b"", method)
        start = _start(target)
        live = "live=long-poll" in target
        if live:
            await self._hold(start)
        else:
            await asyncio.sleep(0.02)  # so that others can come for the same meanwhile
        who = _who(fields, head, prefix, kind, is_now="offset=now" in target)
        return self._told(method, target, fields, f"{mark_of_scope(scope)} {who}", kind, start)

    def _lets(self, fields: dict[str, str], scope: str) -> bool:
        found = _TOKEN.search(fields.get("authorization", "") + fields.get("cookie", ""))
        number = int(found[1]) if found else -1
        return number in self.members and scope in Person(number).scopes

    async def _hold(self, start: int) -> None:
        waits_s = HOLDS_S
        while start >= self._tail() and waits_s > 0:
            await asyncio.sleep(GROWS_EVERY_S / 2)
            waits_s -= GROWS_EVERY_S / 2

    def _tail(self) -> int:
        return IN_A_CHUNK + int(self._loop.time() / GROWS_EVERY_S)

    def _told(
        self, method: str, target: str, asked: dict[str, str], who: str, kind: str, start: int
    ) -> bytes:
        tail = self._tail()
        start = min(start, tail)
        end = min(tail, start + IN_A_CHUNK)
        tag = (
            f'"{start}-{end}-{tail == end}-{hash(who) if len(who) > 40 else who.replace(" ", "-")}"'
        )
        fields = [
            "Content-Type: text/plain",
            f"Stream-Next-Offset: {end:06}_0",
            f"ETag: {tag}",
            "Stream-Cursor: 1",
            f"X-Told: {who[:100]}",
            *SAYS[kind],
        ]
        if end == tail:
            fields.append("Stream-Up-To-Date: true")
        if kind == "set-cookie":
            fields.append(f"Set-Cookie: session={who[:100].replace(' ', '-')}")
        if tag == asked.get("if-none-match"):
            return _wire(304, fields, b"", method)
        if start == end and "live=" in target:
            return _wire(204, fields, b"", method)
        body = "".join(f"<{at} {who}>" for at in range(start, end))
        return _wire(200, fields, body.encode(), method)


def _parts(target: str) -> tuple[str, str, str]:
    """Route, scope and kind: /route/SCOPE/KIND.NUMBER."""
    path = urlsplit(target).path
    _, route, scope, name = path.split("/")
    return f"/{route}", scope, name.partition(".")[0]


def _start(target: str) -> int:
    found = re.search(r"offset=(\d+)_0", target)
    return int(found[1]) if found else 10**6 if "offset=now" in target else 0


def _who(fields: dict[str, str], head: str, prefix: str, kind: str, *, is_now: bool) -> str:
    """Whom an answer is made for: whoever is known, or by all that came where it may be."""
    if kind == "public":
        return NOBODY
    if prefix == BY_ORIGIN:  # the same for all who may read, unless the origin says otherwise
        number = _TOKEN.search(fields.get("authorization", "") + fields.get("cookie", ""))
        is_for_one_client = (kind in FOR_ONE_REQUEST and not is_now) or kind == "vary-who"
        return f"zq{number[1]}x" if is_for_one_client and number else NOBODY
    known = [value for name, value in fields.items() if name in _IDENTIFYING]
    if kind in FOR_ONE_REQUEST and not (kind == "no-store" and is_now):
        return " ".join(re.findall(r"zq\d+x", head)) or NOBODY
    if known:
        return known[0]
    return fields.get("user-agent", NOBODY) if kind == "vary" else NOBODY


def _wire(status: int, fields: tuple[str, ...] | list[str], body: bytes, method: str) -> bytes:
    length = () if status in {204, 304} else (f"Content-Length: {len(body)}",)
    head = "\r\n".join([f"HTTP/1.1 {status} Said", *fields, *length, "", ""]).encode()
    return head if method == "HEAD" else head + body
