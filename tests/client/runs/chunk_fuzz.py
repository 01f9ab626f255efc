"""Random chunks of UI messages, as runs of chats: what is stored is what the AI SDK makes of them.

Each run ends or fails in the middle of anything, and where it has left calls of tools open, the
page answers them and the next run goes on with the message. The AI SDK reads what the runs have
sent, and the history of the chat has the message that it makes. A page that is loaded anew makes
it, too, of the run and the message that the run goes on with.
"""

from __future__ import annotations

import asyncio
import json
import random
from typing import TYPE_CHECKING, Any, NamedTuple

from headgate.chats import Chats
from headgate.chats.ui_messages import continued
from headgate.runs import Runs
from tests.client.runs.sources import read
from tests.support.processes import NODE, ROOT, headgate

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Sequence

    from headgate.chats import Turn

    Chunk = dict[str, Any]
    Message = dict[str, Any]

PROGRAM = ROOT / "tests" / "node" / "read_messages.mjs"
SHORT = 24  # sequences
AT_ONCE = 4
LONGEST = 40  # chunks
WORDS = ("", "a", "Once ", "é", "☕", "\n", "\\", '"', "\u2028", "😀", "data: x\n\n", "[DONE]")
NAMES = ("a", "b", "ü", "1", "", "toString", "usage")
ENDS_OF_INPUT = ("input-available", "input-error")
# The chunks that may come next for a call of a tool, by its last one.
NEXT = {
    "": ("input-start", *ENDS_OF_INPUT),
    "input-start": ("input-delta", "input-delta", *ENDS_OF_INPUT),
    "input-delta": ("input-delta", *ENDS_OF_INPUT),
    "input-available": ("output-available", "output-error", "approval-request"),
    "approval-request": ("output-available", "output-error", "output-denied"),
}
PLACES: tuple[Chunk, ...] = (
    {"type": "file", "url": "http://x", "mediaType": "text/plain"},
    {"type": "source-url", "sourceId": "s", "url": "http://s", "title": "T"},
    {"type": "source-document", "sourceId": "d", "mediaType": "a/b", "title": "D"},
)


class Call:
    """A call of a tool, and the type of its last chunk."""

    def __init__(self, chunks: Chunks) -> None:
        self.last = ""
        flag = chunks.random.choice([{}, {"dynamic": True}, {"dynamic": False}])
        self.tool = {"toolName": chunks.random.choice(("weather", "a b", "ü")), **flag}
        self.input = chunks.value()
        self.rest = json.dumps(self.input)


class Chunks:
    """Chunks in an order that the clients of the AI SDK take, and some that no model would give."""

    def __init__(self, seed: int) -> None:
        self.random = random.Random(seed)
        self._open: list[tuple[str, str]] = []
        self._calls: dict[str, Call] = {}  # that may get more chunks, by id
        self._count = 0
        self._makes = (
            *(self._text, self._text, self._text, self._call, self._call, self._call, self._call),
            *(self._data, self._describe, self._place, self._edge, self._word),
        )

    def some(self, count: int) -> list[Chunk | str]:
        """Return at most so many chunks."""
        made = (self.random.choice(self._makes)() for _ in range(count))
        return [chunk for chunk in made if chunk is not None]

    def next_run(self) -> None:
        """Begin another run: what the one before has left is answered, or stays as it is."""
        self._open.clear()
        self._calls.clear()

    def value(self, depth: int = 0) -> Any:
        """Return any JSON value."""
        kind = self.random.randrange(8 if depth < 3 else 5)
        if kind < 2:
            return self.random.choice([None, True, False, 0, -1, 2**53, 0.5, 1.0, 1e300, 1e-7])
        if kind < 5:
            return "".join(self.random.choices(WORDS, k=self.random.randrange(4)))
        if kind == 5:
            return [self.value(depth + 1) for _ in range(self.random.randrange(4))]
        return self._object(depth)

    def _object(self, depth: int = 0) -> Chunk:
        names = self.random.choices(NAMES, k=self.random.randrange(4))
        return {name: self.value(depth + 1) for name in names}

    def _maybe(self, share: float, **fields: Any) -> Chunk:
        return fields if self.random.random() < share else {}

    def _metadata(self) -> Chunk:
        return self._maybe(0.2, providerMetadata={"openai": self._object()})

    def _new_id(self) -> str:
        self._count += 1
        return f"id:{self._count}"

    def _text(self) -> Chunk | None:
        edge = self.random.choice(("start", "delta", "delta", "end"))
        if edge == "start":
            self._open.append((self.random.choice(("text", "reasoning")), self._new_id()))
        if not self._open:
            return None
        place = -1 if edge == "start" else self.random.randrange(len(self._open))
        kind, id_ = self._open[place]
        if edge == "end":
            del self._open[place]
        delta = {"delta": self.random.choice(WORDS)} if edge == "delta" else {}
        return {"type": f"{kind}-{edge}", "id": id_, **delta, **self._metadata()}

    def _call(self) -> Chunk:
        id_ = self.random.choice([*self._calls, self._new_id()])
        call = self._calls.pop(id_, None) or Call(self)
        call.last = self.random.choice(NEXT[call.last])
        chunk = {"type": f"tool-{call.last}", "toolCallId": id_, **self._said(call)}
        if call.last in NEXT:
            self._calls[id_] = call
        return chunk

    def _said(self, call: Call) -> Chunk:
        """Return the fields of the chunk that says the last of a call."""
        if call.last == "input-delta":
            size = self.random.randrange(8)
            delta, call.rest = call.rest[:size], call.rest[size:]
            return {"inputTextDelta": delta}
        if call.last == "approval-request":
            return {"approvalId": self._new_id(), **self._maybe(0.3, signature="s")}
        about = {**self._maybe(0.2, providerExecuted=True), **self._metadata()}
        if call.last == "output-available":
            return {"output": self.value(), **about, **self._maybe(0.1, preliminary=True)}
        if call.last.startswith("output"):
            return {"errorText": "no", **about}
        about |= {**call.tool, **self._maybe(0.1, toolMetadata=self._object())}
        if call.last == "input-error":
            return {"errorText": "wrong", "input": call.input, **about}
        title = self._maybe(0.2, title=self.random.choice(["T", ""]))
        return {**about, **title, **({"input": call.input} if call.last in ENDS_OF_INPUT else {})}

    def _data(self) -> Chunk:
        about = self._maybe(0.5, id=self.random.choice(["1", "2", ""]))
        about |= self._maybe(0.2, transient=self.random.choice([True, False]))
        return {"type": self.random.choice(["data-x", "data-ü"]), "data": self.value(), **about}

    def _describe(self) -> Chunk:
        type_ = self.random.choice(("finish", "start", "message-metadata", "message-metadata"))
        id_ = {"messageId": "other"} if type_ == "start" else {}
        return {"type": type_, "messageMetadata": self._object(), **id_}

    def _place(self) -> Chunk:
        return {**self.random.choice(PLACES), **self._metadata()}

    def _edge(self) -> Chunk | None:
        # The SDK takes an input that goes on in the next step for two.
        if any(call.last in {"input-start", "input-delta"} for call in self._calls.values()):
            return None
        self._open.clear()  # the run ends them with the step
        return {"type": self.random.choice(["start-step", "finish-step"])}

    def _word(self) -> str | None:
        return self.random.choice(WORDS)


