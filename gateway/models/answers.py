"""The answers of one model route: those that run here, and those that are stored."""

from __future__ import annotations

import asyncio
import hashlib
import hmac
import secrets
from collections import Counter
from functools import partial
from http import HTTPStatus
from typing import TYPE_CHECKING, NamedTuple

from gateway.errors import (
    BodyTooLarge,
    ClientLimitReached,
    IdempotencyKeyReused,
    LimitReached,
    ServerStopping,
)
from gateway.models import record
from gateway.models.answer import (
    EVENT_STREAM,
    RESTARTED,
    StoredResponse,
    WholeResponse,
    WrittenAnswer,
)
from gateway.models.dialects.contract import TokenUsage
from gateway.models.retrieval import AnswerIndex
from gateway.models.upstream import body_parts
from gateway.protocol.http.forwarding import end_to_end

if TYPE_CHECKING:
    from collections.abc import Callable

    from aiohttp import ClientResponse
    from multidict import CIMultiDict

    from gateway.models.dialects.contract import Dialect, EarlyEnd
    from gateway.models.record import AnswerRecord, Outcome, RequestEntry, ResponseEntry
    from gateway.models.running import RunningAnswers
    from gateway.models.streams import AnswerStreams
    from gateway.models.upstream import ProviderClient

# A response that is no stream of events is kept whole, for all who wait for it.
LONGEST_WHOLE = 16 << 20
# A cookie is the first client's, and the framing and another address are the connection's.
_NOT_STORED = frozenset({"set-cookie", "alt-svc"})


class AnswerRequest(NamedTuple):
    """A request for an answer: only its `owner` may join it, nobody if that is b"".

    `path` and `target`, the path with its query, are below the upstream's URL. `fields` are the
    header fields for the provider.
    """

    owner: bytes
    idempotency_key: str | None
    path: str
    target: str
    fields: CIMultiDict[str]
    body: bytes
    model: str | None
    in_background: bool = False

    @property
    def digest(self) -> str:
        """The digest by which equal requests are recognised."""
        return hashlib.sha256(self.target.encode() + b"\n" + self.body).hexdigest()


class AnswerProvider(NamedTuple):
    """The provider of answers: the prefix of its route, its dialect, and its servers."""

    prefix: str
    dialect: Dialect
    upstream: ProviderClient


class AnswerBounds(NamedTuple):
    """The most answers that run at once, in all and for one owner."""

    running: int
    running_of_owner: int


class StoredAnswer(NamedTuple):
    """An answer that is over: its readers read the log."""

    name: str
    request: RequestEntry
    head: ResponseEntry

    async def wait_for_head(self) -> ResponseEntry:
        """Return the head that clients get."""
        return self.head

    @property
    def is_over(self) -> bool:
        """True: nothing more will be appended."""
        return True

    @staticmethod
    def bytes_after(_position: int) -> bytes | None:
        """Return None: none of it is in memory."""
        return None

    @staticmethod
    async def wait_beyond(_position: int) -> None:
        """Return at once."""

    @staticmethod
    async def stop_and_wait(_failure: EarlyEnd) -> None:
        """Return at once."""


