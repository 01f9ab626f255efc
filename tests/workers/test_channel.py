from __future__ import annotations

import json
import socket

import pytest

from headgate_gateway.features.questions.process_source import Health
from headgate_gateway.settings import Settings
from headgate_gateway.telemetry.health import Cause, HealthNote
from headgate_gateway.telemetry.metrics import Sample, counter, least
from headgate_gateway.workers.channel import (
    LOOK,
    READY,
    STOP,
    WRITTEN,
    Channel,
    Message,
    ReportStatus,
    StartFailureMessage,
    StartMessage,
    WorkerReply,
    WorkerReport,
    WorkerRequest,
)

REPORT = WorkerReport(
    Health(
        (HealthNote("server"), HealthNote("log", "/r", Cause("away", {"reason": "it is full"}))),
        (HealthNote("origin", "/o"), HealthNote("quota", "/r", Cause("full", {"used": 2}), (1, 2))),
    ),
    (Sample(counter("c_total", "C.", "route"), ("/r",), 3), Sample(least("up", "Up."), (), 0)),
)


async def ends() -> tuple[Channel, Channel]:
    ours, theirs = socket.socketpair()
    return await Channel.over(ours), await Channel.over(theirs)


@pytest.mark.parametrize(
    "message",
    [
        StartMessage('{"a": "\\n"}', b"\0\xff", 3),
        WorkerRequest(7, ReportStatus()),
        STOP,
        READY,
        StartFailureMessage("The port\nis taken."),
        WRITTEN,
        LOOK,
        WorkerReply(7, REPORT),
    ],
    ids=lambda message: getattr(message, "name", type(message).__name__),
)
async def test_a_message_between_processes_arrives_unchanged(message: Message) -> None:
    here, there = await ends()
    here.send(message)
    here.send(STOP)
    assert [await there.receive(), await there.receive()] == [message, STOP]
    await here.close()
    assert await there.receive() is None
    await there.close()


async def test_messages_to_a_closed_channel_raise_nothing_and_receive_returns_none() -> None:
    here, there = await ends()
    await there.close()
    for _ in range(3):
        here.send(STOP)
        assert await here.receive() is None
    await here.close()


async def test_a_channel_that_gets_an_unknown_message_receives_none() -> None:
    ours, theirs = socket.socketpair()
    with theirs:
        here = await Channel.over(ours)
        theirs.sendall(b'{"type": "Dance"}\n')
        assert await here.receive() is None
        await here.close()


async def test_half_a_message_before_the_end_of_a_channel_is_received_as_none() -> None:
    ours, theirs = socket.socketpair()
    here = await Channel.over(ours)
    with theirs:
        theirs.sendall(b'{"type": "Signal", "name": "stop"}')
    assert await here.receive() is None
    await here.close()


def test_settings_are_equal_after_they_were_sent_to_a_worker() -> None:
    """Also those that may be given only where they have a meaning."""
    settings = Settings.of(
        {
            "listen": "[::1]:80",
            "workers": 2,
            "routes": [
                {"prefix": "/a", "origin": "https://h", "drop_query": ["x"], "tls_ca": "/ca"},
                {"prefix": "/b", "storage": "redis://user:secret@h:1/2", "retention_age": 60},
            ],
        }
    )
    assert (
        Settings.of(json.loads(json.dumps(settings.plain(explicit_only=True, secrets=True))))
        == settings
    )
