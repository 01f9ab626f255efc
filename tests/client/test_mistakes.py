"""Typical mistakes, each with the error that a user gets, and its sentence: what to do."""

from __future__ import annotations

import asyncio
import contextlib
import inspect
import subprocess
import sys
from typing import TYPE_CHECKING, Any, NamedTuple

import headgate
import pytest
from aiohttp import web
from headgate import sync

from tests.support.ports import free_port
from tests.support.processes import headgate as headgate_server
from tests.support.raw_origin import RawOrigin, answer
from tests.support.serving import serving

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable

    Act = Callable[[Any, str], object]


class Mistake(NamedTuple):
    """What is done with a client and its URL, and the error; `B` is that URL."""

    act: Act
    error: type[Exception]
    sentence: str


class Page:
    """A server that answers each request with a page: the wrong one."""

    def __init__(self, status: int) -> None:
        self.status = status

    async def __call__(self, _: web.BaseRequest) -> web.Response:
        return web.Response(status=self.status, text="<h1>Hello</h1>", content_type="text/html")


def client(url: str, **options: Any) -> headgate.Client:
    return headgate.Client(url, retries=0, **options)


async def open_at(url: str) -> None:
    async with client(url) as hg:
        await hg.open("x")


async def create_at(url: str, **options: Any) -> None:
    async with client(url, **options) as hg:
        await hg.create("x")


async def sync_write(url: str) -> None:
    def write() -> None:
        with sync.Client(url) as hg:
            hg.writer("text").write("x")

    await asyncio.to_thread(write)


async def read(stream: Any, offset: Any) -> list[Any]:
    return [message async for message in stream.read(offset)]


async def two_writers(url: str) -> None:
    async with headgate.StreamWriter(f"{url}/json", producer_id="p") as old:
        await old.write(1)
        await old.flush()
        async with headgate.StreamWriter(f"{url}/json", producer_id="p", epoch=1) as new:
            await new.write(2)
        await old.write(3)


async def of_page(status: int) -> None:
    runner = web.ServerRunner(web.Server(Page(status)))
    await runner.setup()
    port = free_port()
    try:
        await web.TCPSite(runner, "127.0.0.1", port).start()
        async with client(f"http://127.0.0.1:{port}") as hg:
            await hg.create("x")
    finally:
        await runner.cleanup()


async def from_origin(*lines: str, status: str = "200 OK", body: bytes = b"") -> None:
    async with RawOrigin(answer(body, *lines, status=status)) as origin, client(origin.url) as hg:
        await read(hg.stream("s"), "0_1")


async def in_a_block(block: Any, *, is_async: bool) -> None:
    if is_async:
        async with block:
            pass
    else:
        with block:
            pass


