"""Readers of an examination's stream, and what they send to say who they are."""

from __future__ import annotations

import secrets
from dataclasses import dataclass
from typing import TYPE_CHECKING

from gateway.protocol.http.forwarding import READER_COOKIE
from gateway.tools.cdn_doctor.probe_sender import USUAL, ProbeBounds

if TYPE_CHECKING:
    from collections.abc import Mapping

    from headgate.stream import Stream

    from gateway.tools.cdn_doctor.probe_sender import ProbeReply
    from gateway.tools.cdn_doctor.streams import OwnStream


@dataclass(frozen=True, slots=True, eq=False)
class ProbeReader:
    """A reader: how it is named, the stream with its Authorization, and its other headers."""

    name: str
    stream: Stream
    headers: Mapping[str, str]

    async def read(
        self, own: OwnStream, query: Mapping[str, str], bounds: ProbeBounds = USUAL
    ) -> ProbeReply:
        """Return the reply to a read of `own`, to which the stream of this reader leads."""
        return await own.asker.send(
            self.stream, "GET", query=query, headers=self.headers, bounds=bounds
        )


def strangers(own: OwnStream) -> list[ProbeReader]:
    """Return readers that may read nothing private."""
    nobody = own.as_somebody(None)
    return [
        ProbeReader("no credentials", nobody, {}),
        ProbeReader("a made-up Authorization", own.as_somebody(made_up_credential()), {}),
        ProbeReader("a made-up Cookie", nobody, {"Cookie": f"session=doctor; {made_up_cookie()}"}),
    ]


def made_up_credential() -> str:
    """Return an Authorization that nobody has."""
    return f"Bearer doctor-{secrets.token_hex(8)}"


def made_up_cookie() -> str:
    """Return a cookie that counts everywhere: for the gateway's own streams no other one does."""
    return f"{READER_COOKIE}=doctor-{secrets.token_hex(8)}"
