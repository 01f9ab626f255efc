from __future__ import annotations

import json
import os
import pty
import subprocess
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from pathlib import Path

    from tests.commands.conftest import CommandLine, Stream

# ---------------------------------------------------------------- read


def test_read_prints_the_data_and_tells_the_next_offset(cli: CommandLine, text: Stream) -> None:
    text.append(b"a\nb")
    done = cli("read", text.name)
    assert (done.returncode, done.stdout, done.stderr.decode()) == (
        0,
        b"a\nb",
        f"next offset: {text.offset}\n",
    )


def test_read_begins_at_an_offset(cli: CommandLine, text: Stream) -> None:
    text.append(b"a")
    starts = ["-1", text.offset, "now"]
    text.append(b"b")
    read = [cli.output("read", text.name, "--offset", start) for start in starts]
    assert read == [b"ab", b"b", b""]


def test_read_goes_on_over_many_answers(cli: CommandLine, messages: Stream) -> None:
    # The server ends an answer after a quarter of a MiB or so; this is several of them.
    lines = [b'"%s"' % (b"%06d" % number * 1000) for number in range(300)]
    for start in range(0, 300, 50):
        messages.append(b"[" + b",".join(lines[start : start + 50]) + b"]")
    assert cli.output("read", messages.name) == b"".join(line + b"\n" for line in lines)


def test_json_is_printed_one_message_a_line(cli: CommandLine, messages: Stream) -> None:
    sent = '[{"a": 1.10, "b": "\\u2028 é"},\n [1,\n 2]]'.encode()
    messages.append(sent)
    lines = '{"a":1.10,"b":"\\u2028 é"}\n[1,2]\n'.encode()
    assert cli.output("read", messages.name) == lines
    assert cli.output("read", "--json", messages.name) == lines
    assert cli.output("read", "--raw", messages.name) == messages.data


def test_numbers_are_printed_as_they_were_sent(cli: CommandLine, messages: Stream) -> None:
    messages.append(b"[1.10,123456789012345678901234567890,2e400,-0,1E5]")
    assert cli.output("read", messages.name) == (
        b"1.10\n123456789012345678901234567890\n2e400\n-0\n1E5\n"
    )


def test_an_empty_json_stream_prints_no_line(cli: CommandLine, messages: Stream) -> None:
    assert cli.output("read", messages.name) == b""
    assert cli.output("read", "--raw", messages.name) == b"[]"


@pytest.mark.parametrize("name", ["read", "tail"])
def test_json_cannot_be_had_of_text(name: str, cli: CommandLine, text: Stream) -> None:
    done = cli(name, "--json", text.name)
    assert (done.returncode, done.stdout, done.stderr) == (
        1,
        b"",
        b"headgate: the stream is text/plain, so it has no JSON messages to print.\n",
    )


def test_an_offset_file_resumes_where_the_last_read_ended(
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


def test_offset_is_where_a_new_offset_file_begins(
    cli: CommandLine, text: Stream, tmp_path: Path
) -> None:
    text.append(b"old")
    read = ["read", text.name, "--offset", "now", "--offset-file", str(tmp_path / "offset")]
    assert cli.output(*read) == b""
    text.append(b"new")
    assert cli.output(*read) == b"new"


def test_an_offset_file_that_cannot_be_used_is_one_sentence(
    cli: CommandLine, text: Stream, tmp_path: Path
) -> None:
    (tmp_path / "binary").write_bytes(b"\xff")
    unreadable = cli("read", text.name, "--offset-file", str(tmp_path / "binary"))
    assert unreadable.returncode == 1
    assert unreadable.stderr.decode().startswith(f"headgate: {tmp_path}/binary holds no offset ")

    unwritable = cli("read", text.name, "--offset-file", str(tmp_path / "none" / "offset"))
    assert (unwritable.returncode, unwritable.stderr.decode()) == (
        1,
        f"headgate: {tmp_path}/none/offset cannot be written: No such file or directory.\n",
    )


def test_an_offset_that_is_none_is_one_sentence(cli: CommandLine, text: Stream) -> None:
    done = cli("read", text.name, "--offset", "no/offset")
    assert (done.returncode, done.stdout) == (1, b"")
    assert done.stderr.decode().endswith(" (400 Bad Request).\n")


# ---------------------------------------------------------------- where the output goes


@pytest.mark.parametrize("name", [["read"], ["tail", "--from-start"]])
def test_a_reader_that_goes_away_ends_it_quietly(
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
def test_output_that_cannot_be_written_is_one_sentence(
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


def on_terminal(cli: CommandLine, *arguments: str) -> str:
    """What a command shows on a terminal, stdout and stderr together."""
    ours, theirs = pty.openpty()
    subprocess.run(
        [cli.program, *arguments], env=cli.environment, stdout=theirs, stderr=theirs, check=True
    )
    os.close(theirs)
    shown = os.read(ours, 1 << 16).decode().replace("\r\n", "\n")
    os.close(ours)
    return shown


@pytest.mark.parametrize("data", ["a line\n", "a begun line"])
def test_on_a_terminal_the_next_offset_has_a_line_of_its_own(
    data: str, cli: CommandLine, text: Stream
) -> None:
    text.append(data.encode())
    assert on_terminal(cli, "read", text.name) == f"{data.strip()}\nnext offset: {text.offset}\n"


# ---------------------------------------------------------------- head


def test_head_is_aligned_on_a_terminal_and_tabbed_in_a_pipe(cli: CommandLine, text: Stream) -> None:
    text.append(b"all", close=True)
    rows = [
        ("url", text.url),
        ("content_type", "text/plain"),
        ("next_offset", text.offset),
        ("closed", "yes"),
    ]
    assert cli.output("head", text.name).decode() == "".join(f"{a}\t{b}\n" for a, b in rows)
    assert on_terminal(cli, "head", text.name) == "".join(f"{a:<12}  {b}\n" for a, b in rows)


def test_head_as_json_has_every_field(cli: CommandLine, text: Stream) -> None:
    assert json.loads(cli.output("head", "--json", text.name)) == {
        "url": text.url,
        "content_type": "text/plain",
        "next_offset": text.offset,
        "closed": False,
        "ttl": None,
        "expires_at": None,
    }
