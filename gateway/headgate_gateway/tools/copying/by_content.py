"""Copy a stream of a server by what it sends: content, content type, lifetime and closure."""

from __future__ import annotations

from typing import TYPE_CHECKING

from headgate_gateway.protocol.bodies.content import is_json
from headgate_gateway.tools.copying.content import SourceContent
from headgate_gateway.tools.copying.contract import GONE, CopyOutcome, StreamRefused, check_alike

if TYPE_CHECKING:
    from headgate_gateway.tools.copying.contract import Description
    from headgate_gateway.tools.copying.log_place import LogStream
    from headgate_gateway.tools.copying.server_place import ServerStream

APPEND_BYTES = 256 * 1024  # of one append; a longer message is stored by itself
# Appends of one stream in a row that came after another writer's.
MAX_LOST_RACES = 20


class ContentCopy:
    """The copy of one stream, which continues after what the destination has."""

    def __init__(self, source: ServerStream, target: LogStream) -> None:
        self._source = source
        self._target = target
        self._bytes = 0
        self._lost_races = 0

    async def run(self) -> CopyOutcome:
        """Copy what is missing."""
        wanted = await self._source.describe()
        if wanted is None:
            return GONE
        found = await self._target.describe()
        is_new = found is None
        if found is None:
            found = await self._target.create(wanted)
        check_alike(found, wanted)
        content = SourceContent(
            self._source.pieces(), APPEND_BYTES, is_json=is_json(wanted.content_type)
        )
        try:
            while not await self._go_on(content, found):
                pass
        finally:
            await content.close()
        if wanted.is_closed and not found.is_closed:
            await self._target.close()
        changed = is_new or bool(self._bytes) or wanted.is_closed != found.is_closed
        return CopyOutcome(changed, self._bytes)

    async def _go_on(self, content: SourceContent, found: Description) -> bool:
        """Compare what the destination has, and append the rest.

        Return False if another writer appended first: the caller has to compare and append again.
        """
        async for page in self._target.pieces():
            await content.skip(page)
        while pieces := await content.take():
            if found.is_closed:
                raise StreamRefused("the copy is closed, and lacks data of the source")
            if not await self._target.append(pieces):
                self._lost_races += 1
                if self._lost_races > MAX_LOST_RACES:
                    raise StreamRefused("somebody else appends to the copy all the time")
                return False
            self._bytes += sum(map(len, pieces))
            content.drop(pieces)
        return True
