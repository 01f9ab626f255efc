"""Writers and live readers that go on while Redis does not, and what must be true afterwards."""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import time
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING

from tests.edge.resuming import RETRY_S, readers
from tests.faults.disk import assert_refused, content
from tests.faults.ledger import Faults, Ledger
from tests.support.examples import IS_WHOLE
from tests.support.http1 import Wire, ask
from tests.support.waiting import wait_until

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from tests.support.processes import Headgate

STREAMS = 4
PLAIN = "plain"
PRODUCERS = 12
PLAIN_WRITERS = 4
APPENDS = 150 if IS_WHOLE else 80
READERS_OF_EACH_KIND = 1
PATIENCE_S = 60.0  # from the first append to the last refusal
# Readers by SSE get it coded, so that line breaks in it come through.
CONTENT_TYPE = "application/octet-stream"
# A request waits for a connection, and then for an answer, five seconds each.
LONGEST_WAIT_S = 15.0


class Writers:
    """Producers that repeat what was refused, and plain writers that do not."""

    def __init__(self, gateway: Headgate) -> None:
        self.gateway = gateway
        self.ledgers = [
            Ledger(f"log{number}", is_json=False, closes_after=0) for number in range(STREAMS)
        ]
        self.refusals = 0
        self.last_refusal = ""
        self._give_up_at = 0.0
        self._is_over = False
        """Nothing disturbs the writers any more: only those who find it so may end."""
        self.longest_wait_s = 0.0
        self.taken: list[bytes] = []
        """Plain appends that were acknowledged."""
        self.refused: list[bytes] = []
        """Plain appends that were not: each may be there or not."""
        for name in [*(ledger.name for ledger in self.ledgers), PLAIN]:
            answer = ask(gateway.port, "PUT", f"/v1/stream/{name}", content_type=CONTENT_TYPE)
            assert answer.status == 201, answer

    def __repr__(self) -> str:
        return f"Writers(written={self.written}, refusals={self.refusals}, {self.last_refusal!r})"

    @property
    def written(self) -> int:
        acked = sum(sum(ledger.acked.values()) for ledger in self.ledgers)
        return acked + len(self.taken) + len(self.refused)

    async def reach(self, part: float) -> None:
        """Wait until this part of all appends is made."""
        count = part * APPENDS * (PRODUCERS + PLAIN_WRITERS)
        await asyncio.to_thread(
            wait_until, lambda: self.written >= count, f"{count} appends", self.__repr__
        )

    async def await_refusal(self) -> None:
        """Wait until one more append is refused."""
        before = self.refusals
        await asyncio.to_thread(
            wait_until, lambda: self.refusals > before, "a refusal", self.__repr__
        )

    @contextlib.asynccontextmanager
    async def at_work(self) -> AsyncIterator[None]:
        """They write all, and more until the block ends; then readers see the streams' ends."""
        url = f"{self.gateway.streams}/"
        self._give_up_at = time.monotonic() + PATIENCE_S
        async with contextlib.AsyncExitStack() as stack:
            reading = [
                await stack.enter_async_context(readers(url + ledger.name, READERS_OF_EACH_KIND))
                for ledger in self.ledgers
            ]
            with ThreadPoolExecutor(PRODUCERS + PLAIN_WRITERS) as pool:
                loop = asyncio.get_running_loop()
                work = [loop.run_in_executor(pool, self._produce, n) for n in range(PRODUCERS)]
                work += [loop.run_in_executor(pool, self._append, n) for n in range(PLAIN_WRITERS)]
                try:
                    yield
                finally:
                    self._is_over = True
                await asyncio.gather(*work)
            await asyncio.to_thread(self._close_streams)
        for ledger, ones in zip(self.ledgers, reading, strict=True):
            whole = await asyncio.to_thread(content, self.gateway, ledger.name)
            assert all(reader.text == whole for reader in ones), ledger.name

    def check(self) -> None:
        """Everything acknowledged is there once and in order, and nothing that was not sent."""
        for ledger in self.ledgers:
            found = ledger.split(content(self.gateway, ledger.name))
            faults = ledger.check(found)[1]
            assert faults == Faults(), "\n".join([str(faults), *faults.notes])
        lines = content(self.gateway, PLAIN).splitlines(keepends=True)
        counts = Counter(lines)
        assert all(counts[body] == 1 for body in self.taken)
        assert all(counts[body] <= 1 for body in self.refused)
        assert counts.keys() <= {*self.taken, *self.refused}
        for writer in range(PLAIN_WRITERS):
            own = [line for line in lines if line.startswith(b"%d-" % writer)]
            assert own == sorted(own)
        assert self.longest_wait_s < LONGEST_WAIT_S

    def _produce(self, writer: int) -> None:
        ledger = self.ledgers[writer % STREAMS]
        ledger.acked[writer] = 0
        with Wire(self.gateway.port) as wire:
            while (number := ledger.acked[writer]) < APPENDS or not self._is_over:
                producer = {
                    "producer_id": f"writer-{writer}",
                    "producer_epoch": "0",
                    "producer_seq": str(number),
                }
                body = ledger.body(writer, number)
                # A repetition is 204 when the refused append is there after all.
                ledger.acked[writer] += self._post(wire, ledger.name, body, **producer)

    def _append(self, writer: int) -> None:
        with Wire(self.gateway.port) as wire:
            for number in itertools.count():
                if number >= APPENDS and self._is_over:
                    return
                body = b"%d-%06d\n" % (writer, number)
                kind = self.taken if self._post(wire, PLAIN, body) else self.refused
                kind.append(body)

    def _close_streams(self) -> None:
        with Wire(self.gateway.port) as wire:
            for ledger in self.ledgers:
                while not self._post(wire, ledger.name, b"", stream_closed="true"):
                    continue

    def _post(self, wire: Wire, stream: str, body: bytes, **headers: str) -> bool:
        """Whether the append was taken; pauses when it was refused."""
        sent = time.monotonic()
        path = f"/v1/stream/{stream}"
        answer = wire.request("POST", path, body, content_type=CONTENT_TYPE, **headers)
        self.longest_wait_s = max(self.longest_wait_s, time.monotonic() - sent)
        assert answer.status in {200, 204, 503}, answer
        if answer.status == 503:
            assert_refused([answer])
            self.refusals += 1
            self.last_refusal = answer.json()["detail"]
            assert sent < self._give_up_at, self
            time.sleep(RETRY_S)
        return answer.status != 503
