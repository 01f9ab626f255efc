"""The programs of docs/resumable-in-one-line.md, as they stand there, killed and started again."""

from __future__ import annotations

import asyncio
import contextlib
import os
import re
import sys
from typing import TYPE_CHECKING

import pytest

from tests.models.answers import WORDS
from tests.models.provider import TOOLS, providing
from tests.support.processes import ROOT, Headgate

if TYPE_CHECKING:
    from asyncio.subprocess import Process
    from collections.abc import AsyncIterator, Iterator, Sequence
    from pathlib import Path

    from tests.models.provider import Provider

PAGE = (ROOT / "docs/resumable-in-one-line.md").read_text()
PRINTED = "http://127.0.0.1:4437"  # as the page has it
NODE_FOLDER = ROOT / "tests/node"
STORY = "".join(WORDS)
URL = re.compile(rf"{PRINTED}/v1/stream/answers/\w+\n?")
PROGRAMS = (
    "OpenAI, in Python",
    "Anthropic, in Python",
    "LangChain, in Python",
    "OpenAI, in Node.js",
    "Anthropic, in Node.js",
    "LangChain, in Node.js",
    "AI SDK",
)
AGENTS = ("OpenAI Agents", "PydanticAI", "LangGraph", "AI SDK, with tools")
# Where a recipe for keys stands in the program of an agent, and what goes before it there.
OWN_KEYS = {
    "PydanticAI": ("openai_client=client))", ", "),
    "LangGraph": ('model.invoke(state["messages"]', ", "),
    "AI SDK, with tools": ("  tools: { weather },", "\n  "),
}
PREFIX = re.compile(r"^.*Headgate-Key-Prefix.*\n", re.MULTILINE)
MODEL = "gpt-5-mini"
# It is not installed for tests: it has 140 MB, and its newest release does not go with what is.
LITELLM = "LiteLLM"
BLOCK = re.compile(r"^```(\w+)\n(.*?)^```", re.DOTALL | re.MULTILINE)
PATIENCE_S = 50.0
# The first start on a busy machine compiles all modules of an SDK.
pytestmark = pytest.mark.timeout(120)


def block(title: str, number: int = 0) -> tuple[str, str]:
    """Return the language and the text of the block with this number behind a heading."""
    below = re.split(rf"^##+ {re.escape(title)}\n", PAGE, flags=re.MULTILINE)[1]
    language, text = list(BLOCK.findall(below))[number]
    return language, text


def command(language: str, program: str) -> Sequence[str]:
    if language == "python":
        return sys.executable, "-X", "utf8", "-u", "-c", program
    assert language == "js"
    node = f"{sys.prefix}/bin/node"
    return node, "--experimental-eventsource", "--no-warnings", "--input-type=module", "-e", program


@contextlib.contextmanager
def documented_gateway(provider: Provider, folder: Path) -> Iterator[Headgate]:
    """Start a gateway with the settings of the page, before the double of a provider."""
    _, settings = block("Start Headgate")
    settings = re.sub(r"https://api\.\w+\.com", provider.url, settings)
    config = folder / "headgate.toml"
    config.write_text(settings.replace("./headgate-data", str(folder / "data")))
    server = Headgate()
    server.arguments[server.arguments.index("--storage") :] = "--config", str(config)
    try:
        yield server.start()
    finally:
        server.close()


@contextlib.asynccontextmanager
async def running(language: str, program: str, gateway: Headgate) -> AsyncIterator[Process]:
    """Run a program of the page against a gateway, and kill it where it still runs."""
    environment = {
        **os.environ,
        "OPENAI_API_KEY": "sk-mine",
        "ANTHROPIC_API_KEY": "sk-mine",
        "OPENAI_AGENTS_DISABLE_TRACING": "1",
    }
    process = await asyncio.create_subprocess_exec(
        *command(language, program.replace(PRINTED, gateway.url)),
        stdout=asyncio.subprocess.PIPE,
        cwd=NODE_FOLDER,
        env=environment,
    )
    try:
        yield process
    finally:
        with contextlib.suppress(ProcessLookupError):
            process.kill()
        await process.wait()


async def read_to(words: str, process: Process) -> str:
    """Read what a program prints until it has printed these words."""
    assert process.stdout is not None
    printed = b""
    async with asyncio.timeout(PATIENCE_S):
        while words.encode() not in printed:
            part = await process.stdout.read(1000)
            assert part, printed
            printed += part
    return printed.decode()


