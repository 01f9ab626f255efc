"""Revalidation of compressed reads through the file for Caddy."""

from __future__ import annotations

import pytest

from tests.cdn.candidates import CANDIDATES, edge
from tests.cdn.origin import headgate_origin
from tests.cdn.read_cases import token_events
from tests.support.http1 import ask


@pytest.mark.usefixtures("processes")
def test_caddy_confirms_a_tag_with_the_suffix_that_its_newer_versions_add() -> None:
    caddy = next(one for one in CANDIDATES if one.target == "caddy")
    with headgate_origin(1.0) as origin, edge(caddy, origin) as before:
        path, json_type = origin.path(), "application/json"
        ask(origin.port, "PUT", path, token_events(), Content_Type=json_type)
        read = before.ask("GET", f"{path}?offset=-1", None, Accept_Encoding="gzip")
        tag = read.headers["etag"]
        assert read.headers["content-encoding"] == "gzip"
        assert tag.startswith("W/")
        suffixed = tag if tag.endswith('-gzip"') else f'{tag[:-1]}-gzip"'
        for one in (suffixed, f'"another-gzip", {suffixed}'):
            sent = {"Accept_Encoding": "gzip", "If_None_Match": one}
            assert before.ask("GET", f"{path}?offset=-1", None, **sent).status == 304
