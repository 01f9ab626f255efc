"""Streams whose content nobody checks: no view fails or hangs, whatever has been appended."""

from __future__ import annotations

import json
import random
import re

import pytest

from tests.models.answers import chat_completion, event, message, response
from tests.support.examples import cases, spread
from tests.support.serving import get, serving
from tests.views.reading import JSON, VIEWS, rendered, to_the_end, values, view_events, written

NO_EVENTS = {
    "no-json": b"data: {not json\n\ndata: [DONE]\n\ndata:\n\ndata\n\n: comment\n\n",
    "half-an-event": b'data: {"object": "chat.completion.chunk", "choi',
    "no-utf-8": b"data: \xff\xfe\n\nevent: \xff\ndata: x\n\n",
    "deep": b"data: " + b"[" * 100_000 + b"\n\n",
    "half-a-surrogate": b'data: {"type":"text-delta","id":"t","delta":"\\ud83d"}\n\n',
    "carriage-returns": b"data: a\rdata: b\r\rdata: c\r\n\r\n",
    "ids-and-retries": b"id: 7\nretry: 1\nevent: e\ndata: x\n\n",
    "big-numbers": b'data: {"choices": 1e999, "usage": 99999999999999999999999999}\n\n',
}
WRONG: tuple[object, ...] = (None, True, 7, "text", [], [None], {}, {"type": []}, [{"type": {}}])


def with_wrong_types(source: bytes, chance: random.Random) -> bytes:
    """Return an event with one of its values replaced by one of another type."""
    head, _, data = source.partition(b"data: ")
    try:
        value = json.loads(data)
    except ValueError:
        return source
    places = [value]
    for place in places:
        items = place.values() if isinstance(place, dict) else place
        places += [one for one in items if isinstance(one, dict | list)]
    place = chance.choice([one for one in places if one])
    key = chance.choice(list(place)) if isinstance(place, dict) else chance.randrange(len(place))
    if chance.random() < 0.2 and isinstance(place, dict):
        del place[key]
    else:
        place[key] = chance.choice(WRONG)
    return head + b"data: " + json.dumps(value).encode() + b"\n\n"


def a_delta(text: bytes) -> bytes:
    """Return an event of a chat completion with these bytes as its text."""
    return event(
        {
            "object": "chat.completion.chunk",
            "choices": [{"index": 0, "delta": {"content": "TEXT"}}],
        }
    ).replace(b"TEXT", text)


# Bytes that are not UTF-8, as every decoder of the Encoding standard has them, and a character that
# is cut by the end of a record.
NOT_TEXT, AS_TEXT = (b"a\xff", b"\xc3(", b"\xed\xa0\x80"), "a\ufffd\ufffd(\ufffd\ufffd\ufffd"
CUT = (b"event: x\xff\ndata: caf\xc3", b"\xa9\n\n")
READINGS = (*(f"s?view={view}" for view in VIEWS),)


@pytest.mark.parametrize("target", READINGS)
async def test_bytes_that_are_not_utf_8_are_u_fffd_in_every_view_of_events(target: str) -> None:
    async with serving() as gateway:
        await written(gateway, [*map(a_delta, NOT_TEXT), *CUT])
        client = await gateway.connect()
        client.send(get(target))
        head = await client.head()
        chunked = head.get("transfer-encoding") == "chunked"
        body = await to_the_end(client) if chunked else (await gateway.ask(get(target))).body
        assert head.status == 200
        text = body.decode()
        found = re.findall(r'"(?:content|delta)": ?"([^"]+)"', text)
        assert AS_TEXT in ("".join(found) or text)
        if "view=sse" in target:
            assert "caf\u00e9" in text


@pytest.mark.parametrize("view", VIEWS)
async def test_bytes_that_are_not_utf_8_are_u_fffd_in_every_view_of_a_text(view: str) -> None:
    async with serving() as gateway:
        await written(gateway, [*NOT_TEXT, b"caf\xc3", b"\xa9"], "text/plain")
        body = (await gateway.ask(get(f"s?view={view}"))).body.decode()
        found = re.findall(r'"delta":"([^"]+)"', body) or re.findall(r"data: ([^{].*)", body)
        assert ("".join(found) or body) == f"{AS_TEXT}caf\u00e9"


