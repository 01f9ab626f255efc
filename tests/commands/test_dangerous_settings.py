"""What is valid and dangerous is warned of, by `headgate config check` and at the start."""

from __future__ import annotations

import json
import socket
from typing import TYPE_CHECKING

import pytest

from headgate_gateway.settings import Settings, load
from headgate_gateway.settings.cross_checks.dangerous_settings import dangers
from headgate_gateway.settings.log_kinds.redis import WITHOUT_FILE
from headgate_gateway.tools.redis_doctor.asking import servers_without_file
from tests.support.given_settings import sections
from tests.support.ports import free_port
from tests.support.processes import headgate
from tests.support.redis_groups import ClusterServers, SentinelGroup
from tests.support.redis_servers import redis_server

if TYPE_CHECKING:
    from pathlib import Path

    from tests.commands.conftest import CommandLine

HERE = socket.gethostname()
SILENT = (
    "by default nginx, Varnish and AWS load balancers end a response that is silent for 60 s, so "
    "keep it below, or raise their time-outs"
)


def found(**values: object) -> list[str]:
    return [*dangers(Settings.of(sections({"storage": "memory:", **values})))]


def test_the_defaults_are_not_dangerous() -> None:
    assert found() == []


@pytest.mark.parametrize(
    ("storage", "secret"),
    [
        ("redis://:hush@h", "password"),
        ("redis+sentinel://h/m?sentinel_password=hush", "password"),
        ("redis://h", ""),
    ],
)
def test_a_secret_in_the_storage_is_dangerous_as_a_flag_alone(storage: str, secret: str) -> None:
    assert [*dangers(load(None, {"HEADGATE_STORAGE": storage}, {}))] == []
    said = " ".join(dangers(load(None, {}, {"storage": storage})))
    assert said.startswith(f"--storage: storage: a {secret} stays in the shell's") == bool(secret)
    assert "hush" not in said


@pytest.mark.parametrize(
    ("values", "said"),
    [
        pytest.param(
            {"sse_heartbeat": 59.9, "sse_max_age": 300.0},
            [],
            id="a-heartbeat-below-a-minute",
        ),
        pytest.param(
            {"sse_heartbeat": 300.0, "sse_max_age": 59.0},
            [],
            id="streams-that-end-below-a-minute",
        ),
        pytest.param(
            {"sse_heartbeat": 60.0, "sse_max_age": 60.0},
            [f"live.sse_heartbeat is 60: {SILENT}"],
            id="a-heartbeat-of-a-minute",
        ),
        pytest.param(
            {"sse_heartbeat": 90.5, "sse_max_age": 300.0},
            [f"live.sse_heartbeat is 90.5: {SILENT}"],
            id="a-heartbeat-over-a-minute",
        ),
        pytest.param({"long_poll_timeout": 59.9}, [], id="a-long-poll-below-a-minute"),
        pytest.param(
            {"long_poll_timeout": 60.0},
            [f"live.long_poll_timeout is 60: {SILENT}"],
            id="a-long-poll-of-a-minute",
        ),
    ],
)
def test_a_silence_that_proxies_do_not_wait_for_is_dangerous(
    values: dict[str, object], said: list[str]
) -> None:
    assert found(**values) == said


@pytest.mark.parametrize(
    ("url", "said"),
    [
        pytest.param("https://a.example", [], id="a-host"),
        pytest.param("https://a.example/streams", [], id="another-path"),
        pytest.param(
            "https://a.example/v1/stream",
            [
                "http.public_url ends with /v1/stream, and the prefixes of routes follow it: "
                "webhooks would name https://a.example/v1/stream/v1/stream; leave the prefix out"
            ],
            id="the-prefix-of-a-route",
        ),
    ],
)
def test_a_public_url_with_the_prefix_of_a_route_is_dangerous(url: str, said: list[str]) -> None:
    assert found(public_url=url) == said


@pytest.mark.parametrize(
    ("mode", "is_dangerous"), [(0o700, False), (0o710, True), (0o704, True), (0o755, True)]
)
def test_a_data_folder_is_dangerous_only_if_others_can_look_into_it(
    mode: int, is_dangerous: bool, tmp_path: Path
) -> None:
    folder = tmp_path / "a b"
    folder.mkdir()
    folder.chmod(mode)
    sentence = (
        f"storage: others can look into the folder {folder}, whose mode is {mode:04o}: chmod 0700 "
        f"'{folder}', unless they should"
    )
    assert found(storage=f"file:{folder}") == [sentence] * is_dangerous


def test_a_folder_that_is_not_there_yet_is_not_dangerous(tmp_path: Path) -> None:
    assert found(storage=f"file:{tmp_path}/none") == []


