"""What commands make of servers that fail, and of servers that are none."""

from __future__ import annotations

import asyncio
import contextlib
import signal
import ssl
import subprocess
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import pytest
from aiohttp import web

from tests.commands.conftest import CommandLine, Stream
from tests.support.listener import Listener
from tests.support.processes import HEADGATE, Headgate, run
from tests.support.raw_origin import RawOrigin, answer, silence
from tests.support.waiting import until

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterator
    from pathlib import Path

    from pytest_aiohttp.plugin import AiohttpServer

    Play = Callable[..., Awaitable["Outcome"]]

pytestmark = pytest.mark.usefixtures("processes")

STREAM_HEAD = {"Content-Type": "text/plain", "Stream-Next-Offset": "0"}
DEADLINE_S = 20.0


def control(offset: str, *, closed: bool = False) -> bytes:
    """A control event."""
    end = ',"streamClosed":true' if closed else ',"streamCursor":"7","upToDate":true'
    return f'event: control\ndata: {{"streamNextOffset":"{offset}"{end}}}\n\n'.encode()


def data(text: str) -> bytes:
    """A data event."""
    return f"event: data\ndata: {text}\n\n".encode()


@dataclass
class Script:
    """A server that answers from a list, one request after the other.

    Bytes are an SSE answer, cut off when they end inside an event.
    """

    answers: list[web.Response | bytes]
    sse_headers: dict[str, str] = field(default_factory=dict)
    head_status: int = 200
    requests: list[tuple[str, dict[str, str]]] = field(default_factory=list)
    sent_headers: list[dict[str, str]] = field(default_factory=list)

    async def answer(self, request: web.Request) -> web.StreamResponse:
        """The next answer."""
        if request.method == "HEAD":
            return web.Response(status=self.head_status, headers=STREAM_HEAD)
        await request.read()
        self.requests.append((request.method, dict(request.query)))
        self.sent_headers.append(dict(request.headers))
        planned = self.answers.pop(0)
        if isinstance(planned, web.Response):
            return planned
        answer = web.StreamResponse(
            headers={"Content-Type": "text/event-stream", **self.sse_headers}
        )
        await answer.prepare(request)
        await answer.write(planned)
        if not planned.endswith(b"\n\n"):
            assert request.transport is not None
            request.transport.close()
        return answer


def long_poll(status: int, offset: str, text: str = "", **headers: str) -> web.Response:
    """The answer to a long-poll."""
    fields = {name.replace("_", "-"): value for name, value in headers.items()}
    return web.Response(
        status=status, text=text or None, headers={"Stream-Next-Offset": offset, **fields}
    )


@dataclass(frozen=True)
class Outcome:
    """How a command ended."""

    status: int | None
    output: str
    said: str


@pytest.fixture
async def play(aiohttp_server: AiohttpServer) -> Play:
    """Runs a command against a script, on a stream called "s"."""

    async def run(script: Script, command: str, *arguments: str, stdin: bytes = b"") -> Outcome:
        app = web.Application()
        app.router.add_route("*", "/s", script.answer)
        server = await aiohttp_server(app)
        command_line = CommandLine(f"http://127.0.0.1:{server.port}")
        done = await asyncio.to_thread(command_line, command, "s", *arguments, stdin=stdin)
        said = done.stderr.decode().replace(f"http://127.0.0.1:{server.port}", "")
        return Outcome(done.returncode, done.stdout.decode(), said)

    return run


# ---------------------------------------------------------------- append


async def test_ctrl_c_during_the_closing_append_prints_how_many_lines_are_stored() -> None:
    head = answer(b"", "Content-Type: text/plain", "Stream-Next-Offset: 0")
    stored = answer(b"", "Stream-Next-Offset: 1", "Producer-Seq: 0")
    async with RawOrigin(head, stored, silence) as origin:
        cli = CommandLine(origin.url)
        try:
            appending = cli.start("append", "s", "--lines", "--close", stdin=subprocess.PIPE)
            assert appending.stdin is not None
            appending.stdin.write(b"a\n")
            appending.stdin.flush()
            await until(lambda: len(origin.heard) == 2)
            appending.stdin.close()
            await until(lambda: len(origin.heard) == 3)
            assert origin.heard[2].named["stream-closed"] == "true"
            appending.send_signal(signal.SIGINT)
            status = await asyncio.to_thread(appending.wait, DEADLINE_S)
            assert appending.stderr is not None
            said = appending.stderr.read()
        finally:
            cli.kill()
    assert said == b"Interrupted: 1 line is in the stream.\n"
    assert status == 130


