"""What grants reach, for any claims and any paths: never more than they say."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from headgate_gateway.access.key_sets import parse_keys
from headgate_gateway.access.operations import OPERATIONS, READ, Grant, Need, fill, grant_of
from headgate_gateway.access.principal import Principal
from headgate_gateway.errors import BadRequest
from headgate_gateway.protocol.http.paths import canonical_path
from headgate_gateway.settings.grants import check_pattern
from tests.access.forging import EC, ED, RSA
from tests.support.examples import examples

CASES, CASES_OF_JSON = 500, 100
TEMPLATE = "/v1/stream/users/{sub}/*"
NASTY = st.text(alphabet="./%*{}?#\\ ab2eF\0\n;é\u202e\ud800", max_size=12)
ANY_JSON = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=4), inner),
    max_leaves=6,
)


@settings(max_examples=examples(CASES))
@given(NASTY | st.text(max_size=30), NASTY)
def test_a_claim_in_a_grant_covers_one_folder_whatever_its_text(sub: str, rest: str) -> None:
    try:
        pattern = fill(TEMPLATE, {"sub": sub})
    except ValueError:
        return
    assert pattern is not None
    assert pattern.count("/") == TEMPLATE.count("/")
    grant = Grant(pattern, READ)
    folder = pattern.removesuffix("/*")
    assert canonical_path(folder) == folder
    assert not grant.covers(folder)
    try:
        path = canonical_path(f"/v1/stream/users/{rest}")
    except (BadRequest, UnicodeEncodeError):
        return
    assert grant.covers(path) == (path.startswith(f"{folder}/") and path != f"{folder}/")


@settings(max_examples=examples(CASES))
@given(NASTY, NASTY)
def test_different_claims_never_cover_the_same_folder(one: str, two: str) -> None:
    try:
        first, second = (fill(TEMPLATE, {"sub": it}) for it in (one, two))
    except ValueError:
        return
    assert (first == second) == (one == two)


SEGMENTS = {
    "a/b": "a%2Fb",
    "../x": "..%2Fx",
    "*": "%2A",
    "{sub}": "%7Bsub%7D",
    "...": "...",
    "%2e%2e": "%252e%252e",
    "auth0|1": "auth0%7C1",
    "ann@example.com": "ann%40example.com",
    "é": "%C3%A9",
    "~a-b_c.d": "~a-b_c.d",
}


@pytest.mark.parametrize(("sub", "segment"), SEGMENTS.items(), ids=SEGMENTS)
def test_a_claim_is_encoded_as_one_path_segment(sub: str, segment: str) -> None:
    assert fill(TEMPLATE, {"sub": sub}) == f"/v1/stream/users/{segment}/*"


@pytest.mark.parametrize(
    "sub", ["", ".", "..", None, 1, True, ["a"], {"a": 1}, "\ud800", "a\0b"], ids=ascii
)
def test_a_claim_that_can_be_no_path_segment_is_refused(sub: object) -> None:
    with pytest.raises(ValueError, match="must"):
        fill(TEMPLATE, {"sub": sub})


def test_a_grant_whose_claim_is_missing_is_dropped() -> None:
    assert fill(TEMPLATE, {}) is None


@settings(max_examples=examples(CASES))
@given(st.sampled_from(["/", "/s", "/s/a", "/s/a/b"]) | NASTY, NASTY)
def test_a_pattern_covers_its_paths_and_no_neighbours(begin: str, end: str) -> None:
    try:
        pattern = check_pattern(begin + end)
    except (ValueError, UnicodeEncodeError):
        return
    grant = Grant(pattern, READ)
    exact = pattern.removesuffix("/*")
    assert grant.covers(exact) == (exact == pattern)
    for path in (exact + "x", exact[:-1], "/other", exact.upper() + "X", exact + "/"):
        if path.startswith(exact + "/") and len(path) > len(exact) + 1:
            continue
        assert grant.covers(path) == (path == pattern)
    assert grant.covers(exact + "/x") == (pattern != exact)


@settings(max_examples=examples(CASES_OF_JSON))
@given(ANY_JSON, ANY_JSON)
def test_any_json_as_a_grant_is_valid_or_refused(streams: Any, operations: Any) -> None:
    try:
        grant = grant_of(streams, operations)
    except (ValueError, UnicodeEncodeError):
        return
    assert grant.operations <= OPERATIONS
    assert grant.operations
    assert check_pattern(grant.streams) == grant.streams


@given(
    st.lists(st.tuples(st.sampled_from(["/a", "/a/*", "/*"]), st.sampled_from(sorted(OPERATIONS)))),
    st.sets(st.sampled_from(sorted(OPERATIONS)), min_size=1),
)
def test_several_grants_permit_exactly_the_union_of_their_operations(
    given_: list[tuple[str, Any]], wanted: set[Any]
) -> None:
    ann = Principal("ann", [Grant(it, frozenset({one})) for it, one in given_], 1.0)
    granted = {one for it, one in given_ if it in {"/a/*", "/*"}}
    assert ann.may(Need("/a/x", frozenset(wanted))) == (wanted <= granted)


@settings(max_examples=examples(CASES_OF_JSON))
@given(st.binary(max_size=64) | ANY_JSON.map(lambda it: json.dumps(it).encode()))
def test_random_bytes_as_a_key_set_are_refused_with_a_value_error(data: bytes) -> None:
    with pytest.raises(ValueError, match=r"^(is|has)"):
        parse_keys(data, ["EdDSA", "ES256", "RS256"])


@settings(max_examples=examples(CASES_OF_JSON))
@given(st.sampled_from([ED, EC, RSA]), st.data())
def test_a_spoilt_key_in_a_set_leaves_the_other_keys_usable(key: Any, data: st.DataObject) -> None:
    """Whatever an issuer publishes, its other keys go on."""
    spoilt = {**key.as_dict(private=False), "kid": "spoilt"}
    for name in data.draw(st.sets(st.sampled_from(sorted(spoilt)), min_size=1, max_size=2)):
        spoilt[name] = data.draw(ANY_JSON)
    good = {**ED.as_dict(private=False)}
    keys = parse_keys(json.dumps({"keys": [spoilt, good]}).encode(), ["EdDSA", "ES256", "RS256"])
    assert "ed" in keys
