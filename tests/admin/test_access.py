"""Who may do what at the admin listener."""

from __future__ import annotations

import asyncio
import base64
import hashlib
from typing import TYPE_CHECKING, Any

import pytest
from yarl import URL

from headgate_admin.access import check
from headgate_admin.access.attempts import OF_A_NAME
from headgate_admin.access.sessions import IDLE_S
from headgate_admin.access.sign_in import COOKIE
from headgate_admin.app import build
from tests.admin.consoles import Clock, Switchboard, setup
from tests.support.admin_server import AdminServer
from tests.support.passwords import cheap_hash

if TYPE_CHECKING:
    from aiohttp.test_utils import TestClient
    from pytest_aiohttp.plugin import AiohttpClient

    from headgate_gateway.features.questions.process_source import Setup
    from tests.support.log_lines import Lines

PASSWORD = 'pa ss "wörd" <b>'
TOKEN, DIGESTED = "t" * 22, "d" * 40
DIGEST = hashlib.sha256(DIGESTED.encode()).hexdigest()
USERS = [
    {"name": "ann", "role": "operator", "password_hash": cheap_hash(PASSWORD)},
    {"name": "vic", "role": "viewer", "password_hash": cheap_hash("of the viewer")},
]
TOKENS = [
    {"name": "prometheus", "role": "viewer", "token": TOKEN},
    {"name": "deploy", "role": "operator", "token": f"sha256:{DIGEST}"},
]
CHANGE = "/api/v1/stream/close"
EVENTS = {"Accept": "text/event-stream"}


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def guarded(clock: Clock) -> Setup:
    return setup(clock, admin_users=USERS, admin_tokens=TOKENS)


@pytest.fixture
async def client(aiohttp_client: AiohttpClient, guarded: Setup) -> TestClient[Any, Any]:
    return await aiohttp_client(AdminServer(build(Switchboard(), guarded)))


@pytest.fixture
async def unguarded(aiohttp_client: AiohttpClient) -> TestClient[Any, Any]:
    return await aiohttp_client(AdminServer(build(Switchboard(), setup())))


async def sign_in(
    client: TestClient[Any, Any], name: str = "ann", password: str = PASSWORD, **headers: str
) -> Any:
    body = {"name": name, "password": password}
    return await client.post("/api/v1/session", json=body, headers=headers)


async def csrf(client: TestClient[Any, Any]) -> dict[str, str]:
    answer = await client.get("/api/v1/session")
    return {check.HEADER: (await answer.json())["csrf"]}


# ---------------------------------------------------------------- what is open


async def test_probes_alone_need_no_credentials_and_accept_any_host(
    client: TestClient[Any, Any],
) -> None:
    for path in ("/healthz", "/readyz"):
        assert (await client.get(path, headers={"Host": "10.0.0.7:4439"})).status == 200
    for path in ("/metrics", "/api/v1/overview", "/api/v1/openapi.json", "/api/v1/session"):
        answer = await client.get(path)
        assert (answer.status, answer.headers["WWW-Authenticate"]) == (401, "Bearer")
        detail = "sign in, or send a token as Authorization: Bearer"
        assert (await answer.json())["detail"] == detail


async def test_a_browser_without_a_session_is_redirected_to_sign_in(
    client: TestClient[Any, Any],
) -> None:
    answer = await client.get(
        "/metrics?a=<b>&c=%26", headers={"Accept": "text/html"}, allow_redirects=False
    )
    assert answer.status == 303
    there = URL(answer.headers["Location"])
    assert (there.path, dict(there.query)) == ("/sign-in", {"next": "/metrics?a=%3Cb%3E&c=%26"})


# ---------------------------------------------------------------- tokens


def basic(text: bytes) -> str:
    return "Basic " + base64.b64encode(text).decode()


AUTHORIZATIONS = {
    "a token": (f"Bearer {TOKEN}", 200, 403),
    "a token by its digest": (f"Bearer {DIGESTED}", 200, 404),
    "a token as the password of Basic": (basic(f"deploy:{DIGESTED}".encode()), 200, 401),
    "a token of another name": (basic(f"deploy:{TOKEN}".encode()), 401, 401),
    "no token": ("Bearer", 401, 401),
    "a token and a letter": (f"Bearer {TOKEN}x", 401, 401),
    "a token without its last letter": (f"Bearer {TOKEN[:-1]}", 401, 401),
    "another scheme": (f"bogus {TOKEN}", 401, 401),
    "the digest with its prefix": (f"Bearer sha256:{DIGEST}", 401, 401),
    "the digest alone": (f"Bearer {DIGEST}", 401, 401),
    "Basic without base64": ("Basic !!!", 401, 401),
    "Basic without ASCII": ("Basic é", 401, 401),
    "Basic without UTF-8": (basic(b"\xff:\xff"), 401, 401),
}


