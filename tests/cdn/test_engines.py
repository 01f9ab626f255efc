"""Each configuration does what its target says that it does, and no more: run by its server."""

from __future__ import annotations

import asyncio
import contextlib
from typing import TYPE_CHECKING

import pytest

from tests.cdn.candidates import CANDIDATES, PER_CREDENTIAL, SHARING
from tests.cdn.candidates import edge as started_edge
from tests.cdn.cases import CASES, MANY, OF_CREDENTIALS, OF_SHARING
from tests.cdn.live_cases import (
    leader_gone,
    polls_of_users,
    polls_of_users_with_copies,
    polls_with_cookies,
    polls_with_news,
    polls_without_news,
)
from tests.cdn.origin import headgate_origin
from tests.cdn.read_cases import (
    credential_cookie,
    empty_tail,
    head_around_append,
    past_browser_caches,
    users_apart,
    writes,
)
from tests.cdn.sse_cases import events
from tests.support.examples import cases

if TYPE_CHECKING:
    from tests.cdn.cases import Case
    from tests.cdn.edges import Edge

COLLAPSING = [one for one in CANDIDATES if "collapses" in one.abilities]
# nginx has a patience of 5 s by default, so only a longer poll shows whether it was given another.
LONG_POLL_S = 7.0
FEW = 20
# Those that nearly everybody has: the others share most lines of their configurations with them.
USUAL = {"nginx", "varnish", "cloudflare-worker"}
ALWAYS = {
    *(polls_with_news, polls_of_users, leader_gone, empty_tail, head_around_append),
    *(users_apart, writes, events, polls_with_cookies, credential_cookie),
    past_browser_caches,
}
SUITE = [
    pytest.param(
        one,
        case,
        id=f"{title}-{one}",
        marks=()
        if one.target in USUAL or case in ALWAYS
        else pytest.mark.torture("the whole suite before the usual ones"),
    )
    for title, case in CASES.items()
    for one in CANDIDATES
]
# Who must not have what another one has.
APART = {polls_of_users_with_copies, users_apart, credential_cookie}


@pytest.mark.parametrize(("edge", "case"), SUITE, indirect=["edge"])
async def test_each_configuration_has_exactly_the_faults_documented_for_its_target(
    edge: Edge, case: Case
) -> None:
    found = await case(edge)
    assert found.faults == found.looked_for & edge.known_faults, found.figures


@pytest.mark.parametrize("edge", PER_CREDENTIAL, indirect=True, ids=str)
@pytest.mark.parametrize(
    "case",
    cases(OF_CREDENTIALS.values(), APART, "the same without credentials"),
    ids=OF_CREDENTIALS,
)
async def test_a_per_credential_configuration_has_exactly_its_documented_faults(
    edge: Edge, case: Case
) -> None:
    found = await case(edge)
    assert found.faults == found.looked_for & edge.known_faults, found.figures


@pytest.mark.parametrize("edge", SHARING, indirect=True, ids=str)
@pytest.mark.parametrize("case", OF_SHARING.values(), ids=OF_SHARING)
async def test_a_configuration_sharing_among_readers_has_exactly_its_documented_faults(
    edge: Edge, case: Case
) -> None:
    found = await case(edge)
    assert found.faults == found.looked_for & edge.known_faults, found.figures


@pytest.mark.torture("the same with few")
@pytest.mark.parametrize("edge", COLLAPSING, indirect=True, ids=str)
@pytest.mark.parametrize("case", MANY.values(), ids=MANY)
async def test_each_collapsing_configuration_collapses_a_thousand_requests(
    edge: Edge, case: Case
) -> None:
    found = await case(edge)
    assert not found.faults, found.figures


@pytest.mark.usefixtures("processes")
async def test_long_polls_beyond_the_default_wait_of_caches_are_held_by_each_configuration() -> (
    None
):
    prefixes = [f"/v1/{number}" for number in range(len(COLLAPSING))]
    with headgate_origin(LONG_POLL_S, *prefixes) as origin, contextlib.ExitStack() as stack:
        edges = [
            stack.enter_context(started_edge(candidate, origin, prefix))
            for candidate, prefix in zip(COLLAPSING, prefixes, strict=True)
        ]
        found = await asyncio.gather(*(polls_without_news(edge, FEW) for edge in edges))
    faults = {str(one): finding.faults for one, finding in zip(COLLAPSING, found, strict=True)}
    assert faults == dict.fromkeys(faults, frozenset()), found