# ---------------------------------------------------------------- tail


async def test_tail_prints_data_once_although_its_control_event_was_lost(play: Play) -> None:
    script = Script(
        [
            data("a") + control("1") + data("b"),
            data("b") + control("2") + b"event: control\ndata: {",
            data("c") + control("3", closed=True),
        ]
    )
    outcome = await play(script, "tail")
    assert (outcome.status, outcome.output) == (0, "abc")
    assert script.requests == [
        ("GET", {"live": "sse", "offset": "0"}),
        ("GET", {"cursor": "7", "live": "sse", "offset": "1"}),
        ("GET", {"cursor": "7", "live": "sse", "offset": "2"}),
    ]


async def test_tail_by_long_poll_sends_the_last_offset_and_cursor(play: Play) -> None:
    script = Script(
        [
            long_poll(204, "0", Stream_Cursor="4"),
            long_poll(200, "1", "a", Stream_Cursor="5"),
            long_poll(200, "2", "b"),
            long_poll(204, "2", Stream_Closed="true"),
        ]
    )
    outcome = await play(script, "tail", "--long-poll")
    assert (outcome.status, outcome.output, outcome.said) == (0, "ab", "")
    assert [query for _, query in script.requests] == [
        {"live": "long-poll", "offset": "0"},
        {"cursor": "4", "live": "long-poll", "offset": "0"},
        {"cursor": "5", "live": "long-poll", "offset": "1"},
        {"live": "long-poll", "offset": "2"},
    ]


async def test_tail_ends_where_a_cache_answers_each_offset_with_the_same_data(play: Play) -> None:
    script = Script([long_poll(200, "1", "a"), long_poll(200, "1", "a")])
    outcome = await play(script, "tail", "--long-poll")
    assert (outcome.status, outcome.output) == (1, "a")
    assert outcome.said == (
        "headgate: /s: data came for offset 1, and the next offset is the same: a cache on the way"
        " may ignore the query, and answer each read with one response.\n"
    )


async def test_tail_reads_empty_arrays_of_json_at_the_same_offset_as_no_data(play: Play) -> None:
    script = Script(
        [
            long_poll(200, "0", " [ ]\n"),
            long_poll(200, "0", "[]"),
            long_poll(204, "0", Stream_Closed="true"),
        ]
    )
    outcome = await play(script, "tail", "--long-poll", "--raw")
    assert (outcome.status, outcome.said) == (0, "")


@pytest.mark.parametrize("status", [429, 500, 503])
async def test_tail_retries_a_passing_refusal_after_its_retry_after(
    status: int, play: Play
) -> None:
    script = Script(
        [
            web.Response(status=status, text="busy", headers={"Retry-After": "2"}),
            control("0", closed=True),
        ]
    )
    outcome = await play(script, "tail")
    assert outcome.status == 0
    assert outcome.said.startswith(f"headgate: /s: busy ({status} ")
    waiting, *rest = outcome.said.splitlines()
    assert waiting.endswith("; trying again in 2.0 s")
    assert rest == ["headgate: connected again"]


@pytest.mark.parametrize(
    ("status", "then", "said"),
    [
        (503, web.Response(status=503, text="no log"), "no log (503 Service Unavailable)"),
        (410, web.Response(status=410, text="forks are left"), "forks are left (410 Gone)"),
        (503, web.Response(status=200), "the server refused (503 Service Unavailable)"),
        (503, web.Response(status=429), "the server refused (503 Service Unavailable)"),
    ],
    ids=["still refused", "refused for good", "well again", "refused otherwise"],
)
async def test_a_refused_head_is_explained_by_a_get_of_the_tail(
    status: int, then: web.Response, said: str, play: Play
) -> None:
    script = Script([then], head_status=status)
    outcome = await play(script, "head")
    ended = 3 if status == 410 else 69
    assert outcome == Outcome(ended, "", f"headgate: /s: {said}.\n")
    assert script.requests == [("GET", {"offset": "now"})]


