from __future__ import annotations

import signal
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from pathlib import Path

    from tests.commands.conftest import CommandLine, Stream
    from tests.support.processes import Headgate

pytestmark = pytest.mark.usefixtures("processes")

# ---------------------------------------------------------------- create


def test_create_makes_a_text_stream_by_default(cli: CommandLine, server: Headgate) -> None:
    done = cli("create", "made/deep")
    assert (done.returncode, done.stdout) == (0, b"")
    assert done.stderr.decode() == (
        f"Created {server.streams}/made/deep (text/plain); "
        "next offset 0000000000000000_0000000000000000.\n"
    )


def test_create_of_an_existing_stream_says_so_and_exits_with_0(
    cli: CommandLine, text: Stream
) -> None:
    done = cli("create", text.name)
    assert done.returncode == 0
    assert done.stderr.decode() == (
        f"{text.url} (text/plain) is there already; next offset {text.offset}.\n"
    )


def test_create_accepts_data_lifetime_and_closed(cli: CommandLine) -> None:
    done = cli("create", "short", "--ttl", "3600", "--data", "from the line", "--closed")
    assert b"/short (text/plain, closed); next offset " in done.stderr
    cli.output("create", "fixed", "--expires-at", "2099-01-01T00:00:00Z", "-d", "-", stdin=b"piped")
    assert [cli.output("read", name) for name in ("short", "fixed")] == [b"from the line", b"piped"]
    short, fixed = (
        dict(line.split("\t") for line in cli.output("head", name).decode().splitlines())
        for name in ("short", "fixed")
    )
    assert (short["ttl"], short["closed"]) == ("3600", "yes")
    assert (fixed["expires_at"], fixed["closed"]) == ("2099-01-01T00:00:00Z", "no")


def test_data_of_a_file_are_taken_byte_for_byte(cli: CommandLine, tmp_path: Path) -> None:
    file = tmp_path / "data"
    file.write_bytes(bytes(range(256)))
    cli.output("create", "of-file", "--data", f"@{file}", "-t", "application/octet-stream")
    cli.output("append", "of-file", "--data", f"@{file}")
    assert cli.output("read", "of-file") == bytes(range(256)) * 2
    for command in ("create", "append"):
        refused = cli(command, "of-file", "--data", f"@{tmp_path}/none")
        said = f"headgate: {tmp_path}/none cannot be read: No such file or directory.\n"
        assert (refused.returncode, refused.stderr.decode()) == (1, said)


def test_create_fork_from_copies_the_data_up_to_the_fork_offset(
    cli: CommandLine, messages: Stream
) -> None:
    messages.append(b"1")
    half = messages.offset
    messages.append(b"2")
    forks = [f"{messages.name}-{which}" for which in ("all", "half")]

    cli.output("create", forks[0], "--fork-from", messages.url)
    cli.output("create", forks[1], "--fork-from", messages.name, "--fork-offset", half)

    assert [cli.output("read", "--json", fork) for fork in forks] == [b"1\n2\n", b"1\n"]


def test_create_with_fork_sub_offset_forks_inside_an_append(
    cli: CommandLine, messages: Stream
) -> None:
    start = messages.offset
    messages.append(b"[1,2,3]")
    arguments = ["--fork-from", messages.name, "--fork-offset", start, "--fork-sub-offset", "2"]
    cli.output("create", f"{messages.name}-fork", *arguments)
    assert cli.output("read", f"{messages.name}-fork") == b"1\n2\n"


def test_create_with_a_refused_fork_offset_names_the_option(
    cli: CommandLine, text: Stream, server: Headgate
) -> None:
    text.append(b"hello")
    inside = text.offset.replace("5", "3")
    done = cli("create", "no-fork", "--fork-from", text.name, "--fork-offset", inside)
    assert done.returncode == 5
    assert done.stderr.startswith(f"headgate: {server.streams}/no-fork: ".encode())
    assert done.stderr.endswith(f"(400 Bad Request); --fork-offset was {inside}.\n".encode())


def test_create_from_a_missing_fork_source_names_the_source(
    cli: CommandLine, server: Headgate
) -> None:
    done = cli("create", "fork", "--fork-from", "nowhere")
    assert (done.returncode, done.stderr.decode()) == (
        3,
        f"headgate: {server.streams}/fork: there is no stream at the path that --fork-from names "
        f"(404 Not Found); --fork-from was {server.streams}/nowhere.\n",
    )


