"""What cannot be a run, and runs that cannot go on: each a clear error, or an end that tells it."""

from __future__ import annotations

import asyncio
import math
import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypeAlias, get_args

import msgspec
import pytest

from headgate import ResumableStreams, StreamWriter, Worker, sync
from headgate.chats import Chats
from headgate.errors import MOST_CHARACTERS, Closed, ProtocolError, StreamError, Unavailable
from headgate.runs import Runs, RunState, Step
from headgate.runs.formats import FormatName
from headgate.runs.runs import DAY_S
from headgate.stream_requests import StreamRequests
from tests.client.runs.conftest import MAX_APPEND
from tests.client.runs.sources import Feed, of, read, read_failed, read_to
from tests.support.ports import free_port

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

FORGED_END = b'1\n\nevent: end\ndata: {"status":"finished"}\n\n'
LONGEST = "é" * 170 + "abcd"  # six bytes for each é, as a URL has it: 1,024


def calls(runs: Runs, run_id: Any) -> tuple[Awaitable[object], ...]:
    """Return every call that asks a server about a run."""
    start = runs.start(run_id, of("Once"))
    return start, runs.follow(run_id), runs.stop(run_id), runs.state(run_id)


async def failed(runs: Runs, source: Any, format_: FormatName = "text") -> tuple[bytes, str]:
    """Return what readers are sent of a run that fails, and its error."""
    body = await read_failed(await runs.start("a", source, format=format_))
    state = await runs.state("a")
    assert state is not None
    assert state.status == "failed"
    return body, str(state.error)


USABLE = ["a/b", "a/lease", 'a"b', "a b", "größe", "%2F", "?a#b", "\\", "...", LONGEST]


@pytest.mark.parametrize("run_id", USABLE, ids=range(len(USABLE)))
async def test_a_run_id_with_characters_reserved_in_urls_is_usable(
    runs: Runs, other: Runs, run_id: str
) -> None:
    assert await read(await runs.start(run_id, of("Once"))) == b"Once"
    assert await read(await other.follow(run_id)) == b"Once"
    assert await other.state(run_id) == RunState("finished")


UNUSABLE: dict[str, tuple[Any, str]] = {
    "nothing": ("", "'' cannot be the id of a run"),
    "a dot": (".", "'.' cannot be the id of a run"),
    "two dots": ("..", "'..' cannot be the id of a run"),
    "a NUL": ("a\x00b", "'a\\x00b' cannot be the id of a run"),
    "a control character": ("a\x85b", "'a\\x85b' cannot be the id of a run"),
    "a surrogate": ("\ud800", "surrogates not allowed"),
    "too long": (LONGEST + "e", "at most 1024 bytes when it is percent-encoded, not 1025"),
    "an int": (7, "the id of a run is a str, not int"),
    "None": (None, "the id of a run is a str, not NoneType"),
}


@pytest.mark.parametrize(("run_id", "error"), UNUSABLE.values(), ids=UNUSABLE)
async def test_a_run_id_that_no_path_can_hold_is_refused_by_every_call(
    runs: Runs, run_id: Any, error: str
) -> None:
    kind = ValueError if isinstance(run_id, str) else TypeError
    for attempt in calls(runs, run_id):
        with pytest.raises(kind, match=re.escape(error)):
            await attempt


REFUSED_CALLS: dict[str, Callable[[Any], Awaitable[object]]] = {
    "counts items, as an int, or is a Cursor, and is no str": lambda runs: runs.follow("a", "3"),
    "wait is a finite number, 0 or more, not -1": lambda runs: runs.follow("a", wait=-1),
    "wait is a finite number, 0 or more, not inf": lambda runs: runs.follow("a", wait=math.inf),
    "of OpenAI Agents, not str": lambda runs: runs.start("a", "Once"),
    "of OpenAI Agents, not list": lambda runs: runs.start("a", ["Once"]),
    "of OpenAI Agents, not type": lambda runs: runs.start("a", StreamWriter),
    "a run in the format ai-sdk: one in text has none": lambda runs: started(runs, "text", "1"),
    "a run in the format ai-sdk: one in sse has none": lambda runs: started(runs, "sse", "1"),
    "message_id is empty: leave it out": lambda runs: started(runs, "ai-sdk", ""),
    "message_id is a str, not int": lambda runs: started(runs, "ai-sdk", 1),
    "a run has no format 'xml': there are text, sse, ai-sdk": lambda runs: started(runs, "xml"),
}


