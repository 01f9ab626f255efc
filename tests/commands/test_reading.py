from __future__ import annotations

import contextlib
import json
import os
import pty
import re
import subprocess
import time
from datetime import datetime
from typing import TYPE_CHECKING

import pytest

from headgate_gateway.tools.shell.times import age_words
from tests.support.blocking_origin import BlockingOrigin
from tests.support.processes import run

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from tests.commands.conftest import CommandLine, Stream
    from tests.support.blocking_origin import Exchange
    from tests.support.processes import Headgate

pytestmark = pytest.mark.usefixtures("processes")

BOTH = ("stdout", "stderr")

# ---------------------------------------------------------------- read


def test_read_prints_the_data_and_on_stderr_the_next_offset(cli: CommandLine, text: Stream) -> None:
    text.append(b"a\nb")
    done = cli("read", text.name)
    assert (done.returncode, done.stdout, done.stderr.decode()) == (
        0,
        b"a\nb",
        f"next offset: {text.offset}\n",
    )


def test_read_begins_at_the_given_offset(cli: CommandLine, text: Stream) -> None:
    text.append(b"a")
    starts = ["-1", text.offset, "now"]
    text.append(b"b")
    read = [cli.output("read", text.name, "--offset", start) for start in starts]
    assert read == [b"ab", b"b", b""]


def test_read_prints_a_stream_of_many_responses_completely(
    cli: CommandLine, messages: Stream
) -> None:
    # The server ends an answer after a quarter of a MiB or so; this is several of them.
    lines = [b'"%s"' % (b"%06d" % number * 1000) for number in range(300)]
    for start in range(0, 300, 50):
        messages.append(b"[" + b",".join(lines[start : start + 50]) + b"]")
    assert cli.output("read", messages.name) == b"".join(line + b"\n" for line in lines)


def test_read_prints_json_one_message_per_line_unless_raw(
    cli: CommandLine, messages: Stream
) -> None:
    sent = '[{"a": 1.10, "b": "\\u2028 é"},\n [1,\n 2]]'.encode()
    messages.append(sent)
    lines = '{"a":1.10,"b":"\\u2028 é"}\n[1,2]\n'.encode()
    assert cli.output("read", messages.name) == lines
    assert cli.output("read", "--json", messages.name) == lines
    assert cli.output("read", "--raw", messages.name) == messages.data


def test_read_prints_json_numbers_as_they_were_sent(cli: CommandLine, messages: Stream) -> None:
    messages.append(b"[1.10,123456789012345678901234567890,2e400,-0,1E5]")
    assert cli.output("read", messages.name) == (
        b"1.10\n123456789012345678901234567890\n2e400\n-0\n1E5\n"
    )


def test_read_of_an_empty_json_stream_prints_no_line(cli: CommandLine, messages: Stream) -> None:
    assert cli.output("read", messages.name) == b""
    assert cli.output("read", "--raw", messages.name) == b"[]"


@pytest.mark.parametrize("name", ["read", "tail"])
def test_json_option_on_a_text_stream_exits_with_1(
    name: str, cli: CommandLine, text: Stream
) -> None:
    done = cli(name, "--json", text.name)
    assert (done.returncode, done.stdout, done.stderr) == (
        1,
        b"",
        b"headgate: the stream is text/plain, so it has no JSON messages to print.\n",
    )


def test_read_with_an_offset_file_resumes_where_the_last_read_ended(
    cli: CommandLine, text: Stream, tmp_path: Path
) -> None:
    place = tmp_path / "offset"
    read = ["read", text.name, "--offset-file", str(place)]
    text.append(b"a")
    first = cli(*read)
    assert (first.stdout, first.stderr, place.read_text()) == (b"a", b"", f"{text.offset}\n")

    text.append(b"b")
    assert [cli.output(*read) for _ in range(2)] == [b"b", b""]
    assert [path.name for path in tmp_path.iterdir()] == ["offset"]


def test_an_unusable_offset_file_is_reported_in_one_sentence(
    cli: CommandLine, text: Stream, tmp_path: Path
) -> None:
    text.append(b"data")
    (tmp_path / "binary").write_bytes(b"\xff")
    (tmp_path / "words").write_text("no offset\n")
    done = {
        name: cli("read", text.name, "--offset-file", f"{tmp_path}/{name}")
        for name in ("binary", "words", "none/offset")
    }
    assert [(it.returncode, it.stdout) for it in done.values()] == [(1, b""), (5, b""), (1, b"")]
    said = {name: it.stderr.decode() for name, it in done.items()}
    assert said["binary"] == (
        f"headgate: {tmp_path}/binary holds no offset: remove it to begin again.\n"
    )
    assert said["words"].endswith(
        f"; the offset is that in {tmp_path}/words: remove it to begin again.\n"
    )
    assert said["none/offset"] == (
        f"headgate: {tmp_path}/none/offset cannot be kept in {tmp_path}/none: "
        "there is no such folder.\n"
    )