@pytest.mark.parametrize(
    ("arguments", "named"),
    [
        pytest.param(
            ["create", "--fork-from", "STREAM", "--fork-offset", "99"],
            "--fork-offset is malformed",
            id="a-fork-offset",
        ),
        (["create", "--content-type", "?"], "--content-type is malformed"),
        (["create", "--ttl", "99999999999999"], "--ttl is at most"),
        pytest.param(
            ["append", "--data", "x", "--producer", ""],
            "--producer must have",
            id="an-empty-producer",
        ),
    ],
)
def test_a_refusal_by_the_server_names_the_option_as_typed(
    arguments: list[str], named: str, cli: CommandLine, text: Stream
) -> None:
    command, *options = [text.name if word == "STREAM" else word for word in arguments]
    done = cli(command, text.name, *options)
    assert done.returncode == 5
    assert f"{text.url}: {named}" in done.stderr.decode()


# ---------------------------------------------------------------- append


def test_append_takes_its_data_from_an_option_or_from_stdin(cli: CommandLine, text: Stream) -> None:
    cli.output("append", text.name, "--data", "one, ")
    cli.output("append", text.name, stdin=b"two\nthree")
    done = cli("append", text.name, "--data", "-", stdin=b"!")
    assert done.stderr.decode() == f"Appended; next offset {text.offset}.\n"
    assert text.data == b"one, two\nthree!"


def test_append_sends_the_bytes_of_stdin_unchanged(
    cli: CommandLine, octets: Stream, tmp_path: Path
) -> None:
    every = bytes(range(256)) * 400
    (tmp_path / "data").write_bytes(every)
    with (tmp_path / "data").open("rb") as file:
        assert cli.start("append", octets.name, stdin=file).wait(20) == 0
    cli.output("append", octets.name, stdin=every)
    assert octets.data == every * 2


@pytest.mark.parametrize("arguments", [["--data", ""], []])
def test_append_without_data_exits_with_1(
    arguments: list[str], cli: CommandLine, text: Stream
) -> None:
    done = cli("append", text.name, *arguments)
    assert (done.returncode, done.stdout, done.stderr) == (
        1,
        b"",
        b"headgate: nothing to append: give --data or stdin.\n",
    )


def test_append_close_without_data_closes_the_stream(cli: CommandLine, text: Stream) -> None:
    done = cli("append", text.name, "--close")
    assert done.stderr.decode() == f"Closed; next offset {text.offset}.\n"
    assert (text.is_closed, text.data) == (True, b"")


def test_append_lines_stores_each_line_with_its_line_end(cli: CommandLine, text: Stream) -> None:
    done = cli("append", text.name, "--lines", stdin=b"a\n\nb\r\nc")
    assert done.stderr.decode() == f"Appended 4 lines; next offset {text.offset}.\n"
    assert text.data == b"a\n\nb\r\nc"


def test_append_lines_to_a_json_stream_makes_each_line_a_message(
    cli: CommandLine, messages: Stream
) -> None:
    lines = b'{"a": 1.10}\n\n  [1,[2]]\r\n[]\n"x"\n123456789012345678901234567890\n2e400'
    cli.output("append", messages.name, "--lines", stdin=lines)
    assert messages.data == b'[{"a": 1.10},[1,[2]],[],"x",123456789012345678901234567890,2e400]'


@pytest.mark.parametrize(
    "wrong", [b'{"x":', b"[1],[2]", b"[1", pytest.param(b"\xff", id="a-byte-that-is-no-utf-8")]
)
def test_append_lines_stops_at_a_line_that_is_no_json_and_names_it(
    wrong: bytes, cli: CommandLine, messages: Stream
) -> None:
    done = cli("append", messages.name, "--lines", stdin=b"1\n\n" + wrong + b"\n3\n")
    assert (done.returncode, done.stdout) == (1, b"")
    said = done.stderr.decode()
    assert said.startswith("headgate: line 3: ")
    assert said.endswith("; 1 line was appended before.\n")
    assert messages.data == b"[1]"


def test_append_lines_names_the_line_the_server_refuses_counting_blank_ones(
    cli: CommandLine, messages: Stream
) -> None:
    deep = b"[" * 70 + b"]" * 70
    done = cli("append", messages.name, "--lines", stdin=b"\n1\n\n\n2\n" + deep + b"\n3\n")
    assert done.returncode == 5
    assert done.stderr.startswith(b"headgate: line 6: ")
    assert done.stderr.endswith(b"; it was chunk 3, of 140 bytes; 2 lines were appended before.\n")
    assert messages.data == b"[1,2]"


def test_append_lines_appends_each_line_as_soon_as_it_arrives(
    cli: CommandLine, text: Stream
) -> None:
    appending = cli.start("append", text.name, "--lines", stdin=subprocess.PIPE)
    assert appending.stdin is not None
    for so_far in (b"1\n", b"1\n2\n"):
        appending.stdin.write(so_far[-2:])
        appending.stdin.flush()
        text.wait_for(so_far)
    appending.stdin.close()
    assert appending.wait(20) == 0