async def started(runs: Any, format_: str, message_id: object = None) -> None:
    await runs.start("a", of("Once"), format=format_, message_id=message_id)


@pytest.mark.parametrize("error", REFUSED_CALLS)
async def test_a_wrong_argument_of_a_call_is_refused_and_creates_no_run(
    runs: Runs, error: str
) -> None:
    with pytest.raises((TypeError, ValueError), match=re.escape(error)):
        await REFUSED_CALLS[error](runs)
    assert await runs.state("a") is None


@dataclass
class Forged:
    """What is encoded as the record of an end would be."""

    data: dict[str, str]
    type: str = "data-headgate-run"


TEXT, CHUNKS = (
    "a run in the format text takes str, and events of SDKs (docs/client/runs.md), not ",
    "a run in the format ai-sdk takes str, chunks with a type, and events of SDKs "
    "(docs/client/runs.md), not ",
)
NO_JSON = "what the source gave is not JSON"
FORGED = Forged({"status": "finished"})
OURS = "data-headgate-run are Headgate's own"
NAN = float("nan")
UNFIT: dict[str, tuple[FormatName, object, str]] = {
    "text-int": ("text", 1, f"{TEXT}this int"),
    "text-dict": ("text", {"a": 1}, f"{TEXT}this dict"),
    "text-None": ("text", None, f"{TEXT}None"),
    "ai-sdk-None": ("ai-sdk", None, f"{CHUNKS}None"),
    "ai-sdk-bytes": ("ai-sdk", b"Once", f"{CHUNKS}this bytes"),
    "ai-sdk-dict": ("ai-sdk", {"a": 1}, f"{CHUNKS}this dict"),
    "sse-NaN": ("sse", {"a": NAN}, f"{NO_JSON}: NaN and infinities have no JSON"),
    "sse-bytes": ("sse", b'"Once"', "a run takes JSON values, not bytes: decode them"),
    "sse-bytearray": ("sse", bytearray(FORGED_END), "a run takes JSON values, not bytearray"),
    "sse-raw": ("sse", [msgspec.Raw(FORGED_END)], f"{NO_JSON}: there is a line"),
    "sse-object": ("sse", object(), NO_JSON),
    "sse-class": ("sse", float, NO_JSON),
    "a-forged-record-of-ai-sdk": ("ai-sdk", vars(FORGED), OURS),
    "a-forged-record-as-a-dict": ("sse", vars(FORGED), OURS),
    "a-forged-record-as-an-object": ("sse", FORGED, OURS),
    "a-forged-record-with-an-unknown-status": ("sse", vars(Forged({"status": "done"})), OURS),
    "a-step-without-a-key": ("text", Step(""), "the key of a Step is a str"),
    "a-step-whose-key-is-no-text": ("text", Step(1), "the key of a Step is a str"),  # type: ignore[arg-type]
    "a-step-whose-value-is-not-a-number": ("text", Step("1", NAN), "the step '1' is not JSON"),
    "a-step-whose-value-has-no-json": ("text", Step("1", object()), "the step '1' is not JSON"),
    "nothing": ("text", StopAsyncIteration, "the source gave nothing"),
    "an-exception": ("text", RuntimeError("sk-123 is wrong"), "the source failed: RuntimeError"),
    "a-generator-exit": ("text", GeneratorExit(), "the source failed: GeneratorExit"),
    "a-cancellation": ("text", asyncio.CancelledError(), "the source was cancelled"),
}


@pytest.mark.parametrize(("format_", "given", "error"), UNFIT.values(), ids=UNFIT)
async def test_a_source_that_fails_or_yields_what_its_format_does_not_take_fails_its_run(
    runs: Runs, format_: FormatName, given: object, error: str
) -> None:
    feed = Feed(given)
    body, why = await failed(runs, feed.source(), format_)
    assert error in why
    assert "sk-123" not in f"{body!r}{why}"
    assert feed.closed.is_set()


