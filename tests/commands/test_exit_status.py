"""The exit status of a command tells a script why it failed."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.support.blocking_origin import BlockingOrigin

if TYPE_CHECKING:
    from tests.commands.conftest import CommandLine

COMMANDS = (
    ("head", "s"),
    ("read", "s"),
    ("tail", "s"),
    ("create", "s"),
    ("append", "s", "--data", "x"),
    ("append", "s", "--lines", "--content-type", "text/plain"),
    ("close", "s"),
    ("delete", "s"),
)


@pytest.mark.usefixtures("processes")
@pytest.mark.parametrize(
    ("answered", "status"),
    [
        ("404 Not Found", 3),
        ("410 Gone", 3),
        ("409 Conflict", 4),
        ("400 Bad Request", 5),
        ("401 Unauthorized", 5),
        ("403 Forbidden", 5),
        ("413 Content Too Large", 5),
        ("302 Found", 5),
        ("500 Internal Server Error", 69),
        ("503 Service Unavailable", 69),
    ],
)
def test_refusals_by_a_server_have_distinct_exit_statuses(
    answered: str, status: int, cli: CommandLine
) -> None:
    with BlockingOrigin(lambda exchange: exchange.answer(status=answered)) as origin:
        for command in COMMANDS if status == 4 else COMMANDS[:1]:
            done = cli(*command, stdin=b"x\n", environment={"STREAM_URL": origin.url})
            assert (command, done.returncode) == (command, status), done.stderr
