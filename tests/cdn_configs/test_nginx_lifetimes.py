"""How long a real nginx keeps what an origin says, and what it tells readers of it."""

from __future__ import annotations

import threading
import time
from collections import Counter
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import TYPE_CHECKING, NamedTuple

import pytest

from cdn_configs.options import CREDENTIAL_MODES, Options
from cdn_configs.render import render
from cdn_configs.targets import TARGETS
from gateway.protocol.paths import canonical_path
from tests.cdn.engines import ENGINES, started
from tests.support.http1 import ask
from tests.support.ports import free_port
from tests.support.waiting import wait_until

if TYPE_CHECKING:
    from collections.abc import Iterator

    from cdn_configs.options import CredentialMode
    from tests.support.http1 import Answer

NAME = "a.example.com"
# The first and last of the characters that need no encoding, and what is beside them.
EDGES = ",-./09:@AZ[^_`az{}~"
READ = "offset=5"
POLL = "offset=5&live=long-poll"
EDGE = ("CDN-Cache-Control: public, max-age=60", "Surrogate-Control: public, max-age=60")
A, B = {"Authorization": "Bearer A"}, {"Authorization": "Bearer B"}


class Said(NamedTuple):
    """An answer of the origin without its body."""

    query: str
    status: int
    fields: tuple[str, ...] = ()

    def __str__(self) -> str:
        return f"{self.query} {self.status} {', '.join(self.fields)}"


class Origin(ThreadingHTTPServer):
    """Answers each path as it was told to, with who asks in the body, and counts the requests."""

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.says: dict[str, Said] = {}
        self.asked: Counter[str] = Counter()

    def will_say(self, said: Said) -> str:
        """A new path, with its query, at which this is answered."""
        path = f"/v1/stream/{len(self.says)}"
        self.says[path] = said
        return f"{path}?{said.query}"


class _Handler(BaseHTTPRequestHandler):
    server: Origin
    protocol_version = "HTTP/1.1"

    def do_GET(self) -> None:
        path = self.path.partition("?")[0]
        self.server.asked[path] += 1
        said = self.server.says[path]
        who = self.headers.get("Authorization", "anybody").encode()
        body = b"" if said.status == 204 else who
        self.send_response(said.status)
        for field in said.fields:
            name, _, value = field.partition(": ")
            self.send_header(name, value)
        if said.status != 204:
            self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)

    def do_HEAD(self) -> None:
        self.do_GET()

    def do_POST(self) -> None:
        self.do_GET()

    def log_message(self, *args: object) -> None:
        """Nothing."""


@pytest.fixture(scope="module")
def origin() -> Iterator[Origin]:
    with Origin() as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.01,))
        thread.start()
        yield server
        server.shutdown()
        thread.join()


def _served(
    origin: Origin, name: str, credentials: CredentialMode, host: str = ""
) -> Iterator[int]:
    """The port of a real nginx."""
    port = free_port()
    options = Options(
        upstream=f"127.0.0.1:{origin.server_port}",
        host=host,
        listen=port,
        credentials=credentials,
        purge=True,
        standalone=True,
    )
    targets = [TARGETS[one] for one in (name, *TARGETS[name].beside)]
    files = {one.file_name: render(one, options) for one in targets}
    with started(ENGINES[name], files, port):
        yield port


@pytest.fixture(scope="module")
def nginx(origin: Origin) -> Iterator[int]:
    yield from _served(origin, "nginx", "bypass")


@pytest.fixture(scope="module")
def named(origin: Origin) -> Iterator[int]:
    """It is for one host."""
    yield from _served(origin, "nginx", "bypass", NAME)


@pytest.fixture(scope="module", params=CREDENTIAL_MODES)
def njs(origin: Origin, request: pytest.FixtureRequest) -> Iterator[int]:
    yield from _served(origin, "nginx-njs", request.param)


@pytest.fixture(scope="module")
def readers_apart(origin: Origin) -> Iterator[int]:
    yield from _served(origin, "nginx-njs", "per-credential")


def results(port: int, url: str, *readers: dict[str, str], method: str = "GET") -> list[str | None]:
    """What the cache said to each of these who came one after the other."""
    return [asked(port, url, who, method).get("X-Cache-Status") for who in readers]


def asked(port: int, url: str, reader: dict[str, str], method: str = "GET") -> Answer:
    return ask(port, method, url, None, **reader)


