"""What the doctor takes for a URL and credentials, and how it sends requests."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import pytest

from headgate.errors import Unavailable
from headgate_doctor.finding import ProbeFailed
from headgate_doctor.target import ExaminedTarget, connect

if TYPE_CHECKING:
    from pathlib import Path

HOME = "https://home.example/v1/stream"
BEARER = "Bearer secret"


@pytest.mark.parametrize(
    ("url", "sent"),
    [
        ("http://h/v1/stream", "http://h/v1/stream"),
        ("HTTP://h:8080/a%2Fb?token=x", "http://h:8080/a%2Fb?token=x"),
        ("http://h/straße?x=ä", "http://h/stra%C3%9Fe?x=%C3%A4"),
        ("http://[::1]:4437/s", "http://[::1]:4437/s"),
    ],
    ids=["as-it-is", "encoded", "not-ascii", "ipv6"],
)
def test_a_url_is_sent_as_it_is_or_percent_encoded(url: str, sent: str) -> None:
    assert ExaminedTarget.at(url, {}).url == sent


@pytest.mark.parametrize(
    "url",
    [
        *("http://", "http:///s", "http://h:0/s", "http://h:99999/s", "http://h:x/s", "ftp://h/s"),
        *("http://[::1/s", "http://a..b/s", "h/s"),
        pytest.param(f"http://{'a' * 64}/s", id="a-label-of-64-characters"),
    ],
)
def test_what_is_not_a_url_of_a_server_is_refused(url: str) -> None:
    with pytest.raises(ValueError, match=r"^it must be a URL such as http://"):
        ExaminedTarget.at(url, {})
    with pytest.raises(ValueError, match=r"^STREAM_URL must be a URL such as http://"):
        ExaminedTarget.at(HOME, {"STREAM_URL": url})


def test_no_error_or_text_of_a_target_has_its_secrets() -> None:
    with pytest.raises(ValueError, match="must be a URL") as refusal:
        ExaminedTarget.at("http://me:hush@x:hush2/s", {})
    assert "hush" not in str(refusal.value)
    target = ExaminedTarget.at("http://me:hush@h/s?token=hush", {"STREAM_AUTH": "Bearer hush"})
    assert (target.shown, "hush" in repr(target)) == ("http://h/s", False)


@pytest.mark.parametrize(
    ("environment", "authorization", "advice"),
    [
        ({}, None, 'set STREAM_AUTH="Bearer TOKEN" in the environment'),
        ({"STREAM_AUTH": BEARER}, BEARER, "put another into STREAM_AUTH"),
        ({"STREAM_AUTH": "x"}, "x", "STREAM_AUTH must be a scheme and a token, as in STREAM_AUTH="),
        ({"STREAM_AUTH": BEARER, "STREAM_URL": f"{HOME}/"}, BEARER, "put another into STREAM_AUTH"),
        (
            {"STREAM_AUTH": BEARER, "STREAM_URL": "http://home.example/v1/stream"},
            None,
            "STREAM_AUTH is sent to the server of STREAM_URL only",
        ),
    ],
    ids=["none", "any-server", "no-scheme", "this-server", "another-server"],
)
def test_the_authorization_is_for_the_server_of_stream_url_alone(
    environment: dict[str, str], authorization: str | None, advice: str
) -> None:
    target = ExaminedTarget.at("https://home.example:443/s", environment)
    assert target.authorization == authorization
    assert target.advice.startswith(advice)
    assert target.has_credentials == (authorization is not None)


@pytest.mark.parametrize(
    ("value", "complaint"),
    [("Bearer a\nb", "has a line end"), ("Bearer \udcff", "has a line"), ("'Bearer a'", "quotes")],
    ids=["two-lines", "not-utf-8", "quotes"],
)
def test_an_authorization_that_cannot_be_sent_is_refused(value: str, complaint: str) -> None:
    with pytest.raises(ValueError, match=f"^STREAM_AUTH .*{complaint}"):
        ExaminedTarget.at(HOME, {"STREAM_AUTH": value})


@pytest.mark.parametrize("text", [None, "no certificate"], ids=["missing", "empty"])
async def test_a_file_of_authorities_that_cannot_be_used_is_named(
    text: str | None, tmp_path: Path
) -> None:
    file = tmp_path / "ca.pem"
    if text is not None:
        file.write_text(text)
    target = ExaminedTarget.at(HOME, {}, str(file))
    with pytest.raises(ProbeFailed, match=rf"^cannot use {file} \(--cacert\): \w"):
        async with connect(target):
            pass


@pytest.mark.parametrize("method", ["GET", "HEAD", "PUT", "DELETE"])
async def test_an_idempotent_request_that_is_cut_is_not_sent_again(method: str) -> None:
    """A repetition would hide the cut, and is no request of the budget."""
    heads = []

    async def cut(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        heads.append(await reader.readuntil(b"\r\n\r\n"))
        writer.close()

    async with await asyncio.start_server(cut, "127.0.0.1") as server:
        port = server.sockets[0].getsockname()[1]
        target = ExaminedTarget.at(f"http://127.0.0.1:{port}/s", {})
        async with connect(target) as stream:
            with pytest.raises(Unavailable):
                async with stream.request(method):
                    pass
    assert [head.split()[0] for head in heads] == [method.encode()]


async def test_cookies_of_responses_are_not_sent_back() -> None:
    heads = []

    async def respond(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        for _ in range(2):
            heads.append(await reader.readuntil(b"\r\n\r\n"))
            writer.write(b"HTTP/1.1 200 OK\r\nSet-Cookie: a=b\r\nContent-Length: 0\r\n\r\n")
        writer.close()

    async with await asyncio.start_server(respond, "127.0.0.1") as server:
        host = f"localhost:{server.sockets[0].getsockname()[1]}"  # addresses get no cookies back
        async with connect(ExaminedTarget.at(f"http://{host}/s", {})) as stream:
            for _ in range(2):
                async with stream.request("GET"):
                    pass
    assert [b"\r\nCookie:" in head for head in heads] == [False, False]
