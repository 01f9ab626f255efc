"""What is explained is what comes: each explanation is held against the answer after it."""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec
import pytest
import uvloop
from hypothesis import given, settings
from hypothesis import strategies as st

from headgate_gateway.features.questions.contract import AnswerFailure
from headgate_gateway.features.questions.streams import (
    ExplainRequest,
    Explanation,
    ListStreams,
    StreamPage,
)
from tests.support.examples import IS_WHOLE
from tests.support.live_origin import LiveOrigin
from tests.support.raw_origin import RawOrigin, answer
from tests.support.serving import EDGE, PREFIX, edge_serving, get, post, put, request, serving
from tests.support.waiting import until

if TYPE_CHECKING:
    from tests.support.http1 import Answer
    from tests.support.raw_origin import Wire
    from tests.support.serving import Serving

EXAMPLES = 25 if IS_WHOLE else 10
HOST = ("Host", "headgate.test")
SECRET = "Bearer s3cr3t-canary"


async def explained(
    gateway: Serving, target: str, *headers: tuple[str, str], method: str = "GET"
) -> Explanation:
    told = await gateway.inspector.answer(ExplainRequest(target, (HOST, *headers), method))
    assert isinstance(told, Explanation), told
    assert told.steps[-1].outcome == told.result
    assert all(step.title and step.outcome and step.rule for step in told.steps)
    return told


def outcomes(told: Explanation) -> dict[str, str]:
    return {step.title: step.outcome for step in told.steps}


def came(got: Answer, *, refused: bool) -> str:
    """How an answer ended, as an explanation says it."""
    return f"{got.status} {got.json()['code']}" if refused else got.headers["x-cache"]


class Walk:
    """One stream that is written and read at random; each read is explained before it is sent."""

    def __init__(self, gateway: Serving, prefix: str) -> None:
        self.gateway = gateway
        self.path = f"{prefix}/s"
        self.offsets = ["-1", "now"]

    async def write(self, wire: bytes) -> None:
        got = await self.gateway.ask(wire)
        if got.status in {200, 201, 204} and "stream-next-offset" in got.headers:
            self.offsets.append(got.next_offset)

    async def read(self, method: str, at: int, *lines: str) -> None:
        target = f"{self.path}?offset={self.offsets[at % len(self.offsets)]}"
        headers = [(name, value) for name, _, value in (line.partition(": ") for line in lines)]
        told = await explained(self.gateway, target, *headers, method=method)
        again = await explained(self.gateway, target, *headers, method=method)
        assert told == again, "to explain changes nothing"
        got = await self.gateway.ask(request(method, target, *lines))
        if method == "HEAD" and told.result[0].isdigit():
            assert told.result.startswith(str(got.status))
            return
        result = came(got, refused=told.result[0].isdigit())
        # Whether what is kept still stands, only the origin knows.
        expected = {"REVALIDATED", "MISS"} if told.result == "REVALIDATED" else {told.result}
        assert result in expected, (told, got)


LINES: tuple[tuple[str, ...], ...] = (
    (),
    ("Authorization: Bearer one",),
    ("Authorization: Bearer two",),
    ("Cache-Control: only-if-cached",),
    ("Range: bytes=0-1",),
)
STEPS = st.one_of(
    st.tuples(st.just("write"), st.sampled_from(["put", "post", "close", "delete"]), st.none()),
    st.tuples(st.just("wait"), st.sampled_from([0.5, 30.0, 4000.0]), st.none()),
    st.tuples(st.sampled_from(["GET", "GET", "HEAD"]), st.integers(0, 20), st.sampled_from(LINES)),
)


def written(path: str, what: str) -> bytes:
    return {
        "put": put(path),
        "post": post(path, b"0123456789"),
        "close": request("POST", path, "Stream-Closed: true"),
        "delete": request("DELETE", path),
    }[what]


