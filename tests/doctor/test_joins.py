"""What the doctor finds of hops that join requests under way, whoever sends them."""

from __future__ import annotations

import asyncio
import contextlib

import pytest

from headgate_doctor import examination
from tests.cdn.guarded_origin import PREFIX, WRITER, guarded_origin
from tests.doctor.deployments import POLL_S, examined, failures, saw
from tests.doctor.hop import Faults, hop
from tests.doctor.test_faulty import Changed

pytestmark = pytest.mark.usefixtures("processes")

# The others are the same for each of these, and have tests of their own.
LOOKED_AT = {"private reads", "credentials"}
JOINING: dict[str, tuple[Faults, set[str]]] = {
    "nothing is joined": (Faults(), set()),
    "polls are joined": (Faults(joins=("long-poll",)), {"private reads"}),
    "reads are joined": (Faults(joins=("",)), {"private reads"}),
    "events are joined": (Faults(joins=("sse",)), {"private reads"}),
    "polls without Authorization are joined": (
        Faults(joins=("long-poll",), passes_authorization=True),
        {"private reads"},
    ),
    "reads by cookies are kept": (
        Faults(keeps_for_all=True, passes_authorization=True),
        {"private reads", "credentials"},
    ),
}
# Each has responses for each reader, and no longer knows one reader from another.
CHANGED: dict[str, Changed] = {
    "Varnish has no Authorization in its key": Changed(
        "varnish",
        'hash_data("Authorization=" + req.http.Authorization);',
        "",
        {"private reads", "credentials"},
        credentials="per-credential",
    ),
    "nginx has no reader in its key": Changed(
        "nginx-njs",
        '|$headgate_reader"',
        '"',
        {"private reads", "credentials"},
        credentials="per-credential",
    ),
    "a Worker has no header in its key": Changed(
        "cloudflare-worker",
        "return identity_headers.map(",
        "return [].map(",
        {"private reads", "credentials"},
        credentials="per-credential",
    ),
}


@pytest.mark.timeout(120)
async def test_the_doctor_names_a_hop_that_joins_the_requests_of_different_readers(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    rows = [row for row in examination.CHECKS if not LOOKED_AT.isdisjoint(row.finds)]
    monkeypatch.setattr(examination, "CHECKS", tuple(rows))
    async with contextlib.AsyncExitStack() as end:
        origin = end.enter_context(guarded_origin(POLL_S))
        ports = {name: end.enter_context(one.started(origin)) for name, one in CHANGED.items()}
        urls = {name: f"http://127.0.0.1:{port}{PREFIX}" for name, port in ports.items()}
        for name, (faults, _) in JOINING.items():
            url, _ = await end.enter_async_context(hop(origin.url, faults))
            urls[name] = f"{url}{PREFIX}"
        all_found = await asyncio.gather(
            *(
                examined(url, environment={"STREAM_URL": url, "STREAM_AUTH": f"Bearer {WRITER}"})
                for url in urls.values()
            )
        )
    found = dict(zip(urls, all_found, strict=True))
    assert {name: failures(one) for name, one in found.items()} == {
        **{name: one.faults for name, one in CHANGED.items()},
        **{name: faults for name, (_, faults) in JOINING.items()},
    }
    said = {name: saw(one, "private reads") for name, one in found.items()}
    got = "a reader with no credentials got"
    assert said["polls are joined"] == f"{got} a long-poll of a reader with an Authorization"
    assert said["reads are joined"] == f"{got} a read of a reader with an Authorization"
    assert said["events are joined"] == f"{got} SSE of a reader with an Authorization"
    assert said["polls without Authorization are joined"].endswith(" of a reader with a Cookie")
    assert max(one.requests for one in found.values()) <= 400
