"""Checks whether responses to readers with credentials reach nobody else."""

from __future__ import annotations

import base64
import binascii
import json
import re
from typing import TYPE_CHECKING, Literal

from gateway.tools.cdn_doctor.checks.readers import strangers
from gateway.tools.cdn_doctor.evidence import AnswerSource, cache_claims, source
from gateway.tools.cdn_doctor.finding import Finding, failed, noted, passed, unknown
from gateway.tools.cdn_doctor.first_reads import DATA
from gateway.tools.cdn_doctor.streams import READER_VARIABLE

if TYPE_CHECKING:
    from collections.abc import Mapping

    from gateway.tools.cdn_doctor.deployment import Deployment
    from gateway.tools.cdn_doctor.probe_sender import ProbeReply
    from gateway.tools.cdn_doctor.streams import OwnStream

_JWT = re.compile(r"Bearer ([\w-]+)\.([\w-]+)\.([\w-]+)", re.ASCII)


async def reader_key(deployment: Deployment) -> Finding:
    """Check that a copy under a reader key is for the URL with that key alone."""
    own = await deployment.streams.create_closed("-reader-key", DATA)
    if own.reader_key is None:
        return noted("reader-key", "not examined: the server sends no reader key")
    key, given = own.reader_key, own.stream.authorization
    assert not callable(given), "a command has one credential for as long as it runs"
    first, again = [await _read(own, given, {"rk": key}) for _ in range(2)]
    if not (first.is_good and again.is_good):
        return unknown(
            "reader-key",
            f"a read with it was answered with: {(first.error_text or again.error_text)}",
        )
    others: dict[str, Mapping[str, str]] = {
        "no key": {},
        "another key": {"rk": _altered(key)},
        "the start of the key": {"rk": key[:-1]},
    }
    for name, query in others.items():
        for stranger in strangers(own):
            reply = await stranger.read(own, {"offset": own.start, **query})
            if reply.is_good and reply.body == DATA:
                saw = f"a reader with {stranger.name} and {name} got the data"
                return failed("reader-key", f"{saw}{cache_claims(reply)}")
    return _shared(
        "reader-key",
        again,
        "the copy of a reader key is served with no other key, and not without one",
    )


async def verified(deployment: Deployment) -> Finding:
    """Check that an altered token does not get the copy that the valid token gets."""
    token = _JWT.fullmatch(deployment.options.reader or "")
    if token is None:
        saw = f"not examined: {READER_VARIABLE} has no read token for the streams below the URL"
        return noted("verified", saw)
    own = await deployment.streams.create_closed("-verified", DATA)
    reader = deployment.options.reader
    first, again = [await _read(own, reader) for _ in range(2)]
    if not (first.is_good and again.is_good):
        saw = f"a read with the token of {READER_VARIABLE} was answered with: "
        return unknown("verified", saw + (first.error_text or again.error_text))
    for name, forged in _forgeries(*token.groups()).items():
        in_url = {"token": forged}
        for reply in (await _read(own, f"Bearer {forged}"), await _read(own, None, in_url)):
            if reply.is_good and reply.body == DATA:
                return failed("verified", f"a token {name} is accepted")
    for stranger in strangers(own):
        reply = await stranger.read(own, {"offset": own.start})
        if reply.is_good and reply.body == DATA:
            saw = f"a reader with {stranger.name} got the data{cache_claims(reply)}"
            return failed("verified", saw)
    return _shared("verified", again, "altered tokens are refused")


def _shared(check: Literal["reader-key", "verified"], again: ProbeReply, saw: str) -> Finding:
    if source(again) is AnswerSource.SHARED:
        return passed(check, f"an equal read has a copy; {saw}")
    return noted(check, f"{saw}; but equal reads share no copy")


def _forgeries(header: str, claims: str, signature: str) -> Mapping[str, str]:
    """Return tokens that no key has signed, by what is wrong with them."""
    unsigned = _encoded({**_decoded(header), "alg": "none"})
    longer = _encoded({**_decoded(claims), "exp": 1 << 33})
    return {
        "with another signature": f"{header}.{claims}.{_altered(signature)}",
        "with other claims": f"{header}.{longer}.{signature}",
        "without a signature": f"{unsigned}.{claims}.",
    }


def _altered(text: str) -> str:
    """Return another text of the same length; not by its last character, which has spare bits."""
    return ("B" if text.startswith("A") else "A") + text[1:]


def _decoded(part: str) -> dict[str, object]:
    try:
        decoded = json.loads(base64.urlsafe_b64decode(f"{part}=="))
    except (binascii.Error, ValueError):
        return {}
    return decoded if isinstance(decoded, dict) else {}


def _encoded(content: Mapping[str, object]) -> str:
    text = json.dumps(content, separators=(",", ":"))
    return base64.urlsafe_b64encode(text.encode()).rstrip(b"=").decode()


async def _read(
    own: OwnStream, authorization: str | None, query: Mapping[str, str] | None = None
) -> ProbeReply:
    return await own.asker.send(
        own.as_somebody(authorization), "GET", query={"offset": own.start, **(query or {})}
    )
