"""The Workers and Vercel's function beyond the suite: who shares what, and what is never shared."""

from __future__ import annotations

import asyncio
import contextlib
import json
import subprocess
from typing import TYPE_CHECKING

import pytest

from headgate_cdn.options import Options
from headgate_cdn.render import render
from headgate_cdn.targets import target
from tests.support.event_loops import pytest_asyncio_loop_factories as pytest_asyncio_loop_factories
from tests.support.examples import cases
from tests.support.http1 import Client, ask, request
from tests.support.ports import free_port
from tests.support.processes import NODE, ROOT, headgate
from tests.support.proxy_engines import ENGINES, run_here, started
from tests.support.raw_origin import RawOrigin
from tests.support.waiting import until

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from headgate_cdn.options import CredentialMode
    from tests.support.http1 import Answer
    from tests.support.processes import Headgate
    from tests.support.raw_origin import Wire

TEXT = "text/plain"
PATH = "/v1/stream"
READERS = 5
WORKERS = ("cloudflare-worker", "cloudflare-durable")
MOST_HELD = 32 << 20
PATIENCE_S = 1.0


@contextlib.contextmanager
def serving(
    name: str,
    origin: int,
    credentials: CredentialMode = "bypass",
    values: Mapping[str, str] | None = None,
    *,
    sites: bool = False,
) -> Iterator[int]:
    """The port of a target that asks an origin; values in its file may be given anew.

    With `sites`, the origin has a list of web sites that may read.
    """
    port = free_port()
    options = Options(upstream=f"127.0.0.1:{origin}", credentials=credentials, sites=sites)
    text = render(run_here(name), options)
    for value, new in (values or {}).items():
        assert text.count(value) == 1, value
        text = text.replace(value, new)
    with started(ENGINES[name], {target(name).file_name: text}, port):
        yield port


@pytest.fixture(scope="module")
def server(processes: None) -> Iterator[Headgate]:
    sites = "https://one.example,https://two.example"
    with headgate(environment={"HEADGATE_HTTP__CORS_ORIGINS": sites}) as one:
        yield one


@pytest.fixture(
    scope="module",
    params=cases(
        [*WORKERS, "vercel"], {"cloudflare-durable", "vercel"}, "the Worker that does more"
    ),
)
def edge(processes: None, request: pytest.FixtureRequest, server: Headgate) -> Iterator[int]:
    with serving(request.param, server.port, sites=True) as port:
        yield port


@pytest.fixture(
    scope="module", params=cases(WORKERS, {"cloudflare-durable"}, "the one that does more")
)
def worker(processes: None, request: pytest.FixtureRequest, server: Headgate) -> Iterator[int]:
    with serving(request.param, server.port, sites=True) as port:
        yield port


@pytest.fixture(
    scope="module", params=cases(WORKERS, {"cloudflare-durable"}, "the one that does more")
)
def scripted(processes: None, request: pytest.FixtureRequest) -> Iterator[tuple[int, int]]:
    """The port of a Worker that keeps readers apart, and where it looks for an origin."""
    origin = free_port()
    values = {'"patience_s": 30': f'"patience_s": {PATIENCE_S}'}
    with serving(request.param, origin, "per-credential", values) as port:
        yield port, origin


def answer(body: bytes, *fields: str) -> bytes:
    lines = ["HTTP/1.1 200 OK", f"Content-Length: {len(body)}", f"Content-Type: {TEXT}", *fields]
    return "\r\n".join([*lines, "", ""]).encode() + body


async def asked(port: int, path: str, **headers: str) -> Answer:
    client = await Client.connect(port)
    try:
        client.send(request("GET", path, None, **headers))
        return await client.whole(await client.head())
    finally:
        client.close()


# ---------------------------------------------------------------- before a Headgate


def test_the_location_of_a_stream_created_through_a_worker_is_the_requested_url(edge: int) -> None:
    path = f"{PATH}/located-{edge}"
    made = ask(edge, "PUT", path, None, Content_Type=TEXT)
    assert (made.status, made.get("location")) == (201, f"http://localhost{path}")


