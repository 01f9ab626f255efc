"""The answers of one route: those that run here, and those that are stored."""

from __future__ import annotations

import asyncio
import contextlib
import hmac
from functools import partial
from typing import TYPE_CHECKING
from uuid import uuid4

from msgspec import UNSET

from headgate_gateway.errors import (
    BadRequest,
    Forbidden,
    ServerStopping,
    StreamBusy,
    StreamClosed,
    StreamLimit,
)
from headgate_gateway.features.errors import IdempotencyKeyReused
from headgate_gateway.features.models import record
from headgate_gateway.features.models.answer import WrittenAnswer
from headgate_gateway.features.models.counts import ListedAnswers
from headgate_gateway.features.models.record import NamedPlace, StreamRecord, owner_digest
from headgate_gateway.features.models.retrieval import AnswerIndex, IndexedAnswer
from headgate_gateway.features.models.shared.claims import Claim, retry_claims
from headgate_gateway.features.models.shared.followed_answer import FollowedAnswers
from headgate_gateway.features.models.shared.gateways import Gateways
from headgate_gateway.features.models.stored import StoredAnswers, stored_answers
from headgate_gateway.features.models.streams import ClaimLost
from headgate_gateway.features.models.unread import AnswerReaders, is_stopped_unread

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Sequence

    from headgate_gateway.features.models.answer import StoredResponse
    from headgate_gateway.features.models.live_answer import Answer, LiveAnswer, WholeResponse
    from headgate_gateway.features.models.provider.requests import AnswerProvider, AnswerRequest
    from headgate_gateway.features.models.running import AnswerPlaces, RunningAnswers, TakenPlace
    from headgate_gateway.features.models.streams import AnswerStreams, StreamEnd

# The folder of streams that callers have named.
NAMED = "chats"
# Answers in a named stream. Their record is read for each, and takes about 1.5 KiB for one.
MOST_ANSWERS = 1000
# Seconds that a request waits for the end of the answer before it: clients send the next one when
# they have got the last event, which is before the provider's response ends.
LONGEST_WAIT_S = 1.0


