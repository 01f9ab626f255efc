"""Codex as it comes from npm, with the settings of docs/resumable-in-one-line.md."""

from __future__ import annotations

import asyncio
import os
from typing import TYPE_CHECKING

import pytest

from tests.models.provider import providing
from tests.models.test_resumable_page import PRINTED, STORY, block, documented_gateway
from tests.support.processes import NODE, ROOT

if TYPE_CHECKING:
    from pathlib import Path

CODEX = ROOT / "tests/codex/node_modules/.bin/codex"
PATIENCE_S = 50.0


@pytest.mark.usefixtures("processes")
@pytest.mark.parametrize("websockets", ["false", "true"])
async def test_codex_gets_its_answer_over_http(tmp_path: Path, websockets: str) -> None:
    _, settings = block("Codex")
    async with providing() as provider:
        with documented_gateway(provider, tmp_path) as gateway:
            found = settings.replace(PRINTED, gateway.url).replace("= false", f"= {websockets}")
            (tmp_path / "config.toml").write_text(found)
            process = await asyncio.create_subprocess_exec(
                *(NODE, CODEX, "exec", "--skip-git-repo-check", "-m", "gpt-5-mini", "Hello"),
                stdin=asyncio.subprocess.DEVNULL,
                stdout=asyncio.subprocess.PIPE,
                cwd=tmp_path,
                env={**os.environ, "CODEX_HOME": str(tmp_path), "OPENAI_API_KEY": "sk-mine"},
            )
            try:
                async with asyncio.timeout(PATIENCE_S):
                    said, _ = await process.communicate()
            finally:
                if process.returncode is None:
                    process.kill()
        assert said.decode().strip() == STORY
        assert [(it.method, it.path) for it in provider.requests] == [("POST", "/v1/responses")]
