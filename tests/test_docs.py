"""The documents say what is so: their commands are run, their tables and limits compared."""

from __future__ import annotations

import json
import os
import queue
import re
import subprocess
import sys
import threading
import time
from typing import TYPE_CHECKING, NamedTuple

import pytest

from gateway.errors import SequenceGap
from gateway.protocol import appends, cache_headers, cursors, lifecycle, responses
from gateway.protocol.http import paths
from gateway.protocol.streams import chunks
from gateway.running_servers import running_servers
from gateway.settings import Settings, load
from gateway.settings.reading.units import MINUTE_S
from tests.support.processes import Headgate
from tests.support.serving import get, put, serving
from tests.support.waiting import wait_until
from tests.test_architecture import ROOT, layers, sources

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path
    from types import TracebackType
    from typing import Self

README = (ROOT / "README.md").read_text()
DOCUMENTS = sorted(path for path in sources(".") if path.suffix == ".md")
PATIENCE_S = 20.0
PRINTED_ADDRESS = "127.0.0.1:4437"


def document(name: str) -> str:
    return (ROOT / "docs" / name).read_text()


def section(text: str, title: str) -> str:
    """What stands under a heading of the second level."""
    return text.split(f"## {title}\n", 1)[1].split("\n## ", 1)[0]


def rows(text: str) -> list[list[str]]:
    """The cells of a table's rows, without its heading."""
    lines = [line for line in text.splitlines() if line.startswith("| ")]
    cells = [[cell.strip() for cell in line.strip("|").split(" | ")] for line in lines]
    return [row for row in cells[1:] if not set(row[0]) <= {"-"}]


def quoted(text: str) -> list[str]:
    """What stands between backticks."""
    return re.findall(r"`([^`\n]+)`", re.sub(r"```.*?```", "", text, flags=re.DOTALL))


# ---------------------------------------------------------------- sessions


class Step(NamedTuple):
    """A command, the lines that are printed under it, and the terminal it is typed in."""

    command: str
    printed: list[str]
    terminal: str


def sessions(text: str) -> list[list[Step]]:
    """The console blocks of a document."""
    found = []
    for block in re.findall(r"```console\n(.*?)```", text, re.DOTALL):
        steps: list[Step] = []
        for line in block.splitlines():
            typed = re.match(r"(\w*)\$ (.*)", line)
            if typed is not None:
                steps.append(Step(typed[2], [], typed[1]))
            elif line and not line.lstrip().startswith("#"):  # a comment that goes on
                steps[-1].printed.append(line)
        found.append(steps)
    return found


class Terminal:
    """A bash, and what it has printed so far."""

    def __init__(self, folder: Path, environment: dict[str, str]) -> None:
        self._bash = subprocess.Popen(
            ["bash", "--noprofile", "--norc"],
            cwd=folder,
            env=environment,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            process_group=0,
        )
        self._arrived: queue.Queue[bytes] = queue.Queue()
        self._thread = threading.Thread(target=self._receive, daemon=True)
        self._thread.start()
        self.printed = ""

    def _receive(self) -> None:
        assert self._bash.stdout is not None
        while part := self._bash.stdout.read1():  # type: ignore[attr-defined] # a BufferedReader
            self._arrived.put(part)

    def begin(self, command: str) -> None:
        """Type a command."""
        assert self._bash.stdin is not None
        self._bash.stdin.write(f"{command}\n".encode())
        self._bash.stdin.flush()

    def run(self, command: str) -> tuple[int, str]:
        """Type a command, and wait for its exit status and output."""
        self.printed = ""
        self.begin(command)
        self.begin(r"printf '\0%d\0' $?")
        self.until(r"\0\d+\0")
        output, status, _ = self.printed.split("\0")
        return int(status), output

    def until(self, pattern: str) -> str:
        """What is printed, as soon as it has this in it."""
        deadline = time.monotonic() + PATIENCE_S
        while re.search(pattern, self.printed) is None:
            try:
                part = self._arrived.get(timeout=max(0.0, deadline - time.monotonic()))
            except queue.Empty:
                raise AssertionError(f"no {pattern!r} in {self.printed!r}") from None
            self.printed += part.decode()
        return self.printed

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        os.killpg(self._bash.pid, 9)  # whatever still runs in it goes too
        self._bash.wait()
        self._thread.join()
        for pipe in (self._bash.stdin, self._bash.stdout):
            assert pipe is not None
            pipe.close()


