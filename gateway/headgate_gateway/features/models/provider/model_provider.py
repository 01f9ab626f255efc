"""The provider of a model route, and the events of its completions: whole and bounded."""

from __future__ import annotations

from itertools import accumulate
from typing import TYPE_CHECKING

from typing_extensions import override

from headgate.dialects.progress import is_cut_json
from headgate.events import BOM, EventSplitter, EventTooLong, events_of, parse
from headgate_gateway.errors import OriginBroken, OriginTimeout
from headgate_gateway.features.errors import AnswerTooLong
from headgate_gateway.features.models.completion import StoredResponse, WholeResponse
from headgate_gateway.features.models.provider.client import body_parts
from headgate_gateway.features.models.provider.requests import CompletionProvider
from headgate_gateway.features.models.provider.responses import head_of, is_storable, whole_body
from headgate_gateway.protocol.bodies.content import EVENTS_TYPE

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Sequence

    from headgate_gateway.features.models.provider.client import ProviderClient, ProviderResponse
    from headgate_gateway.features.models.provider.requests import CompletionRequest
    from headgate_gateway.settings import ModelSettings


class AnswerEvents:
    """The events of one completion, from a response that has begun."""

    def __init__(self, response: ProviderResponse, longest: int) -> None:
        """End the completion after `longest` bytes."""
        self._response = response
        self._longest = longest

    async def parts(self) -> AsyncGenerator[Sequence[bytes]]:
        """Yield events that have come together, each of them whole.

        Raises OriginTimeout, OriginBroken, and AnswerTooLong after the last event that fits.
        """
        left = self._longest
        try:
            async for events in self._events():
                size = sum(map(len, events))
                if size > left:
                    if fitting := _beginning(events, left):
                        yield fitting
                    raise AnswerTooLong(self._longest)
                left -= size
                yield events
        finally:
            self._response.close()

    @staticmethod
    def unread() -> bytes:
        """Return nothing: the rest may be a part of an event."""
        return b""

    async def _events(self) -> AsyncGenerator[list[bytes]]:
        """Yield all events, also where the response is too long."""
        splitter, mark = EventSplitter(), BOM  # which is left out at the beginning
        try:
            async for part in body_parts(self._response):
                if events := splitter.feed(part):
                    events[0], mark = events[0].removeprefix(mark), b""
                    yield events
        except EventTooLong as error:
            raise OriginBroken(f"{error} of the answer") from error
        except (OriginBroken, OriginTimeout):
            if last := splitter.take_last().removeprefix(mark):
                yield [last]
            raise
        if last := splitter.take_last().removeprefix(mark):
            yield [last]
        elif rest := _completed(splitter.rest().removeprefix(mark)):
            yield [*events_of(rest)]


class ModelProvider(CompletionProvider):
    """The provider of a model route."""

    def __init__(self, settings: ModelSettings, upstream: ProviderClient) -> None:
        super().__init__(settings.prefix, settings.leave)
        self._upstream = upstream
        self._longest = settings.max_answer_size  # bytes of a completion

    @override
    async def call(self, request: CompletionRequest) -> ProviderResponse:
        return await self._upstream.call(request.target, request.fields, request.body.sent)

    @override
    async def read_response(
        self, response: ProviderResponse, request: CompletionRequest
    ) -> StoredResponse | WholeResponse:
        head = head_of(response)
        if is_storable(response) and response.content_type == EVENTS_TYPE:
            return StoredResponse(AnswerEvents(response, self._longest), head)
        return WholeResponse(head, await whole_body(response))


def _completed(rest: bytes) -> bytes:
    """Return the event that the body ended in, with its blank line; b"" for half of one."""
    event = parse(rest)
    if event is None or is_cut_json(event.data):
        return b""
    return rest + b"\n\n"


def _beginning(events: Sequence[bytes], length: int) -> Sequence[bytes]:
    """Return as many events as fit into a length."""
    ends = accumulate(map(len, events))
    return events[: sum(end <= length for end in ends)]