async def test_a_retry_after_date_is_counted_from_the_date_of_the_server(play: Play) -> None:
    moments = {
        "Date": "Wed, 01 Jan 2020 00:00:00 GMT",
        "Retry-After": "Wed, 01 Jan 2020 00:00:02 GMT",
    }
    script = Script([web.Response(status=503, headers=moments), control("0", closed=True)])
    outcome = await play(script, "tail")
    assert "; trying again in 2.0 s\n" in outcome.said


async def test_tail_ends_on_a_lasting_refusal(play: Play) -> None:
    script = Script([data("a") + control("1"), web.Response(status=410, text="trimmed")])
    assert await play(script, "tail") == Outcome(3, "a", "headgate: /s: trimmed (410 Gone).\n")


async def test_tail_reports_a_new_connection_once_for_all_failures(play: Play) -> None:
    script = Script(
        [
            web.Response(status=503),
            web.Response(status=503),
            data("a") + control("1") + data("b") + control("2"),
            control("2", closed=True),
        ]
    )
    outcome = await play(script, "tail")
    assert (outcome.status, outcome.output) == (0, "ab")
    kinds = [line.rpartition("; ")[2].split(" in ")[0] for line in outcome.said.splitlines()]
    assert kinds == ["trying again", "trying again", "headgate: connected again"]


async def test_tail_names_its_offset_option_only_if_that_offset_is_refused(play: Play) -> None:
    script = Script([data("a") + control("1"), web.Response(status=410, text="trimmed")])
    outcome = await play(script, "tail", "--offset", "0")
    assert outcome == Outcome(3, "a", "headgate: /s: trimmed (410 Gone).\n")

    script = Script([web.Response(status=410, text="trimmed")])
    outcome = await play(script, "tail", "--offset", "0")
    assert outcome.said == "headgate: /s: trimmed (410 Gone); --offset was 0.\n"


@pytest.mark.parametrize("said", ["{}", "[", "1"])
async def test_tail_ends_on_a_broken_control_event(said: str, play: Play) -> None:
    script = Script([f"event: control\ndata: {said}\n\n".encode()])
    assert await play(script, "tail") == Outcome(
        1, "", "headgate: the server sent a control event without streamNextOffset.\n"
    )


async def test_tail_ends_on_broken_base64(play: Play) -> None:
    script = Script([data("a") + control("1")], {"Stream-SSE-Data-Encoding": "base64"})
    assert await play(script, "tail") == Outcome(
        1, "", "headgate: the server sent a data event that is no base64.\n"
    )


async def test_tail_decodes_base64_spread_over_lines(play: Play) -> None:
    script = Script(
        [data("AQ\ndata: I=\ndata: ") + control("1", closed=True)],
        {"Stream-SSE-Data-Encoding": "base64"},
    )
    assert await play(script, "tail") == Outcome(0, "\x01\x02", "")


# ---------------------------------------------------------------- errors as they are told


@pytest.mark.parametrize(
    ("body", "content_type", "told"),
    [
        ('{"title": "No", "detail": "It is full."}', "application/problem+json", "It is full"),
        ('{"title": "Not now"}', "application/problem+json", "Not now"),
        pytest.param("Plain words.\nand more", "text/plain", "Plain words", id="two-lines"),
        pytest.param("\x1b[31mred\x07\u202e", "text/plain", "[31mred", id="control-characters"),
        ("<html>Long page</html>", "text/html", "the server refused"),
        ("{", "application/json", "{"),
        ("[]", "application/json", "[]"),
        ("", "text/plain", "the server refused"),
        pytest.param("x" * 10_000, "text/plain", "x" * 300, id="a-long-text"),
    ],
)
async def test_an_error_response_is_printed_as_one_harmless_sentence(
    body: str, content_type: str, told: str, play: Play
) -> None:
    error = web.Response(status=400, text=body, content_type=content_type)
    assert await play(Script([error]), "read") == Outcome(
        5, "", f"headgate: /s: {told} (400 Bad Request).\n"
    )


