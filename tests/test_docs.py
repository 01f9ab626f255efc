"""The documents say what is so: their commands are run, their tables and limits compared."""

from __future__ import annotations

import json
import re
import struct
import tomllib
from pathlib import Path

import aiohttp
import pytest
from aiohttp.http_exceptions import LineTooLong

from headgate_admin.record.event_record import MOST_EVENTS
from headgate_gateway.errors import SequenceGap, StartError
from headgate_gateway.logs.sqlite.data_folder import (
    APPLICATION_ID,
    HEADER_BYTES,
    MAGIC,
    SCHEMA_VERSION,
    check_format,
)
from headgate_gateway.process.in_thread import serving as serving_in_thread
from headgate_gateway.protocol import appends, cache_headers, lifecycle, responses
from headgate_gateway.protocol.http import paths
from headgate_gateway.protocol.streams import chunks
from headgate_gateway.protocol.streams.offsets import INTERVAL_S
from headgate_gateway.settings import Settings
from headgate_gateway.settings.reading.units import MINUTE_S
from headgate_gateway.settings.setting_descriptions import describe_settings
from tests.protocol.error_kinds import answered_errors
from tests.support.serving import get, put, serving
from tests.test_architecture import ROOT, sources

DOCUMENTS = sorted(path for path in sources(".") if path.suffix == ".md")


def document(name: str) -> str:
    return (ROOT / "docs" / name).read_text()


def section(text: str, title: str) -> str:
    """What stands under a heading of the second level."""
    return text.split(f"## {title}\n", 1)[1].split("\n## ", 1)[0]


def rows(text: str) -> list[list[str]]:
    """The cells of a table's rows, without its heading."""
    lines = [line for line in text.splitlines() if line.startswith("| ")]
    cells = [[cell.strip() for cell in line.strip("|").split(" | ")] for line in lines]
    return [row for row in cells[1:] if not set(row[0]) <= {"-"}]


def quoted(text: str) -> list[str]:
    """What stands between backticks."""
    return re.findall(r"`([^`\n]+)`", re.sub(r"```.*?```", "", text, flags=re.DOTALL))


# ---------------------------------------------------------------- docs/http.md


def test_the_table_of_errors_lists_exactly_the_codes_with_their_statuses() -> None:
    told = {
        (int(status), code)
        for status, codes, _ in rows(section(document("http.md"), "Errors"))
        for code in quoted(codes)
    }
    known = {(kind.status, kind.code) for kind in answered_errors()}
    unexpected = responses.internal_error("id")
    known.add((unexpected.status, json.loads(unexpected.body)["code"]))
    assert told == known


def test_the_problem_shown_in_the_document_is_equal_to_the_response() -> None:
    (shown,) = re.findall(r"```json\n(.*?)```", document("http.md"), re.DOTALL)
    assert json.loads(shown) == json.loads(responses.problem(SequenceGap(5, 7), 1).body)


KIB, MIB = 1 << 10, 1 << 20
FRESHNESS = cache_headers.Freshness()


@pytest.mark.parametrize(
    ("sentence", "number", "known"),
    [
        (r"paths over ([\d,]+) bytes", 1, paths.MAX_PATH_BYTES),
        (r"next multiple of (\d+) KiB", KIB, chunks.CHUNK_BYTES),
        (r"`limits.max_append` bytes \((\d+) MiB\)", MIB, Settings().limits.max_append),
        (r"at most ([\d,]+) producers", 1, appends.MAX_PRODUCERS),
        (r"unused for a (week)", 7 * 24 * 3600, appends.PRODUCER_IDLE_S),
        (r"fork chain may be (\d+) deep", 1, lifecycle.MAX_FORK_DEPTH),
        (r"of this stream \| `public, max-age=(\d+)", 1, FRESHNESS.chunk_max_age),
        (r"else `max-age=(\d+)`", 1, MINUTE_S),
        (r"first whole chunk \| `no-cache, s-maxage=(\d+)`", 1, FRESHNESS.closed_max_age),
        (r"next two rows \| `no-cache, s-maxage=(\d+)`", 1, FRESHNESS.tail_max_age),
        (r"max-age=86400, stale-while-revalidate=(\d+)`", 1, FRESHNESS.stale_while_revalidate),
        (r"has not passed \| `public, max-age=(\d+)`", 1, INTERVAL_S),
        (r"`Retry-After` is 1 to (\d+) s", 1, responses.RETRY_AFTER_S[-1]),
        (r"Cursors count (\d+) s intervals", 1, INTERVAL_S),
    ],
)
def test_the_limits_named_in_the_http_document_are_those_of_the_code(
    sentence: str, number: int, known: float
) -> None:
    text = " ".join(document("http.md").split())
    (told,) = re.findall(sentence, text)
    assert number * int(told.replace(",", "") if told[0].isdigit() else 1) == known