class Desk:
    """A server, and two terminals in a folder like a clone of ours."""

    def __init__(self, folder: Path) -> None:
        (folder / ".venv").symlink_to(sys.prefix)
        # No STREAM_URL: the commands find the server by themselves.
        self._found = {"XDG_RUNTIME_DIR": str(folder), "XDG_CONFIG_HOME": os.devnull}
        self.server = Headgate(f"file:{folder / 'headgate-data'}", environment=self._found)
        inherited = {name: it for name, it in os.environ.items() if name != "STREAM_URL"}
        environment = inherited | self._found
        self.first = Terminal(folder, environment)
        self.second = Terminal(folder, environment)

    def spelled(self, command: str) -> str:
        """The command with the address of this server for that of the document."""
        return command.replace(PRINTED_ADDRESS, self.server.url.removeprefix("http://"))

    def play(self, step: Step) -> None:
        """Do what a step of the README says, and compare what it prints."""
        if step.command.startswith("make run"):
            self.server.start()
            wait_until(lambda: len(running_servers(self._found)) == 1, "commands find it")
        elif step.terminal == "reader":
            self.second.begin(self.spelled(step.command))
            self.second.until(re.escape("\n".join(step.printed)))
        else:
            status, output = self.first.run(self.spelled(step.command))
            assert (step.command, status) == (step.command, 0)
            if step.command.startswith("kill -9"):
                self.server.kill()  # it is dead: this only waits for it
            shown = [line.rstrip() for line in output.splitlines()]
            assert shown == [line.rstrip() for line in step.printed]


@pytest.fixture
def desk(processes: None, tmp_path: Path) -> Iterator[Desk]:
    made = Desk(tmp_path)
    try:
        with made.first, made.second:
            yield made
    finally:
        made.server.close()


@pytest.mark.usefixtures("processes")
@pytest.mark.timeout(120)
def test_the_first_session_of_the_readme_runs_as_printed(desk: Desk) -> None:
    """The server is killed in it, and the tail goes on where it was."""
    steps = sessions(README)[0]
    beginnings = " ".join(step.command.split()[0] for step in steps)
    assert beginnings == (
        "make export headgate headgate export headgate kill make headgate headgate headgate"
        " headgate"
    )
    for step in steps:
        desk.play(step)
    told = "Once upon a time there was a log. It kept growing."
    assert desk.second.until(r"growing\.") == told


@pytest.mark.usefixtures("processes")
@pytest.mark.timeout(120)
def test_the_http_session_of_the_readme_gives_the_documented_responses(desk: Desk) -> None:
    desk.server.start()
    steps = sessions(README)[1]
    answers = []
    for step in steps[:-1]:
        status, output = desk.first.run(desk.spelled(step.command))
        assert (step.command, status) == (step.command, 0)
        answers.append(output)
    assert [answer.split("\r\n")[0] for answer in answers] == [
        "",
        "HTTP/1.1 201 Created",
        "HTTP/1.1 204 No Content",
        "HTTP/1.1 200 OK",
    ]
    head, _, body = answers[-1].partition("\r\n\r\n")
    assert json.loads(body) == [{"token": "Hello"}]
    following = re.search(r"Stream-Next-Offset: (\S+)", head)
    assert following is not None
    desk.first.printed = ""
    desk.first.begin(steps[-1].command)
    shown = desk.first.until(r'"upToDate":true}\n\n')
    assert shown.startswith('event: data\ndata:[{"token": "Hello"}]\n\nid:')
    assert f'"streamNextOffset":"{following[1]}"' in shown


