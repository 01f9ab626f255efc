"""The writes that several workers announce to each other in shared memory."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, NamedTuple

import pytest

from headgate_gateway.errors import StartError
from headgate_gateway.protocol.streams.state import Lifetime
from headgate_gateway.runtime.write_journal import RING_BYTES, Write, WriteJournal, share_memory

if TYPE_CHECKING:
    from collections.abc import Iterator

LONG = "/s/" + "x" * 100


class Worker(NamedTuple):
    """A worker, the writes that it read from the journal, and how often some were lost."""

    journal: WriteJournal
    writes: list[Write]
    losses: list[int]

    def tails(self) -> list[str | None]:
        """Return the ends of the writes that a worker has read so far."""
        self.journal.catch_up()
        return [write.tail for write in self.writes]


def write(number: int, path: str = "/s/a") -> Write:
    return Write(prefix="/s", path=path, only_grown=True, tail=str(number))


@pytest.fixture
def memory() -> Iterator[int]:
    descriptor = share_memory(3)
    yield descriptor
    os.close(descriptor)


@pytest.fixture
def workers(memory: int) -> list[Worker]:
    return [worker(memory, number) for number in (1, 2, 3)]


def worker(memory: int, number: int) -> Worker:
    made = Worker(WriteJournal(memory, 3, number), [], [])
    made.journal.listen(made.writes.append, lambda: made.losses.append(1))
    return made


def test_a_worker_sees_each_write_of_the_others_once_and_not_its_own(workers: list[Worker]) -> None:
    one, other, third = workers
    told = Write(
        prefix="/s", path="/s/é", deleted=True, created=Lifetime(ttl_s=5), tail="7", closed=True
    )
    one.journal.announce(told)
    other.journal.announce(write(1))
    assert one.tails() == ["1"]
    assert other.tails() == ["7"]
    assert third.tails() == ["7", "1"]
    assert other.writes == [told]
    assert third.tails() == ["7", "1"]  # once is enough


def test_writes_of_several_workers_are_seen_in_their_order(workers: list[Worker]) -> None:
    one, other, third = workers
    for number in range(10):
        (one, other)[number % 2].journal.announce(write(number))
    assert third.tails() == [str(number) for number in range(10)]


def test_a_thousand_writes_are_seen_in_order_without_a_loss(workers: list[Worker]) -> None:
    one, other, _ = workers
    for number in range(1000):
        one.journal.announce(write(number, LONG[: number % 100]))
        assert other.tails()[-1] == str(number)
    assert len(other.writes) == 1000
    assert other.losses == []


def test_one_write_more_than_fits_the_journal_is_reported_as_a_loss(workers: list[Worker]) -> None:
    one, other, third = workers
    one.journal.announce(write(0, LONG))
    size = len(one.journal._get(0, 0, one.journal._marks[0]))
    fits = RING_BYTES // size
    assert other.tails() == ["0"]
    for number in range(1, fits + 1):
        one.journal.announce(write(number % 10, LONG))  # each as long as the first
    assert len(other.tails()) == fits + 1
    assert other.losses == []
    assert third.tails() == []  # it had one more to see
    assert (third.losses, third.journal.losses) == ([1], 1)
    one.journal.announce(write(5))
    assert third.tails() == ["5"]
    assert third.losses == [1]


def test_a_write_over_the_ring_size_is_a_loss_and_later_ones_arrive(workers: list[Worker]) -> None:
    one, other, _ = workers
    one.journal.announce(write(1, "/s/" + "x" * RING_BYTES))
    assert other.tails() == []
    assert other.losses == [1]
    one.journal.announce(write(2))
    assert other.tails() == ["2"]


def test_a_record_overwritten_during_its_read_is_a_loss(workers: list[Worker]) -> None:
    one, other, _ = workers
    one.journal.announce(write(1))
    begin = one.journal._begin_of(0)
    one.journal._memory[begin + 12] ^= 1
    assert other.tails() == []
    assert other.losses == [1]


def test_an_offset_that_cannot_be_encoded_is_left_out_of_its_write(workers: list[Worker]) -> None:
    one, other, _ = workers
    one.journal.announce(Write(prefix="/s", path="/s/a", only_grown=True, tail="\udc80"))
    assert other.tails() == [None]
    assert other.writes == [Write(prefix="/s", path="/s/a")]


def test_a_worker_continues_the_journal_of_a_killed_one(memory: int, workers: list[Worker]) -> None:
    one, other, _ = workers
    one.journal.announce(write(1))
    one.journal._put(one.journal._marks[0], b"half a record")  # it was killed
    new = worker(memory, 1)
    assert new.tails() == []  # what was before it made nothing old that it has
    new.journal.announce(write(2))
    assert other.tails() == ["1", "2"]
    assert other.losses == []
    other.journal.announce(write(3))
    assert new.tails() == ["3"]


def test_a_system_without_memfd_create_needs_one_worker(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delattr("os.memfd_create")
    with pytest.raises(StartError) as refusal:
        share_memory(2)
    assert refusal.value.detail == (
        "several workers need Linux (memfd_create): set workers = 1 here"
    )