class ModelAnswers:
    """The answers of one route, each under the name of its stream."""

    def __init__(
        self,
        provider: AnswerProvider,
        streams: AnswerStreams,
        bounds: AnswerBounds,
        running: RunningAnswers,
        clock: Callable[[], float],
    ) -> None:
        self.streams = streams
        self.running: set[WrittenAnswer] = set()  # answers of this route
        self.outcomes: Counter[Outcome] = Counter()
        self.usage = Counter[str]()
        self.joined_requests = 0
        self.refused_requests = 0
        self.is_closing = False
        self._prefix, self._dialect, self._upstream = provider
        self.index = AnswerIndex(self._prefix, streams)
        self._bounds = bounds
        self._clock = clock
        self._all_running = running  # of all routes of this process
        self._owners: Counter[bytes] = Counter()
        self._idle = asyncio.Event()
        self._idle.set()

    async def answer_to(self, request: AnswerRequest) -> WrittenAnswer | StoredAnswer:
        """Return the answer to a request: the running or stored one with its key, or a new one.

        Raises IdempotencyKeyReused for a key that came with another request, LimitReached,
        ClientLimitReached.
        """
        if request.idempotency_key is None or not request.owner:
            return self._start(secrets.token_hex(16), request)
        name = self._name(request.owner, request.idempotency_key)
        async with self._all_running.looked_up(self.streams.path(name)) as running:
            found = running or await self._stored(name)
            if found is None:
                return self._start(name, request)
            return self._join(found, request)

    async def retrieve(self, owner: bytes, response_id: str) -> WrittenAnswer | StoredAnswer | None:
        """Return the answer that has this id from its provider, if `owner` has one."""
        name = await self.index.name_of(owner, response_id) if owner else None
        if name is None:
            return None
        async with self._all_running.looked_up(self.streams.path(name)) as running:
            return running or await self._stored(name)

    async def delete(self, name: str) -> None:
        """Delete an answer; if it runs, its call is stopped."""
        await self.streams.delete(name)
        await self.streams.delete(record.record_name(name))

    def _name(self, owner: bytes, idempotency_key: str) -> str:
        """Return the name of an answer's stream, which only its owner can compute."""
        message = f"{self._prefix}\n{idempotency_key}".encode()
        return hmac.new(owner, message, hashlib.sha256).hexdigest()[:40]

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

    async def _stored(self, name: str) -> StoredAnswer | None:
        """Return a stored answer, or None."""
        found = await record.read_record(self.streams, name)
        if found is None:
            return None
        if found.end is None and not await self._finish(name, found):
            return None
        if found.response is None:
            return None
        return StoredAnswer(name, found.request, found.response)

    async def _finish(self, name: str, found: AnswerRecord) -> bool:
        """End an answer that no process writes any more.

        An answer without a response is deleted; return False for it, else True.
        """
        end = await self.streams.end(name)
        if found.response is None or end is None:
            await self.delete(name)
            return False
        if not end.is_closed:
            event = self._dialect.failure_event(found.request.path, RESTARTED)
            await self.streams.append(name, EVENT_STREAM, [event], close=True)
        entry = record.EndEntry("failed", self._clock(), TokenUsage(), RESTARTED.sentence)
        stream = record.record_name(name)
        body = [record.encoded(entry)]
        await self.streams.append(stream, record.CONTENT_TYPE, body, close=True)
        self.outcomes["failed"] += 1
        return True

    async def finish_abandoned(self, name: str) -> bool:
        """End an answer whose process has ended, so that its readers do not wait for more.

        Return False if it is over, or if this process writes it.
        """
        path = self.streams.path(name)
        if path in self._all_running.answers or path in self._all_running.opening:
            return False
        with self._all_running.reserved(path):
            found = await record.read_record(self.streams, name)
            if found is None or found.end is not None:
                return False
            await self._finish(name, found)
            return True

    # Running

    def _start(self, name: str, request: AnswerRequest) -> WrittenAnswer:
        if self.is_closing:
            raise ServerStopping("the server is stopping: send the request again")
        if len(self.running) >= self._bounds.running:
            self.refused_requests += 1
            raise LimitReached("max_answers is reached: as many answers run as may at once")
        if request.owner and self._owners[request.owner] >= self._bounds.running_of_owner:
            self.refused_requests += 1
            raise ClientLimitReached("max_client_answers is reached: wait for an answer to end")
        entry = record.RequestEntry(
            request.path, request.digest, request.model, self._clock(), request.in_background
        )
        index = partial(self._index, request.owner, name)
        answer = WrittenAnswer(name, entry, self.streams, self._dialect, self._clock, index)
        self._all_running.answers[self.streams.path(name)] = answer
        self.running.add(answer)
        self._owners[request.owner] += 1
        self._idle.clear()
        task = answer.start(partial(self._call, answer, request))
        task.add_done_callback(partial(self._ended, answer, request.owner))
        return answer

    async def _index(self, owner: bytes, name: str, response_id: str) -> None:
        if owner:
            await self.index.add(owner, response_id, name)

    def _ended(self, answer: WrittenAnswer, owner: bytes, _task: asyncio.Task[None]) -> None:
        del self._all_running.answers[self.streams.path(answer.name)]
        self.running.discard(answer)
        self._owners[owner] -= 1
        if not self._owners[owner]:
            del self._owners[owner]
        self.outcomes[answer.outcome or "failed"] += 1
        self.usage["input"] += answer.usage.input_tokens or 0
        self.usage["output"] += answer.usage.output_tokens or 0
        if not self.running:
            self._idle.set()

    async def _call(
        self, answer: WrittenAnswer, request: AnswerRequest
    ) -> StoredResponse | WholeResponse:
        """Create the streams of an answer while its provider is called."""
        creating = asyncio.ensure_future(self._create(answer))
        try:
            response = await self._upstream.request(
                "POST", request.target, request.fields, request.body
            )
        except BaseException:
            await asyncio.wait([creating])  # the streams are deleted once they exist
            raise
        try:
            await creating
            head = head_of(response)
            if _is_event_stream(response):
                return StoredResponse(response, head)
            return WholeResponse(head, await _whole(response))
        except BaseException:
            response.close()
            raise

    async def _create(self, answer: WrittenAnswer) -> None:
        stream, body = record.record_name(answer.name), record.encoded(answer.request)
        await self.streams.create(answer.name, EVENT_STREAM)
        await self.streams.create(stream, record.CONTENT_TYPE, body)

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


def head_of(response: ClientResponse) -> ResponseEntry:
    """Return the head of a provider's response as clients get it."""
    fields = end_to_end(response.headers, _NOT_STORED)
    lines = tuple((str(name), value) for name, value in fields.items())
    return record.ResponseEntry(response.status, lines)


def _is_event_stream(response: ClientResponse) -> bool:
    return (
        response.status == HTTPStatus.OK
        and response.content_type == EVENT_STREAM
        and response.headers.get("Content-Encoding", "identity") == "identity"
    )


async def _whole(response: ClientResponse) -> bytes:
    body = b""
    async for part in body_parts(response):
        body += part
        if len(body) > LONGEST_WHOLE:
            raise BodyTooLarge(LONGEST_WHOLE)
    return body