NOT_A_VALUE = "this is not a JSON value, such as a dict, a list or bytes of JSON text: "
MISTAKES = {
    "a wrong token": Mistake(
        lambda *_: from_origin(status="401 Unauthorized"),
        headgate.NotAuthorized,
        "the server wants an Authorization (401 Unauthorized)\n"
        "Set the `token` of the client to one that permits this; STREAM_AUTH and an "
        "`authorization` begin with its scheme, as 'Bearer TOKEN' does.",
    ),
    "a token with its scheme": Mistake(
        lambda _, url: client(url, token="Bearer x"),
        ValueError,
        "a token is one word of printable ASCII, without a scheme such as Bearer",
    ),
    "the name of an argument of another class": Mistake(
        lambda _, url: client(url, authorization="x"),
        TypeError,
        "there is no 'authorization' here: write one of base_url, token, headers, timeout, "
        "retries, session",
    ),
    "headers that are not str": Mistake(
        lambda _, url: client(url, headers={"X-Tenant": 7}),
        TypeError,
        "headers are a dict of str, and 'X-Tenant' is str: int: write str(value)",
    ),
    "no server": Mistake(
        lambda *_: open_at(f"http://127.0.0.1:{free_port()}"),
        headgate.Unavailable,
        "cannot connect: Connection refused\nStart the server, or correct the URL of the client.",
    ),
    "a page in place of a server": Mistake(
        lambda *_: of_page(404),
        headgate.StreamNotFound,
        "the response is a page of HTML: check the URL of the server (404 Not Found)\n"
        "Correct the URL of the client: it is one such as http://127.0.0.1:4437/v1/stream.",
    ),
    "a server of something else": Mistake(
        lambda *_: of_page(200),
        headgate.ProtocolError,
        "this is not a Durable Streams server: it sent no Stream-Next-Offset; check the URL",
    ),
    "https for http": Mistake(
        lambda _, url: open_at(url.replace("http:", "https:")),
        headgate.Unavailable,
        "perhaps its URL begins with http://",
    ),
    "a URL without its scheme": Mistake(
        lambda *_: client("127.0.0.1:4437/v1/stream"),
        ValueError,
        "a stream has a URL such as http://HOST:PORT/NAME, and '127.0.0.1:4437/v1/stream' is "
        "none: write http:// before it",
    ),
    "a redirect": Mistake(
        lambda *_: from_origin("Location: /v2", status="301 Moved Permanently"),
        headgate.BadRequest,
        "a redirect, which is not followed: use the URL that it leads to (301 Moved Permanently)",
    ),
    "a name that leads upwards": Mistake(
        lambda hg, _: hg.stream("orders/.."),
        ValueError,
        "a stream cannot be named 'orders/..': write its path without . and ..",
    ),
    "a host for a name": Mistake(
        lambda hg, _: hg.stream("localhost:4437/s"),
        ValueError,
        "'localhost:4437/s' is not the name of a stream: a URL begins with http:// or https://",
    ),
    "no name": Mistake(
        lambda hg, _: hg.stream(""), ValueError, 'a stream is empty: write one, such as "orders"'
    ),
    "a stream that nobody has created": Mistake(
        lambda hg, _: hg.stream("none").append("x"),
        headgate.StreamNotFound,
        "B/none: there is no stream at this path (404 Not Found)\n"
        "Correct its name or the URL of the client, or create the stream first.",
    ),
    "a create of another type": Mistake(
        lambda hg, _: hg.create("text", json=True),
        headgate.Conflict,
        "B/text: a stream of type text/plain exists here (409 Conflict)\n"
        "Take another name, or delete the stream first; `open` returns it as it is, and a closed "
        "one can only be read.",
    ),
    "a read below a base URL without its path": Mistake(
        lambda _, url: open_at(url.removesuffix("/v1/stream")),
        headgate.StreamNotFound,
        "streams are below /v1/stream/ (404 Not Found)\nCorrect the URL of the client: it is one",
    ),
    "a subscription that nobody has created": Mistake(
        lambda hg, _: hg.worker("none").run(print),
        headgate.StreamNotFound,
        "there is no subscription with this id (404 Not Found)\nCreate the subscription first",
    ),
    "subscriptions in a list": Mistake(
        lambda hg, _: hg.worker(["a", "b"]),
        TypeError,
        "an id of a subscription is a str, not list: write worker(*ids)",
    ),
    "flush for flush_interval": Mistake(
        lambda hg, _: hg.writer("text", flush=1),
        TypeError,
        "there is no 'flush' here: write one of stream, content_type, metadata, producer_id, "
        "epoch, flush_interval, ",
    ),
    "a writer without its block": Mistake(
        lambda _, url: sync_write(url),
        RuntimeError,
        "a writer is used in its block: async with hg.writer(name) as writer, and in "
        "headgate.sync `with`",
    ),
    "a token function that returns nothing": Mistake(
        lambda _, url: create_at(url, token=lambda: None),
        TypeError,
        "the function for the authorization returned None, not a str",
    ),
    "a source for a function of it": Mistake(
        lambda hg, _: hg.runs.take_over("x", hg.stream("text").follow()),
        TypeError,
        "make_source is a function that returns the source, such as `answer` and not `answer()`: "
        "pass the function itself, not StreamIterator",
    ),
    "a dict to a stream of text": Mistake(
        lambda hg, _: hg.stream("text").append({"a": 1}),
        TypeError,
        "B/text is a stream of text/plain: append str or bytes, not dict, or create it with "
        "json=True",
    ),
    "a str to a JSON stream": Mistake(
        lambda hg, _: hg.stream("json").append("a"),
        TypeError,
        "B/json is a JSON stream: append the value itself, not its text; a message that is a "
        "string is appended as bytes of JSON",
    ),
    "bytes that are not JSON": Mistake(
        lambda hg, _: hg.stream("json").append(b"{a"),
        ValueError,
        f"{NOT_A_VALUE}JSON is malformed",
    ),
    "an object that JSON does not have": Mistake(
        lambda hg, _: hg.stream("json").append(object()), TypeError, NOT_A_VALUE
    ),
    "an append of a generator": Mistake(
        lambda hg, _: hg.stream("json").append(number for number in range(3)),
        TypeError,
        "B/json: append takes one message, not generator: append_many takes a list",
    ),
    "an append of one message as several": Mistake(
        lambda hg, _: hg.stream("text").append_many("abc"),
        TypeError,
        "append_many takes several messages, such as a list; append takes one",
    ),
    "an empty message": Mistake(
        lambda hg, _: hg.stream("text").append(""),
        ValueError,
        "an empty message cannot be appended",
    ),
    "half of a character": Mistake(
        lambda hg, _: hg.stream("text").append("\ud800"), ValueError, "half of a surrogate pair"
    ),
    "an append that is too large": Mistake(
        lambda hg, _: hg.stream("text").append("x" * 2000),
        headgate.TooLarge,
        "B/text: the body is over max_append, 1000 bytes (413 Request Entity Too Large)\n"
        "Append less at once.",
    ),
    "an append after close": Mistake(
        lambda hg, _: hg.stream("closed").append("x"),
        headgate.Closed,
        "B/closed: the stream is closed: it takes no further appends (409 Conflict)\n"
        "Append to another stream: this one has ended.",
    ),
    "a place that is not an offset": Mistake(
        lambda hg, _: read(hg.stream("json"), 3),
        TypeError,
        "an offset is a str, or the message to continue after, not int: begin at '-1', or at "
        "'now' for what is new",
    ),
    "half of an offset": Mistake(
        lambda hg, _: read(hg.stream("json"), "1,x"),
        ValueError,
        "'1,x' is not an offset of a message, '-1' or 'now'",
    ),
    "an offset of something else": Mistake(
        lambda hg, _: read(hg.stream("json"), "third"),
        headgate.BadRequest,
        "B/json: offset is malformed: give back a Stream-Next-Offset value unchanged "
        "(400 Bad Request)\n"
        'Read from the `offset` of a message, from the beginning, "-1", or from "now".',
    ),
    "an offset that is gone": Mistake(
        lambda *_: from_origin(status="410 Gone"),
        headgate.Gone,
        'the stream is gone (410 Gone)\nBegin again at the beginning: offset="-1".',
    ),
    "data that is not JSON": Mistake(
        lambda *_: from_origin(
            "Content-Type: application/json", "Stream-Next-Offset: 0_9", body=b"[1,"
        ),
        headgate.ProtocolError,
        "what comes after offset 0_1 is not JSON: read on after it, or read the bytes with "
        "follow_bytes",
    ),
    "two writers as one producer": Mistake(
        lambda _, url: two_writers(url),
        headgate.Fenced,
        "B/json: the producer was fenced: epoch 1 is in force (403 Forbidden)\n"
        "Another writer has taken over: end this one.",
    ),
    "the client for threads in a coroutine": Mistake(
        lambda _, url: sync.Client(url).create("x"),
        RuntimeError,
        "headgate.sync waits, which would hold up the event loop that runs in this thread: use "
        "`headgate` there",
    ),
    "with for async with": Mistake(
        lambda hg, _: in_a_block(hg, is_async=False),
        TypeError,
        "headgate.Client is for asyncio: write async with, or use headgate.sync.Client",
    ),
    "async with for with": Mistake(
        lambda _, url: in_a_block(sync.Client(url), is_async=True),
        TypeError,
        "headgate.sync is for threads: write with and for without async, or use headgate",
    ),
    "for for async for": Mistake(
        lambda hg, _: list(hg.stream("json").follow()),
        TypeError,
        "the messages come one by one: write async for, or use headgate.sync",
    ),
}


