"""What the doctor finds through the configurations that Headgate makes, and through usual ones."""

from __future__ import annotations

import asyncio
import contextlib
from typing import TYPE_CHECKING

import pytest

from tests.cdn.candidates import CANDIDATES, PER_CREDENTIAL, SHARING
from tests.cdn.candidates import edge as before_headgate
from tests.cdn.origin import STREAMS, headgate_origin
from tests.doctor.deployments import POLL_S, examined, failures, saw
from tests.support.examples import IS_WHOLE

if TYPE_CHECKING:
    from headgate_doctor.examination import Examination
    from tests.cdn.edges import Edge

# By default, once with an answer for each reader, and with one for all whom the gateway confirms,
# which is everybody here.
MADE = [*CANDIDATES, *(one for one in PER_CREDENTIAL if one.target == "nginx-njs")]
MADE += [one for one in SHARING if one.credentials == "asked"]
# One of each program; `make torture` has all.
EXAMINED = {"nginx-njs", "varnish", "haproxy", "cloudflare-worker"}
# That a target cannot cache or collapse is no fault: without a cache before it, Headgate does.
COLLAPSES = {"nginx", "nginx-njs", "varnish", "cloudflare-worker", "cloudflare-durable"}


async def examine(edges: dict[str, Edge]) -> dict[str, Examination]:
    """All at the same time, since an examination waits most of its own."""
    at = [f"http://127.0.0.1:{edge.port}{STREAMS}" for edge in edges.values()]
    return dict(zip(edges, await asyncio.gather(*map(examined, at)), strict=True))


@pytest.mark.usefixtures("processes")
@pytest.mark.timeout(120)
async def test_the_doctor_finds_no_fault_in_configurations_made_by_headgate(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("HEADGATE_LIVE__SSE_HEARTBEAT", "1")
    with headgate_origin(POLL_S) as origin, contextlib.ExitStack() as end:
        found = await examine(
            {
                str(one): end.enter_context(before_headgate(one, origin))
                for one in MADE
                if IS_WHOLE or one.target in EXAMINED
            }
        )
    assert {name: failures(one) for name, one in found.items()} == {name: set() for name in found}
    reached = {name: saw(one, "equal polls").partition(", ")[2][:2] for name, one in found.items()}
    assert {name for name in found if reached[name] == "1 "} == {
        name for name in found if name.partition(",")[0] in COLLAPSES
    }
