"""The bytes of an upstream's response that have come when nobody reads on."""

from __future__ import annotations

from typing import TYPE_CHECKING

from multidict import CIMultiDict

from headgate_gateway.features.models.ends import ABORTED
from headgate_gateway.features.models.provider.requests import CompletionRequest, RequestBody
from headgate_gateway.features.models.writer import WrittenCompletion
from headgate_gateway.features.proxies.completion_routes import CompletionRoutes
from headgate_gateway.settings import Settings
from tests.proxies.serving import proxies, written
from tests.proxies.upstream import serving
from tests.support.gated_log import GatedLog, turns
from tests.support.serving import serving as serving_streams
from tests.support.waiting import until

if TYPE_CHECKING:
    from pathlib import Path

    from headgate_gateway.features.models.completion_route import CompletionRoute


async def begun(route: CompletionRoute, url: str) -> WrittenCompletion:
    """Return an answer of the upstream at `url`, once its head has come."""
    request = CompletionRequest(
        b"", None, url, "/", CIMultiDict(), RequestBody(b""), None, is_plain=True
    )
    answer = await route.completions.completion_for(request)
    await answer.wait_for_head()
    assert isinstance(answer, WrittenCompletion), "no answer is stored yet"
    return answer


async def test_bytes_that_come_while_the_log_is_slow_are_stored_at_an_abort(
    tmp_path: Path,
) -> None:
    written(tmp_path)
    settings = Settings(proxies=proxies(tmp_path, {"auth": "none"}))
    log = GatedLog()
    async with serving() as upstream, serving_streams(log) as gateway:
        upstream.parts = [b"one", b"two", b"three"]
        upstream.hold()
        makes = CompletionRoutes(gateway.services)
        (route,) = makes.make(settings, [gateway.route], gateway.authorities)
        await route.open()
        try:
            answer = await begun(route, upstream.url)
            log.commits.clear()
            upstream.allow(1)
            await until(lambda: answer.counts.size == len(b"one"))
            upstream.allow(2)
            await until(lambda: upstream.sent == 3)
            await turns()  # in which the client receives what was sent on loopback
            answer.stop(ABORTED)
            log.commits.set()
            await answer.wait_for_end()
            end = await route.streams.end(answer.name)
            parts = route.streams.chunks(answer.name, 0, end)
            data = b"".join([part async for part, _ in parts])
            assert data == b"onetwothree"
            assert answer.outcome == "aborted"
        finally:
            log.commits.set()
            await route.close()
