"""What was deleted stays in a cache for as long as the page of its target says, and no longer."""

from __future__ import annotations

import re
import time
from functools import partial
from typing import TYPE_CHECKING

import pytest

from headgate_cdn.targets import TARGETS
from tests.cdn.candidates import CANDIDATES
from tests.cdn.edges import GRACE_S
from tests.cdn.findings import Fault
from tests.cdn.origin import BRIEF, BRIEF_CLOSED_S, BRIEF_LIFETIMES, TEXT
from tests.cdn.read_cases import whole_chunk
from tests.support.http1 import ask
from tests.support.waiting import wait_until
from tests.test_architecture import ROOT

if TYPE_CHECKING:
    from tests.cdn.edges import Edge

MORE_S = 1.0  # where a server counts in whole seconds
CHUNK_S = sum(BRIEF_LIFETIMES.values()) + MORE_S
CLOSED_S = BRIEF_CLOSED_S + MORE_S
GONE = 404


@pytest.mark.parametrize("edge", CANDIDATES, indirect=True, ids=str)
def test_a_cached_response_outlives_its_deleted_stream_by_its_lifetime_at_most(edge: Edge) -> None:
    chunk = whole_chunk(edge, BRIEF)
    path = chunk.partition("?")[0]
    beginning = f"{path}?offset=-1"
    for target in (chunk, beginning, chunk, beginning):
        assert edge.ask("GET", target).status == 200
    assert ask(edge.origin.port, "DELETE", path).status == 204
    deleted = time.monotonic()
    keeps = Fault.NO_HITS not in edge.known_faults
    assert edge.ask("GET", chunk).status == (200 if keeps else GONE)
    within_s = {beginning: CLOSED_S, chunk: CHUNK_S} if keeps else {beginning: 0.0}
    for target, stays_s in within_s.items():
        wait_until(partial(_is_gone, edge, target), f"{target} to be gone")
        assert time.monotonic() - deleted < stays_s + GRACE_S


@pytest.mark.parametrize("edge", CANDIDATES, indirect=True, ids=str)
def test_a_stream_created_again_is_read_once_the_closed_one_has_expired(edge: Edge) -> None:
    path = whole_chunk(edge, BRIEF).partition("?")[0]
    beginning = f"{path}?offset=-1"
    old = edge.ask("GET", beginning)
    assert (old.body, edge.ask("GET", beginning).body) == (b"firstsecond", b"firstsecond")
    assert ask(edge.origin.port, "DELETE", path).status == 204
    closed = {"Content_Type": TEXT, "Stream_Closed": "true"}
    assert ask(edge.origin.port, "PUT", path, b"anew", **closed).status == 201
    created = time.monotonic()
    keeps = Fault.NO_HITS not in edge.known_faults
    if keeps:  # also for a reader who has it
        assert edge.ask("GET", beginning, If_None_Match=old.headers["etag"]).status == 304

    def is_new() -> bool:
        return edge.ask("GET", beginning, If_None_Match=old.headers["etag"]).body == b"anew"

    wait_until(is_new, "the new stream")
    assert time.monotonic() - created < (CLOSED_S if keeps else 0.0) + GRACE_S


def _is_gone(edge: Edge, target: str) -> bool:
    return edge.ask("GET", target).status == GONE


# Vercel's own CDN stores what its function lets it, and no engine here has that.
CACHING = {one.folder for one in TARGETS.values() if "caches" in one.abilities} | {"vercel"}


@pytest.mark.parametrize("folder", sorted(CACHING))
def test_the_page_of_each_target_with_copies_states_how_long_deleted_streams_stay_cached(
    folder: str,
) -> None:
    page = (ROOT / "cdn_configs" / "headgate_cdn" / folder / "README.md").read_text()
    (section,) = re.findall(r"^## What you delete\n\n(.*?)(?=^## |\Z)", page, re.DOTALL | re.M)
    paragraph = " ".join(section.split())
    assert re.match(r"What you delete stays at [\w' ]+ for ", paragraph)