def test_the_settings_of_the_readme_are_valid(tmp_path: Path) -> None:
    blocks = re.findall(r"```toml\n(.*?)```", README, re.DOTALL)
    assert len(blocks) == 2
    for block in blocks:
        config = tmp_path / "headgate.toml"
        config.write_text(block)
        settings = load(config, {}, {})
        assert [route.origin for route in settings.route_table] == ["file:/var/lib/headgate"]


# ---------------------------------------------------------------- docs/http.md


def test_the_table_of_errors_lists_exactly_the_codes_with_their_statuses() -> None:
    told = {
        (int(status), code)
        for status, codes, _ in rows(section(document("http.md"), "Errors"))
        for code in quoted(codes)
    }
    known = {(status, kind.code) for kind, status in responses.STATUS.items()}
    unexpected = responses.internal_error("id")
    known.add((unexpected.status, json.loads(unexpected.body)["code"]))
    assert told == known


def test_the_problem_shown_in_the_document_is_equal_to_the_response() -> None:
    (shown,) = re.findall(r"```json\n(.*?)```", document("http.md"), re.DOTALL)
    assert json.loads(shown) == json.loads(responses.problem(SequenceGap(5, 7), 1).body)


KIB, MIB = 1 << 10, 1 << 20
FRESHNESS = cache_headers.Freshness()


@pytest.mark.parametrize(
    ("sentence", "number", "known"),
    [
        (r"paths over ([\d,]+) bytes", 1, paths.MAX_PATH_BYTES),
        (r"next multiple of (\d+) KiB", KIB, chunks.CHUNK_BYTES),
        (r"`max_append` bytes \((\d+) MiB\)", MIB, Settings().max_append),
        (r"at most ([\d,]+) producers", 1, appends.MAX_PRODUCERS),
        (r"unused for a (week)", 7 * 24 * 3600, appends.PRODUCER_IDLE_S),
        (r"fork chain may be (\d+) deep", 1, lifecycle.MAX_FORK_DEPTH),
        (r"of this stream \| `public, max-age=(\d+)", 1, FRESHNESS.chunk_max_age),
        (r"else `max-age=(\d+)`", 1, MINUTE_S),
        (r"first whole chunk \| `no-cache, s-maxage=(\d+)`", 1, FRESHNESS.closed_max_age),
        (r"next two rows \| `no-cache, s-maxage=(\d+)`", 1, FRESHNESS.tail_max_age),
        (r"stale-while-revalidate=(\d+)`", 1, FRESHNESS.stale_while_revalidate),
        (r"has not passed \| `public, max-age=(\d+)`", 1, cursors.INTERVAL_S),
        (r"`Retry-After` is 1 to (\d+) s", 1, responses.RETRY_AFTER_S[-1]),
        (r"Cursors count (\d+) s intervals", 1, cursors.INTERVAL_S),
    ],
)
def test_the_limits_named_in_the_http_document_are_those_of_the_code(
    sentence: str, number: int, known: float
) -> None:
    text = " ".join(document("http.md").split())
    (told,) = re.findall(sentence, text)
    assert number * int(told.replace(",", "") if told[0].isdigit() else 1) == known


async def test_a_header_value_longer_than_the_documented_limit_is_refused_with_431() -> None:
    (told,) = re.findall(r"value over ([\d,]+) bytes", document("http.md"))
    most = int(told.replace(",", ""))
    async with serving() as gateway:
        await gateway.ask(put("s", body=b"one"))
        answers = [
            await gateway.ask(get("s?offset=-1", f"Extra: {'x' * size}"))
            for size in (most - 1, most, most + 1)
        ]
        assert [answer.status for answer in answers] == [200, 200, 431]


