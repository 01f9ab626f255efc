"""Mixed reads of many people, and what they must not show."""

from __future__ import annotations

import asyncio
import contextlib
import json
import logging
import random
import tempfile
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, NoReturn

import structlog

from gateway.access.tokens_file import parse_tokens
from gateway.telemetry.inspection import DescribeStream, ExplainRequest, ListStreams
from gateway.telemetry.logs import NAME
from gateway.web import metrics
from tests.edge.identities.origin import BY_ORIGIN, BY_TOKEN, OPEN, SAYS, Origin
from tests.edge.identities.people import CANARY, COOKIE, Person, mark_of_scope
from tests.edge.identities.store_search import found_in_store
from tests.edge.identities.world import (
    AUTH_TTL_S,
    GUARDED,
    OWN,
    WRITER,
    Gateway,
    expires_at,
    scopes_of,
    tokens,
)
from tests.edge.simulation.client import Client, Told
from tests.edge.simulation.judge import Got
from tests.edge.simulation.network import SimulatedLoop

if TYPE_CHECKING:
    from collections.abc import Iterator

# Most reads are of what is kept, as they are anywhere; those that wait cost the most.
WAYS = {
    **{"catch-up": 30, "later": 20, "condition": 15, "stray": 8, "range": 8, "now": 4, "head": 4},
    **{"long-poll": 7, "sse": 4},
}
# What must have happened, or the reads prove nothing.
EXPECTED = (
    *("HIT", "STALE", "REVALIDATED", "MISS", "COLLAPSED", "BYPASS", "a joined request", "a feed"),
    *("a stand-in", "status 200", "status 204", "status 206", "status 304", "status 401"),
    *(
        "status 403",
        "an event",
        "by header",
        "by query",
        "by cookie",
        "revoked",
        "ended",
        "expired",
    ),
)
# What can be kept is read the most, as it is anywhere, so that most reads are answered with it.
KINDS = [*SAYS, *(["nothing", "max-age", "public", "must-revalidate", "s-maxage"] * 6)]
CLIENTS = 50
# How late the last of what was permitted may come: readers are ended within a second, and the
# network takes a moment.
LATE_S = 1.5
CHANGES_EVERY_S = 3.0
AWAY_S = 9.0  # longer than any permission counts
READERS_LEAVE_S = 12.0


@dataclass
class Count:
    """What was read, in which ways, and what was wrong."""

    reads: int = 0
    own: int = 0  # answers that hold something that is for their reader alone
    ways: Counter[str] = field(default_factory=Counter)
    wrong: list[str] = field(default_factory=list)

    @property
    def missing(self) -> list[str]:
        return [way for way in EXPECTED if not self.ways[way]]

    def __str__(self) -> str:
        ways = ", ".join(f"{way} {count}" for way, count in sorted(self.ways.items()))
        return (
            f"{self.reads} reads, {self.own} with something for their reader alone, "
            f"{len(self.wrong)} violations\n{ways}"
        )


