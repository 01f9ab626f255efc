"""The readers of real servers on the console: of several workers, and of gateways on one log."""

from __future__ import annotations

import json
import os
import re
import signal
from contextlib import ExitStack, contextmanager
from typing import TYPE_CHECKING, Any
from urllib.parse import urlencode

import pytest

from headgate_admin.streams.client import CONSOLE_ADDRESS
from headgate_gateway.features.questions.readers import MOST_ENDED, MOST_READERS
from tests.admin.asking import api, page, submitted, told
from tests.admin.consoles import ADMITTED, OPERATOR, VIEWER
from tests.support.given_settings import variables
from tests.support.http1 import Wire, ask, request
from tests.support.processes import headgate
from tests.support.redis_servers import redis_server
from tests.support.tokens_files import token, write_tokens
from tests.support.waiting import wait_until
from tests.workers.several import several

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from tests.support.processes import Headgate

pytestmark = pytest.mark.usefixtures("processes")
ROUTE = "/v1/stream"
ADMIN_TOKENS = variables({"admin_tokens": ADMITTED})
JSON = "application/json"
AGENT = "canary-agent/1.0"


def listed(server: Headgate, token: str = OPERATOR, **query: str | int) -> dict[str, Any]:
    found: dict[str, Any] = api(server, f"readers?{urlencode(query)}", token)
    return found


def tokens_file(folder: Path, *names: str) -> str:
    grants = {name: [("*", "read append create")] for name in names}
    return write_tokens(folder, grants, without="", prefix=ROUTE)


def bearer(name: str) -> str:
    return f"Bearer {token(name)}"


def create(server: Headgate, stream: str, **headers: str) -> None:
    made = ask(server.port, "PUT", f"{ROUTE}/{stream}", b"", Content_Type=JSON, **headers)
    assert made.status == 201, made


@contextmanager
def reading(
    server: Headgate, count: int, mode: str = "sse", stream: str = "s", **headers: str
) -> Iterator[list[Wire]]:
    """Clients that follow a stream, until the block ends."""
    with ExitStack() as opened:
        wires = [opened.enter_context(Wire(server.port)) for _ in range(count)]
        for wire in wires:
            target = f"{ROUTE}/{stream}?offset=now&live={mode}"
            wire.send(request("GET", target, None, User_Agent=AGENT, **headers))
            if mode == "sse":
                wire.head()
        yield wires


def waits(server: Headgate, count: int) -> None:
    wait_until(
        lambda: listed(server)["total"] == count,
        f"{count} readers are listed",
        lambda: str(listed(server)),
    )


# ---------------------------------------------------------------- several workers


@pytest.fixture
def redis(processes: None, tmp_path: Path) -> Iterator[str]:
    with redis_server(tmp_path / "redis") as server:
        yield server.url


def test_pages_of_two_workers_together_list_each_reader_once(redis: str) -> None:
    with several(redis, admin_tokens=ADMITTED) as server:
        create(server, "s")
        with reading(server, 12), reading(server, 8, "long-poll"):
            waits(server, 20)
            for order in ("behind", "since", "bytes", "stream", "principal", "address"):
                seen: list[str] = []
                after = ""
                while True:
                    found = listed(server, order=order, after=after, limit=4)
                    seen += [row["id"] for row in found["rows"]]
                    if found["after"] is None:
                        break
                    after = found["after"]
                assert len(seen) == len(set(seen)) == 20, order
            rows = listed(server)["rows"]
            assert len({row["id"].partition("-")[0] for row in rows}) == 2, "each worker has some"
            assert {row["user_agent"] for row in rows} == {AGENT}
            sums = listed(server, limit=1)["sums"]
            assert sums["by_mode"] == {"sse": 12, "long-poll": 8}
            assert sum(sums["by_status"].values()) == 20
            assert sums["sent_bytes"] == sum(row["sent_bytes"] or 0 for row in rows)
            status, groups = told(server, "GET", "/api/v1/readers/groups?by=address")
            assert (status, [row["readers"] for row in groups["rows"]]) == (200, [20])
            ids = [row["id"] for row in listed(server, mode="sse")["rows"]]
            assert told(server, "POST", "/api/v1/readers/disconnect", {"ids": ids}) == (
                200,
                {"readers": 12},
            )
            waits(server, 8)


