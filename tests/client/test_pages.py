"""What the pages of the library show, run as it stands there."""

from __future__ import annotations

import inspect
import os
import re
import subprocess
import sys

import pytest
from headgate.streams.client import Client
from headgate.streams.stream import Stream

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
    ("number", "printed"),
    [
        pytest.param(0, "{'id': 1} 0000000000000000_0000000000000008\n", id="json"),
        pytest.param(1, "Once upon a time ☕ \n", id="text"),
    ],
)
def test_the_documented_stream_programs_read_what_they_write(number: int, printed: str) -> None:
    page = (ROOT / "docs/client/streams.md").read_text()
    program = page.split("```python\n")[number + 1].split("```")[0]
    with headgate_server() as server:
        done = subprocess.run(
            [
                *(sys.executable, "-X", "utf8", "-c"),
                program.replace("http://127.0.0.1:4437", server.url),
            ],
            check=True,
            capture_output=True,
            env={**os.environ, "STREAM_URL": server.streams},
            timeout=30,
        )
    assert done.stdout.decode() == printed


@pytest.mark.parametrize(
    ("owner", "name"),
    [
        *((Client, name) for name in ("stream", "create", "open")),
        *((Stream, name) for name in ("append", "append_many", "read", "follow", "tail")),
        *((Stream, name) for name in ("follow_bytes", "head", "close", "delete")),
    ],
)
def test_the_page_on_streams_shows_the_parameters_and_defaults_of_each_method(
    owner: type, name: str
) -> None:
    page = (ROOT / "docs/client/streams.md").read_text()
    of = r"hg\." if owner is Client else ""
    (told,) = re.findall(rf"^\| `(?:await )?{of}{name}\((.*?)\)`", page, re.MULTILINE)
    signature = inspect.signature(getattr(owner, name))
    parameters = [
        each.replace(annotation=each.empty) for each in list(signature.parameters.values())[1:]
    ]
    shown = signature.replace(parameters=parameters, return_annotation=signature.empty)
    assert f"({told})" == str(shown).replace("'", '"')
