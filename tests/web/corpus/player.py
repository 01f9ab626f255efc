"""The clients of an exchange, and what they see."""

from __future__ import annotations

import asyncio
import socket
from typing import TYPE_CHECKING, TypeGuard

from tests.support.http1 import BODYLESS, Client, ConnectionEnded, read_chunk
from tests.support.serving import get
from tests.support.waiting import until
from tests.web.corpus.gateway import turns
from tests.web.corpus.masks import Masks, body_of, lines_of
from tests.web.corpus.seen import Request, Response, Seen, request_of

if TYPE_CHECKING:
    from collections.abc import Sequence

    from tests.support.http1 import Answer
    from tests.web.corpus.gateway import CorpusGateway

MAIN = "a"  # the connection of most exchanges
PROBE = "/asks-on"


class Player:
    """One play of an exchange."""

    def __init__(self, gateway: CorpusGateway) -> None:
        self.gateway = gateway
        self.seen = Seen()
        self.tasks: list[asyncio.Task[None]] = []
        self._clients: dict[str, Client] = {}
        self._unanswered: dict[str, list[Request]] = {}
        self._open: dict[str, Response] = {}  # the last response of each connection
        self._ended: set[str] = set()
        instance = gateway.services.lines._instance
        ports = {gateway.port: "port"}
        if gateway.origin is not None:
            ports[gateway.origin.port] = "origin"
        self.tag = b""  # what replaces {etag}
        self.masks = Masks(ports=ports, instance=instance)

    def note(self, by: str, mark: str, lines: Sequence[str]) -> None:
        """Add lines of what a connection sent or got."""
        mark = mark if by == MAIN else f"{by}{mark}"
        self.seen.notes += [f"{mark} {self.masks(line)}".rstrip() for line in lines]

    def head(self, by: str, head: Answer) -> Response:
        """Add the head of a response to the oldest request of a connection that has none."""
        unanswered = self._unanswered[by]
        request = unanswered.pop(0) if unanswered else request_of(b"")
        lines = [self.masks(line) for line in lines_of(head.wire)[:-1]]
        response = Response("<" if by == MAIN else f"{by}<", request, lines)
        self.seen.notes.append(response)
        self._open[by] = response
        return response

    def say(self, text: str) -> None:
        """Add a line of what happens."""
        self.seen.notes.append(f"({text})")

    async def client(self, by: str) -> Client:
        """Return a connection, which is accepted before it says anything."""
        if by not in self._clients:
            before = self.gateway.limits.connections
            self._clients[by] = await self.gateway.connect()
            await until(lambda: self.gateway.limits.connections > before)
        return self._clients[by]

    async def send(self, data: bytes, requests: Sequence[bytes], by: str, *, early: bool) -> None:
        """Send bytes, `early` as the first of a connection that is not accepted yet."""
        self._unanswered.setdefault(by, []).extend(map(request_of, requests))
        if not early:
            (await self.client(by)).send(data)
            return
        if by in self._clients:  # as the steps are played again
            self._clients[by].close()
        wire = socket.create_connection(("127.0.0.1", self.gateway.port))
        assert wire.send(data) == len(data)
        wire.setblocking(False)
        reader, writer = await asyncio.open_connection(sock=wire)
        self._clients[by] = Client(reader, writer)
        self.gateway._clients.append(self._clients[by])

    async def answer(self, by: str, *, leaves: bool = False) -> None:
        """Take the next answer, with what comes before it."""
        client = await self.client(by)
        try:
            head = await client.head()
            while head.status == 100:
                self.note(by, "<", lines_of(head.wire)[:-1])
                head = await client.head()
        except EOFError as error:
            self._ended.add(by)
            self.note(by, "<", lines_of(getattr(error, "partial", b"")))
            self.note(by, "<", ["<the connection ends>"])
            return
        response = self.head(by, head)
        if response.request.method != "HEAD" and head.status not in BODYLESS:
            await self._body(client, head, response, by)
        if leaves:
            self.say(f"{by} leaves")
            self.leave(by)
        elif _is_last(head):
            await self.rest(by)

    async def _body(self, client: Client, head: Answer, response: Response, by: str) -> None:
        body, end, response.is_whole = b"", "", True
        try:
            if "chunked" in head.headers.get("transfer-encoding", ""):
                while chunk := await client._read(read_chunk()):
                    body += chunk
                end = "<chunks end>"
            elif head.get("content-length") is None:
                body = await client.rest()
                self._ended.add(by)
            else:
                body = await client._take(int(head.get("content-length") or 0))
        except (EOFError, ConnectionEnded, ConnectionError) as error:
            body += getattr(error, "partial", b"")
            end, response.is_whole = "<cut>", False
            self._ended.add(by)
        response.body = body
        self.note(by, "|", [*body_of(body), *([end] if end else [])])

    async def rest(self, by: str = MAIN) -> None:
        """Take what comes until the connection ends."""
        if by in self._ended:
            return
        client = await self.client(by)
        try:
            rest = await client.rest()
            self.note(
                by,
                "<",
                [*lines_of(rest), "<the connection ends>"] if rest else ["<the connection ends>"],
            )
        except ConnectionError:
            self.note(by, "<", ["<the connection is reset>"])
        self._ended.add(by)

    async def events(self, by: str, end: bytes) -> None:
        """Take more events until their bytes end so."""
        client = await self.client(by)
        seen = len(client.received)
        client._events += await client.chunk()
        await client.event_bytes_until(end)
        self._more(by, client.received[seen:])

    async def events_to_the_end(self, by: str) -> None:
        """Take events until the answer is over."""
        client = await self.client(by)
        seen = len(client.received)
        await client.events_to_the_end()
        self._more(by, client._events[seen:], "<chunks end>")

    def _more(self, by: str, data: bytes, *end: str) -> None:
        self._open[by].body += data
        self.note(by, "|", [*body_of(data), *end])

    def leave(self, by: str) -> None:
        """Break a connection."""
        self._clients[by].abort()
        self._ended.add(by)

    async def finish(self, by: str) -> None:
        """Send no more on a connection, and listen on."""
        (await self.client(by))._writer.write_eof()

    async def asks_on(self) -> bool:
        """Ask once more on the connection, and return whether that was answered."""
        if MAIN in self._ended or MAIN not in self._clients:
            return False
        client = self._clients[MAIN]
        client.send(get(PROBE))
        try:
            probe = await client.answer()
        except (EOFError, ConnectionError) as error:
            self.note(MAIN, "<", lines_of(getattr(error, "partial", b"")))
            self.note(MAIN, "<", ["<the connection ends>"])
            return False
        assert probe.status in {404, 421}, probe
        return True

    async def settle(self, kept: Client | None = None) -> None:
        """Let every client go but `kept`, and wait until the gateway knows."""
        for task in self.tasks:
            await task
        gateway = self.gateway
        for client in self._clients.values():
            if client is not kept:
                client.close()
        await until(
            lambda: (
                gateway.limits.connections == _is_open(kept)
                and gateway.limits.live_readers == 0
                and gateway.is_settled()
            )
        )
        await turns()

    async def begin_again(self, *, asks_on: bool) -> None:
        """Forget what was seen; go on with the connection that can be asked once more."""
        kept = self._clients.get(MAIN) if asks_on and MAIN not in self._ended else None
        await self.settle(kept)
        self.seen = Seen()
        self._clients = {MAIN: kept} if _is_open(kept) else {}
        self._unanswered, self._open, self._ended = {}, {}, set()


def _is_open(client: Client | None) -> TypeGuard[Client]:
    return client is not None and not client._reader.at_eof()


def _is_last(head: Answer) -> bool:
    told = (head.headers.get("connection") or "").lower()
    return told == "close" or (head.version == "HTTP/1.0" and told != "keep-alive")
