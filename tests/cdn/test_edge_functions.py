"""The functions of docs/examples/edge stream in Node.js and in workerd: at once, whole, in time."""

from __future__ import annotations

import asyncio
import contextlib
import json
import random
import re
from typing import TYPE_CHECKING, Any

import pytest

from tests.cdn.unread import chunk, reading
from tests.support.event_loops import pytest_asyncio_loop_factories as pytest_asyncio_loop_factories
from tests.support.http1 import Client, ask
from tests.support.ports import free_port
from tests.support.processes import ROOT, headgate
from tests.support.proxy_engines import ENGINES, SCRIPTS, running
from tests.support.raw_origin import RawOrigin
from tests.support.waiting import until

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from tests.support.event_stream import Event
    from tests.support.raw_origin import Wire

EXAMPLE = ROOT / "docs" / "examples" / "edge"
ENTRIES = {"vercel": EXAMPLE / "api" / "stream.mjs", "cloudflare-worker": EXAMPLE / "worker.mjs"}
RUNTIMES = [
    pytest.param("vercel", marks=pytest.mark.smoke, id="node"),
    pytest.param("cloudflare-worker", id="workerd"),
]
END_S = 1.0
KEEP_ALIVE_S = 0.2
WORKER = json.loads((EXAMPLE / "wrangler.jsonc").read_text())
FLAGS = {"WORKER_FLAGS": json.dumps(WORKER["compatibility_flags"])}
TEXT_HEAD = b"HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nTransfer-Encoding: chunked\r\n\r\n"

SECRET = "a" * 20 + "-0_" + "Z" * 8
TEXT = (
    f"Grüße 🎉 an <anna.b+c@mail.example.org>, sk-{SECRET}\n"
    "sieh [1] und[23][4]: x@y.de,bob@example.com. [1 [a] sk-short 日本語@例.jp "
    f"sk-{SECRET}🎉ende@z.io"
)
EMAIL_OR_KEY = re.compile(
    r"[\w.+-]{1,64}@[\w-]{1,63}(?:\.[\w-]{1,63}){1,3}|sk-[\w-]{16,200}", re.ASCII
)


def rewritten(text: str) -> str:
    """Return what the whole text is rewritten to."""
    return re.sub(r"\[([0-9]{1,3})\]", r"[\1](#source-\1)", EMAIL_OR_KEY.sub("[redacted]", text))


@contextlib.contextmanager
def serving(runtime: str, origin: str) -> Iterator[int]:
    """The port of the example as a runtime serves it, before this origin."""
    port = free_port()
    variables = {"ORIGIN": origin, "END_S": str(END_S), "KEEP_ALIVE_S": str(KEEP_ALIVE_S)}
    environment = {**variables, **FLAGS, "FUNCTION_VARIABLES": json.dumps(variables)}
    with running(ENGINES[runtime].command(ENTRIES[runtime], port), port, environment):
        yield port


@pytest.fixture(scope="module", params=RUNTIMES)
def harness(
    processes: None, request: pytest.FixtureRequest
) -> Iterator[tuple[Callable[..., Any], int]]:
    """What asks the functions themselves, in a runtime, and the port of it."""
    port = free_port()
    command = ENGINES[request.param].command(SCRIPTS / "edge_functions.mjs", port)

    def asked(what: str, **members: Any) -> Any:
        answer = ask(port, "POST", f"/{what}", json.dumps(members).encode())
        assert answer.status == 200, answer
        return answer.json()

    with running(command, port, FLAGS):
        yield asked, port


@pytest.fixture
def functions(harness: tuple[Callable[..., Any], int]) -> Callable[..., Any]:
    """What asks the functions themselves, in a runtime."""
    return harness[0]


@pytest.fixture(scope="module", params=RUNTIMES)
def example(processes: None, request: pytest.FixtureRequest) -> Iterator[tuple[int, int]]:
    """The port of the example in a runtime, and the port at which it looks for its origin."""
    origin = free_port()
    with serving(request.param, f"http://127.0.0.1:{origin}/v1/stream") as port:
        yield port, origin


async def receive(client: Client, expected: str) -> None:
    """Wait until exactly this has come; a runtime may part it anywhere."""
    received = b""
    while len(received) < len(expected.encode()):
        part = await client.chunk()
        assert part, f"the body ends after {received!r}"
        received += part
    assert received.decode() == expected


# ---------------------------------------------------------------- the functions themselves


def test_secrets_and_characters_are_found_wherever_a_body_is_cut_in_three(
    functions: Callable[..., Any],
) -> None:
    size = len(TEXT.encode())
    cuts = [[first, last] for first in range(size + 1) for last in (first, *range(first, size, 7))]
    cuts.append([*range(1, size)])  # byte by byte
    assert functions("rewrites", text=TEXT, cuts=cuts) == [rewritten(TEXT)]
    assert "anna" not in rewritten(TEXT)
    assert SECRET not in rewritten(TEXT)


