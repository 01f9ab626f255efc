"""Real servers with various settings, and what `headgate doctor redis` says of them."""

from __future__ import annotations

import dataclasses
import json
import re
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from headgate_gateway.tools.redis_doctor.access import access
from headgate_gateway.tools.redis_doctor.asking import ServerUnreachable
from headgate_gateway.tools.redis_doctor.durability import durability
from tests.commands.conftest import CommandLine
from tests.commands.examining import facts, found, only
from tests.support.http1 import ask
from tests.support.ports import free_port
from tests.support.processes import headgate
from tests.support.redis_servers import RedisServer, redis_server

if TYPE_CHECKING:
    from collections.abc import Iterator


DOCUMENT = Path(__file__).parents[2] / "docs" / "redis.md"


@pytest.fixture(scope="module")
def _server(processes: None, tmp_path_factory: pytest.TempPathFactory) -> Iterator[RedisServer]:
    with redis_server(tmp_path_factory.mktemp("redis")) as started:
        yield started


@pytest.fixture
def server(_server: RedisServer) -> RedisServer:
    """A server as it started: empty, with the settings of its file."""
    defaults = {
        "appendonly": "no",
        "appendfsync": "everysec",
        "save": "",
        "no-appendfsync-on-rewrite": "no",
        "maxmemory": "0",
        "maxmemory-policy": "noeviction",
        "protected-mode": "yes",
    }
    _server.command("CONFIG", "SET", *(word for pair in defaults.items() for word in pair))
    _server.command("FLUSHALL")
    _server.command("FUNCTION", "FLUSH")
    return _server


# ---------------------------------------------------------------- settings


@pytest.mark.parametrize(
    ("settings", "about", "level", "words"),
    [
        ("appendonly yes appendfsync always", "persistence", "ok", "on the disk of this server"),
        ("appendonly yes appendfsync everysec", "persistence", "note", "the last second or two"),
        ("appendonly yes appendfsync no", "persistence", "warning", "up to half a minute"),
        (
            "appendonly yes no-appendfsync-on-rewrite yes",
            "persistence",
            "warning",
            "nothing is synced",
        ),
        ("save 3600|1", "persistence", "warning", "Only snapshots are kept (save 3600 1)"),
        ("save ''", "persistence", "warning", "Nothing is kept on disk"),
        ("maxmemory-policy noeviction", "eviction", "ok", "drops nothing"),
        ("maxmemory-policy allkeys-lru", "eviction", "error", "as soon as maxmemory is set"),
        ("maxmemory 1gb maxmemory-policy volatile-ttl", "eviction", "error", "as soon as it is"),
        ("maxmemory 0", "memory", "warning", "until the kernel kills it"),
        ("maxmemory 1gb", "memory", "ok", "of maxmemory 1 GiB"),
        ("maxmemory 100kb", "memory", "error", "appends are refused"),
        ("maxmemory 100kb maxmemory-policy allkeys-lru", "memory", "error", "keys are deleted"),
        ("protected-mode no", "rights", "warning", "whoever reaches the port"),
    ],
)
def test_doctor_redis_explains_each_redis_setting_at_its_level(
    server: RedisServer, settings: str, about: str, level: str, words: str
) -> None:
    """In the list a | stands for a space within a value."""
    given = [word.replace("|", " ").strip("'") for word in settings.split()]
    server.command("CONFIG", "SET", *given)
    assert only(found(server.url), about, words).level == level


def test_doctor_redis_warns_of_nearly_full_memory(server: RedisServer) -> None:
    used = server.info("memory")["used_memory"]
    server.command("CONFIG", "SET", "maxmemory", int(used * 1.05))
    assert only(found(server.url), "memory", "beyond it appends are refused").level == "warning"


def test_a_sound_redis_gets_only_ok_and_notes(server: RedisServer) -> None:
    server.command(
        *("CONFIG", "SET", "appendonly", "yes", "appendfsync", "always", "maxmemory", "1gb")
    )
    told = found(server.url)
    assert {(it.level, it.about) for it in told} == {
        ("ok", "version"),
        ("ok", "persistence"),
        ("ok", "eviction"),
        ("ok", "memory"),
    }
    assert [it.advice for it in told] == [""] * len(told)


# ---------------------------------------------------------------- what is not set at will


@pytest.mark.parametrize(
    ("info", "about", "level", "words"),
    [
        ({"redis_version": "6.2.14"}, "version", "error", "Redis 6.2.14 has no functions"),
        pytest.param(
            {"redis_version": "7.2.4", "valkey_version": "8.1.0"},
            "version",
            "ok",
            "Valkey 8.1.0",
            id="valkey",
        ),
        ({"redis_version": "10.0.1"}, "version", "ok", "Redis 10.0.1"),
        ({"aof_last_write_status": "err"}, "persistence", "error", "append-only file failed"),
        ({"aof_last_bgrewrite_status": "err"}, "persistence", "warning", "last rewrite"),
        ({"rdb_last_bgsave_status": "err"}, "persistence", "error", "last snapshot failed"),
    ],
)
def test_doctor_redis_explains_versions_and_failed_saves(
    server: RedisServer, info: dict[str, object], about: str, level: str, words: str
) -> None:
    asked = facts(server.url)
    other = dataclasses.replace(asked, info={**asked.info, **info})
    assert only([*access(other), *durability(other)], about, words).level == level


