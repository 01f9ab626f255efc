"""Typical mistakes, each with the error that a user gets, and its sentence: what to do."""

from __future__ import annotations

import ast
import contextlib
import inspect
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest

import headgate
from headgate import sync
from tests.support.processes import headgate as headgate_server
from tests.support.raw_origin import RawOrigin, answer
from tests.support.serving import serving

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from tests.support.raw_origin import Wire

# Each has its program, and the error with its notes. There is a client `hg`, a base URL `url`, and
# streams named json, text and closed; BASE in an error is that URL.
MISTAKES = """\
async with answering("401 Unauthorized") as other: await other.open("x")
NotAuthorized: the server wants an Authorization (401 Unauthorized)
| Set the `token` of the client to one that permits this; STREAM_AUTH and an `authorization`
  begin with its scheme, as 'Bearer TOKEN' does.

headgate.Client(url, token="Bearer x")
ValueError: a token is one word of printable ASCII, without a scheme such as Bearer

headgate.Client(url, token="x\\n")
ValueError: a token has no blank and no line end around it: write token.strip()

headgate.Client(url, authorization="x")
TypeError: there is no 'authorization' here: write token='TOKEN'

headgate.Runs(url, token="x")
TypeError: there is no 'token' here: write authorization='Bearer TOKEN'

headgate.Runs(url, ttl_s=3)
TypeError: there is no 'ttl_s' here: write one of url, authorization, headers, timeout,
  session, orphan_after, ttl, stop_grace, retry_for, error_text, takeover_within

headgate.Runs(url, ttl=5)
ValueError: ttl is at least 10 (orphan_after) seconds, not 5

headgate.Runs(url, orphan_after=0)
ValueError: orphan_after is a whole number, 1 or more, not 0

headgate.Runs(url, takeover_within=5)
ValueError: takeover_within is 0, or from 10 (orphan_after) to 86400 (ttl) seconds, and not 5

headgate.Runs(url, ttl=None, takeover_within=5)
ValueError: takeover_within is 0, or at least 10 (orphan_after) seconds, and not 5

headgate.ResumableStreams("redis://localhost", sentinel_ttl=1e10)
ValueError: sentinel_ttl is at most 3,153,600,000 s, 100 years, not 10,000,000,000.0

headgate.StreamWriter(url, producer_id=" p")
ValueError: a producer id is printable ASCII, without blanks around it, not ' p'

headgate.StreamWriter(url, producer_id=7)
TypeError: a producer id is a str, not int

headgate.Runs(url, error_text="it failed")
TypeError: error_text is a function without async, which makes a str of an exception

headgate.Runs("")
ValueError: a stream has a URL such as http://HOST:PORT/NAME, and '' is none

headgate.Worker(None, "a")
TypeError: a URL is a str such as http://127.0.0.1:4437/v1/stream, not NoneType

headgate.Client(url, headers={"X-Tenant": 7})
TypeError: headers are a dict of str, and the value of 'X-Tenant' is of the type int: write it as
  a str

headgate.Client(url).list("http://127.0.0.1:4437/v1/stream/rooms/")
ValueError: the beginning of a name is what follows the base URL, such as 'rooms/', and no URL

headgate.Client(url, timeout=0)
ValueError: timeout is a number of seconds, more than 0, not 0: write math.inf to wait without limit

headgate.Client(url, live_timeout=-1)
ValueError: live_timeout is a number of seconds, more than 0, not -1

headgate.Runs(url, timeout="3")
TypeError: timeout is a number of seconds, more than 0, and not of the type str

headgate.Client(url, retries=-1)
ValueError: retries is a whole number, 0 or more, not -1

async with headgate.Client(url, token=lambda: None) as other: await other.open("x")
TypeError: the function for the authorization returned None, not a str

async with headgate.Client("http://127.0.0.1:1", retries=0) as hg: await hg.open("x")
Unavailable: cannot connect: Connection refused
| Start the server, or correct the URL of the client.

async with headgate.Client(url.replace("http:", "https:"), retries=0) as hg: await hg.open("x")
Unavailable: perhaps its URL begins with http://

async with speaking(b"SSH-2.0-OpenSSH_9.2\\r\\n") as other: await other.open("x")
Unavailable: no HTTP is spoken there
| Correct the URL of the client: it is one such as http://127.0.0.1:4437/v1/stream.

async with speaking(b"\\x15\\x03\\x03\\x00\\x02\\x02F") as other: await other.create("x")
Unavailable: TLS is spoken there: write https:// in the URL
| Correct the URL of the client: it is one such as http://127.0.0.1:4437/v1/stream.

async with speaking(GO) as other: await other.create("x")
BadRequest: TLS is spoken there: write https:// in the URL (400 Bad Request)

async with speaking(NGINX) as other: await other.create("x")
BadRequest: TLS is spoken there: write https:// in the URL (400 Bad Request)

async with speaking(APACHE) as other: await other.create("x")
BadRequest: TLS is spoken there: write https:// in the URL (400 Bad Request)

async with speaking(b"") as other: await other.stream("x").append("x")
Unavailable: no HTTP is spoken there, it seems, or only with https://: the connection was closed
  without a response
| Correct the URL of the client: it is one such as http://127.0.0.1:4437/v1/stream.
| Try again later: an append may be stored or not.

async with speaking(b"HTTP/1.1 404 Not Found\\r\\n\\r\\n", b"") as other:
    with contextlib.suppress(headgate.StreamNotFound): await other.create("x")
    await other.create("x")
Unavailable: the connection was lost
| Try again later: an append may be stored or not.

headgate.Client("127.0.0.1:4437/v1/stream")
ValueError: a stream has a URL such as http://HOST:PORT/NAME, and '127.0.0.1:4437/v1/stream' is
  none: write http:// before it

headgate.Client("http://")
ValueError: a stream has a URL such as http://HOST:PORT/NAME, and 'http://' is none

headgate.StreamWriter(None)
TypeError: a URL is a str such as http://127.0.0.1:4437/v1/stream, not NoneType

headgate.Client(url, session="x")
TypeError: a session is an aiohttp.ClientSession, not str: leave it out

async with answering("404 Not Found", PAGE) as other: await other.create("x")
StreamNotFound: the response is a page of HTML: check the URL of the server (404 Not Found)
| Correct the URL of the client: it is one such as http://127.0.0.1:4437/v1/stream.

async with answering("200 OK", PAGE) as other: await other.create("x")
ProtocolError: this is not a Durable Streams server: it sent no Stream-Next-Offset; check the URL

async with answering("501 Not Implemented", PAGE) as other: await other.create("x")
ProtocolError: this is not a Durable Streams server; check the URL (501 Not Implemented)
| Correct the URL of the client: it is one such as http://127.0.0.1:4437/v1/stream.

async with answering("301 Moved Permanently", "Location: /v2") as other: await other.create("x")
BadRequest: a redirect, which is not followed: use the URL that it leads to (301 Moved Permanently)

async with headgate.Client(url.removesuffix("/v1/stream")) as other: await other.open("x")
StreamNotFound: streams are below /v1/stream/ (404 Not Found)
| Correct the URL of the client: it is one such as http://127.0.0.1:4437/v1/stream.

hg.stream("orders/..")
ValueError: a stream cannot be named 'orders/..': write its path without . and ..

hg.stream("localhost:4437/s")
ValueError: 'localhost:4437/s' is not the name of a stream: a URL begins with http:// or https://

hg.stream("")
ValueError: the name of a stream is empty: write one, such as "orders"

await hg.stream("none").append("x")
StreamNotFound: BASE/none: there is no stream at this path (404 Not Found)
| Correct its name or the URL of the client, or create the stream first.

await hg.create("text", json=True)
Conflict: BASE/text: a stream of type text/plain exists here (409 Conflict)
| Take another name, or delete the stream first; `open` returns it as it is, and a closed one can
  only be read.

await hg.create("x", json=True, content_type="text/plain")
ValueError: json=True and content_type name two types: write one of the two

await hg.create("x", content_type=5)
TypeError: content_type is a str such as 'text/plain', not int

await hg.worker("none").run(print)
StreamNotFound: there is no subscription with this id (404 Not Found)
| Create the subscription first, or correct its id or the URL of the client.

hg.worker(["a", "b"])
TypeError: an id of a subscription is a str, not list: write worker(*ids)

await hg.runs.start("x", ["a"])
TypeError: a run takes an async iterator, an async context manager that gives one, or
  Runner.run_streamed(...) of OpenAI Agents, not list: pass source() of an `async def source()` with
  yield; for one without async there is headgate.sync

await hg.runs.take_over("x", hg.stream("text").follow())
TypeError: make_source is a function that returns the source, such as `answer` and not `answer()`:
  pass the function itself, not StreamIterator

await hg.writer("text").write("x")
RuntimeError: a writer is used in its block: async with hg.writer(name) as writer, and in
  headgate.sync `with`

async with hg.writer("text") as writer: pass
await writer.write("x")
RuntimeError: the writer is closed: make another one

async with hg.writer("text") as writer:
    await hg.aclose()
    await writer.write("x")
RuntimeError: the client, or its session, is closed: end its writers, workers and runs before it

async with headgate.StreamWriter(f"{url}/text", content_type="application/json") as writer:
    await writer.write("x")
Conflict: BASE/text: the stream holds text/plain, not application/json: send Content-Type:
  text/plain (409 Conflict)
| Leave out the `content_type` of the writer, or write to another stream.

async with headgate.StreamWriter(f"{url}/json", producer_id="p") as old:
    async with headgate.StreamWriter(f"{url}/json", producer_id="p", epoch=1) as new:
        await new.write(2)
    await old.write(3)
Fenced: BASE/json: the producer was fenced: epoch 1 is in force (403 Forbidden)
| Another writer has taken over: end this one.

await hg.stream("text").append({"a": 1})
TypeError: BASE/text is a stream of text/plain: append str or bytes, not dict, or create it with
  json=True

await hg.stream("json").append("a")
TypeError: BASE/json is a JSON stream: append the value itself, not its text; a message that is a
  string is appended as bytes of JSON

await hg.stream("json").append(b"{a")
ValueError: this is not a JSON value, such as a dict, a list or bytes of JSON text: JSON is
  malformed

await hg.stream("json").append(object())
TypeError: this is not a JSON value, such as a dict, a list or bytes of JSON text:

await hg.stream("json").append([Model()])
TypeError: this is not a JSON value, such as a dict, a list or bytes of JSON text: objects of the
  type Model have no JSON: append its model_dump()

await hg.stream("json").append(number for number in range(3))
TypeError: BASE/json: append takes one message, not generator: append_many takes a list

await hg.stream("json").append_many(hg.stream("text").follow())
TypeError: append_many takes a list of messages, not StreamIterator: collect it first

await hg.stream("text").append_many("abc")
TypeError: append_many takes several messages, such as a list; append takes one

await hg.stream("text").append("")
ValueError: BASE/text: an empty message cannot be appended

await hg.stream("text").append("\\ud800")
ValueError: character 0 is half of a surrogate pair

await hg.stream("text").append("x" * 2000)
TooLarge: BASE/text: the body is over max_append, 1000 bytes (413 Content Too Large)
| Append less at once.

await hg.stream("closed").append("x")
Closed: BASE/closed: the stream is closed: it takes no further appends (409 Conflict)
| Append to another stream: this one has ended.

hg.stream("json").read(3)
TypeError: an offset is a str, or the message to continue after, not int: begin at '-1', or at
  'now' for what is new

hg.stream("json").read("1,x")
ValueError: '1,x' is not an offset of a message, '-1' or 'now'

await anext(hg.stream("json").read("third"))
BadRequest: BASE/json: offset is malformed: give back a Stream-Next-Offset value unchanged
  (400 Bad Request); the offset was 'third', and the beginning is '-1'
| Read from the `offset` of a message, from the beginning, "-1", or from "now".

await anext(hg.stream("json").read("0"))
BadRequest: BASE/json: offset is malformed: give back a Stream-Next-Offset value unchanged
  (400 Bad Request); the offset was '0', and the beginning is '-1'

await anext(hg.stream("json").follow("0"))
BadRequest: (400 Bad Request); the offset was '0', and the beginning is '-1'

async with answering("410 Gone") as other: await anext(other.stream("x").read("0_1"))
Gone: the stream is gone (410 Gone)
| Begin again at the beginning: offset="-1".

async with answering("200 OK", *JSON, body=b"[1,") as other:
    await anext(other.stream("x").read("0_1"))
ProtocolError: what comes after offset 0_1 is not JSON: read on after it, or read the bytes with
  follow_bytes

list(hg.stream("json").follow())
TypeError: the messages come one by one: write async for, or use headgate.sync

hg.chats("x")
TypeError: a chat is named in a method, such as chats.history("x"), and not in a call of chats

hg.runs("x", wait=5)
TypeError: a run is named in a method, such as runs.follow("x"), and not in a call of runs

sync.Client(url).chats("x")
TypeError: a chat is named in a method, such as chats.history("x"), and not in a call of chats

sync.Client(url).runs("x")
TypeError: a run is named in a method, such as runs.follow("x"), and not in a call of runs

with hg: pass
TypeError: headgate.Client is for asyncio: write async with and async for, or use
  headgate.sync.Client

with hg.runs: pass
TypeError: headgate.Runs is for asyncio: write async with and async for, or use
  headgate.sync.Runs

for job in hg.worker("none"): pass
TypeError: headgate.Worker is for asyncio: write async with and async for, or use
  headgate.sync.Worker

async with sync.Client(url): pass
TypeError: headgate.sync is for threads: write with and for without async, or use headgate

sync.Client(url).create("x")
RuntimeError: headgate.sync waits, which would hold up the event loop that runs in this thread:
  use `headgate` there
"""
Model = type("Model", (), {"model_dump": dict})  # as pydantic has it
PAGE = "Content-Type: text/html"
# The answers of TLS listeners to a request without TLS.
GO = b"HTTP/1.0 400 Bad Request\r\n\r\nClient sent an HTTP request to an HTTPS server.\n"
NGINX = answer(
    b"<html><head><title>400 The plain HTTP request was sent to HTTPS port</title></head>",
    PAGE,
    status="400 Bad Request",
)
APACHE = answer(
    b"Reason: You're speaking plain HTTP to an SSL-enabled server port.<br />",
    PAGE,
    status="400 Bad Request",
)
JSON = ("Content-Type: application/json", "Stream-Next-Offset: 0_9")
ERRORS = {name: getattr(headgate, name) for name in headgate.__all__}
ERRORS |= {kind.__name__: kind for kind in (TypeError, ValueError, RuntimeError)}


