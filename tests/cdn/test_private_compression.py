"""Reads of private streams are compressed only by an option: their lengths tell of contents."""

from __future__ import annotations

import gzip
from typing import TYPE_CHECKING

import pytest

from tests.cdn.candidates import Candidate
from tests.cdn.guarded_origin import PREFIX, GuardedOrigin, guarded_origin
from tests.support.http1 import ask
from tests.support.ports import free_port
from tests.support.proxy_engines import ENGINES, started

if TYPE_CHECKING:
    from collections.abc import Iterator

    from headgate_cdn.options import CredentialMode

RECORD = b"a line of text that everybody has seen before\n" * 100
WAYS: tuple[tuple[str, CredentialMode], ...] = (
    ("nginx", "reader-key"),
    *(("nginx-njs", mode) for mode in ("per-credential", "asked")),
    *(("varnish", mode) for mode in ("per-credential", "reader-key", "asked")),
    *(("cloudflare-worker", mode) for mode in ("per-credential", "reader-key", "verified")),
    *((name, "bypass") for name in ("haproxy", "caddy")),
)


@pytest.fixture(scope="module")
def origin(processes: None) -> Iterator[GuardedOrigin]:
    with guarded_origin(1.0) as one:
        yield one


@pytest.mark.parametrize(("name", "mode"), WAYS)
@pytest.mark.parametrize("is_chosen", [False, True])
def test_private_reads_are_compressed_only_with_the_option(
    origin: GuardedOrigin, name: str, mode: CredentialMode, *, is_chosen: bool
) -> None:
    path = origin.path(PREFIX)
    assert origin.write("PUT", path, b"first").status == 201
    offset = origin.write("HEAD", path, None).next_offset
    assert origin.write("POST", path, RECORD, Stream_Closed="true").status == 204
    key = f"&rk={origin.reader_key(path)}" if mode == "reader-key" else ""
    fields = {"Authorization": f"Bearer {origin.signer.token(path, 'friend')}"}
    fields |= {"Accept_Encoding": "gzip", "Origin": "https://app.example"}
    candidate, port = Candidate(name, mode, compress_private=is_chosen), free_port()
    with started(ENGINES[name], candidate.files(port, origin), port):
        target = f"{path}?offset={offset}{key}"
        reads = [ask(port, "GET", target, None, **fields) for _ in range(2)]
    codings = [answer.get("content-encoding") for answer in reads]
    assert codings == (["gzip"] * 2 if is_chosen else [None] * 2)
    bodies = [gzip.decompress(one.body) if is_chosen else one.body for one in reads]
    assert bodies == [RECORD] * 2
    assert [answer.get("timing-allow-origin") for answer in reads] == [None] * 2
