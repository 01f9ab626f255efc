"""What the doctor finds of copies that readers with credentials share, and who else gets them."""

from __future__ import annotations

import asyncio
import contextlib
from typing import TYPE_CHECKING

import pytest

from headgate_cdn.targets import target
from headgate_doctor.finding import CheckVerdict
from headgate_doctor.streams import reader_of
from tests.cdn.candidates import Candidate
from tests.cdn.guarded_origin import PREFIX, WRITER, guarded_origin
from tests.doctor.deployments import POLL_S, examined, failures, finding
from tests.doctor.hop import Faults, hop
from tests.support.ports import free_port
from tests.support.proxy_engines import ENGINES, started

if TYPE_CHECKING:
    from collections.abc import Iterator

    from headgate_cdn.options import CredentialMode
    from headgate_doctor.examination import Examination
    from headgate_doctor.finding import Check
    from tests.cdn.guarded_origin import GuardedOrigin

BY_KEY = "&rk=$arg_rk"


@contextlib.contextmanager
def edge(
    name: str, origin: GuardedOrigin, mode: CredentialMode, left_out: str = ""
) -> Iterator[str]:
    """The URL of a target before the origin, from whose file a text is left out."""
    port = free_port()
    text = Candidate(name, mode).files(port, origin)[target(name).file_name]
    assert left_out in text
    with started(ENGINES[name], {target(name).file_name: text.replace(left_out, "")}, port):
        yield f"http://127.0.0.1:{port}{PREFIX}"


async def examine(url: str, token: str | None) -> Examination:
    environment = {"STREAM_URL": url, "STREAM_AUTH": f"Bearer {WRITER}"}
    reader = None
    if token is not None:
        reader = reader_of(url, environment | {"STREAM_READ_AUTH": f"Bearer {token}"})
        assert reader == f"Bearer {token}"
    return await examined(url, environment=environment, reader=reader)


@pytest.mark.usefixtures("processes")
@pytest.mark.timeout(120)
async def test_the_doctor_examines_shared_copies_of_readers_in_each_credentials_mode(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("HEADGATE_LIVE__SSE_HEARTBEAT", "1")
    async with contextlib.AsyncExitStack() as end:
        origin = end.enter_context(guarded_origin(POLL_S))
        token = origin.signer.token(f"{PREFIX}/*", "a reader")
        url, _ = await end.enter_async_context(hop(origin.url, Faults(keeps_for_all=True)))
        urls = {
            "right": end.enter_context(edge("nginx", origin, "reader-key")),
            "no key": end.enter_context(edge("nginx", origin, "reader-key", BY_KEY)),
            "verified": end.enter_context(edge("cloudflare-worker", origin, "verified")),
            "for all": f"{url}{PREFIX}",
        }
        all_found = await asyncio.gather(*(examine(url, token) for url in urls.values()))
    found = dict(zip(urls, all_found, strict=True))
    assert {name: failures(one) for name, one in found.items() if name != "for all"} == {
        "right": set(),
        "no key": {"reader-key"},
        "verified": set(),
    }
    assert {"private reads", "credentials"} <= failures(found["for all"])
    expected: tuple[tuple[str, Check, CheckVerdict, str], ...] = (
        (
            "right",
            "reader-key",
            CheckVerdict.PASS,
            "an equal read has a copy; the copy of a reader key is served with no other key",
        ),
        (
            "no key",
            "reader-key",
            CheckVerdict.FAIL,
            "a reader with no credentials and no key got the data",
        ),
    )
    for name, check, verdict, words in expected:
        one = finding(found[name], check)
        assert (one.verdict, words in one.saw) == (verdict, True), (name, one)


async def test_the_read_token_of_the_doctor_is_sent_only_to_its_own_server() -> None:
    environment = {"STREAM_URL": "http://home/v1/stream", "STREAM_READ_AUTH": "Bearer a.b.c"}
    assert reader_of("http://home/v1/stream", environment) == "Bearer a.b.c"
    assert reader_of("http://other/v1/stream", environment) is None
    assert reader_of("http://home/v1/stream", {"STREAM_AUTH": "Bearer x"}) is None
