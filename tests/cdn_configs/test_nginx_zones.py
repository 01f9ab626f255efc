"""The two caches of nginx: how long they keep what nobody asks for, and how many keys they hold."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

import pytest

from headgate_cdn.options import Options
from headgate_cdn.render import render
from headgate_cdn.targets import TARGETS

if TYPE_CHECKING:
    from headgate_cdn.options import CredentialMode


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