async def test_more_header_lines_than_the_documented_limit_are_refused_with_431() -> None:
    (told,) = re.findall(r"more than (\d+) lines", document("http.md"))
    most = int(told)
    async with serving() as gateway:
        await gateway.ask(put("s", body=b"one"))
        answers = [
            await gateway.ask(get("s?offset=-1", *["Extra: x"] * (lines - 1)))  # and Host
            for lines in (most - 1, most, most + 1)
        ]
        assert [answer.status for answer in answers] == [200, 200, 431]


@pytest.mark.parametrize(
    "asked",
    [
        get("s?offset=-1", "X-Request-Id: mine"),
        get("s?offset=now&live=long-poll", "X-Request-Id: mine"),
        get("s?offset=-1&live=sse", "X-Request-Id: mine"),
        get("none?offset=-1", "X-Request-Id: mine"),
    ],
    ids=["read", "long-poll", "sse", "error"],
)
async def test_a_response_has_the_request_id_of_its_request(asked: bytes) -> None:
    async with serving(long_poll_timeout=0.05) as gateway:
        await gateway.ask(put("s", body=b"one"))
        answer = await gateway.ask(asked)
        assert answer.get("X-Request-Id") == "mine"


@pytest.mark.parametrize(
    ("asked", "status"),
    [
        (get("none?offset=-1"), 404),
        (get("s?offset=x"), 400),
        (get("s?offset=-1", f"Extra: {'x' * 9000}"), 431),
        (b"no request\r\n\r\n", 400),
    ],
    ids=["not found", "bad", "too large", "not HTTP"],
)
async def test_every_error_response_has_a_request_id(asked: bytes, status: int) -> None:
    async with serving() as gateway:
        answer = await gateway.ask(asked)
        assert answer.status == status
        assert answer.get("X-Request-Id")


# ---------------------------------------------------------------- docs/troubleshooting.md


def test_events_metrics_and_codes_of_the_troubleshooting_page_are_those_of_the_reference() -> None:
    page, operating = document("troubleshooting.md"), set(quoted(document("operating.md")))
    named = {it for it in quoted(page) if re.fullmatch(r"(headgate|process)(_[a-z]+)+", it)}
    events = {it for it in quoted(page) if re.fullmatch(r"[a-z]+\.[a-z]+(_[a-z]+)+", it)}
    assert (len(named) > 20, len(events) > 20) == (True, True)
    assert (named | events) - operating == set()
    statuses = {kind.code: status for kind, status in responses.STATUS.items()}
    codes = re.findall(r"\b([45]\d\d) `([a-z_]+)`", page)
    assert len(codes) > 10
    assert [(status, code) for status, code in codes if statuses[code] != int(status)] == []


# ---------------------------------------------------------------- settings, links and names


@pytest.mark.parametrize("path", DOCUMENTS, ids=str)
def test_every_relative_link_in_a_document_has_a_target(path: Path) -> None:
    text = (ROOT / path).read_text()
    links = re.findall(r"\]\(([^)\s]+)\)", re.sub(r"```.*?```", "", text, flags=re.DOTALL))
    relative = {link.partition("#")[0] for link in links if "://" not in link} - {""}
    broken = [link for link in relative if not (ROOT / path.parent / link).exists()]
    assert broken == []


@pytest.mark.parametrize("path", DOCUMENTS, ids=str)
def test_every_file_named_in_a_document_exists(path: Path) -> None:
    named = {
        word
        for word in quoted((ROOT / path).read_text())
        if re.match(r"(benchmarks|campaigns|tests|gateway|docs|docker)/", word)
    }
    assert [word for word in named if not (ROOT / word).exists()] == []


def test_the_table_of_layers_lists_all_layers_from_top_to_bottom() -> None:
    table = rows(section(document("architecture.md"), "Layers"))
    named = [name for cells in table for name in quoted(cells[0])]
    all_layers = layers()
    assert set(all_layers) == set(named)
    order = [all_layers.index(name) for name in named]
    assert order == sorted(order)
