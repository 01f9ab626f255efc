"""A real forward proxy on loopback, which alone knows where some names lead."""

from __future__ import annotations

import asyncio
import contextlib
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from tests.support.listener import Listener
from tests.support.raw_origin import Heard, Wire

if TYPE_CHECKING:
    import ssl
    from collections.abc import Mapping

    from tests.support.raw_origin import Play

CONNECTED = b"HTTP/1.1 200 Connection established\r\n\r\n"


class ForwardProxy(Listener):
    """A proxy that opens tunnels (CONNECT) and forwards a plain request (absolute form).

    `names` has the ports on loopback of the hosts that it can resolve; for any other it answers
    502. It has a `script` where it does something else.
    """

    def __init__(
        self,
        names: Mapping[str, int],
        script: bytes | Play | None = None,
        *,
        tls: ssl.SSLContext | None = None,
    ) -> None:
        super().__init__(self._serve, tls=tls, limit=1 << 20)
        self.script = script
        self.heard: list[Heard] = []
        self._names = names
        self._scheme = "http" if tls is None else "https"

    @property
    def url(self) -> str:
        """Its URL."""
        return f"{self._scheme}://localhost:{self.port}"

    def lines(self) -> list[str]:
        """The request lines so far."""
        return [heard.line.removesuffix(" HTTP/1.1") for heard in self.heard]

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        wire = Wire(reader, writer)
        while head := await wire.head():
            wire.heard = heard = Heard(head, 0)
            self.heard.append(heard)
            if isinstance(self.script, bytes):
                await wire.send(self.script)
                continue
            if self.script is not None:
                await self.script(wire)
                return
            is_tunnel = heard.method == "CONNECT"
            at = urlsplit(f"//{heard.target}" if is_tunnel else heard.target)
            port = self._names.get(at.hostname or "")
            if port is None:
                await wire.send(b"HTTP/1.1 502 Bad Gateway\r\nContent-Length: 0\r\n\r\n")
                continue
            server = await asyncio.open_connection("127.0.0.1", port)
            try:
                if is_tunnel:
                    await wire.send(CONNECTED)
                else:
                    target = f"{at.path or '/'}{'?' if at.query else ''}{at.query}"
                    line = f"{heard.method} {target} HTTP/1.1".encode()
                    fields = [it for it in heard.fields if not it.lower().startswith("proxy-")]
                    server[1].write(b"\r\n".join([line, *map(str.encode, fields), b"", b""]))
                await self._exchange((reader, writer), server)
            finally:
                server[1].transport.abort()
            return

    async def _exchange(
        self,
        client: tuple[asyncio.StreamReader, asyncio.StreamWriter],
        server: tuple[asyncio.StreamReader, asyncio.StreamWriter],
    ) -> None:
        """Pass bytes on in both directions until one side ends."""

        async def passed(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            with contextlib.suppress(OSError):
                while data := await reader.read(1 << 16):
                    writer.write(data)
                    await writer.drain()

        ways = [
            asyncio.ensure_future(passed(client[0], server[1])),
            asyncio.ensure_future(passed(server[0], client[1])),
        ]
        try:
            await asyncio.wait(ways, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for way in ways:
                way.cancel()
            await asyncio.gather(*ways, return_exceptions=True)
