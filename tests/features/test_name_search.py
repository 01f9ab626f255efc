"""Searches by the names of streams."""

from __future__ import annotations

import re

import pytest

from headgate_gateway.errors import BadRequest
from headgate_gateway.features.console.name_search import LONGEST_PATTERN, glob_beginning, name_test


@pytest.mark.parametrize(
    ("contains", "glob", "name", "fits"),
    [
        pytest.param("/ev", "", "chat/events", True, id="in-the-middle"),
        pytest.param("/EV", "", "chat/events", False, id="another-case"),
        pytest.param("é", "", "b%C3%A9", True, id="as-it-is-shown"),
        pytest.param("%C3", "", "b%C3%A9", True, id="as-its-url-has-it"),
        pytest.param("a/b", "", "a%2Fb", False, id="an-encoded-slash-is-no-slash"),
        pytest.param("%2F", "", "a%2Fb", True, id="an-encoded-slash"),
        pytest.param("*", "", "a*b", True, id="an-asterisk-that-is-no-glob"),
        pytest.param("", "chat/*/events", "chat/a/b/events", True, id="several-segments"),
        pytest.param("", "chat/*", "a/chat/x", False, id="a-glob-is-like-the-whole-name"),
        pytest.param("", "b?", "b%C3%A9", True, id="one-character-as-it-is-shown"),
        pytest.param("", "[a-c]?", "bx", True, id="a-range"),
        pytest.param("", "[!a-c]?", "bx", False, id="none-of-a-range"),
        pytest.param("", "a[*]b", "axb", False, id="an-asterisk-in-brackets"),
        pytest.param("", "a[*]b", "a*b", True, id="the-name-with-an-asterisk"),
        pytest.param("", "[", "%5B", True, id="a-bracket-alone"),
        pytest.param("x", "a*", "ab", False, id="both-conditions"),
    ],
)
def test_a_name_fits_a_search_as_shown_or_as_in_its_url(
    contains: str, glob: str, name: str, fits: bool
) -> None:
    test = name_test(contains, glob)
    assert test is not None
    assert test(name) is fits
    if fits:
        assert name.startswith(glob_beginning(glob))


def test_empty_conditions_are_no_test() -> None:
    assert name_test("", "") is None


@pytest.mark.parametrize("what", ["contains", "glob"])
def test_a_search_of_the_longest_pattern_is_accepted_and_a_longer_one_refused(what: str) -> None:
    assert name_test(**{"contains": "", "glob": ""} | {what: "x" * LONGEST_PATTERN}) is not None
    with pytest.raises(BadRequest, match=re.escape(what)):
        name_test(**{"contains": "", "glob": ""} | {what: "x" * (LONGEST_PATTERN + 1)})
