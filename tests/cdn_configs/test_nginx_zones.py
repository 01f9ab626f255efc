"""The two caches of nginx: how long they keep what nobody asks for, and how many keys they hold."""

from __future__ import annotations

import os
import re
from typing import TYPE_CHECKING

import pytest

from cdn_configs.options import Options
from cdn_configs.render import render
from cdn_configs.targets import TARGETS
from tests.cdn.engines import ENGINES, started
from tests.support.http1 import Wire
from tests.support.ports import free_port
from tests.support.waiting import wait_until
from tests.test_architecture import ROOT

if TYPE_CHECKING:
    from pathlib import Path

    from cdn_configs.options import CredentialMode

OF_A_CONNECTION = 500  # requests; nginx takes a thousand
ORIGIN = """
server {
    listen 127.0.0.1:PORT;
    location / { add_header Cache-Control "public, max-age=3600"; return 200 chunk; }
}
"""
PAGE = ROOT / "cdn_configs" / "nginx" / "README.md"


@pytest.mark.parametrize("name", ["nginx", "nginx-njs"])
@pytest.mark.parametrize("asked", [False, True])
def test_nginx_keeps_unused_history_for_a_day_and_long_polls_for_a_minute(
    name: str, asked: bool
) -> None:
    modes = TARGETS[name].credentials
    mode: CredentialMode = "asked" if asked and "asked" in modes else "bypass"
    text = render(TARGETS[name], Options(host="streams.example.com", credentials=mode))
    kept = dict(re.findall(r"keys_zone=(\w+):\d+m\s+max_size=\d+ inactive=(\w+)", text))
    assert kept.items() >= {"headgate": "24h", "headgate_polls": "1m"}.items()
    places = re.findall(r"location @headgate_(\w+) \{(.*?)\n    \}", text, re.DOTALL)
    caches = {place: re.findall(r"proxy_cache (\w+);", inside) for place, inside in places}
    for place, (cache,) in ((one, it) for one, it in caches.items() if it and it != ["off"]):
        assert cache == ("headgate_polls" if "poll" in place else "headgate"), place


def test_the_sizes_of_both_nginx_caches_add_up_to_cache_size() -> None:
    text = render(TARGETS["nginx"], Options(host="streams.example.com", cache_size=1 << 30))
    assert sum(map(int, re.findall(r"max_size=(\d+)", text))) == 1 << 30


@pytest.mark.timeout(300)  # 10,000 requests, one after the other
@pytest.mark.torture("the page has the figure, which changes with releases of nginx only")
def test_an_nginx_zone_holds_as_many_keys_per_megabyte_as_documented() -> None:
    page = " ".join(PAGE.read_text().split())
    (told,) = re.findall(r"A megabyte of a zone held ([\d,]+) keys", page)
    keys, port, origin = int(told.replace(",", "")), free_port(), free_port()
    options = Options(upstream=f"127.0.0.1:{origin}", listen=port, standalone=True)
    text = render(TARGETS["nginx"], options).replace("=headgate:32m", "=headgate:1m")
    text = f"{text.rstrip()[:-1]}{ORIGIN.replace('PORT', str(origin))}}}\n"
    with started(ENGINES["nginx"], {"nginx.conf": text}, port) as folder:
        for begin in range(0, keys + 2000, OF_A_CONNECTION):
            with Wire(port) as wire:
                for number in range(begin, begin + OF_A_CONNECTION):
                    target = f"/v1/stream/chat?offset={number:033d}"
                    assert wire.request("GET", target, None).status == 200
        wait_until(lambda: _files(folder / "cache") <= keys * 1.02, "the zone to be full")
        assert _files(folder / "cache") >= keys * 0.98


def _files(folder: Path) -> int:
    return sum(len(names) for _, _, names in os.walk(folder))
