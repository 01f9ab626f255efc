"""A writer that appends many small tokens in order, though over many connections at once."""

from __future__ import annotations

import contextlib
from itertools import islice
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

import httpx

from tests.support.http1 import Client

if TYPE_CHECKING:
    from collections.abc import Sequence

# So many appends wait for one commit together, instead of each for its own.
CONNECTIONS = 32


async def create_stream(url: str, content_type: str) -> None:
    """PUT a new stream."""
    async with httpx.AsyncClient(verify=False) as client:
        answer = await client.put(url, headers={"Content-Type": content_type})
    assert answer.status_code == 201, f"{answer.status_code}: {answer.text}"


async def close_stream(url: str) -> None:
    """Close the stream for good."""
    async with httpx.AsyncClient(verify=False) as client:
        answer = await client.post(url, headers={"Stream-Closed": "true"})
    assert answer.status_code == 204, f"{answer.status_code}: {answer.text}"


class TokenWriter:
    """An idempotent producer: sequence numbers keep the order, whichever connection is first."""

    def __init__(self, url: str, content_type: str) -> None:
        self._url = urlsplit(url)
        self._head = (
            f"POST {self._url.path} HTTP/1.1\r\nHost: {self._url.netloc}\r\n"
            f"Content-Type: {content_type}\r\nProducer-Id: tokens\r\nProducer-Epoch: 0\r\n"
        )
        self._next_seq = 0

    async def append(self, tokens: Sequence[bytes]) -> None:
        """One POST for each token; returns when every one is acknowledged."""
        assert self._url.port is not None, self._url
        with contextlib.ExitStack() as stack:
            clients = []
            for _ in range(min(CONNECTIONS, len(tokens))):
                clients.append(client := await Client.connect(self._url.port))
                stack.callback(client.close)
            numbered = enumerate(tokens, start=self._next_seq)
            refused: list[tuple[int, bytes]] = []
            while wave := refused + list(islice(numbered, len(clients) - len(refused))):
                for client, (seq, token) in zip(clients, wave, strict=False):
                    client.send(self._request(seq, token))
                statuses = [(await client.answer()).status for client in clients[: len(wave)]]
                assert set(statuses) <= {200, 409}, f"{statuses}"
                # It overtook an earlier one on its way: it goes again with the next wave.
                refused = [
                    item for item, status in zip(wave, statuses, strict=True) if status == 409
                ]
        self._next_seq += len(tokens)

    def _request(self, seq: int, token: bytes) -> bytes:
        fields = f"Producer-Seq: {seq}\r\nContent-Length: {len(token)}\r\n\r\n"
        return f"{self._head}{fields}".encode() + token
