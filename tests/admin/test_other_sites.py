"""Pages of other sites at the console: each change and each page, sent as a browser would."""

from __future__ import annotations

from itertools import product
from typing import TYPE_CHECKING, Any

import pytest

from headgate_admin.access import check
from headgate_admin.app import build
from headgate_gateway.access.credentials import READING
from tests.admin.consoles import Clock, Switchboard, served, setup
from tests.admin.test_access import TOKENS, USERS, csrf, sign_in
from tests.support.admin_server import AdminServer
from tests.support.examples import spread

if TYPE_CHECKING:
    from aiohttp import web
    from aiohttp.test_utils import TestClient
    from pytest_aiohttp.plugin import AiohttpClient

    from headgate_gateway.features.questions.process_source import Setup

FORM = {"Content-Type": "application/x-www-form-urlencoded"}
REBOUND = (
    "evil.example",
    "evil.example:4439",
    "127.0.0.1.evil.example:4439",
    "localhost.evil.example",
    "127.0.0.1@evil.example",
    "localhost.",
    "0.0.0.0:4439",
    "10.0.0.7",
    "[::ffff:10.0.0.7]:4439",
    "0x7f000001",
    "2130706433",
    "127.1",
    "::1",
    "localhost:4439:1",
    "",
)
STRANGERS = (
    "https://evil.example",
    "http://evil.example:4439",
    "null",
    "",
    "http://127.0.0.1.evil.example",
    "http://127.0.0.1",  # this machine's, but another server's
    "file://",
    "chrome-extension://abcdef",
)


def console(*, is_open: bool) -> web.Application:
    """The application, with people and tokens or for everybody on the machine."""
    told: Setup = setup(Clock(), admin_users=USERS, admin_tokens=TOKENS) if not is_open else setup()
    return build(Switchboard(), told)


@pytest.fixture(params=[True, False], ids=["open", "signed in"])
async def client(
    request: pytest.FixtureRequest, aiohttp_client: AiohttpClient
) -> TestClient[Any, Any]:
    """A browser that may change everything: its user is an operator, and has the console open."""
    made: TestClient[Any, Any] = await aiohttp_client(AdminServer(console(is_open=request.param)))
    if not request.param:
        assert (await sign_in(made)).status == 200
    return made


def operations(*, changing: bool) -> list[tuple[str, str]]:
    """Every method and path that there is, out of the application itself."""
    found = {(method, path.replace("{name}", "site.css")) for method, path in served()}
    chosen = sorted(it for it in found if (it[0] not in READING) is changing)
    assert len(chosen) >= (9 if changing else 35)
    return chosen


CHANGES = operations(changing=True)
OF_VIEWERS = {"/sign-in", "/sign-out", "/caches", "/api/v1/explain", "/api/v1/session"}
SIGN_INS = {("POST", "/sign-in"), ("POST", "/api/v1/session")}  # which nobody has signed in for


async def test_each_change_from_another_origin_gets_403_even_with_the_right_token(
    client: TestClient[Any, Any],
) -> None:
    """Whatever the page sends along: the user's cookie, and even the right token."""
    token = await csrf(client)
    sent = spread(product(CHANGES, STRANGERS, ({}, FORM, token)), 7)
    statuses = {
        (await client.request(method, path, headers={"Origin": origin, **more})).status
        for (method, path), origin, more in sent
    }
    assert statuses == {403}
    assert {change for change, *_ in sent} == {*CHANGES}


async def test_each_change_without_the_right_csrf_token_gets_403(
    client: TestClient[Any, Any],
) -> None:
    right = (await csrf(client))[check.HEADER]
    wrong = ("", "x", right[:-1], f"{right}x", right.swapcase(), "null")
    own = {"Origin": f"http://{client.host}:{client.port}"}
    ways: list[tuple[dict[str, str], str]] = [({}, ""), (FORM, f"{check.FIELD}={wrong[2]}")]
    ways += [({check.HEADER: given}, "") for given in wrong]
    sent = spread(product([it for it in CHANGES if it not in SIGN_INS], ({}, own), ways), 5)
    statuses = {
        (await client.request(method, path, headers={**headers, **origin}, data=data)).status
        for (method, path), origin, (headers, data) in sent
    }
    assert statuses == {403}
    assert {change for change, *_ in sent} == {*CHANGES} - SIGN_INS


async def test_each_change_by_a_viewer_gets_403(aiohttp_client: AiohttpClient) -> None:
    client: TestClient[Any, Any] = await aiohttp_client(AdminServer(console(is_open=False)))
    assert (await sign_in(client, "vic", "of the viewer")).status == 200
    token = await csrf(client)
    told = {}
    for method, path in CHANGES:
        if path not in OF_VIEWERS:
            answer = await client.request(method, path, headers=token)
            told[method, path] = answer.status, (await answer.json())["detail"]
    assert set(told.values()) == {(403, "vic may look, but not change anything")}
    assert len(told) > 15


async def test_a_rebound_host_name_gets_421_from_an_open_console(
    aiohttp_client: AiohttpClient,
) -> None:
    """Of a console for everybody on this machine, all but the two probes."""
    client: TestClient[Any, Any] = await aiohttp_client(AdminServer(console(is_open=True)))
    token = await csrf(client)
    asked = [
        (method, path)
        for method, path in operations(changing=False) + CHANGES
        if path not in check.PROBES
    ]
    sent = spread(product(asked, REBOUND), 5)
    for (method, path), host in sent:
        # As the page's own: the name is that of the site which its browser believes it is on.
        headers = {"Host": host, "Origin": f"http://{host}", **token}
        answer = await client.request(method, path, headers=headers)
        assert token[check.HEADER].encode() not in await answer.read()
        assert answer.status == (400 if "@" in host else 421)  # "@" is in no host
    assert {request for request, _ in sent} == {*asked}


async def test_admin_pages_forbid_framing_and_cross_origin_reads(
    client: TestClient[Any, Any],
) -> None:
    pages = [path for method, path in operations(changing=False) if method == "GET"]
    for path in pages:
        if path.endswith("/events"):
            continue  # which do not end
        answer = await client.get(path, allow_redirects=False)
        assert answer.headers["X-Frame-Options"] == "DENY"
        policy = answer.headers["Content-Security-Policy"]
        assert "frame-ancestors 'none'" in policy
        assert "unsafe" not in policy
        assert "Access-Control-Allow-Origin" not in answer.headers
