"""What becomes of a client's connection: its states, and which of them may follow which."""

from __future__ import annotations

from enum import IntEnum


class State(IntEnum):
    """Every connection begins IDLE and ends LOST. As numbers they are cheap to look up."""

    IDLE = 0  # no request waits for its answer
    TAKEN = 1  # the fast path has one request, whose answer comes later; further input is held
    WITH_AIOHTTP = 2  # aiohttp has one or more requests
    # What comes is dropped, as no HTTP or as what follows a body in chunks; what aiohttp has is
    # answered.
    DEAF = 3
    HANDED_OVER = 4  # an SSE reader has the transport
    LINGERING = 5  # the last answer is written; what the client still sends is dropped for a while
    LOST = 6  # the transport is gone


# In Python 3.11 a member costs as much as a call when it is looked up in its class.
IDLE, TAKEN, WITH_AIOHTTP, DEAF, HANDED_OVER, LINGERING, LOST = State

TRANSITIONS: dict[State, tuple[State, ...]] = {
    IDLE: (TAKEN, WITH_AIOHTTP, DEAF, LINGERING, LOST),
    TAKEN: (IDLE, LOST),
    WITH_AIOHTTP: (IDLE, DEAF, HANDED_OVER, LINGERING, LOST),
    DEAF: (HANDED_OVER, LINGERING, LOST),
    HANDED_OVER: (LOST,),
    LINGERING: (LOST,),
    LOST: (LOST,),  # aiohttp may say so twice
}