async def output(process: Process) -> str:
    """Return all that a program prints; it must succeed."""
    async with asyncio.timeout(PATIENCE_S):
        printed, _ = await process.communicate()
    assert process.returncode == 0
    return printed.decode()


@pytest.mark.usefixtures("processes")
@pytest.mark.parametrize("title", PROGRAMS)
async def test_a_documented_program_that_is_killed_and_started_again_prints_the_whole_answer(
    title: str, tmp_path: Path
) -> None:
    language, program = block(title)
    assert PRINTED in program
    async with providing() as provider:
        provider.hold()
        with documented_gateway(provider, tmp_path) as gateway:
            async with running(language, program, gateway) as killed:
                provider.allow(8)
                await read_to(WORDS[0], killed)
            provider.allow()
            async with running(language, program, gateway) as again:
                printed = (await output(again)).replace(gateway.url, PRINTED)
        assert URL.sub("", printed) == STORY
        assert bool(URL.search(printed)) == ("stream-url" in program.lower())
        assert len(provider.requests) == 1
        assert provider.left == 0


@pytest.mark.usefixtures("processes")
@pytest.mark.parametrize("title", AGENTS)
async def test_a_documented_agent_that_is_started_again_calls_the_model_for_no_step_twice(
    title: str, tmp_path: Path
) -> None:
    await _run_twice(*block(title), tmp_path)


@pytest.mark.usefixtures("processes")
@pytest.mark.parametrize("title", OWN_KEYS)
async def test_a_documented_agent_that_sets_its_keys_itself_calls_the_model_for_no_step_twice(
    title: str, tmp_path: Path
) -> None:
    language, program = block(title)
    place, before = OWN_KEYS[title]
    found = re.search(rf"^ +\| {title} \| `(.*?)`[ :]", PAGE, re.MULTILINE)
    assert found is not None
    program, removed = PREFIX.subn("", program)
    assert (removed, program.count(place)) == (1, 1)
    after = "," if language == "js" else ""
    await _run_twice(language, program.replace(place, place + before + found[1] + after), tmp_path)


async def _run_twice(language: str, program: str, folder: Path) -> None:
    assert (PRINTED in program, MODEL in program) == (True, True)
    async with providing() as provider:
        with documented_gateway(provider, folder) as gateway:
            for _ in range(2):
                async with running(language, program.replace(MODEL, TOOLS), gateway) as agent:
                    assert (await output(agent)).strip() == STORY
    assert len(provider.requests) == 2


def test_the_program_of_a_library_that_is_not_installed_has_the_line_and_the_key() -> None:
    language, program = block(LITELLM)
    assert (language, f'api_base="{PRINTED}/openai/v1"' in program) == ("python", True)
    assert re.search(r'"Idempotency-Key": "chat-\d\d/3"', program)
    compile(program, LITELLM, "exec")


def test_every_program_of_the_page_is_run() -> None:
    changing, agents = (
        set(re.findall(r"^### (.*)$", PAGE.split(f"\n## {title}\n")[1].split("\n## ")[0], re.M))
        for title in ("Change the line", "Agents")
    )
    assert changing == {*PROGRAMS, LITELLM}
    assert agents == {*AGENTS, "Codex"}


@pytest.mark.usefixtures("processes")
@pytest.mark.parametrize("title", ["OpenAI", "Anthropic"])
async def test_the_documented_page_and_command_read_an_answer_at_its_stream_url(
    title: str, tmp_path: Path
) -> None:
    language, program = block(f"{title}, in Node.js")
    _, curl = block("Read it elsewhere")
    _, page = block("Read it elsewhere", 1)
    async with providing() as provider:
        with documented_gateway(provider, tmp_path) as gateway:
            async with running(language, program, gateway) as first:
                printed = (await output(first)).replace(gateway.url, PRINTED)
            found = URL.search(printed)
            assert found is not None
            url = found[0].strip()
            shown = f"const streamUrl = '{url}';\nconst show = (it) => process.stdout.write(it);\n"
            async with running("js", shown + page, gateway) as reading:
                assert await output(reading) == STORY
            terminal = await asyncio.create_subprocess_exec(
                *("bash", "-c", curl.replace("curl", "curl -s")),
                stdout=asyncio.subprocess.PIPE,
                env={**os.environ, "ANSWER_URL": url.replace(PRINTED, gateway.url)},
            )
            assert await output(terminal) == STORY
        assert len(provider.requests) == 1