async def test_read_does_not_follow_a_redirect(play: Play) -> None:
    script = Script([web.Response(status=302, headers={"Location": "http://other.invalid/"})])
    why = "a redirect, which is not followed: use the URL that it leads to (302 Found)"
    assert await play(script, "read") == Outcome(5, "", f"headgate: /s: {why}.\n")


@pytest.mark.parametrize("command", ["read", "close"])
async def test_a_response_without_an_offset_is_reported_as_another_kind_of_server(
    command: str, play: Play
) -> None:
    script = Script([web.Response(text="<h1>It works!</h1>")])
    why = "this is not a Durable Streams server: it sent no Stream-Next-Offset; check the URL"
    assert await play(script, command) == Outcome(1, "", f"headgate: /s: {why}.\n")


async def test_close_sends_the_authorization_and_no_content_type(play: Play) -> None:
    script = Script([web.Response(status=204, headers={"Stream-Next-Offset": "1"})])
    assert (await play(script, "close")).status == 0
    (sent,) = script.sent_headers
    assert sent["Authorization"] == "Bearer hush-hush"
    assert "Content-Type" not in sent


# ---------------------------------------------------------------- append


async def test_an_append_of_a_producer_is_retried_with_the_same_number(play: Play) -> None:
    script = Script(
        [
            web.Response(status=503),
            web.Response(status=200, headers={"Stream-Next-Offset": "1"}),
            # Some servers tell no offset for what they had already.
            web.Response(status=204),
        ]
    )
    outcome = await play(script, "append", "--lines", "--producer", "p", stdin=b"a\nb\n")
    assert (outcome.status, outcome.output) == (0, "")
    waiting, *rest = outcome.said.splitlines()
    assert waiting.startswith("headgate: /s: the server refused (503 Service Unavailable); ")
    assert rest == [
        "headgate: connected again",
        "Appended 2 lines, 1 of them stored before; next offset 1.",
    ]
    assert [sent["Producer-Seq"] for sent in script.sent_headers] == ["0", "0", "1"]


async def test_an_append_without_a_producer_is_not_retried(play: Play) -> None:
    script = Script([web.Response(status=503, text="busy")])
    outcome = await play(script, "append", "--data", "x")
    assert outcome == Outcome(69, "", "headgate: /s: busy (503 Service Unavailable).\n")
    assert len(script.requests) == 1


# ---------------------------------------------------------------- a real server, restarted


@pytest.fixture
def durable(processes: None, tmp_path: Path) -> Iterator[Headgate]:
    """A Headgate with a log on disk, to be killed and started again."""
    server = Headgate(f"file:{tmp_path}/data")
    try:
        yield server.start()
    finally:
        server.kill()


@pytest.mark.parametrize("live", [[], ["--long-poll"]], ids=["sse", "long-poll"])
def test_tail_misses_nothing_across_restarts_of_the_server(
    live: list[str], durable: Headgate
) -> None:
    cli = CommandLine(durable.streams)
    stream = Stream(durable, "text/plain")
    tail = cli.start("tail", stream.name, "--from-start", *live)
    assert tail.stdout is not None
    try:
        for line in (b"before\n", b"after\n"):
            stream.append(line)
            assert tail.stdout.readline() == line
            durable.kill()
            durable.start()
        stream.append(b"end", close=True)
        assert (tail.wait(DEADLINE_S), tail.stdout.read()) == (0, b"end")
    finally:
        cli.kill()


@pytest.mark.parametrize(
    "arguments", [["--data", "a\n"], ["--lines", "--close"]], ids=["data", "lines"]
)
def test_an_append_with_a_producer_retries_until_the_server_has_started(
    arguments: list[str], durable: Headgate
) -> None:
    cli = CommandLine(durable.streams)
    stream = Stream(durable, "text/plain")
    durable.kill()
    with contextlib.ExitStack() as stack:
        stack.callback(cli.kill)
        appending = cli.start("append", stream.name, "--producer", "p", *arguments, stdin=-1)
        assert appending.stdin is not None
        assert appending.stderr is not None
        assert (
            appending.stderr.readline()
            .decode()
            .startswith(
                f"headgate: {stream.url}: cannot connect: Connection refused; trying again in "
            )
        )
        appending.stdin.write(b"a\n")
        appending.stdin.close()
        durable.start()
        assert appending.wait(DEADLINE_S) == 0
        assert b"headgate: connected again\nAppended" in appending.stderr.read()
    assert stream.data == b"a\n"


