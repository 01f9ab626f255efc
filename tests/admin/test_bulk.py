"""Changes of many streams: what was counted and confirmed, by real servers, and nothing else."""

from __future__ import annotations

import json
import re
from typing import TYPE_CHECKING, Any
from urllib.parse import urlencode

import pytest

from admin.model.bulk import MOST_SELECTED
from tests.admin.consoles import ADMITTED, OPERATOR, VIEWER
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
# In URLs, as the gateway writes them: markup, the characters of globs, an encoded slash.
HOSTILE = ["%3Cb%3E&'", "a*b", "a%5Bx%5D", "a%3Fb", "a%2Fb", "..%2Fx", "%25", "%F0%9F%92%A5"]


class Console:
    """What an operator or a viewer asks of a server's API."""

    def __init__(self, server: Headgate) -> None:
        self.server = server

    def told(
        self, method: str, path: str, body: object = None, token: str = OPERATOR
    ) -> tuple[int, Any]:
        sent = None if body is None else json.dumps(body).encode()
        held = {"Authorization": f"Bearer {token}", "Content-Type": "application/json"}
        answer = ask(self.server.admin_port, method, path, sent, **held)
        return answer.status, answer.json() if answer.body else None

    def job(self, job_id: str) -> dict[str, Any]:
        status, found = self.told("GET", "/api/v1/bulk", token=VIEWER)
        assert status == 200
        return next(job for job in found["jobs"] if job["id"] == job_id)

    def is_in(self, job_id: str, *states: str) -> dict[str, Any]:
        """Wait until a job is in one of these states."""
        wait_until(
            lambda: self.job(job_id)["state"] in states,
            f"{job_id} is {states}",
            lambda: f"{self.job(job_id)}\n{self.server.output()[-3000:]}",
        )
        return self.job(job_id)

    def counted(self, **wish: object) -> dict[str, Any]:
        status, job = self.told("POST", "/api/v1/bulk", {"route": ROUTE, **wish})
        assert status == 200, job
        return self.is_in(job["id"], "counted", "done", "failed")

    def started(self, job: dict[str, Any], rate: int = 500) -> dict[str, Any]:
        start = {"id": job["id"], "confirm": job["count"]["streams"], "rate": rate}
        status, found = self.told("POST", "/api/v1/bulk/start", start)
        assert status == 200, found
        return found  # type: ignore[no-any-return]

    def events(self, name: str) -> list[dict[str, Any]]:
        """Wait for events of this name."""

        def found() -> list[dict[str, Any]]:
            events = self.told("GET", "/api/v1/events?limit=1000")[1]["events"]
            return [it for it in events if it["key"].startswith(name)]

        wait_until(lambda: bool(found()), f"{name} is an event")
        return found()

    def names(self, **search: str) -> list[str]:
        query = urlencode({"route": ROUTE, "limit": 500, **search})
        _, page = self.told("GET", f"/api/v1/streams?{query}")
        return [row["name"] for row in page["rows"]]


def create(server: Headgate, *names: str, body: bytes = b"") -> None:
    for name in names:
        answer = ask(server.port, "PUT", f"{ROUTE}/{name}", body, Content_Type="text/plain")
        assert answer.status == 201, (name, answer)


def status_of(server: Headgate, name: str) -> int:
    return ask(server.port, "HEAD", f"{ROUTE}/{name}").status


ENVIRONMENT = {**variables({"admin_tokens": ADMITTED}), "HEADGATE_LOG__FORMAT": "json"}


def test_only_streams_that_were_counted_and_are_the_same_are_deleted(tmp_path: Path) -> None:
    with headgate(f"file:{tmp_path}/data", environment=ENVIRONMENT) as server:
        console = Console(server)
        create(server, *HOSTILE, "a-other", "b/x", body=b"four")
        job = console.counted(action="delete", glob="a*")
        found = ["a%2Fb", "a%3Fb", "a%5Bx%5D", "a*b", "a-other"]
        assert job["count"] == {
            "streams": 5,
            "size": 20,
            "sample": sorted(found),
            "is_cut": False,
        }
        ask(server.port, "DELETE", f"{ROUTE}/a*b")
        create(server, "a*b", "a-new")
        ask(server.port, "DELETE", f"{ROUTE}/a%2Fb")
        console.started(job)
        ended = console.is_in(job["id"], "done")
        assert ended["progress"] == {"changed": 3, "gone": 2, "failures": []}
        gone = {"a%2Fb", "a%3Fb", "a%5Bx%5D", "a-other"}
        assert console.names() == sorted({*HOSTILE, "b/x", "a-new"} - gone)
        (event,) = console.events("bulk.done")
        assert event["sentence"] == "shop: delete of many streams is done: 3 changed, 2 were gone"
        (line,) = (it for it in server.output().splitlines() if "delete-many" in it)
        fields = json.loads(line)
        assert (fields["by"], fields["streams"], fields["stream"]) == ("shop", 5, "glob=a*")


def test_selected_streams_are_closed_and_closed_ones_are_not_counted() -> None:
    with headgate(environment=ENVIRONMENT) as server:
        console = Console(server)
        create(server, *HOSTILE, "open")
        ask(server.port, "POST", f"{ROUTE}/{HOSTILE[0]}", Stream_Closed="true")
        job = console.counted(action="close", names=[*HOSTILE, "missing"])
        assert job["count"]["streams"] == len(HOSTILE) - 1
        for number, status in ((MOST_SELECTED, 200), (MOST_SELECTED + 1, 400)):
            wish = {"action": "close", "route": ROUTE, "names": ["missing"] * number}
            assert console.told("POST", "/api/v1/bulk", wish)[0] == status
        ask(server.port, "DELETE", f"{ROUTE}/a*b")
        create(server, "a*b")
        console.started(job)
        ended = console.is_in(job["id"], "done")
        assert ended["progress"] == {"changed": len(HOSTILE) - 2, "gone": 1, "failures": []}
        query = f"/api/v1/streams?{urlencode({'route': ROUTE})}"
        rows = console.told("GET", query)[1]["rows"]
        assert [row["name"] for row in rows if not row["closed"]] == ["a*b", "open"]


@pytest.mark.parametrize("ends", ["kill", "terminate"])
def test_a_job_goes_on_after_a_restart_and_a_count_waits_for_its_confirmation(
    ends: str, tmp_path: Path
) -> None:
    server = Headgate(f"file:{tmp_path}/data", environment=ENVIRONMENT).start()
    try:
        console = Console(server)
        names = [f"s{number:03}" for number in range(120)]
        create(server, *names, "t1", "t2")
        waiting = console.counted(action="delete", begins="t")
        job = console.started(console.counted(action="delete", begins="s"), rate=40)
        wait_until(lambda: console.job(job["id"])["progress"]["changed"] > 10, "some are deleted")
        getattr(server, ends)()
        server.start()
        ended = console.is_in(job["id"], "done")
        progress = ended["progress"]
        assert progress["changed"] + progress["gone"] == 120
        if ends == "terminate":  # at a crash the last second is done again
            assert progress["gone"] == 0
        assert progress["failures"] == []
        assert console.names() == ["t1", "t2"]
        assert console.events("bulk.resumed")
        assert console.job(waiting["id"])["state"] == "counted"
        console.started(console.job(waiting["id"]))
        console.is_in(waiting["id"], "done")
        assert console.names() == []
        folder = tmp_path / "data" / "headgate.jobs"
        wait_until(lambda: not list(folder.glob("*.names")), "the names are dropped at its end")
    finally:
        server.close()


def test_a_job_that_no_folder_keeps_is_told_as_unfinished_when_the_server_stops() -> None:
    server = Headgate(environment=ENVIRONMENT).start()
    try:
        console = Console(server)
        create(server, *(f"s{number}" for number in range(60)))
        job = console.started(console.counted(action="delete"), rate=10)
        wait_until(lambda: console.job(job["id"])["progress"]["changed"] > 2, "some are deleted")
        assert server.terminate() == 0
        assert "bulk.unfinished" in server.output()
    finally:
        server.close()


def test_a_job_that_is_stopped_deletes_no_more_and_says_how_many_are_left() -> None:
    with headgate(environment=ENVIRONMENT) as server:
        console = Console(server)
        create(server, *(f"s{number}" for number in range(60)))
        job = console.started(console.counted(action="delete"), rate=10)
        wait_until(lambda: console.job(job["id"])["progress"]["changed"] > 2, "some are deleted")
        status, _ = console.told("POST", "/api/v1/bulk/stop", {"id": job["id"]})
        assert status == 200
        ended = console.is_in(job["id"], "stopped")
        left = len(console.names())
        assert left == 60 - ended["progress"]["changed"]
        assert left > 0
        assert f"{left} left (stopped)" in console.events("bulk.incomplete")[0]["sentence"]
        assert console.told("POST", "/api/v1/bulk/stop", {"id": job["id"]})[0] == 409


def test_several_workers_on_a_redis_delete_each_stream_once(tmp_path: Path) -> None:
    with redis_server(tmp_path) as redis, several(redis.url, admin_tokens=ADMITTED) as server:
        console = Console(server)
        create(server, *(f"s{number:03}" for number in range(100)), "t")
        wait_until(lambda: len(console.names()) == 101, "all are listed")
        job = console.counted(action="delete", glob="s*")
        ask(server.port, "DELETE", f"{ROUTE}/s007")
        create(server, "s007")
        console.started(job)
        ended = console.is_in(job["id"], "done")
        assert ended["progress"] == {"changed": 99, "gone": 1, "failures": []}
        assert (status_of(server, "s007"), status_of(server, "t")) == (200, 200)
        wait_until(lambda: console.names() == ["s007", "t"], "no others are listed")


def test_known_streams_of_an_origin_are_deleted_there_by_their_names() -> None:
    with headgate(environment=ENVIRONMENT) as origin:
        create(origin, "a", "b", "unknown")
        with headgate(f"{origin.url}{ROUTE}", environment=ENVIRONMENT) as server:
            for name in ("a", "b"):
                assert ask(server.port, "GET", f"{ROUTE}/{name}?offset=-1").status == 200
            console = Console(server)
            job = console.counted(action="delete")
            assert (job["count"]["streams"], job["count"]["size"]) == (2, None)
            ask(origin.port, "DELETE", f"{ROUTE}/a")
            console.started(job)
            ended = console.is_in(job["id"], "done")
            assert ended["progress"] == {"changed": 1, "gone": 1, "failures": []}
            assert status_of(origin, "b") == 404
            assert status_of(origin, "unknown") == 200


def test_a_deletion_of_another_id_leaves_the_stream_also_through_an_edge() -> None:
    with headgate(environment=ENVIRONMENT) as origin:
        create(origin, "a")
        query = urlencode({"route": ROUTE})
        (row,) = Console(origin).told("GET", f"/api/v1/streams?{query}")[1]["rows"]
        with headgate(f"{origin.url}{ROUTE}") as edge:
            for at in (origin, edge):
                refused = ask(at.port, "DELETE", f"{ROUTE}/a", Headgate_Stream_Id="1")
                refused.assert_problem(404, "another one is at its path")
            assert status_of(origin, "a") == 200
            id_ = row["stream_id"]
            assert ask(edge.port, "DELETE", f"{ROUTE}/a", Headgate_Stream_Id=id_).status == 204
            assert status_of(origin, "a") == 404


@pytest.mark.parametrize(
    ("start", "status"),
    [
        pytest.param({"confirm": 2}, 400, id="another-number"),
        pytest.param({"confirm": 1, "rate": 501}, 400, id="too-fast"),
        pytest.param({"confirm": 1, "rate": 0}, 400, id="no-rate"),
        pytest.param({"confirm": "1"}, 400, id="a-number-as-text"),
        pytest.param({"confirm": 1, "id": "../x"}, 404, id="an-unknown-job"),
    ],
)
def test_a_start_that_does_not_confirm_the_count_is_refused(
    start: dict[str, object], status: int
) -> None:
    with headgate(environment=ENVIRONMENT) as server:
        console = Console(server)
        create(server, "a")
        job = console.counted(action="delete")
        told, problem = console.told("POST", "/api/v1/bulk/start", {"id": job["id"], **start})
        assert told == status, problem
        assert status_of(server, "a") == 200


def test_the_number_of_open_jobs_is_bounded_and_the_oldest_count_makes_room() -> None:
    with headgate(environment=ENVIRONMENT) as server:
        console = Console(server)
        create(server, *(f"s{number}" for number in range(30)))
        first = console.counted(action="delete")
        for _ in range(3):
            console.counted(action="delete")
        fifth = console.counted(action="delete")
        assert fifth["state"] == "counted"
        assert console.job(first["id"])["state"] == "stopped"


def test_the_page_counts_asks_for_the_number_and_deletes_without_scripts() -> None:
    with headgate(environment={"HEADGATE_LOG__FORMAT": "json"}) as server:
        create(server, *HOSTILE, "keep")

        def sent(path: str, **fields: str) -> tuple[int, str, str]:
            answer = ask(
                server.admin_port,
                "POST",
                path,
                urlencode({"csrf": csrf, **fields}).encode(),
                Content_Type="application/x-www-form-urlencoded",
                Accept="text/html",
            )
            return answer.status, answer.get("location") or "", answer.body.decode()

        def page(path: str) -> str:
            return ask(server.admin_port, "GET", path, Accept="text/html").body.decode()

        shown = page(f"/streams?route={ROUTE}")
        found = re.search(r'name="csrf" value="([^"]+)"', shown)
        assert found is not None
        csrf = "another"
        selected = {f"name-{number}": name for number, name in enumerate(HOSTILE)}
        fields = {"do": "delete-selected", "route": ROUTE, **selected}
        assert sent("/bulk", **fields)[0] == 403
        csrf = found[1]
        status, _, text = sent("/bulk", do="delete-selected", route=ROUTE)
        assert status == 400
        assert "Select streams in the table first" in text
        status, job, _ = sent("/bulk", **fields)
        assert status == 303
        assert "Enter the number of streams, 8" in page(job)
        assert "<b>" not in page(job)
        status, _, text = sent(job, do="start", confirm="7")
        assert (status, "This is not the number of streams, 8" in text) == (400, True)
        assert sent(job, do="start", confirm="8", rate="100")[0] == 303
        wait_until(lambda: "Left</dt><dd>0</dd>" in page(job), "it is done")
        left = ask(server.admin_port, "GET", f"/api/v1/streams?route={ROUTE}").json()["rows"]
        assert [row["name"] for row in left] == ["keep"]
