"""The subscriptions of a route to an origin before which several gateways stand.

One of them delivers, as with a log that they share. The others ask it to store the links to a
stream before they pass on the first write to that, and report what the origin has answered.
"""

from __future__ import annotations

import asyncio
import contextlib
from typing import TYPE_CHECKING

from typing_extensions import override

from gateway.errors import HeadgateError, LogUnavailable
from gateway.features.beats import BEAT_S, MISSES
from gateway.features.delivery.documents import documents_in
from gateway.features.subscriptions.origins import settled_names
from gateway.features.subscriptions.origins.origin_streams import AskingAgain, EmptyCreations
from gateway.features.subscriptions.origins.origin_subscriptions import OriginSubscriptions
from gateway.features.subscriptions.origins.origin_view import new_stream_id
from gateway.features.subscriptions.origins.settled_names import (
    AwaitedNames,
    SettledNames,
    decode_names,
    encode_answer,
)
from gateway.features.subscriptions.shared import mail
from gateway.features.subscriptions.shared.lease import work_sharing_of
from gateway.features.subscriptions.shared.loader import OwnedSubscriptions
from gateway.features.subscriptions.shared.mail import WriteReport
from gateway.features.subscriptions.shared.subscriptions import SharedSubscriptions
from gateway.logs.sharing import LogListener

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Mapping, Sequence

    from gateway.features.delivery.documents import Documents
    from gateway.features.subscriptions.shared.mail import StreamNote
    from gateway.features.subscriptions.streams import StreamChange
    from gateway.logs.contract import Log
    from gateway.protocol.streams.offsets import TailBound
    from gateway.runtime.write_journal import Write


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


# A new subscription waits so long for a gateway that does not answer. By then that one knows that
# it may count as stopped, and reports each write.
OUTDATED_S = MISSES * BEAT_S + 1.0
REPEAT_S = 0.25  # between two messages to it


