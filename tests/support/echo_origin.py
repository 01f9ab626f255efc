"""An origin that answers with what it was sent."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tests.support.raw_origin import RawOrigin, answer

if TYPE_CHECKING:
    from tests.support.raw_origin import Wire


class Echo(RawOrigin):
    """Answers with the body that it was sent, of a known length or in chunks."""

    def __init__(self, *fields: str) -> None:
        super().__init__(self._play)
        self.fields = fields
        self.bodies: list[bytes] = []

    async def _play(self, wire: Wire) -> None:
        fields = dict(line.lower().split(": ", 1) for line in self.heard[-1].fields)
        if "transfer-encoding" in fields:
            chunks = await wire.read_until(b"0\r\n\r\n")
            self.bodies.append(chunks)
        else:
            self.bodies.append(await wire.read(int(fields.get("content-length", 0))))
        await wire.send(answer(self.bodies[-1], *self.fields))
