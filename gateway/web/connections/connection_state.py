"""What becomes of a client's connection: its states, and which of them may follow which."""

from __future__ import annotations

from enum import IntEnum


class State(IntEnum):
    """Every connection begins IDLE and ends LOST. As numbers they are cheap to look up."""

    IDLE = 0  # no request waits for its answer
    TAKEN = 1  # one request is under way; what the client sends behind it is held
    # One request is under way; what comes behind it is dropped, as no HTTP or as what follows a
    # body in chunks.
    DEAF = 2
    HANDED_OVER = 3  # an SSE reader has the transport
    LINGERING = 4  # the last answer is written; what the client still sends is dropped for a while
    LOST = 5  # the transport is gone


# In Python 3.11 a member costs as much as a call when it is looked up in its class.
IDLE, TAKEN, DEAF, HANDED_OVER, LINGERING, LOST = State

TRANSITIONS: dict[State, tuple[State, ...]] = {
    IDLE: (TAKEN, LINGERING, LOST),
    TAKEN: (IDLE, DEAF, HANDED_OVER, LINGERING, LOST),
    DEAF: (HANDED_OVER, LINGERING, LOST),
    HANDED_OVER: (LOST,),
    LINGERING: (LOST,),
    LOST: (),
}
