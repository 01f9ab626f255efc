"""Redis in memory, as far as the log needs it: to be killed, cut off and put back at will.

What scripts/headgate.lua does is done here by the same names; the contract stands there.
"""

from __future__ import annotations

from collections import deque
from typing import TYPE_CHECKING, Any, NamedTuple

from gateway.backends.redis_rows import VERSION

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence

    from gateway.backends.redis_wire import Reply
    from tests.streams.simulation.chance import Chance
    from tests.streams.simulation.link import Link

MOMENTS = 64  # how many writes back a replica may lag
FIXED = 9  # words of a change before its lists


class Change(NamedTuple):
    """One stream's part of a commit."""

    fixed: Sequence[bytes]
    records: Sequence[tuple[bytes, bytes]]
    producers: Sequence[tuple[bytes, bytes]]
    forgotten: Sequence[bytes]

    @property
    def expected(self) -> bytes:
        return self.fixed[0]

    @property
    def v(self) -> bytes:
        return self.fixed[1]

    @property
    def token(self) -> bytes:
        return self.fixed[2]

    @property
    def s(self) -> bytes:
        return self.fixed[3]

    @property
    def message(self) -> bytes:
        return self.fixed[4]

    @property
    def first(self) -> int:
        return int(self.fixed[5] or 0)

    @property
    def generation(self) -> bytes:
        return self.fixed[6]

    @property
    def is_gone(self) -> bool:
        return bool(self.fixed[8])

    def grave(self, gateway: bytes) -> bytes:
        return b" ".join((self.generation, self.v, gateway, self.token))


def parse_changes(words: Sequence[bytes]) -> Iterator[Change]:
    """The changes of a commit."""
    at = 0
    while at < len(words):
        fixed = words[at : at + FIXED]
        at += FIXED
        lists = []
        for width in (2, 2, 1):
            end = at + 1 + width * int(words[at])
            lists.append(words[at + 1 : end])
            at = end
        records, producers, forgotten = lists
        yield Change(fixed, _pairs(records), _pairs(producers), forgotten)


def _pairs(words: Sequence[bytes]) -> Sequence[tuple[bytes, bytes]]:
    return list(zip(words[::2], words[1::2], strict=True))