KEPT = (
    Said(READ, 200, ("Cache-Control: public, max-age=60",)),
    Said(READ, 200, ("Cache-Control: no-cache, s-maxage=60",)),
    Said(READ, 200, ("Cache-Control: no-store", EDGE[0])),
    Said(READ, 200, ("Cache-Control: no-cache", EDGE[1])),
    Said(READ, 200, ("Cache-Control: no-cache, s-maxage=60", *EDGE)),
    Said(READ, 404, ("Cache-Control: public, max-age=60",)),
    Said(POLL, 200, ("Cache-Control: public, max-age=20",)),
    Said(POLL, 200, ("Cache-Control: no-cache, s-maxage=60", *EDGE)),
    # Without data, for a moment, whatever they say.
    Said(POLL, 204),
    Said(POLL, 204, ("Cache-Control: no-store",)),
    Said(POLL, 204, ("Cache-Control: no-store", *EDGE)),
    Said("offset=-1&live=long-poll", 204),
    Said(POLL, 404, ("Cache-Control: no-store",)),
    Said(POLL, 410, ("Cache-Control: no-store",)),
    Said(POLL, 503, ("Cache-Control: no-store",)),
)
NOT_KEPT = (
    Said(READ, 200),
    Said(READ, 204),
    Said(READ, 200, ("Cache-Control: no-store",)),
    Said(READ, 200, ("Cache-Control: no-cache",)),
    Said(READ, 200, ("Cache-Control: public, max-age=0",)),
    Said(READ, 200, ("Cache-Control: public, max-age=60", "CDN-Cache-Control: no-store")),
    Said(READ, 200, ("Cache-Control: private, max-age=60",)),
    Said(READ, 200, ("Cache-Control: private", *EDGE)),
    Said(READ, 200, ("Cache-Control: public, max-age=60", "Set-Cookie: a=b")),
    Said(READ, 404, ("Cache-Control: no-store",)),
    Said(READ, 503, ("Cache-Control: no-store",)),
    Said(POLL, 200, ("Cache-Control: no-store",)),
    Said(POLL, 204, ("Cache-Control: private, no-cache",)),
    # What is wrong with one client's request is told to nobody else.
    Said(POLL, 400, ("Cache-Control: no-store",)),
    Said(POLL, 431, ("Cache-Control: no-store",)),
    Said("offset=-1&live=long-poll", 404, ("Cache-Control: no-store",)),
    Said("live=long-poll&offset=now", 404, ("Cache-Control: no-store",)),
)


def own_words(said: Said) -> str | None:
    """The answer's Cache-Control for browsers."""
    values = (field.partition(": ") for field in said.fields)
    return {name: value for name, _, value in values}.get("Cache-Control")


@pytest.mark.parametrize("said", KEPT, ids=str)
def test_what_may_be_kept_answers_the_next_who_asks(nginx: int, origin: Origin, said: Said) -> None:
    url = origin.will_say(said)
    answers = [ask(nginx, "GET", url) for _ in range(3)]
    assert [one.get("X-Cache-Status") for one in answers] == ["MISS", "HIT", "HIT"]
    assert {one.status for one in answers} == {said.status}
    assert origin.asked[url.partition("?")[0]] == 1
    assert {one.get("Cache-Control") for one in answers} == {own_words(said)}


@pytest.mark.parametrize("said", NOT_KEPT, ids=str)
def test_what_may_not_be_kept_is_asked_each_time(nginx: int, origin: Origin, said: Said) -> None:
    url = origin.will_say(said)
    answers = [ask(nginx, "GET", url) for _ in range(2)]
    assert [one.get("X-Cache-Status") for one in answers] == ["MISS", "MISS"]
    assert origin.asked[url.partition("?")[0]] == 2
    assert {one.get("Cache-Control") for one in answers} == {own_words(said)}


