"""Requests of web pages, where a list says which ones may read."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

from tests.support.raw_origin import answer
from tests.support.serving import EDGE, get, offset, post, put, request
from tests.web.corpus.exchange import Exchange, Given, Stage, Step
from tests.web.corpus.stages import LISTED, LISTED_ORIGIN, OWN_LOG, PAGE
from tests.web.corpus.steps import Answers, Ask, Send, parked

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

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

MAY = {who: lines for who, lines in PAGES.items() if "may" in who}
SOME = {"no page": (), **MAY}


def _by(
    name: str,
    asked: Callable[..., bytes],
    pages: Mapping[str, tuple[str, ...]] = MAY,
    stage: Stage = LISTED,
    given: tuple[Given, ...] = GIVEN,
) -> list[Exchange]:
    """Return an exchange of each page, whose name is formatted with it."""
    return [
        _made(name.format(who), asked(*lines), stage=stage, given=given)
        for who, lines in pages.items()
    ]


def _preflight(*lines: str) -> bytes:
    return request("OPTIONS", "s", *lines, *PREFLIGHT)


_read, _append = partial(get, READ), partial(post, "s", b"x")
WRITES_TRIED = {**MAY, "our own page": PAGES["our own page"]}

EXCHANGES = [
    *_by("a cached read by {}", _read, PAGES),
    *_by("a read by {}", _read, PAGES, given=GIVEN[:1]),
    *_by("an append by {}", _append, PAGES),
    *_by("a refused read by {}", partial(get, "s?offset=bad")),
    *_by("OPTIONS by {}", partial(request, "OPTIONS", "s"), PAGES),
    *_by("a preflight by {}", _preflight, PAGES),
    *_by("an append by {}, where pages may write", _append, WRITES_TRIED, stage=WRITERS),
    *_by("a creation by {}", partial(put, "n")),
    *_by("a deletion by {}", partial(request, "DELETE", "s")),
    *_by("a read by {}, where all may", _read, stage=OWN_LOG),
    *_by("an append by {}, where all may read", _append, stage=OWN_LOG),
    *_by("a preflight by {}, where all may", _preflight, stage=OWN_LOG),
    *(
        _made(
            f"a parked poll by {who}",
            *(Send((get(POLL, *lines),)), parked(), Ask(post("s", b"!"), by="w"), Answers()),
        )
        for who, lines in SOME.items()
    ),
    *_by("an unknown route for {}", partial(get, "/elsewhere")),
    *_by("the front page for {}", partial(get, "/")),
    *(
        _made(
            f"a read of an origin by {who}, which names {what}",
            Ask(get(f"{EDGE}/s?offset=a", *lines), origin=(reply,)),
            Ask(get(f"{EDGE}/s?offset=a", *lines)),
            stage=LISTED_ORIGIN,
            given=(),
        )
        for who, lines in SOME.items()
        for what, reply in (("nobody", KEPT), ("another page", NAMED))
    ),
    *(
        _made(
            f"an append to an origin by {who}",
            Ask(post(f"{EDGE}/s", b"x", *lines), origin=(answer(status="204 No Content"),)),
            stage=LISTED_ORIGIN,
            given=(),
        )
        for who, lines in MAY.items()
    ),
]
