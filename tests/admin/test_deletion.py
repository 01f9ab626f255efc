"""Deletion by prefix: what was counted and confirmed, by real servers, and nothing else."""

from __future__ import annotations

import json
import re
from contextlib import closing
from typing import TYPE_CHECKING, Any
from urllib.parse import urlencode

import pytest

from tests.admin.asking import api, page, submitted, told
from tests.admin.consoles import ADMITTED, VIEWER
from tests.support.given_settings import variables
from tests.support.http1 import ask
from tests.support.processes import Headgate, headgate
from tests.support.redis_servers import redis_server
from tests.support.waiting import wait_until
from tests.workers.several import several

if TYPE_CHECKING:
    from pathlib import Path

pytestmark = pytest.mark.usefixtures("processes")

ROUTE = "/v1/stream"
DELETION = "/api/v1/streams/deletion"
# In URLs, as the gateway writes them: markup, the characters of globs, an encoded slash.
HOSTILE = ["%3Cb%3E&'", "a*b", "a%5Bx%5D", "a%3Fb", "a%2Fb", "..%2Fx", "%25", "%F0%9F%92%A5"]
ENVIRONMENT = {**variables({"admin_tokens": ADMITTED}), "HEADGATE_LOG__FORMAT": "json"}


class Console:
    """The API of a server for an operator."""

    def __init__(self, server: Headgate) -> None:
        self.server = server

    def ask(self, method: str, path: str, body: object = None) -> tuple[int, Any]:
        return told(self.server, method, f"{DELETION}{path}", body)

    def current(self) -> dict[str, Any]:
        found: dict[str, Any] = api(self.server, "streams/deletion", VIEWER)
        return found

    def is_in(self, state: str) -> dict[str, Any]:
        """Wait until the deletion is in this state; return it."""
        wait_until(lambda: self.current()["state"] == state, f"it is {state}", self.server.output)
        return self.current()

    def counted(self, prefix: str = "") -> dict[str, Any]:
        status, found = self.ask("POST", "", {"route": ROUTE, "prefix": prefix})
        assert status == 200, found
        return found  # type: ignore[no-any-return]

    def started(self, prefix: str = "") -> None:
        counted = self.counted(prefix)
        start = {"id": counted["id"], "confirm": counted["streams"]}
        assert self.ask("POST", "/start", start)[0] == 200

    def begins_to_delete(self, streams: int) -> None:
        """Create so many streams, and delete the first of them."""
        create(self.server, *(f"s{number}" for number in range(streams)))
        self.started()
        wait_until(lambda: self.current()["deleted"] > 2, "some are deleted")

    def names(self) -> list[str]:
        query = urlencode({"route": ROUTE, "limit": 500})
        return [row["name"] for row in api(self.server, f"streams?{query}", VIEWER)["rows"]]

    def event(self, name: str) -> str:
        """Wait for an event; return its sentence."""

        def found() -> list[str]:
            events = api(self.server, "events?limit=1000", VIEWER)["events"]
            return [it["sentence"] for it in events if it["cause"].startswith(name)]

        wait_until(lambda: bool(found()), f"{name} is an event")
        return found()[0]


def create(server: Headgate, *names: str, body: bytes = b"") -> None:
    for name in names:
        answer = ask(server.port, "PUT", f"{ROUTE}/{name}", body, Content_Type="text/plain")
        assert answer.status == 201, (name, answer)


def status_of(server: Headgate, name: str) -> int:
    return ask(server.port, "HEAD", f"{ROUTE}/{name}").status


def test_only_streams_that_were_counted_and_are_the_same_are_deleted(tmp_path: Path) -> None:
    with headgate(f"file:{tmp_path}/data", environment=ENVIRONMENT) as server:
        console = Console(server)
        create(server, *HOSTILE, "a-other", "b/x", body=b"four")
        counted = console.counted("a")
        found = ["a%2Fb", "a%3Fb", "a%5Bx%5D", "a*b", "a-other"]
        assert (counted["state"], counted["streams"], counted["size"]) == ("counted", 5, 20)
        assert counted["sample"] == sorted(found)
        ask(server.port, "DELETE", f"{ROUTE}/a*b")
        create(server, "a*b", "a-new")
        ask(server.port, "DELETE", f"{ROUTE}/a%2Fb")
        start = {"id": counted["id"], "confirm": 5}
        assert console.ask("POST", "/start", start)[0] == 200
        ended = console.is_in("done")
        assert (ended["deleted"], ended["gone"], ended["failed"]) == (3, 2, 0)
        gone = {"a%2Fb", "a%3Fb", "a%5Bx%5D", "a-other"}
        assert console.names() == sorted({*HOSTILE, "b/x", "a-new"} - gone)
        assert console.event("deletion.done").endswith("below a is done: 3 deleted, 2 gone")
        (line,) = (it for it in server.output().splitlines() if "delete all below" in it)
        fields = json.loads(line)
        assert (fields["by"], fields["streams"], fields["stream"]) == ("shop", 5, "a")


