"""One body that holds up everybody else (S15, S16): whatever is sent, no turn of the event loop
takes longer than 50 ms of a processor that has nothing else to do. The longest is that of chunks of
a byte, of which one read of the socket brings up to 43,000, at some 0.8 us each.
"""

from __future__ import annotations

import asyncio
import gc
import random
import time
from functools import partial
from typing import TYPE_CHECKING

import pytest

from headgate_gateway.protocol.bodies.json_text import MAX_DEPTH, MAX_DIGITS
from headgate_gateway.protocol.bodies.multi_append import MAX_MESSAGES
from tests.subscriptions.receivers import subscribed, subscription_of
from tests.subscriptions.test_patterns import hardest_patterns
from tests.support.examples import IS_WHOLE
from tests.support.multi_append import framed
from tests.support.serving import PREFIX, put, serving

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

LONGEST_TURN_S = 0.1  # of one whose caches and pipelines other tests use at the same time
SIZE = 2 << 20
JSON, TEXT = "application/json", "text/plain"
DEEP = b"[" * MAX_DEPTH + b"]" * MAX_DEPTH


def filled(item: bytes) -> bytes:
    """An array of as many as fit."""
    return b"[" + b",".join([item] * (SIZE // (len(item) + 1))) + b"]"


def bodies() -> dict[str, tuple[str, bytes]]:
    """Tens of megabytes, made when they are sent and not while tests are collected."""
    return {
        "a million numbers": (JSON, b"[" + b"1," * 999_999 + b"1]"),
        "arrays as deep as may be": (JSON, filled(DEEP)),
        "arrays one level too deep": (JSON, filled(b"[" + DEEP + b"]")),
        "numbers as long as may be": (JSON, filled(b"1" * MAX_DIGITS)),
        "one number": (JSON, b"1" * SIZE),
        "200,000 levels": (JSON, b"[" * 200_000 + b"]" * 200_000),
        "nothing but opening brackets": (JSON, b"[" * SIZE),
        "brackets without commas": (JSON, b"[[]]" * (SIZE // 4)),
        "brackets in a run": (JSON, b"[1," + b"[[]]" * (SIZE // 8) + b"," + b"]" * (SIZE // 8)),
        "a string of brackets": (JSON, b'"' + b"[{" * (SIZE // 2) + b'"'),
        "a string of backslashes": (JSON, b'"' + b"\\\\" * (SIZE // 2) + b'"'),
        "halves of pairs": (JSON, filled(rb'"\ud800"')),
        "no UTF-8 at its end": (JSON, b"[" + b'"a",' * (SIZE // 4) + b'"\xff"]'),
        "text": (TEXT, b"x" * SIZE),
    }


def spent_s(work: Callable[[], object]) -> float:
    """Return the processor time of some work."""
    began = time.thread_time()
    work()
    return time.thread_time() - began


class Pace:
    """How fast this machine is at the moment: what runs beside it takes of its caches and clock."""

    def __init__(self) -> None:
        self._best_s = min(spent_s(self._work) for _ in range(20))

    def idle_s(self, turn_s: float) -> float:
        """Return how long a turn that has just ended would have taken at the best pace."""
        now_s = spent_s(self._work)
        self._best_s = min(self._best_s, now_s)
        return turn_s * self._best_s / now_s

    @staticmethod
    def _work() -> int:
        return sum(len(str(number)) for number in range(5000))  # a millisecond


@pytest.fixture
def longest(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[float]]:
    """The processor time of the longest turn so far; collections of garbage are this process's."""
    worst, pace = [0.0], Pace()
    run = asyncio.Handle._run

    def timed(handle: asyncio.Handle) -> None:
        turn_s = spent_s(partial(run, handle))
        if turn_s > worst[0]:
            worst[0] = max(worst[0], pace.idle_s(turn_s))

    monkeypatch.setattr(asyncio.Handle, "_run", timed)
    gc.disable()
    yield worst
    gc.enable()


def multi_appends() -> dict[str, tuple[str, bytes]]:
    """The same, of many messages each."""
    return {
        "chunks of a byte": (TEXT, framed([b"x"] * MAX_MESSAGES)),
        "long chunks": (TEXT, framed([b"x" * (SIZE // MAX_MESSAGES)] * MAX_MESSAGES)),
        "numbers": (JSON, framed([b"1"] * MAX_MESSAGES)),
        "arrays": (JSON, framed([b"[" + b"1," * 200 + b"1]"] * MAX_MESSAGES)),
        "one array": (JSON, framed([filled(b"1")])),
        "a last value that is none": (JSON, framed([*[b"1"] * (MAX_MESSAGES - 1), b"2,3"])),
        "one too many": (TEXT, framed([b"x"] * (MAX_MESSAGES + 1))),
        "many too many": (TEXT, framed([b"x"] * (SIZE // 5))),
        "no chunk": (TEXT, b"\0" * SIZE),
    }


def appends(content_type: str, body: bytes, *lines: str) -> dict[str, bytes]:
    """The same in one piece, and in chunks, of which the text stands for all on every change."""
    fields = "".join(f"{line}\r\n" for line in (f"Content-Type: {content_type}", *lines))
    head = f"POST {PREFIX}/s HTTP/1.1\r\nHost: a\r\n{fields}".encode()
    chunks = [body[at : at + 65536] for at in range(0, len(body), 65536)]
    coded = b"".join(b"%x\r\n%b\r\n" % (len(chunk), chunk) for chunk in chunks)
    whole = {"whole": head + b"Content-Length: %d\r\n\r\n" % len(body) + body}
    chunked = head + b"Transfer-Encoding: chunked\r\n\r\n" + coded + b"0\r\n\r\n"
    return {**whole, "chunks": chunked} if IS_WHOLE or content_type == TEXT else whole


def worst_turn(content_type: str, sent: bytes, longest: list[float]) -> tuple[int, float]:
    """The status of an append, and its longest turn; on a loop whose turns can be measured."""

    async def append() -> int:
        async with serving(max_append=16 << 20, max_pending_appends=64 << 20) as gateway:
            await gateway.ask(put("s", content_type=content_type))
            client = await gateway.connect()
            longest[0] = 0.0
            for at in range(0, len(sent), 1 << 18):
                await client.send_all(sent[at : at + (1 << 18)])
            told = await client.answer()
            client.close()
            return told.status

    with asyncio.Runner(loop_factory=asyncio.new_event_loop) as runner:
        return runner.run(append()), longest[0]


@pytest.mark.timeout(240)
def test_no_body_takes_a_turn_of_the_event_loop_longer_than_the_limit(
    longest: list[float], tell: Callable[[str], None]
) -> None:
    found = {}
    for name, (content_type, body) in bodies().items():
        for way, sent in appends(content_type, body).items():
            status, turn_s = worst_turn(content_type, sent, longest)
            assert status in {204, 400}, name
            found[f"{name}, {way}"] = turn_s
    tell(f"{len(found)} bodies, the longest turn takes {max(found.values()) * 1000:.0f} ms")
    assert {name: turn for name, turn in found.items() if turn > LONGEST_TURN_S} == {}


@pytest.mark.timeout(120)
def test_no_multi_append_takes_a_turn_of_the_event_loop_longer_than_the_limit(
    longest: list[float], tell: Callable[[str], None]
) -> None:
    found = {}
    for name, (content_type, body) in multi_appends().items():
        for way, sent in appends(content_type, body, "X-Stream-Multi: true").items():
            status, turn_s = worst_turn(content_type, sent, longest)
            assert status in {204, 400}, name
            found[f"{name}, {way}"] = turn_s
    tell(f"{len(found)} multi-appends, the longest turn: {max(found.values()) * 1000:.0f} ms")
    assert {name: turn for name, turn in found.items() if turn > LONGEST_TURN_S} == {}


def test_an_append_in_one_byte_chunks_blocks_the_event_loop_only_shortly(
    longest: list[float], tell: Callable[[str], None]
) -> None:
    head = f"POST {PREFIX}/s HTTP/1.1\r\nHost: a\r\nContent-Type: text/plain\r\n".encode()
    sent = head + b"Transfer-Encoding: chunked\r\n\r\n" + b"1\r\nx\r\n" * 100_000 + b"0\r\n\r\n"
    status, turn_s = worst_turn(TEXT, sent, longest)
    tell(f"100,000 chunks, the longest turn takes {turn_s * 1000:.0f} ms")
    assert (status, turn_s < LONGEST_TURN_S) == (204, True)


def test_a_name_of_900_segments_is_matched_and_linked_in_short_turns(
    longest: list[float], tell: Callable[[str], None]
) -> None:
    async def attack() -> None:
        async with subscribed() as gateway:
            for number, pattern in enumerate(hardest_patterns(2_000)):
                made = subscription_of(f"s{number}", pattern)
                gateway.engine.add(made)
                made.phase = "active"
            await gateway.create("wakes", body=b"[]")
            gateway.engine.streams.observe(gateway.engine.on_change)
            await asyncio.sleep(0)  # what was done so far is a turn of the test
            longest[0] = 0.0
            name = "/".join(random.Random(2).choices("ab", k=900))
            assert (await gateway.create(name, body=b'{"n":1}')).status == 201
            assert (await gateway.append(name)).status == 204
            assert len(gateway.engine.membership.streams[name].links) > 200

    with asyncio.Runner(loop_factory=asyncio.new_event_loop) as runner:
        runner.run(attack())
    tell(f"2,000 patterns, the longest turn takes {longest[0] * 1000:.0f} ms")
    assert longest[0] < LONGEST_TURN_S
