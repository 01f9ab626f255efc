"""What all clients of a history share: gateways, faults that were made, and what was wrong."""

from __future__ import annotations

import asyncio
import hashlib
import json
import sys
import time
from collections import Counter
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import aiohttp

from tests.models.histories.plans import PATHS, plan_of

if TYPE_CHECKING:
    import random
    from collections.abc import Sequence

    from tests.models.histories.plans import Dialect, Plan

OWNERS = ("sk-SECRET-anna", "sk-SECRET-berta")
PROMPT = "PROMPT-SECRET"
LONGEST_S = 75.0  # until each reader has its end


@dataclass(slots=True, eq=False)
class Answer:
    """One answer that clients ask for."""

    dialect: Dialect
    seed: int
    owner: str
    key: str
    stream: str | None  # the name of the chat
    is_stopped: bool = False  # somebody deletes or cancels it
    path: str = ""  # of its Stream-URL
    first_offset: str = ""
    response_id: str = ""
    ids: list[str] = field(default_factory=list)
    began: float = 0.0
    is_known: asyncio.Event = field(default_factory=asyncio.Event)
    refusals: int = 0

    @property
    def name(self) -> str:
        return f"{self.owner[-5:]}/{self.key}"

    @property
    def body(self) -> bytes:
        content = [{"role": "user", "content": f"{PROMPT} {self.name}"}]
        value = {
            "model": f"model-{self.seed % 3}",
            "stream": True,
            "user": self.name,
            "seed": self.seed,
            "dialect": self.dialect,
            "input" if self.dialect == "responses" else "messages": content,
        }
        return json.dumps(value).encode()

    @property
    def headers(self) -> dict[str, str]:
        named = {"Headgate-Stream": self.stream} if self.stream else {}
        return {"Idempotency-Key": self.key, **self.credential, **named}

    @property
    def credential(self) -> dict[str, str]:
        if self.dialect == "messages":
            return {"x-api-key": self.owner}
        return {"Authorization": f"Bearer {self.owner}"}

    @property
    def target(self) -> str:
        return PATHS[self.dialect]

    def plan(self, call: int) -> Plan:
        """Return what the provider answers to this call."""
        return plan_of(self.dialect, self.seed, call, f"model-{self.seed % 3}")


@dataclass(slots=True)
class World:
    """The gateways before one log, and everything that clients have noticed."""

    gateways: Sequence[str]
    session: aiohttp.ClientSession
    rng: random.Random
    wrong: list[str] = field(default_factory=list)
    counts: Counter[str] = field(default_factory=Counter)
    faults: list[float] = field(default_factory=list)  # when a gateway was killed or stopped
    tagged: dict[tuple[str, str], str] = field(default_factory=dict)
    fixed: dict[str, str] = field(default_factory=dict)

    def base(self) -> str:
        return self.rng.choice(self.gateways)

    def report(self, what: str) -> None:
        """Note what is wrong, and print it."""
        self.wrong.append(what)
        ago = [round(time.monotonic() - at, 1) for at in self.faults[-4:]]
        now = time.strftime("%H:%M:%S")
        sys.stderr.write(f"wrong at {now}, {ago} s after faults: {what[:1500]}\n")

    def is_disturbed(self, since: float) -> bool:
        """Return whether a gateway was killed or stopped after this time, or shortly before."""
        return any(at > since - 10 for at in self.faults)

    def note(self, url: str, answer: aiohttp.ClientResponse, body: bytes) -> None:
        """Compare a response with earlier ones of its URL that had to be the same."""
        path = url.split("/", 3)[3]
        offset = answer.headers.get("Stream-Next-Offset", "")
        digest = hashlib.sha256(body + offset.encode()).hexdigest()
        tag = answer.headers.get("ETag")
        if tag and self.tagged.setdefault((path, tag), digest) != digest:
            self.report(f"ETag {tag} of {path} had other bytes before")
        directives = answer.headers.get("Cache-Control", "")
        if "max-age=" in directives and "no-cache" not in directives and "live" not in path:
            self.counts["immutable"] += 1
            if self.fixed.setdefault(path, digest) != digest:
                self.report(f"{path} was said to be immutable ({directives}), and changed")


class Patience:
    """Pauses between tries, until it is clear that there will be no end."""

    def __init__(self, longest_s: float = LONGEST_S) -> None:
        self._deadline = time.monotonic() + longest_s

    async def pause(self) -> None:
        """Sleep a little; raise TimeoutError when it took too long."""
        await asyncio.sleep(0.1)
        if time.monotonic() > self._deadline:
            raise TimeoutError

    @property
    def left(self) -> aiohttp.ClientTimeout:
        """The time that a request may take."""
        return aiohttp.ClientTimeout(total=max(0.1, self._deadline - time.monotonic()))


BROKEN: tuple[type[Exception], ...] = (aiohttp.ClientError, ConnectionError)


def head_of(answer: aiohttp.ClientResponse) -> dict[str, Any]:
    """Return status and header fields, for reports."""
    return {"status": answer.status, **answer.headers}
