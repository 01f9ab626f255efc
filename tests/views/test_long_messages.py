"""Messages of megabytes in a view: rendered in short steps, or left out if they take long."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

import pytest

from gateway.protocol.bodies.content import messages_of, stored_messages
from gateway.protocol.bodies.deltas import find_delta
from gateway.protocol.bodies.folding import fold
from gateway.protocol.views import AG_UI, AI_SDK, SSE, TEXT
from gateway.views.renderers import ViewRenderer
from gateway.views.styles import MOST_LINES, MOST_VALUES

if TYPE_CHECKING:
    from collections.abc import Generator

    from gateway.views.messages import Group

SIZE = 1 << 20
JSON, EVENTS, PLAIN = "application/json", "text/event-stream", "text/plain"
LONGEST_STEP_S = 0.1  # on a busy machine: copies of 8 MiB take some milliseconds
LONG = {
    "many messages": (JSON, b"1," * 60_000 + b"1"),
    "a message of many values": (JSON, b"[" + b"[]," * (SIZE // 3) + b"[]]"),
    "a long text": (JSON, b'{"type":"text-delta","id":"1","delta":"' + b"x" * SIZE + b'"}'),
    "an event of many values": (EVENTS, b"data: [" + b"[]," * (SIZE // 3) + b"[]]\n\n"),
    "an event of many lines": (EVENTS, b"data: 1\n" * (SIZE // 8) + b"\n"),
    "a text of many lines": (PLAIN, b"\n" * SIZE),
    "no UTF-8": (PLAIN, b"\xff" * SIZE),
}


def longest_step(steps: Generator[object, None, object]) -> float:
    """Return the processor time of the longest step."""
    longest, is_over = 0.0, False
    while not is_over:
        began = time.thread_time()
        is_over = next(steps, steps) is steps
        longest = max(longest, time.thread_time() - began)
    return longest


@pytest.mark.parametrize("name", LONG)
@pytest.mark.parametrize("view", [SSE, AI_SDK, AG_UI, TEXT])
def test_a_long_message_is_rendered_in_short_steps(view: str, name: str) -> None:
    content_type, record = LONG[name]
    renderer = ViewRenderer(view, content_type, "s")
    assert longest_step(renderer.groups(record, len(record), str)) < LONGEST_STEP_S


@pytest.mark.parametrize("name", LONG)
def test_a_long_message_is_folded_in_short_steps(name: str) -> None:
    content_type, record = LONG[name]
    assert longest_step(fold(content_type, 0, [record], find_delta)) < LONGEST_STEP_S


def rendered(view: str, content_type: str, record: bytes) -> list[Group]:
    """Return the groups of a record."""
    groups = ViewRenderer(view, content_type, "s").groups(record, len(record), str)
    return [group for group in groups if group is not None]


@pytest.mark.parametrize("more", [0, 1])
def test_a_long_message_has_the_most_values_and_lines_and_no_more(more: int) -> None:
    chunk = b'{"object":"chat.completion.chunk","choices":[{"delta":{"content":"x"}}],"a":[%b0]}'
    values = chunk % (b"0," * (MOST_VALUES - 7 + more))
    assert len(rendered(AI_SDK, JSON, values)) == 1 - more
    lines = b"data: 1\n" * (MOST_LINES - 1 + more) + b"\n"
    assert len(rendered(SSE, EVENTS, lines)) == 1 - more


@pytest.mark.parametrize("item", [b"1", b'"a,[b"', b'{"a":[1,{"b":"c"}],"d":""}', b"[[],[[]]]"])
def test_the_messages_of_a_long_record_are_those_of_a_short_one(item: bytes) -> None:
    record = b",".join([item] * (200_000 // len(item)) + [b'"' + b"x" * 100_000 + b'"', item])
    assert [it for it in messages_of(record) if it is not None] == [
        bytes(it) for it in stored_messages(record)
    ]
