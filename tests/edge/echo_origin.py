"""An origin that answers with what it was sent."""

from __future__ import annotations

from tests.support.raw_origin import RawOrigin, Wire, answer


class Echo(RawOrigin):
    """Answers with the body that it was sent, of a known length or in chunks."""

    def __init__(self, *fields: str) -> None:
        super().__init__(self._play)
        self.fields = fields
        self.bodies: list[bytes] = []

    async def _play(self, wire: Wire) -> None:
        self.bodies.append(await wire.body())
        await wire.send(answer(self.bodies[-1], *self.fields))
