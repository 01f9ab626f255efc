"""Fastly's VCL: what its linter says of it, and what is refused.

What it stores is in test_fastly_and_varnish.py.
"""

from __future__ import annotations

import json
import re
import subprocess
from typing import TYPE_CHECKING, Any

import pytest

from cdn_configs.errors import Refused
from cdn_configs.options import Options
from cdn_configs.render import render
from cdn_configs.targets import target
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


@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"upstream": "gateway.example.com:4437", "poll_s": 50, "heartbeat_s": 25},
        {"upstream": "[2001:db8::1]:443", "identity_headers": ()},
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


def test_the_naive_varnish_file_fails_the_fastly_linter() -> None:
    report = linted(NAIVE)
    assert (report["Errors"], report["Warnings"]) == (10, 2)
    assert not passes(NAIVE)
    said = [one["Message"] for found in report["LintErrors"].values() for one in found]
    told = "\n".join(said)
    # A key is not added to before there is one: credentials never were in it.
    assert 'Variable "req.hash" could not access in scope of RECV' in told
    # Varnish's name: Fastly never calls it, so no lifetime and no stale answer either.
    assert 'Unused subroutine "vcl_backend_response"' in told
    assert 'Variable "beresp.ttl" could not access' in told
    assert 'Variable "beresp.grace" could not access' in told
    # Without the macro, what is set in Fastly's own pages has no effect.
    assert 'missing Fastly boilerplate comment "FASTLY RECV"' in told


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


def sub(name: str) -> str:
    """One of the file's subroutines, without comments and with one space between words."""
    (body,) = re.findall(rf"(?ms)^sub {name} \{{\n(.*?)^\}}\n", fastly())
    return " ".join(re.sub(r"(?m)^ *# .*", "", body).split())


def test_the_fastly_shield_is_selected_for_every_unrestarted_request() -> None:
    own, shielded = fastly(), fastly(shield="iad-va-us")
    assert "shield" not in own
    chosen = "set req.backend = fastly.try_select_shield(ssl_shield_iad_va_us, F_headgate);"
    (guard,) = re.findall(rf"(?s)if \(req.restarts == 0\) \{{[^}}]*?{re.escape(chosen)}", shielded)
    # Before anything passes: HEAD, writes and readers with credentials go that way, too.
    assert shielded.index(guard) < shielded.index("return(pass)")


def test_the_fastly_vcl_adds_what_varnish_does_by_itself() -> None:
    # Without it, anybody may purge; and the key of a purge is that of the read.
    asked = 'if (req.method == "FASTLYPURGE") { set req.http.Fastly-Purge-Requires-Auth = "1"; }'
    assert asked in sub("vcl_recv")
    assert sub("vcl_recv").endswith("set req.url = querystring.sort(req.url); return(lookup);")
    # Varnish streams by itself.
    events = 'if (beresp.http.Content-Type ~ "(?i)^text/event-stream")'
    assert f"{events} {{ set beresp.do_stream = true; }}" in sub("vcl_fetch")
    # Fastly lets those who wait go on at once only after an answer that counts as cacheable.
    passes = "set beresp.cacheable = true; set beresp.ttl = 1s; return(pass);"
    assert sub("vcl_fetch").count("return(pass)") == sub("vcl_fetch").count(passes) == 3
    # Varnish's own answer to a failed fetch in the background replaces no copy; Fastly's does.
    stays = "if (obj.status >= 500 && stale.exists) { return(deliver_stale); }"
    assert stays in sub("vcl_error")
    for macro in ("recv", "hash", "fetch", "error"):
        assert f"#FASTLY {macro}" in sub(f"vcl_{macro}")


def test_the_fastly_vcl_sets_stale_if_error_only_for_reads_that_are_not_live() -> None:
    rule = '  if (req.url !~ "[?&]live=") {\n    set beresp.stale_if_error = 30s;\n  }\n'
    assert rule in fastly(stale_if_error_s=30)
    assert rule not in fastly()


def test_the_fastly_vcl_sends_an_event_source_a_retry_time_while_the_gateway_is_away() -> None:
    assert 'synthetic {": the gateway is away\nretry: 2000\n\n"};' in fastly()
    assert 'set obj.http.Content-Type = "text/event-stream";' in fastly()
