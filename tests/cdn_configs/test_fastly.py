"""Fastly's VCL: what its linter says of it, and what its rules store."""

from __future__ import annotations

import json
import subprocess
from typing import TYPE_CHECKING, Any, NamedTuple

import pytest

from cdn_configs.errors import Refused
from cdn_configs.options import Options
from cdn_configs.render import render
from cdn_configs.rules import RULES
from cdn_configs.targets import target
from gateway.protocol import cache_headers
from gateway.protocol.cache_headers import Freshness
from tests.cdn_configs.varnish_twin import Answer, Edge, Origin, serving, translated, varnish
from tests.test_architecture import ROOT

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

FALCO = ROOT / "tests/node/node_modules/falco-js/bin/falco-linux-amd64"
NAIVE = ROOT / "tests/cdn/patients/naive.vcl"
USUAL = Options(upstream="gateway.example.com:443", host="streams.example.com")


def fastly(**changes: Any) -> str:
    said = {"upstream": "gateway.example.com:443", "host": "streams.example.com", **changes}
    return render(target("fastly"), Options(**said))


def linted(file: Path) -> dict[str, Any]:
    """The linter's report; its exit status only tells something without -json."""
    done = subprocess.run([FALCO, "lint", "-json", file], capture_output=True, check=False)
    report: dict[str, Any] = json.loads(done.stdout)
    return report


def passes(file: Path) -> bool:
    """Whether the checker of the target is content."""
    command = [each.format(file=file) for each in target("fastly").checker]
    done = subprocess.run(command, executable=FALCO, capture_output=True, check=False)
    return done.returncode == 0


@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"upstream": "gateway.example.com:4437", "poll_s": 50, "heartbeat_s": 25},
        {"upstream": "[2001:db8::1]:443", "identity_headers": ()},
        {"identity_headers": ("Authorization", "X-Api-Key"), "purge": True, "poll_s": 1},
    ],
    ids=["usual", "longest", "no-credentials", "other-credentials"],
)
def test_the_linter_finds_nothing_to_say(changes: dict[str, Any], tmp_path: Path) -> None:
    file = tmp_path / "headgate.vcl"
    file.write_text(fastly(**changes))
    report = linted(file)
    assert (report["Errors"], report["Warnings"], report["Infos"]) == (0, 0, 0), report[
        "LintErrors"
    ]
    assert report["ParseErrors"] == {}
    assert passes(file)


def test_the_naive_file_is_refused_because_it_is_written_for_another_program() -> None:
    report = linted(NAIVE)
    assert (report["Errors"], report["Warnings"]) == (10, 2)
    assert not passes(NAIVE)
    said = [one["Message"] for found in report["LintErrors"].values() for one in found]
    told = "\n".join(said)
    # A key is not added to before there is one: credentials never were in it.
    assert 'Variable "req.hash" could not access in scope of RECV' in told
    # Varnish's name: Fastly never calls it, so no lifetime and no stale answer either.
    assert 'Unused subroutine "vcl_backend_response"' in told
    assert 'Variable "beresp.ttl" could not access' in told
    assert 'Variable "beresp.grace" could not access' in told
    # Without the macro, what is set in Fastly's own pages has no effect.
    assert 'missing Fastly boilerplate comment "FASTLY RECV"' in told


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        ({"poll_s": 51}, "cannot hold long-polls of 51 s: between nodes of a cluster"),
        ({"heartbeat_s": 26}, "cannot pass on SSE with heartbeats every 26 s: after 60 s"),
        ({"credentials": "per-credential"}, "cannot keep a cache for each reader: whether its"),
        ({"standalone": True}, "has no standalone file"),
        ({"host": ""}, "needs the host name"),
    ],
)
def test_what_it_cannot_hold_is_refused_with_the_reason(changes: dict[str, Any], told: str) -> None:
    with pytest.raises(Refused) as refusal:
        fastly(**changes)
    assert told in refusal.value.detail
    assert refusal.value.detail.startswith("fastly ")


