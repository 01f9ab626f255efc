"""In whose name a followed stream is read, one refusal after the other."""

from __future__ import annotations

from multidict import CIMultiDict

from gateway.edge.polls.reader_requests import MOST, ReaderRequests
from gateway.edge.rules.cached_response import CacheRequest
from gateway.protocol.origins.edge_target import EdgeCatchUp, parse_edge_target
from gateway.protocol.streams.state import Lifetime


def _request(name: str) -> CacheRequest:
    read = parse_edge_target("/s?offset=-1", ())
    assert isinstance(read, EdgeCatchUp)
    nothing: CIMultiDict[str] = CIMultiDict()
    return CacheRequest("a", read, nothing, nothing, "", "", Lifetime(), name)


def _refused(lenders: ReaderRequests) -> list[str]:
    """The names in turn, until there is nobody left."""
    names = [lenders.request.admitted_as]
    while lenders.replace(lenders.request):
        names.append(lenders.request.admitted_as)
    return names


def test_the_newest_lender_is_used_next_after_a_refusal() -> None:
    lenders = ReaderRequests(_request("a"))
    for name in "bcb":
        lenders.add(_request(name))
    assert _refused(lenders) == ["a", "b", "c"]


def test_lenders_are_bounded_and_the_one_in_use_is_never_dropped() -> None:
    lenders = ReaderRequests(_request("0"))
    for number in range(1, 3 * MOST):
        lenders.add(_request(str(number)))
    last = 3 * MOST - 1
    assert _refused(lenders) == ["0", *(str(last - n) for n in range(MOST - 1))]


def test_two_refusals_of_one_lender_replace_it_once() -> None:
    lenders = ReaderRequests(_request("a"))
    for name in "bc":
        lenders.add(_request(name))
    first = lenders.request
    assert lenders.replace(first)
    assert lenders.replace(first)
    assert lenders.request.admitted_as == "c"


def test_a_private_stream_is_read_with_the_credentials_of_its_own_reader_only() -> None:
    own = _request("a").apart()
    lenders = ReaderRequests(own)
    lenders.add(_request("b"))
    assert not lenders.replace(own)
    assert lenders.request is own
