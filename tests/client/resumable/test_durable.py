"""What a log adds: the text survives its producer, and the server, and can be read again."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import pytest
from headgate import ProtocolError, RequestRefused, Unavailable
from headgate.names import stream_url
from headgate.resumable import (
    ProducerLost,
    ResumableStreams,
    SourceFailed,
    StreamExists,
    durable,
    log_streams,
)
from headgate.stream_requests import StreamRequests

from tests.client.resumable.sources import Tap, chunks, whole
from tests.client.resumable.test_processes import producer, say
from tests.support.ports import HOST, free_port
from tests.support.processes import Headgate
from tests.support.waiting import until

if TYPE_CHECKING:
    from collections.abc import Awaitable
    from pathlib import Path

    from tests.client.resumable.conftest import MakeStreams
    from tests.support.threaded import Threaded

TEXT = "naïve 🙂👩\u200d🚀 e\u0301nd"
SHORT_TTL_S = 3  # of the sign of a producer that is dead here: it is waited for in vain


@pytest.mark.parametrize("resume_at", [0, 3, 7, 8, len(TEXT) - 1])
async def test_a_finished_stream_is_read_again(on_log: MakeStreams, resume_at: int) -> None:
    producer, other = on_log(), on_log()
    await whole(await producer.create("a", lambda: chunks(TEXT[:7], TEXT[7:])))
    assert await other.state("a") == "done"
    assert await whole(await other.resume("a", resume_at)) == TEXT[resume_at:]
    assert await whole(await other.resumable("a", chunks, resume_at)) == TEXT[resume_at:]


async def test_each_resume_of_a_failed_stream_raises_its_error_again(on_log: MakeStreams) -> None:
    def source() -> list[str]:
        raise ValueError("broken")

    streams = on_log()
    await streams.create("a", source)
    for _ in range(2):
        reader = await streams.resume("a")
        assert reader is not None
        with pytest.raises(SourceFailed, match=r"^stream 'a' failed: ValueError$"):
            await anext(reader)


async def test_resumable_text_is_stored_as_a_plain_text_stream_with_its_ttl(
    server: Threaded,
) -> None:
    folder = f"{server.streams}/plain"
    async with ResumableStreams(folder, sentinel_ttl=90) as streams:
        await whole(await streams.create("a/b", lambda: chunks(*TEXT)))
    async with StreamRequests(stream_url(folder, "a/b")) as stream:
        found = await stream.head()
        body = b"".join([part async for batch in stream.catch_up() for part in batch.bodies])
    assert (found.content_type, found.ttl_s) == ("text/plain; charset=utf-8", 90)
    assert (body.decode(), found.is_closed) == (TEXT, True)


@pytest.mark.usefixtures("processes")
async def test_text_of_a_killed_producer_stays_readable_and_ends_with_producer_lost(
    server: Threaded, monkeypatch: pytest.MonkeyPatch
) -> None:
    """And who looks finds out that it is gone, and ends the stream for everybody."""
    folder = f"{server.streams}/killed"
    monkeypatch.setattr(durable, "PRODUCER_TTL_S", 0.1)
    monkeypatch.setattr(log_streams, "PRODUCER_TTL_S", SHORT_TTL_S)
    async with ResumableStreams(folder) as streams:
        with producer(folder) as process:
            say(process, "text")
            reader = await streams.resume("a")
            assert reader is not None
            assert await anext(reader) == "text\n"
            process.kill()
        assert await streams.state("a") == "active"
        async with StreamRequests(stream_url(folder, "a") + "/producer") as alive:
            await alive.delete()  # as it expires, half a minute later
        with pytest.raises(ProducerLost, match="producer of stream 'a' has not been heard of for"):
            await anext(reader)
        assert await streams.state("a") == "done"
        again = await streams.resume("a")
        assert again is not None
        assert await anext(again) == "text\n"
        with pytest.raises(ProducerLost):
            await anext(again)


async def test_a_producer_that_readers_declared_lost_writes_no_more(
    server: Threaded, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(log_streams, "PRODUCER_TTL_S", SHORT_TTL_S)
    folder, tap = f"{server.streams}/taken-for-dead", Tap()
    ended: list[Awaitable[None]] = []
    async with ResumableStreams(folder, keep_alive=ended.append) as producer:
        reader = await producer.create("a", tap)
        tap.give("text")
        assert await anext(reader) == "text"
        async with StreamRequests(stream_url(folder, "a") + "/producer") as alive:
            await alive.delete()
        assert await producer.state("a") == "done"
        tap.give("more")
        tap.end()
        await ended[0]
        with pytest.raises(ProducerLost):
            await anext(reader)


async def test_a_producer_whose_sign_of_life_expired_may_give_it_again_before_its_text_is_ended(
    server: Threaded, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As when the server was away for longer than a sign lasts."""
    monkeypatch.setattr(durable, "BEAT_S", 1.0)
    folder, tap = f"{server.streams}/in-doubt", Tap()
    async with ResumableStreams(folder) as streams:
        await streams.create("a", tap)
        async with StreamRequests(stream_url(folder, "a") + "/producer") as alive:
            await alive.delete()
        assert await streams.state("a") == "active"
        tap.end()


