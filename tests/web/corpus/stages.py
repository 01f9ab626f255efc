"""The stages that exchanges are played on."""

from __future__ import annotations

from tests.support.guarded_gateway import bearer
from tests.web.corpus.exchange import Stage

PAGE = "https://a.example"
SMALL = {"max_append": 2048}  # bytes

OWN_LOG = Stage("memory", options=SMALL)
ORIGIN = Stage("origin", {}, SMALL)
GUARDED = Stage("guarded", options=SMALL, is_guarded=True)
GUARDED_ORIGIN = Stage("guarded", {"auth": "tokens"}, SMALL, True, (bearer("all"),))
ASKED_ORIGIN = Stage("guarded", {"auth": "origin"}, SMALL, True, (bearer("all"),))
LISTED = Stage("listed", options={**SMALL, "cors_origins": (PAGE,)})
LISTED_ORIGIN = Stage("listed", {}, {**SMALL, "cors_origins": (PAGE,)})