def test_a_404_through_a_worker_is_not_cached_once_the_stream_exists(edge: int) -> None:
    path = f"{PATH}/found-{edge}"
    assert ask(edge, "GET", f"{path}?offset=-1").status == 404
    assert ask(edge, "PUT", path, b"here", Content_Type=TEXT).status == 201
    assert ask(edge, "GET", f"{path}?offset=-1").body == b"here"


def test_each_origin_gets_its_own_cors_header_through_a_worker(edge: int) -> None:
    path = f"{PATH}/sites-{edge}"
    ask(edge, "PUT", path, b"shown", Content_Type=TEXT)
    sites = ("https://one.example", "https://two.example", "https://one.example")
    told = [
        ask(edge, "GET", f"{path}?offset=-1", Origin=site).get("access-control-allow-origin")
        for site in sites
    ]
    assert told == list(sites)


def test_a_copy_at_a_worker_has_no_request_id_of_its_first_reader(
    worker: int, server: Headgate
) -> None:
    path = f"{PATH}/named-{worker}"
    ask(server.port, "PUT", path, b"kept", Content_Type=TEXT)
    for name in ("one", "two"):
        read = ask(worker, "GET", f"{path}?offset=-1", None, X_Request_Id=name)
        assert (read.status, read.get("x-request-id")) == (200, None)
    passed = ask(worker, "HEAD", path, None, X_Request_Id="three")
    assert passed.get("x-request-id") == "three"


@pytest.mark.parametrize("coding", ["gzip", "identity"])
def test_what_a_worker_may_compress_has_one_vary_line(
    worker: int, server: Headgate, coding: str
) -> None:
    path = f"{PATH}/long-{worker}-{coding}"
    ask(server.port, "PUT", path, b"x" * 2000, Content_Type=TEXT)
    headers = {"Origin": "https://one.example", "Accept_Encoding": coding}
    read = ask(worker, "GET", f"{path}?offset=-1", None, **headers)
    assert [value for name, value in read.fields if name == "vary"] == ["Origin, Accept-Encoding"]


def test_responses_to_a_worker_are_never_cached_before_the_worker(
    worker: int, server: Headgate
) -> None:
    path = f"{PATH}/gateway-{worker}"
    ask(server.port, "PUT", path, b"kept", Content_Type=TEXT)
    reads = [ask(worker, "GET", f"{path}?offset=-1") for _ in range(2)]
    assert [one.get("x-cache") for one in reads] == ["MISS", "HIT"]
    assert [one.get("cloudflare-cdn-cache-control") for one in reads] == ["no-store", "no-store"]


@pytest.mark.parametrize("query", ["offset=-1&offset=now", "live=sse&live=long-poll&offset=-1"])
def test_a_query_with_a_repeated_parameter_bypasses_the_worker_cache(
    worker: int, query: str
) -> None:
    assert ask(worker, "GET", f"{PATH}/twice?{query}").get("x-cache") == "BYPASS"


@pytest.mark.usefixtures("processes")
def test_a_worker_answers_502_while_its_origin_is_unreachable() -> None:
    for name in (*WORKERS, "vercel"):
        with serving(name, free_port()) as port:
            for method in ("GET", "POST"):
                failed = ask(
                    port, method, f"{PATH}/any?offset=-1", b"" if method == "POST" else None
                )
                assert failed.status == 502, name
                assert failed.get("cache-control") == "no-store"
                assert failed.get("retry-after") in {"1", "2", "3"}


# ---------------------------------------------------------------- who shares what