async def test_a_producer_without_text_renews_its_sign_of_life(
    server: Threaded, monkeypatch: pytest.MonkeyPatch
) -> None:
    """More often than a sign lasts, and for longer than one lasts."""
    monkeypatch.setattr(log_streams, "PRODUCER_TTL_S", 1)
    monkeypatch.setattr(durable, "BEAT_S", 0.1)
    folder, tap = f"{server.streams}/alive", Tap()
    async with ResumableStreams(folder) as streams:
        reader = await streams.create("a", tap)
        ends: set[str] = set()

        async def says_more() -> bool:
            ends.add((await alive.head()).next_offset)  # looking does not keep it
            return len(ends) > 1 / 0.1 + 1

        async with StreamRequests(stream_url(folder, "a") + "/producer") as alive:
            await until(says_more)
        assert await streams.state("a") == "active"
        tap.end()
        assert await whole(reader) == ""


@pytest.mark.parametrize(
    ("record", "error"),
    [
        pytest.param(b"lost\nnot heard of", ProducerLost, id="lost"),
        pytest.param(b"failed\nwrong key", SourceFailed, id="failed"),
    ],
)
async def test_error_records_of_the_previous_version_raise_the_right_errors(
    server: Threaded, record: bytes, error: type[Exception]
) -> None:
    folder = f"{server.streams}/before-{error.__name__}"
    for url, body in ((f"{folder}/a", b"text"), (f"{folder}/a/error", record)):
        async with StreamRequests(url) as stream:
            await stream.create(content_type="text/plain; charset=utf-8", is_closed=True, body=body)
    async with ResumableStreams(folder) as streams:
        reader = await streams.resume("a")
        assert reader is not None
        assert await anext(reader) == "text"
        with pytest.raises(error, match=record.partition(b"\n")[2].decode()):
            await anext(reader)


@pytest.mark.parametrize("operation", ["resumable", "create", "resume", "state"])
async def test_creating_a_stream_while_its_server_is_away_raises_an_error(operation: str) -> None:
    async with ResumableStreams(f"http://{HOST}:{free_port()}") as streams:
        arguments = [chunks] if operation in {"resumable", "create"} else []
        with pytest.raises(Unavailable, match="cannot connect"):
            await getattr(streams, operation)("a", *arguments)


@pytest.mark.usefixtures("processes")
@pytest.mark.smoke
async def test_nothing_is_lost_or_doubled_though_the_server_is_restarted(tmp_path: Path) -> None:
    server = Headgate(f"file:{tmp_path}").start()
    try:
        async with ResumableStreams(server.streams) as streams:
            tap = Tap()
            reader = await streams.create("a", tap)
            given = [f"chunk {number} " for number in range(100)]
            tap.give(*given[:50])
            assert (await anext(reader)).startswith("chunk 0 ")
            server.kill()
            tap.give(*given[50:])
            tap.end()
            server.start()
            await until(lambda: _is_done(streams), within_s=40)
            assert await whole(await streams.resume("a")) == "".join(given)
    finally:
        server.close()


async def test_using_a_json_stream_as_a_resumable_one_raises_a_protocol_error(
    server: Threaded,
) -> None:
    folder = f"{server.streams}/others"
    async with StreamRequests(f"{folder}/a") as stream:
        await stream.create(content_type="application/json")
    async with ResumableStreams(folder) as streams:
        for read in (streams.resume("a"), streams.resumable("a", chunks), streams.state("a")):
            with pytest.raises(ProtocolError, match="of application/json is no resumable stream"):
                await read


@pytest.mark.parametrize(
    "stream_id",
    [
        pytest.param("line\nbreak", id="a-newline"),
        pytest.param("x" * 3000, id="three-thousand-characters"),
    ],
)
async def test_an_id_that_no_url_can_hold_is_refused(on_log: MakeStreams, stream_id: str) -> None:
    with pytest.raises(RequestRefused, match="400 Bad Request"):
        await on_log().create(stream_id, chunks)
    with pytest.raises(ValueError, match=r"cannot be named '\.\.'"):
        await on_log().create("..", chunks)


async def _is_done(streams: ResumableStreams) -> bool:
    try:
        return await streams.state("a") == "done"
    except Unavailable:
        return False


async def test_concurrent_creations_of_a_stream_that_ends_at_once_return_it_or_raise_exists(
    on_log: MakeStreams,
) -> None:
    """The log refuses a creation of what is closed by now as another conflict."""
    replicas = [on_log() for _ in range(4)]
    for number in range(10):
        creating = (
            getattr(streams, operation)(f"{number}", lambda: chunks("text"))
            for streams in replicas
            for operation in ("create", "resumable")
        )
        made = await asyncio.gather(*creating, return_exceptions=True)
        texts = [text for text in made if not isinstance(text, BaseException)]
        refused = {type(error) for error in made if isinstance(error, BaseException)}
        assert refused <= {StreamExists}
        assert len(texts) >= len(replicas)
        assert await asyncio.gather(*map(whole, texts)) == ["text"] * len(texts)
