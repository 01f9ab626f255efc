"""The answers of one model route: those that run here, and those that are stored."""

from __future__ import annotations

import asyncio
import hashlib
import hmac
from collections import Counter
from functools import partial
from typing import TYPE_CHECKING, NamedTuple
from uuid import uuid4

from gateway.errors import (
    BadRequest,
    ClientLimitReached,
    Forbidden,
    IdempotencyKeyReused,
    LimitReached,
    ServerStopping,
    StreamBusy,
    StreamClosed,
    StreamLimit,
)
from gateway.models import record
from gateway.models.answer import RESTARTED, WrittenAnswer, content_type_of
from gateway.models.counts.listed import ListedAnswers
from gateway.models.counts.tokens import TokenCounts
from gateway.models.retrieval import AnswerIndex, IndexedAnswer
from gateway.models.stored import StoredAnswers, stored_answers

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from multidict import CIMultiDict

    from gateway.models.answer import StoredResponse, WholeResponse
    from gateway.models.provider.contract import AnswerProviderLike
    from gateway.models.record import AnswerRecord, Outcome
    from gateway.models.running import RunningAnswers
    from gateway.models.stored import StoredAnswer
    from gateway.models.streams import AnswerStreams

# The folder of streams that callers have named.
NAMED = "chats"
# Answers in a named stream. Their record is read for each, and takes about 1.5 KiB for one.
MOST_ANSWERS = 1000
# Seconds that a request waits for the end of the answer before it: clients send the next one when
# they have got the last event, which is before the provider's response ends.
LONGEST_WAIT_S = 1.0


class AnswerRequest(NamedTuple):
    """A request for an answer: only its `owner` may join it, nobody if that is b"".

    `path` and `target`, the path with its query, are below the upstream's URL. `fields` are the
    header fields for the provider. `stream` is the name that the caller gives the stream, if any.
    `account` is that of the principal; "" if there is none. An answer that `is_whole` does not
    stream; one that `is_plain` is stored as it comes, and its `target` is a whole URL.
    With `stores_prompt` the body is stored as well.
    """

    owner: bytes
    idempotency_key: str | None
    path: str
    target: str
    fields: CIMultiDict[str]
    body: bytes
    model: str | None
    in_background: bool = False
    stream: str | None = None
    account: str = ""
    is_whole: bool = False
    is_plain: bool = False
    stores_prompt: bool = False
    method: str = "POST"

    @property
    def digest(self) -> str:
        """The digest by which equal requests are recognised; "" where none are joined."""
        if self.is_plain:
            return ""  # the URL may have a secret that could be guessed
        return hashlib.sha256(self.target.encode() + b"\n" + self.body).hexdigest()


class NamedPlace(NamedTuple):
    """The name of a stream, and the digests of its owner and of the request's key, if any."""

    name: str
    owner: str
    key: str | None


class AnswerBounds(NamedTuple):
    """The most answers that run at once, in all and for one owner."""

    running: int
    running_of_owner: int


