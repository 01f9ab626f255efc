"""UI messages of the same recorded bytes: as the AI SDK makes them, and as a page reads a run.

A server replays what a provider sent. The provider's own Python SDK reads it, its events go through
a run of the format `ai-sdk`, and a page of the AI SDK reads that; and the AI SDK's own package for
the provider reads it. Nobody but these packages says what the message is.
"""

from __future__ import annotations

import asyncio
import dataclasses
import json
from collections import Counter
from typing import TYPE_CHECKING, Any

import anthropic
import openai
from aiohttp import web

from headgate.chats.ui_messages import read_message
from headgate.runs import Runs
from headgate.web.aiohttp import send
from tests.client.runs import frameworks
from tests.client.runs.serving import aiohttp_of
from tests.support.processes import NODE, ROOT

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Sequence

    from tests.client.runs.recordings import Case

PROGRAM = ROOT / "tests" / "node" / "ui_messages.mjs"
PATIENCE_S = 150.0
CHAT = {"model": "gpt-5", "messages": [{"role": "user", "content": "Tell."}]}
# How an API is asked by the SDK of its provider.
APIS: dict[str, tuple[Callable[[Any], Any], dict[str, Any]]] = {
    "openai-chat": (lambda client: client.chat.completions, CHAT),
    "openai-compatible": (lambda client: client.chat.completions, CHAT),
    "openai-responses": (lambda client: client.responses, {"model": "gpt-5", "input": "Tell."}),
    "anthropic": (lambda client: client.messages, {**CHAT, "max_tokens": 1024}),
}


class _Provider:
    """Replays the cases, and answers with the runs of them."""

    def __init__(self, cases: Sequence[Case], runs: Runs) -> None:
        self._cases = {case.name: case for case in cases}
        self._runs = runs
        # One of each, since each loads all certificates of the system.
        self.openai = openai.AsyncOpenAI(api_key="none", max_retries=0)
        self.anthropic = anthropic.AsyncAnthropic(api_key="none", max_retries=0)
        self._calls: Counter[str] = Counter()
        self.app = web.Application()
        self.app.router.add_post("/runs/{name}", self._run)
        self.app.router.add_post("/{reader}/{name}/{path:.*}", self._replay)

    async def _replay(self, request: web.Request) -> web.Response:
        reader, name = request.match_info["reader"], request.match_info["name"]
        body = self._cases[name].bodies[self._calls[f"{reader}/{name}"]]
        self._calls[f"{reader}/{name}"] += 1
        return web.Response(body=body, content_type="text/event-stream")

    async def _run(self, request: web.Request) -> web.StreamResponse:
        name = request.match_info["name"]
        case, url = self._cases[name], f"{request.url.origin()}/sdk/{name}"
        if case.framework:
            client = self.openai.with_options(base_url=f"{url}/v1")
            source = frameworks.answering(case, client)
        elif case.is_helped and len(case.bodies) == 1:
            source = self._helper(case, url)  # a context manager
        else:
            source = self._events(case, url)
        return send(await self._runs.start(name, source, format="ai-sdk"))

    async def _events(self, case: Case, url: str) -> AsyncIterator[object]:
        """The events of each answer, and what the tools gave that the model has asked for."""
        for event in case.events:
            yield event
        for body in case.bodies:
            async for event in self._asked(case, url):
                yield event
            for call_id, output in case.outputs.items():
                if call_id.encode() in body:
                    chunk = {"type": "tool-output-available", "toolCallId": call_id}
                    yield {**chunk, "output": output}

    async def _asked(self, case: Case, url: str) -> AsyncIterator[object]:
        """The events of one answer, as the SDK gives them."""
        if not case.is_helped:
            requests, about = self._requests(case, url)
            async for event in await requests.create(stream=True, **about):
                yield event
            return
        async with self._helper(case, url) as events:
            async for event in events:
                yield event

    def _helper(self, case: Case, url: str) -> Any:
        """The SDK's helper for one answer."""
        requests, about = self._requests(case, url)
        return requests.stream(**about)

    def _requests(self, case: Case, url: str) -> tuple[Any, dict[str, Any]]:
        own: Any = self.anthropic.with_options(base_url=url)
        client = own if case.api == "anthropic" else self.openai.with_options(base_url=f"{url}/v1")
        of, about = APIS[case.api]
        return of(client), about


async def made(cases: Sequence[Case], streams: str) -> dict[str, Any]:
    """Return what is made of each case: `judged` and `run` by the program, `assembled` here."""
    async with Runs(streams) as runs:
        provider = _Provider(cases, runs)
        async with provider.openai, provider.anthropic, aiohttp_of(provider.app) as url:
            made = await _program(url, cases)
        for case in cases:
            items = runs._place(case.name).items
            made[case.name]["assembled"] = await read_message(items, case.name)
        return made


async def _program(url: str, cases: Sequence[Case]) -> dict[str, Any]:
    pipe = asyncio.subprocess.PIPE
    process = await asyncio.create_subprocess_exec(
        NODE, PROGRAM, url, stdin=pipe, stdout=pipe, stderr=pipe
    )
    described = [case.described() for case in cases]
    given = json.dumps(described, default=dataclasses.asdict).encode()
    try:
        out, errors = await asyncio.wait_for(process.communicate(given), PATIENCE_S)
    finally:
        if process.returncode is None:
            process.kill()
    assert process.returncode == 0, errors.decode()
    made: dict[str, Any] = json.loads(out)
    return made


def comparable(made: dict[str, Any], name: str) -> dict[str, Any]:
    """Return a message without the ids that whoever makes it gives."""
    message = made["message"]
    # The provider's own tools are passed on as the provider has them, and sources with its words.
    parts = [_comparable(part) for part in message["parts"] if not part.get("providerExecuted")]
    if "-by-" in name:  # each framework has its own words for what it needs again
        parts = [
            {key: value for key, value in part.items() if not key.lower().endswith("metadata")}
            for part in parts
        ]
        message = {**message, "metadata": {"usage": _counted(message["metadata"]["usage"])}}
    if name.startswith("langchain--"):
        # The AI SDK makes no step of the messages of a model alone, so that a page whose tools the
        # model calls would ask again for ever.
        parts = [part for part in parts if part["type"] != "step-start"]
    return {**made, "message": {**message, "id": "", "parts": parts}}


def _counted(usage: dict[str, Any]) -> dict[str, Any]:
    """Return tokens without those of which the provider says nothing, and a framework counts 0."""
    details = usage["inputTokenDetails"]
    assert details.get("cacheWriteTokens", 0) == 0
    kept = {name: count for name, count in details.items() if name != "cacheWriteTokens"}
    return {**usage, "inputTokenDetails": kept}


def _comparable(part: dict[str, Any]) -> dict[str, Any]:
    own = {"id", "sourceId"}
    # The AI SDK repeats the id of the call at the output of a tool that it has called itself.
    own |= {"resultProviderMetadata"}
    if part["type"].startswith("source-"):
        own |= {"providerMetadata"}
    part.get("providerMetadata", {}).get("openai", {}).pop("annotations", None)
    return {key: value for key, value in part.items() if key not in own}
