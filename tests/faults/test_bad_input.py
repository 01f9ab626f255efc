"""Malformed, hostile and unfinished requests, byte by byte over plain sockets."""

from __future__ import annotations

import contextlib
import itertools
import time
from typing import TYPE_CHECKING

import pytest

from tests.support.ambiguous_framings import AMBIGUOUS_FRAMINGS
from tests.support.http1 import Answer, Wire, ask, request
from tests.support.processes import Headgate, headgate

if TYPE_CHECKING:
    from collections.abc import Iterator

LIMIT = 1000
DEADLINE_S = 1.0
IN_TIME_S = 10.0
"""A deadline of one second is kept in time when a busy machine closes before this."""
MAX_PATH = 2048
ZERO = "0" * 16

IMPATIENT = {
    "HEADGATE_HEADER_TIMEOUT": str(DEADLINE_S),
    "HEADGATE_BODY_TIMEOUT": str(DEADLINE_S),
}
STEP_S = 0.25
STEPS = 13  # together longer than the time for each, of which a busy machine may lose a second
LESS_IMPATIENT = {"HEADGATE_BODY_TIMEOUT": str(12 * STEP_S)}
SHORT_POLLS = {"HEADGATE_LONG_POLL_TIMEOUT": "0.5"}
# A server that cuts slow clients would cut those of a busy machine in every other test, too.
of_impatient_server = pytest.mark.parametrize("server", [IMPATIENT], indirect=True, ids=[""])
of_less_impatient_server = pytest.mark.parametrize(
    "server", [LESS_IMPATIENT], indirect=True, ids=[""]
)
of_short_polls = pytest.mark.parametrize("server", [SHORT_POLLS], indirect=True, ids=[""])


@pytest.fixture(scope="module")
def server(request: pytest.FixtureRequest) -> Iterator[Headgate]:
    """With the settings that a test names, if it names any."""
    named: dict[str, str] = getattr(request, "param", {})
    with headgate(environment={"HEADGATE_MAX_APPEND": str(LIMIT), **named}) as started:
        yield started


@pytest.fixture
def wire(server: Headgate) -> Iterator[Wire]:
    with Wire(server.port) as connection:
        yield connection


_numbers = itertools.count()


@pytest.fixture
def text(server: Headgate) -> str:
    """The path of a new text stream that holds "content"."""
    return _create(server, "text/plain", b"content")


@pytest.fixture
def items(server: Headgate) -> str:
    """The path of a new JSON stream that holds [1]."""
    return _create(server, "application/json", b"1")


def _create(server: Headgate, content_type: str, body: bytes) -> str:
    path = f"/v1/stream/stream{next(_numbers)}"
    assert ask(server.port, "PUT", path, body, content_type=content_type).status == 201
    return path


def _assert_goes_on(wire: Wire, answer: Answer) -> None:
    """The connection serves another request, unless the answer announced its end."""
    if "close" in answer.headers.get("connection", ""):
        assert wire.is_ended()
    else:
        assert wire.request("GET", "/v1/stream/none").status == 404


# ---------------------------------------------------------------- parameters of a read


@pytest.mark.parametrize(
    ("query", "parameter"),
    [
        ("offset=", "offset"),
        ("offset=abc", "offset"),
        ("offset=-2", "offset"),
        ("offset=0", "offset"),
        (f"offset={ZERO}_{ZERO[1:]}", "offset"),
        (f"offset={ZERO}_{ZERO}0", "offset"),
        (f"offset=+{ZERO[1:]}_{ZERO}", "offset"),
        (f"offset={ZERO}_{ZERO}%00", "offset"),
        (f"offset={ZERO}_{ZERO}%0A", "offset"),
        (f"offset={ZERO[1:]}%D9%A0_{ZERO}", "offset"),
        ("offset=NOW", "offset"),
        ("offset=-1&offset=-1", "offset"),
        ("offset=-1&%6Fffset=now", "offset"),
        ("live=long-poll", "offset"),
        ("live=sse", "offset"),
        ("offset=-1&live=", "live"),
        ("offset=-1&live=poll", "live"),
        ("offset=-1&live=SSE", "live"),
        ("offset=-1&live=sse&live=sse", "live"),
        ("offset=-1&live=long-poll&cursor=1&cursor=1", "cursor"),
        ("offset=-1&other=1&other=2", "other"),
        ("offset=%", "query"),
        ("offset=%zz", "query"),
        ("offset=%ff", "query"),
    ],
)
def test_a_bad_parameter_is_answered_400_and_named(
    text: str, wire: Wire, query: str, parameter: str
) -> None:
    answer = wire.request("GET", f"{text}?{query}")
    answer.assert_problem(400, parameter)
    assert answer.headers["cache-control"] == "no-store"
    _assert_goes_on(wire, answer)


