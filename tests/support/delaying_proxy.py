"""A TCP proxy that takes its time: every byte is late by the same."""

from __future__ import annotations

import asyncio

from tests.support.listener import Listener

_READ_BYTES = 1 << 16


class DelayingProxy(Listener):
    """Forwards connections to a loopback port; each way takes `latency_s`.

    `appends` counts the requests that begin with `POST /`, `answered` the bytes of all answers.
    """

    def __init__(self, target_port: int, *, latency_s: float) -> None:
        super().__init__(self._serve_both_ways)
        self.appends = self.answered = 0
        self._target_port = target_port
        self._latency_s = latency_s

    async def _serve_both_ways(
        self, client_reader: asyncio.StreamReader, client_writer: asyncio.StreamWriter
    ) -> None:
        server_reader, server_writer = await asyncio.open_connection("127.0.0.1", self._target_port)
        try:
            async with asyncio.TaskGroup() as group:
                group.create_task(self._forward(client_reader, server_writer, is_up=True))
                group.create_task(self._forward(server_reader, client_writer, is_up=False))
        finally:
            server_writer.transport.abort()

    async def _forward(
        self, source: asyncio.StreamReader, sink: asyncio.StreamWriter, *, is_up: bool
    ) -> None:
        """Copy until the source ends, each piece when it is due."""
        loop = asyncio.get_running_loop()
        pieces: asyncio.Queue[tuple[float, bytes]] = asyncio.Queue()

        async def deliver() -> None:
            data = b"."
            while data:
                due, data = await pieces.get()
                await asyncio.sleep(due - loop.time())
                sink.write(data)
            sink.close()

        delivering = asyncio.create_task(deliver())
        try:
            data = b"."
            while data:
                try:
                    data = await source.read(_READ_BYTES)
                except ConnectionError:  # a reset ends this way as well
                    data = b""
                self.appends += is_up and data.count(b"POST /")
                self.answered += 0 if is_up else len(data)
                pieces.put_nowait((loop.time() + self._latency_s, data))
            await delivering
        finally:
            delivering.cancel()
