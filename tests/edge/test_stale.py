"""While the origin fails, readers get what was kept, where the origin allows it."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.edge.gateways import PlayedGateway, edge, impatient, whole
from tests.support.blocking_origin import BlockingOrigin, Exchange
from tests.support.http1 import Answer, Wire, ask, request
from tests.support.waiting import wait_until

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator


WAIT_S = 2.0
OLD, NEW = b"old", b"new"
TEXT = "Content-Type: text/plain"
FOR_ERRORS = "Cache-Control: max-age=0, stale-if-error=600"
MEANWHILE = "Cache-Control: max-age=0, stale-while-revalidate=600"


class Shop(PlayedGateway):
    """A gateway before an origin that answers as it was told last."""

    def read(self, path: str) -> Answer:
        return ask(self.port, "GET", path)

    def recover(self) -> None:
        """Until the gateway knows that the origin is well, whatever happened before."""
        self.origin.play = lambda exchange: exchange.answer(b"", "Cache-Control: no-store")
        wait_until(lambda: self.read(self.path()).status == 200)
        self.origin.reset()

    def prime(self, *fields: str) -> str:
        """A path whose answer is kept, and stale already."""
        path = self.path()
        self.origin.play = lambda exchange: exchange.answer(OLD, TEXT, *fields)
        assert self.read(path).body == OLD
        return path


@pytest.fixture(scope="module")
def started() -> Iterator[Shop]:
    with BlockingOrigin() as origin, edge(origin.url, impatient(WAIT_S)) as gateway:
        yield Shop(gateway.port, origin)


@pytest.fixture
def shop(started: Shop) -> Shop:
    started.recover()
    return started


def _status(status: str) -> Callable[[Exchange], None]:
    return lambda exchange: exchange.answer(b"wrong", TEXT, status=status)


def _talk_nonsense(exchange: Exchange) -> None:
    """Send what is no HTTP, on a new connection.

    Behind an answer it may be the rest of that, which is then kept no longer.
    """
    if exchange.is_first:
        exchange.send(b"nonsense\r\n\r\n")
    else:
        exchange.close()


FAILURES: dict[str, Callable[[Exchange], None]] = {
    "500": _status("500 Internal Server Error"),
    "502": _status("502 Bad Gateway"),
    "503": _status("503 Service Unavailable"),
    "504": _status("504 Gateway Timeout"),
    "closes": Exchange.close,
    "resets": Exchange.reset,
    "talks nonsense": _talk_nonsense,
    "says nothing": lambda exchange: None,
}
failing = pytest.mark.parametrize("fail", FAILURES.values(), ids=FAILURES)


@failing
def test_a_stale_response_stands_in_for_a_failing_origin(
    shop: Shop, fail: Callable[[Exchange], None]
) -> None:
    path = shop.prime(FOR_ERRORS)
    shop.origin.play = fail
    for _ in range(3):
        answer = shop.read(path)
        assert (answer.status, answer.body) == (200, OLD)
        assert answer.headers["x-cache"] == "STALE"
        assert int(answer.headers["age"]) >= 0


@failing
def test_a_stale_response_with_must_revalidate_does_not_stand_in(
    shop: Shop, fail: Callable[[Exchange], None]
) -> None:
    path = shop.prime("Cache-Control: max-age=0, must-revalidate, stale-if-error=600", 'ETag: "1"')
    shop.origin.play = fail
    answer = shop.read(path)
    assert answer.status in {500, 502, 503, 504}
    assert answer.body != OLD


def test_a_stale_response_stands_in_until_the_stopped_origin_is_back(shop: Shop) -> None:
    path = shop.prime(FOR_ERRORS)
    shop.origin.leave()
    assert shop.read(path).body == OLD
    assert shop.read(path).headers["x-cache"] == "STALE"
    shop.origin.play = lambda exchange: exchange.answer(NEW, TEXT, FOR_ERRORS)
    shop.origin.come_back()
    while (answer := shop.read(path)).body != NEW:
        assert answer.body == OLD


def test_a_cut_response_does_not_replace_the_cached_one(shop: Shop) -> None:
    path = shop.prime(FOR_ERRORS, 'ETag: "1"')

    def cut(exchange: Exchange) -> None:
        exchange.send(
            b"HTTP/1.1 200 OK\r\nCache-Control: max-age=600\r\nContent-Length: 9\r\n\r\nwr"
        )
        exchange.close()

    shop.origin.play = cut
    for _ in range(2):
        with Wire(shop.port) as wire:
            wire.send(request("GET", path))
            answer = whole(wire)
            assert answer is None or (answer.status, answer.body) == (200, OLD)
    shop.origin.play = FAILURES["closes"]
    assert shop.read(path).body == OLD


@pytest.mark.parametrize("status", ["404 Not Found", "410 Gone", "403 Forbidden"])
def test_a_403_404_or_410_of_the_origin_is_passed_on_despite_a_stale_response(
    shop: Shop, status: str
) -> None:
    path = shop.prime(FOR_ERRORS)
    shop.origin.play = _status(status)
    assert shop.read(path).status == int(status[:3])


def test_a_stale_response_is_served_at_once_and_refreshed_by_one_request(shop: Shop) -> None:
    path = shop.prime(MEANWHILE)
    shop.origin.play = None
    with Wire(shop.port) as wire:
        for _ in range(20):
            answer = wire.request("GET", path)
            assert (answer.body, answer.headers["x-cache"]) == (OLD, "STALE")
        shop.origin.next().answer(NEW, TEXT, "Cache-Control: max-age=600")
        while (answer := wire.request("GET", path)).body == OLD:
            assert answer.headers["x-cache"] == "STALE"
    assert (answer.body, answer.headers["x-cache"]) == (NEW, "HIT")
    assert shop.origin.paths().count(f"GET {path}") == 2


def test_a_response_revalidated_by_a_304_is_fresh_again(shop: Shop) -> None:
    path = shop.prime("Cache-Control: max-age=0", 'ETag: "1"')

    def confirm(exchange: Exchange) -> None:
        assert exchange.field("if-none-match") == '"1"'
        exchange.send(
            b'HTTP/1.1 304 Not Modified\r\nETag: "1"\r\nCache-Control: max-age=600\r\n\r\n'
        )

    shop.origin.play = confirm
    found = [shop.read(path) for _ in range(2)]
    assert [(one.body, one.headers["x-cache"]) for one in found] == [
        (OLD, "REVALIDATED"),
        (OLD, "HIT"),
    ]


def test_a_content_location_in_a_304_is_rewritten_to_a_gateway_url(shop: Shop) -> None:
    path = shop.prime("Cache-Control: max-age=0", 'ETag: "1"')

    def confirm(exchange: Exchange) -> None:
        place = f"http://{exchange.field('host')}{exchange.target}"
        head = f'HTTP/1.1 304 Not Modified\r\nETag: "1"\r\nContent-Location: {place}\r\n\r\n'
        exchange.send(head.encode())

    shop.origin.play = confirm
    assert shop.read(path).headers["content-location"] == path


def test_a_poll_with_another_cursor_gets_the_data_or_an_error_while_the_origin_is_down(
    shop: Shop,
) -> None:
    path = f"{shop.path()}?offset=0_0&live=long-poll"
    data = ("Stream-Next-Offset: 1_0", "Stream-Up-To-Date: true", "Stream-Cursor: 1")
    shop.origin.play = lambda exchange: exchange.answer(OLD, TEXT, FOR_ERRORS, *data)
    assert shop.read(path).body == OLD
    shop.origin.play = Exchange.close
    answer = shop.read(f"{path}&cursor=99999999")
    assert answer.body == OLD or answer.status in {502, 503}
