"""The doctor of deployments, as operators begin it from the console."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest
from aiohttp.test_utils import TestClient

from admin.app import build
from cdn_configs.options import Options
from cdn_configs.render import render
from cdn_configs.targets import target
from tests.admin.consoles import ADMITTED, OPERATOR, VIEWER, Switchboard, setup
from tests.support.admin_server import AdminServer
from tests.support.given_settings import variables
from tests.support.http1 import ask
from tests.support.ports import free_port
from tests.support.processes import headgate
from tests.support.proxy_engines import ENGINES, started
from tests.support.waiting import wait_until

if TYPE_CHECKING:
    from tests.support.processes import Headgate

PATH = "/api/v1/cdn/doctor"
LONGEST_S = 120.0  # of an examination of a gateway with short polls, on a busy machine


def told(server: Headgate, method: str, body: object = None, token: str = OPERATOR) -> Any:
    sent = None if body is None else json.dumps(body).encode()
    held = {"Authorization": f"Bearer {token}", "Content_Type": "application/json"}
    answer = ask(server.admin_port, method, PATH, sent, **held)
    return answer.status, json.loads(answer.body)


@pytest.mark.usefixtures("processes")
def test_the_doctor_examines_a_deployed_nginx_and_removes_its_streams() -> None:
    environment = {
        "HEADGATE_HTTP__HOSTS": "127.0.0.1",
        **variables({"admin_tokens": ADMITTED}),
        "HEADGATE_LIVE__LONG_POLL_TIMEOUT": "2",
        "HEADGATE_LIVE__SSE_HEARTBEAT": "1",
        "HEADGATE_LOG__FORMAT": "json",
        "STREAM_AUTH": "Bearer of-whoever-runs-commands",
    }
    port = free_port()
    with headgate(environment=environment) as server:
        options = Options(
            upstream=f"127.0.0.1:{server.port}",
            is_upstream_given=True,
            listen=port,
            standalone=True,
        )
        text = render(target("nginx"), options)
        wish = {"host": "127.0.0.1", "scheme": "http", "port": port, "digest": f"nginx/{'0' * 16}"}
        with started(ENGINES["nginx"], {"headgate.conf": text}, port):
            assert told(server, "POST", wish, VIEWER)[0] == 403
            assert told(server, "POST", wish | {"host": "10.0.0.1"})[0] == 400
            status, begun = told(server, "POST", wish)
            url = f"http://127.0.0.1:{port}/v1/stream"
            assert (status, begun["url"], begun["is_running"]) == (200, url, True)
            status, problem = told(server, "POST", wish)
            assert (status, problem["detail"]) == (
                409,
                f"{url} is being examined: wait for its end",
            )
            wait_until(
                lambda: not told(server, "GET")[1]["is_running"], "its end", within_s=LONGEST_S
            )
        _, view = told(server, "GET")
        verdicts = {it["check"]: it["verdict"] for it in view["findings"]}
        assert (view["trouble"], view["left"], view["by"]) == ("", [], "shop")
        drifted = {it["check"]: it["saw"] for it in view["findings"]}["configuration"]
        assert drifted.startswith("drifted: rendered with other options or by another version,")
        assert verdicts["offsets"] == verdicts["equal polls"] == "pass", view
        page = ask(
            server.admin_port,
            "GET",
            "/api/v1/streams?route=/v1/stream",
            Authorization=f"Bearer {OPERATOR}",
        )
        assert page.json()["rows"] == []
        lines = [json.loads(line) for line in server.output().splitlines()]
        changes = [it for it in lines if it["event"].startswith("admin.change")]
        assert [(it["event"], it["operation"], it["by"], it["host"]) for it in changes] == [
            ("admin.change_failed", "doctor", "shop", "10.0.0.1"),
            ("admin.changed", "doctor", "shop", "127.0.0.1"),
            ("admin.change_failed", "doctor", "shop", "127.0.0.1"),
        ]
        assert "of-whoever-runs-commands" not in server.output()


@pytest.mark.parametrize(
    ("hosts", "wish", "status", "said"),
    [
        ((), {}, 409, "the settings name no hosts, and no others are examined"),
        (("a.example",), {}, 400, "host must be one of the settings' hosts: a.example"),
        (("b.example",), {"route": "/v2"}, 404, "no route has this prefix"),
        (("b.example",), {"port": 0}, 400, ">= 1"),
        (("b.example",), {"scheme": "file"}, 400, "Invalid enum value 'file'"),
        (("b.example",), {"digest": "no digest"}, 400, "matching regex"),
    ],
)
async def test_the_doctor_refuses_hosts_and_routes_outside_the_settings(
    hosts: tuple[str, ...], wish: dict[str, object], status: int, said: str
) -> None:
    app = build(Switchboard({"server": None}), setup(http_hosts=hosts, admin_tokens=ADMITTED))
    async with TestClient(AdminServer(app)) as client:
        headers = {"Authorization": f"Bearer {OPERATOR}"}
        body = {"host": "b.example", **wish}
        async with client.post(PATH, json=body, headers=headers) as answer:
            assert (answer.status, said in (await answer.json())["detail"]) == (status, True)


@pytest.mark.usefixtures("processes")
async def test_the_doctor_form_is_prefilled_with_the_last_examination() -> None:
    hosts = ("a.example", "127.0.0.1")
    app = build(Switchboard({"server": None}), setup(http_hosts=hosts, admin_tokens=ADMITTED))
    async with TestClient(AdminServer(app)) as client:
        headers = {"Authorization": f"Bearer {OPERATOR}", "Accept": "text/html"}
        form = {"scheme": "http", "host": "127.0.0.1", "port": str(free_port())}
        async with client.post("/caches/cdn?target=nginx", data=form, headers=headers) as answer:
            page = await answer.text()
        assert '<option value="http" selected>' in page
        assert '<option value="127.0.0.1" selected>' in page
        assert f'name="port" value="{form["port"]}"' in page