def test_random_texts_in_random_parts_are_rewritten_as_a_whole_text_is(
    functions: Callable[..., Any],
) -> None:
    chance = random.Random(20261130)
    words = ["a@b.cd", "ab.c@de.fg.hi", "sk-" + "x1" * 40, "[12]", "[", "]", "@", "sk-", "🎉", "é"]
    words += [" ", "\n", "x" * 70, "y.z-" * 90, ".", "\u2028"]
    for _ in range(100):
        text = "".join(chance.choices(words, k=chance.randint(1, 40)))
        size = len(text.encode())
        cuts = [sorted(chance.choices(range(size + 1), k=chance.randint(0, 30))) for _ in range(5)]
        assert functions("rewrites", text=text, cuts=cuts) == [rewritten(text)], text


@pytest.mark.parametrize(
    ("upstream", "response"),
    [
        ((200, "text/plain", True), [200, "text/plain", "a secret"]),
        ((200, None, True), [200, "text/plain", "a secret"]),
        ((200, "text/html;charset=UTF-8", True), [200, "text/html;charset=UTF-8", "a secret"]),
        ((200, "application/x-ndjson", True), [200, "application/x-ndjson", "a secret"]),
        ((200, "text/plain; charset=utf-16", True), [502, None, ""]),
        ((200, "image/png", True), [502, None, ""]),
        ((200, "text/plain", False), [502, None, ""]),
        ((204, "text/plain", False), [502, None, ""]),
        ((404, "text/plain", True), [404, None, ""]),
        ((500, "text/plain", True), [502, None, ""]),
        ((503, "text/plain", False), [502, None, ""]),
    ],
    ids=lambda it: None if isinstance(it, list) else "-".join(map(str, it)),
)
def test_an_upstream_without_text_is_502_and_nothing_of_a_failed_one_is_passed_on(
    functions: Callable[..., Any], upstream: tuple[int, str | None, bool], response: list[Any]
) -> None:
    code, content_type, has_body = upstream
    assert functions("status", code=code, type=content_type, hasBody=has_body) == response


@pytest.mark.parametrize("body", ["rewritten", "generated"])
def test_a_body_is_at_most_four_chunks_ahead_of_a_slow_reader(
    functions: Callable[..., Any], body: str
) -> None:
    assert functions("lead", body=body) <= 4


def test_a_generated_body_begins_before_its_source_which_ends_when_the_reader_leaves(
    functions: Callable[..., Any],
) -> None:
    assert functions("leaving") == ["part 0\n", "response", "signal", "source ended"]


async def test_a_source_ends_when_its_reader_has_left_though_the_work_is_waited_for(
    harness: tuple[Callable[..., Any], int],
) -> None:
    functions, port = harness
    async with reading(port, "/") as client:
        await client.head()
        await client.chunk()
        assert await asyncio.to_thread(functions, "running") == 1

    async def has_ended() -> bool:
        count: int = await asyncio.to_thread(functions, "running")
        return count == 0

    await until(has_ended, "the source to end")


def test_a_generated_body_whose_source_fails_is_cut_and_its_work_ends(
    functions: Callable[..., Any],
) -> None:
    assert functions("failing") == "cut"


def test_the_entry_for_workers_gives_the_work_of_a_body_to_wait_until(
    functions: Callable[..., Any],
) -> None:
    assert functions("kept") == ["part 0\n", 1]


def test_events_that_a_reader_does_not_take_end_in_time_all_the_same(
    functions: Callable[..., Any],
) -> None:
    assert functions("stalled", end_ms=100) == "ended"


def test_events_have_ids_and_end_with_done(functions: Callable[..., Any]) -> None:
    answer = functions(
        "events", after=None, count=2, silentAfter=None, end_ms=20_000, keepAlive_ms=10_000
    )
    assert answer["text"] == (
        "retry: 1000\n\n"
        'id: 0\nevent: tick\ndata: {"id":0}\n\n'
        'id: 1\nevent: tick\ndata: {"id":1}\n\n'
        "event: done\ndata: {}\n\n"
    )
    assert answer["headers"]["content-type"] == "text/event-stream"
    assert answer["headers"]["cache-control"] == "no-cache, no-transform"


def test_silent_events_have_comments_and_end_in_time_with_a_place_and_a_time_to_come_back(
    functions: Callable[..., Any],
) -> None:
    answer = functions("events", after="4", count=9, silentAfter=6, end_ms=500, keepAlive_ms=50)
    begin = 'retry: 1000\n\nid: 5\nevent: tick\ndata: {"id":5}\n\n'
    end = "id: 5\nretry: 1000\nevent: reconnect\ndata: {}\n\n"
    comments = answer["text"].removeprefix(begin).removesuffix(end)
    assert answer["text"] == begin + comments + end
    assert re.fullmatch(r"(:\n){2,9}", comments)
    assert answer["returned"], "the source is not left waiting"


