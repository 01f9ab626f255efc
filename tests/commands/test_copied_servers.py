"""Copies from and to servers: late appends, follows, maps and credentials."""

from __future__ import annotations

import hashlib
import json
import signal
from typing import TYPE_CHECKING

import pytest
from headgate.retries import Retries
from headgate.stream_requests import ProducerStamp, StreamRequests
from typing_extensions import override

from gateway.tools.copying.by_content import ContentCopy
from gateway.tools.copying.server_place import ServerStream
from gateway.tools.shell.patience import backoff, tell
from tests.commands.conftest import CommandLine
from tests.support.blocking_origin import BlockingOrigin
from tests.support.http1 import ask
from tests.support.ports import free_port
from tests.support.processes import headgate
from tests.support.waiting import wait_until

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path

    from gateway.tools.copying.contract import ContentPart
    from tests.support.processes import Headgate

TEXT, JSON = "text/plain", "application/json"


@pytest.fixture(scope="module")
def other(processes: None) -> Iterator[Headgate]:
    """A second server."""
    with headgate() as server:
        yield server


@pytest.fixture
def copier(server: Headgate) -> Iterator[CommandLine]:
    """The command line, to which the admin listener of the first server is known."""
    made = CommandLine(server.streams)
    made.environment |= {"STREAM_ADMIN_URL": server.admin_url}
    yield made
    made.kill()


def made(server: Headgate, name: str, *bodies: bytes, kind: str = TEXT) -> None:
    """Create a stream with these appends."""
    path = f"/v1/stream/{name}"
    assert ask(server.port, "PUT", path, None, **{"Content-Type": kind}).status == 201
    for body in bodies:
        append(server, name, body, kind=kind)


def append(server: Headgate, name: str, body: bytes, *, kind: str = TEXT) -> None:
    """Append to a stream."""
    answer = ask(server.port, "POST", f"/v1/stream/{name}", body, **{"Content-Type": kind})
    assert answer.status in {200, 204}, answer


def data(server: Headgate, name: str) -> bytes | None:
    answer = ask(server.port, "GET", f"/v1/stream/{name}", None, **{"Cache-Control": "no-cache"})
    return None if answer.status == 404 else answer.body


@pytest.mark.usefixtures("processes")
def test_new_appends_streams_and_closures_are_followed_until_ctrl_c(
    copier: CommandLine, server: Headgate, other: Headgate
) -> None:
    made(server, "follow/1", b"one ")
    process = copier.start(
        "data", "copy", server.streams, other.streams, "--prefix", "follow/", "--follow"
    )
    wait_until(lambda: data(other, "follow/1") == b"one ")
    append(server, "follow/1", b"two")
    made(server, "follow/2", b'{"n":1}', kind=JSON)
    wait_until(lambda: data(other, "follow/1") == b"one two")
    wait_until(lambda: data(other, "follow/2") == b'[{"n":1}]')
    ask(server.port, "POST", "/v1/stream/follow/1", b"", **{"Stream-Closed": "true"})
    closed = "/v1/stream/follow/1"
    wait_until(lambda: ask(other.port, "HEAD", closed).get("Stream-Closed") == "true")
    process.send_signal(signal.SIGINT)
    _, said = process.communicate(timeout=20)
    assert process.returncode == 130
    assert said.decode() == (
        "Interrupted: 2 streams copied or compared, 14 bytes appended; the same command goes on.\n"
    )


@pytest.mark.usefixtures("processes")
async def test_an_append_of_a_killed_copy_that_arrives_late_is_not_stored_twice(
    copier: CommandLine, server: Headgate, other: Headgate, tmp_path: Path
) -> None:
    made(server, "late/s", b"one ")
    arguments = ("data", "copy", server.streams, other.streams, "--prefix", "late/")
    copier.output(*arguments)
    producer = _producer_id(server, "late/s")
    append(server, "late/s", b"two ")
    async with StreamRequests(f"{other.streams}/late/s") as copy:
        # As the killed run would have sent it: the second of its appends.
        late = await copy.append(
            b"two ", content_type="text/plain", producer=ProducerStamp(producer, 0, 1)
        )
        assert not late.is_duplicate
    append(server, "late/s", b"three")
    copier.output(*arguments)
    async with StreamRequests(f"{other.streams}/late/s") as copy:
        later = await copy.append(
            b"two ", content_type="text/plain", producer=ProducerStamp(producer, 0, 1)
        )
        assert later.is_duplicate
        assert later.producer_seq == 2
    assert data(other, "late/s") == b"one two three"


def _producer_id(server: Headgate, name: str) -> str:
    digest = hashlib.sha256(f"{server.streams}/{name}".encode()).hexdigest()[:32]
    return f"headgate-copy-{digest}"


@pytest.mark.usefixtures("processes")
def test_the_map_has_offsets_of_both_sides_that_mean_the_same_place(
    copier: CommandLine, server: Headgate, other: Headgate, tmp_path: Path
) -> None:
    made(server, "map/a b".replace(" ", "%20"), b'[{"n":1},{"n":2}]', b'{"n":3}', kind=JSON)
    file = tmp_path / "map"
    copier.output(
        "data", "copy", server.streams, other.streams, "--prefix", "map/", "--map", str(file)
    )
    line = json.loads(file.read_text().splitlines()[-1])
    path = "/v1/stream/map/a%20b"
    assert line["stream"] == "map/a b"
    assert line["from"] == ask(server.port, "HEAD", path).next_offset
    assert line["to"] == ask(other.port, "HEAD", path).next_offset


