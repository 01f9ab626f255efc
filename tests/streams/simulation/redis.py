"""Redis in memory, as far as the log needs it: to be killed, cut off and put back at will.

What headgate.lua does is done here by the same names; the contract stands there.
"""

from __future__ import annotations

from collections import deque
from itertools import accumulate, pairwise
from typing import TYPE_CHECKING, Any, NamedTuple

from headgate_gateway.logs.redis.names import VERSION

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from headgate_gateway.logs.redis.connection import Reply
    from tests.streams.simulation.chance import Chance
    from tests.streams.simulation.link import Link

    # A command on keys; False when it does nothing, and is not written to the file.
    Effect = Callable[[dict[bytes, Any]], bool]

MOMENTS = 64  # how many writes back a replica may lag


class Entry(NamedTuple):
    """The records of one commit, as an entry of their stream's key."""

    start: int
    history: int
    data: bytes
    lengths: bytes

    @property
    def words(self) -> list[Reply]:
        lengths = [b"n", self.lengths] if self.lengths else []
        return [b"%d-%d" % (self.start, self.history), [b"d", self.data, *lengths]]

    @property
    def records(self) -> list[tuple[int, bytes]]:
        """Each with its position."""
        lengths = [int(word) for word in self.lengths.split()] or [len(self.data)]
        ends = pairwise([0, *accumulate(lengths)])
        return [(self.start + begin, self.data[begin:end]) for begin, end in ends]


