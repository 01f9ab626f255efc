"""Random histories of streams and subscriptions, each step compared with the model."""

from __future__ import annotations

import random
from typing import TYPE_CHECKING, Any

from tests.subscriptions.model import BEGINNING, Claim, Model, ModelSubscription
from tests.support.serving import PREFIX

if TYPE_CHECKING:
    from tests.subscriptions.receivers import Receiver, Subscribed

PATHS = ("a/x", "a/y", "b/x", "c")
PATTERNS = ("a/*", "*/x", "a/x", "*", None)
NAMES = ("s0", "s1")
LEASE_S, TTL_S = 10.0, 1_000
DONE = {"done": True}


class History:
    """One history against one gateway; `play` raises AssertionError with what was done so far."""

    gateway: Subscribed

    def __init__(self, at: Receiver, seed: int, *, expires: bool) -> None:
        self.at = at
        self.chance = random.Random(seed)
        self.model = Model()
        self.done: list[str] = []
        self.old: list[tuple[str, Claim]] = []  # claims that are over
        self.expires = expires

    async def begin(self, gateway: Subscribed) -> None:
        """Create the wake streams, and a webhook of everything that is always done."""
        self.gateway = gateway
        for name in NAMES:
            await self.gateway.create(f"wakes/of/{name}")
        await self.gateway.webhook("hook", self.at, pattern="*/x")

    async def play(self, steps: int) -> None:
        """Take so many steps."""
        kinds = [
            *[self._create] * 6,
            *[self._delete] * 3,
            *[self._append] * 8,
            *[self._claim] * 6,
            *[self._ack] * 8,
            *(self._close, self._fork, self._subscribe, self._subscribe),
            *(self._unsubscribe, self._link, self._unlink, self._release, self._bad_ack),
            *(self._stale_ack, self._pass_time, self._pass_time, self._set_back, self._expire),
            self._fail,
        ]
        for _ in range(steps):
            step = self.chance.choice(kinds)
            self.done.append(step.__name__.lstrip("_"))
            await step()
            await self._compare()

    async def go_on(self, gateway: Subscribed) -> None:
        """Go on with the same log and another process, whose clock begins anew."""
        passed = gateway.gateway.clock() - self.gateway.gateway.clock()
        self.gateway = gateway
        self.done.append("restart")
        for one in self.model.subscriptions.values():
            if one.claim is not None:
                one.claim.ends.clear()  # an ack covers no close that an earlier process told
        gateway.pass_time(0.0)
        self._let_pass(passed)
        await self._compare()

    # Streams

    def _some(self) -> str | None:
        streams = list(self.model.streams)
        return self.chance.choice(streams) if streams else None

    async def _create(self) -> None:
        path = self.chance.choice(PATHS)
        if path in self.model.streams:
            return
        body = self.chance.choice([b"", b"[]", b'{"n":1}', b'[{"n":1},{"n":2}]'])
        is_closed = self.chance.random() < 0.1
        has_ttl = self.expires and self.chance.random() < 0.3
        lines = ["Stream-Closed: true"] * is_closed + [f"Stream-TTL: {TTL_S}"] * has_ttl
        answer = await self.gateway.create(path, *lines, body=body)
        if answer.status != 201:
            return  # forks of a deleted stream are still there
        tail = answer.next_offset
        beginning = _at_beginning(tail)
        self.model.create(path, beginning, tail, is_closed=is_closed, has_ttl=has_ttl)

    async def _fork(self) -> None:
        source, path = self._some(), self.chance.choice(PATHS)
        if source is None or path in self.model.streams:
            return
        point = self.model.streams[source].tail
        body = self.chance.choice([b"", b'{"n":3}'])
        answer = await self.gateway.create(
            path,
            f"Stream-Forked-From: {PREFIX}/{source}",
            f"Stream-Fork-Offset: {point}",
            body=body,
        )
        if answer.status == 201:
            tail = answer.next_offset
            beginning = tail if not body else _with_position(tail, _position(point))
            has_ttl = self.model.streams[source].has_ttl  # inherited
            is_fork = _position(point) > 0
            self.model.create(path, beginning, tail, is_fork=is_fork, has_ttl=has_ttl)

    async def _append(self) -> None:
        path = self._some()
        if path is None:
            return
        stream = self.model.streams[path]
        answer = await self.gateway.append(path, self.chance.choice([b'{"n":4}', b'[{"n":5},6]']))
        assert answer.status == (409 if stream.is_closed else 204)
        if answer.status == 204:
            stream.offsets.append(answer.next_offset)

    async def _close(self) -> None:
        path = self._some()
        if path is not None and not self.model.streams[path].is_closed:
            answer = await self.gateway.append(path, b"", "Stream-Closed: true")
            assert answer.status == 204
            self.model.streams[path].is_closed = True

    async def _delete(self) -> None:
        path = self._some()
        if path is not None:
            assert await self.gateway.delete(path) == 204
            self.model.delete(path)

    async def _expire(self) -> None:
        """Let all streams with a TTL expire; every lease is over by then."""
        if not self.expires or self.chance.random() < 0.5:
            return
        await self._advance(2.0 * TTL_S)  # the clock may have been set back
        await self.gateway.gateway.route.sweeper.round()
        for path, stream in list(self.model.streams.items()):
            if stream.has_ttl:
                self.model.delete(path)

    # Subscriptions

    async def _subscribe(self) -> None:
        name = self.chance.choice(NAMES)
        if name in self.model.subscriptions:
            return
        pattern = self.chance.choice(PATTERNS)
        streams = sorted(self.chance.sample(PATHS, self.chance.randrange(3)))
        if pattern is None and not streams:
            return
        document: dict[str, Any] = {
            "type": "pull-wake",
            "streams": streams,
            "wake_stream": f"wakes/of/{name}",
            "lease_ttl_ms": int(LEASE_S * 1000),
        }
        if pattern is not None:
            document["pattern"] = pattern
        assert (await self.gateway.ask("PUT", name, document))[0] == 201
        self.model.subscribe(name, pattern, streams)

    async def _unsubscribe(self) -> None:
        name = self._one()
        if name is not None and self.chance.random() < 0.3:
            assert (await self.gateway.ask("DELETE", name))[0] == 204
            one = self.model.subscriptions.pop(name)
            if one.claim is not None:
                self.old.append((name, one.claim))

    def _one(self) -> str | None:
        names = list(self.model.subscriptions)
        return self.chance.choice(names) if names else None

    async def _link(self) -> None:
        name, path = self._one(), self.chance.choice(PATHS)
        if name is not None:
            body = {"streams": [f"/{path}/"]}
            assert (await self.gateway.ask("POST", f"{name}/streams", body))[0] == 204
            self.model.link(name, path)

    async def _unlink(self) -> None:
        name, path = self._one(), self.chance.choice(PATHS)
        if name is not None:
            assert (await self.gateway.ask("DELETE", f"{name}/streams/{path}"))[0] == 204
            self.model.unlink(name, path)

    # Work

    async def _claim(self) -> None:
        name = self._one()
        if name is None:
            return
        one, pending = self.model.subscriptions[name], self.model.pending(name)
        status, told = await self.gateway.claim(name=name)
        if one.is_leased:
            assert (status, told["error"]["code"]) == (409, "ALREADY_CLAIMED")
        elif not pending:
            assert (status, told["error"]["code"]) == (409, "NO_PENDING_WORK")
            self._over(name)
        else:
            assert status == 200, told
            self._claimed(name, told)

    def _claimed(self, name: str, told: dict[str, Any]) -> None:
        one = self.model.subscriptions[name]
        assert {it["path"]: _known(it) for it in told["streams"]} == self.model.told(name)
        assert told["generation"] > one.generation
        self._over(name)
        one.generation, one.lease_s = told["generation"], LEASE_S
        ends = self.model.ends(name)
        one.claim = Claim(told["wake_id"], told["generation"], told["token"], ends)

    def _over(self, name: str) -> None:
        one = self.model.subscriptions[name]
        if one.claim is not None:
            self.old.append((name, one.claim))
        one.claim, one.lease_s = None, 0.0

    async def _ack(self) -> None:
        name = self._one()
        if name is None or not self.model.subscriptions[name].is_leased:
            return
        acks, moves = self._acks(name)
        is_done = self.chance.random() < 0.6
        claim = self.model.subscriptions[name].claim
        assert claim is not None
        status, told = await self._send(name, "ack", claim, acks, is_done=is_done)
        assert status == 200, told
        for path, acked in moves.items():
            self.model.acknowledge(name, path, acked)
        one = self.model.subscriptions[name]
        if is_done:
            assert told["next_wake"] == bool(self.model.pending(name))
            self._over(name)
        else:
            one.lease_s = LEASE_S

    def _acks(self, name: str) -> tuple[list[tuple[str, str]], dict[str, int]]:
        """Return valid acks of some streams."""
        acks: list[tuple[str, str]] = []
        moves: dict[str, int] = {}
        for path, link in self.model.subscriptions[name].links.items():
            stream = self.model.streams.get(path)
            is_at_beginning = stream is None or (link.acked == 0 and self.chance.random() < 0.1)
            if stream is None or is_at_beginning:
                acks.append((path, BEGINNING))  # as the wake told, perhaps before it was created
            elif self.chance.random() < 0.8:
                last = len(stream.offsets) - 1
                moves[path] = (
                    last if self.chance.random() < 0.7 else self.chance.randint(link.acked, last)
                )
                acks.append((path, stream.offsets[moves[path]]))
        return acks, moves

    async def _bad_ack(self) -> None:
        """Send valid acks with one that is not: none counts."""
        name = self._one()
        if name is None or not self.model.subscriptions[name].is_leased:
            return
        one = self.model.subscriptions[name]
        bad = [("nowhere", "0" * 16 + "_" + "0" * 16)]
        for path, link in one.links.items():
            stream = self.model.streams.get(path)
            if stream is not None:
                bad.append((path, _with_position(stream.tail, _position(stream.tail) + 1)))
                if link.acked > 0:
                    bad.append((path, stream.offsets[link.acked - 1]))
        assert one.claim is not None
        acks = [*self._acks(name)[0], self.chance.choice(bad)]
        status, told = await self._send(name, "ack", one.claim, acks, is_done=True)
        assert (status, told["error"]["code"]) == (409, "INVALID_OFFSET")

    async def _stale_ack(self) -> None:
        """Acknowledge a wake that is over: its worker is fenced, or its subscription is deleted."""
        if not self.old:
            return
        name, claim = self.chance.choice(self.old)
        action = self.chance.choice(["ack", "release"])
        acks = self._acks(name)[0] if name in self.model.subscriptions else []
        status, told = await self._send(name, action, claim, acks, is_done=True)
        assert status in {401, 404, 409}, told
        assert told["error"]["code"] in {"TOKEN_INVALID", "SUBSCRIPTION_NOT_FOUND", "FENCED"} | (
            {"TOKEN_EXPIRED"} if self.expires else set()
        )

    async def _release(self) -> None:
        name = self._one()
        if name is None or not self.model.subscriptions[name].is_leased:
            return
        claim = self.model.subscriptions[name].claim
        assert claim is not None
        assert (await self._send(name, "release", claim, [], is_done=True))[0] == 204
        self._over(name)

    async def _send(
        self, name: str, action: str, claim: Claim, acks: list[tuple[str, str]], *, is_done: bool
    ) -> tuple[int, Any]:
        document = {
            "wake_id": claim.wake_id,
            "generation": claim.generation,
            "acks": [{"stream": path, "offset": offset} for path, offset in acks],
            "done": is_done,
        }
        return await self.gateway.ask("POST", f"{name}/{action}", document, claim.token)

    # Time, and receivers that fail

    async def _pass_time(self) -> None:
        await self._advance(self.chance.choice([0.5, 3.0, 12.0]))

    async def _set_back(self) -> None:
        await self._advance(-100.0)

    async def _advance(self, seconds: float) -> None:
        self.gateway.pass_time(seconds)
        self._let_pass(seconds)
        await self.gateway.quiet()

    def _let_pass(self, seconds: float) -> None:
        self.model.pass_time(seconds, LEASE_S)
        for name, one in self.model.subscriptions.items():
            if one.claim is not None and not one.is_leased:
                self._over(name)

    async def _fail(self) -> None:
        """Have the receiver fail from now on, or work again."""
        self.at.status = 500 if self.at.status == 200 else 200

    # What must be so at any time

    async def _compare(self) -> None:
        await self.gateway.quiet()
        for name, one in self.model.subscriptions.items():
            await self._compare_one(name, one)
        for wake in self.at.wakes:
            assert any(it["has_pending"] for it in wake["streams"]), wake
        generations = [it["generation"] for it in self.at.wakes]
        assert generations == sorted(generations)
        self._check_pending()

    def _check_pending(self) -> None:
        """Whatever is pending has a wake, or will have one, without any further append."""
        engine = self.gateway.engine
        for one in engine.by_id.values():
            delivery = one.delivery
            assert not one.pending or delivery.wake or delivery.next_attempt_at is not None
        for stream in engine.membership.streams.values():
            is_pending_for_all = all(link.is_pending and link.is_noted for link in stream.links)
            assert is_pending_for_all or not stream.is_pending_for_all

    async def _compare_one(self, name: str, one: ModelSubscription) -> None:
        status, told = await self.gateway.ask("GET", name)
        assert status == 200
        found = {it["path"]: (it["link_type"], it["acked_offset"]) for it in told["streams"]}
        expected = {
            path: (info["link_type"], info["acked_offset"])
            for path, info in self.model.told(name).items()
        }
        assert found == expected
        assert told["generation"] >= one.generation
        if self.model.pending(name) and not one.is_leased:
            # Nothing is forgotten: whoever reads the wake stream finds this generation.
            events = await self.gateway.read(f"wakes/of/{name}")
            assert events[-1]["generation"] == told["generation"] > one.generation

    async def finish(self) -> None:
        """Have everything acknowledged; then nothing wakes any more."""
        self.at.status = 200
        for _ in range(4):
            await self._advance(300.0)
        assert not self.gateway.engine.by_id["hook"].pending
        for name in self.model.subscriptions:
            rounds = 0
            while not await self._is_worked_off(name):
                assert (rounds := rounds + 1) < 5
            assert not self.model.pending(name)
        await self._compare()
        before = len(self.at.wakes), await self._events()
        for _ in range(5):
            await self._advance(4_000.0)
        assert (len(self.at.wakes), await self._events()) == before

    async def _is_worked_off(self, name: str) -> bool:
        """Claim a subscription and acknowledge everything; return whether nothing was pending."""
        one = self.model.subscriptions[name]
        status, told = await self.gateway.claim(name=name)
        if status == 409:
            return str(told["error"]["code"]) == "NO_PENDING_WORK"
        self._claimed(name, told)
        assert one.claim is not None
        acks = [(it["path"], it["tail_offset"]) for it in told["streams"]]
        assert (await self._send(name, "ack", one.claim, acks, is_done=True))[0] == 200
        for path, stream in self.model.streams.items():
            if path in one.links:
                self.model.acknowledge(name, path, len(stream.offsets) - 1)
        self._over(name)
        return False

    async def _events(self) -> int:
        return sum([len(await self.gateway.read(f"wakes/of/{name}")) for name in NAMES])


def _known(info: dict[str, Any]) -> dict[str, Any]:
    """Return what the model has of a stream in a wake."""
    return {name: it for name, it in info.items() if name not in {"trimmed", "first_offset"}}


def _position(offset: str) -> int:
    return int(offset.partition("_")[2])


def _with_position(offset: str, position: int) -> str:
    return f"{offset.partition('_')[0]}_{position:016d}"


def _at_beginning(tail: str) -> str:
    return _with_position(tail, 0)
