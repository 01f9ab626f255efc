"""An origin that sends a second answer behind some of its answers, in a packet of its own."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from tests.support.raw_origin import RawOrigin, answer

if TYPE_CHECKING:
    from tests.support.raw_origin import Wire

SPOILING = "spoil"  # in a target: a surplus follows its answer
FORGED = b"forged"
MINUTE = "Cache-Control: max-age=60"
_TAG = 'ETag: "e"'
SURPLUS = answer(FORGED, MINUTE)
# What is answered to a request for a spoiling target, by the name of the kind.
HEADS = {
    "HEAD": answer(FORGED, MINUTE)[: -len(FORGED)],
    "HEAD in chunks": b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n",
    "204": b"HTTP/1.1 204 No Content\r\n\r\n",
    "204 with a length": b"HTTP/1.1 204 No Content\r\nContent-Length: 6\r\n\r\n",
    "204 in chunks": b"HTTP/1.1 204 No Content\r\nTransfer-Encoding: chunked\r\n\r\n",
    "304": f"HTTP/1.1 304 Not Modified\r\n{_TAG}\r\nContent-Length: 6\r\n\r\n".encode(),
    "304 without a length": f"HTTP/1.1 304 Not Modified\r\n{_TAG}\r\n\r\n".encode(),
    "200": answer(b"whole", "Cache-Control: no-store"),
}


class SurplusOrigin(RawOrigin):
    """An origin that answers each target with its last segment, after `answers_after_s`.

    Behind the answer of one `kind` of HEADS to a spoiling target it sends SURPLUS, `late_s` later.
    If the kind is a 304, a GET of a spoiling target gets an answer that has to be validated.
    """

    def __init__(self, kind: str, late_s: float, answers_after_s: float = 0.0) -> None:
        super().__init__(self._play)
        self.kind = kind
        self.late_s = late_s
        self.answers_after_s = answers_after_s
        self.surpluses = 0

    async def _play(self, wire: Wire) -> None:
        heard = wire.heard
        await wire.body()
        if SPOILING not in heard.target:
            await asyncio.sleep(self.answers_after_s)
            await wire.send(answer(name_of(heard.target), MINUTE))
        elif self.kind.startswith("304") and "if-none-match" not in heard.named:
            await wire.send(answer(b"old", "Cache-Control: max-age=0, must-revalidate", _TAG))
        else:
            await wire.send(HEADS[self.kind])
            self.surpluses += 1
            asyncio.get_running_loop().call_later(self.late_s, self._send_surplus, wire)

    @staticmethod
    def _send_surplus(wire: Wire) -> None:
        if not wire.is_closing():
            wire.write(SURPLUS)


def name_of(target: str) -> bytes:
    """Return the answer of a SurplusOrigin to a GET of a target."""
    return target.partition("?")[0].rpartition("/")[2].encode()
