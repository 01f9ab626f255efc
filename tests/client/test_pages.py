"""What the pages of the library show, run as it stands there."""

from __future__ import annotations

import inspect
import re
import subprocess
import sys

import pytest
from headgate.stream_requests import StreamRequests

from tests.client.writing import is_closed, messages
from tests.support.processes import ROOT
from tests.support.processes import headgate as headgate_server


@pytest.mark.usefixtures("processes")
async def test_the_documented_writer_program_writes_its_story_and_closes_the_stream() -> None:
    page = (ROOT / "docs/client/writer.md").read_text()
    (program,) = re.findall(r"```python\n(.*?)```", page, re.DOTALL)
    with headgate_server() as server:
        program = program.replace("http://127.0.0.1:4437", server.url)
        subprocess.run([sys.executable, "-c", program], check=True, timeout=30)
        url = f"{server.streams}/fable"
        assert await messages(url) == ["Once ", "upon ", "a ", "time"]
        assert await is_closed(url)


@pytest.mark.usefixtures("processes")
@pytest.mark.parametrize(
    ("heading", "printed"),
    [
        pytest.param("Text", "Once upon a time ☕ \n", id="text"),
        pytest.param("JSON", "0\n1\n2\n", id="json"),
    ],
)
def test_the_documented_stream_programs_read_what_they_write(heading: str, printed: str) -> None:
    page = (ROOT / "docs/client/streams.md").read_text().split(f"## {heading}\n")[1]
    program = page.split("```python\n")[1].split("```")[0]
    with headgate_server() as server:
        program = program.replace("http://127.0.0.1:4437", server.url)
        done = subprocess.run(
            [sys.executable, "-X", "utf8", "-c", program],
            check=True,
            capture_output=True,
            timeout=30,
        )
    assert done.stdout.decode() == printed


@pytest.mark.parametrize(
    "name", ["create", "append", "close", "head", "find", "delete", "catch_up", "follow"]
)
def test_the_page_on_streams_shows_the_parameters_and_defaults_of_each_method(name: str) -> None:
    page = (ROOT / "docs/client/streams.md").read_text()
    (told,) = re.findall(rf"^\| `(?:await )?{name}\((.*?)\)`", page, re.MULTILINE)
    parameters = list(inspect.signature(getattr(StreamRequests, name)).parameters.values())[1:]
    bare = [
        each.replace(annotation=each.empty, kind=each.POSITIONAL_OR_KEYWORD) for each in parameters
    ]
    assert told == ", ".join(map(str, bare)).replace("'", '"')
