"""What the pages of the library show, run as it stands there."""

from __future__ import annotations

import inspect
import os
import re
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest

from headgate import StreamWriter
from headgate.streams.client import Client
from headgate.streams.stream import Stream
from tests.client.printed_programs import PROGRAM
from tests.client.writing import is_closed, messages
from tests.support.processes import ROOT
from tests.support.processes import headgate as headgate_server

if TYPE_CHECKING:
    from pathlib import Path

    from tests.support.processes import Headgate


def programs(page: str) -> list[str]:
    """Return the Python programs of a page of the library."""
    return PROGRAM.findall((ROOT / f"docs/client/{page}.md").read_text())


def printed_by(program: str, server: Headgate) -> str:
    """Return what a program of a page prints when it uses this server."""
    program = program.replace("http://127.0.0.1:4437", server.url)
    done = subprocess.run(
        [sys.executable, "-X", "utf8", "-c", program],
        check=True,
        capture_output=True,
        env={**os.environ, "STREAM_URL": server.streams},
        timeout=30,
    )
    return done.stdout.decode()


@pytest.mark.usefixtures("processes")
async def test_the_documented_writer_program_writes_its_story_and_closes_the_stream() -> None:
    (program,) = programs("writer")
    with headgate_server() as server:
        for _ in range(2):
            url = f"{server.streams}/{printed_by(program, server).strip()}"
            assert await messages(url) == ["Once ", "upon ", "a ", "time"]
            assert await is_closed(url)


@pytest.mark.usefixtures("processes")
@pytest.mark.parametrize(
    ("page", "number", "printed"),
    [
        ("streams", 0, "{'id': 1} 0000000000000000_0000000000000008\n"),
        ("streams", 1, "Once upon a time ☕ \n"),
        ("runs", 0, "upon a time\n"),
        ("work-that-goes-on", 0, "RunState(status='finished', error=None)\n"),
    ],
    ids=["json", "text", "run", "steps"],
)
def test_the_documented_programs_print_what_they_have_written(
    page: str, number: int, printed: str
) -> None:
    program = programs(page)[number]
    with headgate_server() as server:
        assert printed_by(program, server) == printed


@pytest.mark.usefixtures("processes")
@pytest.mark.parametrize(
    ("page", "number", "last_line"),
    [
        ("streams", 0, "{'id': 1} 0000000000000000_0000000000000016\n"),
        ("streams", 1, "Once upon a time ☕ \n"),
        ("runs", 0, "upon a time\n"),
        ("work-that-goes-on", 0, "RunState(status='finished', error=None)\n"),
    ],
    ids=["json", "text", "run", "steps"],
)
def test_the_documented_programs_can_be_run_a_second_time(
    page: str, number: int, last_line: str
) -> None:
    program = programs(page)[number]
    with headgate_server() as server:
        printed_by(program, server)
        assert printed_by(program, server).splitlines(keepends=True)[-1] == last_line


@pytest.mark.parametrize(
    ("owner", "name"),
    [
        *((Client, name) for name in ("stream", "create", "open", "job")),
        *((Stream, name) for name in ("append", "append_many", "read", "follow", "tail")),
        *((Stream, name) for name in ("follow_bytes", "head", "close", "delete")),
    ],
)
def test_the_page_on_streams_shows_the_parameters_and_defaults_of_each_method(
    owner: type, name: str
) -> None:
    page = (ROOT / "docs/client/streams.md").read_text()
    of = r"hg\." if owner is Client else ""
    (printed,) = re.findall(rf"^\| `(?:await )?{of}{name}\((.*?)\)`", page, re.MULTILINE)
    signature = inspect.signature(getattr(owner, name))
    parameters = [
        each.replace(annotation=each.empty) for each in list(signature.parameters.values())[1:]
    ]
    shown = signature.replace(parameters=parameters, return_annotation=signature.empty)
    assert f"({printed})" == str(shown).replace("'", '"')


def test_the_page_on_streams_shows_the_parameters_and_defaults_of_the_client() -> None:
    page = (ROOT / "docs/client/streams.md").read_text()
    (printed,) = re.findall(r"^`Client(\(.*\))`$", page, re.MULTILINE)
    signature = inspect.signature(Client)
    parameters = [each.replace(annotation=each.empty) for each in signature.parameters.values()]
    assert printed == str(signature.replace(parameters=parameters, return_annotation=None))[:-8]
    for name in signature.parameters:
        assert f"\n| `{name}` | " in page


def test_the_page_on_streams_says_when_append_returns_none() -> None:
    page = (ROOT / "docs/client/streams.md").read_text()
    (row,) = re.findall(r"^\| `await append\(message\)` .*$", page, re.MULTILINE)
    assert "`None` if an earlier response with it was lost" in row


def test_the_readme_of_the_npm_package_begins_with_following_a_stream() -> None:
    readme = (ROOT / "client/js/README.md").read_text()
    assert re.findall(r"^import \{ (\w+) \} from", readme, re.MULTILINE)[:2] == [
        "followStream",
        "followRun",
    ]


def test_the_page_on_the_writer_has_the_default_of_each_limit() -> None:
    page = (ROOT / "docs/client/writer.md").read_text()
    units = {"KiB": 1 << 10, "MiB": 1 << 20}
    shown: dict[str, float] = {}
    for names, values in re.findall(r"^\| (`[a-z_`, ]+`) \| (\d.*?) \|", page, re.MULTILINE):
        for name, value in zip(names.split(", "), values.split(", "), strict=True):
            number, _, unit = value.replace(",", "").partition(" ")
            shown[name.strip("`")] = float(number) * units.get(unit, 1)
    parameters = inspect.signature(StreamWriter).parameters
    limits = {"flush_interval", "max_batch_bytes", "max_batch_chunks", "max_buffer_bytes"}
    assert shown.keys() == {*limits, "retry_for"}
    assert shown == {name: parameters[name].default for name in shown}


AGAIN = """

app = make_app(SHARED)


@pytest.mark.parametrize("turn", [1, 2])
def test_an_application_in_a_module_opens_for_each_client(turn):
    with TestClient(app) as client:
        assert client.post("/ask?question=why").text == "You asked: why"
"""


@pytest.mark.usefixtures("processes")
@pytest.mark.timeout(180)  # it imports everything in a process of its own
def test_the_fixture_on_the_page_about_testing_serves_its_test(tmp_path: Path) -> None:
    conftest, application = programs("testing")
    shared = "from headgate_gateway.process.in_thread import serving\nSERVING = serving()\n"
    shared += 'SHARED = f"http://{SERVING.__enter__().listen}/v1/stream"\nimport uuid, pytest\n'
    (tmp_path / "conftest.py").write_text(conftest)
    (tmp_path / "test_app.py").write_text(shared + application + AGAIN)
    played = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "-p", "no:randomly", "."],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert "3 passed" in played.stdout, played.stdout + played.stderr
