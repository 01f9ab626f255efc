"""How the tokens of an answer reach a reader that waits for them: pushed, in few calls."""

from __future__ import annotations

import asyncio
import sys
from collections import Counter
from functools import partial
from typing import TYPE_CHECKING, Any

from headgate_gateway.features.models.completion import Completion
from headgate_gateway.features.models.reading import CompletionBody
from tests.models.answers import chat_completion, without_ids
from tests.models.in_process import model_route, request_of
from tests.models.provider import providing
from tests.support.serving import serving
from tests.support.waiting import until

if TYPE_CHECKING:
    from types import FrameType

    import pytest

    from headgate_gateway.features.models.completion_route import CompletionRoute

EVENTS, ID = chat_completion(), b"\nid: "
# From the bytes of the provider to those for the client, without what aiohttp calls.
TOKEN = 96


class Reader:
    """A reader of an answer, whose client keeps up or not."""

    def __init__(self, answer: Completion, route: CompletionRoute) -> None:
        self.keeps_up = True
        self.pushed: list[bytes] = []
        self.body = b""
        self._answer, self._route = answer, route

    async def read(self) -> None:
        """Read all of the answer, whether it is pushed or not."""
        await self._answer.wait_for_head()
        end = await self._route.streams.end(self._answer.name)
        assert end is not None
        body = CompletionBody(self._answer, 0, end.offset_of)
        body.push_to(self._push)
        async for part in body.parts():
            self.body += part

    def _push(self, part: bytes) -> bool:
        if self.keeps_up:
            self.pushed.append(part)
            self.body += part
        return self.keeps_up


async def test_a_waiting_reader_is_pushed_each_token_in_few_calls() -> None:
    calls: Counter[str] = Counter()

    def note(frame: FrameType, event: str, _: Any) -> None:
        if event == "call" and frame.f_globals.get("__name__", "?").startswith("headgate_gateway."):
            calls[f"{frame.f_globals['__name__']}.{frame.f_code.co_name}"] += 1

    async with providing() as provider, serving() as gateway:
        provider.hold()
        async with model_route(provider, gateway) as route:
            answer = await route.completions.completion_for(request_of("one"))
            assert isinstance(answer, Completion)
            reader = Reader(answer, route)
            reading = asyncio.ensure_future(reader.read())
            await until(lambda: answer.has_readers)
            provider.allow(2)
            await until(lambda: reader.body.count(ID) == 2)
            sys.setprofile(note)
            try:
                for number in range(3, len(EVENTS)):
                    provider.allow(1)
                    while reader.body.count(ID) < number:
                        await asyncio.sleep(0)
            finally:
                sys.setprofile(None)
            provider.allow()
            await reading
    assert without_ids(reader.body) == b"".join(EVENTS)
    assert without_ids(b"".join(reader.pushed)) == b"".join(EVENTS)
    assert calls.total() / (len(EVENTS) - 3) <= TOKEN, calls.most_common()


def have_come(readers: list[Reader], events: int) -> bool:
    return all(reader.body.count(ID) == events for reader in readers)


async def test_readers_that_do_not_keep_up_get_the_rest_by_reading_it() -> None:
    async with providing() as provider, serving() as gateway:
        provider.hold()
        async with model_route(provider, gateway) as route:
            answer = await route.completions.completion_for(request_of("one"))
            assert isinstance(answer, Completion)
            readers = [Reader(answer, route) for _ in range(2)]
            reading = [asyncio.ensure_future(reader.read()) for reader in readers]
            for number in range(1, len(EVENTS) + 1):
                readers[0].keeps_up = number % 3 != 0
                provider.allow(1)
                await until(partial(have_come, readers, number))
            await asyncio.gather(*reading)
    assert without_ids(readers[0].body) == b"".join(EVENTS)
    assert readers[0].body == readers[1].body
    assert 0 < len(readers[0].pushed) < len(readers[1].pushed)


async def test_an_answer_ends_when_the_log_refuses_a_token_and_its_provider_is_silent(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    async with providing() as provider, serving() as gateway:
        provider.hold()
        async with model_route(provider, gateway) as route:
            answer = await route.completions.completion_for(request_of("one"))
            assert isinstance(answer, Completion)
            provider.allow(2)
            await answer.wait_beyond(len(EVENTS[0]))
            with monkeypatch.context() as patch:
                patch.setattr(gateway.services.limits, "max_pending_appends", 0)
                provider.allow(1)
                await answer.wait_for_end(30)
            assert answer.outcome == "failed"
            assert answer.position == len(EVENTS[0] + EVENTS[1])
