"""The parser of requests is looked at before anybody connects."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import pytest

from headgate_gateway.errors import StartError
from headgate_gateway.web.requests import request_head
from headgate_gateway.web.requests.request_head import check_parser

if TYPE_CHECKING:
    from collections.abc import Callable


async def test_the_installed_request_parser_is_accepted() -> None:
    check_parser(asyncio.get_running_loop())


class OtherParser:
    """A parser of a later version of aiohttp, perhaps."""

    def __init__(self, *_: object, **__: object) -> None:
        """Take anything."""

    def feed_data(self, _: bytes) -> tuple[list[object], bool, bytes]:
        return [], False, b""

    def message_consumed(self) -> None:
        """Take note of nothing."""


def takes_less(_protocol: object, _loop: object) -> None:
    """Be a parser that takes no limits."""


@pytest.mark.parametrize("other", [OtherParser, takes_less])
async def test_an_incompatible_request_parser_is_refused_at_the_start(
    other: Callable[..., object], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(request_head, "HttpRequestParser", other)
    with pytest.raises(StartError, match="install the aiohttp that"):
        check_parser(asyncio.get_running_loop())
