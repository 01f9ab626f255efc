"""The table of rules says what the gateway itself says of its answers."""

from __future__ import annotations

from typing import get_args

from cdn_configs.rules import RULES, Mode
from gateway.protocol import cache_headers, cursors
from gateway.protocol.cache_headers import Freshness
from gateway.settings import Route


def test_each_mode_has_one_rule_in_whole_sentences() -> None:
    assert [rule.mode for rule in RULES.table] == list(get_args(Mode))
    for rule in RULES.table:
        assert [text for text in (rule.requests, rule.kept, rule.why) if text[-1] != "."] == []


def test_an_answer_without_news_is_kept_for_as_long_as_the_gateway_says() -> None:
    assert f"max-age={RULES.moment_s}\r\n" in cache_headers.EDGE_SECOND
    assert Route(prefix="/a", origin="memory:").tail_max_age == RULES.moment_s


def test_data_by_long_poll_is_kept_until_its_cursor_has_passed() -> None:
    assert RULES.poll_data_s == cursors.INTERVAL_S
    lifetime = cache_headers.poll_lifetime(Freshness(), None)
    assert lifetime.endswith(f"max-age={RULES.poll_data_s}\r\n")
