"""The subscriptions of a route to an origin while this gateway, one of several, delivers them."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from typing_extensions import override

from gateway.errors import HeadgateError
from gateway.features.subscriptions.origins.origin_subscriptions import OriginSubscriptions
from gateway.features.subscriptions.origins.settled_names import (
    AwaitedNames,
    decode_names,
    encode_answer,
)
from gateway.features.subscriptions.shared import mail
from gateway.features.subscriptions.shared.owned import OwnedSubscriptions
from gateway.features.subscriptions.shared.stream_notes import WriteReport

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Mapping, Sequence

    from gateway.features.subscriptions.shared.stream_notes import StreamNote
    from gateway.features.subscriptions.streams.contract import StreamChange

LINKED_AT_ONCE = 16  # streams whose first write waits for a HEAD


class OwnedOriginSubscriptions(OriginSubscriptions, OwnedSubscriptions):
    """The subscriptions of one route to an origin, with what other gateways have written."""

    compares_regularly = False  # each linked stream is checked every few seconds

    async def link_first(self, names: Sequence[str]) -> AwaitedNames:
        """Store the links to streams that are about to be written to; return who is awaited."""
        if not self.by_id:
            return AwaitedNames(has_no_subscriptions=True)
        turn = asyncio.Semaphore(LINKED_AT_ONCE)
        refused: dict[str, str] = {}

        async def link(name: str) -> None:
            async with turn:
                try:
                    await self.link_unlinked(name)
                except HeadgateError as error:  # the others are written to all the same
                    refused[name] = error.detail

        await asyncio.gather(*map(link, names))
        return AwaitedNames(frozenset(filter(self.is_awaited, names)), refused=refused)

    @override
    async def apply_notes(self, notes: Mapping[str, StreamNote]) -> Collection[str]:
        for name, note in notes.items():
            if isinstance(note, WriteReport) and self.may_be_awaited(name):
                self.origin_streams.on_report(name, note)
        return notes.keys()

    @override
    async def compare(self, note: Callable[[str, StreamNote], None]) -> None:
        compared = self.origin_streams.checks.compare_all(list(self.membership.streams))
        await asyncio.wait({compared})

    @override
    async def carry_out_first_writes(self, names: bytes) -> mail.HandedOnResponse:
        answer = await self.link_first(decode_names(names))
        return mail.HandedOnResponse(mail.CARRIED_OUT, "", encode_answer(answer))

    @override
    def on_change(self, change: StreamChange) -> None:
        super().on_change(change)
        if change.removes:
            others = self.origin_streams.others
            assert others is not None, "one gateway alone has other subscriptions"
            others.on_removed(change.state.path)
