"""The list of streams behind each configuration: each client gets its own, as it is now."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, NamedTuple

import pytest

from tests.cdn.candidates import CANDIDATES, PER_CREDENTIAL, SHARING, Candidate
from tests.cdn.candidates import edge as started_edge
from tests.cdn.guarded_origin import PREFIX, WRITER, GuardedOrigin, guarded_origin
from tests.support.http1 import ask

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.cdn.edges import Edge
    from tests.support.http1 import Answer

POLL_S = 3.0
VERIFIED = tuple(
    Candidate(name, "verified") for name in ("cloudflare-worker", "cloudflare-durable")
)
LIST = f"{PREFIX}/__ds/streams"


@pytest.fixture(scope="module")
def guarded(processes: None) -> Iterator[GuardedOrigin]:
    with guarded_origin(POLL_S) as started:
        yield started


class Reader(NamedTuple):
    """Somebody with a token, or without one."""

    edge: Edge
    token: str | None

    def list(self, query: str) -> Answer:
        held = {} if self.token is None else {"Authorization": f"Bearer {self.token}"}
        return ask(self.edge.port, "GET", f"{LIST}?{query}", None, **held)


@pytest.mark.parametrize("candidate", [*CANDIDATES, *PER_CREDENTIAL, *SHARING, *VERIFIED], ids=str)
def test_each_client_gets_its_own_list_as_it_is_now_behind_any_configuration(
    guarded: GuardedOrigin, candidate: Candidate
) -> None:
    folder = guarded.path(PREFIX).removeprefix(f"{PREFIX}/")
    with started_edge(candidate, guarded, PREFIX) as edge:
        signer = guarded.signer
        writer = Reader(edge, WRITER)
        some = Reader(edge, signer.token(f"{PREFIX}/{folder}/*", "some"))
        others = Reader(edge, signer.token(f"{PREFIX}/others/*", "others"))
        # What a caching proxy may take for the right to read the path of the list.
        control = Reader(edge, signer.token(f"{PREFIX}/__ds/*", "control"))
        query = f"begins={folder}/&limit=2"
        names: list[str] = []
        for number in range(3):
            for reader in (writer, some, writer, some):
                answer = reader.list(query)
                assert answer.status == 200, answer
                assert json.loads(answer.body)["streams"] == names[:2]
                assert answer.get("cache-control") == "no-store"
            for reader, status in ((others, 403), (control, 403), (Reader(edge, None), 401)):
                assert reader.list(query).status == status
            names.append(f"{folder}/{number}")
            assert guarded.write("PUT", f"{PREFIX}/{names[-1]}", b"").status == 201
        (last,) = json.loads(some.list(f"limit=2&after={names[1]}&begins={folder}/").body)[
            "streams"
        ]
        assert last == names[2]
        assert some.list("").status == 403
        assert json.loads(some.list(f"offset=-1&{query}").body)["streams"] == names[:2]