@pytest.mark.usefixtures("processes")
def test_long_text_is_cut_into_appends_between_characters(
    copier: CommandLine, server: Headgate, tmp_path: Path
) -> None:
    text = "aä€😀" * 100_000
    made(server, "long/s", text.encode())
    target = f"file:{tmp_path / 'b'}"
    copier.output("data", "copy", server.streams, target, "--prefix", "long/")
    with headgate(target) as copy:
        answer = ask(copy.port, "GET", "/v1/stream/long/s")
        rest = ask(copy.port, "GET", f"/v1/stream/long/s?offset={answer.next_offset}")
    assert 0 < len(answer.body) <= 2 * 256 * 1024  # what a read returns of records of that size
    assert text.startswith(answer.body.decode() + rest.body.decode())
    made_again = json.loads(
        copier.output("data", "copy", server.streams, target, "--prefix", "long/", "--json")
    )
    assert made_again["bytes"] == 0


@pytest.mark.usefixtures("processes")
def test_each_server_gets_its_own_authorization_alone(
    copier: CommandLine, server: Headgate, other: Headgate, tmp_path: Path
) -> None:
    unbound = {"STREAM_URL": "", "STREAM_ADMIN_URL": server.admin_url}
    done = copier("data", "copy", server.streams, other.streams, environment=unbound)
    assert done.returncode == 2
    assert b"STREAM_AUTH is for one server" in done.stderr
    tokens = tmp_path / "from", tmp_path / "to"
    for file in tokens:
        file.write_text("Bearer of-one-server\n")
    done = copier(
        *("data", "copy", server.streams, other.streams, "--prefix", "none/"),
        *("--from-auth", str(tokens[0]), "--to-auth", str(tokens[1])),
        environment=unbound,
    )
    assert done.returncode == 0, done.stderr
    missing = str(tmp_path / "missing")
    done = copier("data", "copy", server.streams, other.streams, "--to-auth", missing)
    assert done.returncode == 2
    assert b"'--to-auth': there is no such file" in done.stderr


@pytest.mark.usefixtures("processes")
def test_a_401_ends_the_copy_with_what_to_do_about_the_authorization(
    cli: CommandLine, tmp_path: Path
) -> None:
    (tmp_path / "names").write_text("s")
    with BlockingOrigin(lambda exchange: exchange.answer(status="401 Unauthorized")) as origin:
        target = f"file:{tmp_path / 'data'}"
        variables = {"STREAM_URL": "", "STREAM_AUTH": ""}
        words = ("data", "copy", origin.url, target, "--names", str(tmp_path / "names"))
        done = cli(*words, environment=variables)
        file = tmp_path / "token"
        file.write_text("Bearer of-one-server")
        by_file = cli(*words, "--from-auth", str(file), environment=variables)
    assert (done.returncode, by_file.returncode) == (5, 5)
    assert done.stderr.endswith(b'; set STREAM_AUTH="Bearer TOKEN" in the environment.\n')
    assert by_file.stderr.decode().endswith(f"; put another into {file}.\n")


@pytest.mark.usefixtures("processes")
def test_a_server_that_is_away_ends_the_copy_with_status_69(
    copier: CommandLine, server: Headgate, tmp_path: Path
) -> None:
    target = f"file:{tmp_path / 'b'}"
    done = copier(
        "data", "copy", server.streams, target, "--admin", f"http://127.0.0.1:{free_port()}"
    )
    assert done.returncode == 69
    assert b"0 streams copied or compared" in done.stderr


@pytest.mark.usefixtures("processes")
def test_a_folder_that_cannot_be_made_ends_the_copy_with_a_sentence(
    copier: CommandLine, server: Headgate
) -> None:
    done = copier("data", "copy", server.streams, "file:/proc/none")
    assert done.returncode == 1
    assert b"/proc/none cannot be used" in done.stderr


class LateAppend(ServerStream):
    """A copy at which an append of a killed run arrives between the comparison and the next one."""

    late: bytes | None = None

    @override
    async def append(self, parts: Sequence[ContentPart]) -> str | None:
        late, self.late = self.late, None
        if late is not None:
            await self._append(late)
        return await super().append(parts)


@pytest.mark.parametrize("late", [b"two", b"two three "], ids=["a-part", "more"])
async def test_an_append_that_arrives_between_comparison_and_append_is_compared_before_the_next(
    late: bytes, server: Headgate, other: Headgate
) -> None:
    name = f"between/{len(late)}"
    made(server, name, b"one ", b"two ", b"three ", b"four")
    retries = Retries(0.0, backoff(), tell)
    async with (
        StreamRequests(f"{server.streams}/{name}") as source,
        StreamRequests(f"{other.streams}/{name}") as target,
    ):
        copy = LateAppend(target, retries, "copy-of-a-test")
        copy.late = b"one " + late
        outcome = await ContentCopy(
            ServerStream(source, retries, ""), copy, lambda _mine, _its: None
        ).run(None)
    assert data(other, name) == b"one two three four"
    assert outcome.bytes == len(b"one two three four") - len(b"one " + late)