class Commit:
    """The arguments of a commit."""

    def __init__(self, argv: Sequence[bytes]) -> None:
        self.history, self.removals, self.gateway = argv[:3]
        self.expected, self.v, self.token, self.s, self.message, self.first = argv[3:9]
        self.generation, _, gone, self.start, self.data, self.lengths = argv[9:15]
        self.is_gone = bool(gone)
        rest = 16 + int(argv[15])
        self.producers = dict(zip(argv[16:rest:2], argv[17:rest:2], strict=True))
        self.forgotten = argv[rest:]

    @property
    def tombstone(self) -> bytes:
        return b" ".join((self.generation, self.v, self.gateway, self.token))


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
        self.dies_of: Callable[[], None] | None = None  # the next commit, once carried out,
        self.tears = False  # or in the midst of it
        self.starts = 0
        self.process = b""
        self.torn: list[Effect] = []  # what the file has of it
        self.open: list[Effect] = []  # what was left of it there by the last start
        self.before: dict[bytes, Any] = {}  # the keys then
        self.after: dict[bytes, Any] | None = None  # the keys with that carried out
        self.is_sealed = False  # a transaction has ended the torn one
        self.history: int | None = None
        self.start()

    def start(self) -> None:
        """A new process."""
        self.starts += 1
        self.process = b"%08x" % self.starts
        self.history = None
        self.is_up = True
        if self.after is not None:
            if not self.is_sealed and self.torn:  # what is torn now follows what was torn before
                self.torn = [*self.open, *self.torn]
            self.keys = self.after if self.is_sealed else self.before
            self.moments = deque([dict(self.keys)], MOMENTS)
        self.open, self.torn, self.after = self.torn, [], None
        if self.open:
            self.before, self.after = dict(self.keys), dict(self.keys)
            for effect in self.open:
                effect(self.after)
        self.is_sealed = False

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
        self.keys, self.torn, self.after = dict(kept), [], None
        self.moments = deque([kept], MOMENTS)
        self.lost |= before - self._records()

    def _records(self) -> set[bytes]:
        streams = (key for key, value in self.keys.items() if isinstance(value, tuple))
        return {data for key in streams for _, data in self.records(key)}

    def records(self, key: bytes) -> list[tuple[int, bytes]]:
        """The records of a stream, each with its position, as a reader should see them."""
        latest = {one.start: one for one in self.keys.get(key, ())}
        return [record for one in latest.values() for record in one.records]

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

    def _carry_out(self, effects: Sequence[Effect]) -> None:
        """Also where what was torn was carried out before, as it will be after the next start."""
        before = self._records()
        for effect in effects:
            is_written = effect(self.keys)
            if is_written and self.after is not None:
                effect(self.after)
        self.lost |= before - self._records()
        self.moments.append(dict(self.keys))

    def _publish(self, kind: bytes, channel: bytes, message: bytes) -> None:
        for link in self.channels.get(channel, ()):
            link.tell([kind, channel, message])

    def _ping(self, words: Sequence[bytes]) -> Reply:
        return [b"pong", b""]

    def _xrange(self, words: Sequence[bytes]) -> Reply:
        key, first, last = words
        begin, end = int(first[:-2]), int(last[1:-2])
        return [one.words for one in self.keys.get(key, ()) if begin <= one.start < end]

    def _xrevrange(self, words: Sequence[bytes]) -> Reply:
        last = int(words[1])
        before = [one for one in self.keys.get(words[0], ()) if one.start <= last]
        return [one.words for one in before[-1:]]

    def _info(self, words: Sequence[bytes]) -> Reply:
        """Nothing: no metric is looked at."""
        return b""

    def _zcard(self, words: Sequence[bytes]) -> Reply:
        return len(self.keys.get(words[0], {}))

    def _hget(self, words: Sequence[bytes]) -> Reply:
        key, field = words
        return self.keys.get(key, {}).get(field)

    def _hgetall(self, words: Sequence[bytes]) -> Reply:
        """Nothing: what gateways have found lost is not looked at."""
        return []

    def _hset(self, words: Sequence[bytes]) -> Reply:
        return 1

    _expire = _hset

    def _zadd(self, words: Sequence[bytes]) -> Reply:
        key, *rest = words
        is_earlier_only = rest[0] == b"LT"
        noted = dict(self.keys.get(key, {}))
        for moment, path in zip(
            rest[is_earlier_only::2], rest[is_earlier_only + 1 :: 2], strict=True
        ):
            if not is_earlier_only or float(moment) < noted.get(path, float(moment) + 1):
                noted[path] = float(moment)
        self._carry_out([_set(key, noted)])
        return 0

    def _zrem(self, words: Sequence[bytes]) -> Reply:
        noted = self.keys.get(words[0], {})
        rest = {path: at for path, at in noted.items() if path != words[1]}
        self._carry_out([_set(words[0], rest)])
        return 0

    def _time(self, _: Sequence[bytes]) -> Reply:
        return [b"%d" % part for part in divmod(int(self.clock() * 10**6), 10**6)]

    def _zrangebyscore(self, words: Sequence[bytes]) -> Reply:
        key, _, until, _, past, limit = words
        noted = sorted((at, path) for path, at in self.keys.get(key, {}).items())
        due = [path for at, path in noted if at <= float(until)]
        return due[int(past) : int(past) + int(limit)]

    # Functions

    def current_history(self, seen: bytes | None = None) -> int:
        later, _, writer = (seen or b"0").partition(b" ")
        past = int(later)
        is_later = bool(past) and (self.history is None or past > self.history)
        if self.history and is_later and writer == self.process:
            self.history = past
        elif self.history is None or is_later:
            now = int(self.clock() * 10**6)
            self.history = now if now > past else past + 1 + now % 10**6
        return self.history

    def _commit(self, keys: Sequence[bytes], argv: Sequence[bytes]) -> Reply:
        asked = Commit(argv)
        if self._was_before(keys, asked):
            return [1]
        if not self._stands(keys, asked):
            now = self._look(keys[0])
            return [0, now, [self._fields(keys[0]), self.keys.get(keys[2])]]
        effects = self._effects(keys, asked)
        kept = self.keys.get(keys[0], {}).get(b"f", b"") if asked.expected else b""
        if self.tears:
            copy = dict(self.keys)
            written = [effect for effect in effects if effect(copy)]
            self.torn += written[: self.chance.randrange(len(written) + 1)]
            return [0]  # which nobody gets: it dies of it
        self._carry_out(effects)
        self.is_sealed = self.is_sealed or len(effects) > 1
        self._publish(b"smessage", keys[0], asked.message)
        if asked.is_gone:
            self._publish(b"message", asked.removals, asked.expected + b" " + keys[0])
        return [1, 1] if not asked.s or asked.first != kept else [1]

    def _was_before(self, keys: Sequence[bytes], asked: Commit) -> bool:
        meta = self.keys.get(keys[0], {})
        if asked.s or meta.get(b"v"):
            return asked.token in meta.get(b"w" + asked.gateway, b"").split()
        return bool(self.keys.get(keys[2]) == asked.tombstone)

    def _stands(self, keys: Sequence[bytes], asked: Commit) -> bool:
        meta, retired = self.keys.get(keys[0], {}), self.keys.get(keys[2])
        v = meta.get(b"v", b"")
        now = self.current_history(meta.get(b"r"))
        if v != asked.expected or int(asked.history) != now:
            return False
        if v:
            return bool(meta[b"r"] == b"%d %b" % (now, self.process))
        return retired is None or int(retired.split()[0]) < int(asked.generation)

    _settle = _commit

    def _fields(self, key: bytes) -> list[bytes]:
        return [word for pair in self.keys.get(key, {}).items() for word in pair]

    def _effects(self, keys: Sequence[bytes], asked: Commit) -> list[Effect]:
        """The commands of a commit, in their order."""
        meta, records, retired = keys
        r = asked.history + b" " + self.process
        effects: list[Effect] = []
        if not asked.expected:
            effects += [_hset(meta, {b"r": r}), _unlink(meta, records)]
        if not asked.s:
            gone = {b"v": b"", b"s": b""}
            return [*effects, _set(retired, asked.tombstone), _hset(meta, gone)]
        if asked.forgotten:
            effects.append(_hdel(meta, asked.forgotten))
        if asked.start:
            entry = Entry(int(asked.start), int(asked.history), asked.data, asked.lengths)
            standing = self.keys.get(records, ()) if asked.expected else ()
            assert all(one[:2] < entry[:2] for one in standing), "XADD with an id that is no higher"
            effects.append(_xadd(records, entry))
        before = self.keys.get(meta, {}) if asked.expected else {}
        tokens = (asked.token, *before.get(b"w" + asked.gateway, b"").split()[:3])
        written = {
            b"v": asked.v,
            b"r": r,
            b"s": asked.s,
            b"w" + asked.gateway: b" ".join(tokens),
            **({b"f": asked.first} if asked.first else {}),
            **asked.producers,
        }
        return [*effects, _hset(meta, written)]

    def _look(self, meta: bytes) -> int:
        fields = self.keys.get(meta, {})
        now = self.current_history(fields.get(b"r"))
        ours = b"%d %b" % (now, self.process)
        if fields and fields.get(b"r") != ours:
            self._carry_out([_set(meta, {**fields, b"r": ours})])
            self.is_sealed = True
        return now

    def _purge(self, keys: Sequence[bytes], argv: Sequence[bytes]) -> Reply:
        if not self.keys.get(keys[0], {}).get(b"v"):
            self._carry_out([_unlink(*keys)])
        return 0

    def _trim(self, keys: Sequence[bytes], argv: Sequence[bytes]) -> Reply:
        first = int(self.keys.get(keys[0], {}).get(b"f", 0))
        self._carry_out([_xtrim(keys[1], first)])
        return 0

    def _load(self, keys: Sequence[bytes], argv: Sequence[bytes]) -> Reply:
        history = self._look(keys[0])
        return [history, self._fields(keys[0]), self.keys.get(keys[2])]

    def _confirm(self, keys: Sequence[bytes], argv: Sequence[bytes]) -> Reply:
        meta = self.keys.get(keys[0], {})
        return [self.current_history(meta.get(b"r")), meta.get(b"v")]

    def _state(self, keys: Sequence[bytes], argv: Sequence[bytes]) -> Reply:
        meta = self.keys.get(keys[0], {})
        return [self.current_history(meta.get(b"r")), meta.get(b"s")]

    def _probe(self, keys: Sequence[bytes], argv: Sequence[bytes]) -> Reply:
        return self.current_history()