@pytest.mark.parametrize(("poll_s", "wait_s"), [(1, 46), (13, 58), (14, 59), (50, 59)])
def test_it_waits_longer_than_a_poll_and_less_than_its_cluster(poll_s: int, wait_s: int) -> None:
    text = fastly(poll_s=poll_s)
    assert f".first_byte_timeout = {wait_s}s;" in text
    assert f".between_bytes_timeout = {wait_s}s;" in text


class Case(NamedTuple):
    """An answer of the gateway's, and how long it is kept; None: not at all."""

    query: str
    answer: Answer
    kept_s: int | None
    stale_s: int = 0


def says(lines: str, **more: str) -> tuple[tuple[str, str], ...]:
    """The gateway's own header lines, and others."""
    others = [(name.replace("_", "-"), value) for name, value in more.items()]
    return (*cache_headers.fields(lines), *others)


USUALLY = Freshness()
CHUNK = cache_headers.chunk_lifetime(USUALLY, None)
TAIL = cache_headers.tail_lifetime(USUALLY)
EVENTS = "text/event-stream"
CATCH_UP, POLL, SSE = "?offset=0_1", "?cursor=7&live=long-poll&offset=0_1", "?live=sse&offset=0_1"
CASES = {
    "a-whole-chunk": Case(
        CATCH_UP,
        Answer(fields=says(CHUNK)),
        USUALLY.chunk_max_age,
        USUALLY.stale_while_revalidate,
    ),
    "the-tail": Case(CATCH_UP, Answer(fields=says(TAIL, Stream_Up_To_Date="true")), RULES.moment_s),
    "an-empty-tail-that-an-origin-lets-caches-keep": Case(
        CATCH_UP,
        Answer(
            fields=says(CHUNK, Stream_Up_To_Date="true"),
            body=b"[]",
        ),
        RULES.moment_s,
    ),
    "a-tail-with-data-that-an-origin-lets-caches-keep": Case(
        CATCH_UP,
        Answer(fields=says(CHUNK, Stream_Up_To_Date="true"), body=b"[1]"),
        USUALLY.chunk_max_age,
        USUALLY.stale_while_revalidate,
    ),
    "a-tail-that-is-asked-for-each-time": Case(
        CATCH_UP, Answer(fields=says(cache_headers.tail_lifetime(Freshness(tail_max_age=0)))), None
    ),
    "an-answer-without-a-lifetime": Case(CATCH_UP, Answer(), None),
    "what-is-private": Case(CATCH_UP, Answer(fields=says(cache_headers.PRIVATE)), None),
    "what-is-private-and-has-a-lifetime": Case(
        CATCH_UP, Answer(fields=says("Cache-Control: private, max-age=60\r\n")), None
    ),
    "what-sets-a-cookie": Case(CATCH_UP, Answer(fields=says(CHUNK, Set_Cookie="a=b")), None),
    "no-such-stream": Case(CATCH_UP, Answer(404, says(cache_headers.NO_STORE)), None),
    "no-such-stream-with-a-lifetime": Case(CATCH_UP, Answer(404, says(CHUNK)), None),
    "polled-data": Case(POLL, Answer(fields=says(cache_headers.poll_lifetime(None))), 20),
    "polled-data-that-an-origin-lets-caches-keep": Case(
        POLL, Answer(fields=says(CHUNK)), RULES.poll_data_s
    ),
    "polled-data-of-the-beginning": Case(POLL, Answer(fields=says(TAIL)), RULES.moment_s),
    "no-news": Case(POLL, Answer(204, says(cache_headers.POLL_TIMEOUT)), RULES.moment_s),
    "no-news-of-a-closed-stream": Case(POLL, Answer(204, says(cache_headers.NO_STORE)), 1),
    "a-poll-that-fails": Case(POLL, Answer(503, says(cache_headers.NO_STORE)), RULES.moment_s),
    "private-polled-data": Case(POLL, Answer(fields=says(cache_headers.PRIVATE)), None),
    "events": Case(
        SSE,
        Answer(fields=says(cache_headers.EVENT_STREAM, Content_Type=EVENTS)),
        RULES.sse_join_s,
    ),
    "private-events": Case(
        SSE, Answer(fields=says("Cache-Control: private\r\n", Content_Type=EVENTS)), None
    ),
    "events-that-were-asked-for-in-disguise": Case(
        "?l%69ve=sse&offset=0_1",
        Answer(fields=says(cache_headers.EVENT_STREAM, Content_Type=EVENTS)),
        None,
    ),
}


