"""The commits of one gateway to Redis, and what is done before and after each."""

from __future__ import annotations

import itertools
from functools import partial
from time import monotonic
from typing import TYPE_CHECKING

import msgspec

from headgate_gateway.errors import LogUnavailable, RecordDamaged
from headgate_gateway.logs.contract import Conflict
from headgate_gateway.logs.counts import CommitHistograms
from headgate_gateway.logs.redis.connection import pack
from headgate_gateway.logs.redis.names import VERSION
from headgate_gateway.logs.redis.replies import PRODUCER, decode_stream, version_of
from headgate_gateway.logs.redis.store import AT_RISK, RedisCall

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from headgate_gateway.logs.contract import Settled
    from headgate_gateway.logs.redis.connection import Packed, Reply, Word
    from headgate_gateway.logs.redis.indexes import DeadlineIndex, Note, PathIndex
    from headgate_gateway.logs.redis.losses import LossWatch
    from headgate_gateway.logs.redis.names import RedisNames
    from headgate_gateway.logs.redis.store import CallReplies, RedisStore
    from headgate_gateway.protocol.streams.state import Change


RETIRED_S = 30 * 24 * 3600  # the generation of a removed stream is stored; then the clock will do
# Bytes of records in a notification. A gateway that follows the stream saves a read by them, but
# every gateway receives them: so longer records are left out, and read by those that need them.
MOST_PUBLISHED = 8 * 1024

_encode = msgspec.json.Encoder().encode
_encode_change = msgspec.msgpack.Encoder().encode


class Results:
    """The results of commits that began together, passed on as soon as they are known.

    `later` calls what passes on the results of one pass of the loop together.
    """

    __slots__ = ("_known", "_later", "_settled", "requested_at")

    def __init__(self, settled: Settled, later: Callable[[Callable[[], None]], object]) -> None:
        self._settled = settled
        self._later = later
        self._known: dict[int, Exception | None] = {}
        self.requested_at = monotonic()

    def add(self, number: int, error: Exception | None) -> None:
        """Take the error with which a commit failed, or None."""
        self._known[number] = error
        if len(self._known) == 1:
            self._later(self._pass_on)

    def _pass_on(self) -> None:
        known, self._known = self._known, {}
        for _, run in itertools.groupby(enumerate(sorted(known)), lambda it: it[1] - it[0]):
            numbers = [number for _, number in run]
            self._settled(numbers[0], [known[number] for number in numbers])