def test_an_offset_past_the_tail_is_answered_empty_with_the_tail(text: str, wire: Wire) -> None:
    tail = wire.request("HEAD", text).next_offset
    generation, position = tail.split("_")
    answer = wire.request("GET", f"{text}?offset={generation}_{int(position) + 1:016d}")
    assert (answer.status, answer.body, answer.next_offset) == (200, b"", tail)
    assert answer.headers["stream-up-to-date"] == "true"


def test_an_offset_of_a_later_generation_is_answered_400(text: str, wire: Wire) -> None:
    generation, position = wire.request("HEAD", text).next_offset.split("_")
    answer = wire.request("GET", f"{text}?offset={int(generation) + 1:016d}_{position}")
    answer.assert_problem(400, "offset")


# ---------------------------------------------------------------- bodies


@pytest.mark.parametrize(
    "body",
    [
        b"{",
        b"tru",
        b"1 2",
        b"[1 2]",
        b"[1,]",
        b'{"a":1,}',
        b"{1:2}",
        b"01",
        b"-",
        b"1e",
        b"NaN",
        b"[Infinity]",
        b"'a'",
        pytest.param(b'"\x01"', id="a-control-character-in-a-string"),
        pytest.param(b'"a\nb"', id="a-raw-newline-in-a-string"),
        b'"\\q"',
        pytest.param(b'"\xff"', id="a-byte-that-is-no-utf-8"),
        pytest.param(b'{"a":"\xc0\xaf"}', id="an-overlong-character"),
        pytest.param(b"\xef\xbb\xbf1", id="a-byte-order-mark"),
        b" ",
        b"",
        b"[]",
        b" [ ] ",
    ],
)
def test_a_body_of_invalid_or_empty_json_is_refused(items: str, wire: Wire, body: bytes) -> None:
    answer = wire.request("POST", items, body, content_type="application/json")
    answer.assert_problem(400)
    _assert_goes_on(wire, answer)
    assert ask(wire.port, "GET", items).body == b"[1]"


def test_an_empty_append_is_answered_400(text: str, wire: Wire) -> None:
    answer = wire.request("POST", text, b"", content_type="text/plain")
    answer.assert_problem(400, "empty")
    _assert_goes_on(wire, answer)
    assert ask(wire.port, "GET", text).body == b"content"


@pytest.mark.parametrize("content_type", ["text/html", "application/json", "text/plainer"])
def test_an_append_of_another_content_type_is_answered_409(
    text: str, wire: Wire, content_type: str
) -> None:
    answer = wire.request("POST", text, b"1", content_type=content_type)
    answer.assert_problem(409)
    _assert_goes_on(wire, answer)
    assert ask(wire.port, "GET", text).body == b"content"


def test_an_append_without_content_type_is_answered_400(text: str, wire: Wire) -> None:
    wire.request("POST", text, b"more").assert_problem(400, "Content-Type")
    assert ask(wire.port, "GET", text).body == b"content"


@pytest.mark.parametrize("method", ["POST", "PUT"])
@pytest.mark.parametrize("chunks", [0, 1, 7])
@pytest.mark.parametrize("size", [LIMIT - 1, LIMIT, LIMIT + 1, 10 * LIMIT])
def test_a_body_over_max_append_is_answered_413_and_a_body_at_the_limit_stored(
    server: Headgate, wire: Wire, method: str, chunks: int, size: int
) -> None:
    path = f"/v1/stream/stream{next(_numbers)}"
    if method == "POST":
        ask(server.port, "PUT", path, content_type="text/plain")
    body = b"x" * size
    if chunks:
        wire.send(_chunked(method, path, body, chunks))
        answer = wire.answer(method)
    else:
        answer = wire.request(method, path, body, content_type="text/plain")
    kept = ask(server.port, "GET", path)
    if size <= LIMIT:
        assert answer.status in {201, 204}
        assert kept.body == body
    else:
        answer.assert_problem(413, "max_append", str(LIMIT))
        assert (kept.status, kept.body) == (200, b"") if method == "POST" else kept.status == 404
    _assert_goes_on(wire, answer)


