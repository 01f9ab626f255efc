"""The rules have the lifetimes that the gateway itself sends."""

from __future__ import annotations

from headgate_cdn.rules import RULES
from headgate_gateway.protocol import cache_headers
from headgate_gateway.protocol.cache_headers import Freshness
from headgate_gateway.protocol.http.forwarding import READER_COOKIE
from headgate_gateway.protocol.streams.offsets import INTERVAL_S
from headgate_gateway.settings import Route


def test_the_rules_store_responses_without_news_as_long_as_the_gateway_allows() -> None:
    assert f"max-age={RULES.moment_s}\r\n" in cache_headers.EDGE_SECOND
    assert Route(prefix="/a", storage="memory:").tail_max_age == RULES.moment_s


def test_the_rules_store_long_poll_data_until_its_cursor_has_passed() -> None:
    assert RULES.poll_data_s == INTERVAL_S
    lifetime = cache_headers.poll_lifetime(Freshness(), None)
    assert f"max-age={RULES.poll_data_s}, " in lifetime


def test_the_rules_know_readers_by_the_cookie_of_the_gateway() -> None:
    assert RULES.reader_cookie == READER_COOKIE