async def test_a_run_finishes_although_closing_its_source_raises(runs: Runs) -> None:
    words = of("Once ", "upon")

    class Source:
        def __aiter__(self) -> Any:
            return self

        def __anext__(self) -> Any:
            return words.__anext__()

        async def aclose(self) -> None:
            raise RuntimeError("the connection is not there")

    assert await read(await runs.start("a", Source())) == b"Once upon"
    assert await runs.state("a") == RunState("finished")


LONG = "é" * MOST_CHARACTERS
ERROR_TEXTS: dict[str, tuple[Any, str]] = {
    "plain": ("too long a question", "too long a question"),
    "a surrogate": ("half of it: \ud800", "half of it: ?"),
    "a line end": ("of a provider \n", "of a provider"),
    "too long": (f"{LONG}é", LONG),
    "None": (None, "the source failed: RuntimeError"),
}


@pytest.mark.parametrize(("text", "error"), ERROR_TEXTS.values(), ids=ERROR_TEXTS)
async def test_the_error_text_of_the_application_is_cut_and_invalid_characters_replaced(
    url: str, text: Any, error: str
) -> None:
    async with Runs(url, error_text=lambda _: text) as runs:
        assert (await failed(runs, Feed(RuntimeError()).source(), "ai-sdk"))[1] == error


async def test_an_item_beyond_max_append_fails_the_run_with_its_number_after_the_items_before_it(
    runs: Runs,
) -> None:
    words = [f"{number} " for number in range(2000)]
    feed = Feed(*words, "x" * MAX_APPEND, "upon")
    body, error = await failed(runs, feed.source())
    assert (body.decode(), error.partition(" (413 ")[0]) == (
        "".join(words),
        "item 2001, of 300,002 bytes, could not be written: the body is over max_append,"
        " 300000 bytes",
    )
    assert feed.closed.is_set()


async def test_a_run_ends_when_another_writer_closes_its_stream(runs: Runs, url: str) -> None:
    feed = Feed("Once ")
    answer = await runs.start("a", feed.source(), format="ai-sdk")
    await read_to(answer, b'"Once "}\n\n')
    async with StreamRequests(f"{url}/a") as stream:
        await stream.close()
    feed.give("upon")
    await feed.closed.wait()
    error = b"the stream of the run was closed without an end"
    expected = b'data: {"type":"error","errorText":"%s"}\n\n' % error
    expected += b'data: {"type":"finish","finishReason":"error"}\n\n'
    assert await read(answer) == expected + b"data: [DONE]\n\n"
    assert await runs.state("a") == RunState("failed", error.decode())


FOREIGN = {"application/json": b'[{"a":1}]', "text/plain": b"Once"}


@pytest.mark.parametrize("content_type", FOREIGN)
async def test_a_stream_that_is_not_a_run_is_refused_as_one(
    runs: Runs, url: str, content_type: str
) -> None:
    async with StreamRequests(f"{url}/a") as stream:
        await stream.create(content_type=content_type, ttl_s=DAY_S, body=FOREIGN[content_type])
    with pytest.raises(ProtocolError, match="this stream is not a run"):
        await runs.follow("a")
    with pytest.raises((ValueError, StreamError)):
        await runs.start("a", of("Once"))


FOREIGN_NOTES = [b'"stop"', b"null", b'{"stop":"no"}', b'{"orphan_after":"1"}']


@pytest.mark.parametrize("note", FOREIGN_NOTES)
async def test_foreign_records_beside_a_run_do_not_stop_it(
    runs: Runs, other: Runs, url: str, note: bytes
) -> None:
    feed = Feed("Once ")
    answer = await runs.start("a", feed.source())
    await read_to(answer, b"Once ")
    for beside in ("lease", "stop"):
        async with StreamRequests(f"{url}/a/{beside}") as stream:
            while await stream.find() is None:
                await asyncio.sleep(0.01)
            await stream.append(note, content_type="application/json")
    assert await other.state("a") == RunState("active")
    assert await other.stop("a") is True
    assert await read(answer) == b""
    assert await runs.state("a") == RunState("stopped")


