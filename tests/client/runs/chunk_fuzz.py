"""Random chunks of UI messages, as runs of chats: what is kept is what the AI SDK makes of them.

Each run ends or fails in the middle of anything, and where it has left calls of tools open, the
page answers them and the next run goes on with the message. The AI SDK reads what the runs have
sent, and the history of the chat has the message that it makes.
"""

from __future__ import annotations

import asyncio
import json
import random
from dataclasses import dataclass
from itertools import zip_longest
from typing import TYPE_CHECKING, Any

from headgate.chats import Chats
from headgate.runs import Runs

from tests.client.runs.sources import read
from tests.support.processes import NODE, ROOT, headgate

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Sequence

    from headgate.chats import Turn

    Chunk = dict[str, Any]
    Message = dict[str, Any]

PROGRAM = ROOT / "tests" / "node" / "read_messages.mjs"
SHORT = 24  # sequences
AT_ONCE = 4
LONGEST = 40  # chunks
WORDS = ("", "a", "Once ", "é", "☕", "\n", "\\", '"', "\u2028", "😀", "data: x\n\n", "[DONE]")
PAIR = r"\ud83d\ude00"
NAMES = ("a", "b", "ü", "1", "", "toString", "usage")
TOOLS = ("weather", "a b", "ü")
STARTED, CALLED, ANSWERED, ASKED, DONE = "started", "called", "answered", "asked", "done"