@pytest.mark.parametrize(
    ("method", "query", "reader"),
    [
        ("HEAD", READ, {}),
        ("POST", READ, {}),
        ("GET", "offset=now", {}),
        ("GET", "live=sse&offset=5", {}),
        ("GET", "offset=5&live=sse&cursor=1", {}),
        ("GET", READ, A),
        ("GET", POLL, {"Cookie": "session=1"}),
    ],
    ids=str,
)
def test_what_has_no_copy_goes_past_the_cache(
    nginx: int, origin: Origin, method: str, query: str, reader: dict[str, str]
) -> None:
    url = origin.will_say(Said(query, 200, ("Cache-Control: public, max-age=60",)))
    assert results(nginx, url, reader, reader, method=method) == ["BYPASS", "BYPASS"]
    assert origin.asked[url.partition("?")[0]] == 2


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("offset=5&live=long-poll&cursor=7", "cursor=7&offset=5&live=long-poll"),
        ("offset=-1&cursor=1", "cursor=1&offset=-1"),
    ],
)
def test_the_order_of_the_protocols_parameters_makes_no_other_key(
    nginx: int, origin: Origin, one: str, other: str
) -> None:
    url = origin.will_say(Said(one, 200, ("Cache-Control: public, max-age=60",)))
    path = url.partition("?")[0]
    assert results(nginx, url, {}) + results(nginx, f"{path}?{other}", {}) == ["MISS", "HIT"]


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("offset=1&offset=2", "offset=2&offset=1"),
        ("offset=1&cursor=1&cursor=2", "cursor=2&offset=1&cursor=1"),
        ("offset=5", "offset=5%20"),
        ("offset=5", "Offset=5"),
        ("offset=5&cursor=1", "offset=5&cursor=2"),
    ],
)
def test_queries_that_servers_may_understand_otherwise_have_keys_apart(
    nginx: int, njs: int, origin: Origin, one: str, other: str
) -> None:
    for port in (nginx, njs):
        url = origin.will_say(Said(one, 200, ("Cache-Control: public, max-age=60",)))
        path = url.partition("?")[0]
        assert results(port, url, {}) + results(port, f"{path}?{other}", {}) == ["MISS", "MISS"]


def test_with_njs_the_order_of_all_parameters_makes_no_other_key(njs: int, origin: Origin) -> None:
    url = origin.will_say(Said("b=2&offset=5&a=1", 200, ("Cache-Control: public, max-age=60",)))
    path = url.partition("?")[0]
    assert results(njs, url, {}) == ["MISS"]
    assert results(njs, f"{path}?a=1&&b=2&offset=5", {}) == ["HIT"]


@pytest.mark.parametrize(
    "said",
    [
        Said(READ, 200, ("Cache-Control: private, max-age=60",)),
        Said(READ, 200, ("Cache-Control: private, no-cache",)),
        Said(READ, 200, ("Cache-Control: public, max-age=60",)),
        Said(POLL, 200, ("Cache-Control: private, no-cache",)),
    ],
    ids=str,
)
def test_a_reader_has_copies_that_nobody_else_gets(
    readers_apart: int, origin: Origin, said: Said
) -> None:
    url = origin.will_say(said)
    answers = [asked(readers_apart, url, who) for who in (A, A, B, B, {})]
    statuses = [one.get("X-Cache-Status") for one in answers]
    assert statuses == ["MISS", "HIT", "MISS", "HIT", "MISS"]
    bodies = [one.body for one in answers]
    assert bodies == [b"Bearer A", b"Bearer A", b"Bearer B", b"Bearer B", b"anybody"]


def test_what_is_private_to_nobody_in_particular_is_kept_for_nobody(
    readers_apart: int, origin: Origin
) -> None:
    url = origin.will_say(Said(READ, 200, ("Cache-Control: private, max-age=60",)))
    assert results(readers_apart, url, {}, {}) == ["MISS", "MISS"]


def test_headers_of_who_a_reader_is_do_not_run_into_one_another(
    readers_apart: int, origin: Origin
) -> None:
    url = origin.will_say(Said(READ, 200, ("Cache-Control: private, max-age=60",)))
    one, other = {"Authorization": "x", "Cookie": "y"}, {"Authorization": "xy"}
    assert results(readers_apart, url, one, other, one, other) == ["MISS", "MISS", "HIT", "HIT"]


def test_a_purge_of_a_url_drops_its_copy_and_no_other(nginx: int, origin: Origin) -> None:
    fields = ("Cache-Control: public, max-age=60",)
    url, other = (origin.will_say(Said("offset=5&cursor=1", 200, fields)) for _ in range(2))
    path = url.partition("?")[0]
    assert results(nginx, url, {}) + results(nginx, other, {}) == ["MISS", "MISS"]
    purged = [ask(nginx, "PURGE", f"{path}?cursor=1&offset=5").status for _ in range(2)]
    assert purged == [200, 404]
    assert results(nginx, url, {}) + results(nginx, other, {}) == ["MISS", "HIT"]


def test_the_machine_itself_may_not_purge_where_the_gateway_is_another() -> None:
    """A proxy in front of nginx may be on it, and everybody is behind that."""
    port = free_port()
    options = Options(upstream="192.0.2.1:80", listen=port, purge=True, standalone=True)
    text = render(TARGETS["nginx"], options)
    assert "        allow 192.0.2.1;\n        deny all;\n" in text
    with started(ENGINES["nginx"], {"headgate.conf": text}, port):
        assert ask(port, "PURGE", "/v1/stream/a?offset=5").status == 403