@pytest.fixture
async def url() -> AsyncIterator[str]:
    async with serving(max_append=1000) as server:
        base = f"http://127.0.0.1:{server.port}/v1/stream"
        async with headgate.Client(base) as hg:
            await hg.create("json", json=True)
            await hg.create("text")
            await (await hg.create("closed")).close()
        yield base


@pytest.mark.parametrize("mistake", MISTAKES.values(), ids=MISTAKES)
async def test_a_mistake_raises_an_error_that_says_what_to_do(url: str, mistake: Mistake) -> None:
    async def act() -> None:
        async with client(url) as hg:
            result = mistake.act(hg, url)
            if inspect.isawaitable(result):
                await result

    with pytest.raises(mistake.error) as raised:
        await act()
    sentence = "\n".join([str(raised.value), *getattr(raised.value, "__notes__", ())])
    assert mistake.sentence.replace("B/", f"{url}/") in sentence


async def test_a_missing_await_is_a_warning_with_the_name_of_the_method(url: str) -> None:
    async with client(url) as hg:
        with (
            pytest.warns(RuntimeWarning, match=r"coroutine 'Client.create' was never awaited"),
            contextlib.suppress(AttributeError),
        ):
            hg.create("x").append("y")  # type: ignore[attr-defined]


@pytest.mark.usefixtures("processes")
def test_a_client_that_nothing_can_close_any_more_says_what_to_do_and_nothing_else() -> None:
    with headgate_server() as server:
        program = f"""
import asyncio, headgate
async def use():
    hg = headgate.Client({server.streams!r}, token="s3cret")
    await hg.create("x")
    return hg
asyncio.run(use())
"""
        command = [sys.executable, "-W", "always::ResourceWarning:headgate", "-c", program]
        done = subprocess.run(command, capture_output=True, text=True, check=True)
    way_out = "use it in `async with`, or call its `aclose`"
    (said,) = done.stderr.splitlines()
    assert said == f"Client({server.streams!r}) was not closed: {way_out}"


def test_the_client_for_threads_and_its_streams_show_their_urls() -> None:
    with sync.Client("http://:s3cret@127.0.0.1:4437/v1/stream") as hg:
        assert repr(hg) == "headgate.sync.Client('http://127.0.0.1:4437/v1/stream')"
        assert repr(hg.stream("x")) == "headgate.sync.Stream('http://127.0.0.1:4437/v1/stream/x')"