def test_events_that_end_before_the_first_one_have_no_place(functions: Callable[..., Any]) -> None:
    answer = functions("events", after=None, count=1, silentAfter=0, end_ms=50, keepAlive_ms=10_000)
    assert answer["text"] == "retry: 1000\n\nretry: 1000\nevent: reconnect\ndata: {}\n\n"


def test_the_functions_use_nothing_that_only_one_runtime_has() -> None:
    text = (EXAMPLE / "functions.mjs").read_text()
    assert re.findall(r"\bBuffer\b(?!`)|\bimport\b|\brequire\b|\bprocess\b", text) == []


# ---------------------------------------------------------------- as a runtime serves them


async def test_a_generated_body_is_sent_part_by_part(example: tuple[int, int]) -> None:
    async with reading(example[0], "/generated?count=5&wait_ms=200") as client:
        head = await client.head()
        await receive(client, "part 0\n")
        rest = await client.chunks()
    assert head.get("content-type") == "text/plain; charset=utf-8"
    assert head.get("cache-control") == "no-store, no-transform"
    assert b"".join(rest) == b"part 1\npart 2\npart 3\npart 4\n"


async def test_a_client_can_ask_for_at_most_1000_parts(example: tuple[int, int]) -> None:
    answer = await asyncio.to_thread(ask, example[0], "GET", "/generated?count=1e9&wait_ms=0")
    assert answer.body.count(b"\n") == 1000


def test_an_example_answers_get_at_its_paths_alone(example: tuple[int, int]) -> None:
    port, _ = example
    assert ask(port, "GET", "/other").status == 404
    refused = ask(port, "POST", "/events", b"")
    assert (refused.status, refused.get("allow")) == (405, "GET")


def test_an_unreachable_upstream_is_502_without_a_body(example: tuple[int, int]) -> None:
    failed = ask(example[0], "GET", "/rewritten/s")
    assert (failed.status, failed.body) == (502, b"")


async def test_the_text_before_a_match_that_has_begun_is_sent_at_once(
    example: tuple[int, int],
) -> None:
    port, origin_port = example
    may_go_on = asyncio.Event()

    async def play(wire: Wire) -> None:
        await wire.send(TEXT_HEAD + chunk("Grüße von anna@mail".encode()))
        await may_go_on.wait()
        await wire.send(chunk(b".example, bye") + b"0\r\n\r\n")

    async with (
        RawOrigin(play, port=origin_port) as origin,
        reading(port, "/rewritten/s?offset=7", Authorization="Bearer A") as client,
    ):
        head = await client.head()
        await receive(client, "Grüße von ")
        may_go_on.set()
        rest = b"".join(await client.chunks())
    assert head.get("content-type") == "text/plain"
    assert head.get("cache-control") == "no-store, no-transform"
    assert rest == b"[redacted], bye"
    (heard,) = origin.heard
    assert heard.target == "/v1/stream/s?view=text"  # from its beginning, whatever a client asks
    assert heard.named["authorization"] == "Bearer A"


@pytest.mark.parametrize(
    ("example", "is_cut"),
    [
        pytest.param("vercel", True, marks=pytest.mark.smoke, id="node"),
        pytest.param("cloudflare-worker", False, id="workerd"),  # as the page says
    ],
    indirect=["example"],
)
async def test_a_body_that_breaks_off_upstream_is_cut_by_node_and_ended_by_workerd(
    example: tuple[int, int], is_cut: bool
) -> None:
    port, origin_port = example

    async def play(wire: Wire) -> None:
        await wire.send(TEXT_HEAD + chunk(b"half of it "))
        await may_break.wait()
        await wire.reset()

    may_break = asyncio.Event()
    async with RawOrigin(play, port=origin_port), reading(port, "/rewritten/s") as client:
        await client.head()
        await receive(client, "half of it ")
        may_break.set()
        with pytest.raises((EOFError, OSError)) if is_cut else contextlib.nullcontext():
            assert await client.chunk() == b""


async def test_an_incomplete_last_character_becomes_a_replacement_character(
    example: tuple[int, int],
) -> None:
    port, origin_port = example
    response = TEXT_HEAD + chunk("cut 🎉".encode()[:-1]) + b"0\r\n\r\n"
    async with RawOrigin(response, port=origin_port), reading(port, "/rewritten/s") as client:
        whole = await client.whole(await client.head())
    assert whole.body.decode() == "cut \N{REPLACEMENT CHARACTER}"


