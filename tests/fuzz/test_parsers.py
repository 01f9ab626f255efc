"""The parsers of what others send, for a few seconds; `make soak` goes on, guided by coverage."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.fuzz.parsers import PARSERS
from tests.support.examples import examples

EXAMPLES = 150


@pytest.mark.parametrize("name", PARSERS)
def test_each_parser_keeps_its_promise_on_fuzzed_bytes(name: str) -> None:
    parser = PARSERS[name]
    for seed in parser.seeds:
        parser.check(seed)
    pieces = st.sampled_from(parser.seeds).flatmap(
        lambda seed: st.tuples(st.integers(0, len(seed)), st.integers(0, len(seed))).map(
            lambda cut: seed[min(cut) : max(cut)]
        )
    )
    given_bytes = st.lists(pieces | st.binary(max_size=8), max_size=6).map(b"".join)

    @settings(max_examples=examples(EXAMPLES), deadline=None)
    @given(given_bytes)
    def for_all(data: bytes) -> None:
        parser.check(data)

    for_all()
