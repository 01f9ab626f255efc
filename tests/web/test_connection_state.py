"""The states of a connection, and that a wrong change of them fails at once."""

from __future__ import annotations

import pytest

from gateway.web.connections.connection import Connection
from gateway.web.connections.connection_state import TRANSITIONS, State
from tests.support.waiting import until
from tests.web.serving import serving


def test_every_connection_state_is_reachable_from_idle_and_leads_to_lost() -> None:
    reached, found = set(), {State.IDLE}
    while found:
        state = found.pop()
        reached.add(state)
        found |= set(TRANSITIONS[state]) - reached
    assert reached == set(TRANSITIONS) == set(State)
    ends = {state for state, following in TRANSITIONS.items() if State.LOST not in following}
    assert ends == {State.LOST}
    assert TRANSITIONS[State.LOST] == ()


@pytest.mark.parametrize("before", State, ids=lambda state: state.name)
async def test_a_state_change_outside_the_table_is_refused(before: State) -> None:
    async with serving() as gateway:
        await gateway.connect()
        await until(lambda: len(gateway.server.connections) == 1)
        (connection,) = gateway.server.connections
        assert isinstance(connection, Connection)
        for after in State:
            connection.state = before
            if after in TRANSITIONS[before]:
                connection.enter(after)
                assert connection.state is after
            else:
                with pytest.raises(AssertionError, match=f"{before.name} to {after.name}"):
                    connection.enter(after)
        connection.state = State.IDLE