class Chunks:
    """Chunks in an order that the clients of the AI SDK take, and some that no model would give."""

    def __init__(self, seed: int) -> None:
        self.random = random.Random(seed)
        self._open: list[tuple[str, str]] = []
        self._calls: dict[str, dict[str, Any]] = {}  # by id: name, dynamic, state, rest of input
        self._count = 0
        self._makes: tuple[Callable[[], Chunk | str | None], ...] = (
            *(self._begin, self._extend, self._extend, self._end),
            *(self._start_call, self._extend_call, self._extend_call, self._call, self._call),
            *(self._output, self._output, self._ask, self._deny),
            *(self._data, self._describe, self._place, self._edge, self._word),
        )

    def some(self, count: int) -> list[Chunk | str]:
        """Return so many chunks."""
        chunks: list[Chunk | str] = []
        while len(chunks) < count:
            chunk = self.random.choice(self._makes)()
            if chunk is not None:
                chunks.append(chunk)
        return chunks

    def next_run(self) -> None:
        """Begin another run: what the one before has left is answered, or stays as it is."""
        self._open.clear()
        for call in self._calls.values():
            call["state"] = DONE

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

    def _about(self) -> Chunk:
        title = self._maybe(0.2, title=self.random.choice(["T", ""]))
        executed = self._maybe(0.2, providerExecuted=self.random.choice([True, False]))
        return {**title, **executed, **self._maybe(0.1, toolMetadata=self._object())}

    def _new_id(self) -> str:
        self._count += 1
        return f"id:{self._count}"

    def _begin(self) -> Chunk:
        kind = self.random.choice(["text", "text", "reasoning"])
        # An id may be in use: what goes on is the newer one then.
        again = [id_ for other, id_ in self._open if other == kind and self.random.random() < 0.1]
        id_ = again[0] if again else self._new_id()
        if not again:
            self._open.append((kind, id_))
        return {"type": f"{kind}-start", "id": id_, **self._metadata()}

    def _extend(self) -> Chunk | None:
        if not self._open:
            return None
        kind, id_ = self.random.choice(self._open)
        delta = self.random.choice(WORDS)
        return {"type": f"{kind}-delta", "id": id_, "delta": delta, **self._metadata()}

    def _end(self) -> Chunk | None:
        if not self._open:
            return None
        kind, id_ = self._open.pop(self.random.randrange(len(self._open)))
        return {"type": f"{kind}-end", "id": id_, **self._metadata()}

    def _chosen(self, *states: str) -> tuple[str, dict[str, Any]] | None:
        found = [each for each in self._calls.items() if each[1]["state"] in states]
        return self.random.choice(found) if found else None

    def _new_call(self, state: str) -> tuple[str, dict[str, Any]]:
        flag = self.random.choice([{}, {"dynamic": True}, {"dynamic": False}])
        ascii_ = self.random.random() < 0.5
        input_ = json.dumps(self.value(), ensure_ascii=ascii_)
        # Half of a pair of escapes is a text in JavaScript, and none in a message that is kept. The
        # SDK has another number until one with `e+` is whole.
        input_ = input_.replace(PAIR, "x").replace("e+", "e")
        call = {"tool": {"toolName": self.random.choice(TOOLS), **flag}, "input": input_}
        id_ = self._new_id()
        self._calls[id_] = {**call, "state": state, "rest": input_}
        return id_, self._calls[id_]

    def _start_call(self) -> Chunk:
        id_, call = self._new_call(STARTED)
        about = {**call["tool"], **self._about(), **self._metadata()}
        return {"type": "tool-input-start", "toolCallId": id_, **about}

    def _extend_call(self) -> Chunk | None:
        chosen = self._chosen(STARTED)
        if chosen is None:
            return None
        id_, call = chosen
        size = self.random.randrange(8)
        delta, call["rest"] = call["rest"][:size], call["rest"][size:]
        return {"type": "tool-input-delta", "toolCallId": id_, "inputTextDelta": delta}

    def _call(self) -> Chunk:
        id_, call = self._chosen(STARTED) or self._new_call(CALLED)
        about = {"toolCallId": id_, **call["tool"], "input": json.loads(call["input"])}
        about |= self._about() | self._metadata()
        if self.random.random() < 0.2:
            call["state"] = DONE
            about.pop("title", None)  # which the SDK does not take here
            return {"type": "tool-input-error", "errorText": "wrong", **about}
        call["state"] = CALLED
        return {"type": "tool-input-available", **about}

    def _output(self) -> Chunk | None:
        chosen = self._chosen(CALLED, ANSWERED, ASKED)
        if chosen is None:
            return None
        id_, call = chosen
        call["state"] = DONE
        executed = self._maybe(
            0.2, providerExecuted=True, dynamic=self.random.choice([True, False])
        )
        about = {"toolCallId": id_, **executed, **self._metadata()}
        if self.random.random() < 0.3:
            return {"type": "tool-output-error", "errorText": "no", **about}
        if self.random.random() < 0.3:
            call["state"] = ANSWERED
            about["preliminary"] = True
        return {"type": "tool-output-available", "output": self.value(), **about}

    def _ask(self) -> Chunk | None:
        chosen = self._chosen(CALLED)
        if chosen is None:
            return None
        id_, call = chosen
        call["state"] = ASKED
        about = self._maybe(0.3, approvalDescriptor=self.value(), signature="s")
        about |= self._maybe(0.3, inputSchemaInput=self.value())
        approval = f"approval-{id_}"
        return {"type": "tool-approval-request", "toolCallId": id_, "approvalId": approval, **about}

    def _deny(self) -> Chunk | None:
        chosen = self._chosen(ASKED)
        if chosen is None:
            return None
        chosen[1]["state"] = DONE
        return {"type": "tool-output-denied", "toolCallId": chosen[0]}

    def _data(self) -> Chunk:
        about = self._maybe(0.5, id=self.random.choice(["1", "2", ""]))
        about |= self._maybe(0.2, transient=self.random.choice([True, False]))
        return {"type": self.random.choice(["data-x", "data-ü"]), "data": self.value(), **about}

    def _describe(self) -> Chunk:
        metadata = self._maybe(0.8, messageMetadata=self._object())
        if self.random.random() < 0.2:
            return {"type": "finish", "finishReason": "length", **metadata}
        if self.random.random() < 0.2:
            return {"type": "start", **self._maybe(0.5, messageId="other"), **metadata}
        return {"type": "message-metadata", "messageMetadata": self._object()}

    def _place(self) -> Chunk:
        places = (
            {"type": "file", "url": "http://x", "mediaType": "text/plain"},
            {
                "type": "source-url",
                "sourceId": "s",
                "url": "http://s",
                **self._maybe(0.5, title="T"),
            },
            {"type": "source-document", "sourceId": "d", "mediaType": "a/b", "title": "D"},
        )
        return {**self.random.choice(places), **self._metadata()}

    def _edge(self) -> Chunk | None:
        # The SDK takes an input that goes on in the next step for two.
        if self._chosen(STARTED) or self.random.random() < 0.5:
            return None
        self._open.clear()  # the run ends them with the step
        return {"type": self.random.choice(["start-step", "finish-step"])}

    def _word(self) -> str | None:
        return self.random.choice(WORDS)


