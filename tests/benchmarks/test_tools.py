"""The closed loops against a scripted server: they take right answers in any shape, no others."""

from __future__ import annotations

import asyncio
import os
import tempfile
from typing import TYPE_CHECKING

import pytest

from benchmarks import tools
from benchmarks.append import RECORD_BYTES, count_records
from benchmarks.many_streams import chosen
from tests.benchmarks.scripted import in_chunks, server, with_length

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.support.raw_origin import Wire

BODY = b'[{"n":1},{"n":2}]'
LOAD_MS = 50  # every connection asks at least once, however busy the machine is
LONGER_MS = 1000  # enough for several requests of each
UP_TO_DATE = "Stream-Up-To-Date: true"


@pytest.fixture(scope="module", autouse=True)
def built_tools(processes: None) -> None:
    tools.build()


# ---------------------------------------------------------------- load


async def get(
    answer: bytes, piece: int = 1 << 20, *, mode: str = "get", asked: list[str] | None = None
) -> tools.Figures:
    def note(_: str, path: str, *__: object) -> bytes:
        if asked is not None:
            asked.append(path)
        return answer

    with tempfile.NamedTemporaryFile() as file:
        file.write(BODY)
        file.flush()
        async with server(note, piece) as origin:
            where = (origin.port, 2, LOAD_MS, os.getpid(), file.name, "/doc?offset=-1")
            load = (*mode.split(), *where)
            return await asyncio.to_thread(tools.run, "load", *load)


@pytest.mark.parametrize("piece", [1, 3, 1 << 20])
@pytest.mark.parametrize("answer", [with_length(BODY), in_chunks(BODY)], ids=["length", "chunks"])
async def test_the_load_tool_counts_reads_however_responses_are_split(
    answer: bytes, piece: int
) -> None:
    figures = await get(answer, piece)
    assert figures["requests"] >= 2
    assert 0 < figures["p50_ms"] <= figures["p99_ms"] <= figures["max_ms"]