@pytest.mark.parametrize("name", AUTHORIZATIONS)
async def test_a_token_is_admitted_as_it_was_given_and_changes_only_as_a_bearer_token(
    name: str, client: TestClient[Any, Any]
) -> None:
    authorization, reads, changes = AUTHORIZATIONS[name]
    headers = {"Authorization": authorization}
    answer = await client.get("/metrics", headers=headers)
    assert (answer.status, COOKIE in answer.cookies) == (reads, False)
    body = {"route": "/none", "name": "s"}  # 404: the route, and no CSRF token was asked for
    answer = await client.post(CHANGE, headers=headers, json=body)
    assert answer.status == changes


# ---------------------------------------------------------------- sessions


async def test_a_sign_in_makes_a_session_that_a_sign_out_ends(client: TestClient[Any, Any]) -> None:
    answer = await sign_in(client)
    told = await answer.json()
    assert told == {
        "name": "ann",
        "role": "operator",
        "csrf": told["csrf"],
        "signed_in": True,
    }
    cookie = answer.cookies[COOKIE]
    assert (cookie["httponly"], cookie["samesite"], cookie["path"]) == (True, "Strict", "/")
    assert cookie["secure"] == ""
    assert await (await client.get("/api/v1/session")).json() == told
    kept = cookie.value
    answer = await client.delete("/api/v1/session", headers=await csrf(client))
    assert (answer.status, answer.cookies[COOKIE].value) == (204, "")
    # Whoever has copied the cookie has nothing of it.
    answer = await client.get("/api/v1/session", headers={"Cookie": f"{COOKIE}={kept}"})
    assert answer.status == 401


async def test_a_session_cookie_of_a_sign_in_over_tls_is_secure(
    client: TestClient[Any, Any],
) -> None:
    answer = await sign_in(client, **{"X-Forwarded-Proto": "https"})
    assert answer.cookies[COOKIE]["secure"] is True


@pytest.mark.parametrize(
    ("steps", "status"),
    [
        ([IDLE_S - 1], 200),
        ([IDLE_S], 401),
        ([IDLE_S - 1] * 5, 200),
        ([*([IDLE_S - 1] * 6), 6], 401),
    ],
    ids=["used", "idle", "long", "too long"],
)
async def test_a_session_ends_after_its_idle_time_or_its_longest_time(
    steps: list[float], status: int, client: TestClient[Any, Any], clock: Clock
) -> None:
    await sign_in(client)
    answer = None
    for step in steps:
        clock.now += step
        answer = await client.get("/api/v1/session")
    assert answer is not None
    assert answer.status == status


@pytest.mark.parametrize(
    ("name", "password"),
    [
        ("ann", "wrong"),
        ("nobody", PASSWORD),
        ("", ""),
        ("vic", PASSWORD),
        pytest.param("ann", "x" * 2000, id="a-password-over-the-limit"),
    ],
)
async def test_a_wrong_name_and_a_wrong_password_get_the_same_response(
    name: str, password: str, client: TestClient[Any, Any]
) -> None:
    answer = await sign_in(client, name, password)
    assert (answer.status, (await answer.json())["detail"]) == (
        401,
        "the name or the password is wrong",
    )
    assert COOKIE not in answer.cookies


async def test_the_log_of_sign_ins_contains_no_secret(
    client: TestClient[Any, Any], logged: Lines
) -> None:
    await sign_in(client, "ann", "hunter2 hunter2")
    await sign_in(client, "typed a password here")
    answer = await sign_in(client)
    printed = str(logged)
    assert printed.count("admin.sign_in_refused") == 2
    assert printed.count("admin.signed_in") == 1
    for secret in ("hunter2", "typed a password", PASSWORD, answer.cookies[COOKIE].value):
        assert secret not in printed


@pytest.mark.usefixtures("processes")
async def test_a_sign_out_ends_the_event_streams_of_its_session(
    client: TestClient[Any, Any],
) -> None:
    await sign_in(client)
    listening = await client.get("/api/v1/overview/events")
    assert (await listening.content.readline()).startswith(b"data: ")
    await client.delete("/api/v1/session", headers=await csrf(client))
    await listening.content.read()
    assert listening.content.at_eof()


async def test_an_open_event_stream_does_not_prolong_its_session(
    client: TestClient[Any, Any], clock: Clock
) -> None:
    await sign_in(client)
    listening = await client.get("/api/v1/overview/events", headers=EVENTS)
    clock.now += IDLE_S - 1
    assert (await listening.content.readline()).startswith(b"data: ")
    again = await client.get("/api/v1/overview/events", headers=EVENTS)
    assert again.status == 200
    clock.now += 1
    for answer in (listening, again):
        await answer.content.read()  # to its end
    assert (await client.get("/api/v1/session")).status == 401