class SharedOriginSubscriptions(SharedSubscriptions, LogListener):
    """The subscriptions of one route to an origin, as one of its gateways has them."""

    def __init__(
        self,
        prefix: str,
        log: Log,
        make: Callable[[Documents, AskingAgain], OwnedOriginSubscriptions],
    ) -> None:
        """`log` has the documents, and nothing else; `make` is as that of the base class."""
        stored, sharing = documents_in(log), work_sharing_of(log)
        assert stored is not None, "every log that is shared has them"
        assert sharing is not None, "one gateway alone has other subscriptions"

        def make_owned(documents: Documents) -> OwnedOriginSubscriptions:
            return make(documents, AskingAgain(self._outdate_names, self._outdate_soon))

        assert log.sharing is not None, "it has the documents of several gateways"
        super().__init__(prefix, stored, sharing, make_owned)
        log.sharing.listen(self)  # it has no streams: its only change is that it loses some
        self._log = log
        self._beginning = f"{prefix}/"
        self.names = SettledNames(self._ask)
        self._creations = EmptyCreations()
        self._forget_number = 0  # of the latest request to ask for all names again
        self._unanswered: set[str] = set()  # gateways that have not responded to it
        self._response = asyncio.Event()
        self._removed: set[str] = set()  # names that other gateways have to ask for again
        self._removal_task: asyncio.Task[None] | None = None

    @override
    async def close(self) -> None:
        await self.names.close()
        await super().close()
        if self._removal_task is not None:
            self._removal_task.cancel()
            await asyncio.gather(self._removal_task, return_exceptions=True)

    @property
    @override
    def engine(self) -> OwnedOriginSubscriptions | None:
        engine = super().engine
        assert engine is None or isinstance(engine, OwnedOriginSubscriptions), "it made them"
        return engine

    # What passes through this gateway

    async def before_write(self, path: str, *, creates_empty: bool) -> None:
        """Have the links to a stream stored, if it is written to for the first time.

        Raises LogUnavailable.
        """
        name = self._name(path)
        engine = self.engine
        if engine is not None and (self.lease.is_certain or engine.has_all_links(name)):
            await engine.before_write(path, creates_empty=creates_empty)
            return
        await self.names.settle(name)
        if self.names.may_be_awaited(name):
            self._creations.note(name, creates_empty=creates_empty)

    def on_write(self, write: Write) -> None:
        """Take a write through this gateway, or report it to the one that delivers."""
        name = self._name(write.path)
        if (engine := self.engine) is not None:
            engine.on_write(write)
            if self.lease.is_certain:
                self.changed.note_own_change(
                    name, WriteReport(is_deleted=write.deleted, is_unsure=True)
                )
                return
        is_empty = self._creations.pop(name)
        if self.names.may_be_awaited(name) or not self.lease.is_beating:
            self.changed.note(name, _note_of(write, is_empty=is_empty))
        if write.deleted:
            self.names.forget([name])

    def on_refusal(self, path: str) -> None:
        """Take a write that the origin has refused, or report it to the one that delivers."""
        if (engine := self.engine) is not None:
            engine.on_refusal(path)
            if self.lease.is_certain:
                return
        name = self._name(path)
        self._creations.pop(name)
        if self.names.may_be_awaited(name):
            self.changed.note(name, WriteReport(is_unsure=True))

    def on_tail(self, path: str, tail: TailBound) -> None:
        """Take the end of a stream that a read through this gateway has shown, or report it."""
        name = self._name(path)
        if (engine := self.engine) is not None:
            engine.on_tail(path, tail)
        elif self.changed.is_active and self.names.may_be_awaited(name):
            self.changed.note(name, WriteReport(tail.tail, tail.closed))

    def _name(self, path: str) -> str:
        return path.removeprefix(self._beginning)

    # First writes

    async def _ask(self, names: Sequence[str]) -> AwaitedNames:
        """Return who is awaited, once the gateway that delivers has stored it."""
        if not self.lease.other_owner and (why := self._log.why_unhealthy()) is not None:
            raise LogUnavailable(f"it is not known who waits for the stream: {why}")
        content = settled_names.encode_names(names)
        back = await self.hand_on(mail.HandedOnRequest(mail.FIRST_WRITES, "", "", [], content))
        if not isinstance(back, mail.HandedOnResponse):
            assert isinstance(back, OwnedOriginSubscriptions), "it made them"
            return await back.link_first(names)
        if back.status != mail.CARRIED_OUT:
            raise LogUnavailable("the gateway that delivers could not store who waits")
        return settled_names.decode_answer(back.body)

    async def _outdate_names(self) -> None:
        """Have the other gateways ask again for each name, and wait until they will.

        Raises LogUnavailable.
        """
        self.names.forget_all()
        self._forget_number += 1
        message = mail.encode(mail.ForgetRequest(self._forget_number, self.lease.name))
        self._unanswered = set(await self.lease.find_others())
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(OUTDATED_S):
                while self._unanswered:
                    for other in [*self._unanswered]:
                        await self._mailboxes.send(other, message)
                    await self._wait_for_responses()
                    self._unanswered &= {*await self.lease.find_others()}

    async def _wait_for_responses(self) -> None:
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(REPEAT_S):
                while self._unanswered:
                    self._response.clear()
                    await self._response.wait()

    def _outdate_soon(self, name: str) -> None:
        """Have all gateways ask again for a stream that was removed, and links to it dropped."""
        self.names.forget([name])
        self._removed.add(name)
        if self._removal_task is None or self._removal_task.done():
            self._removal_task = asyncio.get_running_loop().create_task(self._send_removed())

    async def _send_removed(self) -> None:
        while self._removed:
            names, self._removed = frozenset(self._removed), set()
            await self._send_all(mail.RemovalReport(names))

    @override
    async def _beat(self) -> None:
        was_beating = self.lease.is_beating
        await super()._beat()
        if not was_beating:
            self.names.forget_all()  # a subscription may have been created without this gateway

    @override
    def _on_missed(self) -> None:
        self.names.forget_all()
        super()._on_missed()

    @override
    def _on_mail(self, found: mail.Mail | None) -> None:
        match found:
            case mail.RemovalReport():
                self.names.forget(found.names)
            case mail.ForgetRequest():
                self.names.forget_all()
                reply = mail.encode(mail.ForgetResponse(found.number, self.lease.name))
                self.relay.send_soon(found.sender, reply)
            case mail.ForgetResponse():
                if found.number == self._forget_number:
                    self._unanswered.discard(found.sender)
                    self._response.set()
            case _:
                super()._on_mail(found)

    @override
    def on_history_change(self) -> None:
        self.names.forget_all()
        super().on_history_change()


def _note_of(write: Write, *, is_empty: bool) -> WriteReport:
    """Return what the gateway that delivers has to know of a write."""
    if write.deleted:
        return WriteReport(is_deleted=True)
    if not write.tail:
        return WriteReport(is_unsure=True)
    if not write.is_new:
        return WriteReport(write.tail, write.closed)
    beginning = write.tail if is_empty else ""
    return WriteReport(write.tail, write.closed, new_stream_id(), beginning)
