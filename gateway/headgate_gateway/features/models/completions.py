"""The completions of one route: those that run here, and those that are stored."""

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
    HeadgateError,
    ServerStopping,
    StreamBusy,
    StreamClosed,
    StreamLimit,
)
from headgate_gateway.features.errors import IdempotencyKeyReused
from headgate_gateway.features.models.claims import Claim, retry_claims
from headgate_gateway.features.models.counts import ListedCompletions
from headgate_gateway.features.models.ends import RESTARTED
from headgate_gateway.features.models.record import RequestEntry, owner_digest
from headgate_gateway.features.models.sharing import Gateways
from headgate_gateway.features.models.store import (
    CompletionIndex,
    CompletionStore,
    IndexedCompletion,
    StreamRecord,
    read_record,
)
from headgate_gateway.features.models.streams import ClaimLost
from headgate_gateway.features.models.writer import UnreadWatch, WrittenCompletion

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable

    from headgate_gateway.features.models.completion import (
        Completion,
        RunningCompletions,
        StoredResponse,
        WholeResponse,
    )
    from headgate_gateway.features.models.places import CompletionPlaces, TakenPlace
    from headgate_gateway.features.models.provider.requests import (
        CompletionProvider,
        CompletionRequest,
    )
    from headgate_gateway.features.models.streams import CompletionStreams, StreamEnd

# The folder of streams that callers have named.
NAMED = "chats"
# Completions in a named stream. Their record is read for each, and takes about 1.5 KiB for one.
MOST_COMPLETIONS = 1000
# Seconds that a request waits for the end of the completion before it: clients send the next one
# when they have got the last event, which is before the provider's response ends.
LONGEST_WAIT_S = 1.0