@pytest.mark.parametrize("header", ["X-Forwarded-For", "Forwarded", "Via"])
def test_a_purge_that_a_proxy_passed_on_is_refused(nginx: int, origin: Origin, header: str) -> None:
    url = origin.will_say(Said(READ, 200, ("Cache-Control: public, max-age=60",)))
    assert results(nginx, url, {}) == ["MISS"]
    assert ask(nginx, "PURGE", url, None, **{header: "192.0.2.1"}).status == 403
    assert results(nginx, url, {}) == ["HIT"]


def test_a_host_has_one_copy_however_it_is_written_and_one_purge_drops_it(
    named: int, origin: Origin
) -> None:
    url = origin.will_say(Said(READ, 200, ("Cache-Control: public, max-age=60",)))
    hosts = [{"Host": NAME}, {"Host": NAME.upper()}, {"Host": f"{NAME}:80"}]
    assert results(named, url, *hosts) == ["MISS", "HIT", "HIT"]
    assert ask(named, "PURGE", url, None, Host=f"{NAME}:8080").status == 200
    assert results(named, url, *hosts) == ["MISS", "HIT", "HIT"]


def test_a_host_that_was_made_up_gets_no_copy(named: int, origin: Origin) -> None:
    url = origin.will_say(Said(READ, 200, ("Cache-Control: public, max-age=60",)))
    assert [asked(named, url, {"Host": host}).status for host in ("evil", f"{NAME}.evil")] == [
        421,
        421,
    ]
    assert origin.asked[url.partition("?")[0]] == 0


@pytest.mark.parametrize("path", ["/v1/stream/%61bc", "/v1/stream/%2fa", "/v1/stream/a|b"])
def test_a_path_that_the_gateway_writes_otherwise_has_no_copy(
    nginx: int, origin: Origin, path: str
) -> None:
    """A purge, which has the gateway's own spelling, would not drop it."""
    origin.says[path] = Said(READ, 200, ("Cache-Control: public, max-age=60",))
    assert canonical_path(path) != path
    assert results(nginx, f"{path}?{READ}", {}, {}) == ["BYPASS", "BYPASS"]


@pytest.mark.parametrize("path", ["/v1/stream/a%2Fb", "/v1/stream/%C3%A4!~", "/v1/stream/a%7Cb"])
def test_a_path_as_the_gateway_writes_it_has_one(nginx: int, origin: Origin, path: str) -> None:
    origin.says[path] = Said(READ, 200, ("Cache-Control: public, max-age=60",))
    assert canonical_path(path) == path
    assert results(nginx, f"{path}?{READ}", {}, {}) == ["MISS", "HIT"]


def test_what_needs_no_encoding_is_taken_as_the_gateway_takes_it(
    nginx: int, origin: Origin
) -> None:
    for character in EDGES:
        path = f"/v1/stream/c%{ord(character):02X}"
        origin.says[path] = Said(READ, 200, ("Cache-Control: no-store",))
        told = "MISS" if canonical_path(path) == path else "BYPASS"
        assert results(nginx, f"{path}?{READ}", {}) == [told], path


def first_after_hits(port: int, url: str) -> Answer:
    """The first answer that is no longer a fresh copy."""
    found: list[Answer] = []

    def is_no_hit() -> bool:
        found.append(asked(port, url, {}))
        return found[-1].get("X-Cache-Status") != "HIT"

    wait_until(is_no_hit, "a copy to become old")
    return found[-1]


@pytest.mark.parametrize(
    "fields",
    [("Cache-Control: public, max-age=1",), ("Cache-Control: no-cache, s-maxage=1",)],
    ids=str,
)
def test_what_is_old_is_not_served_where_nothing_allows_it(
    nginx: int, origin: Origin, fields: tuple[str, ...]
) -> None:
    url = origin.will_say(Said(READ, 200, fields))
    assert results(nginx, url, {}) == ["MISS"]
    began = time.monotonic()
    assert first_after_hits(nginx, url).get("X-Cache-Status") == "EXPIRED"
    assert time.monotonic() - began < 3.0  # nginx counts whole seconds
    assert origin.asked[url.partition("?")[0]] == 2


def test_what_is_old_is_served_while_it_is_renewed_where_the_answer_allows_it(
    nginx: int, origin: Origin
) -> None:
    url = origin.will_say(
        Said(READ, 200, ("Cache-Control: public, max-age=1, stale-while-revalidate=60",))
    )
    assert results(nginx, url, {}) == ["MISS"]
    assert first_after_hits(nginx, url).get("X-Cache-Status") == "STALE"
    wait_until(lambda: results(nginx, url, {}) == ["HIT"], "the copy to be renewed")
    assert origin.asked[url.partition("?")[0]] == 2
