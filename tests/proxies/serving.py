"""A gateway in a process of its own with a proxy, and the requests of the protocol to it."""

from __future__ import annotations

import contextlib
import hashlib
import json
from typing import TYPE_CHECKING, Any

from tests.support.given_settings import variables
from tests.support.processes import Headgate

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from pathlib import Path

    import aiohttp

    from tests.proxies.upstream import Upstream

PREFIX, STREAMS = "/v1/proxy", "/v1/stream/proxied"
TOKEN, READER = "token-of-the-service", "token-of-a-reader"
SECRET = "s" * 48
SERVICE = {"Authorization": f"Bearer {TOKEN}"}


def written(folder: Path) -> dict[str, str]:
    """Write the files of a proxy; return the environment that names those of the whole server."""
    secret = folder / "signing.secret"
    secret.write_text(f"{SECRET}\n")
    secret.chmod(0o600)
    text = ""
    every = ["append", "read", "delete"]
    for name, token, operations in (("service", TOKEN, every), ("reader", READER, ["read"])):
        digest = hashlib.sha256(token.encode()).hexdigest()
        grants = f'[{{ streams = "{PREFIX}/*", operations = {json.dumps(operations)} }}]'
        text += f'[[tokens]]\nname = "{name}"\ntoken = "sha256:{digest}"\ngrants = {grants}\n'
    (folder / "tokens.toml").write_text(text)
    return {"HEADGATE_CREDENTIALS__TOKENS_FILE": str(folder / "tokens.toml")}


def proxies(folder: Path, settings: Mapping[str, object] | None = None) -> list[dict[str, object]]:
    """Return the setting for one proxy, whose upstreams are on loopback."""
    common: dict[str, object] = {
        "prefix": PREFIX,
        "streams": STREAMS,
        "allow_inside": ["http://127.0.0.1:*"],
        "secret_file": str(folder / "signing.secret"),
        "auth": ["tokens"],
        **(settings or {}),
    }
    return [common]


@contextlib.contextmanager
def gateway_with_proxy(
    folder: Path,
    settings: Mapping[str, object] | None = None,
    *,
    is_durable: bool = False,
    origin: str = "memory:",
    environment: Mapping[str, str] | None = None,
) -> Iterator[Headgate]:
    """Start a gateway; responses are at `origin`, or in `folder` if they are durable."""
    files = written(folder)
    if (settings or {}).get("auth") == "none":
        files.clear()
    environment_of = {**files, **variables({"proxies": proxies(folder, settings)})}
    server = Headgate(
        f"file:{folder / 'data'}" if is_durable else origin,
        environment={**environment_of, **(environment or {})},
    )
    try:
        yield server.start()
    finally:
        server.close()


def create(
    http: aiohttp.ClientSession,
    gateway: Headgate,
    url: str,
    method: str = "POST",
    body: bytes = b"{}",
    **fields: str,
) -> Any:
    """Send a request for an upstream; `Upstream_Authorization` is written with a hyphen."""
    named = {name.replace("_", "-"): value for name, value in fields.items()}
    headers = {**SERVICE, "Upstream-URL": url, "Upstream-Method": method, **named}
    return http.post(gateway.url + PREFIX, data=body, headers=headers)


async def created(http: aiohttp.ClientSession, gateway: Headgate, upstream: Upstream) -> str:
    """Return the signed URL of a new stream."""
    async with create(http, gateway, f"{upstream.url}/v1/chat") as answer:
        assert answer.status == 201, await answer.text()
        return str(answer.headers["Location"])
