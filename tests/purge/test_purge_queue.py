"""What waits to be purged: each thing once, bounded, and never lost without being counted."""

from __future__ import annotations

from headgate_gateway.protocol.cache_headers import route_tag, stream_tag
from headgate_gateway.purge.purge_queue import Copies, PendingPurge, PurgeQueue

A, B = "/a", "/b"


def one(name: str, prefix: str = A) -> Copies:
    return Copies(prefix, f"{prefix}/{name}")


def queue(*copies: Copies, most: int = 3) -> PurgeQueue:
    made = PurgeQueue(most)
    for moment, each in enumerate(copies):
        made.add(each, PendingPurge.at(float(moment)))
    return made


def test_copies_of_a_stream_or_route_have_a_tag_and_a_url_prefix() -> None:
    assert one("x").tag == stream_tag("/a/x")
    assert one("x").urls == "/a/x?"
    assert (Copies(A).tag, Copies(A).urls) == (route_tag(A), "/a/")


def test_a_requeued_purge_is_joined_with_the_second_purge_of_its_stream() -> None:
    waiting = queue(one("x"))
    waiting.add(one("x"), PendingPurge.at(0.4))
    assert waiting.start(9, until=0.0) == [one("x")]
    assert (waiting.undone, waiting.failed) == (2, 0)
    waiting.requeue()
    assert (waiting.undone, waiting.failed) == (1, 1)
    assert waiting.drop(0.4) == 0


def test_purges_of_streams_added_after_their_route_have_their_own_time() -> None:
    waiting = queue(one("1"), one("2"), one("3"), one("4"))  # the fourth comes at 3.0
    waiting.add(one("5"), PendingPurge.at(3.3))
    waiting.add(one("6"), PendingPurge.at(3.6))
    assert waiting.start(9, until=3.3) == [Copies(A)]  # and the fifth with it
    waiting.finish()
    assert waiting.start(9, until=3.5) == []
    assert waiting.start(9, until=3.6) == [one("6")]


def test_a_route_purge_with_a_later_cause_waits_for_a_second_purge() -> None:
    waiting = queue(*(one(str(number)) for number in range(6)))  # the last at 5.0, with the route
    waiting.add(one("6"), PendingPurge.at(6.0))
    assert (len(waiting), waiting.widened) == (3, 4)
    assert waiting.start(9, until=5.5) == [Copies(A)]
    waiting.finish()
    assert waiting.start(9, until=5.9) == []
    assert waiting.start(9, until=6.0) == [Copies(A)]


def test_a_failed_purge_waits_behind_the_others() -> None:
    waiting = queue(one("x"), one("y"))
    waiting.start(1)
    waiting.requeue()
    assert waiting.start(9) == [one("y"), one("x")]


def test_a_purge_widened_to_its_route_leaves_other_routes_alone_and_covers_later_purges() -> None:
    waiting = queue(one("x", B), one("1"), one("2"), one("3"), one("4"))
    assert waiting.start(9) == [one("x", B), Copies(A)]
    assert waiting.widened == 3


def test_a_purge_that_fails_stays_marked_as_failed_when_its_route_is_widened_meanwhile() -> None:
    waiting = queue(one("0"))
    waiting.start(1)
    for number in range(4):
        waiting.add(one(str(number)), PendingPurge.at(9.0))
    waiting.requeue()
    assert waiting.failed == 1
    assert waiting.start(9) == [Copies(A)]