# ---------------------------------------------------------------- attempts


async def test_sign_ins_for_a_name_get_429_after_too_many_failures_until_time_passes(
    client: TestClient[Any, Any], clock: Clock
) -> None:
    statuses = [(await sign_in(client, "ann", "wrong")).status for _ in range(6)]
    assert statuses == [401] * OF_A_NAME.at_once + [429]
    answer = await sign_in(client)  # the right one has to wait, too
    assert (answer.status, answer.headers["Retry-After"]) == (429, "30")
    assert (await sign_in(client, "vic", "of the viewer")).status == 200
    clock.now += OF_A_NAME.every_s
    assert (await sign_in(client)).status == 200
    assert (await sign_in(client, "ann", "wrong")).status == 401


async def test_sign_ins_from_an_address_get_429_after_20_failures_for_any_names(
    client: TestClient[Any, Any],
) -> None:
    statuses = [(await sign_in(client, f"n{n}", "wrong")).status for n in range(21)]
    assert statuses == [401] * 20 + [429]


# ---------------------------------------------------------------- roles and other sites


async def status_of(client: TestClient[Any, Any], *lines: bytes, body: bytes = b"") -> int:
    """What a request of these bytes gets."""
    reader, writer = await asyncio.open_connection(client.host, client.port)
    head = (*lines, b"Content-Length: %d" % len(body), b"Connection: close")
    writer.write(b"\r\n".join(head) + b"\r\n\r\n" + body)
    _, status, _ = (await reader.readline()).split(maxsplit=2)
    writer.close()
    return int(status)


FORM = b"Content-Type: application/x-www-form-urlencoded"


@pytest.mark.parametrize(
    ("request_line", "field", "body", "status"),
    [
        pytest.param("GET /healthz", b"Authorization: Basic \xe9", b"", 400, id="a-health-check"),
        pytest.param("GET /streams", b"Authorization: Basic \xe9", b"", 400, id="credentials"),
        pytest.param("GET /streams", b"Host: \xff", b"", 400, id="a-host"),
        *(
            pytest.param("GET /metrics", b"%b: \xed\xa0\x80" % it, b"", 200, id=it.decode())
            for it in (b"Accept", b"Accept-Encoding", b"X-Any")
        ),
        pytest.param("POST /sign-in", FORM, b"name=\xff", 400, id="a-raw-byte-in-a-form"),
        pytest.param("POST /sign-in", FORM + b"; charset=none", b"name=a", 400, id="no-charset"),
        pytest.param("POST /sign-in", FORM, b"name=%ff", 401, id="a-percent-encoded-byte"),
    ],
)
async def test_non_utf_8_bytes_in_admin_requests_cause_no_server_error(
    request_line: str, field: bytes, body: bytes, status: int, client: TestClient[Any, Any]
) -> None:
    host = () if field.startswith(b"Host") else (b"Host: h",)
    has_credentials = field.startswith(b"Authorization")
    bearer = () if has_credentials else (b"Authorization: Bearer " + TOKEN.encode(),)
    first = f"{request_line} HTTP/1.1".encode()
    assert await status_of(client, first, *host, *bearer, field, body=body) == status


async def test_a_csrf_token_that_is_no_text_gets_403(unguarded: TestClient[Any, Any]) -> None:
    change = b"POST /api/v1/stream/close HTTP/1.1"
    assert await status_of(unguarded, change, b"Host: localhost", b"X-CSRF-Token: \xff") == 403


# ---------------------------------------------------------------- without credentials


async def test_without_credentials_configured_every_local_client_is_an_operator(
    unguarded: TestClient[Any, Any],
) -> None:
    told = await (await unguarded.get("/api/v1/session")).json()
    assert (told["role"], told["signed_in"]) == ("operator", False)
    stream = {"route": "/none", "name": "s"}
    answer = await unguarded.post(CHANGE, json=stream, headers=await csrf(unguarded))
    assert answer.status == 404
    assert (await unguarded.post(CHANGE, json=stream)).status == 403


@pytest.mark.parametrize(
    "host",
    ["localhost", "LocalHost:4439", "127.0.0.1:4439", "127.8.8.8", "[::1]:4439", "[::1]"],
)
async def test_an_open_console_answers_to_every_name_of_this_machine(
    host: str, unguarded: TestClient[Any, Any]
) -> None:
    assert (await unguarded.get("/api/v1/session", headers={"Host": host})).status == 200