def _chunked(method: str, path: str, body: bytes, count: int) -> bytes:
    size = -(-len(body) // count)
    parts = [body[at : at + size] for at in range(0, len(body), size)]
    head = f"{method} {path} HTTP/1.1\r\nHost: a\r\nContent-Type: text/plain\r\n"
    chunks = b"".join(b"%x\r\n%b\r\n" % (len(part), part) for part in parts)
    return head.encode() + b"Transfer-Encoding: chunked\r\n\r\n" + chunks + b"0\r\n\r\n"


@pytest.mark.parametrize("size", [LIMIT + 1, 10**12, 10**30])
def test_a_content_length_over_max_append_is_answered_413_before_the_body_is_sent(
    text: str, wire: Wire, size: int
) -> None:
    wire.send(_head("POST", text, f"Content-Length: {size}", "Content-Type: text/plain"))
    assert wire.answer().status in ({413} if size < 10**19 else {400, 413})


def test_expect_100_continue_is_answered_100_or_413_before_the_body(text: str, wire: Wire) -> None:
    common = ("Content-Type: text/plain", "Expect: 100-continue")
    wire.send(_head("POST", text, "Content-Length: 4", *common))
    assert wire.answer().status == 100
    wire.send(b"more")
    assert wire.answer().status == 204
    wire.send(_head("POST", text, f"Content-Length: {LIMIT + 1}", *common))
    wire.answer().assert_problem(413, "max_append")
    assert ask(wire.port, "GET", text).body == b"contentmore"


def _head(method: str, path: str, *lines: str) -> bytes:
    return "\r\n".join([f"{method} {path} HTTP/1.1", "Host: a", *lines, "", ""]).encode("latin-1")


@pytest.mark.parametrize("leave", ["finish", "reset"])
@pytest.mark.parametrize(
    "unfinished",
    [
        pytest.param(b"Content-Length: 10\r\n\r\n", id="before-the-body"),
        pytest.param(b"Content-Length: 10\r\n\r\nonly ", id="within-the-length"),
        pytest.param(b"Content-Length: 10\r\n\r\nonly nine", id="one-byte-before-the-length"),
        pytest.param(b"Transfer-Encoding: chunked\r\n\r\n5\r\nonly \r\n", id="behind-a-chunk"),
        pytest.param(b"Transfer-Encoding: chunked\r\n\r\n5\r\non", id="within-a-chunk"),
        pytest.param(
            b"Transfer-Encoding: chunked\r\n\r\n5\r\nonly \r\n0\r\n", id="within-the-last-chunk"
        ),
    ],
)
def test_a_body_cut_off_by_the_client_is_not_stored(
    text: str, wire: Wire, unfinished: bytes, leave: str
) -> None:
    wire.send(f"POST {text} HTTP/1.1\r\nHost: a\r\nContent-Type: text/plain\r\n".encode())
    wire.send(unfinished)
    if leave == "finish":
        wire.finish()
        wire.remaining()
    else:
        wire.reset()
    assert ask(wire.port, "POST", text, b" more", content_type="text/plain").status == 204
    assert ask(wire.port, "GET", text).body == b"content more"


# ---------------------------------------------------------------- heads


def test_nonsense_at_the_admin_listener_is_answered_4xx_without_a_traceback() -> None:
    with headgate() as server:
        for nonsense, status in ((b"nonsense\r\n\r\n", 400), (b"GET /" + b"x" * 20_000, 431)):
            with Wire(server.admin_port) as wire:
                wire.send(nonsense)
                assert wire.answer().status == status
        assert "Traceback" not in server.output()


@pytest.mark.parametrize("size", [100_000, 1_000_000])
def test_a_header_over_the_limit_is_refused(text: str, wire: Wire, size: int) -> None:
    with_long_header = _head("GET", text, "X-Long: " + "x" * size)
    answer = _refusal(wire, with_long_header)
    answer.assert_problem(431)
    assert ask(wire.port, "GET", text).body == b"content"


def test_a_request_with_5000_headers_is_answered_431(text: str, wire: Wire) -> None:
    answer = _refusal(wire, _head("GET", text, *(f"X-{n}: {n}" for n in range(5000))))
    answer.assert_problem(431)


def _refusal(wire: Wire, data: bytes) -> Answer:
    """The answer to what may be refused before all of it is sent."""
    with contextlib.suppress(BrokenPipeError, ConnectionResetError):
        wire.send(data)
    return wire.answer()


@pytest.mark.parametrize("method", ["GET", "HEAD", "PUT", "POST", "DELETE"])
@pytest.mark.parametrize(
    "path",
    [
        "a/../b",
        "..",
        "../../etc/passwd",
        "a/./b",
        ".",
        "a//b",
        "a/",
        "/",
        "%2e%2e/b",
        "a/%2E%2E",
        ".%2e/b",
        "%2e",
        "a%00b",
        "a%0Ab",
        "a%0d%0aX-Evil:%201",
        "a%7F",
        "a%1Bb",
        "%ff",
        "%C0%AF",
        "%ED%A0%80",
        "%E2%82",
        "%",
        "%a",
        "%zz",
        "%u0041",
    ],
)
def test_an_ambiguous_path_is_refused(wire: Wire, method: str, path: str) -> None:
    body = b"x" if method in {"PUT", "POST"} else None
    answer = wire.request(method, f"/v1/stream/{path}", body, content_type="text/plain")
    if method == "HEAD":
        assert (answer.status, answer.body) == (400, b"")
    else:
        answer.assert_problem(400, "path")
    _assert_goes_on(wire, answer)


@pytest.mark.parametrize(
    "byte",
    [
        pytest.param(b"\0", id="nul"),
        pytest.param(b"\x01", id="a-control-character"),
        pytest.param(b"\x7f", id="del"),
        pytest.param(b"\r", id="cr"),
        pytest.param(b"\xff", id="a-byte-that-is-no-utf-8"),
        pytest.param(b"\xc0\xaf", id="an-overlong-slash"),
    ],
)
def test_a_raw_byte_that_is_invalid_in_a_path_is_answered_400(wire: Wire, byte: bytes) -> None:
    wire.send(b"PUT /v1/stream/a" + byte + b"b HTTP/1.1\r\nHost: a\r\nContent-Length: 0\r\n\r\n")
    wire.answer().assert_problem(400)


@pytest.mark.parametrize(
    ("size", "status"), [(MAX_PATH - 1, 201), (MAX_PATH, 201), (MAX_PATH + 1, 400)]
)
def test_a_path_over_2048_bytes_is_answered_400(wire: Wire, size: int, status: int) -> None:
    start = f"/v1/stream/long{next(_numbers)}-"
    path = start + "x" * (size - len(start))
    answer = wire.request("PUT", path, b"", content_type="text/plain")
    assert answer.status == status
    if status == 400:
        answer.assert_problem(400, str(MAX_PATH))
    _assert_goes_on(wire, answer)


@pytest.mark.parametrize(
    "value",
    [
        pytest.param(b"text/plain\r\n X-Evil: 1", id="a-folded-line"),
        pytest.param(b"text/plain\rX-Evil: 1", id="a-cr"),
        pytest.param(b"text/plain\nX-Evil: 1", id="an-lf"),
        pytest.param(b"text/plain\0", id="a-nul"),
        pytest.param(b"text/plain\x01", id="a-control-character"),
        pytest.param(b'text/plain; a="\x7f"', id="a-del-in-a-parameter"),
        b"text/plain; charset",
        pytest.param(b"text/pl\xe9in", id="a-byte-that-is-no-ascii"),
        b"text",
        b"/",
        b"text/",
        b"text/plain, text/html",
        pytest.param(b"text/" + b"x" * 300, id="over-the-limit"),
    ],
)
def test_a_content_type_with_control_characters_is_answered_400_and_creates_no_stream(
    wire: Wire, value: bytes
) -> None:
    path = f"/v1/stream/stream{next(_numbers)}"
    head = f"PUT {path} HTTP/1.1\r\nHost: a\r\nContent-Length: 0\r\nContent-Type: ".encode()
    wire.send(head + value + b"\r\n\r\n")
    wire.answer().assert_problem(400)
    assert ask(wire.port, "GET", path).status == 404


@pytest.mark.parametrize("framing", AMBIGUOUS_FRAMINGS)
def test_ambiguous_framing_is_answered_400_and_ends_the_connection(
    text: str, wire: Wire, framing: bytes
) -> None:
    wire.send(f"POST {text} HTTP/1.1\r\nHost: a\r\nContent-Type: text/plain\r\n".encode())
    # What follows would be taken for a request by whoever sees the framing differently.
    wire.send(framing + request("DELETE", text))
    first, *others = wire.remaining()
    first.assert_problem(400)
    assert not others
    assert ask(wire.port, "GET", text).body == b"content"


@pytest.mark.parametrize(
    "line",
    [
        b"GET",
        b"GET /v1/stream/a HTTP/1.1 x",
        b"GET /v1/stream/a HTTP/3.0",
        b"GET /v1/stream/a http/1.1",
        b"GET /v1/stream/a b HTTP/1.1",
        pytest.param(b"G\0T /v1/stream/a HTTP/1.1", id="a-nul-in-the-method"),
        pytest.param(b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03", id="a-tls-handshake"),
    ],
)
def test_a_malformed_request_line_is_refused(wire: Wire, line: bytes) -> None:
    wire.send(line + b"\r\nHost: a\r\n\r\n")
    (answer,) = wire.remaining()
    answer.assert_problem(400)


@pytest.mark.parametrize("method", ["PATCH", "TRACE", "PROPFIND", "LINK"])
def test_an_unsupported_method_is_refused_with_the_allowed_ones(
    text: str, wire: Wire, method: str
) -> None:
    answer = wire.request(method, text)
    answer.assert_problem(405)
    allowed = {name.strip() for name in answer.headers["allow"].split(",")}
    assert {"GET", "HEAD", "POST", "PUT", "DELETE", "OPTIONS"} == allowed
    _assert_goes_on(wire, answer)


# ---------------------------------------------------------------- slow clients


def _seconds_until_ended(wire: Wire, began: float) -> float:
    for answer in wire.remaining():
        answer.assert_problem(408)
    return time.monotonic() - began


@of_impatient_server
@pytest.mark.parametrize(
    "start",
    [
        b"",
        b"G",
        pytest.param(b"GET /v1/stream/a HTTP/1.1\r\nHost: a\r\nX-A: b", id="within-a-field"),
    ],
)
def test_a_connection_whose_head_stays_incomplete_is_closed_at_the_deadline(
    server: Headgate, start: bytes
) -> None:
    began = time.monotonic()
    with Wire(server.port) as wire:
        wire.send(start)
        assert 0.9 * DEADLINE_S <= _seconds_until_ended(wire, began) < IN_TIME_S


@of_impatient_server
def test_a_head_sent_in_drops_is_cut_at_the_deadline(server: Headgate) -> None:
    began = time.monotonic()
    with Wire(server.port, timeout_s=DEADLINE_S / 10) as wire:
        wire.send(b"GET /v1/stream/a HTTP/1.1\r\nHost: a\r\nX-Slow: ")
        while not wire.is_ended() and time.monotonic() - began < IN_TIME_S:
            with contextlib.suppress(BrokenPipeError, ConnectionResetError):
                wire.send(b"x")
    assert 0.9 * DEADLINE_S <= time.monotonic() - began < IN_TIME_S


@of_impatient_server
def test_a_second_head_on_a_connection_has_the_same_deadline(wire: Wire, text: str) -> None:
    assert wire.request("GET", text).status == 200
    began = time.monotonic()
    wire.send(b"GET /v1/stream/a HTTP/1.1\r\nHost: a\r\n")
    assert 0.9 * DEADLINE_S <= _seconds_until_ended(wire, began) < IN_TIME_S


@of_impatient_server
@pytest.mark.parametrize("framing", ["Content-Length: 10", "Transfer-Encoding: chunked"])
def test_a_connection_whose_body_stalls_is_closed_at_the_deadline_and_nothing_is_stored(
    text: str, wire: Wire, framing: str
) -> None:
    began = time.monotonic()
    wire.send(_head("POST", text, "Content-Type: text/plain", framing) + b"4\r\n")
    assert 0.9 * DEADLINE_S <= _seconds_until_ended(wire, began) < IN_TIME_S
    assert ask(wire.port, "GET", text).body == b"content"


@of_less_impatient_server
def test_a_slow_but_steady_body_is_stored(text: str, wire: Wire) -> None:
    """Its whole takes longer than the time for each part, and is faster than `min_body_rate`."""
    parts = [b"%050d" % number for number in range(STEPS)]
    wire.send(_head("POST", text, "Content-Type: text/plain", f"Content-Length: {50 * STEPS}"))
    for part in parts:
        time.sleep(STEP_S)  # the client's slowness is what is tested
        wire.send(part)
    assert wire.answer().status == 204
    assert ask(wire.port, "GET", text).body == b"content" + b"".join(parts)


# ---------------------------------------------------------------- conversations


def _conversation(path: str, tail: str) -> tuple[bytes, list[tuple[str, int, bytes]]]:
    """Requests sent without waiting, with the method, status and body of each answer."""
    live = f"{path}?offset={tail}&live=long-poll"
    turns = [
        ("GET", path, None, 200, b"content"),
        ("GET", path, None, 200, b"content"),
        ("GET", live, None, 204, b""),
        ("POST", path, b" one", 204, b""),
        ("GET", live, None, 200, b" one"),
        ("HEAD", path, None, 200, b""),
        ("GET", f"{path}?offset=bad", None, 400, None),
        ("POST", path, b" two", 204, b""),
        ("GET", f"{path}?offset={tail}", None, 200, b" one two"),
        ("GET", "/v1/stream/none", None, 404, None),
        ("DELETE", path, None, 204, b""),
        ("GET", path, None, 404, None),
    ]
    sent = b"".join(
        request(method, target, body, content_type="text/plain")
        for method, target, body, _, _ in turns
    )
    return sent, [(method, status, body or b"") for method, _, _, status, body in turns]


@of_short_polls
@pytest.mark.parametrize("piece", [1 << 20, 100, 7])
def test_pipelined_requests_are_answered_in_order(text: str, wire: Wire, piece: int) -> None:
    tail = ask(wire.port, "GET", text).next_offset
    sent, expected = _conversation(text, tail)
    for at in range(0, len(sent), piece):
        wire.send(sent[at : at + piece])
    for method, status, body in expected:
        answer = wire.answer(method)
        assert answer.status == status, (method, answer)
        if status < 400:
            assert answer.body == body
        else:
            answer.assert_problem(status)
    assert not wire.unread


@pytest.mark.parametrize("method", ["GET", "HEAD", "POST"])
@pytest.mark.parametrize("count", [31, 32, 33, 64, 65, 500])
def test_five_hundred_pipelined_requests_are_all_answered(
    text: str, wire: Wire, method: str, count: int
) -> None:
    body = b"x" if method == "POST" else None
    wire.send(request(method, text, body, content_type="text/plain") * count)
    statuses = [wire.answer(method).status for _ in range(count)]
    assert set(statuses) == {204 if method == "POST" else 200}
    kept = b"content" + b"x" * count if method == "POST" else b"content"
    assert ask(wire.port, "GET", text).body == kept


def test_long_polls_cut_by_their_clients_do_not_affect_the_others(
    text: str, server: Headgate
) -> None:
    tail = ask(server.port, "HEAD", text).next_offset
    poll = request("GET", f"{text}?offset={tail}&live=long-poll")
    with Wire(server.port) as staying:
        staying.send(poll)
        for number in range(50):
            leaving = Wire(server.port)
            leaving.send(poll)
            leaving.reset() if number % 2 else leaving.socket.close()
        assert ask(server.port, "POST", text, b" more", content_type="text/plain").status == 204
        assert staying.answer().body == b" more"


def test_a_head_response_has_no_body_and_its_connection_stays_usable(text: str, wire: Wire) -> None:
    for path, status in ((text, 200), ("/v1/stream/none", 404), (text, 200)):
        assert wire.request("HEAD", path).status == status
    assert wire.request("GET", text).body == b"content"


def test_an_http_1_0_read_is_answered_without_chunks_and_closed(text: str, wire: Wire) -> None:
    wire.send(f"GET {text} HTTP/1.0\r\n\r\n".encode())
    answer = wire.answer()
    assert (answer.status, answer.body) == (200, b"content")
    assert "transfer-encoding" not in answer.headers
    assert wire.is_ended()


def test_an_http_1_0_sse_read_is_answered_without_chunks_and_closed(text: str, wire: Wire) -> None:
    assert ask(wire.port, "POST", text, stream_closed="true").status == 204
    wire.send(f"GET {text}?offset=-1&live=sse HTTP/1.0\r\n\r\n".encode())
    answer = wire.answer()
    assert "transfer-encoding" not in answer.headers
    assert answer.body.startswith(b"event: data\ndata:")
    assert wire.is_ended()


def test_a_connection_is_usable_after_an_event_stream_or_says_that_it_closes(
    text: str, wire: Wire
) -> None:
    assert ask(wire.port, "POST", text, stream_closed="true").status == 204
    answer = wire.request("GET", f"{text}?offset=-1&live=sse")
    assert answer.body.startswith(b"event: data\ndata:")
    _assert_goes_on(wire, answer)


@pytest.mark.parametrize("method", ["GET", "HEAD", "POST"])
def test_a_request_with_connection_close_closes_its_connection(
    text: str, wire: Wire, method: str
) -> None:
    body = b" more" if method == "POST" else None
    answer = wire.request(method, text, body, content_type="text/plain", connection="close")
    assert answer.status in {200, 204}
    assert answer.headers["connection"] == "close"
    assert wire.is_ended()