class Case(NamedTuple):
    """One run, as a page reads it, and the message that the chat has of it."""

    seed: int
    body: str
    before: Message | None
    message: Message | None


async def cases(chats: Chats, seed: int) -> list[Case]:
    """Play one chat: a run, and one that goes on with its message where it can."""
    chunks, chat, played = Chunks(seed), f"chat-{seed}", list[Case]()
    message: Message = {"id": "1", "role": "user", "parts": [{"type": "text", "text": "Tell."}]}
    before: Message | None = None
    for _ in range(2):
        given = chunks.some(chunks.random.randrange(1, LONGEST))
        fails = chunks.random.random() < 0.25

        async def source(
            _: Turn, given: list[Chunk | str] = given, fails: bool = fails
        ) -> AsyncIterator[Chunk | str]:
            for chunk in given:
                yield chunk
            if fails:
                raise ValueError("fail")

        answer = await chats.send(chat, message, source)
        body = await read(answer)
        kept = (await chats.history(chat)).messages[1:]
        played.append(Case(seed, body.decode(), before, kept[-1] if kept else None))
        if before:
            again = await chats.runs.follow(answer.headers["x-workflow-run-id"])
            assert again is not None
            anew = await read(continued(again, before))
            played.append(Case(seed, anew.decode(), None, kept[-1]))
        answered = page_answers(kept[-1]) if kept else None
        if answered is None:
            break
        message = before = answered
        chunks.next_run()
    return played


def page_answers(message: Message) -> Message | None:
    """Return the message with what a page says to its open calls; None where there are none."""
    answered = json.loads(json.dumps(message))
    for part in answered["parts"]:
        if part.get("providerExecuted"):
            continue
        if part.get("state") == "input-available":
            part.update(state="output-available", output={"from": "the page"})
        elif part.get("state") == "approval-requested":
            part.update(state="approval-responded", approval={**part["approval"], "approved": True})
    return None if answered == message else answered


async def complaints(played: Sequence[Case]) -> list[str]:
    """Return what differs from what the versions of the AI SDK make of the same bodies."""
    node = await asyncio.create_subprocess_exec(
        NODE, PROGRAM, stdin=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.PIPE
    )
    lines = (json.dumps({"body": case.body, "before": case.before}) for case in played)
    output, _ = await node.communicate("".join(f"{line}\n" for line in lines).encode())
    found = []
    for case, line in zip(played, output.splitlines(), strict=True):
        for version, made in json.loads(line).items():
            found += [error for error in made["errors"] if not error.startswith("the source ")]
            kept, expected = (comparable(it, version) for it in (case.message, made["message"]))
            if kept != expected:
                found.append(f"seed {case.seed}: the chat has {kept}, version {version} {expected}")
    return found


def comparable(message: Message | None, version: str) -> Message | None:
    """Return a message without calls whose input was not whole, which a chat does not store.

    The reader of the SDK yields no steps at its end. What the user has decided no chunk of version
    6 tells to a page that is loaded anew, and version 7 has input that was no JSON as the input.
    """
    if message is None:
        return None
    parts = [{**part} for part in message["parts"] if part.get("state") != "input-streaming"]
    while parts and parts[-1]["type"] == "step-start":
        parts.pop()
    for part in parts:
        if part.get("state") == "approval-responded":
            part["state"] = "input-available"
            del part["approval"]
        if version == "7" and "rawInput" in part:
            part["input"] = part.pop("rawInput")
    return {**message, "parts": parts} if parts else None


async def play(seeds: Sequence[int]) -> list[str]:
    """Play a chat for each seed, and return what is wrong."""
    played: list[Case] = []
    with headgate() as server:
        async with Runs(f"{server.streams}/fuzz") as runs:
            chats = Chats(runs)
            for first in range(0, len(seeds), AT_ONCE):
                some = [cases(chats, seed) for seed in seeds[first : first + AT_ONCE]]
                for each in await asyncio.gather(*some):
                    played += each
    return await complaints(played)