def test_wait_replicas_on_a_redis_before_7_2_is_noted(
    server: RedisServer,
) -> None:
    asked = facts(server.url, wait_replicas=1)
    told = {
        version: only(
            access(dataclasses.replace(asked, info={**asked.info, "redis_version": version})),
            "version",
            "does what the streams need",
        ).level
        for version in ("7.0.15", "7.2.0")
    }
    assert told == {"7.0.15": "note", "7.2.0": "ok"}


def test_doctor_redis_notes_what_its_user_may_not_query(server: RedisServer) -> None:
    server.command("ACL", "SETUSER", "blind", "on", ">pw", "~*", "&*", "+@all", "-config")
    told = found(f"redis://blind:pw@{server.address}")
    assert only(told, "rights", "CONFIG GET").level == "note"
    assert only(told, "persistence", "could not be asked").level == "note"
    server.command("CONFIG", "SET", "appendonly", "yes")
    told = found(f"redis://blind:pw@{server.address}")
    assert only(told, "persistence", "There is an append-only file").level == "note"


def test_doctor_redis_changes_nothing_in_redis(server: RedisServer) -> None:
    server.command("SET", "headgate:other", "1")
    before = (server.command("DBSIZE"), server.command("FUNCTION", "LIST"))
    dirty = server.info("persistence")["rdb_changes_since_last_save"]
    found(server.url)
    assert (server.command("DBSIZE"), server.command("FUNCTION", "LIST")) == before
    assert server.info("persistence")["rdb_changes_since_last_save"] == dirty


# ---------------------------------------------------------------- the command


@pytest.fixture
def cli() -> Iterator[CommandLine]:
    made = CommandLine("http://127.0.0.1:1/none")
    yield made
    made.kill()


@pytest.mark.usefixtures("processes")
def test_doctor_redis_prints_a_readable_report_in_100_columns(
    server: RedisServer, cli: CommandLine
) -> None:
    server.command("CONFIG", "SET", "appendonly", "yes", "appendfsync", "always")
    done = cli("doctor", "redis", server.url)
    printed = done.stdout.decode()
    assert (done.returncode, done.stderr) == (0, b"")
    assert printed.startswith(
        f"{server.url}\n\nRedis at {server.address}\n"
        "  ok       version: Redis 7.0.15 does what the streams need.\n"
    )
    assert printed.endswith("\n\n1 warning.\n")
    assert max(map(len, printed.splitlines())) <= 100


@pytest.mark.usefixtures("processes")
def test_doctor_redis_json_has_the_findings_of_the_report(
    server: RedisServer, cli: CommandLine
) -> None:
    (told,) = json.loads(cli.output("doctor", "redis", "--json", server.url))
    assert told["storage"] == server.url
    (part,) = told["parts"]
    assert part["title"] == f"Redis at {server.address}"
    assert part["findings"][0] == {
        "level": "ok",
        "about": "version",
        "says": "Redis 7.0.15 does what the streams need.",
        "advice": "",
    }


@pytest.mark.usefixtures("processes")
def test_doctor_redis_examines_each_redis_route_of_the_settings(
    server: RedisServer, cli: CommandLine, tmp_path: Path
) -> None:
    config = tmp_path / "h.toml"
    config.write_text(
        f"""
        [[routes]]
        prefix = "/a"
        storage = "{server.url}"
        wait_replicas = 1
        [[routes]]
        prefix = "/b"
        storage = "memory:"
        [[routes]]
        prefix = "/c"
        storage = "{server.url}/1"
        """
    )
    done = cli("doctor", "redis", "--json", "--config", str(config))
    assert done.returncode == 1
    first, second = json.loads(done.stdout)
    assert (first["storage"], second["storage"]) == (server.url, f"{server.url}/1")
    assert "wait_replicas is 1, with 0 replicas connected" in json.dumps(first)
    assert "wait_replicas" not in json.dumps(second)


@pytest.mark.usefixtures("processes")
def test_doctor_redis_without_a_redis_route_exits_with_2(cli: CommandLine) -> None:
    done = cli("doctor", "redis", environment={"HEADGATE_STORAGE": "memory:"})
    assert (done.returncode, done.stdout) == (2, b"")
    assert b"no route has its streams in Redis" in done.stderr


@pytest.mark.usefixtures("processes")
def test_doctor_redis_of_an_unreachable_redis_exits_with_69(cli: CommandLine) -> None:
    done = cli("doctor", "redis", f"redis://app:s3cret@127.0.0.1:{free_port()}")
    assert (done.returncode, done.stdout) == (69, b"")
    warning, refusal = done.stderr.splitlines()
    assert b"by HEADGATE_STORAGE or a file of settings" in warning
    assert refusal.startswith(b"headgate: redis://app:***@127.0.0.1:")
    assert b"Connection refused" in refusal


