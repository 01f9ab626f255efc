"""Every page, form and operation of the console on every kind of server: none is a 500."""

from __future__ import annotations

import asyncio
import contextlib
import json
import signal
import socket
from typing import TYPE_CHECKING, Any, NamedTuple
from urllib.parse import urlencode

import aiohttp
import msgspec
import pytest

from headgate_admin.api.openapi import OPERATIONS
from headgate_admin.pages.views import pages
from tests.admin.browser.every_page import NO_PAGES, STATES, paths
from tests.support.examples import cases
from tests.support.given_settings import variables
from tests.support.http1 import Wire
from tests.support.ports import free_port
from tests.support.processes import Headgate
from tests.support.redis_servers import redis_server
from tests.support.waiting import until

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

pytestmark = pytest.mark.usefixtures("processes")

AWAY = f"http://127.0.0.1:{free_port()}"
ROUTE, SECOND = "/v1/stream", "/v1/second"
FORM = {"Content-Type": "application/x-www-form-urlencoded"}
# What fits a member of a query or a body by its name; others get one by their type.
VALUES: dict[str, object] = {
    "span": "15m",
    "target": "nginx",
    "url": f"{ROUTE}/a",
    "method": "GET",
    "action": "delete",
    "host": "a.example",
    "format": "sse",
    "by": "principal",
    "streams": f"{ROUTE}/*",
}


CLIENTS = 16  # some answers wait for a server that is away
ACTIONS = ("", "delete", "pause", "put", "ban")


class Request(NamedTuple):
    """A request to the admin listener."""

    method: str
    target: str
    body: bytes | None = None
    is_page: bool = False


def all_features(folder: Path) -> dict[str, object]:
    """Return settings with all that the console shows and changes; the servers are away."""
    (folder / "secret").write_text("s" * 48)
    (folder / "secret").chmod(0o600)
    (folder / "tokens.toml").write_text("")
    model = {"prefix": "/openai", "dialect": "openai", "upstream": AWAY, "streams": f"{ROUTE}/a"}
    proxy = {"prefix": "/proxy", "streams": f"{ROUTE}/p", "allow": ["a.example"], "auth": "none"}
    return {
        "models": [model],
        "proxies": [{**proxy, "secret_file": str(folder / "secret")}],
        "tokens_file": str(folder / "tokens.toml"),
        "auth": "tokens",
        "purges": [{"kind": "varnish", "url": AWAY}],
        "http_cors_origins": "https://a.example",
    }


EDGE: dict[str, object] = {"prefix": ROUTE, "origin": AWAY}
FILE: dict[str, object] = {"prefix": ROUTE, "storage": "file:FOLDER/data"}
REDIS: dict[str, object] = {"prefix": ROUTE, "storage": "REDIS"}
KINDS: dict[str, list[dict[str, object]]] = {
    "HTTP": [EDGE],
    "two HTTP": [EDGE, {"prefix": SECOND, "origin": f"{AWAY}/x", "auth": "origin"}],
    "HTTP of workers": [EDGE],
    "memory": [{"prefix": ROUTE, "storage": "memory:"}],
    "file": [FILE],
    "file with all": [{**FILE, "runs": True, "mcp_events": True}, {**EDGE, "prefix": SECOND}],
    "Redis that is away": [{"prefix": ROUTE, "storage": f"redis://127.0.0.1:{free_port()}"}],
    "Redis": [REDIS],
    "Redis of workers": [{**REDIS, "mcp_events": True}],
}
TOGETHER = {"memory", "file with all", "Redis of workers"}


@contextlib.contextmanager
def server(kind: str, folder: Path) -> Iterator[tuple[Headgate, list[str]]]:
    """Yield a server of a kind that is not started, and the prefixes of its routes."""
    given: dict[str, object] = {"shutdown_grace": 3, "workers": 2 if "workers" in kind else 1}
    if kind == "file with all":
        given |= all_features(folder)
    with contextlib.ExitStack() as stack:
        places = {"file:FOLDER/data": f"file:{folder}/data"}
        if KINDS[kind][0].get("storage") == "REDIS":
            redis = stack.enter_context(redis_server(folder / "redis"))
            places["REDIS"] = f"redis://{redis.address}"
        gateway = stack.enter_context(contextlib.closing(Headgate(environment=variables(given))))
        gateway.serve_routes(
            *(
                {key: places.get(str(value), value) for key, value in it.items()}
                for it in KINDS[kind]
            )
        )
        yield gateway, [str(it["prefix"]) for it in KINDS[kind]]


def example(struct: type[msgspec.Struct], route: str, *, required_only: bool) -> dict[str, Any]:
    """Return members of a query or a body that may fit."""
    found: dict[str, Any] = {}
    known = {**VALUES, "route": route}
    for member in msgspec.structs.fields(struct):
        if required_only and not member.required:
            continue
        kind = msgspec.inspect.type_info(member.type)
        value: object = "nothing"
        if isinstance(kind, msgspec.inspect.IntType | msgspec.inspect.FloatType):
            value = 1
        elif isinstance(kind, msgspec.inspect.BoolType):
            value = False
        elif isinstance(kind, msgspec.inspect.LiteralType):
            value = kind.values[0]
        elif isinstance(kind, msgspec.inspect.StructType):
            value = example(kind.cls, route, required_only=required_only)
        elif isinstance(kind, msgspec.inspect.ListType | msgspec.inspect.VarTupleType):
            value = []
        found[member.encode_name] = known.get(member.encode_name, value)
    return found