@contextlib.asynccontextmanager
async def answering(status: str, *fields: str, body: bytes = b"") -> AsyncIterator[headgate.Client]:
    """Yield a client of a server with one response to all requests."""
    response = answer(body, *fields, status=status)
    async with RawOrigin(response) as origin, headgate.Client(origin.url, retries=0) as client:
        yield client


@contextlib.asynccontextmanager
async def speaking(*sent: bytes) -> AsyncIterator[headgate.Client]:
    """Yield a client of a server that sends so many bytes for a request, and closes."""

    async def end(wire: Wire) -> None:
        await wire.send(answers.pop(0) if answers else b"")
        await wire.close()

    answers = list(sent)
    async with RawOrigin(end) as origin, headgate.Client(origin.url, retries=0) as client:
        yield client


@pytest.fixture
async def url() -> AsyncIterator[str]:
    async with serving(max_append=1000) as server:
        base = f"http://127.0.0.1:{server.port}/v1/stream"
        async with headgate.Client(base) as hg:
            await hg.create("json", json=True)
            await hg.create("text")
            await (await hg.create("closed")).close()
        yield base


@pytest.mark.parametrize(
    "mistake", MISTAKES.split("\n\n"), ids=lambda mistake: mistake.split("\n")[0][:60]
)
async def test_a_mistake_raises_an_error_that_says_what_to_do(url: str, mistake: str) -> None:
    lines = mistake.rstrip().split("\n")
    ends = next(number for number, line in enumerate(lines) if line.partition(": ")[0] in ERRORS)
    kind, _, sentence = "\n".join(lines[ends:]).replace("\n  ", " ").partition(": ")
    program = compile("\n".join(lines[:ends]), "mistake", "exec", ast.PyCF_ALLOW_TOP_LEVEL_AWAIT)

    async def act() -> None:
        async with headgate.Client(url, retries=0) as hg:
            result = eval(program, globals() | {"hg": hg, "url": url})
            if inspect.isawaitable(result):
                await result

    with pytest.raises(ERRORS[kind]) as raised:
        await act()
    shown = "\n| ".join([str(raised.value), *getattr(raised.value, "__notes__", ())])
    assert sentence.replace("BASE/", f"{url}/") in shown