def test_an_offset_refused_as_of_an_earlier_stream_is_reported_with_its_file(
    cli: CommandLine, text: Stream, tmp_path: Path
) -> None:
    read = ["read", text.name, "--offset-file", str(tmp_path / "offset")]
    text.append(b"old")
    cli.output(*read)
    text.delete()
    cli.output("create", text.name, "--data", "the new one")
    done = cli(*read)
    assert (done.returncode, done.stdout) == (3, b"")
    assert done.stderr.decode().endswith(
        f"; the offset is that in {tmp_path}/offset: remove it to begin again.\n"
    )


@pytest.mark.parametrize(
    "detail",
    [
        pytest.param(
            "the log has lost what was before this offset: go on from 1000_0060", id="lost-data"
        ),
        pytest.param(
            "what follows offset is no longer kept: the stream begins at 1000_0060 now",
            id="trimmed-data",
        ),
    ],
)
def test_a_refused_offset_file_is_reported_with_the_offset_to_put_into_it(
    detail: str, cli: CommandLine, tmp_path: Path
) -> None:
    (tmp_path / "offset").write_text("1000_0090\n")
    with BlockingOrigin() as origin:
        origin.play = lambda exchange: exchange.answer(
            json.dumps({"detail": detail}).encode(),
            "Content-Type: application/problem+json",
            status="410 Gone",
        )
        done = cli("read", f"{origin.url}/s", "--offset-file", str(tmp_path / "offset"))
    assert (done.returncode, done.stdout) == (3, b"")
    assert done.stderr.decode().endswith(
        f"{detail} (410 Gone); to go on there, put 1000_0060 into {tmp_path}/offset; "
        "to begin again, remove it.\n"
    )


@pytest.mark.parametrize(
    ("offset", "place"),
    [
        ("latest", "now, which is the tail"),
        ("END", "now, which is the tail"),
        ("earliest", "-1, which is the beginning"),
    ],
)
@pytest.mark.parametrize("name", ["read", "tail"])
def test_a_refused_offset_of_another_log_is_reported_with_that_of_streams(
    name: str, offset: str, place: str, cli: CommandLine, text: Stream
) -> None:
    done = cli(name, text.name, "--offset", offset)
    assert done.returncode == 5
    assert done.stderr.decode().endswith(f"; it is that of --offset: write {place}.\n")


@pytest.mark.parametrize("offset", ["no/offset", ""])
@pytest.mark.parametrize("name", ["read", "tail"])
def test_a_malformed_offset_option_is_reported_with_its_value(
    name: str, offset: str, cli: CommandLine, text: Stream
) -> None:
    done = cli(name, text.name, "--offset", offset)
    assert (done.returncode, done.stdout) == (5, b"")
    assert done.stderr.decode().endswith(
        f" (400 Bad Request); the offset was {offset!r}, and the beginning is '-1'; "
        "it is that of --offset.\n"
    )


def test_read_with_an_empty_offset_file_is_refused_and_does_not_start_over(
    cli: CommandLine, text: Stream, tmp_path: Path
) -> None:
    (tmp_path / "offset").touch()
    done = cli("read", text.name, "--offset-file", str(tmp_path / "offset"))
    assert (done.returncode, done.stdout) == (5, b"")
    assert done.stderr.decode().endswith(
        "the offset is that in " + f"{tmp_path}/offset: remove it to begin again.\n"
    )


# ---------------------------------------------------------------- where the output goes


@pytest.mark.parametrize("name", [["read"], ["tail", "--from-start"]])
def test_read_and_tail_end_quietly_when_their_output_pipe_is_closed(
    name: list[str], cli: CommandLine, text: Stream
) -> None:
    # More than a pipe holds, so that something is still to be written when its reader ends.
    text.append(b"0123456789\n" * 100_000)
    done = subprocess.run(
        [
            "bash",
            "-c",
            '"$@" | head -n 1; echo ${PIPESTATUS[0]}',
            "-",
            cli.program,
            *name,
            text.name,
        ],
        env=cli.environment,
        capture_output=True,
        timeout=20,
        check=True,
    )
    assert (done.stdout, done.stderr) == (b"0123456789\n0\n", b"")


@pytest.mark.parametrize(
    ("redirection", "reason"),
    [
        (">&-", "stdout is closed"),
        (">/dev/full", "stdout cannot be written: No space left on device"),
    ],
)
def test_unwritable_output_is_reported_in_one_sentence(
    redirection: str, reason: str, cli: CommandLine, text: Stream
) -> None:
    text.append(b"x")
    done = subprocess.run(
        ["sh", "-c", f'exec "$0" read {text.name} {redirection}', cli.program],
        env=cli.environment,
        capture_output=True,
        check=False,
    )
    assert (done.returncode, done.stderr.decode()) == (1, f"headgate: {reason}.\n")


