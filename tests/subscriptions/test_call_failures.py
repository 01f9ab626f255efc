"""Connections to receivers that fail are told in sentences: what was wrong, and what to do."""

from __future__ import annotations

import contextlib
import re
import socket
import ssl
from typing import TYPE_CHECKING

import pytest
from yarl import URL

from headgate_gateway.features.subscriptions.delivery.receivers import (
    DeliveryFailed,
    failure_of,
    refusal_of,
)
from headgate_gateway.outbound.client import OutboundClient, OutboundRequest
from headgate_gateway.outbound.connections import Connector
from headgate_gateway.outbound.failures import NoResponse
from headgate_gateway.protocol.http.destinations import AllowedHosts, allowed_host
from tests.outbound.test_connections import serving
from tests.subscriptions.receivers import receiver, subscribed
from tests.support.certificates import Authority
from tests.support.outbound import trusting
from tests.support.ports import free_port

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Sequence
    from pathlib import Path

NAMES = ("localhost:*", "other.example:*")
# What a reader of last_error cannot know: names of classes, and numbers of errors.
INSIDE = re.compile(r"[a-z][A-Z]|Error|Errno|\[|\(")


@contextlib.asynccontextmanager
async def tls_server(folder: Path) -> AsyncIterator[tuple[int, Path]]:
    """A server on loopback with a certificate for localhost; its port, and its authority's file."""
    made = Authority("Ours", folder / "ca.pem")
    files = made.issue().write(folder)
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.load_cert_chain(files.certificate, files.key)
    async with serving(context) as server:
        yield server.port, made.file


async def look_up(_host: str, _port: int, _family: object) -> Sequence[str]:
    return ["127.0.0.1"]


async def look_up_nothing(_host: str, _port: int, _family: object) -> Sequence[str]:
    raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")


async def failure(url: str, *, is_known: bool = True) -> str:
    """Return the reason of a call that fails."""
    hosts = AllowedHosts([], [allowed_host(it) for it in NAMES])
    found = look_up if is_known else look_up_nothing
    client = OutboundClient("webhook", lambda: Connector(hosts, look_up=found))
    with pytest.raises(NoResponse) as raised:
        await client.call(OutboundRequest("POST", URL(url), {}), 10.0)
    await client.close()
    made = failure_of(raised.value)
    assert isinstance(made, DeliveryFailed)
    assert not INSIDE.search(made.detail)
    return made.detail


@pytest.mark.parametrize(
    ("status", "advice"),
    [
        pytest.param(
            308, "give the URL that it redirects to: redirects are not followed", id="a-redirect"
        ),
        pytest.param(
            401, "see in its log why it refuses the request", id="a-signature-that-is-refused"
        ),
        pytest.param(
            404,
            "correct the path in the webhook's URL, or let it take POST there",
            id="another-path",
        ),
        pytest.param(503, "see its log", id="an-error"),
    ],
)
def test_a_status_that_is_no_success_is_told_with_what_to_do(status: int, advice: str) -> None:
    assert refusal_of(status) == f"the receiver answered {status}; {advice}"


async def test_a_receiver_that_refuses_connections_is_to_be_started() -> None:
    assert await failure(f"http://localhost:{free_port()}/") == (
        "the receiver cannot be connected to: Connection refused; "
        "start it, or correct the host and port in the webhook's URL"
    )


async def test_a_host_name_that_is_not_found_is_to_be_corrected() -> None:
    assert await failure("https://other.example/", is_known=False) == (
        "the receiver has a host name that cannot be resolved: Name or service not known; "
        "correct the host name in the webhook's URL, or its records in DNS"
    )


async def test_a_receiver_of_an_unknown_authority_needs_another_certificate(tmp_path: Path) -> None:
    async with tls_server(tmp_path) as (port, _):
        reason = await failure(f"https://localhost:{port}/")
    assert reason.startswith("the receiver has a certificate that is not trusted: ")
    assert reason.endswith("; give it a valid certificate for its host name, with the whole chain")


async def test_a_receiver_with_a_certificate_for_another_name_is_told_so(tmp_path: Path) -> None:
    async with tls_server(tmp_path) as (port, authority):
        with trusting(authority):
            assert await failure(f"https://other.example:{port}/") == (
                "the receiver has a certificate for another host name; "
                "give it a valid certificate for its host name, with the whole chain"
            )


async def test_a_receiver_without_tls_at_its_port_is_told_so() -> None:
    async with serving() as server:
        reason = await failure(f"https://localhost:{server.port}/")
    assert reason.startswith("the receiver does not speak TLS as we do: ")
    assert reason.endswith("; serve TLS 1.2 or newer at the port of the webhook's URL")


async def test_last_error_tells_a_receiver_that_is_not_there_as_a_sentence() -> None:
    async with receiver() as at:
        url = at.url
    async with subscribed() as gateway:
        await gateway.put("s", type="webhook", pattern="*", webhook={"url": url})
        await gateway.create("a", body=b'{"n":1}')
        await gateway.quiet()
        told = (await gateway.ask("GET", "s"))[1]["last_error"]
    assert told == (
        "the receiver cannot be connected to: Connection refused; "
        "start it, or correct the host and port in the webhook's URL"
    )
