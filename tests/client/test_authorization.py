"""An authorization that is a function: tokens that expire are replaced while streams are used."""

from __future__ import annotations

import asyncio
import contextlib
from typing import TYPE_CHECKING, Any

import pytest

import headgate
from headgate import Runs, RunState, StreamWriter
from headgate.stream_requests import StreamRequests
from tests.client.runs.sources import Feed, die, read, read_to
from tests.client.writing import made, messages, write
from tests.support.processes import headgate as headgate_server
from tests.support.serving import serving
from tests.support.tokens_files import static_token, token
from tests.support.waiting import until

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from tests.support.processes import Headgate

ALL = '["read", "append", "create", "close", "delete"]'


class Tokens:
    """The file of the tokens that a server accepts, each with its operations."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.accept(older=ALL)

    def accept(self, **operations: str) -> None:
        """Accept these tokens, and no others any more."""
        new = self.path.with_suffix(".new")
        entries = (
            static_token(name, token(name), "/v1/stream/*", operations=given)
            for name, given in operations.items()
        )
        new.write_text("".join(entries))
        new.replace(self.path)


def bearer(name: str) -> str:
    return f"Bearer {token(name)}"


@pytest.fixture
def tokens(tmp_path: Path) -> Tokens:
    return Tokens(tmp_path / "tokens.toml")


@pytest.fixture
def guarded(processes: None, tokens: Tokens) -> Iterator[Headgate]:
    environment = {"HEADGATE_AUTH": "tokens", "HEADGATE_CREDENTIALS__TOKENS_FILE": str(tokens.path)}
    with headgate_server(environment=environment) as server:
        yield server


async def is_accepted(url: str, name: str) -> bool:
    async with StreamRequests(url, authorization=bearer(name)) as stream:
        with contextlib.suppress(headgate.NotAuthorized):
            await stream.find()
            return True
    return False


async def test_a_run_and_its_reader_outlive_their_first_token(
    guarded: Headgate, tokens: Tokens
) -> None:
    url = f"{guarded.streams}/runs"
    valid = "older"

    async def authorization() -> str:
        await asyncio.sleep(0)
        return bearer(valid)

    feed = Feed("Once ")
    async with Runs(url, authorization=authorization) as runs:
        answer = await runs.start("a", feed.source())
        assert await read_to(answer, b"Once ") == b"Once "
        valid = "newer"
        tokens.accept(newer=ALL)
        await until(lambda: is_accepted(f"{url}/a", "newer"))  # and the older one is not any more
        feed.give("upon ", "a time")
        feed.end()
        assert await read(answer) == b"upon a time"
        assert await runs.state("a") == RunState("finished")


@pytest.mark.parametrize("is_killed", [False, True], ids=["ended", "killed"])
async def test_readers_get_the_end_of_a_run_whose_end_no_token_may_write(
    guarded: Headgate, tokens: Tokens, is_killed: bool
) -> None:
    url = f"{guarded.streams}/runs"
    tokens.accept(older='["read", "append", "create", "delete"]', reader='["read"]')
    await until(lambda: is_accepted(f"{url}/none", "reader"))
    feed = Feed("Once")
    async with (
        Runs(url, authorization=bearer("older"), orphan_after=1) as runs,
        Runs(url, authorization=bearer("reader"), orphan_after=1) as readers,
    ):
        await runs.start("a", feed.source(), format="sse")
        answer = await readers.follow("a")
        await read_to(answer, b"\n\n")
        if is_killed:
            await die("a")
        feed.end()
        async with asyncio.timeout(20):
            assert b'"status":"orphaned"' in await read(answer)
            for each in (runs, readers):
                assert await each.state("a") == RunState("orphaned", "its producer is gone")


async def test_a_reader_gets_a_stop_that_nobody_carries_out(
    guarded: Headgate, tokens: Tokens
) -> None:
    url = f"{guarded.streams}/runs"
    tokens.accept(older=ALL, reader='["read"]')
    await until(lambda: is_accepted(f"{url}/none", "reader"))
    async with (
        Runs(url, authorization=bearer("older"), orphan_after=1) as runs,
        Runs(url, authorization=bearer("reader"), orphan_after=1) as readers,
    ):
        await runs.start("a", Feed("Once").source(), format="sse")
        async with StreamRequests(f"{url}/a/stop", authorization=bearer("older")) as wish:

            async def is_there() -> bool:
                return await wish.find() is not None

            await until(is_there)
            await die("a")
            await wish.close()
        async with asyncio.timeout(20):
            assert b'"status":"stopped"' in await read(await readers.follow("a"))
            assert await readers.state("a") == RunState("stopped")


async def test_a_writer_retries_while_its_authorization_function_fails() -> None:
    failures: list[Exception] = [OSError(), OSError()]

    def authorization() -> str:
        if failures:
            raise failures.pop()
        return "Bearer any"

    async with serving() as gateway:
        url = await made(f"http://127.0.0.1:{gateway.port}")
        await write(url, "Once", authorization=authorization)
        assert await messages(url) == ["Once"]
    assert not failures


@pytest.mark.parametrize(
    ("given", "error", "sentence"),
    [
        (lambda: None, TypeError, "the function for the authorization returned None, not a str"),
        (lambda: "Bearer s3cret\n", ValueError, "the value of a header field: one line"),
        (
            lambda: int("s3cret"),
            headgate.Unavailable,
            "the function for the authorization failed: ValueError",
        ),
        (b"Bearer s3cret", TypeError, "an authorization is a str, or a function, not bytes"),
        ("Bearer s3cret\n", ValueError, "the value of a header field: one line"),
        ("Bearer\r\ns3cret", ValueError, "the value of a header field: one line"),
        ("s3cret\0", ValueError, "the value of a header field: one line"),
    ],
    ids=["none", "a line end returned", "raises", "bytes", "a line end", "two lines", "a NUL"],
)
@pytest.mark.parametrize("made", [StreamRequests, StreamWriter, Runs])
async def test_a_wrong_authorization_raises_an_error_without_secrets(
    made: Any, given: Any, error: type[Exception], sentence: str
) -> None:
    async def requested() -> None:
        made("http://127.0.0.1:9/x", authorization=given)
        async with StreamRequests("http://127.0.0.1:9/x", authorization=given) as stream:
            await stream.head()

    with pytest.raises(error, match=sentence) as raised:
        await requested()
    assert "s3cret" not in str(raised.value)
