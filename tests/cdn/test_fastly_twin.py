"""Fastly's rules before a real gateway, with the readers of the suite: translated, in Varnish.

It shows what the rules make of requests and answers, and that nobody waits in vain by them. How
Fastly's own machines let equal requests wait for each other, it cannot show.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from headgate_cdn.options import from_settings
from headgate_cdn.render import render
from headgate_cdn.targets import target
from tests.cdn.cases import CASES
from tests.cdn.edges import Edge
from tests.cdn_configs.varnish_twin import FastlysVarnish, translated
from tests.support.ports import free_port
from tests.support.proxy_engines import started

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.cdn.cases import Case
    from tests.cdn.origin import HeadgateOrigin


@pytest.fixture(scope="module")
def edge(processes: None, origin: HeadgateOrigin) -> Iterator[Edge]:
    options = from_settings(
        origin.settings, upstream="gateway.example.com:443", host="streams.example.com"
    )
    twin, port = translated(render(target("fastly"), options), origin.port), free_port()
    with started(FastlysVarnish(), {"twin.vcl": twin}, port):
        yield Edge(port, origin)


@pytest.mark.parametrize("case", CASES.values(), ids=CASES)
async def test_the_fastly_rules_translated_to_varnish_have_no_fault(edge: Edge, case: Case) -> None:
    found = await case(edge)
    assert not found.faults, found.figures