def test_a_ban_holds_on_every_worker_and_on_a_replaced_one(redis: str, tmp_path: Path) -> None:
    file = tokens_file(tmp_path, "ann", "ben")
    with several(redis, admin_tokens=ADMITTED, auth="tokens", tokens_file=file) as server:
        create(server, "s", Authorization=bearer("ben"))
        with (
            reading(server, 12, Authorization=bearer("ann")) as banned,
            reading(server, 4, Authorization=bearer("ben")),
        ):
            waits(server, 16)
            wish = {"kind": "principal", "value": "token ann", "seconds": 3600}
            assert told(server, "POST", "/api/v1/bans", wish) == (200, {"readers": 12})
            waits(server, 4)
            assert all(_ends(wire) for wire in banned)
        assert _statuses(server, "ann", 12) == {403}
        assert _statuses(server, "ben", 4) == {200}
        for pid in server.workers().values():
            os.kill(pid, signal.SIGKILL)
            wait_until(lambda gone=pid: gone not in server.workers().values(), "it has ended")  # type: ignore[misc]
        wait_until(lambda: len(server.workers()) == 2, "both are replaced")
        wait_until(lambda: _statuses(server, "ann", 12) == {403}, "the new workers know of the ban")
        assert told(server, "DELETE", "/api/v1/bans?kind=principal&value=token+ann") == (204, None)
        assert _statuses(server, "ann", 12) == {200}


def _statuses(server: Headgate, name: str, count: int) -> set[int]:
    """The statuses of reads on connections of their own, which both workers get some of."""
    path = f"{ROUTE}/s?offset=-1"
    return {ask(server.port, "GET", path, Authorization=bearer(name)).status for _ in range(count)}


def _ends(wire: Wire) -> bool:
    """Whether the body ends with its last chunk."""
    while wire.chunk():
        pass
    return True


# ---------------------------------------------------------------- gateways on one log


def test_a_ban_travels_to_gateways_that_share_the_log_and_so_does_its_end(
    redis: str, tmp_path: Path
) -> None:
    environment = {
        **ADMIN_TOKENS,
        "HEADGATE_AUTH": "tokens",
        "HEADGATE_CREDENTIALS__TOKENS_FILE": tokens_file(tmp_path, "ann"),
    }
    with (
        headgate(redis, environment=environment) as first,
        headgate(redis, environment=environment) as second,
    ):
        create(first, "s", Authorization=bearer("ann"))
        with reading(second, 3, Authorization=bearer("ann")):
            waits(second, 3)
            wish = {"kind": "principal", "value": "token ann", "seconds": 600, "status": 429}
            assert told(first, "POST", "/api/v1/bans", wish) == (200, {"readers": 0})
            waits(second, 0)
        refused = ask(second.port, "GET", f"{ROUTE}/s?offset=-1", Authorization=bearer("ann"))
        assert refused.status == 429
        assert 0 < int(refused.headers["retry-after"]) <= 600
        (ban,) = api(second, "bans", OPERATOR)["bans"]
        assert (ban["value"], ban["by"]) == ("token ann", "shop")
        path = "/api/v1/bans?kind=principal&value=token+ann"
        assert told(second, "DELETE", path) == (204, None)
        wait_until(lambda: api(first, "bans", OPERATOR)["bans"] == [], "the first hears of it")
        assert _statuses(first, "ann", 1) == _statuses(second, "ann", 1) == {200}
        assert told(first, "POST", "/api/v1/bans", wish)[0] == 200
        wait_until(lambda: _statuses(second, "ann", 1) == {429}, "the second hears of it")
        first.kill()
        wait_until(
            lambda: api(second, "overview", OPERATOR)["instance"]["gateways"] == 1,
            "the first is not heard of any more",
        )
        assert _statuses(second, "ann", 1) == {429}, "it stands without the one that decided"


def test_a_ban_outlives_a_disconnection_and_a_restart_where_the_log_has_a_folder(
    tmp_path: Path,
) -> None:
    with headgate(f"file:{tmp_path}/data", environment=ADMIN_TOKENS) as server:
        create(server, "s")
        wish = {"kind": "address", "value": "127.0.0.1", "seconds": 600}
        assert told(server, "POST", "/api/v1/bans", wish) == (200, {"readers": 0})
        only_disconnect = {**wish, "seconds": 0, "status": 429}
        assert told(server, "POST", "/api/v1/bans", only_disconnect)[0] == 200
        assert (tmp_path / "data" / "headgate.bans").stat().st_mode & 0o777 == 0o600
        server.kill()
        server.start()
        assert ask(server.port, "GET", f"{ROUTE}/s?offset=-1").status == 403, "from the start on"
        assert told(server, "DELETE", "/api/v1/bans?kind=address&value=127.0.0.1") == (204, None)
        wish["value"] = "2001:db8::1"
        assert told(server, "POST", "/api/v1/bans", wish) == (200, {"readers": 0})
        (ban,) = told(server, "GET", "/api/v1/bans")[1]["bans"]  # its network of 64 bits
        lift = f"/api/v1/bans?kind=address&value={ban['value']}"
        assert told(server, "DELETE", lift) == (204, None)
        assert ask(server.port, "GET", f"{ROUTE}/s?offset=-1").status == 200


