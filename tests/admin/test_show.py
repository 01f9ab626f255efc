from __future__ import annotations

import unicodedata
from typing import TYPE_CHECKING, NamedTuple
from urllib.parse import quote

import pytest
from hypothesis import given
from hypothesis import strategies as st

from headgate.names import IN_NAMES
from headgate_admin.pages import show
from headgate_gateway.features.console.name_search import spoken

if TYPE_CHECKING:
    from collections.abc import Callable

NOW = 1_772_366_710.0


class Shown(NamedTuple):
    how: Callable[..., str]
    value: float | None
    text: str


@pytest.mark.parametrize(
    "row",
    [
        Shown(show.number, 0, "0"),
        Shown(show.number, 0.123, "0.12"),
        Shown(show.number, 9.994, "9.99"),
        Shown(show.number, 9.996, "10.0"),
        Shown(show.number, 452, "452"),
        Shown(show.number, 999.4, "999"),
        Shown(show.number, 999.5, "1k"),
        Shown(show.number, 12_440, "12.4k"),
        Shown(show.number, 999_600, "1M"),
        Shown(show.number, -1_500, "-1.5k"),
        Shown(show.number, 2e18, "2000P"),
        Shown(show.count, 48_210.2, "48,210"),
        Shown(show.rate, 12_400, "12.4k/s"),
        Shown(show.size, 512, "512 B"),
        Shown(show.size, 1_800_000, "1.8 MB"),
        Shown(show.percent, 0.934, "93.4 %"),
        Shown(show.percent, 0.9999, "99.9 %"),
        Shown(show.percent, 1.0, "100 %"),
        Shown(show.level, 0.85, "85 %"),
        Shown(show.factor, 1_284.4, "1,284×"),
        Shown(show.factor, 1.24, "1.24×"),
        Shown(show.duration, 0.00025, "250 µs"),
        Shown(show.duration, 0.001, "1 ms"),
        Shown(show.duration, 0.0142, "14.2 ms"),
        Shown(show.duration, 1.5, "1.5 s"),
        Shown(show.duration, 119, "119 s"),
        Shown(show.duration, 240, "4 min"),
        Shown(show.duration, 3 * 3600, "3 h"),
        Shown(show.duration, 400 * 86_400, "400 d"),
        Shown(show.exact, NOW, "2026-03-01 12:05:10 UTC"),
        Shown(show.exact, 1e15, "1000000000000000 s after 1970"),
        Shown(show.machine, NOW, "2026-03-01T12:05:10Z"),
        Shown(show.clock, NOW, "12:05:10"),
    ],
    ids=lambda row: f"{row.how.__name__} {row.text}",
)
def test_values_are_shown_with_three_digits_and_their_unit(row: Shown) -> None:
    assert row.how(row.value) == row.text


@pytest.mark.parametrize(
    "how",
    [show.number, show.count, show.rate, show.size, show.percent, show.factor, show.duration],
)
def test_an_unknown_value_is_not_shown_as_zero(how: Callable[[float | None], str]) -> None:
    assert how(None) == show.UNKNOWN
    assert how(0) != show.UNKNOWN


@pytest.mark.parametrize(
    ("moment", "text"),
    [
        (NOW - 12, "12 s ago"),
        (NOW - 64.8, "65 s ago"),
        (NOW - 0.4, "now"),
        (NOW + 3 * 3600, "in 3 h"),
        (NOW, "now"),
        (None, "–"),
    ],
)
def test_moments_are_shown_relative_to_now(moment: float | None, text: str) -> None:
    assert show.relative(moment, NOW) == text


@given(st.floats(min_value=0, max_value=1e15))
def test_shown_numbers_have_at_most_five_characters(value: float) -> None:
    assert len(show.number(value)) <= 5


@given(st.text())
def test_shown_names_contain_no_invisible_characters(text: str) -> None:
    assert all(unicodedata.category(c) not in {"Cc", "Cf", "Cs"} for c in show.visible(text))


def test_text_direction_overrides_in_a_name_are_shown_as_code_points() -> None:
    assert show.visible("\u202egpj.exe\0") == "⟨U+202E⟩gpj.exe⟨U+0000⟩"


@given(st.text(), st.integers(min_value=3, max_value=60))
def test_a_cut_name_shows_its_beginning_and_its_end_and_is_whole(text: str, longest: int) -> None:
    begin, rest, end = show.parts(text, longest)
    assert begin + rest + end == text
    if len(text) <= longest:
        assert (rest, end) == ("", "")
    else:
        assert len(begin) + 1 + len(end) == longest, "with the ellipsis"
        assert 0 <= len(begin) - len(end) <= 1


@pytest.mark.parametrize(
    ("version", "shown"),
    [
        ("0.1.0", "0.1.0"),
        ("0.1.0.dev20261129+g968a9479", "0.1.0 · 968a947"),
        ("0.1.0+gc851b36", "0.1.0 · c851b36"),
        ("", ""),
    ],
)
def test_a_version_is_shown_with_the_revision_that_it_was_built_from(
    version: str, shown: str
) -> None:
    assert show.version(version) == shown


@given(st.text(st.characters(exclude_categories=["Cs"])))
def test_a_percent_encoded_name_is_shown_decoded(text: str) -> None:
    assert spoken(quote(text, IN_NAMES)) == text


@pytest.mark.parametrize("name", ["a%2Fb", "%zz", "a%2525%", "%FF"])
def test_a_name_stays_encoded_where_decoding_is_ambiguous(name: str) -> None:
    assert spoken(name) == name


def test_a_fact_is_shown_in_its_unit_and_words_as_they_are() -> None:
    facts = [(1_800_000.0, "bytes"), (7200.0, "seconds"), (48_210, "count"), (None, "bytes")]
    assert [show.with_unit(value, unit) for value, unit in facts] == [
        "1.8 MB",
        "2 h",
        "48,210",
        show.UNKNOWN,
    ]
    assert show.with_unit("up", "words") == "up"
