"""What was deleted stays in a cache for as long as the page of its target says, and no longer."""

from __future__ import annotations

import re
import time
from functools import partial
from typing import TYPE_CHECKING

import pytest

from cdn_configs.targets import TARGETS
from tests.cdn.candidates import CANDIDATES
from tests.cdn.edges import GRACE_S
from tests.cdn.findings import Fault
from tests.cdn.origin import BRIEF, BRIEF_LIFETIMES
from tests.cdn.read_cases import TAIL_S, whole_chunk
from tests.support.http1 import ask
from tests.support.waiting import wait_until
from tests.test_architecture import ROOT

if TYPE_CHECKING:
    from tests.cdn.edges import Edge

CHUNK_S = sum(BRIEF_LIFETIMES.values())
MORE_S = 1.0  # where a server counts in whole seconds
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
    within_s = {beginning: TAIL_S, chunk: CHUNK_S + MORE_S} if keeps else {beginning: 0.0}
    for target, stays_s in within_s.items():
        wait_until(partial(_is_gone, edge, target), f"{target} to be gone")
        assert time.monotonic() - deleted < stays_s + GRACE_S


def _is_gone(edge: Edge, target: str) -> bool:
    return edge.ask("GET", target).status == GONE


@pytest.mark.parametrize("folder", sorted({one.folder for one in TARGETS.values()}))
def test_the_page_of_each_target_states_how_long_deleted_streams_stay_cached(folder: str) -> None:
    page = (ROOT / "cdn_configs" / folder / "README.md").read_text()
    (section,) = re.findall(r"^## What you delete\n\n(.*?)(?=^## |\Z)", page, re.DOTALL | re.M)
    paragraph = " ".join(section.split())
    assert re.match(r"What you delete stays at [\w' ]+ for ", paragraph)