# ---------------------------------------------------------------- who may see and do what


def test_viewers_see_no_addresses_and_agents() -> None:
    with headgate(environment=ADMIN_TOKENS) as server:
        create(server, "s")
        with reading(server, 1):
            waits(server, 1)
            (row,) = listed(server, VIEWER)["rows"]
            assert (row["address"], row["user_agent"]) == (None, None)
            assert listed(server, VIEWER, text="canary")["total"] == 0, "it is not compared either"
            assert listed(server, VIEWER, address="127.0.0.1")["total"] == 0
            groups = told(server, "GET", "/api/v1/readers/groups?by=address", token=VIEWER)[1]
            assert [it["key"] for it in groups["rows"]] == [""]
            for path in ("/clients", "/clients?by=address", "/clients?text=canary"):
                assert "127.0.0.1" not in page(server, path, VIEWER).partition("<main")[2]
                assert AGENT not in page(server, path, VIEWER)
            assert AGENT in page(server, "/clients")
            assert "127.0.0.1" in page(server, "/clients").partition("<main")[2]
            wish = {"kind": "address", "value": "192.0.2.1", "seconds": 60}
            assert told(server, "POST", "/api/v1/bans", wish)[0] == 200
            assert told(server, "GET", "/api/v1/bans", token=VIEWER) == (200, {"bans": []})
            assert "192.0.2.1" not in page(server, "/clients?show=bans", VIEWER)
            assert "192.0.2.1" in page(server, "/clients?show=bans")
            events = api(server, "events", VIEWER)["events"]
            assert "192.0.2.1" not in json.dumps(events)
            metrics = ask(server.admin_port, "GET", "/metrics", Authorization=f"Bearer {VIEWER}")
            assert b"192.0.2.1" not in metrics.body
            assert AGENT.encode() not in metrics.body


def test_a_span_of_time_lists_the_readers_that_connected_in_it() -> None:
    with headgate(environment=ADMIN_TOKENS) as server:
        create(server, "s")
        with reading(server, 1):
            waits(server, 1)
            for span, count in (
                ("from=2026-01-01&to=2999-01-01", 1),
                ("from=2026-01-01&to=2026-01-02", 0),
            ):
                assert page(server, f"/clients?{span}").count('name="reader"') == count
            wrong = {"Authorization": f"Bearer {OPERATOR}", "Accept": "text/html"}
            refused = ask(
                server.admin_port, "GET", "/clients?from=soon&to=2026-01-02", None, **wrong
            )
            assert refused.status == 400
            assert b"From must be a time such as" in refused.body


IDS = "/api/v1/readers/disconnect"
WRONG_BANS = (
    {"kind": "nobody", "value": "a"},
    {"kind": "principal", "value": ""},
    {"kind": "principal", "value": "a" * 301},
    {"kind": "principal", "value": "console"},
    {"kind": "principal", "value": "192.0.2.9"},
    {"kind": "address", "value": "example.com"},
    {"kind": "address", "value": "10.0.0.1", "seconds": -1},
    {"kind": "address", "value": "10.0.0.1", "seconds": 1e12},
    {"kind": "address", "value": "::1", "status": 200},
    {"kind": "address", "value": "::1", "why": "x"},
)
WRONG: tuple[tuple[str, str, object, int], ...] = (
    *(("POST", "/api/v1/bans", {"seconds": 1, **it}, 400) for it in WRONG_BANS),
    *(("POST", IDS, {"ids": it}, 400) for it in ([], ["x"] * (MOST_ENDED + 1))),
    ("DELETE", "/api/v1/bans?kind=address&value=10.9.9.9", None, 404),
    ("GET", "/api/v1/readers?order=size", None, 400),
    ("GET", "/api/v1/readers?after=x", None, 400),
    ("GET", f"/api/v1/readers?limit={MOST_READERS + 1}", None, 400),
    ("GET", "/api/v1/readers/groups", None, 400),
)


def test_wrong_requests_about_readers_are_refused_with_a_reason() -> None:
    with headgate(environment=ADMIN_TOKENS) as server:
        for method, path, wrong, status in WRONG:
            found, problem = told(server, method, path, wrong)
            assert (found, bool(problem["detail"])) == (status, True), (path, wrong, problem)
        wrong = {"kind": "principal", "value": "ann", "seconds": 600}
        reason = "ann is not an account: that of a static token is token NAME; Usage lists others"
        assert told(server, "POST", "/api/v1/bans", wrong)[1]["detail"] == reason
        assert told(server, "GET", "/api/v1/bans") == (200, {"bans": []})

        def events() -> str:
            return json.dumps(api(server, "events", VIEWER)["events"])

        wait_until(lambda: "lift the ban of an address failed" in events(), "the last is an event")
        assert "ban an address failed" in events()
        assert "192.0.2.9" not in events(), "an address that was entered as a principal"


