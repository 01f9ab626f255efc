"""Read tokens from the admin listener, for programs with the role of an operator."""

from __future__ import annotations

import json
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any

import pytest
from aiohttp.test_utils import TestClient
from structlog.testing import capture_logs

from admin.app import build
from gateway.access import key_sets
from gateway.access.operations import READ, Need
from gateway.access.read_tokens import verified
from tests.admin.consoles import ADMITTED, NOW, OPERATOR, Switchboard, setup
from tests.support.admin_server import AdminServer
from tests.support.keys_files import new_keys_file

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

WISH = {"subject": "ann", "streams": "/v1/stream/chat"}


@pytest.fixture
def keys(tmp_path: Path) -> str:
    return new_keys_file(tmp_path)


@asynccontextmanager
async def console(**settings: Any) -> AsyncIterator[TestClient[Any, Any]]:
    app = build(Switchboard(), setup(admin_tokens=ADMITTED, **settings))
    async with TestClient(AdminServer(app)) as client:
        yield client


async def ask(client: TestClient[Any, Any], wish: object, token: str = OPERATOR) -> tuple[int, Any]:
    headers = {"Authorization": f"Bearer {token}"}
    async with client.post("/api/v1/tokens", json=wish, headers=headers) as answer:
        return answer.status, await answer.json()


async def test_an_operator_gets_a_read_token_which_is_logged_without_its_value(keys: str) -> None:
    with capture_logs() as lines:
        async with console(keys_file=keys) as client:
            status, made = await ask(client, WISH)
    assert status == 200
    ann = verified(made["token"], key_sets.load_keys(keys), 900, NOW)
    assert (ann.name, ann.until, made["expires"]) == ("ann", NOW + 900, NOW + 900)
    assert ann.may(Need("/v1/stream/chat", READ))
    assert made["cookie"].startswith(f"__Secure-headgate={made['token']}; Path=/v1/stream/chat")
    (line,) = [line for line in lines if line["event"] == "admin.changed"]
    told = {key: line[key] for key in ("operation", "by", "stream", "subject", "jti")}
    assert told == {
        "operation": "token",
        "by": "shop",
        "stream": "/v1/stream/chat",
        "subject": "ann",
        "jti": made["jti"],
    }
    assert made["token"] not in json.dumps(lines, default=str)
    assert made["token"].split(".")[2] not in json.dumps(lines, default=str)


@pytest.mark.parametrize(
    ("more", "status", "said"),
    [
        pytest.param(
            {"lifetime": 901},
            400,
            "the token must last at most 900 s, which is credentials.read_token_max_age",
            id="a-lifetime-over-the-limit",
        ),
        ({"lifetime": 0}, 400, ">= 1"),
        ({"streams": "chat"}, 400, "the token must be a canonical path"),
        ({"streams": "/v1/../x"}, 400, "the token must be a canonical path"),
        ({"subject": ""}, 400, "the token must have a subject"),
        pytest.param({"subject": "x" * 257}, 400, "length <= 256", id="a-subject-over-the-limit"),
        ({"operations": []}, 400, "length >= 1"),
        ({"operations": ["admin"]}, 400, "Invalid enum value 'admin'"),
        ({"lifetimes": 60}, 400, "unknown field `lifetimes`"),
        ({"Lifetime": 60}, 400, "unknown field `Lifetime`"),
    ],
)
async def test_a_bad_request_for_a_read_token_gets_400_with_the_reason(
    keys: str, more: dict[str, object], status: int, said: str
) -> None:
    async with console(keys_file=keys) as client:
        found, problem = await ask(client, {**WISH, **more})
    assert (found, said in problem["detail"]) == (status, True), problem


async def test_a_read_token_without_usable_keys_gets_409_or_503(keys: str, tmp_path: Path) -> None:
    async with console() as client:
        status, problem = await ask(client, WISH)
    assert (status, "headgate token keys" in problem["detail"]) == (409, True)
    (tmp_path / "keys.json").chmod(0o644)
    async with console(keys_file=keys) as client:
        status, problem = await ask(client, WISH)
    assert (status, "chmod 600" in problem["detail"]) == (503, True)
    (tmp_path / "keys.json").unlink()
    async with console(keys_file=keys) as client:
        status, problem = await ask(client, WISH)
    assert (status, problem["detail"]) == (
        503,
        "the keys cannot be used: No such file or directory",
    )


async def test_a_read_token_without_credentials_gets_403_with_how_to_authenticate(
    keys: str,
) -> None:
    """While nobody has to sign in, a page of another site could be who asks."""
    app = build(Switchboard(), setup(keys_file=keys))
    async with TestClient(AdminServer(app)) as client:
        status, problem = await ask(client, WISH)
        assert (status, "token" in problem) == (403, False)
        assert "its X-CSRF-Token: " in problem["detail"]
        assert "read GET /api/v1/session" in problem["detail"]
        assert "a script sends one of admin.tokens, which needs none" in problem["detail"]