class ModelCompletions:
    """The completions of one route, each under the name of its stream."""

    def __init__(
        self,
        provider: CompletionProvider,
        streams: CompletionStreams,
        places: CompletionPlaces,
        running: RunningCompletions,
        clock: Callable[[], float],
    ) -> None:
        self.streams = streams
        self.running: set[WrittenCompletion] = set()  # of this route
        self.listed = ListedCompletions(streams, self.running)
        self.joined_requests = 0
        self.is_closing = False
        self.provider = provider
        self.gateways = Gateways(streams, self.finish_abandoned)
        self.stored = CompletionStore(streams, clock, self.gateways.writes)
        self.places = places
        self._index = CompletionIndex(provider.prefix, streams)
        self._all_running = running  # of all routes of this process
        self._idle = asyncio.Event()
        self._idle.set()

    async def completion_for(self, request: CompletionRequest) -> Completion:
        """Return the completion with a request's key, running or stored, or a new one.

        Raises IdempotencyKeyReused for a key that came with another request, LimitReached,
        ClientLimitReached; for a named stream also BadRequest, Forbidden, StreamBusy, StreamClosed
        and StreamLimit.
        """
        stream = request.stream
        try:
            if stream is not None:
                return await retry_claims(lambda: self._in_stream(request, stream))
            return await retry_claims(lambda: self._alone(request))
        except BaseException:
            request.body.drop()
            raise

    async def _alone(self, request: CompletionRequest) -> Completion:
        """Return the completion with the request's key in a stream of its own, or a new one."""
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
            for stored in found.stored:
                if request.may_join(stored):
                    return self._join(stored, request)
            return await self._start(name, request, StreamRecord([], found.stream_id))

    @contextlib.asynccontextmanager
    async def _looked_up(self, name: str) -> AsyncIterator[Completion | None]:
        """Enter with the completion that is written to a stream, here or by another gateway.

        With None, other requests wait until the block ends.
        """
        async with self._all_running.looked_up(self.streams.path(name)) as running:
            yield running or await self.gateways.find(name, self._all_running, self.stored.finish)

    async def _in_stream(self, request: CompletionRequest, stream: str) -> Completion:
        """Return the completion with the request's key in a named stream, or a new one."""
        if not request.owner:
            raise BadRequest("Headgate-Stream needs a token, or the provider's key of a caller")
        name = f"{NAMED}/{stream}"
        found = await self._unless_busy(name, request)
        if found is None:
            running = self._all_running.at.get(self.streams.path(name))
            if running is not None:  # else it has ended meanwhile
                await running.wait_for_end(LONGEST_WAIT_S)
            found = await self._unless_busy(name, request)
        if found is None:
            raise StreamBusy("an answer is being written to the stream: wait for its end")
        return found

    async def _unless_busy(self, name: str, request: CompletionRequest) -> Completion | None:
        """Return the completion for a request in a named stream; None while another is written."""
        owner, key = owner_digest(request.owner, f"stream\n{name}"), None
        if request.idempotency_key is not None:
            key = owner_digest(request.owner, f"key\n{name}\n{request.idempotency_key}")
        async with self._looked_up(name) as running:
            found, end = await self._named(name, owner, is_running=running is not None)
            keyed = [*found.stored, *([running] if running else [])]
            latest = next((it for it in reversed(keyed) if it.request.key == key), None)
            if key is not None and latest is not None and request.may_join(latest):
                return self._join(latest, request)
            if running is not None:
                return None
            if len(found.completions) >= MOST_COMPLETIONS:
                raise StreamLimit(
                    f"a stream may have {MOST_COMPLETIONS} answers: name another one",
                    "stream_answers",
                )
            return await self._start(name, request, found, owner, key, end)

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
        if not found.completions and (await read_record(self.streams, name)).completions:
            raise ClaimLost("another gateway has begun the chat between the two looks")
        if not found.completions or found.completions[0].request.owner != owner:
            raise Forbidden(f"the stream {name} is not this caller's: name another one")
        if end.is_closed:
            raise StreamClosed(end.offset_of(end.tail))
        return found, end

    async def retrieve(self, owner: bytes, response_id: str) -> Completion | None:
        """Return the completion of an owner with this id of its provider, if there is one."""
        place = await self._index.find(owner, response_id) if owner else None
        return None if place is None else await self.find(place.name, place.position)

    async def find(self, name: str, position: int = 0) -> Completion | None:
        """Return the completion that begins at a position of a stream, if there is one."""
        return await retry_claims(lambda: self._find(name, position))

    async def _find(self, name: str, position: int) -> Completion | None:
        async with self._looked_up(name) as running:
            if running is not None and running.request.position == position:
                return running
            found = await self.stored.records(name, is_running=running is not None)
            return next((it for it in found.stored if it.request.position == position), None)

    async def finish_abandoned(self, name: str) -> bool:
        """End a completion whose process has ended, so that its readers do not wait for more.

        Return False if it is over, or if a process writes it. Raises HeadgateError.
        """
        path, unended = self.streams.path(name), self.stored.unended
        unended.discard(name)
        running = self._all_running.at.get(path)
        if isinstance(running, WrittenCompletion):
            return False
        if path in self._all_running.opening:
            unended.add(name)  # another route with this folder may be looking, too
            return False
        found = await read_record(self.streams, name)
        if found.is_unfinished and await self.gateways.writes(found.completions[-1].request):
            unended.add(name)  # until its gateway has ended it, or has stopped
            return False
        with contextlib.ExitStack() as reserved:
            if running is None:  # else it is followed, and so are its streams while it is ended
                if path in self._all_running.opening or path in self._all_running.at:
                    unended.add(name)  # a request has come meanwhile
                    return False
                reserved.enter_context(self._all_running.reserved(path))
            return await self.stored.finish(name)

    def _join(self, completion: Completion, request: CompletionRequest) -> Completion:
        """Return the completion for another request with its key.

        Raises IdempotencyKeyReused if the requests differ.
        """
        if not hmac.compare_digest(completion.request.digest, request.body.digest):
            raise IdempotencyKeyReused(
                "this Idempotency-Key came with another request: send a new key with a new request"
            )
        self.joined_requests += 1
        request.body.drop()
        return completion

    # Running

    async def _start(
        self,
        name: str,
        request: CompletionRequest,
        found: StreamRecord,
        owner: str | None = None,
        key: str | None = None,
        end: StreamEnd | None = None,
    ) -> WrittenCompletion:
        """Start a completion after those found in its record, at the end of a named stream.

        Raises ClaimLost if another gateway has begun one, StreamGone for a client with events.
        """
        request.check_begin(None if end is None else end.offset_of(end.tail))
        entry = RequestEntry(
            request.path,
            request.body.digest,
            request.model,
            self.stored.clock(),
            request.in_background,
            0 if end is None else end.tail,
            owner,
            key,
            request.is_plain,
            self.gateways.name or UNSET,
        )
        claim = Claim(self.streams, name, entry, len(found.completions))
        claim.events.stream_id = None if end is None else end.stream_id
        with self.places.acquired(request.owner, request.address) as place:
            if self.streams.is_shared:
                await self.gateways.ensure_alive()
                try:
                    await claim.acquire(found.stream_id, is_first=not found.completions)
                except (HeadgateError, asyncio.CancelledError):
                    self.stored.unended.add(name)  # it may have been appended
                    raise
            if self.is_closing:
                self.stored.unended.add(name)
                raise ServerStopping("the server is stopping: send the request again")
            return self._run(request, claim, place)

    def _run(
        self, request: CompletionRequest, claim: Claim, place: TakenPlace
    ) -> WrittenCompletion:
        """Start a completion whose claim this gateway has."""
        unread = None
        if request.stops_unread(self.provider.leave):
            unread = UnreadWatch(lambda: self.is_closing)
        found = IndexedCompletion(claim.name, claim.request.position)
        index = partial(self._index.add, request.owner, found)
        completion = WrittenCompletion(claim, self.stored, index, unread)
        # In place of one that is followed here, whose readers still get the events from the log.
        self._all_running.at[self.streams.path(claim.name)] = completion
        self.running.add(completion)
        self._idle.clear()
        task = completion.start(partial(self._call, completion, request, place))
        task.add_done_callback(partial(self._ended, completion, request, place))
        return completion

    def _ended(
        self,
        completion: WrittenCompletion,
        request: CompletionRequest,
        place: TakenPlace,
        _task: asyncio.Task[None],
    ) -> None:
        self._all_running.drop(self.streams.path(completion.name), completion)
        self.running.discard(completion)
        request.body.drop()
        self.places.release(place)
        if not self.running:
            self._idle.set()
        counts, end = completion.counts, completion.end
        if end is not None and not counts.count_elsewhere:
            self.stored.count(completion.request, end)
        if counts.first_at is not None or completion.outcome != "complete":
            self.listed.add_ended(completion)  # else it is a refusal of the provider

    async def _call(
        self, completion: WrittenCompletion, request: CompletionRequest, place: TakenPlace
    ) -> StoredResponse | WholeResponse:
        """Create the streams of a completion while its provider is called."""
        creating = asyncio.ensure_future(completion.claim.create_streams())
        try:
            response = await self.provider.call(request)
        except BaseException:
            await asyncio.wait([creating])  # the streams are deleted once they exist
            raise
        request.body.drop()
        self.places.note_status(place, response.status)
        try:
            await creating
            return await self.provider.read_response(response, request)
        except BaseException:
            response.close()
            raise

    async def drain(self) -> None:
        """Wait until all running completions are over; when cancelled, end them with a reason."""
        self.is_closing = True
        try:
            await self._idle.wait()
            await self.gateways.drain()
        except asyncio.CancelledError:
            self._stop()
            raise

    async def close(self) -> None:
        """End all running completions with a reason."""
        self._stop()
        self.gateways.interrupt()
        await self._idle.wait()
        await self.gateways.close()

    def _stop(self) -> None:
        for completion in list(self.running):
            completion.stop(RESTARTED)