@pytest.mark.parametrize(
    "field",
    [
        "Set-Cookie: id=1",
        "Cache-Control: private",
        "Vary: Accept-Language",
        "Vary: Accept-Encoding, *",
        "Vary: Origin",  # which the key has only with a list of sites
        "Vary: X-Origin",
    ],
)
async def test_a_worker_shares_no_response_that_is_for_one_reader(
    scripted: tuple[int, int], field: str
) -> None:
    port, origin_port = scripted
    count = 0

    async def play(wire: Wire) -> None:
        nonlocal count
        count += 1
        body = b"%d" % count
        await asyncio.sleep(0.1)  # the others come meanwhile, and wait for this one
        await wire.send(answer(body, "Cache-Control: max-age=60", field))

    async with RawOrigin(play, port=origin_port), asyncio.TaskGroup() as tasks:
        reads = [tasks.create_task(asked(port, f"{PATH}/own?offset=-1")) for _ in range(READERS)]
    assert {one.result().body for one in reads} == {b"%d" % one for one in range(1, READERS + 1)}


async def test_a_worker_keeps_private_responses_apart_by_authorization(
    scripted: tuple[int, int],
) -> None:
    port, origin_port = scripted
    path = f"{PATH}/private?offset=-1"

    async def tell_who(wire: Wire) -> None:
        who = wire.heard.named.get("authorization", "nobody").encode()
        await wire.send(answer(who, "Cache-Control: private, max-age=60"))

    async with RawOrigin(tell_who, port=origin_port) as origin:
        for user in ("Bearer A", "Bearer B", "Bearer A", "Bearer B"):
            assert (await asked(port, path, Authorization=user)).body == user.encode()
        assert len(origin.heard) == 2
        # Under the name by which the Worker itself passes it on, it is nobody's.
        forged = await asked(port, path, Headgate_Authorization="Bearer A")
        assert forged.body == b"nobody"
        said = "\n".join(heard.head.decode() for heard in origin.heard)
    assert "headgate-" not in said.lower()


async def test_a_worker_streams_a_response_of_unknown_length_without_sharing_it(
    scripted: tuple[int, int],
) -> None:
    port, origin_port = scripted
    may_end = asyncio.Event()

    async def slowly(wire: Wire) -> None:
        head = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nCache-Control: max-age=60\r\n\r\n"
        await wire.send(head + b"5\r\nfirst\r\n")
        await may_end.wait()
        await wire.send(b"4\r\nlast\r\n0\r\n\r\n")

    async with RawOrigin(slowly, port=origin_port):
        client = await Client.connect(port)
        client.send(request("GET", f"{PATH}/long?offset=-1", None))
        head = await client.head()
        assert await client.chunk() == b"first"
        may_end.set()
        assert b"".join(await client.chunks()) == b"last"
        client.close()
    assert head.get("x-cache") == "BYPASS"


@pytest.mark.usefixtures("processes")
@pytest.mark.parametrize(("length", "how"), [(MOST_HELD, "MISS"), (MOST_HELD + 1, "BYPASS")])
async def test_a_worker_does_not_share_a_response_beyond_its_memory_limit(
    length: int, how: str
) -> None:
    large = answer(bytes(length), "Cache-Control: no-cache")
    async with RawOrigin(large) as origin:
        with serving("cloudflare-worker", origin.port) as port:
            read = await asked(port, f"{PATH}/large?offset=-1")
    assert (read.get("x-cache"), len(read.body)) == (how, length)


@pytest.mark.usefixtures("processes")
def test_a_worker_shares_at_most_10000_reads_at_once() -> None:
    module = ROOT / "cdn_configs" / "headgate_cdn" / "cloudflare" / "shared_reads.js"
    script = f"""
        const {{ SharedReads }} = await import("{module.as_uri()}")
        const reads = new SharedReads()
        const never = () => new Promise(() => {{}})
        const options = {{ ctx: {{ waitUntil() {{}} }}, patience_ms: 1, mayShare: () => true }}
        for (let read = 0; read < 10_000; read++) reads.join(`${{read}}`, never, options)
        const [more, refused] = await reads.join("10000", never, options)
        const [last, joined] = await reads.join("9999", never, options)
        console.log(JSON.stringify([more, refused, last, joined]))
        process.exit()
    """
    command = [str(NODE), "--no-warnings", "--input-type=module", "-e", script]
    said = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    assert json.loads(said) == [None, "BYPASS", None, "COLLAPSED"]


