"""Requests of web pages, where a list says which ones may read."""

from __future__ import annotations

from tests.support.raw_origin import answer
from tests.support.serving import EDGE, get, offset, post, put, request
from tests.web.corpus.exchange import Exchange, Given, Stage, Step
from tests.web.corpus.stages import LISTED, LISTED_ORIGIN, OWN_LOG, PAGE
from tests.web.corpus.steps import Answers, Ask, Send, parked

OTHER = "https://b.example"
READ = "s?offset=-1"
POLL = f"s?live=long-poll&offset={offset(3)}"
GIVEN = (Given(put("s", body=b"one")), Given(get(READ)))
ALLOWED, REFUSED = f"Origin: {PAGE}", f"Origin: {OTHER}"
KEPT = answer(
    b"one", "Content-Type: text/plain", "Stream-Next-Offset: b", "Cache-Control: max-age=60"
)
NAMED = KEPT.replace(b"\r\n\r\n", b"\r\nAccess-Control-Allow-Origin: https://b.example\r\n\r\n")
PREFLIGHT = ("Access-Control-Request-Method: PUT", "Access-Control-Request-Headers: content-type")
WRITERS = OWN_LOG.but(cors_origins=(PAGE,), write_origins=(PAGE,))


def _made(
    name: str, *steps: bytes | Step, stage: Stage = LISTED, given: tuple[Given, ...] = GIVEN
) -> Exchange:
    return Exchange(
        name, stage, [Ask(one) if isinstance(one, bytes) else one for one in steps], given
    )


PAGES = {
    "no page": (),
    "a page that may": (ALLOWED,),
    "a page that may not": (REFUSED,),
    "a page of null": ("Origin: null",),
    "a page of nothing": ("Origin:",),
    "a page in capitals": (f"Origin: {PAGE.upper()}",),
    "a page with a port": (f"Origin: {PAGE}:443",),
    "our own page": ("Origin: http://headgate.test",),
}

EXCHANGES = [
    *(_made(f"a cached read by {who}", get(READ, *lines)) for who, lines in PAGES.items()),
    *(
        _made(f"a read by {who}", get(READ, *lines), given=GIVEN[:1])
        for who, lines in PAGES.items()
    ),
    *(_made(f"an append by {who}", post("s", b"x", *lines)) for who, lines in PAGES.items()),
    *(
        _made(f"a refused read by {who}", get("s?offset=bad", *lines))
        for who, lines in PAGES.items()
        if "may" in who
    ),
    *(_made(f"OPTIONS by {who}", request("OPTIONS", "s", *lines)) for who, lines in PAGES.items()),
    *(
        _made(f"a preflight by {who}", request("OPTIONS", "s", *lines, *PREFLIGHT))
        for who, lines in PAGES.items()
    ),
    *(
        _made(f"an append by {who}, where pages may write", post("s", b"x", *lines), stage=WRITERS)
        for who, lines in PAGES.items()
        if "may" in who or "our" in who
    ),
    *(
        _made(f"a creation by {who}", put("n", *lines))
        for who, lines in PAGES.items()
        if "may" in who
    ),
    *(
        _made(f"a deletion by {who}", request("DELETE", "s", *lines))
        for who, lines in PAGES.items()
        if "may" in who
    ),
    *(
        _made(f"a read by {who}, where all may", get(READ, *lines), stage=OWN_LOG)
        for who, lines in PAGES.items()
        if "may" in who
    ),
    *(
        _made(f"an append by {who}, where all may read", post("s", b"x", *lines), stage=OWN_LOG)
        for who, lines in PAGES.items()
        if "may" in who
    ),
    *(
        _made(
            f"a preflight by {who}, where all may",
            request("OPTIONS", "s", *lines, *PREFLIGHT),
            stage=OWN_LOG,
        )
        for who, lines in PAGES.items()
        if "may" in who
    ),
    *(
        _made(
            f"a parked poll by {who}",
            Send((get(POLL, *lines),)),
            parked(),
            Ask(post("s", b"!"), by="w"),
            Answers(),
        )
        for who, lines in PAGES.items()
        if "may" in who or who == "no page"
    ),
    *(
        _made(f"an unknown route for {who}", get("/elsewhere", *lines))
        for who, lines in PAGES.items()
        if "may" in who
    ),
    *(
        _made(f"the front page for {who}", get("/", *lines))
        for who, lines in PAGES.items()
        if "may" in who
    ),
    *(
        _made(
            f"a read of an origin by {who}, which names {what}",
            Ask(get(f"{EDGE}/s?offset=a", *lines), origin=(reply,)),
            Ask(get(f"{EDGE}/s?offset=a", *lines)),
            stage=LISTED_ORIGIN,
            given=(),
        )
        for who, lines in PAGES.items()
        if "may" in who or who == "no page"
        for what, reply in (("nobody", KEPT), ("another page", NAMED))
    ),
    *(
        _made(
            f"an append to an origin by {who}",
            Ask(post(f"{EDGE}/s", b"x", *lines), origin=(answer(status="204 No Content"),)),
            stage=LISTED_ORIGIN,
            given=(),
        )
        for who, lines in PAGES.items()
        if "may" in who
    ),
]