class ModelAnswers:
    """The answers of one route, each under the name of its stream."""

    def __init__(
        self,
        provider: AnswerProviderLike,
        streams: AnswerStreams,
        bounds: AnswerBounds,
        running: RunningAnswers,
        clock: Callable[[], float],
    ) -> None:
        self.streams = streams
        self.running: set[WrittenAnswer] = set()  # answers of this route
        self.outcomes: Counter[Outcome] = Counter()
        self.tokens = TokenCounts()
        self.listed = ListedAnswers(streams, self.running)
        self.joined_requests = 0
        self.refused_requests = 0
        self.is_closing = False
        self._provider = provider
        self.index = AnswerIndex(provider.prefix, streams)
        self.stored = StoredAnswers(streams, clock, self.outcomes)
        self._bounds = bounds
        self._clock = clock
        self._all_running = running  # of all routes of this process
        self._owners: Counter[bytes] = Counter()
        self._idle = asyncio.Event()
        self._idle.set()

    async def answer_to(self, request: AnswerRequest) -> WrittenAnswer | StoredAnswer:
        """Return the answer to a request: the running or stored one with its key, or a new one.

        Raises IdempotencyKeyReused for a key that came with another request, LimitReached,
        ClientLimitReached; for a named stream also BadRequest, Forbidden, StreamBusy, StreamClosed
        and StreamLimit.
        """
        if request.stream is not None:
            return await self._answer_in(request, request.stream)
        if request.idempotency_key is None or not request.owner:
            return self._start(str(uuid4()), request)
        name = _digest(request.owner, f"{self._provider.prefix}\n{request.idempotency_key}")
        async with self._all_running.looked_up(self.streams.path(name)) as running:
            if running is not None:
                return self._join(running, request)
            for stored in stored_answers(name, await self.stored.records(name)):
                return self._join(stored, request)
            return self._start(name, request)

    async def _answer_in(self, request: AnswerRequest, stream: str) -> WrittenAnswer | StoredAnswer:
        """Return the answer with the request's key in a named stream, or a new one behind all."""
        if not request.owner:
            raise BadRequest("Headgate-Stream needs a token, or the provider's key of a caller")
        name = f"{NAMED}/{stream}"
        owner = _digest(request.owner, f"stream\n{name}")
        key = None
        if request.idempotency_key is not None:
            key = _digest(request.owner, f"key\n{name}\n{request.idempotency_key}")
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

    async def _unless_busy(
        self, place: NamedPlace, request: AnswerRequest
    ) -> WrittenAnswer | StoredAnswer | None:
        """Return the answer to a request in a named stream; None while another one is written."""
        name, owner, key = place
        async with self._all_running.looked_up(self.streams.path(name)) as running:
            records, position = await self._named(name, owner, is_running=running is not None)
            found = _with_key(
                key, [*stored_answers(name, records), *([running] if running else [])]
            )
            if found is not None:
                return self._join(found, request)
            if running is not None:
                return None
            if len(records) >= MOST_ANSWERS:
                raise StreamLimit(
                    f"a stream may have {MOST_ANSWERS} answers: name another one", "stream_answers"
                )
            return self._start(name, request, position, place)

    async def _named(
        self, name: str, owner: str, *, is_running: bool
    ) -> tuple[list[AnswerRecord], int]:
        """Return what is recorded of a named stream, and its tail; nothing if there is none.

        Raises Forbidden if it is not the owner's, StreamClosed.
        """
        records = await self.stored.records(name, is_running=is_running)
        end = await self.streams.end(name)
        if end is None:
            return [], 0  # a record that is there was left by a deleted stream
        if not records or records[0].request.owner != owner:
            raise Forbidden(f"the stream {name} is not this caller's: name another one")
        if end.is_closed:
            raise StreamClosed(end.offset_of(end.tail))
        return records, end.tail

    async def retrieve(self, owner: bytes, response_id: str) -> WrittenAnswer | StoredAnswer | None:
        """Return the answer that has this id from its provider, if `owner` has one."""
        place = await self.index.find(owner, response_id) if owner else None
        return None if place is None else await self.find(place.name, place.position)

    async def find(self, name: str, position: int = 0) -> WrittenAnswer | StoredAnswer | None:
        """Return the answer that begins at a position of a stream, if there is one."""
        async with self._all_running.looked_up(self.streams.path(name)) as running:
            if running is not None and running.request.position == position:
                return running
            records = await self.stored.records(name, is_running=running is not None)
            found = stored_answers(name, records)
            return next((it for it in found if it.request.position == position), None)

    async def finish_abandoned(self, name: str) -> bool:
        """End an answer whose process has ended, so that its readers do not wait for more.

        Return False if it is over, or if this process writes it.
        """
        path = self.streams.path(name)
        if path in self._all_running.answers or path in self._all_running.opening:
            return False
        with self._all_running.reserved(path):
            return await self.stored.finish(name)

    def _join(
        self, answer: WrittenAnswer | StoredAnswer, request: AnswerRequest
    ) -> WrittenAnswer | StoredAnswer:
        """Return the answer for another request with its key.

        Raises IdempotencyKeyReused if the requests differ.
        """
        if not hmac.compare_digest(answer.request.digest, request.digest):
            raise IdempotencyKeyReused(
                "this Idempotency-Key came with another request: send a new key with a new request"
            )
        self.joined_requests += 1
        return answer

    # Running

    def _start(
        self,
        name: str,
        request: AnswerRequest,
        position: int = 0,
        place: NamedPlace | None = None,
    ) -> WrittenAnswer:
        """Start an answer at a position of its stream, which may be a named one."""
        if self.is_closing:
            raise ServerStopping("the server is stopping: send the request again")
        if len(self.running) >= self._bounds.running:
            self.refused_requests += 1
            raise LimitReached("max_answers is reached: as many answers run as may at once")
        if request.owner and self._owners[request.owner] >= self._bounds.running_of_owner:
            self.refused_requests += 1
            raise ClientLimitReached("max_client_answers is reached: wait for an answer to end")
        entry = record.RequestEntry(
            request.path,
            request.digest,
            request.model,
            self._clock(),
            request.in_background,
            request.is_whole,
            position,
            None if place is None else place.owner,
            None if place is None else place.key,
            request.is_plain,
        )
        index = partial(self._index, request.owner, IndexedAnswer(name, position))
        answer = WrittenAnswer(
            name, entry, self.streams, self._provider.dialect, self._clock, index
        )
        self._all_running.answers[self.streams.path(name)] = answer
        self.running.add(answer)
        self._owners[request.owner] += 1
        self._idle.clear()
        task = answer.start(partial(self._call, answer, request))
        task.add_done_callback(partial(self._ended, answer, request))
        return answer

    async def _index(self, owner: bytes, answer: IndexedAnswer, response_id: str) -> None:
        if owner:
            await self.index.add(owner, response_id, answer)

    def _ended(
        self, answer: WrittenAnswer, request: AnswerRequest, _task: asyncio.Task[None]
    ) -> None:
        owner = request.owner
        del self._all_running.answers[self.streams.path(answer.name)]
        self.running.discard(answer)
        self._owners[owner] -= 1
        if not self._owners[owner]:
            del self._owners[owner]
        self.outcomes[answer.counts.outcome or "failed"] += 1
        self.tokens.add(request.model, request.account, answer.counts.usage)
        if answer.counts.first_at is not None or answer.counts.outcome != "complete":
            self.listed.add_ended(answer)  # else it is a refusal of the provider
        if not self.running:
            self._idle.set()

    async def _call(
        self, answer: WrittenAnswer, request: AnswerRequest
    ) -> StoredResponse | WholeResponse:
        """Create the streams of an answer while its provider is called."""
        prompt = record.prompt_of(answer.request, request.body) if request.stores_prompt else None
        creating = asyncio.ensure_future(self._create(answer, prompt))
        try:
            served = await self._provider.call(request)
        except BaseException:
            await asyncio.wait([creating])  # the streams are deleted once they exist
            raise
        try:
            await creating
            return await self._provider.read_response(served, request)
        except BaseException:
            served.response.close()
            raise

    async def _create(self, answer: WrittenAnswer, prompt: bytes | None) -> None:
        entries = {record.record_name(answer.name): record.encoded(answer.request)}
        if prompt is not None:
            entries[record.prompts_name(answer.name)] = prompt
        if answer.request.position:
            for stream, body in entries.items():
                await self.streams.add(stream, record.CONTENT_TYPE, body)
        else:
            # At once: each takes a commit.
            made = await asyncio.gather(
                self.streams.create(answer.name, content_type_of(answer.request)),
                *(self.streams.replace(it, record.CONTENT_TYPE, entries[it]) for it in entries),
                return_exceptions=True,  # all are over when the streams are deleted
            )
            for failure in made:
                if isinstance(failure, BaseException):
                    raise failure
        answer.has_streams = True

    async def drain(self) -> None:
        """Wait until all running answers are over; when cancelled, end them with a reason."""
        self.is_closing = True
        try:
            await self._idle.wait()
        except asyncio.CancelledError:
            for answer in list(self.running):
                answer.stop(RESTARTED)
            raise

    async def close(self) -> None:
        """End all running answers with a reason."""
        for answer in list(self.running):
            answer.stop(RESTARTED)
        await self._idle.wait()


def _with_key(
    key: str | None, answers: Sequence[WrittenAnswer | StoredAnswer]
) -> WrittenAnswer | StoredAnswer | None:
    """Return the answer to the latest request that came with a key, or None."""
    if key is None:
        return None
    return next((it for it in reversed(answers) if it.request.key == key), None)


def _digest(owner: bytes, message: str) -> str:
    """Return a digest that only who knows `owner` can compute."""
    return hmac.new(owner, message.encode(), hashlib.sha256).hexdigest()[:40]
