"""Mixed reads of many people, and a search for what they must not show."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import logging
import random
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

from headgate_gateway.access.tokens_file import parse_tokens
from headgate_gateway.features.questions.streams import DescribeStream, ExplainRequest, ListStreams
from headgate_gateway.telemetry.logs import NAME
from headgate_gateway.web import metrics
from tests.edge.identities.asking import GUARDED, OWN, Asking, Read
from tests.edge.identities.judge import Count, Judge
from tests.edge.identities.line import Line, answer, head_only
from tests.edge.identities.origin import BY_ORIGIN, BY_TOKEN, OPEN, Origin
from tests.edge.identities.people import CANARY, Person, mark_of_scope, scopes_of
from tests.edge.identities.store_search import found_in_store
from tests.edge.identities.world import WRITER, Gateway, tokens
from tests.edge.simulation.client import Client
from tests.edge.simulation.judge import Got
from tests.edge.simulation.network import SimulatedLoop
from tests.support.http1 import read_body, read_chunk
from tests.support.log_level import kept_level
from tests.support.log_lines import log_lines_to

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from headgate_gateway.features.questions.contract import Question


CROWDS_AT_ONCE = 80
PAUSES_S = 0.1  # of those who come for something, at most; the longer, the more changes meanwhile
MOST_TIMES = 3  # as many reads as were asked for, until all has happened that must
CHANGES_EVERY_S = 6.0
AWAY_S = 40.0  # longer than any permission counts
READERS_LEAVE_S = 12.0
FAR = 2  # the gateway before another one, which has but an open route
GATEWAYS = (0, 0, 0, 0, 0, 0, 0, 1, 1, FAR)  # as often


class Campaign:
    """All of a run. `left` are the reads that nobody has begun."""

    def __init__(
        self, loop: SimulatedLoop, seed: int, reads: int, people: int, pauses_s: float
    ) -> None:
        self.loop = loop
        self.chance = random.Random(seed)
        self.people = [Person(number) for number in range(people)]
        self.left = reads
        self.most = MOST_TIMES * reads
        self.pauses_s = pauses_s
        self.count = Count()
        self.judge = Judge(loop, self.count)
        self.asking = Asking(self.chance, self.people)
        self.origin = Origin(loop, ("10.0.0.1", 80), people)
        self.gateways: list[Gateway] = []

    async def run(self, file: Path) -> Count:
        """Read through a gateway, one that logs, and two in a row."""
        file.write_bytes(tokens(self.people, self.loop.time()))
        self.origin.start()
        at_origin = dict.fromkeys((OPEN, BY_TOKEN, BY_ORIGIN), "http://10.0.0.1:80")
        all_kinds = {**at_origin, OWN: "memory:"}
        self.gateways = [
            Gateway(self.loop, ("10.0.0.2", 80), all_kinds, file),
            Gateway(self.loop, ("10.0.0.3", 80), all_kinds, file, "info"),
            Gateway(self.loop, ("10.0.0.4", 80), {OPEN: "http://10.0.0.2:80"}, file),
        ]
        for gateway in self.gateways:
            await gateway.start()
        await self._make_own()
        changing = self.loop.create_task(self._change())
        await asyncio.gather(*(self._read_on() for _ in range(CROWDS_AT_ONCE)))
        changing.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await changing  # it has raised if it could not go on
        for gateway in self.gateways:
            await self._search(gateway)
        await asyncio.sleep(READERS_LEAVE_S)
        for gateway in self.gateways:
            await gateway.stop()
        self.origin.stop()
        self.count.complain("the origin saw a token", self.origin.saw[:3])
        return self.count

    # What goes on meanwhile

    async def _make_own(self) -> None:
        for gateway in self.gateways[:FAR]:
            for scope in scopes_of(len(self.people)):
                await self._write("PUT", gateway, scope)

    async def _write(self, method: str, gateway: Gateway, scope: str) -> None:
        client = Client(self.loop, gateway.address)
        fields = {"Authorization": f"Bearer {WRITER}", "Content-Type": "text/plain"}
        data = f"<{mark_of_scope(scope)}>".encode()
        got = await client.ask(method, f"{OWN}/{scope}/s", fields, data * 3)
        assert got is not None, "cut"
        assert got.status in {201, 204}, got
        client.leave()

    async def _change(self) -> None:
        """Revoke tokens and give them back, and let the own streams grow."""
        revoked = self.judge.revoked
        while True:
            await asyncio.sleep(self.chance.uniform(0, CHANGES_EVERY_S))
            now = self.loop.time()
            for number in [one for one, since in revoked.items() if now - since > AWAY_S]:
                del revoked[number]
            revoked.setdefault(self.chance.randrange(len(self.people)), now)
            valid = [one for one in self.people if one.number not in revoked]
            self.origin.members = {one.number for one in valid}
            file = parse_tokens("tokens.toml", tokens(valid, now))
            for gateway in self.gateways:
                gateway.tokens_are(file)
            scope = self.chance.choice(scopes_of(len(self.people)))
            await self._write("POST", self.chance.choice(self.gateways[:FAR]), scope)

    # Reading

    async def _read_on(self) -> None:
        # What is rare comes in crowds: it varies with the order of sets whether few reads have it.
        while self.left > 0 or (self.count.missing and self.count.reads < self.most):
            gateway = self.gateways[self.chance.choice(GATEWAYS)]
            is_far = gateway is self.gateways[FAR]
            crowd = self.asking.crowd([OPEN] if is_far else [OPEN, *GUARDED])
            if crowd[0].way == "sse":
                self._begin(crowd)
                await asyncio.gather(*(self._follow(gateway, read) for read in crowd))
            else:
                # Where every other answer is a failure, what came first stands in for the next.
                for _ in range(2 if crowd[0].is_failing else 1):
                    await self._ask(gateway, crowd)
            await asyncio.sleep(self.chance.uniform(0, self.pauses_s))

    def _begin(self, crowd: list[Read]) -> None:
        self.left -= len(crowd)
        self.count.reads += len(crowd)

    async def _ask(self, gateway: Gateway, crowd: list[Read]) -> None:
        """All of them ask before anybody reads his answer."""
        self._begin(crowd)
        asked = self.loop.time()
        lines = [self._send(gateway, read) for read in crowd]
        for read, line in zip(crowd, lines, strict=True):
            try:
                told = await line.read(answer(read.method))
            except ConnectionResetError:
                self.count.ways["cut"] += 1
                continue
            got = Got(asked, line.came, told.status, told.headers, told.body)
            if got.status == 200 and "etag" in got.fields:
                self.asking.tags[read.person.number, read.path] = got.fields["etag"]
            self.judge.answered(read, got)
            gateway.give_back(line)

    def _send(self, gateway: Gateway, read: Read) -> Line:
        wire, line = read.wire, gateway.line()
        self.count.ways["a remembered head"] += gateway.fast.known(wire) is not None
        line.send(wire)
        return line

    async def _follow(self, gateway: Gateway, read: Read) -> None:
        """Some of the events, sometimes all until the gateway ends them."""
        asked, line = self.loop.time(), self._send(gateway, read)
        with contextlib.suppress(ConnectionResetError):
            head = await line.read(head_only())
            if head.headers.get("content-type") != "text/event-stream":
                whole = await line.read(read_body(head))
                got = Got(asked, line.came, whole.status, whole.headers, whole.body)
                self.judge.answered(read, got)
            else:
                self.judge.began(read, Got(asked, line.came, head.status, head.headers, b""))
                await self._watch(read, line, self.chance.choice([1, 1, 1, 3]))
        line.leave()

    async def _watch(self, read: Read, line: Line, events: int) -> None:
        unread = b""
        while events and (chunk := await line.read(read_chunk())):
            unread += chunk
            whole, sign, unread = unread.rpartition(b"\n\n")
            if sign:
                self.judge.told(read, (whole + sign).decode("latin-1"))
                events -= 1

    # Where operators look

    async def _search(self, gateway: Gateway) -> None:
        complain, ways = self.count.complain, self.count.ways
        for prefix in (route.prefix for route in gateway.routes):
            for question in self._questions(prefix):
                answer = repr(await gateway.inspector.answer(question))
                ways["answers of the console"] += 1
                complain(f"{question} shows", answer if CANARY in answer else "")
        told = repr(metrics.snapshot(gateway.services, gateway.routes))
        complain("a metric has a token", told if CANARY in told else "")
        objects, found = found_in_store(gateway.services.store, CANARY)
        ways["objects of the store"] += objects
        complain("the store has a token", found)
        heads = repr(gateway.fast.heads.fresh)
        complain("a remembered head has a token", heads if CANARY in heads else "")

    def _questions(self, prefix: str) -> Iterator[Question]:
        stream = "all/s" if prefix == OWN else "all/max-age"
        token = self.people[0].token
        if prefix != OWN:  # that lists its streams in a thread: a virtual clock cannot wait
            yield ListStreams(prefix)
        yield DescribeStream(prefix, stream)
        if prefix != OPEN:  # there it is like any other part of a query
            target = f"{prefix}/{stream}?token={token}"
            yield ExplainRequest(target, (("Host", "streams.example"),))
        known = (("Authorization", f"Bearer {token}"), ("Host", "streams.example"))
        yield ExplainRequest(f"{prefix}/{stream}", known)


@contextlib.contextmanager
def _listening(count: Count) -> Iterator[None]:
    """Search what is logged instead of writing it."""

    def search(line: Mapping[str, object]) -> None:
        count.ways["log lines"] += 1
        text = repr(line)
        is_wrong = CANARY in text or line["log_level"] == "error"
        count.complain("logged", text if is_wrong else "")

    with kept_level(NAME) as logger, log_lines_to(search):
        logger.setLevel(logging.INFO)  # by which an access log knows whether it is wanted
        yield


def mixed_reads(reads: int, people: int, seed: int = 1, pauses_s: float = PAUSES_S) -> Count:
    """What came of so many, in a process that searches for garbage as seldom as a gateway does."""
    gc.freeze()
    gc.set_threshold(20_000, 10, 10)
    loop = SimulatedLoop(random.Random(seed))
    campaign = Campaign(loop, seed, reads, people, pauses_s)
    wrong = campaign.count.wrong
    with (
        tempfile.TemporaryDirectory() as folder,
        _listening(campaign.count),
        asyncio.Runner(loop_factory=lambda: loop) as runner,
    ):
        loop.set_exception_handler(lambda _, context: wrong.append(str(context)))
        return runner.run(campaign.run(Path(folder) / "tokens.toml"))
