"""An auth that nothing here checks is refused at a start and in a reload, never served open."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from headgate_gateway.errors import StartError
from headgate_gateway.process.gateway import Gateway
from headgate_gateway.settings import Settings
from tests.reloading.reloadable import STREAMS, reloadable, token_entry
from tests.support.processes import HEADGATE, run

if TYPE_CHECKING:
    from pathlib import Path

UNKNOWN = ("passkeys",)
OPEN = "/v1/stream would be open to everybody: nothing checks its auth"
PLACES = {"a log": {"storage": "memory:"}, "an HTTP origin": {"origin": "http://127.0.0.1:9"}}


@pytest.mark.usefixtures("processes")
def test_a_server_does_not_start_with_a_kind_of_auth_that_it_does_not_know(tmp_path: Path) -> None:
    config = tmp_path / "h.toml"
    config.write_text('storage = "memory:"\nauth = ["tokens", "passkeys"]\n')
    served = run([HEADGATE, "serve", "--config", str(config)])
    assert served.returncode == 2
    said = f'{config}:2: auth is ["tokens", "passkeys"], but must be none, or a list of '
    assert said in served.stderr.decode()


async def test_a_reload_with_unknown_auth_leaves_the_guard_in_force(tmp_path: Path) -> None:
    tokens = tmp_path / "tokens.toml"
    tokens.write_text(token_entry("ann"))
    async with reloadable(tmp_path, auth=["tokens"], tokens_file=str(tokens)) as at:
        route = {**STREAMS, "auth": [*UNKNOWN]}
        (refused,) = await at.reload(route, auth=["tokens"], tokens_file=str(tokens))
        assert "routes[0].auth" in refused
        assert (await at.ask("GET", "/v1/stream/s")).status == 401
        unchecked = at.gateway.reloader.settings.but(auth=UNKNOWN)
        at.gateway.reloader.reread = lambda: unchecked
        (refused,) = await at.gateway.reloader.reload()
        assert refused.startswith(OPEN)
        assert (await at.ask("GET", "/v1/stream/s")).status == 401


@pytest.mark.parametrize("place", PLACES.values(), ids=PLACES)
async def test_a_route_whose_auth_nothing_checks_is_not_served(place: dict[str, str]) -> None:
    """Settings that were read cannot have it: this is for a kind that is added without a guard."""
    settings = Settings(**place).but(auth=UNKNOWN)
    with pytest.raises(StartError, match=f"{OPEN}, passkeys"):
        Gateway(settings)
