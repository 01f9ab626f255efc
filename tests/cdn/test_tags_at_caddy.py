"""The tag of a compressed response gets 304 at each release of Caddy: newer ones add to the tag."""

from __future__ import annotations

import os
from dataclasses import dataclass

import pytest

from headgate_gateway.front.caddy_process import find_caddy
from headgate_gateway.settings import Settings, load
from tests.cdn.candidates import Candidate
from tests.support.http1 import ask
from tests.support.ports import free_port
from tests.support.processes import headgate
from tests.support.proxy_engines import ENGINES, started

STREAM = "/v1/stream/tagged"
RECORD = b"a line of text that compresses well\n" * 100


@dataclass
class Behind:
    """A gateway as a file is rendered for it."""

    port: int
    settings: Settings


@pytest.mark.usefixtures("processes")
@pytest.mark.parametrize("is_newer", [False, True], ids=["debian", "front"])
@pytest.mark.parametrize("others", ["", '"another", W/"more-gzip", '], ids=["alone", "in a list"])
def test_the_tag_of_a_compressed_response_gets_304(
    others: str, monkeypatch: pytest.MonkeyPatch, *, is_newer: bool
) -> None:
    if is_newer:
        monkeypatch.setenv("PATH", f"{find_caddy().parent}:{os.environ['PATH']}")
    port, settings = free_port(), load(None, {}, {})
    with headgate() as gateway:
        files = Candidate("caddy").files(port, Behind(gateway.port, settings))
        with started(ENGINES["caddy"], files, port):
            assert ask(port, "PUT", STREAM, RECORD, Content_Type="text/plain").status == 201
            for coding in ("gzip", "identity"):
                fields = {"Accept_Encoding": coding}
                first = ask(port, "GET", f"{STREAM}?offset=-1", None, **fields)
                tag = first.headers["etag"]
                assert (first.get("content-encoding") or "identity") == coding
                again = ask(
                    port, "GET", f"{STREAM}?offset=-1", None, **fields, If_None_Match=others + tag
                )
                assert (again.status, again.body) == (304, b"")
            stale = ask(
                port, "GET", f"{STREAM}?offset=-1", None, If_None_Match='W/"an-old-one-gzip"'
            )
            assert (stale.status, stale.body) == (200, RECORD)
