"""The states of a client's connection, and which of them may follow which."""

from __future__ import annotations

from enum import IntEnum


class State(IntEnum):
    """The state of a connection: IDLE at first, LOST at the end. Numbers are cheap to look up."""

    IDLE = 0  # no request waits for its response
    TAKEN = 1  # one request is under way; what the client sends after it is held
    # One request is under way; what comes after it is dropped, because it is not HTTP or because
    # it follows a chunked body.
    DROPPING = 2
    HANDED_OVER = 3  # an SSE reader has the transport
    LINGERING = 4  # the last response is written; what still comes is dropped
    LOST = 5  # the transport is gone


# Module constants: in Python 3.11 looking a member up in its class costs as much as a call.
IDLE, TAKEN, DROPPING, HANDED_OVER, LINGERING, LOST = State

TRANSITIONS: dict[State, tuple[State, ...]] = {
    IDLE: (TAKEN, LINGERING, LOST),
    TAKEN: (IDLE, DROPPING, HANDED_OVER, LINGERING, LOST),
    DROPPING: (HANDED_OVER, LINGERING, LOST),
    HANDED_OVER: (LOST,),
    LINGERING: (LOST,),
    LOST: (),
}