@pytest.fixture(scope="module")
def origin() -> Iterator[Origin]:
    answers = {f"/{name}": case.answer for name, case in CASES.items()}
    passed = {
        f"/{name}": Answer(fields=says(CHUNK)) for name in (*PASSES, "order", "hosts", "shared")
    }
    origin = Origin({**answers, **passed})
    with serving(origin):
        yield origin


@pytest.fixture(scope="module")
def edge(origin: Origin, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Edge]:
    text = translated(fastly(), origin.server_port)
    with varnish(text, tmp_path_factory.mktemp("varnish")) as edge:
        yield edge


@pytest.mark.parametrize("name", CASES)
def test_an_answer_is_kept_for_as_long_as_the_rules_say(
    name: str, edge: Edge, origin: Origin
) -> None:
    case = CASES[name]
    first, second = (edge.ask(f"/{name}{case.query}") for _ in range(2))
    assert first.status == second.status == case.answer.status
    assert first.kept is (case.kept_s is not None)
    assert origin.requests(f"/{name}") == {"GET": 1 if first.kept else 2}
    if case.kept_s is not None:
        assert case.kept_s - 1 < first.ttl_s <= case.kept_s
        assert first.grace_s == case.stale_s


PASSES: dict[str, tuple[str, str, dict[str, str]]] = {
    "head": ("HEAD", CATCH_UP, {}),
    "post": ("POST", "", {}),
    "authorization": ("GET", CATCH_UP, {"Authorization": "Bearer a"}),
    "cookie": ("GET", POLL, {"Cookie": "a=b"}),
    "now": ("GET", "?offset=now", {}),
    "offset-twice": ("GET", "?offset=0_1&offset=0_2", {}),
    "live-twice": ("GET", "?live=long-poll&offset=0_1&live=sse", {}),
}


@pytest.mark.parametrize("name", PASSES)
def test_a_request_that_is_its_own_reaches_the_gateway_as_it_is(
    name: str, edge: Edge, origin: Origin
) -> None:
    method, query, headers = PASSES[name]
    for _ in range(2):
        assert edge.ask(f"/{name}{query}", method, **headers).status == 200
    assert origin.requests(f"/{name}") == {method: 2}


def test_a_reader_with_credentials_gets_nothing_of_what_was_kept_for_others(
    edge: Edge, origin: Origin
) -> None:
    target = f"/shared{CATCH_UP}"
    anonymous = edge.ask(target)
    known = edge.ask(target, Authorization="Bearer a")
    again = edge.ask(target)
    assert anonymous.body == again.body != known.body


def test_the_order_of_a_query_makes_no_other_question(edge: Edge, origin: Origin) -> None:
    one = edge.ask("/order?offset=0_1&live=long-poll&cursor=7")
    other = edge.ask("/order?cursor=7&offset=0_1&live=long-poll")
    assert one.body == other.body
    assert origin.requests("/order") == {"GET": 1}


def test_two_hosts_and_two_paths_are_kept_apart(edge: Edge, origin: Origin) -> None:
    one = edge.ask("/hosts?offset=0_1")
    other = edge.ask("/hosts?offset=0_1", Host="other.example")
    assert (one.body, other.body) == (b"1", b"2")
