from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from headgate.names import MOST_SHOWN, shown, stream_url
from headgate.resumable import ResumableStreams
from headgate.runs import Runs

if TYPE_CHECKING:
    from collections.abc import Callable

BASE = "http://127.0.0.1:1/v1/stream"


def below(base: str) -> str:
    return stream_url(base, "a/b?c")


@pytest.mark.parametrize("base", [BASE, f"{BASE}/"])
def test_a_name_is_one_segment_whatever_it_holds(base: str) -> None:
    assert below(base) == f"{BASE}/a%2Fb%3Fc"


@pytest.mark.parametrize("base", [f"{BASE}?token=s3cret", f"{BASE}#part"])
@pytest.mark.parametrize("made", [below, Runs, ResumableStreams])
def test_no_name_stands_behind_a_query_or_a_fragment(
    made: Callable[[str], object], base: str
) -> None:
    with pytest.raises(ValueError, match="ends with its path") as raised:
        made(base)
    assert "s3cret" not in str(raised.value)


def test_a_long_url_is_shown_by_its_beginning() -> None:
    url = f"http://host/{'x' * MOST_SHOWN}"
    assert shown(url) == f"{url[:MOST_SHOWN]}..."
    assert shown(url[:MOST_SHOWN]) == url[:MOST_SHOWN]