def on_terminal(cli: CommandLine, *arguments: str, streams: Sequence[str] = BOTH) -> str:
    """What a command shows on a terminal that these of its streams are; the others are pipes."""
    ours, theirs = pty.openpty()
    stdout, stderr = (theirs if name in streams else subprocess.PIPE for name in BOTH)
    run([cli.program, *arguments], environment=cli.environment, stdout=stdout, stderr=stderr)
    os.close(theirs)
    shown = b""
    # Reading on after everything is an error, as the other side is closed.
    with contextlib.suppress(OSError):
        while piece := os.read(ours, 1 << 16):
            shown += piece
    os.close(ours)
    return shown.decode().replace("\r\n", "\n")


@pytest.mark.parametrize("data", [pytest.param("a line\n", id="a-whole-line"), "a begun line"])
def test_on_a_terminal_read_prints_the_next_offset_on_a_line_of_its_own(
    data: str, cli: CommandLine, text: Stream
) -> None:
    text.append(data.encode())
    assert on_terminal(cli, "read", text.name) == f"{data.strip()}\nnext offset: {text.offset}\n"


def test_read_into_a_pipe_prints_the_next_offset_on_a_new_terminal_line(
    cli: CommandLine, text: Stream
) -> None:
    text.append(b"begun")
    shown = on_terminal(cli, "read", text.name, streams=["stderr"])
    assert shown == f"\nnext offset: {text.offset}\n"


@pytest.mark.parametrize("name", [["read"], ["tail", "--from-start"]])
@pytest.mark.parametrize("data", [pytest.param("a line\n", id="a-whole-line"), "a begun line"])
def test_data_on_a_terminal_ends_with_a_newline(
    data: str, name: list[str], cli: CommandLine, text: Stream
) -> None:
    text.append(data.encode(), close=True)
    shown = on_terminal(cli, *name, text.name, streams=["stdout"])
    assert shown == f"{data.strip()}\n"


# ---------------------------------------------------------------- head


def test_head_prints_aligned_columns_on_a_terminal_and_tabs_in_a_pipe(
    cli: CommandLine, text: Stream
) -> None:
    text.append(b"all", close=True)
    rows = [
        ("url", text.url),
        ("content_type", "text/plain"),
        ("next_offset", text.offset),
        ("closed", "yes"),
    ]
    assert cli.output("head", text.name).decode() == "".join(f"{a}\t{b}\n" for a, b in rows)
    assert on_terminal(cli, "head", text.name) == "".join(f"{a:<14}  {b}\n" for a, b in rows)


def test_head_json_prints_every_field(cli: CommandLine, text: Stream) -> None:
    assert json.loads(cli.output("head", "--json", text.name)) == {
        "url": text.url,
        "content_type": "text/plain",
        "next_offset": text.offset,
        "closed": False,
        "ttl": None,
        "expires_at": None,
        "size": None,
        "created_at": None,
        "age": None,
        "last_append_at": None,
    }


def test_head_has_size_age_and_last_append_by_the_admin_listener(
    cli: CommandLine, text: Stream, server: Headgate
) -> None:
    begun = int(time.time())  # noqa: TID251 - as the server's clock
    text.append(b"12345")
    known = json.loads(cli.output("head", "--json", text.name, "--admin", server.admin_url))
    assert (known["size"], known["next_offset"]) == (5, text.offset)
    now = time.time()  # noqa: TID251 - as the server's clock
    assert 0 <= known["age"] <= now - begun + 1
    for name in ("created_at", "last_append_at"):
        moment = datetime.fromisoformat(known[name])
        assert begun - 1 <= moment.timestamp() <= now, name
    cli.environment["STREAM_ADMIN_URL"] = server.admin_url
    shown = dict(it.split("\t") for it in cli.output("head", text.name).decode().splitlines())
    assert shown["size"] == "5"
    assert re.fullmatch(r"\d+[sm]", shown["age"])
    away = cli("head", text.name, environment={"STREAM_ADMIN_URL": "http://127.0.0.1:9"})
    assert (away.returncode, b"\nsize" in away.stdout) == (0, False)
    assert away.stderr.startswith(b"headgate: size and age are not known: ")


def test_head_of_another_server_does_not_ask_the_admin_listener_of_this_one(
    cli: CommandLine, text: Stream, server: Headgate
) -> None:
    cli.environment["STREAM_ADMIN_URL"] = server.admin_url

    def answer(exchange: Exchange) -> None:
        exchange.answer(b"", "Content-Type: text/plain", "Stream-Next-Offset: 1")

    with BlockingOrigin(answer) as other:
        done = cli("head", f"{other.url}/v1/stream/{text.name}", "--json")
    assert (done.returncode, json.loads(done.stdout)["size"], done.stderr) == (0, None, b"")


@pytest.mark.parametrize(
    ("seconds", "words"),
    [
        (0, "0s"),
        (119.9, "119s"),
        (120, "2m"),
        (7199, "119m"),
        (7200, "2h"),
        (2 * 86400 - 1, "47h"),
        (400 * 86400, "400d"),
    ],
)
def test_an_age_is_shown_in_a_unit_of_which_there_are_at_least_two(
    seconds: float, words: str
) -> None:
    assert age_words(seconds) == words