@dataclass
class Case:
    """One run, as a page reads it, and the message that the chat has of it."""

    seed: int
    body: str
    before: Message | None
    message: Message | None

    def line(self) -> str:
        """Return what the program takes."""
        return json.dumps({"body": self.body, "before": self.before})


async def cases(chats: Chats, seed: int) -> list[Case]:
    """Play one chat: a run, and one that goes on with its message where it can."""
    chunks, chat, played = Chunks(seed), f"chat-{seed}", []
    message: Message = {"id": "1", "role": "user", "parts": [{"type": "text", "text": "Tell."}]}
    before = None
    for _ in range(2):
        given = chunks.some(chunks.random.randrange(1, LONGEST))
        end = chunks.random.choice(["", "", "", "fail"])

        async def source(
            _: Turn, given: list[Chunk | str] = given, end: str = end
        ) -> AsyncIterator[Chunk | str]:
            for chunk in given:
                yield chunk
            if end:
                raise ValueError(end)

        body = await read(await chats.send(chat, message, source))
        kept = (await chats.history(chat)).messages[1:]
        played.append(Case(seed, body.decode(), before, kept[-1] if kept else None))
        answered = page_answers(kept[-1]) if kept else None
        if answered is None:
            break
        message = before = answered
        chunks.next_run()
    return played


def page_answers(message: Message) -> Message | None:
    """Return the message with what a page says to its open calls; None where there are none."""
    answered = json.loads(json.dumps(message))
    is_asked = False
    for part in answered["parts"]:
        if part.get("providerExecuted"):
            continue
        if part.get("state") == "input-available":
            part.update(state="output-available", output={"from": "the page"})
            is_asked = True
        elif part.get("state") == "approval-requested":
            part["state"] = "approval-responded"
            part["approval"]["approved"] = True
            is_asked = True
    return answered if is_asked else None


async def judged(played: Sequence[Case]) -> list[str]:
    """Return what differs from what the AI SDK makes of the same bodies."""
    node = await asyncio.create_subprocess_exec(
        NODE, PROGRAM, stdin=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.PIPE
    )
    output, _ = await node.communicate("".join(f"{case.line()}\n" for case in played).encode())
    lines = output.decode().split("\n")[:-1]
    assert len(lines) == len(played), "the program has failed"
    return [
        complaint
        for case, line in zip(played, lines, strict=True)
        for complaint in complaints(case, json.loads(line))
    ]


def complaints(case: Case, made: dict[str, Any]) -> list[str]:
    """Return how the message of a chat is another one than both versions of the AI SDK make."""
    kept, made_of_it = comparable(case.message), comparable(made["6"]["message"])
    told = [error for error in made["6"]["errors"] if not error.startswith("the source failed")]
    # The versions differ in the input of a call that was wrong: the chat has that of version 6.
    if kept != made_of_it:
        told += differences(kept or {}, made_of_it or {})
    return [f"seed {case.seed}: {each}" for each in told]


def differences(kept: Message, made: Message) -> list[str]:
    """Return the fields and the parts that differ."""
    names = {*kept, *made} - {"parts"}
    pairs = [(name, kept.get(name), made.get(name)) for name in sorted(names)]
    parts = zip_longest(kept.get("parts", ()), made.get("parts", ()))
    pairs += [(f"part {number}", *pair) for number, pair in enumerate(parts)]
    return [f"{name}: the chat has {one}, the SDK {two}" for name, one, two in pairs if one != two]


def comparable(message: Message | None) -> Message | None:
    """Return a message without calls whose input was not whole, which a chat does not store.

    Of steps at its end no reader of the SDK is told.
    """
    if message is None:
        return None
    parts = [part for part in message["parts"] if part.get("state") != "input-streaming"]
    while parts and parts[-1]["type"] == "step-start":
        parts.pop()
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
    return await judged(played)