async def test_a_header_value_longer_than_the_documented_limit_is_refused_with_431() -> None:
    (told,) = re.findall(r"value over ([\d,]+) bytes", document("http.md"))
    most = int(told.replace(",", ""))
    async with serving() as gateway:
        await gateway.ask(put("s", body=b"one"))
        answers = [
            await gateway.ask(get("s?offset=-1", f"Extra: {'x' * size}"))
            for size in (most - 1, most, most + 1)
        ]
        assert [answer.status for answer in answers] == [200, 200, 431]


async def test_more_header_lines_than_the_documented_limit_are_refused_with_431() -> None:
    (told,) = re.findall(r"more than (\d+) lines", document("http.md"))
    most = int(told)
    async with serving() as gateway:
        await gateway.ask(put("s", body=b"one"))
        answers = [
            await gateway.ask(get("s?offset=-1", *["Extra: x"] * (lines - 1)))  # and Host
            for lines in (most - 1, most, most + 1)
        ]
        assert [answer.status for answer in answers] == [200, 200, 431]


@pytest.mark.parametrize(
    "asked",
    [
        get("s?offset=-1", "X-Request-Id: mine"),
        get("s?offset=now&live=long-poll", "X-Request-Id: mine"),
        get("s?offset=-1&live=sse", "X-Request-Id: mine"),
        get("none?offset=-1", "X-Request-Id: mine"),
    ],
    ids=["read", "long-poll", "sse", "error"],
)
async def test_a_response_has_the_request_id_of_its_request(asked: bytes) -> None:
    async with serving(long_poll_timeout=0.05) as gateway:
        await gateway.ask(put("s", body=b"one"))
        answer = await gateway.ask(asked)
        assert answer.get("X-Request-Id") == "mine"


@pytest.mark.parametrize(
    ("asked", "status"),
    [
        (get("none?offset=-1"), 404),
        (get("s?offset=x"), 400),
        (get("s?offset=-1", f"Extra: {'x' * 9000}"), 431),
        (b"no request\r\n\r\n", 400),
    ],
    ids=["not found", "bad", "too large", "not HTTP"],
)
async def test_every_error_response_has_a_request_id(asked: bytes, status: int) -> None:
    async with serving() as gateway:
        answer = await gateway.ask(asked)
        assert answer.status == status
        assert answer.get("X-Request-Id")


async def test_a_line_of_events_longer_than_the_documented_bound_is_refused_by_aiohttp() -> None:
    (told,) = re.findall(r"`LineTooLong` after (\d+) KiB", " ".join(document("http.md").split()))
    bound = int(told) * KIB
    with serving_in_thread() as server:
        url = f"http://{server.listen}/v1/stream/long"
        async with aiohttp.ClientSession() as session:
            await session.put(url, data=b"x" * bound, headers={"Stream-Closed": "true"})
            with pytest.raises(LineTooLong):
                await longest_line(session, url)
        async with aiohttp.ClientSession(read_bufsize=bound) as session:
            assert await longest_line(session, url) > bound


async def longest_line(session: aiohttp.ClientSession, url: str) -> int:
    async with session.get(url, params={"offset": "-1", "live": "sse"}) as response:
        return max([len(line) async for line in response.content])


# ---------------------------------------------------------------- docs/operating.md and others


@pytest.mark.parametrize(
    ("page", "sentence"),
    [
        ("commands.md", r"headgate\.db, format (\d+)\."),
        ("operating.md", r"Its format is (\d+)\."),
        ("troubleshooting.md", r"knows format (\d+):"),
        ("upgrading.md", r"It is (\d+) now\."),
        ("upgrading.md", r"knows format (\d+):"),
    ],
)
def test_the_format_of_the_data_folder_on_a_page_is_that_of_the_code(
    page: str, sentence: str
) -> None:
    assert re.findall(sentence, document(page)) == [str(SCHEMA_VERSION)]


