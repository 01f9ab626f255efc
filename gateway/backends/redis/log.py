"""The log in Redis: streams that many gateways serve, compared and committed by one call each."""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import secrets
from functools import partial
from typing import TYPE_CHECKING

from gateway.backends.contract import Conflict, Loaded, PlainLog
from gateway.backends.redis.call import Call
from gateway.backends.redis.commands import (
    Commands,
    Names,
    decode_news,
    loaded,
    standing,
    stands,
    stood,
)
from gateway.backends.redis.deadline_index import DeadlineIndex
from gateway.backends.redis.notifications import Notifications
from gateway.backends.redis.pipeline import Unreachable
from gateway.backends.redis.primary import Primary
from gateway.backends.redis.records import Run, stretches
from gateway.backends.redis.topology import ONLY, RedisSettings, Topology
from gateway.errors import LogUnavailable, RecordDamaged, StreamGone, StreamNotFound
from gateway.protocol.chunks import Chunk
from gateway.protocol.generations import agreed
from gateway.telemetry.logs import log

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from gateway.backends.contract import Listener
    from gateway.backends.redis.connection import Packed, Refusal, Reply
    from gateway.backends.redis.pipeline import Answer
    from gateway.backends.redis.records import Stretch
    from gateway.backends.redis.topology import Address
    from gateway.protocol.state import Change, StreamState

OPEN_S = 1.0  # a start waits no longer for Redis: whoever needs it is told that it is not there
COMPLAIN_S = 10.0  # between two log lines of a kind: every call may meet the same
SURVEY_S = 1.0  # between two looks at which servers a cluster has
ID_BITS = 62  # drawn at random: gateways need not agree on ids
MISSING = "a record is missing in Redis: its key was evicted, or changed by somebody else"
AT_RISK = "stored, but fewer replicas than wait_replicas have it yet: it may be lost in a failover"


