"""A write whose fields came before is the same as one that is parsed, whatever is asked."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import pytest
import uvloop
from hypothesis import example, given, settings
from hypothesis import strategies as st

from tests.support.examples import cases, examples
from tests.support.serving import PREFIX, get, request, serving
from tests.support.waiting import until

if TYPE_CHECKING:
    from tests.support.http1 import Answer
    from tests.support.serving import Serving

OWN = ("date", "x-request-id", "retry-after")  # what differs between two answers to one request
NAMES = ["a", "b", "c/d", "%61", "a%2Fb", "..", "e/", "__ds/x", "x" * 3000]
FIELDS = st.lists(
    st.sampled_from(
        [
            "Content-Type: text/plain",
            "Content-Type: application/json",
            "Content-Type: nonsense",
            "Content-Type: \xe9",
            "Stream-Closed: true",
            "Stream-TTL: 1",
            "Stream-TTL: 60",
            "Stream-TTL: 060",
            "Stream-Expires-At: 2027-01-15T08:00:05Z",
            "Stream-Expires-At: 2030-01-01T00:00:00Z",
            "Stream-Expires-At: tomorrow",
            f"Stream-Forked-From: {PREFIX}/a",
            "Stream-Fork-Offset: -1",
            "Stream-Seq: b",
            "X-Stream-Multi: true",
            "Producer-Id: p",
            "Producer-Epoch: 0",
            "Producer-Seq: 0",
            "Producer-Seq: 1",
            "Producer-Seq: 9007199254740992",
            "X-Forwarded-Proto: https",
            "X-Request-Id: asked",
            "Origin: https://a.example",
            "Origin: https://b.example",
            "If-None-Match: *",
            "Content-Encoding: gzip",
            "Authorization: Bearer a",
            "X-Any: thing",
        ]
    ),
    max_size=4,
    unique_by=lambda line: line.split(":")[0],
)
BODY = st.sampled_from([b"", b"a", b"[1,2]", b"[]", b"{", b"x" * 300])
WRITE = st.tuples(
    st.sampled_from(["PUT", "PUT", "PUT", "POST", "POST", "DELETE"]),
    st.sampled_from([*NAMES, "a", "a", "b", "b"]),
    FIELDS,
    BODY,
    st.sampled_from([0, 0, 0, 0, 2]),  # seconds that pass before
)


class Side:
    """One of the two gateways."""

    def __init__(self, gateway: Serving) -> None:
        self.gateway = gateway

    def counted(self) -> dict[str, object]:
        """What is counted, but for times, and what the log holds."""
        route, services = self.gateway.route, self.gateway.services
        figures = route.writes.figures
        return {
            "requests": list(route.traffic.requests),
            "unrouted": list(services.unrouted.requests),
            "bytes": (route.traffic.request_bytes, route.traffic.response_bytes),
            "unrouted bytes": services.unrouted.request_bytes,
            "timed": [sum(it.counts) for it in route.traffic.durations.values()],
            "refused": dict(self.gateway.limits.refused),
            "receiving": self.gateway.limits.receiving_bytes,
            "appends": (figures.stored, figures.duplicate, figures.refused, figures.failed),
            "states": self.states(),
        }

    def states(self) -> list[tuple[object, ...]]:
        """What stands in the log, and what stood."""
        log = self.gateway.log
        return [
            *(
                (path, it.generation, it.tail, it.closed, it.deadline, it.version, it.content_type)
                for path, it in sorted(log._states.items())  # type: ignore[attr-defined]
            ),
            *sorted(log._retired.items()),  # type: ignore[attr-defined]
        ]


def told(answer: Answer) -> tuple[object, ...]:
    """An answer but for what is its own."""
    return answer.status, [it for it in answer.fields if it[0] not in OWN], answer.body


Write = tuple[str, str, list[str], bytes, int]
TEXT = ["Content-Type: text/plain"]
PLAIN: list[Write] = [  # all go the short way, whatever is drawn besides
    ("PUT", "a", TEXT, b"", 0),
    ("PUT", "a", TEXT, b"", 0),
    ("POST", "a", TEXT, b"a", 0),
    ("PUT", "a", [*TEXT, "Stream-Closed: true"], b"", 0),
]


async def play(side: Side, writes: list[Write], *, ahead: bool) -> list[object]:
    """Ask all on one connection; what was told, counted and stored."""
    gateway = side.gateway
    client = await gateway.connect()
    wires = [
        request(method, f"{PREFIX}/{name}", *lines, body=body)
        for method, name, lines, body, _ in writes
    ]
    seen: list[object] = []
    if ahead:
        client.send(b"".join(wires))
    for wire, (*_, seconds) in zip(wires, writes, strict=True):
        if not ahead:
            gateway.clock.advance(seconds)
            client.send(wire)
        seen.append(told(await client.answer()))
    client.close()
    await until(lambda: gateway.limits.connections == 0)
    for name in ("a", "b", "c/d"):
        read = await gateway.ask(get(f"{PREFIX}/{name}?offset=-1"))
        seen.append((read.status, read.get("stream-next-offset"), read.body))
    seen.append(side.counted())
    return seen


CORS = {"cors_origins": ("https://a.example",), "write_origins": ("https://a.example",)}
LIMITS = {"max_client_creations": 3, "max_client_appends": 3, "max_append": 299}
OPTIONS: dict[str, dict[str, object]] = {
    f"{name}{order}": {**options}
    for name, options in (("plain", {}), ("CORS", CORS), ("limits", LIMITS))
    for order in ("", ", ahead")
}


def forget(*_: object) -> None:
    """Remember nothing."""


@pytest.mark.timeout(300)
@pytest.mark.parametrize(
    "case",
    cases(OPTIONS, {"plain, ahead", "CORS", "limits, ahead"}, "the same options, or both orders"),
)
def test_any_write_has_the_same_result_with_and_without_cached_fields(case: str) -> None:
    options, ahead = OPTIONS[case], case.endswith(", ahead")
    statuses: set[int] = set()
    short = 0

    async def once(writes: list[Write]) -> None:
        nonlocal short
        views: list[list[object]] = []
        known = []
        for is_open in (True, False):
            async with serving(None, **options) as gateway:
                if not is_open:
                    gateway.fast.blocks.remember = forget  # type: ignore[assignment,method-assign]
                views.append(await play(Side(gateway), writes, ahead=ahead and is_open))
                known.append(len(gateway.fast.blocks))
        assert not known[1]
        short += known[0]
        ours, theirs = views
        for one, other in zip(ours, theirs, strict=True):
            assert one == other
        statuses.update(one[0] for one in ours[: len(writes)])  # type: ignore[index]

    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:

        @settings(max_examples=examples(40))
        @example(PLAIN)
        @given(st.lists(WRITE, min_size=1, max_size=6))
        def for_all(writes: list[Write]) -> None:
            if ahead:  # time passes between requests, or they come together
                writes = [(*write[:4], 0) for write in writes]
            runner.run(once(writes))

        for_all()
    assert short >= len(PLAIN), "too few were known"
    assert len(statuses) >= 4, "answers of too few kinds"