def test_the_sentence_on_another_format_is_on_the_page_as_the_code_has_it() -> None:
    # https://www.sqlite.org/fileformat2.html#database_header
    header = MAGIC.ljust(60, b"\0") + struct.pack(">I4xI", SCHEMA_VERSION - 1, APPLICATION_ID)
    with pytest.raises(StartError) as refusal:
        check_format(Path("/var/lib/headgate/headgate.db"), header.ljust(HEADER_BYTES, b"\0"))
    assert f"\nheadgate: {refusal.value.detail}.\n" in document("upgrading.md")


@pytest.mark.parametrize(
    "path",
    [
        "docs/installing.md",
        "docs/upgrading.md",
        "packages/kubernetes/headgate-file.yaml",
        "packages/systemd/headgate.service",
    ],
)
def test_what_is_installed_says_that_a_start_converts_no_data_folder(path: str) -> None:
    text = re.sub(r"\s+(# )?", " ", (ROOT / path).read_text())
    assert "It converts nothing" in text
    assert not re.search(r"is converted|are converted", text)


def test_the_bound_of_the_events_of_the_console_is_that_of_the_code() -> None:
    told = re.findall(r"(?:fixed:|The newest) ([\d,]+) events", document("operating.md"))
    assert told == [f"{MOST_EVENTS:,}"] * 2


def test_pages_have_one_figure_for_the_memory_of_a_waiting_reader() -> None:
    sizing, performance = (
        " ".join(document(f"{it}.md").split()) for it in ("sizing", "performance")
    )
    told = re.findall(
        r"an SSE reader that waits \| (.*? KB) .* a long-poll that waits \| (.*? KB)", sizing
    )
    assert len(told) == 1
    assert re.findall(r"\*V\* × (.*? KB) \(SSE; (.*? KB) for", sizing) == told
    assert re.findall(r"waits now takes \[(.*? KB) by SSE and (.*? KB) by", performance) == told


def test_the_pages_about_another_library_are_about_the_version_that_tests_run() -> None:
    packages = json.loads((ROOT / "tests/node/package.json").read_text())["dependencies"]
    pages = ("compared-with.md", "client/side-by-side.md")
    text = " ".join(document(page) for page in pages)
    told = re.findall(r"resumable-stream\S* (\d+\.\d+\.\d+)", text)
    assert told == [packages["resumable-stream"]] * 2


# ---------------------------------------------------------------- docs/troubleshooting.md


def test_events_metrics_and_codes_of_the_troubleshooting_page_are_those_of_the_reference() -> None:
    page, operating = document("troubleshooting.md"), set(quoted(document("operating.md")))
    named = {it for it in quoted(page) if re.fullmatch(r"(headgate|process)(_[a-z]+)+", it)}
    events = {it for it in quoted(page) if re.fullmatch(r"[a-z]+\.[a-z]+(_[a-z]+)+", it)}
    events -= {it.path for it, _ in describe_settings()}
    assert (len(named) > 20, len(events) > 15) == (True, True)
    assert (named | events) - operating == set()
    statuses = {kind.code: kind.status for kind in answered_errors()}
    codes = re.findall(r"\b([45]\d\d) `([a-z_]+)`", page)
    assert len(codes) > 10
    assert [(status, code) for status, code in codes if statuses[code] != int(status)] == []


# ---------------------------------------------------------------- the site


@pytest.mark.parametrize(
    ("page", "title", "words"),
    [
        ("http.md", "Reads", "long-poll"),
        ("http.md", "Caching", "Cache-Control"),
        ("browsers.md", "After an error", "EventSource"),
        ("cdn/README.md", "Which one", "Cloudflare"),
    ],
)
def test_the_site_has_the_pages_about_the_protocol_live_reads_caches_and_cdns(
    page: str, title: str, words: str
) -> None:
    assert f"- docs/{page}\n" in (ROOT / "mkdocs.yml").read_text()
    assert words in section(document(page), title)


# ---------------------------------------------------------------- docs/examples/edge/README.md


# By the beginning of each question, what its answer has to say.
ANSWERS = {
    "How long can": ("At Vercel, as long as the cap", "Cloudflare has no fixed cap"),
    "Why does everything arrive at once": (
        "collects or compresses",
        "`Cache-Control: no-transform`",
        "`X-Accel-Buffering: no`",
    ),
    "Do I need `ctx.waitUntil`": ("At Cloudflare, for work that goes on", "Vercel needs nothing"),
    "Does streaming hold the whole body": (
        "No. Parts pass as they come",
        "a slow reader pauses the source",
        "if you collect it yourself",
    ),
}
# By the subjects of the table, what is so on your machine, and what in production.
COMPARED = {
    "longest response, Cloudflare": (
        "no limit under `wrangler dev`",
        "no limit while the reader reads; processor time is limited",
        "and so are subrequests",
    ),
    "longest response, Vercel": ("no limit under `next dev`", "`maxDuration`: 300 s"),
    "parts": ("sent as they are written", "unless a proxy or a CDN collects them"),
    "`waitUntil`, Cloudflare": ("rarely missed", "needed for work after the reader has left"),
    "`waitUntil`, Vercel": ("not needed", "not needed"),
    "back-pressure": ("rarely seen", "slow readers pause the upstream"),
}