@pytest.mark.usefixtures("processes")
def test_a_worker_keeps_itself_alive_for_a_shared_read_until_its_response_is_stored() -> None:
    module = ROOT / "cdn_configs" / "headgate_cdn" / "cloudflare" / "shared_reads.js"
    script = f"""
        const {{ SharedReads }} = await import("{module.as_uri()}")
        const waits = []
        const ctx = {{ waitUntil: (promise) => waits.push(promise) }}
        let answered, stored
        const load = () => new Promise((resolve) => (answered = resolve))
        const store = () => ({{ kept_ms: 0, stored: new Promise((resolve) => (stored = resolve)) }})
        const options = {{ ctx, patience_ms: 1000, mayShare: () => true, store }}
        const reading = new SharedReads().join("key", load, options)
        let isOver = false
        waits[0]?.then(() => (isOver = true))
        const turn = () => new Promise((resolve) => setTimeout(resolve))
        const seen = [waits.length]
        answered(new Response("data", {{ headers: {{ "Content-Length": "4" }} }}))
        const [answer] = await reading
        seen.push(new TextDecoder().decode(answer.body))
        for (let turns = 0; turns < 10 && !stored; turns++) await turn()
        seen.push(isOver)
        stored()
        await turn()
        seen.push(isOver)
        console.log(JSON.stringify(seen))
        process.exit()
    """
    command = [str(NODE), "--no-warnings", "--input-type=module", "-e", script]
    said = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    assert json.loads(said) == [1, "data", False, True]


async def test_a_worker_read_that_waits_too_long_for_another_sends_its_own_request(
    scripted: tuple[int, int],
) -> None:
    port, origin_port = scripted
    asking = asyncio.Event()

    async def never(wire: Wire) -> None:
        asking.set()
        await wire.rest()

    path = f"{PATH}/vain?offset=-1&live=long-poll"
    async with RawOrigin(never, answer(b"news"), port=origin_port) as origin:
        first = await Client.connect(port)
        first.send(request("GET", path, None))
        await asking.wait()
        read = await asked(port, path)
        first.close()
    assert (read.body, len(origin.heard)) == (b"news", 2)


async def test_a_copy_at_a_worker_is_served_for_what_its_age_leaves_of_its_lifetime(
    scripted: tuple[int, int],
) -> None:
    port, origin_port = scripted
    lifetime_s, age_s = 10, 7
    fields = (f"Cache-Control: max-age={lifetime_s}", f"Age: {age_s}")
    loop = asyncio.get_running_loop()
    async with RawOrigin(answer(b"old", *fields), answer(b"new", *fields), port=origin_port):
        path = f"{PATH}/aged?offset=-1"
        assert (await asked(port, path)).body == b"old"
        began, seen = loop.time(), []

        async def is_new() -> bool:
            seen.append(await asked(port, path))
            return seen[-1].body == b"new"

        await until(is_new, "a new response")
        served_s = loop.time() - began
    assert lifetime_s - 1 <= age_s + served_s <= 1.1 * lifetime_s
    assert {int(one.get("age") or "") for one in seen[:-1]} <= {age_s, age_s + 1, age_s + 2}
    assert {one.get("x-cache") for one in seen[:-1]} == {"HIT"}


async def test_the_lifetime_of_a_copy_at_a_worker_counts_from_the_head_of_its_response(
    scripted: tuple[int, int],
) -> None:
    port, origin_port = scripted

    async def slowly(wire: Wire) -> None:
        whole = answer(b"slow", "Cache-Control: max-age=2", "Age: 1")
        await wire.send(whole[:-1])
        await asyncio.sleep(1.2)  # longer than it is fresh
        await wire.send(whole[-1:])

    async with RawOrigin(slowly, answer(b"new"), port=origin_port):
        path = f"{PATH}/slow?offset=-1"
        assert (await asked(port, path)).body == b"slow"
        assert (await asked(port, path)).body == b"new"


