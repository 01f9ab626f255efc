"""The provider of a model route, and the events of its answers: whole, bounded, and resumed."""

from __future__ import annotations

import asyncio
import random
from itertools import accumulate
from typing import TYPE_CHECKING
from urllib.parse import quote

from headgate.dialects.contract import EventHead
from headgate.dialects.progress import is_cut_json
from headgate.dialects.registry import dialect_at
from headgate.events import BOM, EventSplitter, EventTooLong, events_of, parse
from msgspec import UNSET
from multidict import CIMultiDict
from typing_extensions import override

from gateway.errors import HeadgateError, OriginBroken, OriginTimeout
from gateway.features.errors import AnswerTooLong
from gateway.features.models.answer import StoredResponse
from gateway.features.models.live_answer import WholeResponse
from gateway.features.models.provider.client import body_parts, may_be_repeated, pause_s
from gateway.features.models.provider.requests import AnswerOwner, AnswerProvider
from gateway.features.models.provider.responses import (
    LONGEST_WHOLE,
    head_of,
    is_storable,
    whole_body,
)
from gateway.protocol.bodies.content import EVENTS_TYPE

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Sequence

    from headgate.dialects.contract import Dialect
    from headgate.dialects.progress import Cursor
    from msgspec import UnsetType
    from multidict import MultiMapping

    from gateway.features.models.provider.client import ProviderClient, ProviderResponse
    from gateway.features.models.provider.requests import AnswerRequest
    from gateway.features.models.stored import UnfinishedAnswer
    from gateway.settings import ModelSettings

# Tries in a row that bring no event; with the pauses between them half a minute.
MOST_FAILURES = 8
_OF_A_BODY = ("Content-Type", "Content-Encoding", "Idempotency-Key")


class AnswerEvents:
    """The events of one answer, from a response that has begun."""

    def __init__(
        self,
        response: ProviderResponse | None,
        longest: int,
        background: BackgroundResponse | None = None,
    ) -> None:
        """End the answer behind `longest` bytes; without a response, retrieve it first.

        Without a `background` response it ends where the connection breaks off.
        """
        self._response = response
        self._longest = longest
        self._background = background

    async def parts(self) -> AsyncGenerator[Sequence[bytes]]:
        """Yield events that have come together, each of them whole.

        Raises OriginTimeout, OriginBroken, and AnswerTooLong behind the last event that fits.
        """
        left = self._longest
        try:
            async for events in self._unbounded():
                size = sum(map(len, events))
                if size > left:
                    if fitting := _beginning(events, left):
                        yield fitting
                    raise AnswerTooLong(self._longest)
                left -= size
                yield events
        finally:
            if self._response is not None:
                self._response.close()

    @staticmethod
    def unread() -> bytes:
        """Return nothing: the rest may be a part of an event."""
        return b""

    async def _unbounded(self) -> AsyncGenerator[Sequence[bytes]]:
        """Yield the events of all responses that have not come before."""
        if self._response is None:
            await self._is_resumed(OriginBroken("the provider does not go on with the response"))
        while True:
            lost: HeadgateError | None = None
            splitter = EventSplitter()
            try:
                async for events in self._events_of_response(splitter):
                    yield events
            except (OriginBroken, OriginTimeout) as error:
                lost = error
            if not await self._is_resumed(lost):
                break
        if rest := _completed(splitter.rest()):
            yield [*events_of(rest)]

    async def _events_of_response(self, splitter: EventSplitter) -> AsyncGenerator[list[bytes]]:
        """Yield the events of one response that have not come before."""
        assert self._response is not None, "it has come, or was retrieved"
        mark = BOM  # left out at its beginning
        try:
            async for part in body_parts(self._response):
                events = splitter.feed(part)
                if events:
                    events[0], mark = events[0].removeprefix(mark), b""
                if events := self._new(events):
                    yield events
        except EventTooLong as error:
            raise OriginBroken(f"{error} of the answer") from error
        except (OriginBroken, OriginTimeout):
            if (last := splitter.take_last()) and (events := self._new([last])):
                yield events
            raise

    def _new(self, events: list[bytes]) -> list[bytes]:
        """Return those of some events that another response has not brought."""
        return events if self._background is None else self._background.new_events(events)

    async def _is_resumed(self, lost: HeadgateError | None) -> bool:
        """Return whether the answer goes on in another response. Raises `lost` if it should."""
        if self._background is None:
            if lost is not None:
                raise lost
            return False
        if self._background.is_complete:
            return False
        self._response = await self._background.resumed(
            lost or OriginBroken("the provider ended the response without its last event")
        )
        return True