async def walk(way: Walk, clocks: list[Serving], steps: list[tuple[str, object, object]]) -> None:
    await way.write(put(way.path))
    await way.write(post(way.path, b"0123456789"))
    for kind, what, lines in steps:
        if kind == "write":
            await way.write(written(way.path, str(what)))
        elif kind == "wait":
            for gateway in clocks:
                gateway.clock.now += what  # type: ignore[operator] # a number of seconds
        else:
            await way.read(kind, what, *lines)  # type: ignore[arg-type, misc] # as drawn


@pytest.mark.parametrize("has_origin", [False, True])
@settings(max_examples=EXAMPLES)
@given(steps=st.lists(STEPS, min_size=5, max_size=25))
def test_a_gateway_responds_as_explain_says_in_any_order_of_requests(
    has_origin: bool, steps: list[tuple[str, object, object]]
) -> None:
    async def run() -> None:
        async with serving() as log, edge_serving(log) as gateway:
            way = Walk(gateway, EDGE) if has_origin else Walk(log, PREFIX)
            await walk(way, [log, gateway], steps)

    uvloop.run(run())


@pytest.mark.parametrize("live", ["long-poll", "sse"])
async def test_a_live_read_at_the_tail_is_explained_as_collapsed(live: str) -> None:
    async with serving(long_poll_timeout=0.1) as gateway:
        made = await gateway.ask(put("s"))
        target = f"{PREFIX}/s?offset={made.next_offset}&live={live}"
        told = await explained(gateway, target)
        assert told.result == "COLLAPSED"
        client = await gateway.connect()
        client.send(get(target))
        head = await (client.head() if live == "sse" else client.answer())
        assert head.headers["x-cache"] == told.result


async def test_a_read_that_is_under_way_is_explained_as_collapsed() -> None:
    release = False

    async def play(wire: Wire) -> None:
        await until(lambda: release)
        await wire.send(answer(b"x", "Content-Type: text/plain", "Stream-Next-Offset: 1"))

    async with RawOrigin(play) as origin, edge_serving(origin) as gateway:
        target = f"{EDGE}/s?offset=-1"
        assert (await explained(gateway, target)).result == "MISS"
        first = await gateway.connect()
        first.send(get(target))
        await until(lambda: len(origin.heard) == 1)
        assert (await explained(gateway, target)).result == "COLLAPSED"
        release = True
        assert (await first.answer()).headers["x-cache"] == "MISS"


async def test_explain_names_the_identity_header_of_a_reader_without_its_value() -> None:
    async with serving() as origin, edge_serving(origin) as gateway:
        told = await explained(gateway, f"{EDGE}/s", ("Authorization", SECRET))
    shared = outcomes(told)["Who shares the answer"]
    assert "authorization" in shared
    assert "s3cr3t" not in repr(told)


async def test_a_full_url_and_its_path_are_explained_with_one_cache_key() -> None:
    async with serving() as gateway:
        await gateway.ask(put("s"))
        whole = await gateway.inspector.answer(
            ExplainRequest(f"http://headgate.test{PREFIX}/%73?x=1&offset=-1#part")
        )
        assert isinstance(whole, Explanation)
        plain = await explained(gateway, f"{PREFIX}/s")
        assert outcomes(whole)["Cache key"] == outcomes(plain)["Cache key"]


async def test_a_read_at_an_origin_cannot_be_explained_without_a_host() -> None:
    target = f"{EDGE}/s"
    async with serving() as origin, edge_serving(origin) as gateway:
        await origin.ask(put("s"))
        await gateway.ask(get(target))
        bare = await gateway.inspector.answer(ExplainRequest(target, (("X-A", "b"),)))
        empty = await gateway.inspector.answer(ExplainRequest(target, (("Host", ""),)))
        whole = await gateway.inspector.answer(ExplainRequest(f"http://headgate.test{target}"))
        of_log = await origin.inspector.answer(ExplainRequest(f"{PREFIX}/s"))
        assert of_log == await explained(origin, f"{PREFIX}/s")  # a log needs no host
    for told in (bare, empty):
        assert isinstance(told, Explanation)
        assert told.result == "400 bad_request"
        assert "name the host" in told.steps[-1].rule
    assert isinstance(whole, Explanation)
    assert whole.result == "HIT"