@pytest.mark.parametrize(
    ("answer", "complaint"),
    [
        pytest.param(with_length(BODY[:-1] + b"}"), "a wrong body", id="another-last-byte"),
        pytest.param(with_length(BODY[:-1]), "16 bytes instead of 17", id="a-byte-too-few"),
        pytest.param(with_length(BODY + b" "), "a wrong body", id="a-byte-too-many"),
        pytest.param(with_length(b""), "0 bytes instead of 17", id="an-empty-body"),
        pytest.param(with_length(BODY, "404 Not Found"), "status 404", id="a-404"),
        pytest.param(
            with_length(BODY) + b"H", "1 bytes follow an answer", id="a-byte-behind-the-response"
        ),
        pytest.param(
            b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n1\r\n[[\r\n",
            "longer than its size",
            id="a-chunk-longer-than-its-size",
        ),
        pytest.param(b"HTTP/1.0 200 OK\r\n", "not a response", id="http-1-0"),
    ],
)
async def test_a_wrong_read_response_ends_the_load_run(answer: bytes, complaint: str) -> None:
    with pytest.raises(tools.ToolFailed, match=complaint):
        await get(answer)


async def test_the_load_tool_counts_reads_in_its_sleeping_mode() -> None:
    figures = await get(with_length(BODY), mode="asleep get")
    assert figures["requests"] >= 2


@pytest.mark.parametrize("piece", [3, 1 << 20])
async def test_the_load_tool_counts_each_fresh_connection_ended_by_the_server(piece: int) -> None:
    asked: list[str] = []
    figures = await get(with_length(BODY), piece, mode="fresh", asked=asked)
    assert figures["requests"] == len(asked) >= 2


@pytest.mark.parametrize(
    ("answer", "complaint"),
    [
        pytest.param(with_length(BODY)[:-1], "ended a connection", id="a-cut-body"),
        pytest.param(
            with_length(BODY) + b" ", "1 bytes follow an answer", id="a-byte-behind-the-response"
        ),
        pytest.param(with_length(BODY[:-1] + b"}"), "a wrong body", id="another-last-byte"),
        pytest.param(with_length(BODY[:-1]), "16 bytes instead of 17", id="a-byte-too-few"),
    ],
)
async def test_a_wrong_response_on_a_fresh_connection_ends_the_load_run(
    answer: bytes, complaint: str
) -> None:
    with pytest.raises(tools.ToolFailed, match=complaint):
        await get(answer, mode="fresh")


OFFSET = "Stream-Next-Offset: 1"
HEAD_ONLY = with_length(BODY, "200 OK", OFFSET)[: -len(BODY)]


async def test_the_load_tool_counts_range_and_head_requests() -> None:
    part = with_length(BODY, "206 Partial Content")
    for answer, mode in ((part, "with Range:x part"), (HEAD_ONLY, "head")):
        assert (await get(answer, mode=mode))["requests"] >= 2


@pytest.mark.parametrize(
    ("answer", "mode", "complaint"),
    [
        (with_length(BODY), "part", "status 200"),
        (with_length(BODY[:-1], "206 Partial Content"), "part", "16 bytes instead of 17"),
        (with_length(BODY, "206 Partial Content"), "get", "status 206"),
        (HEAD_ONLY + BODY, "head", "17 bytes follow an answer"),
        (with_length(b""), "head", "a HEAD was answered with 200"),
        (with_length(b"", "404 Not Found", OFFSET), "head", "a HEAD was answered with 404"),
    ],
    ids=["whole", "short", "not asked for", "with a body", "no next offset", "refused"],
)
async def test_a_wrong_range_or_head_response_ends_the_load_run(
    answer: bytes, mode: str, complaint: str
) -> None:
    with pytest.raises(tools.ToolFailed, match=complaint):
        await get(answer, mode=mode)


async def test_the_miss_mode_of_the_load_tool_requests_a_new_url_each_time() -> None:
    asked: list[str] = []
    figures = await get(with_length(BODY), mode="miss", asked=asked)
    assert figures["requests"] == len(set(asked)) == len(asked) >= 2
    assert all(path.startswith("/doc?offset=-1&n=") for path in asked)


async def post(log: dict[str, bytes], answer: bytes) -> tools.Figures:
    def keep(_: str, path: str, body: bytes, __: Wire) -> bytes:
        log[path] = log.get(path, b"") + body
        return answer

    async with server(keep) as origin:
        load = ("load", "post", origin.port, 3, LOAD_MS, os.getpid(), RECORD_BYTES, "/a", "/b")
        return await asyncio.to_thread(tools.run, *load)


async def test_appends_counted_by_the_load_tool_equal_the_stored_records() -> None:
    log: dict[str, bytes] = {}
    figures = await post(log, with_length(b"", "204 No Content", "Stream-Next-Offset: 1"))
    assert log.keys() == {"/a", "/b"}
    assert sum(count_records(log[path], path) for path in log) == figures["requests"]


@pytest.mark.parametrize(
    "answer",
    [
        with_length(b"", "204 No Content"),
        with_length(b"", "503 Service Unavailable", "Stream-Next-Offset: 1"),
    ],
    ids=["no next offset", "refused"],
)
async def test_an_unacknowledged_append_ends_the_load_run(answer: bytes) -> None:
    with pytest.raises(tools.ToolFailed, match="an append was answered with"):
        await post({}, answer)


async def test_each_load_connection_appends_to_its_own_paths_in_turn() -> None:
    log: dict[str, list[bytes]] = {}

    def keep(_: str, path: str, body: bytes, __: Wire) -> bytes:
        log.setdefault(path, []).append(body)
        return with_length(b"", "204 No Content", "Stream-Next-Offset: 1")

    async with server(keep) as origin:
        paths = [f"/{number}" for number in range(5)]
        load = ("post", origin.port, 2, LONGER_MS, os.getpid(), RECORD_BYTES, *paths)
        figures = await asyncio.to_thread(tools.run, "load", *load)
    assert {path: {body[:3] for body in bodies} for path, bodies in log.items()} == {
        "/0": {b"000"},
        "/1": {b"001"},
        "/2": {b"000"},
        "/3": {b"001"},
        "/4": {b"000"},
    }
    counted = [count_records(b"".join(bodies), path) for path, bodies in log.items()]
    assert sum(counted) == figures["requests"]
    assert abs(len(log["/0"]) - len(log["/4"])) <= 1


async def test_two_servers_get_half_of_the_load_writers_each() -> None:
    log: dict[str, list[bytes]] = {"first": [], "second": []}

    def keep(name: str) -> Callable[[str, str, bytes, Wire], bytes]:
        def answer(_: str, __: str, body: bytes, ___: Wire) -> bytes:
            log[name].append(body[:3])
            return with_length(b"", "204 No Content", "Stream-Next-Offset: 1")

        return answer

    async with server(keep("first")) as one, server(keep("second")) as other:
        both = f"{one.port},{other.port}"
        load = ("load", "post", both, 4, LOAD_MS, os.getpid(), RECORD_BYTES, "/a")
        figures = await asyncio.to_thread(tools.run, *load)
    assert (set(log["first"]), set(log["second"])) == ({b"000", b"001"}, {b"002", b"003"})
    assert len(log["first"]) + len(log["second"]) == figures["requests"]


async def test_the_load_tool_creates_each_of_many_streams_once() -> None:
    asked: list[tuple[str, str, bytes]] = []

    def note(method: str, path: str, body: bytes, _: Wire) -> bytes:
        asked.append((method, path, body))
        return with_length(b"", "201 Created")

    async with server(note) as origin:
        load = ("put", origin.port, 3, 30_000, os.getpid(), 0, "/many-*50")
        figures = await asyncio.to_thread(tools.run, "load", *load)
    assert sorted(asked) == [("PUT", f"/many-{number:07}", b"") for number in range(50)]
    assert figures["requests"] == 50


async def test_a_refused_creation_ends_the_load_run() -> None:
    async with server(lambda *_: with_length(b"")) as origin:
        load = ("put", origin.port, 3, 30_000, os.getpid(), 0, "/many-*50")
        with pytest.raises(tools.ToolFailed, match="a creation was answered with 200"):
            await asyncio.to_thread(tools.run, "load", *load)


async def test_the_load_tool_appends_each_record_to_the_stream_of_its_number() -> None:
    numbers: dict[int, str] = {}

    def keep(_: str, path: str, body: bytes, __: Wire) -> bytes:
        number = int(body[4:13])
        assert number not in numbers
        numbers[number] = path
        return with_length(b"", "204 No Content", "Stream-Next-Offset: 1")

    async with server(keep) as origin:
        load = ("post", origin.port, 3, LOAD_MS, os.getpid(), RECORD_BYTES, "/many-*70000")
        figures = await asyncio.to_thread(tools.run, "load", *load)
    assert len(numbers) == figures["requests"]
    assert numbers == {
        number: f"/many-{chosen(number, 70_000):07}" for number in range(len(numbers))
    }


def record(writer: int, number: int) -> bytes:
    return b"%03d %09d" % (writer, number) + b"." * (RECORD_BYTES - 14) + b"\n"


@pytest.mark.parametrize(
    "records",
    [
        [record(0, 0), record(0, 2)],
        [record(0, 0), record(0, 0)],
        [record(0, 1), record(0, 0)],
        [record(0, 0)[:-1]],
        [record(0, 0).replace(b".", b",", 1)],
    ],
    ids=["gap", "twice", "out of order", "cut", "altered"],
)
def test_counting_records_raises_on_a_gap_duplicate_or_altered_record(records: list[bytes]) -> None:
    with pytest.raises(tools.ToolFailed, match="belongs"):
        count_records(b"".join(records), "/a")


# ---------------------------------------------------------------- walk

WALKED = 7
PER_READ = 3


class Walked:
    """A server of two streams, three records a read, that bends one of its answers."""

    def __init__(self, twist: Callable[[int, bytes], bytes]) -> None:
        self.twist = twist
        self.asked: list[str] = []

    def answer(self, _: str, path: str, __: bytes, ___: Wire) -> bytes:
        self.asked.append(path)
        name, _, offset = path.partition("?offset=")
        first = max(0, int(offset))
        last = min(first + PER_READ, WALKED)
        body = b"".join(record(int(name.lstrip("/")), number) for number in range(first, last))
        end = (UP_TO_DATE,) if last == WALKED else ()
        return self.twist(first, with_length(body, "200 OK", f"Stream-Next-Offset: {last}", *end))


async def walk(
    twist: Callable[[int, bytes], bytes] = lambda _, answer: answer,
    piece: int = 1 << 20,
    lasts_ms: int = LOAD_MS,
) -> tuple[Walked, tools.Figures]:
    walked = Walked(twist)
    async with server(walked.answer, piece) as origin:
        load = ("walk", origin.port, lasts_ms, os.getpid(), RECORD_BYTES, "/0", "/1")
        return walked, await asyncio.to_thread(tools.run, *load)


@pytest.mark.parametrize("piece", [70, 1 << 20])
async def test_the_walk_of_the_load_tool_reads_from_beginning_to_tail_repeatedly(
    piece: int,
) -> None:
    walked, figures = await walk(piece=piece)
    for name in ("/0", "/1"):
        offsets = [path.partition("=")[2] for path in walked.asked if path.startswith(name)]
        assert len(offsets) >= 3
        assert offsets == (["-1", "3", "6"] * len(offsets))[: len(offsets)]
    assert figures["requests"] == len(walked.asked)
    assert figures["streams_bytes"] == 2 * WALKED * RECORD_BYTES


@pytest.mark.parametrize(
    ("twist", "complaint"),
    [
        (lambda _, answer: answer.replace(b"000000005", b"000000006"), "a wrong byte from 500"),
        (lambda _, answer: answer.replace(b"Stream-Next-Offset", b"X"), "names no next offset"),
        (lambda _, answer: answer.replace(b"200 OK", b"503 No"), "status 503"),
        (
            lambda first, answer: (
                with_length(record(0, 0)[:50], "200 OK", "Stream-Next-Offset: 1", UP_TO_DATE)
                if first == 0
                else answer
            ),
            "ends within a record",
        ),
    ],
    ids=["altered", "no next offset", "refused", "cut"],
)
async def test_a_wrong_response_to_a_walk_ends_the_load_run(
    twist: Callable[[int, bytes], bytes], complaint: str
) -> None:
    with pytest.raises(tools.ToolFailed, match=complaint):
        await walk(twist)


async def test_a_stream_that_shrinks_ends_the_walk_of_the_load_tool() -> None:
    tails = 0

    def shorten(first: int, answer: bytes) -> bytes:
        nonlocal tails
        tails += first == WALKED - 1
        if first or tails < 4:
            return answer
        return answer.replace(b"\r\n\r\n", b"\r\n" + UP_TO_DATE.encode() + b"\r\n\r\n")

    with pytest.raises(tools.ToolFailed, match="has had 700 bytes, now 300"):
        await walk(shorten, lasts_ms=30_000)  # it ends the run long before
