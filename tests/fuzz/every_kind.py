"""A gateway with every kind of route, and doubles of the servers behind it."""

from __future__ import annotations

import contextlib
import hashlib
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

from aiohttp import web
from aiohttp.test_utils import RawTestServer

from tests.models.answers import chat_completion, message, response
from tests.models.provider import HEAD, WHOLE
from tests.support.given_settings import variables
from tests.support.origin_servers import own_log
from tests.support.processes import Headgate

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Mapping

HOSTED, GUARDED, EDGE, JUDGED = "/v1/stream", "/v1/guarded", "/v1/edge", "/v1/judged"
OPENAI, ANTHROPIC, OWN_KEY, BESIDE = "/openai", "/anthropic", "/own-key", "/beside"
PROXY, GUARDED_PROXY = "/v1/proxy", "/v1/guarded-proxy"
TOKEN = "token-of-a-client-with-all-rights"
"""Of clients of the guarded routes, and of a script that uses the admin listener."""
_DIGEST = f"sha256:{hashlib.sha256(TOKEN.encode()).hexdigest()}"
_ANSWERS = {"/v1/messages": message, "/v1/responses": response}
_EVERY = '["read", "append", "create", "close", "delete"]'


async def _provided(request: web.BaseRequest) -> web.Response:
    """Return the answer of a provider, whatever the request is, or to an export of spans."""
    body = await request.read()
    if b'"stream":true' not in body:
        return web.json_response(WHOLE.get(request.path, {}))
    return web.Response(body=b"".join(_ANSWERS.get(request.path, chat_completion)()), headers=HEAD)


@contextlib.asynccontextmanager
async def every_kind(environment: Mapping[str, str]) -> AsyncIterator[Headgate]:
    """Start the gateway; the admin listener wants TOKEN, too."""
    with (
        tempfile.TemporaryDirectory(prefix="headgate-fuzz-") as folder,
        own_log(long_poll_s=1) as origin,
    ):
        async with RawTestServer(_provided) as provider:
            variables = {**environment, **_variables(Path(folder), f"{provider.make_url('')}")}
            with contextlib.closing(Headgate(environment=variables)) as gateway:
                gateway.serve_routes(*_routes(Path(folder), origin.url))
                yield gateway.start()


def provider_of(gateway: Headgate) -> str:
    """Return the URL of the provider, which proxies call, too."""
    return gateway.environment["HEADGATE_MODELS__0__UPSTREAM"]


def _variables(folder: Path, provider: str) -> dict[str, str]:
    """Write the files of the settings, and return the settings besides the routes."""
    for name, secret in (("key", "sk-of-the-gateway"), ("signing", "s" * 48)):
        (folder / name).write_text(secret)
        (folder / name).chmod(0o600)
    (folder / "tokens.toml").write_text(
        f'[[tokens]]\nname = "client"\ntoken = "{_DIGEST}"\n'
        f'grants = [{{ streams = "/*", operations = {_EVERY} }}]\n'
    )
    beside = {"auth": ["tokens"]}
    key = {"auth": ["tokens"], "key_file": str(folder / "key")}
    routes = (OPENAI, {"auth": "none"}), (ANTHROPIC, {"auth": "none"}), (OWN_KEY, key)
    models = [
        {
            "prefix": prefix,
            "upstream": provider,
            "dialect": "anthropic" if prefix == ANTHROPIC else "openai",
            "streams": f"{HOSTED}/answers",
            **settings,
        }
        for prefix, settings in (*routes, (BESIDE, beside))
    ]
    proxies = [
        {
            "prefix": prefix,
            "streams": f"{HOSTED}/proxied",
            "allow_inside": ["http://127.0.0.1:*"],
            "secret_file": str(folder / "signing"),
            "auth": auth,
        }
        for prefix, auth in ((PROXY, "none"), (GUARDED_PROXY, ["tokens"]))
    ]
    return {
        **variables({"models": models}),
        **variables({"proxies": proxies}),
        "HEADGATE_CREDENTIALS__TOKENS_FILE": str(folder / "tokens.toml"),
        **variables({"admin_tokens": [{"name": "script", "role": "operator", "token": _DIGEST}]}),
        "HEADGATE_HTTP__TRUSTED_PROXIES": "127.0.0.1",
        "HEADGATE_LOG__REQUESTS": "info",
        "OTEL_EXPORTER_OTLP_ENDPOINT": provider,
        "OTEL_BSP_SCHEDULE_DELAY": "500",
    }


def _routes(folder: Path, origin: str) -> list[dict[str, object]]:
    served = {"mcp_events": True}
    before = {"origin": origin, "response_timeout": 2.0}
    return [
        {"prefix": HOSTED, "storage": f"file:{folder}/streams", "runs": True, **served},
        {
            "prefix": GUARDED,
            "storage": "memory:",
            "auth": ["tokens"],
            "anonymous": ["read"],
            "reader_keys": "off",
            **served,
        },
        {"prefix": EDGE, **before, "origin": f"{origin}/v1/stream"},
        {"prefix": JUDGED, **before, "origin": f"{origin}/v1/stream", "auth": "origin"},
    ]