@pytest.mark.usefixtures("processes")
@pytest.mark.parametrize(
    ("login", "why"),
    [
        ("", "it asks for a password"),
        ("nobody:s3cret@", "it refuses the user or the password"),
    ],
)
def test_doctor_redis_with_a_missing_or_wrong_login_exits_with_69(
    login: str, why: str, tmp_path: Path, cli: CommandLine
) -> None:
    with redis_server(tmp_path, requirepass="s3cret") as guarded:
        done = cli("doctor", "redis", f"redis://{login}{guarded.address}")
    assert (done.returncode, done.stdout) == (69, b"")
    assert done.stderr.endswith(f" cannot be examined: {guarded.address}: {why}.\n".encode())


def test_doctor_redis_says_that_a_server_may_speak_no_tls(server: RedisServer) -> None:
    with pytest.raises(
        ServerUnreachable, match=r"; perhaps it speaks no TLS, which is redis rather "
    ):
        found(f"rediss://{server.address}")


@pytest.mark.usefixtures("processes")
def test_a_single_url_for_a_cluster_node_is_an_error(tmp_path: Path) -> None:
    options = {"cluster_enabled": "yes", "cluster_port": str(free_port())}
    with redis_server(tmp_path, **options) as node:
        told = only(found(node.url), "deployment", "This is a node of a cluster")
    assert told.level == "error"
    assert "redis+cluster://" in told.advice


@pytest.mark.usefixtures("processes")
def test_doctor_redis_never_prints_a_password(server: RedisServer, cli: CommandLine) -> None:
    server.command("ACL", "SETUSER", "app", "reset", "on", ">s3cret", "~*", "&*", "+@all")
    for url in (
        f"redis://app:s3cret@{server.address}",
        f"redis://app:wrong-s3cret@{server.address}",
        f"redis://app:s3cret@@{server.address}",
    ):
        for form in ([], ["--json"]):
            done = cli("doctor", "redis", url, *form)
            assert b"s3cret" not in done.stdout + done.stderr


# ---------------------------------------------------------------- the document


def documented_rights() -> tuple[str, str]:
    """What a gateway uses by docs/redis.md, and what this command needs besides."""
    section = DOCUMENT.read_text().split("## Rights\n", 1)[1].split("\n## ", 1)[0]
    (rule,) = re.findall(r"```text\nuser headgate (.*)\n```", section)
    (more,) = re.findall(r"For `headgate doctor redis`, `([^`]*)`", " ".join(section.split()))
    (listing,) = re.findall(r"`headgate_storage_streams`, `([^`]*)`", section)
    return f"{rule} {listing}", more


@pytest.mark.usefixtures("processes")
def test_the_documented_redis_rights_suffice_for_a_gateway_and_the_doctor(
    server: RedisServer,
) -> None:
    rule, more = documented_rights()
    server.command("ACL", "SETUSER", "headgate", "reset", *rule.split())
    server.command("ACL", "LOG", "RESET")
    login = f"redis://headgate:PASSWORD@{server.address}"
    with headgate(login, environment={"HEADGATE_LIVE__LONG_POLL_TIMEOUT": "0.2"}) as gateway:
        live_through(gateway.port)
        assert f"redis://headgate:***@{server.address}" in gateway.output()
        assert "PASSWORD" not in gateway.output()
    assert server.command("ACL", "LOG") == []
    assert [it for it in found(login) if it.level == "error"] == []

    server.command("ACL", "LOG", "RESET")
    server.command("ACL", "SETUSER", "headgate", *more.split())
    told = found(login)
    assert not [it for it in told if "could not be asked" in it.says]
    assert server.command("ACL", "LOG") == []


def live_through(port: int) -> None:
    """Everything that a stream can go through."""
    text = {"Content-Type": "text/plain"}
    producer = {"Producer-Id": "p", "Producer-Epoch": "0", "Producer-Seq": "0"}
    steps: list[tuple[str, str, dict[str, str], bytes | None, int]] = [
        ("PUT", "a", {**text, "Stream-TTL": "60"}, b"one", 201),
        ("POST", "a", {**text, **producer}, b"two", 200),
        ("GET", "a?offset=-1", {}, None, 200),
        ("GET", "a?offset=now&live=long-poll", {}, None, 204),
        ("PUT", "b", {"Stream-Forked-From": "/v1/stream/a"}, None, 201),
        ("GET", "b?offset=-1", {}, None, 200),
        ("POST", "b", {**text, "Stream-Closed": "true"}, b"three", 204),
        ("DELETE", "b", {}, None, 204),
        ("DELETE", "a", {}, None, 204),
        ("HEAD", "a", {}, None, 404),
        ("PUT", "a", text, None, 201),
    ]
    for method, path, headers, body, status in steps:
        answered = ask(port, method, f"/v1/stream/{path}", body, **headers).status
        assert (method, path, answered) == (method, path, status)
