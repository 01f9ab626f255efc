"""A thousand viewers cost the origin about as much as one."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.edge.audience import Show, Style, Tools, perform, perform_from_now
from tests.edge.gateways import PREFIX, edge
from tests.support.examples import IS_WHOLE
from tests.support.origin_servers import LONG_POLL_S, Counts, Reference, reference

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.support.processes import Headgate

pytestmark = pytest.mark.usefixtures("processes")

MESSAGES = 40
VIEWERS = 1000 if IS_WHOLE else 300
LATE = VIEWERS // 10
START = 10  # reads that viewers may cost who begin, whatever their number


@pytest.fixture(scope="module")
def tools(processes: None, tmp_path_factory: pytest.TempPathFactory) -> Tools:
    return Tools(tmp_path_factory.mktemp("tools"))


@pytest.fixture(scope="module")
def origin(processes: None) -> Iterator[Reference]:
    with reference() as started:
        yield started


@pytest.fixture(scope="module")
def gateway(processes: None, origin: Reference) -> Iterator[Headgate]:
    with edge(origin.url) as started:
        yield started


@pytest.mark.parametrize("style", ["poll", "client", "sse"])
def test_each_message_costs_the_origin_one_request_for_all_viewers(
    tools: Tools, origin: Reference, gateway: Headgate, style: Style
) -> None:
    show = Show(style, viewers=VIEWERS - LATE, late=LATE, messages=MESSAGES, interval_s=0.1)
    before = origin.counts()
    seconds = perform(tools, show, origin.port, gateway.port, f"{PREFIX}/{style}")
    assert_one_for_all(show, origin.counts() - before, seconds)


@pytest.mark.parametrize("style", ["poll", "sse"])
def test_readers_that_join_at_the_tail_of_a_followed_stream_cause_no_origin_requests(
    tools: Tools, origin: Reference, gateway: Headgate, style: Style
) -> None:
    """The first one has it read, and has a poll wait there; that tells the others where it is."""
    show = Show(style, viewers=VIEWERS // 2, late=0, messages=10, interval_s=0.1)
    coming, asked = perform_from_now(tools, show, origin, gateway)
    assert coming.reads <= 3, coming
    assert asked.reads <= 2 * show.messages + START, asked


def assert_one_for_all(show: Show, asked: Counts, seconds: float) -> None:
    """One read a message, one a poll that timed out, and what it takes to begin.

    On a busy machine viewers fall behind, and then one catch-up a message is shared by those;
    `python -m campaigns.edge viewers` allows none.
    """
    timeouts = int(seconds / LONG_POLL_S)
    assert asked.reads <= 2 * show.messages + timeouts + START, asked
    assert asked.sse <= 1, asked