def test_append_lines_stores_a_line_of_3_mb_as_one_message(
    cli: CommandLine, messages: Stream
) -> None:
    line = b'"' + b"x" * 3_000_000 + b'"'
    cli.output("append", messages.name, "--lines", stdin=line)
    assert messages.data == b"[" + line + b"]"


def test_append_close_closes_the_stream_with_its_data(cli: CommandLine, text: Stream) -> None:
    done = cli("append", text.name, "--data", "end", "--close")
    assert done.stderr.decode() == f"Appended and closed; next offset {text.offset}.\n"
    assert (text.is_closed, text.data) == (True, b"end")

    refused = cli("append", text.name, "--data", "more")
    assert refused.returncode == 4
    assert refused.stderr.decode().endswith(" (409 Conflict).\n")


def test_append_lines_close_closes_the_stream_after_the_last_line(
    cli: CommandLine, text: Stream
) -> None:
    cli.output("append", text.name, "--lines", "--close", stdin=b"a\nb\n")
    assert (text.is_closed, text.data) == (True, b"a\nb\n")


def test_a_refused_seq_is_explained_by_comparison_as_text(cli: CommandLine, text: Stream) -> None:
    cli.output("append", text.name, "--data", "x", "--seq", "9")
    done = cli("append", text.name, "--data", "x", "--seq", "10")
    assert done.stderr.endswith(b"(409 Conflict); both are text, so that 10 is less than 9.\n")


# ---------------------------------------------------------------- exactly once


def test_repeating_append_lines_of_a_producer_adds_only_missing_lines(
    cli: CommandLine, text: Stream
) -> None:
    producer = ["append", text.name, "--lines", "--producer", "p"]
    cli.output(*producer, stdin=b"a\nb\n")
    done = cli(*producer, stdin=b"a\nb\nc\n")
    assert done.stderr.decode() == (
        f"Appended 3 lines, 2 of them stored before; next offset {text.offset}.\n"
    )
    assert text.data == b"a\nb\nc\n"


def test_repeating_append_lines_after_closing_explains_the_refusal(
    cli: CommandLine, text: Stream
) -> None:
    producer = ["append", text.name, "--lines", "--close", "--producer", "p"]
    cli.output(*producer, stdin=b"a\nb\n")
    done = cli(*producer, stdin=b"a\nb\n")
    assert (done.returncode, text.data) == (4, b"a\nb\n")
    assert done.stderr.startswith(b"headgate: line 1: ")
    assert done.stderr.endswith(
        b"; an earlier run with --close may have appended all and closed it; "
        b"0 lines were appended before.\n"
    )
    stranger = cli("append", text.name, "--lines", stdin=b"a\n")
    assert stranger.stderr.decode() == f"headgate: {text.url}: the stream is closed.\n"


def test_repeating_an_append_of_a_producer_says_already_appended(
    cli: CommandLine, text: Stream
) -> None:
    producer = ["append", text.name, "--producer", "p", "--data", "a"]
    assert cli(*producer).stderr.startswith(b"Appended;")
    assert cli(*producer).stderr.startswith(b"Already appended")
    assert text.data == b"a"


def test_an_append_in_an_old_epoch_is_refused_with_the_epoch_to_use(
    cli: CommandLine, text: Stream
) -> None:
    producer = ["append", text.name, "--producer", "p"]
    cli.output(*producer, "--epoch", "4", "--data", "new")
    done = cli(*producer, "--data", "old")
    assert (done.returncode, done.stderr.decode()) == (
        5,
        "headgate: producer p is at epoch 4, so epoch 0 is over; take over with --epoch 5.\n",
    )
    cli.output(*producer, "--epoch", "5", "--data", "er")
    assert text.data == b"newer"


def test_repeating_a_killed_append_lines_completes_it_without_duplicates(
    cli: CommandLine, text: Stream
) -> None:
    producer = ["append", text.name, "--lines", "--producer", "p"]
    killed = cli.start(*producer, stdin=subprocess.PIPE)
    assert killed.stdin is not None
    killed.stdin.write(b"a\nb")
    killed.stdin.flush()
    text.wait_for(b"a\n")
    killed.kill()
    cli.output(*producer, stdin=b"a\nb\nc\n")
    assert text.data == b"a\nb\nc\n"


# ---------------------------------------------------------------- close, delete


