"""Each configuration of docs/proxies.md does what the page says, in the real proxy."""

from __future__ import annotations

import subprocess
from typing import TYPE_CHECKING

import pytest

from tests.support.processes import ROOT
from tests.support.recipes import CADDY, NGINX, NGINX_CONF, Kitchen, recipe

if TYPE_CHECKING:
    from pathlib import Path

pytestmark = pytest.mark.usefixtures("processes")

DOCUMENT = ROOT / "docs" / "proxies.md"
# The reader's response ends by the close, which comes once the reader has had an event.
FOLLOW = """
A="Authorization: Bearer $(cat writer.token)"
curl -sN "$B/chat?offset=-1&live=sse" -H "$A" > events &
until grep -q hello events; do sleep 0.05; done
curl -sX POST $B/chat -H "$A" -H 'Stream-Closed: true'
wait
"""


@pytest.mark.parametrize("title", ["Caddy", "HAProxy"])
def test_each_documented_proxy_passes_tokens_locations_and_live_events_on(
    title: str, tmp_path: Path
) -> None:
    with Kitchen(DOCUMENT, tmp_path, {}, {}) as kitchen:
        kitchen.follow("Headgate behind the proxy")
        assert kitchen.follow(title) == 4
        kitchen.type_in(FOLLOW)
        events = (tmp_path / "events").read_text()
    assert "data:hello" in events
    assert '"streamClosed":true' in events


def test_the_documented_files_for_oauth2_proxy_are_valid(tmp_path: Path) -> None:
    files = {text.partition("\n")[0]: text for _, text in recipe(DOCUMENT, "oauth2-proxy")}
    with Kitchen(DOCUMENT, tmp_path, {}, {}) as kitchen:
        (tmp_path / "Caddyfile").write_text(files["# app.caddyfile"])
        (tmp_path / "streams.conf").write_text(kitchen.here(files["# app.conf"]))
        kitchen.type_in(
            "openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -days 2"
            " -subj /CN=app.example.com -keyout streams.key -out streams.pem"
        )
    (tmp_path / "nginx.conf").write_text(NGINX_CONF.format(folder=tmp_path))
    for command in (
        [CADDY, "adapt", "--config", "Caddyfile", "--adapter", "caddyfile"],
        [NGINX, "-t", "-p", str(tmp_path), "-c", str(tmp_path / "nginx.conf")],
    ):
        done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr
