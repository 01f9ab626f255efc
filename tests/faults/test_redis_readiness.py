"""What keeps a gateway from serving is told by `/readyz`, until it is put right."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.faults.disk import append, assert_refused, content, create
from tests.faults.redis_gateway import assert_not_ready, gateway_to, starting
from tests.support.http1 import ask
from tests.support.ports import free_port
from tests.support.redis_groups import ClusterServers
from tests.support.redis_servers import redis_server

if TYPE_CHECKING:
    from pathlib import Path

    from tests.support.processes import Headgate

pytestmark = pytest.mark.usefixtures("processes")

ALL_RIGHTS = ("on", ">secret", "~headgate:*", "resetchannels", "&headgate:*", "+@all")
LIMITS = {
    "no channel": (("resetchannels",), "publish"),
    "no appends": (("-xadd",), "xadd"),
    "no listening": (("-ssubscribe", "-subscribe"), "ssubscribe"),
}


def assert_all_refused(gateway: Headgate, *words: str) -> None:
    """Whatever is asked for, is unavailable for this reason."""
    answers = [
        ask(gateway.port, "PUT", "/v1/stream/log", content_type="text/plain"),
        ask(gateway.port, "GET", "/v1/stream/log"),
        append(gateway, "log", b"refused "),
    ]
    assert_refused(answers)
    for answer in answers:
        answer.assert_problem(503, *words)


@pytest.mark.parametrize(("limit", "word"), LIMITS.values(), ids=LIMITS.keys())
def test_a_missing_right_is_reported_by_readyz_until_it_is_granted(
    tmp_path: Path, limit: tuple[str, ...], word: str
) -> None:
    with redis_server(tmp_path / "redis") as redis:
        redis.command("ACL", "SETUSER", "app", *ALL_RIGHTS, *limit)
        gateway = gateway_to(f"redis://app:secret@{redis.address}")
        with starting(gateway) as started:
            assert_not_ready(gateway, "may not do", word)
            redis.command("ACL", "SETUSER", "app", *ALL_RIGHTS)
            started.result()
            create(gateway, "log", b"first ")
            assert content(gateway, "log") == b"first "


def test_a_cluster_node_configured_as_a_single_server_is_refused(
    tmp_path: Path,
) -> None:
    options = {"cluster_enabled": "yes", "cluster_port": str(free_port())}
    with redis_server(tmp_path / "redis", **options) as redis:
        gateway = gateway_to(redis.url)
        with starting(gateway):
            assert_not_ready(gateway, "redis+cluster://")
            assert_all_refused(gateway, "redis+cluster://")


def test_a_cluster_that_starts_later_is_served(tmp_path: Path) -> None:
    cluster = ClusterServers(tmp_path)
    gateway = gateway_to(cluster.url)
    with starting(gateway) as started:
        assert_not_ready(gateway, "no node of the cluster can be reached")
        assert_all_refused(gateway, "no node of the cluster can be reached")
        with cluster:
            started.result()
            for number in range(10):
                create(gateway, f"log-{number}", b"first ")
                assert content(gateway, f"log-{number}") == b"first "
