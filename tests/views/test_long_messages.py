"""Messages of megabytes in a view: rendered in short steps, or left out if they take long."""

from __future__ import annotations

import gc
import time
from typing import TYPE_CHECKING

import pytest

from headgate.dialects.providers.openai import MOST_CHOICES
from headgate_gateway.features.decoded import (
    LONGEST_DECODED,
    MARKS_PER_VALUE,
    messages_of,
    stored_messages,
)
from headgate_gateway.features.views.messages import LONGEST_MESSAGE, LONGEST_PIECE, splitter_of
from headgate_gateway.features.views.renderers import ViewRenderer
from headgate_gateway.features.views.styles import MOST_LINES, MOST_VALUES
from headgate_gateway.protocol.views import AG_UI, AI_SDK, SSE, TEXT
from tests.support.examples import cases

if TYPE_CHECKING:
    from collections.abc import Callable, Generator

SIZE, LARGEST = 1 << 20, 16 << 20
JSON, EVENTS, PLAIN = "application/json", "text/event-stream", "text/plain"
LONGEST_STEP_S = 0.1  # on a busy machine: copies of 16 MiB take some milliseconds
# Each is made by its test: together they are 100 MiB.
LONG: dict[str, tuple[str, Callable[[], bytes]]] = {
    "many messages": (JSON, lambda: b"1," * 20_000 + b"1"),
    "a message of many values": (JSON, lambda: b"[" + b"[]," * (SIZE // 3) + b"[]]"),
    "a long text": (JSON, lambda: b'{"type":"text-delta","id":"1","delta":"' + b"x" * SIZE + b'"}'),
    "an event of many values": (EVENTS, lambda: b"data: [" + b"[]," * (SIZE // 3) + b"[]]\n\n"),
    "an event of many lines": (EVENTS, lambda: b"data: 1\n" * (SIZE // 8) + b"\n"),
    "a text of many lines": (PLAIN, lambda: b"\n" * SIZE),
    "no UTF-8": (PLAIN, lambda: b"\xff" * SIZE),
    "line ends in a text": (JSON, lambda: b'"%b"' % (b"\\n" * (LARGEST // 2))),
    "a text in an event": (EVENTS, lambda: b'data: "%b"\n\n' % (b"x" * (LARGEST - 20))),
    "a whole text": (PLAIN, lambda: b"x" * LARGEST),
}
# What only the end of a stream completes.
OPEN_ENDS: dict[str, tuple[str, Callable[[], bytes]]] = {
    "lines": (EVENTS, lambda: b"data: x\r" * (LARGEST // 8)),
    "one line": (EVENTS, lambda: b"data: " + b"x" * (LARGEST - 20)),
    "bytes of no character": (PLAIN, lambda: b"\xff" * (SIZE - 1) + b"\xe2"),
}


def longest_step(steps: Generator[object, None, object]) -> float:
    """Return the processor time of the longest step, without searches for garbage."""
    longest, is_over = 0.0, False
    gc.disable()  # a search through what other tests have left takes longer than the steps
    try:
        while not is_over:
            began = time.thread_time()
            is_over = next(steps, steps) is steps
            longest = max(longest, time.thread_time() - began)
    finally:
        gc.enable()
    return longest


@pytest.mark.parametrize("name", LONG)
@pytest.mark.parametrize("view", [SSE, AI_SDK, AG_UI, TEXT])
def test_a_long_message_is_rendered_in_short_steps(view: str, name: str) -> None:
    content_type, made = LONG[name]
    record = made()
    renderer = ViewRenderer(view, content_type, "s", list[int]().append)
    assert longest_step(renderer.groups(record, len(record), str)) < LONGEST_STEP_S


@pytest.mark.parametrize("name", OPEN_ENDS)
@pytest.mark.parametrize("view", cases([SSE, AI_SDK, AG_UI, TEXT], {SSE, AI_SDK, TEXT}, "AI SDK"))
def test_the_end_of_a_stream_completes_a_long_message_at_once(view: str, name: str) -> None:
    content_type, made = OPEN_ENDS[name]
    record = made()
    renderer = ViewRenderer(view, content_type, "s", list[int]().append)
    for _ in renderer.groups(record, len(record), str):
        pass
    began = time.thread_time()
    renderer.closing(len(record), str)
    assert time.thread_time() - began < LONGEST_STEP_S


CHUNK = b'{"object":"chat.completion.chunk","choices":[{"delta":{"content":"%b"}}],"a":[%b0]}'
MARKS = MOST_VALUES * MARKS_PER_VALUE
# By what is at its bound: the view, the type, and a message with so many of them beyond the bound.
AT_BOUNDS: dict[str, tuple[str, str, Callable[[int], bytes]]] = {
    "values": (AI_SDK, JSON, lambda more: CHUNK % (b"x", b"0," * (MOST_VALUES - 7 + more))),
    "values of an event": (
        *(TEXT, EVENTS),
        lambda more: b'event: a"\ndata: %b\n\n' % CHUNK % (b"x", b"0," * (MOST_VALUES - 7 + more)),
    ),
    "commas of a text": (AG_UI, JSON, lambda more: CHUNK % (b", " * (MARKS - 7 + more), b"")),
    "quotes of a text": (
        *(AI_SDK, JSON),
        lambda more: CHUNK % (b'\\"' * (MARKS - 14 + more) + b"," * MOST_VALUES, b""),
    ),
    "lines": (SSE, EVENTS, lambda more: b"data: 1\n" * (MOST_LINES - 1 + more) + b"\n"),
    "lines with CR LF": (
        *(SSE, EVENTS),
        lambda more: b"data: 1\r\n" * (MOST_LINES - 1 + more) + b"\r\n",
    ),
    "bytes": (SSE, JSON, lambda more: b'"%b"' % (b"x" * (LONGEST_MESSAGE - 2 + more))),
    "bytes of a text to decode": (
        *(TEXT, JSON),
        lambda more: b'"%b"' % (b"x" * (LONGEST_DECODED - 2 + more)),
    ),
}


@pytest.mark.parametrize("more", [0, 1])
@pytest.mark.parametrize("bound", AT_BOUNDS)
def test_a_long_message_beyond_a_bound_is_left_out_and_reported(bound: str, more: int) -> None:
    view, content_type, message = AT_BOUNDS[bound]
    record, left_out = message(more), list[int]()
    renderer = ViewRenderer(view, content_type, "s", left_out.append)
    groups = [it for it in renderer.groups(record, len(record), str) if it is not None]
    assert (len(groups), left_out) == (1 - more, [len(record)] * more)


@pytest.mark.parametrize("more", [0, 1])
def test_a_chunk_of_more_choices_than_a_provider_can_send_is_no_part_of_an_answer(
    more: int,
) -> None:
    choices = b",".join([b'{"index":0,"delta":{"content":"x"}}'] * (MOST_CHOICES + more))
    chunk = b'{"object":"chat.completion.chunk","choices":[%b]}' % choices
    groups = ViewRenderer(AI_SDK, JSON, "s", list[int]().append).groups(chunk, len(chunk), str)
    assert any(groups) is (more == 0)


@pytest.mark.parametrize("character", ["x", "é", "€", "😀"])
@pytest.mark.parametrize("size", [LONGEST_PIECE, LONGEST_PIECE + 1, 3 * LONGEST_PIECE + 2])
def test_a_long_record_of_a_text_is_in_pieces_of_whole_characters(
    character: str, size: int
) -> None:
    letter = character.encode()
    text = b"a" + letter * (size // len(letter))
    messages = [it for it in splitter_of(PLAIN, print).messages(text, len(text)) if it is not None]
    assert b"".join(it.data for it in messages) == text
    assert all(it.data.decode() and len(it.data) <= LONGEST_PIECE for it in messages)
    assert [it.is_border for it in messages] == [False] * (len(messages) - 1) + [True]


@pytest.mark.parametrize("item", [b"1", b'"a,[b"', b'{"a":[1,{"b":"c"}],"d":""}', b"[[],[[]]]"])
def test_the_messages_of_a_long_record_are_those_of_a_short_one(item: bytes) -> None:
    record = b",".join([item] * (200_000 // len(item)) + [b'"' + b"x" * 100_000 + b'"', item])
    assert [it for it in messages_of(record) if it is not None] == [
        bytes(it) for it in stored_messages(record)
    ]
