"""Files of the targets that no test plays, as they lie in the tree to be read."""

from __future__ import annotations

from pathlib import Path

import pytest

from headgate_cdn.options import from_settings
from headgate_cdn.render import render
from headgate_cdn.targets import TARGETS
from headgate_gateway.settings import Settings
from tests.support.proxy_engines import ENGINES
from tests.test_architecture import ROOT

HOST = "streams.example.com"
UPSTREAM = "gateway.example.com:4437"


# Engines run these, or tests put requests to their rules: ingress-nginx's in nginx, Fastly's in
# Varnish, CloudFront's function in Node.js; those of Bunny and of Cloudflare are evaluated.
PLAYED = {*ENGINES, "ingress-nginx", "fastly", "cloudfront", "bunny", "cloudflare-rules"}
PARTS = {part for name in PLAYED for part in TARGETS[name].beside}


@pytest.mark.parametrize("name", sorted(TARGETS.keys() - PLAYED - PARTS))
def test_each_golden_file_equals_the_output_of_its_command(name: str) -> None:
    target = TARGETS[name]
    golden = Path(
        "cdn_configs/headgate_cdn", target.folder, "golden", name + Path(target.file_name).suffix
    )
    again = f"headgate cdn render {name} --host {HOST} --upstream {UPSTREAM} -o {golden}"
    rendered = render(target, from_settings(Settings(), host=HOST, upstream=UPSTREAM))
    assert (ROOT / golden).is_file(), again
    assert (ROOT / golden).read_text() == rendered, again
