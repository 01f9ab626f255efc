"""Whatever raises on the way of a request: the client is told, and nothing of it is left."""

from __future__ import annotations

import ast
import gc
import random
import warnings
from pathlib import Path

import pytest

import headgate_gateway
from tests.faults.injection import GIVES_BACK, GUARDS, LEFT_OUT
from tests.faults.requests_that_fail import KINDS, faults_in, wrong_after

SAMPLE = 3  # of each kind; `make torture` has all of them


@pytest.mark.parametrize("kind", KINDS)
async def test_a_request_that_raises_anywhere_leaves_nothing_behind(kind: str) -> None:
    faults = await faults_in(kind)
    assert await wrong_after(kind, random.sample(faults, min(SAMPLE, len(faults)))) == {}


def test_each_function_without_faults_exists() -> None:
    defined = set()
    for file in Path(headgate_gateway.__file__).parent.rglob("*.py"):
        tree = ast.parse(file.read_text())
        functions = (ast.FunctionDef, ast.AsyncFunctionDef)
        defined |= {node.name for node in tree.body if isinstance(node, functions)}
        for made in (node for node in ast.walk(tree) if isinstance(node, ast.ClassDef)):
            defined |= {f"{made.name}.{it.name}" for it in made.body if isinstance(it, functions)}
    assert (LEFT_OUT | GUARDS | GIVES_BACK) - defined == set()


async def test_a_fault_while_a_feed_is_registered_leaves_it_in_no_table() -> None:
    """Where it was in one of two tables only, it could not be forgotten any more."""
    faults = await faults_in("a long-poll")
    registering = ("FollowedTable.", "FollowedStreams._begin#", "FollowedStreams._linger#")
    reading = [fault for fault in faults if any(one in str(fault) for one in registering)]
    assert reading
    assert await wrong_after("a long-poll", reading) == {}


async def test_a_fault_while_a_bodys_end_is_read_never_passes_a_part_off_as_the_whole() -> None:
    """An answer without a length ends with its connection, and faults end that, too."""
    kind = "a read that ends with its connection"
    parsing = ("OriginConnection._read_body#", "ResponseReader.is_at_end#")
    faults = [fault for fault in await faults_in(kind) if any(one in str(fault) for one in parsing)]
    assert len({fault.call.function for fault in faults}) == len(parsing)
    assert await wrong_after(kind, faults) == {}


async def test_a_fetch_that_could_not_begin_is_joined_by_no_reader() -> None:
    kind = "a read that ends with its connection"
    faults = [fault for fault in await faults_in(kind) if not fault.leaves]
    beginning = [fault for fault in faults if fault.call.function == "Fetch.ask"]
    assert beginning
    assert await wrong_after(kind, beginning) == {}


async def test_a_read_whose_presentation_raises_is_answered() -> None:
    kind, presenting = "a read", {"EdgeRoute.recipient_of", "Fetches.count_readers"}
    faults = [fault for fault in await faults_in(kind) if fault.call.function in presenting]
    assert {fault.call.function for fault in faults} == presenting
    assert await wrong_after(kind, faults) == {}


async def test_a_connection_to_an_origin_that_cannot_be_made_leaves_no_socket() -> None:
    kind = "a read that ends with its connection"
    making = ("OriginConnection.__init__#", "ConnectionHistory.__init__#")
    faults = [fault for fault in await faults_in(kind) if any(one in str(fault) for one in making)]
    assert {f"{fault.call.function}#" for fault in faults if not fault.leaves} == set(making)
    with warnings.catch_warnings(record=True) as warned:
        warnings.simplefilter("always", ResourceWarning)
        gc.collect()
        warned.clear()  # of what tests before this one have left
        assert await wrong_after(kind, faults) == {}
        gc.collect()  # warns of a socket that nobody has closed
    assert [str(one.message) for one in warned if one.category is ResourceWarning] == []


async def test_a_client_that_resets_its_connection_during_its_response_is_no_error() -> None:
    kind = "an own append in parts"
    faults = [fault for fault in await faults_in(kind) if fault.leaves]
    leaving = [fault for fault in faults if fault.call.function == "Commits._settled"]
    assert leaving
    assert await wrong_after(kind, leaving) == {}


async def test_a_fault_as_the_end_of_a_connection_begins_ends_it_at_once() -> None:
    kind = "an own append in parts"
    ending = [fault for fault in await faults_in(kind) if "Connection.linger#" in str(fault)]
    assert ending
    assert await wrong_after(kind, ending) == {}


async def test_a_fault_as_a_reader_is_counted_for_the_loudest_gives_its_place_back() -> None:
    kind = "own SSE to the end"
    counting = [fault for fault in await faults_in(kind) if "Services.count_" in str(fault)]
    assert counting
    assert await wrong_after(kind, counting) == {}