@pytest.mark.parametrize("view", VIEWS)
@pytest.mark.parametrize("content", NO_EVENTS)
async def test_what_is_no_answer_ends_every_view_properly(view: str, content: str) -> None:
    async with serving() as gateway:
        await written(gateway, [NO_EVENTS[content]])
        answer = await gateway.ask(get(f"s?view={view}"))
        assert answer.status == 200
        answer.body.decode()
        last_id = b"id: %s~\n" % answer.next_offset.encode()
        ends = {"ai-sdk": last_id + b"data: [DONE]\n\n", "ag-ui": last_id + b": end\n\n"}
        if view != "sse":
            assert answer.body == ends.get(view, b"")


@pytest.mark.parametrize("seed", cases(range(60), range(15), "other seeds"))
def test_events_with_values_of_wrong_types_make_valid_views(seed: int) -> None:
    chance = random.Random(seed)
    records = []
    for one in (*chat_completion(), *message(), *response()):
        for _ in range(chance.randrange(3)):
            records.append(with_wrong_types(one, chance))
        if chance.random() < 0.7:
            records.append(one)
    for view in VIEWS:
        body = rendered(view, records)
        if view != "text":
            values(view_events(body)) if view != "sse" else view_events(body)
        assert rendered(view, records) == body


def chunks_of_any_shape(seed: int) -> list[bytes]:
    """Return JSON messages that look like chunks of UI messages, in any order."""
    chance = random.Random(seed)
    types = ["start", "finish", "text-start", "text-delta", "text-end", "error", "abort"]
    types += ["reasoning-start", "reasoning-delta", "reasoning-end", "tool-input-start"]
    types += ["tool-input-delta", "tool-input-available", "tool-output-available"]
    types += ["data-x", "start-step", "finish-step", "reset-step", "file", "message-metadata"]
    keys = ("id", "delta", "toolCallId", "toolName", "input", "output", "errorText", "messageId")
    records = []
    for _ in range(60):
        chunk: dict[str, object] = {"type": chance.choice(types)}
        for key in (*keys, "inputTextDelta", "messageMetadata", "url", "mediaType"):
            if chance.random() < 0.8:
                chunk[key] = chance.choice(["a", "b"]) if chance.random() < 0.9 else {}
        records.append(json.dumps(chunk).encode())
    return records


@pytest.mark.parametrize("seed", cases(range(20), range(6), "other seeds"))
def test_json_messages_of_any_shape_make_valid_views(seed: int) -> None:
    for view in VIEWS:
        body = rendered(view, chunks_of_any_shape(seed), JSON)
        if view != "text":
            values(view_events(body))


def test_an_event_over_the_limit_is_left_out_and_the_next_is_read() -> None:
    long = b"data: " + b"x" * (17 << 20)
    records = [long[:9_000_000], long[9_000_000:], b"\n\n", event({"a": 1})]
    events = view_events(rendered("sse", records))
    assert [one.data for one in events] == ['{"a": 1}', '{"streamClosed":true}']


def test_a_cut_anywhere_in_the_stream_changes_no_byte_of_a_view() -> None:
    body = b"".join(message())
    for view in VIEWS:
        whole = rendered(view, [body])
        for at in spread(range(len(body)), 31):
            assert rendered(view, [body[:at], body[at:]]) == whole
        assert rendered(view, [body[at : at + 1] for at in range(len(body))]) == whole


async def test_a_stream_of_one_long_record_is_rendered_in_turns() -> None:
    records = [b"".join(chat_completion(["word "] * 3000))]
    async with serving(max_append=4 << 20) as gateway:
        await written(gateway, records)
        answer = await gateway.ask(get("s?view=text"))
        assert answer.body == b"word " * 3000
