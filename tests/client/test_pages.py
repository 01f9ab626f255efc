"""What the pages of the library show, run as it stands there."""

from __future__ import annotations

import re
import subprocess
import sys

from tests.client.writing import is_closed, messages
from tests.support.processes import ROOT
from tests.support.processes import headgate as headgate_server


async def test_the_page_of_the_writer_writes_a_story() -> None:
    page = (ROOT / "docs/client/writer.md").read_text()
    (program,) = re.findall(r"```python\n(.*?)```", page, re.DOTALL)
    with headgate_server() as server:
        program = program.replace("http://127.0.0.1:4437", server.url)
        subprocess.run([sys.executable, "-c", program], check=True, timeout=30)
        url = f"{server.streams}/story"
        assert await messages(url) == ["Once ", "upon ", "a ", "time"]
        assert await is_closed(url)