class ModelAnswers:
    """The answers of one route, each under the name of its stream."""

    def __init__(
        self,
        provider: AnswerProvider,
        streams: AnswerStreams,
        places: AnswerPlaces,
        running: RunningAnswers,
        clock: Callable[[], float],
    ) -> None:
        self.streams = streams
        self.running: set[WrittenAnswer] = set()  # answers of this route
        self.listed = ListedAnswers(streams, self.running)
        self.joined_requests = 0
        self.is_closing = False
        self.provider = provider
        self.index = AnswerIndex(provider.prefix, streams)
        self.stored = StoredAnswers(streams, clock, lambda request: self.gateways.writes(request))
        self.gateways = Gateways(streams, self.finish_abandoned, self.stored.finish)
        self.places = places
        self.followed = FollowedAnswers(self.gateways, running, self.stored.finish)
        self.clock = clock
        self._all_running = running  # of all routes of this process
        self._idle = asyncio.Event()
        self._idle.set()

    async def answer_to(self, request: AnswerRequest) -> Answer:
        """Return the answer to a request: the running or stored one with its key, or a new one.

        Raises IdempotencyKeyReused for a key that came with another request, LimitReached,
        ClientLimitReached; for a named stream also BadRequest, Forbidden, StreamBusy, StreamClosed
        and StreamLimit.
        """
        stream = request.stream
        try:
            if stream is not None:
                return await retry_claims(lambda: self._answer_in(request, stream))
            return await retry_claims(lambda: self._answer_alone(request))
        except BaseException:
            request.body.drop()
            raise

    async def _answer_alone(self, request: AnswerRequest) -> Answer:
        """Return the answer with the request's key in a stream of its own, or a new one."""
        if request.idempotency_key is None or not request.owner:
            return await self._start(str(uuid4()), request, StreamRecord([], None))
        name = owner_digest(request.owner, f"{self.provider.prefix}\n{request.idempotency_key}")
        async with self._looked_up(name) as running:
            if running is not None and request.may_join(running):
                return self._join(running, request)
            if running is not None:
                await running.wait_for_end()
                raise ClaimLost("the answer with this key has just failed")
            found = await self.stored.records(name)
            for stored in stored_answers(name, found.answers):
                if request.may_join(stored):
                    return self._join(stored, request)
            return await self._start(name, request, StreamRecord([], found.stream_id))

    @contextlib.asynccontextmanager
    async def _looked_up(self, name: str) -> AsyncIterator[LiveAnswer | None]:
        """Enter with the answer that is written to a stream, here or by another gateway.

        With None, other requests wait until the block ends.
        """
        async with self._all_running.looked_up(self.streams.path(name)) as running:
            yield running or await self.followed.find(name)

    async def _answer_in(self, request: AnswerRequest, stream: str) -> Answer:
        """Return the answer with the request's key in a named stream, or a new one behind all."""
        if not request.owner:
            raise BadRequest("Headgate-Stream needs a token, or the provider's key of a caller")
        name = f"{NAMED}/{stream}"
        owner = owner_digest(request.owner, f"stream\n{name}")
        key = None
        if request.idempotency_key is not None:
            key = owner_digest(request.owner, f"key\n{name}\n{request.idempotency_key}")
        place = NamedPlace(name, owner, key)
        found = await self._unless_busy(place, request)
        if found is None:
            running = self._all_running.answers.get(self.streams.path(name))
            if running is not None:  # else it has ended meanwhile
                await running.wait_for_end(LONGEST_WAIT_S)
            found = await self._unless_busy(place, request)
        if found is None:
            raise StreamBusy("an answer is being written to the stream: wait for its end")
        return found

    async def _unless_busy(self, place: NamedPlace, request: AnswerRequest) -> Answer | None:
        """Return the answer to a request in a named stream; None while another one is written."""
        name, owner, key = place
        async with self._looked_up(name) as running:
            found, end = await self._named(name, owner, is_running=running is not None)
            answers = stored_answers(name, found.answers)
            keyed = _with_key(key, request, [*answers, *([running] if running else [])])
            if keyed is not None:
                return self._join(keyed, request)
            if running is not None:
                return None
            if len(found.answers) >= MOST_ANSWERS:
                raise StreamLimit(
                    f"a stream may have {MOST_ANSWERS} answers: name another one", "stream_answers"
                )
            return await self._start(name, request, found, place, end)

    async def _named(
        self, name: str, owner: str, *, is_running: bool
    ) -> tuple[StreamRecord, StreamEnd | None]:
        """Return what is recorded of a named stream, and its end; nothing if there is none.

        Raises Forbidden if it is not the owner's, StreamClosed, and ClaimLost.
        """
        found = await self.stored.records(name, is_running=is_running)
        end = await self.streams.end(name)
        if end is None:  # a record that is there was left by a deleted stream, or is just begun
            return StreamRecord([], found.stream_id), None
        if not found.answers and (await record.read_record(self.streams, name)).answers:
            raise ClaimLost("another gateway has begun the chat between the two looks")
        if not found.answers or found.answers[0].request.owner != owner:
            raise Forbidden(f"the stream {name} is not this caller's: name another one")
        if end.is_closed:
            raise StreamClosed(end.offset_of(end.tail))
        return found, end

    async def retrieve(self, owner: bytes, response_id: str) -> Answer | None:
        """Return the answer of an owner that has this id from its provider, if there is one."""
        place = await self.index.find(owner, response_id) if owner else None
        return None if place is None else await self.find(place.name, place.position)

    async def find(self, name: str, position: int = 0) -> Answer | None:
        """Return the answer that begins at a position of a stream, if there is one."""
        return await retry_claims(lambda: self._find(name, position))

    async def _find(self, name: str, position: int) -> Answer | None:
        async with self._looked_up(name) as running:
            if running is not None and running.request.position == position:
                return running
            records = await self.stored.records(name, is_running=running is not None)
            found = stored_answers(name, records.answers)
            return next((it for it in found if it.request.position == position), None)

    async def finish_abandoned(self, name: str) -> bool:
        """End an answer whose process has ended, so that its readers do not wait for more.

        Return False if it is over, or if a process writes it. Raises HeadgateError.
        """
        path, unended = self.streams.path(name), self.gateways.unended
        unended.discard(name)
        running = self._all_running.answers.get(path)
        if isinstance(running, WrittenAnswer):
            return False
        if path in self._all_running.opening:
            unended.add(name)  # another route with this folder may be looking, too
            return False
        found = await record.read_record(self.streams, name)
        if found.is_unfinished and await self.gateways.writes(found.answers[-1].request):
            unended.add(name)  # until its gateway has ended it, or has stopped
            return False
        with contextlib.ExitStack() as reserved:
            if running is None:  # else it is followed, and so are its streams while it is ended
                if path in self._all_running.opening or path in self._all_running.answers:
                    unended.add(name)  # a request has come meanwhile
                    return False
                reserved.enter_context(self._all_running.reserved(path))
            return await self.stored.finish(name)

    def _join(self, answer: Answer, request: AnswerRequest) -> Answer:
        """Return the answer for another request with its key.

        Raises IdempotencyKeyReused if the requests differ.
        """
        if not hmac.compare_digest(answer.request.digest, request.body.digest):
            raise IdempotencyKeyReused(
                "this Idempotency-Key came with another request: send a new key with a new request"
            )
        self.joined_requests += 1
        request.body.drop()
        return answer

    # Running

    async def _start(
        self,
        name: str,
        request: AnswerRequest,
        found: StreamRecord,
        place: NamedPlace | None = None,
        end: StreamEnd | None = None,
    ) -> WrittenAnswer:
        """Start an answer behind those found in its record, at the end of a named stream.

        Raises ClaimLost if another gateway has begun one, StreamGone for a client with events.
        """
        request.check_begin(None if end is None else end.offset_of(end.tail))
        entry = record.RequestEntry(
            request.path,
            request.body.digest,
            request.model,
            self.clock(),
            request.in_background,
            0 if end is None else end.tail,
            None if place is None else place.owner,
            None if place is None else place.key,
            request.is_plain,
            self.gateways.name or UNSET,
        )
        claim = Claim(self.gateways, name, entry, len(found.answers))
        claim.events.stream_id = None if end is None else end.stream_id
        with self.places.acquired(request.owner, request.address) as running_place:
            await claim.acquire(found)
            return self._run(request, claim, entry, running_place)

    def _run(
        self,
        request: AnswerRequest,
        claim: Claim,
        entry: record.RequestEntry,
        running_place: TakenPlace,
    ) -> WrittenAnswer:
        """Start an answer whose claim this gateway has."""
        if self.is_closing:
            claim.end_later()
            raise ServerStopping("the server is stopping: send the request again")
        index = partial(self._index, request.owner, IndexedAnswer(claim.name, entry.position))
        answer = WrittenAnswer(entry, claim, self.streams, self.clock, index)
        if is_stopped_unread(request, self.provider.leave):
            answer.readers = AnswerReaders(answer, self)
        # In place of one that is followed here, whose readers still get the events from the log.
        self._all_running.answers[self.streams.path(claim.name)] = answer
        self.running.add(answer)
        self._idle.clear()
        task = answer.start(partial(self._call, answer, request, running_place))
        task.add_done_callback(partial(self._ended, answer, request, running_place))
        return answer

    async def _index(self, owner: bytes, answer: IndexedAnswer, response_id: str) -> None:
        if owner:
            await self.index.add(owner, response_id, answer)

    def _ended(
        self,
        answer: WrittenAnswer,
        request: AnswerRequest,
        running_place: TakenPlace,
        _task: asyncio.Task[None],
    ) -> None:
        self._all_running.drop(self.streams.path(answer.name), answer)
        self.running.discard(answer)
        request.body.drop()
        self.places.release(running_place)
        if not self.running:
            self._idle.set()
        if not answer.counts.count_elsewhere:
            self.stored.outcomes[answer.counts.outcome or "failed"] += 1
            self.stored.tokens.add(request.model, answer.counts.usage)
        if answer.counts.first_at is not None or answer.counts.outcome != "complete":
            self.listed.add_ended(answer)  # else it is a refusal of the provider

    async def _call(
        self, answer: WrittenAnswer, request: AnswerRequest, running_place: TakenPlace
    ) -> StoredResponse | WholeResponse:
        """Create the streams of an answer while its provider is called."""
        creating = asyncio.ensure_future(answer.claim.create_streams())
        try:
            response = await self.provider.call(request)
        except BaseException:
            await asyncio.wait([creating])  # the streams are deleted once they exist
            raise
        request.body.drop()
        self.places.note_status(running_place, response.status)
        try:
            await creating
            return await self.provider.read_response(response, request)
        except BaseException:
            response.close()
            raise

    async def drain(self) -> None:
        """Wait until all running answers are over; when cancelled, end them with a reason."""
        self.is_closing = True
        try:
            await self._idle.wait()
            await self.followed.drain()
        except asyncio.CancelledError:
            for answer in list(self.running):
                answer.stop(record.RESTARTED)
            raise

    async def close(self) -> None:
        """End all running answers with a reason."""
        for answer in list(self.running):
            answer.stop(record.RESTARTED)
        self.followed.close()
        await self._idle.wait()
        await self.gateways.close()


def _with_key(key: str | None, request: AnswerRequest, answers: Sequence[Answer]) -> Answer | None:
    """Return the answer to the latest request that came with a key, if it may be joined."""
    latest = next((it for it in reversed(answers) if it.request.key == key), None)
    if key is None or latest is None or not request.may_join(latest):
        return None
    return latest