class Redis:
    """One server. No value is changed in place, so that a moment of it is a shallow copy."""

    def __init__(self, chance: Chance, clock: Callable[[], float]) -> None:
        self.chance = chance
        self.clock = clock
        self.keys: dict[bytes, Any] = {}
        self.moments: deque[Mapping[bytes, Any]] = deque([{}], MOMENTS)
        self.lost: set[bytes] = set()  # records that were there once and are no more
        self.links: dict[Link, None] = {}
        self.channels: dict[bytes, dict[Link, None]] = {}
        self.is_up = True
        self.dies_of: Callable[[], None] | None = None  # the next commit, once carried out
        self.starts = 0
        self.process = b""
        self.reign: int | None = None
        self.start()

    def start(self) -> None:
        """A new process."""
        self.starts += 1
        self.process = b"%08x" % self.starts
        self.reign = None
        self.is_up = True

    def kill(self) -> None:
        """Everything but the keys is gone."""
        self.is_up = False
        for link in list(self.links):
            link.cut()
        self.channels = {}

    def put_back(self, writes: int) -> None:
        """Lose the last writes, as a replica that takes over does which had not got them."""
        kept = self.moments[-1 - min(writes, len(self.moments) - 1)]
        before = self._records()
        self.keys = dict(kept)
        self.moments = deque([kept], MOMENTS)
        self.lost |= before - self._records()

    def _records(self) -> set[bytes]:
        streams = (value for value in self.keys.values() if isinstance(value, tuple))
        return {data for stream in streams for _, data in stream}

    # Commands

    def run(self, link: Link, words: Sequence[bytes]) -> list[Reply]:
        """The replies to one command."""
        name = words[0].lower()
        if name in {b"subscribe", b"ssubscribe"}:
            for channel in words[1:]:
                self.channels.setdefault(channel, {})[link] = None
            return [[name, channel, 1] for channel in words[1:]]
        if name in {b"unsubscribe", b"sunsubscribe"}:
            for channel in words[1:]:
                self.channels.get(channel, {}).pop(link, None)
            return [[name, channel, 0] for channel in words[1:]]
        if name == b"fcall":
            count = int(words[2])
            name = words[1].removeprefix(b"headgate_").removesuffix(f"_{VERSION}".encode())
            function = getattr(self, f"_{name.decode()}")
            return [function(words[3 : 3 + count], words[3 + count :])]
        return [getattr(self, f"_{name.decode()}")(words[1:])]

    def _write(self, key: bytes, value: object) -> None:
        self.keys[key] = value

    def _unlink(self, *keys: bytes) -> None:
        for key in keys:
            value = self.keys.pop(key, None)
            if isinstance(value, tuple):
                self.lost |= {data for _, data in value}

    def _written(self) -> None:
        self.moments.append(dict(self.keys))

    def _publish(self, kind: bytes, channel: bytes, message: bytes) -> None:
        for link in self.channels.get(channel, ()):
            link.tell([kind, channel, message])

    def _ping(self, words: Sequence[bytes]) -> Reply:
        return [b"pong", b""]

    def _xrange(self, words: Sequence[bytes]) -> Reply:
        key, first, last = words
        begin, end = int(first[:-2]), int(last[1:-2])
        return [_entry(*one) for one in self.keys.get(key, ()) if begin <= one[0] < end]

    def _xrevrange(self, words: Sequence[bytes]) -> Reply:
        end = int(words[1][1:-2])
        return [_entry(*one) for one in reversed(self.keys.get(words[0], ())) if one[0] < end][:1]

    def _zadd(self, words: Sequence[bytes]) -> Reply:
        key, moment, path = words[0], float(words[-2]), words[-1]
        noted = self.keys.get(key, {})
        if b"LT" not in words or moment < noted.get(path, moment + 1):
            self._write(key, {**noted, path: moment})
            self._written()
        return 0

    def _zrem(self, words: Sequence[bytes]) -> Reply:
        noted = self.keys.get(words[0], {})
        self._write(words[0], {path: at for path, at in noted.items() if path != words[1]})
        self._written()
        return 0

    def _zrangebyscore(self, words: Sequence[bytes]) -> Reply:
        key, _, until, _, past, limit = words
        noted = sorted((at, path) for path, at in self.keys.get(key, {}).items())
        due = [path for at, path in noted if at <= float(until)]
        return due[int(past) : int(past) + int(limit)]

    # Functions

    def current_reign(self, seen: bytes | None = None) -> int:
        later, _, writer = (seen or b"0").partition(b" ")
        past = int(later)
        is_later = bool(past) and (self.reign is None or past > self.reign)
        if self.reign and is_later and writer == self.process:
            self.reign = past
        elif self.reign is None or is_later:
            now = int(self.clock() * 10**6)
            self.reign = max(now, (past if is_later else 0) + 1 + now % 10**6)
        return self.reign

    def _commit(self, keys: Sequence[bytes], argv: Sequence[bytes]) -> Reply:
        reign, publish, gone, gateway = argv[:4]
        changes = list(parse_changes(argv[4:]))
        stands = before = True
        for at, change in enumerate(changes):
            meta = self.keys.get(keys[4 * at], {})
            retired = self.keys.get(keys[4 * at + 3])
            v, tokens = meta.get(b"v", b""), meta.get(b"w" + gateway, b"").split()
            if change.s or v:
                before = before and change.token in tokens
            else:
                before = before and retired == change.grave(gateway)
            seen = meta.get(b"r")
            stands = stands and v == change.expected and int(reign) == self.current_reign(seen)
            if stands and not v and retired is not None:
                stands = int(retired.split()[0]) < int(change.generation)
        if before:
            return [1]
        if not stands:
            return [0, self.current_reign(), self._standing(keys)]
        for at, change in enumerate(changes):
            self._apply(keys[4 * at : 4 * at + 4], argv, change)
            kind = b"smessage" if publish == b"SPUBLISH" else b"message"
            self._publish(kind, keys[4 * at], change.message)
            if change.is_gone:
                self._publish(b"message", gone, change.expected + b" " + keys[4 * at])
        self._written()
        return [1]

    _settle = _commit

    def _standing(self, keys: Sequence[bytes]) -> Reply:
        meta = self.keys.get(keys[0], {})
        return [meta.get(b"s"), self._producers(keys[2]), self.keys.get(keys[3])]

    def _producers(self, key: bytes) -> list[bytes]:
        return [word for pair in self.keys.get(key, {}).items() for word in pair]

    def _apply(self, keys: Sequence[bytes], argv: Sequence[bytes], change: Change) -> None:
        meta, records, producers, retired = keys
        if not change.s:
            self._write(retired, change.grave(argv[3]))
            self._unlink(meta, records, producers)
            return
        if not change.expected:
            self._unlink(records, producers)
        stream = self.keys.get(records, ())
        added = tuple((int(start), data) for start, data in change.records)
        for last, following in zip((*stream[-1:], *added), added, strict=False):
            assert last is following or last[0] < following[0], "XADD with an id that is no higher"
        kept = {**self.keys.get(producers, {}), **dict(change.producers)}
        self._write(producers, {k: v for k, v in kept.items() if k not in change.forgotten})
        before = self.keys.get(meta, {})
        tokens = (change.token, *before.get(b"w" + argv[3], b"").split()[:3])
        first = change.first
        self.lost |= {data for start, data in stream if start < first}
        self._write(records, tuple(one for one in (*stream, *added) if one[0] >= first))
        written = {
            b"v": change.v,
            b"r": argv[0] + b" " + self.process,
            b"s": change.s,
            b"w" + argv[3]: b" ".join(tokens),
        }
        self._write(meta, {**before, **written})

    def _load(self, keys: Sequence[bytes], argv: Sequence[bytes]) -> Reply:
        meta = self.keys.get(keys[0], {})
        reign = self.current_reign(meta.get(b"r"))
        return [reign, meta.get(b"s"), self._producers(keys[2]), self.keys.get(keys[3])]

    def _confirm(self, keys: Sequence[bytes], argv: Sequence[bytes]) -> Reply:
        meta = self.keys.get(keys[0], {})
        return [self.current_reign(meta.get(b"r")), meta.get(b"v")]

    def _state(self, keys: Sequence[bytes], argv: Sequence[bytes]) -> Reply:
        meta = self.keys.get(keys[0], {})
        return [self.current_reign(meta.get(b"r")), meta.get(b"s")]

    def _probe(self, keys: Sequence[bytes], argv: Sequence[bytes]) -> Reply:
        return self.current_reign()


def _entry(start: int, data: bytes) -> Reply:
    return [b"%d-1" % start, [b"d", data]]