class RedisLog(PlainLog):
    """`redis:` and its kin."""

    shared = True
    fold_bytes = 256 * 1024  # one entry, of which a read may want the last record

    def __init__(self, settings: RedisSettings, servers: Topology | None = None) -> None:
        self._settings = settings
        self._servers = servers or Topology(settings)
        self._names = Names(settings.origin.prefix)
        self._calls = Commands(self._names, self._servers, secrets.token_hex(4))
        self._deadlines = DeadlineIndex(self._calls, self._ask)
        self._tokens = itertools.count()
        self._primaries: dict[Address, Primary] = {}
        self._only: Primary | None = None  # when it is no cluster
        self._opening: set[asyncio.Task[None]] = set()
        self._surveying: asyncio.Task[None] | None = None
        self._surveyed = asyncio.Event()
        self._listener: Listener | None = None
        self._news = Notifications(self._servers, self._names.gone, self._heard)
        self._complained: dict[str, float] = {}  # when, by the code of the refusal
        self.commits = 0
        self.conflicts = 0
        self.histories = 0  # times that a server's changed

    def __repr__(self) -> str:
        return f"RedisLog({self._settings.origin})"

    @property
    def repeats_wait(self) -> bool:
        """Replicas that are waited for may lack what a repeated append had stored."""
        return self._settings.wait_replicas > 0

    def listen(self, listener: Listener) -> None:
        """Tell somebody of what other gateways do."""
        self._listener = listener

    async def open(self) -> None:
        """Connect; a Redis that is not there is waited for by whoever needs it."""
        self._servers.check()
        if not self._servers.is_cluster:
            self._only = self.primary_at(ONLY)
        self._surveying = asyncio.get_running_loop().create_task(self._keep_surveying())
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(OPEN_S):
                await self._surveyed.wait()
                await asyncio.gather(*map(asyncio.shield, self._opening))
        self._news.open()

    async def _survey(self) -> None:
        """Have the servers that there are, and no others."""
        try:
            addresses = await self._servers.primaries()
        except Unreachable:
            return  # `trouble` tells
        if self._surveyed.is_set() and set(addresses) != set(self._primaries):
            self._news.moved()
        for address in addresses:
            self.primary_at(address)
        for address in set(self._primaries) - set(addresses):
            await self._primaries.pop(address).close()

    async def _keep_surveying(self) -> None:
        while True:
            try:
                await self._survey()
            except Exception:  # noqa: BLE001 - whatever it was, servers go on to come and go
                log.exception("log.survey_failed")
            self._surveyed.set()
            if not self._servers.is_cluster:
                return
            await asyncio.sleep(SURVEY_S)

    async def close(self) -> None:
        """Close all connections."""
        await self._news.close()
        if self._surveying is not None:
            self._opening.add(self._surveying)
        for task in self._opening:
            task.cancel()
        await asyncio.gather(*self._opening, return_exceptions=True)
        for primary in self._primaries.values():
            await primary.close()
        await self._servers.close()

    def new_stream_id(self) -> int:
        """An id that no stream of this log ever had."""
        return secrets.randbits(ID_BITS)

    def trouble(self) -> str | None:
        """What is wrong with the first server that takes no appends."""
        if self._servers.trouble is not None:
            return f"{self._servers}: {self._servers.trouble}"
        ill = (one for one in self._primaries.values() if one.trouble is not None)
        return next((f"{one.name}: {one.trouble}" for one in ill), self._news.trouble)

    def numbers(self) -> Mapping[str, int]:
        """Commits, lost races, streams whose changes are told, changes of a server's history."""
        counted = {name: getattr(self, name) for name in ("commits", "conflicts", "histories")}
        return {**counted, "followed": len(self._news)}

    # Primaries

    def primary_of(self, key: str) -> Primary | None:
        """The server that has a key; None when that must be found out first."""
        if self._only is not None:
            return self._only
        address = self._servers.known_address(key)
        return None if address is None else self.primary_at(address)

    async def find(self, key: str) -> Primary:
        """The server that has a key. Raises Unreachable."""
        return self.primary_at(await self._servers.address(key))

    def primary_at(self, address: Address) -> Primary:
        """The server at an address."""
        primary = self._primaries.get(address)
        if primary is None:
            replicas = self._settings.wait_replicas
            primary = Primary(self._servers, address, self._calls, replicas, self._history_changed)
            # One that was not there from the start has taken over what was known of others.
            primary.is_new = self._surveyed.is_set()
            self._primaries[address] = primary
            opening = asyncio.get_running_loop().create_task(primary.open())
            self._opening.add(opening)
            opening.add_done_callback(self._opening.discard)
        return primary

    def moved(self) -> None:
        """Keys are elsewhere than was known."""
        if self._servers.is_cluster:
            self._servers.moved()
            self._news.moved()

    def complain(self, key: str, refusal: Refusal) -> None:
        """Log a refusal, one of a kind in a while: thousands of calls may meet the same."""
        now = asyncio.get_running_loop().time()
        if now >= self._complained.get(refusal.code, 0.0) + COMPLAIN_S:
            self._complained[refusal.code] = now
            log.error("log.refused", key=key, reason=refusal.text)

    def _history_changed(self) -> None:
        self.histories += 1
        if self._servers.is_cluster:
            self._news.moved()
        self._news.renew()
        if self._listener is not None:
            self._listener.history_changed()

    # Reading

    async def _ask(self, key: str, *calls: Packed, expected: int = 0) -> list[Reply]:
        answered: asyncio.Future[list[Reply]] = asyncio.get_running_loop().create_future()
        Call(self, key, calls, partial(_settle, answered), expected=expected).go()
        return await answered

    async def load(self, path: str) -> Loaded:
        """What stands at `path`, as it goes on in the present history."""
        (reply,) = await self._ask(self._names.meta(path), self._calls.load(path))
        self._compare(reply)
        return loaded(reply)

    async def stands(self, state: StreamState) -> bool:
        """Whether the stream is still at this version."""
        path = state.path
        (reply,) = await self._ask(self._names.meta(path), self._calls.confirm(path))
        self._compare(reply)
        return stands(reply, state)

    def _compare(self, reply: Reply) -> None:
        """In a cluster each server has a history of its own, and slots move between them."""
        if self._only is not None:
            self._only.compare(int(reply[0]))

    async def read(self, state: StreamState, start: int, end: int) -> Chunk:
        """The records after `start`, and then the state: as new as they are, or newer."""
        places = stretches(state, start, end)
        read, was, now = await self._read(state, places)
        if now is None or was is None or not was.stream_id == now.stream_id == state.stream_id:
            raise StreamNotFound("the stream was deleted")
        if start > now.tail or now.offset(start) != state.offset(start):
            raise StreamGone("the log has lost what was before this offset")
        if start < now.first:
            raise StreamGone("what follows offset is no longer kept")
        run = Run(start)
        for place, entries in read:
            await run.extend(place, entries, was.tail)
        kept = read[-1][0].stop if read else end
        if run.position < min(kept, state.tail, was.tail):
            raise RecordDamaged(MISSING)
        return Chunk(now, run.start, run.position, tuple(run.datas))

    async def _read(
        self, state: StreamState, places: Sequence[Stretch]
    ) -> tuple[list[tuple[Stretch, list[Reply]]], StreamState | None, StreamState | None]:
        """The entries of each place, and the state before and after them.

        In one go where one server has it all. A place ends where not all of it is there any more.
        """
        keys = [self._names.meta(place.path) for place in places]
        key = self._names.meta(state.path)
        apart: list[tuple[Stretch, list[Reply]]] = []
        if not self._servers.together([*keys, key]):
            own = places[-1:] if keys[-1] == key else []
            for place in places[: len(places) - len(own)]:
                apart.append(await self._inherited(state, place))
                if apart[-1][0].stop < place.stop:
                    own = []
                    break
            places = own
        expected = sum(place.stop - place.begin for place in places)
        reads = self._calls.read(state.path, places)
        was, *replies, now = await self._ask(key, *reads, expected=expected)
        return [*apart, *_by_place(places, replies)], stood(was), stood(now)

    async def _inherited(self, fork: StreamState, place: Stretch) -> tuple[Stretch, list[Reply]]:
        """The records of a fork that are at another server, as far as that has them still."""
        key = self._names.meta(place.path)
        reads = self._calls.read(place.path, [place])
        _, *replies, found = await self._ask(key, *reads, expected=place.stop - place.begin)
        source = stood(found)
        kept = -1
        if source is not None and source.stream_id == place.stream_id:
            kept = agreed(source, fork, place.stop)
        if kept <= place.begin:
            raise StreamGone("the log has lost what the fork's source had here")
        ((_, entries),) = _by_place([place], replies)
        return place._replace(stop=min(kept, place.stop)), entries

    # Committing

    def commit(self, changes: Sequence[Change]) -> asyncio.Future[None]:
        """One call for the one change."""
        (change,) = changes
        done: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        key = self._names.meta(change.state.path)
        commit = self._calls.commit(change, next(self._tokens))
        committed = partial(self._committed, change, done)
        note = self._deadlines.note(change)
        index = self._names.deadlines
        if note is None:
            self._write(key, [commit], committed)
        elif self._servers.together([key, index]):
            self._write(key, [note, commit], committed)
        else:
            self._write(index, [note], lambda _: self._write(key, [commit], committed))
        return done

    def _write(
        self, key: str, calls: list[Packed], done: Callable[[Answer | LogUnavailable], None]
    ) -> None:
        Call(self, key, calls, done, commits=True).go()

    def _committed(
        self, change: Change, done: asyncio.Future[None], answer: Answer | LogUnavailable
    ) -> None:
        key = self._names.meta(change.state.path)
        if not isinstance(answer, LogUnavailable) and answer[0][-1] == [1, 1]:
            self._write(key, [self._calls.tidy(change)], lambda _: None)
        if done.done():  # whoever waited was cancelled; the commit stands or falls all the same
            return
        if isinstance(answer, LogUnavailable):
            done.set_exception(answer)
            return
        replies, replicas = answer
        wanted = self._settings.wait_replicas
        if replies[-1][0] == 0:
            self.conflicts += 1
            done.set_exception(_conflict(replies[-1]))
        elif wanted and not (isinstance(replicas, int) and replicas >= wanted):
            primary = self.primary_of(key)
            if primary is not None:
                primary.look()
            done.set_exception(LogUnavailable(AT_RISK))
        else:
            self.commits += 1
            done.set_result(None)

    def atomic(self, changes: Sequence[Change]) -> bool:
        """Only those of one stream: of several, a crash may let some come true and others not."""
        return len(changes) <= 1

    async def expired(self, now: float, limit: int) -> Sequence[str]:
        """Paths of streams whose time, or that of a part of them, is over."""
        return await self._deadlines.expired(now, limit)

    async def reclaim(self) -> bool:
        """A removed stream's keys are unlinked, and Redis frees them in the background."""
        return False

    # News of what other gateways do

    def follow(self, path: str) -> None:
        """Hear of the stream's changes from now on."""
        self._news.follow(self._names.meta(path))

    def unfollow(self, path: str) -> None:
        """No more."""
        self._news.unfollow(self._names.meta(path))

    def _heard(self, channel: bytes, message: bytes | None) -> None:
        if self._listener is None:
            return
        is_gone = channel == self._names.gone.encode()
        if message is None and is_gone:
            self._listener.removals_missed()
        elif message is None:
            self._listener.missed(self._names.path(channel))
        elif is_gone:
            version, _, meta = message.partition(b" ")
            number = version.partition(b".")[0]
            if number.isdigit():  # else it is of somebody else
                self._listener.gone(self._names.path(meta), int(number))
        else:
            self._hear(channel, message)

    def _hear(self, channel: bytes, message: bytes) -> None:
        assert self._listener is not None, "listening"
        try:
            change = decode_news(message)
        except ValueError:  # of another version of Headgate, or of somebody else
            self._listener.missed(self._names.path(channel))
        else:
            self._listener.heard(change)


def _by_place(
    places: Sequence[Stretch], replies: Sequence[Reply]
) -> list[tuple[Stretch, list[Reply]]]:
    """Each place with the entry in which it begins, and those that follow."""
    pairs = zip(places, replies[::2], replies[1::2], strict=True)
    return [(place, before + entries) for place, before, entries in pairs]


def _conflict(reply: Reply) -> Conflict | RecordDamaged:
    try:
        return Conflict(standing(reply))
    except RecordDamaged as damage:
        return damage


def _settle(answered: asyncio.Future[list[Reply]], answer: Answer | LogUnavailable) -> None:
    if answered.done():
        return
    if isinstance(answer, LogUnavailable):
        answered.set_exception(answer)
    else:
        answered.set_result(answer[0])
