from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from headgate.names import MOST_SHOWN, shown, stream_url
from headgate.runs import Runs

if TYPE_CHECKING:
    from collections.abc import Callable

BASE = "http://127.0.0.1:1/v1/stream"


def below(base: str) -> str:
    return stream_url(base, "a/b?c")


@pytest.mark.parametrize("base", [BASE, f"{BASE}/"])
def test_a_name_with_reserved_characters_becomes_one_url_segment(base: str) -> None:
    assert below(base) == f"{BASE}/a%2Fb%3Fc"


@pytest.mark.parametrize("base", [f"{BASE}?token=s3cret", f"{BASE}#part"])
@pytest.mark.parametrize("made", [below, Runs])
def test_a_base_url_with_query_or_fragment_is_refused_without_its_token(
    made: Callable[[str], object], base: str
) -> None:
    with pytest.raises(ValueError, match="ends with its path") as raised:
        made(base)
    assert "s3cret" not in str(raised.value)


def test_a_url_beyond_the_shown_length_is_cut() -> None:
    url = f"http://host/{'x' * MOST_SHOWN}"
    assert shown(url) == f"{url[:MOST_SHOWN]}..."
    assert shown(url[:MOST_SHOWN]) == url[:MOST_SHOWN]