async def test_a_missing_await_is_a_warning_with_the_name_of_the_method(url: str) -> None:
    async with headgate.Client(url) as hg:
        with (
            pytest.warns(RuntimeWarning, match=r"coroutine 'Client.create' was never awaited"),
            contextlib.suppress(AttributeError),
        ):
            hg.create("x").append("y")  # type: ignore[attr-defined]


FORGOTTEN = """
import asyncio
async def use():
    hg = headgate.Client(URL, token="s3cret")
    await hg.create("x")
    return hg
loop = asyncio.new_event_loop()
hg = loop.run_until_complete(use())
loop.close()
"""
SYNC = """
import headgate.sync
hg = headgate.sync.Client(URL)
hg.create("x")
"""
INTERRUPTED = """
import headgate.sync, os, signal, threading
with headgate.sync.Client(URL) as hg:
    threading.Timer(0.3, os.kill, (os.getpid(), signal.SIGINT)).start()
    for _ in hg.create("x").follow(): pass
"""
SECOND_LOOP = """
import asyncio
hg = headgate.Client(URL)
async def write():
    await hg.create("x")
    writer = await hg.writer("x").__aenter__()
    await hg.aclose()
    return writer
writer = asyncio.run(write())
asyncio.run(writer.write("x"))
"""
NOT_CLOSED = "Client(URL) was not closed: use it in `async with`, or call its `aclose`"


