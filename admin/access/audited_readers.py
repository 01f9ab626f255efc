"""The changes of operators to readers, each with its line in the audit log.

An address is in that line alone, also one that was entered as a principal: the sentence of the
event, which viewers see, says "an address".
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from admin.access.audit import audited
from gateway.protocol.http.client_address import is_address

if TYPE_CHECKING:
    from collections.abc import Sequence

    from admin.model.viewer import Viewer
    from admin.readers.console_readers import BanKind, BanWish, ConsoleReaders


async def disconnect(readers: ConsoleReaders, ids: Sequence[str], by: Viewer) -> int:
    """Disconnect readers; return how many. Raises NotTold."""
    with audited(by, "disconnect", "", "readers") as logged:
        logged["ids"] = ", ".join(ids)
        logged["readers"] = count = await readers.disconnect(ids)
    return count


async def ban(readers: ConsoleReaders, wish: BanWish, by: Viewer) -> int:
    """Ban a client; return how many of its readers were disconnected. Raises NotTold."""
    operation = "ban" if wish.seconds else "disconnect"
    with audited(by, operation, "", _subject(wish.kind, wish.value)) as logged:
        logged |= {"client": wish.value, "seconds": round(wish.seconds), "response": wish.status}
        logged["readers"] = count = await readers.ban(wish, by.name)
    return count


async def lift(readers: ConsoleReaders, kind: BanKind, value: str, by: Viewer) -> None:
    """End a ban before its time. Raises NotTold."""
    with audited(by, "lift the ban of", "", _subject(kind, value)) as logged:
        logged["client"] = value
        await readers.lift(kind, value, by.name)


def _subject(kind: BanKind, value: str) -> str:
    return "an address" if kind == "address" or is_address(value.strip()) else value
