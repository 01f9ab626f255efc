"""Subscriptions of a gateway, and the streams that wake their workers."""

from __future__ import annotations

import contextlib
import json
import uuid
from typing import TYPE_CHECKING, Any

import aiohttp

from headgate import Worker
from headgate.stream_requests import StreamRequests
from tests.support.waiting import SERVER_PATIENCE_S, until

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from headgate import Job

JSON = "application/json"


class Pool:
    """A subscription to the streams below a folder, which is its own unless another is named."""

    def __init__(
        self, streams: str, session: aiohttp.ClientSession, name: str, folder: str | None = None
    ) -> None:
        self.streams = streams
        self.name = name
        self.folder = folder or name
        self.wake_stream = f"wake/{name}"
        self.session = session
        self.control = f"{streams}/__ds/subscriptions/{name}"

    async def subscribe(self, **members: Any) -> None:
        """Create the wake stream and the subscription, which workers have."""
        await self.stream(self.wake_stream).create(content_type=JSON)
        await self.put(**{"type": "pull-wake", "wake_stream": self.wake_stream, **members})

    async def put(self, **members: Any) -> None:
        """Create the subscription."""
        document = {"pattern": f"{self.folder}/*", **members}
        async with self.session.put(self.control, json=document) as answer:
            assert answer.status == 201, await answer.text()

    def stream(self, path: str) -> StreamRequests:
        """Return a stream of the gateway."""
        return StreamRequests(f"{self.streams}/{path}", session=self.session)

    def path(self, name: str) -> str:
        """Return the path of a stream of the pool."""
        return f"{self.folder}/{name}"

    async def append(self, name: str, *messages: object, content_type: str = JSON) -> str | None:
        """Append to a stream of the pool, which is created if needed; return the offset after."""
        stream = self.stream(self.path(name))
        await stream.create(content_type=content_type)
        body = json.dumps(messages).encode() if content_type == JSON else str(messages[0]).encode()
        return (await stream.append(body, content_type=content_type)).next_offset

    async def description(self) -> dict[str, Any]:
        """Return the description of the subscription."""
        async with self.session.get(self.control) as answer:
            found: dict[str, Any] = await answer.json()
            return found

    async def has_failed(self, reason: str) -> bool:
        """Return whether the last attempt to wake a webhook failed for this reason."""
        error = (await self.description())["last_error"]
        return error is not None and reason in str(error)

    async def claim(self) -> tuple[int, Any]:
        """Claim the subscription as another worker; return the status and the document."""
        async with self.session.post(f"{self.control}/claim", json={"worker": "w"}) as answer:
            return answer.status, await answer.json()

    async def cursor(self, name: str) -> str | None:
        """Return what is acknowledged of a stream."""
        links = (await self.description())["streams"]
        return next((it["acked_offset"] for it in links if it["path"] == self.path(name)), None)

    async def acknowledged(self, name: str, offset: str | None) -> None:
        """Wait until a stream is acknowledged up to an offset."""

        async def is_so() -> bool:
            return await self.cursor(name) == offset

        await until(is_so, f"an ack of {name} up to {offset}", within_s=SERVER_PATIENCE_S)

    def worker(self, **options: Any) -> Worker:
        """Return a worker of the subscription."""
        return Worker(self.streams, self.name, session=self.session, **options)


@contextlib.asynccontextmanager
async def pool(streams: str, **members: Any) -> AsyncIterator[Pool]:
    """A new subscription of a gateway."""
    connector = aiohttp.TCPConnector(limit=0)
    async with aiohttp.ClientSession(connector=connector) as session:
        made = Pool(streams, session, uuid.uuid4().hex)
        await made.subscribe(**members)
        yield made


async def messages_of(job: Job) -> list[Any]:
    """Return all pending messages of a job."""
    return [message for stream in job.pending async for message in stream.messages()]
