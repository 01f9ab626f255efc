"""What is left of an answer's fields for its reader alone."""

from __future__ import annotations

import pytest
from multidict import CIMultiDict

from gateway.rules.served_lifetimes import make_private, private_lines


@pytest.mark.parametrize(
    ("given", "left"),
    [
        ([], "private"),
        (["public"], "private"),
        (["max-age=60"], "private, max-age=60"),
        (["Public , S-MaxAge=1, max-age=60"], "private, max-age=60"),
        (["s-maxage = 1, max-age=60"], "private, max-age=60"),
        (["must-revalidate, proxy-revalidate, no-cache"], "private, no-cache"),
        (['private="X-A, X-B", max-age=1'], "private, max-age=1"),
        (["max-age=60", "public"], "private, max-age=60"),
        (["no-store"], "private, no-store"),
        (["max-age=1, stale-while-revalidate=9"], "private, max-age=1, stale-while-revalidate=9"),
        (['x="public, s-maxage=1", public'], 'private, x="public, s-maxage=1"'),
    ],
)
def test_private_responses_keep_browser_lifetimes_and_lose_shared_cache_directives(
    given: list[str], left: str
) -> None:
    fields = CIMultiDict([("cache-control", value) for value in given])
    make_private(fields)
    assert fields.getall("Cache-Control") == [left]


@pytest.mark.parametrize(
    "name",
    [
        *("CDN-Cache-Control", "Cloudflare-CDN-Cache-Control", "Vercel-CDN-Cache-Control"),
        *("Surrogate-Control", "Surrogate-Key", "Cache-Tag", "CDN-Tag", "Edge-Cache-Tag"),
        *("Edge-Control", "X-Accel-Expires", "xkey", "X-Cache-Tags", "X-LiteSpeed-Cache-Control"),
        *(
            "Akamai-Cache-Control",
            "Netlify-Cache-Tag",
            "Fastly-Surrogate-Key",
            "X-Surrogate-Control",
        ),
        "Expires",
    ],
)
def test_fields_for_shared_caches_are_removed_from_a_private_response(name: str) -> None:
    fields = CIMultiDict({name.lower(): "max-age=60", "ETag": '"a"'})
    make_private(fields)
    assert fields.keys() == {"ETag", "Cache-Control", "Vary"}
    assert fields["Cache-Control"] == "private"


def test_cache_lines_made_private_keep_their_form() -> None:
    said = "Cache-Control: public, max-age=60\r\nCDN-Cache-Control: max-age=600\r\nVary: Origin\r\n"
    lines = ("Cache-Control: private, max-age=60", "Vary: Origin", "Vary: Authorization")
    assert private_lines(said) == "\r\n".join([*lines, "Vary: Cookie", ""])
    assert private_lines("") == ""


@pytest.mark.parametrize("varies", ["*", "authorization, COOKIE"])
def test_a_vary_that_already_separates_readers_is_not_changed(varies: str) -> None:
    fields = CIMultiDict({"Vary": varies})
    make_private(fields)
    assert fields.getall("Vary") == [varies]
