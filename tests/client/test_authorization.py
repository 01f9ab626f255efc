"""An authorization that is a function: tokens that expire are replaced while streams are used."""

from __future__ import annotations

import asyncio
import hashlib
from typing import TYPE_CHECKING, Any

import headgate
import pytest
from headgate import Runs, RunState, StreamWriter
from headgate.following import catch_up
from headgate.stream_requests import StreamRequests

from tests.client.runs.sources import Feed, is_produced, of, read, read_to
from tests.client.writing import messages
from tests.support.processes import headgate as headgate_server
from tests.support.waiting import until

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from tests.support.processes import Headgate

OPERATIONS = '["read", "append", "create", "close", "delete"]'


class Issuer:
    """Who gives tokens, and takes the older one back as it gives the newer one."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._give("older")

    def replace(self) -> None:
        self._give("newer")

    def allow(self, name: str, operations: str, *, beside: str) -> None:
        """Have one token that may do less, and another that may do everything."""
        self._write(entry(name, operations) + entry(beside, OPERATIONS))

    async def authorization(self) -> str:
        await asyncio.sleep(0)
        return bearer(self.valid)

    def _give(self, name: str) -> None:
        self.valid = name
        self._write(entry(name, OPERATIONS))

    def _write(self, entries: str) -> None:
        new = self.path.with_suffix(".new")
        new.write_text(entries)
        new.replace(self.path)


def entry(name: str, operations: str) -> str:
    digest = hashlib.sha256(token(name).encode()).hexdigest()
    grants = f'grants = [{{ streams = "/v1/stream/*", operations = {operations} }}]'
    return f'[[tokens]]\nname = "{name}"\ntoken = "sha256:{digest}"\n{grants}\n'


def token(name: str) -> str:
    return f"{name}-0123456789abcdef"


def bearer(name: str) -> str:
    return f"Bearer {token(name)}"


@pytest.fixture
def issuer(tmp_path: Path) -> Issuer:
    return Issuer(tmp_path / "tokens.toml")


@pytest.fixture
def guarded(processes: None, issuer: Issuer) -> Iterator[Headgate]:
    environment = {"HEADGATE_AUTH": "tokens", "HEADGATE_CREDENTIALS__TOKENS_FILE": str(issuer.path)}
    with headgate_server(environment=environment) as server:
        yield server


async def is_refused(url: str, authorization: str) -> bool:
    async with StreamRequests(url, authorization=authorization) as stream:
        try:
            await stream.head()
        except headgate.NotAuthorized:
            return True
        except headgate.StreamNotFound:
            return False
    return False


async def test_a_run_and_its_reader_outlive_their_first_token(
    guarded: Headgate, issuer: Issuer
) -> None:
    url = f"{guarded.streams}/runs"
    feed = Feed("Once ")
    async with Runs(url, authorization=issuer.authorization) as runs:
        answer = await runs.start("a", feed.source())
        assert await read_to(answer, b"Once ") == b"Once "
        issuer.replace()
        async with asyncio.timeout(10):
            while not await is_refused(f"{url}/a", bearer("older")):
                await asyncio.sleep(0.05)
        feed.give("upon ", "a time")
        feed.end()
        assert await read(answer) == b"upon a time"
        assert await runs.state("a") == RunState("finished")


async def test_a_run_whose_token_may_not_close_it_ends_as_orphaned(
    guarded: Headgate, issuer: Issuer
) -> None:
    url = f"{guarded.streams}/runs"
    issuer.allow("older", '["read", "append", "create", "delete"]', beside="newer")
    async with asyncio.timeout(10):
        while await is_refused(f"{url}/none", bearer("newer")):
            await asyncio.sleep(0.05)
    async with (
        Runs(url, authorization=bearer("older")) as runs,
        Runs(url, authorization=bearer("newer")) as other,
    ):
        await runs.start("a", of("Once"))
        await until(lambda: not is_produced(runs, "a"))
        assert await other.state("a") == RunState("orphaned", "its producer is gone")


async def test_streams_and_writers_accept_an_authorization_function(
    guarded: Headgate,
) -> None:
    def authorization() -> str:
        return bearer("older")

    url = f"{guarded.streams}/story"
    async with StreamRequests(url, authorization=authorization) as stream:
        await stream.create(content_type="application/json")
        async with StreamWriter(url, authorization=authorization) as writer:
            await writer.write("Once")
        (batch,) = [batch async for _, batch in catch_up(stream, "-1")]
        assert batch.bodies == (b'["Once"]',)


@pytest.mark.parametrize(
    ("given", "error", "sentence"),
    [
        (lambda: None, TypeError, "the function for the authorization returned None, not a str"),
        (
            lambda: "Bearer s3cret\n",
            ValueError,
            "an authorization is the value of a header field: one line",
        ),
        (
            lambda: int("s3cret"),
            headgate.Unavailable,
            "the function for the authorization failed: ValueError",
        ),
    ],
    ids=["none", "line end", "raises"],
)
async def test_a_failing_authorization_function_raises_an_error_without_secrets(
    given: Any, error: type[Exception], sentence: str
) -> None:
    async with StreamRequests("http://127.0.0.1:9/x", authorization=given) as stream:
        with pytest.raises(error) as raised:
            await stream.head()
    assert str(raised.value) == sentence


@pytest.mark.usefixtures("processes")
async def test_a_writer_retries_while_its_authorization_function_fails() -> None:
    failures: list[Exception] = [OSError(), OSError()]

    def authorization() -> str:
        if failures:
            raise failures.pop()
        return "Bearer any"

    with headgate_server() as server:
        url = f"{server.streams}/story"
        async with StreamRequests(url) as stream:
            await stream.create(content_type="application/json")
        async with StreamWriter(url, authorization=authorization) as writer:
            await writer.write("Once")
        assert await messages(url) == ["Once"]
    assert not failures


@pytest.mark.parametrize("given", [b"Bearer s3cret", 7])
def test_an_authorization_of_a_wrong_type_is_refused_with_its_type(given: Any) -> None:
    for made in (StreamRequests, StreamWriter, Runs):
        with pytest.raises(TypeError, match=f"a str, or a function, not {type(given).__name__}"):
            made("http://127.0.0.1/x", authorization=given)
