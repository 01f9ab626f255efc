"""The official Yjs server and clients: documents that were compacted open, with every log."""

from __future__ import annotations

import contextlib
import json
import subprocess
from typing import TYPE_CHECKING

import pytest

from tests.support.examples import cases
from tests.support.origin_servers import reference
from tests.support.processes import NODE, ROOT, headgate
from tests.support.redis_servers import redis_server

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

SCRIPT = ROOT / "tests" / "node" / "yjs.mjs"
TIMEOUT_S = 90
KINDS = ("memory", "file", "redis", "reference", "headgate")


@contextlib.contextmanager
def served(kind: str, folder: Path) -> Iterator[str]:
    """The URL of a gateway to a kind of log."""
    with contextlib.ExitStack() as stack:
        origin = {"memory": "memory:", "file": f"file:{folder}"}.get(kind)
        if kind == "redis":
            origin = f"redis://127.0.0.1:{stack.enter_context(redis_server(folder)).port}"
        elif kind == "reference":
            origin = stack.enter_context(reference()).url
        elif kind == "headgate":
            origin = stack.enter_context(headgate()).url
        assert origin is not None
        yield stack.enter_context(headgate(origin)).url


@pytest.mark.usefixtures("processes")
@pytest.mark.timeout(TIMEOUT_S + 30)
@pytest.mark.parametrize("kind", cases(KINDS, {"file", "reference"}, "a file, and an origin"))
def test_a_yjs_document_opens_after_compaction_on_every_log(kind: str, tmp_path: Path) -> None:
    with served(kind, tmp_path) as url:
        run = subprocess.run(
            [NODE, SCRIPT, url.removesuffix("/v1/stream")],
            capture_output=True,
            text=True,
            timeout=TIMEOUT_S,
            check=False,
        )
    assert run.returncode == 0, run.stderr[-4000:]
    report = json.loads(run.stdout)
    assert report["opened"] == [True, True]
    assert report["snapshot"].endswith("_snapshot")