def _set(key: bytes, value: object) -> Effect:
    def effect(keys: dict[bytes, Any]) -> bool:
        keys[key] = value
        return True

    return effect


def _unlink(*names: bytes) -> Effect:
    def effect(keys: dict[bytes, Any]) -> bool:
        found = [name for name in names if keys.pop(name, None) is not None]
        return bool(found)

    return effect


def _hset(key: bytes, fields: Mapping[bytes, bytes]) -> Effect:
    def effect(keys: dict[bytes, Any]) -> bool:
        keys[key] = {**keys.get(key, {}), **fields}
        return True

    return effect


def _hdel(key: bytes, names: Sequence[bytes]) -> Effect:
    def effect(keys: dict[bytes, Any]) -> bool:
        before = keys.get(key, {})
        keys[key] = {name: value for name, value in before.items() if name not in names}
        return len(keys[key]) < len(before)

    return effect


def _xadd(key: bytes, entry: Entry) -> Effect:
    def effect(keys: dict[bytes, Any]) -> bool:
        stream = keys.get(key, ())
        if any(one[:2] >= entry[:2] for one in stream[-1:]):
            return False
        keys[key] = (*stream, entry)
        return True

    return effect


def _xtrim(key: bytes, first: int) -> Effect:
    def effect(keys: dict[bytes, Any]) -> bool:
        before = keys.get(key, ())
        keys[key] = tuple(one for one in before if one.start >= first)
        return len(keys[key]) < len(before)

    return effect