class Campaign:
    """All of a run. `left` are the reads that nobody has begun."""

    def __init__(self, loop: SimulatedLoop, seed: int, reads: int, people: int) -> None:
        self.loop = loop
        self.chance = random.Random(seed)
        self.people = [Person(number) for number in range(people)]
        self.left = reads
        self.count = Count()
        self.origin = Origin(loop, ("10.0.0.1", 80), people)
        self.gateways: list[Gateway] = []
        self._revoked: dict[int, float] = {}  # since when, by the loop's time
        self._tags: dict[tuple[int, str], str] = {}

    async def run(self, file: Path) -> Count:
        """Read through a gateway, one that logs, and two in a row."""
        file.write_bytes(tokens(self.people))
        self.origin.start()
        origins = dict.fromkeys((OPEN, BY_TOKEN, BY_ORIGIN), "http://10.0.0.1:80")
        near, logged, far = (("10.0.0.2", 80), ("10.0.0.3", 80), ("10.0.0.4", 80))
        self.gateways = [
            Gateway(self.loop, near, {**origins, OWN: "memory:"}, file),
            Gateway(self.loop, logged, {**origins, OWN: "memory:"}, file, "info"),
            Gateway(self.loop, far, {OPEN: "http://10.0.0.2:80"}, file),
        ]
        for gateway in self.gateways:
            await gateway.start()
        await self._write_own()
        changing = self.loop.create_task(self._change())
        await asyncio.gather(*(self._read_on() for _ in range(CLIENTS)))
        changing.cancel()
        await self._search_all()
        await asyncio.sleep(READERS_LEAVE_S)
        for gateway in self.gateways:
            await gateway.stop()
        self.origin.stop()
        self._wrong("the origin saw a token", self.origin.saw[:3])
        return self.count

    def _wrong(self, what: str, shown: object) -> None:
        if shown:
            self.count.wrong.append(f"{what}: {str(shown)[:900]}")

    # What goes on meanwhile

    async def _write_own(self) -> None:
        for gateway in self.gateways[:2]:
            client = Client(self.loop, gateway.address)
            for scope in scopes_of(len(self.people)):
                fields = {"Authorization": f"Bearer {WRITER}", "Content-Type": "text/plain"}
                target = f"{OWN}/{scope}/s"
                got = await client.ask("PUT", target, fields, _data(scope) * 3)
                assert got is not None and got.status == 201, got
            client.leave()

    async def _change(self) -> None:
        """Revoke tokens and give them back, and let the own streams grow."""
        while True:
            await asyncio.sleep(self.chance.uniform(0, CHANGES_EVERY_S))
            now = self.loop.time()
            back = [number for number, since in self._revoked.items() if now - since > AWAY_S]
            for number in back:
                del self._revoked[number]
            someone = self.chance.randrange(len(self.people))
            self._revoked.setdefault(someone, now)
            valid = [one for one in self.people if one.number not in self._revoked]
            self.origin.members = {one.number for one in valid}
            file = parse_tokens("tokens.toml", tokens(valid))
            for gateway in self.gateways:
                gateway.tokens_are(file)
            scope = self.chance.choice(scopes_of(len(self.people)))
            client = Client(self.loop, self.chance.choice(self.gateways[:2]).address)
            fields = {"Authorization": f"Bearer {WRITER}", "Content-Type": "text/plain"}
            await client.ask("POST", f"{OWN}/{scope}/s", fields, _data(scope))
            client.leave()

    # Reading

    async def _read_on(self) -> None:
        clients = [Client(self.loop, gateway.address) for gateway in self.gateways]
        while self.left > 0:
            self.left -= 1
            self.count.reads += 1
            number = self.chance.choice([0, 0, 0, 0, 0, 1, 1, 1, 1, 2])
            await self._read(clients[number], is_far=number == 2)
            if self.chance.random() < 0.3:
                await asyncio.sleep(self.chance.uniform(0, 0.05))
        for client in clients:
            client.leave()

    async def _read(self, client: Client, *, is_far: bool) -> None:
        person = self.chance.choice(self.people)
        prefix = OPEN if is_far else self.chance.choice([OPEN, *GUARDED])
        scope = "all" if prefix == OPEN else self._scope(person)
        kind = self.chance.choice(KINDS)
        name = "s" if prefix == OWN else f"{kind}.0"
        (way,) = self.chance.choices([*WAYS], WAYS.values())
        target, fields = self._request(person, way, f"{prefix}/{scope}/{name}")
        if prefix == OPEN:
            # The marks of an open route tell of no scope: everybody may read it.
            fields |= {"Authorization": person.mark} if self.chance.random() < 0.3 else {}
        else:
            target = self._present(person, target, fields)
        asked = self.loop.time()
        if way == "sse":
            await self._events(client, person, target, fields, asked)
            return
        method = "HEAD" if way == "head" else "GET"
        got = await client.ask(method, target, fields)
        if got is None:
            self.count.ways["cut"] += 1
            return
        self._note(person, way, target, got)

    def _scope(self, person: Person) -> str:
        if self.chance.random() < 0.93:
            return self.chance.choice(("all", "all", "all", *person.scopes))
        return self.chance.choice(scopes_of(len(self.people)))

    def _present(self, person: Person, target: str, fields: dict[str, str]) -> str:
        """Where there may be a token; sometimes there is none."""
        way = self.chance.random()
        if way < 0.7:
            fields["Authorization"] = f"Bearer {person.token}"
        elif way < 0.82:
            fields["Cookie"] = f"{COOKIE}={person.token}"
        elif way < 0.95:
            target += f"&token={person.token}"
        self.count.ways[
            "by header" if way < 0.7 else "by cookie" if way < 0.82 else "by query"
        ] += 1
        return target

    def _request(self, person: Person, way: str, path: str) -> tuple[str, dict[str, str]]:
        fields = person.fields() if self.chance.random() < 0.8 else {"Host": "streams.example"}
        if self.chance.random() < 0.2:
            fields |= person.says_who
        query = "offset=-1"
        if way == "later":
            query = f"offset={self.chance.choice([1, 3]):06}_0"
        elif way == "now":
            query = "offset=now"
        elif way in {"long-poll", "sse"}:
            offset = self.chance.choice(["-1", "now", f"{self.chance.randrange(60):06}_0"])
            query = f"cursor={person.cursor}&live={way}&offset={offset}"
        elif way == "condition":
            fields["If-None-Match"] = self._tags.get((person.number, path), "*")
        elif way == "range":
            fields["Range"] = "bytes=1-5"
        elif way == "stray":
            query = f"offset=-1&utm_source={person.mark}"
            fields["X-Request-Id"] = person.mark
        if path.startswith(OWN):
            query = query.replace("00000", "-1&x=")
        return f"{path}?{query}", fields

    async def _events(
        self, client: Client, person: Person, target: str, fields: dict[str, str], asked: float
    ) -> None:
        stays = self.chance.choice([1, 1, 1, 3])
        async for told in client.events(target, fields):
            if isinstance(told, Got):
                if told.fields.get("content-type") != "text/event-stream":
                    self._note(person, "sse", target, told)
                    return
                self._search(person, "sse", target, str(told.fields))
                continue
            self.count.ways["an event"] += bool(told.data)
            self._search(person, "sse", target, f"{b''.join(told.data)!r}{told.cursor}")
            if told.data:
                self._must_be_permitted(person, target, self.loop.time(), "an event")
            stays -= 1
            if not stays:
                break
        else:
            self.count.ways["ended"] += 1
        client.leave()

    # Judging

    def _note(self, person: Person, way: str, target: str, got: Got) -> None:
        ways = self.count.ways
        told = got.fields.get("cache-status", "").rpartition(", ")[2]  # by the nearest
        ways[got.fields.get("x-cache", "none")] += 1
        ways[f"status {got.status}"] += 1
        ways["a joined request"] += "; collapsed" in told and "fwd-status" in told
        ways["a feed"] += "; collapsed" in told and "fwd-status" not in told
        ways["a stand-in"] += "stale-if-error" in told
        path = target.partition("?")[0]
        if got.status == 200 and "etag" in got.fields:
            self._tags[person.number, path] = got.fields["etag"]
        self._search(person, way, target, f"{got.fields}{got.body.decode('latin-1')}")
        if got.status in {200, 206, 304} and way != "now":
            self._must_be_permitted(person, target, got.answered, f"{way} {got.status}")
        if got.status in {200, 206, 304} and path.startswith((BY_TOKEN, BY_ORIGIN)):
            said = json.dumps([got.fields.get(name, "") for name in _OF_CACHES])
            if any(word in said for word in _FOR_ALL) or "cdn-cache-control" in got.fields:
                self._wrong(f"{way} {path}: for shared caches", got.fields)

    def _must_be_permitted(self, person: Person, target: str, at: float, what: str) -> None:
        """What he was given, he was permitted to have a moment ago."""
        prefix, scope = target.split("/")[1:3]
        if f"/{prefix}" == OPEN:
            return
        if scope not in person.scopes or (CANARY not in target and not person.token):
            self._wrong(f"{what} of {target} to", person)
        bound = LATE_S + (AUTH_TTL_S if f"/{prefix}" == BY_ORIGIN else 0)
        since = self._revoked.get(person.number)
        if since is not None:
            self.count.ways["revoked"] += 1
            if at > since + bound:
                self._wrong(f"{what} of {target}, {at - since:.2f} s after it was revoked", person)
        if f"/{prefix}" != BY_ORIGIN and at > expires_at(person) + bound:
            self._wrong(f"{what} of {target} after it expired", person)
        self.count.ways["expired"] += self.loop.time() > expires_at(person)

    def _search(self, person: Person, way: str, target: str, text: str) -> None:
        self.count.own += person.mark in text or mark_of_scope(f"u{person.number}") in text
        if leaks := person.leaks(text):
            self._wrong(f"{way} {target} to {person}: {sorted(leaks)} in", text)

    async def _search_all(self) -> None:
        """Look for tokens where operators look, and in what is kept."""
        for gateway in self.gateways:
            for prefix in (route.prefix for route in gateway.routes):
                # An own log lists its streams in a thread, for which a virtual clock cannot wait.
                lists = [] if prefix == OWN else [ListStreams(prefix)]
                stream = "all/s" if prefix == OWN else "all/max-age.0"
                asked = (("Authorization", f"Bearer {self.people[0].token}"), ("Host", "a"))
                for question in (
                    *lists,
                    DescribeStream(prefix, stream),
                    ExplainRequest(f"{prefix}/{stream}?token={self.people[0].token}", ()),
                    ExplainRequest(f"{prefix}/{stream}", asked),
                ):
                    answer = repr(await gateway.inspector.answer(question))
                    self.count.ways["admin answers"] += 1
                    self._wrong(f"{question} shows", CANARY in answer and answer)
            told = repr(metrics.snapshot(gateway.shared, gateway.routes))
            self._wrong("a metric has a token", CANARY in told and told)
            objects, found = found_in_store(gateway.shared.store, CANARY)
            self.count.ways["objects of the store"] += objects
            self._wrong("the store has a token", found)
            heads = [*gateway.fast.heads, *map(str, gateway.fast.heads.values())]
            self._wrong("a remembered head has a token", CANARY in repr(heads) and heads)


