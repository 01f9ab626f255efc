"""What verifies signatures is in memory where there are keys, from the start on."""

from __future__ import annotations

import json
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest

from tests.access.forging import ED, jwks
from tests.support.given_settings import sections

if TYPE_CHECKING:
    from pathlib import Path

pytestmark = pytest.mark.usefixtures("processes")

START = """
import json, sys
from headgate_gateway.process.gateway import Gateway
from headgate_gateway.settings import Settings

Gateway(Settings.of(json.loads(sys.argv[1])))
print("cryptography" in sys.modules)
"""


def loads_cryptography(settings: dict[str, object]) -> bool:
    """Whether a gateway of these settings has it before it serves."""
    command = [
        sys.executable,
        "-c",
        START,
        json.dumps(sections({"storage": "memory:", **settings})),
    ]
    run = subprocess.run(command, capture_output=True, text=True, check=False)
    assert run.returncode == 0, run.stderr
    return run.stdout == "True\n"


def test_a_gateway_without_keys_does_not_load_cryptography() -> None:
    assert not loads_cryptography({})


@pytest.mark.parametrize("kind", ["read tokens", "an issuer"])
def test_a_gateway_with_keys_loads_cryptography_at_the_start(kind: str, tmp_path: Path) -> None:
    keys = tmp_path / "keys.json"
    keys.write_bytes(jwks([ED]))
    keys.chmod(0o600)
    issuer = {
        "issuer": "https://id.example",
        "audience": "streams",
        "jwks": str(keys),
        "algorithms": ["EdDSA"],
        "grants_claim": "grants",
    }
    if kind == "read tokens":
        assert loads_cryptography({"auth": "read-tokens", "keys_file": str(keys)})
    else:
        assert loads_cryptography({"auth": "jwt", "jwt_issuers": [issuer]})
