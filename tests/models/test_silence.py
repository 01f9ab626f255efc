"""A model that thinks for long: comments between the events of its answer, for all who wait."""

from __future__ import annotations

import asyncio
import contextlib
import re
from typing import TYPE_CHECKING, Any

import pytest

from tests.models.answers import chat_completion, without_ids
from tests.models.provider import providing
from tests.models.serving import OPENAI, answering, gateway_before
from tests.models.test_sdks import CALLS
from tests.support.ports import free_port
from tests.support.proxy_engines import program, running
from tests.support.waiting import until

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    import aiohttp

pytestmark = pytest.mark.usefixtures("processes")

HEARTBEAT_S, NGINX_S = 0.3, 1.5
BEAT = {"HEADGATE_LIVE__SSE_HEARTBEAT": str(HEARTBEAT_S)}
NGINX = """daemon off;
pid nginx.pid;
events {{}}
http {{
    access_log off;
    client_body_temp_path body; proxy_temp_path proxy; fastcgi_temp_path fastcgi;
    uwsgi_temp_path uwsgi; scgi_temp_path scgi;
    server {{
        listen 127.0.0.1:{port};
        location / {{
            proxy_pass http://127.0.0.1:{upstream};
            proxy_buffering off;
            proxy_read_timeout {patience_ms}ms;
        }}
    }}
}}
"""


@contextlib.contextmanager
def impatient_nginx(folder: Path, upstream: int) -> Iterator[str]:
    """Run an nginx that gives a silent response up, and return its URL."""
    port, file = free_port(), folder / "nginx.conf"
    patience_ms = int(NGINX_S * 1000)
    file.write_text(NGINX.format(port=port, upstream=upstream, patience_ms=patience_ms))
    command = [program("nginx"), "-p", str(folder), "-c", str(file), "-e", "stderr"]
    with running(command, port, {}):
        yield f"http://127.0.0.1:{port}"


@pytest.mark.parametrize(("call", "prefix"), CALLS.values(), ids=CALLS)
async def test_the_first_and_a_joined_sdk_outlast_a_silence_that_nginx_does_not(
    call: Callable[..., Any], prefix: str, tmp_path: Path
) -> None:
    async with providing() as provider:
        direct = await call(provider.url, "")
        provider.hold()
        with (
            gateway_before(provider, environment=BEAT) as gateway,
            impatient_nginx(tmp_path, gateway.port) as url,
        ):
            key = {"Idempotency-Key": "one"}
            first = asyncio.create_task(call(url, prefix, extra_headers=key))
            await until(lambda: len(provider.requests) == 2)
            provider.allow(3)
            joined = asyncio.create_task(call(url, prefix, extra_headers=key))
            await asyncio.sleep(2 * NGINX_S)
            provider.allow()
            assert await first == direct
            assert [*map(str, await joined)][-1] == str(direct[-1])
        assert len(provider.requests) == 2


async def test_a_comment_comes_between_whole_events_only(http: aiohttp.ClientSession) -> None:
    whole = b"".join(chat_completion())
    async with answering(environment=BEAT) as (provider, gateway):
        provider.amid = asyncio.Event()
        body = b""
        async with http.post(
            f"{gateway.url}{OPENAI}/v1/chat/completions", json={"model": "m", "stream": True}
        ) as answer:
            while not body.endswith(b"\n\n:\n:\n"):
                body += await answer.content.readany()
            provider.amid.set()
            body += await answer.content.read()
    assert re.search(rb"\n\n(:\n){2,}data: ", body)
    assert without_ids(re.sub(rb"^:\n", b"", body, flags=re.MULTILINE)) == whole