IMPOSSIBLE = {
    "a-relative-path": ExplainRequest("no-path"),
    "a-url-that-is-no-http": ExplainRequest("ftp://host/v1/stream/s"),
    "a-malformed-host": ExplainRequest("http://[::1/v1"),
    "a-blank-in-a-header-name": ExplainRequest("/v1/stream/s", (("Bad Name", "x"),)),
    "an-empty-header-name": ExplainRequest("/v1/stream/s", (("", "x"),)),
    "a-line-break-in-a-header": ExplainRequest("/v1/stream/s", (("X-A", "one\r\nX-B: two"),)),
    "a-blank-in-the-method": ExplainRequest("/v1/stream/s", method="GET /"),
    "an-empty-method": ExplainRequest("/v1/stream/s", method=""),
}


@pytest.mark.parametrize("question", IMPOSSIBLE.values(), ids=IMPOSSIBLE)
async def test_explain_refuses_an_impossible_request(question: ExplainRequest) -> None:
    async with serving() as gateway:
        told = await gateway.inspector.answer(question)
    assert isinstance(told, AnswerFailure)
    assert told.status == 400


@pytest.mark.parametrize(
    ("target", "result"),
    [
        ("/elsewhere", "404 stream_not_found"),
        (f"{PREFIX}/none", "404 stream_not_found"),
        (f"{PREFIX}/s?offset=nonsense", "400 bad_request"),
        (f"{PREFIX}/%zz", "400 bad_request"),
        (f"{PREFIX}/s?live=sse", "400 bad_request"),
    ],
)
async def test_explain_names_the_code_and_detail_of_a_refusal(target: str, result: str) -> None:
    async with serving() as gateway:
        await gateway.ask(put("s"))
        told = await explained(gateway, target)
        got = await gateway.ask(get(target))
    assert told.result == result == f"{got.status} {got.json()['code']}"
    assert told.steps[-1].rule == got.json()["detail"]


async def test_the_front_page_is_explained_as_no_stream() -> None:
    async with serving() as gateway:
        told = await explained(gateway, "/")
        got = await gateway.ask(get("/"))
    assert told.result == came(got, refused=False)


async def test_explain_predicts_the_result_of_a_cached_read_of_a_followed_stream() -> None:
    async with LiveOrigin(b"one") as origin, edge_serving(origin) as gateway:
        target = f"{EDGE}/s?offset=-1"
        tail = (await gateway.ask(get(target))).next_offset
        poll = await gateway.connect()
        poll.send(get(f"{EDGE}/s?live=long-poll&offset={tail}"))
        await until(lambda: gateway.limits.live_readers == 1)
        told = await explained(gateway, target)
        assert told.result == came(await gateway.ask(get(target)), refused=False)


@pytest.mark.parametrize("field", ["Content-Type: text/?", "Vary: ?"])
async def test_an_answer_whose_fields_are_not_utf_8_is_explained_and_its_stream_listed(
    field: str,
) -> None:
    others = ["Cache-Control: public, max-age=60", "Stream-Next-Offset: 4"]
    others += ["Content-Type: text/plain"] if field.startswith("Vary") else []
    body = answer(b"data", *others, field).replace(b"?", b"\xff")
    async with RawOrigin(body) as origin, edge_serving(origin) as gateway:
        await gateway.ask(get(f"{EDGE}/s?offset=-1"))
        told = await gateway.inspector.answer(ExplainRequest(f"{EDGE}/s?offset=-1", (HOST,)))
        listed = await gateway.inspector.answer(ListStreams(EDGE))
        assert isinstance(listed, StreamPage)
        assert msgspec.json.encode((told, listed)).count(b"text/?") == (field[0] == "C")
