"""`headgate data retention` against a server with its admin listener."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import pytest

from tests.commands.conftest import CommandLine
from tests.support.processes import headgate

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.support.processes import Headgate

pytestmark = pytest.mark.usefixtures("processes")

NONE = {"retention_age": 0, "retention_size": 0, "retention_messages": 0, "own": []}


@pytest.fixture
def keeper(server: Headgate) -> Iterator[CommandLine]:
    """The command line, to which the admin listener is known."""
    made = CommandLine(server.streams)
    made.environment |= {"STREAM_ADMIN_URL": server.admin_url}
    yield made
    made.kill()


def limits(keeper: CommandLine, *arguments: str) -> dict[str, object]:
    found: dict[str, object] = json.loads(keeper.output("data", "retention", *arguments, "--json"))
    return found


def test_retention_prints_sets_and_clears_the_limits_of_one_stream(
    keeper: CommandLine, server: Headgate
) -> None:
    keeper.output("create", "kept/a b")
    url = {"url": f"{server.streams}/kept/a%20b"}
    assert limits(keeper, "kept/a b") == NONE | url
    aged = NONE | url | {"retention_age": 60, "own": ["retention_age"]}
    assert limits(keeper, "kept/a b", "--age", "60") == aged
    both = aged | {"retention_messages": 5, "own": ["retention_age", "retention_messages"]}
    assert limits(keeper, "kept/a b", "--messages", "5") == both
    assert keeper.output("data", "retention", "kept/a b", "--size", "0").decode() == (
        "retention_age\t60\tstream\nretention_size\t0\tstream\nretention_messages\t5\tstream\n"
    )
    assert limits(keeper, "kept/a b", "--clear") == NONE | url


def test_a_smaller_size_removes_the_oldest_records_at_once(keeper: CommandLine) -> None:
    keeper.output("create", "cut")
    limits(keeper, "cut", "--size", "4000")  # from now on it is known where records can be cut
    for _ in range(20):
        keeper.output("append", "cut", "--data", "x" * 100)
    assert len(keeper.output("read", "cut")) == 2000
    limits(keeper, "cut", "--size", "500")
    assert 500 <= len(keeper.output("read", "cut")) <= 500 + 4000 // 8 + 100


def test_retention_of_a_missing_stream_exits_with_3(keeper: CommandLine) -> None:
    done = keeper("data", "retention", "never", "--age", "60")
    assert done.returncode == 3
    assert b"404" in done.stderr


@pytest.mark.parametrize(
    ("arguments", "reason"),
    [
        (("s", "--clear", "--age", "1"), b"--clear excludes"),
        (("s", "--age", "-1"), b"--age"),
        (("s", "--size", "many"), b"--size"),
    ],
)
def test_options_that_make_no_sense_are_refused(
    keeper: CommandLine, arguments: tuple[str, ...], reason: bytes
) -> None:
    done = keeper("data", "retention", *arguments)
    assert done.returncode == 2
    assert reason in done.stderr


def test_the_limits_of_a_stream_elsewhere_are_not_set_at_this_server(server: Headgate) -> None:
    cli = CommandLine(server.streams)
    with headgate() as other:
        done = cli("data", "retention", f"{other.streams}/s", "--age", "60")
    assert done.returncode == 2
    assert b"--admin URL" in done.stderr


def test_the_retention_of_a_stream_at_an_origin_is_its_servers(server: Headgate) -> None:
    with headgate(server.streams.removesuffix("/v1/stream")) as edge:
        plain = CommandLine(edge.streams)
        plain.environment |= {"STREAM_ADMIN_URL": edge.admin_url}
        plain.output("create", "elsewhere")
        plain.output("read", "elsewhere")
        refused = plain("data", "retention", "elsewhere")
        assert refused.returncode == 1
        assert b"is at an HTTP origin, which decides what it keeps" in refused.stderr