# ---------------------------------------------------------------- Vercel


@pytest.mark.usefixtures("processes")
def test_only_whole_chunks_for_anonymous_readers_are_cacheable_by_vercel() -> None:
    with headgate() as server, serving("vercel", server.port) as port:
        path = f"{PATH}/chunks"
        first = ask(server.port, "PUT", path, b"first", Content_Type=TEXT)
        ask(server.port, "POST", path, b"second", Content_Type=TEXT, Stream_Closed="true")
        whole = f"{path}?offset={first.next_offset}"
        anybody = ask(port, "GET", whole, None, X_Request_Id="one")
        assert (anybody.body, anybody.get("x-request-id")) == (b"second", None)
        passed = ask(port, "GET", f"{path}?offset=-1", None, X_Request_Id="two")
        assert passed.get("x-request-id") == "two"
        kept = anybody.get("vercel-cdn-cache-control")
        others = {
            "a reader with a credential": ask(port, "GET", whole, Authorization="Bearer A"),
            "a reader with a cookie": ask(port, "GET", whole, Cookie="__Secure-headgate=1"),
            "from the beginning": ask(port, "GET", f"{path}?offset=-1"),
            "a poll of a closed stream": ask(port, "GET", f"{whole}&live=long-poll"),
            "HEAD": ask(port, "HEAD", path),
            "absent": ask(port, "GET", f"{PATH}/absent?offset=-1"),
        }
    told = {name: read.get("vercel-cdn-cache-control") for name, read in others.items()}
    assert told == dict.fromkeys(others, "no-store")
    assert kept == "public, max-age=60, stale-while-revalidate=300"


@pytest.mark.usefixtures("processes")
async def test_the_vercel_function_ends_sse_before_the_time_limit_of_the_platform() -> None:
    values = {'"end_s": 240': '"end_s": 1'}
    with headgate() as server, serving("vercel", server.port, values=values) as port:
        path = f"{PATH}/events"
        ask(server.port, "PUT", path, b"here", Content_Type=TEXT)
        client = await Client.connect(port)
        client.send(request("GET", f"{path}?offset=-1&live=sse", None))
        await client.head()
        events = await client.events_to_the_end()
        client.close()
    assert [(one.name, one.data) for one in events[:1]] == [("data", "here")]
    assert events[-1].name == "control"
    assert client.received.startswith(b":\n")


@pytest.mark.usefixtures("processes")
async def test_the_vercel_function_ends_sse_after_an_offset_or_cuts_it_off_two_seconds_later() -> (
    None
):
    """A response that ended after data would make its reader get these data again."""
    head = b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n\r\n"
    data = b"event: data\ndata: %b\n\n"
    offset = b'event: control\ndata: {"streamNextOffset": "%b"}\n\n'

    async def slow(wire: Wire) -> None:
        await wire.send(head + data % b"one")
        await asyncio.sleep(1.5)  # until its time is over
        await wire.send(data % b"two")
        await asyncio.sleep(0.5)
        await wire.send(offset % b"2" + data % b"three" + offset % b"3")
        await wire.rest()

    async def stuck(wire: Wire) -> None:
        await wire.send(head + data % b"one")
        await wire.rest()

    values = {'"end_s": 240': '"end_s": 1'}
    async with RawOrigin(slow, stuck) as origin:
        with serving("vercel", origin.port, values=values) as port:
            client, late = await Client.connect(port), await Client.connect(port)
            client.send(request("GET", f"{PATH}/events?offset=-1&live=sse", None))
            await client.head()
            events = await client.events_to_the_end()
            late.send(request("GET", f"{PATH}/events?offset=-1&live=sse", None))
            await late.read_until(data % b"one")
            rest = b""
            with contextlib.suppress(ConnectionError):  # as the runtime cuts it off
                rest = await late.rest()
            client.close()
            late.close()
    assert [one.data for one in events] == ["one", "two", '{"streamNextOffset": "2"}']
    assert not rest.endswith(b"0\r\n\r\n")
