"""Fastly's VCL: what its linter says of it, and what is refused.

What it stores is in test_fastly_and_varnish.py.
"""

from __future__ import annotations

import json
import re
import subprocess
from typing import TYPE_CHECKING, Any

import pytest

from headgate_cdn.errors import Refused
from headgate_cdn.options import Options
from headgate_cdn.render import render
from headgate_cdn.targets import target
from tests.test_architecture import ROOT

if TYPE_CHECKING:
    from pathlib import Path

FALCO = ROOT / "tests/node/node_modules/falco-js/bin/falco-linux-amd64"
NAIVE = ROOT / "tests/cdn/patients/naive.vcl"


def fastly(**changes: Any) -> str:
    said = {"upstream": "gateway.example.com:443", "host": "streams.example.com", **changes}
    return render(target("fastly"), Options(**said))


def linted(file: Path) -> dict[str, Any]:
    """The linter's report; its exit status only tells something without -json."""
    done = subprocess.run([FALCO, "lint", "-json", file], capture_output=True, check=False)
    report: dict[str, Any] = json.loads(done.stdout)
    return report


def passes(file: Path) -> bool:
    """Whether the checker of the target is content."""
    command = [each.format(file=file) for each in target("fastly").checker]
    done = subprocess.run(command, executable=FALCO, capture_output=True, check=False)
    return done.returncode == 0


@pytest.mark.usefixtures("processes")
@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"upstream": "gateway.example.com:4437", "poll_s": 50, "heartbeat_s": 25},
        {"upstream": "[2001:db8::1]:4437", "identity_headers": ()},
        {"identity_headers": ("Authorization", "X-Api-Key"), "purge": True, "poll_s": 1},
        {"credentials": "reader-key"},
        {"shield": "frankfurt-de"},
    ],
    ids=["usual", "longest", "no-credentials", "other-credentials", "reader-key", "shield"],
)
def test_the_fastly_vcl_passes_its_linter_without_warnings(
    changes: dict[str, Any], tmp_path: Path
) -> None:
    file = tmp_path / "headgate.vcl"
    file.write_text(fastly(**changes))
    report = linted(file)
    assert (report["Errors"], report["Warnings"]) == (0, 0), report["LintErrors"]
    assert report["ParseErrors"] == {}
    assert passes(file)


@pytest.mark.usefixtures("processes")
def test_the_naive_varnish_file_fails_the_fastly_linter() -> None:
    report = linted(NAIVE)
    assert (report["Errors"], report["Warnings"]) == (10, 2)
    assert not passes(NAIVE)


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        ({"poll_s": 51}, "cannot hold long-polls of 51 s: between nodes of a cluster"),
        ({"heartbeat_s": 26}, "cannot pass on SSE with heartbeats every 26 s: after 60 s"),
        ({"credentials": "per-credential"}, "cannot keep a cache for each reader: whether its"),
        ({"standalone": True}, "has no standalone file"),
        ({"host": ""}, "needs the host name"),
        pytest.param(
            {"shield": "1-a"},
            "takes a shield of Fastly such as frankfurt-de as --shield, not 1-a",
            id="a-shield-that-fastly-does-not-have",
        ),
    ],
)
def test_options_beyond_the_limits_of_fastly_are_refused_with_the_reason(
    changes: dict[str, Any], told: str
) -> None:
    with pytest.raises(Refused) as refusal:
        fastly(**changes)
    assert told in refusal.value.detail
    assert refusal.value.detail.startswith("fastly ")


@pytest.mark.parametrize(("poll_s", "wait_s"), [(1, 46), (13, 58), (14, 59), (50, 59)])
def test_fastly_timeouts_exceed_the_long_poll_up_to_the_cluster_limit(
    poll_s: int, wait_s: int
) -> None:
    text = fastly(poll_s=poll_s)
    assert f".first_byte_timeout = {wait_s}s;" in text
    assert f".between_bytes_timeout = {wait_s}s;" in text


def test_fastly_probes_the_gateway_for_reads_that_are_shared_and_never_for_writes() -> None:
    text = fastly()
    own, reads = re.findall(r"(?ms)^backend F_headgate(?:_reads)? \{.*?^\}", text)
    assert (".probe" in own, ".probe" in reads) == (False, True)
    received = text[text.index("sub vcl_recv") : text.index("sub vcl_hash")]
    passed, shared = received.split("set req.backend = F_headgate_reads;")
    assert "return(lookup)" not in passed
    assert "return(pass)" not in shared


def test_fastly_waits_for_sse_only_until_a_heartbeat_is_overdue() -> None:
    text = fastly(heartbeat_s=20)
    for name in ("first_byte", "between_bytes"):
        assert text.count(f"set bereq.{name}_timeout = 22s;") == 2  # missed and passed


def test_the_fastly_shield_is_selected_for_every_unrestarted_request() -> None:
    own, shielded = fastly(), fastly(shield="iad-va-us")
    assert "shield" not in own
    chosen = "set req.backend = fastly.try_select_shield(ssl_shield_iad_va_us, F_headgate);"
    (guard, *_) = re.findall(
        rf"(?s)if \(req.restarts == 0\) \{{[^}}]*?{re.escape(chosen)}", shielded
    )
    # Before anything passes: HEAD, writes and readers with credentials go that way, too.
    assert shielded.index(guard) < shielded.index("return(pass)")


def test_the_fastly_vcl_sets_stale_if_error_only_for_reads_that_are_not_live() -> None:
    rule = '  if (req.url !~ "[?&]live=") {\n    set beresp.stale_if_error = 30s;\n  }\n'
    assert rule in fastly(stale_if_error_s=30)
    assert rule not in fastly()