def test_close_can_be_repeated_with_the_same_result(cli: CommandLine, text: Stream) -> None:
    said = [cli("close", text.name) for _ in range(2)]
    sentence = f"Closed {text.url}; final offset {text.offset}.\n"
    assert [(done.returncode, done.stdout, done.stderr.decode()) for done in said] == [
        (0, b"", sentence)
    ] * 2
    assert text.is_closed


def test_delete_removes_the_stream(cli: CommandLine, text: Stream) -> None:
    done = cli("delete", text.name)
    assert (done.returncode, done.stderr.decode()) == (0, f"Deleted {text.url}.\n")
    assert cli("read", text.name).returncode == 3


@pytest.mark.parametrize(
    "arguments", [["append", "--data", "x"], ["close"], ["delete"], ["read"], ["tail"], ["head"]]
)
def test_commands_on_an_unknown_stream_exit_with_3_and_one_sentence(
    arguments: list[str], cli: CommandLine, server: Headgate
) -> None:
    done = cli(*arguments, "nowhere")
    assert (done.returncode, done.stdout) == (3, b"")
    said = done.stderr.decode()
    assert said.startswith(f"headgate: {server.streams}/nowhere: there is no ")
    advice = "; headgate create makes it" if "append" in arguments else ""
    assert said.endswith(f" (404 Not Found){advice}.\n")
    assert said.count("\n") == 1


# ---------------------------------------------------------------- the world outside


@pytest.mark.parametrize("arguments", [["create"], ["read"], ["tail"], ["append", "--data", "x"]])
def test_commands_without_a_server_exit_with_69_and_one_sentence(
    arguments: list[str], cli: CommandLine
) -> None:
    nobody = {"STREAM_URL": "http://me:secret@127.0.0.1:1/v1/stream"}
    done = cli(*arguments, "chat", environment=nobody)
    assert (done.returncode, done.stdout, done.stderr.decode()) == (
        69,
        b"",
        "headgate: http://127.0.0.1:1/v1/stream/chat: cannot connect: Connection refused.\n",
    )


def test_append_with_closed_stdin_prints_one_sentence(cli: CommandLine, text: Stream) -> None:
    done = subprocess.run(
        ["sh", "-c", f'exec "$0" append {text.name} <&-', cli.program],
        env=cli.environment,
        capture_output=True,
        check=False,
    )
    assert (done.returncode, done.stderr) == (1, b"headgate: stdin is closed.\n")


def test_ctrl_c_amid_many_lines_prints_exactly_the_number_stored(
    cli: CommandLine, text: Stream
) -> None:
    appending = cli.start("append", text.name, "--lines", stdin=subprocess.PIPE)
    assert appending.stdin is not None
    number = 0
    while not text.data:  # it has to start first, which takes its time on a busy machine
        appending.stdin.write(b"%d\n" % number)
        appending.stdin.flush()
        number += 1
    appending.send_signal(signal.SIGINT)
    assert appending.wait(20) == 130
    count = text.data.count(b"\n")
    said = f"Interrupted: {count} line{'s are' if count > 1 else ' is'} in the stream.\n"
    assert appending.communicate()[1].decode() == said


@pytest.mark.parametrize("arguments", [[], ["--producer", "p"]], ids=["batches", "producer"])
def test_ctrl_c_without_a_server_prints_that_0_lines_are_stored(
    arguments: list[str], cli: CommandLine
) -> None:
    nobody = {"STREAM_URL": "http://127.0.0.1:1/v1/stream"}
    appending = cli.start(
        "append", "s", "--lines", *arguments, stdin=subprocess.PIPE, environment=nobody
    )
    assert appending.stderr is not None
    assert b"; trying again in " in appending.stderr.readline()
    appending.send_signal(signal.SIGINT)
    assert appending.wait(20) == 130
    said = appending.communicate()[1].splitlines()
    assert said[-1] == b"Interrupted: 0 lines are in the stream."


INTERRUPTED_PROGRAM = """
import os, signal, sys

class Interrupting:
    def find_spec(self, name, path=None, target=None):
        if name == sys.argv[-1]:
            os.kill(os.getpid(), signal.SIGINT)

sys.meta_path.insert(0, Interrupting())
from headgate_gateway.entry import main
main()
"""


@pytest.mark.parametrize("module", ["click", "headgate_gateway.commands.stream.append_lines"])
def test_ctrl_c_while_modules_load_prints_interrupted_and_exits_with_130(
    module: str, cli: CommandLine
) -> None:
    program = [sys.executable, "-c", INTERRUPTED_PROGRAM, "append", "--lines", module]
    done = subprocess.run(program, env=cli.environment, capture_output=True, check=False)
    assert (done.returncode, done.stdout, done.stderr) == (130, b"", b"Interrupted.\n")