def _data(scope: str) -> bytes:
    """What is written to the own streams of a scope."""
    return f"<{mark_of_scope(scope)}>".encode()


_OF_CACHES = ("cache-control", "surrogate-control", "surrogate-key", "cache-tag")
_FOR_ALL = ("public", "s-maxage", "must-revalidate")


@contextlib.contextmanager
def _listening(campaign: Campaign) -> Iterator[None]:
    """Search what is logged instead of writing it."""
    ways, wrong = campaign.count.ways, campaign.count.wrong

    def search(_logger: object, level: str, event: structlog.typing.EventDict) -> NoReturn:
        ways["log lines"] += 1
        text = repr(event)
        if CANARY in text or level in {"error", "critical"}:
            wrong.append(f"logged: {text[:500]}")
        raise structlog.DropEvent

    before, logger = structlog.get_config(), logging.getLogger(NAME)
    level = logger.level
    logger.setLevel(logging.INFO)  # by which an access log knows whether it is wanted
    structlog.configure(processors=[search], wrapper_class=structlog.stdlib.BoundLogger)
    try:
        yield
    finally:
        structlog.configure(**before)
        logger.setLevel(level)


def mixed_reads(reads: int, people: int, seed: int = 1) -> Count:
    """What came of so many."""
    loop = SimulatedLoop(random.Random(seed))
    campaign = Campaign(loop, seed, reads, people)
    loop.set_exception_handler(lambda _, context: campaign.count.wrong.append(str(context)))
    with (
        tempfile.TemporaryDirectory() as folder,
        _listening(campaign),
        asyncio.Runner(loop_factory=lambda: loop) as runner,
    ):
        return runner.run(campaign.run(Path(folder) / "tokens.toml"))
