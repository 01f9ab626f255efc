"""What stands in a lease."""

from __future__ import annotations

import pytest
from headgate.lease import HEARTBEAT, STOP, asks_stop


def test_a_stop_record_is_found_among_heartbeats_of_a_lease() -> None:
    assert asks_stop(b"[%b,%b]" % (HEARTBEAT, STOP))
    assert not asks_stop(b"[%b]" % HEARTBEAT)


@pytest.mark.parametrize(
    "body",
    [
        b"{",
        b"1",
        b"null",
        pytest.param(b"\xff", id="a-byte-that-is-no-utf-8"),
        b"[1,null]",
        b'[{"stop":1}]',
        pytest.param(b"9" * 5000, id="five-thousand-digits"),
        pytest.param(b"[" * 9**5, id="json-nested-too-deeply"),
    ],
)
def test_a_malformed_lease_record_is_no_stop(body: bytes) -> None:
    """Whoever watches for a stop goes on doing so."""
    assert asks_stop(body) is False