def requests(prefixes: list[str]) -> list[Request]:
    """Return requests for all that the console has, on each route and on one that is not there."""
    found = [Request("GET", target, is_page=True) for target in (*NO_PAGES, *paths())]
    found += [Request("GET", it, is_page=True) for more in STATES.values() for it in more]
    for route in (*prefixes, "/nowhere"):
        found += [*of_pages(route), *of_operations(route)]
    return list(dict.fromkeys(found))


def of_pages(route: str) -> Iterator[Request]:
    """Yield requests to the pages, and the forms that they can send."""
    plain = urlencode({"route": route})
    for page in pages():
        yield Request("GET", f"{page.path}?{plain}&name=nothing&id=nothing", is_page=True)
        yield Request("GET", f"{page.path}?{plain}", is_page=True)
        for action in () if page.submit is None else ACTIONS:
            form = {"route": route, "name": "nothing", "id": "nothing", "action": action}
            body = urlencode({**form, "csrf": "CSRF"}).encode()
            yield Request("POST", f"{page.path}?{plain}", body, is_page=True)


def of_operations(route: str) -> Iterator[Request]:
    """Yield requests to the API, with the members that must be there, and with all."""
    for operation in OPERATIONS:
        for required_only in (True, False):
            query, body = "", None
            if operation.query is not None:
                named = example(operation.query, route, required_only=required_only)
                query = f"?{urlencode(named)}"
            if operation.body is not None:
                sent = example(operation.body, route, required_only=required_only)
                body = json.dumps(sent).encode()
            yield Request(operation.method, f"{operation.path}{query}", body)


async def failed(
    gateway: Headgate, prefixes: list[str], *, stops: bool = False
) -> tuple[list[tuple[Any, ...]], int]:
    """Send the requests; return those that were answered with 500, and the number of answers.

    With `stops` the server is stopped first, and answers until it has ended.
    """
    found: list[tuple[Any, ...]] = []
    answers = 0
    waiting = requests(prefixes)
    timeout = aiohttp.ClientTimeout(total=60)

    async def ask_on(session: aiohttp.ClientSession, token: str) -> None:
        nonlocal answers
        while waiting:
            request = waiting.pop(0)
            fields = {"X-CSRF-Token": token, "Accept": "text/html" if request.is_page else "*/*"}
            if request.body is not None:
                fields |= FORM if request.is_page else {"Content-Type": "application/json"}
            data = None if request.body is None else request.body.replace(b"CSRF", token.encode())
            with contextlib.suppress(aiohttp.ClientConnectionError):
                async with session.request(
                    request.method, request.target, data=data, headers=fields, allow_redirects=False
                ) as answer:
                    answers += 1
                    if answer.status == 500:
                        found.append((*request, await answer.text()))

    async with aiohttp.ClientSession(gateway.admin_url, timeout=timeout) as session:
        async with session.get("/api/v1/session") as current:
            token = (await current.json())["csrf"]
        if stops:
            assert gateway.process is not None
            gateway.process.send_signal(signal.SIGTERM)
        await asyncio.gather(*(ask_on(session, token) for _ in range(CLIENTS)))
    return found, answers


@pytest.mark.timeout(240)
@pytest.mark.parametrize(
    "kind", cases(KINDS, TOGETHER, "three kinds that together have each route, log and feature")
)
async def test_no_page_form_or_operation_of_the_console_fails_on_any_kind_of_server(
    kind: str, tmp_path: Path
) -> None:
    with server(kind, tmp_path) as (gateway, prefixes):
        gateway.spawn()  # whatever is not ready yet
        await accepted(gateway)
        assert await failed(gateway, prefixes) == ([], len(requests(prefixes)))
        assert "Traceback" not in gateway.output()


@pytest.mark.timeout(240)
@pytest.mark.parametrize(
    "kind",
    cases(
        ["HTTP", "file with all", "Redis of workers"], {"file with all"}, "a server that has all"
    ),
)
async def test_no_page_form_or_operation_of_the_console_fails_while_a_server_stops(
    kind: str, tmp_path: Path
) -> None:
    with server(kind, tmp_path) as (gateway, prefixes):
        gateway.start()
        with Wire(gateway.port) as unfinished:  # a request that the stop waits for
            head = f"POST {ROUTE}/s HTTP/1.1", "Host: a", "Content-Type: text/plain"
            unfinished.send("\r\n".join((*head, "Content-Length: 9", "", "")).encode())
            found, answers = await failed(gateway, prefixes, stops=True)
        assert found == []
        assert answers > 0
        assert "Traceback" not in gateway.output()


async def accepted(gateway: Headgate) -> None:
    """Wait until the admin listener is there."""

    def accepts() -> bool:
        assert gateway.process is not None
        assert gateway.process.poll() is None, gateway.output()
        with contextlib.suppress(OSError):
            socket.create_connection(("127.0.0.1", gateway.admin_port)).close()
            return True
        return False

    await until(accepts)
