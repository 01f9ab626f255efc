from __future__ import annotations

import re
from typing import TYPE_CHECKING

import pytest

from headgate.errors import refusal
from headgate_gateway.tools.server.client import in_words
from headgate_gateway.tools.server.target import StreamTarget, TargetServer, admin_api

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

BASE = "http://127.0.0.1:4437/v1/stream"


def resolve(name: str, environment: Mapping[str, str]) -> StreamTarget:
    return TargetServer.of_environment(environment).stream(name)


@pytest.mark.parametrize(
    ("name", "base", "url"),
    [
        ("chat", None, f"{BASE}/chat"),
        ("chat", "", f"{BASE}/chat"),
        ("chat", "https://streams.example/s/", "https://streams.example/s/chat"),
        ("/a/b/", None, f"{BASE}/a/b"),
        ("é?x#y z", None, f"{BASE}/%C3%A9%3Fx%23y%20z"),
        ("http://other:1/x/y?rk=1", "https://streams.example", "http://other:1/x/y?rk=1"),
        ("https://[::1]/x", None, "https://[::1]/x"),
        ("HTTP://other/x", None, "http://other/x"),
        ("/user:4/x", None, f"{BASE}/user%3A4/x"),
        ("user:a/x:4", None, f"{BASE}/user%3Aa/x%3A4"),
        pytest.param("\udcff", None, f"{BASE}/%FF", id="a-byte-that-is-no-utf-8"),
        ("http://other/é x?k=%20 #end", None, "http://other/%C3%A9%20x?k=%20%20"),
    ],
)
def test_a_stream_name_is_resolved_below_the_base_and_a_url_is_kept(
    name: str, base: str | None, url: str
) -> None:
    environment = {} if base is None else {"STREAM_URL": base}
    assert resolve(name, environment).url == url


@pytest.mark.parametrize(
    ("name", "base"),
    [("", None), ("/", None), ("http://host", None), ("http://host/", None), ("http:///x", None)],
)
def test_an_empty_stream_name_or_a_url_without_path_is_refused(name: str, base: str | None) -> None:
    with pytest.raises(ValueError, match=r"such as|as in"):
        resolve(name, {})


@pytest.mark.parametrize(
    "server",
    ["http://h:99999", "http://h:x", "http://h:0", "http://[::1", "http://a..b", "http://"],
)
def test_an_invalid_server_is_reported_as_argument_or_as_stream_url(server: str) -> None:
    example = re.escape(f"must be a URL such as {BASE}")
    with pytest.raises(ValueError, match=f"^it {example}"):
        resolve(f"{server}/x", {})
    for name in ("x", "http://other/x"):
        with pytest.raises(ValueError, match=f"^STREAM_URL {example}"):
            resolve(name, {"STREAM_URL": server})


def test_a_password_that_looks_like_a_port_is_not_shown_in_the_error() -> None:
    with pytest.raises(ValueError, match="a port goes up to 65535") as refusal:
        resolve("http://me:pass/word@host/x", {})
    assert "pass" not in str(refusal.value)


@pytest.mark.parametrize("key", ["offset", "live", "cursor"])
def test_a_url_with_a_reserved_query_parameter_is_refused(key: str) -> None:
    with pytest.raises(ValueError, match=f"the URL has {key}= in its query: give an offset by "):
        resolve(f"http://host/x?rk=1&{key}=now", {})


@pytest.mark.parametrize(
    "end",
    [
        pytest.param("\r", id="cr"),
        pytest.param("\n", id="lf"),
        pytest.param("\0", id="a-nul"),
        pytest.param("\udcff", id="a-byte-that-is-no-utf-8"),
    ],
)
def test_a_stream_auth_with_control_characters_is_refused_without_showing_it(end: str) -> None:
    with pytest.raises(ValueError, match=r"^STREAM_AUTH has a line end or another") as refusal:
        resolve("chat", {"STREAM_AUTH": f"Bearer token{end}"})
    assert "token" not in str(refusal.value)


@pytest.mark.parametrize(
    "name", ["localhost:4437/x", "127.0.0.1:4437", "[::1]:4437/x", "stream.example:80/a/b"]
)
def test_a_host_and_port_without_a_scheme_is_refused_with_the_url_to_write(name: str) -> None:
    with pytest.raises(ValueError, match=re.escape(f"write http://{name}, or /{name} for")):
        resolve(name, {})


@pytest.mark.parametrize("name", ["ftp://host/x", "ws+unix://x", "http:/host/x", "https:host/x"])
def test_a_url_of_another_scheme_is_refused_with_advice(name: str) -> None:
    with pytest.raises(ValueError, match="no way to reach a stream: write http://"):
        resolve(name, {})


