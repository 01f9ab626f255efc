"""The front speaks HTTP/3, and says so to those who come by TCP."""

from __future__ import annotations

import asyncio
import ssl
from typing import TYPE_CHECKING

import pytest
from aioquic.asyncio.client import connect
from aioquic.asyncio.protocol import QuicConnectionProtocol
from aioquic.h3.connection import H3_ALPN, H3Connection
from aioquic.h3.events import DataReceived, H3Event, HeadersReceived
from aioquic.quic.configuration import QuicConfiguration
from typing_extensions import override

from tests.front.fronted import HERE, HOST, fronted

if TYPE_CHECKING:
    from pathlib import Path

    from aioquic.quic.events import QuicEvent

PATIENCE_S = 20.0


class Http3(QuicConnectionProtocol):
    """A connection for one request."""

    def __init__(self, *arguments: object, **options: object) -> None:
        super().__init__(*arguments, **options)  # type: ignore[arg-type] # of the base class
        self._http = H3Connection(self._quic)
        self._status = ""
        self._body = b""
        self._answer: asyncio.Future[tuple[str, bytes]] = asyncio.Future()

    @override
    def quic_event_received(self, event: QuicEvent) -> None:
        for one in self._http.handle_event(event):
            self._take(one)

    def _take(self, event: H3Event) -> None:
        if isinstance(event, HeadersReceived):
            self._status = dict(event.headers)[b":status"].decode()
        elif isinstance(event, DataReceived):
            self._body += event.data
        ended = isinstance(event, HeadersReceived | DataReceived) and event.stream_ended
        if ended and not self._answer.done():
            self._answer.set_result((self._status, self._body))

    async def get(self, authority: str, path: str) -> tuple[str, bytes]:
        """Return the status and the body."""
        number = self._quic.get_next_available_stream_id()
        head = {":method": "GET", ":scheme": "https", ":authority": authority, ":path": path}
        lines = [(name.encode(), value.encode()) for name, value in head.items()]
        self._http.send_headers(number, lines, end_stream=True)
        self.transmit()
        async with asyncio.timeout(PATIENCE_S):
            return await self._answer


@pytest.mark.usefixtures("processes")
async def test_a_stream_is_read_by_http_3_which_answers_by_tcp_name(tmp_path: Path) -> None:
    configuration = QuicConfiguration(alpn_protocols=H3_ALPN, server_name=HOST)
    configuration.verify_mode = ssl.CERT_NONE
    with fronted(tmp_path) as server:
        server.put("three", "hello")
        path, port = "/v1/stream/three?offset=-1", server.front_port
        named = await asyncio.to_thread(server.ask, path, "-D", "-")
        assert f'alt-svc: h3=":{port}"' in named.body
        async with connect(HERE, port, configuration=configuration, create_protocol=Http3) as made:
            assert isinstance(made, Http3)
            assert await made.get(f"{HOST}:{port}", path) == ("200", b"hello")
