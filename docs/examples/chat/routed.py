"""The model behind a model route, which gives the same answer again by the same key."""

import asyncio
import os
from collections.abc import AsyncIterator
from contextlib import suppress

import openai

from headgate import StreamError
from headgate.chats import Chats

LOOK_AGAIN_S = 1.0


class RoutedModel:
    """OpenAI's SDK with the base URL of a model route, and the answers that go on by it."""

    def __init__(self, base_url: str, chats: Chats) -> None:
        key = os.environ.get("OPENAI_API_KEY", "simulated")
        self._client = openai.AsyncOpenAI(base_url=base_url, api_key=key)
        self._chats = chats
        self._watched: dict[str, asyncio.Task[None]] = {}  # by the ids of the chats

    async def answer(self, question: str, run: str, written: str = "") -> AsyncIterator[str]:
        """Yield the answer behind the text that is written already: its key is that of the run."""
        skipped = len(written)
        async with await self._client.chat.completions.create(
            model="simulated",
            messages=[{"role": "user", "content": question}],
            stream=True,
            extra_headers={"Idempotency-Key": run},
        ) as chunks:
            async for chunk in chunks:
                text = chunk.choices[0].delta.content or ""
                if text[skipped:]:
                    yield text[skipped:]
                skipped = max(0, skipped - len(text))

    def watch(self, chat: str) -> None:
        """Go on with the newest answer of this chat when the process that writes it is gone."""
        if chat not in self._watched:
            task = self._watched[chat] = asyncio.create_task(self._go_on(chat))
            task.add_done_callback(lambda _: self._watched.pop(chat))

    async def _go_on(self, chat: str) -> None:
        with suppress(StreamError):  # the next request of a page watches again
            while state := await self._chats.state(chat):
                if state.status == "orphaned":
                    await self._take_over(chat, state.run_id)
                elif state.status != "active":
                    break
                await asyncio.sleep(LOOK_AGAIN_S)

    async def _take_over(self, chat: str, run: str) -> None:
        parts = (await self._chats.history(chat)).messages[-1]["parts"]
        question = "".join(part.get("text", "") for part in parts)
        await self._chats.runs.take_over(
            run, lambda written: self.answer(question, run, written.text), format="ai-sdk"
        )

    async def close(self) -> None:
        """Leave the answers that were taken over to the next process."""
        watching = list(self._watched.values())
        for task in watching:
            task.cancel()
        await asyncio.gather(*watching, return_exceptions=True)
        await self._client.close()