class RedisCommits:
    """The commits of one gateway, and their histograms."""

    def __init__(
        self, store: RedisStore, deadlines: DeadlineIndex, paths: PathIndex, losses: LossWatch
    ) -> None:
        self._store = store
        self._servers = store.servers
        self._deadlines = deadlines
        self._paths = paths
        self._losses = losses
        self._tokens = itertools.count()
        self.histograms = CommitHistograms()
        self.stored = 0
        self.conflicts = 0

    def commit(
        self,
        changes: Sequence[Change],
        settled: Settled,
        later: Callable[[Callable[[], None]], object],
    ) -> None:
        """Commit changes of different streams, each by itself, as `Log.commit_separately`.

        A note of where a stream is to be looked for is written before its commit.
        """
        results, calls = Results(settled, later), []
        for number, change in enumerate(changes):
            try:
                key, token = self._store.names.meta(change.state.path), next(self._tokens)
                packed = [commit_call(self._store.names, self._store.gateway, change, token)]
                elsewhere = []
                for index, note in (*self._deadlines.notes(change), *self._paths.notes(change)):
                    if self._servers.are_together([key, index]):
                        packed.insert(0, note)
                    else:
                        elsewhere.append((index, note))
                committed = partial(self._committed, results, number, change, token)
                call = RedisCall(self._servers, key, packed, committed, commits=True)
            except Exception as error:  # noqa: BLE001 - the others go on
                results.add(number, error)
                continue
            if elsewhere:
                self._send_after(elsewhere, change, call)
            else:
                calls.append(call)
        RedisCall.send_commits(calls)

    def _send_after(self, notes: Sequence[Note], change: Change, call: RedisCall) -> None:
        """Send a commit once the servers of other keys have replied to the notes.

        A stream is not created while one of them is refused: nothing else would list the stream, or
        end it. Other changes do not wait for the server of the deadlines.
        """
        if not notes:
            call.send()
            return
        (index, note), *others = notes

        def noted(answer: CallReplies | LogUnavailable) -> None:
            if isinstance(answer, LogUnavailable):
                if change.expected is None:
                    call.done(answer)
                    return
                self._deadlines.note_later(change.state.path, note)
            self._send_after(others, change, call)

        RedisCall(self._servers, index, [note], noted, commits=True).send()

    def _committed(
        self,
        results: Results,
        number: int,
        change: Change,
        token: int,
        answer: CallReplies | LogUnavailable,
    ) -> None:
        if isinstance(answer, LogUnavailable):
            results.add(number, answer)
            return
        reply, primary = answer.replies[-1], answer.primary
        self._follow_up(change, reply)
        sent_at = max(results.requested_at, primary.commits.answered_sent_at)
        self.histograms.queue.observe(sent_at - results.requested_at)
        self.histograms.write.observe(monotonic() - sent_at)
        if reply[0] == 0:
            self.conflicts += 1
            results.add(number, _conflict(reply))
        elif answer.is_at_risk(self._store.wait_replicas):
            primary.probe_soon()
            results.add(number, LogUnavailable(AT_RISK))
        else:
            self.stored += 1
            self._losses.acknowledged(primary, change, token)
            results.add(number, None)

    def _follow_up(self, change: Change, reply: Reply) -> None:
        """Delete what a commit left over, count it, and correct the list of paths.

        A new stream is listed once more: a removal of its predecessor, or a page, may have dropped
        its path just before it was there.
        """
        path = change.state.path
        if reply == [1, 1]:
            self._send_alone(
                self._store.names.meta(path),
                self._store.names.call("purge" if change.removes else "trim", path),
            )
        if reply[0] != 1:
            return
        self.histograms.stored([change])
        if change.removes:
            self._paths.drop(path)
        elif change.expected is None:
            self._send_alone(*self._paths.note([path]))

    def _send_alone(self, key: str, call: Packed) -> None:
        RedisCall(self._servers, key, [call], lambda _: None, commits=True).send()


def _conflict(reply: Reply) -> Conflict | RecordDamaged:
    """Return the refusal of a commit, with the stream that it found instead if the reply has it."""
    _, history, (fields, retired) = reply
    try:
        return Conflict(None if fields is None else decode_stream((history, fields, retired)))
    except RecordDamaged as damage:
        return damage


def commit_call(names: RedisNames, gateway: str, change: Change, token: int) -> Packed:
    """Return the call that compares the stream's version and writes the change.

    A change without data has a function that works when Redis is out of memory. The token is a
    number that this gateway increases for each commit. It shows for a commit that is sent again
    whether it was carried out, whatever other gateways have written since.
    """
    state, records = change.state, change.records
    data = records[0].data if len(records) == 1 else b"".join(it.data for it in records)
    published = change
    if len(data) > MOST_PUBLISHED:
        published = msgspec.structs.replace(change, records=())
    words: list[Word] = [
        state.history,
        names.removals_channel,
        gateway,
        "" if change.expected is None else version_of(state, change.expected),
        version_of(state, state.version + 1 if change.removes else state.version),
        token,
        b"" if change.removes else _encode(state),
        _encode_change(published),
        state.first or "",
        state.generation,
        RETIRED_S,
        "1" if change.removes or state.soft_deleted else "",
        # Of the entry: see `redis.records`.
        records[0].end - len(records[0].data) if records else "",
        data,
        " ".join(str(len(record.data)) for record in records) if len(records) > 1 else "",
        2 * len(change.producers),
    ]
    for name, producer in change.producers:
        words += (PRODUCER + name.encode(), _encode(producer))
    words += (PRODUCER + name.encode() for name in change.forgotten)
    kind = "commit" if records or change.expected is None else "settle"
    keys = names.keys(state.path)
    return pack("FCALL", f"headgate_{kind}_{VERSION}", len(keys), *keys, *words)