async def test_of_200_mb_no_more_than_buffers_of_sockets_hold_are_read_ahead_of_a_slow_reader(
    example: tuple[int, int],
) -> None:
    port, origin_port = example
    part = chunk(b"some text of a large body " * 2521)
    parts, taken, stalls = 200_000_000 // len(part), 0, asyncio.Event()

    async def play(wire: Wire) -> None:
        nonlocal taken
        await wire.send(TEXT_HEAD)
        for _ in range(parts):
            sending = asyncio.ensure_future(wire.send(part))
            if not (await asyncio.wait([sending], timeout=0.5))[0]:
                stalls.set()
            await sending
            taken += 1
        stalls.set()

    async with RawOrigin(play, port=origin_port), reading(port, "/rewritten/s") as client:
        await client.head()
        client.pause()
        await stalls.wait()
        ahead = taken * len(part)
        client.resume()
        received = 0
        while received < ahead + 8_000_000:  # it goes on when the reader does
            received += len(await client.part())
    # A socket's buffers grow to 6 MB and 4 MB each, and there are two connections.
    assert ahead < 32_000_000


async def test_an_upstream_that_goes_on_is_left_when_the_reader_leaves(
    example: tuple[int, int],
) -> None:
    port, origin_port = example
    left = asyncio.Event()

    async def play(wire: Wire) -> None:
        await wire.send(TEXT_HEAD)
        while not wire.is_closing():
            await wire.send(chunk(b"a few words "))
            await asyncio.sleep(0.01)  # as a model writes
        left.set()

    async with RawOrigin(play, port=origin_port):
        async with reading(port, "/rewritten/s") as client:
            await client.head()
            await client.chunk()
        await until(left.is_set, "the function to leave its upstream")


@pytest.mark.parametrize("place", ["header", "query"])
async def test_a_reader_of_many_short_event_streams_gets_every_event_once(
    example: tuple[int, int], place: str
) -> None:
    port, _ = example
    parts: list[list[Event]] = []
    query, resumed = "", dict[str, str]()
    while not parts or parts[-1][-1].name != "done":
        # As an EventSource does by itself, and as the documented page does.
        async with reading(port, f"/events?count=12&wait_ms=200{query}", **resumed) as client:
            await client.head()
            parts.append(await client.events_to_the_end())
        last = re.findall(rb"^id: (\d+)$", client.received, re.M)[-1].decode()
        if place == "query":
            query = f"&after={last}"
        else:
            resumed = {"Last_Event_ID": last}
    assert len(parts) >= 3
    assert {part[-1].name for part in parts[:-1]} == {"reconnect"}
    ticks = [
        json.loads(event.data)["n"] for part in parts for event in part if event.name == "tick"
    ]
    assert ticks == list(range(12))


async def test_silent_events_are_kept_alive_by_comments(example: tuple[int, int]) -> None:
    async with reading(example[0], "/events?count=2&wait_ms=700") as client:
        await client.head()
        events = await client.events_to_the_end()
    assert b"\n\n:\n" in client.received
    assert events[0].name == "tick"


@pytest.mark.usefixtures("processes")
@pytest.mark.parametrize("runtime", RUNTIMES)
async def test_a_stream_of_a_gateway_is_redacted_while_it_is_written(runtime: str) -> None:
    page = (EXAMPLE / "README.md").read_text()
    (stored,), (printed,) = re.findall(r"-d '(.*)'", page), re.findall(r"prints `(.*)`", page)
    with headgate() as server, serving(runtime, server.streams) as port:
        path = "/v1/stream/letters/anna"
        ask(server.port, "PUT", path, stored.encode(), Content_Type="text/plain")
        async with reading(port, "/rewritten/letters/anna") as client:
            await client.head()
            await receive(client, printed)
            ask(server.port, "POST", path, b"Or to bo", Content_Type="text/plain")
            await receive(client, "Or to ")
            ask(server.port, "POST", path, b"b@mail.example [2]. ", Content_Type="text/plain")
            await receive(client, "[redacted] [2](#source-2). ")
            ask(server.port, "POST", path, Content_Type="text/plain", Stream_Closed="true")
            assert await client.chunks() == []
        absent = ask(port, "GET", "/rewritten/absent")
    assert (absent.status, absent.body) == (404, b"")


def test_the_files_of_the_platforms_name_the_entries_of_the_example() -> None:
    vercel = json.loads((EXAMPLE / "vercel.json").read_text())
    assert EXAMPLE / WORKER["main"] == ENTRIES["cloudflare-worker"]
    assert [EXAMPLE / name for name in vercel["functions"]] == [ENTRIES["vercel"]]
    engine = (SCRIPTS / "worker_engine.mjs").read_text()
    assert f'compatibilityDate: "{WORKER["compatibility_date"]}"' in engine
    (rewrite,) = vercel["rewrites"]
    for path in ("/generated", "/events", "/rewritten/a/b"):
        assert re.fullmatch(rewrite["source"], path)
