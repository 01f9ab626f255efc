"""The records beside answers as requests find them, whatever others delete meanwhile."""

from __future__ import annotations

from typing import TYPE_CHECKING

from headgate_gateway.features.models import record
from headgate_gateway.features.models.store import StreamRecord, read_record
from tests.models.in_process import model_route
from tests.models.provider import providing
from tests.support.serving import serving

if TYPE_CHECKING:
    import pytest

    from headgate_gateway.features.models.streams import StreamEnd

REQUEST = record.RequestEntry("/v1/chat/completions", "0", "m", 0.0)


async def test_a_record_that_is_deleted_while_it_is_read_has_no_answer(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    async with providing() as provider, serving() as gateway, model_route(provider, gateway) as one:
        streams, name = one.streams, record.record_name("answer")
        look = streams.end

        async def look_and_delete(name: str) -> StreamEnd | None:
            found = await look(name)
            await streams.delete(name)
            return found

        await streams.create(name, record.CONTENT_TYPE, record.encoded(REQUEST))
        assert (await read_record(streams, "answer")).is_unfinished
        monkeypatch.setattr(streams, "end", look_and_delete)
        assert await read_record(streams, "answer") == StreamRecord([], None)
