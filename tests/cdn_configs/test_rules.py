"""The table of rules says what the gateway itself says of its answers."""

from __future__ import annotations

from typing import get_args

from cdn_configs.rules import RULES, Mode
from gateway.protocol import cache_headers, cursors
from gateway.protocol.cache_headers import Freshness
from gateway.settings import Route


def test_each_read_mode_has_one_rule_in_whole_sentences() -> None:
    assert [rule.mode for rule in RULES.table] == list(get_args(Mode))
    for rule in RULES.table:
        assert [text for text in (rule.requests, rule.kept, rule.why) if text[-1] != "."] == []


def test_the_rules_store_responses_without_news_as_long_as_the_gateway_allows() -> None:
    assert f"max-age={RULES.moment_s}\r\n" in cache_headers.EDGE_SECOND
    assert Route(prefix="/a", origin="memory:").tail_max_age == RULES.moment_s


def test_the_rules_store_long_poll_data_until_its_cursor_has_passed() -> None:
    assert RULES.poll_data_s == cursors.INTERVAL_S
    lifetime = cache_headers.poll_lifetime(Freshness(), None)
    assert lifetime.endswith(f"max-age={RULES.poll_data_s}\r\n")
