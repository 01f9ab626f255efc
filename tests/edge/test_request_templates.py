"""What an origin is asked by is remembered as it would be made anew for each read."""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st
from multidict import CIMultiDict, MultiMapping

from headgate_gateway.origin.requests import field_block
from headgate_gateway.protocol.http.forwarding import (
    SCHEME,
    IdentityHeaders,
    RequestSender,
    hop_names,
)
from headgate_gateway.protocol.http.paths import canonical_host
from headgate_gateway.protocol.requests import CatchUp
from headgate_gateway.protocol.streams.state import Lifetime
from headgate_gateway.rules.directives import wants_all
from headgate_gateway.rules.edge_target import parse_edge_target
from headgate_gateway.runtime.request_fields import RequestFields
from headgate_gateway.web.handlers.plain_reads import ReadPlan, read_plan
from headgate_gateway.web.requests.blocks import own_of
from tests.support.raw_origin import RawOrigin
from tests.support.serving import EDGE, edge_serving

if TYPE_CHECKING:
    from headgate_gateway.edge.origin_requests import OriginRequests
    from headgate_gateway.rules.cached_response import CacheRequest

FIELDS = st.lists(
    st.sampled_from(
        [
            *(("Accept", "*/*"), ("Accept-Encoding", "gzip"), ("Accept-Encoding", "br")),
            *(("Cookie", "a=1"), ("Cookie", "headgate_session=x"), ("Authorization", "Bearer a")),
            *(("X-Plain", "1"), ("X-Forwarded-For", "1.2.3.4"), ("Forwarded", "for=1.2.3.4")),
            *(("Referer", "https://a.example/p?token=t"), ("Referer", "https://a.example/p")),
            *(
                ("Connection", "keep-alive, X-Request-Id"),
                ("Connection", "X-Plain"),
                ("Via", "1.1 a"),
            ),
            *(("X_Under", "1"), ("Range", "bytes=1-2"), ("Origin", "https://a.example")),
            *(("X-Text", "é"), ("Accept-Language", "de"), ("Content-Length", "0")),
        ]
    ),
    max_size=5,
)
OWN = st.sampled_from(
    [
        [],
        [("X-Request-Id", "a")],
        [("If-None-Match", '"x"')],
        [("X-Request-Id", "b"), ("If-None-Match", "*")],
    ]
)
IDENTITIES = [
    pytest.param(IdentityHeaders(), id="no-identity-headers"),
    pytest.param(IdentityHeaders(("x-plain",)), id="an-identity-header"),
    pytest.param(IdentityHeaders(("x-request-id",)), id="the-request-id-as-identity"),
    pytest.param(IdentityHeaders((), ("x-request-id", "x-plain")), id="other-headers"),
    pytest.param(IdentityHeaders(verified_cookie="a"), id="a-verified-cookie"),
]
READS = [f"{EDGE}/s?offset=a", f"{EDGE}/t?offset=-1", f"{EDGE}/s?offset=now&x=1"]


def read_of(target: str) -> CatchUp:
    read = parse_edge_target(target, ())
    assert isinstance(read, CatchUp)
    return read


def anew(
    route: OriginRequests, headers: MultiMapping[str], address: str, read: CatchUp
) -> CacheRequest:
    """What the route makes of a read whose fields nobody has seen before."""
    sender = RequestSender(address, SCHEME, canonical_host(headers.get("Host", "")))
    return route.cache_request(route.identity.without_cookie(headers), sender, read)


def may_be_own(identity: IdentityHeaders, common: MultiMapping[str], name: str) -> bool:
    """Whether a block is looked up without this field."""
    is_told = identity.has(name) or name.lower() in identity.dropped
    return not is_told and name.lower() not in hop_names(common)


def shown(request: CacheRequest) -> dict[str, object]:
    fields = msgspec.structs.asdict(request)
    fields["headers"] = sorted((name.lower(), value) for name, value in request.headers.items())
    fields["fields"] = list(request.fields.items())
    del fields["block"]
    return fields


@pytest.mark.parametrize("identity", IDENTITIES)
async def test_a_cached_reader_request_equals_a_newly_built_one(
    identity: IdentityHeaders,
) -> None:
    async with RawOrigin() as origin, edge_serving(origin) as gateway:
        route = gateway.edge.requests
        route.identity = gateway.edge.identity = identity
        route.lifetimes.created(f"{EDGE}/t", Lifetime(ttl_s=60))

        @given(
            st.lists(st.tuples(FIELDS, OWN), min_size=1, max_size=3),
            st.lists(
                st.tuples(
                    st.integers(0, 2), st.sampled_from(["127.0.0.1", "::1"]), st.sampled_from(READS)
                ),
                max_size=8,
            ),
        )
        def for_all(
            blocks: list[tuple[list[tuple[str, str]], list[tuple[str, str]]]],
            asked: list[tuple[int, str, str]],
        ) -> None:
            plans: dict[tuple[int, str], ReadPlan | None] = {}
            shared = [CIMultiDict([("Host", "a.test"), *fields]) for fields, _ in blocks]
            for which, address, target in asked:
                common, own = shared[which % len(blocks)], blocks[which % len(blocks)][1]
                if any(not may_be_own(identity, common, name) for name, _ in own):
                    own = []
                headers = CIMultiDict([*common.items(), *own]) if own else common
                read, known = read_of(target), RequestFields(common, are_known=True)
                key = id(common), address
                if key not in plans:
                    plans[key] = read_plan(gateway.edge, known, address, read)
                plan = plans[key]
                is_identified = bool(anew(route, common, address, read).identity)
                assert (plan is None) == (is_identified or not wants_all(common))
                if plan is not None:
                    request = plan.request_for(read, own_of(dict(own)))
                    assert shown(request) == shown(anew(route, headers, address, read))
                    assert request.block == field_block(request.fields)

        for_all()
