"""What a server has in memory of modules: what it was asked for, and no more."""

from __future__ import annotations

import json
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest

from tests.support.http1 import ask
from tests.support.processes import headgate
from tests.support.redis_servers import redis_server

if TYPE_CHECKING:
    from contextlib import AbstractContextManager
    from pathlib import Path

    from tests.support.processes import Headgate

pytestmark = pytest.mark.usefixtures("processes")

# Runs the command that follows, and says at its end what was imported.
TELLING = (
    "import atexit, sys; del sys.argv[0];"
    "atexit.register(lambda: print('LOADED', *sys.modules, flush=True));"
    "from headgate_gateway.entry import main; main()"
)
# Packages and modules, each with all that is in it.
OF_COMMANDS = {
    "headgate_gateway.commands.cdn",
    "headgate_gateway.commands.stream.streams",
    "headgate_gateway.commands.token",
}
OF_CONSOLE = {"headgate_admin.api", "headgate_admin.pages", "headgate_cdn", "jinja2"}
OF_CREDENTIALS = {
    "cryptography",
    "headgate_gateway.access.key_sets",
}  # that a console checks and makes
OF_DIALECTS = {"headgate.dialects.providers", "headgate.dialects.contract"}  # of models
OF_EDGES = {
    "headgate_gateway.edge",
    "headgate_gateway.origin.client",
    "headgate_gateway.web.handlers.passed_appends",
    "headgate_gateway.web.handlers.edge_handlers",
}
OF_FILES = {"apsw", "headgate_gateway.logs.sqlite"}
OF_FEATURES = {
    f"headgate_gateway.features.{name}"
    for name in (
        *("compact", "console", "mcp", "models", "origin_auth", "proxies", "runs"),
        *("subscriptions.engine", "subscriptions.state", "views"),
    )
}
OF_METRICS = {"importlib.metadata", "prometheus_client", "headgate_gateway.telemetry.exposition"}
OF_OPERATORS = {"difflib", "tomlkit", "tomllib"}  # who write settings, and edit files
OF_OTHERS = {"greenlet", "pydantic", "rich"}  # whom nothing of ours needs, but for what others have
OF_OUTBOUND = {"headgate_gateway.outbound"}
OF_PURGES = {"headgate_gateway.purge.drivers", "headgate_gateway.purge.purger"}
OF_REDIS = {"headgate_gateway.logs.redis", "redis"}
OF_REDIS_PY = {"cryptography", "importlib.metadata", "opentelemetry"}  # where they are installed
OF_RUNS = {"headgate.dialects.contract", "headgate.records", "headgate.runs"}
OF_TOKENS = {"cryptography", "headgate_gateway.access.signed_tokens", "joserfc"}
OF_TRACES = {"opentelemetry"}
OF_WORKERS = {"headgate_gateway.workers"}
UNNEEDED = OF_COMMANDS | OF_CONSOLE | OF_CREDENTIALS | OF_EDGES | OF_FILES | OF_METRICS
UNNEEDED |= OF_OPERATORS | OF_OTHERS | OF_PURGES | OF_REDIS | OF_RUNS | OF_TOKENS | OF_TRACES
UNNEEDED |= OF_DIALECTS | OF_FEATURES | OF_OUTBOUND | OF_WORKERS


def telling(origin: str) -> AbstractContextManager[Headgate]:
    """A server that says at its end what was imported."""
    return headgate(origin, preface=(sys.executable, "-c", TELLING))


def loaded(server: Headgate) -> set[str]:
    """What of the modules that not all servers need it had, asked once it has ended."""
    assert server.terminate() == 0
    (line,) = (it for it in server.output().splitlines() if it.startswith("LOADED "))
    modules = line.split()[1:]
    assert "headgate_gateway.web.connections.fast_path" in modules
    return unneeded(modules)


def unneeded(modules: list[str]) -> set[str]:
    return {one for one in UNNEEDED if any(f"{it}.".startswith(f"{one}.") for it in modules)}


def use(server: Headgate) -> None:
    """Create, append, read, follow, and ask whether all is well."""
    path = "/v1/stream/chat"
    headers = {"Content-Type": "text/plain"}
    assert ask(server.port, "PUT", path, b"", **headers).status == 201
    assert ask(server.port, "POST", path, b"said", **headers).status == 204
    assert ask(server.port, "GET", f"{path}?offset=-1").body == b"said"
    closing = {**headers, "Stream-Closed": "true"}
    assert ask(server.port, "POST", path, b"done", **closing).status == 204
    assert b"done" in ask(server.port, "GET", f"{path}?offset=-1&live=sse").body
    assert ask(server.admin_port, "GET", "/readyz").status == 200


def test_a_server_of_memory_streams_loads_no_optional_module() -> None:
    with telling("memory:") as server:
        use(server)
        assert loaded(server) == set()


def test_a_server_of_file_streams_loads_only_the_file_modules_besides(tmp_path: Path) -> None:
    with telling(f"file:{tmp_path}") as server:
        use(server)
        assert loaded(server) == OF_FILES


def test_a_server_of_redis_streams_loads_only_the_redis_modules_besides(tmp_path: Path) -> None:
    with redis_server(tmp_path) as redis, telling(redis.url) as server:
        use(server)
        # A gateway looks for subscriptions of others.
        of_features = {
            f"headgate_gateway.features.subscriptions.{name}" for name in ("engine", "state")
        }
        assert loaded(server) == OF_REDIS | OF_REDIS_PY | of_features


def test_a_server_of_an_http_origin_loads_only_the_edge_modules_besides() -> None:
    with headgate() as origin, telling(origin.url) as server:
        use(server)
        assert loaded(server) == OF_EDGES


@pytest.mark.parametrize(
    ("path", "brought"),
    [
        pytest.param("/metrics", OF_METRICS, id="metrics"),
        pytest.param(
            "/",
            OF_CONSOLE
            | {"headgate_gateway.access.signed_tokens", "importlib.metadata", "joserfc"}
            | {"headgate_gateway.features.console"},
            id="console",
        ),
    ],
)
def test_metrics_and_console_load_their_modules_on_the_first_request(
    path: str, brought: set[str]
) -> None:
    with telling("memory:") as server:
        assert ask(server.admin_port, "GET", path).status == 200
        assert loaded(server) == brought


def test_a_worker_loads_no_module_of_the_console() -> None:
    program = "import headgate_gateway.workers.worker, json, sys; print(json.dumps([*sys.modules]))"
    told = subprocess.check_output([sys.executable, "-c", program])
    modules = json.loads(told)
    assert unneeded(modules) == OF_WORKERS
    assert "headgate_admin.app" not in modules