class BackgroundResponse:
    """The way to the rest of a background response whose connection is lost.

    It is retrieved from the server that makes it, behind the last event that came: no other answer
    is ever requested.
    """

    def __init__(
        self,
        client: ProviderClient,
        servers: Sequence[str],
        dialect: Dialect,
        path: str,
        version: str | UnsetType,
        fields: CIMultiDict[str],
    ) -> None:
        """Send requests below `path` with the header `fields` of the request for the answer.

        `version` is added to their query. One of the `servers` produces the response. If a server
        does not answer, try the next one; drop a server that refuses for good.
        """
        self.is_complete = False
        self._client = client
        self._servers = list(servers)
        self._dialect = dialect
        self._path = path
        self._query = "" if version is UNSET else f"&{version}"
        self._fields = fields.copy()
        for name in _OF_A_BODY:
            self._fields.popall(name, None)
        self._id: str | None = None
        self._latest: Cursor | None = None  # of the last event
        self._failures = 0  # since an event came
        self._is_resumed = False

    def go_on(self, response_id: str, latest: Cursor) -> None:
        """Go on after the event with the cursor `latest`, which another process has stored."""
        self._id, self._latest = response_id, latest

    def new_events(self, events: Sequence[bytes]) -> list[bytes]:
        """Return those of some whole events that have not come before.

        Raises OriginBroken if one is missing before them.
        """
        if self._id is None:
            self._id = self._dialect.response_id(b"".join(events))
        new = []
        for event in events:
            head = self._dialect.event_head(event) or EventHead()
            cursor, latest = head.cursor, self._latest
            if cursor is not None:
                if isinstance(cursor, int) and isinstance(latest, int):
                    if cursor <= latest:
                        continue
                    self._check_follows(cursor, latest)
                elif self._is_resumed and cursor == latest:
                    continue
                self._latest, self._failures, self._is_resumed = cursor, 0, False
            self.is_complete = self.is_complete or head.is_last
            new.append(event)
        return new

    def _check_follows(self, number: int, latest: int) -> None:
        if self._is_resumed and number != latest + 1:
            self._failures = MOST_FAILURES  # it has not stored the events in between
            raise OriginBroken(f"the provider resumed at {number} after event {latest}")

    async def resumed(self, lost: HeadgateError) -> ProviderResponse:
        """Return a response with the events after the last one. Raises `lost` if there is none."""
        refusal: MultiMapping[str] | None = None
        while self._id is not None and self._latest is not None and self._failures < MOST_FAILURES:
            if self._failures:
                chance = random.random()  # noqa: S311 - spreads the calls
                pause = pause_s(refusal, self._failures - 1, chance)
                if pause is None:
                    break
                await asyncio.sleep(pause)
            self._failures += 1
            refusal = None
            try:
                response = await self._retrieved(self._id, self._latest)
            except HeadgateError:
                self._servers.append(self._servers.pop(0))
                continue
            if is_storable(response) and response.content_type == EVENTS_TYPE:
                self._is_resumed = True
                self._client.resumed_responses += 1
                return response
            response.close()
            if may_be_repeated(response.status, response.headers):
                refusal = response.headers
            elif len(self._servers) > 1:
                del self._servers[0]
                self._failures = 0
            else:
                break
        raise lost

    async def _retrieved(self, response_id: str, latest: Cursor) -> ProviderResponse:
        assert self._dialect.retrieval is not None, "its answers have ids"
        cursor = f"{self._dialect.retrieval.cursor_field}={quote(str(latest), safe='')}"
        query = f"stream=true&{cursor}{self._query}"
        target = f"{self._path}/{quote(response_id, safe='')}?{query}"
        return await self._client.send(self._servers[0], "GET", target, self._fields, None)


class ModelProvider(AnswerProvider):
    """The provider of a model route."""

    def __init__(self, settings: ModelSettings, upstream: ProviderClient) -> None:
        super().__init__(settings.prefix, settings.leave)
        self._upstream = upstream
        self._longest = settings.max_answer_size  # bytes of an answer
        self._resumes = settings.resume  # background responses, where the connection is lost

    @override
    async def call(self, request: AnswerRequest) -> ProviderResponse:
        return await self._upstream.call(request.target, request.fields, request.body.sent)

    @override
    async def read_response(
        self, response: ProviderResponse, request: AnswerRequest
    ) -> StoredResponse | WholeResponse:
        head = head_of(response)
        if not is_storable(response):
            return WholeResponse(head, await whole_body(response, LONGEST_WHOLE))
        if response.content_type == EVENTS_TYPE:
            events = AnswerEvents(response, self._longest, self._background(response, request))
            return StoredResponse(events, head)
        body = await whole_body(response, self._longest)
        if request.is_whole and body:
            return StoredResponse(body, head)
        return WholeResponse(head, body)

    def _background(
        self, response: ProviderResponse, request: AnswerRequest
    ) -> BackgroundResponse | None:
        """Return the response if it goes on without its connection, and may be retrieved."""
        dialect = dialect_at(request.path)
        if not self._resumes or not request.in_background or dialect.retrieval is None:
            return None
        servers = [response.server]
        return BackgroundResponse(
            self._upstream, servers, dialect, request.path, request.version, request.fields
        )

    @override
    def own_caller(self) -> AnswerOwner | None:
        if not self._upstream.has_key:
            return None
        return AnswerOwner(b"", self._upstream.fields(CIMultiDict(), is_stored=True))

    @override
    def rest_of(self, answer: UnfinishedAnswer, caller: AnswerOwner) -> AnswerEvents:
        begun = answer.last.request
        background = BackgroundResponse(
            self._upstream,
            self._upstream.urls,
            begun.dialect,
            begun.path,
            begun.version,
            caller.fields,
        )
        background.go_on(answer.response_id, answer.latest)
        return AnswerEvents(None, max(0, self._longest - answer.size), background)


def _completed(rest: bytes) -> bytes:
    """Return the event that the body ended in, with its blank line; b"" for half of one."""
    rest = rest.removeprefix(BOM)
    event = parse(rest)
    if event is None or is_cut_json(event.data):
        return b""
    return rest + b"\n\n"


def _beginning(events: Sequence[bytes], length: int) -> Sequence[bytes]:
    """Return as many events as fit into a length."""
    ends = accumulate(map(len, events))
    return events[: sum(end <= length for end in ends)]
