"""The first two reads, which are equal: they tell what the way to the server is like."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from gateway.commands.cdn_doctor.evidence import Source, source

if TYPE_CHECKING:
    from gateway.commands.cdn_doctor.asker import Reply
    from gateway.commands.cdn_doctor.streams import OwnStream

DATA = b"headgate doctor\n"
# A cursor says nothing in a catch-up read, and is a second parameter whose place can change.
CURSOR = "1"


@dataclass(frozen=True, slots=True)
class TwoReads:
    """One read of a closed stream, asked for twice: its answer never changes."""

    own: OwnStream
    first: Reply
    again: Reply

    @property
    def refusal(self) -> str:
        """What the server said where it refused one of them."""
        return self.first.said or self.again.said

    @property
    def appends_arrive(self) -> bool:
        """Whether what was appended is there; else nothing can be seen by appending."""
        return self.first.body == DATA

    @property
    def kept(self) -> bool | None:
        """Whether a cache before the server keeps answers; None if nothing says so."""
        made = source(self.again)
        return None if made is Source.UNKNOWN else made is Source.SHARED


async def read_twice(own: OwnStream) -> TwoReads:
    """Ask, and ask the same again."""
    query = {"cursor": CURSOR, "offset": own.start}
    return TwoReads(own, await own.read(query), await own.read(query))