@pytest.mark.usefixtures("processes")
@pytest.mark.parametrize(
    ("program", "sentence"),
    [
        (FORGOTTEN, NOT_CLOSED),
        (SYNC, ""),
        (INTERRUPTED, "KeyboardInterrupt"),
        (
            SECOND_LOOP,
            "RuntimeError: the event loop in which the writer was opened has ended: make another "
            "one in this one",
        ),
        (
            "headgate.Client(URL).stream('x').read()",
            "RuntimeError: headgate.Client is for asyncio: use it in an async function that "
            "asyncio.run runs, and read with async for; or use headgate.sync",
        ),
    ],
    ids=["forgotten", "of threads", "interrupted", "a second loop", "no loop"],
)
def test_a_program_prints_what_to_do_and_nothing_else(program: str, sentence: str) -> None:
    with headgate_server() as server:
        program = f"import headgate\nURL = {server.streams!r}\n{program}"
        command = [sys.executable, "-W", "always::ResourceWarning:headgate", "-c", program]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
    lines = [line for line in done.stderr.splitlines() if not line.startswith((" ", "Traceback"))]
    assert "\n".join(lines) == sentence.replace("URL", repr(server.streams))


def test_the_client_for_threads_and_its_streams_show_their_urls() -> None:
    with sync.Client("http://:s3cret@127.0.0.1:4437/v1/stream") as hg:
        assert repr(hg) == "headgate.sync.Client('http://127.0.0.1:4437/v1/stream')"
        assert repr(hg.stream("x")) == "headgate.sync.Stream('http://127.0.0.1:4437/v1/stream/x')"
