"""Copy a stream by what every server sends: content, content type, lifetime and closure."""

from __future__ import annotations

from typing import TYPE_CHECKING

from gateway.protocol.bodies.content import is_json
from gateway.tools.copying.content import SourceContent
from gateway.tools.copying.contract import (
    GONE,
    CopyOutcome,
    CopyProgress,
    StreamRefused,
    check_alike,
)

if TYPE_CHECKING:
    from collections.abc import Callable

    from gateway.tools.copying.contract import CopiedStream, Description

# Bytes of an append, which every server should accept; a longer message is sent by itself.
APPEND_BYTES = 256 * 1024
# Appends of one stream in a row that came after another writer's.
MAX_LOST_RACES = 20


class ContentCopy:
    """The copy of one stream, which continues after what the destination has."""

    def __init__(
        self, source: CopiedStream, target: CopiedStream, on_append: Callable[[str, str], None]
    ) -> None:
        """`on_append` is called with two offsets that mean the same place, of source and target."""
        self._source = source
        self._target = target
        self._on_append = on_append
        self._target_offset: str | None = None  # after what is compared
        self._bytes = 0
        self._lost_races = 0

    async def run(self, earlier: CopyProgress | None) -> CopyOutcome:
        """Copy what is missing; compare only what follows `earlier`, where this process was."""
        wanted = await self._source.describe()
        if wanted is None:
            return GONE
        found = await self._target.describe()
        is_new = found is None
        if found is None:
            found = await self._target.create(wanted)
        check_alike(found, wanted)
        if earlier is not None and earlier.target_offset != found.next_offset:
            earlier = None  # something else has happened to the copy
        self._target_offset = None if earlier is None else earlier.target_offset
        content = SourceContent(
            self._source.pieces(None if earlier is None else earlier.source_offset),
            APPEND_BYTES,
            is_json=is_json(wanted.content_type),
        )
        try:
            is_compared = is_new or earlier is not None
            while not await self._go_on(content, found, is_compared=is_compared):
                is_compared = False
        finally:
            await content.close()
        if wanted.is_closed and not found.is_closed:
            await self._target.close()
        changed = is_new or bool(self._bytes) or wanted.is_closed != found.is_closed
        reached = earlier
        if content.offset is not None and self._target_offset is not None:
            reached = CopyProgress(content.offset, self._target_offset)
        return CopyOutcome(changed, self._bytes, reached)

    async def _go_on(
        self, content: SourceContent, found: Description, *, is_compared: bool
    ) -> bool:
        """Compare the destination, unless it `is_compared`, and append the rest.

        Return False if another writer appended first: the caller has to compare and append again.
        """
        if not is_compared:
            async for page in self._target.pieces(self._target_offset):
                await content.skip(page)
                if page and page[-1].offset is not None:
                    self._target_offset = page[-1].offset
            self._note(content)
        while pieces := await content.take():
            if found.is_closed:
                raise StreamRefused("the copy is closed, and lacks data of the source")
            offset = await self._target.append(pieces)
            if offset is None:
                self._lost_races += 1
                if self._lost_races > MAX_LOST_RACES:
                    raise StreamRefused("somebody else appends to the copy all the time")
                return False
            self._bytes += sum(len(piece.data) for piece in pieces)
            content.drop(pieces)
            self._target_offset = offset
            self._note(content)
        return True

    def _note(self, content: SourceContent) -> None:
        if content.offset is not None and self._target_offset is not None:
            self._on_append(content.offset, self._target_offset)