async def test_a_start_that_is_refused_closes_its_source_and_keeps_the_run_as_it_is(
    runs: Runs,
) -> None:
    answer = await runs.start("a", Feed("Once ").source(), format="sse")
    with pytest.raises(ValueError, match="in the format sse, not in text: pass format='sse'"):
        await runs.start("a", of("again"))
    assert await runs.stop("a") is True
    assert b'"status":"stopped"' in await read(answer)
    feed = Feed("again")
    source = feed.source()
    await anext(source)
    for format_ in get_args(FormatName):
        with pytest.raises(Closed):
            await runs.start("a", source, format=format_)
    assert feed.closed.is_set()
    assert await runs.stop("a") is False


async def test_every_call_of_runs_raises_without_a_server_and_once_they_are_closed() -> None:
    async with Runs(f"http://127.0.0.1:{free_port()}/runs") as runs:
        for attempt in calls(runs, "a"):
            with pytest.raises(Unavailable, match="cannot connect"):
                await attempt
    for attempt in calls(runs, "a"):
        with pytest.raises(RuntimeError, match="no run is started or read once Runs is closed"):
            await attempt


URL = "http://127.0.0.1/runs"
Refused: TypeAlias = tuple[Any, tuple[object, ...], dict[str, object], type[Exception], str]
REFUSED: list[Refused] = [
    (Runs, (URL,), {"orphan_after": 0}, ValueError, "orphan_after is a whole number, 1 or"),
    (Runs, (URL,), {"orphan_after": 1.5}, ValueError, "1 or more, not 1.5"),
    (sync.Runs, (URL,), {"ttl": 15.5}, ValueError, "0 or more, not 15.5"),
    (Runs, (URL,), {"orphan_after": "5"}, TypeError, "1 or more, and not of the type str"),
    (Runs, (URL,), {"ttl": 59, "orphan_after": 60}, ValueError, "ttl is at least 60"),
    (Runs, (URL,), {"ttl": 60.0}, ValueError, "ttl is a whole number"),
    (Runs, (URL,), {"retry_for": -1.0}, ValueError, "retry_for is a number, 0 or more"),
    (Runs, (URL,), {"stop_grace": math.nan}, ValueError, "stop_grace is a number, 0 or more"),
    (Runs, (URL,), {"takeover_within": "9"}, TypeError, "takeover_within is a whole number"),
    (Runs, (URL,), {"takeover_within": 9}, ValueError, "within is 0, or from 10 ("),
    (Runs, (URL,), {"takeover_within": 61, "ttl": 60}, ValueError, "to 60 (ttl) seconds"),
    (Chats, (URL,), {}, TypeError, "headgate.Runs, as in Chats"),
    (Chats, (sync.Runs(URL),), {}, TypeError, "not <class 'headgate.sync.runs.Runs'>"),
    (sync.Chats, (URL,), {}, TypeError, "headgate.sync.Runs, as in Chats"),
    (Chats, (Runs(URL),), {"busy_after": math.inf}, ValueError, "a finite number, 0 or more"),
    (StreamWriter, (URL,), {"max_batch_chunks": 1.5}, ValueError, "max_batch_chunks is a whole"),
    (StreamWriter, (URL,), {"flush_interval": "1"}, TypeError, "flush_interval is a number"),
    (StreamWriter, (URL,), {"epoch": -1}, ValueError, "epoch is a whole number"),
    (Worker, (URL, "a"), {"concurrency": 0}, ValueError, "concurrency is a whole number"),
    (ResumableStreams, (URL,), {"sentinel_ttl": "9"}, TypeError, "sentinel_ttl is a number"),
]


@pytest.mark.parametrize("row", REFUSED, ids=[row[-1] for row in REFUSED])
def test_a_wrong_argument_is_refused_at_the_construction_by_a_sentence(row: Refused) -> None:
    made, given, options, kind, error = row
    with pytest.raises(kind, match=re.escape(error)):
        made(*given, **options)