def test_a_deletion_that_is_stopped_deletes_no_more_and_says_how_many_are_left() -> None:
    with headgate(environment=ENVIRONMENT) as server:
        console = Console(server)
        console.begins_to_delete(200)
        assert console.ask("POST", "", {"route": ROUTE, "prefix": "x"})[0] == 409
        reference = {"id": console.current()["id"]}
        assert console.ask("POST", "/stop", reference)[0] == 200
        ended = console.is_in("stopped")
        left = len(console.names())
        assert 0 < left == 200 - ended["deleted"]
        assert f"{left} left: stopped" in console.event("deletion.incomplete")
        assert console.ask("POST", "/stop", reference)[0] == 409


def test_a_deletion_ends_with_the_server_whose_log_says_how_many_streams_are_left() -> None:
    with headgate(environment=ENVIRONMENT) as server:
        Console(server).begins_to_delete(200)
        assert server.terminate() == 0
        (line,) = (it for it in server.output().splitlines() if "deletion.incomplete" in it)
        assert json.loads(line)["reason"] == "the server stopped"
        assert json.loads(line)["left"] > 0


def test_several_workers_on_a_redis_delete_each_stream_once(tmp_path: Path) -> None:
    with redis_server(tmp_path) as redis, several(redis.url, admin_tokens=ADMITTED) as server:
        console = Console(server)
        create(server, *(f"s{number:03}" for number in range(100)), "t")
        wait_until(lambda: len(console.names()) == 101, "all are listed")
        console.started("s")
        ended = console.is_in("done")
        assert (ended["deleted"], ended["gone"], ended["failed"]) == (100, 0, 0)
        wait_until(lambda: console.names() == ["t"], "no others are listed")


def test_known_streams_of_an_origin_are_deleted_there_by_their_names() -> None:
    with headgate(environment=ENVIRONMENT) as origin:
        create(origin, "a", "b", "unknown")
        with headgate(f"{origin.url}{ROUTE}", environment=ENVIRONMENT) as server:
            for name in ("a", "b"):
                assert ask(server.port, "GET", f"{ROUTE}/{name}?offset=-1").status == 200
            console = Console(server)
            counted = console.counted()
            assert (counted["streams"], counted["size"]) == (2, None)
            ask(origin.port, "DELETE", f"{ROUTE}/a")
            console.started()
            ended = console.is_in("done")
            assert (ended["deleted"], ended["gone"], ended["failed"]) == (1, 1, 0)
            assert (status_of(origin, "b"), status_of(origin, "unknown")) == (404, 200)


def test_a_deletion_whose_origin_is_away_is_tried_again_and_goes_on() -> None:
    with headgate(environment=ENVIRONMENT) as origin:
        create(origin, "a", "b")
        with headgate(f"{origin.url}{ROUTE}", environment=ENVIRONMENT) as server:
            for name in ("a", "b"):
                assert ask(server.port, "GET", f"{ROUTE}/{name}?offset=-1").status == 200
            console = Console(server)
            console.counted()
            origin.terminate()
            console.started()
            wait_until(lambda: bool(console.current()["trouble"]), "it says what it waits for")
            assert console.current()["state"] == "running"
            origin.start()
            ended = console.is_in("done")
            assert ended["gone"] == 2  # the log in memory began anew


def test_a_deletion_of_another_id_leaves_the_stream_also_through_an_edge() -> None:
    with headgate(environment=ENVIRONMENT) as origin:
        create(origin, "a")
        (row,) = api(origin, f"streams?route={ROUTE}", VIEWER)["rows"]
        with headgate(f"{origin.url}{ROUTE}") as edge:
            for at in (origin, edge):
                refused = ask(at.port, "DELETE", f"{ROUTE}/a", Headgate_Stream_Id="1")
                refused.assert_problem(404, "another one is at its path")
            assert status_of(origin, "a") == 200
            id_ = row["stream_id"]
            assert ask(edge.port, "DELETE", f"{ROUTE}/a", Headgate_Stream_Id=id_).status == 204
            assert status_of(origin, "a") == 404


