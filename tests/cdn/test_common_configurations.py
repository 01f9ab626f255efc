"""The configurations that most guides show: the suite finds what is wrong with each."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.cdn.cases import OF_PATIENTS
from tests.cdn.conftest import POLL_S
from tests.cdn.edges import Edge
from tests.cdn.findings import Fault
from tests.cdn.live_cases import polls_without_news
from tests.cdn.origin import telling_who
from tests.cdn.patients import LOCKED, PATIENTS, before
from tests.cdn.patients import edge as started_edge
from tests.cdn.read_cases import users_apart

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.cdn.cases import Case
    from tests.cdn.origin import HeadgateOrigin


@pytest.fixture(scope="module")
def edge(processes: None, request: pytest.FixtureRequest) -> Iterator[Edge]:
    with started_edge(request.param, POLL_S) as started:
        yield started


@pytest.mark.parametrize("edge", PATIENTS, indirect=True, ids=str)
@pytest.mark.parametrize("case", OF_PATIENTS.values(), ids=OF_PATIENTS)
async def test_the_suite_names_exactly_the_faults_of_each_naive_configuration(
    edge: Edge, case: Case
) -> None:
    found = await case(edge)
    assert found.faults == found.looked_for & edge.known_faults, found.figures


@pytest.mark.usefixtures("processes")
async def test_the_suite_finds_long_polls_that_wait_for_each_other() -> None:
    with started_edge(LOCKED, POLL_S) as edge:
        found = await polls_without_news(edge)
    assert found.faults == LOCKED.faults, found.figures


@pytest.mark.usefixtures("processes")
async def test_the_suite_finds_responses_mixed_between_readers(origin: HeadgateOrigin) -> None:
    """A cookie is not in the usual key."""
    with telling_who() as server, before(PATIENTS[0], server) as port:
        found = await users_apart(Edge(port, origin))
    assert found.faults == {Fault.MIXED_USERS}, found.figures
