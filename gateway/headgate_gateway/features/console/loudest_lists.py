"""The clients and streams that this process serves most, listed for the console."""

from __future__ import annotations

from collections import defaultdict
from typing import TYPE_CHECKING

from headgate_gateway.errors import HeadgateError
from headgate_gateway.features.console.inspected_streams import streams_of
from headgate_gateway.features.questions.loudest import ClientLoad, LoudestList, StreamLoad
from headgate_gateway.runtime.loudest import (
    APPENDS,
    NONE,
    RECEIVED,
    REFUSED,
    SENT,
    Counts,
    add,
    requests_of,
    weight_of,
)

if TYPE_CHECKING:
    from collections.abc import Generator

    from headgate_gateway.background import Turns
    from headgate_gateway.routes.router import Router
    from headgate_gateway.routes.services import Services

AT_ONCE = 500  # live readers whose bytes are counted between two turns


async def loudest(routes: Router, services: Services, turns: Turns) -> LoudestList:
    """Return the clients and streams of the largest load, live responses under way included."""
    await turns.run(_count_live(routes, services))
    rate = services.loudest.look()
    top_clients, top_streams = services.loudest.clients, services.loudest.streams
    streams: defaultdict[tuple[str, str], Counts] = defaultdict(NONE.copy)
    for path, counts in top_streams.rows.items():
        try:
            place = routes.find_place(path)
        except HeadgateError:  # a reload has removed its route
            continue
        add(streams[place.route.prefix, place.name], counts)
    return LoudestList(
        tuple(
            ClientLoad(
                account=client.account,
                name=client.name,
                address=client.address or None,
                user_agent=client.agent or None,
                **_rates(counts, rate),
            )
            for client, counts in top_clients.rows.items()
        ),
        tuple(
            StreamLoad(route=route, name=name, **_rates(counts, rate))
            for (route, name), counts in streams.items()
        ),
        max(top_clients.missed, top_streams.missed) * rate,
    )


def _rates(counts: Counts, rate: float) -> dict[str, float]:
    return {
        "load": weight_of(counts) * rate,
        "requests": requests_of(counts) * rate,
        "appends": counts[APPENDS] * rate,
        "refused": counts[REFUSED] * rate,
        "sent_bytes": counts[SENT] * rate,
        "received_bytes": counts[RECEIVED] * rate,
    }


def _count_live(routes: Router, services: Services) -> Generator[None, None, None]:
    """Count what live readers were sent since the last time."""
    number = 0
    for route in routes:
        for place in streams_of(route).live_feeds():
            for reader in place.feed.sse_readers:
                services.count_live(reader)
                number += 1
                if number % AT_ONCE == 0:
                    yield