def test_streams_are_counted_by_a_part_of_their_names_and_by_a_glob_below_a_path() -> None:
    with headgate(environment=ENVIRONMENT) as server:
        console = Console(server)
        create(server, "a/events", "a/x", "b/events", "b/%3Cb%3E")

        def found(**search: str) -> list[str]:
            status, counted = console.ask("POST", "", {"route": ROUTE, "prefix": "", **search})
            assert status == 200, counted
            return counted["sample"]  # type: ignore[no-any-return]

        assert found(contains="/ev", glob="a*") == ["a/events"]
        assert found(glob="stream/*/x", base="/v1") == ["a/x"]
        assert found(glob="events", base=f"{ROUTE}/b/", prefix="b/") == ["b/events"]
        assert found(contains="<b") == ["b/%3Cb%3E"]
        assert 'that contain <code><bdi class="name" title="&lt;b">&lt;b</bdi>' in page(
            server, "/streams/delete"
        )
        long = {"route": ROUTE, "prefix": "", "glob": "x" * 257}
        assert console.ask("POST", "", long)[0] == 400


def test_deletions_of_two_routes_go_on_at_once_and_one_of_a_route() -> None:
    with closing(Headgate(environment=ENVIRONMENT)) as server:
        server.serve_routes(*({"prefix": it, "storage": "memory:"} for it in (ROUTE, "/v2")))
        server.start()
        console = Console(server)
        console.begins_to_delete(400)
        first = console.current()["id"]
        assert console.ask("POST", "", {"route": ROUTE, "prefix": "x"})[0] == 409
        assert ask(server.port, "PUT", "/v2/s", b"", Content_Type="text/plain").status == 201
        status, other = console.ask("POST", "", {"route": "/v2", "prefix": ""})
        assert (status, other["streams"]) == (200, 1)
        assert console.ask("POST", "/start", {"id": other["id"], "confirm": 1})[0] == 200
        console.is_in("done")
        running = console.ask("GET", f"?id={first}")[1]
        assert (running["state"], running["streams"]) == ("running", 400)
        assert "of <code>/v1/stream</code>" in page(server, f"/streams/delete?route={ROUTE}")


def test_a_deletion_that_has_ended_is_found_by_its_id_after_another_count() -> None:
    with headgate(environment=ENVIRONMENT) as server:
        console = Console(server)
        create(server, "a/1", "a/2", "b")
        console.started("a/")
        ended = console.is_in("done")
        waits = console.counted("b")
        again = console.counted("b")
        status, found = console.ask("GET", f"?id={ended['id']}")
        assert (status, found) == (200, ended)
        assert console.current() == again
        assert console.ask("GET", f"?id={waits['id']}")[1]["state"] == "stopped"
        start = {"id": waits["id"], "confirm": 1}
        assert console.ask("POST", "/start", start)[0] == 404
        assert status_of(server, "b") == 200


def test_a_start_that_does_not_confirm_the_count_is_refused() -> None:
    with headgate(environment=ENVIRONMENT) as server:
        console = Console(server)
        assert console.ask("GET", "")[0] == 404
        create(server, "a")
        id_ = console.counted()["id"]
        for start, status in (
            ({"id": id_, "confirm": 2}, 400),
            ({"id": id_, "confirm": "1"}, 400),
            ({"id": id_, "confirm": 1, "rate": 5}, 400),
            ({"id": "../x", "confirm": 1}, 404),
        ):
            assert console.ask("POST", "/start", start)[0] == status, start
        assert status_of(server, "a") == 200


def test_the_page_counts_asks_for_the_number_and_deletes_without_scripts() -> None:
    with headgate(environment={"HEADGATE_LOG__FORMAT": "json"}) as server:
        create(server, *(f"x{name}" for name in HOSTILE), "keep")

        path = "/streams/delete"

        def counted() -> str:
            query = urlencode({"route": ROUTE, "prefix": "x"})
            return page(server, f"{path}?{query}", "")

        fields = {"do": "count", "route": ROUTE, "prefix": "x"}
        assert submitted(server, path, **fields, csrf="another")[0] == 403
        assert submitted(server, path, **{**fields, "prefix": "none"})[0] == 303
        assert 'that begin with <code><bdi class="name" title="none">none</bdi>' in counted()
        assert "Deleted</dt>" not in counted()
        assert submitted(server, path, **fields)[0] == 303
        assert "Enter the number of streams, 8" in counted()
        assert "<b>" not in counted()
        (id_,) = re.findall('name="id" value="([^"]+)"', counted())[:1]
        status, text = submitted(server, path, do="start", id=id_, confirm="7")
        assert (status, "This is not the number of streams, 8" in text) == (400, True)
        assert submitted(server, path, do="start", id=id_, confirm="8")[0] == 303
        wait_until(lambda: "Left</dt><dd>0</dd>" in counted(), "it is done")
        left = api(server, f"streams?route={ROUTE}")["rows"]
        assert [row["name"] for row in left] == ["keep"]
