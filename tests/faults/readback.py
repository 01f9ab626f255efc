"""One stream as it stands, held against all that writers and readers were told about it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from tests.faults.prefixes import Trace, traces
from tests.faults.roaming import Catcher

if TYPE_CHECKING:
    from collections.abc import Sequence

    import aiohttp

    from tests.faults.ledger import Faults
    from tests.faults.prefixes import Prefixes


@dataclass(frozen=True, slots=True)
class Readback:
    """What is there now, and everything about it that breaks a promise."""

    messages: list[bytes]
    is_closed: bool
    tail: str
    traces: list[Trace]
    """The first 0, 1, 2 ... messages."""
    faults: Faults


async def read_back(
    clients: aiohttp.ClientSession, gateways: Sequence[str], prefixes: Prefixes
) -> Readback:
    """Read all of a stream through each gateway, while nobody writes to it."""
    first, *others = [await Catcher(clients, [base]).read(prefixes) for base in gateways]
    prefixes.conflicts += [
        f"{prefixes.ledger.name} differs from gateway to gateway"
        for other in others
        if other != first
    ]
    faults = check(prefixes, first.messages)
    return Readback(*first, list(traces(prefixes.ledger, first.messages)), faults)


def check(prefixes: Prefixes, messages: Sequence[bytes]) -> Faults:
    """The content against the acknowledgements, and every offset against every other teller."""
    ends, faults = prefixes.ledger.check(messages)
    before = list(traces(prefixes.ledger, messages))
    for append, offset in prefixes.ledger.offsets.items():
        if append in ends:
            prefixes.saw(offset, before[ends[append]], f"the writer of {append}")
    faults.misplaced += len(prefixes.conflicts)
    for conflict in prefixes.conflicts:
        faults.note(conflict)
    prefixes.conflicts.clear()
    return faults
