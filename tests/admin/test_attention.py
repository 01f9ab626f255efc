"""What needs attention: its alert, and the moments at which it began."""

from __future__ import annotations

from pathlib import Path

import pytest

from admin.alerting.active_alerts import ActiveAlerts
from admin.record.attention import AttentionItem, Watch, findings
from gateway.features.questions.process_source import Health
from gateway.settings import Settings
from gateway.telemetry.metrics import Sample, gauge
from gateway.tls.certificate_files import FILES_OK


def test_no_finding_begins_in_the_future_after_the_clock_was_set_back() -> None:
    watch = Watch()
    kept = AttentionItem(("check", "disk"), "warning", "the disk is full")
    alert = AttentionItem(("alert", "x"), "bad", "appends fail", since=990.0)
    moments = []
    for now in (1000.0, 1010.0, 400.0, 410.0):
        watch.update(now, (kept, alert))
        moments.append({it.sentence: it.since for it in watch.attention})
    begun = {"appends fail": 990.0, "the disk is full": 1000.0}
    assert moments[:2] == [begun, begun]
    assert moments[2:] == [
        dict.fromkeys(begun, 400.0),
        {**begun, "the disk is full": 400.0, "appends fail": 410.0},
    ]


def the_finding(settings: Settings, health: Health, samples: list[Sample]) -> tuple[str, str]:
    """Return level and alert of the only finding, after two looks."""
    alerts = ActiveAlerts(settings)
    for now in (1000.0, 1000.0 + 5):
        alerts.look(now, samples)
    (found,) = findings(health, samples, alerts, settings)
    return found.level, found.alert


@pytest.mark.parametrize(
    ("reason", "level", "alert"),
    [
        ("the certificate in new.pem expired 9 days ago", "warning", "FilesRefused"),
        ("the certificate in use expired 9 days ago", "bad", "Expired"),
    ],
)
def test_a_refused_certificate_is_no_expired_one(reason: str, level: str, alert: str) -> None:
    settings = Settings(tls={"certificate": "c.pem", "key": "c.key"})
    samples = [Sample(FILES_OK, ("tls.certificate",), 0.0)]
    health = Health({}, {f"{Path.cwd()}/c.pem": reason})
    assert the_finding(settings, health, samples) == (level, f"HeadgateCertificate{alert}")


@pytest.mark.parametrize(
    ("setting", "path"),
    [
        ("credentials.tokens_file", "/etc/tokens.toml"),
        ("credentials.jwt_issuers[1].jwks", "/etc/second.json"),
    ],
)
def test_an_alert_about_a_file_and_the_check_of_its_path_are_one_finding(
    setting: str, path: str
) -> None:
    issuers = [
        {
            "issuer": name,
            "audience": "a",
            "jwks": f"/etc/{name}.json",
            "algorithms": ["EdDSA"],
            "grants": [{"streams": "/*", "operations": ["read"]}],
        }
        for name in ("first", "second")
    ]
    settings = Settings(
        storage="memory:", credentials={"tokens_file": "/etc/tokens.toml", "jwt_issuers": issuers}
    )
    refused = Sample(gauge("headgate_access_file_ok", "", "setting"), (setting,), 0.0)
    health = Health({}, {path: "line 3 is wrong"})
    expected = ("warning", "HeadgateAccessFileRefused")
    assert the_finding(settings, health, [refused]) == expected