@pytest.mark.parametrize("question", ANSWERS)
def test_the_page_of_functions_at_an_edge_answers_its_questions(question: str) -> None:
    _, _, rest = section(document("examples/edge/README.md"), "Questions").partition(
        f"**{question}"
    )
    answer = " ".join(rest.partition("\n\n")[0].split())
    assert [words for words in ANSWERS[question] if words not in answer] == []


@pytest.mark.parametrize("subject", COMPARED)
def test_the_page_of_functions_at_an_edge_compares_a_machine_with_production(subject: str) -> None:
    page = section(document("examples/edge/README.md"), "On your machine and in production")
    ((here, there),) = [row[1:] for row in rows(page) if row[0] == subject]
    words, *others = COMPARED[subject]
    assert words in here
    assert [words for words in others if words not in there] == []


# ---------------------------------------------------------------- settings, links and names


@pytest.mark.parametrize("path", DOCUMENTS, ids=str)
def test_every_relative_link_in_a_document_has_a_target(path: Path) -> None:
    text = (ROOT / path).read_text()
    links = re.findall(r"\]\(([^)\s]+)\)", re.sub(r"```.*?```", "", text, flags=re.DOTALL))
    relative = {link.partition("#")[0] for link in links if "://" not in link} - {""}
    broken = [link for link in relative if not (ROOT / path.parent / link).exists()]
    assert broken == []


@pytest.mark.parametrize("path", DOCUMENTS, ids=str)
def test_every_file_named_in_a_document_exists(path: Path) -> None:
    named = {
        word
        for word in quoted((ROOT / path).read_text())
        if re.match(r"(benchmarks|campaigns|tests|gateway|docs|docker)/", word)
    }
    assert [word for word in named if not (ROOT / word.partition("::")[0]).exists()] == []


PROGRAM = re.compile(r"^```(?:python|js|console|sh)\n(.*?)^```", re.DOTALL | re.MULTILINE)
# A stream of the server that pages start; one that is only read is another page's.
WRITTEN = re.compile(
    r"127\.0\.0\.1:4437/v1/stream/(?!(?:__ds|answers|mcp)\b)([\w/-]+)\b(?!\S*offset=)"
    r"|headgate create ([a-z][\w-]*)\b(?!:)"
)
KEY = re.compile(r"\"(?:Idempotency-Key|Headgate-Key-Prefix)\": \"([^\"]+)\"")


def test_no_two_examples_write_to_one_stream_or_send_one_key() -> None:
    """Who runs one after the other would get the data of the first, or a refusal."""
    pages: dict[str, set[str]] = {}
    programs: dict[str, list[str]] = {}
    for path in DOCUMENTS:
        page = str(path)
        for program in PROGRAM.findall((ROOT / path).read_text()):
            for found in WRITTEN.finditer(program):
                pages.setdefault(found[1] or found[2], set()).add(page)
            for key in KEY.findall(program):
                programs.setdefault(key, []).append(page)
    assert {name: places for name, places in pages.items() if len(places) > 1} == {}
    assert {key: places for key, places in programs.items() if len(places) > 1} == {}
    assert len(pages) > 20
    assert len(programs) > 10


def test_each_change_is_of_a_kind_that_a_release_joins_into_the_changelog() -> None:
    settings = tomllib.loads((ROOT / "towncrier.toml").read_text())["tool"]["towncrier"]
    kinds = [kind["directory"] for kind in settings["type"]]
    folder = ROOT / settings["directory"]
    said = re.search(r"A kind is\s+(.*?)\.", (folder / "README.md").read_text(), re.DOTALL)
    assert said is not None
    assert quoted(said[1]) == kinds
    names = [path.name for path in folder.iterdir() if path.name != "README.md"]
    wrong = [
        name for name in names if not re.fullmatch(rf"\+[\w-]+\.({'|'.join(kinds)})\.md", name)
    ]
    assert wrong == []
    assert "<!-- towncrier release notes start -->" in (ROOT / settings["filename"]).read_text()
