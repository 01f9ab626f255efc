"""Background answers whose gateway has stopped, and which their provider goes on with.

With the gateway's own key the rest is retrieved at once. A caller's key is never stored: then the
answer waits for the next request of its owner, which brings the key.
"""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING

from msgspec import UNSET
from msgspec.structs import replace

from gateway.errors import LimitReached
from gateway.features.models import record
from gateway.features.models.answer import StoredResponse
from gateway.features.models.provider.requests import AnswerOwner, AnswerRequest, RequestBody
from gateway.features.models.record import WaitEntry
from gateway.features.models.shared.claims import Claim
from gateway.features.models.stored import BACKGROUND_S, unfinished
from gateway.features.models.streams import ClaimLost
from gateway.telemetry.logs import log

if TYPE_CHECKING:
    from gateway.features.models.answer import WrittenAnswer
    from gateway.features.models.answers import ModelAnswers
    from gateway.features.models.record import StreamRecord
    from gateway.features.models.stored import UnfinishedAnswer


class LeftAnswers:
    """The answers of a route that wait for their rest, by the names of their streams."""

    def __init__(self, answers: ModelAnswers) -> None:
        self.names: set[str] = set()
        self._answers = answers

    def is_own(self, found: StreamRecord) -> bool:
        """Return whether the last answer has no end, and no other route goes on with it.

        Routes may have one folder, and other providers.
        """
        own = UNSET, self._answers.provider.prefix
        return found.is_unfinished and found.answers[-1].request.route in own

    async def note(self, name: str) -> None:
        """Retrieve the rest of an answer that was left, or record that it waits for its caller.

        Raises HeadgateError.
        """
        answers = self._answers
        streams = answers.streams
        found = await record.read_record(streams, name)
        end = await streams.end(name) if found.is_unfinished else None
        request = found.answers[-1].request if found.answers else None
        if (
            end is None
            or request is None
            or not request.may_go_on
            or answers.gateways.writes(request)
        ):
            self.names.discard(name)
            return
        if not found.answers[-1].is_awaited(end, answers.clock()):
            wait = record.encoded(WaitEntry(end.tail, answers.clock() + BACKGROUND_S))
            place = record.record_name(name), record.CONTENT_TYPE
            await streams.append(*place, [wait], stream_id=found.stream_id)
            log.warning("answer.waits_for_rest", stream=streams.path(name))
        if not self.is_own(found):
            self.names.discard(name)
            return
        self.names.add(name)
        caller = answers.provider.own_caller()
        if caller is not None and not answers.is_closing:
            with contextlib.suppress(ClaimLost, LimitReached):  # the next look tries again
                await self.go_on(name, found, caller)

    async def go_on(self, name: str, found: StreamRecord, caller: AnswerOwner) -> WrittenAnswer:
        """Retrieve the rest of the last answer in a stream as this caller.

        Raises ClaimLost if another gateway does so, or if it is over, and LimitReached.
        """
        answers = self._answers
        if answers.gateways.writes(found.answers[-1].request):
            raise ClaimLost("another gateway goes on with the answer")
        end = await answers.streams.end(name)
        rest = None if end is None else await unfinished(answers.streams, name, found, end)
        if rest is None:
            raise ClaimLost("the answer has ended meanwhile")
        last = rest.last
        entry = replace(last.request, writer=answers.gateways.name or UNSET)
        request = AnswerRequest(
            caller.owner,
            None,
            entry.path,
            entry.path,
            caller.fields,
            RequestBody(b""),
            entry.model,
            in_background=True,
        )
        number = len(found.answers) - 1
        claim = Claim(answers.gateways, name, entry, number, last.resumptions + 1)
        with answers.places.acquired(caller.owner) as place:
            await claim.resume(found.stream_id, rest.end)
            return answers.run(request, claim, entry, place, rest)

    async def retrieve(self, request: AnswerRequest, rest: UnfinishedAnswer) -> StoredResponse:
        """Return the rest of an answer, which is retrieved while it is read."""
        events = self._answers.provider.rest_of(rest, caller_of(request))
        return StoredResponse(events, rest.head)


def caller_of(request: AnswerRequest) -> AnswerOwner:
    """Return who sent a request for an answer, which has the caller's key."""
    return AnswerOwner(request.owner, request.fields)
