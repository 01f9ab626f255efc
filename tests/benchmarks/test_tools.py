"""The closed loops against a scripted server: they take right answers in any shape, no others."""

from __future__ import annotations

import asyncio
import os
import tempfile
from typing import TYPE_CHECKING

import pytest

from benchmarks import tools
from benchmarks.append import RECORD_BYTES, count_records
from tests.benchmarks.scripted import in_chunks, server, with_length

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.support.raw_origin import Wire

BODY = b'[{"n":1},{"n":2}]'
LOAD_MS = 50  # every connection asks at least once, however busy the machine is
UP_TO_DATE = "Stream-Up-To-Date: true"


@pytest.fixture(scope="module", autouse=True)
def built_tools(processes: None) -> None:
    tools.build()


# ---------------------------------------------------------------- load


async def get(answer: bytes, piece: int = 1 << 20) -> tools.Figures:
    with tempfile.NamedTemporaryFile() as file:
        file.write(BODY)
        file.flush()
        async with server(lambda *_: answer, piece) as origin:
            load = ("get", origin.port, 2, LOAD_MS, os.getpid(), file.name, "/doc?offset=-1")
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
        pytest.param(with_length(BODY, "404 Not Found"), "status 404", id="a-404"),
    ],
)
async def test_a_wrong_read_response_ends_the_load_run(answer: bytes, complaint: str) -> None:
    with pytest.raises(tools.ToolFailed, match=complaint):
        await get(answer)


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

    def __init__(self, twist: Callable[[bytes], bytes]) -> None:
        self.twist = twist
        self.asked: list[str] = []

    def answer(self, _: str, path: str, __: bytes, ___: Wire) -> bytes:
        self.asked.append(path)
        name, _, offset = path.partition("?offset=")
        first = max(0, int(offset))
        last = min(first + PER_READ, WALKED)
        body = b"".join(record(int(name.lstrip("/")), number) for number in range(first, last))
        end = (UP_TO_DATE,) if last == WALKED else ()
        return self.twist(with_length(body, "200 OK", f"Stream-Next-Offset: {last}", *end))


async def walk(
    twist: Callable[[bytes], bytes] = bytes, piece: int = 1 << 20
) -> tuple[Walked, tools.Figures]:
    walked = Walked(twist)
    async with server(walked.answer, piece) as origin:
        load = ("walk", origin.port, LOAD_MS, os.getpid(), RECORD_BYTES, "/0", "/1")
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
        (lambda answer: answer.replace(b"000000005", b"000000006"), "a wrong byte from 500"),
        (lambda answer: answer.replace(b"Stream-Next-Offset", b"X"), "names no next offset"),
        (lambda answer: answer.replace(b"200 OK", b"503 No"), "status 503"),
    ],
    ids=["altered", "no next offset", "refused"],
)
async def test_a_wrong_response_to_a_walk_ends_the_load_run(
    twist: Callable[[bytes], bytes], complaint: str
) -> None:
    with pytest.raises(tools.ToolFailed, match=complaint):
        await walk(twist)
