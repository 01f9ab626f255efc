"""The table of docs/cdn/README.md says of each target what it says of itself."""

from __future__ import annotations

from tests.cdn_configs.overview import PAGE, told


def test_the_table_of_the_docs_is_what_the_targets_say() -> None:
    """If it is not: python -m tests.cdn_configs.overview"""
    text = PAGE.read_text()
    assert told(text) == text
