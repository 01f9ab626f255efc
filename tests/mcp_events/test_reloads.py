"""MCP Events of a gateway that reads its settings anew."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import pytest
from click.testing import CliRunner

from headgate_gateway.__main__ import cli
from tests.mcp_events.hosts import types_file
from tests.reloading.reloadable import STREAMS, TEXT, Reloadable, reloadable, token_entry
from tests.support.http1 import Client, request

if TYPE_CHECKING:
    from pathlib import Path

    from click.testing import Result

TYPE = '[[events]]\nname = "{}"\nstreams = "a/*"\n'
LIST = b'{"jsonrpc": "2.0", "id": 1, "method": "events/list"}'


async def names(at: Reloadable) -> list[str]:
    """Return the names of the event types."""
    asked = {"Content_Type": "application/json"}
    answer = await at.ask("POST", "/v1/stream/mcp", LIST, **asked)
    assert answer.status == 200
    return [one["name"] for one in json.loads(answer.body)["result"]["events"]]


async def test_a_reload_switches_events_on_and_off_and_reads_their_file(tmp_path: Path) -> None:
    file = types_file(tmp_path, TYPE.format("one"))
    on = {**STREAMS, "mcp_events": True}
    async with reloadable(tmp_path) as at:
        assert (await at.ask("PUT", "/v1/stream/mcp", b"x")).status == 201
        assert await at.reload(on) == ()
        assert await names(at) == ["stream.appended"]
        assert (await at.ask("GET", "/v1/stream/mcp")).status == 405
        assert await at.reload({**on, **file}) == ()
        assert await names(at) == ["one"]
        types_file(tmp_path, TYPE.format("two"))
        assert await at.reload({**on, **file}) == ()
        assert await names(at) == ["two"]
        types_file(tmp_path, "[[events]]\nname = 'three'\n")
        (reason,) = await at.reload({**on, **file})
        assert "the event types are not valid" in reason
        assert await names(at) == ["two"]
        assert await at.reload(STREAMS) == ()
        assert (await at.ask("GET", "/v1/stream/mcp")).body == b"x"


@pytest.mark.parametrize("token", ["", "ann"], ids=["for anybody", "with a token"])
async def test_a_reload_turns_a_path_that_was_read_before_into_the_endpoint_and_back(
    tmp_path: Path, token: str
) -> None:
    (tmp_path / "tokens.toml").write_text(token_entry("ann"))
    settings = {"auth": ["tokens"], "tokens_file": str(tmp_path / "tokens.toml")} if token else {}
    fields = {"Authorization": f"Bearer {token}"} if token else {}
    route = dict(STREAMS)
    async with reloadable(tmp_path, route, **settings) as at:
        kept = await Client.connect(at.port)
        at.clients.append(kept)

        async def read() -> list[int]:
            """Return the statuses of reads, on a connection of its own and on another one."""
            path = "/v1/stream/mcp?offset=-1"
            own = await at.ask("GET", path, None, **fields)
            return [own.status, (await kept.ask(request("GET", path, None, **fields))).status]

        made = await at.ask("PUT", "/v1/stream/mcp", b"x", **TEXT, **fields)
        assert made.status == 201
        assert [await read() for _ in range(2)] == [[200, 200]] * 2
        assert await at.reload({**route, "mcp_events": True}, **settings) == ()
        assert [await read() for _ in range(2)] == [[405, 405]] * 2
        assert await at.reload(route, **settings) == ()
        assert await read() == [200, 200]


@pytest.mark.usefixtures("processes")
def test_the_check_of_settings_reads_the_file(tmp_path: Path) -> None:
    file = types_file(tmp_path, TYPE.format("one"))["mcp_events_file"]
    config = tmp_path / "headgate.toml"
    route = f'[[routes]]\nprefix = "/s"\nstorage = "memory:"\nmcp_events_file = "{file}"\n'
    config.write_text(route)
    ended = checked(config)
    assert "mcp_events_file has no effect without mcp_events" in ended.stderr
    assert ended.exit_code == 0
    assert "MCP Events" not in ended.stdout
    config.write_text(f"{route}mcp_events = true\n")
    assert checked(config).stdout.endswith(
        "Everybody may read and write.\n      MCP Events at /s/mcp\n"
    )
    types_file(tmp_path, "[[events]]\n")
    ended = checked(config)
    assert "the event types are not valid" in ended.stderr
    assert ended.exit_code == 2


def checked(config: Path) -> Result:
    """Return what the check of settings says."""
    return CliRunner().invoke(cli, ["config", "check", "--config", str(config)])
