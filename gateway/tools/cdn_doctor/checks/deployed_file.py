"""The check of whether the deployed file is the one that its settings make now."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from cdn_configs.render import DIGEST_HEADER
from gateway.tools.cdn_doctor.finding import Finding, failed, passed

if TYPE_CHECKING:
    from collections.abc import Mapping

    from gateway.tools.cdn_doctor.deployment import Deployment

_DIGEST = re.compile(r"[a-z-]{1,64}/[0-9a-f]{16}")
DRIFTED = "drifted: rendered with other options or by another version, render anew"


async def configuration(deployment: Deployment) -> list[Finding]:
    """Compare the digest in the answers with that of the file; skip it where none was given."""
    expected = deployment.options.rendered
    if expected is None:
        return []
    replies = (deployment.reads.first, deployment.reads.again)
    # Of several such files on the way, the one for the same target counts.
    said = {one for reply in replies for one in _DIGEST.findall(_said(reply.headers))}
    target = expected.partition("/")[0]
    seen = sorted(one for one in said if one.startswith(f"{target}/")) or sorted(said)
    if not seen:
        return [
            failed(
                "configuration",
                f"no answer has {DIGEST_HEADER}: the file is not deployed, or is older than this "
                "header, or a hop takes it away",
            )
        ]
    if seen != [expected]:
        return [failed("configuration", f"{DRIFTED} (deployed {', '.join(seen)}, now {expected})")]
    return [passed("configuration", f"what is deployed is what the settings ask for: {expected}")]


def _said(headers: Mapping[str, str]) -> str:
    return headers.get(DIGEST_HEADER, "")
