"""A client that is cut behind any byte of an answer, and asks for the rest by its last id."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

import pytest

from tests.models.accumulators import MESSAGE, data_of
from tests.models.provider import PLAIN, TOOLS, providing
from tests.models.serving import ANTHROPIC, OPENAI, answering, gateway_before

if TYPE_CHECKING:
    import aiohttp

pytestmark = pytest.mark.usefixtures("processes")

ANSWERS = {
    "chat completion": f"{OPENAI}/v1/chat/completions",
    "response": f"{OPENAI}/v1/responses",
    "message": f"{ANTHROPIC}/v1/messages",
}
Event = tuple[str, ...]  # the lines of its fields but the id


class EventReader:
    """A reader of server-sent events as the HTML Living Standard has them, byte by byte."""

    def __init__(self) -> None:
        self.events: list[Event] = []
        self.last_id = b""
        self._id = b""
        self._fields: list[str] = []
        self._line = b""

    def feed(self, data: bytes) -> None:
        """Take bytes; an event counts once the empty line behind it has come."""
        for byte in data:
            self._line += bytes((byte,))
            if byte == ord("\n"):
                self._take(self._line.rstrip(b"\r\n"))
                self._line = b""

    def _take(self, line: bytes) -> None:
        name, _, value = line.partition(b":")
        if not line:
            self.last_id = self._id
            if self._fields:
                self.events.append(tuple(self._fields))
            self._fields = []
        elif name == b"id":
            self._id = value.strip()
        elif name:
            self._fields.append(line.decode())


def ask(http: aiohttp.ClientSession, url: str, model: str, last_id: bytes = b"") -> Any:
    """Send the same request as ever, for what follows an event."""
    headers = {"Authorization": "Bearer sk-mine", "Idempotency-Key": "one"}
    if last_id:
        headers["Last-Event-ID"] = last_id.decode()
    return http.post(url, json={"model": model, "stream": True}, headers=headers)


async def received(http: aiohttp.ClientSession, url: str, model: str, last_id: bytes) -> bytes:
    """Return the body of a response from behind an event on."""
    async with ask(http, url, model, last_id) as answer:
        body: bytes = await answer.read()
    return body


def events_of(body: bytes) -> list[Event]:
    """Return the events of a body that has come whole."""
    reader = EventReader()
    reader.feed(body)
    return reader.events


def check(kind: str, body: bytes, rests: dict[bytes, bytes], expected: list[Event]) -> None:
    """Check for each byte of a body that the events before it and the rest make the whole answer.

    Behind an id the rest has the provider's events. From the beginning, which many may have read
    before, it has fewer and longer ones for the same message.
    """
    of_rest = {last: events_of(rest) for last, rest in rests.items()}
    assert message_of(kind, of_rest[b""]) == message_of(kind, expected)
    reader = EventReader()
    for cut in range(len(body) + 1):
        reader.feed(body[cut - 1 : cut] if cut else b"")
        if reader.last_id:
            assert reader.events + of_rest[reader.last_id] == expected, (cut, reader.last_id)
        else:
            assert not reader.events, cut


def message_of(kind: str, events: list[Event]) -> Any:
    """Return the message that the provider's SDK makes of events."""
    return MESSAGE[kind](data_of("\n".join(line for event in events for line in event).encode()))


def ids_of(body: bytes) -> list[bytes]:
    reader = EventReader()
    ids = [b""]
    for byte in body:
        reader.feed(bytes((byte,)))
        if reader.last_id != ids[-1]:
            ids.append(reader.last_id)
    return ids


@pytest.mark.parametrize("model", [PLAIN, TOOLS], ids=["text", "tools and reasoning"])
@pytest.mark.parametrize(("kind", "path"), ANSWERS.items(), ids=ANSWERS)
async def test_a_client_cut_behind_any_byte_goes_on_without_a_lost_or_doubled_event(
    http: aiohttp.ClientSession, kind: str, path: str, model: str
) -> None:
    async with providing() as provider:
        async with http.post(
            provider.url + path.removeprefix(OPENAI).removeprefix(ANTHROPIC),
            json={"model": model, "stream": True},
        ) as direct:
            expected = events_of(await direct.read())
        provider.requests.clear()
        with gateway_before(provider) as gateway:
            url = gateway.url + path
            body = await received(http, url, model, b"")
            rests = {last: await received(http, url, model, last) for last in ids_of(body)}
        assert len(provider.requests) == 1
    assert len(expected) > 10
    check(kind, body, rests, expected)


@pytest.mark.parametrize(("kind", "path"), ANSWERS.items(), ids=ANSWERS)
async def test_a_client_that_is_cut_while_the_answer_comes_goes_on_alike(
    http: aiohttp.ClientSession, kind: str, path: str
) -> None:
    async with answering() as (provider, gateway):
        provider.hold()
        url = gateway.url + path
        provider.allow(8)
        async with ask(http, url, TOOLS) as first:
            begun = b""
            while len(ids_of(begun)) < 8:
                begun += await first.content.readany()
            rests = {
                last: asyncio.create_task(received(http, url, TOOLS, last))
                for last in ids_of(begun)
            }
            provider.allow()
            expected = events_of(begun + await first.read())
        bodies = {last: await rest for last, rest in rests.items()}
    assert len(provider.requests) == 1
    check(kind, begun, bodies, expected)
