from __future__ import annotations

import signal
from typing import TYPE_CHECKING

import pytest

from tests.support.waiting import wait_until

if TYPE_CHECKING:
    from pathlib import Path

    from tests.commands.conftest import CommandLine, Stream
    from tests.support.processes import Process

pytestmark = pytest.mark.usefixtures("processes")

LIVE = pytest.mark.parametrize("live", [[], ["--long-poll"]], ids=["sse", "long-poll"])


def read_line(process: Process) -> bytes:
    """The next line, as soon as it is printed; the test's own timeout is the deadline."""
    assert process.stdout is not None
    return process.stdout.readline()


def started_tail(cli: CommandLine, stream: Stream, *arguments: str) -> Process:
    """A tail from now on that has begun: it has printed the line "ready"."""
    process = cli.start("tail", stream.name, "--offset", stream.offset, *arguments)
    stream.append(b'"ready"\n')
    assert read_line(process) == b'"ready"\n'
    return process


@LIVE
def test_tail_prints_appends_at_once_until_the_stream_is_closed(
    live: list[str], cli: CommandLine, text: Stream
) -> None:
    tail = started_tail(cli, text, *live)
    for line in (b"one\n", b"two\n"):
        text.append(line)
        assert read_line(tail) == line
    text.append(b"end", close=True)
    assert (tail.wait(20), *tail.communicate()) == (0, b"end", b"")


@LIVE
def test_tail_of_json_prints_one_message_per_line(
    live: list[str], cli: CommandLine, messages: Stream
) -> None:
    tail = started_tail(cli, messages, *live, "--json")
    messages.append(b'[{"a":\n 1.10}, [1]]', close=True)
    assert (tail.wait(20), *tail.communicate()) == (0, b'{"a":1.10}\n[1]\n', b"")


@LIVE
@pytest.mark.parametrize(
    ("start", "printed"),
    [([], b""), (["--from-start"], b"ab"), (["--offset", "AFTER-A"], b"b")],
    ids=["now", "start", "offset"],
)
def test_tail_begins_at_the_tail_unless_an_option_says_otherwise(
    live: list[str], start: list[str], printed: bytes, cli: CommandLine, text: Stream
) -> None:
    text.append(b"a")
    begin = [text.offset if word == "AFTER-A" else word for word in start]
    text.append(b"b", close=True)
    assert cli.output("tail", text.name, *live, *begin) == printed


@LIVE
def test_tail_of_a_binary_stream_prints_its_bytes_unchanged(
    live: list[str], cli: CommandLine, octets: Stream
) -> None:
    every = bytes(range(256)) * 4000
    octets.append(every)
    octets.append(every, close=True)
    assert cli.output("tail", octets.name, "--from-start", *live) == every * 2


@LIVE
def test_ctrl_c_ends_tail_quietly_with_130(live: list[str], cli: CommandLine, text: Stream) -> None:
    tail = started_tail(cli, text, *live)
    tail.send_signal(signal.SIGINT)
    assert (tail.wait(20), *tail.communicate()) == (130, b"", b"")


@LIVE
def test_tail_ends_when_its_output_pipe_is_closed_although_nothing_is_appended(
    live: list[str], cli: CommandLine, text: Stream
) -> None:
    tail = started_tail(cli, text, *live)
    assert tail.stdout is not None
    assert tail.stderr is not None
    tail.stdout.close()
    assert (tail.wait(20), tail.stderr.read()) == (0, b"")


@LIVE
def test_tail_ends_with_3_when_the_stream_is_deleted(
    live: list[str], cli: CommandLine, text: Stream
) -> None:
    tail = started_tail(cli, text, *live)
    text.delete()
    assert tail.stderr is not None
    assert tail.wait(20) == 3
    assert tail.stderr.read().decode() == (
        f"headgate: {text.url}: the stream is no longer there: deleted, expired, or lost by its "
        "server.\n"
    )


@LIVE
def test_tail_with_an_offset_file_goes_on_behind_what_an_earlier_run_printed(
    live: list[str], cli: CommandLine, text: Stream, tmp_path: Path
) -> None:
    place = tmp_path / "offset"
    command = ["tail", text.name, *live, "--offset-file", str(place)]
    text.append(b"before\n")
    first = cli.start(*command)
    wait_until(place.exists, "the tail has begun")
    first.kill()
    first.wait()
    text.append(b"between\n")
    second = cli.start(*command)
    assert read_line(second) == b"between\n"
    wait_until(lambda: place.read_text() == f"{text.offset}\n", "the offset is kept")
    second.kill()
    text.append(b"after\n", close=True)
    assert cli.output(*command) == b"after\n"
    assert cli.output(*command) == b""


def test_tail_from_start_with_an_offset_file_prints_everything_once(
    cli: CommandLine, text: Stream, tmp_path: Path
) -> None:
    command = ["tail", text.name, "--from-start", "--offset-file", str(tmp_path / "offset")]
    text.append(b"all", close=True)
    assert [cli.output(*command) for _ in range(2)] == [b"all", b""]
