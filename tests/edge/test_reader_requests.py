"""The requests that a followed stream is read with, one refusal after the other."""

from __future__ import annotations

from headgate_gateway.edge.followed.origin_reads import MOST, ReaderRequests
from tests.edge.followed_parts import reading


def _refused(requests: ReaderRequests) -> list[str]:
    """Return the names in turn, until no request is left."""
    names = [requests.current.admitted_as]
    while requests.replace(requests.current):
        names.append(requests.current.admitted_as)
    return names


def test_the_newest_reader_request_is_used_next_after_a_refusal() -> None:
    requests = ReaderRequests(reading(admitted_as="a"))
    for name in "bcb":
        requests.add(reading(admitted_as=name))
    assert _refused(requests) == ["a", "b", "c"]


def test_reader_requests_are_bounded_and_the_one_in_use_is_never_dropped() -> None:
    requests = ReaderRequests(reading(admitted_as="0"))
    for number in range(1, 3 * MOST):
        requests.add(reading(admitted_as=str(number)))
    last = 3 * MOST - 1
    assert _refused(requests) == ["0", *(str(last - n) for n in range(MOST - 1))]


def test_two_refusals_of_one_request_replace_it_once() -> None:
    requests = ReaderRequests(reading(admitted_as="a"))
    for name in "bc":
        requests.add(reading(admitted_as=name))
    first = requests.current
    assert requests.replace(first)
    assert requests.replace(first)
    assert requests.current.admitted_as == "c"


def test_a_private_stream_is_read_with_the_credentials_of_its_own_reader_only() -> None:
    own = reading(admitted_as="a").as_identified()
    requests = ReaderRequests(own)
    requests.add(reading(admitted_as="b"))
    assert not requests.replace(own)
    assert requests.current is own
