"""The table of docs/cdn/README.md says of each target what it says of itself."""

from __future__ import annotations

from tests.cdn_configs.overview import PAGE, told


def test_the_documented_table_of_targets_matches_the_targets() -> None:
    """If it is not: python -m tests.cdn_configs.overview"""
    text = PAGE.read_text()
    assert told(text) == text