def test_an_append_with_a_producer_stores_each_line_once_across_a_restart(
    durable: Headgate,
) -> None:
    cli = CommandLine(durable.streams)
    stream = Stream(durable, "text/plain")
    lines = b"".join(b"%d\n" % number for number in range(400))  # each is a commit on the disk
    with contextlib.ExitStack() as stack:
        stack.callback(cli.kill)
        appending = cli.start("append", stream.name, "--lines", "--producer", "p", stdin=-1)
        assert appending.stdin is not None
        appending.stdin.write(lines[:800])
        appending.stdin.flush()
        while not stream.data:
            assert appending.poll() is None
        durable.kill()
        durable.start()
        appending.stdin.write(lines[800:])
        appending.stdin.close()
        assert appending.wait(DEADLINE_S) == 0
    assert stream.data == lines


# ---------------------------------------------------------------- connections


AT_ONCE = (
    "no HTTP is spoken there, it seems, or only with https://: the connection was closed without a "
    "response.\n"
)


@pytest.fixture(scope="module")
def certificate(processes: None, tmp_path_factory: pytest.TempPathFactory) -> ssl.SSLContext:
    """What a server of an unknown authority speaks TLS by."""
    folder = tmp_path_factory.mktemp("tls")
    subprocess.run(
        [
            *("openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt"),
            *("ec_paramgen_curve:prime256v1", "-nodes", "-subj", "/CN=Ours", "-addext"),
            *("subjectAltName=IP:127.0.0.1", "-keyout", folder / "key", "-out", folder / "pem"),
        ],
        check=True,
        capture_output=True,
    )
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(folder / "pem", folder / "key")
    return context


async def said_of(server: Listener, scheme: str, status: int = 69) -> str:
    """Return the sentence about a server at which no request succeeds, and check the status."""
    url = f"{scheme}://127.0.0.1:{server.port}/s"
    done = await asyncio.to_thread(run, [HEADGATE, "head", url])
    assert done.returncode == status
    said = done.stderr.decode()
    assert said.startswith(f"headgate: {url}: ")
    return said.removeprefix(f"headgate: {url}: ")


async def test_an_untrusted_certificate_is_reported_as_such(certificate: ssl.SSLContext) -> None:
    async def serve(reader: asyncio.StreamReader, _writer: asyncio.StreamWriter) -> None:
        await reader.read()

    async with Listener(serve, tls=certificate) as server:
        assert await said_of(server, "https", status=78) == (
            "the certificate of the server is not trusted: self-signed certificate; "
            "name the file of the authority that issued it by --cacert.\n"
        )


async def test_https_to_a_server_without_tls_is_reported_with_advice() -> None:
    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read(1)
        writer.write(b"HTTP/1.1 400 Bad Request\r\n\r\n")

    async with Listener(serve) as server:
        said = await said_of(server, "https")
    assert said.startswith("no TLS with this server (")
    assert said.endswith("): perhaps its URL begins with http://.\n")


async def test_a_reset_connection_is_reported_in_one_sentence() -> None:
    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read(1)  # what is unread makes the kernel send a reset
        writer.transport.abort()

    async with Listener(serve) as server:
        assert await said_of(server, "http") == AT_ONCE


async def test_a_url_without_tls_of_a_server_with_it_is_reported_with_advice(
    certificate: ssl.SSLContext,
) -> None:
    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read()

    async with Listener(serve, tls=certificate) as server:
        assert await said_of(server, "http") == AT_ONCE


async def test_a_response_that_is_no_http_is_reported_in_one_sentence() -> None:
    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readline()
        writer.write(b"SSH-2.0-OpenSSH_9.2\r\n")

    async with Listener(serve) as server:
        assert await said_of(server, "http") == "no HTTP is spoken there.\n"
