"""A small cache keeps what is popular."""

from __future__ import annotations

import pytest

from tests.edge import zipf
from tests.edge.gateways import edge
from tests.edge.zipf import Crowd
from tests.support.origin_servers import own_log

CROWD = Crowd(streams=2000, reads=6000, exponent=1.0)


@pytest.mark.torture("what is evicted, in tests/test_store.py")
@pytest.mark.timeout(240)
def test_popular_streams_are_hits_in_a_cache_that_holds_a_tenth_of_all() -> None:
    with own_log() as origin:
        zipf.write(origin.port, CROWD)
        cache = {"HEADGATE_LIMITS__CACHE_SIZE": str(CROWD.cache_bytes)}
        with edge(origin.url, environment=cache) as gateway:
            ratios = zipf.read(gateway.port, CROWD)
    assert ratios.top >= 0.95, ratios
