"""The numbers of the views of a route."""

from __future__ import annotations

from typing import TYPE_CHECKING

from gateway.telemetry.metrics import Sample, counter, gauge

if TYPE_CHECKING:
    from collections.abc import Iterator

    from gateway.features.views.rendering import RenderingStore

RENDERED = counter(
    "headgate_views_rendered_total",
    "Views of a stream that were rendered from its beginning, for all readers there were.",
    "route",
    "view",
)
BYTES = gauge("headgate_views_memory_bytes", "Bytes of rendered views that are in memory.", "route")
DROPPED = counter(
    "headgate_views_dropped_total",
    "Rendered views that had to make room in memory, in whole or in part.",
    "route",
)
FOLDED = counter(
    "headgate_views_folded_total",
    "Pieces of views in which neighbouring deltas were joined for late readers.",
    "route",
)


def samples(prefix: str, store: RenderingStore, folded_pieces: int) -> Iterator[Sample]:
    """Yield the present numbers."""
    for view, count in store.started.items():
        yield Sample(RENDERED, (prefix, view), count)
    yield Sample(BYTES, (prefix,), store.bytes)
    yield Sample(DROPPED, (prefix,), store.dropped)
    yield Sample(FOLDED, (prefix,), folded_pieces)