def test_a_danger_is_named_with_the_place_of_the_setting(tmp_path: Path) -> None:
    config, folder = tmp_path / "h.toml", tmp_path / "data"
    folder.mkdir()
    folder.chmod(0o755)
    config.write_text(
        "live.long_poll_timeout = 100\n[[routes]]\nprefix = '/a'\n"
        f"storage = 'file:{folder}'\n[[routes]]\nprefix = '/longer'\nstorage = 'memory:'\n"
    )
    first, second = dangers(load(config, {}, {}))
    assert first.startswith(f"{config}:1: live.long_poll_timeout is 100: ")
    assert second.startswith(f"{config}:4: routes[0].storage: others can look into ")


@pytest.mark.usefixtures("processes")
def test_check_warns_of_dangers_and_fails_only_if_it_is_strict(cli: CommandLine) -> None:
    environment = {"HEADGATE_LIVE__LONG_POLL_TIMEOUT": "60", "HEADGATE_STORAGE": "memory:"}
    warning = f"HEADGATE_LIVE__LONG_POLL_TIMEOUT: live.long_poll_timeout is 60: {SILENT}"

    lenient = cli("config", "check", environment=environment)
    strict = cli("config", "check", "--strict", environment=environment)
    assert (lenient.returncode, strict.returncode) == (0, 1)
    assert lenient.stderr.decode() == f"headgate: warning: {warning}.\n"
    assert strict.stderr == lenient.stderr
    assert strict.stdout == lenient.stdout

    as_json = cli("config", "check", "--strict", "--json", environment=environment)
    assert (as_json.returncode, as_json.stderr) == (1, b"")
    assert json.loads(as_json.stdout)["warnings"] == [warning]
    assert (
        cli("config", "check", "--strict", environment={"HEADGATE_STORAGE": "memory:"}).returncode
        == 0
    )


@pytest.mark.usefixtures("processes")
def test_check_warns_of_a_redis_that_keeps_no_append_only_file(
    cli: CommandLine, tmp_path: Path
) -> None:
    with redis_server(tmp_path, appendonly="no") as redis:
        environment = {"HEADGATE_STORAGE": redis.url}
        done = cli("config", "check", "--strict", environment=environment)
        assert (done.returncode, done.stderr.decode()) == (
            1,
            f"headgate: warning: HEADGATE_STORAGE: storage: {redis.address}: {WITHOUT_FILE}; "
            "headgate doctor redis says more.\n",
        )
        redis.command("CONFIG", "SET", "appendonly", "yes")
        done = cli("config", "check", "--strict", environment=environment)
        assert (done.returncode, done.stderr) == (0, b"")


@pytest.mark.usefixtures("processes")
@pytest.mark.parametrize("group", [SentinelGroup, ClusterServers])
def test_check_asks_every_primary_of_a_group_of_redis_servers(
    group: type[SentinelGroup | ClusterServers], tmp_path: Path
) -> None:
    with group(tmp_path) as servers:
        route = Settings(storage=servers.url).route_table[0]
        primaries = 1 if isinstance(servers, SentinelGroup) else len(servers.nodes)
        assert len(servers_without_file(route)) == primaries


@pytest.mark.usefixtures("processes")
def test_check_says_that_a_redis_cannot_be_asked_and_accepts_the_settings(
    cli: CommandLine,
) -> None:
    storage = f"redis://127.0.0.1:{free_port()}"
    done = cli("config", "check", "--strict", environment={"HEADGATE_STORAGE": storage})
    assert done.returncode == 0
    assert done.stderr.decode().startswith(
        "headgate: HEADGATE_STORAGE: storage: cannot see whether Redis keeps an append-only file: "
    )


@pytest.mark.usefixtures("processes")
def test_a_start_logs_a_redis_that_keeps_no_append_only_file_once(tmp_path: Path) -> None:
    with redis_server(tmp_path, appendonly="no") as redis, headgate(redis.url) as server:
        assert server.terminate() == 0
        lines = [line for line in server.output().splitlines() if "log.not_durable" in line]
    assert [json.loads(line)["what"] for line in lines] == [WITHOUT_FILE]


@pytest.mark.usefixtures("processes")
def test_a_start_logs_each_danger_once() -> None:
    with headgate(environment={"HEADGATE_LIVE__LONG_POLL_TIMEOUT": "60"}) as server:
        assert server.terminate() == 0
        lines = [line for line in server.output().splitlines() if "settings.dangerous" in line]
    assert [json.loads(line)["what"] for line in lines] == [
        f"HEADGATE_LIVE__LONG_POLL_TIMEOUT: live.long_poll_timeout is 60: {SILENT}"
    ]
