"""Requests to the console of a real server: those of scripts, and those of plain browsers."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any
from urllib.parse import urlencode

from tests.admin.consoles import OPERATOR
from tests.support.http1 import Answer, ask

if TYPE_CHECKING:
    from tests.support.processes import Headgate

FORM = "application/x-www-form-urlencoded"


def told(
    server: Headgate, method: str, path: str, body: object = None, token: str = OPERATOR
) -> tuple[int, Any]:
    """The status and the value of the API; nobody has to sign in where the token is empty."""
    sent = None if body is None else json.dumps(body).encode()
    fields = {"Content-Type": "application/json"}
    if not token and method != "GET":
        fields["X-CSRF-Token"] = csrf(server)
    answer = _asked(server, method, path, sent, token, **fields)
    return answer.status, answer.json() if answer.body else None


def api(server: Headgate, path: str, token: str = "") -> Any:
    """Return what the API has at a path below its version."""
    status, value = told(server, "GET", f"/api/v1/{path}", token=token)
    assert status == 200, value
    return value


def page(server: Headgate, path: str, token: str = OPERATOR) -> str:
    """The text of a page."""
    answer = _asked(server, "GET", path, None, token, Accept="text/html")
    assert answer.status == 200, answer
    return answer.body.decode()


def submitted(server: Headgate, path: str, **fields: str) -> tuple[int, str]:
    """Send a form as an open console has it; return its status, and the page that it leads to."""
    body = urlencode({"csrf": csrf(server), **fields}).encode()
    own = {"Origin": server.admin_url, "Host": server.admin_url.removeprefix("http://")}
    answer = _asked(server, "POST", path, body, "", Content_Type=FORM, Accept="text/html", **own)
    there = answer.headers.get("location")
    return answer.status, answer.body.decode() if there is None else page(server, there, "")


def csrf(server: Headgate) -> str:
    """The token that goes with the changes of an open console."""
    token: str = told(server, "GET", "/api/v1/session", token="")[1]["csrf"]
    return token


def _asked(
    server: Headgate, method: str, path: str, body: bytes | None, token: str, **fields: str
) -> Answer:
    if token:
        fields["Authorization"] = f"Bearer {token}"
    return ask(server.admin_port, method, path, body, **fields)