def test_bans_and_disconnections_are_in_the_audit_log_and_among_the_events() -> None:
    with headgate(environment=ADMIN_TOKENS) as server:
        create(server, "s")
        with reading(server, 2):
            waits(server, 2)
            (row, _) = listed(server)["rows"]
            told(server, "POST", "/api/v1/readers/disconnect", {"ids": [row["id"]]})
            wish = {"kind": "address", "value": "127.0.0.1", "seconds": 60}
            told(server, "POST", "/api/v1/bans", wish)
            told(server, "DELETE", "/api/v1/bans?kind=address&value=127.0.0.1")
        lines = [line for line in server.output().splitlines() if "admin.changed" in line]
        assert [it for it in lines if "disconnect" in it and row["id"] in it]
        assert [it for it in lines if "ban" in it and "127.0.0.1" in it and "shop" in it]
        assert [it for it in lines if "lift the ban of" in it and "shop" in it]

        def sentences() -> list[str]:
            events = api(server, "events", OPERATOR)["events"]
            return [it["sentence"] for it in events if it["kind"] == "change"]

        wait_until(lambda: len(sentences()) == 3, "they are events", lambda: str(sentences()))
        assert sentences() == [
            "shop: disconnect readers",
            "shop: ban an address",
            "shop: lift the ban of an address",
        ]


# ---------------------------------------------------------------- pages without scripts


def test_an_operator_disconnects_bans_and_lifts_by_plain_forms() -> None:
    with headgate() as server:
        create(server, "s")
        with reading(server, 3):

            def shown() -> list[str]:
                return re.findall(r'name="reader" value="([^"]+)"', page(server, "/clients", ""))

            wait_until(lambda: len(shown()) == 3, "three are listed")
            _, done = submitted(server, "/clients", do="disconnect", reader=shown()[0])
            assert "Disconnected readers: 1." in done
            assert len(shown()) == 2
            ban_form = "/clients?show=bans&amp;kind=address&amp;value=127.0.0.1"
            assert page(server, "/clients", "").count(f'href="{ban_form}">Ban…') == 2
            bans = "/clients?show=bans"
            fields = {"kind": "address", "value": "127.0.0.1", "seconds": "600", "status": "429"}
            _, done = submitted(server, bans, do="ban", **fields)
            assert "Disconnected readers: 2." in done
            assert ask(server.port, "GET", f"{ROUTE}/s?offset=-1").status == 429
            _, done = submitted(server, bans, do="lift", **fields)
            assert "The ban is lifted." in done
            assert ask(server.port, "GET", f"{ROUTE}/s?offset=-1").status == 200
            _, refused = submitted(server, bans, do="ban", **{**fields, "value": "<b>'\"&"})
            assert "is not an IP address" in refused
            assert "<b>" not in refused.partition("<main")[2]


# ---------------------------------------------------------------- the loudest


def test_the_loads_of_all_workers_are_added_up(redis: str) -> None:
    with several(redis, admin_tokens=ADMITTED) as server:
        create(server, "s", User_Agent=AGENT)
        for _ in range(24):  # on connections of their own, which both workers get some of
            fields = {"User_Agent": AGENT, "Content_Type": JSON}
            assert ask(server.port, "POST", f"{ROUTE}/s", b"[123]", **fields).status == 204
            path = f"{ROUTE}/absent?offset=-1"
            assert ask(server.port, "GET", path, User_Agent=AGENT).status == 404
        api(server, f"stream/messages?route={ROUTE}&name=s&offset=-1", OPERATOR)
        found = api(server, "loudest", OPERATOR)
        assert CONSOLE_ADDRESS not in {row["address"] for row in found["clients"]}
        (client,) = (row for row in found["clients"] if row["user_agent"] == AGENT)
        assert client["address"] == "127.0.0.1"
        shares = [client[it] / client["requests"] for it in ("appends", "refused")]
        assert shares == pytest.approx([24 / 49] * 2, rel=0.1)
        (stream,) = found["streams"]
        assert (stream["route"], stream["name"]) == (ROUTE, "s")
        assert stream["received_bytes"] == pytest.approx(5 * stream["appends"])
        assert "no stream at this path" in page(server, "/clients?show=refusals").lower()
        pages = "/clients?show=usage", "/clients?show=refusals", "/api/v1/loudest"
        for path in pages:
            assert AGENT in page(server, path), path
            assert AGENT not in page(server, path, VIEWER), path