@pytest.mark.parametrize(
    ("base", "hint"),
    [
        ("127.0.0.1:4437", ": write http://127.0.0.1:4437"),
        ("ftp://host/s", " such as"),
        ("/v1/stream", " such as"),
    ],
)
def test_a_stream_url_that_is_no_url_is_refused(base: str, hint: str) -> None:
    with pytest.raises(ValueError, match=f"STREAM_URL must be a URL{hint}"):
        resolve("chat", {"STREAM_URL": base})


def test_the_shown_url_of_a_target_contains_no_secret() -> None:
    target = resolve("https://me:pass@host:8443/s/chat?rk=key", {"STREAM_AUTH": "Bearer token"})
    assert target.shown == "https://host:8443/s/chat"
    assert repr(target) == "StreamTarget()"
    assert target.authorization == "Bearer token"


@pytest.mark.parametrize(
    ("name", "base", "is_sent"),
    [
        ("chat", None, True),
        ("chat", "https://a.example/s", True),
        ("https://b.example/s/chat", None, True),
        ("https://a.example/t/chat", "https://a.example/s", True),
        ("https://me:pass@a.example/t/chat", "https://a.example/s", True),
        ("https://b.example/s/chat", "https://a.example/s", False),
        ("http://a.example/s/chat", "https://a.example/s", False),
        ("https://a.example:8443/s/chat", "https://a.example/s", False),
    ],
)
def test_stream_auth_is_sent_only_to_the_server_of_stream_url(
    name: str, base: str | None, is_sent: bool
) -> None:
    environment = {"STREAM_AUTH": "Bearer token"} | ({} if base is None else {"STREAM_URL": base})
    assert resolve(name, environment).authorization == ("Bearer token" if is_sent else None)


@pytest.mark.parametrize(
    ("environment", "said"),
    [
        ({}, 'set STREAM_AUTH="Bearer TOKEN" in the environment'),
        ({"STREAM_AUTH": ""}, 'set STREAM_AUTH="Bearer TOKEN" in the environment'),
        pytest.param(
            {"STREAM_AUTH": "of-somebody"},
            'STREAM_AUTH must be a scheme and a token, as in STREAM_AUTH="Bearer TOKEN"',
            id="no-scheme",
        ),
        pytest.param(
            {"STREAM_AUTH": "Bearer "},
            'STREAM_AUTH must be a scheme and a token, as in STREAM_AUTH="Bearer TOKEN"',
            id="no-token",
        ),
        ({"STREAM_AUTH": "Bearer of-somebody"}, "put another into STREAM_AUTH"),
        pytest.param(
            {"STREAM_AUTH": "Bearer of-somebody", "STREAM_URL": "http://other/s"},
            "STREAM_AUTH is sent to the server of STREAM_URL only",
            id="another-server",
        ),
    ],
)
def test_a_401_is_reported_with_what_to_change_about_stream_auth(
    environment: dict[str, str], said: str
) -> None:
    target = resolve("http://host/s/chat", environment)
    told = in_words(refusal("who? (401)", 401, {}, stream="http://host/s/chat"), target)
    assert told == f"http://host/s/chat: who? (401); {said}"


def test_an_admin_token_comes_from_a_file_or_the_environment(tmp_path: Path) -> None:
    file = tmp_path / "token"
    file.write_text("of-the-file\n")
    environment = {"STREAM_ADMIN_TOKEN": "of-the-environment", "STREAM_AUTH": "Bearer x"}
    at = "http://127.0.0.1:4439/"
    assert admin_api(at, file, environment).authorization == "Bearer of-the-file"
    assert admin_api(at, None, environment).authorization == "Bearer of-the-environment"
    assert admin_api(at, None, {}).authorization is None
    assert admin_api(at, None, {}).url == "http://127.0.0.1:4439/api"


@pytest.mark.parametrize(
    "content",
    [
        b"",
        pytest.param(b"a\nb", id="two-lines"),
        pytest.param(b"\xff", id="a-byte-that-is-no-utf-8"),
        pytest.param(b"x" * 4097, id="over-the-limit"),
    ],
)
def test_an_admin_token_file_without_a_valid_token_is_refused(
    tmp_path: Path, content: bytes
) -> None:
    file = tmp_path / "token"
    file.write_bytes(content)
    with pytest.raises(ValueError, match="token"):
        admin_api("http://127.0.0.1:4439", file, {})


def test_an_admin_token_of_the_longest_length_is_accepted(tmp_path: Path) -> None:
    file = tmp_path / "token"
    file.write_text("x" * 4096 + "\n")
    assert admin_api("http://127.0.0.1:4439", file, {}).authorization == f"Bearer {'x' * 4096}"
