"""The page of live readers: their sums, how they are grouped, and what is sent while it is open."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

import pytest

from headgate_admin.pages.views.clients import MANY_READERS
from headgate_gateway.features.questions.readers import (
    GroupReaders,
    ListReaders,
    ReaderGroup,
    ReaderGroups,
    ReaderPage,
    ReaderRow,
    ReaderSums,
)
from tests.admin.consoles import NOW, VIEWER, Switchboard, console

if TYPE_CHECKING:
    from collections.abc import Sequence

    from headgate_gateway.features.questions.contract import Answer, Question

ROW = ReaderRow(
    id="0-1",
    route="/v1/stream",
    stream="a/b",
    mode="sse",
    status="slow",
    offset="0_0",
    since=NOW,
    address="192.0.2.1",
)
LINE = (
    '<p>{readers} readers: {sse} SSE, 9 long-poll · <span class="state warning"><span class="mark" '
    'aria-hidden="true">▲</span> 2 slow</span> · 3 catching up · 5 kB sent by SSE · '
    "furthest behind 7 MB{more}</p>"
)


class Readers:
    """The readers of two processes, whose number is set."""

    def __init__(self, number: int) -> None:
        self.number = number
        self.board = Switchboard(answers=self.answers)

    def answers(self, question: Question) -> Sequence[Answer]:
        sums = (
            ReaderSums({"sse": self.number - 9}, {"live": self.number - 5}, 5000, 1),
            ReaderSums({"long-poll": 9}, {"slow": 2, "catching up": 3}, 0, 7_000_000),
        )
        if isinstance(question, GroupReaders):
            group = ReaderGroup("/v1/stream/a/b", "a/b", self.number, 5000, 7_000_000, NOW)
            return tuple(ReaderGroups((group,), 1, it) for it in sums)
        if not isinstance(question, ListReaders):
            return ()
        return ReaderPage((ROW,), self.number, None, sums[0]), ReaderPage((), 0, None, sums[1])


def groupings(page: str) -> list[str]:
    """Return which way of grouping is chosen."""
    return re.findall('aria-current="true">([^<]+)<', page)


@pytest.mark.parametrize(
    ("number", "query", "grouped"),
    [
        (MANY_READERS - 1, "", "Each"),
        (MANY_READERS, "", "By stream"),
        (MANY_READERS, "?by=each", "Each"),
        (MANY_READERS, "?by=principal", "By principal"),
        (MANY_READERS, "?route=/v1/stream&stream=a/b", "Each"),
        (MANY_READERS, "?mode=sse", "By stream"),
    ],
)
async def test_fifty_readers_are_grouped_by_stream_unless_the_address_says_otherwise(
    number: int, query: str, grouped: str
) -> None:
    async with console(Readers(number).board) as client:
        page = await client.page(f"/clients{query}")
    assert groupings(page) == [grouped]
    more = " · on 1 stream" if grouped == "By stream" else ""
    assert LINE.format(readers=number, sse=number - 9, more=more) in page
    if more:
        assert re.search('stream=a%2Fb[^"]*&amp;by=each', page)


async def test_an_open_page_of_readers_stays_grouped_as_it_began() -> None:
    """Its rows would change places around the bound otherwise."""
    for begin, then, grouped in (
        (MANY_READERS, 10, "on 1 stream"),
        (10, MANY_READERS, "Disconnect"),
    ):
        readers = Readers(begin)
        async with console(readers.board) as client:
            page = await client.page("/clients")
            (followed,) = re.findall('data-follows="([^"]+)"', page)
            readers.number = then
            regions = await client.regions(followed.replace("&amp;", "&"))
        assert f"{then} readers" in regions["readers"]
        assert grouped in regions["readers"]


async def test_what_is_sent_of_readers_has_no_form_of_its_viewer() -> None:
    async with console(Readers(10).board) as client:
        regions = await client.regions("/clients?by=each")
        assert 'form="disconnecting"' in regions["readers"]
        assert "csrf" not in regions["readers"]
        assert set(await client.regions("/clients?show=usage")) == {"instance", "badge"}
        page = await client.page("/clients", VIEWER)
    assert not [
        it for it in ("Disconnect", "Ban…", "192.0.2.1") if it in page.partition("<main")[2]
    ]
