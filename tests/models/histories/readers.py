"""Clients that come back after each cut until they have the end of an answer."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

from tests.models.histories.messages import (
    END,
    complete_part,
    events_of,
    has_end,
    is_error,
    is_last,
    parse,
)
from tests.models.histories.world import BROKEN, Patience, head_of

if TYPE_CHECKING:
    import aiohttp

    from tests.models.histories.messages import Event
    from tests.models.histories.world import Answer, World

MAY_COME_AGAIN = (409, 429, 500, 502, 503, 504)


async def join(world: World, answer: Answer) -> list[Event]:
    """Return the events that a client gets which sends the request until it has the end."""
    patience = Patience()
    events: list[Event] = []
    last_id: str | None = None
    while True:
        headers = dict(answer.headers)
        if last_id is not None:
            headers["Last-Event-ID"] = last_id
        try:
            async with world.session.post(
                world.base() + answer.target,
                data=answer.body,
                headers=headers,
                timeout=patience.left,
            ) as response:
                if response.status == 410 and answer.is_stopped:
                    return events  # the id is of a stream that was deleted
                if response.status != 200:
                    await _refused(world, answer, response)
                else:
                    _learn(answer, response)
                    raw, is_ended = await _read(world, response, cuts=0.5)
                    last_id = _take(answer, events, raw) or last_id
                    if _is_end(world, answer, events, is_ended=is_ended):
                        return events
        except BROKEN:
            world.counts["cut"] += 1
        await patience.pause()


def _take(answer: Answer, events: list[Event], raw: bytes) -> str | None:
    """Add the events of a response; return the last id."""
    last_id = None
    for number, name, data in parse(raw):
        if number is not None:
            last_id = number
            answer.ids.append(number)
        if data:
            events.append((name, data))
            _learn_id(answer, data)
    return last_id


def _is_end(world: World, answer: Answer, events: list[Event], *, is_ended: bool) -> bool:
    if events and is_last(events[-1]):
        return True
    is_whole = has_end(events) or (events and is_error(events[-1]))
    if is_ended and not answer.is_stopped and not is_whole:
        world.report(f"{answer.name}: a response ended behind {events[-1:]}")
    return is_ended


async def _refused(world: World, answer: Answer, response: aiohttp.ClientResponse) -> None:
    body = await response.read()
    world.counts[f"status {response.status}"] += 1
    planned = answer.plan(1).refusal
    if response.status == 500 and planned != 500 and answer.plan(2).refusal != 500:
        world.report(f"{answer.name}: {head_of(response)} {body!r}")
    if response.status not in (*MAY_COME_AGAIN, planned, answer.plan(2).refusal):
        world.report(f"{answer.name}: {head_of(response)} {body!r}")


def _learn(answer: Answer, response: aiohttp.ClientResponse) -> None:
    url = response.headers["Stream-URL"]
    answer.path = "/" + url.split("/", 3)[3] if "://" in url else url
    if "Last-Event-ID" not in response.request_info.headers:
        answer.first_offset = response.headers["Stream-Next-Offset"]
    answer.is_known.set()


def _learn_id(answer: Answer, data: str) -> None:
    if answer.dialect == "responses" and '"response.created"' in data:
        answer.response_id = json.loads(data)["response"]["id"]


async def _read(world: World, response: aiohttp.ClientResponse, cuts: float) -> tuple[bytes, bool]:
    """Return the complete events, and whether the response ended by itself."""
    raw = b""
    most = world.rng.choice((50, 500, 5_000)) if world.rng.random() < cuts else 1 << 30
    try:
        async for piece in response.content.iter_any():
            raw += piece
            if len(raw) > most:
                world.counts["left"] += 1
                response.close()
                return complete_part(raw), False
    except BROKEN:
        world.counts["broken"] += 1
        return complete_part(raw), False
    return complete_part(raw), True


async def poll(world: World, answer: Answer, query: str) -> list[Event]:
    """Return the events of the stream, read by catch-ups and long-polls to its end."""
    return events_of(await poll_bytes(world, answer, query))


async def poll_bytes(world: World, answer: Answer, query: str) -> bytes:
    """Return the bytes of the stream, read by catch-ups and long-polls to its end."""
    await answer.is_known.wait()
    patience = Patience()
    raw, offset, live = b"", "-1", ""
    while True:
        url = f"{world.base()}{answer.path}?offset={offset}{live}{query}"
        try:
            async with world.session.get(url, timeout=patience.left) as response:
                body = await response.read()
                if response.status in (200, 204):
                    world.note(url, response, body)
                    raw += body
                    offset = response.headers["Stream-Next-Offset"]
                    up_to_date = "Stream-Up-To-Date" in response.headers
                    live = "&live=long-poll" if up_to_date else ""
                    if response.headers.get("Stream-Closed") == "true":
                        return raw
                    if answer.stream and f"event: {END}".encode() in raw:
                        return raw
                    if response.status == 200 and body:
                        continue
                elif response.status not in MAY_COME_AGAIN:
                    world.report(f"{url}: {head_of(response)} {body!r}")
                    return raw
        except BROKEN:
            world.counts["cut"] += 1
        await patience.pause()


async def follow(world: World, answer: Answer, query: str) -> list[Event]:
    """Return the events of the stream, read by SSE of the protocol to its end."""
    await answer.is_known.wait()
    patience = Patience()
    raw, offset = "", "-1"
    while True:
        url = f"{world.base()}{answer.path}?offset={offset}&live=sse{query}"
        try:
            async with world.session.get(url, timeout=patience.left) as response:
                if response.status == 200:
                    part, _ = await _read(world, response, cuts=0.3)
                    news, at, is_closed = _controlled(part)
                    raw, offset = raw + news, at or offset
                    if is_closed:
                        return events_of(raw.encode())
                elif response.status not in MAY_COME_AGAIN:
                    world.report(f"{url}: {head_of(response)} {await response.read()!r}")
                    return []
        except BROKEN:
            world.counts["cut"] += 1
        await patience.pause()


def _controlled(part: bytes) -> tuple[str, str, bool]:
    """Return what came before the last control event, its offset, and whether it is the end."""
    kept, news, offset, is_closed = "", "", "", False
    for _, name, data in parse(part):
        if name == "data":
            news += data
        elif name == "control":
            kept, news = kept + news, ""
            offset = json.loads(data)["streamNextOffset"]
            is_closed = json.loads(data).get("streamClosed", False)
    return kept, offset, is_closed


async def view(world: World, answer: Answer, name: str) -> list[tuple[str, str]]:
    """Return the events of a view, up to the last one, whose id says that it is the last."""
    await answer.is_known.wait()
    patience = Patience()
    events: list[tuple[str, str]] = []
    last_id: str | None = None
    while True:
        url = f"{world.base()}{answer.path}?view={name}"
        headers = {"Last-Event-ID": last_id} if last_id else {}
        try:
            async with world.session.get(url, headers=headers, timeout=patience.left) as response:
                if response.status == 200:
                    part, _ = await _read(world, response, cuts=0.4)
                    last_id = _take_groups(events, part) or last_id
                    if last_id and last_id.endswith("~"):
                        return events
                elif response.status not in MAY_COME_AGAIN:
                    world.report(f"{url}: {head_of(response)} {await response.read()!r}")
                    return events
        except BROKEN:
            world.counts["cut"] += 1
        await patience.pause()


def _take_groups(events: list[Event], part: bytes) -> str | None:
    """Add the events up to the last one with an id; return that."""
    last_id, group = None, []
    for number, kind, data in parse(part):
        if data:
            group.append((kind, data))
        if number is not None:
            events += group
            group, last_id = [], number
    return last_id


async def view_text(world: World, answer: Answer) -> str:
    """Return the whole text of the view `text`, read again from its beginning after a cut."""
    await answer.is_known.wait()
    patience = Patience()
    longest = b""
    while True:
        url = f"{world.base()}{answer.path}?view=text"
        try:
            async with world.session.get(url, timeout=patience.left) as response:
                if response.status == 200:
                    raw, is_ended = await _read_text(response)
                    shorter, longest = sorted((raw, longest), key=len)
                    if not longest.startswith(shorter):
                        world.report(f"{url}: the text changed: {shorter[-99:]!r}")
                    if is_ended:
                        return raw.decode()
                elif response.status not in MAY_COME_AGAIN:
                    world.report(f"{url}: {head_of(response)}")
                    return ""
        except BROKEN:
            world.counts["cut"] += 1
        await patience.pause()


async def _read_text(response: aiohttp.ClientResponse) -> tuple[bytes, bool]:
    """Return what came, and whether the response ended by itself."""
    raw = b""
    try:
        async for piece in response.content.iter_any():
            raw += piece
    except BROKEN:
        return raw, False
    return raw, True
